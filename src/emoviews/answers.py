"""The answers of `emoviews predict` as a file: written as its suffix says, and over nothing but earlier answers.

People run a command twice, so a file that holds answers itself is replaced; everything else is theirs.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from emoviews.audio import AUDIO_SUFFIXES
from emoviews.errors import UsageError
from emoviews.progress import listed
from emoviews.table import SPREADSHEETS

Kind = Literal["csv", "tsv", "parquet", "json", "lines"]
"""How answers are written: lines are JSON, one object a line; json is one array of the same objects."""

SUFFIXES: Final[dict[str, Kind]] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".json": "json",
    ".jsonl": "lines",
    ".ndjson": "lines",
}

COLUMNS: Final = (
    *("id", "path", "start_seconds", "end_seconds", "emotion", "confidence"),
    *("channel", "speaker", "mode", "problem", "warning"),
)
"""What `Recognised.frame` has, beside a column `p_EMOTION` for each emotion."""


def kind_of(out: Path, format: Literal["table", "csv", "json"]) -> Kind:
    """How answers are to be written to a file.

    Args:
        out: the file.
        format: that was asked for; table where the suffix decides.

    Raises:
        UsageError: the suffix is that of a recording or spreadsheet, says another format, or is not known and none was asked
            for.

    >>> kind_of(Path("a.tsv"), "table"), kind_of(Path("a"), "table")
    ('tsv', 'csv')
    >>> kind_of(Path("a"), "json"), kind_of(Path("a.json"), "json")
    ('lines', 'json')
    """
    suffix = out.suffix.lower()
    if suffix in AUDIO_SUFFIXES:
        raise UsageError(f"--out {out} is the name of a recording; name another file for the answers: {out.stem}.csv")
    named = SUFFIXES.get(suffix)
    if suffix in SPREADSHEETS:
        raise UsageError(f"--out {out} is the name of a spreadsheet. Name it {out.stem}.csv, which spreadsheets open.")
    if format == "table":
        if named is None and suffix:
            raise UsageError(
                f"--out {out}: what is to be written is not known by the suffix {suffix}. Known are {listed(SUFFIXES)}; or say "
                "--format csv or --format json."
            )
        return named or "csv"
    if named is not None and named not in (("csv",) if format == "csv" else ("json", "lines")):
        raise UsageError(f"--format {format} contradicts --out {out}. Leave --format out, or name another suffix.")
    return named or ("csv" if format == "csv" else "lines")


def require_replaceable(out: Path, read: Iterable[Path], folders: Iterable[tuple[str, Path]]) -> None:
    """Refuse to write over anything but answers.

    Args:
        out: the file to write.
        read: recordings and tables that the answers are made from.
        folders: whose files no answers may lie among, each with what it is in words.

    Raises:
        UsageError: with the file and the reason.
    """
    place, remedy = out.resolve(), "name another file for the answers."
    if place in {path.resolve() for path in read}:
        raise UsageError(f"--out {out} is a recording, or one of the tables to read; {remedy}")
    for what, folder in folders:
        if place.is_relative_to(folder.resolve()):
            raise UsageError(f"--out {out} lies in the folder of the {what}, {folder}; name a file elsewhere.")
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder; name a file for the answers, e.g. {out / 'answers.csv'}")
    if out.exists() and not _holds_answers(out):
        raise UsageError(f"--out {out} is there and holds no answers of `predict`; {remedy} Or move it away first.")
    there = next(folder for folder in out.absolute().parents if folder.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise UsageError(f"--out {out}: no file can be made in {there}; {remedy}")


def written(results: pd.DataFrame, kind: Kind) -> bytes:
    """The results, numbers rounded to 6 places, text as UTF-8; in JSON a missing value is null."""
    shown = results.copy()
    numbers = shown.select_dtypes("number").columns
    shown[numbers] = shown[numbers].round(6)
    if kind == "parquet":
        blob = io.BytesIO()
        shown.to_parquet(blob, index=False)
        return blob.getvalue()
    if kind in ("json", "lines"):
        rows = [json.dumps(_with_nulls(row), ensure_ascii=False) for row in shown.to_dict("records")]
        text = "[\n" + ",\n".join(rows) + "\n]\n" if kind == "json" else "\n".join(rows) + "\n"
    else:
        text = shown.to_csv(sep="\t" if kind == "tsv" else ",", index=False)
    return text.encode()


def _with_nulls(row: dict[Any, Any]) -> dict[Any, Any]:
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}


def _holds_answers(path: Path) -> bool:
    """Whether the columns of a file are those of answers and no others, whatever its name says."""
    if not path.is_file():  # a device or a pipe
        return False
    try:
        with path.open("rb") as file:
            is_parquet = file.read(4) == b"PAR1"
        columns = _parquet_columns(path) if is_parquet else _text_columns(path)
    except (OSError, ValueError, csv.Error):  # what is no text, JSON or parquet raises ValueErrors
        return False
    return [name for name in columns if not name.startswith("p_")] == list(COLUMNS)


def _parquet_columns(path: Path) -> Sequence[str]:
    import pyarrow.parquet

    names: Sequence[str] = pyarrow.parquet.read_schema(path).names
    return names


def _text_columns(path: Path) -> Sequence[str]:
    """Of a table in text, or of the first object of JSON as `written` writes it."""
    with path.open(encoding="utf-8-sig") as lines:
        first = next(lines, "").strip("\n")
        if first == "[":
            first = next(lines, "").rstrip(",\n")
    if first.startswith("{"):
        return list(json.loads(first))
    return next(csv.reader([first], delimiter="\t" if "\t" in first else ","), [])
