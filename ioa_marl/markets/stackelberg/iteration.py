"""Kernels that search equilibria of a Stackelberg market: Algorithm 2 from several starts, then damped best responses.

Algorithm 2 comes to rest when prices hardly move. That is no proof: leaders that undercut each other move by less than
its tolerance in a round, and may go on for long. Prices count as an equilibrium only if their NashConv is within
``nash_tolerance`` of the leaders' total profit. Where Algorithm 2 finds none from any start, damped best responses go
on from the prices of lowest NashConv.

Common arguments are those of `kernels`, and ``scan`` is that of `search`.

Source: Section V-A, Algorithm 2, of "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI Task
Offloading in Internet of Agents".
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.stackelberg.kernels import Array, MarketState, leader_count, leader_profit
from ioa_marl.markets.stackelberg.records import Solution, StackelbergRecord
from ioa_marl.markets.stackelberg.search import best_response, nash_conv

STARTS = 6
"""Starts of Algorithm 2: half of the cap, unit costs and the cap, each with either side first."""
MANY_LEADERS, FEW_STARTS = 20, 2
"""Among more leaders than this, only the first starts are tried."""
ROUNDS_OF_OTHERS = 15
"""Largest number of rounds from a start other than the first; of those that settle, nearly all do within 8."""
DAMPED_TRIES, DAMPED_ROUNDS = 2, 40
"""Tries of damped best responses, and their largest number of rounds."""
FADING_STEP, CONSTANT_STEP = 0.7, 0.2
"""Part of the way to the best response: in the first damped try it falls with 1/√round, in the second it is fixed."""
SAME_PRICES = 0.1
"""Equilibria are the same if no price differs by more [units/Mbit]."""
LEAST_NASH_CONV = 1e-9
"""NashConv that is always within tolerance [units]."""


class Trial(NamedTuple):
    """Arrays of a search for equilibria; all but ``found`` are float64 (batch, 2, leaders) [units/Mbit]."""

    price: Array
    """Present prices: at first those from which Algorithm 2 starts."""
    moved: Array
    """Scratch."""
    lowest: Array
    """Prices of lowest NashConv of one try."""
    best: Array
    """Becomes the equilibrium of lowest total profit or, where none is found, the prices of lowest NashConv."""
    found: Array
    """float64 (batch, STARTS, 2, leaders): becomes the equilibria that are found, as many as `Solution` says."""
    trace: Array
    """float64 (batch, rows, 2, leaders): becomes the first start, and the prices after each round from it, while there
    are rows."""


def make_trial(price: Array, trace: Array | None = None) -> Trial:
    """Return the arrays of a search from ``price``, float64 (batch, 2, leaders), which is overwritten.

    ``trace`` is that of `Trial`; without it no rounds are recorded.
    """
    batch, sides, leaders = price.shape
    return Trial(
        price, np.zeros_like(price), np.zeros_like(price), np.zeros_like(price),
        np.zeros((batch, STARTS, sides, leaders)),
        np.zeros((batch, 0, sides, leaders)) if trace is None else trace,
    )  # fmt: skip


@kernel
def _copy_prices(b: int, source: Array, target: Array) -> None:
    """Copy the prices of market ``b``; both arrays are float64 (batch, 2, leaders)."""
    for side in range(source.shape[1]):
        for leader in range(source.shape[2]):
            target[b, side, leader] = source[b, side, leader]


@kernel
def _record_prices(b: int, row: int, price: Array, trace: Array) -> None:
    """Write the prices of market ``b`` into a row of the trace, if it has one."""
    if row < trace.shape[1]:
        for side in range(price.shape[1]):
            for leader in range(price.shape[2]):
                trace[b, row, side, leader] = price[b, side, leader]


@kernel
def total_profit(b: int, state: MarketState, price: Array, params: Array) -> float:
    """Return the total profit of the leaders [units] at ``price``, float64 (batch, 2, leaders) [units/Mbit]."""
    total = 0.0
    for side in range(2):
        for leader in range(leader_count(side, params)):
            profit, _, _ = leader_profit(b, side, leader, price[b, side, leader], state, price, params)
            total += profit
    return total


@kernel
def _within_tolerance(b: int, regret: float, state: MarketState, price: Array, params: Array) -> bool:
    """Return whether prices with the NashConv ``regret`` [units] count as an equilibrium."""
    total = max(total_profit(b, state, price, params), 0.0)
    return bool(regret <= params[0].nash_tolerance * total + LEAST_NASH_CONV)


@kernel
def _is_known(b: int, count: int, price: Array, found: Array, params: Array) -> bool:
    """Return whether ``price`` is near one of the first ``count`` equilibria."""
    for k in range(count):
        apart = 0.0
        for side in range(2):
            for leader in range(leader_count(side, params)):
                apart = max(apart, abs(price[b, side, leader] - found[b, k, side, leader]))
        if apart <= SAME_PRICES:
            return True
    return False


@kernel
def _set_start(b: int, start: int, state: MarketState, params: Array, price: Array) -> None:
    """Write the prices of a start: half of the cap, unit costs or the cap, two starts each."""
    cap = params[0].price_cap
    for side in range(2):
        for leader in range(leader_count(side, params)):
            value = 0.5 * cap if start < 2 else cap
            if start in (2, 3):
                value = min(state.cost[b, side, leader], cap)
            price[b, side, leader] = value


@kernel
def _alternate(
    b: int, start: int, most: int, count: int, state: MarketState, params: Array, trial: Trial, scan: Array
) -> tuple[float, int]:
    """Run Algorithm 2: the sides post best responses to each other in turn until they are an equilibrium.

    The mobile side moves first from every second ``start``; the first of these is recorded in ``trial.trace``.

    No two leaders of one side compete for a wireless agent, so all leaders of a side move at once. After a round the
    side that moved last has nothing to gain, so the gains of the other one in the next round are the NashConv of the
    prices before it. The iteration stops where prices hardly move and NashConv is within tolerance, and where it
    comes near one of the ``count`` equilibria that are known.

    Returns
    -------
    nash_conv : float
        NashConv of ``trial.lowest`` [units], the prices of lowest NashConv among all rounds.
    rounds : int
    """
    price, tolerance, first = trial.price, params[0].price_tolerance, start % 2
    lowest, change, rounds = math.inf, math.inf, 0
    if start == 0:
        _record_prices(b, 0, price, trial.trace)
    while True:
        regret, change_of_first = 0.0, 0.0
        _copy_prices(b, price, trial.moved)
        for leader in range(leader_count(first, params)):
            own, value, present = best_response(b, first, leader, state, price, params, scan)
            regret += value - present
            change_of_first = max(change_of_first, abs(own - price[b, first, leader]))
            price[b, first, leader] = own
        if rounds > 0:
            if regret < lowest:
                lowest = regret
                _copy_prices(b, trial.moved, trial.lowest)
            if rounds >= most:
                return lowest, rounds
            if change <= tolerance and _within_tolerance(b, regret, state, trial.moved, params):
                return lowest, rounds
        change = change_of_first
        for leader in range(leader_count(1 - first, params)):
            own, _, _ = best_response(b, 1 - first, leader, state, price, params, scan)
            change = max(change, abs(own - price[b, 1 - first, leader]))
            price[b, 1 - first, leader] = own
        rounds += 1
        if start == 0:
            _record_prices(b, rounds, price, trial.trace)
        if rounds > 1 and _is_known(b, count, price, trial.found, params):
            return lowest, rounds


@kernel
def _damp(b: int, fading: bool, state: MarketState, params: Array, trial: Trial, scan: Array) -> float:
    """Move all prices a part of the way to their best responses, again and again.

    A cycle of best responses jumps across the prices at which leaders undercut each other; smaller steps stay near.
    Returns the NashConv of ``trial.lowest`` [units].
    """
    lowest = math.inf
    for step in range(DAMPED_ROUNDS):
        regret = 0.0
        for side in range(2):
            for leader in range(leader_count(side, params)):
                own, value, present = best_response(b, side, leader, state, trial.price, params, scan)
                regret += value - present
                trial.moved[b, side, leader] = own
        if regret < lowest:
            lowest = regret
            _copy_prices(b, trial.price, trial.lowest)
            if _within_tolerance(b, regret, state, trial.price, params):
                return lowest
        part = FADING_STEP / math.sqrt(1.0 + step) if fading else CONSTANT_STEP
        for side in range(2):
            for leader in range(leader_count(side, params)):
                trial.price[b, side, leader] += part * (trial.moved[b, side, leader] - trial.price[b, side, leader])
    return lowest


@kernel
def _keep(
    b: int, regret: float, lowest: float, count: int, state: MarketState, params: Array, trial: Trial
) -> tuple[float, int]:
    """Keep the result of a try, ``trial.lowest`` with NashConv ``regret`` [units]: as the best one, as an equilibrium.

    Returns the lowest NashConv of all tries [units] and the number of equilibria.
    """
    is_equilibrium = regret < math.inf and _within_tolerance(b, regret, state, trial.lowest, params)
    if is_equilibrium and count < STARTS and not _is_known(b, count, trial.lowest, trial.found, params):
        for side in range(2):
            for leader in range(trial.lowest.shape[2]):
                trial.found[b, count, side, leader] = trial.lowest[b, side, leader]
        count += 1
    if regret < lowest:
        lowest = regret
        _copy_prices(b, trial.lowest, trial.best)
    return lowest, count


@kernel
def _choose(b: int, count: int, state: MarketState, params: Array, trial: Trial) -> float:
    """Write the equilibrium of lowest total profit into ``trial.best``, and return that profit [units]."""
    lowest, chosen = math.inf, 0
    for k in range(count):
        for side in range(2):
            for leader in range(trial.best.shape[2]):
                trial.price[b, side, leader] = trial.found[b, k, side, leader]
        profit = total_profit(b, state, trial.price, params)
        if profit < lowest:
            lowest, chosen = profit, k
    if count == 0:
        return total_profit(b, state, trial.best, params)
    for side in range(2):
        for leader in range(trial.best.shape[2]):
            trial.best[b, side, leader] = trial.found[b, chosen, side, leader]
    return lowest


@kernel
def find_equilibria(
    b: int, state: MarketState, params: Array, trial: Trial, scan: Array, gain: Array, solutions: Array
) -> None:
    """Search equilibria by Algorithm 2 from all starts and, if there is none yet, by damped best responses.

    Parameters
    ----------
    trial : Trial
        ``price`` holds the prices of the first start; ``best`` and ``found`` become the result.
    gain : ndarray of float64, shape (batch, 2, leaders)
        Scratch.
    solutions : ndarray of Solution, shape (batch,)
        Becomes how the search ended.
    """
    p: StackelbergRecord = params[0]
    lowest, count, tries, first_rounds = math.inf, 0, 0, 0
    starts = STARTS if p.mobile + p.fixed <= MANY_LEADERS else FEW_STARTS
    for start in range(starts):
        if start > 0:
            _set_start(b, start, state, params, trial.price)
        most = p.max_iterations if start == 0 else min(ROUNDS_OF_OTHERS, p.max_iterations)
        regret, rounds = _alternate(b, start, most, count, state, params, trial, scan)
        if start == 0:
            first_rounds = rounds
        lowest, count = _keep(b, regret, lowest, count, state, params, trial)
        tries += 1
    for attempt in range(DAMPED_TRIES):
        if count == 0:
            _copy_prices(b, trial.best, trial.price)
            regret = _damp(b, attempt == 0, state, params, trial, scan)
            lowest, count = _keep(b, regret, lowest, count, state, params, trial)
            tries += 1
    solution: Solution = solutions[b]
    solution.leader_profit = _choose(b, count, state, params, trial)
    solution.converged, solution.rounds = count > 0, first_rounds
    solution.equilibria, solution.tries = count, tries
    solution.nash_conv = nash_conv(b, state, trial.best, params, scan, gain)
