"""Probabilities that mean what they say: temperature scaling, fitted on recordings of speakers who did not train.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2: one number divides all log-probabilities. It
changes no decision. With few labels it is drawn towards 1 by a prior, so that three lucky guesses don't make a recogniser
certain.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np
import scipy  # loads scipy.optimize at its first use
from numpy.typing import ArrayLike, NDArray

from emoviews.errors import UsageError
from emoviews.metrics import as_list
from emoviews.propagation import softmax

Floats = NDArray[np.float64]

PRIOR_DEVIATION: Final = 1.0
"""Of the temperature's natural logarithm: without data it lies between 1/2.7 and 2.7 in two of three cases."""

FARTHEST: Final = 3.0
"""From 0, of the temperature's natural logarithm: none is fitted below 1/20 or above 20."""

LOWEST: Final = 1e-12
"""Probability below which none is taken; its logarithm is finite."""


def scaled(probabilities: ArrayLike, temperature: float | Floats) -> Floats:
    """Probabilities at another temperature: above 1 less certain, below 1 more.

    Args:
        probabilities: `(rows, classes)`.
        temperature: above 0; one, or `(rows, 1)`.

    >>> scaled([[0.8, 0.2]], 2.0).round(3).tolist()
    [[0.667, 0.333]]
    """
    logs = np.log(np.maximum(np.asarray(probabilities, dtype=float), LOWEST)) / temperature
    return softmax(logs)


def between(together: float | Floats, alone: float | Floats, weights: Floats) -> Floats:
    """`(rows,)` temperatures of what is judged partly together with others and partly alone: a weighted geometric mean.

    Args:
        together: one, or `(rows,)`.
        alone: likewise.
        weights: `(rows,)` of the latter, 0 to 1.

    >>> between(4.0, 1.0, np.array([0.0, 0.5, 1.0])).tolist()
    [4.0, 2.0, 1.0]
    """
    found: Floats = together ** (1 - weights) * alone**weights
    return found


def fit_temperature(
    y_true: Sequence[Hashable], probabilities: ArrayLike, labels: Sequence[Hashable], powers: float | Floats = 1.0
) -> float:
    """The temperature with the least log loss and prior penalty; 1 without a row.

    Args:
        y_true: `(rows,)` the true labels.
        probabilities: `(rows, classes)` of recordings that were not trained on, columns in the order of `labels`.
        labels: `(classes,)`.
        powers: `(rows,)` to which the temperature is raised for each row.

    Raises:
        UsageError: a label that is none of `labels`, or probabilities of another shape.

    >>> fit_temperature(["a", "b"] * 20, [[0.99, 0.01]] * 40, ["a", "b"]) > 2  # right half of the time, and certain
    True
    """
    p, true = np.asarray(probabilities, dtype=float), as_list(y_true)
    code = {label: number for number, label in enumerate(labels)}
    if p.ndim != 2 or p.shape != (len(true), len(code)):
        raise UsageError(f"Expected probabilities of shape ({len(true)}, {len(code)}), got {p.shape}.")
    if unknown := [label for label in true if label not in code]:
        raise UsageError(f"The label {unknown[0]!r} is none of {list(labels)}.")
    if not true:
        return 1.0
    rows, columns = np.arange(len(true)), np.array([code[label] for label in true])

    def loss(log_temperature: float) -> float:
        given = scaled(p, np.exp(log_temperature * np.broadcast_to(powers, len(true)))[:, None])[rows, columns]
        return float(-np.log(np.maximum(given, LOWEST)).sum() + 0.5 * (log_temperature / PRIOR_DEVIATION) ** 2)

    found = scipy.optimize.minimize_scalar(loss, bounds=(-FARTHEST, FARTHEST), method="bounded")
    return float(np.exp(found.x))
