"""Discrete soft actor-critic whose actor is a denoising chain.

Du, Li, Niyato, Kang, Xiong, Huang and Mao, "Diffusion-based reinforcement learning for edge-enabled AI-generated
content services" (2024), call it D2SAC. Their code departs from a soft actor-critic in several ways, because of which
its policy hardly depends on the temperature; `diffusion_sac_ref` reproduces it. This agent follows the soft Bellman
equation:

- the predicted noise is not bounded, and the estimate of the clean logits has a smooth bound;
- the critics' target includes the entropy, and the temperature falls over training as in `sac`;
- in evaluation the chain runs without noise.

The policy is the mean of π(·|s, noise) over the noise. The actor's loss uses the entropy of π(·|s, noise), which is a
lower bound of the policy's entropy; the two agree at the minimum of the loss. The metric ``entropy`` is that of the
policy.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ioa_marl.agents.base import AgentContext
from ioa_marl.agents.common.soft_actor_critic import SoftAgent, SoftConfig, SoftLearner
from ioa_marl.agents.common.streams import Streams
from ioa_marl.agents.networks.diffusion import ACTIVATIONS, StackedDenoiser, variance_preserving
from ioa_marl.agents.networks.softmax import softmax
from ioa_marl.agents.networks.stacked import StackedMLP
from ioa_marl.agents.replay.buffers import Batch
from ioa_marl.envs.core import Role
from ioa_marl.foundations.parameters import ParameterError, check_integer, check_number, require

MEASURED_STATES, MEASURED_DRAWS = 8, 32
"""Number of observations of a batch, and of chains for each, from which the policy's entropy is estimated.

The estimate is about 0.03 nat too low."""


@dataclass(frozen=True)
class ChainConfig(SoftConfig):
    """Hyper-parameters of discrete SAC with a denoising chain."""

    update_every: int = 32
    """Number of environment steps per update."""
    denoising_steps: int = 5
    """Number H of denoising steps; the gradient passes through all of them."""
    beta_min: float = 0.1
    """Noise rate β of the variance-preserving schedule at its clean end."""
    beta_max: float = 10.0
    """Noise rate β of the schedule at its noisy end."""
    activation: str = "relu"
    """Activation of actor and critics: ``relu``, ``silu`` or ``mish``. Mish is the slowest."""
    compile: bool = False
    """Whether updates are compiled by PyTorch. This takes a minute, needs a C++ compiler and does not pay on a CPU.
    The results are repeatable, but differ from those without compiling, and may depend in the last bit on the number
    of seeds."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        super().__post_init__()
        check_integer(self, "denoising_steps", 1, 1000)
        check_number(self, "beta_min", low=0.0, open_low=True)
        check_number(self, "beta_max", low=self.beta_min)
        require(self.activation in ACTIVATIONS, "activation", self.activation, " or ".join(ACTIVATIONS))
        require(isinstance(self.compile, bool), "compile", self.compile, "true or false")


@dataclass(frozen=True)
class DiffusionSACConfig(ChainConfig):
    """Hyper-parameters of diffusion SAC."""

    logit_bound: float = 5.0
    """Bound of the absolute logits: two probabilities differ at most by a factor of exp(2 · bound)."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        super().__post_init__()
        check_number(self, "logit_bound", low=0.0, open_low=True)


class ChainLearner(SoftLearner):
    """A soft actor-critic whose actor is a denoising chain; a subclass chooses what is bounded.

    Every pass through the chain draws new noise: when acting, in the critics' target, and in the actor's loss.
    """

    bound: float | None
    """Bound of the absolute logits, or None if the predicted noise is bounded instead."""

    def __init__(self, context: AgentContext, config: Any, role: Role) -> None:
        stream_offset = context.stream_offset(role)
        self.noise, self.measuring = (
            Streams(context.seeds, stream_offset + 3),
            Streams(context.seeds, stream_offset + 4),
        )
        super().__init__(context, config, role)
        self._evaluate: Callable[[Tensor, Tensor | None], Tensor] = self.actor
        self._compiled: Callable[[Tensor, Tensor | None], Tensor] | None = None

    def make_actor(self, weights: Streams) -> StackedDenoiser:
        """Build the chains; ``weights`` are the random streams for their initial weights."""
        c = self.config
        schedule = variance_preserving(c.denoising_steps, c.beta_min, c.beta_max)
        return StackedDenoiser(
            self.members.count, self.features, self.heads.width, c.width, c.depth, schedule,
            self.members.uniforms(weights), ACTIVATIONS[c.activation], self.bound,
        )  # fmt: skip

    def make_critics(self, weights: Streams) -> StackedMLP:
        """Build the critics; the twin critics of a member are adjacent in the stack."""
        c = self.config
        sizes = [self.features, *[c.width] * c.depth, self.heads.width]
        uniforms = self.members.uniforms(weights, 2)
        return StackedMLP(2 * self.members.count, sizes, uniforms, ACTIVATIONS[c.activation])

    def chain_noise(self, streams: Streams, rows: int) -> Tensor:
        """Draw the noise of a chain for every row.

        Parameters
        ----------
        streams : Streams
            Random streams to draw from.
        rows : int
            Observations of each member.

        Returns
        -------
        Tensor
            float32 (members, steps, rows, logits), standard normal.
        """
        shape = (self.members.separate, self.config.denoising_steps, rows, self.heads.width)
        noise = torch.from_numpy(streams.normal(*shape)).to(self.device)
        return noise.reshape(self.members.count, *shape[1:])

    def logits(self, observations: Tensor, *, deterministic: bool = False, streams: Streams | None = None) -> Tensor:
        """Run the chain, with new noise or, if ``deterministic``, with that of evaluation.

        Parameters
        ----------
        observations : Tensor
            (members, batch, features).
        deterministic : bool
            Whether the likeliest actions are chosen, for evaluation.
        streams : Streams, optional
            Random streams of new noise; default: those of training.

        Returns
        -------
        Tensor
            (members, batch, heads, outcomes), −inf where an outcome does not exist.
        """
        noise = (
            self.evaluation_noise(observations)
            if deterministic
            else self.chain_noise(streams or self.noise, observations.shape[1])
        )
        return self.heads.logits(self._evaluate(observations, noise))

    def evaluation_noise(self, observations: Tensor) -> Tensor | None:
        """Return the noise in evaluation, (members, steps, batch, logits), or None for a chain without noise."""
        return None

    def entropy_of_policy(self, observations: Tensor) -> Tensor:
        """Estimate the entropy of the policy, the mean of π(·|s, noise) over the chain's noise.

        Parameters
        ----------
        observations : Tensor
            (members, batch, features), of which the first `MEASURED_STATES` of the batch are used.

        Returns
        -------
        Tensor
            (members,), in nats.
        """
        states = observations[:, :MEASURED_STATES]
        repeated = states.repeat_interleave(MEASURED_DRAWS, dim=1)
        chains = self.actor(repeated, self.chain_noise(self.measuring, repeated.shape[1]))
        pi = softmax(self.heads.logits(chains)).unflatten(1, (-1, MEASURED_DRAWS)).mean(2)
        return -self.heads.weighted(pi, pi.clamp(min=torch.finfo(pi.dtype).tiny).log()).mean(-1)

    def update(self, alpha: float) -> dict[str, Tensor]:
        """Make one gradient step of critics and actors, compiled if the settings say so; see `SoftLearner.update`."""
        if not self.config.compile:
            return super().update(alpha)
        if self._compiled is None:
            check_compiler(self.device)
            self._compiled = torch.compile(self.actor, fullgraph=True, dynamic=False)
        # Acting is not compiled, because the size of its batches differs in evaluation.
        self._evaluate = self._compiled
        try:
            return super().update(alpha)
        finally:
            self._evaluate = self.actor

    def _update_actor(self, batch: Batch, alpha: float) -> tuple[Tensor, Tensor]:
        """Minimise the loss of `SoftLearner`; returns it and the entropy of the policy, (members,) each."""
        loss, _ = super()._update_actor(batch, alpha)
        with torch.no_grad():
            return loss, self.entropy_of_policy(batch.observations)

    def streams(self) -> dict[str, Streams]:
        """Return the random streams that training uses, by their key in a checkpoint."""
        return {**super().streams(), "noise": self.noise, "measuring": self.measuring}


def check_compiler(device: torch.device) -> None:
    """Raise `ParameterError` if PyTorch cannot compile on the device, because there is no C++ compiler."""
    if device.type == "cpu" and not any(
        shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++") if name
    ):
        raise ParameterError("compile", True, "compile=false, or install a C++ compiler: none was found")


class ChainAgent(SoftAgent):
    """Discrete SAC with a denoising chain, with separate networks for each role."""

    @classmethod
    def prepared(cls, config: Any, plays: Sequence[Role], controlled_roles: Sequence[Role]) -> Any:
        """Return the settings; refuse to compile if there is no C++ compiler."""
        if config.compile:
            check_compiler(torch.device("cpu"))
        return config


class DiffusionSACLearner(ChainLearner):
    """A soft actor-critic with a denoising chain whose logits are bounded."""

    def __init__(self, context: AgentContext, config: Any, role: Role) -> None:
        self.bound = config.logit_bound
        super().__init__(context, config, role)


class DiffusionSACAgent(ChainAgent):
    """Diffusion SAC with separate networks for each role."""

    config_class: ClassVar[type[Any]] = DiffusionSACConfig
    learner_class: ClassVar[type[SoftLearner]] = DiffusionSACLearner
    version: ClassVar[int] = 2
