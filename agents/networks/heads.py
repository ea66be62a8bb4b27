"""Heads of discrete actions: a Discrete space has one head, a MultiDiscrete space several independent ones.

The networks have as many outputs for every head as the largest head has outcomes. Outputs for outcomes that a head does
not have are masked.
"""

from __future__ import annotations

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ioa_marl.agents.base import NotFiniteError, action_heads
from ioa_marl.agents.common.streams import Streams
from ioa_marl.agents.networks.softmax import softmax


class Heads:
    """The heads of an action space.

    Parameters
    ----------
    space : Discrete or MultiDiscrete
        The action space.
    device : torch.device
        Device on which the networks are stored.
    """

    def __init__(self, space: gymnasium.spaces.Space[gymnasium.spaces.Discrete], device: torch.device) -> None:
        self.sizes = action_heads(space)
        self.count, self.outcomes = len(self.sizes), max(self.sizes)
        self.single = isinstance(space, gymnasium.spaces.Discrete)
        self.full = min(self.sizes) == self.outcomes
        """Whether all heads have the same number of outcomes, so that no output is masked."""
        self.allowed = (torch.arange(self.outcomes) < torch.tensor(self.sizes)[:, None]).to(device)

    @property
    def width(self) -> int:
        """Number of outputs of a network with one output for every outcome of every head."""
        return self.count * self.outcomes

    def split(self, flat: Tensor) -> Tensor:
        """Reshape network outputs (…, width) to (…, heads, outcomes)."""
        out: Tensor = flat.unflatten(-1, (self.count, self.outcomes))
        return out

    def logits(self, flat: Tensor) -> Tensor:
        """Reshape network outputs (…, width) to logits (…, heads, outcomes), −inf where an outcome does not exist."""
        return self.masked(self.split(flat), -torch.inf)

    def masked(self, x: Tensor, value: float) -> Tensor:
        """Return ``x`` (…, heads, outcomes) with ``value`` where an outcome does not exist."""
        return x if self.full else x.masked_fill(~self.allowed, value)

    def weighted(self, weights: Tensor, values: Tensor) -> Tensor:
        """Return Σ weights · values, (…), over the existing outcomes of all heads; both are (…, heads, outcomes)."""
        return self.masked(weights * values, 0.0).sum((-1, -2))

    def one_hot(self, actions: Tensor) -> Tensor:
        """Return the one-hot encoding, float32 (…, width), of actions int64 (…, heads)."""
        return torch.nn.functional.one_hot(actions, self.outcomes).flatten(-2).float()

    def choose(self, logits: Tensor, streams: Streams | None, seeds: int) -> NDArray[np.int64]:
        """Sample actions, or take the most likely ones.

        Parameters
        ----------
        logits : Tensor
            (members, batch, heads, outcomes), −inf where an outcome does not exist.
        streams : Streams, optional
            Random streams of the seeds. None: the most likely actions are taken.
        seeds : int
            Number of seeds, among which the members are divided evenly.

        Returns
        -------
        ndarray of int64
            (members, batch, heads).

        Raises
        ------
        NotFiniteError
            If the most likely actions are taken and a logit is NaN or +inf. Sampling does not check it, to save time.
        """
        if streams is None:
            self._check(logits, seeds)
            best: NDArray[np.int64] = logits.argmax(-1).numpy(force=True)
            return best
        shape = logits.shape
        pi = softmax(logits).numpy(force=True).reshape(seeds, -1, self.count, self.outcomes)
        return streams.categorical(pi).reshape(shape[:-1])

    @staticmethod
    def _check(logits: Tensor, seeds: int) -> None:
        if bool(logits.sum() < torch.inf):  # no NaN and no +inf; −inf means that an outcome does not exist
            return
        diverged = (logits.isnan() | (logits == torch.inf)).reshape(seeds, -1).any(1)
        if bool(diverged.any()):
            raise NotFiniteError("what a policy returns is not finite", diverged.nonzero().flatten().tolist())


def gumbel(uniforms: Tensor) -> Tensor:
    """Return −log(−log u), Gumbel noise, for uniform numbers u in [0, 1); u is clipped so that the result is finite."""
    tiny = torch.finfo(uniforms.dtype).tiny
    return -torch.log(-torch.log(uniforms.clamp(tiny, 1.0 - torch.finfo(uniforms.dtype).eps)))


def straight_through(logits: Tensor, temperature: float = 1.0, noise: Tensor | None = None) -> Tensor:
    """Return one-hot vectors whose gradient is that of the softmax (Jang et al., "Categorical reparameterization").

    Parameters
    ----------
    logits : Tensor
        (…, outcomes), −inf where an outcome does not exist.
    temperature : float
        Temperature of the softmax.
    noise : Tensor, optional
        Gumbel noise of the same shape. The vectors are then samples; without it, they are the most likely outcomes.

    Returns
    -------
    Tensor
        (…, outcomes).
    """
    perturbed = logits if noise is None else logits + noise
    soft = softmax(perturbed / temperature)
    hard = torch.nn.functional.one_hot(perturbed.argmax(-1), logits.shape[-1]).to(soft.dtype)
    return hard - soft.detach() + soft
