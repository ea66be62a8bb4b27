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
        β.
    rates : array_like, shape (…, providers, 3)
        ξ.
    shares : array_like, shape (…, providers, 3)
        s.

    Returns
    -------
    ndarray, shape (…, providers)
    """
    benefit = np.sum(np.asarray(rates, np.float64) * np.asarray(shares, np.float64), axis=-1)
    return np.asarray(-np.asarray(worth, np.float64) * np.expm1(-benefit))


def equal_split(worth: ArrayLike, rates: ArrayLike) -> NDArray[np.float64]:
    """Return 1/N of each resource for everybody, shape (providers, 3)."""
    beta, xi = checked_market(worth, rates)
    return np.full(xi.shape, 1.0 / len(beta))


def kelly_split(worth: ArrayLike, rates: ArrayLike) -> NDArray[np.float64]:
    """Divide each resource in proportion to what is bid for it, as in Kelly's mechanism.

    Provider i bids its worth β_i, divided among the resources in proportion to its rates ξ_ik. (If providers instead
    chose the bids that are best for them at given prices, the outcome would be the welfare optimum.) A resource that
    nobody bids for is split equally.

    Parameters
    ----------
    worth : array_like, shape (…, providers)
        β.
    rates : array_like, shape (…, providers, 3)
        ξ.

    Returns
    -------
    ndarray, shape (…, providers, 3)
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
    """Give one portion after the other to the pair with the largest gain; ``marginal`` is β exp(−ξ·s)."""
    n = worth.shape[0]
    for _ in range(left[0] + left[1] + left[2]):
        best, who, what = -1.0, 0, 0
        for k in range(RESOURCES):
            if left[k] > 0:
                for i in range(n):
                    gain = -marginal[i] * np.expm1(-rate[i, k] * portion)
                    if gain > best:
                        best, who, what = gain, i, k
        share[who, what] += portion
        marginal[who] *= np.exp(-rate[who, what] * portion)
        left[what] -= 1


def greedy_split(worth: ArrayLike, rates: ArrayLike, portions: int = 100) -> NDArray[np.float64]:
    """Hand out each resource in equal portions, each to whoever gains most from it at that moment.

    Parameters
    ----------
    worth : array_like, shape (providers,)
        β.
    rates : array_like, shape (providers, 3)
        ξ.
    portions : int, default 100
        Portions per resource. Work grows with providers times portions.

    Returns
    -------
    ndarray, shape (providers, 3)
    """
    beta, xi = checked_market(worth, rates)
    require(1 <= portions <= 100_000, "portions", portions, "1 to 100000")
    shares = np.zeros_like(xi)
    _hand_out(beta, xi, 1.0 / portions, np.full(RESOURCES, portions), beta.copy(), shares)
    return shares
