"""`VectorGame`, the environment of the trainers: the markets of several training seeds in one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.checking import RESET_FIRST, checked_count
from ioa_marl.envs.copying import DeepCopied, UnstartedGame
from ioa_marl.envs.core import Arrays, Game, Step
from ioa_marl.foundations.errors import ParameterError, UserError, shown
from ioa_marl.foundations.scalars import whole_number


@dataclass(frozen=True)
class Transition:
    """One step of every market of a `VectorGame`.

    Arrays of agents are keyed by controlled role. All arrays are valid until the next step, so a caller that keeps them
    longer has to copy them.
    """

    observations: Arrays
    """float32 (seeds, num_envs, agents, features): observations before the step, in [0, 1]."""
    actions: Arrays
    """(seeds, num_envs, agents) for Discrete, else (seeds, num_envs, agents, components): actions."""
    active: Arrays
    """bool (seeds, num_envs, agents): whether the agent's action was used; if not, it has no meaning."""
    next_active: Arrays
    """bool (seeds, num_envs, agents): whether the next step uses the agent's action."""
    rewards: Arrays
    """float32 (seeds, num_envs, agents): rewards, in the unit that the market's docstring states; the reward of an
    inactive agent belongs to its last action."""
    next_observations: Arrays
    """float32 (seeds, num_envs, agents, features): observations after the step, in [0, 1]; those before the reset where
    an episode ended."""
    terminated: NDArray[np.bool_]
    """(seeds, num_envs): whether the market ended the episode by its own rules."""
    truncated: NDArray[np.bool_]
    """(seeds, num_envs): whether ``max_cycles`` ended the episode."""
    metrics: Mapping[str, NDArray[np.float64]]
    """(seeds, num_envs) each: metrics of the finished episodes, in the units that the market's docstring states;
    defined only where an episode ended."""
    state: NDArray[np.float32] | None = None
    """(seeds, num_envs, features): global state before the step, in [0, 1]; None without ``with_state``."""
    next_state: NDArray[np.float32] | None = None
    """(seeds, num_envs, features): global state after the step, in [0, 1]; that before the reset where an episode
    ended. None without ``with_state``."""

    @property
    def ended(self) -> NDArray[np.bool_]:
        """(seeds, num_envs): whether the episode ended."""
        ended: NDArray[np.bool_] = self.terminated | self.truncated
        return ended


class _Views(NamedTuple):
    """The arrays of a `Step` whose axis batch is split into seeds and markets, without a copy."""

    step: Step
    observations: Arrays
    active: Arrays
    rewards: Arrays
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    metrics: Mapping[str, NDArray[np.float64]]


class VectorGame(DeepCopied):
    """The markets of several training seeds, which are stepped as one batch.

    Market e of seed s draws from the random stream (s, e), so the markets of a seed do not depend on the other seeds.

    Parameters
    ----------
    game_class : type of Game
        The market.
    config : dataclass
        Settings of the market.
    seeds : sequence of int
        Training seeds.
    num_envs : int
        Number of markets of each seed.
    controlled_roles : sequence of str, optional
        Roles whose actions the caller of `step` chooses; default: the game's `default_controlled_roles`.
    first_stream : int, default 0
        Number of the random stream of a seed's first market.
    instances : sequence of int, length seeds, optional
        Instance of the markets of each seed, if the game is `instanced`; default: the seed.
    with_state : bool, default False
        Whether transitions have the global state, which takes a call of `Game.state` in every step.

    Attributes
    ----------
    game : Game
        The batch of all markets; those of a seed are next to each other.
    """

    def __init__(
        self,
        game_class: type[Game],
        config: Any,
        seeds: Sequence[int],
        num_envs: int,
        controlled_roles: Sequence[str] | None = None,
        first_stream: int = 0,
        instances: Sequence[int] | None = None,
        with_state: bool = False,
    ) -> None:
        self.seeds = tuple(_whole("seeds", seed) for seed in seeds)
        self.num_envs = num_envs = checked_count(num_envs)
        self.game = game_class(config, checked_count(len(self.seeds) * num_envs), controlled_roles)
        self.game.final_states = with_state
        self._streams = np.tile(np.arange(num_envs, dtype=np.uint64) + np.uint64(first_stream), len(self.seeds))
        self._instances: dict[str, NDArray[np.uint64]] = {}
        if game_class.instanced:
            numbers = self.seeds if instances is None else [_whole("instances", number) for number in instances]
            self._instances = {"instances": np.repeat(np.array(numbers, np.uint64), num_envs)}
        self._started = False
        self._views: list[_Views] = []
        self.observations: Arrays = {}
        """float32 (seeds, num_envs, agents, features) by role: current observations, in [0, 1]."""
        self.active: Arrays = {}
        """bool (seeds, num_envs, agents) by role: whether the next step uses the agent's action."""
        self.state: NDArray[np.float32] | None = None
        """(seeds, num_envs, features): current global state, in [0, 1]; None without ``with_state``."""

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy, without the views, which belong to the arrays of the original's game."""
        return {**self.__dict__, "_views": [], "game": self.game if self._started else UnstartedGame(self.game)}

    def _split(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a view (seeds, num_envs, …) of an array (batch, …)."""
        return array.reshape(len(self.seeds), self.num_envs, *array.shape[1:])

    def _split_all(self, arrays: Arrays) -> Arrays:
        return {role: self._split(array) for role, array in arrays.items()}

    def reset(self) -> None:
        """Start episode 0 of every market."""
        seeds = np.repeat(np.array(self.seeds, np.uint64), self.num_envs)
        self._set(*self.game.reset(seeds, self._streams, **self._instances))

    def _set(self, observations: Arrays, active: Arrays) -> None:
        self._started = True
        self.observations, self.active = self._split_all(observations), self._split_all(active)
        self._look_at_state()

    def _look_at_state(self) -> None:
        if self.game.final_states:
            self.state = self._split(self.game.state().copy())

    def step(self, actions: Arrays) -> Transition:
        """Step every market.

        Parameters
        ----------
        actions : dict of ndarray
            For each controlled role its actions, shape (seeds, num_envs, agents) for Discrete, else
            (seeds, num_envs, agents, components).
        """
        if not self._started:
            raise RuntimeError(RESET_FIRST)
        self._check_shapes(actions)
        observations, active, state = self.observations, self.active, self.state
        step = self.game.step({role: a.reshape(self.game.num_envs, *a.shape[2:]) for role, a in actions.items()})
        views = self._views_of(step)
        self.observations, self.active = views.observations, views.active
        self._look_at_state()
        ended = step.terminated | step.truncated
        next_observations = self.observations
        if ended.any():
            mask = ended[:, None, None]
            next_observations = {
                role: self._split(np.where(mask, step.final_observations[role], after_reset))
                for role, after_reset in step.observations.items()
            }
        return Transition(
            observations=observations,
            actions=actions,
            active=active,
            next_active=self.active,
            rewards=views.rewards,
            next_observations=next_observations,
            terminated=views.terminated,
            truncated=views.truncated,
            metrics=views.metrics,
            state=state,
            next_state=self._next_state(step, ended),
        )

    def _check_shapes(self, actions: Arrays) -> None:
        """Refuse actions that are missing or have wrong leading axes; the game checks the actions themselves."""
        for role in self.game.controlled_roles:
            expected = (len(self.seeds), self.num_envs, self.game.roles[role].count)
            shape = getattr(actions.get(role), "shape", None)
            if shape is None or tuple(shape[:3]) != expected:
                problem = "there are none" if role not in actions else f"their shape is {shape}"
                raise ValueError(
                    f"the actions of {role} need the shape {expected} (seeds, markets, agents), and {problem}"
                )

    def _next_state(self, step: Step, ended: NDArray[np.bool_]) -> NDArray[np.float32] | None:
        """Return the state after a step, before the reset where an episode ended, shape (seeds, num_envs, features)."""
        if self.state is None:
            return None
        if step.final_state is None:
            raise UserError(
                f"{self.game.name} does not say in which state an episode ends (Step.final_state), "
                "and an agent needs to know the state: choose another agent"
            )
        if not ended.any():
            return self.state
        return np.where(self._split(ended)[..., None], self._split(step.final_state), self.state)

    def _views_of(self, step: Step) -> _Views:
        """Return the arrays of a step by seed; the views of the last two steps are kept, because games reuse steps."""
        for views in self._views:
            if views.step is step:
                return views
        views = _Views(
            step=step,
            observations=self._split_all(step.observations),
            active=self._split_all(step.active),
            rewards=self._split_all(step.rewards),
            terminated=self._split(step.terminated),
            truncated=self._split(step.truncated),
            metrics={name: self._split(values) for name, values in step.metrics.items()},
        )
        self._views = [views, *self._views[:1]]
        return views

    def _rows(self, seed_index: int) -> slice:
        return slice(seed_index * self.num_envs, (seed_index + 1) * self.num_envs)

    def save(self, seed_index: int) -> dict[str, NDArray[Any]]:
        """Return copies of the state of the markets of one seed.

        Parameters
        ----------
        seed_index : int
            Index of the seed in ``seeds``.

        Returns
        -------
        dict of ndarray
            Arrays of `Game.save`, shape (num_envs, …) each.
        """
        return {name: array[self._rows(seed_index)].copy() for name, array in self.game.save().items()}

    def restore(self, seed_index: int, saved: Mapping[str, NDArray[Any]]) -> None:
        """Set the state of the markets of one seed.

        Parameters
        ----------
        seed_index : int
            Index of the seed in ``seeds``.
        saved : mapping of str to ndarray
            The arrays that `save` returned, shape (num_envs, …) each.
        """
        arrays = self.game.save()
        for name, array in arrays.items():
            array[self._rows(seed_index)] = saved[name]
        self._set(*self.game.restore(arrays))


def _whole(name: str, value: Any) -> int:
    """Return a seed or the number of an instance, or refuse it."""
    number = whole_number(value)
    if number is None or not 0 <= number < 2**64:
        raise ParameterError(name, shown(value), "whole numbers from 0 to 2**64 - 1")
    return number
