"""Incentive audit of double auctions: what one bidder gains by misreporting while all others tell the truth.

The mechanism is run again for every report. A randomised mechanism must draw the same numbers in each run (create its
generator from a fixed seed inside the callable); otherwise luck is mistaken for a gain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import require
from ioa_marl.markets.double_dutch.auction import simulate
from ioa_marl.markets.double_dutch.rivals import DoubleAuctionOutcome

Mechanism = Callable[[NDArray[np.float64], NDArray[np.float64]], DoubleAuctionOutcome]
"""Maps bids, shape (buyers,), and asks, shape (sellers,), to an outcome."""

ROLES = ("buyer", "seller")
GRID_POINTS = 41
"""Number of reports in the default grid."""


@dataclass(frozen=True)
class IncentiveRegret:
    """The largest gain of each bidder among the reports that were tried: a lower bound of its true regret."""

    buyers: NDArray[np.float64]
    """Largest gain of each buyer over its truthful bid [units], at least 0, shape (buyers,)."""
    sellers: NDArray[np.float64]
    """Largest gain of each seller over its truthful ask [units], at least 0, shape (sellers,)."""
    buyer_reports: NDArray[np.float64]
    """A bid of each buyer with this gain, or its value if no bid gains [units per lot], shape (buyers,)."""
    seller_reports: NDArray[np.float64]
    """An ask of each seller with this gain, or its cost if no ask gains [units per lot], shape (sellers,)."""

    @property
    def max(self) -> float:
        """Largest gain of any bidder [units]."""
        return float(np.concatenate([self.buyers, self.sellers]).max(initial=0.0))

    @property
    def mean(self) -> float:
        """Mean over all bidders of the largest gain of each [units]; 0 without bidders."""
        gains = np.concatenate([self.buyers, self.sellers])
        return float(gains.mean()) if gains.size else 0.0


def double_dutch_mechanism(
    step: float | Sequence[float],
    tick: float | None = None,
    psi: float = 0.5,
    *,
    buyer_clock: float | None = None,
    seller_clock: float | None = None,
    ending: str = "exhausted",
) -> Mechanism:
    """Return the double Dutch auction with a given step as a mechanism.

    Parameters
    ----------
    step : float or sequence of float
        The auctioneer's step, or one step per clock move.
    tick : float, optional
        Smallest clock movement; by default the smallest step.
    psi : float, default 0.5
        Weight ψ of the buyer clock in the clearing price.
    buyer_clock, seller_clock : float, optional
        Initial positions of the clocks; default: the highest and the lowest report. With the default, those reports
        move the clocks: set both if the step is coarser than the tick.
    ending : {"exhausted", "next_loser"}, default "exhausted"
        What ends the auction when a side is used up; see `ioa_marl.markets.double_dutch.simulate`.

    Returns
    -------
    Mechanism
    """

    def run(bids: NDArray[np.float64], asks: NDArray[np.float64]) -> DoubleAuctionOutcome:
        result = simulate(
            bids, asks, step, tick=tick, buyer_clock=buyer_clock, seller_clock=seller_clock, psi=psi, ending=ending
        )
        return DoubleAuctionOutcome(result.buyers, result.sellers, result.price, result.price)

    return run


def utility_curve(
    mechanism: Mechanism,
    values: ArrayLike,
    costs: ArrayLike,
    role: str,
    bidder: int,
    reports: ArrayLike,
) -> NDArray[np.float64]:
    """Return the true utility of one bidder as a function of its report, all others being truthful.

    Fig. 8 of "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI Task Offloading in
    Internet of Agents" shows two such curves of the double Dutch auction, of a buyer with value 41 and of a
    seller with cost 9: both are highest at the truth and never negative there. That looks like incentive
    compatibility and is not: a bidder far from the margin, whose report changes only whether it trades, has such a
    curve even where others gain by moving the price or the order of acceptances. `incentive_regret` audits all
    bidders.

    Parameters
    ----------
    mechanism : callable
        Maps bids and asks to an outcome.
    values : array_like, shape (buyers,)
        True values of all buyers [units per lot].
    costs : array_like, shape (sellers,)
        True costs of all sellers [units per lot].
    role : str
        ``buyer`` or ``seller``.
    bidder : int
        Index of the bidder on its side.
    reports : array_like, shape (reports,)
        Reports to try.

    Returns
    -------
    ndarray, shape (reports,)
        Utility at the true valuation [units].
    """
    require(role in ROLES, "role", role, " or ".join(ROLES))
    side = ROLES.index(role)
    truth = np.asarray(values, np.float64), np.asarray(costs, np.float64)
    require(0 <= bidder < len(truth[side]), "bidder", bidder, f"an index below {len(truth[side])}")
    reports = np.asarray(reports, np.float64)
    utilities = np.empty(len(reports))
    for i, report in enumerate(reports):
        reported = [truth[0].copy(), truth[1].copy()]
        reported[side][bidder] = report
        utilities[i] = mechanism(reported[0], reported[1]).utilities(*truth)[side][bidder]
    return utilities


def incentive_regret(
    mechanism: Mechanism,
    values: ArrayLike,
    costs: ArrayLike,
    grid: ArrayLike | None = None,
    epsilon: float = 1e-3,
) -> IncentiveRegret:
    """Return the largest gain of every bidder from misreporting alone, over a grid of reports.

    The result is a lower bound of the true regret: reports between grid points and joint misreports are not tried.

    Parameters
    ----------
    mechanism : callable
        Maps bids and asks to an outcome.
    values : array_like, shape (buyers,)
        True values of all buyers [units per lot].
    costs : array_like, shape (sellers,)
        True costs of all sellers [units per lot].
    grid : array_like, shape (reports,), optional
        Reports that every bidder tries; default: 41, evenly spaced from the lowest to the highest valuation. All
        valuations, and each of them minus and plus ``epsilon``, are tried as well; reports below 0 are not.
    epsilon : float, default 1e-3
        How closely a bidder over- or undercuts another [units per lot]. In the double Dutch auction this should be
        one tick, because reports within a tick tie.

    Returns
    -------
    IncentiveRegret
    """
    values, costs = np.asarray(values, np.float64), np.asarray(costs, np.float64)
    valuations_of_all = np.concatenate([values, costs])
    if grid is None:
        lowest, highest = valuations_of_all.min(initial=np.inf), valuations_of_all.max(initial=-np.inf)
        grid = np.linspace(lowest, highest, GRID_POINTS) if valuations_of_all.size else valuations_of_all
    near = [valuations_of_all - epsilon, valuations_of_all, valuations_of_all + epsilon]
    reports = np.unique(np.maximum(np.concatenate([np.asarray(grid, np.float64), *near]), 0.0))
    gains, best = [], []
    for role, valuations in zip(ROLES, (values, costs), strict=True):
        gains.append(np.zeros(len(valuations)))
        best.append(valuations.copy())
        for bidder, valuation in enumerate(valuations):
            candidates = np.append(reports, valuation)
            utilities = utility_curve(mechanism, values, costs, role, bidder, candidates)
            most = int(np.argmax(utilities))
            if utilities[most] > utilities[-1]:
                gains[-1][bidder] = utilities[most] - utilities[-1]
                best[-1][bidder] = candidates[most]
    return IncentiveRegret(gains[0], gains[1], best[0], best[1])
