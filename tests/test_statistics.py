"""Intervals, tests and ranks against SciPy, closed forms, enumeration, simulation and the paper's own table."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from emoviews.errors import UsageError
from emoviews.metrics import uar
from emoviews.statistics import (
    EXACT_LIMIT,
    _draws,
    average_ranks,
    cliffs_delta,
    clustered_bootstrap,
    cohens_dz,
    counted_uar_interval,
    holm,
    mann_whitney_u,
    mean_interval,
    prediction_interval,
    sign_flip_test,
    uar_interval,
    unpaired_bootstrap,
    weighted_bootstrap,
    wilcoxon_signed_rank,
)

numbers = st.floats(-100, 100).map(lambda x: round(x, 2))
samples = st.lists(numbers, min_size=1, max_size=9)


def predictions(seed, n_speakers, n_runs=1, n_utterances=24, spread=0.1):
    """Rows of speakers who differ in how well each of three classes is recognised: truth, prediction, speaker, run."""
    rng = np.random.default_rng(seed)
    recalls = np.clip(rng.normal([0.7, 0.5, 0.6], spread, (n_speakers, 3)), 0.01, 0.99)
    run, speaker, _ = np.indices((n_runs, n_speakers, n_utterances)).reshape(3, -1)
    true = rng.integers(0, 3, len(run))
    right = rng.random(len(run)) < recalls[speaker, true]
    pred = np.where(right, true, (true + rng.integers(1, 3, len(run))) % 3)
    return true, pred, speaker, run


# --- intervals


@given(st.lists(numbers, min_size=2, max_size=12).filter(lambda x: np.ptp(x) > 0.1), st.sampled_from([0.5, 0.9, 0.95]))
@settings(deadline=None)
def test_mean_interval_equals_scipy(values, level):
    interval = mean_interval(values, level)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(level)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert (interval.estimate, interval.level) == (pytest.approx(np.mean(values)), level)


def test_one_value_or_one_cluster_has_no_interval():
    single = mean_interval([0.6])
    assert single.estimate == 0.6
    assert np.isnan([single.low, single.high]).all()
    one = uar_interval(["a", "b"], ["a", "a"], ["Ann", "Ann"])
    assert one.estimate == 0.5
    assert np.isnan([one.low, one.high]).all()
    same = clustered_bootstrap(lambda rows: float(len(rows)), ["Ann", "Ann"])
    assert same.estimate == 2
    assert np.isnan([same.low, same.high]).all()


def test_bootstrap_of_a_mean_with_equal_clusters_is_students_interval():
    # The bootstrap's standard error of a mean is s·√((n − 1)/n)/√n exactly, up to the finite number of resamples.
    values = np.random.default_rng(1).normal(size=9)
    ours = clustered_bootstrap(lambda rows: float(values[rows].mean()), range(9), n_resamples=20_000)
    exact = mean_interval(values)
    assert ours.estimate == pytest.approx(exact.estimate)
    assert (ours.high - ours.low) / (exact.high - exact.low) == pytest.approx(1, abs=0.02)


def test_bootstrap_standard_error_equals_scipys():
    values = np.random.default_rng(2).gamma(2, size=(12, 1))
    scipys = scipy.stats.bootstrap((values[:, 0],), np.median, n_resamples=20_000, rng=3, method="percentile")
    ours = clustered_bootstrap(lambda rows: float(np.median(values[rows])), range(12), n_resamples=20_000)
    half = scipys.standard_error * np.sqrt(12 / 11) * scipy.stats.t.ppf(0.975, 11)
    assert (ours.high - ours.low) / 2 == pytest.approx(half, rel=0.03)


def test_rows_of_a_cluster_travel_together():
    seen = []

    def statistic(rows):
        seen.append(rows)
        return 0.0

    clusters = ["Ann", "Bob", "Ann", "Cy", "Cy", "Cy"]
    clustered_bootstrap(statistic, clusters, n_resamples=50)
    sizes = {"Ann": 2, "Bob": 1, "Cy": 3}
    assert len(seen) == 51
    for rows in seen:
        times = np.bincount(rows, minlength=6)
        assert times[0] == times[2]
        assert times[3] == times[4] == times[5]
        assert sum(np.sum(np.asarray(clusters)[rows] == c) / size for c, size in sizes.items()) == 3


@pytest.mark.parametrize("n_runs", [1, 3])
def test_uar_interval_equals_the_naive_bootstrap(n_runs):
    true, pred, speaker, run = predictions(seed=4, n_speakers=5, n_runs=n_runs)
    rare = true == 2
    true[rare & (speaker != 0)] = 1  # one speaker has all of class 2, so some resamples lack it

    def mean_uar(rows):
        return float(np.mean([uar(true[rows][run[rows] == r], pred[rows][run[rows] == r]) for r in range(n_runs)]))

    naive = clustered_bootstrap(mean_uar, speaker, n_resamples=300, seed=5)
    quick = uar_interval(true, pred, speaker, run, n_resamples=300, seed=5)
    assert quick.estimate == pytest.approx(naive.estimate, abs=1e-12)
    assert (quick.low, quick.high) == pytest.approx((naive.low, naive.high), abs=1e-9)


def test_weighted_bootstrap_equals_the_clustered_one_of_the_same_rows():
    values, clusters = np.random.default_rng(9).normal(size=12), np.repeat(np.arange(4), 3)
    sums = np.bincount(clusters, weights=values)
    naive = clustered_bootstrap(lambda rows: float(values[rows].mean()), clusters, n_resamples=3000, seed=2)
    quick = weighted_bootstrap(lambda d: d @ sums / (3 * d.sum(axis=1)), 4, n_resamples=3000, seed=2)
    assert quick.estimate == pytest.approx(naive.estimate)
    assert (quick.low, quick.high) == pytest.approx((naive.low, naive.high))


def test_resamples_without_a_value_are_left_out():
    def only_with_the_first(drawn):
        return np.where(drawn[:, 0] > 0, drawn[:, 1], np.nan)

    drawn = np.concatenate([only_with_the_first(c) for c in _draws(3, 2000, 0)])
    known = drawn[~np.isnan(drawn)]
    assert len(known) < len(drawn)
    half = scipy.stats.t.ppf(0.975, 2) * known.std() * np.sqrt(3 / 2)
    interval = weighted_bootstrap(only_with_the_first, 3, n_resamples=2000)
    assert (interval.low, interval.high) == pytest.approx((1 - half, 1 + half))


def test_counted_interval_is_that_of_the_rows():
    true, pred, speaker, run = predictions(seed=12, n_speakers=4, n_runs=2)
    totals, hits = np.zeros((2, 4, 3)), np.zeros((2, 4, 3))
    np.add.at(totals, (run, speaker, true), 1)
    np.add.at(hits, (run, speaker, true), true == pred)
    counted = counted_uar_interval(hits, totals, n_resamples=500)
    assert counted == uar_interval(true, pred, speaker, run, n_resamples=500)


@pytest.mark.parametrize("sizes", [(4, 9), (12, 5)])
def test_unpaired_bootstrap_of_means_is_welchs_interval(sizes):
    rng = np.random.default_rng(10)
    sides = [rng.normal(0.5, spread, n) for spread, n in zip((1.0, 3.0), sizes, strict=True)]
    statistics = [lambda d, x=x: d @ x / len(x) for x in sides]
    ours = unpaired_bootstrap(*statistics, sizes, n_resamples=40_000)
    welch = scipy.stats.ttest_ind(*sides, equal_var=False).confidence_interval()
    assert ours.estimate == pytest.approx(sides[0].mean() - sides[1].mean())
    assert (ours.high - ours.low) / (welch.high - welch.low) == pytest.approx(1, abs=0.02)
    assert (ours.high + ours.low) / 2 == pytest.approx(ours.estimate)


def test_unpaired_bootstrap_of_one_cluster_has_no_interval_and_of_equal_ones_no_width():
    alone = unpaired_bootstrap(lambda d: d[:, 0], lambda d: d @ np.ones(3) / 3, (1, 3), n_resamples=10)
    assert alone.estimate == 0
    assert np.isnan([alone.low, alone.high]).all()
    same = unpaired_bootstrap(lambda d: d @ np.ones(2) / 2, lambda d: d @ np.ones(3) / 3, (2, 3), n_resamples=10)
    assert (same.low, same.high) == (0, 0)


def test_folds_as_runs_average_over_the_folds_that_were_drawn():
    true, pred, speaker, _ = predictions(seed=6, n_speakers=6)
    fold = speaker // 2

    def mean_uar(rows):
        return float(np.mean([uar(true[rows][fold[rows] == f], pred[rows][fold[rows] == f]) for f in set(fold[rows])]))

    naive = clustered_bootstrap(mean_uar, speaker, n_resamples=200, seed=7)
    quick = uar_interval(true, pred, speaker, fold, n_resamples=200, seed=7)
    assert (quick.estimate, quick.low, quick.high) == pytest.approx((naive.estimate, naive.low, naive.high))


def test_copies_of_a_run_do_not_make_the_interval_narrower():
    true, pred, speaker, _ = predictions(seed=8, n_speakers=6)
    once = uar_interval(true, pred, speaker)
    five = uar_interval(*(np.tile(x, 5) for x in (true, pred, speaker)), np.repeat(np.arange(5), len(true)))
    assert (five.low, five.high) == pytest.approx((once.low, once.high))
    pooled = uar_interval(*(np.tile(x, 5) for x in (true, pred, speaker)))
    assert (pooled.low, pooled.high) == pytest.approx((once.low, once.high))


def test_interval_of_a_fraction_stays_between_0_and_1():
    interval = uar_interval(list("aabb") * 2, list("aabb") + list("abab"), list("XXXXYYYY"))
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_seeds_repeat_and_resamples_come_in_any_number():
    true, pred, speaker, _ = predictions(seed=9, n_speakers=8)
    for n in (2, 999, 1000, 2345):
        a, b, c = (uar_interval(true, pred, speaker, n_resamples=n, seed=seed) for seed in (0, 0, 1))
        assert a == b != c


@pytest.mark.parametrize("n_speakers", [3, 5, 10])
def test_coverage_holds_with_few_speakers(n_speakers):
    # 400 simulations: the standard error of a share of 0.95 is 0.011. Percentile intervals are at 0.75, 0.84 and 0.89 here.
    truth = np.clip(np.random.default_rng(0).normal([0.7, 0.5, 0.6], 0.1, (200_000, 3)), 0.01, 0.99).mean()
    intervals = [uar_interval(*predictions(s, n_speakers, spread=0.1)[:3], n_resamples=300) for s in range(400)]
    covered = np.mean([i.low <= truth <= i.high for i in intervals])
    assert 0.92 <= covered <= 0.98


def test_utterances_of_a_speaker_are_not_taken_as_independent():
    true, pred, speaker, _ = predictions(seed=10, n_speakers=8, n_utterances=200, spread=0.2)
    clustered = uar_interval(true, pred, speaker, n_resamples=1000)
    as_if_independent = uar_interval(true, pred, range(len(true)), n_resamples=1000)
    assert clustered.high - clustered.low > 2 * (as_if_independent.high - as_if_independent.low)


def test_a_statistic_that_is_undefined_on_a_resample_gives_no_interval():
    values = np.array([1.0, 2.0, 3.0])
    interval = clustered_bootstrap(lambda rows: float(np.ptp(values[rows]) or np.nan), range(3), n_resamples=200)
    assert interval.estimate == 2
    assert np.isnan([interval.low, interval.high]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([]), "at least one finite number, got shape"),
        (lambda: mean_interval([1.0, np.nan]), "got 1 that are not finite"),
        (lambda: mean_interval([[1.0], [2.0]]), r"got shape \(2, 1\)"),
        (lambda: mean_interval([1.0, 2.0], level=95), "level between 0 and 1, got 95"),
        (lambda: uar_interval(["a"], ["a"], ["Ann"], level=0), "level between 0 and 1, got 0"),
        (lambda: uar_interval(["a"], ["a"], ["Ann"], n_resamples=1), "at least 2 resamples, got 1"),
        (lambda: weighted_bootstrap(lambda d: d.sum(axis=1), 0), "at least one cluster"),
        (lambda: unpaired_bootstrap(len, len, (0, 2)), "at least one cluster"),
        (lambda: uar_interval([], [], []), "at least one row"),
        (lambda: uar_interval(["a"], ["a"], ["Ann", "Bob"]), "got 1, 1, 2 and 1"),
        (lambda: uar_interval(["a"], ["a"], ["Ann"], [1, 2]), "got 1, 1, 1 and 2"),
        (lambda: uar_interval(["a"] * 3, ["a"] * 3, ["Ann", "", None]), "2 of 3 rows have no cluster"),
        (lambda: uar_interval(["a"] * 2, ["a"] * 2, [1.0, np.nan]), "1 of 2 rows have no cluster"),
    ],
)
def test_intervals_say_what_is_wrong(call, message):
    with pytest.raises(UsageError, match=message):
        call()


# --- tests


@given(samples, samples)
@settings(deadline=None)
def test_mann_whitney_statistic_counts_pairs_and_matches_cliffs_delta(a, b):
    result = mann_whitney_u(a, b)
    wins = sum((x > y) + (x == y) / 2 for x in a for y in b)
    assert result.statistic == pytest.approx(wins)
    assert cliffs_delta(a, b) == pytest.approx(2 * wins / (len(a) * len(b)) - 1, abs=1e-12)
    assert 0 < result.p_value <= 1


def test_mann_whitney_p_value_by_enumeration():
    a, b = [0.1, 0.4, 0.35, 0.8], [0.5, 0.9, 0.85, 0.7, 0.6]
    values = np.array(a + b)
    mean = len(a) * len(b) / 2
    deviations = []
    for chosen in itertools.combinations(range(9), 4):
        rest = np.delete(values, chosen)
        deviations.append(abs((values[list(chosen)][:, None] > rest).sum() - mean))
    observed = abs((np.array(a)[:, None] > np.array(b)).sum() - mean)
    assert mann_whitney_u(a, b).p_value == pytest.approx(np.mean(np.array(deviations) >= observed))


@given(st.lists(numbers, min_size=1, max_size=8))
@settings(deadline=None)
def test_sign_flip_test_equals_naive_enumeration(differences):
    d = np.array(differences)
    means = [np.mean(d * signs) for signs in itertools.product((1, -1), repeat=len(d))]
    naive = np.mean(np.abs(means) >= abs(d.mean()) - 1e-9)
    result = sign_flip_test(d)
    assert result.statistic == pytest.approx(d.mean())
    assert result.p_value == pytest.approx(naive)


def test_sign_flip_test_equals_scipys_permutation_test():
    d = np.random.default_rng(0).normal(0.4, 1, size=11)
    scipys = scipy.stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_test(d).p_value == pytest.approx(scipys.pvalue, abs=1e-12)


def test_sampled_sign_flips_agree_with_the_t_test_and_are_never_0():
    d = np.random.default_rng(1).normal(0.25, 1, size=60)
    sampled = sign_flip_test(d)
    assert sampled.p_value == pytest.approx(scipy.stats.ttest_1samp(d, 0).pvalue, abs=0.01)
    assert sign_flip_test(d, seed=1).p_value != sampled.p_value
    assert sign_flip_test(np.ones(EXACT_LIMIT + 1), n_resamples=999).p_value == 1 / 1000
    assert sign_flip_test(np.ones(EXACT_LIMIT)).p_value == 2 / 2**EXACT_LIMIT


@given(st.lists(numbers, min_size=1, max_size=13).filter(lambda d: len({abs(x) for x in d} - {0}) == len(d)))
@settings(deadline=None)
def test_wilcoxon_without_ties_equals_scipys_exact_test(differences):
    result, expected = wilcoxon_signed_rank(differences), scipy.stats.wilcoxon(differences, method="exact")
    assert (result.statistic, result.p_value) == pytest.approx((expected.statistic, expected.pvalue))


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9).filter(any))
@settings(max_examples=30, deadline=None)
def test_wilcoxon_with_ties_and_zeros_is_exact(differences):
    d = np.array([x for x in differences if x != 0], dtype=float)
    ranks = scipy.stats.rankdata(np.abs(d))
    sums = [ranks[np.array(signs, dtype=bool)].sum() for signs in itertools.product((0, 1), repeat=len(d))]
    far = np.abs(np.array(sums) - ranks.sum() / 2)
    result = wilcoxon_signed_rank(differences)
    assert result.p_value == pytest.approx(np.mean(far >= abs(ranks[d > 0].sum() - ranks.sum() / 2)))
    assert result.statistic == min(ranks[d > 0].sum(), ranks[d < 0].sum())


def test_wilcoxon_of_many_differences_is_scipys():
    d = np.random.default_rng(2).normal(0.3, 1, size=40)
    assert wilcoxon_signed_rank(d).p_value == scipy.stats.wilcoxon(d).pvalue


@pytest.mark.parametrize("n", [1, 5, EXACT_LIMIT + 1])
def test_no_difference_at_all_has_p_1(n):
    assert sign_flip_test(np.zeros(n), n_resamples=99).p_value == 1
    result = wilcoxon_signed_rank(np.zeros(n))
    assert (result.statistic, result.p_value) == (0, 1)


def test_paired_tests_keep_their_level():
    rng = np.random.default_rng(3)
    p_values = [(sign_flip_test(d).p_value, wilcoxon_signed_rank(d).p_value) for d in rng.standard_t(3, size=(1000, 8))]
    assert (np.mean(np.array(p_values) <= 0.05, axis=0) < 0.07).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.999))
@settings(deadline=None)
def test_holm_rejects_as_the_step_down_procedure(p_values, alpha):
    rejected = [False] * len(p_values)
    for i, test in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[test] * (len(p_values) - i) > alpha:
            break
        rejected[test] = True
    assert (holm(p_values) <= alpha).tolist() == rejected


def test_holm_worked_example():
    # Multipliers 4, 3, 2, 1; the third would be 0.06, the fourth 0.04, so it is raised to 0.06.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])


# --- effect sizes and ranks


def test_values_equal_but_for_rounding_tie():
    third, nearly = 1 / 3, 0.1 + 1 / 3 - 0.1
    assert third != nearly
    assert mann_whitney_u([third, 0.5], [nearly, 0.7]) == mann_whitney_u([third, 0.5], [third, 0.7])
    assert wilcoxon_signed_rank([third, -nearly, 0.5]) == wilcoxon_signed_rank([third, -third, 0.5])
    assert cliffs_delta([third], [nearly]) == 0


def test_cohens_dz_is_t_over_root_n():
    d = np.random.default_rng(4).normal(1, 2, size=15)
    assert cohens_dz(d) == pytest.approx(scipy.stats.ttest_1samp(d, 0).statistic / np.sqrt(15))
    assert np.isnan(cohens_dz([0.3]))
    assert np.isnan(cohens_dz([0.1, 0.1, 0.1]))


def test_cliffs_delta_of_separate_and_equal_samples():
    assert cliffs_delta([3, 4], [1, 2]) == 1
    assert cliffs_delta([1, 2], [3, 4]) == -1
    assert cliffs_delta([1, 2], [1, 2]) == 0


# Table 4 of the paper, one row a method: validation UAR and WA, test UAR and WA, for each of the three views; and the two
# average ranks it prints.
PAPER_TABLE_4 = np.array(
    [
        [61.35, 60.72, 62.11, 59.43, 55.11, 54.59, 53.39, 52.09, 48.62, 48.1, 49.97, 48.1],
        [62.49, 62.06, 62.24, 61.51, 53.36, 52.69, 51.2, 49.94, 51.32, 51.09, 51.38, 49.69],
        [55.67, 54.93, 57.18, 55.13, 47.78, 47.79, 47.45, 47.27, 49.08, 48.63, 50.05, 48.76],
        [62.88, 62.46, 62.38, 61.59, 53.17, 52.64, 50.69, 50.17, 50.85, 49.72, 50.77, 47.99],
        [57.11, 56.41, 56.77, 54.59, 47.2, 47.81, 47.07, 46.99, 49.54, 49.58, 48.99, 49.02],
        [62.73, 61.8, 63.11, 61.36, 54.89, 54.06, 53.37, 51.97, 50.66, 50.13, 52.96, 49.16],
        [55.6, 55.05, 55.43, 53.97, 47.15, 47.37, 50.34, 48.43, 48.81, 48.47, 49.65, 48.97],
        [62.22, 60.9, 62.35, 60.88, 53.99, 53.07, 51.97, 49.61, 50.6, 49.97, 50.34, 48.43],
        [55.4, 54.83, 54.33, 53.21, 47.39, 47.33, 47.0, 46.0, 47.57, 46.72, 48.74, 45.91],
    ]
)
PAPER_RANKS = {
    "validation": [4.67, 2.5, 6.67, 3, 6, 2.33, 7.67, 3.5, 8.67],
    "test": [4.17, 2.83, 6, 3.67, 6.83, 1.83, 6.5, 4.17, 9],
}


@pytest.mark.parametrize(("part", "columns"), [("validation", [0, 1, 4, 5, 8, 9]), ("test", [2, 3, 6, 7, 10, 11])])
def test_average_ranks_reproduce_the_papers(part, columns):
    scores = PAPER_TABLE_4[:, columns]
    np.testing.assert_allclose(average_ranks(scores).round(2), PAPER_RANKS[part], atol=1e-9)
    np.testing.assert_allclose(average_ranks(-scores, higher_is_better=False).round(2), PAPER_RANKS[part], atol=1e-9)


def test_average_ranks_share_ties():
    np.testing.assert_array_equal(average_ranks([[1.0], [1.0], [0.0]]), [1.5, 1.5, 3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mann_whitney_u([], [1.0]), "Expected a as at least one finite number"),
        (lambda: cliffs_delta([1.0], [np.inf]), "Expected b .* 1 that are not finite"),
        (lambda: sign_flip_test([]), "Expected differences"),
        (lambda: wilcoxon_signed_rank([np.nan]), "1 that are not finite"),
        (lambda: cohens_dz([]), "Expected differences"),
        (lambda: holm([0.5, 1.5]), "p-values between 0 and 1, got 0.5 to 1.5"),
        (lambda: holm([]), "Expected p_values"),
        (lambda: average_ranks([1.0, 2.0]), r"got shape \(2,\)"),
        (lambda: average_ranks([[1.0, np.nan]]), "missing scores"),
    ],
)
def test_tests_and_ranks_say_what_is_wrong(call, message):
    with pytest.raises(UsageError, match=message):
        call()


@pytest.mark.parametrize("n", [3, 9, 40])
def test_one_more_value_lies_in_the_prediction_interval_as_often_as_it_says(n: int):
    """95 % of new values do, however many were seen; of the interval of the mean this is far from true."""
    draws = np.random.default_rng(n).normal(0.6, 0.1, size=(2000, n + 1))
    inside, mean_holds = 0, 0
    for row in draws:
        found, mean = prediction_interval(row[:n]), mean_interval(row[:n])
        inside += found.low <= row[n] <= found.high
        mean_holds += mean.low <= row[n] <= mean.high
    assert inside / len(draws) == pytest.approx(0.95, abs=0.015)
    assert mean_holds / len(draws) < 0.9
    assert np.isnan(prediction_interval([0.6]).low)
