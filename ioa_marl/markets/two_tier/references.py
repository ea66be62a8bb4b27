"""References of the two-tier market: the best constant pair of prices and the best constant pair of steps.

Both are searched on calibration markets of the same instance, which are used for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.seeds import CALIBRATION_SEED
from ioa_marl.markets.stackelberg.kernels import FIXED, MOBILE
from ioa_marl.markets.two_tier import drivers
from ioa_marl.markets.two_tier.deviations import DeviationEvaluator
from ioa_marl.markets.two_tier.grid import cost_plus_indices
from ioa_marl.markets.two_tier.kernels import Market
from ioa_marl.markets.two_tier.params import TwoTierParams, draw_markets, start_episodes

CALIBRATION_MARKETS = 16
"""Number of calibration markets on which a pair is chosen; for prices, large markets need fewer."""
CALIBRATION_FOLLOWERS = 160
"""Largest total number of wireless agents in the markets for a pair of prices, unless a single one has more."""
SETTLING_ROUNDS = 4
"""Number of rounds after which the shares α at constant prices have converged or alternate."""
COARSE = 5
"""Grid steps between the pairs of prices that are tried first."""
MOST_ROUNDS = 5
"""Largest number of searches for the best pair of steps, each on the auctions that the last one leads to."""


def _draw(params: TwoTierParams, markets: int, instance: int) -> Market:
    """Return calibration markets of an instance."""
    seeds = np.full(markets, CALIBRATION_SEED, np.uint64)
    return draw_markets(params, seeds, np.arange(markets, dtype=np.uint64), np.full(markets, instance, np.uint64))


class _Stage:
    """Calibration markets that are played with constant prices and steps."""

    def __init__(self, params: TwoTierParams, levels: int, markets: int, instance: int) -> None:
        self.params, self.levels = params, levels
        self.market = _draw(params, markets, instance)
        self._settings = params.settings()
        self._all, self._ended = np.ones(markets, np.bool_), np.zeros(markets, np.bool_)

    def rounds(
        self, count: int, mobile: NDArray[np.int64], fixed: NDArray[np.int64], pair: tuple[int, int]
    ) -> Iterator[Market]:
        """Yield the markets after each of the first ``count`` rounds of the episode.

        ``mobile`` and ``fixed`` are price indices of shape (batch, leaders of the side).
        """
        pairs = np.ascontiguousarray(np.broadcast_to(np.array(pair, np.int64), (len(self._all), 1, 2)))
        start_episodes(self.params, self.market, self._all, self._settings)
        for _ in range(count):
            drivers.post_prices(self.market, self._settings, self._all, self.levels, mobile, fixed)
            drivers.hold_auctions(self.market, self._settings, self._all, pairs, self._ended)
            yield self.market
            drivers.change_conditions(self.market, self._settings, self._all)


@lru_cache(maxsize=1024)
def best_fixed_pair(
    params: TwoTierParams, levels: int, mobile_margin: float, fixed_margin: float, instance: int
) -> tuple[int, int]:
    """Return the pair of steps with the highest mean return per auction, as indices, buyer clock first.

    Leaders post unit costs plus the margins. All pairs are simulated on the same auctions. Since trades change the
    loads of the next round, the search is repeated on the auctions that the best pair leads to, until it is the same.

    Parameters
    ----------
    params : TwoTierParams
        Parameters of the market.
    levels : int
        Number of grid prices, from 0 to ``price_cap``.
    mobile_margin, fixed_margin : float
        Margins over unit costs.
    instance : int
        Number of the technology.

    Returns
    -------
    buyer, seller : int
        Indices of the steps.
    """
    stage, evaluator = _Stage(params, levels, CALIBRATION_MARKETS, instance), DeviationEvaluator(params, levels)
    cost = stage.market.pricing.cost
    mobile = cost_plus_indices(params, levels, cost[:, MOBILE, : params.mobile], mobile_margin)
    fixed = cost_plus_indices(params, levels, cost[:, FIXED, : params.fixed], fixed_margin)
    pair = params.scripted_pair()
    for _ in range(MOST_ROUNDS):
        *_, market = stage.rounds(params.rounds, mobile, fixed, pair)
        total = np.zeros((len(params.steps), len(params.steps)))
        for b in range(CALIBRATION_MARKETS):
            evaluator.take(market, b)
            returns, _ = evaluator.pair_returns(0, params.rounds)
            total += returns
        buyer, seller = divmod(int(total.argmax()), len(params.steps))
        if (buyer, seller) == pair:
            break
        pair = (buyer, seller)
    return pair


@lru_cache(maxsize=1024)
def best_posted_pair(params: TwoTierParams, levels: int, instance: int) -> tuple[int, int]:
    """Return the best pair of prices, one for all mobile and one for all fixed agents, as indices of the grid.

    The best pair has the lowest mean sum of the leaders' regrets over the rounds of an episode at these prices, in
    which the auctioneer uses the scripted steps. Four rounds are played; since α has then converged or alternates, the
    last two of them also count for all that follow; in a dynamic market they stand for the conditions of these. The
    search tries every fifth grid price, then all near the best.

    Parameters
    ----------
    params : TwoTierParams
        Parameters of the market.
    levels : int
        Number of grid prices, from 0 to ``price_cap``.
    instance : int
        Number of the technology.

    Returns
    -------
    mobile, fixed : int
        Indices of the prices.
    """
    markets = int(np.clip(CALIBRATION_FOLLOWERS // params.wireless, 1, CALIBRATION_MARKETS))
    stage, evaluator = _Stage(params, levels, markets, instance), DeviationEvaluator(params, levels)
    played = min(SETTLING_ROUNDS, params.rounds)
    counts = np.ones(played)
    counts[-2:] += (params.rounds - played) / len(counts[-2:])

    def regret(i: int, j: int) -> float:
        mobile, fixed = (np.full((markets, n), x) for n, x in ((params.mobile, i), (params.fixed, j)))
        total = 0.0
        for count, market in zip(counts, stage.rounds(played, mobile, fixed, params.scripted_pair()), strict=True):
            for b in range(markets):
                evaluator.take(market, b)
                total += float(count * evaluator.leader_regrets().sum())
        return total

    coarse = np.unique(np.append(np.arange(0, levels, COARSE), levels - 1)).tolist()
    _, mobile, fixed = min((regret(i, j), i, j) for i in coarse for j in coarse)
    near_mobile, near_fixed = (
        range(max(c - COARSE + 1, 0), min(c + COARSE - 1, levels - 1) + 1) for c in (mobile, fixed)
    )
    _, mobile, fixed = min((regret(i, j), i, j) for i in near_mobile for j in near_fixed)
    return mobile, fixed
