"""Discrete soft actor-critic with an MLP as actor.

It differs from `diffusion_sac` only in the actor, so that comparing the two shows the effect of the denoising chain.
"""

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
    """A soft actor-critic whose actor is an MLP."""

    def make_actor(self, weights: Streams) -> StackedMLP:
        """Build the actors, which have the same layers as the critics."""
        c = self.config
        sizes = [self.features, *[c.width] * c.depth, self.heads.width]
        return StackedMLP(self.members.count, sizes, self.members.uniforms(weights))

    def logits(self, observations: Tensor, *, deterministic: bool = False, streams: Streams | None = None) -> Tensor:
        """Return the actors' logits, (members, batch, heads, outcomes), for observations (members, batch, features)."""
        return self.heads.logits(self.actor(observations))


class SACAgent(SoftAgent):
    """Discrete SAC with separate networks for each role."""

    config_class: ClassVar[type[Any]] = SACConfig
    learner_class: ClassVar[type[SoftLearner]] = SACLearner
    version: ClassVar[int] = 2
