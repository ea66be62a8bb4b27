"""What a Stackelberg market draws: the technology of an instance, unit costs of an episode, conditions of a round."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.philox import philox_block, to_unit
from ioa_marl.markets.common.physics import computing_time, db_to_ratio, mobility_factor
from ioa_marl.markets.stackelberg.kernels import (
    FIXED,
    MOBILE,
    Array,
    MarketState,
    leader_count,
    list_members,
    shape_followers,
)
from ioa_marl.markets.stackelberg.records import EpisodeTotals, StackelbergRecord, Traits

# Purposes of the counter, those of an instance (key: instance, 0) first.
OF_WIRELESS, OF_WIRELESS_2, OF_MOBILE, OF_FIXED, OF_REACH, OF_VELOCITY = range(101, 107)
OF_COST, OF_COST_2, OF_TASK, OF_SPEED = range(4)


@kernel
def _around(word: Any, mean: float, spread: float) -> float:
    return mean * (1.0 + spread * (2.0 * to_unit(word) - 1.0))


@kernel
def between(word: Any, low: float, high: float) -> float:
    """Return a uniform number between two bounds, from a word of the generator."""
    return low + (high - low) * to_unit(word)


@kernel
def _normals(radius: Any, angle: Any) -> tuple[float, float]:
    """Two independent standard normal numbers from two words (Box and Muller)."""
    length, turn = math.sqrt(-2.0 * math.log(1.0 - to_unit(radius))), 2.0 * math.pi * to_unit(angle)
    return length * math.cos(turn), length * math.sin(turn)


@kernel
def _set_wireless(b: int, n: int, half: int, words: Any, state: MarketState, params: Array) -> None:
    """Set the first or the second half of what a wireless agent is, from four words."""
    p: StackelbergRecord = params[0]
    t: Traits = state.nominal[b, n]
    w0, w1, w2, w3 = words
    if half == 0:
        upload, delay = _around(w1, p.upload_time, p.spread), _around(w2, p.tolerable_delay, p.spread)
        t.load = _around(w0, p.workload, p.spread)
        t.slack = 1.0 + delay - upload
        t.qoe_weight = _around(w3, p.qoe_weight, p.spread)
    else:
        t.exponent = _around(w0, p.efficiency, p.spread) * math.log(2.0)
        # Energy price and noise power are the wireless agent's own, the same for both of its links.
        t.mobile_energy = _around(w1, p.mobile_energy, p.spread)
        t.fixed_energy = _around(w1, p.fixed_energy, p.spread)
        state.relay_time[b, n] = between(w2, p.relay_time_low, p.relay_time_high)
        # Which mobile agent is a matter of names; which fixed agent is shuffled against it.
        state.reach[b, MOBILE, n] = n % p.mobile
        state.reach[b, FIXED, n] = n


@kernel
def _set_leader(b: int, side: int, leader: int, words: Any, state: MarketState, params: Array) -> None:
    """Set what a mobile agent is, or a fixed one and the aerial agent behind it, from four words."""
    p: StackelbergRecord = params[0]
    w0, w1, w2, _ = words
    speed = _around(w0, p.mobile_speed if side == MOBILE else p.fixed_speed, p.spread)
    state.time_per_mbit[b, side, leader] = computing_time(1.0, p.cycles_per_mbit, speed)
    if side == MOBILE:
        state.idle_share[b, leader] = between(w1, p.lowest_idle, 1.0)
    else:
        aerial_speed = _around(w1, p.aerial_speed, p.spread)
        state.aerial_time_per_mbit[b, leader] = computing_time(1.0, p.cycles_per_mbit, aerial_speed)
        state.offloading_ratio[b, leader] = min(_around(w2, p.aerial_share, p.spread), 1.0)
        state.served_fraction[b, leader] = 1.0


@kernel
def draw_instance(b: int, state: MarketState, params: Array, number: Any) -> None:
    """Draw the technology of market ``b``; ``number`` is 0, or tells the draws of an instance apart."""
    p: StackelbergRecord = params[0]
    for purpose in range(OF_WIRELESS, OF_REACH + 1):
        many = p.wireless
        if purpose in (OF_MOBILE, OF_FIXED):
            many = leader_count(purpose - OF_MOBILE, params)
        for m in range(many):
            # One place for all draws: the generator is long, and is compiled into each.
            words = philox_block(state.instance[b], np.uint64(0), m + 1, number, purpose)
            if purpose <= OF_WIRELESS_2:
                _set_wireless(b, m, purpose - OF_WIRELESS, words, state, params)
            elif purpose <= OF_FIXED:
                _set_leader(b, purpose - OF_MOBILE, m, words, state, params)
            else:
                # Fisher and Yates, from the front.
                other = m + int(to_unit(words[0]) * (p.wireless - m))
                moved = state.reach[b, FIXED, m]
                state.reach[b, FIXED, m] = state.reach[b, FIXED, other]
                state.reach[b, FIXED, other] = moved
    for n in range(p.wireless):
        state.reach[b, FIXED, n] %= p.fixed
    for side in range(2):
        list_members(b, side, leader_count(side, params), state)


@kernel
def draw_velocities(b: int, state: MarketState, params: Array, number: Any) -> None:
    """Speeds at the start: of the instance, or of the episode where they change from round to round."""
    p: StackelbergRecord = params[0]
    key, stream = (state.seed[b], state.stream[b]) if p.dynamics else (state.instance[b], np.uint64(0))
    episode = state.episode[b] if p.dynamics else np.uint64(number)
    for m in range(p.wireless + p.mobile):
        w0, w1, w2, w3 = philox_block(key, stream, m + 1, episode, OF_VELOCITY)
        normal, _ = _normals(w0, w1)
        state.velocity[b, m] = max(p.velocity + p.velocity_deviation * normal, 0.0)
        if p.dynamics and m < p.wireless:
            other, _ = _normals(w2, w3)
            state.slow_fading[b, m] = p.shadowing * other


@kernel
def open_episode(b: int, state: MarketState, params: Array, redraw: bool) -> None:
    """Draw unit costs, and the technology where it is new: at the first episode, or always with ``redraw``."""
    p: StackelbergRecord = params[0]
    number = state.episode[b] if redraw else np.uint64(0)
    if redraw or state.episode[b] == 0:
        draw_instance(b, state, params, number)
    if redraw or state.episode[b] == 0 or p.dynamics:
        draw_velocities(b, state, params, number)
    for side in range(2):
        low = p.mobile_cost_low if side == MOBILE else p.fixed_cost_low
        high = p.mobile_cost_high if side == MOBILE else p.fixed_cost_high
        for leader in range(leader_count(side, params)):
            w0, _, _, _ = philox_block(state.seed[b], state.stream[b], leader + 1, state.episode[b], OF_COST + side)
            state.cost[b, side, leader] = between(w0, low, high)
    _clear_episode(b, state, params)
    if redraw or state.episode[b] == 0 or p.dynamics:
        open_round(b, state, params)


@kernel
def _clear_episode(b: int, state: MarketState, params: Array) -> None:
    """Set everything that a round writes or an episode adds up to zero."""
    for side in range(2):
        for leader in range(state.price.shape[2]):
            state.price[b, side, leader] = 0.0
            state.sales[b, side, leader] = 0.0
            state.profit[b, side, leader] = 0.0
    for n in range(params[0].wireless):
        state.share[b, n] = 0.0
        state.buys[b, n] = False
        state.utility[b, n] = 0.0
    for account in range(state.accounts.shape[1]):
        state.accounts[b, account] = 0.0
    totals: EpisodeTotals = state.totals[b]
    totals.follower_welfare, totals.leader_profit, totals.purchases, totals.tasks = 0.0, 0.0, 0.0, 0.0
    state.round[b] = 0


@kernel
def _evolve(b: int, state: MarketState, params: Array) -> None:
    """Gauss-Markov speeds and slow fading: x' = a x + (1 − a) mean + √(1 − a²) deviation · normal."""
    p: StackelbergRecord = params[0]
    noise = math.sqrt(1.0 - p.memory * p.memory)
    everybody = p.wireless + p.mobile
    first = np.uint64(state.round[b]) * np.uint64(everybody) + np.uint64(1)
    for m in range(everybody):
        w0, w1, w2, w3 = philox_block(state.seed[b], state.stream[b], first + np.uint64(m), state.episode[b], OF_SPEED)
        pull = p.memory * state.velocity[b, m] + (1.0 - p.memory) * p.velocity
        normal, _ = _normals(w0, w1)
        state.velocity[b, m] = max(pull + noise * p.velocity_deviation * normal, 0.0)
        if m < p.wireless:
            other, _ = _normals(w2, w3)
            state.slow_fading[b, m] = p.memory * state.slow_fading[b, m] + noise * p.shadowing * other


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
def _draw_tasks(b: int, n: int, state: MarketState, params: Array) -> None:
    """Draw a wireless agent's tasks and the gain of its links in this round, and change its traits by them."""
    p: StackelbergRecord = params[0]
    t: Traits = state.traits[b, n]
    counter = np.uint64(state.round[b]) * np.uint64(p.wireless) + np.uint64(1) + np.uint64(n)
    w0, w1, _, _ = philox_block(state.seed[b], state.stream[b], counter, state.episode[b], OF_TASK)
    # Bandwidth is granted per task, so that the noise power, and with it the energy, goes with their number.
    tasks = _tasks(w0, p.arrivals, p.max_tasks)
    t.load *= tasks
    # What fades is around the wireless agent, so both of its links do, and the fixed one stays the better one.
    rayleigh = -math.log(1.0 - to_unit(w1))
    gain = min(max(rayleigh * db_to_ratio(state.slow_fading[b, n]), 1.0 / p.fading_limit), p.fading_limit)
    t.mobile_energy *= tasks / gain
    t.fixed_energy *= tasks / gain


@kernel
def open_round(b: int, state: MarketState, params: Array) -> None:
    """Set the wireless agents of a round: as they are, or with tasks, gains and speeds of their own."""
    p: StackelbergRecord = params[0]
    if p.dynamics and state.round[b] > 0:
        _evolve(b, state, params)
    for n in range(p.wireless):
        t: Traits = state.traits[b, n]
        nominal: Traits = state.nominal[b, n]
        t.load, t.qoe_weight, t.slack = nominal.load, nominal.qoe_weight, nominal.slack
        t.exponent, t.mobile_energy, t.fixed_energy = nominal.exponent, nominal.mobile_energy, nominal.fixed_energy
        i = state.reach[b, MOBILE, n]
        apart = abs(state.velocity[b, n] - state.velocity[b, p.wireless + i]) / p.velocity_range
        t.mobility_factor = mobility_factor(
            state.idle_share[b, i], min(apart, 1.0), p.mobility_weight, p.mobility_offset
        )
        if p.dynamics:
            _draw_tasks(b, n, state, params)
    shape_followers(b, state, params)
