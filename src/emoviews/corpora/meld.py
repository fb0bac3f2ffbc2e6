"""Multimodal EmotionLines Dataset (MELD): utterances of the television series Friends, seven emotions, official split.

`train_sent_emo.csv`, `dev_sent_emo.csv` and `test_sent_emo.csv` list the utterances; a clip is
`dia{dialogue}_utt{number}.mp4` in `train_splits`, `dev_splits_complete` or `output_repeated_splits_test`, or a
converted `.wav` of that name there or in a folder with `_wav` appended. Names and counts are those of the corpus'
documentation (https://github.com/declare-lab/MELD). Dialogues are counted from 0 again in every part, so an id starts
with its part: `train_dia0_utt0`.

Quirks of the release, from the issues of its repository: the clip dia125_utt3 of train can't be decoded (39) and is
left out; dia110_utt7 of dev is missing (27); `final_videos_testdia*` in the test folder are corrected clips of the
utterances they name and are read in place of the plain ones; three wrongly cut clips, two of them minutes long (20),
are kept but named in a warning. Clips that no table lists (22) are not read.

Two things to know before using the speakers: the split is not speaker-independent (the six main characters are in all
three parts), and `Man`, `Nurse` or `All` may be somebody else in every dialogue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from emoviews.corpora import Corpus, ParsedCorpus
from emoviews.corpora._common import (
    Row,
    check_folder,
    compare_counts,
    index_by_stem,
    read_columns,
    report_missing,
    unlike,
    visible_files,
    visible_folders,
)
from emoviews.progress import counted, shorten
from emoviews.table import make_table

PARTS: Final = {"train": "train", "dev": "val", "test": "test"}
"""Part of the release → its split in our tables."""
FOLDERS: Final = {
    "train": ("train_splits",),
    "dev": ("dev_splits_complete", "dev_splits"),
    "test": ("output_repeated_splits_test", "test_splits"),
}
"""Part → what its folder of clips is called, with or without `_wav` appended."""
PUBLISHED: Final = {
    "train": {
        "neutral": 4710,
        "joy": 1743,
        "surprise": 1205,
        "anger": 1109,
        "sadness": 683,
        "disgust": 271,
        "fear": 268,
    },
    "dev": {"neutral": 470, "joy": 163, "surprise": 150, "anger": 153, "sadness": 111, "disgust": 22, "fear": 40},
    "test": {"neutral": 1256, "joy": 402, "surprise": 281, "anger": 345, "sadness": 208, "disgust": 68, "fear": 50},
}
GENDERS: Final = {
    "Chandler": "male",
    "Joey": "male",
    "Ross": "male",
    "Monica": "female",
    "Phoebe": "female",
    "Rachel": "female",
}
"""Of the six main characters, who speak most of the corpus; the corpus does not give it for the others."""
CORRUPT: Final = frozenset({"train_dia125_utt3"})
WRONGLY_CUT: Final = frozenset({"train_dia309_utt0", "test_dia38_utt4", "test_dia220_utt0"})
_COLUMNS: Final = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "Season", "Episode")
_SUFFIXES: Final = (".wav", ".flac", ".mp4")
_CORRECTED: Final = "final_videos_test"
_DEPTH: Final = 4
"""The archives nest tables and clips up to three folders below the top one, e.g. MELD/MELD.Raw/train/train_splits."""


class Meld(Corpus):
    """Columns beyond the contract's: `dialogue` (within its part), `sentiment`, `season`, `episode`."""

    name = "meld"
    title = "Multimodal EmotionLines Dataset (MELD)"
    licence = "GPL-3.0 for the annotations; the clips are cut from a copyrighted television series, for research"
    citation = (
        "S. Poria, D. Hazarika, N. Majumder, G. Naik, E. Cambria, R. Mihalcea: MELD: A multimodal multi-party dataset for "
        "emotion recognition in conversations. Proc. ACL 2019, pp. 527-536."
    )
    url = "https://affective-meld.github.io"

    def parse(self, root: Path, preset: str | None = None) -> ParsedCorpus:
        """Parse the three tables and the clips, wherever they lie at most three folders below `root`.

        Raises:
            CorpusError: there is no table, a table lacks a column, or not one clip is there.
            UsageError: a preset is given; there is none.
        """
        self.check_preset(preset)
        looked_for = "train_sent_emo.csv, dev_sent_emo.csv or test_sent_emo.csv"
        check_folder(root, title=self.title, looked_for=looked_for)
        tables, folders = _locate(root)
        if not tables:
            raise unlike(root, title=self.title, looked_for=looked_for)
        rows: list[Row] = []
        labels: list[str] = []
        missing: list[str] = []
        corrupt: list[str] = []
        corrected = 0
        for part, table in tables.items():
            clips = index_by_stem(
                [path for folder in folders[part] for path in visible_files(folder, _SUFFIXES)], _SUFFIXES
            )
            for entry in read_columns(table, _COLUMNS, title="MELD").to_dict("records"):
                clip = f"dia{entry['Dialogue_ID']}_utt{entry['Utterance_ID']}"
                identity = f"{part}_{clip}"
                emotion = entry["Emotion"].strip().lower()
                labels.append(f"{part} {emotion}")
                is_corrected = f"{_CORRECTED}{clip}" in clips
                path = clips.get(f"{_CORRECTED}{clip}" if is_corrected else clip, "")
                if identity in CORRUPT:
                    corrupt.append(identity)
                    continue
                if not path:
                    missing.append(identity)
                    continue
                corrected += is_corrected
                rows.append(
                    {
                        "id": identity,
                        "path": path,
                        "speaker": entry["Speaker"].strip(),
                        "split": PARTS[part],
                        "emotion": emotion,
                        "text": entry["Utterance"],
                        "language": "en",
                        "gender": GENDERS.get(entry["Speaker"].strip(), ""),
                        "dialogue": f"{part}_dia{entry['Dialogue_ID']}",
                        "sentiment": entry["Sentiment"],
                        "season": entry["Season"],
                        "episode": entry["Episode"],
                    }
                )
        published = {f"{part} {name}": count for part, counts in PUBLISHED.items() for name, count in counts.items()}
        warnings = compare_counts(labels, published, "MELD") + report_missing(missing, len(labels), "MELD")
        if corrupt:
            warnings.append(f"{shorten(corrupt)} can't be decoded in the release and is left out.")
        if corrected:
            warnings.append(f"{corrected} test utterances are read from their corrected clips {_CORRECTED}*.")
        if cut := sorted(WRONGLY_CUT.intersection(str(row["id"]) for row in rows)):
            warnings.append(
                f"{counted(len(cut), 'clip')} wrongly cut in the release, with other speech than their text: {shorten(cut)}."
            )
        return ParsedCorpus(make_table(sorted(rows, key=_order), root), tuple(warnings))


def _order(row: Mapping[str, object]) -> tuple[int, list[str]]:
    """By part, then by dialogue and utterance as numbers."""
    numbers = re.findall(r"\d+", str(row["id"]))
    return list(PARTS.values()).index(str(row["split"])), [number.zfill(6) for number in numbers]


def _locate(root: Path) -> tuple[dict[str, Path], dict[str, list[Path]]]:
    """Each part's table (the one nearest to the root) and its folders of clips."""
    tables: dict[str, Path] = {}
    folders: dict[str, list[Path]] = {part: [] for part in PARTS}
    level = [root]
    for _ in range(_DEPTH):
        for folder in level:
            for part in PARTS:
                if (folder / f"{part}_sent_emo.csv").is_file():
                    tables.setdefault(part, folder / f"{part}_sent_emo.csv")
                if folder.name.removesuffix("_wav") in FOLDERS[part]:
                    folders[part].append(folder)
        level = [below for folder in level for below in visible_folders(folder)]
    return {part: tables[part] for part in PARTS if part in tables}, folders


CORPUS = Meld()
