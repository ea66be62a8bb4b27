"""The VCG auction with quantised bids: providers report their utilities of bundles of whole units.

Each resource is cut into M units, and a provider reports its utility of every bundle of units: M × M × M numbers for
three resources. The auctioneer maximises reported welfare over the bundles, and provider i pays the optimal welfare of
the others without it less their actual welfare. Sources: Ge and Berry, "Dominant strategy allocation of divisible
network resources with limited information exchange", INFOCOM 2018, for one resource; Section VI of "An Enhanced
Dual-Currency VCG Auction Mechanism for Resource Allocation in IoV: A Value of Information Perspective" for three.

With x_im the choice of bundle m by provider i, the linear programme is: maximise Σ u_i(m/M) x_im subject to
Σ_m x_im ≤ 1 for each provider, Σ_im m_k x_im ≤ M for each resource, x ≥ 0. With one resource and concave utilities its
corners are integral. With three resources they are not: at a corner, up to three providers may have a mixture of
bundles. So there are two readings:

- ``integral=True``, the default: each provider has one bundle, which is an integer programme.
- ``integral=False``: the linear programme as printed. A mixture is a lottery over bundles. Its mean bundle can be
  allotted directly, and since utilities are concave, its utility is at least that of the lottery.

Neither exceeds the optimum SW* of divisible resources, and the linear programme is at least the integer one.

Of the N·M³ variables only a few are relevant; `programme` generates them without the others.
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
"""Default of the memory that ``method="full"`` may use [bytes]."""
BYTES_PER_VARIABLE = {False: 1250, True: 50_000}
"""Memory of ``method="full"`` per variable with ``integral`` off and on [bytes], measured with SciPy 1.17 on 92 600
variables. The linear programme used this at its peak. Branch and bound used 42 000 and was still growing when it was
stopped after 104 s."""


@dataclass(frozen=True)
class QuantisedOptimum:
    """The quantised allocation with the largest reported welfare."""

    shares: NDArray[np.float64]
    """Share of each resource of each provider, shape (providers, 3): whole multiples of 1/M, or with ``integral=False``
    the mean of its mixture. Units without use are not allotted."""
    utilities: NDArray[np.float64]
    """Reported utility of each provider's bundle, or the mean over its mixture [utility], shape (providers,)."""
    prices: NDArray[np.float64]
    """Multipliers of the resources in the linear programme [utility per whole resource], shape (3,)."""
    welfare: float
    """Sum of ``utilities`` [utility]."""
    bound: float
    """Upper bound of the welfare of all integral allocations and all mixtures [utility]."""
    converged: bool
    """Whether ``welfare`` is certified as the optimum of the chosen reading to a relative 1e-8."""
    bundles: Bundles
    """The allotted bundles: at most one per provider, or the parts of the mixtures."""
    weights: NDArray[np.float64]
    """Weight of each of these bundles in its mixture, shape (bundles,); 1 in an integral allocation."""
    variables: int
    """Number of variables of the largest programme that was solved."""

    @property
    def relative_gap(self) -> float:
        """(bound − welfare) / welfare; 0 if the welfare is 0.

        For an integral allocation it is an upper bound of the loss by integrality.
        """
        return self.bound / self.welfare - 1.0 if self.welfare > 0.0 else 0.0


@dataclass(frozen=True)
class QuantisedOutcome:
    """Outcome of the quantised VCG auction: the allocation, and the payment of each provider for its externality."""

    optimum: QuantisedOptimum
    """The allocation."""
    payments: NDArray[np.float64]
    """Quantised optimum without i less the others' reported utilities [utility], shape (providers,)."""
    welfare_without: NDArray[np.float64]
    """Quantised optimum without each provider [utility], shape (providers,)."""
    converged: bool
    """Whether all 1 + providers problems are certified."""

    @property
    def profits(self) -> NDArray[np.float64]:
        """Reported utility less payment [utility], shape (providers,)."""
        return self.optimum.utilities - self.payments


def full_variables(providers: int, quanta: int) -> int:
    """Return the number of variables of ``method="full"``: every bundle of every provider except the empty one."""
    bundles: int = (int(quanta) + 1) ** RESOURCES - 1  # narrow NumPy integers would overflow
    return int(providers) * bundles


def full_bytes(providers: int, quanta: int, integral: bool = True) -> int:
    """Return the approximate memory of ``method="full"`` [bytes], which is proportional to its variables."""
    return full_variables(providers, quanta) * BYTES_PER_VARIABLE[integral]


def _opened(
    worth: ArrayLike, rates: ArrayLike, quanta: int, integral: bool, method: str, most_bytes: int
) -> tuple[Auction, NDArray[np.float64]]:
    """Check the arguments; return the auction and the initial prices per unit, shape (3,)."""
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
    """Return a solution in the units of the providers."""
    n, who = auction.providers, solved.bundles.who
    values = solved.weights * auction.worths(solved.bundles) * auction.scale
    utility = np.asarray(np.bincount(who, values, n), np.float64)
    units = [np.bincount(who, solved.weights * solved.bundles.units[:, k], n) for k in range(RESOURCES)]
    return QuantisedOptimum(
        shares=np.stack(units, axis=1) / auction.quanta,
        utilities=utility,
        prices=solved.prices * auction.quanta * auction.scale,
        welfare=float(utility.sum()),
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
    """Return the allotment of units of three resources with the largest reported Σ_i β_i (1 − exp(−ξ_i·m_i/M)).

    Parameters
    ----------
    worth : array_like, shape (providers,)
        Reported β; see `welfare_optimum`.
    rates : array_like, shape (providers, 3)
        Reported ξ [per whole resource].
    quanta : int, default 20
        M: units per resource, 1 to 1000. 20 is the paper's QVCG-0.05, 100 its QVCG-0.01.
    integral : bool, default True
        Whether each provider has one bundle; if not, the linear programme as printed is solved.
    method : str, default "columns"
        ``columns`` builds only relevant variables, ``full`` all N·((M + 1)³ − 1). The optimum is the same.
    most_bytes : int, default 4e9
        Memory that ``full`` may use [bytes].

    Returns
    -------
    QuantisedOptimum
        With a certificate; ``converged`` says whether it holds. It can be false only if more than 100 000 bundles are
        nearly optimal.

    Raises
    ------
    ParameterError
        If a number is not usable, or if ``full`` would use more than ``most_bytes``; the message says how much.

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
    """Run the quantised VCG auction on reported types.

    The problems without a provider start from the final bundles and prices of the whole problem. With
    ``integral=False`` payments are those of the lottery: the truth maximises the expected profit of the lottery, but
    the profit at the mean bundle only approximately.

    Parameters
    ----------
    worth, rates, quanta, integral, method, most_bytes
        See `quantised_optimum`.

    Returns
    -------
    QuantisedOutcome

    Raises
    ------
    ParameterError
        See `quantised_optimum`.

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
    for i in np.flatnonzero(optimum.utilities > 0.0):  # without a provider that has nothing, nothing changes
        others = np.arange(auction.providers) != i
        reduced = solve_programme(auction, others, solved.prices, integral, method, rest[i] / auction.scale)
        without[i] = max(reduced.value * auction.scale, rest[i])  # the others could have at least this without i
        converged = converged and reduced.proven
    return QuantisedOutcome(optimum, without - rest, without, converged)


def quantised_bids(worth: ArrayLike, rates: ArrayLike, quanta: int) -> NDArray[np.float64]:
    """Return the tables of utilities that providers report.

    Parameters
    ----------
    worth : array_like, shape (providers,)
        β [utility].
    rates : array_like, shape (providers, 3)
        ξ [per whole resource].
    quanta : int
        M: units per resource, 1 to 1000.

    Returns
    -------
    ndarray of float64, shape (providers, M + 1, M + 1, M + 1)
        Entry (i, a, b, c) is the utility of a, b and c units to provider i. A difference along an axis is the bid for
        one more unit.
    """
    beta, xi = checked_market(worth, rates)
    require(1 <= quanta <= MOST_QUANTA, "quanta", quanta, f"1 to {MOST_QUANTA}")
    axis = np.arange(quanta + 1) / quanta
    shares = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    return utilities(beta[:, None, None, None], xi[:, None, None, None, :], shares[None])


def information_volume(providers: int, quanta: int = 0, rounds: int = 0) -> int:
    """Return how many numbers the providers send (Table II): a table of M³ numbers once, and a bid in each round.

    The quantised auction has only tables (``rounds=0``), an auction with a bid in each round only bids (``quanta=0``).
    Tables are counted as in the paper. With the bundles that lack a resource, a table has (M + 1)³ − 1 numbers.

    Examples
    --------
    >>> information_volume(10, quanta=20), information_volume(10, quanta=100), information_volume(10, rounds=500)
    (80000, 10000000, 5000)
    """
    queries: int = int(quanta) ** RESOURCES + int(rounds)
    return int(providers) * queries
