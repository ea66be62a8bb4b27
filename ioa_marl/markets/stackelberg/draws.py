"""Random draws of a Stackelberg market: the technology of an instance, unit costs of an episode, tasks of a round.

In all kernels ``b`` is the index of the market in the batch, ``state`` the `MarketState` of the batch, and ``params``
an array of one `StackelbergRecord`, shape (1,). Results are written into ``state``, whose fields have the shapes and
units.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.philox import philox_block, to_unit
from ioa_marl.markets.common.physics import computing_time, mobility_factor
from ioa_marl.markets.stackelberg.kernels import (
    FIXED,
    MOBILE,
    Array,
    MarketState,
    leader_count,
    list_members,
    shape_followers,
)
from ioa_marl.markets.stackelberg.mobility import channel_gain, evolve, normals, set_home_links
from ioa_marl.markets.stackelberg.records import EpisodeTotals, StackelbergRecord, Traits

OF_WIRELESS, OF_WIRELESS_2, OF_MOBILE, OF_FIXED, OF_REACH, OF_VELOCITY = range(101, 107)
"""Purposes of the random counter for the draws of an instance, whose key is (instance, 0)."""
OF_COST, OF_TASK = 0, 2
"""Purposes for the draws of an episode, whose key is (seed, stream); costs of the fixed side use ``OF_COST`` + 1.
Those of `mobility` have the next numbers."""


@kernel
def _around(word: Any, mean: float, spread: float) -> float:
    """Return a uniform number within ``spread`` of ``mean``, relative to it, from a word of the generator."""
    return mean * (1.0 + spread * (2.0 * to_unit(word) - 1.0))


@kernel
def between(word: Any, low: float, high: float) -> float:
    """Return a uniform number between two bounds, from a word of the generator."""
    return low + (high - low) * to_unit(word)


@kernel
def _set_wireless(b: int, n: int, half: int, words: Any, state: MarketState, params: Array) -> None:
    """Draw the first (``half`` 0) or the second half of the traits of wireless agent ``n`` from four words."""
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
        # The energy price and the noise power belong to the wireless agent, so both of its links have the same factor.
        t.mobile_energy = _around(w1, p.mobile_energy, p.spread)
        t.fixed_energy = _around(w1, p.fixed_energy, p.spread)
        state.relay_time[b, n] = between(w2, p.relay_time_low, p.relay_time_high)
        # Only the pairing matters, so mobile agents are assigned in order; `draw_instance` shuffles the fixed ones.
        state.reach[b, MOBILE, n] = n % p.mobile
        state.reach[b, FIXED, n] = n


@kernel
def _set_leader(b: int, side: int, leader: int, words: Any, state: MarketState, params: Array) -> None:
    """Draw the speed and the resources of a mobile agent, or of a fixed agent and its aerial agent, from four words."""
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
    """Draw the technology of market ``b``.

    ``number`` tells several draws of one instance apart: the episode if the technology is redrawn, else 0.
    """
    p: StackelbergRecord = params[0]
    for purpose in range(OF_WIRELESS, OF_REACH + 1):
        agents = p.wireless
        if purpose in (OF_MOBILE, OF_FIXED):
            agents = leader_count(purpose - OF_MOBILE, params)
        for m in range(agents):
            # All purposes share this one call, because the generator is long and is inlined at every call.
            words = philox_block(state.instance[b], np.uint64(0), m + 1, number, purpose)
            if purpose <= OF_WIRELESS_2:
                _set_wireless(b, m, purpose - OF_WIRELESS, words, state, params)
            elif purpose <= OF_FIXED:
                _set_leader(b, purpose - OF_MOBILE, m, words, state, params)
            else:
                # This is one step of the Fisher-Yates shuffle, from the front.
                other = m + int(to_unit(words[0]) * (p.wireless - m))
                swapped = state.reach[b, FIXED, m]
                state.reach[b, FIXED, m] = state.reach[b, FIXED, other]
                state.reach[b, FIXED, other] = swapped
    for n in range(p.wireless):
        state.reach[b, FIXED, n] %= p.fixed
    for side in range(2):
        list_members(b, side, leader_count(side, params), state)


@kernel
def draw_velocities(b: int, state: MarketState, params: Array, number: Any) -> None:
    """Draw the initial speeds: they belong to the instance, or to the episode if the market is dynamic.

    ``number`` is that of `draw_instance`.
    """
    p: StackelbergRecord = params[0]
    key, stream = (state.seed[b], state.stream[b]) if p.dynamics else (state.instance[b], np.uint64(0))
    episode = state.episode[b] if p.dynamics else np.uint64(number)
    for m in range(p.wireless + p.mobile):
        w0, w1, w2, w3 = philox_block(key, stream, m + 1, episode, OF_VELOCITY)
        normal, _ = normals(w0, w1)
        state.velocity[b, m] = max(p.velocity + p.velocity_deviation * normal, 0.0)
        if p.dynamics and m < p.wireless:
            other, another = normals(w2, w3)
            state.slow_fading[b, m] = p.shadowing * other
            if p.independent_fading:
                state.slow_fading[b, p.wireless + m] = p.shadowing * another


@kernel
def open_episode(b: int, state: MarketState, params: Array, redraw: bool) -> None:
    """Draw the unit costs of the episode, and the technology in the first episode or, with ``redraw``, in every one."""
    p: StackelbergRecord = params[0]
    number = state.episode[b] if redraw else np.uint64(0)
    if redraw or state.episode[b] == 0:
        draw_instance(b, state, params, number)
    if p.handover:
        set_home_links(b, redraw or state.episode[b] == 0, state, params)
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
    """Set the results of the last round and the totals of the episode to zero."""
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
    totals.nash_conv, totals.last_nash_conv, totals.audited = 0.0, 0.0, 0.0
    totals.compared, totals.compared_profit, totals.equilibrium_profit = 0.0, 0.0, 0.0
    totals.price_distance, totals.pure, totals.equilibria = 0.0, 0.0, 0.0
    totals.gain, totals.room, totals.at_cap = 0.0, 0.0, 0.0
    state.round[b] = 0


@kernel
def _tasks(word: Any, mean: float, most: int) -> int:
    """Return a Poisson number of tasks, at most ``most``, by inversion of the distribution function."""
    quantile, probability, number = to_unit(word), math.exp(-mean), 0
    while number < most and quantile >= probability:
        quantile -= probability
        number += 1
        probability *= mean / number
    return number


@kernel
def _draw_tasks(b: int, n: int, state: MarketState, params: Array) -> None:
    """Draw the tasks and the channel gains of wireless agent ``n`` in this round, and scale its traits by them."""
    p: StackelbergRecord = params[0]
    t: Traits = state.traits[b, n]
    counter = np.uint64(state.round[b]) * np.uint64(p.wireless) + np.uint64(1) + np.uint64(n)
    w0, w1, w2, _ = philox_block(state.seed[b], state.stream[b], counter, state.episode[b], OF_TASK)
    # Bandwidth is granted per task, so the noise power, and with it the energy, is proportional to the tasks.
    tasks = _tasks(w0, p.arrivals, p.max_tasks)
    t.load *= tasks
    # Fading that arises around the wireless agent is the same for both links, and the fixed one stays better.
    gain = channel_gain(w1, state.slow_fading[b, n], p.fading_limit)
    fixed_gain = gain
    if p.independent_fading:
        fixed_gain = channel_gain(w2, state.slow_fading[b, p.wireless + n], p.fading_limit)
    t.mobile_energy *= tasks / gain
    t.fixed_energy *= tasks / fixed_gain


@kernel
def open_round(b: int, state: MarketState, params: Array) -> None:
    """Set the traits of the wireless agents for the round to come; in a dynamic market tasks, gains and speeds vary."""
    p: StackelbergRecord = params[0]
    if p.dynamics and state.round[b] > 0:
        evolve(b, state, params)
    for n in range(p.wireless):
        t: Traits = state.traits[b, n]
        nominal: Traits = state.nominal[b, n]
        t.load, t.qoe_weight, t.slack = nominal.load, nominal.qoe_weight, nominal.slack
        t.exponent, t.mobile_energy, t.fixed_energy = nominal.exponent, nominal.mobile_energy, nominal.fixed_energy
        i = state.reach[b, MOBILE, n]
        relative_speed = abs(state.velocity[b, n] - state.velocity[b, p.wireless + i]) / p.velocity_range
        t.mobility_factor = mobility_factor(
            state.idle_share[b, i], min(relative_speed, 1.0), p.mobility_weight, p.mobility_offset
        )
        if p.dynamics:
            _draw_tasks(b, n, state, params)
    shape_followers(b, state, params)
