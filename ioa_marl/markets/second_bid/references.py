"""References of the modified second-bid auction: full information, the best simple rules, contract price, analysis."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import beta, betainc, gammaln

from ioa_marl.foundations.parameters import require
from ioa_marl.foundations.seeds import CALIBRATION_SEED, as_seeds
from ioa_marl.markets.second_bid import drivers
from ioa_marl.markets.second_bid.auction import SecondBidParams
from ioa_marl.markets.second_bid.state import allocate_state

FEWEST_TASKS = 500
"""Tasks drawn at least for the calibration of an auction; the presets have 12,000 and more."""
ENOUGH_TASKS = 10_000
"""Tasks from which the UAV's mean valuation is good enough: to 1% in ``paper``."""


@dataclass(frozen=True)
class Tasks:
    """What matters of drawn tasks under truthful bids; arrays have the shape (markets, tasks)."""

    uav: NDArray[np.float64]
    """UAV's valuation v₀ [units]."""
    first: NDArray[np.float64]
    """Highest valuation of a station [units]."""
    second: NDArray[np.float64]
    """Second highest valuation of a station [units]."""
    lowest: NDArray[np.float64]
    """Lowest valuation of a station [units]."""
    common: NDArray[np.float64]
    """Common value of the UAV; in ``pareto`` that of everybody [units]."""

    def surplus(self, rho: ArrayLike, uav_weight: float = 1.0) -> NDArray[np.float64]:
        """Return the allocative surplus of every task at given factors ρ (broadcast to the tasks) [units]."""
        return np.asarray(np.where(self.first > np.asarray(rho) * self.second, self.first, uav_weight * self.uav))


def draw_tasks(
    params: SecondBidParams,
    seeds: ArrayLike,
    streams: ArrayLike,
    episode: int = 0,
    tasks: int | None = None,
) -> Tasks:
    """Draw the tasks of an episode of several markets.

    Parameters
    ----------
    params : SecondBidParams
        The auction.
    seeds, streams : array_like of int, shape (markets,)
        Seed and stream of each market.
    episode : int, default 0
        Number of the episode.
    tasks : int, optional
        Only the first so many tasks; by default all of the episode.
    """
    seeds = as_seeds("seeds", seeds)
    count = params.tasks if tasks is None else min(tasks, params.tasks)
    state = allocate_state(len(seeds), params.stations, 1)
    state.seed[:], state.stream[:], state.episode[:] = seeds, as_seeds("streams", streams), episode
    out = np.empty((5, len(seeds), count))
    record = params.record()
    everywhere = np.ones(len(seeds), np.bool_)
    for task in range(count):
        state.task[:] = task
        drivers.draw_tasks(state, record, everywhere)
        ordered = np.sort(state.value[:, 1:], axis=1)
        out[:, :, task] = state.value[:, 0], ordered[:, -1], ordered[:, -2], ordered[:, 0], state.common[:, 0]
    return Tasks(*out)


def full_information(tasks: Tasks, params: SecondBidParams) -> NDArray[np.float64]:
    """Return the surplus of every task at the best ρ of the grid, knowing all valuations, (markets, tasks)."""
    best = tasks.surplus(1.0, params.uav_weight)
    for rho in params.rhos()[1:]:
        best = np.maximum(best, tasks.surplus(rho, params.uav_weight))
    return best


@dataclass(frozen=True)
class Calibration:
    """What is estimated once for an auction, on draws that neither training nor evaluation uses."""

    contract_price: float
    """The UAV's contract price b₀ = E[v₀] [units]: Eq. 13 is largest there if v₀ does not depend on the stations."""
    log_low: float
    """0.1% quantile of the logarithms of v₀ and of the stations' highest, second highest and lowest valuations, taken
    together: every station's own valuation is seen on this scale."""
    log_high: float
    """99.9% quantile of the same."""
    log_ratio: float
    """99.9% quantile of log(b₍₁₎/b₍₂₎)."""
    constant: int
    """Index of the constant ρ with the largest mean surplus."""
    ratio: float
    """max(1, ζ E[v₀]/E[b₍₂₎]): the optimal ρ of a market with Pareto match values."""
    threshold: float
    """Bid b₍₁₎ above which ρ = 1, and else the largest ρ, has the largest mean surplus [units]: ζ E[v₀] where the
    UAV's valuation does not depend on the stations', else estimated."""


def best_threshold(tasks: Tasks, params: SecondBidParams) -> float:
    """Return the t for which "ρ = 1 where b₍₁₎ > t, else the largest ρ" has the largest mean surplus, exactly."""
    order = np.argsort(tasks.first, axis=None)
    first = tasks.first.ravel()[order]
    low, high = (tasks.surplus(rho, params.uav_weight).ravel()[order] for rho in (1.0, params.rhos()[-1]))
    # Entry i: the i lowest tasks get the largest ρ, the others 1.
    gains = np.concatenate([[0.0], np.cumsum(high - low)])
    i = int(np.argmax(gains))
    return float(first[i - 1]) if i else 0.0


def calibration(params: SecondBidParams) -> Calibration:
    """Return contract price, scales of observations and the best simple rules of an auction; cached."""
    names = [field.name for field in dataclasses.fields(SecondBidParams)]
    return _calibration(SecondBidParams(**{name: getattr(params, name) for name in names}))


def _calibration_tasks(params: SecondBidParams, wanted: int) -> Tasks:
    per_market = min(params.tasks, 200, wanted // 20)
    markets = wanted // per_market
    return draw_tasks(params, np.full(markets, CALIBRATION_SEED, np.uint64), np.arange(markets), tasks=per_market)


@lru_cache(maxsize=64)
def _calibration(params: SecondBidParams) -> Calibration:
    # What takes time are the draws of periods; ``pareto`` has none, and ten stand for the draw of a provider.
    draws = (params.stations + 1) * (params.periods if params.valuations == "physical" else 10)
    tasks = _calibration_tasks(params, min(max(FEWEST_TASKS, 1_200_000 // draws), 40_000))
    uav = tasks.uav
    if uav.size < ENOUGH_TASKS:
        # The mean of a single provider needs more tasks than what many of them share. Neither other stations nor
        # averages over more periods change it: latency and accuracy are independent of each other.
        uav = _calibration_tasks(dataclasses.replace(params, stations=2, periods=1), 4 * ENOUGH_TASKS).uav
    contract = float(uav.mean())
    # The lowest station's too: every station sees its own valuation on this scale.
    every = (tasks.uav, tasks.first, tasks.second, tasks.lowest)
    logs = np.log(np.concatenate([values.ravel() for values in every]))
    low, high = np.quantile(logs, [0.001, 0.999])
    means = [tasks.surplus(rho, params.uav_weight).mean() for rho in params.rhos()]
    independent = params.valuations == "physical"
    return Calibration(
        contract_price=contract,
        log_low=float(low),
        log_high=float(max(high, low + 1e-6)),
        log_ratio=float(max(np.quantile(np.log(tasks.first / tasks.second), 0.999), 1e-6)),
        constant=int(np.argmax(means)),
        ratio=max(1.0, params.uav_weight * contract / float(tasks.second.mean())),
        threshold=params.uav_weight * contract if independent else best_threshold(tasks, params),
    )


@dataclass(frozen=True)
class ParetoOptimum:
    """The optimum of a market with a common value and Pareto match values, in closed form."""

    rho: float
    """Optimal price scaling factor max(1, E[M₀]/E[M₍₂₎])."""
    surplus: float
    """Expected surplus at that factor [units]."""
    first_best: float
    """Expected surplus E[C]·E[max(M₀, M₍₁₎)] of somebody who knows every valuation [units]."""


def pareto_optimum(params: SecondBidParams) -> ParetoOptimum:
    """Return the optimal mechanism of the preset ``pareto``.

    With Pareto match values, the ratio M₍₁₎/M₍₂₎ is Pareto with the same shape and independent of M₍₂₎. An auctioneer
    who may use nothing but ratios of bids, without which there is adverse selection, gives the task to the best station
    iff ratio · E[M₍₂₎] > ζ M₀.

    Parameters
    ----------
    params : SecondBidParams
        An auction with ``valuations="pareto"``.

    Returns
    -------
    ParetoOptimum

    References
    ----------
    Arnosti, Beck and Milgrom, "Adverse selection and auction design for internet display advertising", American
    Economic Review 106, 2016: such an auction has at least 0.948 of the first best.
    """
    require(params.valuations == "pareto", "valuations", params.valuations, "pareto")
    n, shape = params.stations, params.pareto_shape
    brand = params.uav_weight * params.pareto_uav
    log_second = gammaln(n + 1.0) + gammaln(2.0 - 1.0 / shape) - gammaln(n + 1.0 - 1.0 / shape)
    second = math.exp(float(log_second))
    rho = max(1.0, brand / second)
    low, high = params.common_value
    common = (high - low) / math.log(high / low) if high > low else low
    # P(ratio > ρ) = ρ^-α and E[ratio · 1(ratio > ρ)] = α/(α - 1) · ρ^(1 - α).
    share = rho**-shape
    matched = shape / (shape - 1.0) * rho ** (1.0 - shape) * second
    return ParetoOptimum(
        rho=rho,
        surplus=common * (matched + (1.0 - share) * brand),
        first_best=common * _expected_larger(brand, n, shape),
    )


def _expected_larger(brand: float, stations: int, shape: float) -> float:
    """E[max(brand, M₍₁₎)], M₍₁₎ the largest of Pareto match values with scale 1.

    The part above ``brand`` is N ∫ u^(-1/α) (1 - u)^(N - 1) du from 0 to P(M > brand), an incomplete beta function.
    """
    a = 1.0 - 1.0 / shape
    edge = min(1.0, brand**-shape)
    above = stations * float(beta(a, stations) * betainc(a, stations, edge))
    return float(above + brand * (1.0 - edge) ** stations)
