"""Numba kernels of the modified second-bid auction: the equations and rules of one task, as scalar functions.

Common arguments of the kernels:

- ``b``: index of the market in the batch;
- ``state``: the `SecondBidState` of the batch, whose fields have the shapes and units;
- ``params``: the parameters, `SecondBidRecord` (1,);
- ``rhos``: float64 (levels,), the price scaling factors ρ.

Source: Sections 3 to 5 of "Diffusion-based auction mechanism for efficient resource management in 6G-enabled vehicular
metaverses", Eqs. 1-15.
"""

from __future__ import annotations

import math

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.philox import philox_block, to_unit
from ioa_marl.markets.common.physics import db_to_ratio, dbm_to_watt, processing_time, shannon_rate, transfer_time
from ioa_marl.markets.second_bid.state import (
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
def between(low: float, high: float, u: float) -> float:
    """Return the number between ``low`` and ``high`` that belongs to a uniform number ``u`` in [0, 1)."""
    return low + (high - low) * u


@kernel
def match_value(accuracy: float, factor: float, beta: float) -> float:
    """Return the match value of one period by Eq. 10, ω₂/(1 − R)^β, for the accuracy R, the factor ω₂ and β."""
    return float(factor / (1.0 - accuracy) ** beta)


@kernel
def wins(bid: float, highest_other: float, rho: float) -> bool:
    """Return whether a station wins by Eq. 14: iff its bid exceeds ρ times the highest bid of its rivals."""
    return bid > rho * highest_other


@kernel
def critical_payment(highest_other: float, rho: float) -> float:
    """Return the payment of a winning station by Eq. 15, ρ times the highest bid of its rivals [units]."""
    return rho * highest_other


@kernel
def average_periods(b: int, n: int, state: SecondBidState, params: Array) -> tuple[float, float, float]:
    """Return the averages over past periods from which provider ``n`` values the current task.

    In every period the provider has served another task over another channel.

    Returns
    -------
    common : float
        Common value c (Eq. 9) [units].
    match : float
        Match value m (Eq. 10).
    latency : float
        Mean latency E[T] [s].
    """
    seed, stream, episode = state.seed[b], state.stream[b], state.episode[b]
    p: SecondBidRecord = params[0]
    periods = p.periods
    block = 3 * periods * state.task[b] + 1
    common, match, latency = 0.0, 0.0, 0.0
    for _ in range(periods):
        w0, w1, w2, w3 = philox_block(seed, stream, block, episode, 2 * n + 1)
        w4, w5, w6, w7 = philox_block(seed, stream, block + 1, episode, 2 * n + 1)
        w8, w9, w10, _ = philox_block(seed, stream, block + 2, episode, 2 * n + 1)
        block += 3
        gain = db_to_ratio(between(p.channel_gain_low, p.channel_gain_high, to_unit(w0)))
        size = between(p.task_size_low, p.task_size_high, to_unit(w1))
        up = shannon_rate(
            between(p.uplink_bandwidth_low, p.uplink_bandwidth_high, to_unit(w2)),
            gain,
            dbm_to_watt(between(p.user_power_low, p.user_power_high, to_unit(w3))),
            dbm_to_watt(between(p.noise_power_low, p.noise_power_high, to_unit(w4))),
        )
        down = shannon_rate(
            between(p.downlink_bandwidth_low, p.downlink_bandwidth_high, to_unit(w5)),
            gain,
            dbm_to_watt(between(p.provider_power_low, p.provider_power_high, to_unit(w6))),
            dbm_to_watt(between(p.noise_power_low, p.noise_power_high, to_unit(w7))),
        )
        gpu = between(p.gpu_speed_low, p.gpu_speed_high, to_unit(w8))
        cpu = between(p.cpu_speed_low, p.cpu_speed_high, to_unit(w9))
        # This is Eq. 6, in which the result is as large as the input.
        total = transfer_time(size, up) + transfer_time(size, down)
        total += processing_time(size, p.gpu_per_bit, gpu, cpu)
        accuracy = state.accuracy[b, n] + p.accuracy_noise * (2.0 * to_unit(w10) - 1.0)
        accuracy = min(max(accuracy, 0.0), p.accuracy_cap)
        common += p.latency_factor / total
        match += match_value(accuracy, p.accuracy_factor, p.beta)
        latency += total
    return common / periods, match / periods, latency / periods


@kernel
def draw_task(b: int, state: SecondBidState, params: Array) -> None:
    """Draw every provider's valuation of the next task (Eq. 11), and clear the bids."""
    p: SecondBidRecord = params[0]
    seed, stream, episode, task = state.seed[b], state.stream[b], state.episode[b], state.task[b]
    pareto_common = 0.0
    for n in range(p.stations + 1):
        w0, w1, w2, w3 = philox_block(seed, stream, task + 1, episode, 2 * n + 2)
        if task == 0 or to_unit(w0) < p.accuracy_redraw:
            state.accuracy[b, n] = between(p.accuracy_low, p.accuracy_high, to_unit(w1))
        if p.pareto:
            if n == 0:
                pareto_common = math.exp(between(p.log_common_value_low, p.log_common_value_high, to_unit(w2)))
                match = p.pareto_uav
            else:
                match = (1.0 - to_unit(w3)) ** (-1.0 / p.pareto_shape)
            common, latency = pareto_common, p.latency_factor / pareto_common
        else:
            common, match, latency = average_periods(b, n, state, params)
            if n == 0:
                match *= p.uav_factor
        state.common[b, n] = common
        state.value[b, n] = common * match
        state.delay[b, n] = latency
    for i in range(p.stations):
        state.bid[b, i] = 0.0
        state.rank[b, i] = i


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
        payment = p.contract_price
        value = state.value[b, 0]
        surplus = p.uav_weight * value
        totals.uav_surplus += surplus
        totals.uav_share += 1.0
    state.receipts[b, account] -= payment
    state.receipts[b, stations + 1] += payment
    totals.surplus += surplus
    totals.revenue += payment
    totals.bidder_utility += value - payment
    totals.delay += state.delay[b, winner + 1]
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
