"""Databases in audformat, a folder with a header `db.yaml`, tables and media; read into our table, and our table into one.

Format and reference implementation: J. Wagner, H. Wierstorf and others, https://audeering.github.io/audformat/. The
package is the extra `[audformat]`.

Reading asks the database for its scheme (or column) `emotion` and, beside it, for what `COLUMNS` names, which may be
columns of any table or properties of another scheme (a speaker's gender). Tables that belong to a split of type train,
dev or test give the column `split`. A start of 0 with an open end is the whole file and becomes no segment at all.

Writing makes one table `utterances`, filewise if no row has a segment, and one table `split.<name>` for each split.
Reading it back gives the same columns of `COLUMNS`; further columns are written as text and not read back.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from emoviews.corpora import Corpus, ParsedCorpus
from emoviews.corpora._common import GENDERS, exist, find_release, report_missing
from emoviews.errors import CorpusError, MissingExtraError
from emoviews.table import make_table

COLUMNS: Final = {
    "id": ("id",),
    "speaker": ("speaker",),
    "group": ("group",),
    "text": ("transcription", "text"),
    "language": ("language",),
    "gender": ("gender",),
    "age": ("age",),
    "channel": ("channel",),
}
"""Our column → the names of schemes or columns that it is read from, the first with a value; written under the first."""
SPLITS: Final = {"train": "train", "dev": "val", "test": "test"}
"""Type of an audformat split → ours."""
_HEADER: Final = "db.yaml"
_DECIMALS: Final = 9
"""audformat keeps times in nanoseconds."""


class Audformat(Corpus):
    """Any audformat database with a scheme or column `emotion`."""

    name = "audformat"
    title = "a database in audformat"
    licence = "that of the database, in the fields 'license' and 'usage' of its db.yaml"
    citation = "that of the database, in the fields 'author' and 'description' of its db.yaml"
    url = "https://audeering.github.io/audformat/"

    def parse(self, root: Path, preset: str | None = None) -> ParsedCorpus:
        """Read the database in the folder `root`; files that are missing are left out with a warning.

        Raises:
            CorpusError: there is no database, it can't be read, it has no emotions or several for one recording, or not one of
                its files is there.
            MissingExtraError: audformat is not installed.
            UsageError: a preset is given; there is none.
        """
        self.check_preset(preset)
        folder = find_release(
            root,
            lambda folder: (folder / _HEADER).is_file(),
            title=self.title,
            looked_for=f"the header {_HEADER}",
        )
        audformat = _import_audformat()
        try:
            database = audformat.Database.load(os.fspath(folder))
            wanted = [name for names in COLUMNS.values() for name in names]
            labels = database.get("emotion", wanted)
        except Exception as error:  # a damaged header or table raises whatever YAML, pandas or pyarrow raise
            reason = " ".join(str(error).split())
            raise CorpusError(
                f"The database in {folder} can't be read: {reason}. It needs one emotion a recording or segment; where raters "
                "differ, keep the table of agreed labels."
            ) from error
        if labels.empty:
            schemes = ", ".join(database.schemes) or "none"
            raise CorpusError(
                f"The database in {folder} has no labels of a scheme or column 'emotion'; its schemes: {schemes}."
            )
        rows = _rows(audformat, database, labels, folder).sort_values(["path", "start_seconds"], kind="stable")
        there = np.array(exist(rows["path"]))
        warnings = report_missing(rows["path"][~there].tolist(), len(rows), f"the database {database.name}")
        return ParsedCorpus(make_table(rows[there], folder), tuple(warnings))


def to_audformat(table: pd.DataFrame, name: str, *, root: str | Path | None = None) -> Any:
    """Turn an utterance table into an audformat database.

    Args:
        table: as `make_table` returns it.
        name: of the database.
        root: the folder the database is to be saved in with `save`. Files below it are named relative to it, which is
            what makes a database portable; all others, and without a root all, keep their absolute path.

    Returns:
        `audformat.Database` with the table `utterances` and a table `split.<name>` for each split.

    Raises:
        MissingExtraError: audformat is not installed.
    """
    audformat = _import_audformat()
    database = audformat.Database(name, description="Written by EmoViews from an utterance table.")
    base = None if root is None else Path(root).absolute()
    files = [_relative_to(path, base) for path in table["path"]]
    if table["start_seconds"].isna().all() and table["end_seconds"].isna().all() and len(set(files)) == len(files):
        index = audformat.filewise_index(files)
    else:
        starts = pd.to_timedelta(table["start_seconds"].fillna(0.0).to_numpy(), unit="s")
        ends = pd.to_timedelta(table["end_seconds"].to_numpy(), unit="s")
        index = audformat.segmented_index(files, starts, ends)
    for column in ("emotion", "speaker", "gender"):
        if labels := sorted(set(table[column]) - {""}):
            database.schemes[column] = audformat.Scheme(labels=labels)
    database["utterances"] = audformat.Table(index)
    skipped = {"path", "start_seconds", "end_seconds", "split"}
    for column in table.columns:
        values = [None if pd.isna(value) or value == "" else value for value in table[column]]
        if column not in skipped and any(value is not None for value in values):
            title = COLUMNS.get(column, (column,))[0]
            scheme = column if column in database.schemes else None
            database["utterances"][title] = audformat.Column(scheme_id=scheme)
            database["utterances"][title].set(values)
    for kind, split in SPLITS.items():
        if (chosen := (table["split"] == split).to_numpy()).any():
            database.splits[split] = audformat.Split(kind)
            database[f"split.{split}"] = audformat.Table(index[chosen], split_id=split)
    return database


def _import_audformat() -> Any:
    try:
        import audformat
    except ImportError as error:
        raise MissingExtraError("The corpus 'audformat'", package="audformat", extra="audformat") from error
    return audformat


def _rows(audformat: Any, database: Any, labels: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The labels, one row a file or segment, in our columns."""
    segments = audformat.utils.to_segmented_index(labels.index)
    split = pd.Series("", index=segments)
    for table in database.tables.values():
        if table.split_id is not None and (ours := SPLITS.get(database.splits[table.split_id].type)):
            split[segments.isin(audformat.utils.to_segmented_index(table.index))] = ours
    text = pd.DataFrame({name: _text(labels[name]) for name in labels.columns}).reset_index(drop=True)
    rows = pd.DataFrame({"path": [os.path.join(folder, file) for file in segments.get_level_values("file")]})
    start, end = (segments.get_level_values(level).total_seconds().to_numpy() for level in ("start", "end"))
    is_whole = (start == 0) & np.isnan(end)
    rows["start_seconds"] = np.where(is_whole, np.nan, start.round(_DECIMALS))
    rows["end_seconds"] = end.round(_DECIMALS)
    rows["split"] = split.to_numpy()
    rows["emotion"] = text["emotion"]
    for column, names in COLUMNS.items():
        values = text[names[0]]
        for name in names[1:]:
            values = values.where(values != "", text[name])
        rows[column] = values
    rows["gender"] = [GENDERS.get(value.lower(), value) for value in rows["gender"]]
    if len(database.languages) == 1:
        rows["language"] = rows["language"].where(rows["language"] != "", database.languages[0])
    if (rows["id"] == "").all():
        rows = rows.drop(columns="id")  # so that `make_table` gives ids from path and start
    return rows


def _text(values: pd.Series[Any]) -> list[str]:
    return ["" if pd.isna(value) else str(value) for value in values]


def _relative_to(path: str, base: Path | None) -> str:
    if base is not None and Path(path).is_relative_to(base):
        return Path(path).relative_to(base).as_posix()
    return path


CORPUS = Audformat()
