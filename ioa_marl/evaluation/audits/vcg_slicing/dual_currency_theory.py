"""Consequences of the equations of the dual-currency auction: scaled bids, groups without interest, communication.

Source: Section IV.B (Eqs. 13, 16 and 26) and Table II of "An Enhanced Dual-Currency VCG Auction Mechanism for Resource
Allocation in IoV: A Value of Information Perspective". Audits by play are in `dual_currency`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import require
from ioa_marl.markets.vcg_slicing.dual_currency import equations
from ioa_marl.markets.vcg_slicing.quantised.auction import information_volume
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ScaleFixture:
    """Loans, interest and noise if all providers bid the same factor of their exact U*; the pool is ΣU*."""

    factors: Floats
    """Bid divided by U*, shape (factors,)."""
    loan_changes: Floats
    """Largest difference between a loan and the loan at the truth [currency], shape (factors,)."""
    interest: Floats
    """Largest |K − U*| of any provider [currency], shape (factors,)."""
    noise: Floats
    """Δ of Eq. 16 [shares], shape (factors,)."""
    alone: Floats
    """|K − U*| of the first provider if it alone bids the factor and all others bid U* [currency], shape (factors,)."""
    honest: Floats
    """|K − U*| of the first provider if it bids U* and all others bid the factor [currency], shape (factors,)."""


def scale_fixture(best: ArrayLike, factors: ArrayLike) -> ScaleFixture:
    """Return the effect of bidding multiples of U*, by all providers together and by one alone.

    Loans depend only on ratios of bids. If all bid c·U* with c ≤ 1, loans are those of the truth, and there is neither
    interest nor noise: all are as well off as with the truth, and a provider that then bids U* pays interest. The truth
    is a best response to the truth, one equilibrium among many, and not a dominant strategy. With c > 1 loans are still
    the same, but noise disturbs the allocation.

    Parameters
    ----------
    best : array_like, shape (providers,)
        U* [utility], positive.
    factors : array_like, shape (factors,)
        Factors c, positive.

    Returns
    -------
    ScaleFixture

    Examples
    --------
    >>> fixture = scale_fixture([100.0, 50.0, 50.0], [0.5, 1.0, 2.0])
    >>> fixture.noise.round(2).tolist(), fixture.honest.round(1).tolist()
    ([0.0, 0.0, 0.33], [33.3, 0.0, 33.3])
    """
    expected, c = np.asarray(best, np.float64), np.asarray(factors, np.float64)
    require(expected.ndim == 1 and len(expected) >= 2 and bool(np.all(expected > 0.0)), "best", best, "two or more > 0")
    require(c.ndim == 1 and bool(np.all(c > 0.0)), "factors", factors, "numbers > 0")
    pool = expected.sum()
    together = c[:, None] * expected
    only, all_but = np.tile(expected, (len(c), 1)), together.copy()
    only[:, 0], all_but[:, 0] = c * expected[0], expected[0]
    loans = equations.loans(pool, together)
    return ScaleFixture(
        factors=c,
        loan_changes=np.abs(loans - equations.loans(pool, expected)).max(axis=1),
        interest=np.abs(loans - expected).max(axis=1),
        noise=equations.noise_scale(together, np.full(len(c), pool), len(expected)),
        alone=np.abs(equations.loans(pool, only)[:, 0] - expected[0]),
        honest=np.abs(equations.loans(pool, all_but)[:, 0] - expected[0]),
    )


@dataclass(frozen=True)
class RankAudit:
    """Rank of the matrix of Eq. 26, which decides whether bids without interest are unique, for each group size."""

    sizes: NDArray[np.int64]
    """Numbers of members, 1 to all providers, shape (sizes,)."""
    ranks: NDArray[np.int64]
    """Rank of the matrix, shape (sizes,)."""
    singular_values: tuple[Floats, ...]
    """Singular values of the matrix divided by the largest, for each size, shape (size,)."""

    @property
    def deficient(self) -> NDArray[np.bool_]:
        """Whether bids without interest are not unique, shape (sizes,)."""
        return np.asarray(self.ranks < self.sizes)


def rank_deficiency(best: ArrayLike, tolerance: float = 1e-12) -> RankAudit:
    """Return the rank of the matrix of Eq. 26 for the groups of the first provider, the first two, and so on to all.

    The matrix is ΣU*·1 − U* eᵀ, restricted to the group, with determinant (ΣU*)^(m−1) · Σ_{outside} U*. It has full
    rank for every group without all providers, and rank m − 1 if all collude: every multiple of U* is then without
    interest.

    Parameters
    ----------
    best : array_like, shape (providers,)
        U* [utility], positive; those outside a group bid it.
    tolerance : float, default 1e-12
        Singular values below this fraction of the largest count as 0.

    Returns
    -------
    RankAudit

    Examples
    --------
    >>> rank_deficiency([120.0, 90.0, 60.0]).ranks.tolist()
    [1, 2, 2]
    """
    expected = np.asarray(best, np.float64)
    require(expected.ndim == 1 and len(expected) >= 2 and bool(np.all(expected > 0.0)), "best", best, "two or more > 0")
    sizes = np.arange(1, len(expected) + 1)
    values = []
    for size in sizes:
        singular_values = np.linalg.svd(equations.interest_system(expected, expected[size:])[0], compute_uv=False)
        values.append(singular_values / singular_values[0])
    return RankAudit(sizes, np.array([int(np.sum(value > tolerance)) for value in values]), tuple(values))


@dataclass(frozen=True)
class InformationVolume:
    """How many numbers providers and the auctioneer or bank exchange."""

    bids: int
    """Bids, the only numbers that Table II counts."""
    reports: int
    """Utilities and gross profits reported to the bank."""
    answers: int
    """Loans, shares and taxes, or shares and payments, sent back to providers."""

    @property
    def total(self) -> int:
        """All numbers."""
        return self.bids + self.reports + self.answers


def dual_currency_volume(providers: int, rounds: int) -> InformationVolume:
    """Return the numbers exchanged in some rounds of the dual-currency auction.

    Each provider sends one bid a round. The bank also learns its utility and its gross profit, and it gets back a loan,
    three shares and a tax: eight numbers a round, of which Table II counts one.

    Examples
    --------
    >>> volume = dual_currency_volume(10, 500)
    >>> volume.bids, volume.total
    (5000, 40000)
    """
    each = int(providers) * int(rounds)
    return InformationVolume(information_volume(providers, rounds=rounds), 2 * each, (2 + RESOURCES) * each)


def quantised_volume(providers: int, quanta: int) -> InformationVolume:
    """Return the numbers exchanged in the quantised VCG auction, whose bids hold for all rounds.

    Examples
    --------
    >>> volume = quantised_volume(10, 20)
    >>> volume.bids, volume.total
    (80000, 80040)
    """
    return InformationVolume(information_volume(providers, quanta), 0, (1 + RESOURCES) * int(providers))
