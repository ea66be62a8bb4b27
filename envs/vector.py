"""`VectorGame`, what trainers step: seeds × markets in one batch, with true successors and per-seed saving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.checking import RESET_FIRST, checked_count
from ioa_marl.envs.copying import Independent, Unbegun
from ioa_marl.envs.core import Arrays, Game, Step
from ioa_marl.foundations.errors import ParameterError, UserError, shown
from ioa_marl.foundations.scalars import whole_number


@dataclass(frozen=True)
class Transition:
    """One step of every market of a `VectorGame`; arrays are keyed by role, shape (seeds, num_envs, agents, …).

    They are valid until the next step: copy what you keep.
    """

    observations: Arrays
    """What the agents saw."""
    actions: Arrays
    """What they did."""
    active: Arrays
    """Whose action was used; the others' entries are meaningless."""
    next_active: Arrays
    """Whose action the next step uses."""
    rewards: Arrays
    """What they got; an inactive agent's reward belongs to its last action."""
    next_observations: Arrays
    """The true successors, also where an episode ended."""
    terminated: NDArray[np.bool_]
    """(seeds, num_envs)."""
    truncated: NDArray[np.bool_]
    """(seeds, num_envs)."""
    metrics: Mapping[str, NDArray[np.float64]]
    """(seeds, num_envs) each; defined only where an episode ended."""
    state: NDArray[np.float32] | None = None
    """(seeds, num_envs, features): the global state that the agents acted in; None unless it was asked for."""
    next_state: NDArray[np.float32] | None = None
    """(seeds, num_envs, features): the true successor, also where an episode was truncated; what it is after a
    termination does not matter. None unless it was asked for."""

    @property
    def ended(self) -> NDArray[np.bool_]:
        """(seeds, num_envs): where an episode ended."""
        ended: NDArray[np.bool_] = self.terminated | self.truncated
        return ended


class _Views(NamedTuple):
    """The arrays of a `Step` with the axis batch split into seeds and markets, without a copy."""

    step: Step
    observations: Arrays
    active: Arrays
    rewards: Arrays
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    metrics: Mapping[str, NDArray[np.float64]]


class VectorGame(Independent):
    """Several training seeds times several markets, stepped as one batch.

    Market e of seed s draws from the random stream (s, e), so a seed's markets are the same whichever seeds it
    runs beside.

    Parameters
    ----------
    game_class : type of Game
        The market.
    config : dataclass
        Its settings.
    seeds : sequence of int
        Training seeds.
    num_envs : int
        Markets per seed.
    controlled_roles : sequence of str, optional
        Roles that act.
    first_stream : int, default 0
        Stream of a seed's first market.
    instances : sequence of int, optional
        Instance of each seed's markets, where the game is `instanced`; default: the seed.
    with_state : bool, default False
        Whether transitions have the global state, which costs a call of `Game.state` in every step.
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
            chosen = np.array(numbers, np.uint64)
            self._instances = {"instances": np.repeat(chosen, num_envs)}
        self._begun = False
        self._views: list[_Views] = []
        self.observations: Arrays = {}
        """What every agent sees now."""
        self.active: Arrays = {}
        """Whose action the next step uses."""
        self.state: NDArray[np.float32] | None = None
        """The global state now, (seeds, num_envs, features), if it was asked for."""

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied: no views, which show the arrays of the game that is copied."""
        return {**self.__dict__, "_views": [], "game": self.game if self._begun else Unbegun(self.game)}

    def _split(self, array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape(len(self.seeds), self.num_envs, *array.shape[1:])

    def _split_all(self, arrays: Arrays) -> Arrays:
        return {role: self._split(array) for role, array in arrays.items()}

    def reset(self) -> None:
        """Start episode 0 of every market."""
        seeds = np.repeat(np.array(self.seeds, np.uint64), self.num_envs)
        self._set(*self.game.reset(seeds, self._streams, **self._instances))

    def _set(self, observations: Arrays, active: Arrays) -> None:
        self._begun = True
        self.observations, self.active = self._split_all(observations), self._split_all(active)
        self._look_at_state()

    def _look_at_state(self) -> None:
        if self.game.final_states:
            self.state = self._split(self.game.state().copy())

    def step(self, actions: Arrays) -> Transition:
        """Step every market with ``actions`` (seeds, num_envs, agents, …)."""
        if not self._begun:
            raise RuntimeError(RESET_FIRST)
        self._check_shapes(actions)
        before, active, state = self.observations, self.active, self.state
        step = self.game.step({role: a.reshape(self.game.num_envs, *a.shape[2:]) for role, a in actions.items()})
        views = self._views_of(step)
        self.observations, self.active = views.observations, views.active
        self._look_at_state()
        ended = step.terminated | step.truncated
        successors = self.observations
        if ended.any():
            mask = ended[:, None, None]
            successors = {
                role: self._split(np.where(mask, step.final_observations[role], observation))
                for role, observation in step.observations.items()
            }
        return Transition(
            observations=before,
            actions=actions,
            active=active,
            next_active=self.active,
            rewards=views.rewards,
            next_observations=successors,
            terminated=views.terminated,
            truncated=views.truncated,
            metrics=views.metrics,
            state=state,
            next_state=self._successor_state(step, ended),
        )

    def _check_shapes(self, actions: Arrays) -> None:
        """Refuse what an agent forgot or put in another order; what the actions are the game looks at."""
        for role in self.game.controlled_roles:
            wanted = (len(self.seeds), self.num_envs, self.game.roles[role].count)
            shape = getattr(actions.get(role), "shape", None)
            if shape is None or tuple(shape[:3]) != wanted:
                problem = "there are none" if role not in actions else f"their shape is {shape}"
                raise ValueError(
                    f"the actions of {role} need the shape {wanted} (seeds, markets, agents), and {problem}"
                )

    def _successor_state(self, step: Step, ended: NDArray[np.bool_]) -> NDArray[np.float32] | None:
        """Return the state that follows, before the reset where an episode ended."""
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
        """Return a step's arrays by seed; a game that returns the same step again has written into the same arrays."""
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
        """Return everything the markets of one seed are."""
        return {name: array[self._rows(seed_index)].copy() for name, array in self.game.save().items()}

    def restore(self, seed_index: int, saved: Mapping[str, NDArray[Any]]) -> None:
        """Set the markets of one seed to what `save` returned."""
        whole = self.game.save()
        for name, array in whole.items():
            array[self._rows(seed_index)] = saved[name]
        self._set(*self.game.restore(whole))


def _whole(name: str, value: Any) -> int:
    """Return a seed or the number of an instance, or refuse it."""
    number = whole_number(value)
    if number is None or not 0 <= number < 2**64:
        raise ParameterError(name, shown(value), "whole numbers from 0 to 2**64 - 1")
    return number
