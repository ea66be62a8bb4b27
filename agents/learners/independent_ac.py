"""Independent actor–critic: the deterministic actor–critic of the mean-field agent without the mean.

Actors and critics see nothing but what their own agent sees and does; to each of them the others are part of the
environment. Compared with as "DVCG-MARL" in the paper on dual-currency VCG auctions for network slices (Eqs. 28–38
without m̄).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ioa_marl.agents.common.actor_critic import ActorCriticConfig, RoleLearner
from ioa_marl.agents.common.actor_critic_agent import ActorCriticAgent
from ioa_marl.agents.replay.joint_views import View


@dataclass(frozen=True)
class IndependentACConfig(ActorCriticConfig):
    """Hyper-parameters of the independent actor–critic."""


class IndependentLearner(RoleLearner):
    """Critics of the own observation and action."""

    def critic_features(self) -> int:
        """Return the number of inputs of a critic."""
        return int(self.role.observation_space.shape[0]) + self.heads.width

    def own_columns(self) -> Tensor:
        """Return which inputs of a critic are the own action, (1, width)."""
        return torch.arange(self.heads.width)[None].to(self.device) + self.role.observation_space.shape[0]

    def critic_inputs(self, view: View, own: Tensor | None, chosen: Tensor | None) -> Tensor:
        """Return own observation and action, (members, rows, critic features)."""
        name = self.role.name
        action = self.stacked(view.actions[name], chosen) if own is None else own
        return torch.cat([self.stacked(view.observations[name], chosen), action], dim=-1)


class IndependentACAgent(ActorCriticAgent):
    """Independent actor–critic; each role it plays has its own networks."""

    config_class: ClassVar[type[Any]] = IndependentACConfig
    learner_class: ClassVar[type[RoleLearner]] = IndependentLearner
    version: ClassVar[int] = 2
