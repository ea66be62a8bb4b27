"""Scratch arrays of the kernels that divide the three resources of the slicing market."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.records import Record

Array = NDArray[Any]

RESOURCES = 3
"""Bandwidth, computing, cache."""


class CornerResource(Record):
    """One resource at the prices of a corner."""

    buyers: int
    """How many buy this resource only."""
    price: float
    """p = ln λ; 0 for a resource that nobody wants."""
    slope: float
    """Σ 1/ξ over those who buy this resource only, what they buy less of when p rises by 1."""
    level: float
    """Σ ln(β ξ)/ξ over them, what they would buy at p = 0."""


class Corner(NamedTuple):
    """Who buys what at some prices. Most buy one resource; the few who are indifferent between several are tied.

    Few arrays, and records of what there is once per resource, here and below: kernels take long to compile that pass
    many.
    """

    buys: Array
    """int64 (n,): the resource that a provider buys, or one of ``corners.OUT``, ``TIED``, ``ABSENT``."""
    resources: Array
    """`CornerResource` (3,)."""
    tied: Array
    """int64 (2,): up to two providers that divide what they buy between resources, else -1."""
    tied_to: Array
    """int64 (2, 3): for each of those who are tied, 1 for the resources that it buys."""
    part: Array
    """float64 (2, 3): for each of those who are tied, its shares."""


class WalkResource(Record):
    """One resource on the way from one corner to another."""

    group: int
    """The first of the resources whose price ratios to this one are fixed by who is tied."""
    capacity: float
    """What there is of the resource on the way."""
    capacity_step: float
    """How the capacity changes; a whole step ends at 1."""
    price_step: float
    """How p changes."""
    weight: float
    """Price relative to that of the first resource in the group."""
    offset: float
    """Logarithm of that relative price."""
    residual: float
    """What is left of the resource for those who are tied."""


class WalkStatus(Record):
    """Whom a walk watches, and what happens next on it."""

    watched: int
    """How many providers are watched."""
    who: int
    """The provider of the next event; -1: none."""
    kind: int
    """Kind of the next event, see ``parametric_simplex.ENTER``."""
    resource: int
    """Resource of the next event."""
    slot: int
    """Which of those who are tied the next event is about."""


class Walk(NamedTuple):
    """Scratch arrays of the walk from one corner to another; see ``parametric_simplex``."""

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
    """int64 (n,): the providers that are watched; only the first ``status[0].watched`` entries are valid."""
    listed: Array
    """bool (n,): whether a provider is among them."""
    status: Array
    """`WalkStatus` (1,)."""
    resources: Array
    """`WalkResource` (3,)."""
    part_step: Array
    """float64 (2, 3): how the shares of those who are tied change."""
    total: Array
    """float64 (2,): benefit ξ·s that each of those who are tied wants."""


class SolverReport(Record):
    """What a solver reached."""

    value: float
    """Utility of the shares."""
    bound: float
    """Upper bound of the utility, from the prices."""
    iterations: int
    """Newton steps, or straight pieces of a walk."""


class Interior(NamedTuple):
    """Scratch arrays of the interior-point solver for one problem at a time with up to n providers."""

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
    """`SolverReport` (1,)."""


class Workspace(NamedTuple):
    """Scratch arrays of all that solves slicing markets."""

    inner: Interior
    """Those of the interior-point solver, where every result is handed over."""
    walk: Walk
    """Those of warm starts."""


def _interior(n: int) -> Interior:
    per_provider = {name: np.zeros(n) for name in ("marginal", "marginal_step", "excess")}
    per_pair = {name: np.zeros((n, RESOURCES)) for name in ("share", "share_step", "slack", "slack_step")}
    per_resource = {
        name: np.zeros(RESOURCES)
        for name in ("price", "price_step", "price_before", "spare", "spare_step", "used", "right")
    }
    return Interior(
        chosen=np.arange(n),
        inside=np.zeros(n, np.bool_),
        wanted=np.zeros(RESOURCES, np.int64),
        schur=np.zeros((RESOURCES, RESOURCES)),
        **per_provider,
        **per_pair,
        **per_resource,
        report=SolverReport.zeros(1),
    )


def _corner(n: int) -> Corner:
    return Corner(
        buys=np.zeros(n, np.int64),
        resources=CornerResource.zeros(RESOURCES),
        tied=np.zeros(2, np.int64),
        tied_to=np.zeros((2, RESOURCES), np.int64),
        part=np.zeros((2, RESOURCES)),
    )


def workspace(providers: int) -> Workspace:
    """Return scratch arrays for problems of up to ``providers`` providers."""
    n = providers
    walk = Walk(
        at=_corner(n),
        kept=_corner(n),
        log_worth=np.zeros(n),
        log_rate=np.zeros((n, RESOURCES)),
        unit=np.zeros((n, RESOURCES)),
        near=np.zeros(n, np.int64),
        listed=np.zeros(n, np.bool_),
        status=WalkStatus.zeros(1),
        resources=WalkResource.zeros(RESOURCES),
        part_step=np.zeros((2, RESOURCES)),
        total=np.zeros(2),
    )
    return Workspace(_interior(n), walk)
