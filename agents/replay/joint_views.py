"""What critics and actors see of a whole market at one moment, as tensors (seeds, batch, agents, …) by role."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import gymnasium
import torch
from torch import Tensor

from ioa_marl.agents.networks.heads import Heads
from ioa_marl.envs.core import Role


@dataclass(frozen=True)
class View:
    """One moment of several markets; dicts are keyed by role."""

    observations: Mapping[str, Tensor]
    """float32 (seeds, batch, agents, features)."""
    actions: Mapping[str, Tensor]
    """float32 (seeds, batch, agents, width) as `ActionCode` writes them."""


class ActionCode:
    """Writes a role's actions as numbers: a one-hot vector per head, all zeros for an agent that does not act.

    The numbers of a Box are written as they are, with a 1 behind them, so that 0 can be told from not acting.

    Parameters
    ----------
    role : Role
        The role.
    device : torch.device
        Where networks live.
    """

    def __init__(self, role: Role, device: torch.device) -> None:
        space = role.action_space
        self._heads = None if isinstance(space, gymnasium.spaces.Box) else Heads(space, device)
        self.width = math.prod(space.shape or ()) + 1 if self._heads is None else self._heads.width

    def __call__(self, actions: Tensor, active: Tensor) -> Tensor:
        """Turn (…, heads) and bool (…) into float32 (…, width)."""
        if self._heads is None:
            written = torch.cat([actions, torch.ones_like(actions[..., :1])], dim=-1)
        else:
            written = self._heads.one_hot(actions.long())
        return torch.where(active[..., None], written, 0.0)


def summed(x: Tensor, dim: int) -> Tensor:
    """Return the sum over an axis, added in pairs.

    A library's sum may be ordered differently at the end of a large array, and so depend on the seeds beside.
    """
    while (n := x.shape[dim]) > 1:
        half = n // 2
        pairs = x.narrow(dim, 0, half) + x.narrow(dim, half, half)
        x = torch.cat([pairs, x.narrow(dim, n - 1, 1)], dim=dim) if n % 2 else pairs
    return x.squeeze(dim)


def mean_of_all(x: Tensor) -> Tensor:
    """Return the mean over agents, (seeds, batch, agents, k) to (seeds, batch, k)."""
    return summed(x, 2) / x.shape[2]


def mean_of_others(x: Tensor) -> Tensor:
    """Return for every agent the mean over the others, (seeds, batch, agents, k) as before; 0 where there are none."""
    n = x.shape[2]
    if n == 1:
        return torch.zeros_like(x)
    return (summed(x, 2).unsqueeze(2) - x) / (n - 1)
