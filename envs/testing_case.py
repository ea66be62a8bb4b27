"""What `ioa_marl.envs.check_market` plays: a market with random or scripted actions, every step of it checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, Game, Role, Step

Frame = dict[str, NDArray[Any]]
"""Copies of what a game shows, under the names that failures use; every array has the leading axis batch."""

FINAL_STATE = "final_state"
"""Name of `Step.final_state` in a `Frame`; a game need not give it."""
MOST_STEPS = 20_000
"""Steps after which an episode counts as endless."""


@dataclass(frozen=True, eq=False)
class Case:
    """What is checked: a market with its settings, its acting roles, and the seeds of a batch."""

    game_class: type[Game]
    config: Any
    controlled_roles: tuple[str, ...]
    seeds: NDArray[np.uint64]
    action_seed: int

    @property
    def streams(self) -> NDArray[np.uint64]:
        """Random streams of the markets, the default ones."""
        return np.arange(len(self.seeds), dtype=np.uint64)

    @cached_property
    def roles(self) -> dict[str, Role]:
        """All roles by name."""
        return self.game_class.make_roles(self.config)

    def changed(self, **fields: Any) -> Case:
        """Return the case with other fields."""
        return dataclasses.replace(self, **fields)

    def with_limit(self, max_cycles: int | None) -> Case:
        """Return the case with another cycle limit, if the market has one."""
        if not hasattr(self.config, "max_cycles"):
            return self
        return self.changed(config=dataclasses.replace(self.config, max_cycles=max_cycles))

    def game(self, num_envs: int | None = None, autoreset: bool = True, final_states: bool = True) -> Game:
        """Return a new game, of all markets unless told otherwise."""
        game = self.game_class(self.config, num_envs or len(self.seeds), self.controlled_roles, autoreset)
        game.final_states = final_states
        return game

    def actions(self, step: int, draw: int = 0) -> Arrays:
        """Return random legal actions for all markets, the same ones for the same step."""
        rng = np.random.default_rng([self.action_seed, step, draw])
        return {
            r: _draw(rng, self.roles[r].action_space, (len(self.seeds), self.roles[r].count))
            for r in self.controlled_roles
        }

    def ensure(self, holds: Any, what: str, step: int | None = None, rows: Sequence[int] | None = None) -> None:
        """Fail with one line unless all of ``holds``, an array over markets (and agents) or one value, is true."""
        if np.all(holds):
            return
        where = [] if step is None else [f"step {step}"]
        if np.ndim(holds):
            index = np.argwhere(~np.asarray(holds))[0]
            where.append(f"market {index[0] if rows is None else rows[index[0]]}")
            where += [f"agent {index[1]}"] if len(index) > 1 else []
        place = f" ({', '.join(where)})" if where else ""
        raise AssertionError(
            f"{self.game_class.__name__} with {'+'.join(self.controlled_roles)} learning: {what}{place}"
        )


def _draw(rng: np.random.Generator, space: spaces.Space[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if isinstance(space, spaces.Discrete):
        return rng.integers(int(space.n), size=shape) + int(space.start)
    if isinstance(space, spaces.MultiDiscrete):
        return np.asarray(rng.integers(space.nvec, size=(*shape, *space.nvec.shape)) + space.start)
    assert isinstance(space, spaces.Box)
    return np.asarray(space.low + rng.random((*shape, *space.shape)) * (space.high - space.low), space.dtype)


def legal(space: spaces.Space[Any], actions: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which actions (batch, agents, …) are in the space, (batch, agents)."""
    if isinstance(space, spaces.Box):
        inside = (actions >= space.low) & (actions <= space.high)
    elif isinstance(space, spaces.Discrete):
        return np.asarray((actions >= space.start) & (actions < space.start + space.n))
    else:
        assert isinstance(space, spaces.MultiDiscrete)
        inside = (actions >= space.start) & (actions < space.start + space.nvec)
    return np.asarray(inside.reshape(*actions.shape[:2], -1).all(axis=2))


def is_array(array: Any, shape: tuple[int, ...], dtype: Any) -> bool:
    """Whether ``array`` is a NumPy array of exactly this shape and type."""
    return isinstance(array, np.ndarray) and array.shape == shape and array.dtype == dtype


def identical(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two arrays are the same bit for bit."""
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


def identical_rows(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows of two arrays are the same bit for bit; none if there are more in one."""
    if len(one) != len(other):
        return np.zeros(len(one), np.bool_)
    return np.array([identical(a, b) for a, b in zip(one, other, strict=True)])


@dataclass(frozen=True, eq=False)
class Moment:
    """What a game showed after a step, or after reset (step 0)."""

    step: int
    actions: Arrays
    shown: Frame
    """Observations, active and state: what the next step starts from."""
    outcome: Frame
    """The rest of `Step` and the ledger; zero where it is not defined."""
    ended: NDArray[np.bool_]
    age: NDArray[np.int64]
    """Steps of the episode, including this one."""


def shown_by(game: Game, observations: Arrays, active: Arrays) -> Frame:
    """Return copies of what the next step starts from."""
    frame = {f"observations of {role}": array.copy() for role, array in observations.items()}
    frame |= {f"active of {role}": array.copy() for role, array in active.items()}
    return frame | {"state()": game.state().copy()}


def outcome_of(game: Game, step: Step) -> Frame:
    """Return copies of the rest of a step and of the ledger, with zeros where they are not defined."""
    ended = step.terminated | step.truncated
    frame = {f"rewards of {role}": array.copy() for role, array in step.rewards.items()}
    frame |= {"terminated": step.terminated.copy(), "truncated": step.truncated.copy()}
    defined = {f"final_observations of {role}": array for role, array in step.final_observations.items()}
    defined |= {f"metric {name}": array for name, array in step.metrics.items()}
    defined |= {} if step.final_state is None else {FINAL_STATE: step.final_state}
    for name, array in {**defined, "ledger()": game.ledger()}.items():
        frame[name] = np.where(ended.reshape(-1, *[1] * (array.ndim - 1)), array, 0)
    return frame


def play(case: Case, game: Game, episodes: int, scripted: Mapping[str, str] | None = None) -> Iterator[Moment]:
    """Play random actions, or scripted policies, until every market has ended often enough; check every step."""
    observations, active = game.reset(case.seeds)  # the streams are then 0, 1, 2, …
    _check_shown(case, game, observations, active, 0)
    policies = {role: game.scripted(name, role) for role, name in (scripted or {}).items()}
    age, finished = np.zeros(game.num_envs, np.int64), np.zeros(game.num_envs, np.int64)
    yield Moment(0, {}, shown_by(game, observations, active), {}, age > 0, age)
    snapshots = [(a, a.copy()) for a in (*observations.values(), *active.values())]
    with_state = False
    for t in range(1, MOST_STEPS):
        actions = case.actions(t)
        for role, policy in policies.items():
            actions[role] = np.asarray(policy())
            _check_actions(case, role, scripted or {}, actions[role], t)
        passed = {role: array.copy() for role, array in actions.items()}
        step = game.step(actions)
        age = age + 1
        with_state = step.final_state is not None if t == 1 else with_state
        case.ensure((step.final_state is not None) == with_state, "final_state is given in some steps only", t)
        _check_shown(case, game, step.observations, step.active, t)
        _check_outcome(case, game, step, age, t)
        case.ensure(
            all(identical(actions[r], passed[r]) for r in passed), "step() writes into the actions it is given", t
        )
        case.ensure(all(identical(a, b) for a, b in snapshots), "arrays that the step before returned have changed", t)
        snapshots = [(a, a.copy()) for a in _arrays(step)]
        ended = step.terminated | step.truncated
        finished += ended
        yield Moment(t, passed, shown_by(game, step.observations, step.active), outcome_of(game, step), ended, age)
        age = np.where(ended, 0, age)
        if finished.min() >= episodes:
            return
    case.ensure(finished >= episodes, f"an episode does not end within {MOST_STEPS} steps")


def _arrays(step: Step) -> list[NDArray[Any]]:
    by_role = (step.observations, step.rewards, step.active, step.final_observations, step.metrics)
    states = [] if step.final_state is None else [step.final_state]
    return [step.terminated, step.truncated, *states, *(array for arrays in by_role for array in arrays.values())]


def _check_actions(case: Case, role: str, scripted: Mapping[str, str], actions: NDArray[Any], t: int) -> None:
    space, example = case.roles[role].action_space, case.actions(t)[role]
    who = f"scripted policy {scripted[role]!r} of {role}"
    whole = isinstance(space, spaces.Box) or np.issubdtype(actions.dtype, np.integer)
    case.ensure(whole, f"{who} returns {actions.dtype}, not integers", t)
    case.ensure(actions.shape == example.shape, f"{who} returns shape {actions.shape}, not {example.shape}", t)
    case.ensure(legal(space, actions), f"{who} returns an action outside {space}", t)


def _check_shown(case: Case, game: Game, observations: Arrays, active: Arrays, t: int) -> None:
    """Check what the next step starts from against the spaces."""
    for what, arrays in (("observations", observations), ("active", active)):
        case.ensure(
            set(arrays) == set(case.controlled_roles), f"{what} are keyed by {sorted(arrays)}, not the acting roles", t
        )
    for name in case.controlled_roles:
        _check_seen(case, game, "observations", name, observations[name], None, t)
        shape = (game.num_envs, case.roles[name].count)
        case.ensure(is_array(active[name], shape, np.bool_), f"active of {name} is not bool {shape}", t)
    state = game.state()
    batch = state.ndim == 2 and len(state) == game.num_envs and state.dtype == np.float32
    case.ensure(batch, f"state() is {state.dtype} {state.shape}, not float32 ({game.num_envs}, features)", t)
    case.ensure(((state >= 0) & (state <= 1)).all(axis=1), "state() leaves [0, 1]", t)
    case.ensure(identical(state, game.state()), "state() changes when it is called twice", t)


def _check_seen(
    case: Case, game: Game, what: str, name: str, array: NDArray[Any], ended: NDArray[np.bool_] | None, t: int
) -> None:
    role = case.roles[name]
    shape = (game.num_envs, role.count, *role.observation_space.shape)
    case.ensure(is_array(array, shape, np.float32), f"{what} of {name} are not float32 {shape}", t)
    inside = legal(role.observation_space, array)
    inside = inside if ended is None else inside | ~ended[:, None]
    case.ensure(inside, f"{what} of {name} are outside the observation space", t)


def _check_outcome(case: Case, game: Game, step: Step, age: NDArray[np.int64], t: int) -> None:
    """Check rewards, ends, final observations, metrics and ledger of a step."""
    n = game.num_envs
    for what, arrays in (("rewards", step.rewards), ("final_observations", step.final_observations)):
        case.ensure(
            set(arrays) == set(case.controlled_roles), f"{what} are keyed by {sorted(arrays)}, not the acting roles", t
        )
    for what, ends in (("terminated", step.terminated), ("truncated", step.truncated)):
        case.ensure(is_array(ends, (n,), np.bool_), f"{what} is not bool ({n},)", t)
    case.ensure(~(step.terminated & step.truncated), "a market is both terminated and truncated", t)
    limit = getattr(case.config, "max_cycles", None)
    cut = (age >= limit) & ~step.terminated if limit else np.zeros(n, np.bool_)
    case.ensure(step.truncated == cut, f"truncated does not follow max_cycles={limit}", t)
    ended = step.terminated | step.truncated
    for name in case.controlled_roles:
        shape = (n, case.roles[name].count)
        case.ensure(is_array(step.rewards[name], shape, np.float32), f"rewards of {name} are not float32 {shape}", t)
        case.ensure(np.isfinite(step.rewards[name]), f"a reward of {name} is not finite", t)
        _check_seen(case, game, "final_observations", name, step.final_observations[name], ended, t)
    _check_final_state(case, game, step, ended, t)
    names = game.metric_names
    case.ensure(set(step.metrics) == set(names), f"metrics are {sorted(step.metrics)}, not metric_names", t)
    for name, values in step.metrics.items():
        case.ensure(is_array(values, (n,), np.float64), f"metric {name} is not float64 ({n},)", t)
        undefined = np.isnan(values) if _may_be_nan(case.game_class, name) else False
        case.ensure(np.isfinite(values) | undefined | ~ended, f"metric {name} is not finite", t)
    ledger = game.ledger()
    case.ensure(ledger.ndim == 2 and len(ledger) == n, f"ledger() has shape {ledger.shape}, not ({n}, accounts)", t)
    case.ensure((np.abs(ledger.sum(axis=1)) <= 1e-9) | ~ended, "the ledger does not sum to 0", t)


def _may_be_nan(game_class: type[Game], metric: str) -> bool:
    """Whether no score is made from a metric, and a line of the class's docstring says what NaN means there."""
    lines = (game_class.__doc__ or "").splitlines()
    documented = any(f"`{metric}`" in line and "NaN" in line for line in lines)
    return documented and metric not in game_class.objectives.values()


def _check_final_state(case: Case, game: Game, step: Step, ended: NDArray[np.bool_], t: int) -> None:
    """Check the final state if there is one: nothing asks a game for it but agents with a centralised value."""
    if step.final_state is None:
        return
    shape = game.state().shape
    case.ensure(is_array(step.final_state, shape, np.float32), f"final_state is not float32 {shape}", t)
    inside = ((step.final_state >= 0) & (step.final_state <= 1)).all(axis=1)
    case.ensure(inside | ~ended, "final_state leaves [0, 1]", t)
