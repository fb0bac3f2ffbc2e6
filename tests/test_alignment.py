"""PWCCA: closed forms, scikit-learn's CCA, SciPy's generalised eigenvalues, a loop written from the definition, and chance."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from sklearn.cross_decomposition import CCA

from emoviews.alignment import permutation_null, pwcca, relative_distances, subsampling_error, typical
from emoviews.errors import EmoViewsError, UsageError

SIDES = ("first", "second", "mean")


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def shared(n: int, known: list[float], width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two views whose canonical correlations are `known` exactly, each mixed into `width` dimensions without loss."""
    k = len(known)
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n, 2 * k))
    q, _ = np.linalg.qr(noise - noise.mean(axis=0))  # centred and orthonormal: exact in the sample, not just on average
    rho = np.array(known)
    x, y = q[:, :k], q[:, :k] * rho + q[:, k:] * np.sqrt(1 - rho**2)
    return x @ rng.normal(size=(k, width)) + 3.0, y @ rng.normal(size=(k, width)) - 1.0


# Closed forms


@pytest.mark.parametrize("side", SIDES)
def test_a_view_and_itself_score_one(side: Any) -> None:
    x = draw(200, 12)
    found = pwcca(x, x, side=side)
    assert found.score == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(found.correlations, 1.0, atol=1e-12)
    assert (found.n, found.side) == (200, side)


@pytest.mark.parametrize("side", SIDES)
def test_a_rotated_scaled_and_shifted_view_scores_one(side: Any) -> None:
    x = draw(200, 12)
    rotation = np.linalg.qr(draw(12, 12, seed=1))[0]
    assert pwcca(x, 7.0 * x @ rotation + 100.0, side=side, variance=1).score == pytest.approx(1.0, abs=1e-12)
    # Any invertible mixture has the same correlations; with all components kept that is exact.
    assert pwcca(x, x @ draw(12, 12, seed=2), side=side, variance=1).score == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("known", [[0.9, 0.5, 0.2], [1.0, 0.0], [0.7], [0.95, 0.95, 0.6, 0.3, 0.1]])
def test_a_low_rank_signal_has_the_correlations_it_was_given(known: list[float]) -> None:
    x, y = shared(300, known, 40, seed=len(known))
    found = pwcca(x, y, variance=1)
    np.testing.assert_allclose(found.correlations, known, atol=1e-9)
    assert found.components == (len(known), len(known)), "rank, not the 40 dimensions"


def test_the_weighted_mean_of_a_shared_signal() -> None:
    # One strong dimension of variance 100 correlates 0.8, one weak of variance 1 not at all: weights 10 and 1.
    x, y = shared(500, [0.8, 0.0], 2, seed=0)
    q, _ = np.linalg.qr(x - x.mean(axis=0))
    axes = np.linalg.svd(q.T @ np.linalg.qr(y - y.mean(axis=0))[0])[0]
    aligned = q @ axes * [10.0, 1.0]  # (n, 2): the dimensions are the canonical directions themselves
    assert pwcca(aligned, y, variance=1).score == pytest.approx((10 * 0.8 + 1 * 0.0) / 11, abs=1e-9)
    assert pwcca(y, aligned, side="second", variance=1).score == pytest.approx(8 / 11, abs=1e-9)


# Independent implementations


def by_definition(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Morcos et al. 2018 by covariances and loops: x's weights, nothing reduced."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    xx, yy, xy = x.T @ x, y.T @ y, x.T @ y
    values, vectors = scipy.linalg.eigh(xy @ np.linalg.inv(yy) @ xy.T, xx)
    order = np.argsort(values)[::-1][: min(x.shape[1], y.shape[1])]
    correlations = np.sqrt(np.clip(values[order], 0, 1))
    weights = []
    for i in order:
        h = x @ vectors[:, i]
        h = h / np.linalg.norm(h)
        weights.append(sum(abs(float(h @ x[:, j])) for j in range(x.shape[1])))
    return float(np.dot(weights, correlations) / np.sum(weights)), correlations


@pytest.mark.parametrize(("dx", "dy"), [(6, 6), (4, 9), (9, 4)])
def test_the_definition_written_as_loops(dx: int, dy: int) -> None:
    x = draw(150, dx) @ draw(dx, dx, seed=1)
    y = x[:, : min(dx, 3)] @ draw(min(dx, 3), dy, seed=2) + 2 * draw(150, dy, seed=3)
    first, correlations = by_definition(x, y)
    second, _ = by_definition(y, x)
    assert abs(first - second) > 1e-3, "the sides differ, so that taking the wrong one is seen"
    found = {side: pwcca(x, y, side=side, variance=1) for side in SIDES}  # type: ignore[arg-type]
    np.testing.assert_allclose(found["first"].correlations, correlations, atol=1e-7)
    assert found["first"].score == pytest.approx(first, abs=1e-9)
    assert found["second"].score == pytest.approx(second, abs=1e-9)
    assert found["mean"].score == pytest.approx((first + second) / 2, abs=1e-9)
    assert pwcca(y, x, variance=1).score == pytest.approx(second, abs=1e-9)


def test_the_correlations_are_scikit_learns() -> None:
    z = draw(400, 3)
    x, y = z @ draw(3, 5, seed=1) + draw(400, 5, seed=2), z @ draw(3, 4, seed=3) + draw(400, 4, seed=4)
    u, v = CCA(n_components=4, max_iter=5000, tol=1e-12).fit(x, y).transform(x, y)
    theirs = [np.corrcoef(u[:, i], v[:, i])[0, 1] for i in range(4)]
    np.testing.assert_allclose(pwcca(x, y, variance=1).correlations, theirs, atol=1e-4)


def test_principal_components_hold_the_variance_asked_for() -> None:
    from sklearn.decomposition import PCA

    x, y = draw(300, 20) * 0.7 ** np.arange(20) @ draw(20, 30, seed=1), draw(300, 8, seed=2)
    for variance in (0.5, 0.9, 0.99):
        reduced = PCA(variance, svd_solver="full").fit_transform(x)
        found = pwcca(x, y, variance=variance)
        assert found.components[0] == reduced.shape[1]
        # Reducing is all that PCA does to the correlations.
        np.testing.assert_allclose(
            found.correlations,
            by_definition(reduced, PCA(variance, svd_solver="full").fit_transform(y))[1],
            atol=1e-7,
        )
    assert pwcca(x, y, variance=1).components == (20, 8)


# Chance


@pytest.mark.parametrize(("n", "expected"), [(300, 0.585), (1100, 0.293)])
def test_unrelated_views_score_far_above_zero(n: int, expected: float) -> None:
    scores = [
        pwcca(draw(n, 128, seed=i), draw(n, 128, seed=90 + i), variance=1, rows_per_component=0).score for i in range(4)
    ]
    assert np.mean(scores) == pytest.approx(expected, abs=0.008)


def test_chance_follows_the_components_and_not_the_dimensions() -> None:
    def thin(seed: int) -> np.ndarray:
        return draw(300, 20, seed=seed) @ draw(20, 128, seed=seed + 1) + 0.02 * draw(300, 128, seed=seed + 2)

    thin_pair = pwcca(thin(10), thin(20))
    assert thin_pair.components == (20, 20)
    gaussian = pwcca(draw(300, 20, seed=1), draw(300, 20, seed=2), variance=1).score
    assert thin_pair.score == pytest.approx(gaussian, abs=0.03)
    assert pwcca(thin(10), thin(20), variance=1, rows_per_component=0).score > 0.5


def test_the_null_is_the_score_of_views_that_do_not_belong_together() -> None:
    z = draw(600, 6)
    x, y = z @ draw(6, 30, seed=1), z @ draw(6, 30, seed=2) + 0.5 * draw(600, 30, seed=3)
    null = permutation_null(x, y, seed=5)
    assert pwcca(x, y).score > 0.9
    unrelated = [pwcca(draw(600, 6, seed=30 + i) @ draw(6, 30, seed=1), y).score for i in range(20)]
    assert null.mean == pytest.approx(np.mean(unrelated), abs=3 * np.std(unrelated) / np.sqrt(10))
    assert null.mean < null.largest < null.mean + 4 * null.sd
    again = permutation_null(x, y, seed=5)
    assert null == again
    assert null != permutation_null(x, y, seed=6)
    # Written out: shuffle, score.
    rng = np.random.default_rng(5)
    scores = [pwcca(x, y[rng.permutation(600)]).score for _ in range(20)]
    assert (null.mean, null.largest) == (pytest.approx(np.mean(scores)), pytest.approx(max(scores)))
    assert null.sd == pytest.approx(np.std(scores, ddof=1))


def test_the_standard_error_is_the_spread_over_new_samples() -> None:
    mix = draw(10, 32, seed=1), draw(10, 32, seed=2)

    def sample(seed: int) -> tuple[np.ndarray, np.ndarray]:
        z = draw(300, 10, seed=seed)
        return z @ mix[0], (z + 0.8 * draw(300, 10, seed=seed + 1)) @ mix[1]

    scores = [pwcca(*sample(100 + 2 * i)).score for i in range(80)]
    errors = [subsampling_error(*sample(500 + 2 * i), seed=i) for i in range(12)]
    assert np.mean(errors) == pytest.approx(np.std(scores, ddof=1), rel=0.35)
    assert subsampling_error(*sample(3), seed=1) == subsampling_error(*sample(3), seed=1)


def test_more_than_half_is_scaled_to_the_whole() -> None:
    x, y = draw(70, 10), draw(70, 10, seed=1)  # 5 for each of 10 components: 50 of 70
    rng = np.random.default_rng(4)
    scores = []
    for _ in range(20):
        rows = rng.permutation(70)[:50]
        scores.append(pwcca(x[rows], y[rows], variance=1).score)
    expected = np.std(scores, ddof=1) * np.sqrt(50 / 20)
    assert subsampling_error(x, y, variance=1, seed=4) == pytest.approx(expected)


def test_subsamples_never_hold_an_utterance_twice_nor_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    from emoviews import alignment

    sizes: list[int] = []
    plain = alignment._bases

    def spied(first: np.ndarray, *rest: Any) -> Any:
        assert len(np.unique(first, axis=0)) == len(first)
        sizes.append(len(first))
        return plain(first, *rest)

    monkeypatch.setattr(alignment, "_bases", spied)
    for n, expected in ((200, 100), (101, 51), (70, 50)):  # half, rounded up; 5 for each of 10 components
        sizes.clear()
        subsampling_error(draw(n, 10), draw(n, 10, seed=1), variance=1, subsamples=3)
        assert sizes == [n, expected, expected, expected]
    assert np.isnan(subsampling_error(draw(50, 10), draw(50, 10, seed=1), variance=1))


# Outlying utterances


def test_a_distance_is_measured_in_that_of_nine_tenths() -> None:
    x = draw(1000, 3)
    far = np.linalg.norm(x - np.median(x, axis=0), axis=1)
    found = relative_distances(5 * x - 2)
    assert (found <= 1).mean() == pytest.approx(0.9, abs=0.002)
    np.testing.assert_allclose(found / found.max(), far / far.max())
    same = np.ones((20, 2))
    same[0] = 9.0
    assert not relative_distances(same).any()


def test_extreme_utterances_are_not_typical_and_groups_are() -> None:
    x, y = draw(500, 6), draw(500, 4, seed=1)
    assert typical(x, y).all()
    x[3] *= 100.0
    y[[3, 9], 0] = -80.0
    assert np.flatnonzero(~typical(x, y)).tolist() == [3, 9]
    assert np.flatnonzero(~typical(x, draw(500, 4, seed=1))).tolist() == [3]
    # A tight group of more than half of the utterances does not make the others outlying.
    groups = np.repeat([0, 1, 2], [300, 100, 100])
    assert typical(np.eye(3)[groups] * 1e3 + draw(500, 3), y[:, :1] * 0 + groups[:, None]).all()


def test_one_extreme_utterance_decides_the_score_unless_left_out() -> None:
    z = draw(300, 3)
    x, y = z @ draw(3, 8, seed=1), z @ draw(3, 8, seed=2) + 0.3 * draw(300, 8, seed=3)
    before = pwcca(x, y).score
    y[0] *= 1e4
    assert pwcca(x, y).components[1] == 1
    assert pwcca(x, y).score < before - 0.3
    kept = typical(x, y)
    assert pwcca(x[kept], y[kept]).score == pytest.approx(before, abs=0.02)


# What is refused


def test_too_few_utterances_are_refused_with_both_numbers() -> None:
    x, y = draw(49, 10), draw(49, 4, seed=1)
    for call in (pwcca, subsampling_error):
        with pytest.raises(EmoViewsError, match=r"needs 50 utterances, 5 for each of 10 .*; there are 49"):
            call(x, y, variance=1)
        with pytest.raises(EmoViewsError, match="of 10 principal"):  # whichever side it is
            call(y, x, variance=1)
    pwcca(draw(50, 10), draw(50, 4, seed=1), variance=1)
    pwcca(x, y, variance=1, rows_per_component=0)


@pytest.mark.parametrize("call", [pwcca, permutation_null, subsampling_error])
def test_other_bad_input(call: Any) -> None:
    x, y = draw(100, 4), draw(100, 3, seed=1)
    with pytest.raises(UsageError, match=r"got shapes \(100, 4\) and \(99, 3\)"):
        call(x, y[:-1])
    with pytest.raises(UsageError, match=r"got shapes \(100,\) and \(100, 3\)"):
        call(x[:, 0], y)
    with pytest.raises(UsageError, match="the second view's hold NaN"):
        call(x, np.where(y > 2, np.nan, y))
    with pytest.raises(UsageError, match="the side first, second or mean, got 'both'"):
        call(x, y, side="both")
    for share in (0.0, 1.5):
        with pytest.raises(UsageError, match="above 0 and at most at 1"):
            call(x, y, variance=share)
    constant = np.full((100, 3), 0.3, dtype=np.float32)
    constant[1::7] = np.nextafter(constant[1::7], np.float32(1))  # what another batch size makes of equal inputs
    with pytest.raises(UsageError, match="The first view's embeddings are the same for all 100"):
        call(constant, y)


def test_one_repetition_has_no_spread() -> None:
    x = draw(100, 4)
    with pytest.raises(UsageError, match="at least 2 permutations, got 1"):
        permutation_null(x, x, permutations=1)
    with pytest.raises(UsageError, match="at least 2 subsamples, got 1"):
        subsampling_error(x, x, subsamples=1)


def test_dead_dimensions_change_nothing() -> None:
    x, y = draw(200, 6), draw(200, 6, seed=1)
    padded = np.hstack([x, np.full((200, 5), 0.1)])
    for variance, side in itertools.product((0.99, 1.0), SIDES):
        with_dead = pwcca(padded, y, variance=variance, side=side)  # type: ignore[arg-type]
        assert with_dead.score == pytest.approx(pwcca(x, y, variance=variance, side=side).score)  # type: ignore[arg-type]
        assert with_dead.components == pwcca(x, y, variance=variance).components


def test_the_strongest_components_alone_are_those_of_numpy() -> None:
    """Of a low rank picked by hand: project on the first right singular vectors, then everything that is left."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 8)) * np.arange(8, 0, -1), rng.normal(size=(200, 5))
    y[:, 0] += x[:, 0]
    found = pwcca(x, y, most_components=3, variance=1)
    projected = []
    for values in (x, y):
        centred = values - values.mean(axis=0)
        _, sizes, right = np.linalg.svd(centred, full_matrices=False)
        projected.append(centred @ right[:3].T @ right[:3])
        assert found.held[len(projected) - 1] == pytest.approx((sizes[:3] ** 2).sum() / (sizes**2).sum())
    expected = pwcca(*projected, variance=1)
    assert found.components == expected.components == (3, 3)
    assert found.score == pytest.approx(expected.score, abs=1e-9)
    assert pwcca(x, y, most_components=99).score == pwcca(x, y).score
    with pytest.raises(UsageError, match="at least 1 component, got 0"):
        pwcca(x, y, most_components=0)
