"""Roles, and the steps that a `Game` returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ioa_marl.envs.core import Game

Arrays = dict[str, NDArray[Any]]
"""Arrays keyed by role, shape (batch, agents, …)."""


@dataclass(frozen=True)
class Role:
    """A group of interchangeable agents with the same spaces; its agents are ``<name>_0``, ``<name>_1`` and so on."""

    name: str
    """Name, a Python identifier."""
    count: int
    """Number of agents."""
    observation_space: gymnasium.spaces.Box
    """Observation space of one agent: float32 vectors in [0, 1]."""
    action_space: gymnasium.spaces.Space[Any]
    """Action space of one agent: Discrete, MultiDiscrete or Box."""
    scripted: str
    """Name of the scripted policy that plays the role where it is not controlled."""
    can_be_absent: bool = False
    """Whether some of the agents may be absent from an episode: they are never active then, and observe only zeros."""

    @property
    def agents(self) -> tuple[str, ...]:
        """Names of the agents."""
        return tuple(f"{self.name}_{i}" for i in range(self.count))


@dataclass(frozen=True)
class Step:
    """Result of a step of a `Game`.

    A game may return the same object again after it has written into the same arrays.
    """

    observations: Arrays
    """float32 (batch, agents, features): next observations, in [0, 1]; those after the reset where an episode ended."""
    rewards: Arrays
    """float32 (batch, agents): rewards, in the unit that the market's docstring states."""
    terminated: NDArray[np.bool_]
    """(batch,): whether the market ended the episode by its own rules."""
    truncated: NDArray[np.bool_]
    """(batch,): whether ``max_cycles`` ended the episode, so that the value of its last state is not 0."""
    active: Arrays
    """bool (batch, agents): whether the next step uses the agent's action."""
    final_observations: Arrays
    """float32 (batch, agents, features): observations before the reset; defined only where an episode ended."""
    metrics: Mapping[str, NDArray[np.float64]]
    """(batch,) each: metrics of the finished episode, in the units that the market's docstring states; defined only
    where an episode ended."""
    final_state: NDArray[np.float32] | None = None
    """float32 (batch, features): `Game.state` before the reset, in [0, 1]; defined only where an episode ended. None
    unless `Game.final_states` is on."""


class StepBuffers:
    """Base of the output arrays that a game reuses in every step."""

    step: Step
    """The step whose arrays these are."""

    def final_state(self, game: Game) -> NDArray[np.float32] | None:
        """Return the array of the final states, float32 (batch, features), or None if `Game.final_states` is off."""
        if not game.final_states:
            return None
        if self.step.final_state is None:
            zeros = np.zeros(game.state().shape, np.float32)
            self.step = dataclasses.replace(self.step, final_state=zeros)
        return self.step.final_state
