"""Incentive audit of slicing mechanisms: what misreports gain, and who pays more than its slice is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import require
from ioa_marl.markets.vcg_slicing.baselines import utilities
from ioa_marl.markets.vcg_slicing.optimum import LARGEST_RATE, SMALLEST_RATE, checked_market, clarke_payments


@dataclass(frozen=True)
class SlicingOutcome:
    """What a mechanism does with reported worths and rates."""

    shares: NDArray[np.float64]
    """Share of each resource that each provider gets, shape (providers, 3)."""
    payments: NDArray[np.float64]
    """What each provider pays [units of utility], shape (providers,)."""


Mechanism = Callable[[NDArray[np.float64], NDArray[np.float64]], SlicingOutcome]
"""Maps reported worths, shape (providers,), and rates, shape (providers, 3), to an outcome."""


def exact_vcg(worth: NDArray[np.float64], rates: NDArray[np.float64]) -> SlicingOutcome:
    """Return the welfare optimum of the reports with Clarke payments: the exact VCG auction as a `Mechanism`."""
    outcome = clarke_payments(worth, rates)
    return SlicingOutcome(outcome.optimum.shares, outcome.payments)


@dataclass(frozen=True)
class MisreportRegret:
    """The largest gain that was found for each provider: a lower bound of its true regret."""

    gains: NDArray[np.float64]
    """Largest gain of each provider over telling the truth [units of utility], at least 0, shape (providers,)."""
    worths: NDArray[np.float64]
    """A reported worth of each provider that has this gain, the true one where none gains, shape (providers,)."""
    rates: NDArray[np.float64]
    """The reported rates that go with it, shape (providers, 3)."""
    welfare: float
    """Welfare at the truth: what gains are to be compared with."""

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
    """Return reports to try: a quarter each scale the worth, scale all rates, change rates apart, change everything."""
    out = []
    for kind in range(tries):
        alone, together = np.exp(rng.normal(0.0, 0.7, 3)), float(np.exp(rng.normal(0.0, 0.7)))
        told_worth, told_rates = worth, rates
        if kind % 4 in (0, 3):
            told_worth = worth * together
        if kind % 4 == 1:
            told_rates = rates * together
        elif kind % 4 >= 2:
            told_rates = rates * alone
        clipped = np.clip(told_rates, SMALLEST_RATE, LARGEST_RATE)
        out.append((told_worth, np.where(rates > 0.0, clipped, 0.0)))
    return out


def misreport_regret(
    worth: ArrayLike, rates: ArrayLike, mechanism: Mechanism = exact_vcg, tries: int = 40, seed: int = 0
) -> MisreportRegret:
    """Return the largest gain of every provider from misreporting alone, over random reports of worth and rates.

    A lower bound of the true regret: only ``tries`` reports are tried, and no joint ones. For `exact_vcg` it is 0 up to
    the tolerance of the solver.

    Parameters
    ----------
    worth : array_like, shape (providers,)
        True β.
    rates : array_like, shape (providers, 3)
        True ξ.
    mechanism : callable, default `exact_vcg`
        Maps reports to an outcome; run once for every report.
    tries : int, default 40
        Reports per provider.
    seed : int, default 0
        Seed of the reports.

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
    gains, told_worth, told_rates = np.zeros(len(beta)), beta.copy(), xi.copy()
    for i in range(len(beta)):
        for report, reported in _reports(beta[i], xi[i], tries, np.random.default_rng([seed, i])):
            told = beta.copy(), xi.copy()
            told[0][i], told[1][i] = report, reported
            outcome = mechanism(*told)
            profit = utilities(beta[i : i + 1], xi[i : i + 1], outcome.shares[i : i + 1])[0] - outcome.payments[i]
            gain = profit - (received[i] - truth.payments[i])
            if gain > gains[i]:
                gains[i], told_worth[i], told_rates[i] = gain, report, reported
    return MisreportRegret(gains, told_worth, told_rates, float(received.sum()))


@dataclass(frozen=True)
class RationalityAudit:
    """Clarke payments at an allocation that need not be the optimum, against what the slices are worth."""

    payments: NDArray[np.float64]
    """SW*₋ᵢ − Σ_{j≠i} u_j(s) [units of utility], shape (providers,)."""
    utilities: NDArray[np.float64]
    """u_i(s) [units of utility], shape (providers,)."""
    welfare_ratio: float
    """Welfare of the allocation over the optimal one; 1 where there is nothing to gain."""
    slack: float
    """Differences up to this are rounding [units of utility]."""

    @property
    def violations(self) -> int:
        """Providers that pay more than their slice is worth."""
        return int(np.sum(self.payments > self.utilities + self.slack))

    @property
    def worst_loss(self) -> float:
        """Largest payment less utility of any provider, at least 0 [units of utility]."""
        return max(float((self.payments - self.utilities).max()), 0.0)


def individual_rationality(worth: ArrayLike, rates: ArrayLike, shares: ArrayLike) -> RationalityAudit:
    """Return what truthful providers pay and get at an allocation.

    A provider loses exactly when the allocation has less welfare than the others could have without it:
    u_i − pay_i = Σ_j u_j(s) − SW*₋ᵢ. At the optimum that never happens; at the equal split it typically happens to all.

    Parameters
    ----------
    worth : array_like, shape (providers,)
        True β.
    rates : array_like, shape (providers, 3)
        True ξ.
    shares : array_like, shape (providers, 3)
        The allocation; columns sum to at most 1.

    Returns
    -------
    RationalityAudit
    """
    beta, xi = checked_market(worth, rates)
    held = np.asarray(shares, np.float64)
    usable = held.shape == xi.shape and np.all(held >= 0.0) and np.all(held.sum(axis=0) <= 1.0 + 1e-9)
    require(bool(usable), "shares", held.tolist(), f"shape {xi.shape}, numbers from 0, columns that sum to at most 1")
    outcome = clarke_payments(beta, xi)
    received = utilities(beta, xi, held)
    best = outcome.optimum.welfare
    payments = outcome.welfare_without - (received.sum() - received)
    ratio = float(received.sum()) / best if best > 0.0 else 1.0
    return RationalityAudit(payments, received, ratio, slack=1e-9 * best)
