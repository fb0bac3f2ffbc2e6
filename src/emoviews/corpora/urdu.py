"""URDU: utterances cut from Urdu television talk shows, 38 speakers, four emotions.

Folders `Angry`, `Happy`, `Neutral` and `Sad`; a file name such as `SM1_F10_A010.wav` is speaker (SM: male, SF: female,
with a number), the speaker's recording, and the emotion's letter with a running number. Codes and counts are those of
the corpus' documentation (https://github.com/siddiquelatif/URDU-Dataset), by which a folder may hold one sub-folder a
speaker.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from emoviews.corpora import Corpus, ParsedCorpus
from emoviews.corpora._common import Row, compare_counts, find_release, index_by_stem, walk_files
from emoviews.progress import counted, shorten
from emoviews.table import make_table

EMOTIONS: Final = {"Angry": "angry", "Happy": "happy", "Neutral": "neutral", "Sad": "sad"}
PUBLISHED: Final = dict.fromkeys(EMOTIONS.values(), 100)
_NAME: Final = re.compile(r"(S([MF])\d+)_F\d+_([AHNS])\d+")
_GENDERS: Final = {"M": "male", "F": "female"}
_SUFFIXES: Final = (".wav", ".flac")


class Urdu(Corpus):
    """Spontaneous speech: hardly a speaker has all four emotions, so leaving speakers out leaves few of them to a fold."""

    name = "urdu"
    title = "URDU dataset"
    licence = "research purposes only"
    citation = (
        "S. Latif, A. Qayyum, M. Usman, J. Qadir: Cross lingual speech emotion recognition: Urdu vs. Western languages. "
        "Proc. International Conference on Frontiers of Information Technology (FIT) 2018, pp. 88-93."
    )
    url = "https://github.com/siddiquelatif/URDU-Dataset"

    def parse(self, root: Path, preset: str | None = None) -> ParsedCorpus:
        """Parse the four folders of the release.

        Raises:
            CorpusError: none of the folders holds a recording that is named as the corpus names its files.
            UsageError: a preset is given; there is none.
        """
        self.check_preset(preset)
        release = find_release(
            root,
            lambda folder: bool(_recordings(folder)),
            title=self.title,
            looked_for="files like Angry/SM1_F10_A010.wav in the folders Angry, Happy, Neutral and Sad",
        )
        rows: list[Row] = []
        misfiled: list[str] = []
        for name, folder, path in _recordings(release):
            speaker, gender, letter = name.groups()
            if letter != folder[0]:
                misfiled.append(f"{folder}/{name.string}")
            rows.append(
                {
                    "id": name.string,
                    "path": path,
                    "speaker": speaker,
                    "emotion": EMOTIONS[folder],
                    "language": "ur",
                    "gender": _GENDERS[gender],
                }
            )
        warnings = compare_counts((str(row["emotion"]) for row in rows), PUBLISHED, "URDU")
        if misfiled:
            warnings.append(
                f"{counted(len(misfiled), 'recording')} in a folder that contradicts the letter in the name; the folder is "
                f"taken as the label: {shorten(misfiled)}."
            )
        return ParsedCorpus(make_table(rows, release), tuple(warnings))


def _recordings(release: Path) -> list[tuple[re.Match[str], str, str]]:
    """Matched names, emotion folders and paths of the recordings below the four folders, sorted by name."""
    found = []
    for folder in EMOTIONS:
        if (release / folder).is_dir():
            for name, path in index_by_stem(walk_files(release / folder, _SUFFIXES), _SUFFIXES).items():
                if matched := _NAME.fullmatch(name):
                    found.append((matched, folder, path))
    return sorted(found, key=lambda recording: recording[0].string)


CORPUS = Urdu()
