"""Gains of a pair of service providers from misreporting together, under any slicing mechanism.

No VCG auction is collusion-proof: if one provider reports more, the other pays less. Source of the experiment: Section
VI, Fig. 9 of "An Enhanced Dual-Currency VCG Auction Mechanism for Resource Allocation in IoV: A Value of Information
Perspective", an exhaustive search over joint bids under the quantised VCG auction.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.evaluation.audits.vcg_slicing.mechanisms import Mechanism, SlicingOutcome, exact_vcg
from ioa_marl.foundations.parameters import require
from ioa_marl.markets.vcg_slicing.baselines import utilities
from ioa_marl.markets.vcg_slicing.optimum import checked_market
from ioa_marl.markets.vcg_slicing.quantised.auction import quantised_payments

FACTORS = tuple(round(0.5 + 0.1 * step, 1) for step in range(11))
"""Default factors on reported utilities: 0.5 to 1.5."""


def quantised_vcg(quanta: int = 20, integral: bool = True) -> Mechanism:
    """Return the quantised VCG auction as a `Mechanism`; see `quantised_payments`.

    With ``integral=False`` shares are the mean bundles of the mixtures, and payments those of the lottery.
    """

    def mechanism(worth: NDArray[np.float64], rates: NDArray[np.float64]) -> SlicingOutcome:
        outcome = quantised_payments(worth, rates, quanta, integral)
        if not outcome.converged:
            raise ArithmeticError("a quantised optimum is not certified: too many bundles are as good as the best")
        return SlicingOutcome(outcome.optimum.shares, outcome.payments)

    return mechanism


@dataclass(frozen=True)
class CollusionGain:
    """The joint report of a pair with the largest joint profit among those that were tried."""

    pair: tuple[int, int]
    """The colluding providers."""
    factors: tuple[float, float]
    """Factors on their reported utilities; (1, 1) if no other pair of factors is profitable."""
    profits_true: NDArray[np.float64]
    """True utility minus payment of each provider if all report truthfully [units of utility], shape (providers,)."""
    profits: NDArray[np.float64]
    """True utility minus payment under the joint report [units of utility], shape (providers,)."""
    welfare_true: float
    """True welfare if all report truthfully [units of utility]."""
    welfare: float
    """True welfare under the joint report [units of utility]."""
    revenue_true: float
    """Sum of payments if all report truthfully [units of utility]."""
    revenue: float
    """Sum of payments under the joint report [units of utility]."""

    @property
    def gain(self) -> float:
        """Joint gain of the pair [units of utility]: at least 0, and a lower bound, since only a grid is tried."""
        rows = list(self.pair)
        return float(self.profits[rows].sum() - self.profits_true[rows].sum())

    @property
    def relative(self) -> float:
        """``gain`` divided by the pair's joint profit at the truth; infinite if only that profit is 0."""
        before = float(self.profits_true[list(self.pair)].sum())
        if self.gain <= 0.0:
            return 0.0
        return self.gain / before if before > 0.0 else float("inf")


def collusion_gain(
    worth: ArrayLike,
    rates: ArrayLike,
    mechanism: Mechanism = exact_vcg,
    pair: tuple[int, int] = (0, 1),
    factors: Sequence[float] = FACTORS,
) -> CollusionGain:
    """Search a grid of joint reports of a pair of providers, while the others tell the truth.

    Each of the two scales its reported utilities by one of ``factors``; all pairs of factors are tried. The largest
    gain on the grid is a lower bound of the gain from collusion: other reports may gain more.

    Parameters
    ----------
    worth : array_like, shape (providers,)
        True worths β [units of utility].
    rates : array_like, shape (providers, 3)
        True rates ξ.
    mechanism : callable, default `exact_vcg`
        Maps reports to an outcome; it runs 1 + len(factors)² times.
    pair : tuple of int, default (0, 1)
        The providers that collude.
    factors : sequence of float
        Positive factors; 0.5 to 1.5 in steps of 0.1 unless given.

    Returns
    -------
    CollusionGain
        Among equal gains, the first in the order of the factors.

    Examples
    --------
    >>> collusion = collusion_gain([100.0, 120.0, 150.0], [[4.0, 1.0, 1.0], [3.0, 2.0, 1.0], [2.0, 5.0, 1.0]])
    >>> collusion.gain > 1.0, collusion.welfare < collusion.welfare_true
    (True, True)
    """
    beta, xi = checked_market(worth, rates)
    usable = len(set(pair)) == 2 and all(0 <= i < len(beta) for i in pair)
    require(usable, "pair", pair, f"two different providers from 0 to {len(beta) - 1}")
    usable = len(factors) > 0 and all(np.isfinite(factor) and factor > 0.0 for factor in factors)
    require(usable, "factors", tuple(factors), "positive numbers, at least one")

    def play(scales: tuple[float, float]) -> tuple[NDArray[np.float64], float, float]:
        reported = beta.copy()
        reported[list(pair)] *= scales
        outcome = mechanism(reported, xi)
        received = utilities(beta, xi, outcome.shares)
        return received - outcome.payments, float(received.sum()), float(outcome.payments.sum())

    truth = play((1.0, 1.0))
    best, chosen = truth, (1.0, 1.0)
    for scales in itertools.product(factors, repeat=2):
        candidate = play((float(scales[0]), float(scales[1])))
        if candidate[0][list(pair)].sum() > best[0][list(pair)].sum():
            best, chosen = candidate, (float(scales[0]), float(scales[1]))
    return CollusionGain(pair, chosen, truth[0], best[0], truth[1], best[1], truth[2], best[2])
