"""Rollouts of a stack of networks, and what their decisions turned out to be worth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.agents.base import AgentContext, State, action_heads
from ioa_marl.envs.core import Role
from ioa_marl.envs.vector import Transition

MIN_STEPS_OF_SEVERAL = 16
"""Shortest rollout where several agents act, some of which may be waiting."""


def rollout_steps(transitions: int, together: int, *, several: bool) -> int:
    """Return the length of a rollout in steps of the markets.

    Parameters
    ----------
    transitions : int
        How many are to be collected.
    together : int
        How many each step brings.
    several : bool
        Whether agents may be waiting for others.
    """
    return max(MIN_STEPS_OF_SEVERAL if several else 1, transitions // together)


class StateRollout:
    """The steps of one role since the last update, with the global state; all seeds are at the same step.

    Parameters
    ----------
    context : AgentContext
        Seeds, markets and the length of the state.
    role : Role
        The role.
    steps : int
        Steps of the markets until it is full.

    Attributes
    ----------
    fields : dict of ndarray
        ``observations`` and ``next_observations``, float32 (seeds, steps, markets, agents, features), ``actions``,
        int64 (…, agents, heads), ``active``, bool, and ``rewards``, float32 (…, agents); of the markets ``state`` and
        ``next_state``, float32 (seeds, steps, markets, features), ``terminated`` and ``truncated``, bool (…, markets).
    waiting : ndarray of bool
        (seeds, markets, agents): who is not asked after the last step, so that what its last decision brings is not
        known yet.
    length : int
        Steps that are in it.
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
        """Whether it is time to learn."""
        return self.length == self.steps

    def clear(self) -> None:
        """Begin anew."""
        self.length = 0

    def add(self, transition: Transition) -> None:
        """Add one step of all markets."""
        name, at = self.role.name, self.length
        for key, field in self.fields.items():
            array = getattr(transition, key)
            array = array[name] if isinstance(array, dict) else array
            field[:, at] = array.reshape(field[:, at].shape)
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
    """Estimate advantages on each agent's own time line.

    Schulman et al., "High-dimensional continuous control using generalized advantage estimation" (2016), Eq. 16. A
    step in which an agent is not active is no step of its time: what it gets then belongs to its last decision, and
    is not discounted. A decision that is still open at the end serves only to bootstrap the one before it.

    Parameters
    ----------
    rewards, values, next_values : ndarray of float32, shape (steps, …)
        What was got, and what the state before and the true successor are held to be worth; ``next_values`` counts
        where an episode is truncated and in the last step.
    active : ndarray of bool, shape (steps, …)
        Which steps are decisions.
    terminated, truncated : ndarray of bool, shape (steps, …)
        Where episodes ended; they may be broadcast. Both together is a termination.
    waiting : ndarray of bool, shape (…)
        Whether the last decision is still open after the last step, unless the episode ended.
    gamma, gae_lambda : float
        Discount per decision, and λ.

    Returns
    -------
    advantages : ndarray of float32, shape (steps, …)
        0 where there is nothing to learn from.
    decided : ndarray of bool, shape (steps, …)
        Decisions whose outcome is known: what can be learnt from.
    """
    value, still_open = next_values[-1], waiting
    advantage = pending = np.zeros_like(value)
    advantages, decided = np.zeros_like(rewards), np.zeros_like(active)
    for t in reversed(range(len(rewards))):
        ended = terminated[t] | truncated[t]
        # Chosen, not multiplied: what follows a termination may be no number.
        value = np.where(terminated[t], np.float32(0.0), np.where(truncated[t], next_values[t], value))
        advantage, pending = np.where(ended, np.float32(0.0), advantage), np.where(ended, np.float32(0.0), pending)
        still_open = still_open & ~ended
        acts, reward = active[t], rewards[t] + pending
        residual = reward + gamma * value - values[t]
        estimate = np.where(still_open, np.float32(0.0), residual + gamma * gae_lambda * advantage)
        advantages[t], decided[t] = np.where(acts, estimate, np.float32(0.0)), acts & ~still_open
        value, advantage = np.where(acts, values[t], value), np.where(acts, estimate, advantage)
        pending = np.where(acts, np.float32(0.0), reward)
        still_open = still_open & ~acts
    return advantages, decided


def split_minibatches(
    uniforms: NDArray[np.float64], decided: NDArray[np.bool_], minibatches: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Split every member's decisions at random into minibatches of the same size for all.

    A member's decisions are dealt out one by one, so that their numbers differ by one at most; what is left of a
    minibatch is filled with rows that do not count.

    Parameters
    ----------
    uniforms : ndarray of float64, shape (members, rows)
        Numbers in [0, 1) that shuffle a member's rows.
    decided : ndarray of bool, shape (members, rows)
        Rows that count.
    minibatches : int
        How many.

    Returns
    -------
    list of tuple
        For each minibatch its rows, (members, batch), and how many of them, the first ones, count for each member.
    """
    members, rows = decided.shape
    size = -(-rows // minibatches)
    order = np.argsort(np.where(decided, uniforms, 2.0), axis=1, kind="stable")
    order = np.pad(order, ((0, 0), (0, minibatches * size - rows)), mode="edge").reshape(members, size, minibatches)
    counts = decided.sum(axis=1)
    return [
        (np.ascontiguousarray(order[:, :, j]), (counts - j + minibatches - 1) // minibatches)
        for j in range(minibatches)
    ]
