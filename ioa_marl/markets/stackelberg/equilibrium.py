"""Exact answers, best responses, equilibria and NashConv of a Stackelberg market, as plain functions.

Each function works on a copy of one market of a batch. Algorithms 1 and 2 are those of Section V-A of "Hybrid
Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI Task Offloading in Internet of Agents", with three
repairs: they return the best of all prices tried, not the last one; prices at rest are an equilibrium only if their
NashConv is within tolerance; and several starts are tried, since convergence is not guaranteed and equilibria may be
several.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import ParameterError, require
from ioa_marl.foundations.records import plain_view
from ioa_marl.markets.stackelberg import drivers
from ioa_marl.markets.stackelberg.iteration import make_trial
from ioa_marl.markets.stackelberg.kernels import FIXED, MOBILE, MarketState
from ioa_marl.markets.stackelberg.params import LEADERS, StackelbergParams
from ioa_marl.markets.stackelberg.records import Deviation, Solution
from ioa_marl.markets.stackelberg.results import BestResponse, Equilibrium, JointMaximum, NashConv, Outcome, Trace

_ONE = np.ones(1, np.bool_)


def _alone(market: MarketState, index: int) -> MarketState:
    """Return a copy of market ``index`` as a batch of one."""
    require(0 <= index < len(market.seed), "index", index, f"0 to {len(market.seed) - 1}")
    return MarketState(*(array[index : index + 1].copy() for array in market))


def _prices(
    params: StackelbergParams,
    mobile: ArrayLike,
    fixed: ArrayLike,
    names: tuple[str, str] = ("mobile_prices", "fixed_prices"),
) -> NDArray[np.float64]:
    """Return the checked prices of both sides [units/Mbit], shape (1, 2, leaders); ``names`` are for messages."""
    out = np.zeros((1, 2, max(params.mobile, params.fixed)))
    for side, (name, prices) in enumerate(zip(names, (mobile, fixed), strict=True)):
        count = getattr(params, LEADERS[side])
        allowed = f"one price or {count}, from 0 to price_cap={params.price_cap:g}"
        try:
            values = np.asarray(prices, np.float64)
        except (TypeError, ValueError) as error:
            raise ParameterError(name, prices, allowed) from error
        if values.shape not in ((), (count,)) or not np.all((values >= 0.0) & (values <= params.price_cap)):
            raise ParameterError(name, prices, allowed)
        out[0, side, :count] = values
    return out


def _start(params: StackelbergParams, start: Any) -> NDArray[np.float64]:
    """Return the checked prices of a start, one for all leaders or those of either side, shape (1, 2, leaders)."""
    if start is None:
        start = 0.5 * params.price_cap
    if not isinstance(start, (tuple, list)):
        start = (start, start) if np.ndim(start) == 0 else tuple(start)
    require(len(start) == 2, "start", start, "one price, or the prices of the mobile and of the fixed agents")
    mobile, fixed = start
    return _prices(params, mobile, fixed, ("start[0]", "start[1]"))


def _shares(params: StackelbergParams, shares: ArrayLike) -> NDArray[np.float64]:
    """Return the checked shares, one per wireless agent or one for all, as an array of shape (1, wireless)."""
    share = np.ascontiguousarray(np.broadcast_to(np.asarray(shares, np.float64), (1, params.wireless)))
    require(bool(np.all((share >= 0.0) & (share <= 1.0))), "shares", shares, "numbers in [0, 1]")
    return share


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
    state, share = _alone(market, index), _shares(params, shares)
    state.price[...] = _prices(params, mobile_prices, fixed_prices)
    out = np.zeros((1, params.wireless))
    drivers.utilities_at(state, params.record(), share, out)
    return np.asarray(out[0])


def quality_of_experience(
    params: StackelbergParams, market: MarketState, shares: ArrayLike, index: int = 0
) -> NDArray[np.float64]:
    """Return the quality of experience of every wireless agent at given shares, the first term of Eq. 13.

    Parameters
    ----------
    shares, params, market, index
        See `follower_utilities`.

    Returns
    -------
    ndarray of float64, shape (wireless,)
        κ ln(1 + ε − t) ln(1 + t_n/ε) [units]; −∞ where 1 + ε − t ≤ 0.

    Examples
    --------
    In the calibrated market the mobile agent is the quickest, but all are quick against the tolerable delay:

    >>> from ioa_marl.markets.stackelberg import draw_markets, preset
    >>> paper = preset("paper")
    >>> market = draw_markets(paper, [0])
    >>> [float(quality_of_experience(paper, market, share)[0].round(1)) for share in (0.0, 0.5, 1.0)]
    [392.2, 392.3, 392.5]
    """
    out = np.zeros((1, params.wireless))
    drivers.qualities_at(_alone(market, index), params.record(), _shares(params, shares), out)
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
    params: StackelbergParams,
    market: MarketState,
    start: float | tuple[ArrayLike, ArrayLike] | None = None,
    index: int = 0,
    trace: bool = False,
) -> Equilibrium:
    """Search equilibria by Algorithm 2 from several starts and, if there is none yet, by damped best responses.

    Parameters
    ----------
    start : float or pair of array_like, optional
        Initial unit price of every leader in the first try [units/Mbit], or a pair: the prices of the mobile agents,
        shape (mobile,) or one for all, and those of the fixed agents, shape (fixed,) or one for all. The mobile agents
        move first, in answer to the prices of the fixed agents. Default: half of ``price_cap``.
    trace : bool, default False
        Whether the result has the prices, shares and profits of every round of the first try, as in Fig. 4 of the
        source. The search is the same with and without it.
    params, market, index
        See `answer_to`.

    Returns
    -------
    Equilibrium

    Examples
    --------
    The calibrated market from two prices far apart; a row is a round, and the first one is the start:

    >>> from ioa_marl.markets.stackelberg import draw_markets, preset
    >>> paper = preset("paper")
    >>> found = solve_equilibrium(paper, draw_markets(paper, [0]), start=(1.0, 9.0), trace=True)
    >>> found.trace.mobile_prices[:, 0].round(2)
    array([1.  , 6.41, 4.57, 3.23, 2.26, 1.6 , 1.75, 1.77, 1.77])
    >>> found.trace.fixed_prices[:, 0].round(2)
    array([9.  , 6.7 , 4.87, 3.52, 2.56, 2.79, 2.81, 2.81, 2.81])
    >>> found.trace.shares[:, 0].round(2)
    array([1.  , 0.  , 0.  , 0.  , 0.  , 0.63, 0.58, 0.57, 0.57])
    """
    prices = _start(params, start)
    rows = np.zeros((1, params.max_iterations + 1 if trace else 0, *prices.shape[1:]))
    chosen, found, solutions = search_batch(params, _alone(market, index), _ONE, prices, rows)
    solution = solutions[0]
    mobile, fixed = _split(params, chosen)
    rounds = int(solution.rounds)
    return Equilibrium(
        converged=bool(solution.converged),
        rounds=rounds,
        mobile_prices=mobile,
        fixed_prices=fixed,
        nash_conv=float(solution.nash_conv),
        outcome=answer_to(params, market, mobile, fixed, index),
        tries=int(solution.tries),
        equilibria=tuple(_split(params, found[:, k]) for k in range(int(solution.equilibria))),
        trace=_traced(params, market, rows[:, : rounds + 1], index) if trace else None,
    )


def _traced(params: StackelbergParams, market: MarketState, rows: NDArray[np.float64], index: int) -> Trace:
    """Return the trace of prices, float64 (1, rounds + 1, 2, leaders), with the outcome of each round."""
    prices = [_split(params, rows[:, row]) for row in range(rows.shape[1])]
    outcomes = [answer_to(params, market, *pair, index) for pair in prices]
    return Trace(
        mobile_prices=np.array([mobile for mobile, _ in prices]),
        fixed_prices=np.array([fixed for _, fixed in prices]),
        shares=np.array([outcome.shares for outcome in outcomes]),
        mobile_profits=np.array([outcome.mobile_profits for outcome in outcomes]),
        fixed_profits=np.array([outcome.fixed_profits for outcome in outcomes]),
    )


def maximise_joint_profit(params: StackelbergParams, market: MarketState, index: int = 0) -> JointMaximum:
    """Return the prices at which all leaders together earn most, by enumeration or, with more than two, by ascent.

    Parameters
    ----------
    params, market, index
        See `answer_to`.

    Returns
    -------
    JointMaximum
    """
    prices, profit, at_cap = joint_maxima(params, _alone(market, index), _ONE)
    mobile, fixed = _split(params, prices)
    return JointMaximum(mobile, fixed, float(profit[0]), float(at_cap[0]), params.mobile + params.fixed > 2)


def joint_maxima(
    params: StackelbergParams, market: MarketState, mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Search the largest joint profit of the leaders in the markets ``mask`` of a batch.

    Parameters
    ----------
    params, market, mask
        See `solve_batch`.

    Returns
    -------
    prices : ndarray of float64, shape (batch, 2, leaders)
        Unit prices [units/Mbit].
    profit : ndarray of float64, shape (batch,)
        Total profit of the leaders at these prices [units]: the maximum of two leaders, a lower bound among more.
    at_cap : ndarray of float64, shape (batch,)
        Share of the leaders with a sale whose price is ``price_cap``.
    """
    best, batch = np.zeros_like(market.price), len(mask)
    profit, at_cap = np.zeros(batch), np.zeros(batch)
    scratch = np.zeros_like(best), np.zeros_like(best)
    drivers.joint_profits(market, params.record(), mask, *scratch, best, profit, at_cap)
    return best, profit, at_cap


def solve_batch(
    params: StackelbergParams,
    market: MarketState,
    mask: NDArray[np.bool_],
    start: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Search equilibria in the markets ``mask`` of a batch, with their current conditions; see `solve_equilibrium`.

    Parameters
    ----------
    params : StackelbergParams
        Parameters of the markets.
    market : MarketState
        Batch of markets.
    mask : ndarray of bool, shape (batch,)
        Markets to solve.
    start : ndarray of float64, shape (batch, 2, leaders), optional
        Initial unit prices of the first try [units/Mbit], which are overwritten. Default: half of ``price_cap``.

    Returns
    -------
    prices : ndarray of float64, shape (batch, 2, leaders)
        Unit prices [units/Mbit] of the equilibrium of lowest total profit; without one, those of lowest NashConv.
    is_pure : ndarray of bool, shape (batch,)
        Whether they are a pure equilibrium: NashConv is within ``nash_tolerance`` of total profit.
    result : ndarray of float64, shape (batch, 6)
        The fields of `Solution`.
    """
    prices, _, solutions = search_batch(params, market, mask, start)
    return prices, solutions["converged"] > 0.0, plain_view(solutions)


def search_batch(
    params: StackelbergParams,
    market: MarketState,
    mask: NDArray[np.bool_],
    start: NDArray[np.float64] | None = None,
    trace: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[Any]]:
    """Search equilibria in the markets ``mask`` of a batch; see `solve_batch`.

    Parameters
    ----------
    trace : ndarray of float64, shape (batch, rows, 2, leaders), optional
        Becomes the prices of the first try [units/Mbit]: the start, and those after each of the first rows − 1 rounds.
    params, market, mask, start
        See `solve_batch`.

    Returns
    -------
    prices : ndarray of float64, shape (batch, 2, leaders)
        See `solve_batch`.
    found : ndarray of float64, shape (batch, most, 2, leaders)
        Unit prices of all different equilibria that were found [units/Mbit]; zero beyond their number.
    solutions : ndarray of Solution, shape (batch,)
        How the search ended.
    """
    prices = np.full(market.price.shape, 0.5 * params.price_cap) if start is None else start
    trial, solutions = make_trial(prices, trace), Solution.zeros(len(mask))
    drivers.solve_markets(market, params.record(), mask, trial, params.scan(), np.zeros_like(prices), solutions)
    return trial.best, trial.found, solutions


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
