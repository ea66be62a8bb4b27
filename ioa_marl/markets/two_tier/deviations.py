"""Regrets of the leaders and the auctioneer of a two-tier market, by exact simulation of all deviations.

A leader's regret of a round is its largest gain by another price of the action grid, while all others keep their
actions: its wireless agents answer again, and if a fixed agent would be a buyer, the auction is run again. The
auctioneer's regret of a round is the return of the best pair of steps on that round's bids less the return achieved.

All kernels work on row 0 of their market and change it, so `DeviationEvaluator` passes them a copy. Their common
arguments are ``market``, a `Market`, ``settings``, a `Settings`, and ``trial``, the scratch `AuctionState` of one row
in which auctions are simulated. Prices are in units/Mbit, profits, gains and returns in units.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.compile import kernel, machine_code
from ioa_marl.markets.double_dutch.kernels import BUYERS, SELLERS
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
    """Write the loads of the fixed agents [Mbit] at the posted prices and the current curves of the wireless agents."""
    state = market.pricing
    for j in range(market.tier.load.shape[1]):
        own = state.price[0, FIXED, j]
        # The served fraction is 1 here, as the wireless agents expect, so the priced load is the whole load.
        _, load, _ = leader_profit(0, FIXED, j, own, state, state.price, settings.pricing)
        market.tier.load[0, j] = load


@kernel
def _price_search(
    side: int, leader: int, levels: int, trial: AuctionState, market: Market, settings: Settings
) -> tuple[int, float, float]:
    """Return the index of one leader's best grid price, the profit at it, and the profit at its posted price.

    The loads are those of `_write_loads` and the auctioneer's steps those of ``pair``. Among equal profits the lowest
    price wins.
    """
    state, tier = market.pricing, market.tier
    cap = settings.pricing[0].price_cap
    buyer_step, seller_step = settings.steps[tier.pair[0, BUYERS]], settings.steps[tier.pair[0, SELLERS]]
    best, value, present = 0, -math.inf, 0.0
    for index in range(-1, levels):
        own = state.price[0, side, leader] if index < 0 else cap * index / (levels - 1)
        profit, load, _ = leader_profit(0, side, leader, own, state, state.price, settings.pricing)
        if side == FIXED:
            trades, clearing = False, 0.0
            # Only a buyer's profit depends on the auction.
            if load - tier.capacity[0, leader] >= settings.tier[0].lot:
                enter_bidders(0, market, settings, trial, 0, leader, own, load)
                run_auction(trial, 0, settings, tier.factor, buyer_step, seller_step)
                trades, clearing = trade_of(trial, 0, leader) != NOBODY, trial.totals[0].price
            profit = fixed_profit(0, leader, own, load, trades, clearing, market, settings)
        if index < 0:
            present = profit
        elif profit > value:
            best, value = index, profit
    return best, value, present


@kernel
def pair_returns(trial: AuctionState, settings: Settings, factor: Array, returns: Array) -> None:
    """Write the auctioneer's return of every pair of steps with the bidders of ``trial``.

    Parameters
    ----------
    trial : AuctionState
        One auction with its bidders; it is played.
    settings : Settings
        Parameters.
    factor : ndarray of float64, shape (1, 2, bidders)
        Bids over valuations, see `ioa_marl.markets.two_tier.kernels.apply_bids`.
    returns : ndarray of float64, shape (1, pairs)
        Where the returns go [units]; the pair of steps (i, j) has the index i · steps + j.
    """
    steps = settings.steps.shape[0]
    for pair in range(steps * steps):
        run_auction(trial, 0, settings, factor, settings.steps[pair // steps], settings.steps[pair % steps])
        returns[0, pair] = trial.totals[0].return_


@kernel
def search_prices(
    market: Market,
    settings: Settings,
    levels: int,
    first: int,
    last: int,
    trial: AuctionState,
    gains: Array,
    best: Array,
) -> None:
    """Find the best price of every leader of the sides ``first`` to ``last`` against the posted prices.

    The curves of the wireless agents and the loads must be those of the posted prices.

    Parameters
    ----------
    market, settings, trial
        See the module.
    levels : int
        Number of grid prices.
    first, last : int
        Sides: 0 mobile, 1 fixed. The rows of other sides are not written.
    gains : ndarray of float64, shape (1, 2, leaders)
        Where the gain of each leader goes, if it deviates alone [units].
    best : ndarray of int64, shape (1, 2, leaders)
        Where the indices of the best grid prices go.
    """
    for side in range(first, last + 1):
        for leader in range(leader_count(side, settings.pricing)):
            index, value, present = _price_search(side, leader, levels, trial, market, settings)
            best[0, side, leader] = index
            gains[0, side, leader] = max(value - present, 0.0)


@kernel
def enter_at_posted_prices(market: Market, settings: Settings) -> None:
    """Write the loads at the posted prices, and enter the bidders that they lead to into the auction of row 0."""
    _write_loads(market, settings)
    enter_bidders(0, market, settings, market.auction, 0, NOBODY, 0.0, 0.0)


@kernel
def return_to_settled(market: Market) -> None:
    """Restore the posted prices and the expected shares α of the last settled round in row 0."""
    state, tier = market.pricing, market.tier
    for side in range(2):
        for leader in range(state.price.shape[2]):
            state.price[0, side, leader] = tier.settled_price[0, side, leader]
    for j in range(tier.settled_ratio.shape[1]):
        state.offloading_ratio[0, j] = tier.settled_ratio[0, j]


@kernel
def search_pairs(
    market: Market,
    settings: Settings,
    first: int,
    last: int,
    trial: AuctionState,
    factor: Array,
    returns: Array,
    total: Array,
) -> float:
    """Simulate every pair of steps on the recorded bids of the rounds ``first`` to ``last`` − 1.

    A round without a buyer or without a seller has no auction, and is left out.

    Parameters
    ----------
    market, settings, trial
        See the module.
    first, last : int
        Rounds.
    factor : ndarray of float64, shape (1, 2, bidders)
        Scratch of the shape of the market's own.
    returns : ndarray of float64, shape (1, pairs)
        Scratch.
    total : ndarray of float64, shape (1, pairs)
        Where each pair's return goes, summed over the rounds [units].

    Returns
    -------
    float
        The auctioneer's regret: the best return less the return achieved, summed over the rounds [units].
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
            for i in range(factor.shape[2]):
                factor[0, side, i] = tier.factors[0, r, side, i]
        if trial.size[0, BUYERS] == 0 or trial.size[0, SELLERS] == 0:
            continue
        pair_returns(trial, settings, factor, returns)
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

    Attributes
    ----------
    market : Market
        The copy, a batch of one.
    settings : Settings
        Parameters of the kernels.
    levels : int
        Number of prices on the action grid.
    """

    def __init__(self, params: TwoTierParams, levels: int) -> None:
        self.market = allocate_market(params, 1)
        self.settings = params.settings()
        self.levels = levels
        self._trial = allocate_auction(1, max(params.fixed, params.aerial))
        pairs = len(params.steps) ** 2
        self._returns, self._total = np.zeros((1, pairs)), np.zeros((1, pairs))
        self._factor = np.ones(self.market.tier.factor.shape)
        leaders = max(params.mobile, params.fixed)
        self._gains, self._best = np.zeros((1, 2, leaders)), np.zeros((1, 2, leaders), np.int64)
        self._loads_code = machine_code(enter_at_posted_prices, self.market, self.settings)
        self._prices_code = machine_code(
            search_prices, self.market, self.settings, levels, 0, 1, self._trial, self._gains, self._best
        )
        self._present_code = machine_code(pair_returns, self.market.auction, self.settings, self._factor, self._returns)
        self._pairs_code = machine_code(
            search_pairs, self.market, self.settings, 0, 1, self._trial, self._factor, self._returns, self._total
        )

    def take(self, market: Market, b: int) -> None:
        """Copy market ``b`` of the batch ``market``, whose arrays have the leading axis batch."""
        for part, own in zip(market, self.market, strict=True):
            for array, copy in zip(part, own, strict=True):
                copy[0] = array[b]

    def best_prices(self, first: int = 0, last: int = 1) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the leaders' best grid prices against the others' posted prices, with the α that is expected now.

        Parameters
        ----------
        first, last : int
            First and last side that is searched: 0 mobile, 1 fixed. The rows of other sides are not written.

        Returns
        -------
        indices : ndarray of int64, shape (2, leaders)
            Indices of the grid.
        gains : ndarray of float64, shape (2, leaders)
            Gain of each mobile and of each fixed agent, if it deviates alone [units].
        """
        self.expect()
        return self.search(first, last)

    def expect(self) -> None:
        """Compute the curves of the wireless agents anew, for the shares α that they expect."""
        reshape_markets(self.market.pricing, self.settings.pricing, _ONE)

    def answer_with_best_pair(self) -> None:
        """Set the auctioneer's action to the best pair of steps on the bids at the posted prices."""
        self._loads_code(self.market, self.settings)
        self.market.tier.pair[0] = self.best_pair()

    def search(self, first: int = 0, last: int = 1) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return what `best_prices` returns; the curves of the wireless agents must be those of the expected α."""
        self._loads_code(self.market, self.settings)
        args = (self.market, self.settings, self.levels, first, last, self._trial, self._gains, self._best)
        self._prices_code(*args)
        return self._best[0].copy(), self._gains[0].copy()

    def leader_regrets(self, first: int = 0, last: int = 1) -> NDArray[np.float64]:
        """Return the regrets of the mobile and of the fixed agents in the last settled round [units], shape (2,).

        Only the sides ``first`` to ``last`` are searched, 0 mobile, 1 fixed; the regret of another one is NaN.
        """
        regrets = np.full(2, np.nan)
        regrets[first : last + 1] = 0.0
        if self.market.pricing.round[0] > 0:
            return_to_settled(self.market)
            _, gains = self.best_prices(first, last)
            regrets[first : last + 1] = gains[first : last + 1].sum(axis=1)
        return regrets

    def pair_returns(self, first: int, last: int) -> tuple[NDArray[np.float64], float]:
        """Return the returns of all pairs of steps on the recorded bids of the rounds ``first`` to ``last`` − 1.

        Parameters
        ----------
        first, last : int
            Rounds.

        Returns
        -------
        total : ndarray of float64, shape (steps, steps)
            Return of each pair summed over the rounds [units]; the first axis is the step of the buyer clock.
        regret : float
            The best return less the return achieved, summed over the rounds [units].
        """
        args = (self.market, self.settings, first, last, self._trial, self._factor, self._returns, self._total)
        regret = float(self._pairs_code(*args))
        steps = len(self.settings.steps)
        return self._total[0].reshape(steps, steps).copy(), regret

    def best_pair(self) -> tuple[int, int]:
        """Return the indices of the pair of steps with the highest return on the bids of this round."""
        self._present_code(self.market.auction, self.settings, self.market.tier.factor, self._returns)
        buyer, seller = divmod(int(self._returns[0].argmax()), len(self.settings.steps))
        return buyer, seller

    def auction_regret(self) -> float:
        """Return the best pair's return less the return achieved, per settled round [units].

        A round without an auction adds nothing, so a ratio of sums over episodes counts rounds with an auction only.
        """
        rounds = int(self.market.pricing.round[0])
        _, regret = self.pair_returns(0, rounds)
        return regret / rounds if rounds else 0.0


def audit_rounds(
    market: Market, mask: NDArray[np.bool_], evaluator: DeviationEvaluator, first: int = 0, last: int = 1
) -> None:
    """Add the leaders' regrets of a round that has just been settled to the totals of its episode.

    Parameters
    ----------
    market : Market
        Batch of markets.
    mask : ndarray of bool, shape (batch,)
        Markets that settled a round.
    evaluator : DeviationEvaluator
        Evaluator of the same parameters; its copy of a market is overwritten.
    first, last : int
        First and last side that is audited: 0 mobile, 1 fixed. The totals of another side become NaN.
    """
    totals = market.tier.totals
    for b in np.flatnonzero(mask).tolist():
        evaluator.take(market, b)
        mobile, fixed = evaluator.leader_regrets(first, last)
        row = totals[b]
        row.audited += 1.0
        row.mobile_regret += mobile
        row.fixed_regret += fixed
        row.last_mobile_regret, row.last_fixed_regret = mobile, fixed
