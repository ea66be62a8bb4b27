"""Kernels that look for better prices in a Stackelberg market: best responses, NashConv, alternating best responses.

Source: Section V-A, Algorithms 1 and 2, of "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI
Task Offloading in Internet of Agents".
"""

from __future__ import annotations

import math

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.stackelberg.kernels import MOBILE, Array, MarketState, leader_count, leader_profit
from ioa_marl.markets.stackelberg.records import StackelbergRecord

GOLDEN = 0.6180339887498949
FEW = 64
"""Buyers up to which each that stays away is looked at; of more, one makes no peak that counts."""


@kernel
def _sides_to_refine(point: int, last: int, step: float, best: float, scan: Array) -> int:
    """Where a better price may be near a grid point: 2 on both of its sides, 1 above it only, 0 nowhere.

    A dearer leader sells no more, so up to the next grid point profit grows by no more than ``priced_load`` allows.
    Peaks are at grid points that no neighbour beats, or just before somebody stays away, if it is one of few.
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
    """Narrow the bracket of prices ``low`` to ``high`` down; return the better of ``best`` and all prices tried.

    ``value`` is the profit at ``best``; with the price the profit at it is returned.
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
    """Algorithm 1: a leader's best price, by a grid and golden-section searches where a better one may be.

    The present price is tried first and kept unless another one is better. The best price of all that were tried is
    returned, where the printed algorithm returns the last one. ``scan`` is scratch, `GridPoint` (grid points,).

    Returns
    -------
    price, profit, present_profit : float
    """
    step, cap = params[0].deviation_step, params[0].price_cap
    last = scan.shape[0] - 1
    best = price[b, side, leader]
    value, present = -math.inf, 0.0
    for point in range(-1, last + 1):
        own = best if point < 0 else min(point * step, cap)
        profit, priced_load, buyers = leader_profit(b, side, leader, own, state, price, params)
        if profit > value:
            best, value = own, profit
        if point < 0:
            present = profit
        else:
            scan[point].profit, scan[point].priced_load, scan[point].buyers = profit, priced_load, buyers
    for point in range(last + 1):
        sides = _sides_to_refine(point, last, step, value, scan)
        if sides > 0:
            middle = min(point * step, cap)
            low, high = max(middle - step, 0.0) if sides == 2 else middle, min(middle + step, cap)
            best, value = _golden_section(b, side, leader, low, high, best, value, state, price, params)
    return best, value, present


@kernel
def nash_conv(b: int, state: MarketState, price: Array, params: Array, scan: Array, gain: Array) -> float:
    """NashConv of ``price``: what all leaders together gain, each deviating alone; ``gain`` (batch, 2, leaders)."""
    total = 0.0
    for side in range(2):
        for leader in range(leader_count(side, params)):
            _, value, present = best_response(b, side, leader, state, price, params, scan)
            gain[b, side, leader] = value - present
            total += value - present
    return total


@kernel
def iterate_prices(
    b: int, state: MarketState, params: Array, price: Array, previous: Array, lowest_price: Array, scan: Array
) -> tuple[bool, int, float]:
    """Algorithm 2: the mobile agents answer the fixed ones' prices, then the other way round, until prices rest.

    Leaders of one side do not share wireless agents' choices, so a side answers at once. After a round the fixed
    agents have no gain left, so the mobile agents' gains in the next one are the NashConv of the prices before it.

    Parameters
    ----------
    price : ndarray of float64, shape (batch, 2, leaders)
        Start [units/Mbit]; overwritten.
    previous : ndarray of float64, shape (batch, 2, leaders)
        Scratch.
    lowest_price : ndarray of float64, shape (batch, 2, leaders)
        The prices of lowest NashConv among all rounds [units/Mbit].

    Returns
    -------
    converged, rounds, nash_conv
    """
    p: StackelbergRecord = params[0]
    lowest, at_rest, rounds = math.inf, False, 0
    leaders = price.shape[2]
    while True:
        change, regret = 0.0, 0.0
        for side in range(2):
            for leader in range(leaders):
                previous[b, side, leader] = price[b, side, leader]
        closing = at_rest or rounds == p.max_iterations
        for side in range(1 if closing else 2):
            for leader in range(leader_count(side, params)):
                own, value, present = best_response(b, side, leader, state, price, params, scan)
                if side == MOBILE:
                    regret += value - present
                change = max(change, abs(own - price[b, side, leader]))
                price[b, side, leader] = own
            if side == MOBILE and rounds > 0 and regret < lowest:
                lowest = regret
                for s in range(2):
                    for leader in range(leaders):
                        lowest_price[b, s, leader] = previous[b, s, leader]
        if closing:
            return at_rest, rounds, lowest
        rounds += 1
        at_rest = change <= p.price_tolerance
