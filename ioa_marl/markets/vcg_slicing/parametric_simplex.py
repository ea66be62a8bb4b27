"""Parametric simplex method: kernels that walk from the prices of a similar slicing market to the optimum.

With log prices p_k = ln λ_k, provider j buys only the resource with the least p_k − ln ξ_jk, to the amount ξ_j·s_j =
[ln β_j − (p_k − ln ξ_jk)]₊. Demand is linear in p as long as no provider changes the resources that it buys. Any prices
are optimal for the capacities that are bought at them. The walk therefore moves the capacities in a straight line from
there to 1, and p and all shares with them, until a provider enters, leaves, or becomes indifferent between two
resources; then the next straight piece begins. A provider that is indifferent is *tied*: the ratio of the prices of its
resources is fixed, and it buys what the others leave of them. Except for special rates, resources and tied providers
form a forest, so that at most two providers are tied. This is the parametric simplex method (Gass and Saaty, "The
computational algorithm for the parametric objective function", 1955) for a market of this kind.

The market without provider i starts at the optimum of the whole market, with the capacities that i leaves. A market
that has changed a little starts from its earlier prices.

Results are verified: `settle` evaluates shares and prices as the interior-point solver does, and a market that does not
reach the tolerance is solved by that solver.

Common arguments of the kernels are ``worth``, float64 (batch, n) [utility], ``rate``, float64 (batch, n, 3) [per whole
resource], ``b``, the index of the market, ``listed``, the number of watched providers, and ``w``, a `Walk` or a
`Workspace`.
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
"""Kinds of event: a provider begins to buy, stops buying, is tied to one more resource, stops buying one of several."""
MOST_PIVOTS = 200
"""Largest number of straight pieces of a walk."""
_LOWEST = -650.0
"""exp(this), over the largest rate, is still a normal number."""


@kernel
def _find_buyers(listed: int, w: Walk) -> int:
    """Lower the price of each resource without buyers until a provider buys it; return how many are watched.

    The capacity of such a resource is 0 at the start, so that any higher price is optimal too. If no provider has a use
    for it, p is 0.
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
            tie(who, k, w)  # one of two slots is free, since no provider was tied to this resource
    return listed


@kernel
def enter_at(prices: Array, row: int, w: Walk) -> int:
    """Start at ``prices[row]``, with the capacities that are bought at them; return how many are watched: all.

    ``prices`` is float64 (rows, 3) [utility per whole resource].
    """
    at, n = w.at, w.log_worth.shape[0]
    for k in range(RESOURCES):
        # A price of 0 means that the resource had no demand.
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
    """Start at the optimum of the whole market, with the capacities that ``i`` leaves; return how many are watched."""
    copy_corner(w.optimum, w.at)
    at = w.at
    for k in range(RESOURCES):
        freed = 0.0
        if at.buys[i] == k:
            freed = part_from(i, k, w)
        for slot in range(2):
            if at.tied[slot] == i:
                freed = at.part[slot, k]
        w.resources[k].capacity, w.resources[k].capacity_step = 1.0 - freed, freed
        if not is_bought(k, w.optimum):
            w.resources[k].capacity_step = 0.0
    for slot in range(2):
        if at.tied[slot] == i:
            untie(slot, at)
    at.buys[i] = ABSENT
    return _find_buyers(listed, w)


@kernel
def list_near(near: float, w: Walk) -> int:
    """Watch the providers that buy at the optimum, or would buy if p were lower by ``near``; return how many.

    `add_near` adds others that turn out to buy.
    """
    listed = 0
    for j in range(w.log_worth.shape[0]):
        w.listed[j] = w.optimum.buys[j] != OUT or w.log_worth[j] > log_benefit_price(j, w) - near
        if w.listed[j]:
            w.near[listed] = j
            listed += 1
    return listed


@kernel
def _connect(rate: Array, b: int, w: Walk) -> bool:
    """Group resources that are connected by tied providers; return False if a tie closes a cycle."""
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
    """Write the shares of tied providers from the residual of each resource and the total benefit of each provider.

    ``out``, float64 (2, 3), are the shares or their steps.
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
    """Write the steps of prices and of tied providers' shares; return False if no prices follow the capacities."""
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
    """Set the next event."""
    status = w.status[0]
    status.who, status.kind, status.resource, status.slot = who, kind, resource, slot


@kernel
def _next_event(listed: int, longest: float, w: Walk) -> float:
    """Set the first event within ``longest`` of the way, and return the distance to it."""
    at, on_way = w.at, w.resources
    step = longest
    w.status[0].who = -1
    for m in range(listed):
        j = w.near[m]
        buys = at.buys[j]
        if buys == OUT:
            for k in range(RESOURCES):
                # Products replace divisions, because most events are not the next one.
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
    """Apply the event; return False if a third provider would have to be tied."""
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
    """Move all capacities to 1, and return the number of straight pieces, or -1 if the walk fails."""
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
    """Solve for the prices at which demand equals capacities of 1, which removes the rounding errors of the walk."""
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
    """Report utility and bound at the end of a walk, as `interior_point.certify` does; return whether they are finite.

    Providers that are not watched buy nothing here. The bound is valid only if none of them would buy, see `add_near`.
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
    """Write all shares into the arrays of the interior-point solver; all providers must be watched."""
    for j in range(w.walk.at.buys.shape[0]):
        for k in range(RESOURCES):
            w.inner.share[j, k] = share_bought(j, k, w.walk)


@kernel
def add_near(worth: Array, rate: Array, b: int, listed: int, w: Workspace) -> int:
    """Watch all other providers that would buy at the final prices, and return how many are watched then."""
    for j in range(worth.shape[1]):
        if not w.walk.listed[j] and w.walk.at.buys[j] != ABSENT and would_buy(worth, rate, b, j, w.inner.price):
            w.walk.listed[j] = True
            w.walk.near[listed] = j
            listed += 1
    return listed
