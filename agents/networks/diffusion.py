"""A denoising chain as a policy: logits start as noise, and a network takes it out in a few steps.

Ho, Jain and Abbeel, "Denoising diffusion probabilistic models" (2020), with the actor of Du et al., "Diffusion-based
reinforcement learning for edge-enabled AI-generated content services" (2024); all members in one stack of networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ioa_marl.agents.networks.layers import Activation, affine
from ioa_marl.agents.networks.stacked import StackedMLP, StackedModule

TIME_FEATURES = 16
"""Length of the sinusoidal embedding of a denoising step, and of what its network makes of it."""
FULL = 64
"""Numbers that PyTorch's activations take at once; what is left over at the end of an array rounds differently."""


def alike(activation: Activation) -> Activation:
    """Return an activation that rounds a member's numbers alike alone and among others, (members, rows, width)."""

    def of_each(x: Tensor) -> Tensor:
        over = x[0].numel() % FULL
        if over == 0 or torch.compiler.is_compiling():
            return activation(x)
        whole = torch.nn.functional.pad(x.flatten(1), (0, FULL - over))
        return activation(whole)[:, : x[0].numel()].reshape(x.shape)

    return of_each


ACTIVATIONS: dict[str, Activation] = {
    "relu": torch.relu_,
    "silu": alike(torch.nn.functional.silu),
    "mish": alike(torch.nn.functional.mish),
}
"""By name; Mish takes half the time of an update, ReLU next to nothing."""


@dataclass(frozen=True)
class Schedule:
    """What the steps of a denoising chain multiply with; index t − 1 is step t of Ho et al., from 1 to H."""

    start_of_noisy: tuple[float, ...]
    """1/√ᾱ_t: what the noisy logits count in the estimate of the clean ones (Ho et al., Eq. 15)."""
    start_of_noise: tuple[float, ...]
    """√(1/ᾱ_t − 1): what the predicted noise counts in it, negatively."""
    mean_of_start: tuple[float, ...]
    """√ᾱ_{t−1} β_t/(1 − ᾱ_t): what the estimate counts in the mean of the next logits (Eq. 7)."""
    mean_of_noisy: tuple[float, ...]
    """√α_t (1 − ᾱ_{t−1})/(1 − ᾱ_t): what the noisy logits count in it."""
    deviation: tuple[float, ...]
    """√β̃_t: standard deviation of the next logits; 0 at the last step."""

    @property
    def steps(self) -> int:
        """Denoising steps H."""
        return len(self.deviation)


def variance_preserving(steps: int, low: float, high: float) -> Schedule:
    """Return the variance-preserving schedule of ``steps`` steps, of a noise rate from ``low`` to ``high``.

    α_t = exp(−β_min/H − (β_max − β_min)(2t − 1)/(2H²)): Xiao, Kreis and Vahdat, "Tackling the generative learning
    trilemma with denoising diffusion GANs" (2022), after the variance-preserving equation
    of Song et al. (2021).
    """
    t = np.arange(1, steps + 1)
    alpha = np.exp(-low / steps - 0.5 * (high - low) * (2 * t - 1) / steps**2)
    bar = np.cumprod(alpha)
    before = np.concatenate([[1.0], bar[:-1]])
    beta = 1.0 - alpha
    return Schedule(
        *(
            tuple(map(float, column))
            for column in (
                1.0 / np.sqrt(bar),
                np.sqrt(1.0 / bar - 1.0),
                np.sqrt(before) * beta / (1.0 - bar),
                np.sqrt(alpha) * (1.0 - before) / (1.0 - bar),
                np.sqrt(beta * (1.0 - before) / (1.0 - bar)),
            )
        )
    )


def denoised(schedule: Schedule, t: int, noisy: Tensor, predicted: Tensor, bound: float | None) -> tuple[Tensor, float]:
    """Return mean and standard deviation of the logits one step cleaner, given the noise predicted at step ``t``.

    Parameters
    ----------
    schedule : Schedule
        The chain.
    t : int
        Step, from H (pure noise) to 1; the mean of step 1 is the clean logits.
    noisy, predicted : Tensor
        Logits x_t and the noise that they are held to contain.
    bound : float, optional
        The estimate of the clean logits stays within ± this, smoothly.
    """
    i = t - 1
    start = schedule.start_of_noisy[i] * noisy - schedule.start_of_noise[i] * predicted
    if bound is not None:
        start = bound * torch.tanh(start / bound)
    return schedule.mean_of_start[i] * start + schedule.mean_of_noisy[i] * noisy, schedule.deviation[i]


def sinusoidal(steps: int) -> Tensor:
    """Return the embeddings of denoising steps 1 to ``steps``, (steps, `TIME_FEATURES`) (Vaswani et al., 2017)."""
    half = TIME_FEATURES // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float64) * (-math.log(10_000) / (half - 1)))
    angles = torch.arange(steps, dtype=torch.float64)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()


class StackedDenoiser(StackedModule):
    """Denoising chains of many members: noise and observations to logits.

    The network of Du et al. sees noisy logits, the time's embedding and the observation side by side. What its first
    layer makes of the observation is the same in every step, and what it makes of the time is the same for every
    row: both are computed once.

    Parameters
    ----------
    members : int
        Number of networks.
    features, outputs : int
        Lengths of an observation and of the logits.
    width, depth : int
        Units of a hidden layer, and hidden layers.
    schedule : Schedule
        The chain.
    uniforms : callable
        ``uniforms(k)`` returns numbers in [0, 1) of shape (members, k), a member's own; used to initialise.
    activation : callable
        Between layers.
    bound : float, optional
        The estimate of the clean logits stays within ± this; the predicted noise is then unbounded. Without it the
        predicted noise goes through a tanh, as in the published code.
    """

    embeddings: Tensor

    def __init__(
        self, members: int, features: int, outputs: int, width: int, depth: int, schedule: Schedule,
        uniforms: Callable[[int], NDArray[Any]], activation: Activation, bound: float | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.members, self.schedule, self.activation, self.bound = members, schedule, activation, bound
        self.splits = [outputs, TIME_FEATURES, features]
        self.time = StackedMLP(members, [TIME_FEATURES, 2 * TIME_FEATURES, TIME_FEATURES], uniforms, activation)
        self.first = StackedMLP(members, [sum(self.splits), width], uniforms)
        self.rest = StackedMLP(members, [width] * depth + [outputs], uniforms, activation)
        self.register_buffer("embeddings", sinusoidal(schedule.steps), persistent=False)

    def forward(self, observations: Tensor, noise: Tensor | None) -> Tensor:
        """Run the chain.

        Parameters
        ----------
        observations : Tensor
            (members, batch, features).
        noise : Tensor, optional
            (members, steps, batch, outputs): standard normal numbers, the first of them the logits that the chain
            begins with. Without it everything random is at its mean, 0.

        Returns
        -------
        Tensor
            (members, batch, outputs).
        """
        of_logits, of_time, of_state = self.first.weights[0].split(self.splits, dim=1)
        times = self.time(self.embeddings.expand(self.members, -1, -1))
        times = affine(times, of_time, times.new_zeros(len(of_time), 1, of_time.shape[2]))
        state = affine(observations, of_state, self.first.biases[0])
        x = state.new_zeros(*state.shape[:2], self.splits[0]) if noise is None else noise[:, 0]
        relu = self.activation is torch.relu_
        steps = self.schedule.steps
        for t in range(steps, 0, -1):
            hidden = affine(x, of_logits, state + times[:, t - 1 : t], relu=relu)
            predicted = self.rest(hidden if relu else self.activation(hidden))
            if self.bound is None:
                predicted = torch.tanh(predicted)
            x, deviation = denoised(self.schedule, t, x, predicted, self.bound)
            if noise is not None and t > 1:
                x = x + deviation * noise[:, steps + 1 - t]
        return x
