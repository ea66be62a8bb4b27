"""Discrete soft actor-critic whose actor is a denoising chain, as the soft Bellman equation has it.

Du, Li, Niyato, Kang, Xiong, Huang and Mao, "Diffusion-based reinforcement learning for edge-enabled AI-generated
content services" (2024): D2SAC. Their code departs from a soft actor-critic in ways that keep its policy from following
the temperature; `diffusion_sac_ref` does as it does. Here

- the predicted noise is not bounded, and the estimate of the clean logits is, smoothly;
- the critics' target has the entropy in it, and the temperature falls over training as in `sac`;
- deterministic play has no noise in the chain.

The actor maximises the entropy of π(·|s, noise), which is at most that of the policy that is played, the mean over
the noise; the two are the same where the loss is at its minimum. The figure ``entropy`` is that of the policy played.
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
"""Observations of a batch, and chains for each, from which the entropy of the policy is measured: some 0.03 too low."""


@dataclass(frozen=True)
class ChainConfig(SoftConfig):
    """Hyper-parameters of discrete SAC with a denoising chain."""

    update_every: int = 32
    """Environment steps per update."""
    denoising_steps: int = 5
    """Steps H of the chain; the gradient goes through all of them."""
    beta_min: float = 0.1
    """Noise rate of the variance-preserving schedule at the clean end."""
    beta_max: float = 10.0
    """Noise rate at the noisy end."""
    activation: str = "relu"
    """Between layers of actor and critics: relu, silu or mish, which is the slowest."""
    compile: bool = False
    """Whether updates are compiled, which takes a minute and a C++ compiler; on a CPU it does not pay. The results are
    repeatable, but not those of uncompiled updates, and may differ in the last bit with the number of seeds."""

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
    """Bound of the logits: no two probabilities differ by more than a factor exp(2 · bound)."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        super().__post_init__()
        check_number(self, "logit_bound", low=0.0, open_low=True)


class ChainLearner(SoftLearner):
    """A denoising chain as actor; how the chain is bounded is left open.

    Every pass through the chain draws new noise: acting, in the target, and in the actor's loss.
    """

    bound: float | None
    """Bound of the logits, or None where the predicted noise is bounded instead."""

    def __init__(self, context: AgentContext, config: Any, role: Role) -> None:
        stream_offset = context.stream_offset(role)
        self.noise, self.measuring = (
            Streams(context.seeds, stream_offset + 3),
            Streams(context.seeds, stream_offset + 4),
        )
        super().__init__(context, config, role)
        self._run: Callable[[Tensor, Tensor | None], Tensor] = self.actor
        self._compiled: Callable[[Tensor, Tensor | None], Tensor] | None = None

    def make_actor(self, weights: Streams) -> StackedDenoiser:
        """Build the chains."""
        c = self.config
        schedule = variance_preserving(c.denoising_steps, c.beta_min, c.beta_max)
        return StackedDenoiser(
            self.members.count, self.features, self.heads.width, c.width, c.depth, schedule,
            self.members.uniforms(weights), ACTIVATIONS[c.activation], self.bound,
        )  # fmt: skip

    def make_critics(self, weights: Streams) -> StackedMLP:
        """Build the critics; the twins of a member are neighbours."""
        c = self.config
        sizes = [self.features, *[c.width] * c.depth, self.heads.width]
        uniforms = self.members.uniforms(weights, 2)
        return StackedMLP(2 * self.members.count, sizes, uniforms, ACTIVATIONS[c.activation])

    def drawn(self, streams: Streams, rows: int) -> Tensor:
        """Return the noise of a chain for every row, (members, steps, rows, logits)."""
        shape = (self.members.separate, self.config.denoising_steps, rows, self.heads.width)
        noise = torch.from_numpy(streams.normal(*shape)).to(self.device)
        return noise.reshape(self.members.count, *shape[1:])

    def logits(self, observations: Tensor, *, deterministic: bool = False) -> Tensor:
        """Return (members, batch, heads, outcomes), of a chain with new noise, or with none."""
        noise = self.resting_noise(observations) if deterministic else self.drawn(self.noise, observations.shape[1])
        return self.heads.logits(self._run(observations, noise))

    def resting_noise(self, observations: Tensor) -> Tensor | None:
        """Return the noise of deterministic play, which takes nothing from the streams of training: none."""
        return None

    def entropy_of_policy(self, observations: Tensor) -> Tensor:
        """Return the entropy of the policy that is played, the mean over the chain's noise, (members,)."""
        states = observations[:, :MEASURED_STATES]
        repeated = states.repeat_interleave(MEASURED_DRAWS, dim=1)
        chains = self.actor(repeated, self.drawn(self.measuring, repeated.shape[1]))
        pi = softmax(self.heads.logits(chains)).unflatten(1, (-1, MEASURED_DRAWS)).mean(2)
        return -self.heads.weighted(pi, pi.clamp(min=torch.finfo(pi.dtype).tiny).log()).mean(-1)

    def update(self, alpha: float) -> dict[str, Tensor]:
        """Make one gradient step of critics and actor; returns figures (seeds,)."""
        if not self.config.compile:
            return super().update(alpha)
        if self._compiled is None:
            check_compiler(self.device)
            self._compiled = torch.compile(self.actor, fullgraph=True, dynamic=False)
        # Acting, whose batches have other sizes in evaluation, is never compiled.
        self._run = self._compiled
        try:
            return super().update(alpha)
        finally:
            self._run = self.actor

    def _update_actor(self, batch: Batch, alpha: float) -> tuple[Tensor, Tensor]:
        loss, _ = super()._update_actor(batch, alpha)
        with torch.no_grad():
            return loss, self.entropy_of_policy(batch.observations)

    def streams(self) -> dict[str, Streams]:
        """Return the random streams that are used in training, by name."""
        return {**super().streams(), "noise": self.noise, "measuring": self.measuring}


def check_compiler(device: torch.device) -> None:
    """Refuse to compile where nothing can."""
    if device.type == "cpu" and not any(
        shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++") if name
    ):
        raise ParameterError("compile", True, "compile=false, or install a C++ compiler: none was found")


class ChainAgent(SoftAgent):
    """Discrete SAC with a denoising chain; each role it plays has its own networks."""

    @classmethod
    def prepared(cls, config: Any, plays: Sequence[Role], controlled_roles: Sequence[Role]) -> Any:
        """Return the settings of a run that is about to begin, if it can compile where that is asked for."""
        if config.compile:
            check_compiler(torch.device("cpu"))
        return config


class DiffusionSACLearner(ChainLearner):
    """A chain whose logits are bounded."""

    def __init__(self, context: AgentContext, config: Any, role: Role) -> None:
        self.bound = config.logit_bound
        super().__init__(context, config, role)


class DiffusionSACAgent(ChainAgent):
    """Diffusion SAC; each role it plays has its own networks."""

    config_class: ClassVar[type[Any]] = DiffusionSACConfig
    learner_class: ClassVar[type[SoftLearner]] = DiffusionSACLearner
    version: ClassVar[int] = 2
