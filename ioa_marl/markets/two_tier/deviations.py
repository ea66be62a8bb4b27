"""What the leaders and the auctioneer of a two-tier market could gain: everything re-simulated exactly.

A leader's regret is what it gains at most, in the last round, by another price of the action grid while everybody else
stays: its wireless agents answer again, and where a fixed agent would be a buyer the auction is run again. The
auctioneer's regret of a round is the return of the best pair of steps on that round's bids less the return achieved.
All kernels work on row 0 of the market that they are given, which they change: give them a copy, as
`DeviationEvaluator` does.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.compile import kernel, machine_code
from ioa_marl.markets.double_dutch.state import Array, AuctionState
from ioa_marl.markets.double_dutch.state import allocate_state as allocate_auction
from ioa_marl.markets.stackelberg.drivers import reshape_markets
from ioa_marl.markets.stackelberg.kernels import FIXED, leader_count, leader_profit
from ioa_marl.markets.two_tier.kernels import (
    NOBODY,
    Market,
    Settings,
    enter_bidders,
    fixed_profit,
    run_auction,
    trade_of,
)
from ioa_marl.markets.two_tier.params import TwoTierParams, allocate_market

_ONE = np.ones(1, np.bool_)


@kernel
def _write_loads(market: Market, settings: Settings) -> None:
    """Write the loads at the posted prices, given how the answers are shaped."""
    state = market.pricing
    for j in range(market.tier.load.shape[1]):
        own = state.price[0, FIXED, j]
        # All of it is served, as everybody expects, so that what a fixed agent earns on is its load.
        _, load, _ = leader_profit(0, FIXED, j, own, state, state.price, settings.pricing)
        market.tier.load[0, j] = load


@kernel
def _price_search(
    side: int, leader: int, levels: int, trial: AuctionState, market: Market, settings: Settings
) -> tuple[int, float, float]:
    """Return the index of one leader's best price on the grid, the profit there, and that at its posted price.

    The loads are those of `_write_loads`, the auctioneer's steps those in ``pair``. Ties: the lowest price.
    """
    state, tier = market.pricing, market.tier
    cap = settings.pricing[0].price_cap
    buyer_step, seller_step = settings.steps[tier.pair[0, 0]], settings.steps[tier.pair[0, 1]]
    best, value, present = 0, -math.inf, 0.0
    for index in range(-1, levels):
        own = state.price[0, side, leader] if index < 0 else cap * index / (levels - 1)
        profit, load, _ = leader_profit(0, side, leader, own, state, state.price, settings.pricing)
        if side == FIXED:
            trades, clearing = False, 0.0
            # Only a buyer's profit depends on the auction.
            if load - tier.capacity[0, leader] >= settings.tier[0].lot:
                enter_bidders(0, market, settings, trial, 0, leader, own, load)
                run_auction(trial, 0, settings, buyer_step, seller_step)
                trades, clearing = trade_of(trial, 0, leader) != NOBODY, trial.totals[0].price
            profit = fixed_profit(0, leader, own, load, trades, clearing, market, settings)
        if index < 0:
            present = profit
        elif profit > value:
            best, value = index, profit
    return best, value, present


@kernel
def pair_returns(trial: AuctionState, settings: Settings, returns: Array) -> None:
    """Write the auctioneer's return for every pair of steps on the bidders in row 0: ``returns`` float64 (1, pairs)."""
    steps = settings.steps.shape[0]
    for pair in range(steps * steps):
        run_auction(trial, 0, settings, settings.steps[pair // steps], settings.steps[pair % steps])
        returns[0, pair] = trial.totals[0].return_


@kernel
def search_prices(
    market: Market,
    settings: Settings,
    levels: int,
    first: int,
    last: int,
    trial: AuctionState,
    regrets: Array,
    best: Array,
) -> None:
    """Find the best price of every leader of the sides ``first`` to ``last`` against the prices posted in row 0.

    Answers are shaped and loads written for these prices.

    ``best`` int64 (1, 2, leaders) are indices of the grid, ``regrets`` float64 (1, 2) what the mobile and the fixed
    agents gain by them, each deviating alone.
    """
    for side in range(first, last + 1):
        regrets[0, side] = 0.0
        for leader in range(leader_count(side, settings.pricing)):
            index, value, present = _price_search(side, leader, levels, trial, market, settings)
            best[0, side, leader] = index
            regrets[0, side] += max(value - present, 0.0)


@kernel
def return_to_settled(market: Market) -> None:
    """Put row 0 back to the prices and shares α that were posted and expected in its last settled round."""
    state, tier = market.pricing, market.tier
    for side in range(2):
        for leader in range(state.price.shape[2]):
            state.price[0, side, leader] = tier.settled_price[0, side, leader]
    for j in range(tier.settled_ratio.shape[1]):
        state.offloading_ratio[0, j] = tier.settled_ratio[0, j]


@kernel
def search_pairs(
    market: Market, settings: Settings, first: int, last: int, trial: AuctionState, returns: Array, total: Array
) -> float:
    """Try every pair of steps on the recorded bids of the rounds ``first`` to ``last`` − 1.

    ``total`` float64 (1, pairs) becomes each pair's return summed over the rounds, ``returns`` (1, pairs) is scratch.
    Returns the auctioneer's regret: what the rounds' best returns are above those achieved, together.
    """
    tier, regret = market.tier, 0.0
    for pair in range(total.shape[1]):
        total[0, pair] = 0.0
    for r in range(first, last):
        for side in range(2):
            count = 0
            for i in range(tier.bids.shape[3]):
                bid = tier.bids[0, r, side, i]
                trial.valuation[0, side, i] = max(bid, 0.0)
                if bid >= 0.0:
                    trial.order[0, side, count] = i
                    count += 1
            trial.size[0, side] = count
        pair_returns(trial, settings, returns)
        best = -math.inf
        for pair in range(total.shape[1]):
            total[0, pair] += returns[0, pair]
            best = max(best, returns[0, pair])
        regret += best - tier.returns[0, r]
    return regret


class DeviationEvaluator:
    """A copy of one market on which prices and pairs of steps are tried.

    Parameters
    ----------
    params : TwoTierParams
        Parameters of the market.
    levels : int
        Number of prices on the action grid: index m is the price p̄ m/(levels − 1).
    """

    def __init__(self, params: TwoTierParams, levels: int) -> None:
        self.market = allocate_market(params, 1)
        self.settings = params.settings()
        self.levels = levels
        self._trial = allocate_auction(1, max(params.fixed, params.aerial))
        pairs = len(params.steps) ** 2
        self._returns, self._total = np.zeros((1, pairs)), np.zeros((1, pairs))
        self._regrets = np.zeros((1, 2))
        self._best = np.zeros((1, 2, max(params.mobile, params.fixed)), np.int64)
        self._loads_code = machine_code(_write_loads, self.market, self.settings)
        self._prices_code = machine_code(
            search_prices, self.market, self.settings, levels, 0, 1, self._trial, self._regrets, self._best
        )
        self._present_code = machine_code(pair_returns, self.market.auction, self.settings, self._returns)
        self._pairs_code = machine_code(
            search_pairs, self.market, self.settings, 0, 1, self._trial, self._returns, self._total
        )

    def take(self, market: Market, b: int) -> None:
        """Copy market ``b`` of a batch here."""
        for part, own in zip(market, self.market, strict=True):
            for array, copy in zip(part, own, strict=True):
                copy[0] = array[b]

    def best_prices(self, first: int = 0, last: int = 1) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the leaders' best grid prices against the others' posted ones, given what followers expect now.

        Parameters
        ----------
        first, last : int
            Sides: 0 mobile, 1 fixed. The others' rows are not written.

        Returns
        -------
        indices : ndarray of int64, shape (2, leaders)
        gains : ndarray of float64, shape (2,)
            What the mobile and what the fixed agents gain together, each deviating alone [units].
        """
        reshape_markets(self.market.pricing, self.settings.pricing, _ONE)
        self._loads_code(self.market, self.settings)
        args = (self.market, self.settings, self.levels, first, last, self._trial, self._regrets, self._best)
        self._prices_code(*args)
        return self._best[0].copy(), self._regrets[0].copy()

    def leader_regrets(self) -> NDArray[np.float64]:
        """Return the regrets of the mobile and of the fixed agents in the last settled round, shape (2,)."""
        if self.market.pricing.round[0] == 0:
            return np.zeros(2)
        return_to_settled(self.market)
        return self.best_prices()[1]

    def pair_returns(self, first: int, last: int) -> tuple[NDArray[np.float64], float]:
        """Return what pairs of steps achieve on the recorded bids of the rounds ``first`` to ``last`` − 1.

        Returns
        -------
        total : ndarray of float64, shape (steps, steps)
            Each pair's return summed over the rounds; buyer clock's step first.
        regret : float
            Sum over the rounds of the best return less the one achieved.
        """
        args = (self.market, self.settings, first, last, self._trial, self._returns, self._total)
        regret = float(self._pairs_code(*args))
        steps = len(self.settings.steps)
        return self._total[0].reshape(steps, steps).copy(), regret

    def best_pair(self) -> tuple[int, int]:
        """Return the indices of the pair of steps with the highest return on the bidders entered for this round."""
        self._present_code(self.market.auction, self.settings, self._returns)
        buyer, seller = divmod(int(self._returns[0].argmax()), len(self.settings.steps))
        return buyer, seller

    def auction_regret(self) -> float:
        """Return the mean over the settled rounds of the best pair's return less the return achieved."""
        rounds = int(self.market.pricing.round[0])
        return self.pair_returns(0, rounds)[1] / rounds if rounds else 0.0
