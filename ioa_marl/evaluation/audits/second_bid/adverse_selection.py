"""Adverse selection: whether the tasks that the UAV serves have other common values than those of the stations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import require
from ioa_marl.markets.second_bid.references import Tasks


@dataclass(frozen=True)
class AdverseSelection:
    """Comparison of the common values of the tasks that the UAV and the stations serve."""

    uav_mean: float
    """Mean common value of the tasks that the UAV serves [units]."""
    station_mean: float
    """Mean common value of the tasks that stations serve [units]."""
    statistic: float
    """Two-sample Kolmogorov-Smirnov distance between the two distributions."""
    pvalue: float
    """Probability of a distance at least as large if the winner were independent of the common value."""


def adverse_selection(tasks: Tasks, rho: ArrayLike) -> AdverseSelection:
    """Compare the common values of the tasks that the UAV serves with those of the others.

    Parameters
    ----------
    tasks : Tasks
        Independent tasks of a market with a shared common value, as the preset ``pareto``.
    rho : array_like
        Factor ρ of every task; broadcasts to the shape of the tasks.

    Returns
    -------
    AdverseSelection
    """
    served = tasks.first <= np.asarray(rho) * tasks.second
    require(bool(0 < served.sum() < served.size), "rho", rho, "one at which both the UAV and stations serve tasks")
    return selected_values(tasks.common, served)


def selected_values(common: NDArray[np.float64], uav_serves: NDArray[np.bool_]) -> AdverseSelection:
    """Compare the common values of the tasks that the UAV serves with those of the others, whoever decided.

    Parameters
    ----------
    common : ndarray of float64, any shape
        Common values of the tasks [units].
    uav_serves : ndarray of bool, same shape
        Whether the UAV serves the task; some are served by it, and some are not.

    Returns
    -------
    AdverseSelection
    """
    uav, stations = common[uav_serves], common[~uav_serves]
    from scipy.stats import ks_2samp  # it takes half a second to import

    test = ks_2samp(uav, stations)
    return AdverseSelection(float(uav.mean()), float(stations.mean()), float(test.statistic), float(test.pvalue))
