"""nEMO: data.tsv and samples; from https://github.com/amu-cai/nEMO."""

from pathlib import Path

import pytest

from emoviews.corpora import CORPORA
from emoviews.errors import CorpusError

NEMO = CORPORA.load("nemo")
HEADER = "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
ROWS = (
    'MP0_sadness_79.wav\tsadness\tMleko jest "źródłem" wapnia.\tmleko jest źródłem wapnia\tMP0\tmale\t24\n'
    "EB0_surprised_13.wav\tsurprised\tInteresuje mnie historia.\tinteresuje mnie historia\tEB0\tfemale\t27\n"
    "EB0_neutral_2.wav\tneutral\tTak.\ttak\tEB0\tfemale\t27\n"
)


def release(root: Path, *samples: str, text: str = HEADER + ROWS) -> Path:
    (root / "samples").mkdir(parents=True)
    for name in samples:
        (root / "samples" / name).touch()
    (root / "data.tsv").write_text(text, encoding="utf-8")
    return root


def test_reads_the_table(tmp_path: Path) -> None:
    root = release(tmp_path, "EB0_neutral_2.wav", "EB0_surprised_13.wav", "MP0_sadness_79.wav")
    table = NEMO.parse(root).table
    assert table["id"].tolist() == ["EB0_neutral_2", "EB0_surprised_13", "MP0_sadness_79"]
    columns = ["speaker", "group", "emotion", "gender", "language", "sentence", "age", "text", "normalized_text"]
    assert table.loc[2, columns].tolist() == [
        "MP0", "MP0", "sadness", "male", "pl", "79", "24", 'Mleko jest "źródłem" wapnia.', "mleko jest źródłem wapnia",
    ]  # fmt: skip
    assert table["emotion"].tolist() == ["neutral", "surprised", "sadness"]


def test_recordings_converted_to_flac_are_found(tmp_path: Path) -> None:
    root = release(
        tmp_path, "EB0_neutral_2.flac", "EB0_surprised_13.flac", "MP0_sadness_79.flac", "._MP0_sadness_79.flac"
    )
    assert {Path(path).suffix for path in NEMO.parse(root).table["path"]} == {".flac"}


def test_counts_and_missing_recordings_are_warned_of(tmp_path: Path) -> None:
    parsed = NEMO.parse(release(tmp_path, "EB0_neutral_2.wav"))
    counts, missing = parsed.warnings
    assert counts == (
        "nEMO has 4481 utterances as published, this copy 3. Published / here: anger 749 / 0, fear 736 / 0, happiness 749 / 0, "
        "neutral 809 / 1, sadness 769 / 1, surprised 669 / 1."
    )
    assert missing == (
        "2 of 3 recordings named in the labels are missing and left out: EB0_surprised_13.wav, MP0_sadness_79.wav."
    )
    assert parsed.table["id"].tolist() == ["EB0_neutral_2"]


def test_pointing_at_the_samples(tmp_path: Path) -> None:
    assert len(NEMO.parse(release(tmp_path, "EB0_neutral_2.wav") / "samples").table) == 1


def test_no_recording_and_a_lacking_column_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="Not one of the 3 recordings that the labels of nEMO name is there"):
        NEMO.parse(release(tmp_path / "a"))
    with pytest.raises(CorpusError, match="The labels of nEMO name not one recording"):
        NEMO.parse(release(tmp_path / "c", "x.wav", text=HEADER))
    with pytest.raises(CorpusError, match="lacks the column speaker_id"):
        NEMO.parse(release(tmp_path / "b", "x.wav", text=HEADER.replace("speaker_id", "speaker") + ROWS))
