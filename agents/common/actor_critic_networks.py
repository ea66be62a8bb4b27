"""The networks of an actor–critic for one role: how they are built, what they are shown, how they act, their state."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ioa_marl.agents.base import AgentContext, State
from ioa_marl.agents.common.actor_critic_config import ActorCriticConfig
from ioa_marl.agents.common.members import Members
from ioa_marl.agents.common.streams import Streams
from ioa_marl.agents.networks.heads import Heads
from ioa_marl.agents.networks.optimiser import StackedAdam
from ioa_marl.agents.networks.softmax import softmax
from ioa_marl.agents.networks.stacked import StackedMLP, load_optimiser_state, optimiser_state
from ioa_marl.agents.replay.joint_views import ActionCode, View
from ioa_marl.envs.core import Role
from ioa_marl.foundations.errors import UserError


class RoleNetworks:
    """Actors, critics, their target networks and their optimisers for one role.

    Each kind of network is a stack with one member per seed and agent, or one member per seed if the agents share a
    network. Arrays of a role have the shape (seeds, batch, agents, …); stacks take (members, rows, …). A subclass
    defines the inputs of actors and critics.

    Parameters
    ----------
    context : AgentContext
        The run.
    config : ActorCriticConfig
        Hyper-parameters.
    role : Role
        The role that is learnt.
    roles : mapping of Role
        By name, the roles whose observations and actions the networks may use.
    """

    def __init__(self, context: AgentContext, config: ActorCriticConfig, role: Role, roles: Mapping[str, Role]) -> None:
        self.config, self.role, self.roles, self.device = config, role, roles, context.device
        self.members = Members(context, role, config.share_above)
        self.heads = Heads(role.action_space, context.device)
        self.codes = {name: ActionCode(other, context.device) for name, other in roles.items()}
        self.copies = 2 if config.twin_critics else 1
        """Number of critics per member."""

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

    # Inputs of the networks, which a subclass defines.

    def actor_features(self) -> int:
        """Return the number of inputs of an actor."""
        return int(self.role.observation_space.shape[0])

    def actor_inputs(self, observations: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return the inputs of the actors.

        Parameters
        ----------
        observations : mapping of Tensor
            For each role (seeds, batch, agents, features).
        present : Tensor, optional
            bool (seeds, batch, agents): which agents of the own role count in what an actor sees of the others.
            Default: those that `present_agents` finds.

        Returns
        -------
        Tensor
            (seeds, batch, agents, actor features).
        """
        return observations[self.role.name]

    def critic_features(self) -> int:
        """Return the number of inputs of a critic."""
        raise NotImplementedError

    def critic_inputs(self, view: View, own_actions: Tensor | None, agent_indices: Tensor | None) -> Tensor:
        """Return the inputs of the critics.

        Parameters
        ----------
        view : View
            Observations and actions of all agents.
        own_actions : Tensor, optional
            (members, rows, width): one-hot actions that replace each agent's own action in the view.
        agent_indices : Tensor, optional
            int64 (seeds, batch, some), from `sample_agents`: agents that a shared critic evaluates; by default all.

        Returns
        -------
        Tensor
            (members, rows, critic features).
        """
        raise NotImplementedError

    def own_columns(self) -> Tensor:
        """Return the indices of those critic inputs that are the agent's own action.

        Returns
        -------
        Tensor
            int64 (1, width), or (agents, width) if they differ between agents.
        """
        raise NotImplementedError

    # Conversion between arrays of a role and the stack.

    def stacked(self, x: Tensor, agent_indices: Tensor | None = None) -> Tensor:
        """Turn an array of the role into one of the stack.

        Parameters
        ----------
        x : Tensor
            (seeds, batch, agents, …).
        agent_indices : Tensor, optional
            int64 (seeds, batch, some): agents whose entries a shared network gets; by default all.

        Returns
        -------
        Tensor
            (members, rows, …).
        """
        if not self.members.shared:
            # With a single seed, flattening would return a view, and sums over another layout round differently.
            return x.transpose(1, 2).flatten(0, 1).contiguous()
        if agent_indices is not None:
            index = agent_indices.view(*agent_indices.shape, *[1] * (x.dim() - 3))
            x = x.gather(2, index.expand(*agent_indices.shape, *x.shape[3:]))
        return x.flatten(1, 2)

    def unstacked(self, x: Tensor) -> Tensor:
        """Turn an array of the stack, (members, rows, …) of all agents, into (seeds, batch, agents, …)."""
        if self.members.shared:
            shared: Tensor = x.unflatten(1, (-1, self.role.count))
            return shared
        separate: Tensor = x.unflatten(0, (self.members.seeds, -1)).transpose(1, 2)
        return separate

    def sample_agents(self, batch: int) -> Tensor | None:
        """Sample the agents from which a shared network learns.

        Parameters
        ----------
        batch : int
            Number of market steps in the update.

        Returns
        -------
        Tensor, optional
            int64 (seeds, batch, some); None if the agents have separate networks.
        """
        if not self.members.shared:
            return None
        some = min(self.role.count, self.config.agents_per_row)
        first = self.noise.integers(self.role.count, batch, 1)
        return torch.from_numpy((first + np.arange(some)) % self.role.count).to(self.device)

    # Acting.

    def logits(self, network: StackedMLP, observations: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return the logits of all agents.

        Parameters
        ----------
        network : StackedMLP
            The actors, or the target actors.
        observations, present
            As in `actor_inputs`.

        Returns
        -------
        Tensor
            (members, rows, heads, outcomes), −inf where an outcome does not exist.
        """
        return self.heads.logits(network(self.stacked(self.actor_inputs(observations, present))))

    @torch.no_grad()
    def act(
        self, observations: Mapping[str, Tensor], epsilon: float | None, streams: Streams | None = None
    ) -> NDArray[np.int64]:
        """Choose actions.

        Parameters
        ----------
        observations : mapping of Tensor
            For each role (seeds, markets, agents, features).
        epsilon : float, optional
            Probability of a uniformly random outcome of each head. None: the most likely actions are taken.
        streams : Streams, optional
            Random streams from which actions are sampled; default: those of training.

        Returns
        -------
        ndarray of int64
            (seeds, markets, agents), or (seeds, markets, agents, heads) for a MultiDiscrete space.
        """
        logits = self.logits(self.actor, observations)
        if epsilon is not None:
            uniform = self.heads.allowed / self.heads.allowed.sum(-1, keepdim=True)
            logits = torch.log((1.0 - epsilon) * softmax(logits) + epsilon * uniform)
        drawn = None if epsilon is None else streams or self.action_stream
        actions = self.heads.choose(logits, drawn, self.members.seeds)
        out: NDArray[np.int64] = self.members.unstacked(actions, observations[self.role.name].shape[1])
        return out[..., 0] if self.heads.single else out

    @torch.no_grad()
    def target_actions(self, observations: Mapping[str, Tensor], active: Tensor, *, draw: bool = True) -> Tensor:
        """Return the actions that the target actors of all agents take.

        Parameters
        ----------
        observations : mapping of Tensor
            For each role (seeds, batch, agents, features).
        active : Tensor
            bool (seeds, batch, agents): agents that act; the others have actions of zeros.
        draw : bool, default True
            Whether actions are sampled; otherwise the most likely ones are taken.

        Returns
        -------
        Tensor
            float32 (seeds, batch, agents, width), one-hot.
        """
        return self.encoded_actions(self.logits(self.target_actor, observations), active, draw=draw)

    def encoded_actions(self, logits: Tensor, active: Tensor, *, draw: bool) -> Tensor:
        """Return actions that are drawn from ``logits``, or the most likely ones; see `target_actions`."""
        chosen = self.heads.choose(logits, self.noise if draw else None, self.members.seeds)
        actions = self.unstacked(torch.from_numpy(chosen).to(self.device))
        return self.codes[self.role.name](actions, active)

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
        """Load the actors of one seed. A shared actor may have been trained with another number of agents.

        Raises
        ------
        UserError
            If the number of networks is not that of this role.
        """
        networks = next(iter(state.values())).shape[0]
        if networks != self.members.separate:
            raise UserError(
                f"{networks} networks cannot play {self.role.count} agents of {self.role.name}, which have "
                f"{self.members.separate}: only a shared network plays another number of agents (share_above)"
            )
        self.actor.load_member_state(self.members.rows(seed_index), state)
