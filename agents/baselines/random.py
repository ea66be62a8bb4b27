"""Uniformly random actions: the zero of the scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.agents.base import Agent, AgentContext, State
from ioa_marl.agents.common.streams import Streams
from ioa_marl.envs.core import Arrays, Game, Role


@dataclass(frozen=True)
class RandomConfig:
    """The random agent has no settings."""


class RandomAgent(Agent):
    """Draw every action uniformly from its space, in training and in evaluation."""

    config_class: ClassVar[type[Any]] = RandomConfig
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (
        spaces.Discrete,
        spaces.MultiDiscrete,
        spaces.Box,
    )
    learns: ClassVar[bool] = False

    def __init__(self, context: AgentContext, config: RandomConfig) -> None:
        super().__init__(context, config)
        self._streams = Streams(context.seeds, context.stream_offset(context.plays[0]))
        self._evaluation = Streams(context.seeds, context.stream_offset(context.plays[0]) + 1)

    def attach(self, game: Game) -> None:
        """Start the evaluation's own stream over, so that every evaluation draws the same actions."""
        self._evaluation.counters[:] = 0

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Return uniform actions."""
        streams = self._evaluation if deterministic else self._streams
        return {
            role.name: uniform_actions(streams, role, observations[role.name].shape[1]) for role in self.context.plays
        }

    def state_dict(self, seed_index: int) -> State:
        """Return the position in the random stream."""
        return {"counter": int(self._streams.counters[seed_index])}

    def load_state_dict(self, seed_index: int, state: State) -> None:
        """Go on at a position in the random stream."""
        self._streams.counters[seed_index] = state["counter"]


def uniform_actions(streams: Streams, role: Role, markets: int) -> NDArray[Any]:
    """Draw uniform actions of a role, shape (seeds, markets, agents) with heads or coordinates behind."""
    space = role.action_space
    if isinstance(space, spaces.Discrete):
        return streams.integers(int(space.n), markets, role.count) + int(space.start)
    if isinstance(space, spaces.MultiDiscrete):
        drawn: NDArray[Any] = streams.integers(space.nvec, markets, role.count, *space.nvec.shape)
        out: NDArray[Any] = drawn + space.start
        return out
    assert isinstance(space, spaces.Box)
    u = streams.uniform(markets, role.count, *space.shape)
    spread: NDArray[Any] = (space.low + u * (space.high - space.low)).astype(np.float32)
    return spread
