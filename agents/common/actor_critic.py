"""Actor–critic learner for discrete actions, trained from whole steps of a market.

A subclass decides which inputs actors and critics have. The actor moves up the gradient of the critic's value with
respect to the agent's own action (Lowe et al., "Multi-agent actor-critic for mixed cooperative-competitive
environments", 2017). This action is a one-hot vector whose gradient is that of a softmax with Gumbel noise (Jang et
al., "Categorical reparameterization with Gumbel-softmax", 2017).

The environment receives sampled, discrete actions. The critics' targets use sampled next actions as well: the critics
therefore estimate the value of the stochastic policy, not that of its most likely actions. In the loss of an actor, the
actions of the other agents are those in the replay buffer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ioa_marl.agents.common.actor_critic_networks import RoleNetworks
from ioa_marl.agents.networks.heads import gumbel, straight_through
from ioa_marl.agents.networks.layers import affine
from ioa_marl.agents.networks.softmax import log_softmax, softmax
from ioa_marl.agents.networks.stacked import StackedMLP, gradient_step, polyak_update
from ioa_marl.agents.replay.joint_buffer import JointBatch
from ioa_marl.agents.replay.joint_views import View


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Let gradients pass through a network without accumulating them in its parameters."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


class RoleLearner(RoleNetworks):
    """The networks of one role and their gradient steps; a subclass defines the inputs of actors and critics."""

    # Values.

    def values(self, network: StackedMLP, inputs: Tensor) -> Tensor:
        """Return the values that the critics, or their targets, assign to ``inputs`` (members, rows, critic features).

        Returns
        -------
        Tensor
            (members, copies, rows), in units of scaled reward.
        """
        q: Tensor = network(self.repeat_for_critics(inputs)).squeeze(-1).unflatten(0, (self.members.count, self.copies))
        return q

    def min_over_critics(self, values: Tensor) -> Tensor:
        """Turn the critics' outputs, (critics, …, 1), into min_k Q_k over each member's critics, (members, …)."""
        values = values.squeeze(-1)
        if self.copies == 2:
            values = values.unflatten(0, (-1, 2)).min(dim=1).values
        return values

    def repeat_for_critics(self, x: Tensor) -> Tensor:
        """Repeat each member's entry, (members, …), for every critic of the member, (critics, …)."""
        return x if self.copies == 1 else x.repeat_interleave(self.copies, dim=0)

    def own_values(self, view: View, own_actions: Tensor, agent_indices: Tensor | None) -> Tensor:
        """Return min_k Q_k(x, a_1, …, a_N) with the agent's own action a_i replaced.

        Parameters
        ----------
        view : View
            Observations and actions of all agents.
        own_actions : Tensor
            (members, rows, width): own actions, with respect to which the result is differentiable.
        agent_indices : Tensor, optional
            As in `critic_inputs`.

        Returns
        -------
        Tensor
            (members, rows), in units of scaled reward.
        """
        inputs = self.critic_inputs(view, own_actions, agent_indices)
        return self.min_over_critics(self.critics(self.repeat_for_critics(inputs)))

    def own_action_weights(self) -> Tensor:
        """Return the weights of the own action in the critics' first layer, (critics, width, units)."""
        weight = self.critics.weights[0]
        columns = self.own_columns()
        columns = self.repeat_for_critics(columns.repeat(self.members.count // len(columns), 1))
        columns = columns.expand(len(weight), -1)  # a stack of one critic has a padding copy
        selected: Tensor = weight.gather(1, columns[:, :, None].expand(-1, -1, weight.shape[2]))
        return selected

    @torch.no_grad()
    def outcome_values(self, view: View, own_actions: Tensor, agent_indices: Tensor | None) -> Tensor:
        """Return the critics' value of every outcome of each head, with all other heads and agents left as they are.

        Only the first layer depends on the own action, so the contribution of all other inputs is computed once.

        Parameters
        ----------
        view : View
            Observations and actions of all agents.
        own_actions : Tensor
            (members, rows, width): own actions, one-hot.
        agent_indices : Tensor, optional
            As in `critic_inputs`.

        Returns
        -------
        Tensor
            (members, rows, heads, outcomes), min_k Q_k in units of scaled reward; undefined where an outcome does not
            exist.
        """
        network = self.critics
        inputs = self.repeat_for_critics(self.critic_inputs(view, own_actions, agent_indices))
        first_layer = affine(inputs, network.weights[0], network.biases[0])
        own_weights = self.own_action_weights().unflatten(1, (self.heads.count, self.heads.outcomes))
        own_heads = self.heads.split(self.repeat_for_critics(own_actions))
        values = []
        for head in range(self.heads.count):
            without_head = affine(own_heads[:, :, head], -own_weights[:, head], first_layer)
            hidden = network.activation(without_head[:, :, None] + own_weights[: len(without_head), None, head])
            values.append(network(hidden.flatten(1, 2), first=1).unflatten(1, (-1, self.heads.outcomes)))
        return self.min_over_critics(torch.stack(values, dim=2))

    # Learning.

    def update(self, batch: JointBatch, view: View, next_view: View, entropy_weight: float) -> dict[str, Tensor]:
        """Make one gradient step of critics and actors.

        Parameters
        ----------
        batch : JointBatch
            Sampled steps of the markets.
        view, next_view : View
            What the agents observe and do in these steps, and n steps later.
        entropy_weight : float
            Weight of the entropy in the actor's loss.

        Returns
        -------
        dict of Tensor
            Metrics, (seeds,) each, averaged over the networks of a seed.
        """
        agent_indices = self.sample_agents(self.config.batch_size)
        weights = batch.weights.repeat_interleave(self.members.separate, dim=0)
        critic_loss = self._update_critics(batch, view, next_view, agent_indices, weights)
        actor_loss, entropy = self._update_actor(batch, view, agent_indices, weights, entropy_weight)
        by_seed = (self.members.seeds, self.members.separate)
        return {
            "critic_loss": critic_loss.detach().reshape(by_seed).mean(1),
            "actor_loss": actor_loss.detach().reshape(by_seed).mean(1),
            "entropy": entropy.detach().reshape(by_seed).mean(1),
        }

    def _update_critics(
        self, batch: JointBatch, view: View, next_view: View, agent_indices: Tensor | None, weights: Tensor
    ) -> Tensor:
        """Minimise Σ_k (Q_k(x, a) − y)² with y = R + Γ min_k Q'_k(x', a') (Lowe et al., Eq. 6, with n-step returns).

        R is the discounted sum of the rewards of n steps, and Γ the discount of the value that follows them. Returns
        the loss, (members,).
        """
        name = self.role.name
        with torch.no_grad():
            next_inputs = self.critic_inputs(next_view, None, agent_indices)
            next_values = self.min_over_critics(self.target_critics(self.repeat_for_critics(next_inputs)))
            discounts = self.stacked(batch.discounts[name], agent_indices)
            # `where`, because the value after a termination may be NaN, and 0 · NaN is NaN.
            bootstrap = torch.where(discounts > 0, discounts * next_values, 0.0)
            target = self.stacked(batch.returns[name], agent_indices) + bootstrap
        predicted = self.values(self.critics, self.critic_inputs(view, None, agent_indices))
        loss = ((predicted - target[:, None]).square() * weights[:, None]).mean(-1).sum(1)
        gradient_step(self.critic_optimiser, self.critics, loss, self.config.max_grad_norm)
        return loss

    def _update_actor(
        self, batch: JointBatch, view: View, agent_indices: Tensor | None, weights: Tensor, entropy_weight: float
    ) -> tuple[Tensor, Tensor]:
        """Minimise c · mean(z²) − Q(x, a_1, …, a_N) − w H(π) with a_i from the actor (Lowe et al., Eq. 5).

        z are the logits, c is ``logit_penalty`` and w is ``entropy_weight``. Only steps in which the agent acted count.
        Returns loss and entropy, (members,) each.
        """
        c = self.config
        raw = self.heads.split(self.actor(self.stacked(self.actor_inputs(view.observations), agent_indices)))
        logits = self.heads.masked(raw, -torch.inf)
        uniforms = self.noise.uniform(self.members.separate, *logits.shape[1:]).reshape(logits.shape)
        noise = gumbel(torch.from_numpy(uniforms).to(self.device, torch.float32))
        own_actions = straight_through(logits, c.temperature, noise).flatten(-2)
        if c.actor_gradient == "expected":
            outcome_values = self.outcome_values(view, own_actions.detach(), agent_indices)
            value = self.heads.weighted(softmax(logits), outcome_values)
        else:
            with frozen(self.critics):
                value = self.own_values(view, own_actions, agent_indices)
        log_pi = log_softmax(logits)
        entropy = -self.heads.weighted(log_pi.exp(), self.heads.masked(log_pi, 0.0))
        penalty = self.heads.masked(raw.square(), 0.0).sum((-1, -2)) / sum(self.heads.sizes)
        objective = c.logit_penalty * penalty - value - entropy_weight * entropy
        acted = self.stacked(batch.active[self.role.name], agent_indices) & (weights > 0)
        count = acted.sum(-1).clamp(min=1)
        loss = torch.where(acted, objective, 0.0).sum(-1) / count
        gradient_step(self.actor_optimiser, self.actor, loss, c.max_grad_norm)
        return loss, torch.where(acted, entropy, 0.0).sum(-1) / count

    def polyak_update(self) -> None:
        """Move the target networks towards the networks: θ' ← τ θ + (1 − τ) θ'."""
        polyak_update(self.target_actor, self.actor, self.config.tau)
        polyak_update(self.target_critics, self.critics, self.config.tau)
