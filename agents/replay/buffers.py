"""Replay buffer of many members, and the n-step returns that are stored in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Sampled transitions, leading axes (members, batch)."""

    observations: Tensor
    """float32 (members, batch, features)."""
    actions: Tensor
    """int64 (members, batch, heads)."""
    returns: Tensor
    """float32 (members, batch): discounted sum of the n rewards, in units of scaled reward."""
    next_observations: Tensor
    """float32 (members, batch, features)."""
    discounts: Tensor
    """float32 (members, batch): factor of the value of the next observation; 0 after a termination."""
    weights: Tensor
    """float32 (members, 1): 1, or 0 for a member that has no transition yet."""


class ReplayBuffer:
    """A ring buffer of rows for every member; members may fill at different rates.

    Parameters
    ----------
    members : int
        Number of ring buffers.
    capacity : int
        Rows of each ring buffer.
    fields : dict
        For each field the shape and the type of one row.
    device : torch.device
        Device on which the rows are stored.
    """

    def __init__(
        self,
        members: int,
        capacity: int,
        fields: Mapping[str, tuple[tuple[int, ...], torch.dtype]],
        device: torch.device,
    ) -> None:
        self.capacity, self.device = capacity, device
        self.size = np.zeros(members, np.int64)
        self.position = np.zeros(members, np.int64)
        self.fields = {
            name: torch.zeros(members, capacity, *shape, dtype=dtype, device=device)
            for name, (shape, dtype) in fields.items()
        }

    def add(self, members: NDArray[np.int64], rows: dict[str, NDArray[Any]]) -> None:
        """Add rows; each member's rows are stored in the given order.

        Parameters
        ----------
        members : ndarray of int64
            (rows,): the member to which each row belongs.
        rows : dict of ndarray
            For each field (rows, …).
        """
        order = np.argsort(members, kind="stable")
        grouped = members[order]
        counts = np.bincount(grouped, minlength=len(self.size))
        if counts.max() > self.capacity:
            raise ValueError(f"a replay buffer of {self.capacity} rows cannot take {counts.max()} rows at once")
        first = np.cumsum(counts) - counts
        slots = (self.position[grouped] + np.arange(len(grouped)) - first[grouped]) % self.capacity
        index = torch.from_numpy(grouped), torch.from_numpy(slots)
        for name, field in self.fields.items():
            field[index] = torch.from_numpy(rows[name][order]).to(self.device, field.dtype)
        self.position = (self.position + counts) % self.capacity
        self.size = np.minimum(self.size + counts, self.capacity)

    def pick(self, uniforms: NDArray[np.float64]) -> dict[str, Tensor]:
        """Sample rows with replacement.

        Parameters
        ----------
        uniforms : ndarray of float64
            (members, batch): uniform numbers in [0, 1), each of which selects a row of its member.

        Returns
        -------
        dict of Tensor
            For each field (members, batch, …); zeros for a member that has no row yet.
        """
        slots = (uniforms * self.size[:, None]).astype(np.int64)
        members = torch.arange(len(self.size))[:, None]
        index = members.to(self.device), torch.from_numpy(slots).to(self.device)
        return {name: field[index] for name, field in self.fields.items()}

    def weights(self) -> Tensor:
        """Return float32 (members, 1): 1, or 0 for a member that has no row yet."""
        return torch.from_numpy((self.size > 0).astype(np.float32))[:, None].to(self.device)

    def state(self, members: slice) -> dict[str, Any]:
        """Return some members' rows."""
        filled = int(self.size[members].max(initial=0))
        return {
            "size": self.size[members].copy(),
            "position": self.position[members].copy(),
            **{name: field[members, :filled].cpu().clone() for name, field in self.fields.items()},
        }

    def load_state(self, members: slice, state: dict[str, Any]) -> None:
        """Set some members' rows."""
        self.size[members] = np.asarray(state["size"])
        self.position[members] = np.asarray(state["position"])
        for name, field in self.fields.items():
            saved = torch.as_tensor(state[name])
            field[members, : saved.shape[1]] = saved.to(self.device)


class TransitionBuffer(ReplayBuffer):
    """A replay buffer of each member's own n-step transitions.

    Parameters
    ----------
    members : int
        Number of ring buffers.
    capacity : int
        Transitions of each ring buffer.
    features, heads : int
        Lengths of an observation and of an action.
    device : torch.device
        Device on which the transitions are stored.
    """

    def __init__(self, members: int, capacity: int, features: int, heads: int, device: torch.device) -> None:
        fields = {
            "observations": ((features,), torch.float32),
            "actions": ((heads,), torch.int64),
            "returns": ((), torch.float32),
            "next_observations": ((features,), torch.float32),
            "discounts": ((), torch.float32),
        }
        super().__init__(members, capacity, fields, device)

    def sample(self, uniforms: NDArray[np.float64]) -> Batch:
        """Sample one transition for each of the ``uniforms``, float64 (members, batch) in [0, 1)."""
        return Batch(weights=self.weights(), **self.pick(uniforms))


class NStepReturns:
    """Computes n-step transitions, in which time counts an agent's own decisions.

    Every column (seed, market, agent) keeps its last n actions. Rewards that an agent receives while it is inactive
    belong to its last action. The next observation is that at the agent's action n decisions later, or the last one of
    the episode.

    Parameters
    ----------
    columns : int
        Number of agents over all seeds and markets.
    n : int
        Decisions whose rewards are summed.
    gamma : float
        Discount per decision.
    features, heads : int
        Lengths of an observation and of an action.
    """

    def __init__(self, columns: int, n: int, gamma: float, features: int, heads: int) -> None:
        self.n, self.gamma = n, gamma
        self.length = np.zeros(columns, np.int64)
        self.observations = np.zeros((columns, n, features), np.float32)
        self.actions = np.zeros((columns, n, heads), np.int64)
        self.returns = np.zeros((columns, n), np.float64)
        self.discounts = np.zeros((columns, n), np.float64)

    def step(
        self,
        observations: NDArray[np.float32],
        actions: NDArray[np.int64],
        active: NDArray[np.bool_],
        rewards: NDArray[np.floating],
        successors: NDArray[np.float32],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
    ) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
        """Add one step of every column.

        Parameters
        ----------
        observations : ndarray of float32
            (columns, features).
        actions : ndarray of int64
            (columns, heads).
        active : ndarray of bool
            (columns,): whether the agent acts in this step.
        rewards : ndarray
            (columns,), in units of scaled reward.
        successors : ndarray of float32
            (columns, features): the observations after the step, before any reset.
        terminated, truncated : ndarray of bool
            (columns,): whether the episode ended in this step.

        Returns
        -------
        columns : ndarray of int64
            (rows,): the column to which each completed transition belongs.
        rows : dict of ndarray
            The transitions, with the fields of `TransitionBuffer`, (rows, …) each; empty if there are none.
        """
        completed: list[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]] = []
        self.discounts[active] *= self.gamma
        full = np.flatnonzero(active & (self.length == self.n))
        if len(full):
            completed.append((full, self._rows(full, 0, observations[full], self.discounts[full, 0])))
            for array in (self.observations, self.actions, self.returns, self.discounts):
                array[full, :-1] = array[full, 1:]
            self.length[full] -= 1
        acting = np.flatnonzero(active)
        at = self.length[acting]
        self.observations[acting, at], self.actions[acting, at] = observations[acting], actions[acting]
        self.returns[acting, at], self.discounts[acting, at] = 0.0, 1.0
        self.length[acting] += 1
        self.returns += self.discounts * rewards[:, None]
        ended = np.flatnonzero(terminated | truncated)
        if len(ended):
            last_discount = np.where(terminated[ended], 0.0, self.gamma)
            for i in range(int(self.length[ended].max(initial=0))):
                which = self.length[ended] > i
                columns = ended[which]
                discounts = self.discounts[columns, i] * last_discount[which]
                completed.append((columns, self._rows(columns, i, successors[columns], discounts)))
            self.length[ended] = 0
            self.discounts[ended] = 0.0
        if not completed:
            return np.zeros(0, np.int64), {}
        columns = np.concatenate([c for c, _ in completed])
        return columns, {key: np.concatenate([rows[key] for _, rows in completed]) for key in completed[0][1]}

    def _rows(
        self,
        columns: NDArray[np.int64],
        i: int,
        successors: NDArray[np.float32],
        discounts: NDArray[np.float64],
    ) -> dict[str, NDArray[Any]]:
        return {
            "observations": self.observations[columns, i],
            "actions": self.actions[columns, i],
            "returns": self.returns[columns, i],
            "next_observations": successors,
            "discounts": discounts,
        }

    _FIELDS = ("length", "observations", "actions", "returns", "discounts")

    def state(self, columns: slice) -> dict[str, NDArray[Any]]:
        """Return the incomplete transitions of some columns."""
        return {name: getattr(self, name)[columns].copy() for name in self._FIELDS}

    def load_state(self, columns: slice, state: dict[str, Any]) -> None:
        """Set the incomplete transitions of some columns."""
        for name in self._FIELDS:
            getattr(self, name)[columns] = np.asarray(state[name])
