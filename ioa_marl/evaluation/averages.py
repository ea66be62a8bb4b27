"""Means of metrics over episodes, in which a metric that has no value in an episode is NaN."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import ArrayLike


def mean_of_episodes(values: ArrayLike) -> float:
    """Return the mean over the episodes in which a metric has a value, or NaN if there is none.

    Parameters
    ----------
    values : array_like, shape (episodes,)
        Value of the metric in each episode, in its own unit; NaN where it has none.
    """
    numbers = np.asarray(values, np.float64)
    valid = numbers[~np.isnan(numbers)]
    # Without a NaN this is the mean of the array itself, to the bit.
    return float((numbers if len(valid) == len(numbers) else valid).mean()) if len(valid) else float("nan")


def mean_metrics(episodes: Mapping[str, ArrayLike], scored: Collection[str] = ()) -> dict[str, float]:
    """Return the mean of every metric and, where some episodes have no value, the number of those that have one.

    Parameters
    ----------
    episodes : mapping of str to array_like, shape (episodes,)
        Values of each metric, in its own unit; NaN where it has none.
    scored : collection of str
        Metrics from which scores are computed. They must have a value in every episode, so that their mean is NaN if
        one value is.

    Returns
    -------
    dict of str to float
        Means by name. The number of episodes of the mean of ``price`` is ``price_episodes``; it is left out where the
        mean is over all episodes.
    """
    out: dict[str, float] = {}
    for name, values in episodes.items():
        numbers = np.asarray(values, np.float64)
        missing = int(np.isnan(numbers).sum())
        if name in scored or not missing:
            out[name] = float(numbers.mean())
            continue
        out[name] = mean_of_episodes(numbers)
        out[f"{name}_episodes"] = float(numbers.size - missing)
    return out
