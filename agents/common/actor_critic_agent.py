"""An agent with one actor–critic learner per role, all of which learn from the same sampled steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from ioa_marl.agents.base import AgentContext, State
from ioa_marl.agents.common.actor_critic import RoleLearner
from ioa_marl.agents.common.actor_critic_config import ActorCriticConfig
from ioa_marl.agents.common.members import separate_networks
from ioa_marl.agents.common.role_learners import LearnerPerRole
from ioa_marl.agents.common.schedules import first_update, updates_due
from ioa_marl.agents.common.streams import Streams
from ioa_marl.agents.networks.stacked import stack_bytes
from ioa_marl.agents.replay.joint_buffer import JointBatch, JointReplayBuffer
from ioa_marl.agents.replay.joint_views import ActionCode, View
from ioa_marl.envs.core import Arrays, Role
from ioa_marl.envs.vector import Transition
from ioa_marl.foundations.parameters import require


class ActorCriticAgent(LearnerPerRole[RoleLearner]):
    """Actor–critic with separate networks for each role. All roles learn from the same sampled steps."""

    learner_class: ClassVar[type[RoleLearner]]
    """Class of the learner of one role."""
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Discrete, spaces.MultiDiscrete)
    stochastic: ClassVar[bool] = True
    # The observation after a termination is stored but never used, so it may be NaN.
    need_not_be_finite: frozenset[str] = frozenset({"memory"})

    def __init__(self, context: AgentContext, config: ActorCriticConfig) -> None:
        super().__init__(context, config)
        self.roles = {role.name: role for role in (context.roles if self.centralised_critic else context.plays)}
        self._learners = {role.name: self.learner_class(context, config, role, self.roles) for role in context.plays}
        self._codes = {name: ActionCode(role, context.device) for name, role in self.roles.items()}
        self._sampling = Streams(context.seeds, context.stream_offset(context.plays[0]) + 3)
        self._buffer = JointReplayBuffer(
            context, list(self.roles.values()), config.buffer_size, config.n_step, config.gamma
        )

    @classmethod
    def first_update(
        cls, config: ActorCriticConfig, role: Role, controlled_roles: Sequence[Role], num_envs: int
    ) -> int:
        """Return the number of environment steps per seed before the first update."""
        return first_update(num_envs, config.learning_starts, config.update_every)

    @classmethod
    def check_context(cls, config: ActorCriticConfig, context: AgentContext) -> None:
        """Refuse batches that are larger than the replay buffer."""
        allowed = f"1 to buffer_size={config.buffer_size}"
        require(config.batch_size <= config.buffer_size, "batch_size", config.batch_size, allowed)

    @classmethod
    def memory(cls, config: ActorCriticConfig, context: AgentContext) -> dict[str, int]:
        """Return the size [bytes] of the replay buffer, and of the networks with their targets and optimisers."""
        seeds, replay, networks = len(context.seeds), 0, 0
        for role in context.roles if cls.centralised_critic else context.plays:
            rows = seeds * min(config.buffer_size, context.budget)
            replay += rows * role.count * 2 * 4 * role.observation_space.shape[0]
        for role in context.plays:
            sizes = [role.observation_space.shape[0], *[config.width] * config.depth]
            networks += 2 * 4 * stack_bytes(seeds * separate_networks(role, config.share_above), sizes)
        return {"buffer_size": replay, "width": networks}

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Sample actions from the actors, mixed with uniform exploration, or take the most likely actions."""
        tensors = self._tensors(observations)
        epsilon = None if deterministic else self.config.epsilon(int(self._steps[0]) / self.context.budget)
        return {name: learner.act(tensors, epsilon) for name, learner in self._learners.items()}

    def sample(self, observations: Arrays, streams: Mapping[str, Streams]) -> Arrays:
        """Sample actions from the actors, without uniform exploration, with the random numbers of an evaluation."""
        tensors = self._tensors(observations)
        return {name: learner.act(tensors, 0.0, streams[name]) for name, learner in self._learners.items()}

    def _tensors(self, observations: Arrays) -> dict[str, Tensor]:
        return {
            name: torch.from_numpy(np.ascontiguousarray(observations[name])).to(self.context.device)
            for name in self.roles
        }

    def observe(self, transition: Transition) -> None:
        """Store the step; it can be sampled once its n-step return is complete."""
        self._steps += self.context.num_envs
        self._buffer.observe(transition, self.config.reward_scale)

    def learn(self) -> Mapping[str, NDArray[np.float64]] | None:
        """Update once for every ``update_every`` environment steps since the last call."""
        c, steps = self.config, int(self._steps[0])
        metrics: dict[str, Tensor] = {}
        for _ in range(updates_due(steps, self.context.num_envs, c.learning_starts, c.update_every)):
            metrics = self.update(c.entropy_weight(steps / self.context.budget))
        return {key: value.numpy(force=True).astype(np.float64) for key, value in metrics.items()} or None

    def update(self, entropy_weight: float) -> dict[str, Tensor]:
        """Make one gradient step of the learners of all roles on the same sampled steps.

        Parameters
        ----------
        entropy_weight : float
            Weight of the entropy in the actors' losses.

        Returns
        -------
        dict of Tensor
            Metrics by ``role/metric``, (seeds,) each.
        """
        batch = self._buffer.sample(self._sampling.uniform(self.config.batch_size))
        view, next_view = self._views(batch)
        metrics = {
            f"{name}/{key}": value
            for name, learner in self._learners.items()
            for key, value in learner.update(batch, view, next_view, entropy_weight).items()
        }
        for learner in self._learners.values():
            learner.polyak_update()
        return metrics

    def _views(self, batch: JointBatch) -> tuple[View, View]:
        """Return the views of the sampled steps and of the steps that follow them.

        In the second one, roles of this agent take the actions of their target actors, which are computed once for all
        critics; roles of other agents take the actions in the buffer.
        """
        actions = {name: code(batch.actions[name], batch.active[name]) for name, code in self._codes.items()}
        next_actions = {
            name: self._learners[name].target_actions(batch.next_observations, batch.next_active[name])
            if name in self._learners
            else code(batch.next_actions[name], batch.next_active[name])
            for name, code in self._codes.items()
        }
        return View(batch.observations, actions), View(batch.next_observations, next_actions)

    def state_dict(self, seed_index: int) -> State:
        """Return networks, optimisers, replay buffer and random streams of one seed."""
        return {
            **super().state_dict(seed_index),
            "sampling": int(self._sampling.counters[seed_index]),
            "memory": self._buffer.state(seed_index),
        }

    def load_state_dict(self, seed_index: int, state: State) -> None:
        """Continue from a state that `state_dict` returned."""
        super().load_state_dict(seed_index, state)
        self._sampling.counters[seed_index] = state["sampling"]
        self._buffer.load_state(seed_index, state["memory"])

    def load_policy_state(self, seed_index: int, state: State) -> None:
        """Act with the actors that `policy_state` returned."""
        for name, learner in self._learners.items():
            learner.load_actor(seed_index, state[name])
