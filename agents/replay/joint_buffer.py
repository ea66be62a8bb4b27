"""What a whole market did, step by step: a replay memory for critics that look at several agents at once.

Time is the market's own, one row for each of its steps, whoever acted in it. An agent that was not asked did nothing,
which is an action like any other to a critic of the joint play; what it earns meanwhile counts undiscounted, so that
every agent's value is discounted by its own decisions. What an action earns later than a row reaches is known to its
value only through the next observation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ioa_marl.agents.base import AgentContext, State, action_heads
from ioa_marl.agents.replay.buffers import ReplayBuffer
from ioa_marl.envs.core import Arrays, Role
from ioa_marl.envs.vector import Transition

Rows = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class JointBatch:
    """Sampled steps of whole markets; dicts are keyed by role, leading axes (seeds, batch)."""

    observations: dict[str, Tensor]
    """float32 (seeds, batch, agents, features)."""
    actions: dict[str, Tensor]
    """(seeds, batch, agents, heads) of Discrete and MultiDiscrete, (seeds, batch, agents, numbers) of Box."""
    active: dict[str, Tensor]
    """bool (seeds, batch, agents): whose action was used."""
    next_observations: dict[str, Tensor]
    """float32 (seeds, batch, agents, features): n steps later, or at the end of the episode."""
    next_active: dict[str, Tensor]
    """bool (seeds, batch, agents): who acts then; of roles that are not played, whose next action is known."""
    next_actions: dict[str, Tensor]
    """As ``actions``: what roles that are not played did then."""
    returns: dict[str, Tensor]
    """float32 (seeds, batch, agents): discounted sum of the rewards in between; roles played."""
    discounts: dict[str, Tensor]
    """float32 (seeds, batch, agents): what the next value counts; 0 after a termination; roles played."""
    weights: Tensor
    """float32 (seeds, 1): 0 for a seed that has no row yet."""


def action_shape(role: Role) -> tuple[int, ...]:
    """Return the shape of one agent's action as it is remembered."""
    space = role.action_space
    return space.shape if isinstance(space, gymnasium.spaces.Box) else (len(action_heads(space)),)


def _remembered_type(role: Role) -> torch.dtype:
    space = role.action_space
    if isinstance(space, gymnasium.spaces.Box):
        return torch.float32
    return torch.uint8 if max(action_heads(space)) <= 256 else torch.int64


class JointWindows:
    """Turns the steps of markets into rows that bridge n of them.

    Every column (seed, market) keeps its last n steps. An agent's reward is discounted once for each of its own
    decisions that lie between; a row ends n steps later, or with the episode.

    Parameters
    ----------
    columns : int
        Number of markets.
    n : int
        Steps whose rewards are summed.
    gamma : float
        Discount per decision.
    roles : sequence of Role
        Who is remembered.
    plays : sequence of Role
        Whose rewards are.
    """

    def __init__(self, columns: int, n: int, gamma: float, roles: Sequence[Role], plays: Sequence[Role]) -> None:
        self.n, self.gamma = n, gamma
        self.roles, self.plays = [role.name for role in roles], [role.name for role in plays]
        self.length = np.zeros(columns, np.int64)
        self.position = np.zeros(columns, np.int64)
        self.held: Rows = {}
        for role in roles:
            lead = (columns, n, role.count)
            discrete = not isinstance(role.action_space, gymnasium.spaces.Box)
            self.held[f"observations/{role.name}"] = np.zeros(lead + role.observation_space.shape, np.float32)
            self.held[f"actions/{role.name}"] = np.zeros(
                lead + action_shape(role), np.int64 if discrete else np.float32
            )
            self.held[f"active/{role.name}"] = np.zeros(lead, np.bool_)
        for role in plays:
            self.held[f"returns/{role.name}"] = np.zeros((columns, n, role.count))
            self.held[f"discounts/{role.name}"] = np.zeros((columns, n, role.count))

    def step(
        self,
        observations: Arrays,
        actions: Arrays,
        active: Arrays,
        rewards: Arrays,
        successors: Arrays,
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
    ) -> tuple[NDArray[np.int64], Rows]:
        """Take one step of every column, arrays (columns, agents, …); returns columns and rows of completed windows."""
        done: list[tuple[NDArray[np.int64], Rows]] = []
        for name in self.plays:
            self.held[f"discounts/{name}"] *= np.where(active[name], self.gamma, 1.0)[:, None]
        full = np.flatnonzero(self.length == self.n)
        if len(full):
            # The oldest step lies where the new one goes.
            rows = self._rows(full, self.position[full], observations)
            for name in set(self.roles) - set(self.plays):
                rows[f"next_actions/{name}"] = actions[name][full]
            done.append((full, rows | {f"next_active/{name}": active[name][full] for name in self.roles}))
            self.length[full] -= 1
        self._push(observations, actions, active)
        for name in self.plays:
            self.held[f"returns/{name}"] += self.held[f"discounts/{name}"] * rewards[name][:, None]
        ended = np.flatnonzero(terminated | truncated)
        if len(ended):
            done += self._flush(ended, successors, terminated)
        if not done:
            return np.zeros(0, np.int64), {}
        columns = np.concatenate([c for c, _ in done])
        return columns, {key: np.concatenate([rows[key] for _, rows in done]) for key in done[0][1]}

    def _push(self, observations: Arrays, actions: Arrays, active: Arrays) -> None:
        at = np.arange(len(self.length)), self.position
        for name in self.roles:
            self.held[f"observations/{name}"][at] = observations[name]
            self.held[f"actions/{name}"][at] = actions[name]
            self.held[f"active/{name}"][at] = active[name]
        for name in self.plays:
            self.held[f"returns/{name}"][at] = 0.0
            self.held[f"discounts/{name}"][at] = 1.0
        self.position = (self.position + 1) % self.n
        self.length += 1

    def _flush(
        self, ended: NDArray[np.int64], successors: Arrays, terminated: NDArray[np.bool_]
    ) -> list[tuple[NDArray[np.int64], Rows]]:
        """Complete all windows of the episodes that ended; nobody knows what other roles would have done next."""
        done = []
        for i in range(int(self.length[ended].max())):
            columns = ended[self.length[ended] > i]
            slots = (self.position[columns] - self.length[columns] + i) % self.n
            rows = self._rows(columns, slots, successors)
            alive = np.where(terminated[columns], 0.0, self.gamma)[:, None]
            for name in self.roles:
                played = name in self.plays
                rows[f"next_active/{name}"] = np.full(rows[f"active/{name}"].shape, played)
                if played:
                    rows[f"discounts/{name}"] = rows[f"discounts/{name}"] * alive
                else:
                    rows[f"next_actions/{name}"] = np.zeros_like(rows[f"actions/{name}"])
            done.append((columns, rows))
        self.length[ended] = 0
        for name in self.plays:
            self.held[f"discounts/{name}"][ended] = 0.0
        return done

    def _rows(self, columns: NDArray[np.int64], slots: NDArray[np.int64], following: Arrays) -> Rows:
        rows = {key: array[columns, slots] for key, array in self.held.items()}
        return rows | {f"next_observations/{name}": following[name][columns] for name in self.roles}

    def state(self, columns: slice) -> State:
        """Return the open windows of some columns."""
        held = {key: array[columns].copy() for key, array in self.held.items()}
        return {"length": self.length[columns].copy(), "position": self.position[columns].copy(), "held": held}

    def load_state(self, columns: slice, state: State) -> None:
        """Set the open windows of some columns."""
        self.length[columns] = np.asarray(state["length"])
        self.position[columns] = np.asarray(state["position"])
        for key, array in self.held.items():
            array[columns] = np.asarray(state["held"][key])


class JointReplay:
    """The memory of every seed: a ring of rows, and the open windows of its markets.

    Parameters
    ----------
    context : AgentContext
        Seeds, markets and budget.
    roles : sequence of Role
        Who is remembered; those of ``context.plays`` with their rewards.
    buffer_size : int
        Largest number of rows; never more than the budget.
    n : int
        Steps that a row bridges.
    gamma : float
        Discount per decision.
    """

    def __init__(self, context: AgentContext, roles: Sequence[Role], buffer_size: int, n: int, gamma: float) -> None:
        self.seeds, self.num_envs = len(context.seeds), context.num_envs
        self.roles, self.plays = list(roles), list(context.plays)
        self.windows = JointWindows(self.seeds * self.num_envs, n, gamma, roles, context.plays)
        # At least what one step can bring: full windows, and the flush at the end of all episodes.
        capacity = max(min(buffer_size, context.budget), (n + 1) * self.num_envs)
        self.buffer = ReplayBuffer(self.seeds, capacity, self._fields(), context.device)

    def _fields(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        fields: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
        for role in self.roles:
            for prefix in ("", "next_"):
                fields[f"{prefix}observations/{role.name}"] = (
                    (role.count, *role.observation_space.shape),
                    torch.float32,
                )
                fields[f"{prefix}active/{role.name}"] = ((role.count,), torch.bool)
                if not (prefix and role in self.plays):
                    fields[f"{prefix}actions/{role.name}"] = ((role.count, *action_shape(role)), _remembered_type(role))
        for role in self.plays:
            fields[f"returns/{role.name}"] = fields[f"discounts/{role.name}"] = ((role.count,), torch.float32)
        return fields

    def observe(self, transition: Transition, reward_scale: float) -> None:
        """Pass one step of all markets through the windows into the memory."""

        def flat(arrays: Arrays, roles: Sequence[Role]) -> Arrays:
            return {role.name: arrays[role.name].reshape(-1, *arrays[role.name].shape[2:]) for role in roles}

        actions = flat(transition.actions, self.roles)
        columns, rows = self.windows.step(
            flat(transition.observations, self.roles),
            {role.name: actions[role.name].reshape(-1, role.count, *action_shape(role)) for role in self.roles},
            flat(transition.active, self.roles),
            {name: r * reward_scale for name, r in flat(transition.rewards, self.plays).items()},
            flat(transition.next_observations, self.roles),
            transition.terminated.reshape(-1),
            transition.truncated.reshape(-1),
        )
        if len(columns):
            self.buffer.add(columns // self.num_envs, rows)

    def sample(self, uniforms: NDArray[np.float64]) -> JointBatch:
        """Return one row per number in [0, 1) of ``uniforms`` (seeds, batch)."""
        parts: dict[str, dict[str, Tensor]] = {name: {} for name in JointBatch.__annotations__ if name != "weights"}
        for key, values in self.buffer.pick(uniforms).items():
            part, role = key.split("/")
            parts[part][role] = values
        return JointBatch(weights=self.buffer.weights(), **parts)

    def _columns(self, seed_index: int) -> slice:
        return slice(seed_index * self.num_envs, (seed_index + 1) * self.num_envs)

    def state(self, seed_index: int) -> State:
        """Return rows and open windows of one seed."""
        rows = self.buffer.state(slice(seed_index, seed_index + 1))
        return {"rows": rows, "windows": self.windows.state(self._columns(seed_index))}

    def load_state(self, seed_index: int, state: State) -> None:
        """Set rows and open windows of one seed."""
        self.buffer.load_state(slice(seed_index, seed_index + 1), state["rows"])
        self.windows.load_state(self._columns(seed_index), state["windows"])
