"""Files, folders and tables → the rows that a recogniser judges: whole recordings or windows, all channels or each.

Nothing is decoded here but headers. A file that can't be opened stays a row, so that what is wrong with it is said there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from emoviews import audio
from emoviews.errors import AudioError, MissingExtraError, UsageError
from emoviews.table import SPREADSHEETS, make_table, read_table

TABLE_SUFFIXES: Final = frozenset({".csv", ".tsv", ".tab", ".txt", ".parquet", ".pq"}) | SPREADSHEETS
"""Of what is no recording and read as a table; `read_table` says what to do about a spreadsheet."""


def gather(inputs: Sequence[Path]) -> pd.DataFrame:
    """An utterance table of all recordings in files, folders (sub-folders too) and tables.

    Raises:
        UsageError: nothing was given, something does not exist, or a folder has no recordings.
        TableError: a table breaks its contract.
    """
    rows: list[pd.DataFrame] = []
    for place in inputs:
        if place.is_dir():
            found = sorted(p for p in place.rglob("*") if p.suffix.lower() in audio.AUDIO_SUFFIXES and p.is_file())
            if not found:
                raise UsageError(f"The folder {place} has no recordings ({', '.join(sorted(audio.AUDIO_SUFFIXES))}).")
            names = [path.relative_to(place).with_suffix("").as_posix() for path in found]
            rows.append(make_table([{"id": n, "path": str(p)} for n, p in zip(distinct(names), found, strict=True)]))
        elif place.suffix.lower() in TABLE_SUFFIXES:
            rows.append(read_table(place))
        elif place.exists():
            rows.append(make_table([{"id": place.stem, "path": str(place)}]))
        else:
            raise UsageError(f"{place}: there is no such file or folder.")
    if not rows:
        raise UsageError("Name at least one recording, folder or table.")
    table = pd.concat(rows, ignore_index=True)
    text = [column for column in table.columns if column not in ("start_seconds", "end_seconds", "channel")]
    table[text] = table[text].astype(object).where(table[text].notna(), "")
    table["id"] = pd.Series(distinct(list(table["id"])), dtype=object)
    return table


def by_channel(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each channel of a file that has several, where the table names none: a call has a party on each."""
    counts = {path: _channels(path) for path in dict.fromkeys(table["path"])}
    rows: list[dict[Any, Any]] = []
    for row in table.to_dict("records"):
        number = counts[row["path"]]
        if number == 1 or not math.isnan(row["channel"]):
            rows.append(row)
        else:
            rows += [
                {
                    **row,
                    "id": f"{row['id']}#{channel}",
                    "channel": float(channel),
                    "speaker": f"{row['speaker']}#{channel}" if row["speaker"] else "",
                }
                for channel in range(number)
            ]
    return pd.DataFrame(rows, columns=table.columns)


def windows(table: pd.DataFrame, window_seconds: float, hop_seconds: float) -> pd.DataFrame:
    """A row for each window that slides over each row's stretch; what is shorter than one window stays one row.

    The last window ends with the stretch, so that nothing is left out. A stretch that ends beyond its file stays one row, so
    that what is wrong with it is said once.

    Raises:
        UsageError: a window shorter than 0.1 s, or a hop that is not above 0.

    >>> from emoviews.table import make_table
    >>> table = make_table([{"path": "a.wav", "start_seconds": 0, "end_seconds": 10}])
    >>> windows(table, 4, 4)[["start_seconds", "end_seconds"]].values.tolist()
    [[0.0, 4.0], [4.0, 8.0], [6.0, 10.0]]
    """
    if not window_seconds >= audio.MINIMUM_SECONDS:
        raise UsageError(f"Expected a window of at least {audio.MINIMUM_SECONDS} s, e.g. 4; got {window_seconds:g}.")
    if not hop_seconds > 0:
        raise UsageError(f"Expected a hop above 0 s, e.g. {window_seconds / 4:g}; got {hop_seconds:g}.")
    lengths = {path: _duration(path) for path in dict.fromkeys(table["path"])}
    rows: list[dict[Any, Any]] = []
    for row in table.to_dict("records"):
        start = 0.0 if math.isnan(row["start_seconds"]) else row["start_seconds"]
        length = lengths[row["path"]]
        end = length if math.isnan(row["end_seconds"]) else row["end_seconds"]
        # Where the length is not known, a segment is taken at its word, and a whole recording stays one row.
        if end > length + audio.TOLERANCE_SECONDS or not end - start > window_seconds:
            rows.append(row)
            continue
        last = end - window_seconds
        starts = [*np.arange(start, last - 1e-6, hop_seconds).tolist(), last]
        for first in starts:
            place = {"start_seconds": round(first, 6), "end_seconds": round(first + window_seconds, 6)}
            rows.append({**row, "id": f"{row['id']}@{first:.10g}", **place})
    return pd.DataFrame(rows, columns=table.columns)


def longer(table: pd.DataFrame, seconds: float) -> int:
    """How many stretches last longer, those of several channels counted once."""
    places = table[["path", "start_seconds", "end_seconds"]].drop_duplicates()
    lengths = {path: _duration(path) for path in dict.fromkeys(places["path"][places["end_seconds"].isna()])}
    starts = places["start_seconds"].fillna(0.0)
    ends = places["end_seconds"].fillna(places["path"].map(lengths))
    return int((ends - starts > seconds).sum())  # not those whose length is not known


def _channels(path: str) -> int:
    try:
        return audio.probe(path).channels
    except (AudioError, MissingExtraError):
        return 1


def _duration(path: str) -> float:
    try:
        return audio.probe(path).duration_seconds
    except (AudioError, MissingExtraError):
        return math.nan


def distinct(names: Sequence[str]) -> list[str]:
    """Names with a number behind those that came before.

    >>> distinct(["a", "b", "a", "a-2"])
    ['a', 'b', 'a-2', 'a-2-2']
    """
    taken: set[str] = set()
    found = []
    for name in names:
        candidate, number = name, 1
        while candidate in taken:
            number += 1
            candidate = f"{name}-{number}"
        taken.add(candidate)
        found.append(candidate)
    return found
