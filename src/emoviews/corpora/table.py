"""a table of one's own that already follows the contract of `emoviews.table`: checked, and rewritten where it is wanted."""

from __future__ import annotations

from pathlib import Path

from emoviews.corpora import Corpus, ParsedCorpus
from emoviews.corpora._common import exist, report_missing
from emoviews.errors import CorpusError
from emoviews.table import read_table


class Table(Corpus):
    """A CSV, TSV or Parquet file with at least a column `path`; its order of rows is kept."""

    name = "table"
    title = "a table of one's own"
    licence = "that of the recordings"
    citation = "none asked for: these are recordings of your own"
    url = "https://github.com/emoviews/emoviews"

    def parse(self, root: Path, preset: str | None = None) -> ParsedCorpus:
        """Read the table at `root`; rows whose recording is missing are left out with a warning.

        Raises:
            CorpusError: `root` is missing, or a folder, or not one of its recordings is there.
            TableError: the table breaks the contract; the message names the row.
            UsageError: a preset is given; there is none.
        """
        self.check_preset(preset)
        if not root.is_file():
            kind = "is a folder" if root.is_dir() else "does not exist"
            raise CorpusError(
                f"{root} {kind}; looked for a table file (.csv, .tsv or .parquet) with a column 'path'. "
                "For a folder of recordings with one sub-folder a class: emoviews corpus folder ROOT --out TABLE"
            )
        table = read_table(root)
        there = exist(table["path"])
        missing = [path for path, is_there in zip(table["path"], there, strict=True) if not is_there]
        warnings = report_missing(missing, len(table), str(root))
        return ParsedCorpus(table[there].reset_index(drop=True), tuple(warnings))


CORPUS = Table()
