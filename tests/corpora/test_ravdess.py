"""RAVDESS: the seven codes of its file names, song and duplicated folders; from https://zenodo.org/records/1188976."""

from itertools import product
from pathlib import Path

import pytest

from emoviews.corpora import CORPORA
from emoviews.errors import CorpusError

RAVDESS = CORPORA.load("ravdess")


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def speech_of(actor: int) -> list[str]:
    """The 60 trials of an actor: 7 emotions × 2 intensities × 2 statements × 2 repetitions, and neutral, never strong."""
    codes = product(range(1, 9), range(1, 3), range(1, 3), range(1, 3))
    return [f"03-01-{e:02}-{i:02}-{s:02}-{r:02}-{actor:02}.wav" for e, i, s, r in codes if (e, i) != (1, 2)]


def test_reads_a_file_name(tmp_path: Path) -> None:
    fill(tmp_path, "Actor_12/03-01-06-01-02-01-12.wav", "Actor_07/03-01-05-02-01-02-07.wav")
    table = RAVDESS.parse(tmp_path).table
    assert table["id"].tolist() == ["03-01-05-02-01-02-07", "03-01-06-01-02-01-12"]
    columns = ["speaker", "group", "emotion", "language", "gender", "intensity", "repetition", "text"]
    assert table.loc[1, columns].tolist() == [
        "12", "12", "fearful", "en", "female", "normal", "1", "Dogs are sitting by the door",
    ]  # fmt: skip
    assert table.loc[0, columns].tolist() == [
        "07",
        "07",
        "angry",
        "en",
        "male",
        "strong",
        "2",
        "Kids are talking by the door",
    ]


def test_the_whole_release_has_1440_utterances(tmp_path: Path) -> None:
    for actor in range(1, 25):
        fill(tmp_path / f"Actor_{actor:02}", *speech_of(actor))
    parsed = RAVDESS.parse(tmp_path)
    assert parsed.warnings == ()
    assert len(parsed.table) == 1440
    assert parsed.table.groupby("speaker").size().tolist() == [60] * 24
    assert parsed.table["emotion"].value_counts().to_dict() == {
        "neutral": 96, "calm": 192, "happy": 192, "sad": 192, "angry": 192, "fearful": 192, "disgust": 192, "surprised": 192,
    }  # fmt: skip


def test_song_video_and_the_duplicated_folder_are_left_out(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "Actor_01/03-01-01-01-01-01-01.wav",
        "Actor_01/._03-01-01-01-01-01-01.wav",
        "Actor_01/01-01-01-01-01-01-01.wav",
        "audio_speech_actors_01-24/Actor_01/03-01-01-01-01-01-01.wav",
        "Audio_Song_Actors_01-24/Actor_01/03-02-01-01-01-01-01.wav",
        "Audio_Song_Actors_01-24/Actor_01/03-02-02-01-01-01-01.wav",
        "notes.wav",
    )
    parsed = RAVDESS.parse(tmp_path)
    assert parsed.table["path"].tolist() == [str(tmp_path / "Actor_01" / "03-01-01-01-01-01-01.wav")]
    counts, songs, copies = parsed.warnings
    assert counts.startswith(
        "RAVDESS (speech) has 1440 utterances as published, this copy 1. Published / here: neutral 96 / 1,"
    )
    assert songs == "2 recordings of the song part left out."
    assert copies.startswith("1 recording in the folder a second time")


def test_song_alone_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "Actor_01/03-02-01-01-01-01-01.wav")
    with pytest.raises(CorpusError, match=r"looked for speech recordings like Actor_12/03-01-06-01-02-01-12.wav"):
        RAVDESS.parse(tmp_path)
