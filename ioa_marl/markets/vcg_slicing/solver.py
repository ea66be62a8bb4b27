"""Kernels that compute the certified welfare optimum of slicing markets, with and without each provider.

Common arguments of the kernels:

- ``worth``: β, float64 (batch, n) [utility];
- ``rate``: ξ, float64 (batch, n, 3) [per whole resource];
- ``b``: index of the market in these arrays;
- ``row``: row of ``out`` for its optimum;
- ``payments``: whether the optima without each provider are computed as well;
- ``tolerance``: relative duality gap at which the solver stops;
- ``w``: scratch, a `Workspace` or its `Interior`;
- ``out``: the results, `Optima`.

Source: Eqs. 2, 4, 9 and 39 of "An Enhanced Dual-Currency VCG Auction Mechanism for Resource Allocation in IoV: A Value
of Information Perspective".
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.vcg_slicing import interior_point
from ioa_marl.markets.vcg_slicing.corners import copy_corner, prepare
from ioa_marl.markets.vcg_slicing.interior_point import benefit_price
from ioa_marl.markets.vcg_slicing.parametric_simplex import (
    add_near,
    enter_at,
    enter_without,
    hand_over,
    list_near,
    settle,
    walk,
)
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES, Array, Interior, Workspace

TOLERANCE = 1e-11
"""Relative duality gap at which the solver stops."""
CERTIFIED = 1e-8
"""Relative duality gap up to which a result counts as converged."""
_WATCH_ALL = 30
"""Number of providers up to which a walk watches all of them."""
LARGEST_WORTH, SMALLEST_WORTH = 1e12, 1e-12
LARGEST_RATE, SMALLEST_RATE = 1e6, 1e-6
"""Accepted ranges of β [utility] and of rates that are not 0 [per whole resource]."""


class Optima(NamedTuple):
    """Welfare optima of a batch of markets, and of the same markets without each provider."""

    share: Array
    """float64 (batch, n, 3): optimal shares s*, which sum to 1 for each resource."""
    utility: Array
    """float64 (batch, n): utility of each provider at s* [utility]."""
    price: Array
    """float64 (batch, 3): multiplier λ_k of each resource [utility per whole resource]."""
    welfare: Array
    """float64 (batch,): SW* = Σ_i u_i(s*) [utility]."""
    gap: Array
    """float64 (batch,): certified relative duality gap: SW* is at most this much too low, relative to itself."""
    iterations: Array
    """int64 (batch,): number of Newton steps, or of straight pieces of the walk that reached the optimum."""
    cold: Array
    """int64 (batch,): number of problems that were solved from scratch because a warm start missed the tolerance."""
    others: Array
    """float64 (batch, n): SW*₋ᵢ, the optimum without provider i [utility]; only with payments."""
    others_price: Array
    """float64 (batch, n, 3): multipliers λ⁻ⁱ without provider i [utility per whole resource]; only with payments."""
    others_gap: Array
    """float64 (batch, n): certified relative duality gap of ``others``; only with payments."""


def allocate_optima(batch: int, providers: int) -> Optima:
    """Return zeroed arrays for the optima of ``batch`` markets; shapes and units are those of `Optima`."""
    shape = (batch, providers)
    return Optima(
        share=np.zeros((*shape, RESOURCES)),
        utility=np.zeros(shape),
        price=np.zeros((batch, RESOURCES)),
        welfare=np.zeros(batch),
        gap=np.zeros(batch),
        iterations=np.zeros(batch, np.int64),
        cold=np.zeros(batch, np.int64),
        others=np.zeros(shape),
        others_price=np.zeros((*shape, RESOURCES)),
        others_gap=np.zeros(shape),
    )


@kernel
def _choose(worth: Array, rate: Array, b: int, excluded: int, w: Interior, prices: Array, row: int) -> int:
    """Choose all providers but ``excluded`` that may buy at prices somewhat below ``prices[row]``; return how many.

    The more providers there are, the less prices fall when one leaves. `_outsiders` adds others that turn out to buy.
    """
    near = 1.0 - min(0.5, 3.0 / math.sqrt(worth.shape[1]))
    count = 0
    for i in range(worth.shape[1]):
        if not w.inside[i]:
            lowest = np.inf
            for k in range(RESOURCES):
                if rate[b, i, k] > 0.0:
                    lowest = min(lowest, prices[row, k] / rate[b, i, k])
            w.inside[i] = worth[b, i] > near * lowest
        if w.inside[i] and i != excluded:
            w.chosen[count] = i
            count += 1
    return count


@kernel
def _outsiders(worth: Array, rate: Array, b: int, excluded: int, w: Interior) -> int:
    """Add all other providers that would buy at the current prices, and return how many."""
    count = 0
    for i in range(worth.shape[1]):
        if not w.inside[i] and i != excluded and worth[b, i] > benefit_price(rate, b, i, w.price):
            w.inside[i] = True
            count += 1
    return count


@kernel
def _keep_optimum(worth: Array, rate: Array, b: int, row: int, w: Interior, out: Optima) -> None:
    """Copy the solution of the whole market to ``out``; resources without demand are split equally."""
    n = worth.shape[1]
    out.welfare[row] = 0.0
    for i in range(n):
        y = 0.0
        for k in range(RESOURCES):
            out.share[row, i, k] = w.share[i, k] / w.used[k] if w.wanted[k] > 0 else 1.0 / n
            y += rate[b, i, k] * out.share[row, i, k]
        out.utility[row, i] = -worth[b, i] * math.expm1(-y)
        out.welfare[row] += out.utility[row, i]
    for k in range(RESOURCES):
        out.price[row, k] = w.price[k]
    value = w.report[0].value
    out.gap[row] = w.report[0].bound / value - 1.0 if value > 0.0 else 0.0
    out.iterations[row] = w.report[0].iterations


@kernel
def _keep_without(i: int, row: int, count: int, w: Interior, out: Optima) -> None:
    """Write the optimum without provider ``i``: the solution, or the others' welfare at s* if that is larger."""
    rest = out.welfare[row] - out.utility[row, i]
    value, bound = (w.report[0].value, w.report[0].bound) if count > 0 else (0.0, 0.0)
    out.others[row, i] = max(value, rest)
    out.others_gap[row, i] = max(bound / out.others[row, i] - 1.0, 0.0) if bound > 0.0 else 0.0
    for k in range(RESOURCES):
        out.others_price[row, i, k] = w.price[k] if count > 0 else 0.0


@kernel
def _keep_as_it_is(i: int, row: int, out: Optima) -> None:
    """Write the optimum itself as that without provider ``i``, which has no share."""
    out.others[row, i] = out.welfare[row] - out.utility[row, i]
    bound = out.welfare[row] * (1.0 + out.gap[row])
    out.others_gap[row, i] = bound / out.others[row, i] - 1.0 if bound > 0.0 else 0.0
    for k in range(RESOURCES):
        out.others_price[row, i, k] = out.price[row, k]


@kernel
def _solve_cold(worth: Array, rate: Array, b: int, row: int, i: int, tolerance: float, w: Interior, out: Optima) -> int:
    """Solve market ``b`` without provider ``i`` (-1: the whole market) from scratch; return how many may buy."""
    for j in range(worth.shape[1]):
        w.inside[j] = i < 0
    count, missing = 0, 1
    while missing > 0:
        count = _choose(worth, rate, b, i, w, out.price, row)
        if count == 0:
            # If all others are priced out by this provider, prices say nothing about the market without it.
            for j in range(worth.shape[1]):
                w.inside[j] = True
            count = _choose(worth, rate, b, i, w, out.price, row)
        missing = 0
        if count > 0:
            interior_point.solve(worth, rate, b, count, tolerance, w)
            missing = _outsiders(worth, rate, b, i, w)
    return count


@kernel
def _solve_warm(
    worth: Array, rate: Array, b: int, row: int, i: int, tolerance: float, w: Workspace, out: Optima
) -> bool:
    """Walk to the optimum from ``out.price``, or, without provider ``i``, from the optimum of the whole market.

    Returns whether the tolerance was reached.
    """
    listed, before = int(w.walk.status[0].watched), -1
    while before < listed:
        listed = enter_at(out.price, row, w.walk) if i < 0 else enter_without(i, listed, w.walk)
        pieces = walk(rate, b, listed, w.walk)
        w.inner.report[0].iterations = pieces
        w.walk.status[0].watched = listed
        if pieces < 0 or not settle(worth, rate, b, listed, w):
            return False
        before = listed
        listed = add_near(worth, rate, b, listed, w)
        w.walk.status[0].watched = listed
    return bool(w.inner.report[0].bound <= w.inner.report[0].value * (1.0 + tolerance))


@kernel
def _keep_corner(n: int, w: Workspace) -> None:
    """Store the corner at which the walk has ended, for the problems without each provider."""
    copy_corner(w.walk.at, w.walk.optimum)
    # The more providers there are, the less prices fall when one leaves, and the fewer have to be watched.
    w.walk.status[0].watched = list_near(3.0 / math.sqrt(n) if n > _WATCH_ALL else np.inf, w.walk)


@kernel
def solve(
    worth: Array,
    rate: Array,
    b: int,
    row: int,
    payments: bool,
    first: bool,
    rest: bool,
    tolerance: float,
    w: Workspace,
    out: Optima,
) -> None:
    """Solve market ``b``, and with ``payments`` also the markets without each provider.

    ``first`` and ``rest`` tell whether the whole market and the markets without a provider have a warm start. There is
    one loop over all problems, so that each method is compiled once. Provider ``i`` is left out; -1 means none.
    """
    n = worth.shape[1]
    out.cold[row] = 0
    if first or (rest and payments):
        prepare(worth, rate, b, w.walk)
    # This is -1, but not a literal, because Numba would compile everything below once more for a constant.
    i, known, walking = min(n, 0) - 1, False, first
    while i < (n if payments else 0):
        if i >= 0 and n > 1 and out.utility[row, i] <= tolerance * out.welfare[row]:
            _keep_as_it_is(i, row, out)
            i += 1
            continue
        reached, count = False, n
        if walking:
            reached = _solve_warm(worth, rate, b, row, i, tolerance, w, out)
        if not reached and not (i < 0 and known):
            out.cold[row] += walking or (rest and i >= 0)
            count = _solve_cold(worth, rate, b, row, i, tolerance, w.inner, out)
        if i >= 0:
            _keep_without(i, row, count, w.inner, out)
            i += 1
            continue
        if not known:
            if reached:
                hand_over(w)
            _keep_optimum(worth, rate, b, row, w.inner, out)
        if reached:
            _keep_corner(n, w)
        # A solution from scratch is not a corner, so a walk from its prices leads to one.
        walking = rest and (reached or not known)
        i = -1 if walking and not reached and payments else 0
        known = True


@kernel
def solve_market(
    worth: Array, rate: Array, b: int, row: int, payments: bool, tolerance: float, w: Workspace, out: Optima
) -> None:
    """Write the optimum of market ``b`` into row ``row``, and with ``payments`` also that without each provider.

    The optimum is solved from scratch and depends only on the market; the problems without a provider start from it.
    """
    solve(worth, rate, b, row, payments, False, True, tolerance, w, out)


@kernel
def resolve_market(
    worth: Array, rate: Array, b: int, row: int, payments: bool, tolerance: float, w: Workspace, out: Optima
) -> None:
    """Solve market ``b`` as `solve_market` does, but start from ``out.price[row]``, the prices of a similar market.

    The welfare is the same to the tolerance, but not to the last bit. If several divisions are optimal, this one is not
    in the middle of them.
    """
    solve(worth, rate, b, row, payments, True, True, tolerance, w, out)


@kernel
def solve_separately(
    worth: Array, rate: Array, b: int, row: int, payments: bool, tolerance: float, w: Workspace, out: Optima
) -> None:
    """Solve market ``b`` as `solve_market` does, but every problem from scratch: slower, without warm starts."""
    solve(worth, rate, b, row, payments, False, False, tolerance, w, out)


@kernel
def largest_gap(payments: bool, out: Optima) -> float:
    """Return the largest certified relative gap in row 0 of ``out``: of the optimum, and with ``payments`` of all."""
    largest = out.gap[0]
    for i in range(out.others_gap.shape[1] if payments else 0):
        # The negated comparison makes NaN the largest gap.
        if not out.others_gap[0, i] <= largest:
            largest = out.others_gap[0, i]
    return float(largest)


def require_certified(gap: float) -> None:
    """Raise `ArithmeticError` unless the relative gap ``gap`` certifies a solution."""
    if not gap <= CERTIFIED:
        raise ArithmeticError(
            f"a welfare optimum is certified only to {gap:.1e} of itself, not to {CERTIFIED:g}: the ranges of worth, "
            "rate and multipliers are too extreme"
        )


@kernel
def solve_markets(worth: Array, rate: Array, payments: bool, tolerance: float, w: Workspace, out: Optima) -> None:
    """Solve every market of a batch; see `solve_market`."""
    for b in range(worth.shape[0]):
        solve_market(worth, rate, b, b, payments, tolerance, w, out)


@kernel
def resolve_markets(worth: Array, rate: Array, payments: bool, tolerance: float, w: Workspace, out: Optima) -> None:
    """Solve every market of a batch from the prices in its row; see `resolve_market`."""
    for b in range(worth.shape[0]):
        resolve_market(worth, rate, b, b, payments, tolerance, w, out)
