"""A denoising chain as a policy: logits start as noise, which a network removes in a few steps.

Ho, Jain and Abbeel, "Denoising diffusion probabilistic models" (2020), with the actor of Du et al., "Diffusion-based
reinforcement learning for edge-enabled AI-generated content services" (2024). All members are one stack of networks.
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
"""Length of the sinusoidal embedding of a denoising step, and of the output of the embedding's network."""
BLOCK = 64
"""Size of the blocks in which PyTorch computes activations; a partial block rounds differently."""


def batch_invariant(activation: Activation) -> Activation:
    """Return an activation whose result for one member does not depend on the other members of the stack.

    The returned function takes (members, rows, width), and pads each member's numbers to full blocks.
    """

    def padded(x: Tensor) -> Tensor:
        remainder = x[0].numel() % BLOCK
        if remainder == 0 or torch.compiler.is_compiling():
            return activation(x)
        blocks = torch.nn.functional.pad(x.flatten(1), (0, BLOCK - remainder))
        return activation(blocks)[:, : x[0].numel()].reshape(x.shape)

    return padded


ACTIVATIONS: dict[str, Activation] = {
    "relu": torch.relu_,
    "silu": batch_invariant(torch.nn.functional.silu),
    "mish": batch_invariant(torch.nn.functional.mish),
}
"""Activations by name. Mish takes half of the time of an update, ReLU almost none."""


@dataclass(frozen=True)
class Schedule:
    """Coefficients of a denoising chain. Index t − 1 belongs to step t of Ho et al., from 1 to H."""

    clean_from_noisy: tuple[float, ...]
    """1/√ᾱ_t: factor of the noisy logits in the estimate of the clean logits (Ho et al., Eq. 15)."""
    clean_from_noise: tuple[float, ...]
    """√(1/ᾱ_t − 1): factor of the predicted noise, which is subtracted in this estimate."""
    mean_from_clean: tuple[float, ...]
    """√ᾱ_{t−1} β_t/(1 − ᾱ_t): factor of the estimate in the mean of the next logits (Eq. 7)."""
    mean_from_noisy: tuple[float, ...]
    """√α_t (1 − ᾱ_{t−1})/(1 − ᾱ_t): factor of the noisy logits in this mean (Eq. 7)."""
    deviation: tuple[float, ...]
    """√β̃_t: standard deviation of the next logits (Eq. 7); 0 at step 1, the last one."""

    @property
    def steps(self) -> int:
        """Number H of denoising steps."""
        return len(self.deviation)


def variance_preserving(steps: int, low: float, high: float) -> Schedule:
    """Return the variance-preserving schedule.

    α_t = exp(−β_min/H − (β_max − β_min)(2t − 1)/(2H²)): Xiao, Kreis and Vahdat, "Tackling the generative learning
    trilemma with denoising diffusion GANs" (2022), after the variance-preserving equation of Song et al. (2021).

    Parameters
    ----------
    steps : int
        Number H of denoising steps.
    low, high : float
        Noise rates β_min and β_max at the clean and at the noisy end.
    """
    t = np.arange(1, steps + 1)
    alpha = np.exp(-low / steps - 0.5 * (high - low) * (2 * t - 1) / steps**2)
    bar = np.cumprod(alpha)
    previous_bar = np.concatenate([[1.0], bar[:-1]])
    beta = 1.0 - alpha
    return Schedule(
        *(
            tuple(map(float, column))
            for column in (
                1.0 / np.sqrt(bar),
                np.sqrt(1.0 / bar - 1.0),
                np.sqrt(previous_bar) * beta / (1.0 - bar),
                np.sqrt(alpha) * (1.0 - previous_bar) / (1.0 - bar),
                np.sqrt(beta * (1.0 - previous_bar) / (1.0 - bar)),
            )
        )
    )


def denoised(schedule: Schedule, t: int, noisy: Tensor, predicted: Tensor, bound: float | None) -> tuple[Tensor, float]:
    """Return mean and standard deviation of the logits x_{t−1} (Ho et al., Eqs. 7 and 15).

    Parameters
    ----------
    schedule : Schedule
        The chain.
    t : int
        Step, from H (pure noise) to 1. The mean of step 1 is the clean logits.
    noisy, predicted : Tensor
        Logits x_t, and the network's prediction of their noise, (members, batch, logits).
    bound : float, optional
        Smooth bound of the absolute clean logits in their estimate.

    Returns
    -------
    (Tensor, float)
        Mean, (members, batch, logits), and standard deviation.
    """
    i = t - 1
    clean = schedule.clean_from_noisy[i] * noisy - schedule.clean_from_noise[i] * predicted
    if bound is not None:
        clean = bound * torch.tanh(clean / bound)
    return schedule.mean_from_clean[i] * clean + schedule.mean_from_noisy[i] * noisy, schedule.deviation[i]


def sinusoidal(steps: int) -> Tensor:
    """Return the embeddings of the steps 1 to ``steps``, float32 (steps, `TIME_FEATURES`) (Vaswani et al., 2017)."""
    half = TIME_FEATURES // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float64) * (-math.log(10_000) / (half - 1)))
    angles = torch.arange(steps, dtype=torch.float64)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()


class StackedDenoiser(StackedModule):
    """Denoising chains of many members, which map noise and observations to logits.

    The input of the network of Du et al. is the concatenation of the noisy logits, the embedding of the step and the
    observation. In its first layer, the contribution of the observation is the same in every step, and that of the
    embedding is the same for every row. Both are computed once.

    Parameters
    ----------
    members : int
        Number of networks.
    features, outputs : int
        Lengths of an observation and of the logits.
    width, depth : int
        Units of a hidden layer, and number of hidden layers.
    schedule : Schedule
        The chain.
    uniforms : callable
        ``uniforms(k)`` returns uniform numbers in [0, 1), (members, k), with which the weights are initialised.
    activation : callable
        Activation of the hidden layers.
    bound : float, optional
        Bound of the absolute clean logits in their estimate; the predicted noise is then not bounded. Without a bound,
        the predicted noise passes through a tanh, as in the published code.
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
            (members, steps, batch, outputs): standard normal numbers. The first step's are the initial logits. Without
            noise, all random numbers are 0, their mean.

        Returns
        -------
        Tensor
            Logits, (members, batch, outputs).
        """
        logit_weights, time_weights, state_weights = self.first.weights[0].split(self.splits, dim=1)
        times = self.time(self.embeddings.expand(self.members, -1, -1))
        no_bias = times.new_zeros(len(time_weights), 1, time_weights.shape[2])
        times = affine(times, time_weights, no_bias)
        state = affine(observations, state_weights, self.first.biases[0])
        x = state.new_zeros(*state.shape[:2], self.splits[0]) if noise is None else noise[:, 0]
        relu = self.activation is torch.relu_
        steps = self.schedule.steps
        for t in range(steps, 0, -1):
            hidden = affine(x, logit_weights, state + times[:, t - 1 : t], relu=relu)
            predicted = self.rest(hidden if relu else self.activation(hidden))
            if self.bound is None:
                predicted = torch.tanh(predicted)
            x, deviation = denoised(self.schedule, t, x, predicted, self.bound)
            if noise is not None and t > 1:
                x = x + deviation * noise[:, steps + 1 - t]
        return x
