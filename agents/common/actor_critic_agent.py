"""An agent of actor–critic learners, one for each role it plays, all of which learn from the same steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from ioa_marl.agents.base import AgentContext, State
from ioa_marl.agents.common.actor_critic import ActorCriticConfig, RoleLearner
from ioa_marl.agents.common.members import separate_networks
from ioa_marl.agents.common.role_learners import LearnerPerRole
from ioa_marl.agents.common.schedules import first_update, updates_due
from ioa_marl.agents.common.streams import Streams
from ioa_marl.agents.networks.stacked import stack_bytes
from ioa_marl.agents.replay.joint_buffer import JointBatch, JointReplay
from ioa_marl.agents.replay.joint_views import ActionCode, View
from ioa_marl.envs.core import Arrays, Role
from ioa_marl.envs.vector import Transition
from ioa_marl.foundations.parameters import require


class ActorCriticAgent(LearnerPerRole[RoleLearner]):
    """Actor–critic; each role it plays has its own networks, all of them learn from the same steps."""

    learner_class: ClassVar[type[RoleLearner]]
    """What learns one role."""
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Discrete, spaces.MultiDiscrete)
    # What follows a termination is remembered and counts nothing, even where it is not a number.
    need_not_be_finite: frozenset[str] = frozenset({"memory"})

    def __init__(self, context: AgentContext, config: ActorCriticConfig) -> None:
        super().__init__(context, config)
        self.roles = {role.name: role for role in (context.roles if self.centralised_critic else context.plays)}
        self._learners = {role.name: self.learner_class(context, config, role, self.roles) for role in context.plays}
        self._codes = {name: ActionCode(role, context.device) for name, role in self.roles.items()}
        self._sampling = Streams(context.seeds, context.stream_offset(context.plays[0]) + 3)
        self._memory = JointReplay(context, list(self.roles.values()), config.buffer_size, config.n_step, config.gamma)

    @classmethod
    def first_update(
        cls, config: ActorCriticConfig, role: Role, controlled_roles: Sequence[Role], num_envs: int
    ) -> int:
        """Return when the memory is first learnt from."""
        return first_update(num_envs, config.learning_starts, config.update_every)

    @classmethod
    def check_context(cls, config: ActorCriticConfig, context: AgentContext) -> None:
        """Refuse batches that are larger than the memory that they are drawn from."""
        allowed = f"1 to buffer_size={config.buffer_size}"
        require(config.batch_size <= config.buffer_size, "batch_size", config.batch_size, allowed)

    @classmethod
    def memory(cls, config: ActorCriticConfig, context: AgentContext) -> dict[str, int]:
        """Return the size of the memory, and of actors and critics with their targets and optimisers."""
        seeds, replay, networks = len(context.seeds), 0, 0
        for role in context.roles if cls.centralised_critic else context.plays:
            rows = seeds * min(config.buffer_size, context.budget)
            replay += rows * role.count * 2 * 4 * role.observation_space.shape[0]
        for role in context.plays:
            sizes = [role.observation_space.shape[0], *[config.width] * config.depth]
            networks += 2 * 4 * stack_bytes(seeds * separate_networks(role, config.share_above), sizes)
        return {"buffer_size": replay, "width": networks}

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Draw from the actors, now and then uniformly, or take their most likely actions."""
        seen = {
            name: torch.from_numpy(np.ascontiguousarray(observations[name])).to(self.context.device)
            for name in self.roles
        }
        epsilon = None if deterministic else self.config.epsilon(int(self._steps[0]) / self.context.budget)
        return {name: learner.act(seen, epsilon) for name, learner in self._learners.items()}

    def observe(self, transition: Transition) -> None:
        """Remember the steps that are complete."""
        self._steps += self.context.num_envs
        self._memory.observe(transition, self.config.reward_scale)

    def learn(self) -> Mapping[str, NDArray[np.float64]] | None:
        """Update once for every ``update_every`` environment steps that have passed."""
        c, now = self.config, int(self._steps[0])
        figures: dict[str, Tensor] = {}
        for _ in range(updates_due(now, self.context.num_envs, c.learning_starts, c.update_every)):
            figures = self.update(self.config.entropy(now / self.context.budget))
        return {key: value.numpy(force=True).astype(np.float64) for key, value in figures.items()} or None

    def update(self, entropy: float) -> dict[str, Tensor]:
        """Make one gradient step of everything it plays, all on the same steps."""
        batch = self._memory.sample(self._sampling.uniform(self.config.batch_size))
        now, then = self._views(batch)
        figures = {
            f"{name}/{key}": value
            for name, learner in self._learners.items()
            for key, value in learner.update(batch, now, then, entropy).items()
        }
        for learner in self._learners.values():
            learner.polyak_update()
        return figures

    def _views(self, batch: JointBatch) -> tuple[View, View]:
        """Return what was done, and what is done next: one pass of each role's target actors serves all critics."""
        actions = {name: code(batch.actions[name], batch.active[name]) for name, code in self._codes.items()}
        following = {
            name: self._learners[name].target_actions(batch.next_observations, batch.next_active[name])
            if name in self._learners
            else code(batch.next_actions[name], batch.next_active[name])
            for name, code in self._codes.items()
        }
        return View(batch.observations, actions), View(batch.next_observations, following)

    def state_dict(self, seed_index: int) -> State:
        """Return networks, optimisers, memory and random streams of one seed."""
        return {
            **super().state_dict(seed_index),
            "sampling": int(self._sampling.counters[seed_index]),
            "memory": self._memory.state(seed_index),
        }

    def load_state_dict(self, seed_index: int, state: State) -> None:
        """Go on from what `state_dict` returned."""
        super().load_state_dict(seed_index, state)
        self._sampling.counters[seed_index] = state["sampling"]
        self._memory.load_state(seed_index, state["memory"])

    def load_policy_state(self, seed_index: int, state: State) -> None:
        """Act with the actors that `policy_state` returned."""
        for name, learner in self._learners.items():
            learner.load_actor(seed_index, state[name])
