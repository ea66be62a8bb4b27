"""What a Stackelberg market draws: the technology of an instance, unit costs of an episode, conditions of a round."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.philox import philox_block, to_unit
from ioa_marl.markets.common.physics import computing_time, db_to_ratio, mobility_factor
from ioa_marl.markets.stackelberg import follower as f
from ioa_marl.markets.stackelberg import kernels as k
from ioa_marl.markets.stackelberg.kernels import Array, MarketState, list_members, shape_followers

# Purposes of the counter, those of an instance (key: instance, 0) first.
OF_WIRELESS, OF_WIRELESS_2, OF_MOBILE, OF_FIXED, OF_REACH, OF_VELOCITY = range(101, 107)
OF_COST, OF_COST_2, OF_TASK, OF_SPEED = range(4)


@kernel
def _around(word: Any, mean: float, spread: float) -> float:
    return mean * (1.0 + spread * (2.0 * to_unit(word) - 1.0))


@kernel
def _between(word: Any, low: float, high: float) -> float:
    return low + (high - low) * to_unit(word)


@kernel
def _normals(radius: Any, angle: Any) -> tuple[float, float]:
    """Two independent standard normal numbers from two words (Box and Muller)."""
    length, turn = math.sqrt(-2.0 * math.log(1.0 - to_unit(radius))), 2.0 * math.pi * to_unit(angle)
    return length * math.cos(turn), length * math.sin(turn)


@kernel
def _set_wireless(b: int, n: int, half: int, words: Any, state: MarketState, numbers: Array, counts: Array) -> None:
    """Set the first or the second half of what a wireless agent is, from four words."""
    w0, w1, w2, w3 = words
    spread = numbers[k.SPREAD]
    if half == 0:
        upload, delay = _around(w1, numbers[k.UPLOAD], spread), _around(w2, numbers[k.DELAY], spread)
        state.nominal[b, n, f.LOAD] = _around(w0, numbers[k.LOAD], spread)
        state.nominal[b, n, f.SLACK] = 1.0 + delay - upload
        state.nominal[b, n, f.QOE] = _around(w3, numbers[k.QOE], spread)
    else:
        state.nominal[b, n, f.EXPONENT] = _around(w0, numbers[k.EFFICIENCY], spread) * math.log(2.0)
        # Energy price and noise power are the wireless agent's own, the same for both of its links.
        state.nominal[b, n, f.MOBILE_ENERGY] = _around(w1, numbers[k.MOBILE_ENERGY], spread)
        state.nominal[b, n, f.FIXED_ENERGY] = _around(w1, numbers[k.FIXED_ENERGY], spread)
        state.relay[b, n] = _between(w2, numbers[k.RELAY_LOW], numbers[k.RELAY_HIGH])
        # Which mobile agent is a matter of names; which fixed agent is shuffled against it.
        state.reach[b, k.MOBILE, n] = n % counts[k.MOBILES]
        state.reach[b, k.FIXED, n] = n


@kernel
def _set_leader(b: int, side: int, leader: int, words: Any, state: MarketState, numbers: Array) -> None:
    """Set what a mobile agent is, or a fixed one and the aerial agent behind it, from four words."""
    w0, w1, w2, _ = words
    spread, cycles = numbers[k.SPREAD], numbers[k.CYCLES]
    speed = _around(w0, numbers[k.MOBILE_SPEED + side], spread)
    state.pace[b, side, leader] = computing_time(1.0, cycles, speed)
    if side == k.MOBILE:
        state.idle[b, leader] = _between(w1, numbers[k.IDLE_LOW], 1.0)
    else:
        state.aerial_pace[b, leader] = computing_time(1.0, cycles, _around(w1, numbers[k.AERIAL_SPEED], spread))
        state.passed_share[b, leader] = min(_around(w2, numbers[k.AERIAL_SHARE], spread), 1.0)
        state.served[b, leader] = 1.0


@kernel
def draw_instance(b: int, state: MarketState, numbers: Array, counts: Array, number: Any) -> None:
    """Draw the technology of market ``b``; ``number`` is 0, or tells the draws of an instance apart."""
    wireless = counts[k.WIRELESS]
    for purpose in range(OF_WIRELESS, OF_REACH + 1):
        many = wireless
        if purpose in (OF_MOBILE, OF_FIXED):
            many = counts[k.MOBILES + purpose - OF_MOBILE]
        for m in range(many):
            # One place for all draws: the generator is long, and is compiled into each.
            words = philox_block(state.instance[b], np.uint64(0), m + 1, number, purpose)
            if purpose <= OF_WIRELESS_2:
                _set_wireless(b, m, purpose - OF_WIRELESS, words, state, numbers, counts)
            elif purpose <= OF_FIXED:
                _set_leader(b, purpose - OF_MOBILE, m, words, state, numbers)
            else:
                # Fisher and Yates, from the front.
                other = m + int(to_unit(words[0]) * (wireless - m))
                held = state.reach[b, k.FIXED, m]
                state.reach[b, k.FIXED, m] = state.reach[b, k.FIXED, other]
                state.reach[b, k.FIXED, other] = held
    for n in range(wireless):
        state.reach[b, k.FIXED, n] %= counts[k.FIXEDS]
    for side in range(2):
        list_members(b, side, counts[k.MOBILES + side], state)


@kernel
def draw_velocities(b: int, state: MarketState, numbers: Array, counts: Array, number: Any) -> None:
    """Speeds at the start: of the instance, or of the episode where they change from round to round."""
    dynamic = counts[k.DYNAMICS] == 1
    key, stream = (state.seed[b], state.stream[b]) if dynamic else (state.instance[b], np.uint64(0))
    episode = state.episode[b] if dynamic else np.uint64(number)
    for m in range(counts[k.WIRELESS] + counts[k.MOBILES]):
        w0, w1, w2, w3 = philox_block(key, stream, m + 1, episode, OF_VELOCITY)
        normal, _ = _normals(w0, w1)
        state.velocity[b, m] = max(numbers[k.VELOCITY] + numbers[k.VELOCITY_DEVIATION] * normal, 0.0)
        if dynamic and m < counts[k.WIRELESS]:
            other, _ = _normals(w2, w3)
            state.shadow[b, m] = numbers[k.SHADOWING] * other


@kernel
def open_episode(b: int, state: MarketState, numbers: Array, counts: Array, redraw: bool) -> None:
    """Draw unit costs, and the technology where it is new: at the first episode, or always with ``redraw``."""
    number = state.episode[b] if redraw else np.uint64(0)
    if redraw or state.episode[b] == 0:
        draw_instance(b, state, numbers, counts, number)
    if redraw or state.episode[b] == 0 or counts[k.DYNAMICS] == 1:
        draw_velocities(b, state, numbers, counts, number)
    for side in range(2):
        low, high = numbers[k.MOBILE_COST_LOW + 2 * side], numbers[k.MOBILE_COST_HIGH + 2 * side]
        for leader in range(counts[k.MOBILES + side]):
            w0, _, _, _ = philox_block(state.seed[b], state.stream[b], leader + 1, state.episode[b], OF_COST + side)
            state.cost[b, side, leader] = _between(w0, low, high)
        for leader in range(state.price.shape[2]):
            state.price[b, side, leader] = 0.0
            state.sold[b, side, leader] = 0.0
            state.profit[b, side, leader] = 0.0
    for n in range(counts[k.WIRELESS]):
        state.share[b, n] = 0.0
        state.buys[b, n] = False
        state.utility[b, n] = 0.0
    for account in range(state.received.shape[1]):
        state.received[b, account] = 0.0
    for column in range(k.N_SUMS):
        state.sums[b, column] = 0.0
    state.round[b] = 0
    if redraw or state.episode[b] == 0 or counts[k.DYNAMICS] == 1:
        open_round(b, state, numbers, counts)


@kernel
def _evolve(b: int, state: MarketState, numbers: Array, counts: Array) -> None:
    """Gauss-Markov speeds and slow fading: x' = a x + (1 − a) mean + √(1 − a²) deviation · normal."""
    memory = numbers[k.MEMORY]
    noise = math.sqrt(1.0 - memory * memory)
    everybody = counts[k.WIRELESS] + counts[k.MOBILES]
    first = np.uint64(state.round[b]) * np.uint64(everybody) + np.uint64(1)
    for m in range(everybody):
        w0, w1, w2, w3 = philox_block(state.seed[b], state.stream[b], first + np.uint64(m), state.episode[b], OF_SPEED)
        pull = memory * state.velocity[b, m] + (1.0 - memory) * numbers[k.VELOCITY]
        normal, _ = _normals(w0, w1)
        state.velocity[b, m] = max(pull + noise * numbers[k.VELOCITY_DEVIATION] * normal, 0.0)
        if m < counts[k.WIRELESS]:
            other, _ = _normals(w2, w3)
            state.shadow[b, m] = memory * state.shadow[b, m] + noise * numbers[k.SHADOWING] * other


@kernel
def _tasks(word: Any, mean: float, most: int) -> int:
    """Return a Poisson number of tasks, cut at ``most``, by inversion."""
    left, term, number = to_unit(word), math.exp(-mean), 0
    while number < most and left >= term:
        left -= term
        number += 1
        term *= mean / number
    return number


@kernel
def open_round(b: int, state: MarketState, numbers: Array, counts: Array) -> None:
    """Set the wireless agents of a round: as they are, or with tasks, gains and speeds of their own."""
    dynamic = counts[k.DYNAMICS] == 1
    if dynamic and state.round[b] > 0:
        _evolve(b, state, numbers, counts)
    first = np.uint64(state.round[b]) * np.uint64(counts[k.WIRELESS]) + np.uint64(1)
    for n in range(counts[k.WIRELESS]):
        for column in range(f.TRAITS):
            state.traits[b, n, column] = state.nominal[b, n, column]
        i = state.reach[b, k.MOBILE, n]
        apart = abs(state.velocity[b, n] - state.velocity[b, counts[k.WIRELESS] + i]) / numbers[k.VELOCITY_RANGE]
        state.traits[b, n, f.FACTOR] = mobility_factor(
            state.idle[b, i], min(apart, 1.0), numbers[k.FACTOR_WEIGHT], numbers[k.FACTOR_OFFSET]
        )
        if dynamic:
            w0, w1, _, _ = philox_block(state.seed[b], state.stream[b], first + np.uint64(n), state.episode[b], OF_TASK)
            # Bandwidth is granted per task, so that the noise power, and with it the energy, goes with their number.
            tasks = _tasks(w0, numbers[k.ARRIVALS], counts[k.MAX_TASKS])
            state.traits[b, n, f.LOAD] *= tasks
            # What fades is around the wireless agent, so both of its links do, and the fixed one stays the better one.
            limit, rayleigh = numbers[k.FADING_LIMIT], -math.log(1.0 - to_unit(w1))
            gain = min(max(rayleigh * db_to_ratio(state.shadow[b, n]), 1.0 / limit), limit)
            state.traits[b, n, f.MOBILE_ENERGY] *= tasks / gain
            state.traits[b, n, f.FIXED_ENERGY] *= tasks / gain
    shape_followers(b, state, counts)
