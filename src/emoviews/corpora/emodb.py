"""Berlin Database of Emotional Speech (EmoDB): ten German actors, ten sentences, seven emotions.

A file name such as `03a01Fa.wav` says it all: speaker 03, sentence a01, the first letter of the German word for the
emotion (F, Freude), and a version where there is more than one. Codes, speakers and sentences are those of the corpus'
documentation (http://emodb.bilderbar.info/index-1280.html); the counts are of its 535 published utterances, the ones
that listeners recognised in 80 % and found natural in 60 % of their judgements.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from emoviews.corpora import Corpus, ParsedCorpus
from emoviews.corpora._common import Row, compare_counts, find_release, index_by_stem, visible_files
from emoviews.table import make_table

EMOTIONS: Final = {
    "W": "anger",  # Wut, Ärger
    "L": "boredom",  # Langeweile
    "E": "disgust",  # Ekel
    "A": "fear",  # Angst
    "F": "happiness",  # Freude
    "T": "sadness",  # Trauer
    "N": "neutral",
}
PUBLISHED: Final = {
    "anger": 127,
    "boredom": 81,
    "disgust": 46,
    "fear": 69,
    "happiness": 71,
    "sadness": 62,
    "neutral": 79,
}
SPEAKERS: Final = {
    "03": ("male", 31),
    "08": ("female", 34),
    "09": ("female", 21),
    "10": ("male", 32),
    "11": ("male", 26),
    "12": ("male", 30),
    "13": ("female", 32),
    "14": ("female", 35),
    "15": ("male", 25),
    "16": ("female", 31),
}
"""Speaker → gender and age in years."""
SENTENCES: Final = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
_NAME: Final = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])([a-z]?)")
_SUFFIXES: Final = (".wav", ".flac")


class EmoDB(Corpus):
    """Columns beyond the contract's: `sentence` (code), `version`, `age` (years)."""

    name = "emodb"
    title = "Berlin Database of Emotional Speech (EmoDB)"
    licence = "free to use, the paper to be cited; its page names no licence"
    citation = (
        "F. Burkhardt, A. Paeschke, M. Rolfes, W. F. Sendlmeier, B. Weiss: A database of German emotional speech. "
        "Proc. Interspeech 2005, pp. 1517-1520."
    )
    url = "http://emodb.bilderbar.info"

    def parse(self, root: Path, preset: str | None = None) -> ParsedCorpus:
        """Parse the folder `wav` of the release, or a folder that holds its files directly.

        Raises:
            CorpusError: `root` holds no file that is named as the corpus names its files.
            UsageError: a preset is given; there is none.
        """
        self.check_preset(preset)
        release = find_release(
            root,
            lambda folder: bool(_recordings(folder)),
            title=self.title,
            looked_for="files like 03a01Fa.wav, directly or in a folder 'wav'",
        )
        rows: list[Row] = []
        for name, path in _recordings(release):
            speaker, sentence, letter, version = name.groups()
            gender, age = SPEAKERS.get(speaker, ("", ""))
            rows.append(
                {
                    "id": name.string,
                    "path": path,
                    "speaker": speaker,
                    "emotion": EMOTIONS[letter],
                    "text": SENTENCES.get(sentence, ""),
                    "language": "de",
                    "gender": gender,
                    "sentence": sentence,
                    "version": version,
                    "age": age,
                }
            )
        warnings = compare_counts((str(row["emotion"]) for row in rows), PUBLISHED, "EmoDB")
        return ParsedCorpus(make_table(rows, release), tuple(warnings))


def _recordings(folder: Path) -> list[tuple[re.Match[str], str]]:
    """The recordings in `folder/wav`, or else in `folder`: their matched names and paths, sorted by name."""
    inner = folder / "wav"
    files = visible_files(inner if inner.is_dir() else folder, _SUFFIXES)
    matched = ((_NAME.fullmatch(name), path) for name, path in sorted(index_by_stem(files, _SUFFIXES).items()))
    return [(name, path) for name, path in matched if name]


CORPUS = EmoDB()
