"""What changes between the rounds of a dynamic Stackelberg market: speeds, slow fading, and who is in whose reach.

Speeds and slow fading are Gauss-Markov processes. Where the reach of a side's leaders has a radius R, a wireless agent
leaves its leader at the rate v/(π R/2), with v the speed of the two relative to each other: π R/2 is the mean chord of
a circle, so π R/(2 v) is the mean time to cross it in a straight line, as in the fluid-flow model of cellular networks.
The time is exponential, since positions are not modelled, and the next leader is any other one of the side with equal
probability. Both are choices of this package; the paper has no handover.

In all kernels ``b`` is the index of the market in the batch, ``state`` the `MarketState` of the batch, and ``params``
an array of one `StackelbergRecord`, shape (1,). Results are written into ``state``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.philox import philox_block, to_unit
from ioa_marl.markets.common.physics import db_to_ratio
from ioa_marl.markets.stackelberg.kernels import (
    FIXED,
    HOME,
    LAST,
    MOBILE,
    MarketState,
    leader_count,
    list_members,
)
from ioa_marl.markets.stackelberg.records import StackelbergRecord

OF_SPEED, OF_HANDOVER = 3, 4
"""Purposes of the random counter for the draws of an episode, whose key is (seed, stream)."""


def departure_rate(radius: float | None, round_time: float) -> float:
    """Return the rate at which a wireless agent leaves its leader, per round and per speed [s/m].

    Parameters
    ----------
    radius : float or None
        Radius R of the leader's reach [m]; without one nobody leaves.
    round_time : float
        Time between two rounds [s].

    Returns
    -------
    float
        2 T/(π R): a wireless agent with relative speed v leaves with probability 1 − exp(−v · rate).

    Examples
    --------
    At 15 m/s and with a round every 5 s, a circle of 200 m is crossed in 21 s on average:

    >>> round(5.0 / (15.0 * departure_rate(200.0, 5.0)), 1)
    20.9
    """
    return 0.0 if radius is None else 2.0 * round_time / (math.pi * radius)


@kernel
def normals(radius: Any, angle: Any) -> tuple[float, float]:
    """Return two independent standard normal numbers from two words (Box and Muller)."""
    length, direction = math.sqrt(-2.0 * math.log(1.0 - to_unit(radius))), 2.0 * math.pi * to_unit(angle)
    return length * math.cos(direction), length * math.sin(direction)


@kernel
def channel_gain(word: Any, slow: float, limit: float) -> float:
    """Return the gain of a channel over its mean: Rayleigh fading from a word times slow fading [dB], within a limit.

    ``limit`` is the largest ratio, up or down.
    """
    rayleigh = -math.log(1.0 - to_unit(word))
    return min(max(rayleigh * db_to_ratio(slow), 1.0 / limit), limit)


@kernel
def set_home_links(b: int, is_new: bool, state: MarketState, params: Any) -> None:
    """Store the links of a technology that is new; otherwise go back to them, since every episode begins with them."""
    p: StackelbergRecord = params[0]
    for side in range(2):
        for n in range(p.wireless):
            if is_new:
                state.reach[b, HOME + side, n] = state.reach[b, side, n]
            else:
                state.reach[b, side, n] = state.reach[b, HOME + side, n]
            state.reach[b, LAST + side, n] = state.reach[b, side, n]
        if not is_new:
            list_members(b, side, leader_count(side, params), state)


@kernel
def _next_leader(leave: Any, which: Any, present: int, leaders: int, expected: float) -> int:
    """Return the leader of the next round from two words; ``expected`` is the rate of departure times the speed."""
    if to_unit(leave) >= -math.expm1(-expected):
        return present
    other = int(to_unit(which) * (leaders - 1))
    return other + (other >= present)


@kernel
def _hand_over(b: int, n: int, state: MarketState, params: Any) -> tuple[bool, bool]:
    """Choose the leaders of wireless agent ``n`` in the next round by the present speeds.

    Returns whether its mobile and whether its fixed agent is another one. Fixed agents do not move.
    """
    p: StackelbergRecord = params[0]
    counter = np.uint64(state.round[b]) * np.uint64(p.wireless) + np.uint64(1) + np.uint64(n)
    w0, w1, w2, w3 = philox_block(state.seed[b], state.stream[b], counter, state.episode[b], OF_HANDOVER)
    i, j = state.reach[b, MOBILE, n], state.reach[b, FIXED, n]
    speed = state.velocity[b, n]
    relative_speed = abs(speed - state.velocity[b, p.wireless + i])
    mobile = _next_leader(w0, w1, i, p.mobile, p.mobile_departure * relative_speed)
    fixed = _next_leader(w2, w3, j, p.fixed, p.fixed_departure * speed)
    state.reach[b, MOBILE, n], state.reach[b, FIXED, n] = mobile, fixed
    return mobile != i, fixed != j


@kernel
def evolve(b: int, state: MarketState, params: Any) -> None:
    """Advance links, speeds and slow fading by a round: x' = a x + (1 − a) mean + √(1 − a²) deviation · normal.

    A link to a new leader has a slow fading of its own if the two links of a wireless agent fade independently.
    """
    p: StackelbergRecord = params[0]
    noise = math.sqrt(1.0 - p.memory * p.memory)
    movers = p.wireless + p.mobile
    first = np.uint64(state.round[b]) * np.uint64(movers) + np.uint64(1)
    for m in range(movers):
        new_mobile, new_fixed = False, False
        # The wireless agents come first, so the speed of a mobile agent is still that of the round before.
        if p.handover and m < p.wireless:
            new_mobile, new_fixed = _hand_over(b, m, state, params)
        w0, w1, w2, w3 = philox_block(state.seed[b], state.stream[b], first + np.uint64(m), state.episode[b], OF_SPEED)
        mean = p.memory * state.velocity[b, m] + (1.0 - p.memory) * p.velocity
        normal, _ = normals(w0, w1)
        state.velocity[b, m] = max(mean + noise * p.velocity_deviation * normal, 0.0)
        if m < p.wireless:
            other, another = normals(w2, w3)
            _fade(b, m, other, p.independent_fading and new_mobile, noise, state, params)
            if p.independent_fading:
                _fade(b, p.wireless + m, another, new_fixed, noise, state, params)
    if p.handover:
        for side in range(2):
            list_members(b, side, leader_count(side, params), state)


@kernel
def _fade(b: int, link: int, normal: float, is_new: bool, noise: float, state: MarketState, params: Any) -> None:
    """Advance the slow fading of a link by a round, or draw it if the link is new."""
    p: StackelbergRecord = params[0]
    if is_new:
        state.slow_fading[b, link] = p.shadowing * normal
    else:
        state.slow_fading[b, link] = p.memory * state.slow_fading[b, link] + noise * p.shadowing * normal
