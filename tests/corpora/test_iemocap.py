"""IEMOCAP: label files, true talkers, the excluded dialogue, presets; from the release's README and DESIGN's counts."""

from collections import defaultdict
from pathlib import Path

import pandas as pd
import pytest

from emoviews.corpora import CORPORA
from emoviews.errors import CorpusError, UsageError
from emoviews.table import ORIGINAL, UNDECIDED, apply_label_map, keep_labels, original_emotions

IEMOCAP = CORPORA.load("iemocap")
HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"


def label(turn: str, emotion: str, start: float = 6.2901) -> str:
    """A summary line and some of the annotators' lines below it, as in EmoEvaluation/*.txt."""
    return (
        f"[{start:.4f} - {start + 2:.4f}]\t{turn}\t{emotion}\t[2.5000, 3.0000, 3.5000]\n"
        "C-E2:\tNeutral;\t()\nC-F1:\tNeutral; Anger;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n"
        "A-F1:\tval 3; act 2; dom  1;\t()\n\n"
    )


def release(root: Path, turns: dict[str, str], *, missing: frozenset[str] = frozenset()) -> Path:
    """A tree of the release: turn → code of its emotion."""
    dialogues = defaultdict(list)
    for turn, emotion in turns.items():
        dialogues[turn.rsplit("_", 1)[0]].append((turn, emotion))
    for dialogue, lines in dialogues.items():
        session = root / f"Session{dialogue[4]}"
        evaluation, wav = session / "dialog" / "EmoEvaluation", session / "sentences" / "wav" / dialogue
        for folder in ("Categorical", "Attribute", "Self-evaluation"):
            (evaluation / folder).mkdir(parents=True, exist_ok=True)
            (evaluation / folder / f"{dialogue}_e1_cat.txt").write_text(label(f"{dialogue}_X000", "ang"))
        (evaluation / f"{dialogue}.txt").write_text(HEADER + "".join(label(turn, emotion) for turn, emotion in lines))
        (evaluation / f"._{dialogue}.txt").write_bytes(b"\0\5\x16\7\0[Mac OS X")
        wav.mkdir(parents=True)
        (wav / f"._{lines[0][0]}.wav").touch()
        for turn, _ in lines:
            if turn not in missing:
                open(f"{wav}/{turn}.wav", "x").close()  # 10 000 times, so not the slower `Path.touch`
    return root


def test_reads_a_turn(tmp_path: Path) -> None:
    release(tmp_path, {"Ses01F_impro01_F000": "neu", "Ses02M_script03_2_M007": "exc"})
    folder = tmp_path / "Session1" / "dialog" / "transcriptions"
    folder.mkdir()
    (folder / "Ses01F_impro01.txt").write_text(
        "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me. [LAUGHTER]\nM: OK.\nSes01F_impro01_MXX0 [007.0000-007.5000]: Hm.\n"
    )
    table = IEMOCAP.parse(tmp_path).table
    assert table["id"].tolist() == ["Ses01F_impro01_F000", "Ses02M_script03_2_M007"]
    columns = ["speaker", "group", "emotion", "gender", "language", "text", "dialogue", "scenario", "split"]
    assert table[columns].to_numpy().tolist() == [
        ["Ses01_F", "Ses01", "neutral", "female", "en", "Excuse me. [LAUGHTER]", "Ses01F_impro01", "improvised", ""],
        ["Ses02_M", "Ses02", "excited", "male", "en", "", "Ses02M_script03_2", "scripted", ""],
    ]
    columns = ["valence", "arousal", "dominance", "dialogue_start_seconds", "dialogue_end_seconds"]
    assert table.loc[0, columns].tolist() == ["2.5000", "3.0000", "3.5000", "6.2901", "8.2901"]
    # The recording is cut already: a segment of it would be silence or nothing.
    assert table["start_seconds"].isna().all()
    assert table["path"][0] == str(tmp_path / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav")


def test_the_talker_is_in_the_last_part_not_in_the_session_prefix(tmp_path: Path) -> None:
    turns = ["Ses03F_impro02_F001", "Ses03F_impro02_M001", "Ses03M_impro02_F002", "Ses03M_impro02_M002"]
    table = IEMOCAP.parse(release(tmp_path, dict.fromkeys(turns, "sad"))).table.set_index("id")
    assert table.loc[turns, "speaker"].tolist() == ["Ses03_F", "Ses03_M", "Ses03_F", "Ses03_M"]
    assert table.loc[turns, "gender"].tolist() == ["female", "male", "female", "male"]


def test_all_labels_are_kept(tmp_path: Path) -> None:
    words = {
        "neu": "neutral", "ang": "angry", "sad": "sad", "hap": "happy", "exc": "excited", "fru": "frustration",
        "sur": "surprise", "fea": "fear", "dis": "disgust", "oth": "other", "xxx": "undecided",
    }  # fmt: skip
    turns = {f"Ses04F_impro01_F{n:03}": code for n, code in enumerate(words)}
    assert IEMOCAP.parse(release(tmp_path, turns)).table["emotion"].tolist() == list(words.values())


TRIALS = {
    "Ses05M_script01_1_F000": "neu",
    "Ses05M_script01_1_M000": "xxx",
    "Ses05M_script01_1b_F000": "neu",
    "Ses05F_script01_1_F000": "hap",
    "Ses05F_impro01_M000": "exc",
    "Ses05F_impro01_M001": "fru",
}


def test_presets_leave_out_one_dialogue_and_no_other_that_begins_alike(tmp_path: Path) -> None:
    release(tmp_path, TRIALS)
    every, ten, four = (IEMOCAP.parse(tmp_path, preset).table for preset in (None, "iemocap-10", "iemocap-4"))
    assert every["id"].tolist() == sorted(TRIALS)
    assert set(every["id"]) - set(ten["id"]) == {"Ses05M_script01_1_F000", "Ses05M_script01_1_M000"}
    assert dict(zip(ten["id"], ten["emotion"], strict=True)) == {
        "Ses05F_impro01_M000": "excited",
        "Ses05F_impro01_M001": "frustration",
        "Ses05F_script01_1_F000": "happy",
        "Ses05M_script01_1b_F000": "neutral",
    }
    assert dict(zip(four["id"], four["emotion"], strict=True)) == {
        "Ses05F_impro01_M000": "happy",
        "Ses05F_script01_1_F000": "happy",
        "Ses05M_script01_1b_F000": "neutral",
    }


def test_one_table_serves_both_presets(tmp_path: Path) -> None:
    release(tmp_path, TRIALS | {"Ses05F_impro01_M002": "ang", "Ses05F_impro01_M003": "sad"})
    ten, four = (IEMOCAP.parse(tmp_path, preset).table for preset in ("iemocap-10", "iemocap-4"))
    mapped = keep_labels(apply_label_map(ten, {"excited": "happy"}), ["neutral", "angry", "sad", "happy"])
    labelled = mapped[mapped["emotion"] != ""].reset_index(drop=True)
    assert set(labelled.pop(ORIGINAL)) == {"neutral", "angry", "sad", "happy", "excited"}
    pd.testing.assert_frame_equal(labelled, four, check_dtype=False)


def test_what_is_out_of_distribution_is_told_from_what_nobody_agreed_on(whole: Path) -> None:
    """The paper's 2 001 other emotions, less what the excluded dialogue has of them; `xxx` is none of them."""
    ten = IEMOCAP.parse(whole, "iemocap-10").table
    mapped = keep_labels(apply_label_map(ten, {"excited": "happy"}), ["neutral", "angry", "sad", "happy"])
    dropped = original_emotions(mapped)[mapped["emotion"] == ""]
    assert len(dropped) == 10_002 - 5499
    assert (dropped == UNDECIDED).sum() == 2507 - 3
    assert (dropped != UNDECIDED).sum() == 2001 - 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many utterances of each label as published, 32 of the four classes and 5 others in the excluded dialogue."""
    published = {
        "neu": 1708, "ang": 1103, "sad": 1084, "hap": 595, "exc": 1041, "fru": 1849, "sur": 107, "fea": 40, "dis": 2,
        "oth": 3, "xxx": 2507,
    }  # fmt: skip
    codes = [code for code, count in published.items() for _ in range(count)]
    assert len(codes) == 10_039
    excluded = ["neu"] * 10 + ["ang"] * 10 + ["sad"] * 6 + ["hap"] * 3 + ["exc"] * 3 + ["fru"] * 2 + ["xxx"] * 3
    for code in excluded:
        codes.remove(code)
    turns = {f"Ses05M_script01_1_F{n:03}": code for n, code in enumerate(excluded)}
    turns |= {f"Ses0{n % 5 + 1}F_impro0{n // 1000 % 10}_{'FM'[n % 2]}{n:05}": code for n, code in enumerate(codes)}
    return release(tmp_path_factory.mktemp("IEMOCAP_full_release"), turns)


def test_the_counts_of_the_paper(whole: Path) -> None:
    every, ten, four = (IEMOCAP.parse(whole, preset) for preset in (None, "iemocap-10", "iemocap-4"))
    assert (every.warnings, ten.warnings, four.warnings) == ((), (), ())
    assert (len(every.table), len(ten.table), len(four.table)) == (10_039, 10_002, 5499)
    out = every.table["emotion"].isin(["frustration", "surprise", "fear", "disgust", "other"])
    assert out.sum() == 2001
    assert sorted(set(four.table["speaker"])) == [f"Ses0{n}_{s}" for n in range(1, 6) for s in "FM"]
    assert four.table["emotion"].value_counts().to_dict() == {
        "neutral": 1698,
        "angry": 1093,
        "sad": 1078,
        "happy": 1630,
    }


def test_deviating_counts_and_missing_recordings_are_warned_of(tmp_path: Path) -> None:
    turns = {f"Ses01F_impro01_F{n:03}": "ang" for n in range(3)}
    release(tmp_path, turns, missing=frozenset({"Ses01F_impro01_F001"}))
    counts, missing, four = IEMOCAP.parse(tmp_path, "iemocap-4").warnings
    assert counts.startswith(
        "IEMOCAP has 10039 utterances as published, this copy 3. Published / here: neutral 1708 / 0, angry 1103 / 3,"
    )
    assert missing == "1 of 3 recordings named in the labels are missing and left out: Ses01F_impro01_F001."
    assert four == "IEMOCAP-4 has 5499 utterances in the paper, this copy 2."


@pytest.mark.parametrize("root", [".", ".."])
def test_finds_the_release_around_the_root(tmp_path: Path, root: str) -> None:
    top = release(tmp_path / "IEMOCAP_full_release", {"Ses01F_impro01_F000": "neu"})
    assert len(IEMOCAP.parse(top / root).table) == 1


def test_a_session_is_not_the_release(tmp_path: Path) -> None:
    release(tmp_path, {"Ses01F_impro01_F000": "neu"})
    with pytest.raises(
        CorpusError, match="looked for the folders Session1 to Session5, each with dialog/EmoEvaluation"
    ):
        IEMOCAP.parse(tmp_path / "Session1")


@pytest.mark.parametrize(
    "line", ["[6.29 - 8.23]\tSes01F_impro01_F000\tjoy\t[2.5, 2.5, 2.5]", "[6.29 - 8.23]\tSes01F_impro01_F000"]
)
def test_a_damaged_label_line_is_named(tmp_path: Path, line: str) -> None:
    release(tmp_path, {"Ses01F_impro01_F000": "neu"})
    path = tmp_path / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    path.write_text(HEADER + line + "\n")
    with pytest.raises(
        CorpusError, match=r"Ses01F_impro01.txt, line 3: can't read .*expected '\[start - end\]<tab>turn"
    ):
        IEMOCAP.parse(tmp_path)


def test_labels_without_recordings_and_an_emptying_preset_are_refused(tmp_path: Path) -> None:
    release(tmp_path / "a", {"Ses01F_impro01_F000": "neu"}, missing=frozenset({"Ses01F_impro01_F000"}))
    with pytest.raises(CorpusError, match="Not one of the 1 recordings that the labels of IEMOCAP name is there"):
        IEMOCAP.parse(tmp_path / "a")
    (tmp_path / "c" / "Session1" / "dialog" / "EmoEvaluation").mkdir(parents=True)
    with pytest.raises(CorpusError, match="The labels of IEMOCAP name not one recording"):
        IEMOCAP.parse(tmp_path / "c")
    release(tmp_path / "b", {"Ses01F_impro01_F000": "fru"})
    with pytest.raises(CorpusError, match="'iemocap-4' leaves no utterance"):
        IEMOCAP.parse(tmp_path / "b", "iemocap-4")


def test_an_unknown_preset_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Its presets: iemocap-4, iemocap-10"):
        IEMOCAP.parse(tmp_path, "iemocap-5")
