"""Multi-agent PPO: actors that look at their own observation, values that look at the whole market while training.

Yu et al., "The surprising effectiveness of PPO in cooperative multi-agent games" (2022), with the value of what they
call the agent-specific global state: the state of the market beside the agent's own observation. All seeds and agents
are one stack of networks. Not taken over: value normalisation, for which `MAPPOConfig.reward_scale` stands, and the
clipped value loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from ioa_marl.agents.base import AgentContext, State
from ioa_marl.agents.common.members import Members, separate_networks
from ioa_marl.agents.common.role_learners import LearnerPerRole
from ioa_marl.agents.common.schedules import geometric
from ioa_marl.agents.common.streams import Streams
from ioa_marl.agents.networks.heads import Heads
from ioa_marl.agents.networks.optimiser import StackedAdam
from ioa_marl.agents.networks.softmax import log_softmax
from ioa_marl.agents.networks.stacked import (
    StackedMLP,
    gradient_step,
    kept,
    load_optimiser_state,
    optimiser_state,
    stack_bytes,
)
from ioa_marl.agents.replay.rollouts import StateRollout, generalised_advantages, rollout_steps, split_minibatches
from ioa_marl.envs.core import Arrays, Role
from ioa_marl.envs.vector import Transition
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.parameters import check_number, require

FIRST_POLICY_SCALE = 0.01
"""Factor of the initial weights of the actors' last layer: the first policy is nearly uniform, whatever is seen."""
SMALLEST_DEVIATION = 1e-8
"""Added to the standard deviation by which advantages are divided."""


@dataclass(frozen=True)
class MAPPOConfig:
    """Hyper-parameters of multi-agent PPO."""

    width: int = 64
    """Units of each hidden layer."""
    depth: int = 2
    """Hidden layers."""
    actor_lr: float = 5e-4
    """Learning rate of the actors."""
    critic_lr: float = 1e-3
    """Learning rate of the values."""
    gamma: float = 0.99
    """Discount per action."""
    gae_lambda: float = 0.95
    """λ of the generalised advantage estimate."""
    rollout_size: int = 2048
    """Transitions of each network per update, over all markets, and all agents that share it; at least 16 steps where
    several agents act, because some of them may be waiting."""
    n_epochs: int = 10
    """Passes over a rollout."""
    minibatches: int = 4
    """Gradient steps per pass."""
    clip_range: float = 0.2
    """Largest change of the probability ratio that is rewarded."""
    ent_coef_start: float = 0.01
    """Weight of the entropy bonus at the beginning; it falls geometrically. 0 at beginning and end: no bonus."""
    ent_coef_end: float = 0.001
    """Weight of the entropy bonus at the end."""
    ent_fraction: float = 0.8
    """Share of the budget over which the weight of the entropy bonus falls."""
    normalize_advantage: bool = True
    """Whether each network's advantages are normalised per gradient step."""
    reward_scale: float = 1.0
    """Factor of all rewards."""
    max_grad_norm: float = 0.5
    """Largest norm of the gradient of a member's actor, and of its value."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        for name in ("actor_lr", "critic_lr", "reward_scale", "max_grad_norm", "clip_range"):
            check_number(self, name, low=0.0, open_low=True)
        for name in ("gamma", "gae_lambda", "ent_fraction"):
            check_number(self, name, low=0.0, high=1.0)
        for name in ("ent_coef_start", "ent_coef_end"):
            check_number(self, name, low=0.0)
        both = (self.ent_coef_start > 0) == (self.ent_coef_end > 0)
        require(both, "ent_coef_end", self.ent_coef_end, "0 where ent_coef_start is 0, and only there")
        for name, low, high in (
            ("width", 1, 65536), ("depth", 1, 64), ("rollout_size", 2, 10**8), ("n_epochs", 1, 10**6),
            ("minibatches", 1, 10**6),
        ):  # fmt: skip
            check_number(self, name, low=low, high=high)


def rollout_length(config: MAPPOConfig, role: Role, controlled_roles: Sequence[Role], num_envs: int) -> int:
    """Return the steps of the markets between two updates of a role."""
    together = num_envs * role.count // separate_networks(role)
    return rollout_steps(config.rollout_size, together, several=len(controlled_roles) > 1 or role.count > 1)


class MAPPOAgent(LearnerPerRole["MAPPOLearner"]):
    """Multi-agent PPO; each role it plays has its own networks."""

    config_class: ClassVar[type[Any]] = MAPPOConfig
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Discrete, spaces.MultiDiscrete)
    on_policy: ClassVar[bool] = True
    centralised_critic: ClassVar[bool] = True
    needs_state: ClassVar[bool] = True
    # What follows a termination is remembered and counts nothing, even where it is not a number.
    need_not_be_finite: frozenset[str] = frozenset({"rollout"})
    version: ClassVar[int] = 1

    def __init__(self, context: AgentContext, config: MAPPOConfig) -> None:
        super().__init__(context, config)
        if context.state_features == 0:
            raise UserError("mappo learns from the market's global state, which has no features here")
        self._learners = {role.name: MAPPOLearner(context, config, role) for role in context.plays}

    @classmethod
    def first_update(cls, config: MAPPOConfig, role: Role, controlled_roles: Sequence[Role], num_envs: int) -> int:
        """Return when the first rollout is full.

        Raises
        ------
        UserError
            If it has fewer transitions than there are minibatches.
        """
        steps = rollout_length(config, role, controlled_roles, num_envs)
        rows = steps * num_envs * role.count // separate_networks(role)
        if config.minibatches > rows:
            raise UserError(
                f"minibatches={config.minibatches} is not allowed: use 1 to {rows}, which is how many transitions each "
                f"network of {role.name} has in a rollout"
            )
        return num_envs * steps

    @classmethod
    def check_context(cls, config: MAPPOConfig, context: AgentContext) -> None:
        """Refuse more minibatches than a rollout has rows."""
        for role in context.plays:
            steps = rollout_length(config, role, context.roles, context.num_envs)
            rows = steps * context.num_envs * role.count // separate_networks(role)
            allowed = f"1 to {rows}, the rows that a rollout of {role.name} has in each network"
            require(config.minibatches <= rows, "minibatches", config.minibatches, allowed)

    @classmethod
    def memory(cls, config: MAPPOConfig, context: AgentContext) -> dict[str, int]:
        """Return the size of rollouts, and of networks with their optimisers."""
        rollouts = networks = 0
        for role in context.plays:
            features, seeds = role.observation_space.shape[0], len(context.seeds)
            steps = rollout_length(config, role, context.roles, context.num_envs)
            rollouts += seeds * steps * context.num_envs * role.count * 2 * 4 * features
            sizes = [features, *[config.width] * config.depth]
            networks += 2 * 3 * stack_bytes(seeds * separate_networks(role), sizes)
        return {"rollout_size": rollouts, "width": networks}

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Sample from the actors, or take their most likely actions."""
        return {name: learner.act(observations[name], deterministic) for name, learner in self._learners.items()}

    def observe(self, transition: Transition) -> None:
        """Add the step to the rollouts."""
        self._steps += self.context.num_envs
        for learner in self._learners.values():
            learner.rollout.add(transition)

    def learn(self) -> Mapping[str, NDArray[np.float64]] | None:
        """Update the networks whose rollouts are full."""
        figures: dict[str, NDArray[np.float64]] = {}
        for name, learner in self._learners.items():
            if learner.rollout.full:
                found = learner.update(float(self._steps[0]) / self.context.budget)
                figures.update({f"{name}/{key}": value.numpy(force=True).astype(np.float64) for key, value in found})
        return figures or None


@dataclass(frozen=True)
class _Experience:
    """A rollout in the order of the stack; rows are steps × markets, and × agents where they share a network."""

    states: Tensor
    """float32 (seeds, steps · markets, features)."""
    observations: Tensor
    """float32 (members, rows, features)."""
    actions: Tensor
    """int64 (members, rows, heads)."""
    log_probs: Tensor
    """float32 (members, rows): of the policy that acted."""
    advantages: Tensor
    """float32 (members, rows)."""
    returns: Tensor
    """float32 (members, rows): what the value should have been."""
    decided: NDArray[np.bool_]
    """(members, rows): what can be learnt from."""


class MAPPOLearner:
    """Actors and values of one role: a stack over seeds × agents, or over seeds where agents share."""

    def __init__(self, context: AgentContext, config: MAPPOConfig, role: Role) -> None:
        self.config, self.role, self.device = config, role, context.device
        self.members = Members(context, role)
        self.heads = Heads(role.action_space, context.device)
        features, hidden = role.observation_space.shape[0], [config.width] * config.depth

        stream_offset = context.stream_offset(role)
        uniforms = self.members.uniforms(Streams(context.seeds, stream_offset))
        self.action_stream = Streams(context.seeds, stream_offset + 1)
        self.sampling = Streams(context.seeds, stream_offset + 2)
        count, seen = self.members.count, context.state_features + features
        self.actor = StackedMLP(count, [features, *hidden, self.heads.width], uniforms, torch.tanh).to(self.device)
        self.critic = StackedMLP(count, [seen, *hidden, 1], uniforms, torch.tanh).to(self.device)
        with torch.no_grad():
            for last in (self.actor.weights[-1], self.actor.biases[-1]):
                last.mul_(FIRST_POLICY_SCALE)
        self.actor_optimiser = StackedAdam(self.actor.parameters(), config.actor_lr)
        self.critic_optimiser = StackedAdam(self.critic.parameters(), config.critic_lr)

        self.rollout = StateRollout(context, role, rollout_length(config, role, context.roles, context.num_envs))
        # Whose state a member's value looks at, and how many rows of a member have the same state.
        self._seed_of = torch.arange(count, device=self.device)[:, None] // self.members.separate
        self._rows_of_a_state = role.count // self.members.separate

    @torch.no_grad()
    def act(self, observations: NDArray[np.float32], deterministic: bool) -> NDArray[np.int64]:
        """Return (seeds, markets, agents) actions, with heads behind for MultiDiscrete."""
        seen = torch.from_numpy(self.members.stacked(observations)).to(self.device)
        logits = self.heads.logits(self.actor(seen))
        chosen = self.heads.choose(logits, None if deterministic else self.action_stream, self.members.seeds)
        out: NDArray[np.int64] = self.members.unstacked(chosen, observations.shape[1])
        return out[..., 0] if self.heads.single else out

    def values(self, states: Tensor, observations: Tensor, rows: Tensor) -> Tensor:
        """Return what the values hold some rows to be worth.

        Parameters
        ----------
        states : Tensor
            (seeds, steps · markets, features).
        observations : Tensor
            (members, batch, features), of these rows.
        rows : Tensor
            int64 (members, batch).

        Returns
        -------
        Tensor
            (members, batch).
        """
        whole = states[self._seed_of, rows // self._rows_of_a_state]
        out: Tensor = self.critic(torch.cat([whole, observations], dim=-1)).squeeze(-1)
        return out

    def log_policy(self, observations: Tensor) -> Tensor:
        """Return the logarithms of the actors' probabilities, (members, batch, heads, outcomes)."""
        return log_softmax(self.heads.logits(self.actor(observations)))

    def update(self, progress: float) -> list[tuple[str, Tensor]]:
        """Learn from the rollout, and empty it; returns figures (seeds,), averaged over gradient steps and agents.

        Parameters
        ----------
        progress : float
            Share of the training that is over.
        """
        c = self.config
        ent_coef = geometric(c.ent_coef_start, c.ent_coef_end, c.ent_fraction, progress) if c.ent_coef_start else 0.0
        experience = self._experience()
        self.rollout.clear()
        totals: dict[str, Tensor] = {}
        for _ in range(c.n_epochs):
            uniforms = self.sampling.uniform(self.members.separate, experience.decided.shape[1])
            minibatches = split_minibatches(
                uniforms.reshape(experience.decided.shape), experience.decided, c.minibatches
            )
            for rows, counted in minibatches:
                on_device = torch.from_numpy(rows).to(self.device)
                for key, value in self._descend(experience, on_device, counted, ent_coef).items():
                    totals[key] = totals[key] + value if key in totals else value
        shape = (self.members.seeds, self.members.separate)
        return [(key, (total / (c.n_epochs * c.minibatches)).reshape(shape).mean(1)) for key, total in totals.items()]

    @torch.no_grad()
    def _experience(self) -> _Experience:
        """Say what the rollout's decisions were worth; policy and values are still those that made them."""
        fields = self.rollout.fields

        def stacked(array: NDArray[Any]) -> NDArray[Any]:
            seeds, steps, markets = array.shape[:3]
            return self.members.stacked(array.reshape(seeds, steps * markets, *array.shape[3:]))

        def tensor(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(array).to(self.device)

        states, next_states = (tensor(fields[key]).flatten(1, 2) for key in ("state", "next_state"))
        observations, after = (tensor(stacked(fields[key])) for key in ("observations", "next_observations"))
        actions = tensor(stacked(fields["actions"]))
        rows = torch.arange(actions.shape[1], device=self.device).expand(len(actions), -1)
        # In parts of the size of a minibatch: a pass over everything could need much memory.
        size = -(-actions.shape[1] // self.config.minibatches)
        parts = [slice(start, start + size) for start in range(0, actions.shape[1], size)]
        values = torch.cat([self.values(states, observations[:, p], rows[:, p]) for p in parts], 1)
        next_values = torch.cat([self.values(next_states, after[:, p], rows[:, p]) for p in parts], 1)
        log_probs = torch.cat([self._log_probs(self.log_policy(observations[:, p]), actions[:, p]) for p in parts], 1)
        advantages, decided = self._advantages(values, next_values)
        estimates = tensor(stacked(advantages))
        return _Experience(
            states=states, observations=observations, actions=actions, log_probs=log_probs, advantages=estimates,
            returns=estimates + values, decided=stacked(decided),
        )  # fmt: skip

    def _advantages(self, values: Tensor, next_values: Tensor) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return advantages and what can be learnt from, (seeds, steps, markets, agents)."""
        c, fields, rollout = self.config, self.rollout.fields, self.rollout
        shape = fields["rewards"].shape

        def by_time(array: NDArray[Any]) -> NDArray[Any]:
            return np.moveaxis(array, 1, 0)

        before, after = (
            by_time(self.members.unstacked(v.numpy(force=True), shape[1] * shape[2]).reshape(shape))
            for v in (values, next_values)
        )
        advantages, decided = generalised_advantages(
            by_time(fields["rewards"] * np.float32(c.reward_scale)), before, after, by_time(fields["active"]),
            by_time(fields["terminated"][..., None]), by_time(fields["truncated"][..., None]),
            rollout.waiting, c.gamma, c.gae_lambda,
        )  # fmt: skip
        return np.moveaxis(advantages, 0, 1), np.moveaxis(decided, 0, 1)

    def _descend(
        self, experience: _Experience, rows: Tensor, counted: NDArray[np.int64], ent_coef: float
    ) -> dict[str, Tensor]:
        """Make one gradient step of actors and values; returns figures (members,)."""
        e, members = experience, torch.arange(self.members.count, device=self.device)[:, None]
        numbers = torch.from_numpy(counted).to(self.device)
        used = torch.arange(rows.shape[1], device=self.device) < numbers[:, None]
        divisor = numbers.clamp(min=1)

        def mean(values: Tensor) -> Tensor:
            return torch.where(used, values, 0.0).sum(1) / divisor

        seen = e.observations[members, rows]
        log_pi = self.log_policy(seen)
        change = self._log_probs(log_pi, e.actions[members, rows]) - e.log_probs[members, rows]
        # Before the exponential: rows that do not count must not overflow.
        change = torch.where(used, change, 0.0)
        ratio, advantages = change.exp(), self._normalised(e.advantages[members, rows], used, divisor)
        clipped = ratio.clamp(1.0 - self.config.clip_range, 1.0 + self.config.clip_range)
        policy_loss = -mean(torch.minimum(ratio * advantages, clipped * advantages))
        entropy = mean(-self.heads.weighted(log_pi.exp(), log_pi.masked_fill(~self.heads.allowed, 0.0)))
        errors = self.values(e.states, seen, rows) - e.returns[members, rows]
        value_loss = mean(errors.square())

        idle = torch.from_numpy(np.flatnonzero(counted == 0)).to(self.device)
        norm = self.config.max_grad_norm
        with kept(self.actor, idle):
            gradient_step(self.actor_optimiser, self.actor, policy_loss - ent_coef * entropy, norm)
        with kept(self.critic, idle):
            gradient_step(self.critic_optimiser, self.critic, value_loss, norm)
        with torch.no_grad():
            outside = ((ratio - 1.0).abs() > self.config.clip_range).to(ratio.dtype)
            figures = {
                "policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy,
                "approx_kl": mean(ratio - 1.0 - change), "clip_fraction": mean(outside),
            }  # fmt: skip
        return {key: value.detach() for key, value in figures.items()}

    def _normalised(self, advantages: Tensor, used: Tensor, divisor: Tensor) -> Tensor:
        """Return each member's advantages with mean 0 and deviation 1 over the rows that are used, if there are two."""
        if not self.config.normalize_advantage:
            return advantages
        n = divisor[:, None]
        centred = torch.where(used, advantages - torch.where(used, advantages, 0.0).sum(1, keepdim=True) / n, 0.0)
        deviation = (centred.square().sum(1, keepdim=True) / (n - 1).clamp(min=1)).sqrt()
        return torch.where(n > 1, centred / (deviation + SMALLEST_DEVIATION), advantages)

    @staticmethod
    def _log_probs(log_pi: Tensor, actions: Tensor) -> Tensor:
        """Return the log-probability of actions (members, batch, heads), summed over the heads."""
        return log_pi.gather(-1, actions[..., None]).squeeze(-1).sum(-1)

    def parameters_count(self) -> int:
        """Return the number of actor and value parameters of one seed."""
        per_member = sum(p[0].numel() for network in (self.actor, self.critic) for p in network.parameters())
        return self.members.separate * per_member

    def state(self, seed_index: int) -> State:
        """Return everything of one seed."""
        rows = self.members.rows(seed_index)
        return {
            "actor": self.actor.member_state(rows),
            "critic": self.critic.member_state(rows),
            "actor_optimiser": optimiser_state(self.actor_optimiser, rows),
            "critic_optimiser": optimiser_state(self.critic_optimiser, rows),
            "rollout": self.rollout.state(seed_index),
            "acting": int(self.action_stream.counters[seed_index]),
            "sampling": int(self.sampling.counters[seed_index]),
        }

    def load_state(self, seed_index: int, state: State) -> None:
        """Set everything of one seed."""
        rows, count = self.members.rows(seed_index), self.members.count
        self.actor.load_member_state(rows, state["actor"])
        self.critic.load_member_state(rows, state["critic"])
        load_optimiser_state(self.actor_optimiser, rows, state["actor_optimiser"], count)
        load_optimiser_state(self.critic_optimiser, rows, state["critic_optimiser"], count)
        self.rollout.load_state(seed_index, state["rollout"])
        self.action_stream.counters[seed_index] = state["acting"]
        self.sampling.counters[seed_index] = state["sampling"]
