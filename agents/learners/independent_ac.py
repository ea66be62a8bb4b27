"""Independent actor–critic: every agent learns from its own observations and actions only.

Each agent treats the other agents as part of the environment. It is the mean-field agent without the mean m̄ of the
other agents. The paper on dual-currency VCG auctions for network slices compares with it under the name "DVCG-MARL"
(Eqs. 28–38 without m̄).

Its estimate of externalities is therefore Eqs. 30–33 without m̄, Q'(0, hold) − γ Q'(0, a⁰): the value that the absent
agent's own critic gives to an observation of zeros. It does not depend on what the others observe or do, so it is a
constant of the policy for each agent, and no estimate from the state of the market. To ask the others' critics would
tell nothing either: their inputs are their own, and stay the same if an agent is imagined to be absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ioa_marl.agents.common.actor_critic import RoleLearner
from ioa_marl.agents.common.actor_critic_config import ActorCriticConfig
from ioa_marl.agents.common.externalities import AbsenceLearner, ExternalityAgent
from ioa_marl.agents.replay.joint_views import View


@dataclass(frozen=True)
class IndependentACConfig(ActorCriticConfig):
    """Hyper-parameters of the independent actor–critic."""


class IndependentLearner(AbsenceLearner):
    """Critics Q(o_i, a_i) of the agent's own observation and action."""

    def critic_features(self) -> int:
        """Return the number of inputs of a critic."""
        return int(self.role.observation_space.shape[0]) + self.heads.width

    def own_columns(self) -> Tensor:
        """Return the indices of the critic inputs that are the own action, int64 (1, width)."""
        return torch.arange(self.heads.width)[None].to(self.device) + self.role.observation_space.shape[0]

    def critic_inputs(self, view: View, own_actions: Tensor | None, agent_indices: Tensor | None) -> Tensor:
        """Return (o_i, a_i), (members, rows, critic features); parameters as in `RoleNetworks.critic_inputs`."""
        name = self.role.name
        actions = self.stacked(view.actions[name], agent_indices) if own_actions is None else own_actions
        return torch.cat([self.stacked(view.observations[name], agent_indices), actions], dim=-1)


class IndependentACAgent(ExternalityAgent):
    """Independent actor–critic with separate networks for each role."""

    config_class: ClassVar[type[Any]] = IndependentACConfig
    learner_class: ClassVar[type[RoleLearner]] = IndependentLearner
    version: ClassVar[int] = 2
