"""Scratch arrays of the kernels that divide the three resources of the slicing market."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

RESOURCES = 3
"""Bandwidth, computing, cache."""


class Corner(NamedTuple):
    """Who buys what at some prices. Most buy one resource; the few who are indifferent between several are tied."""

    buys: Array
    """int64 (n,): the resource that a provider buys, or one of ``slicing_warm.OUT``, ``TIED``, ``ABSENT``."""
    tied: Array
    """int64 (2,): providers that divide their purchase between resources; -1 where there is none."""
    on: Array
    """bool (2, 3): the resources that each of them buys."""
    part: Array
    """float64 (2, 3): their shares of those."""
    log_price: Array
    """float64 (3,): p = ln λ; 0 for a resource that nobody wants."""
    buyers: Array
    """int64 (3,): how many buy this resource only."""
    slope: Array
    """float64 (3,): Σ 1/ξ over these: what they buy less of when p rises by 1."""
    level: Array
    """float64 (3,): Σ ln(β ξ)/ξ over these: what they would buy at p = 0."""


class Walk(NamedTuple):
    """Scratch arrays of the walk from one corner to another; see ``slicing_warm``."""

    at: Corner
    """Where the walk is."""
    kept: Corner
    """The optimum of the market with everybody."""
    log_worth: Array
    """float64 (n,): ln β."""
    log_rate: Array
    """float64 (n, 3): ln ξ; -inf where ξ is 0."""
    unit: Array
    """float64 (n, 3): 1/ξ; 0 where ξ is 0."""
    near: Array
    """int64 (n,): the providers that are watched; only the first ``watched`` entries hold."""
    watched: Array
    """int64 (1,)."""
    listed: Array
    """bool (n,): whether a provider is among them."""
    capacity: Array
    """float64 (3,): what there is of each resource on the way."""
    capacity_step: Array
    """float64 (3,): how that changes; a whole step ends at 1."""
    log_price_step: Array
    """float64 (3,)."""
    part_step: Array
    """float64 (2, 3)."""
    group: Array
    """int64 (3,): the first of the resources whose price ratios are fixed by those who are tied."""
    weight: Array
    """float64 (3,): price relative to that of the first one."""
    offset: Array
    """float64 (3,): logarithm of ``weight``."""
    residual: Array
    """float64 (3,): what is left of a resource for those who are tied."""
    total: Array
    """float64 (2,): benefit ξ·s that each of those wants."""
    event: Array
    """int64 (4,): see ``slicing_warm.WHO``."""


class Workspace(NamedTuple):
    """Scratch arrays of the solver for one problem at a time with up to n providers."""

    chosen: Array
    """int64 (n,): the providers of the present problem; only the first ``count`` entries hold."""
    inside: Array
    """bool (n,): whether a provider is among the chosen."""
    marginal: Array
    """float64 (n,): m of each chosen provider, in the order of ``chosen`` as all that follow."""
    marginal_step: Array
    """float64 (n,)."""
    excess: Array
    """float64 (n,): ln m + ξ·s − ln β."""
    share: Array
    """float64 (n, 3)."""
    share_step: Array
    """float64 (n, 3)."""
    slack: Array
    """float64 (n, 3)."""
    slack_step: Array
    """float64 (n, 3)."""
    price: Array
    """float64 (3,)."""
    price_step: Array
    """float64 (3,)."""
    price_before: Array
    """float64 (3,): the price step of the predictor."""
    spare: Array
    """float64 (3,)."""
    spare_step: Array
    """float64 (3,)."""
    used: Array
    """float64 (3,): Σ_i s_ik."""
    wanted: Array
    """int64 (3,): how many of the chosen providers have a use for the resource."""
    schur: Array
    """float64 (3, 3): matrix of the price step, and its Cholesky factor."""
    right: Array
    """float64 (3,): right-hand side of the price step."""
    report: Array
    """float64 (3,): see ``slicing_solver.VALUE``."""
    walk: Walk
    """What warm starts need."""


def _corner(providers: int) -> Corner:
    pairs = (2, RESOURCES)
    per_resource = {name: np.zeros(RESOURCES) for name in ("log_price", "slope", "level")}
    return Corner(
        buys=np.zeros(providers, np.int64),
        tied=np.full(2, -1),
        on=np.zeros(pairs, np.bool_),
        part=np.zeros(pairs),
        buyers=np.zeros(RESOURCES, np.int64),
        **per_resource,
    )


def _walk(providers: int) -> Walk:
    n = providers
    names = ("capacity", "capacity_step", "log_price_step", "weight", "offset", "residual")
    return Walk(
        at=_corner(n),
        kept=_corner(n),
        log_worth=np.zeros(n),
        log_rate=np.zeros((n, RESOURCES)),
        unit=np.zeros((n, RESOURCES)),
        near=np.zeros(n, np.int64),
        watched=np.zeros(1, np.int64),
        listed=np.zeros(n, np.bool_),
        part_step=np.zeros((2, RESOURCES)),
        group=np.zeros(RESOURCES, np.int64),
        total=np.zeros(2),
        event=np.zeros(4, np.int64),
        **{name: np.zeros(RESOURCES) for name in names},
    )


def workspace(providers: int) -> Workspace:
    """Return scratch arrays for problems of up to ``providers`` providers."""
    n = providers
    per_provider = {name: np.zeros(n) for name in ("marginal", "marginal_step", "excess")}
    per_pair = {name: np.zeros((n, RESOURCES)) for name in ("share", "share_step", "slack", "slack_step")}
    per_resource = {
        name: np.zeros(RESOURCES)
        for name in ("price", "price_step", "price_before", "spare", "spare_step", "used", "right", "report")
    }
    return Workspace(
        chosen=np.arange(n),
        inside=np.zeros(n, np.bool_),
        wanted=np.zeros(RESOURCES, np.int64),
        schur=np.zeros((RESOURCES, RESOURCES)),
        walk=_walk(n),
        **per_provider,
        **per_pair,
        **per_resource,
    )
