"""One round of the dual-currency VCG auction: the equations, as functions of arrays.

A bank that knows neither utilities nor their link with profits estimates both from bills. It issues a currency of its
own in units of utility, lends it in proportion to the providers' intention bids, and after the network has divided its
resources taxes every provider in money for the harm done to the others and for the difference between its loan and the
utility it can expect. Arrays have the axes (…, providers), resources last where there are any.

Source: Section IV and Algorithm 1 of "An Enhanced Dual-Currency VCG Auction Mechanism for Resource Allocation in IoV: A
Value of Information Perspective", with these repairs:

- Δ of Eq. 16 is a number of utility units that is added to shares. Divided by SW* it has the unit of a share.
- α is estimated with an intercept: Eq. 34 estimates it without and is biased where profits have a mean of their own.
- Algorithm 1 computes the tax before the allocation on which it depends; here it comes after.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MONEY_FLOWS = ("gross", "harm", "interest")
"""Flows of money: customers to provider, provider to bank for harm to others, provider to bank for its loan."""
CURRENCY_FLOWS = ("issued", "spent", "reclaimed")
"""Flows of the bank's currency: bank to provider, provider to network, network to bank."""


class Flows(NamedTuple):
    """What moved in a round, shape (…, providers) each; every flow leaves one account and arrives on another."""

    gross: Floats
    """Gross profit G_i, from customers to the provider [money]; can be negative."""
    harm: Floats
    """α̂_i I_i, from the provider to the bank [money]."""
    interest: Floats
    """α̂_i |K_i − U_i*|, from the provider to the bank [money]."""
    issued: Floats
    """The loan K_i, from the bank to the provider [currency]."""
    spent: Floats
    """What the provider hands to the network for its slice, the whole loan [currency]."""
    reclaimed: Floats
    """What the network hands back to the bank [currency]."""

    @property
    def tax(self) -> Floats:
        """Z_i of Eq. 18 [money]."""
        return self.harm + self.interest

    @property
    def profit(self) -> Floats:
        """P_i of Eq. 3 [money]."""
        return self.gross - self.tax


def loans(pool: Floats, bids: Floats) -> Floats:
    """Divide the pool in proportion to the bids: K of Eq. 13.

    Only ratios of bids matter: all providers bidding the same multiple of what they expect have the loans of the truth.

    Parameters
    ----------
    pool : ndarray, shape (…)
        F_P, Eq. 12 [currency].
    bids : ndarray, shape (…, providers)
        x, from 0 [currency]; 0 for those who are absent.
    """
    total = bids.sum(axis=-1)
    share = np.divide(bids, total[..., None], out=np.zeros_like(bids), where=total[..., None] > 0.0)
    out: Floats = np.asarray(pool)[..., None] * share
    return out


def noise_scale(bids: Floats, best: Floats, count: NDArray[np.int64] | int, as_printed: bool = False) -> Floats:
    """Return the standard deviation Δ of the noise on shares that overbidding causes, Eq. 16.

    ``max(Σx − SW*, 0) / (N · SW*)``; as printed the divisor is N alone, so that the unit is one of utility: with
    SW* ≈ 1000 a thousandth too much in the bids then moves every share by a tenth of the resource.

    Parameters
    ----------
    bids : ndarray, shape (…, providers)
        x [currency].
    best : ndarray, shape (…)
        SW* as the bank believes [utility].
    count : int or ndarray, shape (…)
        N.
    as_printed : bool, default False
        Leave SW* out of the divisor.
    """
    excess = np.maximum(bids.sum(axis=-1) - best, 0.0) / count
    if as_printed:
        return np.asarray(excess)
    return np.asarray(np.divide(excess, best, out=np.zeros_like(excess), where=best > 0.0))


def disturbed(shares: Floats, scale: Floats, draws: Floats) -> Floats:
    """Add noise to shares, clip at 0 and rescale each resource to 1: Eq. 15.

    Parameters
    ----------
    shares : ndarray, shape (…, providers, 3)
        The allocation that the network chose.
    scale : ndarray, shape (…)
        Δ.
    draws : ndarray, shape (…, providers, 3)
        Standard normal.
    """
    noisy = np.maximum(shares + np.asarray(scale)[..., None, None] * draws, 0.0)
    total = noisy.sum(axis=-2, keepdims=True)
    out = np.full_like(noisy, 1.0 / shares.shape[-2])
    np.divide(noisy, total, out=out, where=total > 0.0)
    return out


def externalities(without: Floats, utilities: Floats) -> Floats:
    """Harm that each provider does to the others: I of Eq. 17, SW*₋ᵢ − Σ_{j≠i} u_j(s̃).

    Parameters
    ----------
    without : ndarray, shape (…, providers)
        SW*₋ᵢ as the bank believes.
    utilities : ndarray, shape (…, providers)
        u_j(s̃) as the bank believes, at the allocation after noise.
    """
    return np.asarray(without - (utilities.sum(axis=-1, keepdims=True) - utilities))


def settle(
    rate: Floats, without: Floats, utilities: Floats, best: Floats, loan: Floats, gross: Floats, interest: bool = True
) -> Flows:
    """Tax the providers and book the round: Eqs. 3, 17 and 18.

    Parameters
    ----------
    rate : ndarray, shape (…, providers)
        α̂, the bank's estimate of money per utility.
    without, utilities : ndarray, shape (…, providers)
        As for `externalities`.
    best : ndarray, shape (…, providers)
        U*, utility at the optimum as the bank believes.
    loan : ndarray, shape (…, providers)
        K.
    gross : ndarray, shape (…, providers)
        G, Eq. 5.
    interest : bool, default True
        Whether loans bear interest; False is the ablation without value of information (NVI).
    """
    harm = rate * externalities(without, utilities)
    charged = rate * np.abs(loan - best) if interest else np.zeros_like(harm)
    return Flows(gross, harm, charged, loan, loan, loan)


class Moments(NamedTuple):
    """Running moments of (utility, gross profit) pairs, from which α̂ follows; shape (…, providers) each."""

    pairs: Floats
    """Number of pairs."""
    utility: Floats
    """Mean utility."""
    gross: Floats
    """Mean gross profit."""
    square: Floats
    """Σ (U − mean)²."""
    product: Floats
    """Σ (U − mean)(G − mean)."""


def add_to_moments(moments: Moments, utility: Floats, gross: Floats) -> Moments:
    """Return the moments with one more pair each (Welford's update, which does not cancel)."""
    count = moments.pairs + 1.0
    ahead, aside = utility - moments.utility, gross - moments.gross
    mean = moments.utility + ahead / count
    return Moments(
        count,
        mean,
        moments.gross + aside / count,
        moments.square + ahead * (utility - mean),
        moments.product + aside * (utility - mean),
    )


def moments_of(utility: Floats, gross: Floats) -> Moments:
    """Return the moments of pairs along the axis before the last, shape (…, pairs, providers)."""
    means = utility.mean(axis=-2), gross.mean(axis=-2)
    away = utility - means[0][..., None, :]
    return Moments(
        np.full(means[0].shape, float(utility.shape[-2])),
        *means,
        (away**2).sum(axis=-2),
        (away * (gross - means[1][..., None, :])).sum(axis=-2),
    )


def estimated_rate(moments: Moments) -> Floats:
    """Estimate α by least squares with an intercept: unbiased whatever the mean of w, Eq. 5.

    Where utility never varied, a slope cannot be told from an intercept: the ratio of the means is returned, or 1 where
    that is none.
    """
    ratio = np.divide(moments.gross, moments.utility, out=np.ones_like(moments.gross), where=moments.utility > 0.0)
    level = 1e-18 * moments.pairs * moments.utility**2
    return np.divide(moments.product, moments.square, out=ratio, where=moments.square > level)


def rate_as_printed(utility: Floats, gross: Floats) -> Floats:
    """Estimate α as Eq. 34 has it, the mean of G/U: off by E[w]·E[1/U]; pairs along the axis before the last."""
    return np.asarray(np.mean(gross / utility, axis=-2))


def moving_average(belief: Floats, utility: Floats, weight: float) -> Floats:
    """Return a provider's belief of its utility after one more report."""
    return weight * belief + (1.0 - weight) * utility


def balanced_bids(best: Floats, others: Floats) -> Floats:
    """Bids at which no member of a group pays interest, given the bids of all others: Eq. 26.

    Parameters
    ----------
    best : ndarray, shape (providers,)
        U*, the first ones those of the group.
    others : ndarray, shape (providers - members,)
        Bids of those outside the group; none if everybody is in it.

    Returns
    -------
    ndarray, shape (members,)

    Raises
    ------
    numpy.linalg.LinAlgError
        If everybody is in the group: every multiple of U* is then a solution, the matrix has not full rank.
    """
    matrix, right = interest_system(best, others)
    if not len(others):
        raise np.linalg.LinAlgError("everybody is in the group: every multiple of U* bears no interest")
    return np.asarray(np.linalg.solve(matrix, right), np.float64)


def interest_system(best: Floats, others: Floats) -> tuple[Floats, Floats]:
    """Return matrix and right side of Eq. 26 for a group; see `balanced_bids`."""
    members = len(best) - len(others)
    own = best[:members, None]
    matrix = np.diag(best.sum() - best[:members]) - own * (1.0 - np.eye(members))
    return matrix, own[:, 0] * others.sum()
