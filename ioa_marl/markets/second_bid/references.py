"""References of the modified second-bid auction: full information, the best simple rules and the Pareto optimum.

The simple rules, the contract price and the scales of observations are calibrated on tasks that neither training nor
evaluation uses.
"""

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
from ioa_marl.markets.second_bid.own_data import is_of_providers, own_providers, own_values, write_values
from ioa_marl.markets.second_bid.params import SecondBidParams
from ioa_marl.markets.second_bid.providers import Providers, plain_params
from ioa_marl.markets.second_bid.state import OWN

FEWEST_TASKS = 500
"""Smallest number of tasks for the calibration of an auction; the presets have at least 12,000."""
ENOUGH_TASKS = 10_000
"""Number of tasks that are enough for the UAV's mean valuation, which is then accurate to 1% in ``paper``."""


@dataclass(frozen=True)
class Tasks:
    """Valuations of tasks, on which the outcome under truthful bids depends."""

    uav: NDArray[np.float64]
    """Valuation v₀ of the UAV, shape (markets, tasks) [units]."""
    first: NDArray[np.float64]
    """Highest valuation of a station, shape (markets, tasks) [units]."""
    second: NDArray[np.float64]
    """Second highest valuation of a station, shape (markets, tasks) [units]."""
    lowest: NDArray[np.float64]
    """Lowest valuation of a station, shape (markets, tasks) [units]."""
    common: NDArray[np.float64]
    """Common value of the UAV, which in ``pareto`` is that of all providers, shape (markets, tasks) [units]."""

    @classmethod
    def of_bids(cls, bids: ArrayLike, uav: ArrayLike) -> Tasks:
        """Return the tasks of one market from bids of one's own, which are taken for valuations.

        Parameters
        ----------
        bids : array_like, shape (tasks, stations)
            Bids of two stations or more for each task [units].
        uav : array_like, shape (tasks,)
            Valuation v₀ of each task by the UAV [units], which is also taken for its common value.
        """
        ordered, of_uav = np.sort(np.asarray(bids, np.float64), axis=1).T, np.asarray(uav, np.float64)[None]
        return cls(of_uav, ordered[None, -1], ordered[None, -2], ordered[None, 0], of_uav)

    def rival(self, rivals: str = "stations") -> NDArray[np.float64]:
        """Return the bid b₍₂₎ that the best station has to exceed ρ times, shape (markets, tasks) [units].

        ``rivals`` is that of `SecondBidParams`.
        """
        return np.maximum(self.second, self.uav) if rivals == "providers" else self.second

    def surplus(self, rho: ArrayLike, uav_weight: float = 1.0, rivals: str = "stations") -> NDArray[np.float64]:
        """Return the allocative surplus of every task under truthful bids, by the rule of Eq. 14.

        Parameters
        ----------
        rho : array_like, broadcastable to (markets, tasks)
            Price scaling factors ρ.
        uav_weight : float, default 1
            Bargaining power ζ.
        rivals : str, default "stations"
            Bids that the best station has to exceed: those of the other ``stations`` or of all other ``providers``.

        Returns
        -------
        ndarray of float64, shape (markets, tasks)
            Surplus [units].
        """
        station_wins = self.first > np.asarray(rho) * self.rival(rivals)
        return np.asarray(np.where(station_wins, self.first, uav_weight * self.uav))


def draw_tasks(
    params: SecondBidParams,
    seeds: ArrayLike,
    streams: ArrayLike,
    episode: int = 0,
    tasks: int | None = None,
    instances: ArrayLike | None = None,
    providers: Providers | None = None,
) -> Tasks:
    """Draw the tasks of an episode of several markets.

    Parameters
    ----------
    params : SecondBidParams
        Parameters of the auction.
    seeds, streams : array_like of int, shape (markets,)
        Seed and stream of each market.
    episode : int, default 0
        Index of the episode.
    tasks : int, optional
        Number of tasks, the first ones of the episode. Default: all.
    instances : array_like of int, shape (markets,), optional
        Instance of each market, with ``redraw="instance"``. Default: the seeds.
    providers : Providers, optional
        What the providers of all markets have on the whole, from `draw_providers` or `market_from`. Default: it is
        drawn as ``redraw`` says.

    Returns
    -------
    Tasks
    """
    seeds = as_seeds("seeds", seeds)
    count = params.tasks if tasks is None else min(tasks, params.tasks)
    state = params.allocate(len(seeds), 1)
    state.seed[:], state.stream[:], state.episode[:] = seeds, as_seeds("streams", streams), episode
    state.instance[:] = seeds if instances is None else as_seeds("instances", instances)
    out = np.empty((5, len(seeds), count))
    record = params.record()
    providers = own_providers(params) if providers is None else providers
    if providers is not None:
        expected = params.stations + 1
        require(len(providers) == expected, "providers", len(providers), f"{expected}, the UAV and the stations")
        providers.write(state.nominal)
        record["redraw"] = OWN
    mask = np.ones(len(seeds), np.bool_)
    for task in range(count):
        state.task[:] = task
        drivers.draw_tasks(state, record, mask)
        write_values(params, state, mask)
        ascending = np.sort(state.value[:, 1:], axis=1)
        out[:, :, task] = state.value[:, 0], ascending[:, -1], ascending[:, -2], ascending[:, 0], state.common[:, 0]
    return Tasks(*out)


def full_information(tasks: Tasks, params: SecondBidParams) -> NDArray[np.float64]:
    """Return the surplus of every task at the best ρ of the grid, given all valuations.

    Parameters
    ----------
    tasks : Tasks
        Valuations of the tasks.
    params : SecondBidParams
        Parameters of the auction.

    Returns
    -------
    ndarray of float64, shape (markets, tasks)
        Surplus [units].
    """
    best = tasks.surplus(1.0, params.uav_weight, params.rivals)
    for rho in params.rhos()[1:]:
        best = np.maximum(best, tasks.surplus(rho, params.uav_weight, params.rivals))
    return best


@dataclass(frozen=True)
class Calibration:
    """Constants of an auction that are estimated on calibration tasks."""

    contract_price: float
    """Contract price of the UAV b₀ = E[v₀] [units], which maximises Eq. 13 if v₀ is independent of the stations."""
    log_low: float
    """0.1% quantile of the logarithms of v₀ and of the stations' highest, second highest and lowest valuations, taken
    together [log of units]."""
    log_high: float
    """99.9% quantile of the same logarithms [log of units]."""
    log_ratio: float
    """99.9% quantile of log(b₍₁₎/b₍₂₎)."""
    constant: int
    """Index of the constant ρ with the largest mean surplus."""
    ratio: float
    """Factor max(1, ζ E[v₀]/E[b₍₂₎]), which is the optimal ρ of a market with Pareto match values."""
    threshold: float
    """Threshold of b₍₁₎ with the largest mean surplus, if ρ = 1 above it and the largest ρ below [units]. It is ζ E[v₀]
    if the UAV's valuation is independent of the stations' and none of their rivals, and estimated otherwise."""


def best_threshold(tasks: Tasks, params: SecondBidParams) -> float:
    """Return the best threshold t of the rule "ρ = 1 if b₍₁₎ > t, else the largest ρ".

    Parameters
    ----------
    tasks : Tasks
        Valuations of the tasks.
    params : SecondBidParams
        Parameters of the auction.

    Returns
    -------
    float
        Threshold with the largest mean surplus over these tasks [units]. It is exact.
    """
    order = np.argsort(tasks.first, axis=None)
    first = tasks.first.ravel()[order]
    low, high = (
        tasks.surplus(rho, params.uav_weight, params.rivals).ravel()[order] for rho in (1.0, params.rhos()[-1])
    )
    # Entry i is the gain over ρ = 1 if the i tasks with the lowest bids get the largest ρ.
    gains = np.concatenate([[0.0], np.cumsum(high - low)])
    i = int(np.argmax(gains))
    return float(first[i - 1]) if i else 0.0


@dataclass(frozen=True)
class RuleConstants:
    """Constants of simple rules for given tasks."""

    contract_price: float
    """Contract price of the UAV b₀ = E[v₀] [units]."""
    rho: float
    """Constant ρ of the grid with the largest mean surplus."""
    ratio: float
    """Factor max(1, ζ E[v₀]/E[b₍₂₎]); the largest ρ of the grid if nobody bids second."""
    threshold: float
    """The best threshold; see `best_threshold` [units]."""


def rule_constants(tasks: Tasks, params: SecondBidParams) -> RuleConstants:
    """Return the constants that are best for these very tasks, so that on others they are a little worse."""
    rhos = params.rhos()
    means = [tasks.surplus(rho, params.uav_weight, params.rivals).mean() for rho in rhos]
    contract, rival = float(tasks.uav.mean()), float(tasks.rival(params.rivals).mean())
    ratio = max(1.0, params.uav_weight * contract / rival) if rival > 0.0 else float(rhos[-1])
    return RuleConstants(contract, float(rhos[int(np.argmax(means))]), ratio, best_threshold(tasks, params))


def calibration(params: SecondBidParams, providers: Providers | None = None) -> Calibration:
    """Return contract price, scales of observations and the best simple rules of an auction.

    With ``providers`` they are those of a market of these very providers, such as `draw_providers` of an instance; by
    default with ``redraw="instance"`` those of many instances together. The result is cached, and depends only on the
    fields of `SecondBidParams` and on the providers.
    """
    return _calibration(plain_params(params), own_providers(params) if providers is None else providers)


def _has_own_values(params: SecondBidParams) -> bool:
    return params.data is not None and not is_of_providers(params.data)


def _tasks_of_table(text: str) -> Tasks:
    """Return all tasks of a table of valuations as one market."""
    values = own_values(text)
    ascending = np.sort(values[:, 1:], axis=1)
    uav, first, second, lowest = values[:, 0], ascending[:, -1], ascending[:, -2], ascending[:, 0]
    return Tasks(uav[None], first[None], second[None], lowest[None], np.full((1, len(values)), np.nan))


def _calibration_tasks(params: SecondBidParams, total: int, providers: Providers | None = None) -> Tasks:
    """Return about ``total`` calibration tasks, from at least 20 markets, or all tasks of one's own."""
    if _has_own_values(params):
        assert params.data is not None
        return _tasks_of_table(params.data)
    per_market = min(params.tasks, 200, total // 20)
    markets = total // per_market
    streams = np.arange(markets)
    seeds = np.full(markets, CALIBRATION_SEED, np.uint64)
    return draw_tasks(
        params, seeds, streams, tasks=per_market, instances=seeds + streams.astype(np.uint64), providers=providers
    )


def contract_price(params: SecondBidParams, providers: Providers) -> float:
    """Return the contract price b₀ = E[v₀] of a market of these providers [units].

    The mean is over as many single periods of the UAV as make it accurate to 1%: it does not depend on the number of
    periods, since latency and accuracy are independent of each other. The result is cached.
    """
    return _contract_price(plain_params(params), providers)


@lru_cache(maxsize=4096)
def _contract_price(params: SecondBidParams, providers: Providers) -> float:
    """Return the contract price; see `contract_price`."""
    alone = dataclasses.replace(params, data=None, stations=2, periods=1, window="fresh")
    return float(_calibration_tasks(alone, ENOUGH_TASKS, providers.first(3)).uav.mean())


def highest_bid_ratio(params: SecondBidParams, providers: Providers | None = None) -> float:
    """Return max(1, E[b₍₁₎]/E[b₍₂₎]) under truthful bids, over calibration tasks.

    It is the factor of the modified second bid if u₀ is read as the highest bid of a station. Where the UAV is among
    the second bids (``rivals="providers"``), it can be 1. ``providers`` is that of `calibration`. The result is cached.
    """
    return _highest_bid_ratio(plain_params(params), own_providers(params) if providers is None else providers)


@lru_cache(maxsize=64)
def _highest_bid_ratio(params: SecondBidParams, providers: Providers | None) -> float:
    """Return the ratio of the mean bids; see `highest_bid_ratio`."""
    tasks = _calibration_tasks(params, _task_count(params), providers)
    return max(1.0, float(tasks.first.mean()) / float(tasks.rival(params.rivals).mean()))


def _task_count(params: SecondBidParams) -> int:
    """Return how many tasks a calibration uses.

    Most of the time goes into the draws of periods. ``pareto`` has none, and a draw of a provider counts as ten. Of
    sliding windows, only one period of each task is new, and the tasks are chosen as if all were.
    """
    draws = (params.stations + 1) * (params.periods if params.valuations == "physical" else 10)
    return min(max(FEWEST_TASKS, 1_200_000 // draws), 40_000)


@lru_cache(maxsize=256)
def _calibration(params: SecondBidParams, providers: Providers | None) -> Calibration:
    """Return the calibration of an auction; see `calibration`."""
    tasks = _calibration_tasks(params, _task_count(params), providers)
    uav = tasks.uav
    own = _has_own_values(params)
    if providers is None and not own and uav.size < ENOUGH_TASKS:
        # The mean of one provider needs more tasks than the other estimates, which are over many providers. Fewer
        # stations and periods do not change this mean, since latency and accuracy are independent of each other.
        uav = _calibration_tasks(dataclasses.replace(params, stations=2, periods=1), 4 * ENOUGH_TASKS).uav
    contract = float(uav.mean()) if providers is None else _contract_price(params, providers)
    # The lowest valuation is among them, because every station observes its own valuation on this scale.
    valuations = (tasks.uav, tasks.first, tasks.second, tasks.lowest)
    logs = np.log(np.concatenate([values.ravel() for values in valuations]))
    low, high = np.quantile(logs, [0.001, 0.999])
    means = [tasks.surplus(rho, params.uav_weight, params.rivals).mean() for rho in params.rhos()]
    # Then the bids are not informative about v₀, and neither is the outcome at any ρ.
    independent = params.valuations == "physical" and params.rivals == "stations" and not own
    return Calibration(
        contract_price=contract,
        log_low=float(low),
        log_high=float(max(high, low + 1e-6)),
        log_ratio=float(max(np.quantile(np.log(tasks.first / tasks.second), 0.999), 1e-6)),
        constant=int(np.argmax(means)),
        ratio=max(1.0, params.uav_weight * contract / float(tasks.rival(params.rivals).mean())),
        threshold=params.uav_weight * contract if independent else best_threshold(tasks, params),
    )


@dataclass(frozen=True)
class ParetoOptimum:
    """Optimum of a market with a common value and Pareto match values, in closed form."""

    rho: float
    """Optimal price scaling factor max(1, ζ M₀/E[M₍₂₎])."""
    surplus: float
    """Expected surplus at that factor [units]."""
    first_best: float
    """Expected surplus with full information, E[C]·E[max(ζ M₀, M₍₁₎)] [units]."""


def pareto_optimum(params: SecondBidParams) -> ParetoOptimum:
    """Return the optimal mechanism of the preset ``pareto``.

    With Pareto match values, the ratio M₍₁₎/M₍₂₎ is Pareto with the same shape, and independent of M₍₂₎. An auction is
    free of adverse selection only if it depends on nothing but ratios of bids. The optimal one of these gives the task
    to the best station iff M₍₁₎/M₍₂₎ · E[M₍₂₎] > ζ M₀.

    Parameters
    ----------
    params : SecondBidParams
        Parameters of an auction with ``valuations="pareto"``.

    Returns
    -------
    ParetoOptimum

    References
    ----------
    Arnosti, Beck and Milgrom, "Adverse selection and auction design for internet display advertising", American
    Economic Review 106, 2016, which shows that such an auction reaches at least 0.948 of the first best.
    """
    require(params.valuations == "pareto", "valuations", params.valuations, "pareto")
    require(params.rivals == "stations", "rivals", params.rivals, "stations, with which the optimum is a constant")
    n, shape = params.stations, params.pareto_shape
    uav_match = params.uav_weight * params.pareto_uav
    log_second_match = gammaln(n + 1.0) + gammaln(2.0 - 1.0 / shape) - gammaln(n + 1.0 - 1.0 / shape)
    second_match = math.exp(float(log_second_match))
    rho = max(1.0, uav_match / second_match)
    low, high = params.common_value
    mean_common = (high - low) / math.log(high / low) if high > low else low
    # For the ratio x = M₍₁₎/M₍₂₎, P(x > ρ) = ρ^-α and E[x · 1(x > ρ)] = α/(α − 1) · ρ^(1 − α).
    station_share = rho**-shape
    station_match = shape / (shape - 1.0) * rho ** (1.0 - shape) * second_match
    return ParetoOptimum(
        rho=rho,
        surplus=mean_common * (station_match + (1.0 - station_share) * uav_match),
        first_best=mean_common * _expected_larger(uav_match, n, shape),
    )


def _expected_larger(uav_match: float, stations: int, shape: float) -> float:
    """Return E[max(ζ M₀, M₍₁₎)], where M₍₁₎ is the largest of the stations' Pareto match values with scale 1.

    The part above ``uav_match``, ζ M₀, is N ∫ u^(−1/α) (1 − u)^(N − 1) du from 0 to P(M > ζ M₀), an incomplete beta
    function.
    """
    exponent = 1.0 - 1.0 / shape
    probability = min(1.0, uav_match**-shape)
    above = stations * float(beta(exponent, stations) * betainc(exponent, stations, probability))
    return float(above + uav_match * (1.0 - probability) ** stations)
