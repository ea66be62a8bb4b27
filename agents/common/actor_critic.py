"""Actor–critic for discrete actions, trained from whole steps of a market; what actors and critics see is left open.

The actor moves up the gradient of the critic's value in its own action (Lowe et al., "Multi-agent actor-critic for
mixed cooperative-competitive environments", 2017), which is made of one-hot vectors whose gradient is that of a softmax
with Gumbel noise (Jang et al., "Categorical reparameterization with Gumbel-softmax", 2017). The environment gets what
is drawn, true discrete actions, and so do the critics of the next step: they hold the value of the policy that trains,
not of its most likely actions. Other agents' actions in the loss of an actor are those that they took.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ioa_marl.agents.base import AgentContext, State
from ioa_marl.agents.common.members import MAX_SEPARATE_AGENTS, Members
from ioa_marl.agents.common.schedules import geometric, linear
from ioa_marl.agents.common.streams import Streams
from ioa_marl.agents.networks.heads import Heads, gumbel, straight_through
from ioa_marl.agents.networks.layers import affine
from ioa_marl.agents.networks.optimiser import StackedAdam
from ioa_marl.agents.networks.softmax import log_softmax, softmax
from ioa_marl.agents.networks.stacked import (
    StackedMLP,
    gradient_step,
    load_optimiser_state,
    optimiser_state,
    polyak_update,
)
from ioa_marl.agents.replay.joint_buffer import JointBatch
from ioa_marl.agents.replay.joint_views import ActionCode, View
from ioa_marl.envs.core import Role
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.parameters import check_number, require

ACTOR_GRADIENTS = ("straight_through", "expected")


@dataclass(frozen=True)
class ActorCriticConfig:
    """Hyper-parameters of an actor–critic."""

    width: int = 64
    """Units of each hidden layer."""
    depth: int = 2
    """Hidden layers."""
    actor_lr: float = 1e-3
    """Learning rate of the actors."""
    critic_lr: float = 1e-3
    """Learning rate of the critics."""
    gamma: float = 0.99
    """Discount per decision of the agent."""
    n_step: int = 5
    """Environment steps whose rewards are summed before the value is bootstrapped; at least as many as an action's
    reward takes to come, unless what is seen meanwhile tells of it."""
    tau: float = 0.01
    """Share of actors and critics that their targets take over at each update."""
    batch_size: int = 128
    """Steps of a market in an update; every agent learns from each."""
    agents_per_row: int = 8
    """From how many of its agents a shared network learns at each of these steps."""
    buffer_size: int = 100_000
    """Largest number of steps remembered; never more than the budget."""
    update_every: int = 16
    """Environment steps per update."""
    learning_starts: int = 1000
    """Environment steps before the first update."""
    twin_critics: bool = False
    """Whether there are two critics, of which the smaller value counts."""
    share_above: int = MAX_SEPARATE_AGENTS
    """Largest number of agents of a role that have networks of their own; more share one."""
    actor_gradient: str = "straight_through"
    """How the actor's loss depends on its policy: ``straight_through`` by a drawn action whose gradient is that of a
    softmax with Gumbel noise; ``expected`` by the mean of the critic's value over all outcomes of each head, which
    needs no gradient of the critic in the action."""
    temperature: float = 1.0
    """Temperature of the softmax that gives drawn actions their gradient."""
    logit_penalty: float = 1e-3
    """Weight of the mean squared logit in the actor's loss."""
    entropy_start: float = 0.05
    """Weight of the policy's entropy in the actor's loss at the beginning, in units of scaled reward; 0 for none."""
    entropy_end: float = 0.005
    """Weight of the entropy at the end."""
    entropy_fraction: float = 0.8
    """Share of the budget over which it falls, geometrically."""
    epsilon_start: float = 0.2
    """Probability of a uniformly drawn outcome in training at the beginning, for each head."""
    epsilon_end: float = 0.02
    """Probability of a uniformly drawn outcome at the end."""
    epsilon_fraction: float = 0.5
    """Share of the budget over which it falls, linearly."""
    reward_scale: float = 0.1
    """Factor of all rewards."""
    max_grad_norm: float = 10.0
    """Largest norm of a member's gradient."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        for name in ("actor_lr", "critic_lr", "temperature", "reward_scale", "max_grad_norm"):
            check_number(self, name, low=0.0, open_low=True)
        for name in ("logit_penalty", "entropy_start", "entropy_end"):
            check_number(self, name, low=0.0)
        for name in ("gamma", "tau", "entropy_fraction", "epsilon_start", "epsilon_end", "epsilon_fraction"):
            check_number(self, name, low=0.0, high=1.0)
        for name, high in (
            ("width", 65536), ("depth", 64), ("n_step", 10_000), ("batch_size", 10**6), ("agents_per_row", 10**6),
            ("buffer_size", 10**8), ("update_every", 10**9), ("share_above", 10**6),
        ):  # fmt: skip
            check_number(self, name, low=1, high=high)
        check_number(self, "learning_starts", low=0)
        require(
            self.actor_gradient in ACTOR_GRADIENTS, "actor_gradient", self.actor_gradient, " or ".join(ACTOR_GRADIENTS)
        )
        require(
            (self.entropy_start > 0) == (self.entropy_end > 0),
            "entropy_end", self.entropy_end, "above 0 where entropy_start is, and 0 where it is 0",
        )  # fmt: skip

    def entropy(self, progress: float) -> float:
        """Return the weight of the entropy at a share of training."""
        if self.entropy_start == 0:
            return 0.0
        return geometric(self.entropy_start, self.entropy_end, self.entropy_fraction, progress)

    def epsilon(self, progress: float) -> float:
        """Return the probability of a uniformly drawn outcome at a share of training."""
        return linear(self.epsilon_start, self.epsilon_end, self.epsilon_fraction, progress)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Let gradients pass through a network without being summed in its parameters."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


class RoleLearner:
    """Actors, critics and their targets of one role: stacks over seeds × agents, or over seeds where agents share.

    A subclass says what they see. Arrays of a role come as (seeds, batch, agents, …), stacks take (members, rows, …).
    """

    def __init__(self, context: AgentContext, config: ActorCriticConfig, role: Role, roles: Mapping[str, Role]) -> None:
        self.config, self.role, self.roles, self.device = config, role, roles, context.device
        self.members = Members(context, role, config.share_above)
        self.heads = Heads(role.action_space, context.device)
        self.codes = {name: ActionCode(other, context.device) for name, other in roles.items()}
        self.copies = 2 if config.twin_critics else 1

        stream_offset = context.stream_offset(role)
        weights = Streams(context.seeds, stream_offset)
        self.action_stream = Streams(context.seeds, stream_offset + 1)
        self.noise = Streams(context.seeds, stream_offset + 2)
        hidden = [config.width] * config.depth
        self.actor = StackedMLP(
            self.members.count, [self.actor_features(), *hidden, self.heads.width], self.members.uniforms(weights)
        ).to(self.device)
        self.critics = StackedMLP(
            self.members.count * self.copies,
            [self.critic_features(), *hidden, 1],
            self.members.uniforms(weights, self.copies),
        ).to(self.device)
        self.target_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.target_critics = copy.deepcopy(self.critics).requires_grad_(False)
        self.actor_optimiser = StackedAdam(self.actor.parameters(), config.actor_lr)
        self.critic_optimiser = StackedAdam(self.critics.parameters(), config.critic_lr)

    # What a subclass says.

    def actor_features(self) -> int:
        """Return the number of inputs of an actor."""
        return int(self.role.observation_space.shape[0])

    def actor_inputs(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Return what the actors see, (seeds, batch, agents, actor features)."""
        return observations[self.role.name]

    def critic_features(self) -> int:
        """Return the number of inputs of a critic."""
        raise NotImplementedError

    def critic_inputs(self, view: View, own: Tensor | None, chosen: Tensor | None) -> Tensor:
        """Return what the critics see.

        Parameters
        ----------
        view : View
            The moment.
        own : Tensor, optional
            (members, rows, width): own actions in place of those of the view.
        chosen : Tensor, optional
            Agents that are looked at, as `choose_agents` returns them.

        Returns
        -------
        Tensor
            (members, rows, critic features).
        """
        raise NotImplementedError

    def own_columns(self) -> Tensor:
        """Return which inputs of a critic are the own action, (1, width), or (agents, width) where they differ."""
        raise NotImplementedError

    # Between arrays of a role and the stack.

    def stacked(self, x: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Turn (seeds, batch, agents, …) into (members, rows, …); of shared networks only the chosen agents' part."""
        if not self.members.shared:
            # Of a lone seed flattening makes a view, and sums of another layout round differently.
            return x.transpose(1, 2).flatten(0, 1).contiguous()
        if chosen is not None:
            index = chosen.view(*chosen.shape, *[1] * (x.dim() - 3))
            x = x.gather(2, index.expand(*chosen.shape, *x.shape[3:]))
        return x.flatten(1, 2)

    def unstacked(self, x: Tensor) -> Tensor:
        """Turn (members, rows, …) of all agents into (seeds, batch, agents, …)."""
        if self.members.shared:
            shared: Tensor = x.unflatten(1, (-1, self.role.count))
            return shared
        separate: Tensor = x.unflatten(0, (self.members.seeds, -1)).transpose(1, 2)
        return separate

    def choose_agents(self, batch: int) -> Tensor | None:
        """Return which agents a shared network learns from, (seeds, batch, some); None where none is shared."""
        if not self.members.shared:
            return None
        some = min(self.role.count, self.config.agents_per_row)
        first = self.noise.integers(self.role.count, batch, 1)
        return torch.from_numpy((first + np.arange(some)) % self.role.count).to(self.device)

    # Acting.

    def logits(self, network: StackedMLP, observations: Mapping[str, Tensor]) -> Tensor:
        """Return all agents' logits (members, rows, heads, outcomes), −inf where an outcome does not exist."""
        return self.heads.logits(network(self.stacked(self.actor_inputs(observations))))

    @torch.no_grad()
    def act(self, observations: Mapping[str, Tensor], epsilon: float | None) -> NDArray[np.int64]:
        """Return (seeds, markets, agents) actions, with heads behind for MultiDiscrete; the likeliest without ε."""
        logits = self.logits(self.actor, observations)
        if epsilon is not None:
            uniform = self.heads.allowed / self.heads.allowed.sum(-1, keepdim=True)
            logits = torch.log((1.0 - epsilon) * softmax(logits) + epsilon * uniform)
        chosen = self.heads.choose(logits, None if epsilon is None else self.action_stream, self.members.seeds)
        out: NDArray[np.int64] = self.members.unstacked(chosen, observations[self.role.name].shape[1])
        return out[..., 0] if self.heads.single else out

    @torch.no_grad()
    def target_actions(self, observations: Mapping[str, Tensor], active: Tensor, *, draw: bool = True) -> Tensor:
        """Return what the target actors of all agents do, drawn or the likeliest: (seeds, batch, agents, width)."""
        logits = self.logits(self.target_actor, observations)
        chosen = self.heads.choose(logits, self.noise if draw else None, self.members.seeds)
        actions = self.unstacked(torch.from_numpy(chosen).to(self.device))
        return self.codes[self.role.name](actions, active)

    # Learning.

    def values(self, network: StackedMLP, inputs: Tensor) -> Tensor:
        """Return the critics' values (members, copies, rows)."""
        found: Tensor = network(self.twice(inputs)).squeeze(-1).unflatten(0, (self.members.count, self.copies))
        return found

    def smaller(self, values: Tensor) -> Tensor:
        """Turn what the critics return, (critics, …, 1), into the smaller value of two, (members, …)."""
        values = values.squeeze(-1)
        if self.copies == 2:
            values = values.unflatten(0, (-1, 2)).min(dim=1).values
        return values

    def own_values(self, view: View, own: Tensor, chosen: Tensor | None) -> Tensor:
        """Return the critics' values of own actions in place of those of the view.

        Parameters
        ----------
        view : View
            The moment.
        own : Tensor
            (members, rows, width): own actions, which gradients run through.
        chosen : Tensor, optional
            As in `critic_inputs`.

        Returns
        -------
        Tensor
            (members, rows), the smaller one of two critics.
        """
        return self.smaller(self.critics(self.twice(self.critic_inputs(view, own, chosen))))

    def twice(self, x: Tensor) -> Tensor:
        """Repeat members, (members, …), for their critics, of which there may be two."""
        return x if self.copies == 1 else x.repeat_interleave(self.copies, dim=0)

    def weights_of_own(self) -> Tensor:
        """Return what the critics' first layer makes of the own action, (critics, width, units)."""
        weight = self.critics.weights[0]
        columns = self.own_columns()
        columns = self.twice(columns.repeat(self.members.count // len(columns), 1))
        columns = columns.expand(len(weight), -1)  # a lone critic has a shadow
        found: Tensor = weight.gather(1, columns[:, :, None].expand(-1, -1, weight.shape[2]))
        return found

    @torch.no_grad()
    def outcome_values(self, view: View, own: Tensor, chosen: Tensor | None) -> Tensor:
        """Return the critics' value of every outcome of each head, the other heads and agents doing what they do.

        Only the first layer sees the own action: what it makes of everything else is computed once.

        Parameters
        ----------
        view : View
            The moment.
        own : Tensor
            (members, rows, width): own actions, one-hot.
        chosen : Tensor, optional
            As in `critic_inputs`.

        Returns
        -------
        Tensor
            (members, rows, heads, outcomes), the smaller one of two critics; meaningless where no outcome is.
        """
        network = self.critics
        whole = affine(self.twice(self.critic_inputs(view, own, chosen)), network.weights[0], network.biases[0])
        of_own = self.weights_of_own().unflatten(1, (self.heads.count, self.heads.outcomes))
        done = self.heads.split(self.twice(own))
        found = []
        for head in range(self.heads.count):
            without = affine(done[:, :, head], -of_own[:, head], whole)
            hidden = network.activation(without[:, :, None] + of_own[: len(without), None, head])
            found.append(network(hidden.flatten(1, 2), first=1).unflatten(1, (-1, self.heads.outcomes)))
        return self.smaller(torch.stack(found, dim=2))

    def update(self, batch: JointBatch, now: View, then: View, entropy: float) -> dict[str, Tensor]:
        """Make one gradient step of critics and actor; returns figures (seeds,)."""
        chosen = self.choose_agents(self.config.batch_size)
        weights = batch.weights.repeat_interleave(self.members.separate, dim=0)
        critic_loss = self._update_critics(batch, now, then, chosen, weights)
        actor_loss, surprise = self._update_actor(batch, now, chosen, weights, entropy)
        by_seed = (self.members.seeds, self.members.separate)
        return {
            "critic_loss": critic_loss.detach().reshape(by_seed).mean(1),
            "actor_loss": actor_loss.detach().reshape(by_seed).mean(1),
            "entropy": surprise.detach().reshape(by_seed).mean(1),
        }

    def polyak_update(self) -> None:
        """Move the targets."""
        polyak_update(self.target_actor, self.actor, self.config.tau)
        polyak_update(self.target_critics, self.critics, self.config.tau)

    def _update_critics(
        self, batch: JointBatch, now: View, then: View, chosen: Tensor | None, weights: Tensor
    ) -> Tensor:
        name = self.role.name
        with torch.no_grad():
            later = self.smaller(self.target_critics(self.twice(self.critic_inputs(then, None, chosen))))
            discounts = self.stacked(batch.discounts[name], chosen)
            # What follows a termination counts nothing, even where it is not a number.
            target = self.stacked(batch.returns[name], chosen) + torch.where(discounts > 0, discounts * later, 0.0)
        predicted = self.values(self.critics, self.critic_inputs(now, None, chosen))
        loss = ((predicted - target[:, None]).square() * weights[:, None]).mean(-1).sum(1)
        gradient_step(self.critic_optimiser, self.critics, loss, self.config.max_grad_norm)
        return loss

    def _update_actor(
        self, batch: JointBatch, now: View, chosen: Tensor | None, weights: Tensor, entropy: float
    ) -> tuple[Tensor, Tensor]:
        c = self.config
        raw = self.heads.split(self.actor(self.stacked(self.actor_inputs(now.observations), chosen)))
        logits = self.heads.masked(raw, -torch.inf)
        uniforms = self.noise.uniform(self.members.separate, *logits.shape[1:]).reshape(logits.shape)
        noise = gumbel(torch.from_numpy(uniforms).to(self.device, torch.float32))
        own = straight_through(logits, c.temperature, noise).flatten(-2)
        if c.actor_gradient == "expected":
            value = self.heads.weighted(softmax(logits), self.outcome_values(now, own.detach(), chosen))
        else:
            with frozen(self.critics):
                value = self.own_values(now, own, chosen)
        log_pi = log_softmax(logits)
        surprise = -self.heads.weighted(log_pi.exp(), self.heads.masked(log_pi, 0.0))
        penalty = self.heads.masked(raw.square(), 0.0).sum((-1, -2)) / sum(self.heads.sizes)
        objective = c.logit_penalty * penalty - value - entropy * surprise
        asked = self.stacked(batch.active[self.role.name], chosen) & (weights > 0)
        count = asked.sum(-1).clamp(min=1)
        loss = torch.where(asked, objective, 0.0).sum(-1) / count
        gradient_step(self.actor_optimiser, self.actor, loss, c.max_grad_norm)
        return loss, torch.where(asked, surprise, 0.0).sum(-1) / count

    # State.

    def parameters_count(self) -> int:
        """Return the number of actor and critic parameters of one seed."""
        per_actor = sum(p[0].numel() for p in self.actor.parameters())
        per_critic = sum(p[0].numel() for p in self.critics.parameters())
        return self.members.separate * (per_actor + self.copies * per_critic)

    def state(self, seed_index: int) -> State:
        """Return networks, optimisers and random streams of one seed."""
        rows, twins = self.members.rows(seed_index), self.members.rows(seed_index, self.copies)
        return {
            "actor": self.actor.member_state(rows),
            "target_actor": self.target_actor.member_state(rows),
            "critics": self.critics.member_state(twins),
            "target_critics": self.target_critics.member_state(twins),
            "actor_optimiser": optimiser_state(self.actor_optimiser, rows),
            "critic_optimiser": optimiser_state(self.critic_optimiser, twins),
            "acting": int(self.action_stream.counters[seed_index]),
            "noise": int(self.noise.counters[seed_index]),
        }

    def load_state(self, seed_index: int, state: State) -> None:
        """Set networks, optimisers and random streams of one seed."""
        rows, twins = self.members.rows(seed_index), self.members.rows(seed_index, self.copies)
        self.actor.load_member_state(rows, state["actor"])
        self.target_actor.load_member_state(rows, state["target_actor"])
        self.critics.load_member_state(twins, state["critics"])
        self.target_critics.load_member_state(twins, state["target_critics"])
        load_optimiser_state(self.actor_optimiser, rows, state["actor_optimiser"], self.members.count)
        load_optimiser_state(self.critic_optimiser, twins, state["critic_optimiser"], self.critics.members)
        self.action_stream.counters[seed_index] = state["acting"]
        self.noise.counters[seed_index] = state["noise"]

    def load_actor(self, seed_index: int, state: State) -> None:
        """Act with the actors of one seed, which may have been trained with another number of agents if they share."""
        networks = next(iter(state.values())).shape[0]
        if networks != self.members.separate:
            raise UserError(
                f"{networks} networks cannot play {self.role.count} agents of {self.role.name}, which have "
                f"{self.members.separate}: only a shared network plays another number of agents (share_above)"
            )
        self.actor.load_member_state(self.members.rows(seed_index), state)
