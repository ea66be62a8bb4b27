"""Evaluation of a run's agents: joint play, each scored role among its reference partners, and sampled actions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.agents.base import Agent
from ioa_marl.agents.baselines.scripted import ScriptedAgent, ScriptedConfig
from ioa_marl.envs.core import Game
from ioa_marl.evaluation.columns import SAMPLED, SCORED, objective_columns
from ioa_marl.evaluation.playing import can_sample, make_agent, play_episodes


def scored_roles(game_class: type[Game], key: str) -> tuple[str, ...]:
    """Return the roles that a key of `Game.objectives` scores: the role of that name, or a group of roles."""
    return game_class.objective_roles.get(key, (key,))


def partners(game_class: type[Game], config: Any, key: str, seeds: int) -> list[Agent]:
    """Return the scripted agents that play while a key of `Game.objectives` is scored: all roles but the key's own.

    Parameters
    ----------
    game_class : type of Game
        Class of the market.
    config : dataclass
        Settings of the market.
    key : str
        Key of `Game.objectives`.
    seeds : int
        Number of seeds side by side.
    """
    probe = game_class(config, 1, game_class.default_controlled_roles)
    own = scored_roles(game_class, key)
    return [
        make_agent(ScriptedAgent, ScriptedConfig(policy, dict(settings)), probe, [role], seeds)
        for role, (policy, settings) in game_class.reference_partners.items()
        if role not in own
    ]


def is_scored(game_class: type[Game], controlled_roles: Sequence[str]) -> bool:
    """Return whether a run in which these roles act can have a score: they are the market's usual learners."""
    return tuple(controlled_roles) == game_class.default_controlled_roles and bool(game_class.objectives)


def evaluate_agents(
    game_class: type[Game],
    config: Any,
    agents: Sequence[Agent],
    controlled_roles: Sequence[str],
    instances: Sequence[int],
    episodes: int,
    first_episode: int = 0,
    *,
    sampled: bool = False,
    only_scored: bool = False,
) -> dict[str, NDArray[np.float64]]:
    """Play everything that an evaluation of agents consists of.

    Parameters
    ----------
    game_class : type of Game
        Class of the market.
    config : dataclass
        Settings of the market.
    agents : sequence of Agent
        Agents that play the controlled roles, with one seed for each of the ``instances``.
    controlled_roles : sequence of str
        Roles that the agents play.
    instances : sequence of int
        Training seed of each seed of the agents; see `play_episodes`.
    episodes, first_episode : int
        Number of episodes, and the first of them.
    sampled : bool, default False
        Whether the episodes are also played with sampled actions, if any of the agents can sample.
    only_scored : bool, default False
        Whether only rewards and what is scored are used; other metrics may then be NaN.

    Returns
    -------
    dict of str to ndarray of float64, shape (seeds, episodes)
        The figures of the joint play, as `play_episodes` returns them. In a market with reference partners, ``scored_``
        with each key of `Game.objectives`: its metric where the key's roles are played by the agents and all others by
        their references. With ``sampled``, the rewards and what is scored once more under names that begin with
        ``sampled_``.
    """
    played = (game_class, config, agents, controlled_roles, instances, episodes, first_episode)
    figures = _figures(*played, False, only_scored)
    if sampled and can_sample(agents):
        drawn = _figures(*played, True, True)
        shown = [name for name in drawn if name.startswith("reward_")]
        if is_scored(game_class, controlled_roles):
            shown += objective_columns(game_class).values()
        figures |= {SAMPLED + name: drawn[name] for name in shown}
    return figures


def _figures(
    game_class: type[Game],
    config: Any,
    agents: Sequence[Agent],
    controlled_roles: Sequence[str],
    instances: Sequence[int],
    episodes: int,
    first_episode: int,
    sampled: bool,
    only_scored: bool,
) -> dict[str, NDArray[np.float64]]:
    seeds = len(instances)

    def play(players: Sequence[Agent], only: Collection[str] | None) -> dict[str, NDArray[np.float64]]:
        return play_episodes(
            game_class, config, players, controlled_roles, seeds, episodes, first_episode, instances, sampled, only
        )

    among_partners = bool(game_class.reference_partners) and is_scored(game_class, controlled_roles)
    scored_here = () if among_partners else tuple(game_class.objectives.values())
    figures = play(agents, scored_here if only_scored else None)
    if among_partners:
        for key, metric in game_class.objectives.items():
            figures[SCORED + key] = play([*agents, *partners(game_class, config, key, seeds)], (metric,))[metric]
    return figures
