"""What `fit` and `check` say of a table that may not be meant: each doubt where it is one, and none where it is not."""

from __future__ import annotations

import json
import shlex

import pandas as pd
import pytest

from emoviews.doubts import of_labels, of_parts, of_people, of_recordings
from emoviews.table import apply_label_map, make_table


def labelled(*emotions: str) -> pd.DataFrame:
    """Each emotion by speakers in turn, so that nothing else is doubtful."""
    return make_table(
        [{"path": f"{n}{s}.wav", "emotion": e, "speaker": s} for n, e in enumerate(emotions) for s in ("A", "B")]
    )


def label_map(note: str) -> dict[str, str]:
    """Of the command that a note ends with, as a shell would pass it on."""
    option, value = shlex.split(note[note.index("--label-map") :])
    assert option == "--label-map"
    found: dict[str, str] = json.loads(value)
    return found


def test_a_table_that_is_meant_raises_no_doubt() -> None:
    table = labelled("joy", "anger", "").assign(gender="female")
    found = [*of_labels(table), *of_people(table), *of_parts(table), *of_recordings(table, list(table["id"]))]
    assert found == []


def test_all_spellings_are_renamed_to_the_most_frequent_by_one_command() -> None:
    table = labelled(
        "happy", "Happy", "happy", "ANGER", "anger's", "Anger", "Anger", "Jose\u0301", "José", "Jose\u0301"
    )
    (note,) = of_labels(table)
    assert note.startswith(
        r"The emotions 'ANGER', 'Anger'; 'Happy', 'happy'; 'Jose\u0301', 'Jos\xe9' differ in upper and lower"
    )
    assert "learnt as 6. If they are one each, rename" in note
    assert label_map(note) == {"ANGER": "Anger", "Happy": "happy", "José": "Jose\u0301"}
    assert note.isascii(), "it is to be copied"
    assert not [*of_labels(apply_label_map(table, label_map(note)))]


def test_names_keep_their_letters_in_a_command() -> None:
    (note,) = of_labels(labelled("Ärger", "ärger", "ärger", "l'ira"))
    assert note.endswith("""If they are one, rename: --label-map '{"Ärger": "ärger"}'""")


def test_words_for_no_label_are_dropped_by_one_command_with_what_is_renamed() -> None:
    table = labelled("unknown", "nan", "nan", "joy", "anger")
    (note,) = of_labels(table)
    assert note.startswith(
        "'nan' (4 labels) and 'unknown' (2 labels) are learnt as emotions like any other. If they mean"
    )
    assert "leave the cell empty (in Python: None), or say so: --label-map" in note
    assert label_map(note) == {"nan": "", "unknown": ""}
    *_, note = of_labels(labelled("unknown", "Unknown", "unknown", "joy", "Joy", "Joy", "anger"))
    assert "both this and the renaming: --label-map" in note
    assert label_map(note) == {"joy": "Joy", "Unknown": "", "unknown": ""}


@pytest.mark.parametrize("labels", [("joy", "anger"), ("", "")])
def test_answers_of_predict_are_no_labels(labels: tuple[str, ...]) -> None:
    table = labelled(*labels).assign(mode="inductive", confidence="0.5", p_joy="0.5")
    assert any("look like answers of `predict`" in note for note in of_labels(table)) == (labels[0] != "")


def test_labels_that_contradict_each_other_are_counted_without_a_name() -> None:
    table = labelled("joy", "anger", "", "joy")
    notes = [*of_recordings(table, ["a", "b", "a", "c", "a", "b", "d", "d"])]
    assert [note.partition(":")[0] for note in notes] == ["1 recording with several labels that contradict each other"]


def test_people_are_named_where_they_may_be_one_or_two() -> None:
    rows = [
        ("Ann", "female"),
        ("ann", "Female"),
        ("Bo", "f"),
        ("Bo", "male"),
        ("Cy", "m"),
        ("Cy", "male"),
        ("", "male"),
    ]
    table = make_table(
        [{"path": f"{n}.wav", "speaker": s, "gender": g} for n, (s, g) in enumerate([*rows, ("Di", "")])]
    )
    assert [note.partition(". ")[0] for note in of_people(table)] == [
        "The speakers 'Ann', 'ann' differ in upper and lower case, spaces or the coding of accents alone, and count as 2",
        "The genders 'Female', 'f', 'female' may count as 3 in scores by gender",
        "The genders 'm', 'male' may count as 2 in scores by gender",
        "The speaker 'Bo' has the genders 'f', 'male'",
    ]


def test_rows_that_are_kept_for_tests_are_counted() -> None:
    (note,) = of_parts(labelled("joy").assign(split=["test", "train"]))
    assert note.startswith("1 recording of the part 'test'")
