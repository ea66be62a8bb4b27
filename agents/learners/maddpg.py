"""MADDPG: critics that see what every agent sees and does, actors that see what their own agent sees.

Lowe et al., "Multi-agent actor-critic for mixed cooperative-competitive environments" (2017), with these differences:
the environment gets one-hot actions rather than soft ones, terminal steps are kept, and returns span n steps. If
another agent plays some of the roles, the critics see what these observed and did; in the value of the next step they
do what they did then, and nothing at the end of an episode that was cut off.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ioa_marl.agents.base import AgentContext
from ioa_marl.agents.common.actor_critic import ActorCriticConfig, RoleLearner
from ioa_marl.agents.common.actor_critic_agent import ActorCriticAgent
from ioa_marl.agents.networks.layers import affine
from ioa_marl.agents.replay.joint_views import View

MANY_AGENTS = 30
"""Number of agents above which the critics' inputs cost more than they are worth."""


@dataclass(frozen=True)
class MADDPGConfig(ActorCriticConfig):
    """Hyper-parameters of MADDPG."""

    actor_lr: float = 5e-4
    """Learning rate of the actors."""
    critic_lr: float = 5e-4
    """Learning rate of the critics."""


class CentralisedLearner(RoleLearner):
    """Critics of all observations and actions.

    The actions of the own role come last, so that an agent's own one can be replaced in there. A shared critic must
    know whose value is asked: it sees the own observation and action first, and nothing of the own action elsewhere.
    """

    def critic_features(self) -> int:
        """Return the number of inputs of a critic."""
        joint = sum(
            role.count * (role.observation_space.shape[0] + self.codes[name].width) for name, role in self.roles.items()
        )
        own = self.role.observation_space.shape[0] + self.heads.width
        return int(joint + own if self.members.shared else joint)

    def own_columns(self) -> Tensor:
        """Return which inputs of a critic are the own action, (1, width) if shared, else (agents, width)."""
        width = self.heads.width
        own = torch.arange(width)[None].to(self.device)
        if self.members.shared:
            return own + self.role.observation_space.shape[0]
        agents = self.role.count
        return own + self.critic_features() + width * (torch.arange(agents, device=self.device)[:, None] - agents)

    def critic_inputs(self, view: View, own: Tensor | None, chosen: Tensor | None) -> Tensor:
        """Return everybody's observations and actions, (members, rows, critic features)."""
        name = self.role.name
        parts = [view.observations[other].flatten(2) for other in self.roles]
        parts += [view.actions[other].flatten(2) for other in self.roles if other != name]
        common = torch.cat(parts, dim=-1)  # (seeds, batch, …), the same for all agents
        if chosen is not None:
            return self._seen_by_shared(view, common, own, chosen)
        agents = self.role.count
        if own is None:  # of a lone seed they stay one and the same array
            whole = torch.cat([common, view.actions[name].flatten(2)], dim=-1)
            return whole[:, None].expand(-1, agents, -1, -1).flatten(0, 1)
        mine = own.unflatten(0, (self.members.seeds, agents))[:, :, :, None]
        diagonal = torch.eye(agents, dtype=torch.bool, device=self.device)[:, None, :, None]
        replaced = torch.where(diagonal, mine, view.actions[name][:, None]).flatten(3)
        return torch.cat([common[:, None].expand(-1, agents, -1, -1), replaced], dim=-1).flatten(0, 1)

    def own_values(self, view: View, own: Tensor, chosen: Tensor | None) -> Tensor:
        """Return the critics' values of own actions: their first layer has few inputs that any gradient asks for."""
        with torch.no_grad():
            seen = self.twice(self.critic_inputs(view, None, chosen))
            whole = affine(seen, self.critics.weights[0], self.critics.biases[0])
            of_own = self.weights_of_own()
        changed = self.twice(own - self.stacked(view.actions[self.role.name], chosen))
        hidden = affine(changed, of_own, whole, relu=True)
        return self.smaller(self.critics(hidden, first=1))

    def _seen_by_shared(self, view: View, common: Tensor, own: Tensor | None, chosen: Tensor) -> Tensor:
        name, some = self.role.name, chosen.shape[2]
        mine = self.stacked(view.actions[name], chosen) if own is None else own
        one_of_them = torch.nn.functional.one_hot(chosen, self.role.count).bool()[..., None]
        others = torch.where(one_of_them, 0.0, view.actions[name][:, :, None]).flatten(3).flatten(1, 2)
        everybody = common.repeat_interleave(some, dim=1)
        return torch.cat([self.stacked(view.observations[name], chosen), mine, everybody, others], dim=-1)


class MADDPGAgent(ActorCriticAgent):
    """MADDPG; each role it plays has its own networks."""

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
