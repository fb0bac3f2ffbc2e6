"""The regression is scikit-learn's where that can be compared; neighbours agree, and rare classes survive them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from emoviews import propagation
from emoviews.propagation import balanced_weights, fit_softmax, match_shares, neighbour_graph, squared_distances


def clusters(sizes: list[int], spread: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    centers = np.eye(len(sizes), 6) * 2
    true = np.repeat(np.arange(len(sizes)), sizes)
    return centers[true] + spread * rng.normal(size=(len(true), 6)), true


def test_the_regression_is_the_usual_one() -> None:
    x, true = clusters([30, 20, 10], 1.5)
    ours = fit_softmax(x, np.eye(3)[true], balanced_weights(np.eye(3)[true]), 2.0, max_iterations=500)
    theirs = LogisticRegression(C=2.0, class_weight="balanced", max_iter=5000, tol=1e-8).fit(x, true)
    assert ours.probabilities(x) == pytest.approx(theirs.predict_proba(x), abs=2e-3)


def test_soft_targets_are_a_mixture_of_hard_ones() -> None:
    x, true = clusters([20, 20], 1.0)
    soft = 0.7 * np.eye(2)[true] + 0.3 * np.eye(2)[1 - true]
    doubled = np.vstack([np.eye(2)[true], np.eye(2)[1 - true]])
    weights = np.r_[np.full(40, 0.7), np.full(40, 0.3)]
    one = fit_softmax(x, soft, np.ones(40), 1.0, max_iterations=500)
    two = fit_softmax(np.vstack([x, x]), doubled, weights, 1.0, max_iterations=500)
    assert one.weights == pytest.approx(two.weights, abs=1e-2)


def test_neighbours_correct_a_wrong_guess_and_keep_what_is_fixed() -> None:
    x, true = clusters([20, 20])
    own = 0.8 * np.eye(2)[true] + 0.2 * np.eye(2)[1 - true]
    own[0] = [0.1, 0.9]  # wrong
    graph, _ = neighbour_graph(x, 5)
    smooth = graph.smooth(own, 1.0)
    assert smooth[0].argmax() == true[0]
    assert np.allclose(smooth.sum(axis=1), 1)
    fixed = np.arange(40) == 0
    assert graph.smooth(own, 1.0, fixed)[0].tolist() == [0.1, 0.9]


def test_a_rare_class_survives_its_neighbours() -> None:
    x, true = clusters([60, 3], 0.5)
    own = 0.6 * np.eye(2)[true] + 0.4 * np.eye(2)[1 - true]
    graph, _ = neighbour_graph(x, 8)  # of the 3, most neighbours are of the other class
    assert (graph.smooth(own, 1.0)[true == 1].argmax(axis=1) == 1).all()


def test_one_row_has_no_neighbours_and_stays() -> None:
    graph, _ = neighbour_graph(np.zeros((1, 3)), 8, bandwidth=1.0)
    assert graph.smooth(np.array([[0.2, 0.8]]), 1.0).tolist() == [[0.2, 0.8]]


@pytest.mark.parametrize("block", [7, 40])
def test_neighbours_are_the_nearest_others_however_many_are_compared_at_a_time(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, _ = clusters([20, 20])
    monkeypatch.setattr(propagation, "BLOCK", block)
    graph, bandwidth = neighbour_graph(x, 5)
    squares = ((x[:, None] - x) ** 2).sum(axis=2)
    near = np.sort(squares + np.diag(np.full(40, np.inf)), axis=1)[:, :5]
    assert bandwidth == pytest.approx(np.median(near))
    assert np.sort(graph.affinities, axis=1)[:, ::-1] == pytest.approx(np.exp(-near / bandwidth))
    for row, (others, affinities) in enumerate(zip(graph.neighbours, graph.affinities, strict=True)):
        assert row not in others
        assert affinities == pytest.approx(np.exp(-squares[row, others] / bandwidth))


def test_strangers_are_not_listened_to() -> None:
    graph, _ = neighbour_graph(np.array([[0.0], [100.0]]), 8, bandwidth=1.0)
    own = np.array([[0.9, 0.1], [0.1, 0.9]])
    assert graph.smooth(own, 1.0) == pytest.approx(own)


def test_shares_are_met() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([0.5, 0.3, 0.2, 0.0])
    matched = match_shares(rng.dirichlet([5, 1, 1, 1], size=200), shares)
    assert matched.mean(axis=0) == pytest.approx(shares, abs=0.01)
    assert (matched[:, 3] == 0).all()


def test_distances() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 5, 3))
    assert squared_distances(a, b) == pytest.approx(((a[:, None] - b) ** 2).sum(axis=2))
