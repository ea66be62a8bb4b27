"""A minimal learner: it remembers how much each action has earned on average, whatever it saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from ioa_marl.agents.base import Agent, AgentContext, State
from ioa_marl.agents.common.streams import Streams
from ioa_marl.envs.core import Arrays
from ioa_marl.envs.vector import Transition
from ioa_marl.foundations.errors import ParameterError


@dataclass(frozen=True)
class ExampleConfig:
    """Settings of the example agent."""

    epsilon: float = 0.1
    """Probability of a random action in training."""

    def __post_init__(self) -> None:
        """Refuse what is not a probability."""
        if not 0.0 <= self.epsilon <= 1.0:
            raise ParameterError("epsilon", self.epsilon, "0 to 1")


class ExampleAgent(Agent):
    """An ε-greedy bandit; all agents of a role share what they have learnt, seeds share nothing."""

    config_class: ClassVar[type[Any]] = ExampleConfig
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Discrete,)

    def __init__(self, context: AgentContext, config: ExampleConfig) -> None:
        super().__init__(context, config)
        self._streams = Streams(context.seeds, stream_offset=100)
        outcomes = {role.name: int(role.action_space.n) for role in context.plays}
        self._count = {role: np.zeros((len(context.seeds), n)) for role, n in outcomes.items()}
        self._total = {role: np.zeros((len(context.seeds), n)) for role, n in outcomes.items()}

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Return the action that has earned most so far, and in training sometimes a random one."""
        out = {}
        for role, count in self._count.items():
            seeds, markets, agents, _ = observations[role].shape
            best = np.argmax(self._total[role] / np.maximum(count, 1.0), axis=1)
            actions = np.broadcast_to(best[:, None, None], (seeds, markets, agents)).copy()
            if not deterministic:
                explores = self._streams.uniform(markets, agents) < self.config.epsilon
                random = self._streams.integers(count.shape[1], markets, agents)
                actions = np.where(explores, random, actions)
            out[role] = actions
        return out

    def observe(self, transition: Transition) -> None:
        """Credit each reward to the action before it."""
        for role, count in self._count.items():
            used = transition.active[role]
            seed = np.nonzero(used)[0]
            action = transition.actions[role][used]
            np.add.at(count, (seed, action), 1.0)
            np.add.at(self._total[role], (seed, action), transition.rewards[role][used])

    def state_dict(self, seed_index: int) -> State:
        """Return what was learnt and the position in the random stream."""
        return {
            "counter": int(self._streams.counters[seed_index]),
            "count": {role: array[seed_index].copy() for role, array in self._count.items()},
            "total": {role: array[seed_index].copy() for role, array in self._total.items()},
        }

    def load_state_dict(self, seed_index: int, state: State) -> None:
        """Go on from `state_dict`."""
        self._streams.counters[seed_index] = state["counter"]
        for role in self._count:
            self._count[role][seed_index] = state["count"][role]
            self._total[role][seed_index] = state["total"][role]
