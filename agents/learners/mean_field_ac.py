"""Mean-field actor–critic: the critic of an agent has the mean of the other agents as input, whatever their number.

The actor–critic with critics Q_i(o_i, a_i, m̄_i) of the paper on dual-currency VCG auctions for network slices
(Eqs. 28–38), after Yang et al., "Mean field multi-agent reinforcement learning" (2018). m̄_i contains for every role the
mean of (one-hot action, observation) over those of its agents that are present, but i. It is computed from the joint
step in the replay buffer whenever the step is sampled. An agent that does not act contributes an action of zeros; one
that is absent, which observes only zeros, does not count. An actor has the mean observation of its own role only,
because whoever plays a role need not see what other roles do: in the paper the operator never sees providers' data.

``mean_field_ac/paper`` has the settings of the paper's Table I. What the table does not give stays at the defaults:
sizes of networks, exploration, the weight of the entropy. The number of episodes in the table is the budget of a run.
The paper's actors are deterministic functions μ(o, ō); these are softmax policies with a straight-through gradient, and
the most likely change is taken in evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ioa_marl.agents.common.actor_critic import RoleLearner
from ioa_marl.agents.common.actor_critic_config import ActorCriticConfig
from ioa_marl.agents.common.externalities import AbsenceLearner, ExternalityAgent
from ioa_marl.agents.replay.joint_views import View, mean_of_all, mean_of_others, present_agents


@dataclass(frozen=True)
class MeanFieldACConfig(ActorCriticConfig):
    """Hyper-parameters of the mean-field actor–critic."""


class MeanFieldLearner(AbsenceLearner):
    """Actors π(o_i, mean observations) and critics Q(o_i, a_i, m̄_i).

    The number of inputs does not depend on the number of agents.
    """

    def actor_features(self) -> int:
        """Return the number of inputs of an actor."""
        return 2 * int(self.role.observation_space.shape[0])

    def actor_inputs(self, observations: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return own observations and the mean observation of the other agents of the own role.

        Parameters
        ----------
        observations : mapping of Tensor
            For each role (seeds, batch, agents, features).
        present : Tensor, optional
            bool (seeds, batch, agents): which agents of the own role count. Default: those that `present_agents` finds.

        Returns
        -------
        Tensor
            (seeds, batch, agents, actor features).
        """
        own = observations[self.role.name]
        present = present_agents(self.role, own) if present is None else present
        return torch.cat([own, mean_of_others(own, present)], dim=-1)

    def means(self, values: Mapping[str, Tensor], observations: Mapping[str, Tensor]) -> Tensor:
        """Return for every agent of the role the means over the other agents of each role, concatenated.

        Parameters
        ----------
        values : mapping of Tensor
            For each role (seeds, batch, agents of that role, k).
        observations : mapping of Tensor
            For each role (seeds, batch, agents, features); they tell who is present.

        Returns
        -------
        Tensor
            (seeds, batch, agents, Σ k).
        """
        agents, parts = self.role.count, []
        for name in self.roles:
            present = present_agents(self.roles[name], observations[name])
            if name == self.role.name:
                parts.append(mean_of_others(values[name], present))
            else:
                parts.append(mean_of_all(values[name], present).unsqueeze(2).expand(-1, -1, agents, -1))
        return torch.cat(parts, dim=-1)

    def critic_features(self) -> int:
        """Return the number of inputs of a critic."""
        observed = sum(int(role.observation_space.shape[0]) for role in self.roles.values())
        acted = sum(code.width for code in self.codes.values())
        return int(self.role.observation_space.shape[0]) + self.heads.width + observed + acted

    def own_columns(self) -> Tensor:
        """Return the indices of the critic inputs that are the own action, int64 (1, width)."""
        return torch.arange(self.heads.width)[None].to(self.device) + self.role.observation_space.shape[0]

    def critic_inputs(self, view: View, own_actions: Tensor | None, agent_indices: Tensor | None) -> Tensor:
        """Return (o_i, a_i, m̄_i), (members, rows, critic features); m̄_i is a constant for the gradient.

        Parameters are those of `RoleNetworks.critic_inputs`.
        """
        name = self.role.name
        actions = self.stacked(view.actions[name], agent_indices) if own_actions is None else own_actions
        seen = view.observations
        mean = torch.cat([self.means(seen, seen), self.means(view.actions, seen)], dim=-1).detach()
        own = self.stacked(view.observations[name], agent_indices)
        return torch.cat([own, actions, self.stacked(mean, agent_indices)], dim=-1)


class MeanFieldACAgent(ExternalityAgent):
    """Mean-field actor–critic with separate networks for each role.

    A policy whose networks are shared (more than ``share_above`` agents) plays any number of agents.
    """

    config_class: ClassVar[type[Any]] = MeanFieldACConfig
    learner_class: ClassVar[type[RoleLearner]] = MeanFieldLearner
    centralised_critic: ClassVar[bool] = True
    version: ClassVar[int] = 3
