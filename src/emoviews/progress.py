"""Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere. Both go to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

LINE_EVERY_SECONDS: Final = 10.0

NAMED: Final = 5
"""So many names stand in a message before it says that there are more."""


class Progress:
    """Count units of work done; use as a context manager. Of 0 units nothing is shown.

    >>> with Progress(3, "extract", "utterances") as progress:
    ...     for _ in range(3):
    ...         progress.advance()
    """

    def __init__(self, total: int, what: str, unit: str, cost: float = 0.0) -> None:
        """`cost`: of all units together, where they differ in it: the time left is then told from the cost that is done."""
        self.total, self.what, self.unit, self.cost = total, what, unit, cost
        self.done, self.spent = 0, 0.0
        self._started = self._last_line = time.monotonic()
        console = Console(stderr=True)
        self._bar: Bar | None = None
        if console.is_terminal and total:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                console=console,
                transient=False,
            )
            self._task = self._bar.add_task(what, total=total, rate="")

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, n: int = 1, cost: float = 0.0) -> None:
        """`n` more units are done, of so much cost together."""
        self.done += n
        self.spent += cost
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, rate=self._rate(now))
        elif self.total and now - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = now
            print(f"{self.what}: {self.done}/{self.total} {self.unit}, {self._rate(now)}", file=sys.stderr, flush=True)

    def _rate(self, now: float) -> str:
        passed = max(now - self._started, 1e-9)
        rate = self.done / passed
        left = (self.total - self.done) / rate if rate else 0.0
        if self.cost > 0:
            left = passed * (self.cost - self.spent) / self.spent if self.spent > 0 else 0.0
        return f"{rate:.1f}/s, {readable_seconds(left)} left"


def readable_seconds(seconds: float) -> str:
    """A duration for people.

    >>> readable_seconds(7.4), readable_seconds(125), readable_seconds(7300)
    ('7 s', '2 min 5 s', '2 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def counted(n: int, noun: str) -> str:
    """How many of something, for people; of nouns whose plural takes an s.

    >>> counted(1, "recording"), counted(0, "label"), counted(1200, "file")
    ('1 recording', '0 labels', '1200 files')
    """
    return f"{n} {noun}{'' if n == 1 else 's'}"


def whose(n_speakers: int) -> str:
    """How many speakers recordings are of, for people; 0 where nobody knows.

    >>> whose(1), whose(0)
    ('1 speaker', 'unknown speakers')
    """
    return counted(n_speakers, "speaker") if n_speakers else "unknown speakers"


def listed(names: Iterable[str]) -> str:
    """Names as people list them.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def shorten(names: Iterable[str]) -> str:
    """The first names of a list and how many more there are.

    >>> shorten("abcdefg")
    'a, b, c, d, e and 2 more'
    """
    every = list(names)
    more = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return ", ".join(every[:NAMED]) + more
