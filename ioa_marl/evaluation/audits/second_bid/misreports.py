"""Gains of a single station from misreporting, in one auction and over whole episodes.

All other stations report truthfully. Regrets are measured by playing the same market again with other reports from a
grid, and are therefore lower bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.envs.core import Arrays
from ioa_marl.envs.second_bid.game import SecondBidConfig, SecondBidGame
from ioa_marl.foundations.parameters import require
from ioa_marl.foundations.seeds import CALIBRATION_SEED
from ioa_marl.markets.second_bid.auction import allocate
from ioa_marl.markets.second_bid.drivers import MULTIPLIERS, TRUTH

Rule = Callable[[NDArray[np.float64]], float]
"""Maps the stations' bids, shape (stations,), to ρ; a rule that depends only on the past ignores them."""
Auctioneer = Callable[[Arrays], NDArray[np.int64]]
"""Maps observations, as of `Step.observations`, to indices of ρ, shape (batch, 1)."""
GRID_POINTS = 201
"""Number of reports in the default grid."""


def fixed(rho: float) -> Rule:
    """Return the rule that always sets the same ρ."""
    return lambda bids: rho


def surplus_maximising(uav_value: float) -> Rule:
    """Return the rule of an auctioneer who observes all bids and maximises the surplus as if bids were values.

    ρ = 1 where the highest bid exceeds the UAV's value, otherwise the smallest ρ at which no station wins.
    """

    def rule(bids: NDArray[np.float64]) -> float:
        second, first = np.sort(bids)[-2:]
        # The next larger float: a rounded quotient may be just too small. With a second bid of 0 a station wins.
        return 1.0 if first > uav_value or second == 0.0 else float(np.nextafter(first / second, np.inf))

    return rule


@dataclass(frozen=True)
class StationRegret:
    """The largest gain of each station in one auction among the reports that were tried."""

    gains: NDArray[np.float64]
    """Largest gain of each station over its truthful bid [units], at least 0, shape (stations,)."""
    reports: NDArray[np.float64]
    """A bid of each station with this gain, or its value if no bid gains [units], shape (stations,)."""

    @property
    def max(self) -> float:
        """Largest gain of any station [units]."""
        return float(self.gains.max(initial=0.0))


def station_regret(
    values: ArrayLike, rule: Rule, reports: ArrayLike | None = None, epsilon: float = 1e-6
) -> StationRegret:
    """Return the largest gain of every station from misreporting alone in one auction.

    Parameters
    ----------
    values : array_like, shape (stations,)
        True values of the task [units].
    rule : callable
        Rule by which the auctioneer sets ρ from the bids.
    reports : array_like, shape (reports,), optional
        Bids that every station tries; default: 201, evenly spaced from 0 to three times the highest value. All values,
        and each of them minus and plus ``epsilon``, are tried as well [units].
    epsilon : float, default 1e-6
        How closely a station over- or undercuts another [units].

    Returns
    -------
    StationRegret
    """
    values = np.asarray(values, np.float64)
    require(values.ndim == 1 and len(values) >= 2, "values", values.tolist(), "those of two stations or more")
    grid = np.linspace(0.0, 3.0 * values.max(), GRID_POINTS) if reports is None else np.asarray(reports, np.float64)
    candidates = np.unique(np.maximum(np.concatenate([grid, values - epsilon, values, values + epsilon]), 0.0))
    gains, best = np.zeros(len(values)), values.copy()
    for station in range(len(values)):
        bids = values.copy()
        truth = _utility(values, bids, rule, station)
        for report in candidates:
            bids[station] = report
            gain = _utility(values, bids, rule, station) - truth
            if gain > gains[station]:
                gains[station], best[station] = gain, report
    return StationRegret(gains, best)


def _utility(values: NDArray[np.float64], bids: NDArray[np.float64], rule: Rule, station: int) -> float:
    return float(allocate(bids, rule(bids)).utilities(values)[station])


@dataclass(frozen=True)
class EpisodeRegret:
    """Utility of one station over whole episodes when it multiplies all its bids by a constant."""

    multipliers: NDArray[np.float64]
    """Factors that were tried, shape (multipliers,)."""
    utilities: NDArray[np.float64]
    """Sum of value − payment over an episode, for each factor and market [units], shape (multipliers, markets)."""

    @property
    def _means(self) -> NDArray[np.float64]:
        means: NDArray[np.float64] = self.utilities.mean(axis=1)
        return means

    @property
    def _truth(self) -> int:
        return int(np.flatnonzero(self.multipliers == 1.0)[0])

    @property
    def best(self) -> float:
        """Factor with the largest mean utility."""
        return float(self.multipliers[int(np.argmax(self._means))])

    @property
    def regret(self) -> float:
        """Mean gain of the best factor over the truth [units per episode], at least 0."""
        return float(self._means.max() - self._means[self._truth])

    @property
    def standard_error(self) -> float:
        """Standard error of `regret` over the markets [units per episode]."""
        gains = self.utilities[int(np.argmax(self._means))] - self.utilities[self._truth]
        return float(gains.std(ddof=1) / np.sqrt(len(gains)))


def scripted_auctioneer(policy: str, **settings: Any) -> Callable[[SecondBidGame], Auctioneer]:
    """Return a factory of the market's scripted policy ``policy`` for `episode_regret`."""

    def make(game: SecondBidGame) -> Auctioneer:
        bound = game.scripted(policy, "auctioneer", **settings)
        return lambda observations: bound()

    return make


def episode_regret(
    config: SecondBidConfig,
    make_auctioneer: Callable[[SecondBidGame], Auctioneer],
    station: int = 0,
    markets: int = 200,
    seed: int = CALIBRATION_SEED + 1,
    multipliers: Sequence[float] = MULTIPLIERS,
) -> EpisodeRegret:
    """Play the same episodes once for each factor of a grid by which one station multiplies its bids.

    The auctioneer may react to past bids, and with ``information="current_bids"`` also to the current ones.

    Parameters
    ----------
    config : SecondBidConfig
        Settings of the market.
    make_auctioneer : callable
        Takes the game and returns the auctioneer, for instance `scripted_auctioneer` of a policy or a trained agent.
    station : int, default 0
        The station that misreports; all others report truthfully.
    markets : int, default 200
        Number of markets; they are the same for every factor.
    seed : int
        Seed of the markets; by default one that neither training nor evaluation uses.
    multipliers : sequence of float, default 0.5, 0.6, … 2.0
        Factors to try, a subset of those that a station may choose; they must include the truth, 1.

    Returns
    -------
    EpisodeRegret
    """
    require(0 <= station < config.stations, "station", station, f"an index below {config.stations}")
    require(markets >= 2, "markets", markets, "2 or more")
    usable = 1.0 in multipliers and set(multipliers) <= set(MULTIPLIERS)
    require(usable, "multipliers", list(multipliers), "some of 0.5, 0.6, … 2.0, with 1.0 among them")
    game = SecondBidGame(config, markets, ("auctioneer", "station"), autoreset=False)
    act = make_auctioneer(game)
    utilities = np.zeros((len(multipliers), markets))
    for row, multiplier in enumerate(multipliers):
        bids = np.full((markets, config.stations), TRUTH, np.int64)
        bids[:, station] = MULTIPLIERS.index(multiplier)
        observations, _ = game.reset(np.full(markets, seed, np.uint64))
        ended = False
        while not ended:
            step = game.step({"station": bids, "auctioneer": act(observations)})
            utilities[row] += step.rewards["station"][:, station]
            observations = step.observations
            ended = bool((step.terminated | step.truncated).all())
    return EpisodeRegret(np.array(multipliers), utilities)
