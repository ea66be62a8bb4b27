"""Scratch arrays of the kernels that divide the three resources of the slicing market."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.records import Record

Array = NDArray[Any]

RESOURCES = 3
"""Number of resources: bandwidth, computing and cache."""


class CornerResource(Record):
    """One resource at the prices of a corner."""

    buyers: int
    """Number of providers that buy only this resource."""
    price: float
    """p = ln λ; 0 for a resource without demand."""
    slope: float
    """Σ 1/ξ over these providers, the decrease of their demand when p rises by 1."""
    level: float
    """Σ ln(β ξ)/ξ over these providers, their demand at p = 0."""


class Corner(NamedTuple):
    """The purchases at some prices. Most providers buy one resource; up to two buy several, and are tied to them.

    Quantities of a resource are records here and below, because kernels with many array arguments compile slowly.
    """

    buys: Array
    """int64 (n,): the resource that a provider buys, or ``corners.OUT``, ``TIED`` or ``ABSENT``."""
    resources: Array
    """`CornerResource` (3,)."""
    tied: Array
    """int64 (2,): the tied provider in each slot; -1 if the slot is empty."""
    tied_to: Array
    """int64 (2, 3): 1 for the resources that the tied provider in each slot buys."""
    part: Array
    """float64 (2, 3): shares of the tied provider in each slot."""


class WalkResource(Record):
    """One resource on the way from one corner to another."""

    group: int
    """Index of the first resource that tied providers connect with this one, so that the price ratio is fixed."""
    capacity: float
    """Current capacity of the resource."""
    capacity_step: float
    """Change of the capacity in a whole step, which ends at 1."""
    price_step: float
    """Change of p in a whole step."""
    weight: float
    """Price relative to that of the first resource in the group."""
    offset: float
    """Logarithm of that relative price."""
    residual: float
    """Capacity that is left for tied providers."""


class WalkStatus(Record):
    """Number of providers that a walk watches, and its next event."""

    watched: int
    """Number of providers that are watched."""
    who: int
    """Provider of the next event; -1 if there is none."""
    kind: int
    """Kind of the next event, see ``parametric_simplex.ENTER``."""
    resource: int
    """Resource of the next event."""
    slot: int
    """Slot of the tied provider of the next event."""


class Walk(NamedTuple):
    """Scratch arrays of the walk from one corner to another; see ``parametric_simplex``."""

    at: Corner
    """The current corner of the walk."""
    optimum: Corner
    """The optimum of the whole market."""
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
    """float64 (2, 3): changes of the tied providers' shares in a whole step."""
    total: Array
    """float64 (2,): benefit ξ·s that the tied provider in each slot demands."""


class SolverReport(Record):
    """Result of a solver."""

    value: float
    """Total utility of the shares [utility]."""
    bound: float
    """Upper bound of the optimum from the prices [utility]."""
    iterations: int
    """Number of Newton steps, or of straight pieces of a walk."""


class Interior(NamedTuple):
    """Scratch arrays of the interior-point solver for one problem with up to n providers; see `interior_point`."""

    chosen: Array
    """int64 (n,): the providers of the current problem; only the first ``count`` entries are valid."""
    inside: Array
    """bool (n,): whether a provider is among the chosen."""
    marginal: Array
    """float64 (n,): m of each chosen provider [utility], in the order of ``chosen``, as in the following arrays."""
    marginal_step: Array
    """float64 (n,): step of ``marginal``."""
    excess: Array
    """float64 (n,): ln m + ξ·s − ln β."""
    share: Array
    """float64 (n, 3): shares s."""
    share_step: Array
    """float64 (n, 3): step of ``share``."""
    slack: Array
    """float64 (n, 3): multipliers z of s ≥ 0 [utility per whole resource]."""
    slack_step: Array
    """float64 (n, 3): step of ``slack``."""
    price: Array
    """float64 (3,): multipliers λ [utility per whole resource]."""
    price_step: Array
    """float64 (3,): step of ``price``."""
    price_before: Array
    """float64 (3,): the price step of the predictor."""
    spare: Array
    """float64 (3,): unused part t of each resource."""
    spare_step: Array
    """float64 (3,): step of ``spare``."""
    used: Array
    """float64 (3,): Σ_i s_ik."""
    wanted: Array
    """int64 (3,): number of chosen providers that have a use for the resource."""
    schur: Array
    """float64 (3, 3): matrix of the price step, and its Cholesky factor."""
    right: Array
    """float64 (3,): right-hand side of the price step."""
    report: Array
    """`SolverReport` (1,)."""


class Workspace(NamedTuple):
    """Scratch arrays of the solvers of slicing markets."""

    inner: Interior
    """Arrays of the interior-point solver, in which every result is stored."""
    walk: Walk
    """Arrays of warm starts."""


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
    """Return scratch arrays for problems of up to ``providers`` providers; see `Workspace` for shapes."""
    n = providers
    walk = Walk(
        at=_corner(n),
        optimum=_corner(n),
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
