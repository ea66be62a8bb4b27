"""The modified second-bid auction of one task over known bids.

The station with the highest bid wins only if its bid exceeds the second highest one times the price scaling factor ρ;
else the UAV serves the task. Source: Eqs. 14 and 15 of "Diffusion-based auction mechanism for efficient resource
management in 6G-enabled vehicular metaverses".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import require
from ioa_marl.markets.second_bid.kernels import critical_payment, wins
from ioa_marl.markets.second_bid.state import UAV


@dataclass(frozen=True)
class Allocation:
    """Outcome of the auction of one task."""

    winner: int
    """Index of the station that wins, or ``UAV`` (−1)."""
    payment: float
    """Payment of the winner to the auctioneer: ρ·b₍₂₎ for a station, the contract price for the UAV [units]."""
    critical: NDArray[np.float64]
    """Critical payment of each station, shape (stations,) [units]: ρ times the highest bid of its rivals, which its bid
    must exceed and which it would pay."""

    def utilities(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return the utilities of the stations, value − payment for the winner and 0 for the others.

        Parameters
        ----------
        values : array_like, shape (stations,)
            True valuations of the task [units].

        Returns
        -------
        ndarray of float64, shape (stations,)
            Utilities [units].
        """
        values = np.asarray(values, np.float64)
        out = np.zeros(len(self.critical))
        if self.winner != UAV:
            out[self.winner] = values[self.winner] - self.payment
        return out


def allocate(
    bids: ArrayLike | Sequence[float], rho: float, contract_price: float = 0.0, uav_bid: float = 0.0
) -> Allocation:
    """Auction one task among the stations; the UAV serves it if no station wins.

    Parameters
    ----------
    bids : array_like, shape (stations,)
        Bids of the stations [units], finite and at least 0. If there is one station, the second highest bid is 0.
    rho : float
        Price scaling factor ρ ≥ 1; 1 gives the second-price auction, in which the UAV serves ties.
    contract_price : float, default 0
        Contract price b₀ that the UAV pays if it serves the task [units].
    uav_bid : float, default 0
        Bid of the UAV, if it counts among the bids that a station has to exceed [units]; see
        `SecondBidParams.rivals`.

    Returns
    -------
    Allocation

    Raises
    ------
    ParameterError
        If an argument is invalid; the message names it and the allowed values.

    References
    ----------
    Eqs. 14 and 15 of "Diffusion-based auction mechanism for efficient resource management in 6G-enabled vehicular
    metaverses". By default the second highest bid is that of a station: with the UAV's bid among them, the auction
    would not be free of adverse selection.

    Examples
    --------
    >>> allocate([8.0, 5.0], rho=1.5)
    Allocation(winner=0, payment=7.5, critical=array([ 7.5, 12. ]))
    >>> allocate([8.0, 5.0], rho=2.0, contract_price=6.0).winner
    -1
    >>> allocate([8.0, 5.0], rho=1.0, uav_bid=7.0).payment
    7.0
    """
    bid = np.atleast_1d(np.asarray(bids, np.float64))
    valid = bid.ndim == 1 and bid.size > 0 and bool(np.all(np.isfinite(bid) & (bid >= 0.0)))
    require(valid, "bids", bids, "a sequence of finite numbers, at least 0")
    require(math.isfinite(rho) and rho >= 1.0, "rho", rho, "a number of at least 1")
    require(math.isfinite(contract_price) and contract_price >= 0.0, "contract_price", contract_price, "0 or more")
    require(math.isfinite(uav_bid) and uav_bid >= 0.0, "uav_bid", uav_bid, "0 or more")
    best = int(np.argmax(bid))
    first, second = float(bid[best]), float(np.delete(bid, best).max(initial=0.0))
    highest_other = np.full(len(bid), first)
    highest_other[best] = second
    highest_other = np.maximum(highest_other, uav_bid)
    critical = np.array([critical_payment(float(other), float(rho)) for other in highest_other])
    if wins(first, float(highest_other[best]), float(rho)):
        return Allocation(best, float(critical[best]), critical)
    return Allocation(UAV, float(contract_price), critical)
