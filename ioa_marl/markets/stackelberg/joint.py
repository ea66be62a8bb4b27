"""Kernels that search the prices of largest joint profit in a Stackelberg market: what a cartel of all leaders posts.

One mobile and one fixed agent: a grid of price pairs, and finer grids around the best pair. More leaders: ascent from
several starts, one price at a time and all prices of a side together, so the profit that is found is a lower bound.

Common arguments are those of `kernels`; ``price`` is float64 (batch, 2, leaders) [units/Mbit].
"""

from __future__ import annotations

import math

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.stackelberg.follower import best_share
from ioa_marl.markets.stackelberg.iteration import MANY_LEADERS, total_profit
from ioa_marl.markets.stackelberg.kernels import (
    FIXED,
    MOBILE,
    Array,
    MarketState,
    leader_count,
    leader_profit,
    price_paid,
)
from ioa_marl.markets.stackelberg.records import StackelbergRecord

PAIRS, ZOOMS, ZOOM_PAIRS = 101, 5, 10
"""Prices of either side in the enumeration of pairs, finer grids after it, and their steps to either side."""
STARTS, LEVELS, SWEEPS, POINTS = 4, 21, 4, 41
"""Starts of the ascent, prices of either side among which they are chosen, its sweeps, and prices of a line search."""
SHIFTS = 2
"""Line searches in a sweep that move all prices: of both sides up, and of one side up and of the other one down."""
GOLDEN = 0.6180339887498949
"""The golden section (√5 − 1)/2."""
GOLDEN_STEPS = 16
"""Steps of the golden section, which narrow a bracket to 0.05%."""
AT_CAP = 1e-3
"""A price within this part of the cap is at the cap."""


@kernel
def _profit_of_members(
    b: int, side: int, leader: int, own: float, state: MarketState, price: Array, params: Array
) -> float:
    """Return what both leaders of each member of a leader earn from it [units], at the leader's price ``own``."""
    profit = 0.0
    for q in range(state.start[b, side, leader], state.start[b, side, leader + 1]):
        n = state.member[b, side, q]
        other = state.reach[b, 1 - side, n]
        rival = price[b, 1 - side, other]
        mobile_price, fixed_price = (own, rival) if side == MOBILE else (rival, own)
        i, j = state.reach[b, MOBILE, n], state.reach[b, FIXED, n]
        share, buys = best_share(
            b, n, state.traits, state.curve, state.segments, price_paid(b, n, mobile_price, state, params), fixed_price
        )
        if buys:
            load, factor = state.traits[b, n].load, state.traits[b, n].mobility_factor
            profit += share * load * (mobile_price * factor - state.cost[b, MOBILE, i])
            served = (1.0 - share) * load * state.served_fraction[b, j]
            profit += served * (fixed_price - state.cost[b, FIXED, j])
    return profit


@kernel
def _moved(value: float, shift: float, cap: float) -> float:
    """Return a price moved by ``shift`` that stays between 0 and the cap."""
    return min(max(value + shift, 0.0), cap)


@kernel
def _shift_prices(b: int, shift: float, sign: float, base: Array, price: Array, params: Array) -> None:
    """Write ``base`` moved by ``shift`` on the mobile side and by ``sign`` times that on the fixed one."""
    for side in range(2):
        for leader in range(leader_count(side, params)):
            own = shift if side == MOBILE else sign * shift
            price[b, side, leader] = _moved(base[b, side, leader], own, params[0].price_cap)


@kernel
def _line_value(
    b: int, side: int, leader: int, at: float, state: MarketState, price: Array, base: Array, params: Array
) -> float:
    """Return the profit [units] at a point of a line: of a leader's members, or of all leaders if ``leader`` < 0."""
    if leader >= 0:
        return _profit_of_members(b, side, leader, at, state, price, params)
    _shift_prices(b, at, 1.0 if leader == -1 else -1.0, base, price, params)
    return total_profit(b, state, price, params)


@kernel
def _line_search(
    b: int, side: int, leader: int, present: float, low: float, high: float, points: int,
    state: MarketState, price: Array, base: Array, params: Array,
) -> tuple[float, float, float]:  # fmt: skip
    """Search a line from ``low`` to ``high`` and return its best point, the profit there and at ``present`` [units].

    A grid, then the golden section around its best point. The line is that of `_line_value`.
    """
    before = _line_value(b, side, leader, present, state, price, base, params)
    best, value = present, before
    step = (high - low) / (points - 1)
    for point in range(points):
        at = low + point * step
        profit = _line_value(b, side, leader, at, state, price, base, params)
        if profit > value:
            best, value = at, profit
    left, right = max(best - step, low), min(best + step, high)
    for _ in range(GOLDEN_STEPS):
        first, second = right - GOLDEN * (right - left), left + GOLDEN * (right - left)
        of_first = _line_value(b, side, leader, first, state, price, base, params)
        of_second = _line_value(b, side, leader, second, state, price, base, params)
        if of_first > value:
            best, value = first, of_first
        if of_second > value:
            best, value = second, of_second
        if of_first >= of_second:
            right = second
        else:
            left = first
    return best, value, before


@kernel
def _ascend(b: int, sweeps: int, points: int, state: MarketState, price: Array, base: Array, params: Array) -> float:
    """Raise the joint profit from ``price``, which is overwritten, and return it [units]; ``base`` is scratch."""
    cap = params[0].price_cap
    for _ in range(sweeps):
        gained = 0.0
        for side in range(2):
            for leader in range(leader_count(side, params)):
                present = price[b, side, leader]
                own, value, before = _line_search(
                    b, side, leader, present, 0.0, cap, points, state, price, base, params
                )
                price[b, side, leader] = own
                gained += value - before
        for line in range(SHIFTS):
            for side in range(2):
                for leader in range(price.shape[2]):
                    base[b, side, leader] = price[b, side, leader]
            reach = 0.1 * cap
            shift, value, before = _line_search(b, 0, -1 - line, 0.0, -reach, reach, points, state, price, base, params)
            _shift_prices(b, shift, 1.0 if line == 0 else -1.0, base, price, params)
            gained += value - before
        if gained <= 0.0:
            break
    return total_profit(b, state, price, params)


@kernel
def _set_pair(b: int, mobile: float, fixed: float, price: Array) -> None:
    """Write one price for all mobile and one for all fixed agents [units/Mbit]."""
    for leader in range(price.shape[2]):
        price[b, MOBILE, leader], price[b, FIXED, leader] = mobile, fixed


@kernel
def _enumerate_pairs(b: int, state: MarketState, price: Array, best: Array, params: Array) -> float:
    """Enumerate the pairs of prices of two leaders, write the best one, and return the joint profit [units]."""
    cap = params[0].price_cap
    value, mobile, fixed = -math.inf, 0.0, 0.0
    step = cap / (PAIRS - 1)
    for zoom in range(ZOOMS + 1):
        count = PAIRS if zoom == 0 else 2 * ZOOM_PAIRS + 1
        middle_mobile, middle_fixed = mobile, fixed
        if zoom > 0:
            step *= 2.0 / ZOOM_PAIRS  # two steps of the grid before, to either side
        for i in range(count):
            own = i * step if zoom == 0 else _moved(middle_mobile, (i - ZOOM_PAIRS) * step, cap)
            for j in range(count):
                rival = j * step if zoom == 0 else _moved(middle_fixed, (j - ZOOM_PAIRS) * step, cap)
                _set_pair(b, own, rival, price)
                profit = total_profit(b, state, price, params)
                if profit > value:
                    value, mobile, fixed = profit, own, rival
    _set_pair(b, mobile, fixed, best)
    return value


@kernel
def _start_pair(
    b: int, start: int, levels: int, state: MarketState, price: Array, params: Array
) -> tuple[float, float]:
    """Return the pair of prices for all leaders of a side from which an ascent starts [units/Mbit].

    The first start is the best pair of a grid; the next ones are the best among those in which the mobile agents are
    cheaper, and in which they are dearer; the last one is the cap.
    """
    cap = params[0].price_cap
    if start == STARTS - 1:
        return cap, cap
    value, mobile, fixed = -math.inf, cap, cap
    for i in range(levels):
        for j in range(levels):
            if start == 0 or (start == 1 and i < j) or (start == 2 and i > j):
                own, rival = i * cap / (levels - 1), j * cap / (levels - 1)
                _set_pair(b, own, rival, price)
                profit = total_profit(b, state, price, params)
                if profit > value:
                    value, mobile, fixed = profit, own, rival
    return mobile, fixed


@kernel
def maximise_joint_profit(
    b: int, state: MarketState, price: Array, base: Array, best: Array, params: Array
) -> tuple[float, float]:
    """Search the prices at which the leaders together earn most, and write them into ``best``.

    Parameters
    ----------
    price, base : ndarray of float64, shape (batch, 2, leaders)
        Scratch.
    best : ndarray of float64, shape (batch, 2, leaders)
        Becomes the prices [units/Mbit].

    Returns
    -------
    profit : float
        Joint profit [units]: the maximum of two leaders, a lower bound of it among more.
    at_cap : float
        Share of the leaders with a sale whose price is at the cap.
    """
    p: StackelbergRecord = params[0]
    value = -math.inf
    if p.mobile == 1 and p.fixed == 1:
        value = _enumerate_pairs(b, state, price, best, params)
    else:
        many = p.mobile + p.fixed > MANY_LEADERS
        levels, sweeps, points = (LEVELS, SWEEPS, POINTS) if not many else (LEVELS // 2, SWEEPS // 2, POINTS // 4)
        for start in range(1 if many else STARTS):
            mobile, fixed = _start_pair(b, start, levels, state, price, params)
            _set_pair(b, mobile, fixed, price)
            profit = _ascend(b, sweeps, points, state, price, base, params)
            if profit > value:
                value = profit
                for side in range(2):
                    for leader in range(price.shape[2]):
                        best[b, side, leader] = price[b, side, leader]
    sellers, at_cap = 0, 0
    for side in range(2):
        for leader in range(leader_count(side, params)):
            own = best[b, side, leader]
            _, load, _ = leader_profit(b, side, leader, own, state, best, params)
            sellers += load > 1e-9
            at_cap += load > 1e-9 and own >= (1.0 - AT_CAP) * p.price_cap
    return value, at_cap / max(sellers, 1)
