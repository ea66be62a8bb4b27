"""Who buys what at the corners of the slicing market's dual problem: the steps of `parametric_simplex`."""

from __future__ import annotations

import math

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES, Array, Corner, Walk

ABSENT, OUT, TIED = -2, -1, RESOURCES
"""What ``Corner.buys`` can be but a resource: not in this market, buys nothing, buys several."""


@kernel
def prepare(worth: Array, rate: Array, b: int, w: Walk) -> None:
    """Write what all walks in market ``b`` need."""
    for j in range(worth.shape[1]):
        w.log_worth[j] = math.log(worth[b, j])
        for k in range(RESOURCES):
            used = rate[b, j, k] > 0.0
            w.log_rate[j, k] = math.log(rate[b, j, k]) if used else -np.inf
            w.unit[j, k] = 1.0 / rate[b, j, k] if used else 0.0


@kernel
def copy_corner(source: Corner, target: Corner) -> None:
    """Make ``target`` what ``source`` is."""
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
    """Let nobody be tied in ``slot``."""
    at.tied[slot] = -1
    for k in range(RESOURCES):
        at.tied_to[slot, k], at.part[slot, k] = 0, 0.0


@kernel
def first_of(slot: int, at: Corner) -> int:
    """Return the first resource that who is tied in ``slot`` buys, RESOURCES if there is nobody."""
    first = 0
    while first < RESOURCES and at.tied_to[slot, first] == 0:
        first += 1
    return first


@kernel
def join(j: int, k: int, w: Walk) -> None:
    """Let ``j`` buy resource ``k`` only."""
    w.at.buys[j] = k
    w.at.resources[k].buyers += 1
    w.at.resources[k].slope += w.unit[j, k]
    w.at.resources[k].level += w.unit[j, k] * (w.log_worth[j] + w.log_rate[j, k])


@kernel
def part_from(j: int, k: int, w: Walk) -> float:
    """Let ``j`` no longer be one of those who buy only ``k``; returns the share that it had."""
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
    """Sum the buyers of each resource afresh."""
    at = w.at
    for k in range(RESOURCES):
        at.resources[k].buyers, at.resources[k].slope, at.resources[k].level = 0, 0.0, 0.0
    for m in range(listed):
        j = w.near[m]
        if 0 <= at.buys[j] < TIED:
            join(j, at.buys[j], w)


@kernel
def is_bought(k: int, at: Corner) -> bool:
    """Whether somebody buys ``k``, if only to the amount 0."""
    return bool(at.resources[k].buyers + at.tied_to[0, k] + at.tied_to[1, k] > 0)


@kernel
def log_benefit_price(j: int, w: Walk) -> float:
    """Return ln q_j = min_k (p_k − ln ξ_jk)."""
    at, r = w.at.resources, w.log_rate
    return float(min(at[0].price - r[j, 0], min(at[1].price - r[j, 1], at[2].price - r[j, 2])))


@kernel
def tie(j: int, k: int, w: Walk) -> bool:
    """Let ``j``, who buys other resources, be tied to ``k`` as well; returns whether there is room for that."""
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
    """Let who is tied in ``slot`` buy no more of ``k``."""
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
    """Whether ``j`` buys anything at these prices."""
    buys = worth[b, j] * rate[b, j, 0] > price[0]
    buys = buys or worth[b, j] * rate[b, j, 1] > price[1]
    return bool(buys or worth[b, j] * rate[b, j, 2] > price[2])
