"""MADDPG: centralised critics of all observations and actions, and actors of the agent's own observation.

Lowe et al., "Multi-agent actor-critic for mixed cooperative-competitive environments" (2017), with these differences:
the environment receives one-hot actions rather than soft ones, terminal steps are kept, and returns span n steps.

If another agent plays some of the roles, the critics' inputs include the observations and actions of these roles. The
value of the next step then uses the actions that they really took, and an action of zeros after a truncated episode.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ioa_marl.agents.base import AgentContext
from ioa_marl.agents.common.actor_critic import RoleLearner
from ioa_marl.agents.common.actor_critic_config import ActorCriticConfig
from ioa_marl.agents.common.externalities import AbsenceLearner, ExternalityAgent
from ioa_marl.agents.networks.layers import affine
from ioa_marl.agents.replay.joint_views import View

MANY_AGENTS = 30
"""Number of agents above which a warning recommends the mean-field agent, whose critics have fewer inputs."""


@dataclass(frozen=True)
class MADDPGConfig(ActorCriticConfig):
    """Hyper-parameters of MADDPG."""

    actor_lr: float = 5e-4
    """Learning rate of the actors."""
    critic_lr: float = 5e-4
    """Learning rate of the critics."""


class CentralisedLearner(AbsenceLearner):
    """Critics Q(x, a_1, …, a_N) of all observations x and all actions.

    The actions of the agent's own role are the last inputs, where the own action can be replaced. A critic that several
    agents share has to know which agent it evaluates: the own observation and action are its first inputs, and the own
    action is zero among the actions of the role.
    """

    def critic_features(self) -> int:
        """Return the number of inputs of a critic."""
        joint = sum(
            role.count * (role.observation_space.shape[0] + self.codes[name].width) for name, role in self.roles.items()
        )
        own = self.role.observation_space.shape[0] + self.heads.width
        return int(joint + own if self.members.shared else joint)

    def own_columns(self) -> Tensor:
        """Return the indices of the critic inputs that are the own action, int64 (1, width) or (agents, width)."""
        width = self.heads.width
        own = torch.arange(width)[None].to(self.device)
        if self.members.shared:
            return own + self.role.observation_space.shape[0]
        agents = self.role.count
        return own + self.critic_features() + width * (torch.arange(agents, device=self.device)[:, None] - agents)

    def critic_inputs(self, view: View, own_actions: Tensor | None, agent_indices: Tensor | None) -> Tensor:
        """Return (x, a_1, …, a_N), (members, rows, critic features); parameters as in `RoleNetworks.critic_inputs`."""
        name = self.role.name
        parts = [view.observations[other].flatten(2) for other in self.roles]
        parts += [view.actions[other].flatten(2) for other in self.roles if other != name]
        common = torch.cat(parts, dim=-1)  # (seeds, batch, …), the same for all agents
        if agent_indices is not None:
            return self._shared_critic_inputs(view, common, own_actions, agent_indices)
        agents = self.role.count
        if own_actions is None:  # with a single seed, all agents have a view of the same array
            joint = torch.cat([common, view.actions[name].flatten(2)], dim=-1)
            return joint[:, None].expand(-1, agents, -1, -1).flatten(0, 1)
        own = own_actions.unflatten(0, (self.members.seeds, agents))[:, :, :, None]
        diagonal = torch.eye(agents, dtype=torch.bool, device=self.device)[:, None, :, None]
        replaced = torch.where(diagonal, own, view.actions[name][:, None]).flatten(3)
        return torch.cat([common[:, None].expand(-1, agents, -1, -1), replaced], dim=-1).flatten(0, 1)

    def own_values(self, view: View, own_actions: Tensor, agent_indices: Tensor | None) -> Tensor:
        """Return the critics' values of own actions, (members, rows); parameters as in `RoleLearner.own_values`.

        The gradient is needed only in the few inputs that are the own action. The first layer is therefore computed
        without gradient for the actions of the view, and then corrected for the change of the own action.
        """
        with torch.no_grad():
            inputs = self.repeat_for_critics(self.critic_inputs(view, None, agent_indices))
            first_layer = affine(inputs, self.critics.weights[0], self.critics.biases[0])
            own_weights = self.own_action_weights()
        change = self.repeat_for_critics(own_actions - self.stacked(view.actions[self.role.name], agent_indices))
        hidden = affine(change, own_weights, first_layer, relu=True)
        return self.min_over_critics(self.critics(hidden, first=1))

    def _shared_critic_inputs(
        self, view: View, common: Tensor, own_actions: Tensor | None, agent_indices: Tensor
    ) -> Tensor:
        """Return (o_i, a_i, ``common``, actions of the role with a_i = 0), (seeds, rows, critic features)."""
        name, some = self.role.name, agent_indices.shape[2]
        own = self.stacked(view.actions[name], agent_indices) if own_actions is None else own_actions
        is_own = torch.nn.functional.one_hot(agent_indices, self.role.count).bool()[..., None]
        others = torch.where(is_own, 0.0, view.actions[name][:, :, None]).flatten(3).flatten(1, 2)
        repeated = common.repeat_interleave(some, dim=1)
        return torch.cat([self.stacked(view.observations[name], agent_indices), own, repeated, others], dim=-1)


class MADDPGAgent(ExternalityAgent):
    """MADDPG with separate networks for each role."""

    config_class: ClassVar[type[Any]] = MADDPGConfig
    learner_class: ClassVar[type[RoleLearner]] = CentralisedLearner
    centralised_critic: ClassVar[bool] = True
    version: ClassVar[int] = 2

    def __init__(self, context: AgentContext, config: MADDPGConfig) -> None:
        super().__init__(context, config)
        agents = sum(role.count for role in context.roles)
        if agents > MANY_AGENTS:
            warnings.warn(
                f"the critics of maddpg see all {agents} agents, which costs the square of their number; "
                "mean_field_ac sees their mean",
                stacklevel=2,
            )
