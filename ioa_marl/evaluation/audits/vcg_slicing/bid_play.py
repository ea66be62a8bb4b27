"""Play of the dual-currency auction with prescribed bids, recorded round by round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.agents.base import Agent
from ioa_marl.agents.baselines.scripted import ScriptedAgent, ScriptedConfig
from ioa_marl.envs.core import Arrays, Game
from ioa_marl.envs.vcg_slicing.config import VCGSlicingConfig
from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame
from ioa_marl.evaluation.playing import evaluation_config, make_agent
from ioa_marl.foundations.parameters import require
from ioa_marl.foundations.seeds import EVALUATION_SEED

Floats = NDArray[np.float64]

ROLES = ("slice", "vsp")
LARGEST_BATCH = 2048
"""Largest number of markets that are played together; more profiles are played in groups."""


class SideBySide(Agent):
    """An agent of one seed that plays all profiles of bids in one batch, each as if it played it alone.

    Parameters
    ----------
    agent : Agent
        The agent, which must not draw random numbers.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent, self.context = agent, agent.context

    def attach(self, game: Game) -> None:
        """Attach the agent to the game."""
        self._agent.attach(game)

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Return the actions, one group of markets after the other."""
        if self._agent.privileged:  # it looks at the game, not at observations
            return self._agent.act(observations, deterministic=deterministic)
        groups = range(len(next(iter(observations.values()))))
        parts = [
            self._agent.act(
                {role: array[i : i + 1] for role, array in observations.items()}, deterministic=deterministic
            )
            for i in groups
        ]
        return {role: np.concatenate([part[role] for part in parts]) for role in parts[0]}


class Anew(Agent):
    """Agents that are made anew, with random streams from their beginning, for every profile of bids.

    Parameters
    ----------
    make : callable
        Makes the agent.
    """

    def __init__(self, make: Callable[[], Agent]) -> None:
        self._make, self._agent = make, make()
        self.context = self._agent.context

    def attach(self, game: Game) -> None:
        """Make the agent anew, and attach it to the game."""
        self._agent = self._make()
        self._agent.attach(game)

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Return the actions of the agent."""
        return self._agent.act(observations, deterministic=deterministic)


@dataclass(frozen=True)
class BidPlay:
    """Outcome of every round of markets in which the providers bid prescribed factors.

    Axes: profiles of factors, instances, episodes, rounds and, for quantities of providers, providers.
    """

    profits: Floats
    """Net profits P of Eq. 3 [money], shape (profiles, instances, episodes, rounds, providers)."""
    interest: Floats
    """Interest that the providers paid on their loans [money], same shape."""
    bids: Floats
    """Bids x [currency], same shape."""
    loans: Floats
    """Loans K of Eq. 13 [currency], same shape."""
    rates: Floats
    """Estimated rates α̂ at which the providers were taxed, same shape; negative while the bank has little data."""
    welfare: Floats
    """True welfare [utility], shape (profiles, instances, episodes, rounds)."""
    noise: Floats
    """Δ, the standard deviation of the noise that overbidding adds to every share [shares], same shape."""


def play_bids(
    config: VCGSlicingConfig,
    factors: ArrayLike,
    allocator: str | Agent = "oracle",
    instances: Sequence[int] = (0,),
    episodes: int = 1,
    first_episode: int = 0,
) -> BidPlay:
    """Play profiles of bids, each in the same evaluation episodes.

    An episode has the same random numbers in every profile and every instance: only episodes are independent draws.

    Parameters
    ----------
    config : VCGSlicingConfig
        Settings of the market; its mechanism must have a bank.
    factors : array_like, shape (profiles, rounds, providers)
        Bid divided by belief, in every round of the market; entries of ``config.multipliers``.
    allocator : str or Agent, default "oracle"
        The allocator of the resources: a scripted policy of the role ``slice``, or an agent that plays it, with one
        seed for each of ``instances``. An agent plays one profile after the other, unless it is `SideBySide`.
    instances : sequence of int, default (0,)
        Numbers of the instances.
    episodes : int, default 1
        Number of evaluation episodes of every instance.
    first_episode : int, default 0
        First evaluation episode.

    Returns
    -------
    BidPlay

    Raises
    ------
    ParameterError
        If there is no bank, a factor is not on the grid, or the agent plays other roles.
    """
    require(config.banked, "mechanism", config.mechanism, "dual_currency or dual_currency_no_interest: it needs a bank")
    require(episodes >= 1 and len(instances) >= 1, "episodes", episodes, "1 or more, of one instance or more")
    chosen = _indices(config, np.asarray(factors, np.float64))
    together = 1
    if isinstance(allocator, (str, SideBySide)):
        together = max(1, LARGEST_BATCH // (len(instances) * episodes))
    if not isinstance(allocator, str):
        plays = tuple(role.name for role in allocator.context.plays)
        require(plays == ("slice",), "allocator", "+".join(plays), "an agent that plays the role slice and no other")
    groups = [chosen[first : first + together] for first in range(0, len(chosen), together)]
    parts = [_play_group(config, group, allocator, instances, episodes, first_episode) for group in groups]
    return BidPlay(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def _indices(config: VCGSlicingConfig, factors: Floats) -> NDArray[np.int64]:
    """Return the indices of factors on the grid, int64, same shape (profiles, rounds, providers)."""
    shape = (config.rounds, config.providers)
    require(factors.ndim == 3 and factors.shape[1:] == shape, "factors", factors.shape, f"shape (profiles, *{shape})")
    grid = np.array(config.multipliers)
    indices = np.minimum(np.searchsorted(grid, factors - 1e-9), len(grid) - 1)
    off_grid = factors[np.abs(grid[indices] - factors) > 1e-9]
    require(not off_grid.size, "factors", off_grid[:1].tolist(), f"some of {', '.join(f'{m:g}' for m in grid)}")
    return indices


def _play_group(
    config: VCGSlicingConfig,
    chosen: NDArray[np.int64],
    allocator: str | Agent,
    instances: Sequence[int],
    episodes: int,
    first_episode: int,
) -> BidPlay:
    """Play all profiles, int64 (profiles, rounds, providers), in one batch."""
    profiles, rounds, n = chosen.shape
    shape = (profiles, len(instances), episodes)
    batch = profiles * len(instances) * episodes
    # No autoreset, because the state at the end of an episode is recorded as well.
    game = VCGSlicingGame(evaluation_config(config), batch, ROLES, autoreset=False)
    game.full_metrics = False
    streams = np.tile(np.arange(first_episode, first_episode + episodes, dtype=np.uint64), profiles * len(instances))
    batch_instances = np.tile(np.repeat(np.array(instances, np.uint64), episodes), profiles)
    game.reset(np.full(batch, EVALUATION_SEED, np.uint64), streams, batch_instances)
    act = _allocating(game, allocator, profiles * len(instances), episodes)
    assert game.bank is not None
    bank, market = game.bank.bank, game.market
    own = {name: np.zeros((rounds, batch, n)) for name in ("profits", "interest", "bids", "loans", "rates")}
    common = {name: np.zeros((rounds, batch)) for name in ("welfare", "noise")}
    nothing = np.full((batch, n, 3), config.hold, np.int64)
    for t in range(rounds):
        factors = np.repeat(chosen[:, t], len(instances) * episodes, axis=0)
        observations = game.step({"slice": nothing, "vsp": factors}).observations
        own["rates"][t] = bank.estimate  # before the bank learns from the round
        game.step({"slice": act(observations), "vsp": factors})
        place = (bank.bill_count - 1) % bank.bill_gross.shape[1]
        own["profits"][t] = bank.bill_gross[np.arange(batch), place] - bank.tax
        own["interest"][t], own["bids"][t], own["loans"][t] = bank.interest, market.bid, bank.loan
        common["welfare"][t], common["noise"][t] = market.utility.sum(axis=1), market.spread
    return BidPlay(
        **{name: np.moveaxis(array, 0, 1).reshape(*shape, rounds, n) for name, array in own.items()},
        **{name: array.T.reshape(*shape, rounds) for name, array in common.items()},
    )


def _allocating(
    game: VCGSlicingGame, allocator: str | Agent, seeds: int, episodes: int
) -> Callable[[Arrays], NDArray[np.int64]]:
    """Return a function that maps observations to the changes of all slices, int64 (batch, providers, 3)."""
    agent = allocator
    if isinstance(agent, str):
        agent = make_agent(ScriptedAgent, ScriptedConfig(agent), game, ["slice"], seeds)
    agent.attach(game)

    def act(observations: Arrays) -> NDArray[np.int64]:
        by_seed = {role: array.reshape(seeds, episodes, *array.shape[1:]) for role, array in observations.items()}
        actions = agent.act(by_seed, deterministic=True)["slice"]
        return actions.reshape(seeds * episodes, *actions.shape[2:])

    return act
