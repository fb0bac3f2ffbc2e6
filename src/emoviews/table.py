"""The utterance table: one row an utterance, and the only way recordings and labels enter.

On disk CSV (with commas, or as spreadsheets write it where the comma is decimal, with semicolons), TSV or Parquet; in Python a
pandas DataFrame. Everything is read as text, so that the label `None` and the speaker `001` survive; only times and channels
become numbers. Paths in a file are relative to the table's folder (or absolute), in memory they are absolute.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import tempfile
import unicodedata
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pandas as pd

from emoviews.errors import TableError
from emoviews.progress import NAMED, listed, shorten

COLUMNS: Final = (
    "id",
    "path",
    "start_seconds",
    "end_seconds",
    "channel",
    "speaker",
    "group",
    "split",
    "emotion",
    "text",
    "language",
    "gender",
)
"""The columns with a meaning, in the order they are written. Further columns are kept."""

ORIGINAL: Final = "original_emotion"
"""The column in which `apply_label_map` and `keep_labels` keep a row's first label; a table that has the column keeps it."""

UNDECIDED: Final = "undecided"
"""The label of utterances on which a corpus' annotators did not agree: neither unlabelled nor of another emotion."""

CORPUS: Final = "corpus"
"""The column in which `join_tables` notes where a row comes from."""

SPREADSHEETS: Final = frozenset({".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers"})
"""Suffixes of spreadsheets, which are neither read nor written."""

_COMPRESSED: Final = frozenset({".gz", ".bz2", ".xz", ".zst", ".zip"})
"""Suffixes of texts that pandas unpacks."""

_TABLES: Final = "Tables are .csv, .tsv or .parquet"
_NUMBERS: Final = ("start_seconds", "end_seconds", "channel")
_SPLITS: Final = ("train", "val", "test")


def make_table(rows: Iterable[Mapping[str, object]] | pd.DataFrame, folder: str | Path = ".") -> pd.DataFrame:
    """Turn rows into a checked utterance table.

    Args:
        rows: mappings or a DataFrame with at least `path`; missing columns are filled with their defaults.
        folder: what relative paths are relative to.

    Returns:
        All of `COLUMNS`, then further columns. Text columns are `str` with `""` for missing; `start_seconds`,
        `end_seconds` and `channel` (counted from 0) are float64 with NaN for missing. `path` is absolute, `id` unique,
        `group` defaults to `speaker`.

    Raises:
        TableError: no `path`, an empty path, two rows with one id, a time or channel that is no number, an end before its
            start, a split that is none of train, val and test. Rows are counted as in a spreadsheet: the header is row 1.

    >>> table = make_table([{"path": "/a/one.wav", "emotion": "None", "speaker": "001"}])
    >>> table.loc[0, ["id", "group", "emotion"]].tolist()
    ['one', '001', 'None']
    """
    given = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    _refuse_near_names(given)
    if "path" not in given.columns:
        have = ", ".join(map(str, given.columns)) or "none"
        raise TableError(f"The table has no column 'path' (its columns: {have}). Name the column of the files 'path'.")
    table = pd.DataFrame(index=pd.RangeIndex(len(given)))
    for column in (*COLUMNS, *(c for c in given.columns if c not in COLUMNS)):
        if column in _NUMBERS:
            table[column] = _numbers(given, column)
        else:
            table[column] = _text(given, column)
    if len(empty := np.flatnonzero(table["path"] == "")):
        raise TableError(f"Row {empty[0] + 2} of the table has an empty 'path'.")
    base = Path(folder).absolute()
    table["path"] = _strings(os.path.normpath(os.path.join(base, path)) for path in table["path"])
    _check_times(table)
    if "id" not in given.columns:
        table["id"] = _strings(_default_ids(table))
    elif (table["id"] == "").any():
        raise TableError(
            f"Row {np.flatnonzero(table['id'] == '')[0] + 2} has an empty 'id'; fill it or drop the column."
        )
    if (twice := table["id"].duplicated(keep=False)).any():
        raise TableError(_why_twice(table[table["id"] == table["id"][twice].iloc[0]], "id" in given.columns))
    table["group"] = table["group"].where(table["group"] != "", table["speaker"])
    wrong = ~table["split"].isin(("", *_SPLITS))
    if wrong.any():
        row = np.flatnonzero(wrong)[0]
        raise TableError(
            f"Row {row + 2}: 'split' is {table['split'].iloc[row]!r}; expected one of {', '.join(_SPLITS)}, or empty."
        )
    return table


def read_table(path: str | Path) -> pd.DataFrame:
    """Read an utterance table from CSV, TSV or Parquet; see `make_table` for what comes back and what is refused.

    Where the header has semicolons or tabs and no comma, these tell columns apart, and a comma in a time is decimal.

    Raises:
        TableError: the file is missing, a spreadsheet, not readable as a table, or breaks the contract.
    """
    path = Path(path)
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise TableError(f"The table {path} {kind}. To make one from a folder: emoviews corpus folder ROOT --out TABLE")
    if path.suffix.lower() in SPREADSHEETS:
        raise TableError(
            f"{path} is a spreadsheet. {_TABLES}: open it, choose 'Save as' (in some programs 'Export') and the kind 'CSV "
            "UTF-8', and name that file."
        )
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            frame = pd.read_parquet(path)
        else:
            separator = _separator(path)
            # Without index_col=False, rows with one field more than the header lose their first field to the index.
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)
                frame = pd.read_csv(
                    path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False
                )
            if separator != ",":
                for column in {"start_seconds", "end_seconds"} & set(frame.columns):
                    frame[column] = frame[column].str.replace(r"^(\s*\d+),(\d+\s*)$", r"\1.\2", regex=True)
    except pd.errors.ParserWarning as error:
        raise TableError(
            f"{path}: rows have more fields than the header has columns. Name every column, drop separators at the ends of "
            "lines, and quote fields that hold the separator."
        ) from error
    except UnicodeDecodeError as error:
        raise TableError(
            f"{path} is not UTF-8 text, as spreadsheets on Windows may write it. Save it again as 'CSV UTF-8'. ({error})"
        ) from error
    except (OSError, ValueError) as error:  # pandas' and pyarrow's parser errors are ValueErrors
        raise TableError(f"{path} can't be read as a table: {str(error).strip().rstrip('.')}. {_TABLES}.") from error
    if frame.empty:
        raise TableError(f"{path} has no rows; expected one row an utterance.")
    try:
        return make_table(frame, path.parent)
    except TableError as error:
        raise TableError(f"{path}: {error}") from error


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write an utterance table; the suffix decides the format. The file appears whole or not at all.

    Paths below the table's folder are written relative to it, so that the folder can be moved. Columns without any value are
    left out (`path` and `id` always stand).

    Raises:
        TableError: the suffix is that of a spreadsheet, which `read_table` would refuse.
    """
    path = Path(path)
    require_table_name(path)
    folder = path.absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    out = table.copy()
    out["path"] = [_relative(p, folder) for p in table["path"]]
    for column in _NUMBERS:
        out[column] = ["" if np.isnan(v) else f"{v:.10g}" for v in table[column].astype(float)]
    out = out[[c for c in out.columns if c in ("id", "path") or (out[c] != "").any()]]
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{path.name}.")
    os.close(handle)
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            out.to_parquet(temporary, index=False)
        else:
            separator = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
            # A lone carriage return ends a line for pandas' reader and is not quoted by Python's writer.
            returns = any("\r" in str(value) for column in out for value in out[column])
            quoting: Literal[0, 1] = csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
            out.to_csv(temporary, sep=separator, index=False, encoding="utf-8", quoting=quoting)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def require_table_name(path: Path) -> None:
    """Refuse to write a table by a name that is not a table's.

    Raises:
        TableError: the suffix is that of a spreadsheet.
    """
    if path.suffix.lower() in SPREADSHEETS:
        raise TableError(f"{path}: {_TABLES}. Name it {path.stem}.csv, which spreadsheets open.")


def apply_label_map(table: pd.DataFrame, label_map: Mapping[str, str]) -> pd.DataFrame:
    """Rename and merge emotions without touching the table on disk; an empty target drops the label, not the row.

    Rows whose label is dropped stay, unlabelled: they still serve pre-training. What a row was labelled before any mapping
    stays in the column `ORIGINAL`: a recording with another emotion is not one whose emotion nobody knows.

    Raises:
        TableError: a label in the map occurs nowhere in the table.

    >>> table = make_table([{"path": "a.wav", "emotion": "excited"}, {"path": "b.wav", "emotion": "other"}])
    >>> apply_label_map(table, {"excited": "happy", "other": ""})["emotion"].tolist()
    ['happy', '']
    """
    known = sorted(set(table["emotion"]) - {""})
    if unknown := [label for label in label_map if label not in known]:
        raise TableError(f"The label map names {unknown[0]!r}, which no row has. Labels: {', '.join(known) or 'none'}.")
    mapped = _strings(label_map.get(label, label) for label in table["emotion"])
    return table.assign(emotion=mapped, **{ORIGINAL: original_emotions(table)})


def keep_labels(table: pd.DataFrame, labels: Iterable[str]) -> pd.DataFrame:
    """Drop every label not in `labels` (not its row: it still serves pre-training).

    As with `apply_label_map`, what a row was labelled before stays in the column `ORIGINAL`.

    Raises:
        TableError: one of `labels` occurs nowhere in the table.
    """
    keep = set(labels)
    known = set(table["emotion"]) - {""}
    if missing := sorted(keep - known):
        raise TableError(f"No row has the emotion {missing[0]!r}. Labels: {', '.join(sorted(known)) or 'none'}.")
    kept = table["emotion"].where(table["emotion"].isin(keep), "")
    return table.assign(emotion=kept, **{ORIGINAL: original_emotions(table)})


def original_emotions(table: pd.DataFrame) -> pd.Series[str]:
    """The labels `(rows,)` before any were renamed, merged or dropped; those of a table never mapped are its emotions.

    >>> table = make_table([{"path": "a.wav", "emotion": "sad"}, {"path": "b.wav", "emotion": "fear"}, {"path": "c.wav"}])
    >>> kept = keep_labels(table, ["sad"])
    >>> kept["emotion"].tolist(), original_emotions(kept).tolist()
    (['sad', '', ''], ['sad', 'fear', ''])
    """
    return table[ORIGINAL] if ORIGINAL in table.columns else table["emotion"]


def relabel(
    tables: Sequence[pd.DataFrame], label_map: Mapping[str, str], labels: Collection[str] = ()
) -> list[pd.DataFrame]:
    """Apply one label map, then one selection of labels, to several tables: those of corpora that name emotions differently.

    Args:
        tables: of one corpus or several.
        label_map: as `apply_label_map` takes it; each label must occur in one of the tables at least.
        labels: those to keep, after mapping; all when empty. Each must occur in one of the tables at least.

    Raises:
        TableError: a label of either occurs in none of the tables.

    >>> mine = make_table([{"path": "a.wav", "emotion": "anger"}])
    >>> yours = make_table([{"path": "b.wav", "emotion": "angry"}])
    >>> [table["emotion"].tolist() for table in relabel([mine, yours], {"angry": "anger"})]
    [['anger'], ['anger']]
    """
    together = pd.concat(tables, ignore_index=True)
    mapped = apply_label_map(together, label_map)  # refuses a label that none has
    if labels:
        keep_labels(mapped, labels)
    found = []
    for table in tables:
        present = set(table["emotion"])
        table = apply_label_map(table, {old: new for old, new in label_map.items() if old in present})
        if labels:
            table = keep_labels(table, set(labels) & set(table["emotion"]))
        found.append(table)
    return found


def join_tables(first: pd.DataFrame, second: pd.DataFrame, names: tuple[str, str]) -> pd.DataFrame:
    """The rows of two corpora in one table, first those of `first`, each told apart by the column `CORPUS`.

    Ids and groups are names within a corpus: where the corpora share one, all of that column in `second` get the name of their
    corpus in front; rows of `second` without a group get its name as their group. Speakers stay as they are: a name in both may
    be one person, which is for the leakage audit to say.

    Args:
        first: an utterance table.
        second: likewise.
        names: of the two corpora.

    >>> mine = make_table([{"path": "/m/1.wav", "speaker": "Ann"}])
    >>> yours = make_table([{"path": "/y/1.wav", "speaker": "Bob"}])
    >>> join_tables(mine, yours, ("mine", "yours"))[["id", "group", "corpus"]].values.tolist()
    [['1', 'Ann', 'mine'], ['yours/1', 'Bob', 'yours']]
    """
    tables = []
    for table, name in zip((first, second), names, strict=True):
        given = table[CORPUS] if CORPUS in table.columns else pd.Series("", index=table.index, dtype=object)
        tables.append(table.assign(**{CORPUS: given.where(given != "", name), ORIGINAL: original_emotions(table)}))
    first, second = tables
    second = second.assign(group=second["group"].where(second["group"] != "", names[1]))
    for column in ("id", "group"):
        if set(first[column]) & set(second[column]):
            second = second.assign(**{column: _strings(f"{names[1]}/{value}" for value in second[column])})
    joined = pd.concat([first, second], ignore_index=True)
    extra = [column for column in joined.columns if column not in _NUMBERS]
    joined[extra] = joined[extra].astype(object).where(joined[extra].notna(), "")
    if (twice := joined["id"].duplicated()).any():
        raise TableError(
            f"The id {joined['id'][twice].iloc[0]!r} stands in both tables, even with {names[1]!r} in front. Name the corpora "
            "otherwise, or rename that id."
        )
    return joined


def table_hash(table: pd.DataFrame) -> str:
    """Twelve hexadecimal digits over what a training depends on: ids, labels, speakers, groups and splits, in order.

    Of an unlabelled row, the label that it had before counts too: it decides which pre-training data the row is.
    """
    columns = ["id", "emotion", "speaker", "group", "split"]
    digest = hashlib.sha256()
    for row, before in zip(table[columns].itertuples(index=False), original_emotions(table), strict=True):
        dropped = (before,) if before and not row[1] else ()
        digest.update("\x1f".join((*row, *dropped)).encode() + b"\x1e")
    return digest.hexdigest()[:12]


def _text(given: pd.DataFrame, column: str) -> pd.Series[str]:
    if column not in given.columns:
        return _strings("" for _ in range(len(given)))
    values = given[column].astype(object).where(given[column].notna(), "").tolist()
    return _strings(str(value).strip() for value in values)


def _strings(values: Iterable[str]) -> pd.Series[str]:
    """A text column, of Python strings whatever pandas' version prefers."""
    return pd.Series(list(values), dtype=object)


def _numbers(given: pd.DataFrame, column: str) -> pd.Series[float]:
    text = _text(given, column)
    numbers = np.full(len(text), np.nan)
    for row, value in enumerate(text):
        if value == "":
            continue
        try:
            numbers[row] = float(value)
        except ValueError:
            numbers[row] = np.inf
        if not np.isfinite(numbers[row]) or numbers[row] < 0 or (column == "channel" and numbers[row] % 1):
            kind = "a channel number (0, 1, …)" if column == "channel" else "a time in seconds (0 or more)"
            raise TableError(f"Row {row + 2}: {column!r} is {value!r}; expected {kind}.")
    return pd.Series(numbers)


def _check_times(table: pd.DataFrame) -> None:
    start = table["start_seconds"].fillna(0.0)
    if (wrong := table["end_seconds"] <= start).any():
        row = np.flatnonzero(wrong)[0]
        raise TableError(
            f"Row {row + 2}: 'end_seconds' ({table['end_seconds'].iloc[row]:g}) is not after 'start_seconds' "
            f"({start.iloc[row]:g})."
        )


def _why_twice(rows: pd.DataFrame, named: bool) -> str:
    """What to do about rows with one id.

    Args:
        rows: a part of the table, indexed as it is.
        named: whether the id was given; else it was made of path, segment and channel.
    """
    numbers = [str(row + 2) for row in rows.index]
    where = listed(numbers) if len(numbers) <= NAMED else shorten(numbers)
    first = rows.iloc[0]
    if named:
        return f"The id {first['id']!r} stands in more than one row (rows {where}); every utterance needs its own."
    if rows["path"].nunique() > 1:
        return f"Rows {where} would all have the id {first['id']!r}. Give each row an 'id' of its own."
    start, end, channel = (first[name] for name in _NUMBERS)
    segment = (
        ""
        if np.isnan([start, end]).all()
        else f", from {0 if np.isnan(start) else start:.10g} s to " + ("its end" if np.isnan(end) else f"{end:.10g} s")
    )
    part = "" if np.isnan(channel) else f", channel {channel:.0f}"
    return (
        f"The recording {first['path']}{segment}{part} stands in rows {where}. Keep one row of each recording; if all are "
        "meant, add a column 'id' with a name of its own for each row."
    )


def _default_ids(table: pd.DataFrame) -> list[str]:
    """File name without suffix; with the folders that tell equal names apart, then segment and channel, where needed.

    A segment is named by its start, and by its end as well where others of its file start with it.
    """
    paths = [Path(p) for p in table["path"]]
    ids = [p.stem for p in paths]
    distinct: dict[str, set[Path]] = {}
    for stem, p in zip(ids, paths, strict=True):
        distinct.setdefault(stem, set()).add(p)
    if any(len(files) > 1 for files in distinct.values()):
        common = Path(os.path.commonpath([p.parent for p in paths]))
        ids = [p.relative_to(common).as_posix() for p in paths]
    starts, ends, channels = table["start_seconds"], table["end_seconds"], table["channel"]
    ids = [i if np.isnan(s) else f"{i}@{s:.10g}" for i, s in zip(ids, starts, strict=True)]
    places = list(zip(ids, channels.fillna(-1.0), strict=True))
    sharing = Counter(places)
    ids = [
        f"{i}-{e:.10g}" if sharing[i, c] > 1 and not np.isnan(e) else i for (i, c), e in zip(places, ends, strict=True)
    ]
    return [i if np.isnan(c) else f"{i}#{c:.0f}" for i, c in zip(ids, channels, strict=True)]


def alike(names: Iterable[str]) -> list[list[str]]:
    """Names that differ in upper and lower case, spaces or how accents are coded (NFC, NFD) alone, together.

    >>> alike(["Ann", "Bob", "ann ", "", "Ann"])
    [['Ann', 'ann ']]
    """
    found: dict[str, list[str]] = {}
    for name in sorted(set(names) - {""}):
        found.setdefault(" ".join(unicodedata.normalize("NFC", name).split()).casefold(), []).append(name)
    return [same for same in found.values() if len(same) > 1]


def _separator(path: Path) -> str:
    """What tells the columns of a text apart: by its suffix, or by its header, the first line that is not blank.

    Raises:
        OSError: it can't be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    if path.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    if path.suffix.lower() in _COMPRESSED:
        return ","
    with path.open(encoding="utf-8-sig") as lines:
        header = next((line for line in lines if line.strip()), "")
    unquoted = re.sub(r'"[^"]*"', "", header.strip("\r\n"))
    return next((separator for separator in ",;\t" if separator in unquoted), ",")


def _refuse_near_names(given: pd.DataFrame) -> None:
    """A column that is meant must not be passed over for its spelling.

    Raises:
        TableError: a column that differs from one of `COLUMNS`, which is missing, in upper and lower case or spaces alone.
    """
    for name in given.columns:
        meant = str(name).strip().casefold()
        if meant in COLUMNS and meant not in given.columns:
            raise TableError(f"The table has the column {str(name)!r}; expected {meant!r}, spelt like that. Rename it.")


def _relative(path: str, folder: Path) -> str:
    absolute = Path(path)
    return absolute.relative_to(folder).as_posix() if absolute.is_relative_to(folder) else absolute.as_posix()
