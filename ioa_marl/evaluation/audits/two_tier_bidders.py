"""Misreports of the bidders in the auction inside the two-tier market, by playing the auction of a round again.

A bidder reports another valuation, all others report theirs, and the auction is played with the same rules. The clocks
stand at multiples of their steps, and a report matters only by the first of these clocks that it accepts. So where the
steps do not depend on the reports, one report for each clock is every report there is, and the largest gain is exact.
Where the auctioneer looks at the reports (`oracle`), it chooses its steps anew for each report, which it takes for a
valuation; reports of a grid are tried then, and the largest gain is a lower bound.

The gain is that of the round: what the shares α that follow from it change in later rounds is not counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.double_dutch.kernels import BUYERS
from ioa_marl.markets.double_dutch.state import AuctionState
from ioa_marl.markets.double_dutch.state import allocate_state as allocate_auction
from ioa_marl.markets.two_tier.deviations import pair_returns
from ioa_marl.markets.two_tier.kernels import Settings, run_auction
from ioa_marl.markets.two_tier.params import TwoTierParams

Floats = NDArray[np.float64]
MOST_BIDDERS = 10
"""Most bidders of a side that are audited where the auctioneer looks at reports, which takes long for each."""
MOST_REPORTS = 2_000
"""Largest number of clocks for which every report is tried; the clocks of finer steps are thinned out."""


@kernel
def _enter(bids: Floats, trial: AuctionState, side: int, bidder: int, report: float) -> None:
    """Enter the bidders of a round into row 0, with ``report`` in place of the bid of one; absent ones have −1."""
    for s in range(2):
        count = 0
        for i in range(bids.shape[1]):
            trial.valuation[0, s, i] = max(bids[s, i], 0.0)
            if bids[s, i] >= 0.0:
                trial.order[0, s, count] = i
                count += 1
        trial.size[0, s] = count
    trial.valuation[0, side, bidder] = report


@kernel
def _utility(trial: AuctionState, side: int, bidder: int, valuation: float) -> float:
    """Return the utility of a bidder in the auction that was played [units], 0 without a trade."""
    price = trial.totals[0].price
    for m in range(int(trial.totals[0].trades)):
        if trial.order[0, side, m] == bidder:
            return float(valuation - price if side == BUYERS else price - valuation)
    return 0.0


@kernel
def _utilities(
    bids: Floats, side: int, bidder: int, valuation: float, reports: Floats, buyer_step: int, seller_step: int,
    chooses: bool, trial: AuctionState, settings: Settings, factor: Floats, returns: Floats, out: Floats,
) -> None:  # fmt: skip
    """Write the utility of a bidder at each of its ``reports`` into ``out``, float64 (reports,) each [units].

    ``bids`` are the reports of all, float64 (2, bidders). They are entered as valuations, so ``factor`` has no bidders.
    With ``chooses`` the auctioneer uses the pair of steps with the highest return on the reports, in place of the steps
    that are given [ticks]. ``returns``, float64 (1, pairs), is scratch.
    """
    steps = settings.steps.shape[0]
    for k in range(reports.shape[0]):
        _enter(bids, trial, side, bidder, reports[k])
        if chooses:
            pair_returns(trial, settings, factor, returns)
            best = 0
            for pair in range(1, steps * steps):
                if returns[0, pair] > returns[0, best]:
                    best = pair
            buyer_step, seller_step = settings.steps[best // steps], settings.steps[best % steps]
        run_auction(trial, 0, settings, factor, buyer_step, seller_step)
        out[k] = _utility(trial, side, bidder, valuation)


class Misreports:
    """Plays auctions of a market again with other reports.

    Parameters
    ----------
    params : TwoTierParams
        Parameters of the market.
    chooses : bool
        Whether the auctioneer chooses the best pair of steps on the reports, as `oracle` does.
    reports : int
        Number of reports of the grid; used only with ``chooses``.
    refine : bool
        Whether reports a tick beside those of all bidders are tried as well; used only with ``chooses``.
    """

    def __init__(self, params: TwoTierParams, chooses: bool, reports: int, refine: bool) -> None:
        self._settings, self._chooses, self._refine = params.settings(), chooses, refine
        self._trial = allocate_auction(1, max(params.fixed, params.aerial))
        self._factor, self._returns = np.zeros((1, 2, 0)), np.zeros((1, len(params.steps) ** 2))
        self._tick, self._highest = params.tick, params.price_cap * params.lot
        self._grid = np.linspace(0.0, self._highest, reports)
        self.reported = "that of Eqs. 33 and 34" if params.bids == "truthful" else "the one that it chose"
        """Which valuation bidders report in the round, in words."""
        self.exact = not chooses and self._highest / params.steps[0] < MOST_REPORTS
        """Whether every report is tried."""

    def gains(
        self, valuations: Floats, pair: NDArray[np.int64], factor: Floats | None = None
    ) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Return what bidders of a round gain, each by its best report alone.

        Parameters
        ----------
        valuations : ndarray of float64, shape (2, bidders)
            Valuations of fixed agents (buyers) and of aerial agents (sellers) [units]; negative for those who do not
            take part.
        pair : ndarray of int64, shape (2,)
            Indices of the steps of the buyer clock and of the seller clock.
        factor : ndarray of float64, shape (2, bidders), optional
            Reports of the round over valuations. Default: all report their valuations.

        Returns
        -------
        gains : ndarray of float64, shape (2, bidders)
            Largest gain of each bidder over its report of the round [units], at least 0.
        reports : ndarray of float64, shape (2, bidders)
            A report with this gain, that of the round where none gains [units].
        audited : ndarray of bool, shape (2, bidders)
            Who was audited: all who take part, or `MOST_BIDDERS` of each side where the auctioneer looks at reports;
            nobody where a side is missing.
        """
        bids = np.ascontiguousarray(valuations if factor is None else valuations * factor)
        gains, best, audited = np.zeros(bids.shape), bids.copy(), bids >= 0.0
        present = [np.flatnonzero(bids[side] >= 0.0) for side in range(2)]
        if not all(len(side) for side in present):
            return gains, best, np.zeros_like(audited)
        if self._chooses:
            present = [side[_spread(len(side), MOST_BIDDERS)] for side in present]
            audited[:] = False
            for side in range(2):
                audited[side, present[side]] = True
        ticks: Any = self._settings.steps[pair]
        for side in range(2):
            candidates = self._reports(bids, side, int(ticks[side]))
            for bidder in present[side].tolist():
                reports = np.append(candidates, bids[side, bidder])
                utilities = np.zeros(len(reports))
                _utilities(
                    bids, side, bidder, float(valuations[side, bidder]), reports, int(ticks[0]), int(ticks[1]),
                    self._chooses, self._trial, self._settings, self._factor, self._returns, utilities,
                )  # fmt: skip
                most = int(utilities.argmax())
                if utilities[most] > utilities[-1]:
                    gains[side, bidder], best[side, bidder] = utilities[most] - utilities[-1], reports[most]
        return gains, best, audited

    def _reports(self, bids: Floats, side: int, step: int) -> Floats:
        """Return the reports that every bidder of a side tries [units]."""
        if not self._chooses:
            clocks = np.arange(0.0, self._highest / self._tick + 0.5, step)
            clocks = clocks[:: 1 + len(clocks) // MOST_REPORTS] * self._tick
            return self._highest - clocks if side == BUYERS else clocks
        beside = np.concatenate([self._grid, *[bids[bids >= 0.0] + k * self._tick for k in (-1, 0, 1) if self._refine]])
        return np.unique(np.clip(beside, 0.0, self._highest))


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """Return up to ``most`` different numbers from 0 to ``count`` − 1, evenly spread."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)
