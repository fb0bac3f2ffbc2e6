"""How good predictions are: arrays in, floats out.

UAR (unweighted average recall: the mean of the per-class recalls) and WA (weighted accuracy: plain accuracy) are the paper's
two metrics (section 3.1). One rule decides about classes without examples: a class counts in a mean exactly where its own
score is defined. A recall needs an example, so UAR leaves out a class absent from `y_true` (scikit-learn's
`balanced_accuracy_score`); an F1 needs an example or a prediction, so macro F1 leaves out a class absent from both
(`f1_score(average="macro")`), and one that is only ever predicted scores 0.

Labels are strings or integers, in lists, arrays or pandas Series.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoviews.errors import UsageError


def uar(y_true: Iterable[Hashable], y_pred: Iterable[Hashable]) -> float:
    """Unweighted average recall, 0 to 1: the mean of the recalls of the classes that occur in `y_true`.

    >>> uar(["sad", "sad", "sad", "happy"], ["sad", "sad", "happy", "happy"])
    0.8333333333333333

    Raises:
        UsageError: no rows, or arrays of different lengths.
    """
    counts = _counts(y_true, y_pred)
    return float(mean_recall(np.diagonal(counts), counts.sum(axis=1)))


def wa(y_true: Iterable[Hashable], y_pred: Iterable[Hashable]) -> float:
    """Weighted accuracy, 0 to 1: the share of rows that are right, so each class weighs as many rows as it has.

    >>> wa(["sad", "sad", "sad", "happy"], ["sad", "sad", "happy", "happy"])
    0.75

    Raises:
        UsageError: no rows, or arrays of different lengths.
    """
    counts = _counts(y_true, y_pred)
    return float(np.trace(counts) / counts.sum())


def macro_f1(y_true: Iterable[Hashable], y_pred: Iterable[Hashable]) -> float:
    """Mean of the F1 scores of the classes that occur in `y_true` or `y_pred`, 0 to 1.

    >>> macro_f1(["sad", "sad", "happy"], ["sad", "happy", "happy"])
    0.6666666666666666

    Raises:
        UsageError: no rows, or arrays of different lengths.
    """
    return _macro_f1(_counts(y_true, y_pred))


def confusion(y_true: Iterable[Hashable], y_pred: Iterable[Hashable], labels: Sequence[Hashable]) -> NDArray[np.int64]:
    """Count rows by true and predicted label.

    Args:
        y_true: `(rows,)` the true labels.
        y_pred: `(rows,)` the predicted labels.
        labels: `(classes,)` all labels, in the order of the result.

    Returns:
        `(classes, classes)`: entry (i, j) counts the rows of class i that were taken for class j.

    Raises:
        UsageError: no rows, arrays of different lengths, a label twice in `labels`, or a row whose label is not among them.

    >>> confusion(["sad", "sad", "happy"], ["sad", "happy", "happy"], labels=["happy", "sad"])
    array([[1, 0],
           [1, 1]])
    """
    classes = len(labels)
    code = {label: i for i, label in enumerate(labels)}
    if len(code) < classes:
        raise UsageError(f"Expected every label once, got {list(labels)}.")
    true, pred = as_list(y_true), as_list(y_pred)
    _check_lengths(len(true), len(pred))
    for name, rows in (("true", true), ("predicted", pred)):
        if unknown := [label for label in rows if label not in code]:
            raise UsageError(
                f"{len(unknown)} rows have a {name} label that is none of {list(labels)}, e.g. {unknown[0]!r}. "
                "Name all labels of the task, and score labelled rows only."
            )
    cells = [code[t] * classes + code[p] for t, p in zip(true, pred, strict=True)]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def evaluate(y_true: Iterable[Hashable], y_pred: Iterable[Hashable], labels: Sequence[Hashable]) -> dict[str, float]:
    """The scores that the results database keeps for one test: `uar`, `wa`, `macro_f1`, and `n`, the number of rows.

    Args:
        y_true: `(rows,)` the true labels.
        y_pred: `(rows,)` the predicted labels.
        labels: `(classes,)` all labels of the task. They are only checked: a class without rows does not change a score.

    Raises:
        UsageError: as `confusion`.

    >>> evaluate(["sad", "sad", "sad", "happy"], ["sad", "sad", "happy", "happy"], ["happy", "sad", "angry"])
    {'uar': 0.8333333333333333, 'wa': 0.75, 'macro_f1': 0.7333333333333334, 'n': 4.0}
    """
    counts = confusion(y_true, y_pred, labels)
    n = counts.sum()
    return {
        "uar": float(mean_recall(np.diagonal(counts), counts.sum(axis=1))),
        "wa": float(np.trace(counts) / n),
        "macro_f1": _macro_f1(counts),
        "n": float(n),
    }


def mean_recall(hits: ArrayLike, totals: ArrayLike) -> NDArray[np.float64]:
    """UAR from counts, for many sets of rows at once.

    Args:
        hits: `(..., classes)` rows of each class that were predicted right.
        totals: `(..., classes)` rows of each class.

    Returns:
        `(...)`: mean of `hits / totals` over the classes with a row; NaN where no class has one.

    >>> mean_recall([[2, 1, 0], [0, 0, 0]], [[4, 1, 0], [0, 0, 0]])
    array([0.75,  nan])
    """
    hits, totals = np.asarray(hits, dtype=float), np.asarray(totals, dtype=float)
    present = totals > 0
    recalls = np.divide(hits, totals, out=np.zeros(totals.shape), where=present)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that the docstring promises
        return np.asarray(recalls.sum(axis=-1) / present.sum(axis=-1))


@dataclass(frozen=True)
class Reliability:
    """How right predictions are, by how sure they are: the points of a reliability diagram.

    Attributes:
        n: `(bins,)` rows of each bin.
        confidence: `(bins,)` their mean probability of the predicted label; NaN where a bin is empty.
        accuracy: `(bins,)` the share that is right; NaN likewise.
    """

    n: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def reliability(
    y_true: Iterable[Hashable], probabilities: ArrayLike, labels: Sequence[Hashable], bins: int = 15
) -> Reliability:
    """Accuracy by confidence (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, figure 1).

    Rows are put into `bins` equally wide bins ]low, high] by confidence, the probability of the predicted label.

    Args:
        y_true: `(rows,)` the true labels.
        probabilities: `(rows, classes)`, columns in the order of `labels`; of equal ones the first is predicted.
        labels: `(classes,)`.
        bins: number of bins.

    Raises:
        UsageError: no rows, a label not among `labels`, probabilities of another shape or that are none, or no bin.

    >>> reliability(["a", "a", "b"], [[0.75, 0.25], [0.75, 0.25], [0.25, 0.75]], ["a", "b"], bins=2)
    Reliability(n=array([0, 3]), confidence=array([ nan, 0.75]), accuracy=array([nan,  1.]))
    """
    if bins < 1:
        raise UsageError(f"Expected at least one bin, got {bins}.")
    truth, p = _truth_and_probabilities(y_true, probabilities, labels)
    confidence = p.max(axis=1)
    right = p.argmax(axis=1) == truth
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    n = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that the docstring promises
        of_bins = [np.bincount(which, weights=values, minlength=bins) / n for values in (confidence, right)]
    return Reliability(n, of_bins[0], of_bins[1])


def expected_calibration_error(
    y_true: Iterable[Hashable], probabilities: ArrayLike, labels: Sequence[Hashable], bins: int = 15
) -> float:
    """How far confidence is from accuracy, 0 (calibrated) to 1.

    The mean of |accuracy − mean confidence| over the bins of `reliability`, weighted by their rows (Guo et al., equation 5;
    15 bins as there). It is biased upwards for few rows: compare it only between predictions of the same rows.

    Arguments and errors as `reliability`.

    >>> expected_calibration_error(["a", "a", "a", "b"], [[0.75, 0.25]] * 4, ["a", "b"])
    0.0
    """
    found = reliability(y_true, probabilities, labels, bins)
    gaps = np.abs(found.accuracy - found.confidence)
    return float(np.nansum(found.n * gaps) / found.n.sum())


def brier(y_true: Iterable[Hashable], probabilities: ArrayLike, labels: Sequence[Hashable]) -> float:
    """Brier score, 0 (best) to 2: mean over rows of the squared distance between the probabilities and the one-hot truth.

    Arguments and errors as `reliability`. This is Brier's own definition, a sum over all classes; some
    libraries halve it for two classes.

    >>> brier(["a", "b"], [[1.0, 0.0], [0.5, 0.5]], ["a", "b"])
    0.25
    """
    truth, p = _truth_and_probabilities(y_true, probabilities, labels)
    return float(np.square(p - np.eye(len(labels))[truth]).sum(axis=1).mean())


def log_loss(y_true: Iterable[Hashable], probabilities: ArrayLike, labels: Sequence[Hashable]) -> float:
    """Mean negative natural logarithm of the probability given to the truth, in nats.

    Arguments and errors as `reliability`. A probability below 1e-15 is taken as that, so that one certain
    mistake does not make the mean infinite.

    >>> round(log_loss(["a", "b"], [[0.5, 0.5], [0.5, 0.5]], ["a", "b"]), 6)
    0.693147
    """
    truth, p = _truth_and_probabilities(y_true, probabilities, labels)
    return float(-np.log(np.maximum(p[np.arange(len(p)), truth], 1e-15)).mean())


def as_list(values: Iterable[Any]) -> list[Any]:
    """Plain Python values of a list, array or Series: NumPy's and torch's scalars of one label don't all hash alike.

    >>> as_list(np.array([1, 2]))
    [1, 2]
    """
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _counts(y_true: Iterable[Hashable], y_pred: Iterable[Hashable]) -> NDArray[np.int64]:
    """Confusion counts over the labels that occur, in order of appearance."""
    true, pred = as_list(y_true), as_list(y_pred)
    return confusion(true, pred, list(dict.fromkeys([*true, *pred])))


def _macro_f1(counts: NDArray[np.int64]) -> float:
    # F1 = 2 TP / (2 TP + FP + FN), and the denominator is the class's rows plus its predictions.
    denominators = counts.sum(axis=0) + counts.sum(axis=1)
    occurs = denominators > 0
    return float((2 * np.diagonal(counts)[occurs] / denominators[occurs]).mean())


def _truth_and_probabilities(
    y_true: Iterable[Hashable], probabilities: ArrayLike, labels: Sequence[Hashable]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """`(rows,)` index of the true label and `(rows, classes)` probabilities, checked."""
    p = np.asarray(probabilities, dtype=float)
    if p.ndim != 2 or p.shape[1] != len(labels):
        raise UsageError(f"Expected probabilities of shape (rows, {len(labels)}), one column a label; got {p.shape}.")
    true = as_list(y_true)
    _check_lengths(len(true), len(p))
    # Loose enough for probabilities that went through float16 or four decimals of text.
    if not np.isfinite(p).all() or (p < 0).any() or (np.abs(p.sum(axis=1) - 1) > 1e-2).any():
        raise UsageError(
            "Expected probabilities: finite, not negative, and each row with the sum 1. Apply softmax first?"
        )
    code = {label: i for i, label in enumerate(labels)}
    if unknown := [label for label in true if label not in code]:
        raise UsageError(f"{len(unknown)} rows have a true label that is none of {list(labels)}, e.g. {unknown[0]!r}.")
    return np.array([code[label] for label in true]), p


def _check_lengths(true: int, pred: int) -> None:
    if true != pred:
        raise UsageError(f"Expected one prediction a row, got {true} true labels and {pred} predictions.")
    if true == 0:
        raise UsageError("Expected at least one prediction to score, got none.")
