"""Numba kernels of the modified second-bid auction: the rules of one task, as scalar functions.

Common arguments of the kernels:

- ``b``: index of the market in the batch;
- ``state``: the `SecondBidState` of the batch, whose fields have the shapes and units;
- ``params``: the parameters, `SecondBidRecord` (1,);
- ``rhos``: float64 (levels,), the price scaling factors ρ.

Source: Sections 3 to 5 of "Diffusion-based auction mechanism for efficient resource management in 6G-enabled vehicular
metaverses", Eqs. 14 and 15.
"""

from __future__ import annotations

import math

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.second_bid.draws import SERVED, serve
from ioa_marl.markets.second_bid.state import (
    EVERY_INSTANCE,
    UAV,
    Array,
    LastTask,
    LogBids,
    SecondBidMetrics,
    SecondBidRecord,
    SecondBidState,
    SettledTask,
)

_NO_TASK, _NO_AVERAGES = LastTask.zeros(1), LogBids.zeros(1)
_NO_TOTALS, _NOT_SETTLED = SecondBidMetrics.zeros(1), SettledTask.zeros(1)


@kernel
def wins(bid: float, highest_other: float, rho: float) -> bool:
    """Return whether a station wins by Eq. 14: iff its bid exceeds ρ times the highest bid of its rivals."""
    return bid > rho * highest_other


@kernel
def critical_payment(highest_other: float, rho: float) -> float:
    """Return the payment of a winning station by Eq. 15, ρ times the highest bid of its rivals [units]."""
    return rho * highest_other


@kernel
def rank_bids(b: int, state: SecondBidState) -> None:
    """Rank the stations by bid, the highest first, ties by index."""
    for i in range(state.rank.shape[1]):
        j = i
        while j > 0 and state.bid[b, state.rank[b, j - 1]] < state.bid[b, i]:
            state.rank[b, j] = state.rank[b, j - 1]
            j -= 1
        state.rank[b, j] = i


@kernel
def rival_bid(b: int, state: SecondBidState, params: Array) -> float:
    """Return the bid b₍₂₎ that the best station has to exceed ρ times [units].

    It is the second highest bid of a station or, if the UAV is a rival, the UAV's valuation where that is higher.
    """
    p: SecondBidRecord = params[0]
    second = state.bid[b, state.rank[b, 1]]
    return float(max(second, state.value[b, 0]) if p.uav_rivals else second)


@kernel
def best_action(b: int, state: SecondBidState, params: Array, rhos: Array) -> tuple[int, float]:
    """Return the index of the ρ with the largest surplus, given the bids and all true values, and that surplus [units].

    Ties go to the smallest ρ. Under truthful bids this is the optimum with full information.
    """
    p: SecondBidRecord = params[0]
    first, rival = state.rank[b, 0], rival_bid(b, state, params)
    station_surplus, uav_surplus = state.value[b, first + 1], p.uav_weight * state.value[b, 0]
    best_surplus, best = -1.0, 0
    for action in range(p.levels):
        surplus = station_surplus if wins(state.bid[b, first], rival, rhos[action]) else uav_surplus
        if surplus > best_surplus:
            best_surplus, best = surplus, action
    return best, best_surplus


@kernel
def publish_outcome(b: int, state: SecondBidState, params: Array, rho: float, winner: int) -> None:
    """Record the public outcome of a task: v₀, the two highest bids, ρ and the winner, with the moving averages."""
    p: SecondBidRecord = params[0]
    last: LastTask = state.last[b]
    last.uav = math.log(state.value[b, 0])
    last.first, last.second = math.log(state.bid[b, state.rank[b, 0]]), math.log(state.bid[b, state.rank[b, 1]])
    last.rho, last.winner = rho, float(winner)
    averages: LogBids = state.averages[b]
    keep = p.smoothing if state.task[b] > 0 else 0.0
    averages.uav = keep * averages.uav + (1.0 - keep) * last.uav
    averages.first = keep * averages.first + (1.0 - keep) * last.first
    averages.second = keep * averages.second + (1.0 - keep) * last.second


@kernel
def served_delay(b: int, n: int, state: SecondBidState, params: Array) -> float:
    """Return the latency of provider ``n``, which serves the current task [s].

    It is the mean over the averaged periods or, if so set, that of the task itself, a further period.
    """
    p: SecondBidRecord = params[0]
    if p.task_delay and not p.pareto:
        _, _, latency = serve(b, n, state, params, SERVED + n, 3 * state.task[b] + 1)
        return float(latency)
    return float(state.delay[b, n])


@kernel
def settle(b: int, state: SecondBidState, params: Array, rho: float) -> tuple[int, float, float]:
    """Determine the winner of the current task, its payment and the surplus, and book them.

    Returns
    -------
    winner : int
        Index of the station that wins, or ``UAV``.
    payment : float
        Payment of the winner [units].
    surplus : float
        Allocative surplus [units].
    """
    p: SecondBidRecord = params[0]
    totals: SecondBidMetrics = state.totals[b]
    stations = p.stations
    first, rival = state.rank[b, 0], rival_bid(b, state, params)
    for i in range(stations):
        state.utility[b, i] = 0.0
    if wins(state.bid[b, first], rival, rho):
        winner, account = first, first
        payment = critical_payment(rival, rho)
        value = state.value[b, first + 1]
        surplus = value
        state.utility[b, first] = value - payment
        totals.station_surplus += surplus
    else:
        winner, account = UAV, stations
        payment = state.contract_price[b] if p.redraw >= EVERY_INSTANCE else p.contract_price
        value = state.value[b, 0]
        surplus = p.uav_weight * value
        totals.uav_surplus += surplus
        totals.uav_share += 1.0
    state.receipts[b, account] -= payment
    state.receipts[b, stations + 1] += payment
    totals.surplus += surplus
    totals.revenue += payment
    totals.bidder_utility += value - payment
    totals.delay += served_delay(b, winner + 1, state, params)
    totals.rho += rho
    return winner, payment, surplus


@kernel
def hold_auction(b: int, state: SecondBidState, params: Array, rhos: Array, action: int) -> tuple[float, bool]:
    """Auction the current task at the factor ``rhos[action]``.

    Returns
    -------
    surplus : float
        Allocative surplus of the task [units].
    ended : bool
        Whether it was the last task of the episode.
    """
    p: SecondBidRecord = params[0]
    rho = rhos[action]
    _, best_surplus = best_action(b, state, params, rhos)
    state.totals[b].optimal_surplus += best_surplus
    winner, payment, surplus = settle(b, state, params, rho)
    publish_outcome(b, state, params, rho, winner)
    task = state.task[b]
    state.winners[b, task] = winner
    settled: SettledTask = state.settled[b, task]
    settled.rho, settled.payment, settled.lost = rho, payment, best_surplus - surplus
    state.settled_value[b, 0] = state.value[b, 0]
    for i in range(p.stations):
        state.settled_value[b, i + 1] = state.value[b, i + 1]
        state.settled_bid[b, i] = state.bid[b, i]
    state.task[b] = task + 1
    return surplus, bool(task + 1 == p.tasks)


@kernel
def clear_episode(b: int, state: SecondBidState) -> None:
    """Clear the records of the last episode."""
    state.task[b] = 0
    state.last[b], state.averages[b], state.totals[b] = _NO_TASK[0], _NO_AVERAGES[0], _NO_TOTALS[0]
    for account in range(state.receipts.shape[1]):
        state.receipts[b, account] = 0.0
    for i in range(state.utility.shape[1]):
        state.utility[b, i] = 0.0
    for provider in range(state.settled_value.shape[1]):
        state.settled_value[b, provider] = 0.0
    for i in range(state.settled_bid.shape[1]):
        state.settled_bid[b, i] = 0.0
    for task in range(state.winners.shape[1]):
        state.winners[b, task] = UAV
        state.settled[b, task] = _NOT_SETTLED[0]
