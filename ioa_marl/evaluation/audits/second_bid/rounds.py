"""Regret in a single auction of an episode: what a station gains by another bid for one task, the past being given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.agents.base import Agent
from ioa_marl.evaluation.audits.acting import choose
from ioa_marl.evaluation.audits.second_bid.counterfactuals import Floats, ReplayedGame, Replays, ranks

HIGHEST = 3.0
"""Largest report of the grid, over the highest valuation of a station."""
CLOSE = 1e-6
"""How closely a station over- or undercuts another bid, relative to it."""
REFINED = 8
"""Reports that are tried between the neighbours of the best report of the grid."""
LARGEST_BATCH = 2**15
"""Largest number of auctions that are held together."""


@dataclass(frozen=True)
class RoundRegret:
    """The largest gain of each station in single auctions among the bids that were tried: ex-post regrets."""

    gains: Floats
    """Gain over the bid that was made, at least 0 [units], shape (moments, markets, members)."""
    bids: Floats
    """A bid with this gain, or the one that was made [units], same shape."""


def round_regret(
    replays: Replays,
    members: Sequence[int],
    reports: int,
    refine: bool,
    progress: Callable[[float], None],
) -> RoundRegret:
    """Return what stations gain by another bid for one task, with the ρ that the policy then chooses.

    Parameters
    ----------
    replays : Replays
        The play without deviations, whose saved moments are audited.
    members : sequence of int
        Stations that deviate, one at a time.
    reports : int
        Bids of the grid, evenly spaced up to three times the highest valuation.
    refine : bool
        Whether bids just above and below those of the others are tried as well, and then bids around the best one.
    progress : callable
        Called with the share that is done.

    Returns
    -------
    RoundRegret
    """
    tables = _Auctions(replays)
    shape = (len(replays.saved), replays.markets, len(members))
    gains, best = np.zeros(shape), np.zeros(shape)
    for m, saved in enumerate(replays.saved):
        for k, station in enumerate(members):
            candidates = _candidates(replays, saved, station, reports, refine)
            utilities = tables.utilities(saved, station, candidates)
            if refine:
                closer = _around(candidates, utilities)
                candidates = np.concatenate([candidates, closer])
                utilities = np.concatenate([utilities, tables.utilities(saved, station, closer)])
            most = utilities.argmax(axis=0)
            better = np.take_along_axis(utilities, most[None], axis=0)[0] - utilities[0]
            gains[m, :, k] = better
            best[m, :, k] = np.take_along_axis(candidates, np.where(better > 0.0, most, 0)[None], axis=0)[0]
            progress((m * len(members) + k + 1) / (len(replays.saved) * len(members)))
    return RoundRegret(gains, best)


def _candidates(replays: Replays, saved: dict[str, NDArray[Any]], station: int, reports: int, refine: bool) -> Floats:
    """Return bids that a station tries, the one that it makes first, shape (bids, markets)."""
    values, made = saved["value"], saved["bid"]
    others = np.delete(made, station, axis=1)
    # A bid of 0 has no logarithm, which the auctioneer observes.
    fractions = np.linspace(0.0, HIGHEST, reports + 1)[1:]
    parts = [made[None, :, station], fractions[:, None] * values[:, 1:].max(axis=1)]
    if refine:
        rivals = [others, values[:, :1]] if replays.config.rivals == "providers" else [others]
        parts += [(rival * (1.0 + sign * CLOSE)).T for rival in rivals for sign in (-1.0, 1.0)]
    return np.concatenate(parts)


def _around(candidates: Floats, utilities: Floats) -> Floats:
    """Return bids between the neighbours of the best one of each market, shape (`REFINED`, markets)."""
    best = np.take_along_axis(candidates, utilities.argmax(axis=0)[None], axis=0)[0]
    below = np.where(candidates < best, candidates, 0.0).max(axis=0)
    above = np.where(candidates > best, candidates, np.inf).min(axis=0)
    above = np.where(np.isfinite(above), above, 2.0 * best)
    fractions = (np.arange(REFINED) + 0.5) / REFINED
    return np.asarray(below + fractions[:, None] * (above - below))


class _Auctions:
    """Single auctions of a market, restored from a saved moment with other bids of a station."""

    def __init__(self, replays: Replays) -> None:
        self._replays = replays
        self._games: dict[int, ReplayedGame] = {}
        self._agents: dict[int, Sequence[Agent]] = {}

    def utilities(self, saved: dict[str, NDArray[Any]], station: int, bids: Floats) -> Floats:
        """Return value − payment of a station for each of its bids, shape (bids, markets) as ``bids``."""
        size = max(1, LARGEST_BATCH // self._replays.markets) if self._replays.together else 1
        parts = [self._group(saved, station, bids[first : first + size]) for first in range(0, len(bids), size)]
        return np.concatenate(parts)

    def _group(self, saved: dict[str, NDArray[Any]], station: int, bids: Floats) -> Floats:
        game, agents = self._game(len(bids))
        arrays = {name: np.concatenate([array] * len(bids)) for name, array in saved.items()}
        arrays["bid"][:, station] = bids.reshape(-1)
        arrays["rank"] = ranks(arrays["bid"])
        observations, _ = game.restore(arrays)
        for agent in agents:
            agent.attach(game)
        game.step(choose(agents, observations, self._replays.markets))
        return game.market.utility[:, station].reshape(bids.shape).copy()

    def _game(self, count: int) -> tuple[ReplayedGame, Sequence[Agent]]:
        replays = self._replays
        if count not in self._games:
            self._games[count] = ReplayedGame(
                replays.config, replays.subject.controlled_roles, count * replays.markets, draws=replays.draws
            )
        if count not in self._agents or not replays.together:  # random streams begin anew
            self._agents[count] = replays.subject.make_agents()
        return self._games[count], self._agents[count]
