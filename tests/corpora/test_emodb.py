"""EmoDB: the code of its file names, written from http://emodb.bilderbar.info/index-1280.html."""

from itertools import product
from pathlib import Path

import pytest

from emoviews.corpora import CORPORA
from emoviews.errors import CorpusError

EMODB = CORPORA.load("emodb")


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_reads_a_file_name(tmp_path: Path) -> None:
    fill(
        tmp_path, "wav/03a01Fa.wav", "wav/16b10Lb.wav", "wav/._03a01Fa.wav", "wav/readme.wav", "lablaut/03a01Fa.lablaut"
    )
    table = EMODB.parse(tmp_path).table
    assert table["id"].tolist() == ["03a01Fa", "16b10Lb"]
    columns = ["speaker", "group", "emotion", "language", "gender", "sentence", "version", "age", "text"]
    assert table.loc[0, columns].tolist() == [
        "03", "03", "happiness", "de", "male", "a01", "a", "31", "Der Lappen liegt auf dem Eisschrank.",
    ]  # fmt: skip
    assert table.loc[1, columns[:-1]].tolist() == ["16", "16", "boredom", "de", "female", "b10", "b", "31"]
    assert table["path"].tolist() == [str(tmp_path / "wav" / f"{name}.wav") for name in table["id"]]


def test_all_seven_letters(tmp_path: Path) -> None:
    names = {
        "W": "anger",
        "L": "boredom",
        "E": "disgust",
        "A": "fear",
        "F": "happiness",
        "T": "sadness",
        "N": "neutral",
    }
    fill(tmp_path, *(f"wav/08a02{letter}.wav" for letter in names))
    table = EMODB.parse(tmp_path).table
    assert dict(zip(table["id"].str[-1], table["emotion"], strict=True)) == names


def test_speakers_of_the_documentation(tmp_path: Path) -> None:
    male, female = {"03", "10", "11", "12", "15"}, {"08", "09", "13", "14", "16"}
    fill(tmp_path, *(f"wav/{speaker}a01Na.wav" for speaker in male | female))
    table = EMODB.parse(tmp_path).table
    assert set(table["speaker"][table["gender"] == "male"]) == male
    assert set(table["speaker"][table["gender"] == "female"]) == female


@pytest.mark.parametrize("root", [".", "wav", "..", "../.."])
def test_finds_the_release_around_the_root(tmp_path: Path, root: str) -> None:
    release = tmp_path / "download" / "emodb"
    fill(release, "wav/03a01Fa.wav")
    assert len(EMODB.parse(release / root).table) == 1


def test_two_copies_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "one/wav/03a01Fa.wav", "two/wav/03a01Fa.wav")
    with pytest.raises(CorpusError, match="more than one folder that looks like"):
        EMODB.parse(tmp_path)


def test_the_published_counts(tmp_path: Path) -> None:
    published = {"W": 127, "L": 81, "E": 46, "A": 69, "F": 71, "T": 62, "N": 79}
    assert sum(published.values()) == 535
    stems = [
        f"{s}{t}" for s, t in product(["03", "08", "09", "10", "11", "12", "13", "14", "15", "16"], ["a01", "b01"])
    ]
    for letter, count in published.items():
        names = [f"wav/{stem}{letter}{v}.wav" for stem, v in product(stems, "abcdefg")]
        fill(tmp_path, *names[:count])
    parsed = EMODB.parse(tmp_path)
    assert len(parsed.table) == 535
    assert parsed.warnings == ()
    (tmp_path / "wav" / "03a01Fa.wav").unlink()
    assert EMODB.parse(tmp_path).warnings == (
        "EmoDB has 535 utterances as published, this copy 534. Published / here: happiness 71 / 70.",
    )
