"""Search for the best and the nearly best bundles of units of a provider at given prices, without enumeration.

A provider with worth β and rates a_k per unit values a bundle m of whole units at β (1 − exp(−a·m)) − p·m at prices p.
Let q = min_k p_k / a_k. A bundle of benefit y = a·m costs q·y plus the excess p_k − q·a_k of each unit, so its profit
is at most max_y [β (1 − e^−y) − q·y] − Σ_k (p_k − q·a_k) m_k. All bundles whose units of the two dearer resources make
this bound too small are skipped at once. For the others, profit is concave in the units of the cheapest resource, with
the peak in closed form. No bundle with the required profit is skipped.

Arguments of the kernels are those of `best_bundles`; ``i`` is a provider.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES, Array


class Prospect(NamedTuple):
    """Upper bound of the profit of a provider's bundles at given prices."""

    cheapest: int
    """Resource with the lowest price per benefit; -1 if no resource is of use."""
    second: int
    """The next resource."""
    third: int
    """The remaining resource."""
    top: float
    """Upper bound of the profit of all bundles, integral or not [utility]."""
    dear_second: float
    """Decrease of this bound by a unit of the second resource [utility]."""
    dear_third: float
    """Decrease of this bound by a unit of the third resource [utility]."""
    most_second: int
    """Largest number of units of the second resource: 0 if it is of no use."""
    most_third: int
    """Largest number of units of the third resource: 0 if it is of no use."""


@kernel
def _prospect(worth: Array, rate: Array, i: int, prices: Array, quanta: int) -> Prospect:
    """Return the bound of the profit of provider ``i``'s bundles."""
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
    """Return the best number of units, rounded down; ``rest`` is β exp(−benefit of the other two resources)."""
    if price <= 0.0:
        return quanta
    if rest * rate <= price:
        return 0
    return int(min(math.log(rest * rate / price) / rate, float(quanta)))


@kernel
def _best(worth: Array, rate: Array, i: int, prices: Array, quanta: int, units: Array) -> float:
    """Write the bundle with the largest profit into ``units[i]``, and return the profit.

    If no bundle has a positive profit, ``units[i]`` stays as it is and the profit is 0.
    """
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
    """Append every bundle with a profit of at least ``least`` to ``units`` while there is room; return the new count.

    Bundles with units of a resource of no use, and the empty bundle, are left out.
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
    worth : ndarray of float64, shape (providers,)
        β [utility].
    rate : ndarray of float64, shape (providers, 3)
        Rate of each resource [per unit].
    prices : ndarray of float64, shape (3,)
        Price of each resource [utility per unit], at least 0.
    quanta : int
        Number of units of each resource.
    active : ndarray of bool, shape (providers,)
        Providers that take part.
    profit : ndarray of float64, shape (providers,)
        Where the profits go [utility]: 0 if it is best to buy nothing.
    units : ndarray of int64, shape (providers, 3)
        Where the bundles go.
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
    """Write every bundle of an active provider whose profit is at least ``least``.

    Bundles with units of a resource of no use to the provider, and the empty bundle, are left out.

    Parameters
    ----------
    worth, rate, prices, quanta, active
        See `best_bundles`.
    least : ndarray of float64, shape (providers,)
        Required profits [utility].
    who : ndarray of int64, shape (room,)
        Where the providers of the bundles go.
    units : ndarray of int64, shape (room, 3)
        Where the bundles go.

    Returns
    -------
    int
        Number of such bundles, which may exceed the room.
    """
    count = 0
    for i in range(worth.shape[0]):
        if active[i]:
            before = count
            count = _near(worth, rate, i, prices, quanta, least[i], units, count)
            for c in range(before, min(count, units.shape[0])):
                who[c] = i
    return count
