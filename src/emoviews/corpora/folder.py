"""A folder of one's own recordings, one sub-folder a class: `angry/a.wav`, `happy/session1/b.flac`, `unlabelled/c.mp3`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from emoviews.audio import AUDIO_SUFFIXES
from emoviews.corpora import Corpus, ParsedCorpus
from emoviews.corpora._common import Row, check_folder, unlike, visible_files, visible_folders, walk_files
from emoviews.progress import counted, shorten
from emoviews.table import make_table

UNLABELLED: Final = frozenset({"unlabelled", "unlabeled"})
"""Sub-folders of these names (in any case) hold recordings without a label."""


class Folder(Corpus):
    """The name of the sub-folder is the emotion, as it is written; folders below it don't matter.

    Recordings directly in the root are unlabelled. The id is the path below the root, which does not change when other
    recordings are added.
    """

    name = "folder"
    title = "a folder with one sub-folder a class"
    licence = "that of the recordings"
    citation = "none asked for: these are recordings of your own"
    url = "https://github.com/emoviews/emoviews"

    def parse(self, root: Path, preset: str | None = None) -> ParsedCorpus:
        """List the recordings below `root`.

        Raises:
            CorpusError: `root` is missing or no folder, or there is no recording below it.
            UsageError: a preset is given; there is none.
        """
        self.check_preset(preset)
        looked_for = f"recordings ({', '.join(sorted(AUDIO_SUFFIXES))}) in one sub-folder a class"
        check_folder(root, title=self.title, looked_for=looked_for)
        files = {"": visible_files(root, AUDIO_SUFFIXES)}
        files |= {folder.name: walk_files(folder, AUDIO_SUFFIXES) for folder in visible_folders(root)}
        rows: list[Row] = []
        for label, paths in files.items():
            emotion = "" if label.lower() in UNLABELLED else label
            for path in paths:
                rows.append({"id": Path(os.path.relpath(path, root)).as_posix(), "path": path, "emotion": emotion})
        if not rows:
            raise unlike(root, title=self.title, looked_for=looked_for)
        warnings = [
            "The folders name no speakers, so the columns 'speaker' and 'group' are empty: fill in 'speaker' before you "
            "trust a score, or one voice may stand in training and test."
        ]
        if empty := [label for label, paths in files.items() if label and not paths]:
            warnings.append(f"{counted(len(empty), 'sub-folder')} without a recording: {shorten(empty)}.")
        return ParsedCorpus(make_table(sorted(rows, key=lambda row: str(row["id"])), root), tuple(warnings))


CORPUS = Folder()
