"""Whether a difference is more than chance: intervals, tests, effect sizes and ranks.

Utterances of one speaker are not independent, and neither are repeats of a training on the same test speakers. What is
independent is the speaker, so the sound way here is to resample or pair speakers: `uar_interval`, `weighted_bootstrap`,
`sign_flip_test`, `wilcoxon_signed_rank`. `mean_interval` and `mann_whitney_u` over repeats are the paper's way (section 4.2)
and answer a smaller question: what another seed or another draw of labels would give on the same test speakers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy  # scipy.stats takes most of a second to import; SciPy loads it at the first use
from numpy.typing import ArrayLike, NDArray

from emoviews.errors import UsageError
from emoviews.metrics import as_list, mean_recall

RANKED_DECIMALS: Final = 12
"""To which values are rounded before they are ranked: two equal UARs whose sums were taken in another order must still tie."""

EXACT_LIMIT: Final = 20
"""Up to this many differences a sign-flip distribution is enumerated (2**20 sums), beyond it is sampled."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its two-sided confidence interval.

    Attributes:
        estimate: the statistic on the data as they are.
        low: lower end; NaN where the data give no interval (one cluster, one value), never a narrow one instead.
        high: upper end, NaN likewise.
        level: the confidence aimed at, e.g. 0.95.
    """

    estimate: float
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Comparison:
    """A test of "no difference".

    Attributes:
        statistic: the test's statistic, named in the function that returns it.
        p_value: two-sided.
    """

    statistic: float
    p_value: float


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Student's t interval of a mean of independent values: mean ± t(n − 1) · s / √n.

    The paper shows "95 % confidence intervals" of the mean over 10 runs and does not say how they were computed (section 4.2,
    figure 3); this is the textbook reading. Equal values give an interval of width 0, as s is 0.

    Args:
        values: `(n,)` one value a run.
        level: between 0 and 1.

    Returns:
        The mean and its interval; NaN ends for a single value, whose spread is unknown.

    Raises:
        UsageError: no value, a value that is not finite, or a level outside 0 to 1.

    >>> mean_interval([1.0, 2.0, 3.0])
    Interval(estimate=2.0, low=-0.484..., high=4.484..., level=0.95)
    """
    x = _vector(values, "values")
    n = len(x)
    spread = float(x.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    return _student(float(x.mean()), spread, n, level)


def prediction_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Where one more value will lie, if it comes from where these do: mean ± t · deviation · √(1 + 1/n).

    Wider than `mean_interval`, which says where the mean of very many lies, and does not shrink away with n.

    Args:
        values: `(n,)`, e.g. the UAR of each of n speakers.
        level: the share of cases aimed at.

    Raises:
        UsageError: no values, or one that is not finite.

    >>> found = prediction_interval([0.4, 0.5, 0.6])
    >>> round(found.low, 3), round(found.high, 3)
    (0.003, 0.997)
    """
    given = _vector(values, "values")
    n = len(given)
    spread = float(given.std(ddof=1)) if n > 1 else np.nan
    return _student(float(given.mean()), spread * float(np.sqrt(1 + 1 / n)), n, level)


def clustered_bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    clusters: Iterable[Hashable],
    *,
    n_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Confidence interval of any statistic of rows that come in clusters, such as the utterances of a speaker.

    Whole clusters are drawn with replacement, as many as there are, with all their rows, and the statistic is computed anew;
    the spread s of the resampled values makes the interval: estimate ± t(clusters − 1) · √(c / (c − 1)) · s for c clusters.

    Why not the percentiles of the resampled values: with the 5 to 10 speakers of an emotion corpus they are too narrow. In a
    simulation of UAR over speakers who differ, "95 %" percentile intervals held the truth for 5, 10 and 24 speakers in 84, 89
    and 94 % of cases, and for 2 speakers can't in more than 50 %; these held it in 94 to 96 % from 2 speakers on. The factor
    √(c / (c − 1)) and Student's t undo the bootstrap's narrowness (Hesterberg, "What Teachers Should Know about the
    Bootstrap", The American Statistician 69, 2015). For the mean of one value a cluster this is `mean_interval`.

    The interval speaks about other speakers of this kind and takes the trained models as they are.

    Args:
        statistic: takes row indices, `(rows,)` int64 with repetitions, and returns a number.
        clusters: `(rows,)` the cluster of each row.
        n_resamples: how often clusters are drawn.
        level: between 0 and 1.
        seed: the same seed gives the same interval.

    Returns:
        The statistic of all rows and its interval. The ends are NaN for a single cluster, which says nothing about others,
        and where the statistic is NaN on a resample.

    Raises:
        UsageError: no row, a row without a cluster, a level outside 0 to 1, or fewer than 2 resamples.

    >>> lengths = np.array([2.0, 2.5, 4.0, 3.5, 3.0, 3.0])
    >>> clustered_bootstrap(lambda rows: lengths[rows].mean(), ["Ann", "Ann", "Bob", "Bob", "Cy", "Cy"])
    Interval(estimate=3.0, low=1.1..., high=4.8..., level=0.95)
    """
    names, codes = _clusters(clusters)
    rows_of = [np.flatnonzero(codes == c) for c in range(len(names))]
    estimate = float(statistic(np.arange(len(codes))))
    values = [
        float(statistic(np.concatenate([np.tile(rows_of[c], times[c]) for c in np.flatnonzero(times)])))
        for counts in _draws(len(names), n_resamples, seed)
        for times in counts
    ]
    return _student(estimate, _corrected(np.array(values), len(names)), len(names), level)


Weighted = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""A statistic of clusters as a function of how often each counts: `(resamples, clusters)` → `(resamples,)`."""


def weighted_bootstrap(
    statistic: Weighted, n_clusters: int, *, n_resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> Interval:
    """`clustered_bootstrap` for a statistic that can be computed from how often each cluster was drawn, thousands at once.

    Args:
        statistic: see `Weighted`. NaN marks a resample without a value, such as one that drew none of the speakers needed.
        n_clusters: how many there are, each counting once in the estimate.
        n_resamples: how often clusters are drawn.
        level: between 0 and 1.
        seed: the same seed gives the same interval, and that of `clustered_bootstrap`.

    Returns:
        As `clustered_bootstrap`, but that resamples without a value are left out.

    Raises:
        UsageError: no cluster, a level outside 0 to 1, or fewer than 2 resamples.

    >>> lengths = np.array([[2.0, 2.5], [4.0, 3.5], [3.0, 3.0]])  # two of each of three speakers
    >>> weighted_bootstrap(lambda drawn: drawn @ lengths.sum(axis=1) / drawn.sum(axis=1) / 2, 3)
    Interval(estimate=3.0, low=1.1..., high=4.8..., level=0.95)
    """
    estimate, standard_error = _resampled(statistic, n_clusters, n_resamples, seed)
    return _student(estimate, standard_error, n_clusters, level)


def unpaired_bootstrap(
    first: Weighted,
    second: Weighted,
    sizes: tuple[int, int],
    *,
    n_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval of `first` minus `second`, statistics of two separate sets of clusters, such as women and men.

    Each set is drawn by itself, as often as it has clusters. The two variances add up, and Student's t has the degrees of
    freedom of Welch and Satterthwaite; for the means of one value a cluster this is Welch's t interval.

    Args:
        first: see `Weighted`.
        second: likewise, of clusters of its own.
        sizes: how many clusters each has.
        n_resamples: how often each is drawn.
        level: between 0 and 1.
        seed: of both, each with draws of its own.

    Returns:
        The difference and its interval, NaN ends where either has a single cluster.

    Raises:
        UsageError: as `weighted_bootstrap`.

    >>> women, men = np.array([0.5, 0.6, 0.7]), np.array([0.4, 0.5, 0.3])
    >>> unpaired_bootstrap(lambda d: d @ women / 3, lambda d: d @ men / 3, (3, 3))
    Interval(estimate=0.2..., low=-0.02..., high=0.42..., level=0.95)
    """
    sides = [
        _resampled(side, n, n_resamples, seed + k)
        for k, (side, n) in enumerate(zip((first, second), sizes, strict=True))
    ]
    variances = [error**2 for _, error in sides]
    total = sum(variances)
    lost = sum(v**2 / (n - 1) for v, n in zip(variances, sizes, strict=True) if n > 1)
    freedom = total**2 / lost if lost > 0 else min(sizes) - 1
    return _student(sides[0][0] - sides[1][0], total**0.5, freedom + 1, level)


def mean_uar(hits: NDArray[np.float64], totals: NDArray[np.float64]) -> Weighted:
    """The mean over runs of the UAR of each, as a statistic of speakers.

    Args:
        hits: `(runs, speakers, classes)` rows that were predicted right.
        totals: `(runs, speakers, classes)` rows.

    Returns:
        NaN where no speaker with a row was drawn; a run none of whose speakers was drawn is left out of the mean.

    >>> hits, totals = np.array([[[1.0, 0.0], [2.0, 1.0]]]), np.array([[[2.0, 0.0], [2.0, 2.0]]])
    >>> mean_uar(hits, totals)(np.array([[1.0, 1.0], [2.0, 0.0]]))
    array([0.625, 0.5  ])
    """
    runs, speakers, classes = hits.shape
    flat = [counts.transpose(1, 0, 2).reshape(speakers, runs * classes) for counts in (hits, totals)]

    def of(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        right, rows = (np.reshape(drawn @ counts, (len(drawn), runs, classes)) for counts in flat)
        uars = mean_recall(right, rows)  # (resamples, runs)
        known = ~np.isnan(uars)
        with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that the docstring promises
            return np.asarray(np.where(known, uars, 0.0).sum(axis=1) / known.sum(axis=1))

    return of


def counted_uar_interval(
    hits: NDArray[np.float64],
    totals: NDArray[np.float64],
    *,
    n_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """`uar_interval` of rows that were already counted: arguments as `mean_uar`, result as `uar_interval`.

    >>> counted_uar_interval(np.ones((1, 3, 2)), np.ones((1, 3, 2)))
    Interval(estimate=1.0, low=1.0, high=1.0, level=0.95)
    """
    interval = weighted_bootstrap(
        mean_uar(hits, totals), hits.shape[1], n_resamples=n_resamples, level=level, seed=seed
    )
    low, high = np.clip([interval.low, interval.high], 0.0, 1.0)
    return Interval(interval.estimate, float(low), float(high), level)


def uar_interval(
    y_true: Iterable[Hashable],
    y_pred: Iterable[Hashable],
    clusters: Iterable[Hashable],
    runs: Iterable[Hashable] | None = None,
    *,
    n_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """UAR with an interval clustered on speakers: `clustered_bootstrap` from counts, in milliseconds.

    With `runs`, the statistic is the mean over runs of each run's UAR. Runs that test the same speakers (repeats, seeds) are
    resampled together, so that more repeats don't pretend to be more speakers. Give folds and repeats as they are to be
    averaged: the repeat alone as the run pools the folds of a repeat before its UAR; repeat and fold together give the mean
    over folds, as in the paper.

    Args:
        y_true: `(rows,)` the true labels.
        y_pred: `(rows,)` the predicted labels.
        clusters: `(rows,)` the speaker of each row.
        runs: `(rows,)` rows with the same value are scored together; None: all rows are one run.
        n_resamples: how often speakers are drawn.
        level: between 0 and 1.
        seed: the same seed gives the same interval.

    Returns:
        UAR as a fraction and its interval, cut to 0 to 1; NaN ends for a single speaker. In a resample that lacks a class or a
        run, the mean is over those it has.

    Raises:
        UsageError: as `clustered_bootstrap`, or arrays of different lengths.

    >>> uar_interval(list("aabb") * 3, list("aabb") + list("abbb") + list("aaba"), list("XXXXYYYYZZZZ"))
    Interval(estimate=0.833..., low=0.4..., high=1.0, level=0.95)
    """
    speakers, speaker = _clusters(clusters)
    truth, predicted = as_list(y_true), as_list(y_pred)
    run_of_row = as_list(runs) if runs is not None else [0] * len(truth)
    if not len(truth) == len(predicted) == len(run_of_row) == len(speaker):
        raise UsageError(
            "Expected one true label, prediction, cluster and run a row; got "
            f"{len(truth)}, {len(predicted)}, {len(speaker)} and {len(run_of_row)}."
        )
    labels, label = _codes(truth)
    run_names, run = _codes(run_of_row)
    right = np.array([t == p for t, p in zip(truth, predicted, strict=True)])
    shape = (len(run_names), len(speakers), len(labels))
    cell = np.ravel_multi_index((run, speaker, label), shape)
    totals = np.bincount(cell, minlength=np.prod(shape)).reshape(shape).astype(float)  # (runs, clusters, classes)
    hits = np.bincount(cell[right], minlength=np.prod(shape)).reshape(shape).astype(float)
    return counted_uar_interval(hits, totals, n_resamples=n_resamples, level=level, seed=seed)


def mann_whitney_u(a: ArrayLike, b: ArrayLike) -> Comparison:
    """Mann-Whitney U test of two independent samples, two-sided, by SciPy; the statistic is U of `a`.

    The paper's test between supervised and pre-trained models (section 4.2). It takes every value as independent: for repeats
    on the same test speakers a small p says that another seed would give the same order, not that other speakers would.

    Args:
        a: `(n,)` one value a run.
        b: `(m,)` likewise.

    Raises:
        UsageError: an empty sample or a value that is not finite.

    >>> mann_whitney_u([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    Comparison(statistic=0.0, p_value=0.1)
    """
    result = scipy.stats.mannwhitneyu(_ranked(a, "a"), _ranked(b, "b"), alternative="two-sided")
    return Comparison(float(result.statistic), float(result.pvalue))


def sign_flip_test(differences: ArrayLike, *, n_resamples: int = 100_000, seed: int = 0) -> Comparison:
    """Paired permutation test that a mean difference is 0, two-sided; the statistic is the mean difference.

    Under "no difference" each difference is as likely with the other sign. All 2**n sign patterns are counted up to
    `EXACT_LIMIT` differences; beyond, `n_resamples` random ones, with the observed pattern among them so that p is never 0
    (Phipson and Smyth, 2010). The exact p can't be below 2 / 2**n: with 5 speakers 0.0625, so 5 speakers never reach 0.05.

    Args:
        differences: `(n,)` one difference a speaker (average the repeats within a speaker first).
        n_resamples: number of random sign patterns for large n.
        seed: of those patterns.

    Raises:
        UsageError: no difference or one that is not finite.

    >>> sign_flip_test([1.0, 2.0, 3.0, 4.0, 5.0])
    Comparison(statistic=3.0, p_value=0.0625)
    """
    d = _vector(differences, "differences")
    return Comparison(float(d.mean()), _sign_flip_p(d, n_resamples, seed))


def wilcoxon_signed_rank(differences: ArrayLike) -> Comparison:
    """Wilcoxon's signed-rank test of paired differences, two-sided; the statistic is the smaller of the two rank sums.

    Differences of 0 are dropped, as Wilcoxon did. Exact, ties included, up to `EXACT_LIMIT` other differences; beyond, SciPy's
    choice. Without any difference other than 0, p is 1.

    Args:
        differences: `(n,)` one difference a speaker (average the repeats within a speaker first).

    Raises:
        UsageError: no difference or one that is not finite.

    >>> wilcoxon_signed_rank([1.0, 2.0, 3.0, -0.5, 5.0])
    Comparison(statistic=1.0, p_value=0.125)
    """
    d = _ranked(differences, "differences")
    d = d[d != 0]
    signed_ranks = np.sign(d) * scipy.stats.rankdata(np.abs(d))
    statistic = float(min(signed_ranks[d > 0].sum(), abs(signed_ranks[d < 0].sum())))
    if len(d) <= EXACT_LIMIT:  # given the ranks, this test is the sign-flip test of the signed ranks
        return Comparison(statistic, _sign_flip_p(signed_ranks))
    return Comparison(statistic, float(scipy.stats.wilcoxon(d).pvalue))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's correction for several tests: reject where the result is at most α, and the family-wise error stays below α.

    Args:
        p_values: `(tests,)`.

    Returns:
        `(tests,)` adjusted p-values in the order given: the i-th smallest of m is multiplied by m − i + 1, raised to the one
        before it where it would be smaller, and cut at 1.

    Raises:
        UsageError: no p-value, or one outside 0 to 1.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = _vector(p_values, "p_values")
    if (p < 0).any() or (p > 1).any():
        raise UsageError(f"Expected p-values between 0 and 1, got {p.min():g} to {p.max():g}.")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def cliffs_delta(a: ArrayLike, b: ArrayLike) -> float:
    """Cliff's δ of two independent samples: P(a > b) − P(a < b), −1 to 1. The effect size that belongs to the U test.

    Raises:
        UsageError: an empty sample or a value that is not finite.

    >>> cliffs_delta([2.0, 3.0], [1.0, 2.0])
    0.75
    """
    return float(np.sign(_ranked(a, "a")[:, None] - _ranked(b, "b")).mean())


def cohens_dz(differences: ArrayLike) -> float:
    """Cohen's d_z of paired differences: their mean over their standard deviation (n − 1).

    NaN for a single difference and for equal ones, whose standard deviation is unknown or 0.

    Raises:
        UsageError: no difference or one that is not finite.

    >>> cohens_dz([1.0, 2.0, 3.0])
    2.0
    """
    d = _vector(differences, "differences")
    if len(d) < 2 or np.ptp(d) == 0:
        return float("nan")
    return float(d.mean() / d.std(ddof=1))


def average_ranks(scores: ArrayLike, higher_is_better: bool = True) -> NDArray[np.float64]:
    """Mean rank of each method over several columns of scores, as in the paper's table 4.

    Args:
        scores: `(methods, columns)`, e.g. UAR and WA of every view.
        higher_is_better: whether rank 1 goes to the highest score of a column or to the lowest.

    Returns:
        `(methods,)` mean ranks from 1 (best); equal scores share the mean of their ranks.

    Raises:
        UsageError: not a table of finite scores.

    >>> average_ranks([[60.0, 0.5], [50.0, 0.5], [40.0, 0.4]]).tolist()
    [1.25, 1.75, 3.0]
    """
    table = np.asarray(scores, dtype=float)
    if table.ndim != 2 or table.size == 0 or not np.isfinite(table).all():
        raise UsageError(
            f"Expected finite scores of shape (methods, columns), got shape {table.shape} or missing scores."
        )
    return np.asarray(scipy.stats.rankdata(-table if higher_is_better else table, axis=0).mean(axis=1))


def _vector(values: ArrayLike, name: str) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or x.size == 0 or not np.isfinite(x).all():
        got = (
            f"shape {x.shape}"
            if x.ndim != 1 or x.size == 0
            else f"{np.count_nonzero(~np.isfinite(x))} that are not finite"
        )
        raise UsageError(f"Expected {name} as at least one finite number, got {got}.")
    return x


def _ranked(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """As `_vector`, to be compared by size: equal but for rounding is equal."""
    return _vector(values, name).round(RANKED_DECIMALS)


def _codes(values: list[Any]) -> tuple[list[Any], NDArray[np.int64]]:
    """The distinct values in order of appearance, and the number of each row's value, `(rows,)`."""
    code = {value: i for i, value in enumerate(dict.fromkeys(values))}
    return list(code), np.array([code[value] for value in values], dtype=np.int64)


def _clusters(clusters: Iterable[Hashable]) -> tuple[list[Any], NDArray[np.int64]]:
    names = as_list(clusters)
    if not names:
        raise UsageError("Expected at least one row, got none.")
    if unknown := sum(name is None or name == "" or name != name for name in names):
        raise UsageError(
            f"{unknown} of {len(names)} rows have no cluster (speaker), so no interval can be clustered on it. "
            "Fill in the column 'speaker', or cluster on 'group'."
        )
    return _codes(names)


def _draws(clusters: int, n_resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each cluster is drawn, `(up to 1 000 resamples, clusters)` at a time so that memory stays small."""
    if n_resamples < 2:
        raise UsageError(f"Expected at least 2 resamples, got {n_resamples}.")
    generator = np.random.default_rng(seed)
    for start in range(0, n_resamples, 1000):
        size = min(1000, n_resamples - start)
        yield generator.multinomial(clusters, np.full(clusters, 1 / clusters), size=size)


def _resampled(statistic: Weighted, n_clusters: int, n_resamples: int, seed: int) -> tuple[float, float]:
    """The statistic of all clusters once, and its standard error."""
    if n_clusters < 1:
        raise UsageError("Expected at least one cluster (speaker), got none.")
    estimate = float(statistic(np.ones((1, n_clusters)))[0])
    values = np.concatenate([statistic(counts.astype(float)) for counts in _draws(n_clusters, n_resamples, seed)])
    return estimate, _corrected(values[~np.isnan(values)], n_clusters)


def _corrected(values: NDArray[np.float64], clusters: int) -> float:
    """Standard error from resampled values.

    The bootstrap's variance is that of draws from the clusters at hand, (c − 1) / c of the unbiased one.
    """
    return float(values.std() * np.sqrt(clusters / (clusters - 1))) if clusters > 1 and len(values) > 1 else np.nan


def _student(estimate: float, standard_error: float, n: float, level: float) -> Interval:
    """Student's t interval with n − 1 degrees of freedom."""
    if not 0 < level < 1:
        raise UsageError(f"Expected a confidence level between 0 and 1, got {level}.")
    half = standard_error * float(scipy.stats.t.ppf((1 + level) / 2, n - 1)) if n > 1 else np.nan
    return Interval(estimate, float(estimate - half), float(estimate + half), level)


def _sign_flip_p(differences: NDArray[np.float64], n_resamples: int = 0, seed: int = 0) -> float:
    """Share of sign patterns whose sum is at least as far from 0 as the observed one."""
    # Sums of the same numbers in another order differ by rounding; they must still count as equal.
    observed = abs(differences.sum()) - 1e-9 * np.abs(differences).sum()
    if len(differences) <= EXACT_LIMIT:
        sums = np.zeros(1)
        for d in differences:
            sums = np.concatenate([sums + d, sums - d])
        return float((np.abs(sums) >= observed).mean())
    generator = np.random.default_rng(seed)
    sums = np.zeros(n_resamples)
    for d in differences:
        sums += np.where(generator.random(n_resamples) < 0.5, d, -d)
    return float((1 + np.count_nonzero(np.abs(sums) >= observed)) / (1 + n_resamples))
