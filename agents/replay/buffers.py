"""Replay memory of many members, and the n-step returns that go into it."""

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
    """float32 (members, batch): discounted sum of the rewards in between."""
    next_observations: Tensor
    """float32 (members, batch, features)."""
    discounts: Tensor
    """float32 (members, batch): what the value of the next observation counts; 0 after a termination."""
    weights: Tensor
    """float32 (members, 1): 0 for a member that has no transition yet."""


class ReplayBuffer:
    """A ring of rows for every member; members may fill at different rates.

    Parameters
    ----------
    members : int
        Number of rings.
    capacity : int
        Rows that each one holds.
    fields : dict
        For each field the shape and the type of a row.
    device : torch.device
        Where rows are held.
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
        """Add rows; ``members`` (rows,) says whose each one is. A member's rows keep their order."""
        order = np.argsort(members, kind="stable")
        grouped = members[order]
        counts = np.bincount(grouped, minlength=len(self.size))
        if counts.max() > self.capacity:
            raise ValueError(f"a replay memory of {self.capacity} cannot take {counts.max()} rows at once")
        first = np.cumsum(counts) - counts
        slots = (self.position[grouped] + np.arange(len(grouped)) - first[grouped]) % self.capacity
        index = torch.from_numpy(grouped), torch.from_numpy(slots)
        for name, field in self.fields.items():
            field[index] = torch.from_numpy(rows[name][order]).to(self.device, field.dtype)
        self.position = (self.position + counts) % self.capacity
        self.size = np.minimum(self.size + counts, self.capacity)

    def pick(self, uniforms: NDArray[np.float64]) -> dict[str, Tensor]:
        """Return one row per number in [0, 1) of ``uniforms`` (members, batch); zeros where there is none yet."""
        slots = (uniforms * self.size[:, None]).astype(np.int64)
        members = torch.arange(len(self.size))[:, None]
        index = members.to(self.device), torch.from_numpy(slots).to(self.device)
        return {name: field[index] for name, field in self.fields.items()}

    def weights(self) -> Tensor:
        """Return float32 (members, 1): 0 for a member that has no row yet."""
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


class StackedReplay(ReplayBuffer):
    """Each member's own transitions."""

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
        """Return one transition per number in [0, 1) of ``uniforms`` (members, batch)."""
        return Batch(weights=self.weights(), **self.pick(uniforms))


class NStepReturns:
    """Turns what agents do and get into n-step transitions.

    Every column (seed, market, agent) keeps its last n actions. Time is the agent's own: rewards that reach it
    while it is inactive belong to its last action, and the next observation is the one of its next action, or the
    last one of the episode.
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
        """Take one step of every column; returns the columns and rows of completed transitions."""
        done: list[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]] = []
        self.discounts[active] *= self.gamma
        full = np.flatnonzero(active & (self.length == self.n))
        if len(full):
            done.append((full, self._rows(full, 0, observations[full], self.discounts[full, 0])))
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
            alive = np.where(terminated[ended], 0.0, self.gamma)
            for i in range(int(self.length[ended].max(initial=0))):
                which = self.length[ended] > i
                columns = ended[which]
                discounts = self.discounts[columns, i] * alive[which]
                done.append((columns, self._rows(columns, i, successors[columns], discounts)))
            self.length[ended] = 0
            self.discounts[ended] = 0.0
        if not done:
            return np.zeros(0, np.int64), {}
        columns = np.concatenate([c for c, _ in done])
        return columns, {key: np.concatenate([rows[key] for _, rows in done]) for key in done[0][1]}

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
        """Return the open windows of some columns."""
        return {name: getattr(self, name)[columns].copy() for name in self._FIELDS}

    def load_state(self, columns: slice, state: dict[str, Any]) -> None:
        """Set the open windows of some columns."""
        for name in self._FIELDS:
            getattr(self, name)[columns] = np.asarray(state[name])
