"""Purchases at the corners of the slicing market's dual problem: the steps of `parametric_simplex`.

A provider is *tied* if it is indifferent between several resources and buys more than one; up to two providers are
tied, each in a slot of its own. Common arguments are ``w``, the `Walk`, ``at``, a `Corner`, ``j``, a provider, ``k``, a
resource, and ``slot``, 0 or 1.
"""

from __future__ import annotations

import math

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES, Array, Corner, Walk

ABSENT, OUT, TIED = -2, -1, RESOURCES
"""Values of ``Corner.buys`` beside resources: not in this market, buys nothing, buys several resources."""


@kernel
def prepare(worth: Array, rate: Array, b: int, w: Walk) -> None:
    """Write ``log_worth``, ``log_rate`` and ``unit`` of market ``b``, which all of its walks use.

    Parameters
    ----------
    worth : ndarray of float64, shape (batch, n)
        β [utility].
    rate : ndarray of float64, shape (batch, n, 3)
        ξ [per whole resource].
    b : int
        Market.
    w : Walk
        Scratch of the walks.
    """
    for j in range(worth.shape[1]):
        w.log_worth[j] = math.log(worth[b, j])
        for k in range(RESOURCES):
            used = rate[b, j, k] > 0.0
            w.log_rate[j, k] = math.log(rate[b, j, k]) if used else -np.inf
            w.unit[j, k] = 1.0 / rate[b, j, k] if used else 0.0


@kernel
def copy_corner(source: Corner, target: Corner) -> None:
    """Copy the arrays of ``source`` into ``target``."""
    for j in range(source.buys.shape[0]):
        target.buys[j] = source.buys[j]
    for k in range(RESOURCES):
        target.resources[k] = source.resources[k]
    for slot in range(2):
        target.tied[slot] = source.tied[slot]
        for k in range(RESOURCES):
            target.tied_to[slot, k], target.part[slot, k] = source.tied_to[slot, k], source.part[slot, k]


@kernel
def untie(slot: int, at: Corner) -> None:
    """Clear ``slot``."""
    at.tied[slot] = -1
    for k in range(RESOURCES):
        at.tied_to[slot, k], at.part[slot, k] = 0, 0.0


@kernel
def first_of(slot: int, at: Corner) -> int:
    """Return the first resource that the provider tied in ``slot`` buys, RESOURCES if the slot is empty."""
    first = 0
    while first < RESOURCES and at.tied_to[slot, first] == 0:
        first += 1
    return first


@kernel
def join(j: int, k: int, w: Walk) -> None:
    """Add ``j`` to the providers that buy only resource ``k``."""
    w.at.buys[j] = k
    w.at.resources[k].buyers += 1
    w.at.resources[k].slope += w.unit[j, k]
    w.at.resources[k].level += w.unit[j, k] * (w.log_worth[j] + w.log_rate[j, k])


@kernel
def part_from(j: int, k: int, w: Walk) -> float:
    """Remove ``j`` from the providers that buy only resource ``k``, and return the share that it had."""
    at = w.at
    at.buys[j] = OUT
    at.resources[k].buyers -= 1
    at.resources[k].slope -= w.unit[j, k]
    at.resources[k].level -= w.unit[j, k] * (w.log_worth[j] + w.log_rate[j, k])
    if at.resources[k].buyers == 0:
        at.resources[k].slope, at.resources[k].level = 0.0, 0.0
    return float(max(w.log_worth[j] + w.log_rate[j, k] - at.resources[k].price, 0.0) * w.unit[j, k])


@kernel
def count_buyers(listed: int, w: Walk) -> None:
    """Recompute number, slope and level of the buyers of each resource from the first ``listed`` watched providers."""
    at = w.at
    for k in range(RESOURCES):
        at.resources[k].buyers, at.resources[k].slope, at.resources[k].level = 0, 0.0, 0.0
    for m in range(listed):
        j = w.near[m]
        if 0 <= at.buys[j] < TIED:
            join(j, at.buys[j], w)


@kernel
def is_bought(k: int, at: Corner) -> bool:
    """Return whether a provider buys ``k``, possibly an amount of 0."""
    return bool(at.resources[k].buyers + at.tied_to[0, k] + at.tied_to[1, k] > 0)


@kernel
def log_benefit_price(j: int, w: Walk) -> float:
    """Return ln q_j = min_k (p_k − ln ξ_jk)."""
    at, r = w.at.resources, w.log_rate
    return float(min(at[0].price - r[j, 0], min(at[1].price - r[j, 1], at[2].price - r[j, 2])))


@kernel
def tie(j: int, k: int, w: Walk) -> bool:
    """Tie ``j``, which buys other resources, to ``k`` as well, and return whether a slot was free for that."""
    at = w.at
    slot = 0 if at.tied[0] == j or (at.tied[0] < 0 and at.tied[1] != j) else 1
    if at.tied[slot] != j:
        if at.tied[slot] >= 0:
            return False
        before = at.buys[j]
        at.tied_to[slot, before] = 1
        at.part[slot, before] = part_from(j, before, w)
        at.tied[slot] = j
        at.buys[j] = TIED
    at.tied_to[slot, k] = 1
    at.part[slot, k] = 0.0
    return True


@kernel
def drop(slot: int, k: int, w: Walk) -> None:
    """Remove ``k`` from the resources of the provider tied in ``slot``, which is untied if one resource is left."""
    at = w.at
    at.tied_to[slot, k], at.part[slot, k] = 0, 0.0
    if at.tied_to[slot, 0] + at.tied_to[slot, 1] + at.tied_to[slot, 2] == 1:
        join(at.tied[slot], first_of(slot, at), w)
        untie(slot, at)


@kernel
def share_bought(j: int, k: int, w: Walk) -> float:
    """Return the share of ``k`` that ``j`` buys."""
    at = w.at
    if at.buys[j] == k:
        return float(max(w.log_worth[j] + w.log_rate[j, k] - at.resources[k].price, 0.0) * w.unit[j, k])
    share = 0.0
    for slot in range(2):
        if at.tied[slot] == j:
            share = max(at.part[slot, k], 0.0)
    return share


@kernel
def would_buy(worth: Array, rate: Array, b: int, j: int, price: Array) -> bool:
    """Return whether provider ``j`` of market ``b`` buys anything at ``price``.

    ``worth`` and ``rate`` are float64 (batch, n) and (batch, n, 3), ``price`` is float64 (3,) [utility per whole
    resource].
    """
    buys = worth[b, j] * rate[b, j, 0] > price[0]
    buys = buys or worth[b, j] * rate[b, j, 1] > price[1]
    return bool(buys or worth[b, j] * rate[b, j, 2] > price[2])
