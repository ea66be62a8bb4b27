"""Uniformly random actions, whose score is the zero of the normalised scores."""

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
    """Settings of the random agent, which has none."""


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
        """Restart the random stream of evaluation, so that every evaluation draws the same actions."""
        self._evaluation.counters[:] = 0

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Return uniformly random actions."""
        streams = self._evaluation if deterministic else self._streams
        return {
            role.name: uniform_actions(streams, role, observations[role.name].shape[1]) for role in self.context.plays
        }

    def state_dict(self, seed_index: int) -> State:
        """Return the counter of the random stream."""
        return {"counter": int(self._streams.counters[seed_index])}

    def load_state_dict(self, seed_index: int, state: State) -> None:
        """Set the counter of the random stream."""
        self._streams.counters[seed_index] = state["counter"]


def uniform_actions(streams: Streams, role: Role, markets: int) -> NDArray[Any]:
    """Draw uniformly random actions of a role.

    Parameters
    ----------
    streams : Streams
        Random streams of the seeds.
    role : Role
        The role; its action space is Discrete, MultiDiscrete or Box.
    markets : int
        Markets per seed.

    Returns
    -------
    ndarray
        int64 (seeds, markets, agents), or (seeds, markets, agents, heads) for MultiDiscrete; float32 (seeds, markets,
        agents, numbers) for Box.
    """
    space = role.action_space
    if isinstance(space, spaces.Discrete):
        return streams.integers(int(space.n), markets, role.count) + int(space.start)
    if isinstance(space, spaces.MultiDiscrete):
        drawn: NDArray[Any] = streams.integers(space.nvec, markets, role.count, *space.nvec.shape)
        out: NDArray[Any] = drawn + space.start
        return out
    assert isinstance(space, spaces.Box)
    u = streams.uniform(markets, role.count, *space.shape)
    real: NDArray[Any] = (space.low + u * (space.high - space.low)).astype(np.float32)
    return real
