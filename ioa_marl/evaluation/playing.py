"""Play of evaluation episodes: the first episodes of the markets of the evaluation seed, the same for every agent."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ioa_marl.agents.base import Agent, AgentContext
from ioa_marl.agents.common.streams import Streams
from ioa_marl.envs.core import Arrays, Game
from ioa_marl.envs.vector import Transition, VectorGame
from ioa_marl.foundations.seeds import EVALUATION_SEED

LARGEST_BATCH = 2**27
"""Largest size of a seed's markets that are played together [bytes]; more episodes are played in groups."""
SAMPLED_STREAM = 15
"""Which of a role's 16 random streams draws the actions of an evaluation with sampled actions; no agent uses it."""


def make_agent(
    agent_class: type[Agent], config: Any, game: Game, roles: Sequence[str], seeds: int, first_seed: int = 0
) -> Agent:
    """Return an agent of ``seeds`` seeds for evaluation only.

    Parameters
    ----------
    agent_class : type of Agent
        Class of the agent.
    config : dataclass
        Settings of the agent.
    game : Game
        A game of the market, for its roles.
    roles : sequence of str
        Roles that the agent plays.
    seeds : int
        Number of seeds side by side.
    first_seed : int, default 0
        The seeds are ``first_seed``, ``first_seed`` + 1, ….
    """
    plays = tuple(game.roles[name] for name in roles)
    controlled_roles = tuple(game.roles[name] for name in game.controlled_roles)
    together = tuple(range(first_seed, first_seed + seeds))
    state_features = game.state().shape[-1] if agent_class.needs_state else 0
    return agent_class(
        AgentContext(plays, controlled_roles, together, 1, 1, torch.device("cpu"), state_features), config
    )


def evaluation_config(config: Any) -> Any:
    """Return a market's settings for evaluation, in which the cycle limit of training does not truncate episodes."""
    return dataclasses.replace(config, max_cycles=None) if hasattr(config, "max_cycles") else config


def play_episodes(
    game_class: type[Game],
    config: Any,
    agents: Sequence[Agent],
    controlled_roles: Sequence[str],
    seeds: int,
    episodes: int,
    first_episode: int = 0,
    instances: Sequence[int] | None = None,
    sampled: bool = False,
    only: Collection[str] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Play every evaluation episode once.

    Episode e is the first episode of market e of the evaluation seed, so that all agents play in the same markets.

    Parameters
    ----------
    game_class : type of Game
        Class of the market.
    config : dataclass
        Settings of the market.
    agents : sequence of Agent
        Agents that play the controlled roles, of ``seeds`` seeds each. Of two for a role, the later one plays.
    controlled_roles : sequence of str
        Roles that the agents play.
    seeds : int
        Number of seeds side by side.
    episodes : int
        Number of episodes.
    first_episode : int, default 0
        Number of the first episode.
    instances : sequence of int, optional
        Training seed of each of the ``seeds``: in a market with instances, a seed is evaluated on the instance that it
        was trained on. Default: instance 0 for all.
    sampled : bool, default False
        Whether agents that can sample their actions do so, from random streams that begin anew with every call; see
        `Agent.sample`. Otherwise, and for all other agents, actions are those of the deterministic mode.
    only : collection of str, optional
        Metrics that are used; others may be NaN. Default: all.

    Returns
    -------
    dict of str to ndarray of float64, shape (seeds, episodes)
        The market's metrics; ``reward_<role>``, the total reward of an episode, averaged over the agents of the role;
        and ``length``, the number of steps of the episode.
    """
    seed_instances = [0] * seeds if instances is None else instances
    config = evaluation_config(config)
    players = sampling(agents) if sampled else agents
    groups = [
        _play_group(game_class, config, players, controlled_roles, seed_instances, count, first, only)
        for first, count in episode_groups(game_class, config, controlled_roles, episodes, first_episode)
    ]
    return {name: np.concatenate([group[name] for group in groups], axis=1) for name in groups[0]}


def can_sample(agents: Sequence[Agent]) -> bool:
    """Return whether any of the agents can sample its actions, so that a sampled evaluation differs."""
    return any(agent.stochastic for agent in agents)


def sampling(agents: Sequence[Agent]) -> list[Agent]:
    """Return the agents, those that can sample in such a way that they do, from the beginning of new streams."""
    return [_Sampling(agent) if agent.stochastic else agent for agent in agents]


class _Sampling(Agent):
    """An agent that samples its actions in evaluation, from streams that belong to this evaluation."""

    def __init__(self, agent: Agent) -> None:
        self._agent, self.context = agent, agent.context
        offsets = {role.name: agent.context.stream_offset(role) for role in agent.context.plays}
        self._streams = {
            name: Streams(agent.context.seeds, offset + SAMPLED_STREAM) for name, offset in offsets.items()
        }

    def attach(self, game: Game) -> None:
        self._agent.attach(game)

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        return self._agent.sample(observations, self._streams)


def episode_groups(
    game_class: type[Game], config: Any, controlled_roles: Sequence[str], episodes: int, first_episode: int
) -> list[tuple[int, int]]:
    """Return the first episode and the number of episodes of each group that is played as one batch.

    Grouping does not change results: a market does not depend on the other markets of its batch.
    """
    one = game_class(config, 1, controlled_roles)
    state_bytes = sum(array.nbytes for array in one.save().values())
    observation_bytes = sum(
        4 * role.count * role.observation_space.shape[0] for role in (one.roles[name] for name in controlled_roles)
    )
    # Observations and final observations, twice each.
    batch = max(1, LARGEST_BATCH // (state_bytes + 4 * observation_bytes))
    return [(first_episode + start, min(batch, episodes - start)) for start in range(0, episodes, batch)]


def evaluation_steps(game: VectorGame, agents: Sequence[Agent]) -> Iterator[tuple[Transition, NDArray[np.bool_]]]:
    """Play the first episode of every market in deterministic mode.

    Yields each transition, and bool (seeds, markets): whether the step belongs to the first episode of the market. The
    step that ends the episode belongs to it.
    """
    game.game.single_episode = True
    game.reset()
    for agent in agents:
        agent.attach(game.game)
    running = np.ones((len(game.seeds), game.num_envs), np.bool_)
    while running.any():
        actions: Arrays = {}
        for agent in agents:
            actions.update(agent.act(game.observations, deterministic=True))
        transition = game.step(actions)
        yield transition, running
        running = running & ~transition.ended


def _play_group(
    game_class: type[Game],
    config: Any,
    agents: Sequence[Agent],
    controlled_roles: Sequence[str],
    instances: Sequence[int],
    episodes: int,
    first_episode: int,
    only: Collection[str] | None,
) -> dict[str, NDArray[np.float64]]:
    seeds = len(instances)
    game = VectorGame(
        game_class, config, [EVALUATION_SEED] * seeds, episodes, controlled_roles, first_episode, instances
    )
    game.game.only_metrics = None if only is None else frozenset(only)
    shape = (seeds, episodes)
    out = {name: np.zeros(shape) for name in game.game.metric_names}
    rewards = {f"reward_{role}": np.zeros(shape) for role in game.game.controlled_roles}
    length = np.zeros(shape)
    for transition, running in evaluation_steps(game, agents):
        length += running
        for role in game.game.controlled_roles:
            rewards[f"reward_{role}"] += np.where(running, transition.rewards[role].mean(axis=2), 0.0)
        finished = transition.ended & running
        for name, values in transition.metrics.items():
            out[name][finished] = values[finished]
    return out | rewards | {"length": length}
