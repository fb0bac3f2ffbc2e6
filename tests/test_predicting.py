"""Which rows are judged: files, folders, tables, windows, channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from emoviews.errors import TableError, UsageError
from emoviews.predicting import by_channel, gather, longer, windows
from emoviews.table import make_table


def sound(path: Path, seconds: float = 1.0, channels: int = 1, rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=(int(seconds * rate), channels)), rate)
    return path


def test_folders_files_and_tables_come_together(tmp_path: Path) -> None:
    sound(tmp_path / "f" / "a.wav")
    sound(tmp_path / "f" / "b" / "a.wav")
    (tmp_path / "f" / "notes.txt").write_text("no audio")
    alone = sound(tmp_path / "a.wav")
    (tmp_path / "t.csv").write_text("id,path,speaker\nx,f/a.wav,Ann\n")
    table = gather([tmp_path / "f", alone, tmp_path / "t.csv"])
    assert list(table["id"]) == ["a", "b/a", "a-2", "x"]
    assert list(table["speaker"]) == ["", "", "", "Ann"]


def test_nothing_to_judge_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file or folder"):
        gather([tmp_path / "gone.wav"])
    with pytest.raises(UsageError, match="has no recordings"):
        gather([tmp_path])
    with pytest.raises(UsageError, match="Name at least one"):
        gather([])


def test_windows_tile_a_recording_to_its_end(tmp_path: Path) -> None:
    table = gather([sound(tmp_path / "long.wav", 5.3), sound(tmp_path / "short.wav", 1.5)])
    slid = windows(table, 2.0, 1.0)
    long = slid[slid["path"].str.contains("long")]
    assert long["start_seconds"].tolist() == pytest.approx([0, 1, 2, 3, 3.3])
    assert long["end_seconds"].iloc[-1] == pytest.approx(5.3)
    assert len(slid) - len(long) == 1
    assert slid["id"].is_unique


@pytest.mark.parametrize(
    ("window", "hop", "why"),
    [
        (0.05, 1.0, r"window of at least 0\.1 s, e\.g\. 4; got 0\.05"),
        (-4.0, -4.0, "window of at least .* got -4"),
        (float("nan"), 1.0, "window of at least"),
        (2.0, 0.0, r"hop above 0 s, e\.g\. 0\.5; got 0"),
    ],
)
def test_impossible_windows_are_refused(window: float, hop: float, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        windows(make_table([{"path": "a.wav"}]), window, hop)


def test_each_channel_is_a_row_and_a_speaker(tmp_path: Path) -> None:
    table = gather([sound(tmp_path / "call.wav", channels=2), sound(tmp_path / "mono.wav"), tmp_path / "call.wav"])
    table.loc[2, "channel"] = 1.0
    split = by_channel(table.assign(speaker="line"))
    assert list(split["id"]) == ["call#0", "call#1", "mono", "call-2"]
    assert list(split["speaker"]) == ["line#0", "line#1", "line", "line"]


def test_what_lasts_longer_is_counted_once_for_all_its_channels(tmp_path: Path) -> None:
    call = str(sound(tmp_path / "call.wav", 5.3, channels=2))
    (tmp_path / "text.wav").write_text("hello")
    rows = [
        {"path": call},
        {"path": call, "start_seconds": 1.0},
        {"path": call, "start_seconds": 1.5},
        {"path": call, "end_seconds": 3.0},
        {"path": str(tmp_path / "text.wav")},
    ]
    table = by_channel(make_table([{"id": str(n), **row} for n, row in enumerate(rows)]))
    assert len(table) == 9
    assert [longer(table, seconds) for seconds in (2, 3, 4, 6)] == [4, 3, 2, 0]


def test_a_file_that_is_no_audio_stays_a_row(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("hello")
    table = gather([tmp_path / "text.wav"])
    assert len(windows(by_channel(table), 4, 1)) == 1


def test_a_segment_that_ends_beyond_its_file_stays_one_row(tmp_path: Path) -> None:
    path = str(sound(tmp_path / "a.wav", 27.0))
    (tmp_path / "text.wav").write_text("hello")
    rows = [
        {"path": path, "start_seconds": 3, "end_seconds": 900},
        {"path": path, "start_seconds": 20, "end_seconds": 27.05},
        {"path": path, "start_seconds": 900},
        {"path": str(tmp_path / "text.wav"), "start_seconds": 3, "end_seconds": 13},
    ]
    slid = windows(make_table([{"id": str(n), **row} for n, row in enumerate(rows)]), 4, 4)
    assert list(slid["id"]) == ["0", "1@20", "1@23.05", "2", "3@3", "3@7", "3@9"], "rounding is no error"
    assert slid.loc[0, ["start_seconds", "end_seconds"]].tolist() == [3, 900]


def test_a_text_is_a_table_and_a_spreadsheet_is_neither_table_nor_recording(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("path\tspeaker\na.wav\tAnn\n")
    assert gather([tmp_path / "t.txt"])["speaker"].tolist() == ["Ann"]
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    with pytest.raises(TableError, match=r"t\.xlsx is a spreadsheet"):
        gather([tmp_path / "t.xlsx"])
