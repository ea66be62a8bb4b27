"""Regret of learning bidders: how much each would gain by playing one constant action instead of its policy.

There is no optimum to score bidders against, because the best action of one depends on the actions of the others. What
can be measured is how far their policies are from best responses to each other. For one agent at a time, every constant
action of its role replaces its policy while all others keep theirs. The gain of the best constant action over the
policy is a **lower bound** of the agent's regret, since better deviations may not be constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.agents.base import Agent
from ioa_marl.envs.core import Arrays, Game
from ioa_marl.envs.vector import VectorGame
from ioa_marl.evaluation.playing import episode_groups, evaluation_config, evaluation_steps
from ioa_marl.foundations.parameters import require
from ioa_marl.foundations.seeds import EVALUATION_SEED

MEANING = (
    "gain of the best constant action over the policy, all others as they are: a lower bound of the regret; "
    "0 where no constant is better than the policy"
)

MOST_AUDITED = 5
"""Agents of a role that are audited by default."""


@dataclass(frozen=True)
class ConstantGain:
    """What agents of a role would gain by the best constant action; see `best_constant_gain`."""

    role: str
    """The role."""
    members: NDArray[np.int64]
    """Numbers of the agents, shape (audited,)."""
    actions: NDArray[np.int64]
    """The best constant action of each agent, selected on other episodes, shape (seeds, audited)."""
    better: NDArray[np.bool_]
    """Whether that action beat the policy on those episodes; if not, the gain is 0, shape (seeds, audited)."""
    gains: NDArray[np.float64]
    """Mean total reward of an episode with that action, minus that of the policy, shape (seeds, audited)."""
    standard_errors: NDArray[np.float64]
    """Standard errors of `gains` over the paired episodes, shape (seeds, audited); NaN for one episode."""
    returns: NDArray[np.float64]
    """Mean total reward of an episode with the policy, shape (seeds, audited)."""

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean gain of the agents, shape (seeds,)."""
        means: NDArray[np.float64] = self.gains.mean(axis=1)
        return means

    def of_seed(self, i: int) -> dict[str, Any]:
        """Return the result of seed number ``i`` as plain values."""
        chosen = zip(self.actions[i].tolist(), self.better[i].tolist(), strict=True)
        actions = [action if better else None for action, better in chosen]
        errors = [None if np.isnan(error) else error for error in self.standard_errors[i].tolist()]
        return {
            "meaning": MEANING, "agents": self.members.tolist(), "actions": actions,
            "gains": self.gains[i].tolist(), "standard_errors": errors, "returns": self.returns[i].tolist(),
        }  # fmt: skip


def bidders(game_class: type[Game], config: Any, controlled_roles: Sequence[str]) -> tuple[str, ...]:
    """Return the controlled roles with Discrete actions that are not default ones: they have no score."""
    roles = game_class.make_roles(config)
    return tuple(
        name
        for name in roles
        if name in controlled_roles
        and name not in game_class.default_controlled_roles
        and isinstance(roles[name].action_space, spaces.Discrete)
    )


def audited_members(count: int) -> list[int]:
    """Return the numbers of up to five agents of a role of ``count`` agents, evenly spread."""
    members: list[int] = np.linspace(0, count - 1, min(count, MOST_AUDITED)).round().astype(int).tolist()
    return members


def best_constant_gain(
    game_class: type[Game],
    config: Any,
    agents: Sequence[Agent],
    controlled_roles: Sequence[str],
    role: str,
    episodes: int,
    *,
    members: Sequence[int] | None = None,
    instances: Sequence[int] | None = None,
    first_episode: int = 0,
) -> ConstantGain:
    """Return what agents of a role gain, one at a time, by the best constant action instead of their policy.

    Gains are measured on the evaluation episodes in deterministic mode. The same markets are played with and without
    the deviation, and agents that draw actions at random draw the same ones. The best action, or none, is selected on
    as many further episodes. This makes gains unbiased: they are not inflated by the selection, and may fall below 0 by
    chance. The audit takes (actions + 1) · (audited agents) + 2 evaluations.

    Parameters
    ----------
    game_class : type of Game
        Class of the market.
    config : dataclass
        Settings of the market.
    agents : sequence of Agent
        Agents that play the controlled roles, of one seed or several; see `play_episodes` of the protocol.
    controlled_roles : sequence of str
        Roles that the agents play.
    role : str
        The controlled role to audit; its actions are Discrete.
    episodes : int
        Number of evaluation episodes.
    members : sequence of int, optional
        Numbers of the agents that deviate, one at a time; default: all.
    instances : sequence of int, optional
        Training seeds, one per seed of the agents; default: one seed, instance 0.
    first_episode : int, default 0
        First evaluation episode.

    Returns
    -------
    ConstantGain

    Raises
    ------
    ParameterError
        If the role is not controlled, its actions are not Discrete, or there is no such agent.
    """
    roles = game_class.make_roles(config)
    require(role in controlled_roles, "role", role, f"one of the roles that act: {', '.join(controlled_roles)}")
    space = roles[role].action_space
    require(isinstance(space, spaces.Discrete), "role", role, f"one with Discrete actions: {role} has {space}")
    assert isinstance(space, spaces.Discrete)
    audited = list(range(roles[role].count)) if members is None else list(members)
    for member in audited:
        require(0 <= member < roles[role].count, "member", member, f"0 to {roles[role].count - 1}")
    seeds = [0] if instances is None else list(instances)
    deviating = _Deviating(next(agent for agent in agents if role in _plays(agent)), role)
    players = [deviating if role in _plays(agent) else agent for agent in agents]

    def total(member: int, actions: NDArray[np.int64] | None, first: int) -> NDArray[np.float64]:
        """Play with the actions of one agent replaced; return total rewards, (seeds, episodes, agents)."""
        deviating.member, deviating.actions = member, actions
        return total_rewards(game_class, config, players, controlled_roles, role, seeds, episodes, first)

    baseline, selection_baseline = (total(0, None, first) for first in (first_episode, first_episode + episodes))
    better = np.zeros((len(seeds), len(audited)), np.bool_)
    chosen = np.zeros((len(seeds), len(audited)), np.int64)
    gains = np.zeros((len(seeds), len(audited), episodes))
    for column, member in enumerate(audited):
        candidates = np.arange(int(space.start), int(space.start) + int(space.n))
        means = [
            total(member, np.full(len(seeds), action), first_episode + episodes)[:, :, member].mean(axis=1)
            for action in candidates
        ]
        chosen[:, column] = candidates[np.argmax(means, axis=0)]
        better[:, column] = np.max(means, axis=0) > selection_baseline[:, :, member].mean(axis=1)
        if better[:, column].any():
            gain = (total(member, chosen[:, column], first_episode) - baseline)[:, :, member]
            gains[:, column] = np.where(better[:, column, None], gain, 0.0)
    spread = gains.std(axis=2, ddof=1) / np.sqrt(episodes) if episodes > 1 else np.full(chosen.shape, np.nan)
    return ConstantGain(
        role,
        np.array(audited, np.int64),
        chosen,
        better,
        gains.mean(axis=2),
        spread,
        baseline[:, :, audited].mean(axis=1),
    )


def _plays(agent: Agent) -> set[str]:
    return {role.name for role in agent.context.plays}


class _Deviating(Agent):
    """An agent of which one member plays a constant action instead of the policy."""

    def __init__(self, agent: Agent, role: str) -> None:
        self._agent, self._role = agent, role
        self.context = agent.context
        self.member = 0
        self.actions: NDArray[np.int64] | None = None
        """The constant action for each seed, shape (seeds,); None if the member follows the policy."""

    def attach(self, game: Game) -> None:
        self._agent.attach(game)

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        actions = self._agent.act(observations, deterministic=deterministic)
        if self.actions is None:
            return actions
        own = actions[self._role].copy()
        own[:, :, self.member] = self.actions[:, None]
        return {**actions, self._role: own}


def total_rewards(
    game_class: type[Game],
    config: Any,
    agents: Sequence[Agent],
    controlled_roles: Sequence[str],
    role: str,
    instances: Sequence[int],
    episodes: int,
    first_episode: int,
) -> NDArray[np.float64]:
    """Play evaluation episodes; return the total reward of each agent, (seeds, episodes, agents)."""
    config = evaluation_config(config)
    parts = []
    for first, count in episode_groups(game_class, config, controlled_roles, episodes, first_episode):
        game = VectorGame(
            game_class, config, [EVALUATION_SEED] * len(instances), count, controlled_roles, first, instances
        )
        game.game.full_metrics = False  # only rewards are used
        out = np.zeros((len(instances), count, game.game.roles[role].count))
        for transition, running in evaluation_steps(game, agents):
            out += np.where(running[:, :, None], transition.rewards[role], 0.0)
        parts.append(out)
    return np.concatenate(parts, axis=1)
