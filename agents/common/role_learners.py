"""Base class of agents that have a separate learner for every role, each a stack over seeds and agents."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from ioa_marl.agents.base import Agent, AgentContext, State
from ioa_marl.agents.common.members import Members
from ioa_marl.agents.networks.stacked import StackedModule


class Learner(Protocol):
    """The learner of one role, as far as `LearnerPerRole` uses it."""

    members: Members
    """The mapping between agents and members of the stack."""

    @property
    def actor(self) -> StackedModule:
        """The actors of all members."""

    def state(self, seed_index: int) -> State:
        """Return the complete state of one seed."""

    def load_state(self, seed_index: int, state: State) -> None:
        """Set the complete state of one seed."""

    def parameters_count(self) -> int:
        """Return the number of trainable parameters of one seed."""


L = TypeVar("L", bound=Learner)


class LearnerPerRole(Agent, Generic[L]):
    """Base class that saves, loads and counts the learners; a subclass defines how they act and learn.

    Parameters
    ----------
    context : AgentContext
        The run.
    config : dataclass
        Hyper-parameters.
    """

    _learners: dict[str, L]
    """The learner of each role; created by the subclass, after this constructor has checked the roles."""

    def __init__(self, context: AgentContext, config: Any) -> None:
        super().__init__(context, config)
        # Environment steps of each seed; all seeds that train together are at the same step.
        self._steps = np.zeros(len(context.seeds), np.int64)

    def state_dict(self, seed_index: int) -> State:
        """Return the complete state of one seed."""
        learners = {name: learner.state(seed_index) for name, learner in self._learners.items()}
        return {"steps": int(self._steps[seed_index]), "learners": learners}

    def load_state_dict(self, seed_index: int, state: State) -> None:
        """Continue from a state that `state_dict` returned."""
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
        """Return the number of trainable parameters of one seed."""
        return sum(learner.parameters_count() for learner in self._learners.values())
