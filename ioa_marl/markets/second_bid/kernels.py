"""Numba kernels of the modified second-bid auction: what happens to one task in one market, as scalar functions.

Providers are numbered as in the paper: 0 is the UAV (the brand bidder), 1 … N are the ground base stations (the
performance bidders). Stations alone have the indices 0 … N − 1, and a winner is a station's index or ``UAV`` (-1).
Source: Sections 3 to 5 of "Diffusion-based auction mechanism for efficient resource management in 6G-enabled vehicular
metaverses", Eqs. 1-15.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.philox import philox_block, to_unit
from ioa_marl.markets.common.physics import db_to_ratio, dbm_to_watt, processing_time, shannon_rate, transfer_time

Array = NDArray[Any]

UAV = -1
"""The winner, where it is the UAV."""

METRICS = (
    "surplus",
    "optimal_surplus",
    "efficiency",
    "station_surplus",
    "uav_surplus",
    "uav_share",
    "revenue",
    "bidder_utility",
    "delay",
    "rho",
)
SURPLUS, OPTIMUM, EFFICIENCY, STATION_SURPLUS, UAV_SURPLUS, UAV_SHARE = range(6)
REVENUE, UTILITY, DELAY, RHO = range(6, 10)

(NOISE, GAIN, SIZE, UPLINK, DOWNLINK, USER_POWER, PROVIDER_POWER, GPU, CPU, ACCURACY) = range(0, 20, 2)
"""Lower ends of ranges in the float parameter vector; the upper end follows each."""
LOG_COMMON = 20
"""As the ranges above: logarithm of the common value of ``pareto``."""
GPU_PER_BIT, ACCURACY_NOISE, ACCURACY_CAP, ACCURACY_REDRAW, BETA = range(22, 27)
LATENCY_FACTOR, ACCURACY_FACTOR, UAV_FACTOR, UAV_WEIGHT, CONTRACT_PRICE = range(27, 32)
PARETO_SHAPE, PARETO_UAV, SMOOTHING = range(32, 35)
LOG_LOW, LOG_HIGH, LOG_RATIO = range(35, 38)
"""Scales of observations: the smallest and largest logarithm of a valuation, the largest log(b₍₁₎/b₍₂₎)."""
N_NUMBERS = 38
"""Entries of the float parameter vector."""

STATIONS, LEVELS, PERIODS, TASKS, PARETO, CURRENT_BIDS, UAV_VISIBLE = range(7)
N_COUNTS = 7
"""Entries of the integer parameter vector."""

LAST_UAV, LAST_FIRST, LAST_SECOND, LAST_RHO, LAST_WINNER = range(5)
"""Columns of ``SecondBidState.last``."""


class SecondBidState(NamedTuple):
    """Everything that a batch of markets is, as arrays that can be saved and restored; providers = stations + 1."""

    seed: Array
    """uint64 (batch,): first key word of the market's random stream."""
    stream: Array
    """uint64 (batch,): second key word (environment index)."""
    instance: Array
    """uint64 (batch,): unused; nothing in this market lasts longer than an episode."""
    episode: Array
    """uint64 (batch,): episodes begun so far, counted from 0."""
    phase: Array
    """int64 (batch,): 0 the stations bid, 1 the auctioneer sets ρ."""
    cycles: Array
    """int64 (batch,): environment steps of this episode so far."""
    task: Array
    """int64 (batch,): tasks auctioned so far in this episode."""
    accuracy: Array
    """float64 (batch, providers): each provider's accuracy R before the noise of the periods."""
    common: Array
    """float64 (batch, providers): common value c of the present task (Eq. 9)."""
    value: Array
    """float64 (batch, providers): valuation v of the present task (Eq. 11)."""
    delay: Array
    """float64 (batch, providers): mean latency E[T] of the present task [s]."""
    bid: Array
    """float64 (batch, stations): the stations' bids for the present task, 0 before they are made."""
    rank: Array
    """int64 (batch, stations): stations by bid, the highest first, ties by index."""
    last: Array
    """float64 (batch, 5): log v₀, log b₍₁₎, log b₍₂₎, ρ and winner of the last task; see ``LAST_UAV`` and so on."""
    averages: Array
    """float64 (batch, 3): moving averages of log v₀, log b₍₁₎ and log b₍₂₎ over the tasks so far."""
    utility: Array
    """float64 (batch, stations): value − payment of each station in the last task."""
    receipts: Array
    """float64 (batch, stations + 2): receipts of the stations, the UAV and the auctioneer in this episode."""
    totals: Array
    """float64 (batch, metrics): sums over the tasks so far, see ``METRICS``."""
    winners: Array
    """int64 (batch, tasks): who won each task of this episode, a station's index or -1 for the UAV."""
    records: Array
    """float64 (batch, tasks, 3): ρ, payment and surplus lost of each task of this episode."""
    settled_value: Array
    """float64 (batch, providers): valuations of the last task."""
    settled_bid: Array
    """float64 (batch, stations): the stations' bids for the last task."""


@kernel
def between(numbers: Array, low: int, u: float) -> float:
    """Return the point at ``u`` in [0, 1) of the range whose lower end is entry ``low``."""
    return float(numbers[low] + (numbers[low + 1] - numbers[low]) * u)


@kernel
def matching_value(accuracy: float, factor: float, beta: float) -> float:
    """Eq. 10 in one period: ω₂/(1 − R)^β."""
    return float(factor / (1.0 - accuracy) ** beta)


@kernel
def wins(bid: float, highest_other: float, rho: float) -> bool:
    """Eq. 14: a station wins iff its bid exceeds ρ times the highest bid of the other stations."""
    return bid > rho * highest_other


@kernel
def critical_payment(highest_other: float, rho: float) -> float:
    """Eq. 15: what a station that wins pays, ρ times the highest bid of the other stations."""
    return rho * highest_other


@kernel
def average_periods(b: int, n: int, state: SecondBidState, numbers: Array, counts: Array) -> tuple[float, float, float]:
    """Return common value (Eq. 9), matching value (Eq. 10) and mean latency [s] of provider ``n`` for the present task.

    Averages over as many past periods as the market looks back; in each, the provider has served another task over
    another channel.
    """
    seed, stream, episode = state.seed[b], state.stream[b], state.episode[b]
    periods = counts[PERIODS]
    block = 3 * periods * state.task[b] + 1
    common, matching, latency = 0.0, 0.0, 0.0
    for _ in range(periods):
        w0, w1, w2, w3 = philox_block(seed, stream, block, episode, 2 * n + 1)
        w4, w5, w6, w7 = philox_block(seed, stream, block + 1, episode, 2 * n + 1)
        w8, w9, w10, _ = philox_block(seed, stream, block + 2, episode, 2 * n + 1)
        block += 3
        gain = db_to_ratio(between(numbers, GAIN, to_unit(w0)))
        size = between(numbers, SIZE, to_unit(w1))
        up = shannon_rate(
            between(numbers, UPLINK, to_unit(w2)),
            gain,
            dbm_to_watt(between(numbers, USER_POWER, to_unit(w3))),
            dbm_to_watt(between(numbers, NOISE, to_unit(w4))),
        )
        down = shannon_rate(
            between(numbers, DOWNLINK, to_unit(w5)),
            gain,
            dbm_to_watt(between(numbers, PROVIDER_POWER, to_unit(w6))),
            dbm_to_watt(between(numbers, NOISE, to_unit(w7))),
        )
        gpu, cpu = between(numbers, GPU, to_unit(w8)), between(numbers, CPU, to_unit(w9))
        # Eq. 6; the result is as large as the input.
        total = transfer_time(size, up) + transfer_time(size, down)
        total += processing_time(size, numbers[GPU_PER_BIT], gpu, cpu)
        accuracy = state.accuracy[b, n] + numbers[ACCURACY_NOISE] * (2.0 * to_unit(w10) - 1.0)
        accuracy = min(max(accuracy, 0.0), numbers[ACCURACY_CAP])
        common += numbers[LATENCY_FACTOR] / total
        matching += matching_value(accuracy, numbers[ACCURACY_FACTOR], numbers[BETA])
        latency += total
    return common / periods, matching / periods, latency / periods


@kernel
def draw_task(b: int, state: SecondBidState, numbers: Array, counts: Array) -> None:
    """Draw every provider's valuation of the next task of market ``b``."""
    seed, stream, episode, task = state.seed[b], state.stream[b], state.episode[b], state.task[b]
    shared = 0.0
    for n in range(counts[STATIONS] + 1):
        w0, w1, w2, w3 = philox_block(seed, stream, task + 1, episode, 2 * n + 2)
        if task == 0 or to_unit(w0) < numbers[ACCURACY_REDRAW]:
            state.accuracy[b, n] = between(numbers, ACCURACY, to_unit(w1))
        if counts[PARETO] == 1:
            if n == 0:
                shared = math.exp(between(numbers, LOG_COMMON, to_unit(w2)))
                matching = numbers[PARETO_UAV]
            else:
                matching = (1.0 - to_unit(w3)) ** (-1.0 / numbers[PARETO_SHAPE])
            common, latency = shared, numbers[LATENCY_FACTOR] / shared
        else:
            common, matching, latency = average_periods(b, n, state, numbers, counts)
            if n == 0:
                matching *= numbers[UAV_FACTOR]
        state.common[b, n] = common
        state.value[b, n] = common * matching
        state.delay[b, n] = latency
    for i in range(counts[STATIONS]):
        state.bid[b, i] = 0.0
        state.rank[b, i] = i


@kernel
def rank_bids(b: int, state: SecondBidState) -> None:
    """Sort the stations of market ``b`` by bid, the highest first, ties by index."""
    for i in range(state.rank.shape[1]):
        j = i
        while j > 0 and state.bid[b, state.rank[b, j - 1]] < state.bid[b, i]:
            state.rank[b, j] = state.rank[b, j - 1]
            j -= 1
        state.rank[b, j] = i


@kernel
def best_action(b: int, state: SecondBidState, numbers: Array, counts: Array, rhos: Array) -> tuple[int, float]:
    """Return the action with the largest surplus, knowing true values and the bids made, and that surplus.

    Ties go to the smallest ρ. Under truthful bids this is the optimum with full information.
    """
    first, second = state.rank[b, 0], state.rank[b, 1]
    station, uav = state.value[b, first + 1], numbers[UAV_WEIGHT] * state.value[b, 0]
    best, chosen = -1.0, 0
    for action in range(counts[LEVELS]):
        surplus = station if wins(state.bid[b, first], state.bid[b, second], rhos[action]) else uav
        if surplus > best:
            best, chosen = surplus, action
    return chosen, best


@kernel
def remember(b: int, state: SecondBidState, numbers: Array, rho: float, winner: int) -> None:
    """Write down what everybody knows after a task: v₀, the two highest bids, ρ and the winner."""
    uav = math.log(state.value[b, 0])
    first, second = math.log(state.bid[b, state.rank[b, 0]]), math.log(state.bid[b, state.rank[b, 1]])
    state.last[b, LAST_UAV], state.last[b, LAST_FIRST], state.last[b, LAST_SECOND] = uav, first, second
    state.last[b, LAST_RHO], state.last[b, LAST_WINNER] = rho, float(winner)
    keep = numbers[SMOOTHING] if state.task[b] > 0 else 0.0
    state.averages[b, 0] = keep * state.averages[b, 0] + (1.0 - keep) * uav
    state.averages[b, 1] = keep * state.averages[b, 1] + (1.0 - keep) * first
    state.averages[b, 2] = keep * state.averages[b, 2] + (1.0 - keep) * second


@kernel
def settle(b: int, state: SecondBidState, numbers: Array, counts: Array, rho: float) -> tuple[int, float, float]:
    """Decide who serves the present task and what it pays. Returns (winner, payment, allocative surplus)."""
    stations, totals = counts[STATIONS], state.totals
    first, second = state.rank[b, 0], state.rank[b, 1]
    for i in range(stations):
        state.utility[b, i] = 0.0
    if wins(state.bid[b, first], state.bid[b, second], rho):
        winner, account = first, first
        payment = critical_payment(state.bid[b, second], rho)
        value = state.value[b, first + 1]
        surplus = value
        state.utility[b, first] = value - payment
        totals[b, STATION_SURPLUS] += surplus
    else:
        winner, account = UAV, stations
        payment = numbers[CONTRACT_PRICE]
        value = state.value[b, 0]
        surplus = numbers[UAV_WEIGHT] * value
        totals[b, UAV_SURPLUS] += surplus
        totals[b, UAV_SHARE] += 1.0
    state.receipts[b, account] -= payment
    state.receipts[b, stations + 1] += payment
    totals[b, SURPLUS] += surplus
    totals[b, REVENUE] += payment
    totals[b, UTILITY] += value - payment
    totals[b, DELAY] += state.delay[b, winner + 1]
    totals[b, RHO] += rho
    return winner, payment, surplus


@kernel
def hold_auction(
    b: int, state: SecondBidState, numbers: Array, counts: Array, rhos: Array, action: int
) -> tuple[float, bool]:
    """Auction the present task of market ``b`` at ``rhos[action]``. Returns (surplus, it was the last task)."""
    rho = rhos[action]
    _, best = best_action(b, state, numbers, counts, rhos)
    state.totals[b, OPTIMUM] += best
    winner, payment, surplus = settle(b, state, numbers, counts, rho)
    remember(b, state, numbers, rho, winner)
    task = state.task[b]
    state.winners[b, task] = winner
    state.records[b, task, 0], state.records[b, task, 1] = rho, payment
    state.records[b, task, 2] = best - surplus
    state.settled_value[b, 0] = state.value[b, 0]
    for i in range(counts[STATIONS]):
        state.settled_value[b, i + 1] = state.value[b, i + 1]
        state.settled_bid[b, i] = state.bid[b, i]
    state.task[b] = task + 1
    return surplus, bool(task + 1 == counts[TASKS])


@kernel
def clear_episode(b: int, state: SecondBidState) -> None:
    """Forget the last episode of market ``b``."""
    state.task[b] = 0
    for column in range(state.last.shape[1]):
        state.last[b, column] = 0.0
    for column in range(state.averages.shape[1]):
        state.averages[b, column] = 0.0
    for column in range(state.totals.shape[1]):
        state.totals[b, column] = 0.0
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
        for column in range(state.records.shape[2]):
            state.records[b, task, column] = 0.0


def allocate_state(batch: int, stations: int, tasks: int) -> SecondBidState:
    """Return a zeroed state of ``batch`` markets with ``stations`` stations and ``tasks`` tasks an episode."""
    providers = stations + 1
    words = {name: np.zeros(batch, np.uint64) for name in ("seed", "stream", "instance", "episode")}
    whole = {name: np.zeros(batch, np.int64) for name in ("phase", "cycles", "task")}
    of_providers = {
        name: np.zeros((batch, providers)) for name in ("accuracy", "common", "value", "delay", "settled_value")
    }
    return SecondBidState(
        **words,
        **whole,
        **of_providers,
        bid=np.zeros((batch, stations)),
        rank=np.zeros((batch, stations), np.int64),
        last=np.zeros((batch, 5)),
        averages=np.zeros((batch, 3)),
        utility=np.zeros((batch, stations)),
        receipts=np.zeros((batch, stations + 2)),
        totals=np.zeros((batch, len(METRICS))),
        winners=np.zeros((batch, tasks), np.int64),
        records=np.zeros((batch, tasks, 3)),
        settled_bid=np.zeros((batch, stations)),
    )
