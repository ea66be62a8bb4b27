"""Discrete soft actor-critic with an MLP actor: the twin of diffusion SAC that tells what diffusion adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ioa_marl.agents.common.soft_actor_critic import SoftAgent, SoftConfig, SoftLearner
from ioa_marl.agents.common.streams import Streams
from ioa_marl.agents.networks.stacked import StackedMLP


@dataclass(frozen=True)
class SACConfig(SoftConfig):
    """Hyper-parameters of discrete SAC."""


class SACLearner(SoftLearner):
    """An MLP as actor."""

    def make_actor(self, weights: Streams) -> StackedMLP:
        """Build the actors, of the critics' shape."""
        c = self.config
        sizes = [self.features, *[c.width] * c.depth, self.heads.width]
        return StackedMLP(self.members.count, sizes, self.members.uniforms(weights))

    def logits(self, observations: Tensor, *, deterministic: bool = False) -> Tensor:
        """Return (members, batch, heads, outcomes)."""
        return self.heads.logits(self.actor(observations))


class SACAgent(SoftAgent):
    """Discrete SAC; each role it plays has its own networks."""

    config_class: ClassVar[type[Any]] = SACConfig
    learner_class: ClassVar[type[SoftLearner]] = SACLearner
    version: ClassVar[int] = 2
