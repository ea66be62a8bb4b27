"""One round of the dual-currency VCG auction: the equations, as functions of arrays.

A bank knows neither the utilities nor their relation to profits, and estimates both from bills. It issues a currency in
units of utility and lends it in proportion to the providers' intention bids. After the network has divided its
resources, the bank taxes every provider in money for the harm to the others and for the difference between its loan
and the utility that it can expect. Arrays have the axes (…, providers), and the resources as last axis.

Source: Section IV and Algorithm 1 of "An Enhanced Dual-Currency VCG Auction Mechanism for Resource Allocation in IoV: A
Value of Information Perspective", with these repairs:

- Δ of Eq. 16 is in units of utility, but is added to shares. Here it is divided by SW*, and is in shares.
- α is estimated with an intercept. Eq. 34 has no intercept, and is biased if the mean of w is not 0.
- Algorithm 1 computes the tax before the allocation on which it depends. Here the tax is computed afterwards.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MONEY_FLOWS = ("gross", "harm", "interest")
"""Flows of money: from customers to the provider, and from the provider to the bank for harm and for interest."""
CURRENCY_FLOWS = ("issued", "spent", "reclaimed")
"""Flows of the bank's currency: from the bank to the provider, on to the network, and back to the bank."""


class Flows(NamedTuple):
    """Flows of a round between two accounts each; all arrays are float64 (…, providers)."""

    gross: Floats
    """Gross profit G_i, from customers to the provider [money]; can be negative."""
    harm: Floats
    """α̂_i I_i, from the provider to the bank [money]."""
    interest: Floats
    """α̂_i |K_i − U_i*|, from the provider to the bank [money]."""
    issued: Floats
    """The loan K_i, from the bank to the provider [currency]."""
    spent: Floats
    """Payment of the provider to the network for its slice, the whole loan [currency]."""
    reclaimed: Floats
    """Payment of the network to the bank [currency]."""

    @property
    def tax(self) -> Floats:
        """Taxes Z_i of Eq. 18 [money], shape (…, providers)."""
        return self.harm + self.interest

    @property
    def profit(self) -> Floats:
        """Net profits P_i of Eq. 3 [money], shape (…, providers)."""
        return self.gross - self.tax


def loans(pool: Floats, bids: Floats) -> Floats:
    """Return the loans K of Eq. 13, which divide the pool in proportion to the bids.

    Only ratios of bids matter: if all bids are the same multiple of the truthful ones, the loans are the truthful ones.

    Parameters
    ----------
    pool : ndarray, shape (…)
        F_P, Eq. 12 [currency].
    bids : ndarray, shape (…, providers)
        x, at least 0 [currency]; 0 for absent providers.

    Returns
    -------
    ndarray, shape (…, providers)
        Loans [currency].
    """
    total = bids.sum(axis=-1)
    share = np.divide(bids, total[..., None], out=np.zeros_like(bids), where=total[..., None] > 0.0)
    out: Floats = np.asarray(pool)[..., None] * share
    return out


def noise_scale(bids: Floats, best: Floats, count: NDArray[np.int64] | int, as_printed: bool = False) -> Floats:
    """Return the standard deviation Δ of the noise on shares that overbidding causes, Eq. 16.

    It is ``max(Σx − SW*, 0) / (N · SW*)``. The printed divisor is N alone, so the printed Δ is in units of utility:
    with SW* ≈ 1000 and N = 10, bids that are too high by a thousandth move every share by a tenth of the resource.

    Parameters
    ----------
    bids : ndarray, shape (…, providers)
        x [currency].
    best : ndarray, shape (…)
        The bank's belief of SW* [utility].
    count : int or ndarray, shape (…)
        N.
    as_printed : bool, default False
        Whether to leave SW* out of the divisor.

    Returns
    -------
    ndarray, shape (…)
        Δ [shares].
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
        Δ [shares].
    draws : ndarray, shape (…, providers, 3)
        Standard normal numbers.

    Returns
    -------
    ndarray, shape (…, providers, 3)
        Shares.
    """
    noisy = np.maximum(shares + np.asarray(scale)[..., None, None] * draws, 0.0)
    total = noisy.sum(axis=-2, keepdims=True)
    out = np.full_like(noisy, 1.0 / shares.shape[-2])
    np.divide(noisy, total, out=out, where=total > 0.0)
    return out


def externalities(without: Floats, utilities: Floats) -> Floats:
    """Return the harm of each provider to the others: I of Eq. 17, SW*₋ᵢ − Σ_{j≠i} u_j(s̃).

    Parameters
    ----------
    without : ndarray, shape (…, providers)
        The bank's belief of SW*₋ᵢ [utility].
    utilities : ndarray, shape (…, providers)
        The bank's belief of u_j(s̃) at the allocation after noise [utility].

    Returns
    -------
    ndarray, shape (…, providers)
        I [utility].
    """
    return np.asarray(without - (utilities.sum(axis=-1, keepdims=True) - utilities))


def settle(
    rate: Floats, without: Floats, utilities: Floats, best: Floats, loan: Floats, gross: Floats, interest: bool = True
) -> Flows:
    """Tax the providers and book the round: Eqs. 3, 17 and 18.

    Parameters
    ----------
    rate : ndarray, shape (…, providers)
        The bank's estimate α̂ [money/utility].
    without, utilities : ndarray, shape (…, providers)
        See `externalities`.
    best : ndarray, shape (…, providers)
        The bank's belief of the utility U* at the optimum [utility].
    loan : ndarray, shape (…, providers)
        K [currency].
    gross : ndarray, shape (…, providers)
        G, Eq. 5 [money].
    interest : bool, default True
        Whether loans bear interest; False is the ablation without value of information (NVI).

    Returns
    -------
    Flows
    """
    harm = rate * externalities(without, utilities)
    charged = rate * np.abs(loan - best) if interest else np.zeros_like(harm)
    return Flows(gross, harm, charged, loan, loan, loan)


class Moments(NamedTuple):
    """Running moments of pairs of utility and gross profit, from which α̂ follows; all are float64 (…, providers)."""

    pairs: Floats
    """Number of pairs."""
    utility: Floats
    """Mean utility [utility]."""
    gross: Floats
    """Mean gross profit [money]."""
    square: Floats
    """Σ (U − mean)² [utility²]."""
    product: Floats
    """Σ (U − mean)(G − mean) [utility · money]."""


def add_to_moments(moments: Moments, utility: Floats, gross: Floats) -> Moments:
    """Return the moments with one more pair per provider, by Welford's update, which avoids cancellation.

    Parameters
    ----------
    moments : Moments
        Moments so far, shape (…, providers).
    utility, gross : ndarray, shape (…, providers)
        Utility [utility] and gross profit [money] of the new pair.
    """
    count = moments.pairs + 1.0
    utility_excess, gross_excess = utility - moments.utility, gross - moments.gross
    mean = moments.utility + utility_excess / count
    return Moments(
        count,
        mean,
        moments.gross + gross_excess / count,
        moments.square + utility_excess * (utility - mean),
        moments.product + gross_excess * (utility - mean),
    )


def moments_of(utility: Floats, gross: Floats) -> Moments:
    """Return the moments of pairs of utility and gross profit.

    Parameters
    ----------
    utility, gross : ndarray, shape (…, pairs, providers)
        Utilities [utility] and gross profits [money].
    """
    mean_utility, mean_gross = utility.mean(axis=-2), gross.mean(axis=-2)
    deviation = utility - mean_utility[..., None, :]
    return Moments(
        np.full(mean_utility.shape, float(utility.shape[-2])),
        mean_utility,
        mean_gross,
        (deviation**2).sum(axis=-2),
        (deviation * (gross - mean_gross[..., None, :])).sum(axis=-2),
    )


def estimated_rate(moments: Moments) -> Floats:
    """Return the estimate of α by least squares with an intercept, which is unbiased for every mean of w (Eq. 5).

    If utility never varied, slope and intercept cannot be distinguished, and the estimate is the ratio of the means, or
    1 if the mean utility is 0.

    Returns
    -------
    ndarray, shape (…, providers)
        α̂ [money/utility].
    """
    ratio = np.divide(moments.gross, moments.utility, out=np.ones_like(moments.gross), where=moments.utility > 0.0)
    level = 1e-18 * moments.pairs * moments.utility**2
    return np.divide(moments.product, moments.square, out=ratio, where=moments.square > level)


def rate_as_printed(utility: Floats, gross: Floats) -> Floats:
    """Return the estimate of α by Eq. 34, the mean of G/U, whose bias is E[w]·E[1/U].

    Parameters
    ----------
    utility, gross : ndarray, shape (…, pairs, providers)
        Utilities [utility] and gross profits [money].

    Returns
    -------
    ndarray, shape (…, providers)
        α̂ [money/utility].
    """
    return np.asarray(np.mean(gross / utility, axis=-2))


def moving_average(belief: Floats, utility: Floats, weight: float) -> Floats:
    """Return the providers' beliefs after one more report; all arrays are float64 (…, providers) [utility]."""
    return weight * belief + (1.0 - weight) * utility


def balanced_bids(best: Floats, others: Floats) -> Floats:
    """Return the bids of a group at which no member pays interest, given all other bids: Eq. 26.

    Parameters
    ----------
    best : ndarray, shape (providers,)
        U* [utility]; the members of the group come first.
    others : ndarray, shape (providers - members,)
        Bids outside the group [currency]; empty if the group has all providers.

    Returns
    -------
    ndarray, shape (members,)
        Bids [currency].

    Raises
    ------
    numpy.linalg.LinAlgError
        If the group has all providers: every multiple of U* is then a solution, and the matrix is singular.
    """
    matrix, right = interest_system(best, others)
    if not len(others):
        raise np.linalg.LinAlgError("everybody is in the group: every multiple of U* bears no interest")
    return np.asarray(np.linalg.solve(matrix, right), np.float64)


def interest_system(best: Floats, others: Floats) -> tuple[Floats, Floats]:
    """Return the matrix, (members, members), and the right-hand side, (members,), of Eq. 26; see `balanced_bids`."""
    members = len(best) - len(others)
    own = best[:members, None]
    matrix = np.diag(best.sum() - best[:members]) - own * (1.0 - np.eye(members))
    return matrix, own[:, 0] * others.sum()
