"""Crowd-sourced Emotional Multimodal Actors Dataset (CREMA-D): 91 actors, twelve sentences, six emotions.

A file name such as `1001_DFA_ANG_XX.wav` is actor, sentence, emotion and level of emotion. Codes and counts are those
of the corpus' documentation (https://github.com/CheyneyComputerScience/CREMA-D).

Quirks of the release: `1076_MTI_SAD_XX` is silent and left out; `1040_ITH_SAD_X` lacks one X of its level and is read
as the others; a clone without Git LFS holds small text files in place of the recordings, which is refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from emoviews.corpora import Corpus, ParsedCorpus
from emoviews.corpora._common import (
    GENDERS,
    Row,
    compare_counts,
    find_release,
    index_by_stem,
    read_columns,
    visible_files,
)
from emoviews.errors import CorpusError
from emoviews.table import make_table

EMOTIONS: Final = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
PUBLISHED: Final = {name: 1087 if name == "neutral" else 1271 for name in EMOTIONS.values()}
"""7442 in all, the silent recording included."""
LEVELS: Final = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified", "X": "unspecified"}
SENTENCES: Final = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
SILENT: Final = "1076_MTI_SAD_XX"
_NAME: Final = re.compile(rf"(\d{{4}})_({'|'.join(SENTENCES)})_({'|'.join(EMOTIONS)})_(LO|MD|HI|XX?)")
_SUFFIXES: Final = (".wav", ".flac")
_LFS_POINTER: Final = b"version https://git-lfs"


class CremaD(Corpus):
    """Columns beyond the contract's: `sentence` (code), `level` (of emotion), `age` (years)."""

    name = "cremad"
    title = "Crowd-sourced Emotional Multimodal Actors Dataset (CREMA-D)"
    licence = "Open Database License 1.0 (database), Database Contents License 1.0 (contents)"
    citation = (
        "H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova, R. Verma: CREMA-D: Crowd-sourced Emotional Multimodal "
        "Actors Dataset. IEEE Transactions on Affective Computing 5(4):377-390, 2014."
    )
    url = "https://github.com/CheyneyComputerScience/CREMA-D"

    def parse(self, root: Path, preset: str | None = None) -> ParsedCorpus:
        """Parse the folder `AudioWAV` of the release, or a folder that holds its files directly.

        Raises:
            CorpusError: no file is named as the corpus names its files, or the files are Git LFS pointers.
            UsageError: a preset is given; there is none.
        """
        self.check_preset(preset)
        release = find_release(
            root,
            lambda folder: bool(_recordings(folder)),
            title=self.title,
            looked_for="files like 1001_DFA_ANG_XX.wav, directly or in a folder 'AudioWAV'",
            inner=("AudioWAV",),
        )
        recordings = _recordings(release)
        first = Path(recordings[0][1])
        with first.open("rb") as file:
            if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise CorpusError(
                    f"{first} is a Git LFS pointer, not a recording; expected a WAV file. In the clone, run: git lfs pull"
                )
        speakers, warnings = _demographics(release)
        rows: list[Row] = []
        for name, path in recordings:
            actor, sentence, emotion, level = name.groups()
            gender, age = speakers.get(actor, ("", ""))
            rows.append(
                {
                    "id": name.string,
                    "path": path,
                    "speaker": actor,
                    "emotion": EMOTIONS[emotion],
                    "text": SENTENCES[sentence],
                    "language": "en",
                    "gender": gender,
                    "sentence": sentence,
                    "level": LEVELS[level],
                    "age": age,
                }
            )
        warnings += compare_counts((str(row["emotion"]) for row in rows), PUBLISHED, "CREMA-D")
        kept = [row for row in rows if row["id"] != SILENT]
        if len(kept) < len(rows):
            warnings.append(f"{SILENT} is silent in the release and left out.")
        return ParsedCorpus(make_table(kept, release), tuple(warnings))


def _recordings(folder: Path) -> list[tuple[re.Match[str], str]]:
    """The recordings in `folder/AudioWAV`, or else in `folder`: their matched names and paths, sorted by name."""
    inner = folder / "AudioWAV"
    files = visible_files(inner if inner.is_dir() else folder, _SUFFIXES)
    matched = ((_NAME.fullmatch(name), path) for name, path in sorted(index_by_stem(files, _SUFFIXES).items()))
    return [(name, path) for name, path in matched if name]


def _demographics(release: Path) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Actor → gender and age, and a warning if the file that says so is missing."""
    path = release / "VideoDemographics.csv"
    if not path.is_file():
        return {}, [f"{path} is missing, so 'gender' and 'age' are empty."]
    frame = read_columns(path, ("ActorID", "Age", "Sex"), title="CREMA-D")
    people = zip(frame["ActorID"], frame["Sex"], frame["Age"], strict=True)
    return {actor: (GENDERS.get(sex.lower(), ""), age) for actor, sex, age in people}, []


CORPUS = CremaD()
