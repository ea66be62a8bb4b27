"""The exact optima of the slicing market's game, of true and of reported types, each of which is solved once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ioa_marl.markets.vcg_slicing.draws import draw_count, draw_types
from ioa_marl.markets.vcg_slicing.kernels import report_types
from ioa_marl.markets.vcg_slicing.params import allocate_market, write_types
from ioa_marl.markets.vcg_slicing.records import SOLVED
from ioa_marl.markets.vcg_slicing.solver import (
    TOLERANCE,
    Optima,
    allocate_optima,
    largest_gap,
    require_certified,
    resolve_market,
    solve_market,
)
from ioa_marl.markets.vcg_slicing.workspace import Workspace, workspace

if TYPE_CHECKING:
    from ioa_marl.envs.vcg_slicing.config import VCGSlicingConfig
    from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame

Floats = NDArray[np.float64]


class GameOptima:
    """Certified optima of the markets of a game; markets with the same types are solved once.

    Parameters
    ----------
    game : VCGSlicingGame
        The game.
    """

    def __init__(self, game: VCGSlicingGame) -> None:
        self._game = game
        n = game.config.providers
        self._workspace, self._solution = workspace(n), allocate_optima(1, n)
        self._reports = game.providers_choose and not game.config.banked
        """Whether the providers' reports are actions, of agents or of policies."""
        self._reported = np.zeros((game.num_envs if self._reports else 0, n))

    def take_reports(self, mask: NDArray[np.bool_], actions: NDArray[np.int64], multipliers: Floats) -> None:
        """Set the reports of the providers in the markets ``mask``, and solve these markets without each provider.

        Parameters
        ----------
        mask : ndarray of bool, shape (batch,)
            Markets.
        actions : ndarray of int64, shape (batch, n)
            Indices of multipliers.
        multipliers : ndarray of float64, shape (multipliers,)
            Factors on β.
        """
        market = self._game.market
        gap = report_types(market, mask, actions, multipliers, self._reported, self._workspace, self._solution)
        require_certified(gap)

    def report_keys(self) -> NDArray[np.uint64]:
        """Return a key of each market that changes whenever the reported types may have changed, (batch, words)."""
        game, market = self._game, self._game.market
        words = [market.instance, market.present.astype(np.uint64)]
        if game.config.redraw == "episode":
            words = [market.seed, market.stream, market.episode]
        if self._reports:
            opening = np.full(game.num_envs, game.openings)
            moment = (market.rounds, market.phase, opening)  # reports change in the middle of a round
            words = [*words, market.episode, *(word.astype(np.uint64) for word in moment)]
        return np.stack(words, axis=1)

    def _groups(self, mask: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
        """Return groups of markets of ``mask`` with the same reported types, as arrays of indices."""
        rows = np.flatnonzero(mask)
        keys = self.report_keys()[rows]
        if self._reports:  # every market has its own reports
            return [rows[i : i + 1] for i in range(len(rows))]
        _, group = np.unique(keys, axis=0, return_inverse=True)
        return [rows[group.reshape(-1) == g] for g in range(group.max(initial=-1) + 1)]

    def write_reported(self, mask: NDArray[np.bool_], shares: Floats) -> None:
        """Write the optimal shares of the reported types of the markets ``mask`` into ``shares``, (batch, n, 3)."""
        market, solution = self._game.market, self._solution
        reported = market.worth * market.multiplier
        for group in self._groups(mask):
            _solve(reported, market.rate, int(group[0]), False, self._workspace, solution)
            shares[group] = solution.share[0]

    def solve(self, mask: NDArray[np.bool_]) -> None:
        """Solve the markets ``mask``, bool (batch,), for SW*, and if providers are truthful also for SW*₋ᵢ."""
        market, solution = self._game.market, self._solution
        payments = not self._reports
        for group in self._groups(mask & (market.known != SOLVED)):
            _solve(market.worth, market.rate, int(group[0]), payments, self._workspace, solution)
            market.optimum[group], market.ideal[group] = solution.welfare[0], solution.utility[0]
            if payments:
                market.others[group] = solution.others[0]
            market.known[group] = SOLVED

    def resolve(self, worth: Floats, rate: Floats, b: int, out: Optima) -> None:
        """Write the certified optima of one market, with and without each provider, into ``out``.

        Parameters
        ----------
        worth : ndarray of float64, shape (batch, n)
            β [utility].
        rate : ndarray of float64, shape (batch, n, 3)
            ξ [per whole resource].
        b : int
            Market.
        out : Optima
            Optima of one market, whose prices are the initial ones.
        """
        resolve_market(worth, rate, b, 0, True, TOLERANCE, self._workspace, out)
        require_certified(largest_gap(True, out))


def optimal_welfare(
    config: VCGSlicingConfig,
    seeds: NDArray[np.uint64],
    streams: NDArray[np.uint64],
    instances: NDArray[np.uint64],
) -> Floats:
    """Return SW* of the first episode of each market [utility].

    Parameters
    ----------
    config : VCGSlicingConfig
        Settings of the markets.
    seeds, streams, instances : ndarray of uint64, shape (batch,)
        Keys of the markets.

    Returns
    -------
    ndarray of float64, shape (batch,)
    """
    params = config.record()
    state, solution = allocate_market(1, config), allocate_optima(1, config.providers)
    scratch = workspace(config.providers)
    solved: dict[tuple[int, ...], float] = {}
    bounds = np.zeros(len(seeds))
    for b, (seed, stream) in enumerate(zip(seeds, streams, strict=True)):
        instance = instances[b] if config.instance is None else config.instance
        differs = config.redraw == "episode" or config.fewest_providers is not None
        key = (int(instance), int(seed), int(stream)) if differs else (int(instance),)
        if key not in solved:
            state.seed[0], state.stream[0], state.instance[0] = seed, stream, instance
            state.present[0] = draw_count(0, state, params)
            if config.data is None:
                draw_types(0, state, params)
            write_types(config, state, np.ones(1, np.bool_))
            _solve(state.worth, state.rate, 0, False, scratch, solution)
            solved[key] = float(solution.welfare[0])
        bounds[b] = solved[key]
    return bounds


def _solve(worth: Floats, rate: Floats, b: int, payments: bool, scratch: Workspace, solution: Optima) -> None:
    """Write the certified optimum of market ``b`` into ``solution``; see `solve_market`."""
    solve_market(worth, rate, b, 0, payments, TOLERANCE, scratch, solution)
    require_certified(largest_gap(payments, solution))
