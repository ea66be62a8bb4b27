"""Welfare optimum of one slicing market and Clarke payments, with certificates.

Source: Eqs. 2 (payment), 4, 9 and 39 of "An Enhanced Dual-Currency VCG Auction Mechanism for Resource Allocation in
IoV: A Value of Information Perspective".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ParamSpec

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.compile import machine_code
from ioa_marl.foundations.parameters import require
from ioa_marl.markets.vcg_slicing.solver import (
    CERTIFIED,
    LARGEST_RATE,
    LARGEST_WORTH,
    SMALLEST_RATE,
    SMALLEST_WORTH,
    TOLERANCE,
    Optima,
    allocate_optima,
    resolve_markets,
    solve_markets,
)
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES, workspace

P = ParamSpec("P")


@dataclass(frozen=True)
class WelfareOptimum:
    """The division of the resources with the largest total utility, with a certificate."""

    shares: NDArray[np.float64]
    """Shares s* of each provider, shape (providers, 3); columns sum to 1."""
    utilities: NDArray[np.float64]
    """u_i(s*_i) [utility], shape (providers,)."""
    prices: NDArray[np.float64]
    """Multipliers λ, the marginal welfare of each resource [utility per whole resource], shape (3,)."""
    welfare: float
    """SW* = Σ_i u_i(s*_i) [utility]."""
    bound: float
    """Upper bound of the welfare of every division, the dual value of ``prices`` [utility]."""
    converged: bool
    """Whether the relative gap is at most 1e-8."""
    iterations: int
    """Number of Newton steps, or of straight pieces of the walk from initial prices; see ``parametric_simplex``."""

    @property
    def relative_gap(self) -> float:
        """(bound − welfare) / welfare; 0 if the welfare is 0."""
        return self.bound / self.welfare - 1.0 if self.welfare > 0.0 else 0.0


@dataclass(frozen=True)
class ClarkeOutcome:
    """Outcome of the exact VCG auction: the welfare optimum, and the payment of each provider for its externality."""

    optimum: WelfareOptimum
    """The allocation."""
    payments: NDArray[np.float64]
    """SW*₋ᵢ − Σ_{j≠i} u_j(s*) [utility], shape (providers,)."""
    welfare_without: NDArray[np.float64]
    """SW*₋ᵢ, the optimum without each provider [utility], shape (providers,)."""
    prices_without: NDArray[np.float64]
    """Multipliers without each provider [utility per whole resource], shape (providers, 3)."""
    converged: bool
    """Whether the relative gaps of all 1 + providers problems are at most 1e-8."""

    @property
    def profits(self) -> NDArray[np.float64]:
        """Utility less payment [utility], shape (providers,)."""
        return self.optimum.utilities - self.payments


def checked_market(worth: ArrayLike, rates: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return checked worths and rates as arrays of float64.

    Parameters
    ----------
    worth : array_like, shape (providers,)
        β [utility].
    rates : array_like, shape (providers, 3)
        ξ [per whole resource].

    Returns
    -------
    worth : ndarray of float64, shape (providers,)
    rates : ndarray of float64, shape (providers, 3)

    Raises
    ------
    ParameterError
        If a shape or a number is not usable.
    """
    beta = np.ascontiguousarray(np.atleast_1d(np.asarray(worth, np.float64)))
    xi = np.ascontiguousarray(np.asarray(rates, np.float64))
    require(beta.ndim == 1 and beta.size > 0, "worth", beta.tolist(), "a sequence of at least one number")
    require(xi.shape == (len(beta), RESOURCES), "rates", xi.shape, f"shape ({len(beta)}, {RESOURCES})")
    usable = np.all((beta >= SMALLEST_WORTH) & (beta <= LARGEST_WORTH))
    require(bool(usable), "worth", beta.tolist(), f"numbers from {SMALLEST_WORTH:g} to {LARGEST_WORTH:g}")
    usable = np.all((xi == 0.0) | ((xi >= SMALLEST_RATE) & (xi <= LARGEST_RATE)))
    require(bool(usable), "rates", xi.tolist(), f"0, or numbers from {SMALLEST_RATE:g} to {LARGEST_RATE:g}")
    return beta, xi


@cache
def _compiled(driver: Callable[P, None]) -> Callable[P, None]:
    """Return the machine code of a driver, since Numba's look-up of argument types takes longer than the driver."""
    worth, rates = np.ones((1, 1)), np.ones((1, 1, RESOURCES))
    call: Any = machine_code
    compiled: Callable[P, None] = call(driver, worth, rates, False, TOLERANCE, workspace(1), allocate_optima(1, 1))
    return compiled


def _solved(
    worth: ArrayLike, rates: ArrayLike, payments: bool, tolerance: float, prices: ArrayLike | None = None
) -> Optima:
    """Return the optima of one market as a batch of one, solved from scratch or from prices."""
    beta, xi = checked_market(worth, rates)
    require(1e-13 <= tolerance <= 1.0, "tolerance", tolerance, "a number from 1e-13 to 1")
    out = allocate_optima(1, len(beta))
    # The machine code accepts only writable arrays and plain numbers, hence the copies and ``float``.
    arguments = np.array(beta[None]), np.array(xi[None]), payments, float(tolerance), workspace(len(beta)), out
    if prices is None:
        _compiled(solve_markets)(*arguments)
        return out
    start = np.asarray(prices, np.float64)
    usable = start.shape == (RESOURCES,) and bool(np.all((start >= 0.0) & np.isfinite(start)))
    require(usable, "prices", start.tolist(), f"{RESOURCES} finite numbers of at least 0")
    out.price[0] = start
    _compiled(resolve_markets)(*arguments)
    return out


def _optimum(out: Optima) -> WelfareOptimum:
    """Return the optimum in row 0."""
    welfare, gap = float(out.welfare[0]), float(out.gap[0])
    return WelfareOptimum(
        shares=out.share[0],
        utilities=out.utility[0],
        prices=out.price[0],
        welfare=welfare,
        bound=welfare * (1.0 + gap),
        converged=gap <= CERTIFIED,
        iterations=int(out.iterations[0]),
    )


def welfare_optimum(
    worth: ArrayLike, rates: ArrayLike, tolerance: float = TOLERANCE, prices: ArrayLike | None = None
) -> WelfareOptimum:
    """Return the division of three resources with the largest Σ_i β_i (1 − exp(−ξ_i·s_i)) (Eqs. 9 and 39).

    Parameters
    ----------
    worth : array_like, shape (providers,)
        β, the utility of unlimited resources [utility]; from 1e-12 to 1e12.
    rates : array_like, shape (providers, 3)
        ξ, the rate at which utility saturates in each resource [per whole resource]; 0 for a resource of no use, else
        from 1e-6 to 1e6.
    tolerance : float, default 1e-11
        Relative duality gap at which the solver stops.
    prices : array_like, shape (3,), optional
        Initial prices [utility per whole resource], from a similar market: faster, with the same result to the
        tolerance.

    Returns
    -------
    WelfareOptimum
        With a certificate; ``converged`` says whether it holds.

    Raises
    ------
    ParameterError
        If a number is not usable; the message names it and what is allowed.

    Notes
    -----
    If providers are indifferent (equal ratios of rates), several divisions are optimal, and the function returns one in
    the middle of them. Utilities are unique.

    Examples
    --------
    >>> two = welfare_optimum([100.0, 100.0], [[4.0, 1.0, 1.0], [1.0, 4.0, 1.0]])
    >>> two.converged, bool(two.shares[0, 0] > 0.999), bool(two.shares[1, 1] > 0.999)
    (True, True, True)
    """
    return _optimum(_solved(worth, rates, False, tolerance, prices))


def clarke_payments(
    worth: ArrayLike, rates: ArrayLike, tolerance: float = TOLERANCE, prices: ArrayLike | None = None
) -> ClarkeOutcome:
    """Run the exact VCG auction on reported types: provider i pays SW*₋ᵢ − Σ_{j≠i} u_j(s*) at the optimum s*.

    Parameters
    ----------
    worth : array_like, shape (providers,)
        Reported β; see `welfare_optimum`.
    rates : array_like, shape (providers, 3)
        Reported ξ [per whole resource].
    tolerance : float, default 1e-11
        Relative duality gap at which the solver stops. The error of payments is about the same part of the welfare.
    prices : array_like, shape (3,), optional
        Initial prices; see `welfare_optimum`.

    Returns
    -------
    ClarkeOutcome

    Raises
    ------
    ParameterError
        If a number is not usable; the message names it and what is allowed.

    Examples
    --------
    >>> outcome = clarke_payments([100.0, 50.0], [[5.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
    >>> bool(0.0 < outcome.payments[0] < outcome.optimum.utilities[0])
    True
    """
    out = _solved(worth, rates, True, tolerance, prices)
    optimum = _optimum(out)
    return ClarkeOutcome(
        optimum=optimum,
        payments=out.others[0] - (optimum.welfare - optimum.utilities),
        welfare_without=out.others[0],
        prices_without=out.others_price[0],
        converged=optimum.converged and bool(np.all(out.others_gap[0] <= CERTIFIED)),
    )
