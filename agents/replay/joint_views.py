"""Observations and actions of all agents of a market, as tensors (seeds, batch, agents, …) by role."""

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
    """Observations and actions of all agents in one step of several markets, by role."""

    observations: Mapping[str, Tensor]
    """float32 (seeds, batch, agents, features)."""
    actions: Mapping[str, Tensor]
    """float32 (seeds, batch, agents, width), encoded by `ActionCode`."""


class ActionCode:
    """The encoding of a role's actions as inputs of networks.

    A discrete action is a one-hot vector per head. The numbers of a Box are followed by a 1, which distinguishes an
    action of 0 from no action. An agent that does not act has a code of zeros.

    Parameters
    ----------
    role : Role
        The role.
    device : torch.device
        Device on which the networks are stored.
    """

    def __init__(self, role: Role, device: torch.device) -> None:
        space = role.action_space
        self._heads = None if isinstance(space, gymnasium.spaces.Box) else Heads(space, device)
        self.width = math.prod(space.shape or ()) + 1 if self._heads is None else self._heads.width

    def __call__(self, actions: Tensor, active: Tensor) -> Tensor:
        """Encode actions.

        Parameters
        ----------
        actions : Tensor
            (…, heads), or (…, numbers) of a Box.
        active : Tensor
            bool (…): whether the agent acts.

        Returns
        -------
        Tensor
            float32 (…, width).
        """
        if self._heads is None:
            code = torch.cat([actions, torch.ones_like(actions[..., :1])], dim=-1)
        else:
            code = self._heads.one_hot(actions.long())
        return torch.where(active[..., None], code, 0.0)


def summed(x: Tensor, dim: int) -> Tensor:
    """Return the sum over the axis ``dim``, which is removed, by pairwise summation.

    PyTorch's sum may add in another order at the end of a large array, so that the result of a seed would depend on the
    seeds that are trained beside it.
    """
    while (n := x.shape[dim]) > 1:
        half = n // 2
        pairs = x.narrow(dim, 0, half) + x.narrow(dim, half, half)
        x = torch.cat([pairs, x.narrow(dim, n - 1, 1)], dim=dim) if n % 2 else pairs
    return x.squeeze(dim)


def mean_of_all(x: Tensor) -> Tensor:
    """Return the mean over agents: (seeds, batch, agents, k) becomes (seeds, batch, k)."""
    return summed(x, 2) / x.shape[2]


def mean_of_others(x: Tensor) -> Tensor:
    """Return for every agent the mean over the other agents, (seeds, batch, agents, k); 0 if there is only one."""
    n = x.shape[2]
    if n == 1:
        return torch.zeros_like(x)
    return (summed(x, 2).unsqueeze(2) - x) / (n - 1)
