"""URDU: folders and file names; from https://github.com/siddiquelatif/URDU-Dataset."""

from pathlib import Path

from emoviews.corpora import CORPORA

URDU = CORPORA.load("urdu")


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_reads_folders_and_names(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "Angry/SM1_F10_A010.wav",
        "Happy/SF6_F14_H038.wav",
        "Sad/._SM6_F1_S097.wav",
        "Sad/notes.wav",
        "README.md",
    )
    table = URDU.parse(tmp_path).table
    columns = ["id", "speaker", "group", "emotion", "gender", "language"]
    assert table[columns].to_numpy().tolist() == [
        ["SF6_F14_H038", "SF6", "SF6", "happy", "female", "ur"],
        ["SM1_F10_A010", "SM1", "SM1", "angry", "male", "ur"],
    ]


def test_speakers_may_have_folders_of_their_own(tmp_path: Path) -> None:
    fill(tmp_path, "URDU-Dataset-master/Neutral/SM5/SM5_F72_N0100.wav")
    assert URDU.parse(tmp_path).table["emotion"].tolist() == ["neutral"]


def test_the_published_counts(tmp_path: Path) -> None:
    folders = ("Angry", "Happy", "Neutral", "Sad")
    fill(tmp_path, *(f"{folder}/SM5_F{n}_{folder[0]}0{n}.wav" for folder in folders for n in range(1, 101)))
    parsed = URDU.parse(tmp_path)
    assert len(parsed.table) == 400
    assert parsed.warnings == ()
    (tmp_path / "Sad" / "SM5_F7_S07.wav").unlink()
    assert URDU.parse(tmp_path).warnings == (
        "URDU has 400 utterances as published, this copy 399. Published / here: sad 100 / 99.",
    )


def test_a_folder_against_the_letter_is_warned_of(tmp_path: Path) -> None:
    parsed = URDU.parse(fill(tmp_path, "Angry/SM1_F10_S010.wav"))
    assert parsed.table["emotion"].tolist() == ["angry"]
    assert parsed.warnings[1].startswith("1 recording in a folder that contradicts the letter")
    assert "Angry/SM1_F10_S010" in parsed.warnings[1]
