"""MELD: tables, official split, corrupt and corrected clips; from https://github.com/declare-lab/MELD and its issues."""

import csv
from pathlib import Path

import pytest

from emoviews.corpora import CORPORA
from emoviews.errors import CorpusError

MELD = CORPORA.load("meld")
COLUMNS = [
    "Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "Season", "Episode", "StartTime",
    "EndTime",
]  # fmt: skip
FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}


def row(
    dialogue: int, utterance: int, speaker: str = "Phoebe", emotion: str = "sadness", text: str = "Oh, no."
) -> list[object]:
    return [1, text, speaker, emotion, "negative", dialogue, utterance, 4, 7, "00:20:57,256", "00:21:00,049"]


def part(root: Path, name: str, rows: list[list[object]], *clips: str, encoding: str = "utf-8") -> None:
    folder = root / FOLDERS[name]
    folder.mkdir(parents=True)
    for clip in clips:
        (folder / clip).touch()
    with (root / f"{name}_sent_emo.csv").open("w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


def test_reads_the_three_parts(tmp_path: Path) -> None:
    part(tmp_path, "train", [row(0, 0, "Chandler", "joy"), row(0, 1, "Nurse")], "dia0_utt0.mp4", "dia0_utt1.mp4")
    part(tmp_path, "dev", [row(0, 0, text='"Wanted", he’s')], "dia0_utt0.mp4", "dia66_utt9.mp4", "._dia0_utt0.mp4")
    part(tmp_path, "test", [row(0, 0, "Rachel", "anger")], "dia0_utt0.mp4")
    table = MELD.parse(tmp_path).table
    columns = ["id", "split", "speaker", "gender", "emotion", "dialogue", "sentiment", "season", "episode", "language"]
    assert table[columns].to_numpy().tolist() == [
        ["train_dia0_utt0", "train", "Chandler", "male", "joy", "train_dia0", "negative", "4", "7", "en"],
        ["train_dia0_utt1", "train", "Nurse", "", "sadness", "train_dia0", "negative", "4", "7", "en"],
        ["dev_dia0_utt0", "val", "Phoebe", "female", "sadness", "dev_dia0", "negative", "4", "7", "en"],
        ["test_dia0_utt0", "test", "Rachel", "female", "anger", "test_dia0", "negative", "4", "7", "en"],
    ]
    assert table["text"][2] == '"Wanted", he’s'
    assert table["path"][3] == str(tmp_path / "output_repeated_splits_test" / "dia0_utt0.mp4")
    assert table["start_seconds"].isna().all()  # the times of the table are those of the episode; the clips are cut


def test_rows_are_in_the_order_of_the_dialogues(tmp_path: Path) -> None:
    order = [(2, 0), (10, 0), (10, 2), (10, 11)]
    part(tmp_path, "dev", [row(*numbers) for numbers in reversed(order)], *(f"dia{d}_utt{u}.mp4" for d, u in order))
    assert MELD.parse(tmp_path).table["id"].tolist() == [f"dev_dia{d}_utt{u}" for d, u in order]


def test_archives_unpacked_into_folders_of_their_own(tmp_path: Path) -> None:
    for name in FOLDERS:
        part(tmp_path / "MELD.Raw" / name, name, [row(0, 0)], "dia0_utt0.mp4")
    assert MELD.parse(tmp_path).table["id"].tolist() == ["train_dia0_utt0", "dev_dia0_utt0", "test_dia0_utt0"]


def test_converted_clips_are_preferred(tmp_path: Path) -> None:
    part(tmp_path, "dev", [row(0, 0), row(0, 1), row(0, 2)], "dia0_utt0.mp4", "dia0_utt1.mp4", "dia0_utt0.wav")
    converted = tmp_path / "dev_splits_complete_wav"
    converted.mkdir()
    (converted / "dia0_utt2.wav").touch()
    assert [Path(path).name for path in MELD.parse(tmp_path).table["path"]] == [
        "dia0_utt0.wav",
        "dia0_utt1.mp4",
        "dia0_utt2.wav",
    ]


def test_the_corrupt_clip_of_train_is_left_out_and_only_there(tmp_path: Path) -> None:
    part(tmp_path, "train", [row(125, 2), row(125, 3)], "dia125_utt2.mp4", "dia125_utt3.mp4")
    part(tmp_path, "test", [row(125, 3)], "dia125_utt3.mp4")
    parsed = MELD.parse(tmp_path)
    assert parsed.table["id"].tolist() == ["train_dia125_utt2", "test_dia125_utt3"]
    assert parsed.warnings[1:] == ("train_dia125_utt3 can't be decoded in the release and is left out.",)


def test_corrected_test_clips_stand_in_for_the_plain_ones(tmp_path: Path) -> None:
    clips = ["dia108_utt0.mp4", "final_videos_testdia108_utt0.mp4", "dia9_utt0.mp4"]
    part(tmp_path, "test", [row(9, 0), row(108, 0)], *clips)
    parsed = MELD.parse(tmp_path)
    assert [Path(path).name for path in parsed.table["path"]] == ["dia9_utt0.mp4", "final_videos_testdia108_utt0.mp4"]
    assert parsed.warnings[1] == "1 test utterances are read from their corrected clips final_videos_test*."


def test_wrongly_cut_and_missing_clips_are_named(tmp_path: Path) -> None:
    part(tmp_path, "test", [row(38, 4), row(38, 5)], "dia38_utt4.mp4")
    parsed = MELD.parse(tmp_path)
    _, missing, cut = parsed.warnings
    assert missing == "1 of 2 recordings named in the labels are missing and left out: test_dia38_utt5."
    assert cut.startswith("1 clip wrongly cut in the release")
    assert "test_dia38_utt4" in cut


def test_counts_are_checked_by_part_and_emotion(tmp_path: Path) -> None:
    part(tmp_path, "dev", [row(0, 0, emotion="joy")], "dia0_utt0.mp4")
    (counts,) = MELD.parse(tmp_path).warnings
    assert counts.startswith(
        "MELD has 13708 utterances as published, this copy 1. Published / here: train neutral 4710 / 0,"
    )
    assert "dev joy 163 / 1," in counts
    assert "test surprise 281 / 0," in counts


def test_published_parts_have_the_published_sizes() -> None:
    from emoviews.corpora.meld import PUBLISHED

    assert {name: sum(counts.values()) for name, counts in PUBLISHED.items()} == {
        "train": 9989,
        "dev": 1109,
        "test": 2610,
    }


def test_a_table_in_windows_encoding(tmp_path: Path) -> None:
    part(tmp_path, "dev", [row(0, 0, text="It’s me…")], "dia0_utt0.mp4", encoding="cp1252")
    assert MELD.parse(tmp_path).table["text"].tolist() == ["It’s me…"]


def test_a_table_without_speakers_is_refused(tmp_path: Path) -> None:
    part(tmp_path, "dev", [row(0, 0)], "dia0_utt0.mp4")
    path = tmp_path / "dev_sent_emo.csv"
    path.write_text(path.read_text().replace("Speaker", "Who"))
    with pytest.raises(CorpusError, match="lacks the column Speaker that the label table of MELD has"):
        MELD.parse(tmp_path)
