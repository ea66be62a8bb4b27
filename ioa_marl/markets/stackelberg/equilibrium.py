"""Exact answers, best responses, equilibria and NashConv of a Stackelberg market, as plain functions.

They look at one market of a batch and leave it as it is. Algorithms 1 and 2 are those of Section V-A of "Hybrid
Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI Task Offloading in Internet of Agents", with two
repairs: the best of all prices tried is returned, not the last one, and prices that do not come to rest are reported
as such, since convergence is not guaranteed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import ParameterError, require
from ioa_marl.foundations.records import plain_view
from ioa_marl.markets.stackelberg import drivers
from ioa_marl.markets.stackelberg.kernels import MarketState
from ioa_marl.markets.stackelberg.params import LEADERS, StackelbergParams
from ioa_marl.markets.stackelberg.records import Deviation, Solution

PURE, NONE_FOUND = "pure equilibrium", "none found"
_ONE = np.ones(1, np.bool_)


@dataclass(frozen=True)
class Outcome:
    """What one round of a market comes to at given prices."""

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

    @property
    def follower_welfare(self) -> float:
        """Total utility of the wireless agents [units]."""
        return float(self.utilities.sum())

    @property
    def social_welfare(self) -> float:
        """Utilities and profits together [units]."""
        return self.leader_profit + self.follower_welfare


@dataclass(frozen=True)
class BestResponse:
    """The best price of one leader against the others' prices."""

    price: float
    """Best unit price [units/Mbit]."""
    profit: float
    """Profit at that price [units]."""
    present_profit: float
    """Profit at the price it had [units]."""


@dataclass(frozen=True)
class NashConv:
    """What each leader could gain by deviating alone."""

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
    """What Algorithm 2 found: its prices of lowest NashConv, with everything that follows from them."""

    converged: bool
    """Whether the prices came to rest."""
    rounds: int
    """Rounds that were played."""
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
    require(0 <= index < len(market.seed), "index", index, f"0 to {len(market.seed) - 1}")
    return MarketState(*(array[index : index + 1].copy() for array in market))


def _prices(params: StackelbergParams, mobile: ArrayLike, fixed: ArrayLike) -> NDArray[np.float64]:
    out = np.zeros((1, 2, max(params.mobile, params.fixed)))
    for side, (name, given) in enumerate((("mobile_prices", mobile), ("fixed_prices", fixed))):
        count = getattr(params, LEADERS[side])
        values = np.asarray(given, np.float64)
        if values.shape not in ((), (count,)) or not np.all((values >= 0.0) & (values <= params.price_cap)):
            raise ParameterError(name, given, f"one price or {count}, from 0 to price_cap={params.price_cap:g}")
        out[0, side, :count] = values
    return out


def _split(params: StackelbergParams, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return values[0, 0, : params.mobile].copy(), values[0, 1, : params.fixed].copy()


def answer_to(
    params: StackelbergParams, market: MarketState, mobile_prices: ArrayLike, fixed_prices: ArrayLike, index: int = 0
) -> Outcome:
    """Return what one round comes to when every wireless agent gives its exact best answer.

    Parameters
    ----------
    params : StackelbergParams
        Parameters of the market.
    market : MarketState
        Batch of markets, from `ioa_marl.markets.stackelberg.params.draw_markets`.
    mobile_prices, fixed_prices : array_like, shape (mobile,) and (fixed,)
        Unit prices [units/Mbit], or one for all.
    index : int
        Which market of the drivers.
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
    """Return U_n (Eq. 13) of every wireless agent at given shares, −∞ where 1 + ε − t ≤ 0; see `answer_to`.

    Parameters
    ----------
    shares : array_like, shape (wireless,)
        Shares of the mobile agents, or one for all, in [0, 1].
    """
    state = _alone(market, index)
    given = np.ascontiguousarray(np.broadcast_to(np.asarray(shares, np.float64), (1, params.wireless)))
    require(bool(np.all((given >= 0.0) & (given <= 1.0))), "shares", shares, "numbers in [0, 1]")
    state.price[...] = _prices(params, mobile_prices, fixed_prices)
    out = np.zeros((1, params.wireless))
    drivers.utilities_at(state, params.record(), given, out)
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
        Prices as they stand [units/Mbit], or one for all; the leader's own is one of those tried.
    params, market, index
        See `answer_to`.
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
    """Return what each leader gains by its best deviation, with exact answers; see `best_response_price`."""
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
        Unit price of everybody at the start [units/Mbit]. Default: half of ``price_cap``.
    params, market, index
        See `answer_to`.
    """
    first = 0.5 * params.price_cap if start is None else start
    prices = _prices(params, first, first)
    lowest_prices, settled, result = solve_batch(params, _alone(market, index), _ONE, prices)
    converged, rounds, lowest, _ = result[0]
    mobile, fixed = _split(params, lowest_prices)
    return Equilibrium(
        converged=bool(converged),
        rounds=int(rounds),
        mobile_prices=mobile,
        fixed_prices=fixed,
        nash_conv=float(lowest),
        outcome=answer_to(params, market, mobile, fixed, index),
        label=PURE if settled[0] else NONE_FOUND,
    )


def solve_batch(
    params: StackelbergParams,
    market: MarketState,
    mask: NDArray[np.bool_],
    start: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Algorithm 2 for the markets ``mask`` of a batch, as they are.

    Parameters
    ----------
    mask : ndarray of bool, shape (batch,)
        Markets to solve.
    start : ndarray of float64, shape (batch, 2, leaders), optional
        Prices at the start, overwritten. Default: half of ``price_cap``.

    Returns
    -------
    prices : ndarray of float64, shape (batch, 2, leaders)
        Prices of lowest NashConv.
    settled : ndarray of bool, shape (batch,)
        Whether they are a pure equilibrium: NashConv within ``nash_tolerance`` of total profit.
    result : ndarray of float64, shape (batch, 4)
        Whether prices came to rest, rounds, NashConv and total leader profit [units]; see `Solution`.
    """
    prices = np.full(market.price.shape, 0.5 * params.price_cap) if start is None else start
    record = params.record()
    lowest_prices, solutions = np.zeros_like(prices), Solution.zeros(len(mask))
    drivers.solve_markets(market, record, mask, prices, np.zeros_like(prices), lowest_prices, params.scan(), solutions)
    profits = np.zeros_like(prices)
    drivers.profits_of_markets(market, record, mask, lowest_prices, profits)
    total = profits.sum(axis=(1, 2))
    solutions["leader_profit"] = total
    settled = solutions["nash_conv"] <= params.nash_tolerance * np.maximum(total, 0.0) + 1e-9
    return lowest_prices, settled, plain_view(solutions)


def latencies(params: StackelbergParams, market: MarketState, shares: ArrayLike, index: int = 0) -> NDArray[np.float64]:
    """Return the end-to-end latency t less t_up of every wireless agent at given shares [s], shape (wireless,)."""
    state = _alone(market, index)
    given = np.ascontiguousarray(np.broadcast_to(np.asarray(shares, np.float64), (1, params.wireless)))
    out = np.zeros((1, params.wireless))
    drivers.latencies_at(state, params.record(), given, out)
    return np.asarray(out[0])
