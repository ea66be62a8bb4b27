"""Kernels that start from the prices of a similar slicing market and walk to the optimum, from corner to corner.

With log prices p_k = ln λ_k, provider j buys only where p_k − ln ξ_jk is least, ξ_j·s_j = [ln β_j − that]₊ of it. As
long as nobody changes what they buy, demand is linear in p. Any prices are optimal where capacities are what is bought
at them. Capacities are therefore led in a straight line from there to 1, and p and all shares with them: a straight
walk up to the point where somebody enters, leaves, or becomes indifferent between two resources; then the next straight
piece begins. Who is indifferent is *tied*: the ratio of the two prices is fixed as long as they are, and they buy what
the others leave of either. Unless rates are special, resources and those who are tied form a forest, so that at most
two are. This is the parametric simplex method (Gass and Saaty, "The computational algorithm for the parametric
objective function", 1955) for a market of this kind.

The market without provider i starts at the optimum of the whole one, with the capacities that i leaves. A market
that has changed a little starts from the prices that it had.

Nothing here is trusted: `settle` evaluates shares and prices afresh as the interior-point solver does, and who does not
reach the tolerance is solved by that solver.
"""

from __future__ import annotations

import math

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.vcg_slicing.corners import (
    ABSENT,
    OUT,
    TIED,
    copy_corner,
    count_buyers,
    drop,
    first_of,
    is_bought,
    join,
    log_benefit_price,
    part_from,
    share_bought,
    tie,
    untie,
    would_buy,
)
from ioa_marl.markets.vcg_slicing.interior_point import benefit_price, net_benefit
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES, Array, Walk, Workspace

ENTER, LEAVE, TIE, DROP = range(4)
"""Kinds of event: begins to buy, stops buying, becomes indifferent to one more resource, buys no more of one."""
MOST_PIVOTS = 200
"""Straight pieces after which a walk is given up."""
_LOWEST = -650.0
"""exp(this), over the largest rate, is still a normal number."""


@kernel
def _find_buyers(listed: int, w: Walk) -> int:
    """Lower the price of each resource that nobody buys until somebody begins to; returns how many are listed.

    Capacity is 0 there so far, so that any higher price is as good. Where nobody has a use for it, p is 0.
    """
    at = w.at
    for k in range(RESOURCES):
        if is_bought(k, at):
            continue
        best, who = -np.inf, -1
        for j in range(at.buys.shape[0]):
            if at.buys[j] != ABSENT:
                price = min(w.log_worth[j], log_benefit_price(j, w)) + w.log_rate[j, k]
                if price > best:
                    best, who = price, j
        at.resources[k].price = best if who >= 0 else 0.0
        w.resources[k].capacity = 0.0
        w.resources[k].capacity_step = 1.0 if who >= 0 else 0.0
        if who >= 0 and not w.listed[who]:
            w.listed[who] = True
            w.near[listed] = who
            listed += 1
        if who >= 0 and at.buys[who] == OUT:
            join(who, k, w)
        elif who >= 0:
            tie(who, k, w)  # of two slots one is free, since this resource was in none
    return listed


@kernel
def enter_at(prices: Array, row: int, w: Walk) -> int:
    """Begin at ``prices[row]``, with the capacities that are bought at them; returns how many are listed: all."""
    at, n = w.at, w.log_worth.shape[0]
    for k in range(RESOURCES):
        # A resource that nobody wanted had no price.
        at.resources[k].price = math.log(prices[row, k]) if prices[row, k] > 0.0 else np.inf
    for slot in range(2):
        untie(slot, at)
    for j in range(n):
        w.near[j], w.listed[j] = j, True
        lowest = log_benefit_price(j, w)
        at.buys[j] = OUT
        for k in range(RESOURCES):
            if lowest < w.log_worth[j] and at.resources[k].price - w.log_rate[j, k] == lowest:
                at.buys[j] = k
    count_buyers(n, w)
    for k in range(RESOURCES):
        if at.resources[k].buyers > 0:
            w.resources[k].capacity = at.resources[k].level - at.resources[k].price * at.resources[k].slope
            w.resources[k].capacity_step = 1.0 - w.resources[k].capacity
    return _find_buyers(n, w)


@kernel
def enter_without(i: int, listed: int, w: Walk) -> int:
    """Begin at the optimum of the whole market, with the capacities that ``i`` leaves; returns how many are listed."""
    copy_corner(w.kept, w.at)
    at = w.at
    for k in range(RESOURCES):
        freed = 0.0
        if at.buys[i] == k:
            freed = part_from(i, k, w)
        for slot in range(2):
            if at.tied[slot] == i:
                freed = at.part[slot, k]
        w.resources[k].capacity, w.resources[k].capacity_step = 1.0 - freed, freed
        if not is_bought(k, w.kept):
            w.resources[k].capacity_step = 0.0
    for slot in range(2):
        if at.tied[slot] == i:
            untie(slot, at)
    at.buys[i] = ABSENT
    return _find_buyers(listed, w)


@kernel
def list_near(near: float, w: Walk) -> int:
    """List who buys at the prices kept, or would if p were ``near`` lower; returns how many.

    Who is missed is added by `add_near`.
    """
    listed = 0
    for j in range(w.log_worth.shape[0]):
        w.listed[j] = w.kept.buys[j] != OUT or w.log_worth[j] > log_benefit_price(j, w) - near
        if w.listed[j]:
            w.near[listed] = j
            listed += 1
    return listed


@kernel
def _connect(rate: Array, b: int, w: Walk) -> bool:
    """Group resources by who is tied to them; returns False where somebody's tie closes a circle."""
    at = w.at
    for k in range(RESOURCES):
        w.resources[k].group, w.resources[k].weight, w.resources[k].offset = k, 1.0, 0.0
    for slot in range(2):
        j, first = at.tied[slot], first_of(slot, at)
        for k in range(first + 1, RESOURCES):
            if at.tied_to[slot, k] == 0:
                continue
            joined = w.resources[k].group
            if joined == w.resources[first].group:
                return False
            scale = w.resources[first].weight * rate[b, j, k] * w.unit[j, first] / w.resources[k].weight
            shift = w.resources[first].offset + w.log_rate[j, k] - w.log_rate[j, first] - w.resources[k].offset
            for m in range(RESOURCES):
                if w.resources[m].group == joined:
                    w.resources[m].group = w.resources[first].group
                    w.resources[m].weight *= scale
                    w.resources[m].offset += shift
    return True


@kernel
def _split(rate: Array, b: int, w: Walk, out: Array) -> None:
    """Write what those who are tied buy, from the residual of each resource and the total of each of them.

    ``out``, (2, 3), are their parts or the steps of these.
    """
    at, shared = w.at, -1
    for k in range(RESOURCES):
        if at.tied_to[0, k] + at.tied_to[1, k] == 2:
            shared = k
    elsewhere = 0.0
    for k in range(RESOURCES):
        for slot in range(2):
            out[slot, k] = w.resources[k].residual if at.tied_to[slot, k] == 1 and k != shared else 0.0
        elsewhere += rate[b, max(at.tied[0], 0), k] * out[0, k]
    if shared >= 0:
        out[0, shared] = (w.total[0] - elsewhere) * w.unit[at.tied[0], shared]
        out[1, shared] = w.resources[shared].residual - out[0, shared]


@kernel
def _direct(rate: Array, b: int, w: Walk) -> bool:
    """Write how prices and divided purchases change with the capacities; returns False where they cannot follow."""
    at = w.at
    if not _connect(rate, b, w):
        return False
    for k in range(RESOURCES):
        if w.resources[k].group != k:
            continue
        more, slope = 0.0, 0.0
        for m in range(RESOURCES):
            if w.resources[m].group == k:
                more += w.resources[m].weight * w.resources[m].capacity_step
                slope += w.resources[m].weight * at.resources[m].slope
        for slot in range(2):
            j, m = at.tied[slot], first_of(slot, at)
            if m < RESOURCES and w.resources[m].group == k:
                slope += w.resources[m].weight * w.unit[j, m]
        if slope <= 0.0 and more != 0.0:
            return False
        for m in range(RESOURCES):
            if w.resources[m].group == k:
                w.resources[m].price_step = -more / slope if slope > 0.0 else 0.0
    for k in range(RESOURCES):
        w.resources[k].residual = w.resources[k].capacity_step + w.resources[k].price_step * at.resources[k].slope
    for slot in range(2):
        k = first_of(slot, at)
        w.total[slot] = -w.resources[k].price_step if k < RESOURCES else 0.0
    _split(rate, b, w, w.part_step)
    return True


@kernel
def _note(who: int, kind: int, resource: int, slot: int, w: Walk) -> None:
    """Write down the next event."""
    status = w.status[0]
    status.who, status.kind, status.resource, status.slot = who, kind, resource, slot


@kernel
def _next_event(listed: int, longest: float, w: Walk) -> float:
    """Find what happens first within ``longest`` of the way; returns how far that is."""
    at, on_way = w.at, w.resources
    step = longest
    w.status[0].who = -1
    for m in range(listed):
        j = w.near[m]
        buys = at.buys[j]
        if buys == OUT:
            for k in range(RESOURCES):
                # Written as products: most are not the next, and a division is dear.
                ahead = at.resources[k].price - w.log_rate[j, k] - w.log_worth[j]
                if ahead < -on_way[k].price_step * step:
                    step = max(ahead, 0.0) / -on_way[k].price_step
                    _note(j, ENTER, k, 0, w)
        elif buys >= 0:
            slot = -1
            if buys == TIED:
                slot = 0 if at.tied[0] == j else 1
                for k in range(RESOURCES):
                    if at.tied_to[slot, k] == 1:
                        buys = k
                        if at.part[slot, k] < -w.part_step[slot, k] * step:
                            step = max(at.part[slot, k], 0.0) / -w.part_step[slot, k]
                            _note(j, DROP, k, slot, w)
            here = at.resources[buys].price - w.log_rate[j, buys]
            for k in range(RESOURCES):
                ahead = at.resources[k].price - w.log_rate[j, k] - here
                nearing = on_way[buys].price_step - on_way[k].price_step
                if on_way[k].group != on_way[buys].group and ahead < nearing * step:
                    step = max(ahead, 0.0) / nearing
                    _note(j, TIE, k, slot, w)
            if slot < 0 and w.log_worth[j] - here < on_way[buys].price_step * step:
                step = max(w.log_worth[j] - here, 0.0) / on_way[buys].price_step
                _note(j, LEAVE, buys, 0, w)
    return step


@kernel
def _pivot(w: Walk) -> bool:
    """Let the event happen; returns False where that would need a third one who is tied."""
    status = w.status[0]
    j, kind, k = status.who, status.kind, status.resource
    if kind == ENTER:
        join(j, k, w)
    elif kind == LEAVE:
        part_from(j, k, w)
    elif kind == DROP:
        drop(status.slot, k, w)
    else:
        return tie(j, k, w)
    return True


@kernel
def walk(rate: Array, b: int, listed: int, w: Walk) -> int:
    """Lead all capacities to 1; returns the number of straight pieces, or -1 where the way is lost."""
    left = 1.0
    for pivot in range(MOST_PIVOTS):
        if not _direct(rate, b, w):
            return -1
        step = _next_event(listed, left, w)
        for k in range(RESOURCES):
            w.at.resources[k].price += step * w.resources[k].price_step
            for slot in range(2):
                w.at.part[slot, k] += step * w.part_step[slot, k]
        left -= step
        if w.status[0].who < 0:
            return pivot + 1
        if not _pivot(w):
            return -1
    return -1


@kernel
def _clear(rate: Array, b: int, listed: int, w: Walk) -> None:
    """Solve for the prices at which those who buy use up capacities of 1, without the rounding of the way."""
    at = w.at
    count_buyers(listed, w)
    for k in range(RESOURCES):
        if w.resources[k].group != k or not is_bought(k, at):
            continue
        level, slope = 0.0, 0.0
        for m in range(RESOURCES):
            if w.resources[m].group == k:
                bought = at.resources[m].level - w.resources[m].offset * at.resources[m].slope
                level += w.resources[m].weight * (bought - 1.0)
                slope += w.resources[m].weight * at.resources[m].slope
        for slot in range(2):
            j, m = at.tied[slot], first_of(slot, at)
            if m < RESOURCES and w.resources[m].group == k:
                weight = w.resources[m].weight * w.unit[j, m]
                level += weight * (w.log_worth[j] + w.log_rate[j, m] - w.resources[m].offset)
                slope += weight
        for m in range(RESOURCES):
            if w.resources[m].group == k:
                at.resources[m].price = level / slope + w.resources[m].offset
    for k in range(RESOURCES):
        w.resources[k].residual = 1.0 - (at.resources[k].level - at.resources[k].price * at.resources[k].slope)
    for slot in range(2):
        j = at.tied[slot]
        w.total[slot] = w.log_worth[j] - log_benefit_price(j, w) if j >= 0 else 0.0
    _split(rate, b, w, at.part)


@kernel
def settle(worth: Array, rate: Array, b: int, listed: int, w: Workspace) -> bool:
    """Report utility and bound at the end of a walk, as `interior_point.certify` does; returns whether they are finite.

    Providers that are not listed buy nothing; if one of them would like to, the bound is not one yet: see `add_near`.
    """
    at = w.walk.at
    _clear(rate, b, listed, w.walk)
    bound, value = 0.0, 0.0
    for k in range(RESOURCES):
        w.inner.wanted[k] = 1 if is_bought(k, at) else 0
        w.inner.price[k] = math.exp(max(at.resources[k].price, _LOWEST)) if w.inner.wanted[k] == 1 else 0.0
        w.inner.used[k] = 0.0
        bound += w.inner.price[k]
    for m in range(listed):
        j = w.walk.near[m]
        for k in range(RESOURCES):
            if at.buys[j] == k or at.buys[j] == TIED:
                w.inner.used[k] += share_bought(j, k, w.walk)
    for m in range(listed):
        j = w.walk.near[m]
        if at.buys[j] >= 0:
            y = 0.0
            for k in range(RESOURCES):
                if at.buys[j] == k or at.buys[j] == TIED:
                    y += rate[b, j, k] * share_bought(j, k, w.walk) / w.inner.used[k] if w.inner.wanted[k] == 1 else 0.0
            value -= worth[b, j] * math.expm1(-y)
        if at.buys[j] != ABSENT and would_buy(worth, rate, b, j, w.inner.price):
            bound += net_benefit(worth[b, j], benefit_price(rate, b, j, w.inner.price))
    w.inner.report[0].value = value
    w.inner.report[0].bound = max(bound, value)
    return bool(value <= bound * (1.0 + 1e-9) and bound < np.inf)


@kernel
def hand_over(w: Workspace) -> None:
    """Write the shares of everybody, who must be listed, where the interior-point solver has them."""
    for j in range(w.walk.at.buys.shape[0]):
        for k in range(RESOURCES):
            w.inner.share[j, k] = share_bought(j, k, w.walk)


@kernel
def add_near(worth: Array, rate: Array, b: int, listed: int, w: Workspace) -> int:
    """List everybody left out who would buy at the prices reached; returns how many are listed then."""
    for j in range(worth.shape[1]):
        if not w.walk.listed[j] and w.walk.at.buys[j] != ABSENT and would_buy(worth, rate, b, j, w.inner.price):
            w.walk.listed[j] = True
            w.walk.near[listed] = j
            listed += 1
    return listed
