"""Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS), its speech part: 24 actors, eight emotions.

A file name such as `03-01-06-01-02-01-12.wav` is seven codes: modality (03: audio only), vocal channel (01: speech,
02: song), emotion, intensity, statement, repetition, actor (odd: male, even: female). Codes and counts are those of
the corpus' documentation (https://zenodo.org/records/1188976).

Two quirks of its copies: the song part often lies in the same folder and is left out; the widespread Kaggle archive
holds every recording twice, in `Actor_01` and again in `audio_speech_actors_01-24/Actor_01`, of which one is taken.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from emoviews.corpora import Corpus, ParsedCorpus
from emoviews.corpora._common import Row, check_folder, compare_counts, stem_of, unlike, walk_files
from emoviews.progress import counted
from emoviews.table import make_table

EMOTIONS: Final = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
PUBLISHED: Final = {name: 96 if name == "neutral" else 192 for name in EMOTIONS.values()}
"""Neutral is half as frequent, as it was not spoken with strong intensity: 1440 in all."""
INTENSITIES: Final = {"01": "normal", "02": "strong"}
STATEMENTS: Final = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
_NAME: Final = re.compile(r"(0[1-3])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-([01]\d|2[0-4])")
_AUDIO_ONLY: Final = "03"
_SPEECH: Final = "01"


class Ravdess(Corpus):
    """Columns beyond the contract's: `intensity` (normal, strong), `repetition` (1, 2)."""

    name = "ravdess"
    title = "Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS), speech"
    licence = "CC BY-NC-SA 4.0"
    citation = (
        "S. R. Livingstone, F. A. Russo: The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS): A dynamic, "
        "multimodal set of facial and vocal expressions in North American English. PLoS ONE 13(5): e0196391, 2018."
    )
    url = "https://zenodo.org/records/1188976"

    def parse(self, root: Path, preset: str | None = None) -> ParsedCorpus:
        """Parse all audio-only speech recordings below `root`.

        Raises:
            CorpusError: there is no speech recording that is named as the corpus names its files.
            UsageError: a preset is given; there is none.
        """
        self.check_preset(preset)
        looked_for = "speech recordings like Actor_12/03-01-06-01-02-01-12.wav"
        check_folder(root, title=self.title, looked_for=looked_for)
        chosen: dict[str, tuple[re.Match[str], str]] = {}
        songs: set[str] = set()
        copies = 0
        for name, path in _recordings(root):
            if name[2] != _SPEECH:
                songs.add(name.string)
            elif name.string in chosen:
                copies += 1
            else:
                chosen[name.string] = (name, path)
        if not chosen:
            raise unlike(root, title=self.title, looked_for=looked_for)
        rows: list[Row] = []
        for identity, (name, path) in sorted(chosen.items()):
            _, _, emotion, intensity, statement, repetition, actor = name.groups()
            rows.append(
                {
                    "id": identity,
                    "path": path,
                    "speaker": actor,
                    "emotion": EMOTIONS[emotion],
                    "text": STATEMENTS[statement],
                    "language": "en",
                    "gender": "male" if int(actor) % 2 else "female",
                    "intensity": INTENSITIES[intensity],
                    "repetition": int(repetition),
                }
            )
        warnings = compare_counts((str(row["emotion"]) for row in rows), PUBLISHED, "RAVDESS (speech)")
        if songs:
            warnings.append(f"{counted(len(songs), 'recording')} of the song part left out.")
        if copies:
            warnings.append(
                f"{counted(copies, 'recording')} in the folder a second time under the same name; one of each is taken."
            )
        return ParsedCorpus(make_table(rows, root), tuple(warnings))


def _recordings(folder: Path) -> list[tuple[re.Match[str], str]]:
    """Matched names and paths of the audio-only recordings, speech and song, those in the fewest folders first.

    The archives differ in their folders, never in their names, so the names alone count.
    """
    paths = sorted(walk_files(folder, (".wav",)), key=lambda path: (path.count(os.sep), path))
    matched = ((_NAME.fullmatch(stem_of(path)), path) for path in paths)
    return [(name, path) for name, path in matched if name and name[1] == _AUDIO_ONLY]


CORPUS = Ravdess()
