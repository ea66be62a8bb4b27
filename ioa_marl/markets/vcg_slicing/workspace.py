"""Scratch arrays of the kernels that divide the three resources of the slicing market."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

RESOURCES = 3
"""Bandwidth, computing, cache."""


BUYERS, TIED_WHO, TIED_TO = range(3)
"""Rows of ``Corner.counts``; the last has two."""
PRICE, SLOPE, LEVEL, PART = range(4)
"""Rows of ``Corner.numbers``; the last has two."""
CAPACITY, CAPACITY_STEP, PRICE_STEP, WEIGHT, OFFSET, RESIDUAL, TOTAL, PART_STEP = range(8)
"""Rows of ``Walk.numbers``; the last has two."""
WATCHED, WHO, KIND, RESOURCE, SLOT, GROUP = range(6)
"""Columns of ``Walk.counts``; the last has three."""


class Corner(NamedTuple):
    """Who buys what at some prices. Most buy one resource; the few who are indifferent between several are tied.

    Few arrays with several rows each, here and below: kernels take long to compile that pass many.
    """

    buys: Array
    """int64 (n,): the resource that a provider buys, or one of ``corners.OUT``, ``TIED``, ``ABSENT``."""
    counts: Array
    """int64 (4, 3). ``BUYERS``: how many buy this resource only. ``TIED_WHO``: up to two providers that divide what
    they buy between resources, else -1. ``TIED_TO``, a row for each of them: 1 for the resources that it buys."""
    numbers: Array
    """float64 (5, 3). ``PRICE``: p = ln λ; 0 for a resource that nobody wants. ``SLOPE``: Σ 1/ξ over those who buy this
    resource only, what they buy less of when p rises by 1. ``LEVEL``: Σ ln(β ξ)/ξ over them, what they would buy at
    p = 0. ``PART``, a row for each who is tied: shares."""


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
    """int64 (n,): the providers that are watched; only the first ``counts[WATCHED]`` entries hold."""
    listed: Array
    """bool (n,): whether a provider is among them."""
    counts: Array
    """int64 (8,). The next event: provider ``WHO`` (-1: none), ``KIND``, ``RESOURCE``, and ``SLOT`` of who is tied.
    ``GROUP``: for each resource the first of those whose price ratios are fixed by who is tied."""
    numbers: Array
    """float64 (9, 3). ``CAPACITY``: what there is of each resource on the way. ``CAPACITY_STEP``: how that changes; a
    whole step ends at 1. ``PRICE_STEP``, ``PART_STEP``: how p and divided shares change. ``WEIGHT``: price relative to
    that of the first in the group. ``OFFSET``: its logarithm. ``RESIDUAL``: what is left of a resource for those who
    are tied. ``TOTAL``: benefit ξ·s that each of those wants."""


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
    """float64 (3,): see ``interior_point.VALUE``."""


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
        for name in ("price", "price_step", "price_before", "spare", "spare_step", "used", "right", "report")
    }
    return Interior(
        chosen=np.arange(n),
        inside=np.zeros(n, np.bool_),
        wanted=np.zeros(RESOURCES, np.int64),
        schur=np.zeros((RESOURCES, RESOURCES)),
        **per_provider,
        **per_pair,
        **per_resource,
    )


def _corner(n: int) -> Corner:
    return Corner(
        buys=np.zeros(n, np.int64),
        counts=np.zeros((TIED_TO + 2, RESOURCES), np.int64),
        numbers=np.zeros((PART + 2, RESOURCES)),
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
        counts=np.zeros(GROUP + RESOURCES, np.int64),
        numbers=np.zeros((PART_STEP + 2, RESOURCES)),
    )
    return Workspace(_interior(n), walk)
