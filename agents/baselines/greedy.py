"""The greedy baseline of the papers: the market's own greedy rule, or a bandit on the mean immediate rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.agents.base import Agent, AgentContext, State, action_heads
from ioa_marl.agents.common.streams import Streams
from ioa_marl.envs.core import Arrays, Game, ScriptedPolicy
from ioa_marl.envs.vector import Transition
from ioa_marl.foundations.parameters import check_number


@dataclass(frozen=True)
class GreedyConfig:
    """Settings of the greedy bandit."""

    epsilon: float = 0.1
    """Probability of a uniformly random action in training."""

    def __post_init__(self) -> None:
        """Refuse a value that is not a probability."""
        check_number(self, "epsilon", low=0.0, high=1.0)


class GreedyAgent(Agent):
    """Play the market's scripted policy ``greedy`` or, for a role without one, the action with the highest mean reward.

    The bandit estimates the mean immediate reward of every action, for the heads of a MultiDiscrete action separately.
    It first tries every action once, in order, and ignores the observations.
    """

    config_class: ClassVar[type[Any]] = GreedyConfig
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Discrete, spaces.MultiDiscrete)
    privileged: ClassVar[bool] = True

    def __init__(self, context: AgentContext, config: GreedyConfig) -> None:
        super().__init__(context, config)
        self._streams = Streams(context.seeds, context.stream_offset(context.plays[0]))
        self._heads: dict[str, list[int]] = {}
        self._sums: dict[str, list[NDArray[np.float64]]] = {}
        self._tries: dict[str, list[NDArray[np.float64]]] = {}
        for role in context.plays:
            heads = action_heads(role.action_space)
            self._heads[role.name] = heads
            shape = (len(context.seeds), role.count)
            self._sums[role.name] = [np.zeros((*shape, n)) for n in heads]
            self._tries[role.name] = [np.zeros((*shape, n)) for n in heads]
        self._rules: dict[str, ScriptedPolicy] = {}

    @classmethod
    def learns_in(cls, game_class: type[Game], roles: Sequence[str]) -> bool:
        """Return whether the market has no greedy rule for one of the roles, so that the bandit plays it."""
        return any("greedy" not in game_class.scripted_policies(role) for role in roles)

    def attach(self, game: Game) -> None:
        """Take the greedy rules of the game, if it has any."""
        self._rules = {
            role.name: game.scripted("greedy", role.name)
            for role in self.context.plays
            if "greedy" in game.scripted_policies(role.name)
        }

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Return the actions with the highest mean reward so far, or in training, with probability ε, random ones."""
        out = {}
        for role in self.context.plays:
            seeds, markets = observations[role.name].shape[:2]
            if role.name in self._rules:
                actions = self._rules[role.name]()
                out[role.name] = actions.reshape(seeds, markets, *actions.shape[1:])
                continue
            by_head = []
            for sums, tries in zip(self._sums[role.name], self._tries[role.name], strict=True):
                means = np.where(tries > 0, sums / np.maximum(tries, 1), np.inf)
                best = np.repeat(means.argmax(axis=-1)[:, None], markets, axis=1)
                if not deterministic:
                    explore = self._streams.uniform(markets, role.count) < self.config.epsilon
                    random = self._streams.integers(means.shape[-1], markets, role.count)
                    best = np.where(explore, random, best)
                by_head.append(best)
            discrete = isinstance(role.action_space, spaces.Discrete)
            out[role.name] = by_head[0] if discrete else np.stack(by_head, axis=-1)
        return out

    def observe(self, transition: Transition) -> None:
        """Add the immediate rewards of the active agents' actions."""
        for role in self.context.plays:
            actions, rewards = transition.actions[role.name], transition.rewards[role.name]
            active = transition.active[role.name]
            by_head = actions[..., None] if actions.ndim == 3 else actions
            seeds, markets, agents = np.nonzero(active)
            for head in range(len(self._heads[role.name])):
                at = (seeds, agents, by_head[seeds, markets, agents, head])
                np.add.at(self._sums[role.name][head], at, rewards[seeds, markets, agents])
                np.add.at(self._tries[role.name][head], at, 1.0)

    def state_dict(self, seed_index: int) -> State:
        """Return sums and numbers of rewards, and the counter of the random stream."""
        return {
            "counter": int(self._streams.counters[seed_index]),
            "sums": {role: [a[seed_index] for a in arrays] for role, arrays in self._sums.items()},
            "tries": {role: [a[seed_index] for a in arrays] for role, arrays in self._tries.items()},
        }

    def load_state_dict(self, seed_index: int, state: State) -> None:
        """Continue from a state that `state_dict` returned."""
        self._streams.counters[seed_index] = state["counter"]
        for name, by_role in (("sums", self._sums), ("tries", self._tries)):
            for role, arrays in by_role.items():
                for array, saved in zip(arrays, state[name][role], strict=True):
                    array[seed_index] = saved
