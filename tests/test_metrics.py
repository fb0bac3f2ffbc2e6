"""The metrics against scikit-learn, closed forms and a naive loop."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from emoviews.errors import UsageError
from emoviews.metrics import (
    brier,
    confusion,
    evaluate,
    expected_calibration_error,
    log_loss,
    macro_f1,
    mean_recall,
    reliability,
    uar,
    wa,
)

LABELS = ["angry", "happy", "neutral", "sad"]
labelled_rows = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=60)


@given(labelled_rows)
@settings(max_examples=50, deadline=None)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:.*single label")
def test_scores_equal_scikit_learn_also_with_absent_classes(rows):
    true, pred = zip(*rows, strict=True)
    present = sorted(set(true))
    assert uar(true, pred) == pytest.approx(sklearn.metrics.balanced_accuracy_score(true, pred), abs=1e-12)
    recall = sklearn.metrics.recall_score(true, pred, labels=present, average="macro", zero_division=0)
    assert uar(true, pred) == pytest.approx(recall, abs=1e-12)
    assert wa(true, pred) == pytest.approx(sklearn.metrics.accuracy_score(true, pred), abs=1e-12)
    f1 = sklearn.metrics.f1_score(true, pred, average="macro", zero_division=0)
    assert macro_f1(true, pred) == pytest.approx(f1, abs=1e-12)
    np.testing.assert_array_equal(
        confusion(true, pred, LABELS), sklearn.metrics.confusion_matrix(true, pred, labels=LABELS)
    )
    scores = evaluate(true, pred, LABELS)
    expected = {"uar": uar(true, pred), "wa": wa(true, pred), "macro_f1": macro_f1(true, pred), "n": len(true)}
    assert scores == pytest.approx(expected, abs=1e-12)
    assert all(type(score) is float for score in scores.values())


def test_a_class_absent_from_the_truth_counts_in_f1_when_predicted_and_never_in_uar():
    assert uar(["a", "a"], ["a", "b"]) == 0.5
    assert macro_f1(["a", "a"], ["a", "b"]) == pytest.approx((2 / 3 + 0) / 2)


def test_chance_is_one_over_classes_for_uar_whatever_the_imbalance():
    true = ["a"] * 90 + ["b"] * 9 + ["c"]
    assert uar(true, ["a"] * 100) == pytest.approx(1 / 3)
    assert wa(true, ["a"] * 100) == pytest.approx(0.9)


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series, lambda y: pd.Series(y, index=[7, 5, 3, 1])])
@pytest.mark.parametrize(("true", "pred"), [(["x", "x", "y", "z"], ["x", "y", "y", "z"]), ([0, 0, 1, 2], [0, 1, 1, 2])])
def test_strings_and_integers_in_any_array(kind, true, pred):
    assert uar(kind(true), kind(pred)) == pytest.approx((0.5 + 1 + 1) / 3)
    assert evaluate(kind(true), pred, sorted(set(true)))["wa"] == 0.75


def test_mean_recall_scores_many_count_arrays_at_once():
    hits = np.array([[[2, 1], [0, 3]], [[1, 1], [0, 0]]])
    totals = np.array([[[4, 1], [0, 3]], [[1, 1], [0, 0]]])
    np.testing.assert_allclose(mean_recall(hits, totals), [[0.75, 1.0], [1.0, np.nan]])


def naive_calibration_error(true, probabilities, labels, bins):
    total = 0.0
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        rows = [i for i, p in enumerate(probabilities) if low < max(p) <= high]
        if rows:
            accuracy = np.mean([labels[int(np.argmax(probabilities[i]))] == true[i] for i in rows])
            confidence = np.mean([max(probabilities[i]) for i in rows])
            total += len(rows) / len(true) * abs(accuracy - confidence)
    return total


probabilities_of_rows = hnp.arrays(
    float, st.tuples(st.integers(1, 40), st.just(len(LABELS))), elements=st.floats(0.01, 1.0)
).map(lambda x: x / x.sum(axis=1, keepdims=True))


@given(probabilities_of_rows, st.data())
@settings(deadline=None)
def test_probability_scores_equal_a_naive_loop_and_scikit_learn(p, data):
    true = data.draw(st.lists(st.sampled_from(LABELS), min_size=len(p), max_size=len(p)))
    # Seven bins: no edge is a float that a mean of rounded sums could land on from the other side.
    naive = naive_calibration_error(true, p, LABELS, 7)
    assert expected_calibration_error(true, p, LABELS, 7) == pytest.approx(naive, abs=1e-9)
    assert log_loss(true, p, LABELS) == pytest.approx(sklearn.metrics.log_loss(true, p, labels=LABELS))
    squares = [sum((p[i, c] - (true[i] == label)) ** 2 for c, label in enumerate(LABELS)) for i in range(len(p))]
    assert brier(true, p, LABELS) == pytest.approx(np.mean(squares))


@given(probabilities_of_rows, st.data())
@settings(deadline=None, max_examples=30)
def test_reliability_equals_a_naive_loop(p, data):
    true = data.draw(st.lists(st.sampled_from(LABELS), min_size=len(p), max_size=len(p)))
    found = reliability(true, p, LABELS, 7)
    sure, answer = p.max(axis=1), np.array(LABELS)[p.argmax(axis=1)]
    for b in range(7):
        rows = [i for i in range(len(p)) if b < 7 * sure[i] <= b + 1]  # 3/7 · 7 is 3; as (2/7, 3/7] rounding decides
        assert found.n[b] == len(rows)
        expected = (np.mean(sure[rows]), np.mean([answer[i] == true[i] for i in rows])) if rows else (np.nan, np.nan)
        assert (found.confidence[b], found.accuracy[b]) == pytest.approx(expected, nan_ok=True)


def test_calibration_closed_forms():
    certain = np.tile([1.0, 0.0], (10, 1))
    assert expected_calibration_error(["a"] * 10, certain, ["a", "b"]) == 0.0
    assert expected_calibration_error(["b"] * 10, certain, ["a", "b"]) == 1.0
    assert expected_calibration_error(["a"] * 3 + ["b"] * 7, certain, ["a", "b"]) == pytest.approx(0.7)
    # Over- and under-confidence in one bin cancel, in two bins they add up.
    p = np.array([[0.6, 0.4]] * 2 + [[0.9, 0.1]] * 2)
    assert expected_calibration_error(["a", "a", "a", "b"], p, ["a", "b"], bins=1) == pytest.approx(0.0)
    assert expected_calibration_error(["a", "a", "a", "b"], p, ["a", "b"], bins=10) == pytest.approx(0.4)
    # An edge belongs to the bin below it: 0.5 to ]0, 0.5], so it is alone; 0.75 to ]0.5, 0.75], so it is not.
    p = np.array([[0.5, 0.5], [0.75, 0.25]])
    assert expected_calibration_error(["a", "b"], p, ["a", "b"], bins=2) == pytest.approx((0.5 + 0.75) / 2)
    p = np.array([[0.625, 0.375], [0.75, 0.25]])
    assert expected_calibration_error(["a", "b"], p, ["a", "b"], bins=4) == pytest.approx((0.75 - 0.375) / 2)
    assert brier(["b"] * 4, np.tile([1.0, 0.0], (4, 1)), ["a", "b"]) == 2.0
    assert log_loss(["b"], [[1.0, 0.0]], ["a", "b"]) == pytest.approx(-np.log(1e-15))


@pytest.mark.parametrize("score", [uar, wa, macro_f1])
def test_scores_refuse_nothing_and_unequal_lengths(score):
    with pytest.raises(UsageError, match="at least one prediction"):
        score([], [])
    with pytest.raises(UsageError, match="2 true labels and 1 predictions"):
        score(["a", "b"], ["a"])


def test_evaluate_refuses_labels_outside_the_task():
    with pytest.raises(UsageError, match=r"2 rows have a true label that is none of .*e.g. ''"):
        evaluate(["", "", "a"], ["a", "a", "a"], ["a", "b"])
    with pytest.raises(UsageError, match=r"1 rows have a predicted label that is none of .*'c'"):
        evaluate(["a"], ["c"], ["a", "b"])
    with pytest.raises(UsageError, match="every label once"):
        confusion(["a"], ["a"], ["a", "a"])


@pytest.mark.parametrize("score", [expected_calibration_error, reliability, brier, log_loss])
def test_probability_scores_refuse_what_is_no_probability(score):
    with pytest.raises(UsageError, match=r"shape \(rows, 2\).*got \(1, 3\)"):
        score(["a"], [[0.2, 0.3, 0.5]], ["a", "b"])
    for wrong in ([[2.0, -1.0]], [[np.nan, 1.0]], [[3.0, 4.0]]):
        with pytest.raises(UsageError, match="sum 1"):
            score(["a"], wrong, ["a", "b"])
    with pytest.raises(UsageError, match=r"1 rows have a true label.*'c'"):
        score(["c"], [[0.5, 0.5]], ["a", "b"])
    with pytest.raises(UsageError, match="2 true labels and 1 predictions"):
        score(["a", "a"], [[0.5, 0.5]], ["a", "b"])
    with pytest.raises(UsageError, match="at least one prediction"):
        score([], np.empty((0, 2)), ["a", "b"])


@pytest.mark.parametrize("score", [expected_calibration_error, reliability])
def test_calibration_refuses_no_bin(score):
    with pytest.raises(UsageError, match="at least one bin, got 0"):
        score(["a"], [[0.5, 0.5]], ["a", "b"], bins=0)
