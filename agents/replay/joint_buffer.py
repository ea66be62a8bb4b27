"""Replay buffer of joint steps of a market, for critics whose inputs include several agents.

There is one row for each step of the market, whichever agents act in it. An agent that does not act in a step has an
action of zeros, which a joint critic treats like any other action. The rewards of an agent are discounted once for each
of its own decisions, and therefore not while it waits. Rewards that come more than n steps after an action reach the
value of the action only through the critic's bootstrap from the next observation.
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
    """bool (seeds, batch, agents): whether the agent acted."""
    next_observations: dict[str, Tensor]
    """float32 (seeds, batch, agents, features): observations n steps later, or at the end of the episode."""
    next_active: dict[str, Tensor]
    """bool (seeds, batch, agents): whether the agent acts at the next observation; false in a role of another agent
    whose next action is not known."""
    next_actions: dict[str, Tensor]
    """As ``actions``: actions at the next observation, of the roles that other agents play."""
    returns: dict[str, Tensor]
    """float32 (seeds, batch, agents): discounted sum of n scaled rewards; only roles that are learnt."""
    discounts: dict[str, Tensor]
    """float32 (seeds, batch, agents): factor of the next value, 0 after a termination; only roles that are learnt."""
    weights: Tensor
    """float32 (seeds, 1): 1, or 0 for a seed that has no row yet."""


def action_shape(role: Role) -> tuple[int, ...]:
    """Return the shape of one agent's action in the buffer."""
    space = role.action_space
    return space.shape if isinstance(space, gymnasium.spaces.Box) else (len(action_heads(space)),)


def _action_type(role: Role) -> torch.dtype:
    space = role.action_space
    if isinstance(space, gymnasium.spaces.Box):
        return torch.float32
    return torch.uint8 if max(action_heads(space)) <= 256 else torch.int64


class JointWindows:
    """Computes n-step transitions of whole markets.

    Every column (seed, market) keeps its last n steps. A transition ends n steps later, or with the episode. An agent's
    rewards are discounted once for each of its own decisions in between.

    Parameters
    ----------
    columns : int
        Number of markets.
    n : int
        Steps whose rewards are summed.
    gamma : float
        Discount per decision.
    roles : sequence of Role
        Roles whose observations and actions are stored.
    plays : sequence of Role
        Roles whose rewards are stored as well.
    """

    def __init__(self, columns: int, n: int, gamma: float, roles: Sequence[Role], plays: Sequence[Role]) -> None:
        self.n, self.gamma = n, gamma
        self.roles, self.plays = [role.name for role in roles], [role.name for role in plays]
        self.length = np.zeros(columns, np.int64)
        self.position = np.zeros(columns, np.int64)
        self.fields: Rows = {}
        for role in roles:
            lead = (columns, n, role.count)
            discrete = not isinstance(role.action_space, gymnasium.spaces.Box)
            self.fields[f"observations/{role.name}"] = np.zeros(lead + role.observation_space.shape, np.float32)
            self.fields[f"actions/{role.name}"] = np.zeros(
                lead + action_shape(role), np.int64 if discrete else np.float32
            )
            self.fields[f"active/{role.name}"] = np.zeros(lead, np.bool_)
        for role in plays:
            self.fields[f"returns/{role.name}"] = np.zeros((columns, n, role.count))
            self.fields[f"discounts/{role.name}"] = np.zeros((columns, n, role.count))

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
        """Add one step of every column.

        Parameters
        ----------
        observations, successors : dict of ndarray
            For each role float32 (columns, agents, features): before the step, and after it, before any reset.
        actions : dict of ndarray
            For each role (columns, agents, heads), or (columns, agents, numbers) of a Box.
        active : dict of ndarray
            For each role bool (columns, agents): whether the agent acts in this step.
        rewards : dict of ndarray
            For each role that is learnt (columns, agents), in units of scaled reward.
        terminated, truncated : ndarray of bool
            (columns,): whether the episode ended in this step.

        Returns
        -------
        columns : ndarray of int64
            (rows,): the column to which each completed transition belongs.
        rows : dict of ndarray
            The transitions by ``field/role``, (rows, agents, …) each; empty if there are none.
        """
        completed: list[tuple[NDArray[np.int64], Rows]] = []
        for name in self.plays:
            self.fields[f"discounts/{name}"] *= np.where(active[name], self.gamma, 1.0)[:, None]
        full = np.flatnonzero(self.length == self.n)
        if len(full):
            # The oldest step is at the position that the new one will overwrite.
            rows = self._rows(full, self.position[full], observations)
            for name in set(self.roles) - set(self.plays):
                rows[f"next_actions/{name}"] = actions[name][full]
            completed.append((full, rows | {f"next_active/{name}": active[name][full] for name in self.roles}))
            self.length[full] -= 1
        self._push(observations, actions, active)
        for name in self.plays:
            self.fields[f"returns/{name}"] += self.fields[f"discounts/{name}"] * rewards[name][:, None]
        ended = np.flatnonzero(terminated | truncated)
        if len(ended):
            completed += self._flush(ended, successors, terminated)
        if not completed:
            return np.zeros(0, np.int64), {}
        columns = np.concatenate([c for c, _ in completed])
        return columns, {key: np.concatenate([rows[key] for _, rows in completed]) for key in completed[0][1]}

    def _push(self, observations: Arrays, actions: Arrays, active: Arrays) -> None:
        at = np.arange(len(self.length)), self.position
        for name in self.roles:
            self.fields[f"observations/{name}"][at] = observations[name]
            self.fields[f"actions/{name}"][at] = actions[name]
            self.fields[f"active/{name}"][at] = active[name]
        for name in self.plays:
            self.fields[f"returns/{name}"][at] = 0.0
            self.fields[f"discounts/{name}"][at] = 1.0
        self.position = (self.position + 1) % self.n
        self.length += 1

    def _flush(
        self, ended: NDArray[np.int64], successors: Arrays, terminated: NDArray[np.bool_]
    ) -> list[tuple[NDArray[np.int64], Rows]]:
        """Return the transitions that end with their episode. The next actions of other agents' roles are unknown."""
        completed = []
        for i in range(int(self.length[ended].max())):
            columns = ended[self.length[ended] > i]
            slots = (self.position[columns] - self.length[columns] + i) % self.n
            rows = self._rows(columns, slots, successors)
            last_discount = np.where(terminated[columns], 0.0, self.gamma)[:, None]
            for name in self.roles:
                learnt = name in self.plays
                rows[f"next_active/{name}"] = np.full(rows[f"active/{name}"].shape, learnt)
                if learnt:
                    rows[f"discounts/{name}"] = rows[f"discounts/{name}"] * last_discount
                else:
                    rows[f"next_actions/{name}"] = np.zeros_like(rows[f"actions/{name}"])
            completed.append((columns, rows))
        self.length[ended] = 0
        for name in self.plays:
            self.fields[f"discounts/{name}"][ended] = 0.0
        return completed

    def _rows(self, columns: NDArray[np.int64], slots: NDArray[np.int64], next_observations: Arrays) -> Rows:
        rows = {key: array[columns, slots] for key, array in self.fields.items()}
        return rows | {f"next_observations/{name}": next_observations[name][columns] for name in self.roles}

    def state(self, columns: slice) -> State:
        """Return the incomplete transitions of some columns."""
        fields = {key: array[columns].copy() for key, array in self.fields.items()}
        return {"length": self.length[columns].copy(), "position": self.position[columns].copy(), "held": fields}

    def load_state(self, columns: slice, state: State) -> None:
        """Set the incomplete transitions of some columns."""
        self.length[columns] = np.asarray(state["length"])
        self.position[columns] = np.asarray(state["position"])
        for key, array in self.fields.items():
            array[columns] = np.asarray(state["held"][key])


class JointReplayBuffer:
    """For every seed, a ring buffer of transitions and the incomplete transitions of its markets.

    Parameters
    ----------
    context : AgentContext
        The run, of which seeds, markets and budget are used.
    roles : sequence of Role
        Roles whose observations and actions are stored; of those in ``context.plays`` also the rewards.
    buffer_size : int
        Capacity [market steps]; at most the budget is used.
    n : int
        Steps of the n-step return.
    gamma : float
        Discount per decision.
    """

    def __init__(self, context: AgentContext, roles: Sequence[Role], buffer_size: int, n: int, gamma: float) -> None:
        self.seeds, self.num_envs = len(context.seeds), context.num_envs
        self.roles, self.plays = list(roles), list(context.plays)
        self.windows = JointWindows(self.seeds * self.num_envs, n, gamma, roles, context.plays)
        # One step may complete this many transitions, if all episodes end at once.
        capacity = max(min(buffer_size, context.budget), (n + 1) * self.num_envs)
        self.rows = ReplayBuffer(self.seeds, capacity, self._fields(), context.device)

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
                    fields[f"{prefix}actions/{role.name}"] = ((role.count, *action_shape(role)), _action_type(role))
        for role in self.plays:
            fields[f"returns/{role.name}"] = fields[f"discounts/{role.name}"] = ((role.count,), torch.float32)
        return fields

    def observe(self, transition: Transition, reward_scale: float) -> None:
        """Add one step of all markets; the transitions that it completes can be sampled from now on.

        Parameters
        ----------
        transition : Transition
            The step, arrays (seeds, markets, agents, …).
        reward_scale : float
            Factor by which rewards are multiplied.
        """

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
            self.rows.add(columns // self.num_envs, rows)

    def sample(self, uniforms: NDArray[np.float64]) -> JointBatch:
        """Sample one market step for each of the ``uniforms``, float64 (seeds, batch) in [0, 1)."""
        parts: dict[str, dict[str, Tensor]] = {name: {} for name in JointBatch.__annotations__ if name != "weights"}
        for key, values in self.rows.pick(uniforms).items():
            part, role = key.split("/")
            parts[part][role] = values
        return JointBatch(weights=self.rows.weights(), **parts)

    def _columns(self, seed_index: int) -> slice:
        return slice(seed_index * self.num_envs, (seed_index + 1) * self.num_envs)

    def state(self, seed_index: int) -> State:
        """Return the complete and incomplete transitions of one seed."""
        rows = self.rows.state(slice(seed_index, seed_index + 1))
        return {"rows": rows, "windows": self.windows.state(self._columns(seed_index))}

    def load_state(self, seed_index: int, state: State) -> None:
        """Set the complete and incomplete transitions of one seed."""
        self.rows.load_state(slice(seed_index, seed_index + 1), state["rows"])
        self.windows.load_state(self._columns(seed_index), state["windows"])
