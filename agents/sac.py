"""Discrete soft actor-critic with an MLP actor, all seeds and agents in one stack of networks.

Christodoulou, "Soft actor-critic for discrete action settings" (2019), with n-step returns and an entropy
temperature that falls geometrically over training.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from ioa_marl.agents.base import Agent, Setting, State, action_heads
from ioa_marl.agents.randomness import Streams
from ioa_marl.agents.replay import Batch, NStepReturns, StackedReplay
from ioa_marl.agents.stacked import (
    StackedMLP,
    adam,
    clip_per_member,
    follow,
    load_optimiser_state,
    optimiser_state,
)
from ioa_marl.envs.core import Arrays, Role
from ioa_marl.envs.vector import Transition
from ioa_marl.markets.parameters import check_number

MAX_SEPARATE_AGENTS = 64
"""Up to so many agents of a role have networks of their own; more share one."""


@dataclass(frozen=True)
class SACConfig:
    """Hyper-parameters of discrete SAC."""

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
    """Actions whose rewards are summed before the value is bootstrapped."""
    tau: float = 0.01
    """Share of the critics that their targets take over at each update."""
    batch_size: int = 256
    """Transitions of each member in an update."""
    buffer_size: int = 100_000
    """Largest number of transitions remembered; never more than the budget."""
    update_every: int = 16
    """Environment steps per update."""
    learning_starts: int = 1000
    """Environment steps before the first update."""
    alpha_start: float = 0.2
    """Entropy temperature α at the beginning, in units of scaled reward."""
    alpha_end: float = 0.015
    """Entropy temperature at the end."""
    alpha_fraction: float = 0.8
    """Share of the budget over which α falls."""
    reward_scale: float = 0.1
    """Factor of all rewards."""
    max_grad_norm: float = 10.0
    """Largest norm of a member's gradient."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
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


class SACAgent(Agent):
    """Discrete SAC; each role it plays has its own networks."""

    config_class: ClassVar[type[Any]] = SACConfig
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Discrete, spaces.MultiDiscrete)

    def __init__(self, setting: Setting, config: SACConfig) -> None:
        super().__init__(setting, config)
        self._learners = {role.name: SACLearner(setting, config, role) for role in setting.plays}
        self._steps = np.zeros(len(setting.seeds), np.int64)

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Sample from the actors, or take their most likely actions."""
        return {name: learner.act(observations[name], deterministic) for name, learner in self._learners.items()}

    def observe(self, transition: Transition) -> None:
        """Remember the completed n-step transitions."""
        self._steps += self.setting.num_envs
        for learner in self._learners.values():
            learner.observe(transition)

    def learn(self) -> Mapping[str, NDArray[np.float64]] | None:
        """Update once for every ``update_every`` environment steps that have passed."""
        # All seeds of a group are at the same step; each one's schedule is its own step count.
        now, before = int(self._steps[0]), int(self._steps[0]) - self.setting.num_envs
        if now < self.config.learning_starts:
            return None
        every = self.config.update_every
        figures: dict[str, Tensor] = {}
        for _ in range(now // every - before // every):
            for name, learner in self._learners.items():
                found = learner.update(temperature(self.config, now / self.setting.budget))
                figures.update({f"{name}/{key}": value for key, value in found.items()})
        return {key: value.numpy(force=True).astype(np.float64) for key, value in figures.items()} or None

    def state_dict(self, seed_index: int) -> State:
        """Return networks, optimisers, memory, open returns and random streams of one seed."""
        learners = {name: learner.state(seed_index) for name, learner in self._learners.items()}
        return {"steps": int(self._steps[seed_index]), "learners": learners}

    def load_state_dict(self, seed_index: int, state: State) -> None:
        """Go on from what `state_dict` returned."""
        self._steps[seed_index] = state["steps"]
        for name, learner in self._learners.items():
            learner.load_state(seed_index, state["learners"][name])

    def policy_state(self, seed_index: int) -> State:
        """Return the actors of one seed."""
        return {name: learner.actor.member_state(learner.rows(seed_index)) for name, learner in self._learners.items()}

    def load_policy_state(self, seed_index: int, state: State) -> None:
        """Act with the actors that `policy_state` returned."""
        for name, learner in self._learners.items():
            learner.actor.load_member_state(learner.rows(seed_index), state[name])

    def parameters_count(self) -> int:
        """Return the number of actor and critic parameters of one seed."""
        return sum(learner.parameters_count() for learner in self._learners.values())


def temperature(config: SACConfig, progress: float) -> float:
    """Return the entropy temperature at a share ``progress`` of the budget."""
    fraction = min(progress / config.alpha_fraction, 1.0) if config.alpha_fraction > 0 else 1.0
    return float(config.alpha_start * (config.alpha_end / config.alpha_start) ** fraction)


class SACLearner:
    """Actors and twin critics of one role: a stack over seeds × agents, or over seeds where agents share."""

    def __init__(self, setting: Setting, config: SACConfig, role: Role) -> None:
        self.config, self.role, self.device = config, role, setting.device
        self.seeds, self.num_envs = len(setting.seeds), setting.num_envs
        self.separate = role.count if role.count <= MAX_SEPARATE_AGENTS else 1
        self.members = self.seeds * self.separate
        self.heads = action_heads(role.action_space)
        self.features = role.observation_space.shape[0]
        self.outcomes = max(self.heads)
        mask = torch.arange(self.outcomes) < torch.tensor(self.heads)[:, None]
        self.allowed = mask.to(self.device)

        purpose = setting.purpose(role)
        weights = Streams(setting.seeds, purpose)
        sizes = [self.features, *[config.width] * config.depth, len(self.heads) * self.outcomes]
        self.actor = StackedMLP(self.members, sizes, self._uniforms(weights, 1)).to(self.device)
        self.critics = StackedMLP(2 * self.members, sizes, self._uniforms(weights, 2)).to(self.device)
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.actor_optimiser = adam(self.actor.parameters(), config.actor_lr)
        self.critic_optimiser = adam(self.critics.parameters(), config.critic_lr)
        # At least what one step can bring: full windows, and the flush at the end of all episodes.
        largest = (config.n_step + 1) * self.num_envs * role.count // self.separate
        capacity = max(min(config.buffer_size, setting.budget), largest)
        self.replay = StackedReplay(self.members, capacity, self.features, len(self.heads), self.device)
        self.returns = NStepReturns(
            self.seeds * self.num_envs * role.count,
            config.n_step,
            config.gamma,
            self.features,
            len(self.heads),
        )
        self.acting = Streams(setting.seeds, purpose + 1)
        self.sampling = Streams(setting.seeds, purpose + 2)

    def _uniforms(self, streams: Streams, copies: int) -> Any:
        # Member order is (seed, agent, copy), so the twins of a member are neighbours.
        return lambda k: streams.uniform(self.separate * copies, k).reshape(-1, k)

    def rows(self, seed_index: int, copies: int = 1) -> slice:
        """Return the members of one seed."""
        n = self.separate * copies
        return slice(seed_index * n, (seed_index + 1) * n)

    def _by_member(self, array: NDArray[Any]) -> NDArray[Any]:
        """(seeds, markets, agents, …) to (members, batch, …)."""
        markets, agents = array.shape[1:3]
        if self.separate == 1:
            return array.reshape(self.members, markets * agents, *array.shape[3:])
        return np.swapaxes(array, 1, 2).reshape(self.members, markets, *array.shape[3:])

    def logits(self, observations: Tensor) -> Tensor:
        """Return (members, batch, heads, outcomes), −inf where an outcome does not exist."""
        out = self.actor(observations).unflatten(-1, (len(self.heads), self.outcomes))
        masked: Tensor = out.masked_fill(~self.allowed, -torch.inf)
        return masked

    def _values(self, network: StackedMLP, observations: Tensor) -> Tensor:
        """Return the twins' action values (members, 2, batch, heads, outcomes)."""
        twice = observations.repeat_interleave(2, dim=0)
        out: Tensor = network(twice).unflatten(-1, (len(self.heads), self.outcomes))
        paired: Tensor = out.unflatten(0, (self.members, 2))
        return paired

    @torch.no_grad()
    def act(self, observations: NDArray[np.float32], deterministic: bool) -> NDArray[np.int64]:
        """Return (seeds, markets, agents) actions, with heads behind for MultiDiscrete."""
        seen = torch.from_numpy(np.ascontiguousarray(self._by_member(observations))).to(self.device)
        logits = self.logits(seen)
        seeds, markets, agents = observations.shape[:3]
        if deterministic:
            chosen = logits.argmax(-1).numpy(force=True)
        else:
            chosen = self.acting.categorical(
                logits.softmax(-1).numpy(force=True).reshape(seeds, -1, len(self.heads), self.outcomes)
            )
        if self.separate == 1:
            out = chosen.reshape(seeds, markets, agents, -1)
        else:
            out = np.swapaxes(chosen.reshape(seeds, agents, markets, -1), 1, 2)
        return out[..., 0] if isinstance(self.role.action_space, spaces.Discrete) else out

    def observe(self, transition: Transition) -> None:
        """Pass one step through the n-step windows into the memory."""
        name = self.role.name
        shape = transition.rewards[name].shape
        everywhere = [
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
            *everywhere,
        )
        if len(columns):
            seeds, agents = columns // (shape[1] * shape[2]), columns % shape[2]
            members = seeds if self.separate == 1 else seeds * self.separate + agents
            self.replay.add(members, rows)

    def update(self, alpha: float) -> dict[str, Tensor]:
        """Make one gradient step of critics and actor; returns figures (seeds,)."""
        uniforms = self.sampling.uniform(self.separate, self.config.batch_size)
        batch = self.replay.sample(uniforms.reshape(self.members, -1))
        critic_loss = self._update_critics(batch, alpha)
        actor_loss, entropy = self._update_actor(batch, alpha)
        follow(self.targets, self.critics, self.config.tau)
        by_seed = (self.seeds, self.separate)
        return {
            "critic_loss": critic_loss.detach().reshape(by_seed).mean(1),
            "actor_loss": actor_loss.detach().reshape(by_seed).mean(1),
            "entropy": entropy.detach().reshape(by_seed).mean(1),
        }

    def _update_critics(self, batch: Batch, alpha: float) -> Tensor:
        with torch.no_grad():
            log_pi = self.logits(batch.next_observations).log_softmax(-1)
            pi = log_pi.exp()
            # 0 · (−inf) of outcomes that do not exist
            surprise = torch.where(self.allowed, pi * log_pi, 0.0)
            values = self._values(self.targets, batch.next_observations).min(dim=1).values
            soft = (torch.where(self.allowed, pi * values, 0.0) - alpha * surprise).sum((-1, -2))
            target = batch.returns + batch.discounts * soft
        chosen = batch.actions[:, None, :, :, None].expand(-1, 2, -1, -1, -1)
        predicted = self._values(self.critics, batch.observations).gather(-1, chosen).squeeze(-1).sum(-1)
        loss = ((predicted - target[:, None]).square() * batch.weights[:, None]).mean(-1).sum(1)
        _descend(self.critic_optimiser, self.critics, loss, self.config.max_grad_norm)
        return loss

    def _update_actor(self, batch: Batch, alpha: float) -> tuple[Tensor, Tensor]:
        log_pi = self.logits(batch.observations).log_softmax(-1)
        pi = log_pi.exp()
        with torch.no_grad():
            values = self._values(self.critics, batch.observations).min(dim=1).values
        surprise = torch.where(self.allowed, pi * log_pi.masked_fill(~self.allowed, 0.0), 0.0)
        objective = (alpha * surprise - torch.where(self.allowed, pi * values, 0.0)).sum((-1, -2))
        loss = (objective * batch.weights).mean(-1)
        _descend(self.actor_optimiser, self.actor, loss, self.config.max_grad_norm)
        return loss, -surprise.sum((-1, -2)).mean(-1)

    def parameters_count(self) -> int:
        """Return the number of actor and critic parameters of one seed."""
        per_member = sum(p[0].numel() for p in self.actor.parameters())
        per_critic = sum(p[0].numel() for p in self.critics.parameters())
        return self.separate * (per_member + 2 * per_critic)

    def _columns(self, seed_index: int) -> slice:
        n = self.num_envs * self.role.count
        return slice(seed_index * n, (seed_index + 1) * n)

    def state(self, seed_index: int) -> State:
        """Return everything of one seed."""
        rows, twins = self.rows(seed_index), self.rows(seed_index, 2)
        return {
            "actor": self.actor.member_state(rows),
            "critics": self.critics.member_state(twins),
            "targets": self.targets.member_state(twins),
            "actor_optimiser": optimiser_state(self.actor_optimiser, rows),
            "critic_optimiser": optimiser_state(self.critic_optimiser, twins),
            "replay": self.replay.state(rows),
            "returns": self.returns.state(self._columns(seed_index)),
            "acting": int(self.acting.counters[seed_index]),
            "sampling": int(self.sampling.counters[seed_index]),
        }

    def load_state(self, seed_index: int, state: State) -> None:
        """Set everything of one seed."""
        rows, twins = self.rows(seed_index), self.rows(seed_index, 2)
        self.actor.load_member_state(rows, state["actor"])
        self.critics.load_member_state(twins, state["critics"])
        self.targets.load_member_state(twins, state["targets"])
        load_optimiser_state(self.actor_optimiser, rows, state["actor_optimiser"], self.members)
        load_optimiser_state(self.critic_optimiser, twins, state["critic_optimiser"], 2 * self.members)
        self.replay.load_state(rows, state["replay"])
        self.returns.load_state(self._columns(seed_index), state["returns"])
        self.acting.counters[seed_index] = state["acting"]
        self.sampling.counters[seed_index] = state["sampling"]


def _descend(optimiser: torch.optim.Optimizer, network: StackedMLP, loss: Tensor, max_norm: float) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.sum().backward()
    clip_per_member(network.parameters(), max_norm)
    optimiser.step()
