"""Statistics over a few training seeds.

Interquartile mean, stratified bootstrap, probability of improvement, paired difference, performance profile.

Definitions follow Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice" (2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.scalars import plain_value

RESAMPLES = 2000
"""Bootstrap resamples."""
CONFIDENCE = 0.95
"""Confidence level of intervals."""


@dataclass(frozen=True)
class Estimate:
    """A point estimate and its confidence interval."""

    value: float
    """The point estimate."""
    low: float
    """Lower end of the interval; NaN for a single seed, or if a score is NaN."""
    high: float
    """Upper end of the interval; NaN as ``low``."""


def interquartile_mean(scores: ArrayLike, axis: int = -1) -> NDArray[np.float64]:
    """Return the interquartile mean: the mean without the lowest and the highest quarter (rounded down).

    Parameters
    ----------
    scores : array_like, shape (…, seeds, …)
        Scores, with seeds along ``axis``.
    axis : int, default -1
        Axis over which the mean is taken.

    Returns
    -------
    ndarray of float64
        Shape of ``scores`` without ``axis``.
    """
    from scipy import stats  # it takes half a second to import, which most processes do not need

    return np.asarray(stats.trim_mean(np.asarray(scores, np.float64), 0.25, axis=axis))


def estimate(scores: ArrayLike, seed: int = 0) -> Estimate:
    """Return the interquartile mean over training seeds, with a 95% percentile bootstrap interval.

    Parameters
    ----------
    scores : array_like, shape (seeds,)
        One score per training seed; for a single task the stratified bootstrap resamples seeds.
    seed : int, default 0
        Seed of the resampling, so that the same scores always give the same interval.
    """
    values = np.asarray(scores, np.float64)
    point = float(interquartile_mean(values))
    if len(values) < 2 or np.isnan(point):
        return Estimate(point, float("nan"), float("nan"))
    from scipy import stats

    result = stats.bootstrap(
        (values,), interquartile_mean, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile",
        rng=np.random.default_rng(plain_value(seed)),
    )  # fmt: skip
    return Estimate(point, float(result.confidence_interval.low), float(result.confidence_interval.high))


def aggregate(scores_of_tasks: Sequence[ArrayLike], seed: int = 0) -> Estimate:
    """Return the interquartile mean over all runs of several tasks, with a 95% stratified bootstrap interval.

    The bootstrap resamples the seeds of each task separately, so that every resample has the same tasks.

    Parameters
    ----------
    scores_of_tasks : sequence of array_like, shape (seeds,) each
        Scores per training seed of each task; the numbers of seeds may differ.
    seed : int, default 0
        Seed of the resampling.
    """
    tasks = [np.asarray(scores, np.float64) for scores in scores_of_tasks]
    point = float(interquartile_mean(np.concatenate(tasks)))
    if min(map(len, tasks)) < 2 or np.isnan(point):
        return Estimate(point, float("nan"), float("nan"))
    generator = np.random.default_rng(plain_value(seed))
    resampled = [task[generator.integers(len(task), size=(RESAMPLES, len(task)))] for task in tasks]
    return _interval(point, interquartile_mean(np.concatenate(resampled, axis=1)))


def paired_difference(ours: ArrayLike, theirs: ArrayLike, seed: int = 0) -> Estimate:
    """Return the mean difference of two scores of the same training seeds, with a 95% bootstrap interval over seeds.

    Both are evaluated on the same episodes and, in a market with instances, on the same instance. The difference of a
    seed therefore varies less than the scores.

    Parameters
    ----------
    ours, theirs : array_like, shape (seeds,)
        Scores, those of the same seed at the same place.
    seed : int, default 0
        Seed of the resampling.

    Raises
    ------
    ValueError
        If the numbers of seeds differ.
    """
    x, y = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if x.shape != y.shape:
        raise ValueError(
            f"a paired difference needs the same seeds twice, not scores of shapes {x.shape} and {y.shape}"
        )
    difference = x - y
    point = float(difference.mean())
    if len(difference) < 2 or np.isnan(point):
        return Estimate(point, float("nan"), float("nan"))
    chosen = np.random.default_rng(plain_value(seed)).integers(len(difference), size=(RESAMPLES, len(difference)))
    return _interval(point, difference[chosen].mean(axis=1))


def _interval(point: float, resampled: NDArray[np.float64]) -> Estimate:
    """Return an estimate with the percentile interval of its resamples, (resamples,)."""
    low, high = np.quantile(resampled, [(1.0 - CONFIDENCE) / 2.0, (1.0 + CONFIDENCE) / 2.0])
    return Estimate(point, float(low), float(high))


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> NDArray[np.float64]:
    """Return the share of runs whose score is above each threshold: the empirical tail distribution.

    Parameters
    ----------
    scores : array_like, shape (runs,)
        Scores of the runs of one task, or of tasks with equally many runs. A score that is NaN is above nothing.
    thresholds : array_like, shape (thresholds,)
        Thresholds τ, in any order.

    Returns
    -------
    ndarray of float64, shape (thresholds,)
    """
    x, tau = np.asarray(scores, np.float64), np.asarray(thresholds, np.float64)
    return np.asarray((x[:, None] > tau[None, :]).mean(axis=0))


def probability_of_improvement(ours: ArrayLike, theirs: ArrayLike) -> float:
    """Return the probability that a seed of ours has a higher score than a seed of theirs; ties count one half.

    Parameters
    ----------
    ours, theirs : array_like, shape (seeds,)
        Scores per training seed; the numbers of seeds may differ. The result is NaN if a score is NaN.
    """
    x, y = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    difference = x[:, None] - y[None, :]
    won = (difference > 0) + 0.5 * (difference == 0)
    return float(np.mean(np.where(np.isnan(difference), np.nan, won)))
