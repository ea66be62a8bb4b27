"""Random draws of a two-tier market beside those of its pricing tier: capacities, aerial agents and their costs.

``b`` is the index of the market in the batch, ``market`` the `Market` of the batch and ``settings`` its parameters.
Results are written into ``market.tier``, whose fields have the shapes and units.
"""

from __future__ import annotations

import math

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.philox import philox_block, to_unit
from ioa_marl.markets.double_dutch.kernels import aerial_cost
from ioa_marl.markets.stackelberg.draws import between
from ioa_marl.markets.stackelberg.kernels import FIXED
from ioa_marl.markets.two_tier.kernels import Market, Settings
from ioa_marl.markets.two_tier.records import TwoTierRecord

OF_CAPACITY, OF_CAPACITY_SHIFT, OF_AERIAL = range(201, 204)
OF_AERIAL_COST, OF_WIND = range(21, 23)
"""Purposes of the random counter: of an instance, and of an episode."""


@kernel
def draw_technology(b: int, market: Market, settings: Settings) -> None:
    """Draw the technology of the instance beside the pricing tier: capacities, and speeds of the aerial agents.

    Capacities are log-uniform and stratified: there are as many equally likely intervals as fixed agents, and each
    interval has one. So every instance has overloaded and idle fixed agents.
    """
    p: TwoTierRecord = settings.tier[0]
    tier = market.tier
    key, zero = market.pricing.instance[b], np.uint64(0)
    fixed, aerial = tier.capacity.shape[1], tier.time_per_mbit.shape[1]
    w0, _, _, _ = philox_block(key, zero, 1, zero, OF_CAPACITY_SHIFT)
    shift = int(to_unit(w0) * fixed)
    total = 0.0
    for j in range(fixed):
        w0, _, _, _ = philox_block(key, zero, j + 1, zero, OF_CAPACITY)
        quantile = ((j + shift) % fixed + to_unit(w0)) / fixed
        tier.capacity[b, j] = math.exp(p.log_capacity_low + (p.log_capacity_high - p.log_capacity_low) * quantile)
        total += market.pricing.time_per_mbit[b, FIXED, j]
    tier.mean_fixed_time[b] = total / fixed
    total = 0.0
    for k in range(aerial):
        w0, _, _, _ = philox_block(key, zero, k + 1, zero, OF_AERIAL)
        tier.time_per_mbit[b, k] = between(w0, p.time_per_mbit_low, p.time_per_mbit_high)
        total += tier.time_per_mbit[b, k]
    tier.mean_aerial_time[b] = total / aerial


@kernel
def draw_wind(b: int, market: Market, settings: Settings) -> float:
    """Return the factor of the wind on all hover powers of the episode."""
    p: TwoTierRecord = settings.tier[0]
    state = market.pricing
    w0, _, _, _ = philox_block(state.seed[b], state.stream[b], 1, state.episode[b], OF_WIND)
    return float(between(w0, p.wind_low, p.wind_high))


@kernel
def value_aerial(b: int, k: int, market: Market, settings: Settings) -> None:
    """Write the cost and the ask of one lot of aerial agent ``k`` (Eq. 34) from its unit cost and hover power."""
    p: TwoTierRecord = settings.tier[0]
    tier = market.tier
    delay = p.aerial_delay_weight * (tier.mean_fixed_time[b] * p.lot) ** 2
    computing = tier.unit_cost[b, k] * p.lot
    hovering = p.hover_energy_price * (p.relay_time + tier.time_per_mbit[b, k] * p.lot)
    tier.cost[b, k] = aerial_cost(tier.hover_power[b, k], computing, hovering, 0.0)
    tier.ask[b, k] = aerial_cost(tier.hover_power[b, k], computing, hovering, delay)


@kernel
def draw_costs(b: int, market: Market, settings: Settings) -> None:
    """Draw the aerial agents' unit costs and hover powers of the episode, and their costs of one lot (Eq. 34)."""
    p: TwoTierRecord = settings.tier[0]
    tier, state = market.tier, market.pricing
    wind = draw_wind(b, market, settings)
    for k in range(tier.time_per_mbit.shape[1]):
        w0, w1, _, _ = philox_block(state.seed[b], state.stream[b], k + 1, state.episode[b], OF_AERIAL_COST)
        tier.unit_cost[b, k] = between(w0, p.cost_low, p.cost_high)
        tier.hover_power[b, k] = wind * between(w1, p.hover_power_low, p.hover_power_high)
        value_aerial(b, k, market, settings)
