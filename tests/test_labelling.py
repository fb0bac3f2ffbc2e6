"""Labels that people give: on disk before anybody says so, in the right order, and read back whatever happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoviews import labelling
from emoviews.errors import StoreError, TableError, UsageError
from emoviews.labelling import (
    Entry,
    Journal,
    TurnError,
    agreement,
    answers,
    journal_of,
    labelling_order,
    merged,
    read_journal,
    stack_of,
    waiting,
    write_merged,
)
from emoviews.table import make_table, read_table, write_table

LABELS = ("anger", "joy")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    rows = [{"id": name, "path": f"{name}.wav", "note": f"of {name}"} for name in "abcd"]
    rows.append({"id": "e", "path": "e.wav", "emotion": "joy"})
    write_table(make_table(rows, tmp_path), path)
    return path


@pytest.fixture
def journal(table: Path):
    opened = Journal(table, "abcd", LABELS)
    yield opened
    opened.close()


def test_every_answer_is_a_line_and_undo_is_one_too(journal: Journal, table: Path):
    journal.add("Ann", 0, "a", "label", "joy")
    journal.add("Ann", 1, "b", "skip")
    journal.add("Ann", 2, "b", "undo")
    journal.add("Ann", 1, "b", "cannot_tell")
    lines = [json.loads(line) for line in journal_of(table).read_text().splitlines()]
    assert [(line["id"], line["action"]) for line in lines] == [
        ("a", "label"),
        ("b", "skip"),
        ("b", "undo"),
        ("b", "cannot_tell"),
    ]
    assert lines[0]["emotion"] == "joy"
    assert lines[0]["time"].endswith("+00:00")
    assert answers(read_journal(journal.path)) == {"Ann": {"a": "joy", "b": ""}}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("Ann", 0, "a", "label", "boredom"), "label 'boredom' is none of anger, joy. Nothing was saved"),
        (("Ann", 0, "z", "label", "joy"), "table does not have this recording. Nothing was saved"),
        (("Ann", 0, "a", "shout"), "There is no action 'shout'"),
        (("", 0, "a", "skip"), "Expected a name of 1 to 60 characters"),
        (("A\nB", 0, "a", "skip"), "Expected a name of 1 to 60 characters"),
        ((" Ann", 0, "a", "skip"), "Expected a name of 1 to 60 characters"),
        (("A" * 61, 0, "a", "skip"), "Expected a name of 1 to 60 characters"),
    ],
)
def test_what_is_no_answer_is_refused_and_not_written(journal: Journal, arguments, said):
    with pytest.raises(UsageError, match=said):
        journal.add(*arguments)
    assert not journal.path.exists()


def test_a_second_window_of_one_annotator_can_not_overwrite(journal: Journal):
    journal.add("Ann", 0, "a", "label", "joy")
    with pytest.raises(TurnError, match=r"gone on in another window\. Nothing was saved"):
        journal.add("Ann", 0, "a", "label", "anger")
    with pytest.raises(TurnError):
        journal.add("Ann", 1, "b", "undo")  # the last answer was on a
    journal.add("Bob", 0, "a", "label", "anger")  # somebody else is
    assert answers(read_journal(journal.path)) == {"Ann": {"a": "joy"}, "Bob": {"a": "anger"}}


def test_answers_at_the_same_time_are_all_kept(journal: Journal):
    def work(name: str) -> None:
        for turn, recording in enumerate("abcd"):
            journal.add(name, turn, recording, "label", "joy")

    threads = [threading.Thread(target=work, args=(f"person {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_journal(journal.path)) == 32


def test_a_second_program_is_refused_while_the_first_runs(journal: Journal, table: Path):
    with pytest.raises(UsageError, match="is being labelled by another `emoviews label`"):
        Journal(table, "abcd", LABELS)
    journal.close()
    Journal(table, "abcd", LABELS).close()


def test_nothing_is_lost_when_the_program_is_killed(table: Path):
    code = (
        "import sys; from pathlib import Path; from emoviews.labelling import Journal\n"
        f"journal = Journal(Path({str(table)!r}), 'abcd', {LABELS!r})\n"
        "for turn, name in enumerate('abc'):\n"
        "    journal.add('Ann', turn, name, 'label', 'joy'); print(name, flush=True)\n"
        "sys.stdin.read()\n"
    )
    program = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    said = [program.stdout.readline().strip() for _ in "abc"]
    program.send_signal(signal.SIGKILL)
    program.communicate()
    again = Journal(table, "abcd", LABELS)  # and the lock died with it
    assert [entry.id for entry in again.entries] == said == ["a", "b", "c"]
    assert waiting("abcd", again.stack("Ann")) == ["d"]
    again.close()


def test_a_line_that_a_crash_cut_off_is_dropped_and_the_next_is_whole(journal: Journal, table: Path):
    journal.add("Ann", 0, "a", "label", "joy")
    journal.close()
    with open(journal.path, "ab") as file:
        file.write(b'{"id": "b", "annota')
    again = Journal(table, "abcd", LABELS)
    again.add("Ann", 1, "b", "label", "anger")
    again.close()
    assert answers(read_journal(journal.path)) == {"Ann": {"a": "joy", "b": "anger"}}


def test_a_last_line_whose_end_an_editor_left_out_is_kept(journal: Journal, table: Path):
    journal.add("Ann", 0, "a", "label", "joy")
    journal.close()
    journal.path.write_bytes(journal.path.read_bytes().rstrip(b"\n"))
    again = Journal(table, "abcd", LABELS)
    again.add("Ann", 1, "b", "label", "anger")
    again.close()
    assert answers(read_journal(journal.path)) == {"Ann": {"a": "joy", "b": "anger"}}


@pytest.mark.parametrize("line", ["nonsense", '{"id": "a"}', '{"id": "a", "annotator": "A", "action": "sing"}', "[1]"])
def test_a_damaged_line_is_named(table: Path, line: str):
    journal_of(table).write_text(f"{line}\n")
    with pytest.raises(StoreError, match=r"table.csv.labels.jsonl, line 1 is no entry"):
        Journal(table, "abcd", LABELS)


def test_a_full_disk_is_said_and_leaves_the_journal_whole(journal: Journal, monkeypatch: pytest.MonkeyPatch):
    journal.add("Ann", 0, "a", "label", "joy")
    whole = os.write
    monkeypatch.setattr(labelling.os, "write", lambda handle, line: whole(handle, line[:7]))
    with pytest.raises(StoreError, match=r"the disk is full.*this answer was not saved; those before it are"):
        journal.add("Ann", 1, "b", "label", "joy")
    monkeypatch.undo()
    assert answers(read_journal(journal.path)) == {"Ann": {"a": "joy"}}
    journal.add("Ann", 1, "b", "label", "joy")
    assert answers(read_journal(journal.path)) == {"Ann": {"a": "joy", "b": "joy"}}


def test_a_journal_with_labels_outside_the_list_is_refused(journal: Journal, table: Path):
    journal.add("Ann", 0, "a", "label", "joy")
    journal.close()
    with pytest.raises(
        UsageError, match=r"1 labels 'joy', which is none of anger, fear\. Add it: --labels anger,fear,joy"
    ):
        Journal(table, "abcd", ("anger", "fear"))
    Journal(table, "abcd", ("anger", "fear", "joy")).close()


def test_skipped_recordings_come_again_at_the_end_and_undo_brings_one_back():
    entries = [Entry("a", "Ann", "skip"), Entry("b", "Ann", "skip"), Entry("c", "Ann", "label", "joy")]
    assert waiting("abcd", entries) == ["d", "a", "b"]
    entries += [Entry("d", "Ann", "cannot_tell"), Entry("a", "Ann", "skip")]
    assert waiting("abcd", entries) == ["b", "a"]
    entries += [Entry("a", "Ann", "undo")]
    assert waiting("abcd", stack_of(entries, "Ann")) == ["a", "b"]


actions = st.lists(st.tuples(st.sampled_from(["label", "cannot_tell", "skip", "undo"]), st.sampled_from("AB")))


@given(actions)
def test_whatever_is_pressed_each_recording_is_either_answered_or_waiting(pressed):
    entries: list[Entry] = []
    for action, person in pressed:
        stack = stack_of(entries, person)
        left = waiting("abcd", stack)
        if action == "undo" and stack:
            entries.append(Entry(stack[-1].id, person, "undo"))
        elif action != "undo" and left:
            entries.append(Entry(left[0], person, action, "joy" if action == "label" else ""))
    for person in "AB":
        left = waiting("abcd", stack_of(entries, person))
        assert sorted([*left, *answers(entries).get(person, {})]) == list("abcd")


def test_a_second_annotator_hears_what_the_first_labelled_first(table: Path):
    frame = read_table(table)
    assert labelling_order(frame, [], ["c", "a"]) == ["c", "a", "b", "d"]
    entries = [Entry("d", "Ann", "label", "joy"), Entry("e", "Ann", "label", "joy")]
    assert labelling_order(frame, entries, ["c", "a"]) == ["d", "e", "c", "a", "b"]
    with pytest.raises(TableError, match="there is nothing to label"):
        labelling_order(frame.assign(emotion="joy"), [], [])


def by_hand(one, two):
    """Alpha of two annotators without missing values: 1 - observed / expected disagreement over the coincidences."""
    pairs = [*zip(one, two, strict=True), *zip(two, one, strict=True)]
    values, n = [a for a, _ in pairs], len(pairs)
    observed = sum(a != b for a, b in pairs) / n
    expected = sum(a != b for i, a in enumerate(values) for j, b in enumerate(values) if i != j) / (n * (n - 1))
    return 1 - observed / expected


def test_alpha_is_krippendorffs():
    one, two = "xxyyzzxyzx", "xxyyzxxyyx"
    given_ = {"Ann": dict(enumerate(one)), "Bob": dict(enumerate(two))}
    given_["Ann"] |= {"alone": "x", "told": ""}
    given_["Bob"] |= {"told": "x"}
    found = agreement(given_)
    assert found.alpha == pytest.approx(by_hand(one, two))
    assert (found.n, found.agreeing) == (10, 8)
    assert found.disagreements == {5: {"Ann": "z", "Bob": "x"}, 8: {"Ann": "z", "Bob": "y"}}
    assert "10 recordings labelled by two or more, the same label for 8. From so few it says little." in str(found)
    many = {who: dict(enumerate(3 * said)) for who, said in (("Ann", one), ("Bob", two))}
    assert str(agreement(many)).endswith("30 recordings labelled by two or more, the same label for 24.")


def test_alpha_is_not_made_up_where_it_is_not_defined():
    none = agreement({"Ann": {"a": "joy"}, "Bob": {"b": "joy"}})
    assert np.isnan(none.alpha)
    assert str(none) == "Agreement: no recording has labels of two annotators yet."
    same = agreement({"Ann": {"a": "joy"}, "Bob": {"a": "joy"}})
    assert np.isnan(same.alpha)
    assert "is not defined: all of them have the same label, joy" in str(same)


def test_merging_takes_what_nobody_contradicts_and_changes_no_label(table: Path, tmp_path: Path):
    entries = [
        Entry("a", "Ann", "label", "joy"),
        Entry("a", "Bob", "label", "joy"),
        Entry("b", "Ann", "label", "joy"),
        Entry("b", "Bob", "label", "anger"),
        Entry("c", "Ann", "cannot_tell"),
        Entry("d", "Ann", "cannot_tell"),
        Entry("d", "Bob", "label", "anger"),
        Entry("e", "Ann", "label", "anger"),
        Entry("gone", "Ann", "label", "anger"),
    ]
    found = merged(read_table(table), entries)
    assert found.table["emotion"].tolist() == ["joy", "", "", "anger", "joy"]
    assert (found.filled, found.cannot_tell, found.unknown) == (2, 1, ("gone",))
    assert found.conflicts == {"e": ("joy", "anger")}
    assert list(found.agreement.disagreements) == ["b"]
    before = table.read_bytes()
    assert write_merged(found, tmp_path / "new.csv") is None
    assert table.read_bytes() == before
    kept = write_merged(found, table)
    assert kept == tmp_path / "table.csv.before-1"
    assert kept.read_bytes() == before
    assert read_table(table)["note"].tolist() == read_table(tmp_path / "new.csv")["note"].tolist()
    assert write_merged(found, table) == tmp_path / "table.csv.before-2"
