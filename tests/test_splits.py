"""Folds, budgets and the leakage audit: properties over random tables, and planted leaks of every kind."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from emoviews.errors import LeakageError, UsageError
from emoviews.splits import (
    Leak,
    audit_groups,
    cross_corpus_split,
    draw_rows,
    leakage_audit,
    leave_one_group_out,
    merge_groups,
    official_split,
    require_no_leakage,
    select_budget,
    split_hash,
    validation_from_budget,
)

NAMES = ["Ann", "Bob", "Cy", "Di", "Eve", "Flo"]
groups_of_rows = st.lists(st.sampled_from(NAMES), min_size=3, max_size=30)
labels_of_rows = st.lists(st.sampled_from(["", "angry", "happy", "sad"]), min_size=1, max_size=60).filter(any)


# --- folds


@given(groups_of_rows, st.sampled_from(["next", "none"]))
@settings(deadline=None)
def test_folds_partition_the_rows_by_group(groups, validation):
    assume(len(set(groups)) >= 3)
    folds = leave_one_group_out(groups, validation)
    assert [fold.name for fold in folds] == [fold.test_group for fold in folds] == sorted(set(groups))
    tested = Counter()
    for fold in folds:
        rows = [fold.train, fold.validation, fold.test]
        assert sorted(np.concatenate(rows)) == list(range(len(groups)))
        assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in rows)
        train, valid, test = ({groups[row] for row in part} for part in rows)
        assert test == {fold.test_group}
        assert valid == ({fold.validation_group} if validation == "next" else set())
        assert not train & valid
        assert not train & test
        assert train
        tested.update(fold.test.tolist())
    assert tested == Counter(range(len(groups)))
    if validation == "next":
        assert sorted(fold.validation_group for fold in folds) == sorted(set(groups))


def test_the_next_group_validates_cyclically():
    folds = leave_one_group_out(["S3", "S1", "S2", "S5", "S4"])
    assert [(fold.test_group, fold.validation_group) for fold in folds] == [
        ("S1", "S2"),
        ("S2", "S3"),
        ("S3", "S4"),
        ("S4", "S5"),
        ("S5", "S1"),
    ]
    assert folds[4].train.tolist() == [0, 2, 4]


@given(groups_of_rows, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_folds_do_not_depend_on_the_order_of_rows(groups, random):
    assume(len(set(groups)) >= 3)
    ids = [f"u{i}" for i in range(len(groups))]
    order = list(range(len(groups)))
    random.shuffle(order)
    before = [split_hash(fold, ids) for fold in leave_one_group_out(groups)]
    shuffled = leave_one_group_out([groups[i] for i in order])
    assert [split_hash(fold, [ids[i] for i in order]) for fold in shuffled] == before
    assert len(set(before)) == len(before)


@pytest.mark.parametrize(
    ("groups", "validation", "message"),
    [
        (["Ann"] * 4, "next", r"at least 3 groups .*one to validate.*, got 1: Ann\. Add recordings"),
        (["Ann", "Bob"], "next", r"at least 3 groups.*got 2: Ann, Bob\."),
        (["Ann"] * 4, "none", r"at least 2 groups \(one to test and one to train\), got 1: Ann\."),
        ([], "next", "got 0: no rows"),
        (["Ann", "", "Cy", ""], "next", "2 of 4 rows have no group.*Fill in the column 'speaker' or 'group'"),
        (["Ann", "Bob", "Cy"], "previous", "Expected validation 'next' or 'none', got 'previous'"),
    ],
)
def test_folds_say_what_is_missing(groups, validation, message):
    with pytest.raises(UsageError, match=message):
        leave_one_group_out(groups, validation)


def test_only_the_help_that_helps():
    with pytest.raises(UsageError) as error:
        leave_one_group_out(["Ann"], "next")
    assert "validation='none'" not in str(error.value)


def test_folds_take_a_column_whatever_its_index():
    table = pd.DataFrame({"group": ["b", "a", "c"], "id": ["1", "2", "3"]}, index=[7, 5, 9])
    fold = leave_one_group_out(table["group"])[0]
    assert table["group"].iloc[fold.test].tolist() == ["a"]
    assert split_hash(fold, table["id"]) == split_hash(fold, ["1", "2", "3"])


@given(groups_of_rows, st.integers(1, 6))
@settings(deadline=None)
def test_merged_groups_are_balanced_unions(groups, n):
    sizes = Counter(groups)
    assume(n <= len(sizes))
    merged = merge_groups(groups, n)
    pairs = set(zip(groups, merged, strict=True))
    assert len(pairs) == len(sizes)  # no group is torn apart
    assert len(set(merged)) == n
    for name in set(merged):
        assert name == "+".join(sorted(group for group, m in pairs if m == name))
    merged_sizes = Counter(merged).values()
    # Greedy never leaves a difference larger than the group it placed last, as that group went to the smallest.
    assert max(merged_sizes) - min(merged_sizes) <= max(sizes.values())
    order = np.random.default_rng(0).permutation(len(groups))
    assert merge_groups([groups[i] for i in order], n) == [merged[i] for i in order]


def test_merging_eight_speakers_into_four():
    sizes = {"A": 20, "B": 30, "C": 40, "D": 50, "E": 60, "F": 70, "G": 80, "H": 90}
    merged = Counter(merge_groups([name for name, size in sizes.items() for _ in range(size)], 4))
    assert merged == {"A+H": 110, "B+G": 110, "C+F": 110, "D+E": 110}


@pytest.mark.parametrize(
    ("groups", "n", "message"),
    [
        (["a", "b"], 3, "Can't merge 2 groups into 3; expected a number from 1 to 2"),
        (["a", "b"], 0, "into 0"),
        (["a", ""], 1, "1 of 2 rows have no group"),
        (["a+b"] * 2 + ["a", "b"], 2, r"same name.*'\+'"),
    ],
)
def test_merging_says_what_is_wrong(groups, n, message):
    with pytest.raises(UsageError, match=message):
        merge_groups(groups, n)


def test_official_split():
    fold = official_split(["test", "train", "", "val", "train"])
    assert (fold.name, fold.test_group, fold.validation_group) == ("official", "", "")
    assert {part: rows.tolist() for part, rows in fold.parts.items()} == {
        "train": [1, 4],
        "validation": [3],
        "test": [0],
    }
    assert list(official_split(["test", "train"]).parts) == ["train", "test"]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (["", ""], "has 0 'train' and 0 'test'"),
        (["train", "val"], "has 1 'train' and 0 'test'"),
        (["test", "val"], "has 0 'train' and 1 'test'"),
        (["train", "dev", "test"], "got 'dev'"),
    ],
)
def test_official_split_says_what_is_missing(split, message):
    with pytest.raises(UsageError, match=message):
        official_split(split)


# --- label budgets


@given(labels_of_rows, st.floats(0.01, 1), st.integers(0, 5))
@settings(deadline=None)
def test_a_fraction_is_taken_of_every_class_and_of_no_unlabelled_row(labels, fraction, seed):
    rows = select_budget(labels, fraction=fraction, seed=seed)
    assert rows.dtype == np.int64
    assert (np.diff(rows) > 0).all()
    counts = Counter(label for label in labels if label)
    expected = {label: max(1, round(fraction * n)) for label, n in counts.items()}
    assert Counter(labels[row] for row in rows) == expected


@given(labels_of_rows, st.lists(st.floats(0.01, 1), min_size=2, max_size=5), st.integers(0, 5))
@settings(deadline=None)
def test_smaller_budgets_are_part_of_larger_ones(labels, fractions, seed):
    budgets = [set(select_budget(labels, fraction=f, seed=seed).tolist()) for f in sorted(fractions)]
    fewest = min(Counter(label for label in labels if label).values())
    budgets_per_class = [set(select_budget(labels, per_class=k, seed=seed).tolist()) for k in range(1, fewest + 1)]
    for chain in (budgets, budgets_per_class):
        assert all(small <= large for small, large in itertools.pairwise(chain))


@given(labels_of_rows, st.integers(0, 5))
@settings(deadline=None)
def test_the_choice_of_a_class_does_not_depend_on_the_others(labels, seed):
    assume("sad" in labels)
    alone = [label if label == "sad" else "" for label in labels]
    together = [row for row in select_budget(labels, fraction=0.4, seed=seed) if labels[row] == "sad"]
    assert select_budget(alone, fraction=0.4, seed=seed).tolist() == together


def test_all_labelled_rows_without_a_budget_and_with_the_fraction_1():
    labels = ["sad", "", "happy", "sad"]
    assert select_budget(labels, seed=3).tolist() == [0, 2, 3]
    assert select_budget(labels, fraction=1.0, seed=3).tolist() == [0, 2, 3]
    assert select_budget(pd.Series(labels, index=[9, 8, 7, 6]), seed=3).tolist() == [0, 2, 3]


def test_every_row_is_as_likely_as_any_other():
    # 4 of 20 rows over 2 000 seeds: each is expected 400 times with a standard deviation of 18.
    labels = ["sad"] * 20
    chosen = Counter(row for seed in range(2000) for row in select_budget(labels, per_class=4, seed=seed).tolist())
    assert all(abs(chosen[row] - 400) < 5 * 18 for row in range(20))


def test_a_seed_gives_the_same_labels_for_ever():
    # Numbers from the first version: a change here would make results incomparable with those already published.
    labels = ["sad", "happy"] * 20
    assert select_budget(labels, per_class=3, seed=0).tolist() == [5, 10, 19, 32, 33, 34]
    train, validation = validation_from_budget(labels[:10], seed=0)
    assert validation.tolist() == [5, 6]
    assert sorted([*train, *validation]) == list(range(10))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fraction": 0.5, "per_class": 2}, "one label budget, got two: fraction=0.5 and per_class=2"),
        ({"fraction": 0.0}, "above 0 and at most 1 .*got 0.0"),
        ({"fraction": 5}, "above 0 and at most 1 .*got 5"),
        ({"per_class": 0}, "at least one label per class, got 0"),
        (
            {"per_class": 3},
            "Can't choose 3 labels per class: the training part has only 1 of 'happy'. Ask for at most 1",
        ),
    ],
)
def test_budgets_say_what_is_wrong(arguments, message):
    with pytest.raises(UsageError, match=message):
        select_budget(["sad", "sad", "sad", "happy"], seed=0, **arguments)


@pytest.mark.parametrize("choose", [select_budget, validation_from_budget])
def test_no_label_at_all_is_refused(choose):
    with pytest.raises(UsageError, match="Expected labelled rows, got none"):
        choose(["", ""], seed=0)


@given(labels_of_rows, st.integers(0, 5), st.floats(0.05, 0.95))
@settings(deadline=None)
def test_validation_from_the_budget_is_stratified(labels, seed, share):
    train, validation = validation_from_budget(labels, seed=seed, share=share)
    assert sorted([*train, *validation]) == [row for row, label in enumerate(labels) if label]
    trains, validates = Counter(labels[row] for row in train), Counter(labels[row] for row in validation)
    for label, n in Counter(label for label in labels if label).items():
        assert trains[label] >= 1
        assert validates[label] == (0 if n == 1 else min(max(1, round(share * n)), n - 1))


def test_validation_from_the_budget_depends_on_the_seed_and_not_on_the_budgets_draw():
    labels = ["sad"] * 50
    drawn = [validation_from_budget(labels, seed=seed)[1].tolist() for seed in range(5)]
    assert len(set(map(tuple, drawn))) == 5
    assert drawn[0] != select_budget(labels, per_class=10, seed=0).tolist()
    with pytest.raises(UsageError, match="share between 0 and 1, got 1"):
        validation_from_budget(labels, seed=0, share=1)


# --- split hash


def test_split_hash_depends_on_the_sets_of_ids_alone():
    ids = ["a", "b", "c", "d"]
    fold = leave_one_group_out(["1", "2", "3", "3"])[0]
    renamed = leave_one_group_out(["x", "y", "z", "z"])[0]
    assert split_hash(fold, ids) == split_hash(renamed, ids)
    assert len(split_hash(fold, ids)) == 12
    int(split_hash(fold, ids), 16)
    other_part = leave_one_group_out(["1", "3", "2", "3"])[0]
    assert split_hash(fold, ids) != split_hash(other_part, ids)
    assert split_hash(fold, ids) != split_hash(fold, ["a", "b", "c", "e"])


# --- leakage


def clean_table(n=12):
    """Three speakers of four rows, each its own group, recording and text."""
    return pd.DataFrame(
        {
            "id": [f"u{i}" for i in range(n)],
            "speaker": [f"s{i // 4}" for i in range(n)],
            "group": [f"g{i // 4}" for i in range(n)],
            "text": [f"sentence {i}" for i in range(n)],
        }
    )


HASHES = [f"h{i}" for i in range(12)]
PARTS = {"train": range(4), "validation": range(4, 8), "test": range(8, 12)}


def test_disjoint_parts_have_no_leak():
    assert leakage_audit(PARTS, clean_table(), HASHES) == []
    assert leakage_audit({**PARTS, "pretraining": range(8), "budget": range(2)}, clean_table(), HASHES) == []
    assert require_no_leakage([]) == []


@pytest.mark.parametrize("part", ["train", "validation", "pretraining", "budget"])
@pytest.mark.parametrize("column", ["speaker", "group", "audio", "text"])
def test_a_planted_leak_into_the_test_part_is_found(part, column):
    table, hashes = clean_table(), list(HASHES)
    parts = {part: range(4), "test": range(8, 12)}
    if column == "audio":
        hashes[2] = hashes[9]
    else:
        table.loc[2, column] = table.loc[9, column]
    (leak,) = leaks = leakage_audit(parts, table, hashes)
    value = {"speaker": "s2", "group": "g2", "audio": "u9 and u2", "text": "sentence 9"}[column]
    severity = "warning" if column == "text" else "error"
    assert leak == Leak(("test", part), column, 1, value, severity)
    if severity == "warning":
        assert require_no_leakage(leaks) == leaks
    else:
        noun = {"audio": "recording"}.get(column, column)
        with pytest.raises(LeakageError, match=f"test and {part} share 1 {noun}, e.g. '{value}'.*'group'"):
            require_no_leakage(leaks)


@pytest.mark.parametrize("column", ["speaker", "group", "audio", "text"])
def test_a_planted_leak_between_validation_and_train_is_found(column):
    table, hashes = clean_table(), list(HASHES)
    if column == "audio":
        hashes[2] = hashes[5]
    else:
        table.loc[[1, 2], column] = table.loc[[4, 5], column].to_numpy()
    leaks = leakage_audit(PARTS, table, hashes)
    assert [(leak.parts, leak.column) for leak in leaks] == [(("validation", "train"), column)]
    assert leaks[0].count == (2 if column == "text" else 1)


def test_one_row_in_two_parts_is_found_even_where_nothing_is_known_about_it():
    table = clean_table().assign(speaker="", group="", text="")
    leaks = leakage_audit({"train": [0, 1, 2], "test": [2, 3]}, table, None)
    assert [(leak.column, leak.count, leak.example) for leak in leaks] == [("id", 1, "u2"), ("speaker", 4, "")]
    with pytest.raises(LeakageError, match=r"test and train share 1 row, e\.g. 'u2'.*one part only"):
        require_no_leakage(leaks)


def test_unknown_speakers_are_said_and_never_equal():
    table = clean_table()
    table.loc[[1, 9], "speaker"] = ""
    (leak,) = leakage_audit(PARTS, table, HASHES)
    assert (leak.parts, leak.column, leak.count, leak.severity) == (("train", "test"), "speaker", 2, "warning")
    assert str(leak) == (
        "speaker unknown in 2 rows of train and test: whether parts share these speakers can't be audited"
    )
    empty_hashes = ["" if i in (0, 8) else h for i, h in enumerate(HASHES)]
    assert leakage_audit(PARTS, clean_table().assign(text=""), empty_hashes) == []


def test_texts_are_compared_without_case_and_spacing():
    table = clean_table()
    table.loc[0, "text"], table.loc[8, "text"] = "It is  Eleven o'clock.", "it is eleven O'clock."
    assert [leak.column for leak in leakage_audit(PARTS, table, HASHES)] == ["text"]


def test_official_splits_may_share_speakers_and_say_so():
    table, hashes = clean_table(), list(HASHES)
    table.loc[0, ["speaker", "group"]] = "s2", "g2"
    leaks = leakage_audit(PARTS, table, hashes, allow_speaker_overlap=True)
    assert [(leak.column, leak.severity) for leak in leaks] == [("speaker", "warning"), ("group", "warning")]
    assert require_no_leakage(leaks) == leaks
    hashes[0] = hashes[8]
    leaks = leakage_audit(PARTS, table, hashes, allow_speaker_overlap=True)
    assert (leaks[0].column, leaks[0].severity) == ("audio", "error")
    with pytest.raises(LeakageError, match=r"share 1 recording, e\.g. 'u8 and u0'"):
        require_no_leakage(leaks)


@pytest.mark.parametrize("trains", ["train", "budget"])
def test_validation_from_the_budget_may_share_speakers_with_train_and_never_with_test(trains):
    table, hashes = clean_table(), list(HASHES)
    table["text"] = "the same"
    parts = {trains: [0, 1], "validation": [2, 3], "test": range(8, 12)}
    leaks = leakage_audit(parts, table, hashes, validation_within_train=True)
    assert {leak.parts for leak in leaks} == {("test", trains), ("test", "validation")}
    assert {leak.column for leak in leaks} == {"text"}
    assert {leak.column for leak in leakage_audit(parts, table, hashes) if leak.parts[0] == "validation"} == {
        "speaker",
        "group",
        "text",
    }
    hashes[0] = hashes[2]
    leaks = leakage_audit(parts, table, hashes, validation_within_train=True)
    assert Leak(("validation", trains), "audio", 1, "u2 and u0", "warning") in leaks
    parts["validation"] = [1, 2]
    leaks = leakage_audit(parts, table, hashes, validation_within_train=True)
    assert leaks[0] == Leak(("validation", trains), "id", 1, "u1", "error")
    table.loc[2, "speaker"] = "s2"
    leaks = leakage_audit(parts, table, hashes, validation_within_train=True)
    assert Leak(("test", "validation"), "speaker", 1, "s2", "error") in leaks


def test_an_error_counts_its_values_and_comes_before_warnings():
    table = clean_table()
    table["text"] = "the same"
    table.loc[[0, 1], "speaker"] = ["s2", "s1"]
    leaks = leakage_audit(PARTS, table, HASHES)
    assert [leak.severity for leak in leaks] == ["error"] * 2 + ["warning"] * 3
    with pytest.raises(LeakageError) as error:
        require_no_leakage(leaks)
    assert "test and train share 1 speaker, e.g. 's2'; validation and train share 1 speaker, e.g. 's1'" in str(
        error.value
    )
    assert "the same" not in str(error.value)


words = st.sampled_from(["", "a", "b", "c", "d", "e", "f", "g"])
rows_of_table = st.lists(st.tuples(words, words, words, words), min_size=4, max_size=12)


@given(rows_of_table, st.data())
@settings(max_examples=200, deadline=None)
def test_the_audit_equals_a_naive_comparison_of_every_pair_of_rows(rows, data):
    table = pd.DataFrame(rows, columns=["speaker", "group", "audio", "text"])
    table["id"] = [f"u{i}" for i in range(len(rows))]
    part = data.draw(st.lists(st.sampled_from(["train", "validation", "test", "pretraining"]), min_size=len(rows)))
    parts = {name: [i for i in range(len(rows)) if part[i] == name] for name in dict.fromkeys(part[: len(rows)])}
    compared = {("test", "train"), ("test", "validation"), ("test", "pretraining"), ("validation", "train")}
    assume(any(set(pair) <= set(parts) for pair in compared))
    expected = Counter()
    for first, second in compared:
        for column in ("speaker", "group", "audio", "text"):
            shared = {
                table.loc[i, column]
                for i in parts.get(first, [])
                for j in parts.get(second, [])
                if table.loc[i, column] == table.loc[j, column] != ""
            }
            if shared:
                expected[first, second, column] = len(shared)
    found = leakage_audit(parts, table, table["audio"])
    assert {(*leak.parts, leak.column): leak.count for leak in found if leak.example} == expected


@given(groups_of_rows)
@settings(deadline=None)
def test_folds_by_speaker_pass_the_audit_and_folds_by_row_do_not(groups):
    assume(len(set(groups)) >= 3)
    table = pd.DataFrame({"id": [f"u{i}" for i in range(len(groups))], "speaker": groups, "group": groups, "text": ""})
    for fold in leave_one_group_out(groups):
        assert leakage_audit(fold.parts, table, None) == []
    if len(set(groups)) < len(groups):
        by_row = leave_one_group_out([str(i) for i in range(len(groups))])
        assert any(leakage_audit(fold.parts, table, None) for fold in by_row)


@pytest.mark.parametrize(
    ("parts", "hashes", "message"),
    [
        ({"train": [0], "val": [1], "test": [2]}, None, "part called 'val'; expected train, validation, test"),
        ({"test": [0]}, None, r"Nothing to audit.*\(test\)"),
        ({}, None, r"Nothing to audit.*\(none\)"),
        ({"train": [0], "test": [1]}, ["h"], "12 rows, 1 hashes"),
    ],
)
def test_the_audit_refuses_what_it_could_not_audit(parts, hashes, message):
    with pytest.raises(UsageError, match=message):
        leakage_audit(parts, clean_table(), hashes)


def test_groups_that_share_nothing():
    assert audit_groups(clean_table(), HASHES) == []
    assert audit_groups(clean_table().assign(group="all", speaker="s", text="x"), ["h"] * 12) == []


def test_what_groups_share_is_found():
    table, hashes = clean_table(), list(HASHES)
    table.loc[[0, 5], "speaker"] = ["s2", "s2"]
    table.loc[[1, 6, 11], "text"] = ["Yes. ", "yes.", "YES."]
    hashes[2] = hashes[9] = "same"
    leaks = audit_groups(table, hashes)
    assert leaks == [
        Leak(("groups",), "speaker", 1, "s2", "error"),
        Leak(("groups",), "audio", 1, "u2 and u9", "error"),
        Leak(("groups",), "text", 1, "yes.", "warning"),
    ]
    assert str(leaks[1]) == "groups share 1 recording, e.g. 'u2 and u9'"
    with pytest.raises(LeakageError, match="groups share 1 speaker"):
        require_no_leakage(leaks)


def test_rows_without_group_or_speaker_are_not_equal_between_groups():
    table, hashes = clean_table(), list(HASHES)
    table.loc[[1, 5], "speaker"] = ""
    table.loc[8, ["speaker", "group", "text"]] = ["s0", "", "sentence 0"]
    hashes[8] = hashes[0]
    hashes[3] = hashes[7] = ""
    assert audit_groups(table, hashes) == [Leak(("groups",), "speaker", 2, "", "warning")]
    with pytest.raises(UsageError, match="12 rows, 1 hashes"):
        audit_groups(table, ["h"])


@given(rows_of_table)
@settings(deadline=None)
def test_groups_pass_exactly_when_all_folds_by_group_do(rows):
    table = pd.DataFrame(rows, columns=["speaker", "group", "audio", "text"])
    table["id"] = [f"u{i}" for i in range(len(rows))]
    table = table[table["group"] != ""].reset_index(drop=True)
    assume(table["group"].nunique() >= 2)
    in_folds = set()
    for fold in leave_one_group_out(table["group"], "none"):
        in_folds |= {leak.column for leak in leakage_audit(fold.parts, table, table["audio"]) if leak.example}
    assert {leak.column for leak in audit_groups(table, table["audio"]) if leak.example} == in_folds


# --- across corpora, and drawing rows


TWO_CORPORA = [*"aabbcc", *"xxyy"]
OF_TEST = [0] * 6 + [1] * 4


def across(split=("",) * 10, groups=TWO_CORPORA, of_test=OF_TEST, labelled=(1,) * 10):
    return cross_corpus_split("other", groups, split, of_test=of_test, labelled=labelled)


def test_across_corpora_the_last_group_validates_without_official_rows():
    fold = across()
    assert (fold.name, fold.validation_group, fold.test_group) == ("other", "c", "")
    assert [part.tolist() for part in (fold.train, fold.validation, fold.test)] == [[0, 1, 2, 3], [4, 5], [6, 7, 8, 9]]
    assert all(part.dtype == np.int64 for part in fold.parts.values())


def test_across_corpora_unlabelled_rows_are_not_tested_and_do_not_validate_alone():
    fold = across(labelled=[1, 1, 1, 1, 0, 0, 1, 0, 0, 1])
    assert fold.validation_group == "b"
    assert (fold.train.tolist(), fold.test.tolist()) == ([0, 1, 4, 5], [6, 9])
    assert across(labelled=[0] * 6 + [1] * 4).validation_group == "c", "pre-training alone needs no labels"


@pytest.mark.parametrize(
    ("split", "train", "validation"),
    [
        (["train"] * 2 + ["val"] * 2 + ["test"] * 2, [0, 1], [2, 3]),
        (["train"] * 2 + ["val"] + [""] * 3, [0, 1], [2]),
        ([""] * 4 + ["val"] * 2, [0, 1, 2, 3], [4, 5]),
        (["val", "val", *[""] * 2, "test", "test"], [2, 3], [0, 1]),
        (["train"] * 4 + ["test"] * 2, [0, 1], [2, 3]),
        ([""] * 4 + ["test"] * 2, [0, 1], [2, 3]),
        (["train"] * 5 + [""], [0, 1, 2, 3], [4]),
    ],
)
def test_across_corpora_an_official_partition_is_respected(split, train, validation):
    fold = across([*split, "train", "val", "test", ""])  # those of the test corpus are not asked
    assert (fold.train.tolist(), fold.validation.tolist()) == (train, validation)
    assert fold.test.tolist() == [6, 7, 8, 9]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labelled": [1] * 6 + [0] * 4}, "No utterance of other that can be used has a label"),
        ({"groups": ["a"] * 6 + ["x"] * 4}, r"at least 2 groups to train on \(the last one validates\).*got 1: a\."),
        ({"groups": ["", *TWO_CORPORA[1:]]}, "1 of 6 rows have no group"),
        ({"split": ["val"] * 6 + [""] * 4}, "No row is left to train on: the column 'split' marks all"),
        ({"split": ["test"] * 6 + [""] * 4}, "at least 2 groups to train on .*got 0: no rows"),
    ],
)
def test_across_corpora_what_leaves_a_part_empty_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        across(**changes)


def test_groups_do_not_matter_where_the_partition_says_who_validates():
    assert across(["val"] + [""] * 9, groups=[""] * 10).validation.tolist() == [0]


@given(st.lists(st.integers(0, 10_000), unique=True, min_size=1, max_size=40), st.integers(0, 5), st.data())
def test_drawn_rows_are_nested_and_follow_the_seed(rows, seed, data):
    rows = np.array(sorted(rows))
    size = data.draw(st.integers(1, len(rows) + 3))
    drawn = draw_rows(rows, size, seed=seed)
    assert len(drawn) == min(size, len(rows))
    assert (np.diff(drawn) > 0).all()
    assert set(drawn) <= set(rows)
    assert set(drawn) <= set(draw_rows(rows, size + 1, seed=seed))
    assert np.array_equal(drawn, draw_rows(rows, size, seed=seed))


def test_other_seeds_draw_other_rows_and_every_row_as_often():
    counts = np.zeros(20)
    for seed in range(600):
        counts[draw_rows(np.arange(20), 5, seed=seed)] += 1
    assert counts.sum() == 3000
    assert abs(counts - 150).max() < 5 * np.sqrt(600 * 0.25 * 0.75)


def test_nothing_to_draw_is_refused():
    with pytest.raises(UsageError, match="at least one row to draw, got size=0"):
        draw_rows(np.arange(3), 0, seed=0)
