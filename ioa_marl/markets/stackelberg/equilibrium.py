"""Exact answers, best responses, equilibria and NashConv of a Stackelberg market, as plain functions.

Each function works on a copy of one market of a batch. Algorithms 1 and 2 are those of Section V-A of "Hybrid
Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI Task Offloading in Internet of Agents", with two
repairs: they return the best of all prices tried, not the last one, and they report prices that do not converge,
since convergence is not guaranteed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import ParameterError, require
from ioa_marl.foundations.records import plain_view
from ioa_marl.markets.stackelberg import drivers
from ioa_marl.markets.stackelberg.kernels import FIXED, MOBILE, MarketState
from ioa_marl.markets.stackelberg.params import LEADERS, StackelbergParams
from ioa_marl.markets.stackelberg.records import Deviation, Solution

PURE, NONE_FOUND = "pure equilibrium", "none found"
_ONE = np.ones(1, np.bool_)


@dataclass(frozen=True)
class Outcome:
    """Shares, utilities, profits and sales of one round at given prices."""

    shares: NDArray[np.float64]
    """Share of each wireless agent that goes to its mobile agent, shape (wireless,); 0 where it buys nothing."""
    buys: NDArray[np.bool_]
    """Which wireless agents buy, shape (wireless,)."""
    utilities: NDArray[np.float64]
    """Utility of each wireless agent [units], shape (wireless,)."""
    mobile_profits: NDArray[np.float64]
    """Profit of each mobile agent [units], shape (mobile,)."""
    fixed_profits: NDArray[np.float64]
    """Profit of each fixed agent [units], shape (fixed,)."""
    mobile_sales: NDArray[np.float64]
    """Load bought from each mobile agent [Mbit], shape (mobile,)."""
    fixed_sales: NDArray[np.float64]
    """Load bought from each fixed agent [Mbit], shape (fixed,)."""

    @property
    def leader_profit(self) -> float:
        """Total profit of the leaders [units]."""
        return float(self.mobile_profits.sum() + self.fixed_profits.sum())


@dataclass(frozen=True)
class BestResponse:
    """The best price of one leader against the others' prices."""

    price: float
    """Best unit price [units/Mbit]."""
    profit: float
    """Profit at that price [units]."""
    present_profit: float
    """Profit at the price before the deviation [units]."""


@dataclass(frozen=True)
class NashConv:
    """The gain of each leader by its best deviation alone."""

    mobile_gains: NDArray[np.float64]
    """Gain of each mobile agent [units], shape (mobile,)."""
    fixed_gains: NDArray[np.float64]
    """Gain of each fixed agent [units], shape (fixed,)."""

    @property
    def total(self) -> float:
        """Sum of all gains [units]: 0 at an equilibrium."""
        return float(self.mobile_gains.sum() + self.fixed_gains.sum())


@dataclass(frozen=True)
class Equilibrium:
    """Result of Algorithm 2: its prices of lowest NashConv, and the outcome at these prices."""

    converged: bool
    """Whether the prices converged."""
    rounds: int
    """Number of rounds of the algorithm."""
    mobile_prices: NDArray[np.float64]
    """Unit price of each mobile agent [units/Mbit], shape (mobile,)."""
    fixed_prices: NDArray[np.float64]
    """Unit price of each fixed agent [units/Mbit], shape (fixed,)."""
    nash_conv: float
    """NashConv at these prices [units]."""
    outcome: Outcome
    """Shares, utilities and profits at these prices."""
    label: str
    """``pure equilibrium`` or ``none found``."""


def _alone(market: MarketState, index: int) -> MarketState:
    """Return a copy of market ``index`` as a batch of one."""
    require(0 <= index < len(market.seed), "index", index, f"0 to {len(market.seed) - 1}")
    return MarketState(*(array[index : index + 1].copy() for array in market))


def _prices(params: StackelbergParams, mobile: ArrayLike, fixed: ArrayLike) -> NDArray[np.float64]:
    """Return the checked prices of both sides [units/Mbit], shape (1, 2, leaders)."""
    out = np.zeros((1, 2, max(params.mobile, params.fixed)))
    for side, (name, prices) in enumerate((("mobile_prices", mobile), ("fixed_prices", fixed))):
        count = getattr(params, LEADERS[side])
        values = np.asarray(prices, np.float64)
        if values.shape not in ((), (count,)) or not np.all((values >= 0.0) & (values <= params.price_cap)):
            raise ParameterError(name, prices, f"one price or {count}, from 0 to price_cap={params.price_cap:g}")
        out[0, side, :count] = values
    return out


def _shares(params: StackelbergParams, shares: ArrayLike) -> NDArray[np.float64]:
    """Return shares, one per wireless agent or one for all, as an array of shape (1, wireless)."""
    return np.ascontiguousarray(np.broadcast_to(np.asarray(shares, np.float64), (1, params.wireless)))


def _split(params: StackelbergParams, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the values of the mobile and of the fixed agents, shape (mobile,) and (fixed,), of (1, 2, leaders)."""
    return values[0, MOBILE, : params.mobile].copy(), values[0, FIXED, : params.fixed].copy()


def answer_to(
    params: StackelbergParams, market: MarketState, mobile_prices: ArrayLike, fixed_prices: ArrayLike, index: int = 0
) -> Outcome:
    """Return the outcome of one round in which every wireless agent gives its exact best answer.

    Parameters
    ----------
    params : StackelbergParams
        Parameters of the market.
    market : MarketState
        Batch of markets, from `ioa_marl.markets.stackelberg.params.draw_markets`.
    mobile_prices, fixed_prices : array_like, shape (mobile,) and (fixed,)
        Unit prices [units/Mbit], or one for all.
    index : int, default 0
        Which market of the batch.

    Returns
    -------
    Outcome
    """
    state, record = _alone(market, index), params.record()
    state.price[...] = _prices(params, mobile_prices, fixed_prices)
    drivers.answer_markets(state, record, _ONE)
    drivers.close_round(state, record, _ONE, np.zeros(1, np.bool_))
    profits, sales = _split(params, state.profit), _split(params, state.sales)
    return Outcome(state.share[0], state.buys[0], state.utility[0], *profits, *sales)


def follower_utilities(
    params: StackelbergParams, market: MarketState, mobile_prices: ArrayLike, fixed_prices: ArrayLike,
    shares: ArrayLike, index: int = 0,
) -> NDArray[np.float64]:  # fmt: skip
    """Return U_n (Eq. 13) of every wireless agent at given shares.

    Parameters
    ----------
    shares : array_like, shape (wireless,)
        Shares of the mobile agents, or one for all, in [0, 1].
    params, market, mobile_prices, fixed_prices, index
        See `answer_to`.

    Returns
    -------
    ndarray of float64, shape (wireless,)
        Utilities [units]; −∞ where 1 + ε − t ≤ 0.
    """
    state = _alone(market, index)
    share = _shares(params, shares)
    require(bool(np.all((share >= 0.0) & (share <= 1.0))), "shares", shares, "numbers in [0, 1]")
    state.price[...] = _prices(params, mobile_prices, fixed_prices)
    out = np.zeros((1, params.wireless))
    drivers.utilities_at(state, params.record(), share, out)
    return np.asarray(out[0])


def best_response_price(
    params: StackelbergParams,
    market: MarketState,
    side: str,
    leader: int,
    mobile_prices: ArrayLike,
    fixed_prices: ArrayLike,
    index: int = 0,
) -> BestResponse:
    """Return the best price of one leader: Algorithm 1, a grid of ``deviation_step`` with refinement.

    Parameters
    ----------
    side : str
        ``mobile`` or ``fixed``.
    leader : int
        Index of the leader on its side.
    mobile_prices, fixed_prices : array_like, shape (mobile,) and (fixed,)
        Current prices [units/Mbit], or one for all. The leader's current price is one of those that are tried.
    params, market, index
        See `answer_to`.

    Returns
    -------
    BestResponse
    """
    require(side in LEADERS, "side", side, " or ".join(LEADERS))
    require(0 <= leader < getattr(params, side), "leader", leader, f"0 to {getattr(params, side) - 1}")
    state, prices = _alone(market, index), _prices(params, mobile_prices, fixed_prices)
    deviations = Deviation.zeros(1, getattr(params, side))
    drivers.best_responses(state, params.record(), _ONE, LEADERS.index(side), prices, params.scan(), deviations)
    best = deviations[0, leader]
    return BestResponse(float(best.price), float(best.profit), float(best.present_profit))


def nash_conv(
    params: StackelbergParams, market: MarketState, mobile_prices: ArrayLike, fixed_prices: ArrayLike, index: int = 0
) -> NashConv:
    """Return what each leader gains by its best deviation alone, with exact answers of the followers.

    Parameters
    ----------
    params, market, mobile_prices, fixed_prices, index
        See `best_response_price`.

    Returns
    -------
    NashConv
    """
    prices = _prices(params, mobile_prices, fixed_prices)
    gain, total = np.zeros_like(prices), np.zeros(1)
    state = _alone(market, index)
    drivers.nash_conv_of_markets(state, params.record(), _ONE, prices, params.scan(), gain, total)
    return NashConv(*_split(params, gain))


def solve_equilibrium(
    params: StackelbergParams, market: MarketState, start: float | None = None, index: int = 0
) -> Equilibrium:
    """Run Algorithm 2: the two sides answer each other's prices in turn until no price moves.

    Parameters
    ----------
    start : float, optional
        Initial unit price of every leader [units/Mbit]. Default: half of ``price_cap``.
    params, market, index
        See `answer_to`.

    Returns
    -------
    Equilibrium
    """
    first = 0.5 * params.price_cap if start is None else start
    prices = _prices(params, first, first)
    lowest_prices, is_pure, result = solve_batch(params, _alone(market, index), _ONE, prices)
    converged, rounds, lowest, _ = result[0]
    mobile, fixed = _split(params, lowest_prices)
    return Equilibrium(
        converged=bool(converged),
        rounds=int(rounds),
        mobile_prices=mobile,
        fixed_prices=fixed,
        nash_conv=float(lowest),
        outcome=answer_to(params, market, mobile, fixed, index),
        label=PURE if is_pure[0] else NONE_FOUND,
    )


def solve_batch(
    params: StackelbergParams,
    market: MarketState,
    mask: NDArray[np.bool_],
    start: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Run Algorithm 2 in the markets ``mask`` of a batch, with their current conditions.

    Parameters
    ----------
    params : StackelbergParams
        Parameters of the markets.
    market : MarketState
        Batch of markets.
    mask : ndarray of bool, shape (batch,)
        Markets to solve.
    start : ndarray of float64, shape (batch, 2, leaders), optional
        Initial unit prices [units/Mbit], which are overwritten. Default: half of ``price_cap``.

    Returns
    -------
    prices : ndarray of float64, shape (batch, 2, leaders)
        Unit prices of lowest NashConv [units/Mbit].
    is_pure : ndarray of bool, shape (batch,)
        Whether they are a pure equilibrium: NashConv is within ``nash_tolerance`` of total profit.
    result : ndarray of float64, shape (batch, 4)
        The fields of `Solution`: whether prices converged, rounds, NashConv and total leader profit [units].
    """
    prices = np.full(market.price.shape, 0.5 * params.price_cap) if start is None else start
    record = params.record()
    lowest_prices, solutions = np.zeros_like(prices), Solution.zeros(len(mask))
    drivers.solve_markets(market, record, mask, prices, np.zeros_like(prices), lowest_prices, params.scan(), solutions)
    profits = np.zeros_like(prices)
    drivers.profits_of_markets(market, record, mask, lowest_prices, profits)
    total = profits.sum(axis=(1, 2))
    solutions["leader_profit"] = total
    is_pure = solutions["nash_conv"] <= params.nash_tolerance * np.maximum(total, 0.0) + 1e-9
    return lowest_prices, is_pure, plain_view(solutions)


def latencies(params: StackelbergParams, market: MarketState, shares: ArrayLike, index: int = 0) -> NDArray[np.float64]:
    """Return the end-to-end latency t less t_up of every wireless agent at given shares.

    Parameters
    ----------
    shares : array_like, shape (wireless,)
        Shares of the mobile agents, or one for all, in [0, 1].
    params, market, index
        See `answer_to`.

    Returns
    -------
    ndarray of float64, shape (wireless,)
        Latencies [s].
    """
    state = _alone(market, index)
    out = np.zeros((1, params.wireless))
    drivers.latencies_at(state, params.record(), _shares(params, shares), out)
    return np.asarray(out[0])
