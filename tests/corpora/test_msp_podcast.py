"""MSP-Podcast: labels, partitions, unknown speakers; from the readme of the releases and the corpus' page."""

from pathlib import Path

import pytest

from emoviews.corpora import CORPORA, msp_podcast
from emoviews.errors import CorpusError

MSP = CORPORA.load("msp_podcast")
HEADER = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
ROWS = (
    "MSP-PODCAST_0002_0039.wav,H,5.0,6.1,5.2,Unknown,Female,Train\n"
    "MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Test1\n"
    "MSP-PODCAST_0002_0033_0001.wav,X,4.0,3.0,4.0,Unknown,Unknown,Train\n"
    "MSP-PODCAST_0003_0001.wav,C,4.0,3.0,4.0,Unknown,Male,Development\n"
    "MSP-PODCAST_0004_0001.wav,U,4.0,3.0,4.0,30,Male,Test2\n"
    "MSP-PODCAST_0005_0001.wav,A,6.0,2.0,6.0,41,Female,Train\n"
)


def release(
    root: Path,
    *,
    text: str = HEADER + ROWS,
    table: str = "labels_consensus.csv",
    audio: str = "Audios",
    more: tuple[str, ...] = (),
) -> Path:
    (root / "Labels").mkdir(parents=True)
    (root / "Labels" / table).write_text(text)
    (root / audio).mkdir()
    for name in (*(line.split(",")[0] for line in text.splitlines()[1:]), *more):
        (root / audio / name).touch()
    return root


def test_reads_a_turn(tmp_path: Path) -> None:
    table = MSP.parse(release(tmp_path, more=("._MSP-PODCAST_0001_0008.wav",))).table.set_index("id")
    assert table.index.tolist() == sorted(line.split(",")[0][:-4] for line in ROWS.splitlines())
    columns = [
        "speaker",
        "group",
        "split",
        "emotion",
        "language",
        "gender",
        "partition",
        "valence",
        "arousal",
        "dominance",
    ]
    assert table.loc["MSP-PODCAST_0001_0008", columns].tolist() == [
        "30", "30", "test", "neutral", "en", "male", "Test1", "4.0", "2.2", "2.6",
    ]  # fmt: skip
    assert table.loc["MSP-PODCAST_0001_0008", "path"] == str(tmp_path / "Audios" / "MSP-PODCAST_0001_0008.wav")
    assert table["emotion"].tolist() == ["neutral", "undecided", "happy", "contempt", "surprise", "angry"]
    assert table["split"].tolist() == ["test", "train", "train", "val", "", "train"]
    assert table["gender"].tolist() == ["male", "", "female", "male", "male", "female"]


def test_unknown_speakers_are_neither_one_nor_parted_within_a_podcast(tmp_path: Path) -> None:
    parsed = MSP.parse(release(tmp_path))
    unknown = parsed.table[parsed.table["speaker"] == ""]
    assert unknown["group"].tolist() == ["podcast_0002", "podcast_0002", "podcast_0003"]
    assert "3 turns have an unknown speaker: their 'speaker' is empty, their 'group' the podcast." in parsed.warnings


def test_all_codes(tmp_path: Path) -> None:
    words = {
        "A": "angry",
        "S": "sad",
        "H": "happy",
        "U": "surprise",
        "F": "fear",
        "D": "disgust",
        "C": "contempt",
        "N": "neutral",
        "O": "other",
        "X": "undecided",
    }
    text = HEADER + "".join(f"MSP-PODCAST_0001_{n:04}.wav,{code},1,1,1,7,Male,Train\n" for n, code in enumerate(words))
    assert MSP.parse(release(tmp_path, text=text)).table["emotion"].tolist() == list(words.values())


def test_presets_hold_one_test_set(tmp_path: Path) -> None:
    release(tmp_path)
    one, two = MSP.parse(tmp_path, "test1"), MSP.parse(tmp_path, "test2")
    assert set(one.table["partition"]) == {"Train", "Development", "Test1"}
    assert set(two.table["partition"]) == {"Train", "Development", "Test2"}
    assert two.table["split"][two.table["partition"] == "Test2"].tolist() == ["test"]
    assert not any("Test3" in warning for warning in (*one.warnings, *two.warnings))


def test_turns_without_a_split_are_warned_of(tmp_path: Path) -> None:
    assert any(w.startswith("1 turns of Test2 and Test3 have no split.") for w in MSP.parse(release(tmp_path)).warnings)


def test_counts_missing_and_unlisted_recordings_are_warned_of(tmp_path: Path) -> None:
    release(tmp_path, more=("MSP-PODCAST_test3_0001.wav", "MSP-PODCAST_test3_0002.wav"))
    (tmp_path / "Audios" / "MSP-PODCAST_0003_0001.wav").unlink()
    counts, missing, unlisted, *_ = MSP.parse(tmp_path).warnings
    assert counts == (
        "MSP-Podcast has 151654 in release 1.11, 207136 in release 1.12, 264705 in release 2.0 recordings as published, "
        "this copy 7."
    )
    assert missing == "1 of 6 recordings named in the labels are missing and left out: MSP-PODCAST_0003_0001."
    assert unlisted == ("2 recordings without labels left out: MSP-PODCAST_test3_0001, MSP-PODCAST_test3_0002.")


def test_partitions_of_a_known_release_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release(tmp_path)
    monkeypatch.setattr(msp_podcast, "TURNS", {"1.11": 6})
    monkeypatch.setattr(msp_podcast, "PUBLISHED_1_11", {"Train": 4, "Development": 1, "Test1": 1, "Test2": 1})
    assert MSP.parse(tmp_path, "test1").warnings[0] == (
        "MSP-Podcast 1.11 has 7 utterances as published, this copy 6. Published / here: Train 4 / 3."
    )
    monkeypatch.setattr(msp_podcast, "PUBLISHED_1_11", {"Train": 3, "Development": 1, "Test1": 1, "Test2": 1})
    assert not any("published" in warning for warning in MSP.parse(tmp_path, "test1").warnings)


def test_published_partitions_sum_to_the_release() -> None:
    # 2347 turns of Test3, whose labels are hidden (the corpus' page).
    assert sum(msp_podcast.PUBLISHED_1_11.values()) + 2347 == msp_podcast.TURNS["1.11"]


def test_older_releases(tmp_path: Path) -> None:
    text = HEADER + ROWS.replace("Development", "Validation")
    table = MSP.parse(release(tmp_path, text=text, table="labels_concensus.csv", audio="Audio")).table
    assert table["split"][table["partition"] == "Validation"].tolist() == ["val"]


@pytest.mark.parametrize("root", [".", "Audios", "Labels", ".."])
def test_finds_the_release_around_the_root(tmp_path: Path, root: str) -> None:
    assert len(MSP.parse(release(tmp_path / "MSP-PODCAST-Publish-1.11") / root).table) == 6


@pytest.mark.parametrize(
    ("old", "new", "message"), [(",H,", ",J,", "the emotion 'J'"), ("Development", "Dev", "the partition 'Dev'")]
)
def test_unknown_codes_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        MSP.parse(release(tmp_path, text=HEADER + ROWS.replace(old, new)))


def test_a_table_without_turns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="The labels of MSP-Podcast name not one recording"):
        MSP.parse(release(tmp_path, text=HEADER))


def test_an_emptying_preset_is_refused(tmp_path: Path) -> None:
    text = HEADER + "MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Test2\n"
    with pytest.raises(CorpusError, match="'test1' leaves no turn"):
        MSP.parse(release(tmp_path, text=text), "test1")
