"""From a few labels to soft labels of every recording: softmax regression, a graph of neighbours, shares of the classes.

All functions work on NumPy arrays and know nothing of speech. The regression is the usual one (multinomial logistic loss, L2
penalty on the weights, none on the intercept), but its targets may be distributions, which scikit-learn's does not take. The
graph is that of Zhou et al., "Learning with Local and Global Consistency", NeurIPS 2003, with a kernel that fades with the
distance: a recording without near neighbours keeps its own prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy  # loads scipy.optimize at its first use
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FLOOR: Final = 1e-9
"""Added to the probabilities whose logarithms are averaged, so that no classifier alone can rule a class out."""

SMOOTHING_STEPS: Final = 10
"""Rounds of `Graph.smooth`; more change nothing that shows."""


BLOCK: Final = 1024
"""So many rows at a time are compared with all: of ten thousand, all pairs at once would take gigabytes."""


@dataclass(frozen=True)
class Softmax:
    """A linear classifier.

    Attributes:
        weights: `(features, classes)`.
        intercept: `(classes,)`.
    """

    weights: Floats
    intercept: Floats

    def logits(self, values: Floats) -> Floats:
        """`(rows, features)` → `(rows, classes)`."""
        return values @ self.weights + self.intercept

    def probabilities(self, values: Floats) -> Floats:
        """`(rows, features)` → `(rows, classes)`, each row with the sum 1."""
        return softmax(self.logits(values))

    def log_probabilities(self, values: Floats) -> Floats:
        """`(rows, features)` → `(rows, classes)`, to be averaged with those of other classifiers."""
        logs: Floats = np.log(self.probabilities(values) + FLOOR)
        return logs


def softmax(logits: Floats) -> Floats:
    """`(rows, classes)` numbers → probabilities, each row with the sum 1.

    In NumPy alone: SciPy's would make the first prediction of a process wait a fifth of a second for its import.

    >>> softmax(np.array([[0.0, 0.0], [1000.0, 0.0]])).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    probabilities: Floats = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    return probabilities


def balanced_weights(targets: Floats) -> Floats:
    """`(rows,)` weights with which every class counts as much as every other, and all together as many as there are rows.

    Args:
        targets: `(rows, classes)` distributions; a class that none of them has is left out.

    >>> balanced_weights(np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]])).tolist()
    [0.666..., 0.666..., 0.666..., 2.0]
    """
    shares = targets.sum(axis=0)
    present = shares > 0
    each = np.divide(targets.sum() / present.sum(), shares, out=np.zeros_like(shares), where=present)
    weights: Floats = targets @ each
    return weights


def fit_softmax(
    values: Floats,
    targets: Floats,
    weights: Floats,
    strength: float,
    start: Softmax | None = None,
    max_iterations: int = 100,
) -> Softmax:
    """Minimise the weighted cross-entropy to `targets` plus |W|² / (2 · strength), by L-BFGS.

    Args:
        values: `(rows, features)`.
        targets: `(rows, classes)` distributions.
        weights: `(rows,)` how much each row counts.
        strength: scikit-learn's C: the larger, the less regularised.
        start: where to begin; zeros when None. The minimum is one and the same.
        max_iterations: of L-BFGS.
    """
    rows, features = values.shape
    classes = targets.shape[1]
    # In float32: half the time, and labels are noisier than its rounding. Classes come first, so that what is summed over them
    # is added row by row of memory, several times as fast.
    x = np.hstack([values, np.ones((rows, 1))]).astype(np.float32)
    w = weights.astype(np.float32)
    wanted = np.ascontiguousarray(targets.T, dtype=np.float32) * w

    def loss(flat: Floats) -> tuple[float, Floats]:
        matrix = flat.reshape(classes, features + 1)
        logits = matrix.astype(np.float32) @ x.T
        top = logits.max(axis=0)
        exponents = np.exp(logits - top)
        total = exponents.sum(axis=0)
        value = np.sum(w * (top + np.log(total)), dtype=np.float64) - np.sum(wanted * logits, dtype=np.float64)
        gradient = ((exponents * (w / total) - wanted) @ x).astype(np.float64)
        gradient[:, :-1] += matrix[:, :-1] / strength
        return float(value + 0.5 / strength * np.sum(matrix[:, :-1] ** 2)), gradient.ravel()

    first = np.zeros((classes, features + 1))
    if start is not None:
        first[:, :-1], first[:, -1] = start.weights.T, start.intercept
    options = {"maxiter": max_iterations, "ftol": 1e-6, "gtol": 1e-3}
    found = scipy.optimize.minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options=options)
    solution = found.x.reshape(classes, features + 1)
    return Softmax(np.ascontiguousarray(solution[:, :-1].T), solution[:, -1])


def match_shares(probabilities: Floats, shares: Floats, rounds: int = 20) -> Floats:
    """Reweight the classes of all rows alike until their mean is `shares`: otherwise one class eats the others.

    Args:
        probabilities: `(rows, classes)`.
        shares: `(classes,)` with the sum 1; a class of share 0 gets probability 0.
        rounds: of iterative proportional fitting.

    >>> match_shares(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0.5, 0.5])).mean(axis=0).round(2).tolist()
    [0.5, 0.5]
    """
    factors = np.ones_like(shares)
    matched = probabilities
    for _ in range(rounds):
        matched = probabilities * factors
        matched = matched / np.maximum(matched.sum(axis=1, keepdims=True), 1e-300)
        factors = factors * shares / np.maximum(matched.mean(axis=0), 1e-12)
    return matched


@dataclass(frozen=True)
class Graph:
    """Each row's nearest neighbours among the same rows, or among others.

    Attributes:
        neighbours: `(rows, k)` their numbers; k is 0 where there are no others.
        affinities: `(rows, k)` exp(−distance² / bandwidth), 1 for a copy, near 0 for strangers.
    """

    neighbours: NDArray[np.int64]
    affinities: Floats

    def smooth(self, own: Floats, self_weight: float, fixed: NDArray[np.bool_] | None = None) -> Floats:
        """Let every row's distribution drift towards those of its neighbours.

        What neighbours say is divided by how much of each class there is (Zhu et al., "Semi-supervised learning using Gaussian
        fields and harmonic functions", ICML 2003, class mass normalisation): a rare class always has strangers for neighbours.

        Args:
            own: `(rows, classes)` what is thought of each row by itself.
            self_weight: of that, in affinities: beside n copies of a row its own share is self_weight / (self_weight + n).
            fixed: `(rows,)` rows that stay as they are (the labelled ones).
        """
        if self.neighbours.shape[1] == 0:
            return own
        mass = self.affinities.sum(axis=1, keepdims=True)
        now = own
        for _ in range(SMOOTHING_STEPS):
            said = np.einsum("ij,ijk->ik", self.affinities, now[self.neighbours]) / (now.sum(axis=0) + 1.0)
            said *= mass / np.maximum(said.sum(axis=1, keepdims=True), 1e-300)
            now = (self_weight * own + said) / (self_weight + mass)
            if fixed is not None:
                now[fixed] = own[fixed]
        return now


def squared_distances(rows: Floats, others: Floats) -> Floats:
    """`(rows, dim)` and `(others, dim)` → `(rows, others)`."""
    squares = (rows**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * rows @ others.T
    distances: Floats = np.maximum(squares, 0.0)
    return distances


def neighbour_graph(rows: Floats, k: int, bandwidth: float | None = None) -> tuple[Graph, float]:
    """The graph of rows among themselves, nobody his own neighbour.

    Args:
        rows: `(rows, dim)`.
        k: neighbours of each, fewer where there are not so many.
        bandwidth: squared distance at which an affinity is 1 / e; the median over all neighbours when None.

    Returns:
        The graph and its bandwidth.
    """
    k = max(0, min(k, len(rows) - 1))
    nearest, near = np.zeros((len(rows), k), dtype=np.int64), np.zeros((len(rows), k))
    for start in range(0, len(rows) if k else 0, BLOCK):
        block = slice(start, start + BLOCK)
        squares = squared_distances(rows[block], rows)
        squares[np.arange(len(squares)), np.arange(start, start + len(squares))] = np.inf
        nearest[block] = np.argpartition(squares, k - 1, axis=1)[:, :k]
        near[block] = np.take_along_axis(squares, nearest[block], axis=1)
    if bandwidth is None:
        bandwidth = float(np.median(near)) if near.size else 1.0
    return Graph(nearest, np.exp(-near / max(bandwidth, 1e-12))), bandwidth
