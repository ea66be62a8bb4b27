"""Draws of the modified second-bid auction: resources that stay, past periods, and valuations of a task.

Common arguments of the kernels:

- ``b``, ``n``: index of the market in the batch, and of the provider, 0 for the UAV;
- ``state``: the `SecondBidState` of the batch, whose fields have the shapes and units;
- ``params``: the parameters, `SecondBidRecord` (1,).

Source: Sections 3 and 4 of "Diffusion-based auction mechanism for efficient resource management in 6G-enabled vehicular
metaverses", Eqs. 1-11.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.philox import philox_block, to_unit
from ioa_marl.markets.common.physics import db_to_ratio, dbm_to_watt, processing_time, shannon_rate, transfer_time
from ioa_marl.markets.second_bid.state import (
    EVERY_EPISODE,
    EVERY_INSTANCE,
    EVERY_PERIOD,
    Array,
    Period,
    Resources,
    SecondBidRecord,
    SecondBidState,
)

SERVED, NOMINAL = 2**16, 2**17
"""Purposes of the random counter, to which the provider is added: served tasks, and resources that stay. Averaged
periods and accuracies have the purposes 1 to 2·(stations + 1)."""


@kernel
def between(low: float, high: float, u: float) -> float:
    """Return the number between ``low`` and ``high`` that belongs to a uniform number ``u`` in [0, 1)."""
    return low + (high - low) * u


@kernel
def match_value(accuracy: float, factor: float, beta: float) -> float:
    """Return the match value of one period by Eq. 10, ω₂/(1 − R)^β, for the accuracy R, the factor ω₂ and β."""
    return float(factor / (1.0 - accuracy) ** beta)


@kernel
def draw_resources(
    n: int, params: Array, gain: Any, uplink: Any, downlink: Any, power: Any, gpu: Any, cpu: Any
) -> tuple[float, float, float, float, float, float]:
    """Return resources of provider ``n`` from its ranges, each from a word of the generator.

    They are its channel gain [dB], uplink and downlink bandwidth [GHz], transmit power [dBm], GPU and CPU speed
    [Gbit/s].
    """
    p: SecondBidRecord = params[0]
    g, up, down, watt, f_g, f_c = (
        to_unit(gain),
        to_unit(uplink),
        to_unit(downlink),
        to_unit(power),
        to_unit(gpu),
        to_unit(cpu),
    )
    if n == 0:
        return (
            between(p.uav_channel_gain_low, p.uav_channel_gain_high, g),
            between(p.uav_uplink_bandwidth_low, p.uav_uplink_bandwidth_high, up),
            between(p.uav_downlink_bandwidth_low, p.uav_downlink_bandwidth_high, down),
            between(p.uav_provider_power_low, p.uav_provider_power_high, watt),
            between(p.uav_gpu_speed_low, p.uav_gpu_speed_high, f_g),
            between(p.uav_cpu_speed_low, p.uav_cpu_speed_high, f_c),
        )
    return (
        between(p.channel_gain_low, p.channel_gain_high, g),
        between(p.uplink_bandwidth_low, p.uplink_bandwidth_high, up),
        between(p.downlink_bandwidth_low, p.downlink_bandwidth_high, down),
        between(p.provider_power_low, p.provider_power_high, watt),
        between(p.gpu_speed_low, p.gpu_speed_high, f_g),
        between(p.cpu_speed_low, p.cpu_speed_high, f_c),
    )


@kernel
def draw_nominal(b: int, state: SecondBidState, params: Array) -> None:
    """Draw the resources of the providers that stay for the episode or belong to the instance."""
    p: SecondBidRecord = params[0]
    key, stream, episode = state.seed[b], state.stream[b], state.episode[b]
    if p.redraw == EVERY_INSTANCE:
        key, stream, episode = state.instance[b], np.uint64(0), np.uint64(0)
    for n in range(p.stations + 1):
        w0, w1, w2, w3 = philox_block(key, stream, 1, episode, NOMINAL + n)
        w4, w5, w6, _ = philox_block(key, stream, 2, episode, NOMINAL + n)
        gain, uplink, downlink, power, gpu, cpu = draw_resources(n, params, w0, w1, w2, w3, w4, w5)
        nominal: Resources = state.nominal[b, n]
        nominal.channel_gain, nominal.uplink_bandwidth, nominal.downlink_bandwidth = gain, uplink, downlink
        nominal.provider_power, nominal.gpu_speed, nominal.cpu_speed = power, gpu, cpu
        nominal.accuracy = between(p.accuracy_low, p.accuracy_high, to_unit(w6))


@kernel
def around(nominal: float, drawn: float, spread: float) -> float:
    """Return what a provider has in a period, between what it has on the whole and a new draw from the range."""
    return (1.0 - spread) * nominal + spread * drawn


@kernel
def serve(b: int, n: int, state: SecondBidState, params: Array, purpose: int, block: int) -> tuple[float, float, float]:
    """Return what one period of provider ``n`` is worth, in which it serves a task over a channel.

    Parameters
    ----------
    purpose, block : int
        Third counter word of the generator and the first of the three blocks from which the period is drawn.

    Returns
    -------
    common : float
        Value of the latency ω₁/T, averaged in Eq. 9 [units].
    match : float
        Match value ω₂/(1 − R)^β, averaged in Eq. 10.
    latency : float
        Latency T [s].
    """
    seed, stream, episode = state.seed[b], state.stream[b], state.episode[b]
    p: SecondBidRecord = params[0]
    w0, w1, w2, w3 = philox_block(seed, stream, block, episode, purpose)
    w4, w5, w6, w7 = philox_block(seed, stream, block + 1, episode, purpose)
    w8, w9, w10, _ = philox_block(seed, stream, block + 2, episode, purpose)
    gain, uplink, downlink, power, gpu, cpu = draw_resources(n, params, w0, w2, w5, w6, w8, w9)
    accuracy = state.accuracy[b, n]
    if p.redraw != EVERY_PERIOD:
        nominal: Resources = state.nominal[b, n]
        gain, power = around(nominal.channel_gain, gain, p.spread), around(nominal.provider_power, power, p.spread)
        uplink = around(nominal.uplink_bandwidth, uplink, p.spread)
        downlink = around(nominal.downlink_bandwidth, downlink, p.spread)
        gpu, cpu = around(nominal.gpu_speed, gpu, p.spread), around(nominal.cpu_speed, cpu, p.spread)
        accuracy = around(nominal.accuracy, accuracy, p.spread)
    ratio = db_to_ratio(gain)
    size = between(p.task_size_low, p.task_size_high, to_unit(w1))
    up = shannon_rate(
        uplink,
        ratio,
        dbm_to_watt(between(p.user_power_low, p.user_power_high, to_unit(w3))),
        dbm_to_watt(between(p.noise_power_low, p.noise_power_high, to_unit(w4))),
    )
    noise = dbm_to_watt(between(p.noise_power_low, p.noise_power_high, to_unit(w7)))
    down = shannon_rate(downlink, ratio, dbm_to_watt(power), noise)
    # This is Eq. 6, in which the result is as large as the input.
    total = transfer_time(size, up) + transfer_time(size, down)
    total += processing_time(size, p.gpu_per_bit, gpu, cpu)
    accuracy = accuracy + p.accuracy_noise * (2.0 * to_unit(w10) - 1.0)
    accuracy = min(max(accuracy, 0.0), p.accuracy_cap)
    return p.latency_factor / total, match_value(accuracy, p.accuracy_factor, p.beta), total


@kernel
def redraw_accuracy(b: int, n: int, state: SecondBidState, params: Array, time: int) -> tuple[float, float]:
    """Redraw the accuracy of provider ``n`` with the set probability, always at ``time`` 0.

    Returns the next two uniform numbers of the same block.
    """
    p: SecondBidRecord = params[0]
    w0, w1, w2, w3 = philox_block(state.seed[b], state.stream[b], time + 1, state.episode[b], 2 * n + 2)
    if time == 0 or to_unit(w0) < p.accuracy_redraw:
        state.accuracy[b, n] = between(p.accuracy_low, p.accuracy_high, to_unit(w1))
    return to_unit(w2), to_unit(w3)


@kernel
def average_periods(b: int, n: int, state: SecondBidState, params: Array) -> tuple[float, float, float]:
    """Return the averages over past periods from which provider ``n`` values the current task.

    In every period the provider has served another task over another channel. The periods of a task are its own,
    unless the window slides.

    Returns
    -------
    common : float
        Common value c (Eq. 9) [units].
    match : float
        Match value m (Eq. 10).
    latency : float
        Mean latency E[T] [s].
    """
    p: SecondBidRecord = params[0]
    periods = p.periods
    block = 3 * periods * state.task[b] + 1
    common, match, latency = 0.0, 0.0, 0.0
    for k in range(periods):
        if p.sliding:
            period: Period = state.recent[b, n, k]
            served = period.common, period.match, period.latency
        else:
            served = serve(b, n, state, params, 2 * n + 1, block + 3 * k)
        common += served[0]
        match += served[1]
        latency += served[2]
    return common / periods, match / periods, latency / periods


@kernel
def slide_window(b: int, n: int, state: SecondBidState, params: Array) -> None:
    """Let the oldest averaged period of provider ``n`` make way for a new one; the first task has all periods new."""
    p: SecondBidRecord = params[0]
    newest = state.task[b] + p.periods - 1
    for k in range(0 if state.task[b] == 0 else newest, newest + 1):
        redraw_accuracy(b, n, state, params, k)
        period: Period = state.recent[b, n, k % p.periods]
        period.common, period.match, period.latency = serve(b, n, state, params, 2 * n + 1, 3 * k + 1)


@kernel
def draw_task(b: int, state: SecondBidState, params: Array) -> None:
    """Draw every provider's valuation of the next task (Eq. 11), and clear the bids."""
    p: SecondBidRecord = params[0]
    if state.task[b] == 0 and (p.redraw == EVERY_EPISODE or p.redraw == EVERY_INSTANCE):
        draw_nominal(b, state, params)
    pareto_common = 0.0
    for n in range(p.stations + 1):
        u_common, u_match = 0.0, 0.0
        if p.sliding:
            slide_window(b, n, state, params)
        else:
            u_common, u_match = redraw_accuracy(b, n, state, params, state.task[b])
        if p.pareto:
            if n == 0:
                pareto_common = math.exp(between(p.log_common_value_low, p.log_common_value_high, u_common))
                match = p.pareto_uav
            else:
                match = (1.0 - u_match) ** (-1.0 / p.pareto_shape)
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
