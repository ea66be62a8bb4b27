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

from ioa_marl.markets import slicing_solver as s
from ioa_marl.markets._numba import kernel
from ioa_marl.markets.slicing_space import RESOURCES, Array, Corner, Walk, Workspace

ABSENT, OUT, TIED = -2, -1, RESOURCES
"""What ``Corner.buys`` can be but a resource: not in this market, buys nothing, buys several."""
WHO, KIND, RESOURCE, SLOT = range(4)
"""Columns of ``Walk.event``: provider (-1: nothing happens), what it does, with which resource; row of ``tied``."""
ENTER, LEAVE, TIE, DROP = range(4)
"""Kinds of event: begins to buy, stops buying, becomes indifferent to one more resource, buys no more of one."""
MOST_PIVOTS = 200
"""Straight pieces after which a walk is given up."""
_LOWEST = -650.0
"""exp(this), over the largest rate, is still a normal number."""


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
        target.log_price[k], target.buyers[k] = source.log_price[k], source.buyers[k]
        target.slope[k], target.level[k] = source.slope[k], source.level[k]
    for slot in range(2):
        target.tied[slot] = source.tied[slot]
        for k in range(RESOURCES):
            target.on[slot, k], target.part[slot, k] = source.on[slot, k], source.part[slot, k]


@kernel
def _join(j: int, k: int, w: Walk) -> None:
    """Let ``j`` buy resource ``k`` only."""
    w.at.buys[j] = k
    w.at.buyers[k] += 1
    w.at.slope[k] += w.unit[j, k]
    w.at.level[k] += w.unit[j, k] * (w.log_worth[j] + w.log_rate[j, k])


@kernel
def _part(j: int, k: int, w: Walk) -> float:
    """Let ``j`` no longer be one of those who buy only ``k``; returns the share that it had."""
    at = w.at
    at.buys[j] = OUT
    at.buyers[k] -= 1
    at.slope[k] -= w.unit[j, k]
    at.level[k] -= w.unit[j, k] * (w.log_worth[j] + w.log_rate[j, k])
    if at.buyers[k] == 0:
        at.slope[k], at.level[k] = 0.0, 0.0
    return max(w.log_worth[j] + w.log_rate[j, k] - at.log_price[k], 0.0) * w.unit[j, k]


@kernel
def _count_buyers(listed: int, w: Walk) -> None:
    """Sum the buyers of each resource afresh."""
    at = w.at
    for k in range(RESOURCES):
        at.buyers[k], at.slope[k], at.level[k] = 0, 0.0, 0.0
    for m in range(listed):
        j = w.near[m]
        if 0 <= at.buys[j] < TIED:
            _join(j, at.buys[j], w)


@kernel
def _is_bought(k: int, at: Corner) -> bool:
    """Whether somebody buys ``k``, if only to the amount 0."""
    bought = at.buyers[k] > 0
    for slot in range(2):
        bought = bought or (at.tied[slot] >= 0 and at.on[slot, k])
    return bool(bought)


@kernel
def _benefit(j: int, w: Walk) -> float:
    """Return ln q_j = min_k (p_k − ln ξ_jk)."""
    p, r = w.at.log_price, w.log_rate
    return min(p[0] - r[j, 0], min(p[1] - r[j, 1], p[2] - r[j, 2]))


@kernel
def _tie(j: int, k: int, w: Walk) -> bool:
    """Let ``j``, who buys other resources, be tied to ``k`` as well; returns whether there is room for that."""
    at = w.at
    slot = 0 if at.tied[0] == j or (at.tied[0] < 0 and at.tied[1] != j) else 1
    if at.tied[slot] != j:
        if at.tied[slot] >= 0:
            return False
        before = at.buys[j]
        for m in range(RESOURCES):
            at.on[slot, m], at.part[slot, m] = m == before, 0.0
        at.part[slot, before] = _part(j, before, w)
        at.tied[slot] = j
        at.buys[j] = TIED
    at.on[slot, k] = True
    at.part[slot, k] = 0.0
    return True


@kernel
def _drop(slot: int, k: int, w: Walk) -> None:
    """Let who is tied in ``slot`` buy no more of ``k``."""
    at = w.at
    at.on[slot, k], at.part[slot, k] = False, 0.0
    left, last = 0, 0
    for m in range(RESOURCES):
        if at.on[slot, m]:
            left, last = left + 1, m
    if left == 1:
        _join(at.tied[slot], last, w)
        at.tied[slot] = -1


@kernel
def _find_buyers(listed: int, w: Walk) -> int:
    """Lower the price of each resource that nobody buys until somebody begins to; returns how many are listed.

    Capacity is 0 there so far, so that any higher price is as good. Where nobody has a use for it, p is 0.
    """
    at = w.at
    for k in range(RESOURCES):
        if _is_bought(k, at):
            continue
        best, who = -np.inf, -1
        for j in range(at.buys.shape[0]):
            if at.buys[j] != ABSENT:
                price = min(w.log_worth[j], _benefit(j, w)) + w.log_rate[j, k]
                if price > best:
                    best, who = price, j
        at.log_price[k] = best if who >= 0 else 0.0
        w.capacity[k] = 0.0
        w.capacity_step[k] = 1.0 if who >= 0 else 0.0
        if who >= 0 and not w.listed[who]:
            w.listed[who] = True
            w.near[listed] = who
            listed += 1
        if who >= 0 and at.buys[who] == OUT:
            _join(who, k, w)
        elif who >= 0:
            _tie(who, k, w)  # of two slots one is free, since this resource was in none
    return listed


@kernel
def enter_at(prices: Array, row: int, w: Walk) -> int:
    """Begin at ``prices[row]``, with the capacities that are bought at them; returns how many are listed: all."""
    at, n = w.at, w.log_worth.shape[0]
    for k in range(RESOURCES):
        # A resource that nobody wanted had no price.
        at.log_price[k] = math.log(prices[row, k]) if prices[row, k] > 0.0 else np.inf
    at.tied[0], at.tied[1] = -1, -1
    for j in range(n):
        w.near[j], w.listed[j] = j, True
        lowest = _benefit(j, w)
        at.buys[j] = OUT
        for k in range(RESOURCES):
            if lowest < w.log_worth[j] and at.log_price[k] - w.log_rate[j, k] == lowest:
                at.buys[j] = k
    _count_buyers(n, w)
    for k in range(RESOURCES):
        if at.buyers[k] > 0:
            w.capacity[k] = at.level[k] - at.log_price[k] * at.slope[k]
            w.capacity_step[k] = 1.0 - w.capacity[k]
    return _find_buyers(n, w)


@kernel
def enter_without(i: int, listed: int, w: Walk) -> int:
    """Begin at the optimum of the whole market, with the capacities that ``i`` leaves; returns how many are listed."""
    copy_corner(w.kept, w.at)
    at = w.at
    for k in range(RESOURCES):
        held = 0.0
        if at.buys[i] == k:
            held = _part(i, k, w)
        for slot in range(2):
            if at.tied[slot] == i and at.on[slot, k]:
                held = at.part[slot, k]
        w.capacity[k], w.capacity_step[k] = 1.0 - held, held
        if not _is_bought(k, w.kept):
            w.capacity_step[k] = 0.0
    for slot in range(2):
        if at.tied[slot] == i:
            at.tied[slot] = -1
    at.buys[i] = ABSENT
    return _find_buyers(listed, w)


@kernel
def list_near(near: float, w: Walk) -> int:
    """List who buys at the prices kept, or would if p were ``near`` lower; returns how many.

    Who is missed is added by `add_near`.
    """
    listed = 0
    for j in range(w.log_worth.shape[0]):
        w.listed[j] = w.kept.buys[j] != OUT or w.log_worth[j] > _benefit(j, w) - near
        if w.listed[j]:
            w.near[listed] = j
            listed += 1
    return listed


@kernel
def _connect(rate: Array, b: int, w: Walk) -> bool:
    """Group resources by who is tied to them; returns False where somebody's tie closes a circle."""
    at = w.at
    for k in range(RESOURCES):
        w.group[k], w.weight[k], w.offset[k] = k, 1.0, 0.0
    for slot in range(2):
        j, first = at.tied[slot], -1
        for k in range(RESOURCES):
            if j < 0 or not at.on[slot, k]:
                continue
            if first < 0:
                first = k
                continue
            joined = w.group[k]
            if joined == w.group[first]:
                return False
            scale = w.weight[first] * rate[b, j, k] * w.unit[j, first] / w.weight[k]
            shift = w.offset[first] + w.log_rate[j, k] - w.log_rate[j, first] - w.offset[k]
            for m in range(RESOURCES):
                if w.group[m] == joined:
                    w.group[m] = w.group[first]
                    w.weight[m] *= scale
                    w.offset[m] += shift
    return True


@kernel
def _split(rate: Array, b: int, w: Walk, part: Array) -> None:
    """Write what those who are tied buy, from the ``residual`` of each resource and the ``total`` of each of them."""
    at = w.at
    both = at.tied[0] >= 0 and at.tied[1] >= 0
    shared = -1
    for k in range(RESOURCES):
        if both and at.on[0, k] and at.on[1, k]:
            shared = k
    for slot in range(2):
        j = at.tied[slot]
        for k in range(RESOURCES):
            part[slot, k] = w.residual[k] if j >= 0 and at.on[slot, k] and k != shared else 0.0
    if shared >= 0:
        elsewhere = 0.0
        for k in range(RESOURCES):
            elsewhere += rate[b, at.tied[0], k] * part[0, k]
        part[0, shared] = (w.total[0] - elsewhere) * w.unit[at.tied[0], shared]
        part[1, shared] = w.residual[shared] - part[0, shared]


@kernel
def _direct(rate: Array, b: int, w: Walk) -> bool:
    """Write how prices and divided purchases change with the capacities; returns False where they cannot follow."""
    at = w.at
    if not _connect(rate, b, w):
        return False
    for k in range(RESOURCES):
        if w.group[k] != k:
            continue
        more, slope = 0.0, 0.0
        for m in range(RESOURCES):
            if w.group[m] == k:
                more += w.weight[m] * w.capacity_step[m]
                slope += w.weight[m] * at.slope[m]
        for slot in range(2):
            j, first = at.tied[slot], -1
            for m in range(RESOURCES):
                if j >= 0 and at.on[slot, m] and w.group[m] == k and first < 0:
                    first = m
                    slope += w.weight[m] * w.unit[j, m]
        if slope <= 0.0 and more != 0.0:
            return False
        for m in range(RESOURCES):
            if w.group[m] == k:
                w.log_price_step[m] = -more / slope if slope > 0.0 else 0.0
    for k in range(RESOURCES):
        w.residual[k] = w.capacity_step[k] + w.log_price_step[k] * at.slope[k]
    for slot in range(2):
        for k in range(RESOURCES):
            if at.tied[slot] >= 0 and at.on[slot, k]:
                w.total[slot] = -w.log_price_step[k]
    _split(rate, b, w, w.part_step)
    return True


@kernel
def _note(who: int, kind: int, resource: int, slot: int, w: Walk) -> None:
    """Write down the next event."""
    w.event[WHO], w.event[KIND], w.event[RESOURCE], w.event[SLOT] = who, kind, resource, slot


@kernel
def _next_event(listed: int, longest: float, w: Walk) -> float:
    """Find what happens first within ``longest`` of the way; returns how far that is."""
    at, p, d, r = w.at, w.at.log_price, w.log_price_step, w.log_rate
    step = longest
    w.event[WHO] = -1
    for m in range(listed):
        j = w.near[m]
        buys = at.buys[j]
        if buys == OUT:
            for k in range(RESOURCES):
                # Written as products: most are not the next, and a division is dear.
                if p[k] - r[j, k] - w.log_worth[j] < -d[k] * step:
                    step = max(p[k] - r[j, k] - w.log_worth[j], 0.0) / -d[k]
                    _note(j, ENTER, k, 0, w)
        elif buys >= 0:
            slot = -1
            if buys == TIED:
                slot = 0 if at.tied[0] == j else 1
                for k in range(RESOURCES):
                    if at.on[slot, k]:
                        buys = k
                        if at.part[slot, k] < -w.part_step[slot, k] * step:
                            step = max(at.part[slot, k], 0.0) / -w.part_step[slot, k]
                            _note(j, DROP, k, slot, w)
            here = p[buys] - r[j, buys]
            for k in range(RESOURCES):
                if w.group[k] != w.group[buys] and p[k] - r[j, k] - here < (d[buys] - d[k]) * step:
                    step = max(p[k] - r[j, k] - here, 0.0) / (d[buys] - d[k])
                    _note(j, TIE, k, slot, w)
            if slot < 0 and w.log_worth[j] - here < d[buys] * step:
                step = max(w.log_worth[j] - here, 0.0) / d[buys]
                _note(j, LEAVE, buys, 0, w)
    return step


@kernel
def _pivot(w: Walk) -> bool:
    """Let the event happen; returns False where that would need a third one who is tied."""
    j, kind, k = w.event[WHO], w.event[KIND], w.event[RESOURCE]
    if kind == ENTER:
        _join(j, k, w)
    elif kind == LEAVE:
        _part(j, k, w)
    elif kind == DROP:
        _drop(w.event[SLOT], k, w)
    else:
        return _tie(j, k, w)
    return True


@kernel
def walk(rate: Array, b: int, listed: int, w: Walk) -> int:
    """Lead all capacities to 1; returns the number of straight pieces, or -1 where the way was not found."""
    left = 1.0
    for pivot in range(MOST_PIVOTS):
        if not _direct(rate, b, w):
            return -1
        step = _next_event(listed, left, w)
        for k in range(RESOURCES):
            w.at.log_price[k] += step * w.log_price_step[k]
            for slot in range(2):
                w.at.part[slot, k] += step * w.part_step[slot, k]
        left -= step
        if w.event[WHO] < 0:
            return pivot + 1
        if not _pivot(w):
            return -1
    return -1


@kernel
def _clear(rate: Array, b: int, listed: int, w: Walk) -> None:
    """Solve for the prices at which those who buy use up capacities of 1, without the rounding of the way."""
    at = w.at
    _count_buyers(listed, w)
    for k in range(RESOURCES):
        if w.group[k] != k or not _is_bought(k, at):
            continue
        level, slope = 0.0, 0.0
        for m in range(RESOURCES):
            if w.group[m] == k:
                level += w.weight[m] * (at.level[m] - w.offset[m] * at.slope[m] - 1.0)
                slope += w.weight[m] * at.slope[m]
        for slot in range(2):
            j, first = at.tied[slot], -1
            for m in range(RESOURCES):
                if j >= 0 and at.on[slot, m] and w.group[m] == k and first < 0:
                    first = m
                    level += w.weight[m] * w.unit[j, m] * (w.log_worth[j] + w.log_rate[j, m] - w.offset[m])
                    slope += w.weight[m] * w.unit[j, m]
        for m in range(RESOURCES):
            if w.group[m] == k:
                at.log_price[m] = level / slope + w.offset[m]
    for k in range(RESOURCES):
        w.residual[k] = 1.0 - (at.level[k] - at.log_price[k] * at.slope[k])
    for slot in range(2):
        if at.tied[slot] >= 0:
            w.total[slot] = w.log_worth[at.tied[slot]] - _benefit(at.tied[slot], w)
    _split(rate, b, w, at.part)


@kernel
def held_by(j: int, k: int, w: Walk) -> float:
    """Return the share of ``k`` that ``j`` buys."""
    at = w.at
    if at.buys[j] == k:
        return float(max(w.log_worth[j] + w.log_rate[j, k] - at.log_price[k], 0.0) * w.unit[j, k])
    share = 0.0
    for slot in range(2):
        if at.tied[slot] == j and at.on[slot, k]:
            share = max(at.part[slot, k], 0.0)
    return share


@kernel
def settle(worth: Array, rate: Array, b: int, listed: int, w: Workspace) -> bool:
    """Report utility and bound at the end of a walk, as `slicing_solver.certify` does; returns whether they are finite.

    Providers that are not listed buy nothing; if one of them would like to, the bound is not one yet: see `add_near`.
    """
    at = w.walk.at
    _clear(rate, b, listed, w.walk)
    bound, value = 0.0, 0.0
    for k in range(RESOURCES):
        w.wanted[k] = 1 if _is_bought(k, at) else 0
        w.price[k] = math.exp(max(at.log_price[k], _LOWEST)) if w.wanted[k] == 1 else 0.0
        w.used[k] = 0.0
        bound += w.price[k]
    for m in range(listed):
        j = w.walk.near[m]
        for k in range(RESOURCES):
            if at.buys[j] == k or at.buys[j] == TIED:
                w.used[k] += held_by(j, k, w.walk)
    for m in range(listed):
        j = w.walk.near[m]
        if at.buys[j] >= 0:
            y = 0.0
            for k in range(RESOURCES):
                if at.buys[j] == k or at.buys[j] == TIED:
                    y += rate[b, j, k] * held_by(j, k, w.walk) / w.used[k] if w.wanted[k] == 1 else 0.0
            value -= worth[b, j] * math.expm1(-y)
        if at.buys[j] != ABSENT and would_buy(worth, rate, b, j, w.price):
            bound += s.net_benefit(worth[b, j], s.benefit_price(rate, b, j, w.price))
    w.report[s.VALUE] = value
    w.report[s.BOUND] = max(bound, value)
    return bool(value <= bound * (1.0 + 1e-9) and bound < np.inf)


@kernel
def hand_over(w: Workspace) -> None:
    """Write the shares of everybody, who must be listed, where the interior-point solver has them."""
    for j in range(w.walk.at.buys.shape[0]):
        for k in range(RESOURCES):
            w.share[j, k] = held_by(j, k, w.walk)


@kernel
def would_buy(worth: Array, rate: Array, b: int, j: int, price: Array) -> bool:
    """Whether ``j`` buys anything at these prices."""
    buys = worth[b, j] * rate[b, j, 0] > price[0]
    buys = buys or worth[b, j] * rate[b, j, 1] > price[1]
    return bool(buys or worth[b, j] * rate[b, j, 2] > price[2])


@kernel
def add_near(worth: Array, rate: Array, b: int, listed: int, w: Workspace) -> int:
    """List everybody left out who would buy at the prices found; returns how many are listed then."""
    for j in range(worth.shape[1]):
        if not w.walk.listed[j] and w.walk.at.buys[j] != ABSENT and would_buy(worth, rate, b, j, w.price):
            w.walk.listed[j] = True
            w.walk.near[listed] = j
            listed += 1
    return listed
