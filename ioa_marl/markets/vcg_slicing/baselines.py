"""Divisions of the resources that are not optimal: equal split, proportional shares, greedy portions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.parameters import require
from ioa_marl.markets.vcg_slicing.optimum import checked_market
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES, Array


def utilities(worth: ArrayLike, rates: ArrayLike, shares: ArrayLike) -> NDArray[np.float64]:
    """Return u_i(s_i) = β_i (1 − exp(−ξ_i·s_i)), Eq. 39.

    Parameters
    ----------
    worth : array_like, shape (…, providers)
        β [utility].
    rates : array_like, shape (…, providers, 3)
        ξ [per whole resource].
    shares : array_like, shape (…, providers, 3)
        s, the share of each resource.

    Returns
    -------
    ndarray of float64, shape (…, providers)
        Utilities.
    """
    benefit = np.sum(np.asarray(rates, np.float64) * np.asarray(shares, np.float64), axis=-1)
    return np.asarray(-np.asarray(worth, np.float64) * np.expm1(-benefit))


def equal_split(worth: ArrayLike, rates: ArrayLike) -> NDArray[np.float64]:
    """Return 1/N of each resource for every provider.

    Parameters
    ----------
    worth : array_like, shape (providers,)
        β [utility].
    rates : array_like, shape (providers, 3)
        ξ [per whole resource].

    Returns
    -------
    ndarray of float64, shape (providers, 3)
        Shares.
    """
    beta, xi = checked_market(worth, rates)
    return np.full(xi.shape, 1.0 / len(beta))


def kelly_split(worth: ArrayLike, rates: ArrayLike) -> NDArray[np.float64]:
    """Divide each resource in proportion to the bids for it, as in Kelly's mechanism.

    Provider i bids its worth β_i, divided among the resources in proportion to its rates ξ_ik. (If providers instead
    chose their best bids as price takers, the outcome would be the welfare optimum.) A resource without bids is split
    equally.

    Parameters
    ----------
    worth : array_like, shape (…, providers)
        β [utility].
    rates : array_like, shape (…, providers, 3)
        ξ [per whole resource].

    Returns
    -------
    ndarray of float64, shape (…, providers, 3)
        Shares.
    """
    beta, xi = np.asarray(worth, np.float64), np.asarray(rates, np.float64)
    sums = xi.sum(axis=-1, keepdims=True)
    bids = beta[..., None] * np.divide(xi, sums, out=np.zeros_like(xi), where=sums > 0.0)
    totals = bids.sum(axis=-2, keepdims=True)
    shares: NDArray[np.float64] = np.full_like(bids, 1.0 / xi.shape[-2])
    np.divide(bids, totals, out=shares, where=totals > 0.0)
    return shares


@kernel
def _hand_out(worth: Array, rate: Array, portion: float, left: Array, marginal: Array, share: Array) -> None:
    """Give one portion after another to the pair of provider and resource with the largest gain.

    ``left`` are the portions left of each resource, and ``marginal`` is β exp(−ξ·s) of each provider.
    """
    n = worth.shape[0]
    for _ in range(left[0] + left[1] + left[2]):
        best, provider, resource = -1.0, 0, 0
        for k in range(RESOURCES):
            if left[k] > 0:
                for i in range(n):
                    gain = -marginal[i] * np.expm1(-rate[i, k] * portion)
                    if gain > best:
                        best, provider, resource = gain, i, k
        share[provider, resource] += portion
        marginal[provider] *= np.exp(-rate[provider, resource] * portion)
        left[resource] -= 1


def greedy_split(worth: ArrayLike, rates: ArrayLike, portions: int = 100) -> NDArray[np.float64]:
    """Give out each resource in equal portions, each to the provider that gains most from it at that moment.

    Parameters
    ----------
    worth : array_like, shape (providers,)
        β [utility].
    rates : array_like, shape (providers, 3)
        ξ [per whole resource].
    portions : int, default 100
        Portions per resource. The time is proportional to providers times portions.

    Returns
    -------
    ndarray of float64, shape (providers, 3)
        Shares.
    """
    beta, xi = checked_market(worth, rates)
    require(1 <= portions <= 100_000, "portions", portions, "1 to 100000")
    shares = np.zeros_like(xi)
    _hand_out(beta, xi, 1.0 / portions, np.full(RESOURCES, portions), beta.copy(), shares)
    return shares
