"""Discrete actions as heads: a Discrete space has one, a MultiDiscrete several independent ones.

Networks give every head as many logits as the largest one has outcomes; those that a head does not have are masked.
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
        Where networks live.
    """

    def __init__(self, space: gymnasium.spaces.Space[gymnasium.spaces.Discrete], device: torch.device) -> None:
        self.sizes = action_heads(space)
        self.count, self.outcomes = len(self.sizes), max(self.sizes)
        self.single = isinstance(space, gymnasium.spaces.Discrete)
        self.full = min(self.sizes) == self.outcomes
        """Whether all outcomes exist: nothing need be masked then."""
        self.allowed = (torch.arange(self.outcomes) < torch.tensor(self.sizes)[:, None]).to(device)

    @property
    def width(self) -> int:
        """Outputs of a network that has a number for every outcome of every head."""
        return self.count * self.outcomes

    def split(self, flat: Tensor) -> Tensor:
        """Turn (…, width) into (…, heads, outcomes)."""
        out: Tensor = flat.unflatten(-1, (self.count, self.outcomes))
        return out

    def logits(self, flat: Tensor) -> Tensor:
        """Turn (…, width) into (…, heads, outcomes), −inf where an outcome does not exist."""
        return self.masked(self.split(flat), -torch.inf)

    def masked(self, x: Tensor, value: float) -> Tensor:
        """Put a value where an outcome does not exist, (…, heads, outcomes)."""
        return x if self.full else x.masked_fill(~self.allowed, value)

    def weighted(self, weights: Tensor, values: Tensor) -> Tensor:
        """Return Σ weights · values over the outcomes that exist, (…, heads, outcomes) to (…)."""
        return self.masked(weights * values, 0.0).sum((-1, -2))

    def one_hot(self, actions: Tensor) -> Tensor:
        """Turn int64 (…, heads) into float32 (…, width)."""
        return torch.nn.functional.one_hot(actions, self.outcomes).flatten(-2).float()

    def choose(self, logits: Tensor, streams: Streams | None, seeds: int) -> NDArray[np.int64]:
        """Sample from (members, batch, heads, outcomes), or take the most likely where there are no ``streams``.

        Returns
        -------
        ndarray of int64
            (members, batch, heads).

        Raises
        ------
        NotFiniteError
            If the most likely ones cannot be told; those that are drawn are not looked at, which would take time.
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
        if bool(logits.sum() < torch.inf):  # neither NaN nor +inf; −inf is an outcome that does not exist
            return
        wrong = (logits.isnan() | (logits == torch.inf)).reshape(seeds, -1).any(1)
        if bool(wrong.any()):
            raise NotFiniteError("what a policy returns is not finite", wrong.nonzero().flatten().tolist())


def gumbel(uniforms: Tensor) -> Tensor:
    """Turn numbers in [0, 1) into Gumbel-distributed ones; 0 and 1 stay finite."""
    tiny = torch.finfo(uniforms.dtype).tiny
    return -torch.log(-torch.log(uniforms.clamp(tiny, 1.0 - torch.finfo(uniforms.dtype).eps)))


def straight_through(logits: Tensor, temperature: float = 1.0, noise: Tensor | None = None) -> Tensor:
    """Return one-hot vectors whose gradient is that of the softmax (Jang et al., "Categorical reparameterization").

    Parameters
    ----------
    logits : Tensor
        (…, outcomes), −inf where an outcome does not exist.
    temperature : float
        Of the softmax that gives the gradient.
    noise : Tensor, optional
        Gumbel noise of the same shape: the one-hot vectors are then samples, else the most likely outcomes.
    """
    perturbed = logits if noise is None else logits + noise
    soft = softmax(perturbed / temperature)
    hard = torch.nn.functional.one_hot(perturbed.argmax(-1), logits.shape[-1]).to(soft.dtype)
    return hard - soft.detach() + soft
