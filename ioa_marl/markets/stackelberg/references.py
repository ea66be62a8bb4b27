"""References of the Stackelberg market: equilibria on a price grid, and the best single price pair for everybody."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.seeds import CALIBRATION_SEED
from ioa_marl.markets.stackelberg import drivers
from ioa_marl.markets.stackelberg.kernels import FIXED, MOBILE, MarketState
from ioa_marl.markets.stackelberg.params import StackelbergParams, draw_markets
from ioa_marl.markets.stackelberg.records import Deviation

CALIBRATION_MARKETS = 32
"""Number of calibration markets on which the pair of prices is chosen; large markets need fewer."""
CALIBRATION_FOLLOWERS = 2_000
"""Largest total number of wireless agents in these markets, unless a single market has more."""
COARSE = 5
"""Grid steps between the pairs that are tried first."""


def side_profits(
    params: StackelbergParams, market: MarketState, mask: NDArray[np.bool_], prices: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return every leader's profit if the wireless agents answer ``prices`` exactly.

    Parameters
    ----------
    params : StackelbergParams
        Parameters of the markets.
    market : MarketState
        Batch of markets.
    mask : ndarray of bool, shape (batch,)
        Markets that are evaluated.
    prices : ndarray of float64, shape (batch, 2, leaders)
        Unit prices of both sides [units/Mbit].

    Returns
    -------
    ndarray of float64, shape (batch, 2, leaders)
        Profits [units]; 0 outside ``mask``.
    """
    out = np.zeros_like(prices)
    drivers.profits_of_markets(market, params.record(), mask, prices, out)
    return out


def round_prices(
    params: StackelbergParams,
    market: MarketState,
    mask: NDArray[np.bool_],
    prices: NDArray[np.float64],
    side: int,
    levels: int,
    rivals: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Return for each leader of a side the better of the two grid prices around its price.

    Parameters
    ----------
    params, market, mask
        See `side_profits`.
    prices : ndarray of float64, shape (batch, leaders of the side)
        Prices to round [units/Mbit].
    side : int
        0 mobile, 1 fixed.
    levels : int
        Number of grid prices, from 0 to ``price_cap``.
    rivals : ndarray of float64, shape (batch, 2, leaders)
        Unit prices of which those of the other side count [units/Mbit]: leaders of one side do not compete.

    Returns
    -------
    ndarray of int64, shape (batch, leaders of the side)
        Indices of the grid prices.
    """
    step = params.price_cap / (levels - 1)
    count = prices.shape[1]
    low = np.clip(np.floor(prices / step + 1e-9).astype(np.int64), 0, levels - 1)
    high = np.minimum(low + 1, levels - 1)
    trial = rivals.copy()
    trial[:, side, :count] = low * step
    below = side_profits(params, market, mask, trial)[:, side, :count]
    trial[:, side, :count] = high * step
    above = side_profits(params, market, mask, trial)[:, side, :count]
    nearest = np.where(prices - low * step <= high * step - prices, low, high)
    rounded: NDArray[np.int64] = np.where(above > below, high, np.where(below > above, low, nearest))
    return rounded


def equilibrium_on_grid(
    params: StackelbergParams,
    market: MarketState,
    mask: NDArray[np.bool_],
    equilibrium: NDArray[np.float64],
    levels: int,
) -> NDArray[np.float64]:
    """Return an equilibrium rounded to the price grid: of two ways to round, the one with the lower NashConv.

    One takes the nearest grid prices, the other lets each leader choose the better of its two neighbours.

    Parameters
    ----------
    params, market, mask, levels
        See `round_prices`.
    equilibrium : ndarray of float64, shape (batch, 2, leaders)
        Equilibrium prices [units/Mbit].

    Returns
    -------
    ndarray of float64, shape (batch, 2, leaders)
        Grid prices [units/Mbit].
    """
    step = params.price_cap / (levels - 1)
    counts = (params.mobile, params.fixed)
    nearest = np.clip(np.rint(equilibrium / step), 0, levels - 1) * step
    preferred = nearest.copy()
    for _ in range(2):
        for side, count in enumerate(counts):
            indices = round_prices(params, market, mask, equilibrium[:, side, :count], side, levels, preferred)
            preferred[:, side, :count] = indices * step
    nash_conv = np.zeros((2, len(mask)))
    for row, prices in enumerate((nearest, preferred)):
        drivers.nash_conv_of_markets(
            market, params.record(), mask, prices, params.scan(), np.zeros_like(prices), nash_conv[row]
        )
    of_nearest, of_preferred = nash_conv
    return np.where((of_preferred < of_nearest)[:, None, None], preferred, nearest)


@lru_cache(maxsize=1024)
def best_posted_pair(params: StackelbergParams, levels: int, instance: int) -> tuple[float, float]:
    """Return the best pair of prices, one for all mobile and one for all fixed agents.

    The best pair has the lowest mean NashConv over calibration markets of the instance. The NashConv of a pair is
    Σ best profits − Σ profits. A mobile agent's best profit depends on the fixed agents' price only, and vice versa, so
    best profits are computed once per price. The search tries every fifth grid price, then all near the best pair.

    Parameters
    ----------
    params : StackelbergParams
        Parameters of the market.
    levels : int
        Number of grid prices, from 0 to ``price_cap``.
    instance : int
        Number of the technology.

    Returns
    -------
    mobile, fixed : float
        Unit prices [units/Mbit].
    """
    markets = int(np.clip(CALIBRATION_FOLLOWERS // params.wireless, 1, CALIBRATION_MARKETS))
    seeds = np.full(markets, CALIBRATION_SEED, np.uint64)
    instances = np.full(markets, instance, np.uint64)
    if params.redraw == "episode":
        instances += np.arange(markets, dtype=np.uint64)
    market = draw_markets(params, seeds, np.arange(markets, dtype=np.uint64), instances)
    grid = np.linspace(0.0, params.price_cap, levels)
    table = _PairTable(params, market, grid)
    coarse = np.unique(np.append(np.arange(0, levels, COARSE), levels - 1))
    centre = table.best(coarse, coarse)
    around = [np.arange(max(c - COARSE, 0), min(c + COARSE, levels - 1) + 1) for c in centre]
    mobile, fixed = table.best(*around)
    return float(grid[mobile]), float(grid[fixed])


class _PairTable:
    """Mean NashConv of pairs of grid prices over a batch of markets."""

    def __init__(self, params: StackelbergParams, market: MarketState, grid: NDArray[np.float64]) -> None:
        self._params, self._market, self._grid = params, market, grid
        self._mask = np.ones(len(market.seed), np.bool_)
        self._best_profits: dict[tuple[int, int], float] = {}

    def _best_profit(self, side: int, rival: int) -> float:
        """Return the sum of the best profits of a side's leaders against one price, mean over markets."""
        if (side, rival) not in self._best_profits:
            params, market = self._params, self._market
            prices = np.full(market.price.shape, self._grid[rival])
            deviations = Deviation.zeros(len(self._mask), (params.mobile, params.fixed)[side])
            drivers.best_responses(market, params.record(), self._mask, side, prices, params.scan(), deviations)
            self._best_profits[side, rival] = float(deviations["profit"].sum() / len(self._mask))
        return self._best_profits[side, rival]

    def best(self, mobile: NDArray[np.int64], fixed: NDArray[np.int64]) -> tuple[int, int]:
        """Return the pair of grid indices with the lowest mean NashConv; among equals the first."""
        lowest, pair = np.inf, (0, 0)
        prices = np.zeros(self._market.price.shape)
        for i in mobile.tolist():
            for j in fixed.tolist():
                prices[:, MOBILE], prices[:, FIXED] = self._grid[i], self._grid[j]
                profits = side_profits(self._params, self._market, self._mask, prices)
                best_profits = self._best_profit(MOBILE, j) + self._best_profit(FIXED, i)
                nash_conv = best_profits - float(profits.sum() / len(self._mask))
                if nash_conv < lowest:
                    lowest, pair = nash_conv, (i, j)
        return pair
