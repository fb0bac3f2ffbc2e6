"""ESD: speakers, splits, text files in four encodings; from the ReadMe of the release."""

import codecs
from pathlib import Path

import pytest

from emoviews.corpora import CORPORA
from emoviews.errors import CorpusError

ESD = CORPORA.load("esd")
MALE = {4, 5, 6, 8, 10, 11, 12, 13, 14, 20}


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def write(root: Path, speaker: str, data: bytes) -> None:
    (root / speaker).mkdir(parents=True, exist_ok=True)
    (root / speaker / f"{speaker}.txt").write_bytes(data)


def test_sub_splits_and_labels(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "0011/Angry/train/0011_000401.wav",
        "0011/Happy/evaluation/0011_000701.wav",
        "0011/Sad/test/0011_001080.wav",
        "0011/Sad/test/._0011_001080.wav",
        "0011/Sad/test/notes.wav",
        "0012/Surprise/0012_001401.wav",
        "0002/Neutral/0002_000350.wav",
    )
    table = ESD.parse(tmp_path).table
    columns = ["id", "speaker", "group", "split", "emotion", "language", "gender", "sentence"]
    assert table[columns].to_numpy().tolist() == [
        ["0002_000350", "0002", "0002", "", "neutral", "zh", "female", "350"],
        ["0011_000401", "0011", "0011", "train", "angry", "en", "male", "51"],
        ["0011_000701", "0011", "0011", "val", "happy", "en", "male", "1"],
        ["0011_001080", "0011", "0011", "test", "sad", "en", "male", "30"],
        ["0012_001401", "0012", "0012", "", "surprise", "en", "male", "1"],
    ]


def test_speakers_of_the_readme(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{n:04}/Neutral/{n:04}_000001.wav" for n in range(1, 21)), "0021/Neutral/0021_000001.wav")
    table = ESD.parse(tmp_path).table
    assert {int(s) for s in table["speaker"][table["gender"] == "male"]} == MALE
    assert table["language"].tolist() == ["zh"] * 10 + ["en"] * 10


@pytest.mark.parametrize(
    ("speaker", "text", "encode"),
    [
        ("0001", "打远一看，它们的确很是美丽，", lambda text: text.encode("gb2312")),
        ("0003", "打远一看，它们的确很是美丽，", lambda text: text.encode("utf-16")),
        ("0004", "打远一看，它们的确很是美丽，", lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be")),
        ("0006", "打远一看，它们的确很是美丽，", lambda text: codecs.BOM_UTF8 + text.encode()),
        ("0011", "The nine the eggs, I keep.", lambda text: text.encode("utf-8")),
        ("0012", "The nine the eggs, I keep.", lambda text: text.encode("utf-16-le")),
        ("0016", "It’s a café.", lambda text: text.encode("cp1252")),
    ],
)
def test_texts_in_the_encodings_of_the_release(tmp_path: Path, speaker: str, text: str, encode) -> None:
    fill(tmp_path, f"{speaker}/Neutral/{speaker}_000001.wav", f"{speaker}/Neutral/{speaker}_000002.wav")
    word = "中立" if int(speaker) < 11 else "Neutral"
    lines = f"{speaker}_000001\t{text}\t{word}\r\n\r\n{speaker}_000002\t{text}\t{word}\r\n"
    write(tmp_path, speaker, encode(lines))
    assert ESD.parse(tmp_path).table["text"].tolist() == [text, text]


def test_lines_that_lost_their_tabs_and_lines_that_are_missing(tmp_path: Path) -> None:
    fill(tmp_path, *(f"0015/Sad/0015_00105{n}.wav" for n in range(1, 5)))
    write(
        tmp_path,
        "0015",
        b"0015_001051 Let the glass globe be. Sad\n0015_001052\tSo sad.\n0015_001053\tTom saw night. Sad\nsad\n",
    )
    parsed = ESD.parse(tmp_path)
    assert parsed.table["text"].tolist() == ["Let the glass globe be.", "So sad.", "Tom saw night.", ""]
    assert parsed.warnings[1] == "1 utterance without text in the speaker's text file: 0015_001054."


def test_counts_copies_and_missing_texts_are_warned_of(tmp_path: Path) -> None:
    fill(tmp_path, "0011/Angry/train/0011_000401.wav", "0011/Angry/0011_000401.wav")
    parsed = ESD.parse(tmp_path)
    counts, copies, texts = parsed.warnings
    assert counts == (
        "ESD has 35000 utterances as published, this copy 1. Published / here: angry 7000 / 1, happy 7000 / 0, "
        "neutral 7000 / 0, sad 7000 / 0, surprise 7000 / 0."
    )
    assert copies == "1 recording in the folder a second time; one of each is taken: 0011_000401."
    assert texts.startswith("1 utterance without text")
    assert parsed.table["split"].tolist() == ["train"]  # the copy that knows its split


def test_finds_the_release_two_folders_down(tmp_path: Path) -> None:
    fill(tmp_path, "Emotional Speech Dataset (ESD)/Emotion Speech Dataset/0001/Sad/train/0001_001051.wav")
    assert len(ESD.parse(tmp_path).table) == 1


def test_speakers_without_recordings_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "0001/Sad/readme.txt")
    with pytest.raises(CorpusError, match="looked for the speakers' folders 0001 to 0020 with files like"):
        ESD.parse(tmp_path)
