"""Emotional Speech Dataset (ESD): ten Mandarin and ten English speakers, 350 parallel utterances in each of five emotions.

Recordings lie in `0001/Angry/0001_000351.wav`, in some releases one folder deeper in `train`, `evaluation` or `test`,
which is then the official split; what is said stands in `0001/0001.txt`, one line `0001_000001<tab>text<tab>emotion`
an utterance. Speakers, labels and counts are those of the ReadMe in the release
(https://github.com/HLTSingapore/Emotional-Speech-Data).

Quirks of the release: the text files come in UTF-8, GBK, UTF-16 and Windows-1252, and some of their lines lack their
tabs, so the label is taken from the folder alone. The split parts sentences, not speakers: all twenty are in every
part.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from emoviews.corpora import Corpus, ParsedCorpus
from emoviews.corpora._common import (
    Row,
    compare_counts,
    decode,
    find_release,
    stem_of,
    unlike,
    visible_folders,
    walk_files,
)
from emoviews.progress import counted, shorten
from emoviews.table import make_table

EMOTIONS: Final = {"Angry": "angry", "Happy": "happy", "Neutral": "neutral", "Sad": "sad", "Surprise": "surprise"}
PUBLISHED: Final = dict.fromkeys(EMOTIONS.values(), 7000)
"""20 speakers × 350 utterances an emotion, 35 000 in all."""
SPLITS: Final = {"train": "train", "evaluation": "val", "test": "test"}
FEMALE: Final = frozenset(f"{number:04d}" for number in (1, 2, 3, 7, 9, 15, 16, 17, 18, 19))
LAST_MANDARIN: Final = 10
"""Speakers 0001 to 0010 speak Mandarin, 0011 to 0020 English."""
_SPEAKER: Final = re.compile(r"00(0[1-9]|1\d|20)")
_NAME: Final = re.compile(r"\d{4}_\d{6}")
_LINE: Final = re.compile(rf"(\d{{4}}_\d{{6}})\s+(.*?)(?:\t\S*|\s+(?:{'|'.join(EMOTIONS)}))?")
"""Name, text and label; the label is set off by a tab, or by a space in a line that lost its tabs."""


class Esd(Corpus):
    """Column beyond the contract's: `sentence`, the number of the sentence (1 to 350), the same in all five emotions."""

    name = "esd"
    title = "Emotional Speech Dataset (ESD)"
    licence = "research purposes only, after signing the corpus' licence"
    citation = (
        "K. Zhou, B. Sisman, R. Liu, H. Li: Emotional voice conversion: Theory, databases and ESD. Speech Communication "
        "137:1-18, 2022."
    )
    url = "https://hltsingapore.github.io/ESD/"

    def parse(self, root: Path, preset: str | None = None) -> ParsedCorpus:
        """Parse the speakers' folders.

        Raises:
            CorpusError: there is no speaker's folder with recordings that are named as the corpus names them.
            UsageError: a preset is given; there is none.
        """
        self.check_preset(preset)
        looked_for = "the speakers' folders 0001 to 0020 with files like 0001/Angry/0001_000351.wav"
        release = find_release(root, lambda folder: bool(_speakers(folder)), title=self.title, looked_for=looked_for)
        rows: dict[str, Row] = {}
        copies: list[str] = []
        for folder in _speakers(release):
            speaker = folder.name
            is_mandarin = int(speaker) <= LAST_MANDARIN
            texts = _transcripts(folder / f"{speaker}.txt", is_mandarin)
            for label, emotion in EMOTIONS.items():
                for path, split in _recordings(folder / label):
                    identity = stem_of(path)
                    if identity in rows:
                        copies.append(identity)
                        continue
                    rows[identity] = {
                        "id": identity,
                        "path": path,
                        "speaker": speaker,
                        "split": split,
                        "emotion": emotion,
                        "text": texts.get(identity, ""),
                        "language": "zh" if is_mandarin else "en",
                        "gender": "female" if speaker in FEMALE else "male",
                        "sentence": (int(identity[-6:]) - 1) % 350 + 1,
                    }
        if not rows:
            raise unlike(release, title=self.title, looked_for=looked_for)
        warnings = compare_counts((str(row["emotion"]) for row in rows.values()), PUBLISHED, "ESD")
        if copies:
            warnings.append(
                f"{counted(len(copies), 'recording')} in the folder a second time; one of each is taken: {shorten(copies)}."
            )
        if silent := [str(row["id"]) for row in rows.values() if not row["text"]]:
            warnings.append(
                f"{counted(len(silent), 'utterance')} without text in the speaker's text file: {shorten(sorted(silent))}."
            )
        return ParsedCorpus(make_table([rows[identity] for identity in sorted(rows)], release), tuple(warnings))


def _speakers(folder: Path) -> list[Path]:
    """The speakers' folders that hold a folder of an emotion."""
    named = (below for below in visible_folders(folder) if _SPEAKER.fullmatch(below.name))
    return [below for below in named if any((below / label).is_dir() for label in EMOTIONS)]


def _recordings(folder: Path) -> list[tuple[str, str]]:
    """Path and split of the recordings of one speaker and emotion, those with a split first."""
    paths = walk_files(folder, (".wav",)) if folder.is_dir() else []
    named = [path for path in paths if _NAME.fullmatch(stem_of(path))]
    return sorted(
        ((path, SPLITS.get(Path(path).parent.name, "")) for path in named), key=lambda found: (not found[1], found[0])
    )


def _transcripts(path: Path, is_mandarin: bool) -> dict[str, str]:
    """Utterance → what is said in it; empty where the copy lacks the file."""
    if not path.is_file():
        return {}
    texts = {}
    for line in decode(path.read_bytes(), "gb18030" if is_mandarin else "cp1252").splitlines():
        if matched := _LINE.fullmatch(line.strip()):
            texts[matched[1]] = matched[2].strip()
    return texts


CORPUS = Esd()
