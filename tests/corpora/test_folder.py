"""One sub-folder a class: labels, unlabelled recordings, nesting, what is no recording."""

import os
from pathlib import Path

import pytest

from emoviews.corpora import CORPORA
from emoviews.errors import CorpusError

FOLDER = CORPORA.load("folder")


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_sub_folders_are_labels(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "Very angry/b.wav",
        "Very angry/day 1/speaker x/a.FLAC",
        "sad/a.mp3",
        "sad/notes.txt",
        "sad/._a.mp3",
        "Unlabelled/c.ogg",
        "unlabeled/d.wav",
        "loose.wav",
        ".hidden/e.wav",
        "__MACOSX/sad/f.wav",
    )
    parsed = FOLDER.parse(tmp_path)
    assert dict(zip(parsed.table["id"], parsed.table["emotion"], strict=True)) == {
        "Unlabelled/c.ogg": "",
        "Very angry/b.wav": "Very angry",
        "Very angry/day 1/speaker x/a.FLAC": "Very angry",
        "loose.wav": "",
        "sad/a.mp3": "sad",
        "unlabeled/d.wav": "",
    }
    assert parsed.table["id"].tolist() == sorted(parsed.table["id"])
    assert parsed.table["path"].tolist() == [str(tmp_path / identity) for identity in parsed.table["id"]]
    assert set(parsed.table["speaker"]) == set(parsed.table["group"]) == {""}


def test_says_that_speakers_are_unknown_and_which_folders_are_empty(tmp_path: Path) -> None:
    fill(tmp_path, "happy/a.wav", "sad/readme.txt")
    speakers, empty = FOLDER.parse(tmp_path).warnings
    assert "no speakers" in speakers
    assert empty == "1 sub-folder without a recording: sad."


def test_the_same_name_in_two_classes_is_two_recordings(tmp_path: Path) -> None:
    table = FOLDER.parse(fill(tmp_path, "happy/a.wav", "sad/a.wav")).table
    assert table["id"].tolist() == ["happy/a.wav", "sad/a.wav"]


def test_a_link_back_to_the_top_ends(tmp_path: Path) -> None:
    fill(tmp_path, "happy/a.wav")
    os.symlink(tmp_path / "happy", tmp_path / "happy" / "again")
    assert FOLDER.parse(tmp_path).table["id"].tolist() == ["happy/a.wav"]


def test_a_linked_class_is_followed(tmp_path: Path) -> None:
    fill(tmp_path, "elsewhere/a.wav")
    (tmp_path / "root").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "root" / "sad")
    assert FOLDER.parse(tmp_path / "root").table["id"].tolist() == ["sad/a.wav"]


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "happy/a.txt")
    with pytest.raises(
        CorpusError, match=r"looked for recordings \(.*\.wav.*\) in one sub-folder a class, but it holds happy"
    ):
        FOLDER.parse(tmp_path)
