"""Statistics over a few training seeds: interquartile mean, bootstrap intervals, probability of improvement.

Definitions follow Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice" (2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

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
    result = stats.bootstrap(
        (values,), interquartile_mean, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile",
        rng=np.random.default_rng(plain_value(seed)),
    )  # fmt: skip
    return Estimate(point, float(result.confidence_interval.low), float(result.confidence_interval.high))


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
