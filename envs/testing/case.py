"""The batch of markets that `check_market` checks, and comparisons of arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, Game, Role

Snapshot = dict[str, NDArray[Any]]
"""Copies of arrays of a game, shape (batch, …) each, under the names that error messages use."""

FINAL_STATE = "final_state"
"""Name of `Step.final_state` in a `Snapshot`, which has it only if the game supports it."""


@dataclass(frozen=True, eq=False)
class Case:
    """A batch of markets that is checked."""

    game_class: type[Game]
    """The market."""
    config: Any
    """Settings of the market."""
    controlled_roles: tuple[str, ...]
    """Roles that are controlled."""
    seeds: NDArray[np.uint64]
    """(batch,): seed of each market."""
    action_seed: int
    """Seed of the random actions."""

    @property
    def streams(self) -> NDArray[np.uint64]:
        """uint64 (batch,): random stream of each market, the default of `Game.reset`."""
        return np.arange(len(self.seeds), dtype=np.uint64)

    @cached_property
    def roles(self) -> dict[str, Role]:
        """All roles by name."""
        return self.game_class.make_roles(self.config)

    def changed(self, **fields: Any) -> Case:
        """Return the case with other fields."""
        return dataclasses.replace(self, **fields)

    def with_limit(self, max_cycles: int | None) -> Case:
        """Return the case with another ``max_cycles``, if the market has this setting."""
        if not hasattr(self.config, "max_cycles"):
            return self
        return self.changed(config=dataclasses.replace(self.config, max_cycles=max_cycles))

    def game(self, num_envs: int | None = None, autoreset: bool = True, final_states: bool = True) -> Game:
        """Return a new game of ``num_envs`` markets, by default as many as there are seeds."""
        game = self.game_class(self.config, num_envs or len(self.seeds), self.controlled_roles, autoreset)
        game.final_states = final_states
        return game

    def actions(self, step: int, draw: int = 0) -> Arrays:
        """Return random legal actions of all markets, which depend only on ``step`` and ``draw``.

        Parameters
        ----------
        step : int
            Number of the step.
        draw : int, default 0
            Number of the draw, for several actions of the same step.

        Returns
        -------
        dict of ndarray
            For each controlled role its actions, shape (batch, agents) for Discrete, else (batch, agents, components).
        """
        rng = np.random.default_rng([self.action_seed, step, draw])
        return {
            r: _draw(rng, self.roles[r].action_space, (len(self.seeds), self.roles[r].count))
            for r in self.controlled_roles
        }

    def ensure(self, holds: Any, problem: str, step: int | None = None, rows: Sequence[int] | None = None) -> None:
        """Raise an error of one line unless a claim holds.

        Parameters
        ----------
        holds : bool or ndarray of bool, shape (rows,) or (rows, agents)
            Whether the claim holds, for all markets or for each one.
        problem : str
            What is wrong if it does not.
        step : int, optional
            Number of the step.
        rows : sequence of int, length rows, optional
            Market of each row; default 0, 1, 2, …

        Raises
        ------
        AssertionError
            If the claim does not hold; the message names the first market and agent.
        """
        if np.all(holds):
            return
        where = [] if step is None else [f"step {step}"]
        if np.ndim(holds):
            index = np.argwhere(~np.asarray(holds))[0]
            where.append(f"market {index[0] if rows is None else rows[index[0]]}")
            where += [f"agent {index[1]}"] if len(index) > 1 else []
        place = f" ({', '.join(where)})" if where else ""
        raise AssertionError(
            f"{self.game_class.__name__} with {'+'.join(self.controlled_roles)} controlled: {problem}{place}"
        )


def _draw(rng: np.random.Generator, space: spaces.Space[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return random actions of agents in an array of this shape, (batch, agents)."""
    if isinstance(space, spaces.Discrete):
        return rng.integers(int(space.n), size=shape) + int(space.start)
    if isinstance(space, spaces.MultiDiscrete):
        return np.asarray(rng.integers(space.nvec, size=(*shape, *space.nvec.shape)) + space.start)
    assert isinstance(space, spaces.Box)
    return np.asarray(space.low + rng.random((*shape, *space.shape)) * (space.high - space.low), space.dtype)


def legal(space: spaces.Space[Any], actions: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether actions are in a space.

    Parameters
    ----------
    space : Space
        A Discrete, MultiDiscrete or Box space.
    actions : ndarray, shape (batch, agents) for Discrete, else (batch, agents, components)
        Actions, or observations of a Box.

    Returns
    -------
    ndarray of bool, shape (batch, agents)
    """
    if isinstance(space, spaces.Box):
        inside = (actions >= space.low) & (actions <= space.high)
    elif isinstance(space, spaces.Discrete):
        return np.asarray((actions >= space.start) & (actions < space.start + space.n))
    else:
        assert isinstance(space, spaces.MultiDiscrete)
        inside = (actions >= space.start) & (actions < space.start + space.nvec)
    return np.asarray(inside.reshape(*actions.shape[:2], -1).all(axis=2))


def is_array(array: Any, shape: tuple[int, ...], dtype: Any) -> bool:
    """Return whether ``array`` is a NumPy array of exactly this shape and type."""
    return isinstance(array, np.ndarray) and array.shape == shape and array.dtype == dtype


def identical(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return whether two arrays of any shape are the same bit for bit."""
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


def identical_rows(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether each row of two arrays is the same bit for bit.

    Parameters
    ----------
    one, other : ndarray, shape (rows, …)
        The arrays.

    Returns
    -------
    ndarray of bool, shape (rows,)
        All False if the arrays have different numbers of rows.
    """
    if len(one) != len(other):
        return np.zeros(len(one), np.bool_)
    return np.array([identical(a, b) for a, b in zip(one, other, strict=True)])
