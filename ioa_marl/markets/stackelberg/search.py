"""Kernels that look for better prices in a Stackelberg market: best responses, NashConv, alternating best responses.

Source: Section V-A, Algorithms 1 and 2, of "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI
Task Offloading in Internet of Agents".
"""

from __future__ import annotations

import math

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.stackelberg.kernels import (
    DEVIATION_STEP,
    DEVIATION_TOLERANCE,
    MAX_ITERATIONS,
    MOBILE,
    MOBILES,
    PRICE_CAP,
    PRICE_TOLERANCE,
    Array,
    MarketState,
    leader_profit,
)

GOLDEN = 0.6180339887498949
FEW = 64
"""Buyers up to which each that stays away is looked at; of more, one makes no peak that counts."""
NEXT_CELL, FIRST_LEFT, RIGHT, LEFT = range(4)
"""What a golden-section search asks for next."""


@kernel
def _sides_to_refine(point: int, last: int, step: float, best: float, scan: Array) -> int:
    """Where a better price may be near a grid point: 2 on both of its sides, 1 above it only, 0 nowhere.

    A dearer leader sells no more, so up to the next grid point profit grows by no more than ``earning`` allows.
    Peaks are at grid points that no neighbour beats, or just before somebody stays away, if it is one of few.
    """
    under, over = max(point - 1, 0), min(point + 1, last)
    above = scan[point, 0] + step * scan[point, 1] > best
    if scan[point, 0] >= scan[under, 0] and scan[point, 0] >= scan[over, 0]:
        below = scan[under, 0] + step * scan[under, 1] > best
        return 2 if scan[point, 1] > 0.0 and (above or below) else 0
    return 1 if above and scan[over, 2] < scan[point, 2] <= FEW else 0


@kernel
def best_response(
    b: int, side: int, leader: int, state: MarketState, price: Array, numbers: Array, counts: Array, scan: Array
) -> tuple[float, float, float]:
    """Algorithm 1: a leader's best price, by a grid and golden-section searches where a better one may be.

    The present price is tried first and kept unless another one is better. The best price of all that were tried is
    returned, where the printed algorithm returns the last one. ``scan`` is scratch, float64 (grid points, 3).

    Returns
    -------
    price, profit, present_profit : float
    """
    step, cap = numbers[DEVIATION_STEP], numbers[PRICE_CAP]
    last = scan.shape[0] - 1
    best = price[b, side, leader]
    value, present = -math.inf, 0.0
    low, high, left, right, left_value, right_value = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    trial, point, ask = -1, 0, NEXT_CELL
    while True:
        if trial < 0:
            own = best
        elif trial <= last:
            own = min(trial * step, cap)
        else:
            if ask == NEXT_CELL:
                sides = 0
                while point <= last and sides == 0:
                    sides = _sides_to_refine(point, last, step, value, scan)
                    point += 1
                if sides == 0:
                    break
                middle = min((point - 1) * step, cap)
                low, high = max(middle - step, 0.0) if sides == 2 else middle, min(middle + step, cap)
                left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
                ask = FIRST_LEFT
            own = right if ask == RIGHT else left
        profit, earning, buyers = leader_profit(b, side, leader, own, state, price, counts)
        if profit > value:
            best, value = own, profit
        if trial < 0:
            present = profit
        elif trial <= last:
            scan[trial, 0], scan[trial, 1], scan[trial, 2] = profit, earning, buyers
        elif ask == FIRST_LEFT:
            left_value, ask = profit, RIGHT
        else:
            if ask == RIGHT:
                right_value = profit
            else:
                left_value = profit
            if high - low <= numbers[DEVIATION_TOLERANCE]:
                ask = NEXT_CELL
            elif left_value >= right_value:
                high, right, right_value = right, left, left_value
                left, ask = high - GOLDEN * (high - low), LEFT
            else:
                low, left, left_value = left, right, right_value
                right, ask = low + GOLDEN * (high - low), RIGHT
        trial += 1
    return best, value, present


@kernel
def nash_conv(
    b: int, state: MarketState, price: Array, numbers: Array, counts: Array, scan: Array, gain: Array
) -> float:
    """NashConv of ``price``: what all leaders together gain, each deviating alone; ``gain`` (batch, 2, leaders)."""
    total = 0.0
    for side in range(2):
        for leader in range(counts[MOBILES + side]):
            _, value, present = best_response(b, side, leader, state, price, numbers, counts, scan)
            gain[b, side, leader] = value - present
            total += value - present
    return total


@kernel
def iterate_prices(
    b: int, state: MarketState, numbers: Array, counts: Array, price: Array, before: Array, found: Array, scan: Array
) -> tuple[bool, int, float]:
    """Algorithm 2: the mobile agents answer the fixed ones' prices, then the other way round, until prices rest.

    Leaders of one side do not share wireless agents' choices, so a side answers at once. After a round the fixed
    agents have no gain left, so the mobile agents' gains in the next one are the NashConv of the prices before it.

    Parameters
    ----------
    price : ndarray of float64, shape (batch, 2, leaders)
        Start; overwritten.
    before : ndarray of float64, shape (batch, 2, leaders)
        Scratch.
    found : ndarray of float64, shape (batch, 2, leaders)
        The prices of lowest NashConv among all rounds.

    Returns
    -------
    converged, rounds, nash_conv
    """
    lowest, at_rest, rounds = math.inf, False, 0
    leaders = price.shape[2]
    while True:
        change, regret = 0.0, 0.0
        for side in range(2):
            for leader in range(leaders):
                before[b, side, leader] = price[b, side, leader]
        closing = at_rest or rounds == counts[MAX_ITERATIONS]
        for side in range(1 if closing else 2):
            for leader in range(counts[MOBILES + side]):
                own, value, present = best_response(b, side, leader, state, price, numbers, counts, scan)
                if side == MOBILE:
                    regret += value - present
                change = max(change, abs(own - price[b, side, leader]))
                price[b, side, leader] = own
            if side == MOBILE and rounds > 0 and regret < lowest:
                lowest = regret
                for s in range(2):
                    for leader in range(leaders):
                        found[b, s, leader] = before[b, s, leader]
        if closing:
            return at_rest, rounds, lowest
        rounds += 1
        at_rest = change <= numbers[PRICE_TOLERANCE]
