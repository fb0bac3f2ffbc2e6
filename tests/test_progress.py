"""Progress: a bar on a terminal, sparse plain lines elsewhere, and nothing on standard output."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from emoviews import progress
from emoviews.progress import Progress, readable_seconds


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch) -> None:
    """What decides besides the stream itself whether rich sees a terminal."""
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")


@contextlib.contextmanager
def errors_to(stream: io.StringIO) -> Iterator[io.StringIO]:
    with contextlib.redirect_stderr(stream):
        yield stream


def test_plain_lines_every_ten_seconds_with_rate_and_time_left(clock: Clock, capsys) -> None:
    with errors_to(io.StringIO()) as plain, Progress(100, "extract", "recordings") as bar:
        for _ in range(50):
            clock.now += 0.5  # two a second
            bar.advance()
    lines = plain.getvalue().splitlines()
    assert lines[0] == "extract: 20/100 recordings, 2.0/s, 40 s left"
    assert lines[1] == "extract: 40/100 recordings, 2.0/s, 30 s left"
    assert len(lines) == 2
    assert capsys.readouterr().out == ""


def test_short_work_says_nothing_where_there_is_no_terminal(clock: Clock) -> None:
    with errors_to(io.StringIO()) as plain, Progress(1000, "extract", "recordings") as bar:
        for _ in range(1000):
            clock.now += 0.009
            bar.advance()
    assert bar.done == 1000
    assert plain.getvalue() == ""


def test_several_units_at_once(clock: Clock) -> None:
    with errors_to(io.StringIO()) as plain, Progress(7200, "train", "jobs") as bar:
        clock.now += 10
        bar.advance(10)
    assert plain.getvalue() == "train: 10/7200 jobs, 1.0/s, 2 h 0 min left\n"


def test_a_bar_on_a_terminal(clock: Clock, capsys) -> None:
    with errors_to(Terminal()) as terminal, Progress(4, "extract", "recordings") as bar:
        clock.now += 2
        bar.advance(2)
    text = terminal.getvalue()
    assert "extract" in text
    assert "2/4" in text
    assert "1.0/s, 2 s left" in text
    assert capsys.readouterr().out == ""


def test_a_bar_gives_the_terminal_back_after_an_error() -> None:
    terminal = Terminal()
    with pytest.raises(KeyboardInterrupt), errors_to(terminal), Progress(4, "extract", "recordings"):
        raise KeyboardInterrupt
    hidden, shown = terminal.getvalue().rfind("\x1b[?25l"), terminal.getvalue().rfind("\x1b[?25h")
    assert 0 <= hidden < shown  # the cursor


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_nothing_to_do(stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emoviews.progress.LINE_EVERY_SECONDS", 0.0)
    with errors_to(io.StringIO()) as plain, Progress(0, "extract", "recordings") as bar:
        bar.advance()
    assert plain.getvalue() == ""
    with errors_to(stream()) as written, Progress(0, "extract", "recordings"):
        pass
    assert written.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.6, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (7229, "2 h 0 min"),
        (90_000, "25 h 0 min"),
    ],
)
def test_readable_seconds(seconds: float, text: str) -> None:
    assert readable_seconds(seconds) == text


def test_the_time_left_follows_the_cost_where_units_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("emoviews.progress.time.monotonic", lambda: now[0])
    progress = Progress(100, "train", "jobs", cost=1000.0)
    now[0] = 60.0
    progress.advance(2, 500.0)  # the dearest first
    assert progress._rate(now[0]) == "0.0/s, 1 min 0 s left"
    plain = Progress(100, "train", "jobs")
    now[0] = 120.0
    plain.advance(2)
    assert plain._rate(now[0]) == "0.0/s, 49 min 0 s left"
