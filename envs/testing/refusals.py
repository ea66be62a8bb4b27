"""Checks of refusals: invalid actions, and scripted policies, roles and settings that do not exist."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.envs.core import Game, Role
from ioa_marl.envs.testing.case import Case, identical
from ioa_marl.envs.testing.play import play
from ioa_marl.foundations.parameters import ParameterError


def _invalid_actions(role: Role, valid: NDArray[Any], active: NDArray[np.bool_]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield invalid actions with their descriptions.

    Parameters
    ----------
    role : Role
        Role of the actions.
    valid : ndarray, shape (batch, agents, …)
        Legal actions, from which the invalid ones are made.
    active : ndarray of bool, shape (batch, agents)
        Whether the agent is active; only the action of the last active agent gets a wrong value.
    """
    yield "a market too many", np.concatenate([valid, valid[:1]])
    yield "an agent too many", np.concatenate([valid, valid[:, :1]], axis=1)
    yield "an axis too many", valid[..., None]
    space = role.action_space
    if isinstance(space, spaces.Box):
        width = space.high - space.low
        values = {"below": space.low - width - 1, "above": space.high + width + 1, "nan": np.full(space.shape, np.nan)}
    else:
        assert isinstance(space, (spaces.Discrete, spaces.MultiDiscrete))
        size = space.n if isinstance(space, spaces.Discrete) else space.nvec
        values = {"below": space.start - 1, "above": space.start + size}
    at = tuple(np.argwhere(active)[-1]) if active.any() else (-1, -1)
    for place, value in values.items():
        actions = valid.copy()
        actions[at] = value
        yield f"an action {place} its space", actions


def check_refusals(case: Case) -> None:
    """Check that invalid actions raise ValueError before the game changes."""
    game = case.game()
    _, active = game.reset(case.seeds)
    for t in range(1, 5):
        valid = case.actions(t)
        for name in case.controlled_roles:
            for problem, actions in _invalid_actions(case.roles[name], valid[name], active[name]):
                before = {**game.save(), "state()": game.state()}
                try:
                    game.step({**valid, name: actions})
                except ValueError:
                    after = {**game.save(), "state()": game.state()}
                    unchanged = all(identical(before[key], after[key]) for key in before)
                    case.ensure(unchanged, f"{problem} of {name} is refused, but has changed the game", t)
                except Exception as error:
                    case.ensure(False, f"{problem} of {name} raises {type(error).__name__}, not ValueError", t)
                else:
                    case.ensure(False, f"{problem} of {name} is not refused", t)
        active = game.step(valid).active


def check_scripted_policies(case: Case) -> None:
    """Check that scripted policies play legal actions, and that unknown policies, roles and settings are refused."""
    game = case.game()
    game.reset(case.seeds)
    for role in case.roles:
        acting_case = case.changed(
            controlled_roles=tuple(r for r in case.roles if r in case.controlled_roles or r == role)
        )
        names = case.game_class.scripted_policies(role)
        for name in names:
            for _ in play(acting_case, acting_case.game(), 1, {role: name}):
                pass
            _check_refused(case, game, name, role, no_such_setting=1)
        _check_refused(case, game, "no_such_policy", role)
    _check_refused(case, game, "no_such_policy", "no_such_role")


def _check_refused(case: Case, game: Game, policy: str, role: str, **settings: Any) -> None:
    """Check that `Game.scripted` refuses these arguments."""
    call = f"scripted({', '.join(map(repr, (policy, role, *settings)))})"
    try:
        game.scripted(policy, role, **settings)
    except ParameterError:
        return
    except Exception as error:
        case.ensure(False, f"{call} raises {type(error).__name__}, not ParameterError")
    case.ensure(False, f"{call} is not refused")
