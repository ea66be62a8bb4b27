"""Mechanisms that divide three resources side by side: exact and quantised VCG, Kelly's, and the dual currency.

Providers have the utility β (1 − exp(−ξ·s)) of their shares s; see `ioa_marl.markets.vcg_slicing`. All of them tell the
truth except for one that scales its report, which is its worth β or, with the dual currency, its intention bid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ioa_marl.evaluation.mechanisms.comparison import (
    ROUNDING,
    Comparison,
    Floats,
    MechanismFigures,
    Progress,
    checked_count,
    checked_draw,
    chosen_mechanisms,
    efficiencies,
)
from ioa_marl.foundations.seeds import COMPARISON_SEED, MAX_TRAINING_SEED
from ioa_marl.markets.vcg_slicing.baselines import kelly_split, utilities
from ioa_marl.markets.vcg_slicing.dual_currency import equations
from ioa_marl.markets.vcg_slicing.kernels import open_markets
from ioa_marl.markets.vcg_slicing.optimum import checked_market, clarke_payments, welfare_optimum
from ioa_marl.markets.vcg_slicing.params import allocate_market
from ioa_marl.markets.vcg_slicing.params import preset as preset_of
from ioa_marl.markets.vcg_slicing.quantised.auction import (
    MOST_QUANTA,
    information_volume,
    quantised_optimum,
    quantised_payments,
)
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES

MECHANISMS = ("vcg", "qvcg", "kelly", "kelly_equilibrium", "dual_currency")
"""All mechanisms of this family, in the order in which they are compared."""
GRID = 11
"""Default number of evenly spaced factors."""
LOWEST, HIGHEST = 0.5, 1.5
"""Range of the factors on reports."""
MOST_PROVIDERS = 1000
"""Largest number of providers of a market, every one of which tries all factors."""
MEANINGS = {
    "revenue": "revenue: what the providers pay to the network or the bank",
    "budget_surplus": "budget: the same, since nobody is paid",
    "regret": (
        "regret: a lower bound, the largest gain of any provider by {reports} factors on its report, others truthful"
    ),
    "messages": "messages: numbers that the providers send in a round",
}


@dataclass(frozen=True)
class SlicingTypes:
    """True types of the providers of a batch of markets."""

    types: tuple[tuple[Floats, Floats], ...]
    """For each market worths β [utility], shape (providers,), and rates ξ [per whole resource], (providers, 3)."""
    source: str = "own types"
    """Where they come from, in words."""

    def __post_init__(self) -> None:
        """Refuse types that no market can have."""
        checked_count("markets", len(self.types), 1, 100_000)
        for worth, rates in self.types:
            checked_count("providers", len(checked_market(worth, rates)[0]), 1, MOST_PROVIDERS)

    @classmethod
    def drawn(cls, preset: str = "paper", markets: int = 10, seed: int = 0) -> SlicingTypes:
        """Return the types of random instances of a preset, on which nothing is trained or evaluated."""
        markets, seed = checked_draw(markets, seed)
        params = preset_of(preset)
        checked_count("providers", params.providers, 1, MOST_PROVIDERS)
        state = allocate_market(markets, params)
        state.seed[:], state.stream[:] = COMPARISON_SEED + seed, np.arange(markets)
        state.instance[:] = COMPARISON_SEED + seed * 2**20 + np.arange(markets)
        open_markets(state, params.record(), np.ones(markets, np.bool_))
        rows = zip(state.worth, state.rate, state.present.tolist(), strict=True)
        types = tuple((worth[:n].copy(), rate[:n].copy()) for worth, rate, n in rows)
        return cls(types, f"preset {preset}, seed {seed}")


class ShareMechanism(Protocol):
    """A mechanism in one market, whose truthful outcome is known; factors scale the reports of single providers."""

    shares: Floats
    """Shares if all tell the truth, shape (providers, 3)."""
    payments: Floats
    """Payments if all tell the truth [utility], shape (providers,)."""
    messages: int
    """Numbers that the providers send."""

    def profit(self, provider: int, factor: float) -> float:
        """Return the true utility less the payment of a provider that scales its report [utility]."""
        ...


class _Market:
    """One market: the true types, and reports in which one provider scales its worth."""

    def __init__(self, worth: Floats, rates: Floats) -> None:
        self.worth, self.rates = checked_market(worth, rates)

    def _reported(self, provider: int, factor: float) -> Floats:
        reported = self.worth.copy()
        reported[provider] *= factor
        return reported

    def _received(self, shares: Floats) -> Floats:
        return utilities(self.worth, self.rates, shares)


class _VCG(_Market):
    """Exact or, with ``quanta``, quantised VCG.

    The payment of a provider is SW*₋ᵢ less the reported utilities of the others. The first term does not depend on its
    report, so that a misreport takes one optimum in place of one for every provider.
    """

    def __init__(self, worth: Floats, rates: Floats, quanta: int | None = None) -> None:
        super().__init__(worth, rates)
        self._quanta = quanta
        if quanta is None:
            exact = clarke_payments(self.worth, self.rates)
            self.shares, self.payments, self._without = exact.optimum.shares, exact.payments, exact.welfare_without
            certified = exact.converged
            self.messages = (1 + RESOURCES) * len(self.worth)
        else:
            units = quantised_payments(self.worth, self.rates, quanta)
            self.shares, self.payments, self._without = units.optimum.shares, units.payments, units.welfare_without
            certified = units.converged
            self.messages = information_volume(len(self.worth), quanta)
        _require_certified(certified)

    def profit(self, provider: int, factor: float) -> float:
        reported = self._reported(provider, factor)
        if self._quanta is None:
            exact = welfare_optimum(reported, self.rates)
            shares, certified = exact.shares, exact.converged
        else:
            units = quantised_optimum(reported, self.rates, self._quanta)
            shares, certified = units.shares, units.converged
        _require_certified(certified)
        # The utilities of the others are reported truthfully, so that their sum can be taken from the true types.
        return float(self._received(shares).sum() - self._without[provider])


def _require_certified(certified: bool) -> None:
    if not certified:
        raise ArithmeticError("an optimum of a slicing market is not certified")


class _Kelly(_Market):
    """Kelly's proportional division with the bids of `kelly_split`, each of which is paid."""

    def __init__(self, worth: Floats, rates: Floats) -> None:
        super().__init__(worth, rates)
        self.shares, self.payments = kelly_split(self.worth, self.rates), self._bids(self.worth)
        self.messages = RESOURCES * len(self.worth)

    def _bids(self, worth: Floats) -> Floats:
        """Return the sum of each provider's bids; one without a use for any resource bids nothing."""
        return np.where(self.rates.sum(axis=1) > 0.0, worth, 0.0)

    def profit(self, provider: int, factor: float) -> float:
        reported = self._reported(provider, factor)
        shares = kelly_split(reported, self.rates)
        return float(self._received(shares)[provider] - self._bids(reported)[provider])


class _KellyEquilibrium(_Market):
    """Kelly's division at the bids of price takers: the optimum, with one price for each resource.

    Providers bid λ_k s_ik, and pay it. A provider that scales its worth moves the prices, which it takes as given.
    """

    def __init__(self, worth: Floats, rates: Floats) -> None:
        super().__init__(worth, rates)
        self.shares, self.payments = self._outcome(self.worth)
        self.messages = RESOURCES * len(self.worth)

    def _outcome(self, worth: Floats) -> tuple[Floats, Floats]:
        found = welfare_optimum(worth, self.rates)
        _require_certified(found.converged)
        return found.shares, found.shares @ found.prices

    def profit(self, provider: int, factor: float) -> float:
        shares, payments = self._outcome(self._reported(provider, factor))
        return float(self._received(shares)[provider] - payments[provider])


class _DualCurrency(_Market):
    """One round of the dual-currency auction with a bank that knows everything and an optimal allocation.

    α is 1 for all, so that money is in units of utility. Bids are U*, and a misreport is a multiple of it; it acts by
    the interest on the loan and by noise on the shares, with the same ``draws`` for every report.
    """

    def __init__(self, worth: Floats, rates: Floats, draws: Floats) -> None:
        super().__init__(worth, rates)
        self._exact = clarke_payments(self.worth, self.rates)
        _require_certified(self._exact.converged)
        self._draws = draws
        # A bid, and to the bank a utility and a gross profit.
        self.messages = 3 * len(self.worth)
        self.shares, self.payments = self._outcome(np.ones(len(self.worth)))

    def _outcome(self, factors: Floats) -> tuple[Floats, Floats]:
        """Return shares and taxes if each provider bids a factor times U*."""
        best = self._exact.optimum.utilities
        bids, pool = factors * best, best.sum()
        # Less than a rounding of the sum is no overbid.
        scale = equations.noise_scale(bids, np.maximum(pool, bids.sum() * (1.0 - 1e-12)), len(best))
        shares = equations.disturbed(self._exact.optimum.shares, scale, self._draws) if scale > 0.0 else (
            self._exact.optimum.shares
        )  # fmt: skip
        received = self._received(shares)
        loan = equations.loans(pool, bids)
        rate = np.ones(len(best))
        flows = equations.settle(rate, self._exact.welfare_without, received, best, loan, received)
        return shares, flows.tax

    def profit(self, provider: int, factor: float) -> float:
        factors = np.ones(len(self.worth))
        factors[provider] = factor
        shares, taxes = self._outcome(factors)
        return float(self._received(shares)[provider] - taxes[provider])


def compare_shares(
    types: SlicingTypes | None = None,
    *,
    preset: str = "paper",
    markets: int = 10,
    seed: int = 0,
    mechanisms: Sequence[str] | None = None,
    quanta: int = 20,
    grid: int = GRID,
    progress: Progress | None = None,
) -> Comparison:
    """Run the same reports under several mechanisms that divide three resources.

    Parameters
    ----------
    types : SlicingTypes, optional
        Own types. Default: drawn ones.
    preset : str, default "paper"
        Preset of the slicing market, for the draw.
    markets, seed : int, default 10 and 0
        Number of instances that are drawn, and the seed of the draw and of noise.
    mechanisms : sequence of str, optional
        Names from `MECHANISMS`; the first one is the base of the paired differences. Default: all of them.
    quanta : int, default 20
        Units of each resource in ``qvcg``.
    grid : int, default 11
        Number of evenly spaced factors from 0.5 to 1.5 that a provider tries on its report.
    progress : callable, optional
        Called while markets are played.

    Returns
    -------
    Comparison

    Raises
    ------
    ParameterError, UserError
        If an argument is invalid; the message names it and what is allowed.

    Examples
    --------
    >>> found = compare_shares(markets=2, mechanisms=["vcg", "kelly_equilibrium"])
    >>> found.mean("vcg", "regret")[0], found.mean("kelly_equilibrium", "regret")[0] > 0.1
    (0.0, True)
    """
    names = chosen_mechanisms(mechanisms, MECHANISMS, MECHANISMS)
    quanta, grid = checked_count("quanta", quanta, 1, MOST_QUANTA), checked_count("grid", grid, 2, 1000)
    types = SlicingTypes.drawn(preset, markets, seed) if types is None else types
    seed = checked_count("seed", seed, 0, MAX_TRAINING_SEED)
    factors = np.linspace(LOWEST, HIGHEST, grid)
    factors = factors[factors != 1.0]
    rows = [_figures(name, types, factors, quanta, seed, progress) for name in names]
    meanings = {key: text.format(reports=len(factors)) for key, text in MEANINGS.items()}
    return Comparison("shares", types.source, tuple(rows), len(factors), meanings)


def _mechanism(name: str, worth: Floats, rates: Floats, quanta: int, key: tuple[int, int]) -> ShareMechanism:
    """Return a mechanism in one market; ``key`` has the seed and the number of the market."""
    if name == "vcg":
        return _VCG(worth, rates)
    if name == "qvcg":
        return _VCG(worth, rates, quanta)
    if name == "kelly":
        return _Kelly(worth, rates)
    if name == "kelly_equilibrium":
        return _KellyEquilibrium(worth, rates)
    rng = np.random.Generator(np.random.Philox(key=np.array(key, np.uint64)))
    return _DualCurrency(worth, rates, rng.standard_normal(rates.shape))


def _figures(
    name: str, types: SlicingTypes, factors: Floats, quanta: int, seed: int, progress: Progress | None
) -> MechanismFigures:
    """Return the figures of a mechanism."""
    markets = len(types.types)
    welfare, best, revenue, regret, losses, messages = (np.zeros(markets) for _ in range(6))
    for market, (worth, rates) in enumerate(types.types):
        mechanism = _mechanism(name, worth, rates, quanta, (COMPARISON_SEED + seed, market))
        received = utilities(worth, rates, mechanism.shares)
        profits = received - mechanism.payments
        best[market] = welfare_optimum(worth, rates).welfare
        welfare[market], revenue[market] = received.sum(), mechanism.payments.sum()
        slack = ROUNDING * max(best[market], float(np.abs(mechanism.payments).max()))
        losses[market], messages[market] = (profits < -slack).sum(), mechanism.messages
        gains = [mechanism.profit(i, float(f)) - profits[i] for i in range(len(worth)) for f in factors]
        regret[market] = max(gains) if max(gains) > slack else 0.0
        if progress is not None:
            progress(name, market + 1, markets)
    figures = {
        "welfare": welfare,
        "efficiency": efficiencies(welfare, best),
        "revenue": revenue,
        "budget_surplus": revenue,
        "regret": regret,
        "ir_violations": losses,
        "messages": messages,
    }
    return MechanismFigures(name, figures, f"{quanta} units" if name == "qvcg" else "")
