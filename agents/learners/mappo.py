"""Multi-agent PPO: actors of the agent's own observation, and critics of the market's global state.

Yu et al., "The surprising effectiveness of PPO in cooperative multi-agent games" (2022). The critic's input is what
they call the agent-specific global state: the state of the market, followed by the agent's own observation. All seeds
and agents are trained in one stack of networks. Two parts of their algorithm are missing: value normalisation, which
`MAPPOConfig.reward_scale` replaces, and the clipped value loss.
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
from ioa_marl.agents.common.members import (
    MAX_INDEXED_AGENTS,
    MAX_SEPARATE_AGENTS,
    Members,
    separate_networks,
    with_index,
)
from ioa_marl.agents.common.role_learners import LearnerPerRole
from ioa_marl.agents.common.schedules import geometric
from ioa_marl.agents.common.streams import Streams
from ioa_marl.agents.networks.heads import Heads
from ioa_marl.agents.networks.optimiser import StackedAdam
from ioa_marl.agents.networks.softmax import log_softmax
from ioa_marl.agents.networks.stacked import (
    StackedMLP,
    gradient_step,
    load_optimiser_state,
    optimiser_state,
    stack_bytes,
    unchanged,
)
from ioa_marl.agents.replay.rollouts import StateRollout, generalised_advantages, rollout_steps, split_minibatches
from ioa_marl.envs.core import Arrays, Role
from ioa_marl.envs.vector import Transition
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.parameters import added_setting, check_integer, check_number, require

FIRST_POLICY_SCALE = 0.01
"""Factor of the initial weights of the actors' last layer, which makes the first policy nearly uniform."""
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
    """Learning rate of the critics."""
    gamma: float = 0.99
    """Discount per action."""
    gae_lambda: float = 0.95
    """λ of the generalised advantage estimate."""
    rollout_size: int = 2048
    """Number of transitions of each network per update, over all markets and all agents that share the network. If
    several agents act, a rollout has at least 16 steps of the markets, because some agents may be waiting."""
    n_epochs: int = 10
    """Number of passes over a rollout."""
    minibatches: int = 4
    """Number of gradient steps per pass."""
    clip_range: float = 0.2
    """Clip range ε of the probability ratio."""
    ent_coef_start: float = 0.01
    """Weight of the entropy bonus at the beginning. It falls geometrically; 0 at beginning and end means no bonus."""
    ent_coef_end: float = 0.001
    """Weight of the entropy bonus at the end."""
    ent_fraction: float = 0.8
    """Fraction of the budget over which the weight of the entropy bonus falls."""
    normalize_advantage: bool = True
    """Whether the advantages of each network are normalised in every gradient step."""
    reward_scale: float = 1.0
    """Factor by which all rewards are multiplied."""
    max_grad_norm: float = 0.5
    """Largest norm of the gradient of one actor or one critic."""
    share_above: int = added_setting(MAX_SEPARATE_AGENTS)
    """Largest number of agents of a role that have networks of their own; a larger role shares one network, whose input
    includes a one-hot index of the agent in roles of up to 64 agents."""
    agent_index: bool = added_setting(True)
    """Whether the input of a shared network includes that index. Without it the policy can play any number of agents.
    """

    def __post_init__(self) -> None:
        """Refuse values with which no training is possible."""
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
        check_integer(self, "share_above", 1, 10**6)


def rollout_length(config: MAPPOConfig, role: Role, controlled_roles: Sequence[Role], num_envs: int) -> int:
    """Return the number of steps of the markets between two updates of a role."""
    per_step = num_envs * role.count // separate_networks(role, config.share_above)
    return rollout_steps(config.rollout_size, per_step, several=len(controlled_roles) > 1 or role.count > 1)


class MAPPOAgent(LearnerPerRole["MAPPOLearner"]):
    """Multi-agent PPO with separate networks for each role."""

    config_class: ClassVar[type[Any]] = MAPPOConfig
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Discrete, spaces.MultiDiscrete)
    centralised_critic: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    needs_state: ClassVar[bool] = True
    # The observation after a termination is stored but never used, so it may be NaN.
    need_not_be_finite: frozenset[str] = frozenset({"rollout"})
    version: ClassVar[int] = 1

    def __init__(self, context: AgentContext, config: MAPPOConfig) -> None:
        super().__init__(context, config)
        if context.state_features == 0:
            raise UserError("mappo learns from the market's global state, which has no features here")
        self._learners = {role.name: MAPPOLearner(context, config, role) for role in context.plays}

    @classmethod
    def first_update(cls, config: MAPPOConfig, role: Role, controlled_roles: Sequence[Role], num_envs: int) -> int:
        """Return the number of environment steps per seed in a rollout.

        Raises
        ------
        UserError
            If a rollout has fewer transitions than there are minibatches.
        """
        steps = rollout_length(config, role, controlled_roles, num_envs)
        rows = steps * num_envs * role.count // separate_networks(role, config.share_above)
        if config.minibatches > rows:
            raise UserError(
                f"minibatches={config.minibatches} is not allowed: use 1 to {rows}, which is how many transitions each "
                f"network of {role.name} has in a rollout"
            )
        return num_envs * steps

    @classmethod
    def check_context(cls, config: MAPPOConfig, context: AgentContext) -> None:
        """Refuse more minibatches than a rollout has transitions."""
        for role in context.plays:
            steps = rollout_length(config, role, context.roles, context.num_envs)
            rows = steps * context.num_envs * role.count // separate_networks(role, config.share_above)
            allowed = f"1 to {rows}, the rows that a rollout of {role.name} has in each network"
            require(config.minibatches <= rows, "minibatches", config.minibatches, allowed)

    @classmethod
    def memory(cls, config: MAPPOConfig, context: AgentContext) -> dict[str, int]:
        """Return the size [bytes] of the rollouts, and of the networks with their optimisers."""
        rollouts = networks = 0
        for role in context.plays:
            features, seeds = role.observation_space.shape[0], len(context.seeds)
            steps = rollout_length(config, role, context.roles, context.num_envs)
            rollouts += seeds * steps * context.num_envs * role.count * 2 * 4 * features
            sizes = [features, *[config.width] * config.depth]
            networks += 2 * 3 * stack_bytes(seeds * separate_networks(role, config.share_above), sizes)
        return {"rollout_size": rollouts, "width": networks}

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Sample actions from the actors, or take their most likely actions."""
        return {name: learner.act(observations[name], deterministic) for name, learner in self._learners.items()}

    def sample(self, observations: Arrays, streams: Mapping[str, Streams]) -> Arrays:
        """Sample actions from the actors with the random numbers of an evaluation."""
        return {name: it.sample(observations[name], streams[name]) for name, it in self._learners.items()}

    def observe(self, transition: Transition) -> None:
        """Add the step to the rollouts."""
        self._steps += self.context.num_envs
        for learner in self._learners.values():
            learner.rollout.add(transition)

    def learn(self) -> Mapping[str, NDArray[np.float64]] | None:
        """Update the roles whose rollouts are complete."""
        metrics: dict[str, NDArray[np.float64]] = {}
        for name, learner in self._learners.items():
            if learner.rollout.full:
                of_role = learner.update(float(self._steps[0]) / self.context.budget)
                metrics.update({f"{name}/{key}": value.numpy(force=True).astype(np.float64) for key, value in of_role})
        return metrics or None


@dataclass(frozen=True)
class _Experience:
    """A rollout in the order of the stack.

    Rows are steps × markets, or steps × markets × agents if the agents share a network.
    """

    states: Tensor
    """float32 (seeds, steps · markets, features)."""
    observations: Tensor
    """float32 (members, rows, features)."""
    actions: Tensor
    """int64 (members, rows, heads)."""
    log_probs: Tensor
    """float32 (members, rows): log-probabilities of the actions under the policy that chose them."""
    advantages: Tensor
    """float32 (members, rows)."""
    returns: Tensor
    """float32 (members, rows): targets of the critics, advantage + value."""
    valid: NDArray[np.bool_]
    """(members, rows): decisions whose outcome is known; only these are used for training."""


class MAPPOLearner:
    """Actors and critics of one role.

    Each kind of network is a stack with one member per seed and agent, or one member per seed if the agents share a
    network.

    Parameters
    ----------
    context : AgentContext
        The run.
    config : MAPPOConfig
        Hyper-parameters.
    role : Role
        The role that is learnt.
    """

    def __init__(self, context: AgentContext, config: MAPPOConfig, role: Role) -> None:
        self.config, self.role, self.device = config, role, context.device
        self.members = Members(context, role, config.share_above)
        self.heads = Heads(role.action_space, context.device)
        self.indexed = config.agent_index and self.members.shared and role.count <= MAX_INDEXED_AGENTS
        """Whether inputs include a one-hot index of the agent."""
        features = role.observation_space.shape[0] + (role.count if self.indexed else 0)
        hidden = [config.width] * config.depth

        stream_offset = context.stream_offset(role)
        uniforms = self.members.uniforms(Streams(context.seeds, stream_offset))
        self.action_stream = Streams(context.seeds, stream_offset + 1)
        self.sampling = Streams(context.seeds, stream_offset + 2)
        count, critic_features = self.members.count, context.state_features + features
        self.actor = StackedMLP(count, [features, *hidden, self.heads.width], uniforms, torch.tanh).to(self.device)
        self.critic = StackedMLP(count, [critic_features, *hidden, 1], uniforms, torch.tanh).to(self.device)
        with torch.no_grad():
            for last in (self.actor.weights[-1], self.actor.biases[-1]):
                last.mul_(FIRST_POLICY_SCALE)
        self.actor_optimiser = StackedAdam(self.actor.parameters(), config.actor_lr)
        self.critic_optimiser = StackedAdam(self.critic.parameters(), config.critic_lr)

        self.rollout = StateRollout(context, role, rollout_length(config, role, context.roles, context.num_envs))
        # The seed of each member, (members, 1), and the number of successive rows that have the same state.
        self._seed_of = torch.arange(count, device=self.device)[:, None] // self.members.separate
        self._rows_of_a_state = role.count // self.members.separate

    def act(self, observations: NDArray[np.float32], deterministic: bool) -> NDArray[np.int64]:
        """Take the most likely actions or, if not ``deterministic``, sample them; see `sample`."""
        return self.sample(observations, None if deterministic else self.action_stream)

    @torch.no_grad()
    def sample(self, observations: NDArray[np.float32], streams: Streams | None) -> NDArray[np.int64]:
        """Choose actions.

        Parameters
        ----------
        observations : ndarray of float32
            (seeds, markets, agents, features).
        streams : Streams, optional
            Random streams from which actions are sampled. None: the most likely actions are taken.

        Returns
        -------
        ndarray of int64
            (seeds, markets, agents), or (seeds, markets, agents, heads) for a MultiDiscrete space.
        """
        inputs = torch.from_numpy(self._inputs(observations)).to(self.device)
        logits = self.heads.logits(self.actor(inputs))
        actions = self.heads.choose(logits, streams, self.members.seeds)
        out: NDArray[np.int64] = self.members.unstacked(actions, observations.shape[1])
        return out[..., 0] if self.heads.single else out

    def _inputs(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn observations (seeds, markets, agents, features) into inputs of the stack, (members, batch, features)."""
        return self.members.stacked(with_index(observations) if self.indexed else observations)

    def values(self, states: Tensor, observations: Tensor, rows: Tensor) -> Tensor:
        """Return the critics' values V(s, o_i) of some rows of a rollout.

        Parameters
        ----------
        states : Tensor
            float32 (seeds, steps · markets, features).
        observations : Tensor
            float32 (members, batch, features): own observations in these rows.
        rows : Tensor
            int64 (members, batch): indices of the rows.

        Returns
        -------
        Tensor
            (members, batch), in units of scaled reward.
        """
        row_states = states[self._seed_of, rows // self._rows_of_a_state]
        out: Tensor = self.critic(torch.cat([row_states, observations], dim=-1)).squeeze(-1)
        return out

    def log_policy(self, observations: Tensor) -> Tensor:
        """Return log π(a|o).

        Parameters
        ----------
        observations : Tensor
            (members, batch, features).

        Returns
        -------
        Tensor
            (members, batch, heads, outcomes).
        """
        return log_softmax(self.heads.logits(self.actor(observations)))

    def update(self, progress: float) -> list[tuple[str, Tensor]]:
        """Make all gradient steps on the rollout, and remove its steps.

        Parameters
        ----------
        progress : float
            Fraction of the budget that is used up.

        Returns
        -------
        list of (str, Tensor)
            Names and values of metrics, (seeds,) each, averaged over gradient steps and the networks of a seed.
        """
        c = self.config
        ent_coef = geometric(c.ent_coef_start, c.ent_coef_end, c.ent_fraction, progress) if c.ent_coef_start else 0.0
        experience = self._experience()
        self.rollout.clear()
        totals: dict[str, Tensor] = {}
        for _ in range(c.n_epochs):
            uniforms = self.sampling.uniform(self.members.separate, experience.valid.shape[1])
            minibatches = split_minibatches(uniforms.reshape(experience.valid.shape), experience.valid, c.minibatches)
            for rows, counts in minibatches:
                indices = torch.from_numpy(rows).to(self.device)
                for key, value in self._gradient_step(experience, indices, counts, ent_coef).items():
                    totals[key] = totals[key] + value if key in totals else value
        shape = (self.members.seeds, self.members.separate)
        return [(key, (total / (c.n_epochs * c.minibatches)).reshape(shape).mean(1)) for key, total in totals.items()]

    @torch.no_grad()
    def _experience(self) -> _Experience:
        """Return the rollout with its advantages. The networks are still those that chose its actions."""
        fields = self.rollout.fields

        def by_row(array: NDArray[Any]) -> NDArray[Any]:
            seeds, steps, markets = array.shape[:3]
            return array.reshape(seeds, steps * markets, *array.shape[3:])

        def stacked(array: NDArray[Any]) -> NDArray[Any]:
            return self.members.stacked(by_row(array))

        def tensor(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(array).to(self.device)

        states, next_states = (tensor(fields[key]).flatten(1, 2) for key in ("state", "next_state"))
        observations, next_observations = (
            tensor(self._inputs(by_row(fields[key]))) for key in ("observations", "next_observations")
        )
        actions = tensor(stacked(fields["actions"]))
        rows = torch.arange(actions.shape[1], device=self.device).expand(len(actions), -1)
        # In parts of the size of a minibatch, because a pass over the whole rollout may need much memory.
        size = -(-actions.shape[1] // self.config.minibatches)
        parts = [slice(start, start + size) for start in range(0, actions.shape[1], size)]
        values = torch.cat([self.values(states, observations[:, p], rows[:, p]) for p in parts], 1)
        next_values = torch.cat([self.values(next_states, next_observations[:, p], rows[:, p]) for p in parts], 1)
        log_probs = torch.cat([self._log_probs(self.log_policy(observations[:, p]), actions[:, p]) for p in parts], 1)
        advantages, valid = self._advantages(values, next_values)
        estimates = tensor(stacked(advantages))
        return _Experience(
            states=states, observations=observations, actions=actions, log_probs=log_probs, advantages=estimates,
            returns=estimates + values, valid=stacked(valid),
        )  # fmt: skip

    def _advantages(self, values: Tensor, next_values: Tensor) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return advantages and valid decisions, (seeds, steps, markets, agents), from values (members, rows)."""
        c, fields, rollout = self.config, self.rollout.fields, self.rollout
        shape = fields["rewards"].shape

        def by_time(array: NDArray[Any]) -> NDArray[Any]:
            return np.moveaxis(array, 1, 0)

        values_by_time, next_values_by_time = (
            by_time(self.members.unstacked(v.numpy(force=True), shape[1] * shape[2]).reshape(shape))
            for v in (values, next_values)
        )
        advantages, valid = generalised_advantages(
            by_time(fields["rewards"] * np.float32(c.reward_scale)), values_by_time, next_values_by_time,
            by_time(fields["active"]),
            by_time(fields["terminated"][..., None]), by_time(fields["truncated"][..., None]),
            rollout.waiting, c.gamma, c.gae_lambda,
        )  # fmt: skip
        return np.moveaxis(advantages, 0, 1), np.moveaxis(valid, 0, 1)

    def _gradient_step(
        self, experience: _Experience, rows: Tensor, counts: NDArray[np.int64], ent_coef: float
    ) -> dict[str, Tensor]:
        """Make one gradient step of actors and critics on a minibatch.

        Actors minimise −mean min(r A, clip(r, 1 − ε, 1 + ε) A) − c H(π) with the probability ratio r, and critics
        mean (V − returns)² (Yu et al., Appendix A). ``rows`` are (members, batch), of which the first ``counts``,
        (members,), of each member are used. Returns metrics, (members,) each.
        """
        e, members = experience, torch.arange(self.members.count, device=self.device)[:, None]
        used_rows = torch.from_numpy(counts).to(self.device)
        used = torch.arange(rows.shape[1], device=self.device) < used_rows[:, None]
        divisor = used_rows.clamp(min=1)

        def mean(values: Tensor) -> Tensor:
            return torch.where(used, values, 0.0).sum(1) / divisor

        observations = e.observations[members, rows]
        log_pi = self.log_policy(observations)
        log_ratio = self._log_probs(log_pi, e.actions[members, rows]) - e.log_probs[members, rows]
        # Masked before the exponential, because the rows of the padding could overflow.
        log_ratio = torch.where(used, log_ratio, 0.0)
        ratio, advantages = log_ratio.exp(), self._normalised(e.advantages[members, rows], used, divisor)
        clipped = ratio.clamp(1.0 - self.config.clip_range, 1.0 + self.config.clip_range)
        policy_loss = -mean(torch.minimum(ratio * advantages, clipped * advantages))
        entropy = mean(-self.heads.weighted(log_pi.exp(), log_pi.masked_fill(~self.heads.allowed, 0.0)))
        errors = self.values(e.states, observations, rows) - e.returns[members, rows]
        value_loss = mean(errors.square())

        without_rows = torch.from_numpy(np.flatnonzero(counts == 0)).to(self.device)
        norm = self.config.max_grad_norm
        with unchanged(self.actor, without_rows):
            gradient_step(self.actor_optimiser, self.actor, policy_loss - ent_coef * entropy, norm)
        with unchanged(self.critic, without_rows):
            gradient_step(self.critic_optimiser, self.critic, value_loss, norm)
        with torch.no_grad():
            outside = ((ratio - 1.0).abs() > self.config.clip_range).to(ratio.dtype)
            metrics = {
                "policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy,
                "approx_kl": mean(ratio - 1.0 - log_ratio), "clip_fraction": mean(outside),
            }  # fmt: skip
        return {key: value.detach() for key, value in metrics.items()}

    def _normalised(self, advantages: Tensor, used: Tensor, divisor: Tensor) -> Tensor:
        """Return advantages, (members, batch), normalised over the used rows of each member that has at least two."""
        if not self.config.normalize_advantage:
            return advantages
        n = divisor[:, None]
        centred = torch.where(used, advantages - torch.where(used, advantages, 0.0).sum(1, keepdim=True) / n, 0.0)
        deviation = (centred.square().sum(1, keepdim=True) / (n - 1).clamp(min=1)).sqrt()
        return torch.where(n > 1, centred / (deviation + SMALLEST_DEVIATION), advantages)

    @staticmethod
    def _log_probs(log_pi: Tensor, actions: Tensor) -> Tensor:
        """Return the log-probabilities, (members, batch), of actions (members, batch, heads), summed over the heads."""
        return log_pi.gather(-1, actions[..., None]).squeeze(-1).sum(-1)

    def parameters_count(self) -> int:
        """Return the number of actor and critic parameters of one seed."""
        per_member = sum(p[0].numel() for network in (self.actor, self.critic) for p in network.parameters())
        return self.members.separate * per_member

    def state(self, seed_index: int) -> State:
        """Return the complete state of one seed."""
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
        """Set the complete state of one seed."""
        rows, count = self.members.rows(seed_index), self.members.count
        self.actor.load_member_state(rows, state["actor"])
        self.critic.load_member_state(rows, state["critic"])
        load_optimiser_state(self.actor_optimiser, rows, state["actor_optimiser"], count)
        load_optimiser_state(self.critic_optimiser, rows, state["critic_optimiser"], count)
        self.rollout.load_state(seed_index, state["rollout"])
        self.action_stream.counters[seed_index] = state["acting"]
        self.sampling.counters[seed_index] = state["sampling"]
