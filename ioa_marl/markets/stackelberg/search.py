"""Kernels that search the best price of one leader in a Stackelberg market, and the NashConv of given prices.

Common arguments are those of `kernels`; ``price`` is float64 (batch, 2, leaders) [units/Mbit], and ``scan`` is scratch
of a search, `GridPoint` (grid points,).

Source: Section V-A, Algorithm 1, of "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI
Task Offloading in Internet of Agents".
"""

from __future__ import annotations

import math

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.stackelberg.kernels import Array, MarketState, leader_count, leader_profit

GOLDEN = 0.6180339887498949
"""The golden section (√5 − 1)/2."""
FEW = 64
"""Number of buyers up to which the loss of one may make a peak of the profit; among more, one counts too little."""


@kernel
def _sides_to_refine(point: int, last: int, step: float, best: float, scan: Array) -> int:
    """Return where a better price may be near a grid point: 2 on both of its sides, 1 above it only, 0 nowhere.

    A leader sells no more at a higher price, so up to the next grid point its profit grows by at most the step times
    ``priced_load``. The search expects peaks next to grid points that have no better neighbour, and between two grid
    points between which one of few buyers stops buying.
    """
    under, over = max(point - 1, 0), min(point + 1, last)
    above = scan[point].profit + step * scan[point].priced_load > best
    if scan[point].profit >= scan[under].profit and scan[point].profit >= scan[over].profit:
        below = scan[under].profit + step * scan[under].priced_load > best
        return 2 if scan[point].priced_load > 0.0 and (above or below) else 0
    return 1 if above and scan[over].buyers < scan[point].buyers <= FEW else 0


@kernel
def _golden_section(
    b: int,
    side: int,
    leader: int,
    low: float,
    high: float,
    best: float,
    value: float,
    state: MarketState,
    price: Array,
    params: Array,
) -> tuple[float, float]:
    """Search the bracket of prices ``low`` to ``high`` and return the best price with its profit.

    ``value`` is the profit at ``best``, which is returned unless the search tries a better price.
    """
    tolerance = params[0].deviation_tolerance
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    left_value, right_value = 0.0, 0.0
    for own in (left, right):
        profit, _, _ = leader_profit(b, side, leader, own, state, price, params)
        left_value, right_value = right_value, profit
        if profit > value:
            best, value = own, profit
    while high - low > tolerance:
        lower_part = left_value >= right_value
        if lower_part:
            high, right, right_value = right, left, left_value
            own = left = high - GOLDEN * (high - low)
        else:
            low, left, left_value = left, right, right_value
            own = right = low + GOLDEN * (high - low)
        profit, _, _ = leader_profit(b, side, leader, own, state, price, params)
        if lower_part:
            left_value = profit
        else:
            right_value = profit
        if profit > value:
            best, value = own, profit
    return best, value


@kernel
def best_response(
    b: int, side: int, leader: int, state: MarketState, price: Array, params: Array, scan: Array
) -> tuple[float, float, float]:
    """Return a leader's best price: Algorithm 1, a grid with golden-section searches where a better price may be.

    The current price is tried first and returned unless another one is better. The printed algorithm returns the last
    price that it tried, this one the best.

    Returns
    -------
    price : float
        Best unit price [units/Mbit].
    profit, present_profit : float
        Profits at the best price and at the current one [units].
    """
    step, cap = params[0].deviation_step, params[0].price_cap
    last = scan.shape[0] - 1
    best = price[b, side, leader]
    present, _, _ = leader_profit(b, side, leader, best, state, price, params)
    value = present
    point = 0
    while point <= last:
        own = min(point * step, cap)
        profit, priced_load, buyers = leader_profit(b, side, leader, own, state, price, params)
        if profit > value:
            best, value = own, profit
        scan[point].profit, scan[point].priced_load, scan[point].buyers = profit, priced_load, buyers
        # No price up to ``own + (value − profit)/priced_load`` is better than the best one, so the grid points between
        # are left out. Without a sale there is none at a higher price either.
        ahead = last + 1 - point
        if priced_load > 0.0:
            ahead = max(1, int(min((value - profit) / (priced_load * step), float(ahead))))
        for skipped in range(point + 1, min(point + ahead, last + 1)):
            scan[skipped].profit, scan[skipped].priced_load, scan[skipped].buyers = -math.inf, 0.0, 0.0
        point += ahead
    for point in range(last + 1):
        sides = _sides_to_refine(point, last, step, value, scan)
        if sides > 0:
            middle = min(point * step, cap)
            low, high = max(middle - step, 0.0) if sides == 2 else middle, min(middle + step, cap)
            best, value = _golden_section(b, side, leader, low, high, best, value, state, price, params)
    return best, value, present


@kernel
def nash_conv(b: int, state: MarketState, price: Array, params: Array, scan: Array, gain: Array) -> float:
    """Return the NashConv of ``price`` [units], the sum of the leaders' gains by deviating alone.

    The gains are written into ``gain``, float64 (batch, 2, leaders) [units].
    """
    total = 0.0
    for side in range(2):
        for leader in range(leader_count(side, params)):
            _, value, present = best_response(b, side, leader, state, price, params, scan)
            gain[b, side, leader] = value - present
            total += value - present
    return total
