"""The VCG auction with quantised bids: providers report what whole units of the resources are worth to them.

Each resource is cut into M units, and a provider reports its utility of every bundle of units: M × M × M numbers for
three resources. The auctioneer maximises reported welfare over the bundles, and provider i pays what the others could
have without it less what they have. Sources: Ge and Berry, "Dominant strategy allocation of divisible network resources
with limited information exchange", INFOCOM 2018, for one resource; Section VI of "An Enhanced Dual-Currency VCG Auction
Mechanism for Resource Allocation in IoV: A Value of Information Perspective" for three.

With x_im the choice of bundle m by provider i, the linear programme is: maximise Σ u_i(m/M) x_im subject to
Σ_m x_im ≤ 1 for each provider, Σ_im m_k x_im ≤ M for each resource, x ≥ 0. With one resource and concave utilities its
corners are whole; with three they are not: at a corner up to three providers more than are whole hold a mixture of
bundles. So there are two readings, and both are offered:

- ``integral=True``, the default: one bundle each, an integer programme. Bids are for units, and units are allotted.
- ``integral=False``: the linear programme as printed. A mixture is a lottery over bundles. Its mean bundle can be
  allotted at once, and as utilities are concave, is worth at least as much as the lottery.

Neither exceeds the optimum SW* of divisible resources, and the linear programme is at least the integer one.

Of the N·M³ variables only a few matter; `programme` says how they are found without building the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import ParameterError, require
from ioa_marl.markets.vcg_slicing.baselines import utilities
from ioa_marl.markets.vcg_slicing.optimum import checked_market, welfare_optimum
from ioa_marl.markets.vcg_slicing.quantised.programme import Auction, Bundles, Solution, corners, solve_programme
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES

METHODS = ("columns", "full")
MOST_QUANTA = 1000
MOST_BYTES = 4_000_000_000
"""Memory that ``method="full"`` may take unless told otherwise [bytes]."""
BYTES_PER_VARIABLE = {False: 1250, True: 50_000}
"""What ``method="full"`` takes per variable with ``integral`` off and on [bytes], measured with SciPy 1.17 on 92 600
variables: the linear programme at its peak; branch and bound had 42 000 when it was stopped after 104 s, and was still
growing."""


@dataclass(frozen=True)
class QuantisedOptimum:
    """The quantised allocation with the largest reported welfare."""

    shares: NDArray[np.float64]
    """Share of each resource that each provider gets, shape (providers, 3): whole multiples of 1/M, or with
    ``integral=False`` the mean of its mixture. Units that nobody has a use for are left over."""
    utilities: NDArray[np.float64]
    """Reported utility of each provider's bundle, or mean over its mixture, shape (providers,)."""
    prices: NDArray[np.float64]
    """Multipliers of the resources in the linear programme, shape (3,) [utility per whole resource]."""
    welfare: float
    """Sum of ``utilities``."""
    bound: float
    """No whole allocation and no mixture has more than this."""
    converged: bool
    """Whether ``welfare`` is certified as the optimum (of the reading that was chosen) to 1e-8 of itself."""
    bundles: Bundles
    """The bundles allotted: one per provider at most, or the parts of the mixtures."""
    weights: NDArray[np.float64]
    """Weight of each of these bundles in its mixture, shape (bundles,); 1 in a whole allocation."""
    variables: int
    """Variables of the largest programme that was solved."""

    @property
    def relative_gap(self) -> float:
        """(bound − welfare) / welfare; 0 where there is nothing to gain.

        Of a whole allocation: what being whole costs, at most.
        """
        return self.bound / self.welfare - 1.0 if self.welfare > 0.0 else 0.0


@dataclass(frozen=True)
class QuantisedOutcome:
    """The quantised VCG auction: allocation, and what each provider pays for the harm it does to the others."""

    optimum: QuantisedOptimum
    """The allocation."""
    payments: NDArray[np.float64]
    """Quantised optimum without i less the others' reported utilities, shape (providers,)."""
    welfare_without: NDArray[np.float64]
    """The quantised optimum without each provider, shape (providers,)."""
    converged: bool
    """Whether all 1 + providers problems are."""

    @property
    def profits(self) -> NDArray[np.float64]:
        """Reported utility less payment, shape (providers,)."""
        return self.optimum.utilities - self.payments


def full_variables(providers: int, quanta: int) -> int:
    """Return how many variables ``method="full"`` builds: every bundle of every provider but the empty ones."""
    bundles: int = (int(quanta) + 1) ** RESOURCES - 1  # narrow NumPy integers would overflow
    return int(providers) * bundles


def full_bytes(providers: int, quanta: int, integral: bool = True) -> int:
    """Return the memory that ``method="full"`` takes, about [bytes]: proportional to its variables."""
    return full_variables(providers, quanta) * BYTES_PER_VARIABLE[integral]


def _opened(
    worth: ArrayLike, rates: ArrayLike, quanta: int, integral: bool, method: str, most_bytes: int
) -> tuple[Auction, NDArray[np.float64]]:
    """Check what is given; return the auction and prices to start from."""
    beta, xi = checked_market(worth, rates)
    require(1 <= quanta <= MOST_QUANTA and quanta == int(quanta), "quanta", quanta, f"1 to {MOST_QUANTA}")
    require(method in METHODS, "method", method, " or ".join(METHODS))
    variables, needed = full_variables(len(beta), quanta), full_bytes(len(beta), quanta, integral)
    if method == "full" and needed > most_bytes:
        raise ParameterError(
            "method", method,
            f"columns: {len(beta)} providers with {quanta} quanta have {variables:,} variables, "
            f"which take about {needed / 1e9:.1f} GB, and most_bytes is {most_bytes / 1e9:.1f} GB",
        )  # fmt: skip
    auction = Auction(beta, xi, int(quanta))
    divisible = welfare_optimum(beta, xi)
    if method == "columns":
        auction.pool = corners(auction, divisible.shares)
    return auction, divisible.prices / (quanta * auction.scale)


def _optimum(auction: Auction, solved: Solution) -> QuantisedOptimum:
    n, who = auction.providers, solved.bundles.who
    values = solved.weights * auction.worths(solved.bundles) * auction.scale
    received = np.asarray(np.bincount(who, values, n), np.float64)
    units = [np.bincount(who, solved.weights * solved.bundles.units[:, k], n) for k in range(RESOURCES)]
    return QuantisedOptimum(
        shares=np.stack(units, axis=1) / auction.quanta,
        utilities=received,
        prices=solved.prices * auction.quanta * auction.scale,
        welfare=float(received.sum()),
        bound=float(solved.bound * auction.scale),
        converged=solved.proven,
        bundles=solved.bundles,
        weights=solved.weights,
        variables=solved.variables,
    )


def quantised_optimum(
    worth: ArrayLike, rates: ArrayLike, quanta: int = 20, integral: bool = True, method: str = "columns",
    most_bytes: int = MOST_BYTES,
) -> QuantisedOptimum:  # fmt: skip
    """Allot units of three resources so that the reported welfare Σ_i β_i (1 − exp(−ξ_i·m_i/M)) is largest.

    Parameters
    ----------
    worth : array_like, shape (providers,)
        Reported β; see `welfare_optimum`.
    rates : array_like, shape (providers, 3)
        Reported ξ [per whole resource].
    quanta : int, default 20
        M: units per resource, 1 to 1000. 20 is the paper's QVCG-0.05, 100 its QVCG-0.01.
    integral : bool, default True
        Whole bundles, or else the mixtures of the linear programme as printed.
    method : str, default "columns"
        ``columns`` builds the variables that matter, ``full`` all N·((M + 1)³ − 1). The optimum is the same.
    most_bytes : int, default 4e9
        Memory that ``full`` may take.

    Returns
    -------
    QuantisedOptimum
        With the certificate; ``converged`` says whether to trust it. It can be false only where more than 100 000
        bundles are nearly as good as the best.

    Raises
    ------
    ParameterError
        If a number is not usable, or ``full`` would take more than ``most_bytes``; the message says how much.

    Examples
    --------
    >>> optimum = quantised_optimum([100.0, 100.0], [[4.0, 1.0, 1.0], [1.0, 4.0, 1.0]], quanta=4)
    >>> optimum.shares.tolist()[0][:2], optimum.converged
    ([1.0, 0.0], True)
    """
    auction, prices = _opened(worth, rates, quanta, integral, method, most_bytes)
    everybody = np.ones(auction.providers, np.bool_)
    return _optimum(auction, solve_programme(auction, everybody, prices, integral, method))


def quantised_payments(
    worth: ArrayLike, rates: ArrayLike, quanta: int = 20, integral: bool = True, method: str = "columns",
    most_bytes: int = MOST_BYTES,
) -> QuantisedOutcome:  # fmt: skip
    """Run the quantised VCG auction on reported worths and rates; parameters as of `quantised_optimum`.

    The problems without each provider start from the bundles and prices that the problem with everybody ended with.
    With ``integral=False`` payments are those of the lottery: telling the truth is optimal for its expected profit, and
    for the profit at the mean bundle only nearly.

    Returns
    -------
    QuantisedOutcome

    Raises
    ------
    ParameterError
        As `quantised_optimum`.

    Examples
    --------
    >>> outcome = quantised_payments([100.0, 50.0], [[5.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
    >>> bool(0.0 < outcome.payments[0] < outcome.optimum.utilities[0])
    True
    """
    auction, prices = _opened(worth, rates, quanta, integral, method, most_bytes)
    solved = solve_programme(auction, np.ones(auction.providers, np.bool_), prices, integral, method)
    optimum = _optimum(auction, solved)
    rest = optimum.welfare - optimum.utilities
    without, converged = rest.copy(), solved.proven
    for i in np.flatnonzero(optimum.utilities > 0.0):  # without somebody who gets nothing, nothing changes
        others = np.arange(auction.providers) != i
        reduced = solve_programme(auction, others, solved.prices, integral, method, rest[i] / auction.scale)
        without[i] = max(reduced.value * auction.scale, rest[i])  # what the others have, they could have without i
        converged = converged and reduced.proven
    return QuantisedOutcome(optimum, without - rest, without, converged)


def quantised_bids(worth: ArrayLike, rates: ArrayLike, quanta: int) -> NDArray[np.float64]:
    """Return the tables that providers report, shape (providers, M + 1, M + 1, M + 1): utility of each bundle.

    Entry (i, a, b, c) is the utility of a, b and c units. Differences along an axis are the bid for one more unit.
    """
    beta, xi = checked_market(worth, rates)
    require(1 <= quanta <= MOST_QUANTA, "quanta", quanta, f"1 to {MOST_QUANTA}")
    axis = np.arange(quanta + 1) / quanta
    shares = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    return utilities(beta[:, None, None, None], xi[:, None, None, None, :], shares[None])  # one provider a worth


def information_volume(providers: int, quanta: int = 0, rounds: int = 0) -> int:
    """Return how many numbers the providers send: each a table of M³ once, and one bid a round (Table II).

    The quantised auction sends tables only (``rounds=0``) and one with a bid a round no table (``quanta=0``). The table
    is counted as in the paper; to say all, bundles without some resource included, takes (M + 1)³ − 1 numbers.

    Examples
    --------
    >>> information_volume(10, quanta=20), information_volume(10, quanta=100), information_volume(10, rounds=500)
    (80000, 10000000, 5000)
    """
    queries: int = int(quanta) ** RESOURCES + int(rounds)
    return int(providers) * queries
