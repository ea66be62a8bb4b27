"""Statistics of scores agree with closed forms, with SciPy, and with the enumeration of all resamples."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ioa_marl.evaluation import statistics as own

SCORES = st.lists(st.integers(-20, 20).map(lambda n: n / 8), min_size=2, max_size=12)
"""Scores with ties, of which sums are exact."""


@given(SCORES)
def test_interquartile_mean_is_that_of_the_sorted_middle_half(scores):
    cut = len(scores) // 4
    middle = sorted(scores)[cut : len(scores) - cut]
    assert own.interquartile_mean(scores) == pytest.approx(math.fsum(middle) / len(middle), abs=1e-12)


def test_interquartile_mean_is_taken_along_the_named_axis():
    scores = np.random.default_rng(0).normal(size=(3, 9, 2))
    by_hand = np.sort(scores, axis=1)[:, 2:7].mean(axis=1)
    np.testing.assert_allclose(own.interquartile_mean(scores, axis=1), by_hand, rtol=1e-12)


def all_resamples(scores, statistic):
    """Return the statistic of every one of the nⁿ equally likely resamples."""
    return np.array([statistic(np.array(chosen)) for chosen in itertools.product(scores, repeat=len(scores))])


def coverage(resampled, end):
    """Return the probability of a resample below an end, and of one not above it."""
    return (resampled < end - 1e-9).mean(), (resampled <= end + 1e-9).mean()


def assert_percentiles(resampled, estimate):
    """The ends of an interval are the 2.5% and the 97.5% point of the exact distribution, within sampling error.

    Of 2000 resamples a share of 2.5% has a standard error of 0.35%; four of them are allowed.
    """
    for end, share in ((estimate.low, 0.025), (estimate.high, 0.975)):
        below, not_above = coverage(resampled, end)
        assert below - 0.014 <= share <= not_above + 0.014


def test_bootstrap_interval_of_one_task_is_that_of_all_resamples():
    scores = [0.1, 0.35, 0.4, 0.52, 0.9]
    found = own.estimate(scores)
    assert_percentiles(all_resamples(scores, lambda x: np.sort(x)[1:-1].mean()), found)


def test_stratified_interval_is_that_of_all_resamples_within_each_task():
    tasks = [[0.0, 0.2, 0.5, 0.6], [0.8, 0.9, 1.3, 1.4]]
    found = own.aggregate(tasks)
    one, other = (np.array(list(itertools.product(task, repeat=4))) for task in tasks)
    pooled = np.concatenate([np.repeat(one, len(other), axis=0), np.tile(other, (len(one), 1))], axis=1)
    assert_percentiles(np.sort(pooled, axis=1)[:, 2:6].mean(axis=1), found)
    assert found.value == pytest.approx((0.5 + 0.6 + 0.8 + 0.9) / 4)
    # Without strata a resample may miss a task, and the interval is far wider.
    mixed = own.estimate(tasks[0] + tasks[1])
    assert found.high - found.low < 0.75 * (mixed.high - mixed.low)


def test_stratified_interval_agrees_with_scipys_bootstrap_of_several_samples():
    generator = np.random.default_rng(3)
    tasks = [generator.normal(mean, 0.1, 10) for mean in (0.2, 0.6, 0.9)]

    def statistic(*samples, axis):
        return stats.trim_mean(np.concatenate(samples, axis=axis), 0.25, axis=axis)

    theirs = stats.bootstrap(
        tasks, statistic, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    found = own.aggregate(tasks)
    width = theirs.high - theirs.low
    assert found.low == pytest.approx(theirs.low, abs=0.06 * width)
    assert found.high == pytest.approx(theirs.high, abs=0.06 * width)


@given(SCORES, SCORES)
def test_probability_of_improvement_is_mann_whitneys_u_over_the_number_of_pairs(ours, theirs):
    u = stats.mannwhitneyu(ours, theirs, method="asymptotic").statistic if len(set(ours + theirs)) > 1 else None
    expected = 0.5 if u is None else u / (len(ours) * len(theirs))
    assert own.probability_of_improvement(ours, theirs) == pytest.approx(expected, abs=1e-12)
    assert own.probability_of_improvement(theirs, ours) == pytest.approx(1.0 - expected, abs=1e-12)


def test_probability_of_improvement_of_two_normal_scores_is_in_closed_form():
    generator = np.random.default_rng(5)
    ours, theirs = generator.normal(0.7, 0.3, 2000), generator.normal(0.5, 0.4, 2000)
    exact = stats.norm.cdf(0.2 / 0.5)  # the difference is normal, with mean 0.2 and deviation 0.5
    assert own.probability_of_improvement(ours, theirs) == pytest.approx(exact, abs=0.03)


def test_interval_of_a_paired_difference_is_that_of_all_resamples():
    ours, theirs = np.array([0.4, 0.9, 0.7, 1.0, 0.2]), np.array([0.3, 0.95, 0.4, 0.8, 0.25])
    found = own.paired_difference(ours, theirs)
    assert found.value == pytest.approx(np.mean(ours) - np.mean(theirs))
    assert_percentiles(all_resamples(ours - theirs, np.mean), found)


def test_interval_of_a_paired_difference_of_many_seeds_is_students():
    generator = np.random.default_rng(2)
    level = generator.normal(0.0, 5.0, 400)  # what both have in common, such as the instance of a seed
    ours, theirs = level + generator.normal(0.1, 0.2, 400), level
    found = own.paired_difference(ours, theirs)
    exact = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.003)
    assert found.low > 0.0  # unpaired, a difference of 0.1 is lost in a spread of 5
    assert stats.ttest_ind(ours, theirs).pvalue > 0.5


def test_a_paired_difference_of_other_seeds_is_refused():
    with pytest.raises(ValueError, match=r"shapes \(3,\) and \(2,\)"):
        own.paired_difference([1, 2, 3], [1, 2])


@given(SCORES, st.lists(st.integers(-20, 20).map(lambda n: n / 8), min_size=1, max_size=5))
def test_performance_profile_is_one_minus_scipys_empirical_distribution(scores, thresholds):
    theirs = stats.ecdf(scores).sf.evaluate(thresholds)
    np.testing.assert_allclose(own.performance_profile(scores, thresholds), theirs, atol=1e-12)


@given(SCORES)
def test_the_area_under_a_performance_profile_is_the_mean_score(scores):
    low = min(scores)
    steps = np.unique(scores)
    area = math.fsum(own.performance_profile(scores, steps[:-1]) * np.diff(steps))
    assert low + area == pytest.approx(np.mean(scores), abs=1e-12)


@pytest.mark.parametrize("found", [own.aggregate([[0.5], [0.1, 0.2]]), own.paired_difference([0.5], [0.2])])
def test_one_seed_has_no_interval(found):
    assert np.isnan([found.value, found.low, found.high]).tolist() == [False, True, True]
