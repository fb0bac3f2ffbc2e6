"""nEMO: acted emotional speech in Polish by nine actors, six emotions, sentences that cover the language's phonemes.

`data.tsv` lists the recordings of the folder `samples`; a file name such as `EB0_neutral_13.wav` is speaker, emotion
and sentence. Columns and labels are those of the corpus' documentation (https://github.com/amu-cai/nEMO). Recordings
are matched by name without suffix, so a copy converted to FLAC is read just as well.
"""

from __future__ import annotations

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
    report_missing,
    stem_of,
    visible_files,
)
from emoviews.table import make_table

PUBLISHED: Final = {"anger": 749, "fear": 736, "happiness": 749, "neutral": 809, "sadness": 769, "surprised": 669}
"""4481 in all. The labels are the corpus' own, `surprised` included."""
_COLUMNS: Final = ("file_id", "emotion", "raw_text", "normalized_text", "speaker_id", "gender", "age")
_SUFFIXES: Final = (".wav", ".flac")


class Nemo(Corpus):
    """Columns beyond the contract's: `normalized_text`, `sentence` (number), `age` (years)."""

    name = "nemo"
    title = "nEMO: Dataset of Emotional Speech in Polish"
    licence = "CC BY-NC-SA 4.0"
    citation = "I. Christop: nEMO: Dataset of Emotional Speech in Polish. Proc. LREC-COLING 2024, pp. 12111-12116."
    url = "https://github.com/amu-cai/nEMO"

    def parse(self, root: Path, preset: str | None = None) -> ParsedCorpus:
        """Parse `data.tsv` and the folder `samples`.

        Raises:
            CorpusError: one of the two is missing, the table lacks a column, or not one of its recordings is there.
            UsageError: a preset is given; there is none.
        """
        self.check_preset(preset)
        release = find_release(
            root,
            lambda folder: (folder / "data.tsv").is_file() and (folder / "samples").is_dir(),
            title=self.title,
            looked_for="the file data.tsv and the folder 'samples'",
            inner=("samples",),
        )
        listed = read_columns(release / "data.tsv", _COLUMNS, title="nEMO", separator="\t", quotes=False)
        audio = index_by_stem(visible_files(release / "samples", _SUFFIXES), _SUFFIXES)
        rows: list[Row] = []
        missing: list[str] = []
        for entry in listed.sort_values("file_id").to_dict("records"):
            identity = stem_of(entry["file_id"])
            if identity not in audio:
                missing.append(entry["file_id"])
                continue
            rows.append(
                {
                    "id": identity,
                    "path": audio[identity],
                    "speaker": entry["speaker_id"],
                    "emotion": entry["emotion"],
                    "text": entry["raw_text"],
                    "language": "pl",
                    "gender": GENDERS.get(entry["gender"].lower(), ""),
                    "normalized_text": entry["normalized_text"],
                    "sentence": identity.rpartition("_")[2],
                    "age": entry["age"],
                }
            )
        warnings = compare_counts(listed["emotion"], PUBLISHED, "nEMO") + report_missing(missing, len(listed), "nEMO")
        return ParsedCorpus(make_table(rows, release), tuple(warnings))


CORPUS = Nemo()
