"""Episodes of random actions or scripted policies, of which every step is checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, Game, Step
from ioa_marl.envs.testing.case import FINAL_STATE, Case, Snapshot, identical, is_array, legal

MOST_STEPS = 20_000
"""Number of steps after which an episode counts as endless."""


@dataclass(frozen=True, eq=False)
class StepRecord:
    """Arrays that a game returned in a step, or in the reset (step 0)."""

    step: int
    """Number of the step."""
    actions: Arrays
    """By role, shape (batch, agents, …): actions of the step."""
    current: Snapshot
    """Observations, active agents and state, from which the next step starts."""
    results: Snapshot
    """The other arrays of `Step` and the ledger; 0 where they are not defined."""
    ended: NDArray[np.bool_]
    """(batch,): whether the episode ended in this step."""
    age: NDArray[np.int64]
    """(batch,): number of steps of the episode, including this one."""


def current_snapshot(game: Game, observations: Arrays, active: Arrays) -> Snapshot:
    """Return copies of the observations, the active agents and the state, from which the next step starts."""
    frame = {f"observations of {role}": array.copy() for role, array in observations.items()}
    frame |= {f"active of {role}": array.copy() for role, array in active.items()}
    return frame | {"state()": game.state().copy()}


def result_snapshot(game: Game, step: Step) -> Snapshot:
    """Return copies of the other arrays of a step and of the ledger, with zeros where they are not defined."""
    ended = step.terminated | step.truncated
    frame = {f"rewards of {role}": array.copy() for role, array in step.rewards.items()}
    frame |= {"terminated": step.terminated.copy(), "truncated": step.truncated.copy()}
    defined = {f"final_observations of {role}": array for role, array in step.final_observations.items()}
    defined |= {f"metric {name}": array for name, array in step.metrics.items()}
    defined |= {} if step.final_state is None else {FINAL_STATE: step.final_state}
    for name, array in {**defined, "ledger()": game.ledger()}.items():
        frame[name] = np.where(ended.reshape(-1, *[1] * (array.ndim - 1)), array, 0)
    return frame


def play(
    case: Case,
    game: Game,
    episodes: int,
    scripted: Mapping[str, str] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[StepRecord]:
    """Play until every market has finished its episodes, and check the arrays of every step.

    Parameters
    ----------
    case : Case
        The batch of markets.
    game : Game
        A game of this batch.
    episodes : int
        Number of episodes that every market finishes.
    scripted : mapping of str to str, optional
        Scripted policy of some roles; the other controlled roles play at random.
    settings : mapping of str to mapping, optional
        Settings of the scripted policies, by role.

    Yields
    ------
    StepRecord
        After the reset and after every step.
    """
    observations, active = game.reset(case.seeds)  # with the default streams, which are those of the case
    _check_current(case, game, observations, active, 0)
    chosen = settings or {}
    policies = {role: game.scripted(name, role, **chosen.get(role, {})) for role, name in (scripted or {}).items()}
    age, finished = np.zeros(game.num_envs, np.int64), np.zeros(game.num_envs, np.int64)
    yield StepRecord(0, {}, current_snapshot(game, observations, active), {}, age > 0, age)
    snapshots = [(a, a.copy()) for a in (*observations.values(), *active.values())]
    with_state = False
    for t in range(1, MOST_STEPS):
        actions = case.actions(t)
        for role, policy in policies.items():
            actions[role] = np.asarray(policy())
            _check_actions(case, role, scripted or {}, actions[role], t)
        copies = {role: array.copy() for role, array in actions.items()}
        step = game.step(actions)
        age = age + 1
        with_state = step.final_state is not None if t == 1 else with_state
        case.ensure((step.final_state is not None) == with_state, "final_state is given in some steps only", t)
        _check_current(case, game, step.observations, step.active, t)
        _check_results(case, game, step, age, t)
        case.ensure(
            all(identical(actions[r], copies[r]) for r in copies), "step() writes into the actions it is given", t
        )
        case.ensure(all(identical(a, b) for a, b in snapshots), "arrays that the step before returned have changed", t)
        snapshots = [(a, a.copy()) for a in _arrays(step)]
        ended = step.terminated | step.truncated
        finished += ended
        yield StepRecord(
            t, copies, current_snapshot(game, step.observations, step.active), result_snapshot(game, step), ended, age
        )
        age = np.where(ended, 0, age)
        if finished.min() >= episodes:
            return
    case.ensure(finished >= episodes, f"an episode does not end within {MOST_STEPS} steps")


def _arrays(step: Step) -> list[NDArray[Any]]:
    """Return all arrays of a step."""
    by_role = (step.observations, step.rewards, step.active, step.final_observations, step.metrics)
    states = [] if step.final_state is None else [step.final_state]
    return [step.terminated, step.truncated, *states, *(array for arrays in by_role for array in arrays.values())]


def _check_actions(case: Case, role: str, scripted: Mapping[str, str], actions: NDArray[Any], t: int) -> None:
    """Check the actions of a scripted policy, shape (batch, agents, …)."""
    space, example = case.roles[role].action_space, case.actions(t)[role]
    who = f"scripted policy {scripted[role]!r} of {role}"
    right_type = isinstance(space, spaces.Box) or np.issubdtype(actions.dtype, np.integer)
    case.ensure(right_type, f"{who} returns {actions.dtype}, not integers", t)
    case.ensure(actions.shape == example.shape, f"{who} returns shape {actions.shape}, not {example.shape}", t)
    case.ensure(legal(space, actions), f"{who} returns an action outside {space}", t)


def _check_current(case: Case, game: Game, observations: Arrays, active: Arrays, t: int) -> None:
    """Check observations, active agents and state, from which step ``t`` + 1 starts."""
    _check_keys(case, "observations", observations, t)
    _check_keys(case, "active", active, t)
    for name in case.controlled_roles:
        _check_observations(case, game, "observations", name, observations[name], None, t)
        shape = (game.num_envs, case.roles[name].count)
        case.ensure(is_array(active[name], shape, np.bool_), f"active of {name} is not bool {shape}", t)
    state = game.state()
    right_form = state.ndim == 2 and len(state) == game.num_envs and state.dtype == np.float32
    case.ensure(right_form, f"state() is {state.dtype} {state.shape}, not float32 ({game.num_envs}, features)", t)
    case.ensure(((state >= 0) & (state <= 1)).all(axis=1), "state() leaves [0, 1]", t)
    case.ensure(identical(state, game.state()), "state() changes when it is called twice", t)


def _check_keys(case: Case, what: str, arrays: Arrays, t: int) -> None:
    """Check that there is an array for each controlled role and for no other one."""
    right_keys = set(arrays) == set(case.controlled_roles)
    case.ensure(right_keys, f"{what} are keyed by {sorted(arrays)}, not by the controlled roles", t)


def _check_observations(
    case: Case, game: Game, what: str, name: str, array: NDArray[Any], ended: NDArray[np.bool_] | None, t: int
) -> None:
    """Check the observations of a role, of all markets or of those that have ``ended``."""
    role = case.roles[name]
    shape = (game.num_envs, role.count, *role.observation_space.shape)
    case.ensure(is_array(array, shape, np.float32), f"{what} of {name} are not float32 {shape}", t)
    inside = legal(role.observation_space, array)
    inside = inside if ended is None else inside | ~ended[:, None]
    case.ensure(inside, f"{what} of {name} are outside the observation space", t)


def _check_results(case: Case, game: Game, step: Step, age: NDArray[np.int64], t: int) -> None:
    """Check rewards, ends, final observations, metrics and ledger of a step."""
    n = game.num_envs
    _check_keys(case, "rewards", step.rewards, t)
    _check_keys(case, "final_observations", step.final_observations, t)
    for what, ends in (("terminated", step.terminated), ("truncated", step.truncated)):
        case.ensure(is_array(ends, (n,), np.bool_), f"{what} is not bool ({n},)", t)
    case.ensure(~(step.terminated & step.truncated), "a market is both terminated and truncated", t)
    limit = getattr(case.config, "max_cycles", None)
    expected = (age >= limit) & ~step.terminated if limit else np.zeros(n, np.bool_)
    if game.endless:
        case.ensure(~step.terminated, "an endless market is terminated", t)
        case.ensure(step.truncated[expected], f"truncated does not follow max_cycles={limit}", t)
    else:
        case.ensure(step.truncated == expected, f"truncated does not follow max_cycles={limit}", t)
    ended = step.terminated | step.truncated
    for name in case.controlled_roles:
        shape = (n, case.roles[name].count)
        case.ensure(is_array(step.rewards[name], shape, np.float32), f"rewards of {name} are not float32 {shape}", t)
        case.ensure(np.isfinite(step.rewards[name]), f"a reward of {name} is not finite", t)
        _check_observations(case, game, "final_observations", name, step.final_observations[name], ended, t)
    _check_final_state(case, game, step, ended, t)
    names = game.metric_names
    case.ensure(set(step.metrics) == set(names), f"metrics are {sorted(step.metrics)}, not metric_names", t)
    for name, values in step.metrics.items():
        case.ensure(is_array(values, (n,), np.float64), f"metric {name} is not float64 ({n},)", t)
        allowed_nan = np.isnan(values) if _may_be_nan(case.game_class, name) else False
        case.ensure(np.isfinite(values) | allowed_nan | ~ended, f"metric {name} is not finite", t)
    ledger = game.ledger()
    case.ensure(ledger.ndim == 2 and len(ledger) == n, f"ledger() has shape {ledger.shape}, not ({n}, accounts)", t)
    case.ensure((np.abs(ledger.sum(axis=1)) <= 1e-9) | ~ended, "the ledger does not sum to 0", t)


def _may_be_nan(game_class: type[Game], metric: str) -> bool:
    """Return whether no score uses a metric and a line of the class's docstring says what its NaN means.

    A class that extends another one also has its docstring.
    """
    lines = [line for cls in game_class.__mro__ for line in (cls.__doc__ or "").splitlines()]
    documented = any(f"`{metric}`" in line and "NaN" in line for line in lines)
    return documented and metric not in game_class.objectives.values()


def _check_final_state(case: Case, game: Game, step: Step, ended: NDArray[np.bool_], t: int) -> None:
    """Check the final state if there is one; only agents with a centralised value need it."""
    if step.final_state is None:
        return
    shape = game.state().shape
    case.ensure(is_array(step.final_state, shape, np.float32), f"final_state is not float32 {shape}", t)
    inside = ((step.final_state >= 0) & (step.final_state <= 1)).all(axis=1)
    case.ensure(inside | ~ended, "final_state leaves [0, 1]", t)
