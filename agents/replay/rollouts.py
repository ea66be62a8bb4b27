"""Rollouts of a stack of networks, their advantage estimates, and their minibatches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.agents.base import AgentContext, State, action_heads
from ioa_marl.envs.core import Role
from ioa_marl.envs.vector import Transition

MIN_STEPS_OF_SEVERAL = 16
"""Smallest number of steps of a rollout if several agents act, because some of them may be waiting."""


def rollout_steps(transitions: int, per_step: int, *, several: bool) -> int:
    """Return the length of a rollout [steps of the markets].

    Parameters
    ----------
    transitions : int
        Number of transitions to collect.
    per_step : int
        Number of transitions in each step.
    several : bool
        Whether several agents act, so that some may be waiting for others.
    """
    return max(MIN_STEPS_OF_SEVERAL if several else 1, transitions // per_step)


class StateRollout:
    """The steps of one role since the last update, with the market's global state. All seeds are at the same step.

    Parameters
    ----------
    context : AgentContext
        The run, of which seeds, markets and the length of the state are used.
    role : Role
        The role.
    steps : int
        Steps of the markets in a full rollout.

    Attributes
    ----------
    fields : dict of ndarray
        ``observations`` and ``next_observations``, float32 (seeds, steps, markets, agents, features), ``actions``,
        int64 (…, agents, heads), ``active``, bool, and ``rewards``, float32 (…, agents); of the markets ``state`` and
        ``next_state``, float32 (seeds, steps, markets, features), ``terminated`` and ``truncated``, bool (…, markets).
    waiting : ndarray of bool
        (seeds, markets, agents): whether the agent does not act after the last step, so that the outcome of its last
        decision is not known yet.
    length : int
        Number of steps so far.
    """

    def __init__(self, context: AgentContext, role: Role, steps: int) -> None:
        self.role, self.steps, self.length = role, steps, 0
        markets = (len(context.seeds), steps, context.num_envs)
        agents, features = (*markets, role.count), role.observation_space.shape[0]
        self.fields: dict[str, NDArray[Any]] = {
            "observations": np.zeros((*agents, features), np.float32),
            "next_observations": np.zeros((*agents, features), np.float32),
            "actions": np.zeros((*agents, len(action_heads(role.action_space))), np.int64),
            "active": np.zeros(agents, np.bool_),
            "rewards": np.zeros(agents, np.float32),
            "state": np.zeros((*markets, context.state_features), np.float32),
            "next_state": np.zeros((*markets, context.state_features), np.float32),
            "terminated": np.zeros(markets, np.bool_),
            "truncated": np.zeros(markets, np.bool_),
        }
        self.waiting = np.zeros((len(context.seeds), context.num_envs, role.count), np.bool_)

    @property
    def full(self) -> bool:
        """Whether the rollout is complete, so that an update is due."""
        return self.length == self.steps

    def clear(self) -> None:
        """Remove all steps."""
        self.length = 0

    def add(self, transition: Transition) -> None:
        """Add one step of all markets."""
        name, t = self.role.name, self.length
        for key, field in self.fields.items():
            array = getattr(transition, key)
            array = array[name] if isinstance(array, dict) else array
            field[:, t] = array.reshape(field[:, t].shape)
        self.waiting[...] = ~transition.next_active[name]
        self.length += 1

    def state(self, seed_index: int) -> State:
        """Return the steps of one seed."""
        fields = {key: field[seed_index, : self.length].copy() for key, field in self.fields.items()}
        return {"fields": fields, "waiting": self.waiting[seed_index].copy(), "length": self.length}

    def load_state(self, seed_index: int, state: State) -> None:
        """Set the steps of one seed."""
        self.length = int(state["length"])
        self.waiting[seed_index] = np.asarray(state["waiting"])
        for key, field in self.fields.items():
            field[seed_index, : self.length] = np.asarray(state["fields"][key])


def generalised_advantages(
    rewards: NDArray[np.float32],
    values: NDArray[np.float32],
    next_values: NDArray[np.float32],
    active: NDArray[np.bool_],
    terminated: NDArray[np.bool_],
    truncated: NDArray[np.bool_],
    waiting: NDArray[np.bool_],
    gamma: float,
    gae_lambda: float,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Estimate advantages, in which time counts an agent's own decisions.

    A_t = Σ_l (γλ)^l δ_{t+l} with δ_t = r_t + γ V(s_{t+1}) − V(s_t): Schulman et al., "High-dimensional continuous
    control using generalized advantage estimation" (2016), Eq. 16. Steps in which an agent is not active are not
    counted as time: their rewards belong to the agent's last decision, without discount. If the outcome of the last
    decision is not known at the end of the rollout, only its value is used, for the bootstrap of the decision before.

    Parameters
    ----------
    rewards, values, next_values : ndarray of float32, shape (steps, …)
        Rewards, the critic's values before the step, and those of the true successor. The latter are used only after a
        truncation and after the last step.
    active : ndarray of bool, shape (steps, …)
        Whether the agent decides in the step.
    terminated, truncated : ndarray of bool, shape (steps, …)
        Whether the episode ended in the step; may be broadcast. A step that is both is a termination.
    waiting : ndarray of bool, shape (…)
        Whether the agent waits after the last step, so that the outcome of its last decision is not known, unless the
        episode ended.
    gamma, gae_lambda : float
        Discount per decision, and λ.

    Returns
    -------
    advantages : ndarray of float32, shape (steps, …)
        0 where ``valid`` is false.
    valid : ndarray of bool, shape (steps, …)
        Decisions whose outcome is known; only these are used for training.
    """
    value, unfinished = next_values[-1], waiting
    advantage = pending = np.zeros_like(value)
    advantages, valid = np.zeros_like(rewards), np.zeros_like(active)
    for t in reversed(range(len(rewards))):
        ended = terminated[t] | truncated[t]
        # `where` and not a product, because the value after a termination may be NaN.
        value = np.where(terminated[t], np.float32(0.0), np.where(truncated[t], next_values[t], value))
        advantage, pending = np.where(ended, np.float32(0.0), advantage), np.where(ended, np.float32(0.0), pending)
        unfinished = unfinished & ~ended
        acts, reward = active[t], rewards[t] + pending
        residual = reward + gamma * value - values[t]
        estimate = np.where(unfinished, np.float32(0.0), residual + gamma * gae_lambda * advantage)
        advantages[t], valid[t] = np.where(acts, estimate, np.float32(0.0)), acts & ~unfinished
        value, advantage = np.where(acts, values[t], value), np.where(acts, estimate, advantage)
        pending = np.where(acts, np.float32(0.0), reward)
        unfinished = unfinished & ~acts
    return advantages, valid


def split_minibatches(
    uniforms: NDArray[np.float64], valid: NDArray[np.bool_], minibatches: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Split the valid rows of every member at random into minibatches.

    The minibatches have the same shape for all members, and the numbers of valid rows in a member's minibatches differ
    by one at most. Each minibatch is padded with rows that must be masked.

    Parameters
    ----------
    uniforms : ndarray of float64, shape (members, rows)
        Uniform numbers in [0, 1), by which the rows of a member are shuffled.
    valid : ndarray of bool, shape (members, rows)
        Rows that are used for training.
    minibatches : int
        Number of minibatches.

    Returns
    -------
    list of (ndarray of int64, ndarray of int64)
        For each minibatch the indices of its rows, (members, batch), and the number of valid rows of each member,
        (members,), which come first.
    """
    members, rows = valid.shape
    size = -(-rows // minibatches)
    order = np.argsort(np.where(valid, uniforms, 2.0), axis=1, kind="stable")
    order = np.pad(order, ((0, 0), (0, minibatches * size - rows)), mode="edge").reshape(members, size, minibatches)
    counts = valid.sum(axis=1)
    return [
        (np.ascontiguousarray(order[:, :, j]), (counts - j + minibatches - 1) // minibatches)
        for j in range(minibatches)
    ]
