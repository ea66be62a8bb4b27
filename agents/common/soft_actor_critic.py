"""Discrete soft actor-critic, with all seeds and agents in one stack of networks.

A subclass supplies the actor's network. The algorithm is that of Christodoulou, "Soft actor-critic for discrete action
settings" (2019), with n-step returns and an entropy temperature α that falls geometrically over training. Each head of
a MultiDiscrete action has a policy and a vector of action values; the values of the heads are summed.
"""

from __future__ import annotations

import copy
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
from ioa_marl.agents.common.schedules import first_update, geometric, updates_due
from ioa_marl.agents.common.streams import Streams
from ioa_marl.agents.networks.heads import Heads
from ioa_marl.agents.networks.optimiser import StackedAdam
from ioa_marl.agents.networks.softmax import log_softmax
from ioa_marl.agents.networks.stacked import (
    StackedMLP,
    StackedModule,
    gradient_step,
    load_optimiser_state,
    optimiser_state,
    polyak_update,
    stack_bytes,
)
from ioa_marl.agents.replay.buffers import Batch, NStepReturns, TransitionBuffer
from ioa_marl.envs.core import Arrays, Role
from ioa_marl.envs.vector import Transition
from ioa_marl.foundations.parameters import check_number, require


@dataclass(frozen=True)
class SoftConfig:
    """Hyper-parameters of discrete SAC, except those of the actor's network."""

    width: int = 64
    """Units of each hidden layer."""
    depth: int = 2
    """Hidden layers."""
    actor_lr: float = 3e-4
    """Learning rate of the actor."""
    critic_lr: float = 1e-3
    """Learning rate of the critics."""
    gamma: float = 0.995
    """Discount per action."""
    n_step: int = 10
    """Number of actions whose rewards are summed before the critic bootstraps."""
    tau: float = 0.01
    """Step τ of the Polyak averaging of the target critics at each update."""
    batch_size: int = 256
    """Number of sampled transitions of each network per update."""
    buffer_size: int = 100_000
    """Capacity of the replay buffer [transitions of each network]; at most the budget is used."""
    update_every: int = 16
    """Number of environment steps per update."""
    learning_starts: int = 1000
    """Number of environment steps before the first update."""
    alpha_start: float = 0.2
    """Entropy temperature α at the beginning [scaled reward per nat]."""
    alpha_end: float = 0.015
    """Entropy temperature at the end [scaled reward per nat]."""
    alpha_fraction: float = 0.8
    """Fraction of the budget over which α falls geometrically."""
    reward_scale: float = 0.1
    """Factor by which all rewards are multiplied."""
    max_grad_norm: float = 10.0
    """Largest norm of the gradient of one network."""

    def __post_init__(self) -> None:
        """Refuse values with which no training is possible."""
        for name in ("actor_lr", "critic_lr", "alpha_start", "alpha_end", "reward_scale", "max_grad_norm"):
            check_number(self, name, low=0.0, open_low=True)
        for name in ("gamma", "tau", "alpha_fraction"):
            check_number(self, name, low=0.0, high=1.0)
        for name, high in (
            ("width", 65536), ("depth", 64), ("n_step", 10_000), ("batch_size", 10**6), ("buffer_size", 10**8),
            ("update_every", 10**9),
        ):  # fmt: skip
            check_number(self, name, low=1, high=high)
        check_number(self, "learning_starts", low=0)


class SoftAgent(LearnerPerRole["SoftLearner"]):
    """Discrete SAC with separate networks for each role."""

    learner_class: ClassVar[type[SoftLearner]]
    """Class of the learner of one role."""
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Discrete, spaces.MultiDiscrete)
    stochastic: ClassVar[bool] = True
    # The observation after a termination is stored but never used, so it may be NaN.
    need_not_be_finite: frozenset[str] = frozenset({"replay", "returns"})

    def __init__(self, context: AgentContext, config: SoftConfig) -> None:
        super().__init__(context, config)
        self._learners = {role.name: self.learner_class(context, config, role) for role in context.plays}

    @classmethod
    def first_update(cls, config: SoftConfig, role: Role, controlled_roles: Sequence[Role], num_envs: int) -> int:
        """Return the number of environment steps per seed before the first update."""
        return first_update(num_envs, config.learning_starts, config.update_every)

    @classmethod
    def check_context(cls, config: SoftConfig, context: AgentContext) -> None:
        """Refuse batches that are larger than the replay buffer."""
        allowed = f"1 to buffer_size={config.buffer_size}"
        require(config.batch_size <= config.buffer_size, "batch_size", config.batch_size, allowed)

    @classmethod
    def memory(cls, config: SoftConfig, context: AgentContext) -> dict[str, int]:
        """Return the size [bytes] of the replay buffers, and of the critics with their targets and optimiser."""
        replay = networks = 0
        for role in context.plays:
            features = role.observation_space.shape[0]
            members = len(context.seeds) * separate_networks(role)
            replay += members * min(config.buffer_size, context.budget) * 2 * 4 * features
            networks += 2 * 4 * stack_bytes(members, [features, *[config.width] * config.depth])
        return {"buffer_size": replay, "width": networks}

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Sample actions from the actors, or take their most likely actions."""
        return {name: learner.act(observations[name], deterministic) for name, learner in self._learners.items()}

    def sample(self, observations: Arrays, streams: Mapping[str, Streams]) -> Arrays:
        """Sample actions from the actors with the random numbers of an evaluation."""
        return {name: it.sample(observations[name], streams[name]) for name, it in self._learners.items()}

    def observe(self, transition: Transition) -> None:
        """Store the n-step transitions that the step completes."""
        self._steps += self.context.num_envs
        for learner in self._learners.values():
            learner.observe(transition)

    def learn(self) -> Mapping[str, NDArray[np.float64]] | None:
        """Update once for every ``update_every`` environment steps since the last call."""
        c, steps = self.config, int(self._steps[0])
        metrics: dict[str, Tensor] = {}
        for _ in range(updates_due(steps, self.context.num_envs, c.learning_starts, c.update_every)):
            for name, learner in self._learners.items():
                of_role = learner.update(self._temperature(steps / self.context.budget))
                metrics.update({f"{name}/{key}": value for key, value in of_role.items()})
        return {key: value.numpy(force=True).astype(np.float64) for key, value in metrics.items()} or None

    def _temperature(self, progress: float) -> float:
        c = self.config
        return geometric(c.alpha_start, c.alpha_end, c.alpha_fraction, progress)


class SoftLearner:
    """Actors and twin critics of one role.

    Each kind of network is a stack with one member per seed and agent, or one member per seed if the agents share a
    network. A subclass defines the actor: `make_actor` builds it, and `logits` evaluates it.

    Parameters
    ----------
    context : AgentContext
        The run.
    config : SoftConfig
        Hyper-parameters.
    role : Role
        The role that is learnt.
    """

    def __init__(self, context: AgentContext, config: Any, role: Role) -> None:
        self.config, self.role, self.device = config, role, context.device
        self.num_envs = context.num_envs
        self.members = Members(context, role)
        self.heads = Heads(role.action_space, context.device)
        self.features = role.observation_space.shape[0]

        stream_offset = context.stream_offset(role)
        weights = Streams(context.seeds, stream_offset)
        self.action_stream = Streams(context.seeds, stream_offset + 1)
        self.sampling = Streams(context.seeds, stream_offset + 2)
        self.actor = self.make_actor(weights).to(self.device)
        self.critics = self.make_critics(weights).to(self.device)
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.actor_optimiser = StackedAdam(self.actor.parameters(), config.actor_lr)
        self.critic_optimiser = StackedAdam(self.critics.parameters(), config.critic_lr)
        # One step may complete this many transitions, if all episodes end at once.
        at_once = (config.n_step + 1) * self.num_envs * role.count // self.members.separate
        capacity = max(min(config.buffer_size, context.budget), at_once)
        self.buffer = TransitionBuffer(self.members.count, capacity, self.features, self.heads.count, self.device)
        columns = self.members.seeds * self.num_envs * role.count
        self.returns = NStepReturns(columns, config.n_step, config.gamma, self.features, self.heads.count)

    def make_actor(self, weights: Streams) -> StackedModule:
        """Build the actors; ``weights`` are the random streams for their initial weights."""
        raise NotImplementedError

    def logits(self, observations: Tensor, *, deterministic: bool = False, streams: Streams | None = None) -> Tensor:
        """Evaluate the actors.

        Parameters
        ----------
        observations : Tensor
            (members, batch, features).
        deterministic : bool
            Whether an actor with a random input, such as a denoising chain, must not draw random numbers.
        streams : Streams, optional
            Where such an actor draws them otherwise; default: from its own streams of training.

        Returns
        -------
        Tensor
            (members, batch, heads, outcomes), −inf where an outcome does not exist.
        """
        raise NotImplementedError

    def make_critics(self, weights: Streams) -> StackedMLP:
        """Build the critics; the twin critics of a member are adjacent in the stack."""
        c = self.config
        sizes = [self.features, *[c.width] * c.depth, self.heads.width]
        return StackedMLP(2 * self.members.count, sizes, self.members.uniforms(weights, 2))

    def values(self, network: StackedMLP, observations: Tensor) -> Tensor:
        """Return the action values of the critics, or of their targets.

        Parameters
        ----------
        network : StackedMLP
            The critics, or the target critics.
        observations : Tensor
            (members, batch, features).

        Returns
        -------
        Tensor
            (members, 2, batch, heads, outcomes), in units of scaled reward.
        """
        twice = observations.repeat_interleave(2, dim=0)
        out: Tensor = self.heads.split(network(twice)).unflatten(0, (self.members.count, 2))
        return out

    @torch.no_grad()
    def act(self, observations: NDArray[np.float32], deterministic: bool) -> NDArray[np.int64]:
        """Take the most likely actions or, if not ``deterministic``, sample them as in training.

        Observations are float32 (seeds, markets, agents, features); see `sample` for what is returned.
        """
        inputs = self._inputs(observations)
        logits = self.logits(inputs, deterministic=deterministic)
        return self._chosen(logits, None if deterministic else self.action_stream, observations.shape[1])

    @torch.no_grad()
    def sample(self, observations: NDArray[np.float32], streams: Streams) -> NDArray[np.int64]:
        """Sample actions in evaluation.

        Parameters
        ----------
        observations : ndarray of float32
            (seeds, markets, agents, features).
        streams : Streams
            Random streams of the evaluation.

        Returns
        -------
        ndarray of int64
            (seeds, markets, agents), or (seeds, markets, agents, heads) for a MultiDiscrete space.
        """
        logits = self.logits(self._inputs(observations), streams=streams)
        return self._chosen(logits, streams, observations.shape[1])

    def _inputs(self, observations: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(self.members.stacked(observations)).to(self.device)

    def _chosen(self, logits: Tensor, streams: Streams | None, markets: int) -> NDArray[np.int64]:
        actions = self.heads.choose(logits, streams, self.members.seeds)
        out: NDArray[np.int64] = self.members.unstacked(actions, markets)
        return out[..., 0] if self.heads.single else out

    def observe(self, transition: Transition) -> None:
        """Add one step, and store the n-step transitions that it completes."""
        name = self.role.name
        shape = transition.rewards[name].shape
        ends = [
            np.broadcast_to(flag[..., None], shape).reshape(-1)
            for flag in (transition.terminated, transition.truncated)
        ]
        flat = int(np.prod(shape))
        columns, rows = self.returns.step(
            transition.observations[name].reshape(flat, -1),
            transition.actions[name].reshape(flat, -1),
            transition.active[name].reshape(-1),
            transition.rewards[name].reshape(-1) * self.config.reward_scale,
            transition.next_observations[name].reshape(flat, -1),
            *ends,
        )
        if len(columns):
            self.buffer.add(self.members.of_columns(columns), rows)

    def update(self, alpha: float) -> dict[str, Tensor]:
        """Make one gradient step of critics and actors.

        Parameters
        ----------
        alpha : float
            Entropy temperature α.

        Returns
        -------
        dict of Tensor
            Metrics, (seeds,) each, averaged over the networks of a seed.
        """
        uniforms = self.sampling.uniform(self.members.separate, self.config.batch_size)
        batch = self.buffer.sample(uniforms.reshape(self.members.count, -1))
        critic_loss = self._update_critics(batch, alpha)
        actor_loss, entropy = self._update_actor(batch, alpha)
        polyak_update(self.targets, self.critics, self.config.tau)
        by_seed = (self.members.seeds, self.members.separate)
        return {
            "critic_loss": critic_loss.detach().reshape(by_seed).mean(1),
            "actor_loss": actor_loss.detach().reshape(by_seed).mean(1),
            "entropy": entropy.detach().reshape(by_seed).mean(1),
        }

    def next_values(self, batch: Batch, alpha: float) -> Tensor:
        """Return V(s') = Σ_a π(a|s') (min_k Q'_k(s', a) − α log π(a|s')) (Christodoulou, Eq. 10).

        Parameters
        ----------
        batch : Batch
            Sampled transitions, of which the next observations s' are used.
        alpha : float
            Entropy temperature α.

        Returns
        -------
        Tensor
            (members, batch), in units of scaled reward.
        """
        log_pi = log_softmax(self.logits(batch.next_observations))
        values = self.values(self.targets, batch.next_observations).min(dim=1).values
        # Where an outcome does not exist, this is 0 · ∞, which `weighted` leaves out.
        return self.heads.weighted(log_pi.exp(), values - alpha * log_pi)

    def _update_critics(self, batch: Batch, alpha: float) -> Tensor:
        """Minimise Σ_k (Q_k(s, a) − R − Γ V(s'))², with n-step return R and its discount Γ; returns it, (members,)."""
        with torch.no_grad():
            values = self.next_values(batch, alpha)
            # `where`, because the value after a termination may be NaN, and 0 · NaN is NaN.
            target = batch.returns + torch.where(batch.discounts > 0, batch.discounts * values, 0.0)
        actions = batch.actions[:, None, :, :, None].expand(-1, 2, -1, -1, -1)
        predicted = self.values(self.critics, batch.observations).gather(-1, actions).squeeze(-1).sum(-1)
        loss = ((predicted - target[:, None]).square() * batch.weights[:, None]).mean(-1).sum(1)
        gradient_step(self.critic_optimiser, self.critics, loss, self.config.max_grad_norm)
        return loss

    def _update_actor(self, batch: Batch, alpha: float) -> tuple[Tensor, Tensor]:
        """Minimise −α H(π) − Σ_a π(a|s) min_k Q_k(s, a) (Christodoulou, Eq. 12).

        Returns loss and entropy, (members,) each.
        """
        log_pi = log_softmax(self.logits(batch.observations))
        pi = log_pi.exp()
        with torch.no_grad():
            values = self.values(self.critics, batch.observations).min(dim=1).values
        log_pi = log_pi.masked_fill(~self.heads.allowed, 0.0)
        entropy = -self.heads.weighted(pi, log_pi)
        objective = -alpha * entropy - self.heads.weighted(pi, values)
        loss = (objective * batch.weights).mean(-1)
        gradient_step(self.actor_optimiser, self.actor, loss, self.config.max_grad_norm)
        return loss, entropy.mean(-1)

    def parameters_count(self) -> int:
        """Return the number of actor and critic parameters of one seed."""
        per_member = sum(p[0].numel() for p in self.actor.parameters())
        per_critic = sum(p[0].numel() for p in self.critics.parameters())
        return self.members.separate * (per_member + 2 * per_critic)

    def streams(self) -> dict[str, Streams]:
        """Return the random streams that training uses, by their key in a checkpoint."""
        return {"acting": self.action_stream, "sampling": self.sampling}

    def state(self, seed_index: int) -> State:
        """Return the complete state of one seed."""
        rows, twins = self.members.rows(seed_index), self.members.rows(seed_index, 2)
        return {
            "actor": self.actor.member_state(rows),
            "critics": self.critics.member_state(twins),
            "targets": self.targets.member_state(twins),
            "actor_optimiser": optimiser_state(self.actor_optimiser, rows),
            "critic_optimiser": optimiser_state(self.critic_optimiser, twins),
            "replay": self.buffer.state(rows),
            "returns": self.returns.state(self.members.columns(seed_index)),
            **{name: int(streams.counters[seed_index]) for name, streams in self.streams().items()},
        }

    def load_state(self, seed_index: int, state: State) -> None:
        """Set the complete state of one seed."""
        rows, twins = self.members.rows(seed_index), self.members.rows(seed_index, 2)
        self.actor.load_member_state(rows, state["actor"])
        self.critics.load_member_state(twins, state["critics"])
        self.targets.load_member_state(twins, state["targets"])
        count = self.members.count
        load_optimiser_state(self.actor_optimiser, rows, state["actor_optimiser"], count)
        load_optimiser_state(self.critic_optimiser, twins, state["critic_optimiser"], 2 * count)
        self.buffer.load_state(rows, state["replay"])
        self.returns.load_state(self.members.columns(seed_index), state["returns"])
        for name, streams in self.streams().items():
            streams.counters[seed_index] = state[name]
