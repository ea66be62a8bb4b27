"""Incentive audit of slicing mechanisms: gains from misreports, and payments above the worth of a slice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import require
from ioa_marl.markets.vcg_slicing.baselines import utilities
from ioa_marl.markets.vcg_slicing.optimum import checked_market, clarke_payments
from ioa_marl.markets.vcg_slicing.solver import LARGEST_RATE, SMALLEST_RATE


@dataclass(frozen=True)
class SlicingOutcome:
    """Allocation and payments of a mechanism for reported worths and rates."""

    shares: NDArray[np.float64]
    """Share of each resource that each provider gets, shape (providers, 3)."""
    payments: NDArray[np.float64]
    """Payment of each provider [units of utility], shape (providers,)."""


Mechanism = Callable[[NDArray[np.float64], NDArray[np.float64]], SlicingOutcome]
"""Maps reported worths, shape (providers,), and rates, shape (providers, 3), to an outcome."""


def exact_vcg(worth: NDArray[np.float64], rates: NDArray[np.float64]) -> SlicingOutcome:
    """Return the welfare optimum of the reports with Clarke payments: the exact VCG auction as a `Mechanism`."""
    outcome = clarke_payments(worth, rates)
    return SlicingOutcome(outcome.optimum.shares, outcome.payments)


def clarke_priced(allocate: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]) -> Mechanism:
    """Return a mechanism with any allocation, and the payments SW*₋ᵢ − Σ_{j≠i} û_j(s) that the market takes for it.

    ``allocate`` maps reported worths, shape (providers,), and rates, shape (providers, 3), to shares, shape
    (providers, 3). Only with the welfare optimum is the truth a dominant strategy.
    """

    def mechanism(worth: NDArray[np.float64], rates: NDArray[np.float64]) -> SlicingOutcome:
        shares = allocate(worth, rates)
        received = utilities(worth, rates, shares)
        without = clarke_payments(worth, rates).welfare_without
        return SlicingOutcome(shares, without - (received.sum() - received))

    return mechanism


@dataclass(frozen=True)
class MisreportRegret:
    """The largest gain of each provider among the reports that were tried: a lower bound of its true regret."""

    gains: NDArray[np.float64]
    """Largest gain of each provider over telling the truth [units of utility], at least 0, shape (providers,)."""
    worths: NDArray[np.float64]
    """A reported worth of each provider with this gain, or the true worth if none gains, shape (providers,)."""
    rates: NDArray[np.float64]
    """The rates reported together with that worth, shape (providers, 3)."""
    welfare: float
    """Welfare if all report truthfully [units of utility], with which gains should be compared."""

    @property
    def max(self) -> float:
        """Largest gain of any provider [units of utility]."""
        return float(self.gains.max())

    @property
    def relative(self) -> float:
        """Largest gain of any provider over the welfare at the truth; 0 where there is no welfare."""
        return self.max / self.welfare if self.welfare > 0.0 else 0.0


def _reports(
    worth: float, rates: NDArray[np.float64], tries: int, rng: np.random.Generator
) -> list[tuple[float, NDArray[np.float64]]]:
    """Return random reports: a quarter each scale the worth, scale all rates, change single rates, and change all."""
    out = []
    for kind in range(tries):
        alone, together = np.exp(rng.normal(0.0, 0.7, 3)), float(np.exp(rng.normal(0.0, 0.7)))
        reported_worth, reported_rates = worth, rates
        if kind % 4 in (0, 3):
            reported_worth = worth * together
        if kind % 4 == 1:
            reported_rates = rates * together
        elif kind % 4 >= 2:
            reported_rates = rates * alone
        clipped = np.clip(reported_rates, SMALLEST_RATE, LARGEST_RATE)
        out.append((reported_worth, np.where(rates > 0.0, clipped, 0.0)))
    return out


def misreport_regret(
    worth: ArrayLike,
    rates: ArrayLike,
    mechanism: Mechanism = exact_vcg,
    tries: int = 40,
    seed: int = 0,
    members: Sequence[int] | None = None,
) -> MisreportRegret:
    """Return the largest gain of every provider from misreporting alone, over random reports of worth and rates.

    The result is a lower bound of the true regret: only ``tries`` reports are tried, and no joint ones. For `exact_vcg`
    it is 0 up to the tolerance of the solver.

    Parameters
    ----------
    worth : array_like, shape (providers,)
        True worths β [units of utility].
    rates : array_like, shape (providers, 3)
        True rates ξ.
    mechanism : callable, default `exact_vcg`
        Maps reports to an outcome; it runs once for every report.
    tries : int, default 40
        Number of reports per provider.
    seed : int, default 0
        Seed of the reports.
    members : sequence of int, optional
        Numbers of the providers that misreport; default: all. The gains of the others are 0.

    Returns
    -------
    MisreportRegret

    Examples
    --------
    >>> misreport_regret([100.0, 150.0], [[4.0, 1.0, 1.0], [3.0, 2.0, 1.0]]).relative < 1e-8
    True
    """
    beta, xi = checked_market(worth, rates)
    require(tries >= 1, "tries", tries, "1 or more")
    truth = mechanism(beta, xi)
    received = utilities(beta, xi, truth.shares)
    gains, best_worth, best_rates = np.zeros(len(beta)), beta.copy(), xi.copy()
    for i in range(len(beta)) if members is None else members:
        for worth_report, rate_report in _reports(beta[i], xi[i], tries, np.random.default_rng([seed, i])):
            reports = beta.copy(), xi.copy()
            reports[0][i], reports[1][i] = worth_report, rate_report
            outcome = mechanism(*reports)
            profit = utilities(beta[i : i + 1], xi[i : i + 1], outcome.shares[i : i + 1])[0] - outcome.payments[i]
            gain = profit - (received[i] - truth.payments[i])
            if gain > gains[i]:
                gains[i], best_worth[i], best_rates[i] = gain, worth_report, rate_report
    return MisreportRegret(gains, best_worth, best_rates, float(received.sum()))


@dataclass(frozen=True)
class RationalityAudit:
    """Clarke payments and utilities at an allocation that need not be optimal."""

    payments: NDArray[np.float64]
    """SW*₋ᵢ − Σ_{j≠i} u_j(s) [units of utility], shape (providers,)."""
    utilities: NDArray[np.float64]
    """u_i(s) [units of utility], shape (providers,)."""
    welfare_ratio: float
    """Welfare of the allocation divided by the optimal welfare; 1 if the optimal welfare is 0."""
    slack: float
    """Differences up to this size are attributed to rounding [units of utility]."""

    @property
    def violations(self) -> int:
        """Number of providers that pay more than their slice is worth."""
        return int(np.sum(self.payments > self.utilities + self.slack))

    @property
    def worst_loss(self) -> float:
        """Largest difference of payment and utility of any provider, at least 0 [units of utility]."""
        return max(float((self.payments - self.utilities).max()), 0.0)


def individual_rationality(worth: ArrayLike, rates: ArrayLike, shares: ArrayLike) -> RationalityAudit:
    """Return the payments and utilities of truthful providers at an allocation.

    A provider loses exactly when the allocation has less welfare than the others could have without it:
    u_i − pay_i = Σ_j u_j(s) − SW*₋ᵢ. At the optimum that never happens; at the equal split it typically happens to all.

    Parameters
    ----------
    worth : array_like, shape (providers,)
        True worths β [units of utility].
    rates : array_like, shape (providers, 3)
        True rates ξ.
    shares : array_like, shape (providers, 3)
        The allocation; columns sum to at most 1.

    Returns
    -------
    RationalityAudit
    """
    beta, xi = checked_market(worth, rates)
    allocation = np.asarray(shares, np.float64)
    usable = allocation.shape == xi.shape and np.all(allocation >= 0.0) and np.all(allocation.sum(axis=0) <= 1.0 + 1e-9)
    require(
        bool(usable), "shares", allocation.tolist(), f"shape {xi.shape}, numbers from 0, columns that sum to at most 1"
    )
    outcome = clarke_payments(beta, xi)
    received = utilities(beta, xi, allocation)
    best = outcome.optimum.welfare
    payments = outcome.welfare_without - (received.sum() - received)
    ratio = float(received.sum()) / best if best > 0.0 else 1.0
    return RationalityAudit(payments, received, ratio, slack=1e-9 * best)
