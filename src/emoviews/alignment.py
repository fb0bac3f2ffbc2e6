"""How alike two views' embeddings of the same utterances are: projection-weighted canonical correlation (PWCCA).

Morcos, Raghu, Bengio, "Insights on representational similarity in neural networks with canonical correlation", NeurIPS 2018
(definition: section 2 and equation 2); the paper's section 4.3 and Table 3. Canonical correlation analysis finds pairs of
directions, one a view, whose projections correlate most: rho_1 >= rho_2 >= …. PWCCA is the mean of the rho_i weighted by how
much of one view its directions h_i account for,

    alpha_i = sum over that view's dimensions j of |<h_i, x_j>|,    PWCCA = sum of alpha_i rho_i / sum of alpha_i,

so it isn't symmetric: the side whose weights are used is part of the number. Each view is first reduced to the principal
components that hold 99 % of its variance (as in SVCCA, Raghu et al. 2017), since directions of hardly any variance correlate
by chance; x_j stay the view's own dimensions.

Even unrelated data score far above 0 where utterances are few: two independent Gaussians of 128 dimensions 0.58 with 300
utterances and 0.29 with 1 100. So a score is read beside its permutation null, and refused below 5 utterances for each
principal component.

Few recordings with extreme values can decide it all: eGeMAPS has functionals that divide by a mean near 0, and in nEMO one of
663 recordings held 99.6 % of the variance of its embeddings, so that one component was kept and the score was 0.20 with a
standard error of 0.25. Without it and the 7 others that `typical` leaves out the score was 0.75 with an error of 0.01, and
hardly changed with another limit. Callers score typical utterances, and say how many were left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from emoviews.errors import TooFewError, UsageError

Side = Literal["first", "second", "mean"]
"""Whose directions weight the correlations: the first view's, the second's, or the mean of the two scores."""

VARIANCE: Final = 0.99
"""Share of each view's variance that its principal components hold."""

ROWS_PER_COMPONENT: Final = 5
"""Utterances needed for each principal component of the view that keeps more of them.

The components count and not the embedding's dimensions, because only they can correlate by chance: unrelated views of 20
strong directions in 128 dimensions score 0.22 with 300 utterances, exactly as 20-dimensional Gaussians do, while all 128
directions, noise included, would score 0.58. At the limit unrelated views score 0.39, whatever the number of components
(0.51 at 3 utterances a component, 0.27 at 10).
"""

OUTLYING: Final = 3.0
"""How often as far out as 90 % of the utterances an embedding must lie to be outlying. Of normally distributed embeddings
about one in a million does, and never more than 10 % of a view's, whatever groups they form."""


@dataclass(frozen=True)
class Alignment:
    """How alike two views are.

    Attributes:
        score: PWCCA, 0 to 1.
        side: whose directions weigh the correlations.
        correlations: the canonical correlations, descending, `(min(components),)`.
        components: principal components kept of the first and of the second view.
        held: share of each view's variance that these hold.
        n: utterances.
    """

    score: float
    side: Side
    correlations: NDArray[np.float64]
    components: tuple[int, int]
    held: tuple[float, float]
    n: int


@dataclass(frozen=True)
class Null:
    """PWCCA of views whose utterances do not belong together: mean, standard deviation and largest over permutations."""

    mean: float
    sd: float
    largest: float


def relative_distances(embedded: NDArray[Any]) -> NDArray[np.float64]:
    """Distance of each row of `(n, d)` from the median of all, `(n,)`, in units of that within which 90 % of them lie.

    Not of the median distance: where one tight group holds more than half of the rows, all others would be far out. 0
    throughout where more than 90 % of the rows are the same: nothing can be told of the others then.

    >>> relative_distances(np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [90.0]])).round(1).tolist()
    [1.0, 0.6, 0.2, 0.2, 0.6, 35.0]
    """
    wide = embedded.astype(np.float64)
    distances = np.linalg.norm(wide - np.median(wide, axis=0), axis=1)
    unit = float(np.quantile(distances, 0.9, method="lower"))
    found: NDArray[np.float64] = distances / unit if unit > 0 else np.zeros(len(wide))
    return found


def typical(first: NDArray[Any], second: NDArray[Any], limit: float = OUTLYING) -> NDArray[np.bool_]:
    """Which utterances `(n,)` aren't outlying (`relative_distances` up to `limit`) in either view, `(n, d1)` and `(n, d2)`."""
    found: NDArray[np.bool_] = np.maximum(relative_distances(first), relative_distances(second)) <= limit
    return found


def pwcca(
    first: NDArray[Any],
    second: NDArray[Any],
    *,
    side: Side = "first",
    variance: float = VARIANCE,
    rows_per_component: int = ROWS_PER_COMPONENT,
    most_components: int | None = None,
) -> Alignment:
    """PWCCA of two views of the same utterances.

    The canonical correlations are the singular values of the product of the views' orthonormal bases (Björck and Golub
    1973), which loses no digits to covariance matrices and their inverses.

    Args:
        first: `(n, d1)` embeddings.
        second: `(n, d2)`, row i being the same utterance.
        side: whose directions weigh the correlations.
        variance: share of each view's variance that its principal components hold; 1 keeps all that are not rounding error.
        rows_per_component: utterances needed a component; 0 refuses nothing.
        most_components: components kept of a view at most, whatever share of its variance they hold; None for no limit. It is
            then the likeness of the strongest directions alone, and compares with no score of all.

    Raises:
        UsageError: other shapes, values that are not finite, a view that is constant, an argument out of its range.
        TooFewError: fewer utterances than `rows_per_component` times the larger number of components.

    >>> x = np.random.default_rng(0).normal(size=(60, 4))
    >>> round(pwcca(x, x @ np.diag([1, 2, 3, 4])[:, ::-1]).score, 6)
    1.0
    """
    _check_side(side)
    one, other = _bases(first, second, variance, rows_per_component, most_components)
    score, correlations = _score(one, other, side)
    return Alignment(score, side, correlations, (one.components, other.components), (one.held, other.held), one.n)


def permutation_null(
    first: NDArray[Any],
    second: NDArray[Any],
    *,
    side: Side = "first",
    variance: float = VARIANCE,
    most_components: int | None = None,
    permutations: int = 20,
    seed: int = 0,
) -> Null:
    """What `pwcca` scores when the second view's utterances are shuffled: what it owes to the number of utterances alone.

    Args:
        first: as for `pwcca`.
        second: likewise.
        side: likewise.
        variance: likewise.
        most_components: likewise.
        permutations: shuffles.
        seed: of the shuffles.

    Raises:
        UsageError: as `pwcca`; fewer than 2 permutations.
    """
    _check_side(side)
    _check_times("permutations", permutations)
    one, other = _bases(first, second, variance, 0, most_components)
    rng = np.random.default_rng(seed)
    scores = [_score(one, other.rows(rng.permutation(one.n)), side)[0] for _ in range(permutations)]
    return Null(float(np.mean(scores)), float(np.std(scores, ddof=1)), max(scores))


def subsampling_error(
    first: NDArray[Any],
    second: NDArray[Any],
    *,
    side: Side = "first",
    variance: float = VARIANCE,
    rows_per_component: int = ROWS_PER_COMPONENT,
    subsamples: int = 20,
    seed: int = 0,
) -> float:
    """Standard error of a PWCCA score over utterances, by subsampling without replacement (the delete-d jackknife).

    Each subsample of m utterances goes through everything that `pwcca` does; m is half of them, or more where half would not
    be `rows_per_component` for each component. The standard deviation of the subsamples' scores times sqrt(m / (n - m)) (1
    for halves) is the standard error of the whole's (Shao and Wu, Annals of Statistics 17(3), 1989). With replacement it
    would not do: an utterance that is drawn twice agrees with itself, and correlations rise. The subsamples' own level isn't
    that of the whole, since a score grows as utterances get fewer; so only their spread is used.

    Utterances of one speaker are not independent, so this is the error for other utterances of these speakers. In
    simulations it lies within 15 % of the true one with 30 utterances a component, and up to 60 % above it near the limit.

    Args:
        first: as for `pwcca`.
        second: likewise.
        side: likewise.
        variance: likewise.
        rows_per_component: likewise.
        subsamples: how many.
        seed: of the draws.

    Returns:
        The standard error; NaN with so few utterances that no subsample is large enough.

    Raises:
        UsageError: as `pwcca`; fewer than 2 subsamples.
        TooFewError: as `pwcca`.
    """
    _check_side(side)
    _check_times("subsamples", subsamples)
    bases = _bases(first, second, variance, rows_per_component)
    n, most = bases[0].n, max(basis.components for basis in bases)
    size = max(math.ceil(n / 2), rows_per_component * most)
    if size >= n:
        return math.nan
    rng = np.random.default_rng(seed)
    draws = (rng.permutation(n)[:size] for _ in range(subsamples))
    scores = [_score(*_bases(first[rows], second[rows], variance, 0), side)[0] for rows in draws]
    return float(np.std(scores, ddof=1)) * math.sqrt(size / (n - size))


@dataclass(frozen=True)
class _Basis:
    """A centred view, reduced: `left @ right` are its first principal components' part.

    Attributes:
        left: orthonormal columns, `(n, components)`.
        right: `left.T` times the view, `(components, d)`: their inner products with the view's own dimensions.
        held: share of the view's variance that they hold.
    """

    left: NDArray[np.float64]
    right: NDArray[np.float64]
    held: float

    @property
    def n(self) -> int:
        return len(self.left)

    @property
    def components(self) -> int:
        return int(self.left.shape[1])

    def rows(self, order: NDArray[np.int64]) -> _Basis:
        """The same view with its utterances in another order."""
        return _Basis(self.left[order], self.right, self.held)


def _bases(
    first: NDArray[Any],
    second: NDArray[Any],
    variance: float,
    rows_per_component: int,
    most_components: int | None = None,
) -> tuple[_Basis, _Basis]:
    if not 0 < variance <= 1:
        raise UsageError(f"The share of variance lies above 0 and at most at 1; got {variance:g}.")
    if most_components is not None and most_components < 1:
        raise UsageError(f"Expected to keep at least 1 component, got {most_components}.")
    if first.ndim != 2 or second.ndim != 2 or len(first) != len(second):
        raise UsageError(
            f"Expected two arrays (utterances, dimensions) with the same utterances, got shapes {first.shape} and "
            f"{second.shape}."
        )
    found = _basis(first, "first", variance, most_components), _basis(second, "second", variance, most_components)
    most = max(basis.components for basis in found)
    if len(first) < rows_per_component * most:
        raise TooFewError(
            f"PWCCA of these views needs {rows_per_component * most} utterances, {rows_per_component} for each of {most} "
            f"principal components; there are {len(first)}. With fewer, unrelated views would score high as well. Test on "
            "larger groups (fewer folds)."
        )
    return found


def _basis(values: NDArray[Any], which: str, variance: float, most_components: int | None) -> _Basis:
    """The principal components that hold a share of the variance, at most so many."""
    wide = values.astype(np.float64)
    if not np.isfinite(wide).all():
        raise UsageError(f"Expected finite embeddings; the {which} view's hold NaN or infinity.")
    left, sizes, right = np.linalg.svd(wide - wide.mean(axis=0), full_matrices=False)
    # What is left of a constant dimension is rounding error, and no component. An encoder's float32 outputs carry that of
    # their own precision, since equal inputs differ in their last digits with the batch they are computed in.
    precision = np.finfo(values.dtype if np.issubdtype(values.dtype, np.floating) else np.float64).eps
    rank = int((sizes > 10 * precision * np.abs(wide).max(initial=0.0) * math.sqrt(wide.size)).sum())
    if rank == 0:
        raise UsageError(
            f"The {which} view's embeddings are the same for all {len(wide)} utterances, so nothing can correlate with "
            "them. Was its encoder trained with too high a learning rate?"
        )
    held = np.cumsum(sizes[:rank] ** 2)
    kept = rank if variance == 1 else int(np.searchsorted(held, variance * held[-1])) + 1
    kept = min(kept, rank, most_components or rank)
    return _Basis(left[:, :kept], sizes[:kept, None] * right[:kept], float(held[kept - 1] / held[-1]))


def _score(first: _Basis, second: _Basis, side: Side) -> tuple[float, NDArray[np.float64]]:
    """PWCCA and the canonical correlations."""
    turn, correlations, other_turn = np.linalg.svd(first.left.T @ second.left, full_matrices=False)
    correlations = np.clip(correlations, 0.0, 1.0)
    scores = []
    if side in ("first", "mean"):
        scores.append(_weighted(correlations, turn.T @ first.right))
    if side in ("second", "mean"):
        scores.append(_weighted(correlations, other_turn @ second.right))
    return float(np.mean(scores)), correlations


def _weighted(correlations: NDArray[np.float64], projections: NDArray[np.float64]) -> float:
    """Mean of the correlations; `projections` `(min(components), d)` are the inner products <h_i, x_j>."""
    weights = np.abs(projections).sum(axis=1)
    return float(weights @ correlations / weights.sum())


def _check_side(side: str) -> None:
    if side not in get_args(Side):
        raise UsageError(f"Expected the side first, second or mean, got {side!r}.")


def _check_times(what: str, times: int) -> None:
    if times < 2:
        raise UsageError(f"Expected at least 2 {what}, got {times}.")
