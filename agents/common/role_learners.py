"""The frame of an agent that has a learner of its own for every role it plays, each a stack over seeds and agents."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from ioa_marl.agents.base import Agent, AgentContext, State
from ioa_marl.agents.common.members import Members
from ioa_marl.agents.networks.stacked import StackedModule


class Learner(Protocol):
    """What learns one role."""

    members: Members
    """Who shares which network."""

    @property
    def actor(self) -> StackedModule:
        """The actors of all members."""

    def state(self, seed_index: int) -> State:
        """Return everything of one seed."""

    def load_state(self, seed_index: int, state: State) -> None:
        """Set everything of one seed."""

    def parameters_count(self) -> int:
        """Return the number of trained parameters of one seed."""


L = TypeVar("L", bound=Learner)


class LearnerPerRole(Agent, Generic[L]):
    """Base of such agents: saving, loading and counting; a subclass says how they act and learn.

    Parameters
    ----------
    context : AgentContext
        What the agent is built for.
    config : dataclass
        Hyper-parameters.
    """

    _learners: dict[str, L]
    """The learner of each role that it plays; the subclass makes them once it is known that the roles can be played."""

    def __init__(self, context: AgentContext, config: Any) -> None:
        super().__init__(context, config)
        # All seeds of a group are at the same step; each one's schedule is its own step count.
        self._steps = np.zeros(len(context.seeds), np.int64)

    def state_dict(self, seed_index: int) -> State:
        """Return everything of one seed."""
        learners = {name: learner.state(seed_index) for name, learner in self._learners.items()}
        return {"steps": int(self._steps[seed_index]), "learners": learners}

    def load_state_dict(self, seed_index: int, state: State) -> None:
        """Go on from what `state_dict` returned."""
        self._steps[seed_index] = state["steps"]
        for name, learner in self._learners.items():
            learner.load_state(seed_index, state["learners"][name])

    def policy_state(self, seed_index: int) -> State:
        """Return the actors of one seed."""
        return {
            name: learner.actor.member_state(learner.members.rows(seed_index))
            for name, learner in self._learners.items()
        }

    def load_policy_state(self, seed_index: int, state: State) -> None:
        """Act with the actors that `policy_state` returned."""
        for name, learner in self._learners.items():
            learner.actor.load_member_state(learner.members.rows(seed_index), state[name])

    def parameters_count(self) -> int:
        """Return the number of trained parameters of one seed."""
        return sum(learner.parameters_count() for learner in self._learners.values())
