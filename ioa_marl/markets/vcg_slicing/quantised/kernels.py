"""Which bundles of resource units are best, or nearly so, for a provider at given prices: without listing all of them.

A provider with worth β and rates a_k per unit values a bundle m of whole units at β (1 − exp(−a·m)) − p·m at prices p.
Let q = min_k p_k / a_k. A bundle of benefit y = a·m costs q·y plus what each unit costs more than its benefit at that
rate, p_k − q·a_k, so its profit is at most max_y [β (1 − e^−y) − q·y] − Σ_k (p_k − q·a_k) m_k. All bundles with more
units of the two dearer resources than this leaves room for are skipped at once; for the others, profit is concave in
the units of the cheapest resource, with the peak in closed form. Nothing is skipped that has the required profit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES, Array


class Prospect(NamedTuple):
    """What bounds the profit of a provider's bundles at given prices."""

    cheapest: int
    """Resource with the lowest price per benefit; -1 if no resource is of use."""
    second: int
    third: int
    top: float
    """No bundle, whole or not, has more profit than this."""
    dear_second: float
    """What a unit of the second resource takes off that bound."""
    dear_third: float
    """What a unit of the third resource takes off that bound."""
    most_second: int
    """Most units of the second resource: none if it is of no use."""
    most_third: int
    """Most units of the third resource: none if it is of no use."""


@kernel
def _prospect(worth: Array, rate: Array, i: int, prices: Array, quanta: int) -> Prospect:
    lowest, first = np.inf, -1
    for k in range(RESOURCES):
        if rate[i, k] > 0.0 and prices[k] / rate[i, k] < lowest:
            lowest, first = prices[k] / rate[i, k], k
    if first < 0:
        return Prospect(-1, 0, 0, 0.0, 0.0, 0.0, 0, 0)
    second, third = (first + 1) % RESOURCES, (first + 2) % RESOURCES
    benefit = (rate[i, 0] + rate[i, 1] + rate[i, 2]) * quanta
    if lowest > 0.0:
        benefit = min(benefit, max(math.log(worth[i] / lowest), 0.0))
    top = -worth[i] * math.expm1(-benefit) - lowest * benefit
    return Prospect(
        first, second, third, top * (1.0 + 1e-12) + 1e-15 * worth[i],  # rounding must not skip anything
        max(prices[second] - lowest * rate[i, second], 0.0), max(prices[third] - lowest * rate[i, third], 0.0),
        quanta if rate[i, second] > 0.0 else 0, quanta if rate[i, third] > 0.0 else 0,
    )  # fmt: skip


@kernel
def _peak(rest: float, rate: float, price: float, quanta: int) -> int:
    """Return the whole part of the best number of units, where ``rest`` is β exp(−benefit of the other two)."""
    if price <= 0.0:
        return quanta
    if rest * rate <= price:
        return 0
    return int(min(math.log(rest * rate / price) / rate, float(quanta)))


@kernel
def _best(worth: Array, rate: Array, i: int, prices: Array, quanta: int, units: Array) -> float:
    """Write the bundle with the largest profit into ``units[i]``, as it is where none has any; returns the profit."""
    best = 0.0
    p = _prospect(worth, rate, i, prices, quanta)
    if p.cheapest < 0:
        return best
    a, price = rate[i, p.cheapest], prices[p.cheapest]
    for x in range(p.most_second + 1):
        if p.top - p.dear_second * x <= best:
            break
        for z in range(p.most_third + 1):
            if p.top - p.dear_second * x - p.dear_third * z <= best:
                break
            benefit = rate[i, p.second] * x + rate[i, p.third] * z
            cost = prices[p.second] * x + prices[p.third] * z
            low = _peak(worth[i] * math.exp(-benefit), a, price, quanta)
            for m in range(low, min(low + 1, quanta) + 1):
                profit = -worth[i] * math.expm1(-benefit - a * m) - cost - price * m
                if profit > best:
                    best = profit
                    units[i, p.cheapest], units[i, p.second], units[i, p.third] = m, x, z
    return best


@kernel
def _near(worth: Array, rate: Array, i: int, prices: Array, quanta: int, least: float, units: Array, count: int) -> int:
    """Append every bundle with a profit of at least ``least`` to ``units`` as far as there is room; returns how many.

    Units of resources that are of no use to the provider, and the empty bundle, are left out.
    """
    p = _prospect(worth, rate, i, prices, quanta)
    if p.cheapest < 0:
        return count
    a, price = rate[i, p.cheapest], prices[p.cheapest]
    for x in range(p.most_second + 1):
        if p.top - p.dear_second * x < least:
            break
        for z in range(p.most_third + 1):
            if p.top - p.dear_second * x - p.dear_third * z < least:
                break
            benefit = rate[i, p.second] * x + rate[i, p.third] * z
            cost = prices[p.second] * x + prices[p.third] * z
            low = _peak(worth[i] * math.exp(-benefit), a, price, quanta)
            for direction in (-1, 1):
                m = low if direction < 0 else low + 1
                while 0 <= m <= quanta and -worth[i] * math.expm1(-benefit - a * m) - cost - price * m >= least:
                    if x + z + m > 0:
                        if count < units.shape[0]:
                            units[count, p.cheapest], units[count, p.second], units[count, p.third] = m, x, z
                        count += 1
                    m += direction
    return count


@kernel
def best_bundles(
    worth: Array, rate: Array, prices: Array, quanta: int, active: Array, profit: Array, units: Array
) -> None:
    """Write the bundle with the largest profit, and that profit, for every active provider; zeros for the others.

    Parameters
    ----------
    worth : float64 ndarray, shape (providers,)
        β.
    rate : float64 ndarray, shape (providers, 3)
        Rate per unit of each resource.
    prices : float64 ndarray, shape (3,)
        Price per unit of each resource, at least 0.
    quanta : int
        Units of each resource that there are.
    active : bool ndarray, shape (providers,)
        Who takes part.
    profit : float64 ndarray, shape (providers,)
        Where profits go: 0 where the best is to buy nothing.
    units : int64 ndarray, shape (providers, 3)
        Where bundles go.
    """
    for i in range(worth.shape[0]):
        profit[i] = 0.0
        for k in range(RESOURCES):
            units[i, k] = 0
        if active[i]:
            profit[i] = _best(worth, rate, i, prices, quanta, units)


@kernel
def near_bundles(
    worth: Array, rate: Array, prices: Array, quanta: int, active: Array, least: Array, who: Array,
    units: Array,
) -> int:  # fmt: skip
    """List every bundle of an active provider whose profit is at least ``least``, shape (providers,).

    Writes providers into ``who``, (room,), and bundles into ``units``, (room, 3), as far as there is room, and returns
    how many there are. Bundles with units of a resource that is of no use to the provider, and the empty bundle, are
    left out.
    """
    count = 0
    for i in range(worth.shape[0]):
        if active[i]:
            before = count
            count = _near(worth, rate, i, prices, quanta, least[i], units, count)
            for c in range(before, min(count, units.shape[0])):
                who[c] = i
    return count
