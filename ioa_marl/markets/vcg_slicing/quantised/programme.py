"""The programme of the quantised VCG auction, solved by column generation or in full.

Of the N·M³ variables only a few are relevant, and with ``method="columns"`` only these are built. At resource prices p
a provider's best bundle maximises u_i(m/M) − p·m, which `kernels` finds directly. The programme is solved over some
bundles, the best bundles at its prices are added, and so on (Dantzig–Wolfe decomposition). Any prices bound the optimum
from above by M Σ_k p_k + Σ_i max_m [u_i(m/M) − p·m]; when the bound is reached, the result is the optimum over all
bundles. Let the gap be this bound less the welfare of a feasible allocation. A bundle whose profit is below the
provider's best by more than the gap is in no better integral allocation, so the integer programme does not need it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csc_array

from ioa_marl.markets.vcg_slicing.quantised import kernels
from ioa_marl.markets.vcg_slicing.solver import CERTIFIED
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES

TOLERANCE = 1e-9
"""Relative gap of bound and value at which the linear programme is solved."""
MOST_NEAR = 100_000
"""Largest number of bundles in an integer programme; with more the result is not proven."""
_MOST_NODES = 100_000
"""Largest number of nodes of branch and bound."""
_MOST_ROUNDS = 200
"""Largest number of rounds of column generation."""
_FEW = 20
"""Number of bundles per provider up to which all nearly best bundles are added to the linear programme."""
_UNIT_WORTH = 100.0
"""Largest worth after scaling, because the tolerances of HiGHS, about 1e-7, are absolute."""
_WHOLE = 1.0 - 1e-6
"""Weight above which a bundle is not part of a mixture."""


class Bundles(NamedTuple):
    """Bundles of units, each for one provider: the variables of a programme."""

    who: NDArray[np.int64]
    """Provider of each bundle, shape (bundles,)."""
    units: NDArray[np.int64]
    """Units of each resource in each bundle, shape (bundles, 3)."""


class Solution(NamedTuple):
    """A solved programme, in scaled utility."""

    bundles: Bundles
    """The allotted bundles."""
    weights: NDArray[np.float64]
    """Weight of each of these bundles, shape (bundles,)."""
    value: float
    """Total utility."""
    bound: float
    """Upper bound of the value."""
    prices: NDArray[np.float64]
    """Prices of ``bound``, per unit of each resource, shape (3,)."""
    best: NDArray[np.float64]
    """Largest profit of each provider at ``prices``, shape (providers,)."""
    proven: bool
    """Whether the value is certified as the optimum."""
    variables: int
    """Number of variables of the largest programme that was solved."""


def _joined(a: Bundles, b: Bundles) -> Bundles:
    """Return the union of two lists of bundles, without duplicates."""
    both = np.column_stack([np.concatenate([a.who, b.who]), np.concatenate([a.units, b.units])])
    both = np.unique(both, axis=0)
    return Bundles(both[:, 0], both[:, 1:])


def _chosen(bundles: Bundles, mask: NDArray[np.bool_] | slice) -> Bundles:
    """Return the bundles of ``mask``, (bundles,)."""
    return Bundles(bundles.who[mask], bundles.units[mask])


class Auction:
    """Reported types in scaled utility, and the relevant bundles so far.

    Parameters
    ----------
    worth : ndarray of float64, shape (providers,)
        Reported β [utility].
    rates : ndarray of float64, shape (providers, 3)
        Reported ξ [per whole resource].
    quanta : int
        Units per resource.
    """

    def __init__(self, worth: NDArray[np.float64], rates: NDArray[np.float64], quanta: int) -> None:
        self.scale = float(worth.max()) / _UNIT_WORTH
        self.worth, self.rate, self.quanta = worth / self.scale, rates / quanta, quanta
        self.providers = len(worth)
        self.pool = Bundles(np.zeros(0, np.int64), np.zeros((0, RESOURCES), np.int64))

    def worths(self, bundles: Bundles) -> NDArray[np.float64]:
        """Return the reported utility of each bundle, scaled, shape (bundles,)."""
        benefit = np.sum(self.rate[bundles.who] * bundles.units, axis=1)
        return np.asarray(-self.worth[bundles.who] * np.expm1(-benefit))

    def best(self, prices: NDArray[np.float64], active: NDArray[np.bool_]) -> tuple[NDArray[np.float64], Bundles]:
        """Return the largest profit of each provider, shape (providers,), and its bundles.

        ``prices`` are per unit, shape (3,), and ``active`` is bool (providers,).
        """
        profit, units = np.zeros(self.providers), np.zeros((self.providers, RESOURCES), np.int64)
        kernels.best_bundles(self.worth, self.rate, prices, self.quanta, active, profit, units)
        buys = np.flatnonzero(profit > 0.0)
        return profit, Bundles(buys, units[buys])

    def near(
        self, prices: NDArray[np.float64], least: NDArray[np.float64], active: NDArray[np.bool_], room: int
    ) -> Bundles | None:
        """Return every bundle with a profit of at least ``least``, (providers,); None if more than ``room``."""
        who, units = np.zeros(room, np.int64), np.zeros((room, RESOURCES), np.int64)
        count = kernels.near_bundles(self.worth, self.rate, prices, self.quanta, active, least, who, units)
        return Bundles(who[:count], units[:count]) if count <= room else None

    def limits(self, bundles: Bundles) -> tuple[csc_array[Any], NDArray[np.float64]]:
        """Return the matrix, (providers + 3, bundles), and the right-hand side of the limits.

        The first rows limit each provider to one bundle, the last three limit the units of each resource.
        """
        count, n = len(bundles.who), self.providers
        rows = np.empty((count, 1 + RESOURCES), np.int32)
        rows[:, 0], rows[:, 1:] = bundles.who, n + np.arange(RESOURCES)
        entries = np.ones((count, 1 + RESOURCES))
        entries[:, 1:] = bundles.units
        start = np.arange(count + 1, dtype=np.int32) * (1 + RESOURCES)
        matrix = csc_array((entries.reshape(-1), rows.reshape(-1), start), shape=(n + RESOURCES, count))
        return matrix, np.concatenate([np.ones(n), np.full(RESOURCES, float(self.quanta))])


def corners(auction: Auction, shares: NDArray[np.float64]) -> Bundles:
    """Return the bundles that round each share up or down; ``shares`` is float64 (providers, 3)."""
    exact = shares * auction.quanta
    low = np.floor(exact + 1e-9).astype(np.int64)
    up = (exact - low > 1e-6).astype(np.int64)
    steps = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(RESOURCES, -1).T
    units = np.minimum(low[:, None, :] + steps[None] * up[:, None, :], auction.quanta)
    who = np.repeat(np.arange(auction.providers), len(steps))
    bundles = Bundles(who, units.reshape(-1, RESOURCES))
    return _chosen(bundles, np.asarray(bundles.units.sum(axis=1) > 0))


def _linear_programme(auction: Auction, bundles: Bundles) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    """Solve the linear programme over these bundles; return their weights, the value and the prices per unit."""
    matrix, limit = auction.limits(bundles)
    solve: Any = linprog  # its types leave out sparse matrices
    result = solve(-auction.worths(bundles), A_ub=matrix, b_ub=limit, bounds=(0.0, None), method="highs")
    if result.status != 0:
        raise ArithmeticError(f"HiGHS did not solve the linear programme: {result.message}")
    prices = np.maximum(-np.asarray(result.ineqlin.marginals[-RESOURCES:], np.float64), 0.0)
    return np.maximum(result.x, 0.0), -float(result.fun), prices


def _linear(auction: Auction, active: NDArray[np.bool_], prices: NDArray[np.float64]) -> Solution:
    """Solve the linear programme over all bundles of active providers, starting at prices per unit.

    The best bundles at the prices of each round join the pool. The solution has the lowest bound of all rounds, with
    its prices. Nearly best bundles join the pool too if they are few, which saves rounds.
    """
    bound, value, size = np.inf, 0.0, 0
    bundles, weights = auction.pool, np.zeros(len(auction.pool.who))
    bound_prices, bound_best = prices, np.zeros(auction.providers)
    count = int(active.sum())
    for turn in range(_MOST_ROUNDS):
        best, best_bundles = auction.best(prices, active)
        dual = float(best.sum() + prices.sum() * auction.quanta)
        if dual < bound:
            bound, bound_prices, bound_best = dual, prices, best
        if turn > 0 and bound - value <= TOLERANCE * bound:
            break
        window = (dual - value) / count if turn > 0 else 1e-4 * dual / count
        near = auction.near(prices, best - window, active, _FEW * count)
        before = len(auction.pool.who)
        auction.pool = _joined(auction.pool, best_bundles if near is None else _joined(best_bundles, near))
        if turn > 0 and len(auction.pool.who) == before:
            break
        bundles = _chosen(auction.pool, active[auction.pool.who])
        if len(bundles.who) == 0:  # no resource is of use
            return Solution(bundles, np.zeros(0), 0.0, 0.0, prices, best, True, 0)
        weights, value, prices = _linear_programme(auction, bundles)
        size = max(size, len(bundles.who))
    positive, proven = weights > TOLERANCE, bound - value <= CERTIFIED * bound
    allotted = _chosen(bundles, positive)
    return Solution(allotted, weights[positive], value, bound, bound_prices, bound_best, proven, size)


def _whole_allocation(auction: Auction, bundles: Bundles) -> tuple[Bundles, float, bool]:
    """Return the best choice of at most one of these bundles per provider, its value, and whether that is proven."""
    matrix, limit = auction.limits(bundles)
    worths = auction.worths(bundles)
    result = milp(
        -worths, integrality=np.ones(len(worths), np.int64), bounds=Bounds(0.0, 1.0),
        constraints=LinearConstraint(matrix, ub=limit), options={"mip_rel_gap": 0.0, "node_limit": _MOST_NODES},
    )  # fmt: skip
    if result.x is None:
        raise ArithmeticError(f"HiGHS found no whole allocation, though the empty one is: {result.message}")
    allotted = np.asarray(result.x) > 0.5
    if np.any(matrix @ allotted.astype(np.float64) > limit):
        raise ArithmeticError("HiGHS returned an allocation that, rounded, uses more than there is")
    return _chosen(bundles, allotted), float(worths[allotted].sum()), result.status == 0


def _integral(auction: Auction, active: NDArray[np.bool_], relaxed: Solution, feasible: float) -> Solution:
    """Solve the integer programme over all bundles.

    ``relaxed`` is the solution of the linear programme, and ``feasible`` the value of some integral allocation.
    """
    bound, window, size = relaxed.bound, 1e-5 * relaxed.bound, relaxed.variables
    bundles, proven = relaxed.bundles, relaxed.proven
    value = float(auction.worths(bundles).sum())
    if np.any(relaxed.weights < _WHOLE):  # a mixture
        value, proven = -np.inf, False
    while not proven:
        # A bundle farther from its provider's best than this gap is in no better allocation.
        window = min(window, max(bound - max(value, feasible), 0.0))
        near = auction.near(relaxed.prices, relaxed.best - window - TOLERANCE * bound, active, MOST_NEAR)
        if near is None:
            if value < 0.0:
                bundles, value, _ = _whole_allocation(auction, _chosen(auction.pool, active[auction.pool.who]))
            break
        bundles, value, solved = _whole_allocation(auction, near)
        size = max(size, len(near.who))
        if not solved:
            break
        proven = bound - max(value, feasible) <= window
        window *= 8.0
    return relaxed._replace(
        bundles=bundles, weights=np.ones(len(bundles.who)), value=value, proven=proven, variables=size
    )


def _everything(auction: Auction, active: NDArray[np.bool_]) -> Bundles:
    """Return every bundle of every active provider except the empty one."""
    axis = np.arange(auction.quanta + 1)
    units = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, RESOURCES)[1:]
    who = np.flatnonzero(active)
    return Bundles(np.repeat(who, len(units)), np.tile(units, (len(who), 1)))


def _full(auction: Auction, active: NDArray[np.bool_], integral: bool) -> Solution:
    """Solve the programme with all variables."""
    bundles = _everything(auction, active)
    weights, value, prices = _linear_programme(auction, bundles)
    best, _ = auction.best(prices, active)
    bound = float(best.sum() + prices.sum() * auction.quanta)
    positive, proven = weights > TOLERANCE, bound - value <= CERTIFIED * bound
    weights, chosen = weights[positive], _chosen(bundles, positive)
    if integral:
        chosen, value, proven = _whole_allocation(auction, bundles)
        weights = np.ones(len(chosen.who))
    return Solution(chosen, weights, value, bound, prices, best, proven, len(bundles.who))


def solve_programme(
    auction: Auction, active: NDArray[np.bool_], prices: NDArray[np.float64], integral: bool, method: str,
    feasible: float = 0.0,
) -> Solution:  # fmt: skip
    """Solve the programme of the active providers.

    Parameters
    ----------
    auction : Auction
        Reported types; its pool gets the generated bundles.
    active : ndarray of bool, shape (providers,)
        Providers that take part.
    prices : ndarray of float64, shape (3,)
        Initial prices [scaled utility per unit].
    integral : bool
        Whether to solve the integer programme; if not, the linear one.
    method : str
        ``columns`` or ``full``.
    feasible : float, default 0
        Value of a known integral allocation [scaled utility].

    Returns
    -------
    Solution
    """
    if not active.any():
        nothing = np.zeros(auction.providers)
        return Solution(_chosen(auction.pool, slice(0)), np.zeros(0), 0.0, 0.0, prices, nothing, True, 0)
    if method == "full":
        return _full(auction, active, integral)
    relaxed = _linear(auction, active, prices)
    return _integral(auction, active, relaxed, feasible) if integral else relaxed
