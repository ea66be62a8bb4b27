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


def present_agents(role: Role, observations: Tensor) -> Tensor | None:
    """Return which agents of a role are there, bool (…,), from their observations (…, features); None: all are.

    Where agents `Role.can_be_absent`, absent ones observe only zeros.
    """
    return (observations != 0).any(-1) if role.can_be_absent else None


def mean_of_all(x: Tensor, present: Tensor | None = None) -> Tensor:
    """Return the mean over the agents that are present, 0 if none is.

    Parameters
    ----------
    x : Tensor
        (seeds, batch, agents, k).
    present : Tensor, optional
        bool (seeds, batch, agents); by default all are.

    Returns
    -------
    Tensor
        (seeds, batch, k).
    """
    if present is None:
        return summed(x, 2) / x.shape[2]
    counted = torch.where(present[..., None], x, 0.0)
    return summed(counted, 2) / present.sum(2, keepdim=True).clamp(min=1)


def mean_of_others(x: Tensor, present: Tensor | None = None) -> Tensor:
    """Return for every agent the mean over the other agents that are present, 0 if there is none.

    Parameters are those of `mean_of_all`; the result is (seeds, batch, agents, k).
    """
    if present is None:
        return (summed(x, 2).unsqueeze(2) - x) / max(x.shape[2] - 1, 1)
    counted = torch.where(present[..., None], x, 0.0)
    others = present.sum(2, keepdim=True) - present.long()
    return (summed(counted, 2).unsqueeze(2) - counted) / others.clamp(min=1)[..., None]
