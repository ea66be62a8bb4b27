"""Valuations of providers from figures of one's own: measured latencies and accuracies, as plain functions.

The market draws latencies and accuracies and values them by the same equations; see `SecondBidParams` for its ranges.
Latencies follow from links and processors by `ioa_marl.markets.common.physics`. Source: Sections 3 and 4, Eqs. 7-11, of
"Diffusion-based auction mechanism for efficient resource management in 6G-enabled vehicular metaverses".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import ParameterError, is_number, require

LARGEST = 1e12
"""Largest latency [s] and factor that is accepted, and inverse of the smallest one."""


@dataclass(frozen=True)
class Valuations:
    """Valuations of a task by its providers; all arrays have the shape of the providers, such as (tasks, providers)."""

    common: NDArray[np.float64]
    """Common value c (Eq. 9) [units]."""
    match: NDArray[np.float64]
    """Match value m (Eq. 10), a pure number."""
    value: NDArray[np.float64]
    """Valuation v = c m (Eq. 11) [units]."""


def _numbers(name: str, values: ArrayLike, low: float, high: float, allowed: str) -> NDArray[np.float64]:
    """Return ``values`` as an array, all of whose entries are from ``low`` to ``high``; an empty one is refused."""
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(name, values, allowed) from error
    require(array.size > 0 and bool(np.all((array >= low) & (array <= high))), name, values, allowed)
    return array


def _periods(name: str, values: ArrayLike, low: float, high: float, allowed: str) -> NDArray[np.float64]:
    """Return ``values`` by provider and period, as `_numbers` does; a single number has no periods."""
    array = _numbers(name, values, low, high, allowed)
    require(array.ndim > 0, name, values, allowed)
    return array


def _pixels(name: str, values: ArrayLike) -> NDArray[Any]:
    """Return ``values`` as an array with at least one pixel along its last axis."""
    allowed = "an array with at least one pixel along its last axis"
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ParameterError(name, values, allowed) from error
    require(array.ndim > 0 and array.shape[-1] > 0, name, f"array of shape {array.shape}", allowed)
    return array


def _factor(name: str, value: Any, low: float, high: float) -> float:
    require(is_number(value) and low <= value <= high, name, value, f"a number from {low:g} to {high:g}")
    return float(value)


def pixel_accuracy(processed: ArrayLike, original: ArrayLike) -> NDArray[np.float64]:
    """Return the accuracy R of processed images by Eqs. 7 and 8, the share of pixels that are as in the original.

    Parameters
    ----------
    processed : array_like, shape (..., pixels)
        Pixels, or labels of pixels, as each provider returned them.
    original : array_like, shape (..., pixels)
        The original ones; the axes before the last one are broadcast against those of ``processed``.

    Returns
    -------
    ndarray of float64, shape (...)
        Accuracies in [0, 1].

    Raises
    ------
    ParameterError
        If the two differ in the number of pixels, or hold none; the message says what is allowed.

    Examples
    --------
    Two providers return four pixels each; the second one errs once:

    >>> pixel_accuracy([[3, 1, 4, 1], [3, 1, 4, 2]], original=[3, 1, 4, 1])
    array([1.  , 0.75])
    """
    wanted = _pixels("original", original)
    got = _pixels("processed", processed)
    allowed = f"an array that fits original, of shape {wanted.shape}, with as many pixels along the last axis"
    require(got.shape[-1] == wanted.shape[-1], "processed", f"array of shape {got.shape}", allowed)
    try:
        equal = np.equal(got, wanted)
    except ValueError as error:
        raise ParameterError("processed", f"array of shape {got.shape}", allowed) from error
    return np.asarray(equal.mean(axis=-1), np.float64)


def common_values(latencies: ArrayLike, latency_factor: float = 1.0) -> NDArray[np.float64]:
    """Return the common value c of each provider by Eq. 9, the mean of ω₁/T over past periods.

    Parameters
    ----------
    latencies : array_like, shape (..., periods)
        Latency T of each provider in each past period, from upload to download [s], above 0.
    latency_factor : float, default 1
        Value factor ω₁ of latency [units·s].

    Returns
    -------
    ndarray of float64, shape (...)
        Common values [units].

    Raises
    ------
    ParameterError
        If an argument is invalid; the message names it and what is allowed.

    Examples
    --------
    >>> common_values([[0.5, 0.25], [1.0, 1.0]], latency_factor=2.0)
    array([6., 2.])
    """
    allowed = f"latencies in seconds, above 0 and finite ({1 / LARGEST:g} to {LARGEST:g}), periods along the last axis"
    latency = _periods("latencies", latencies, 1.0 / LARGEST, LARGEST, allowed)
    factor = _factor("latency_factor", latency_factor, 1.0 / LARGEST, LARGEST)
    return np.asarray(np.mean(factor / latency, axis=-1))


def match_values(accuracies: ArrayLike, accuracy_factor: float = 1.0, beta: float = 2.0) -> NDArray[np.float64]:
    """Return the match value m of each provider by Eq. 10, the mean of ω₂/(1 − R)^β over past periods.

    Parameters
    ----------
    accuracies : array_like, shape (..., periods)
        Accuracy R of each provider in each past period, from 0 to below 1, such as from `pixel_accuracy`. A perfect
        period would have an infinite value: cap it, as the market does at `SecondBidParams.accuracy_cap`.
    accuracy_factor : float, default 1
        Value factor ω₂ of accuracy.
    beta : float, default 2
        Sensitivity β to accuracy, from 0 to 10.

    Returns
    -------
    ndarray of float64, shape (...)
        Match values, pure numbers.

    Raises
    ------
    ParameterError
        If an argument is invalid; the message names it and what is allowed.

    Examples
    --------
    >>> match_values([[0.5, 0.75], [0.0, 0.0]], beta=2.0)
    array([10.,  1.])
    """
    allowed = "accuracies from 0 to 0.9999, periods along the last axis; cap those that are larger"
    accuracy = _periods("accuracies", accuracies, 0.0, 0.9999, allowed)
    factor = _factor("accuracy_factor", accuracy_factor, 1.0 / LARGEST, LARGEST)
    return np.asarray(np.mean(factor / (1.0 - accuracy) ** _factor("beta", beta, 0.0, 10.0), axis=-1))


def valuations(
    latencies: ArrayLike,
    accuracies: ArrayLike,
    latency_factor: float = 1.0,
    accuracy_factor: float = 1.0,
    beta: float = 2.0,
    match_factors: ArrayLike = 1.0,
) -> Valuations:
    """Return what each provider is ready to pay for a task by Eqs. 9 to 11, from its past latencies and accuracies.

    Parameters
    ----------
    latencies : array_like, shape (..., providers, periods)
        See `common_values` [s].
    accuracies : array_like, shape (..., providers, periods)
        See `match_values`. The periods may be others than those of the latencies, and more or fewer: the two means are
        independent.
    latency_factor : float, default 1
        Value factor ω₁ of latency [units·s].
    accuracy_factor : float, default 1
        Value factor ω₂ of accuracy.
    beta : float, default 2
        Sensitivity β to accuracy.
    match_factors : array_like, broadcastable to (..., providers), default 1
        Factors of the match values, above 0. The market gives the UAV one for its line of sight,
        `SecondBidParams.uav_factor`.

    Returns
    -------
    Valuations

    Raises
    ------
    ParameterError
        If an argument is invalid; the message names it and what is allowed.

    Examples
    --------
    A UAV and two stations, two periods each; the stations then bid their valuations, and the better one wins if its bid
    exceeds the other one by more than a half:

    >>> from ioa_marl.markets.second_bid import allocate
    >>> found = valuations(
    ...     latencies=[[0.5, 0.5], [0.25, 0.5], [0.5, 1.0]],
    ...     accuracies=[[0.5, 0.5], [0.5, 0.75], [0.5, 0.75]],
    ...     match_factors=[2.6, 1.0, 1.0],
    ... )
    >>> found.common, found.match
    (array([2. , 3. , 1.5]), array([10.4, 10. , 10. ]))
    >>> found.value
    array([20.8, 30. , 15. ])
    >>> allocate(found.value[1:], rho=1.5).payment
    22.5
    """
    common = common_values(latencies, latency_factor)
    match = match_values(accuracies, accuracy_factor, beta)
    shape = ", ".join(map(str, common.shape))
    require(
        match.shape == common.shape, "accuracies", f"array of shape {np.shape(accuracies)}",
        f"the providers of latencies, shape ({shape + ', ' if shape else ''}periods)",
    )  # fmt: skip
    allowed = f"positive numbers up to {LARGEST:g}, one or those of all providers, shape ({shape})"
    factors = _numbers("match_factors", match_factors, 1.0 / LARGEST, LARGEST, allowed)
    try:
        match = match * np.broadcast_to(factors, common.shape)
    except ValueError as error:
        raise ParameterError("match_factors", match_factors, allowed) from error
    return Valuations(common, match, common * match)
