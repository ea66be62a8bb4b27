"""Scripted policies as entries of `Game.policies`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.errors import shown
from ioa_marl.foundations.parameters import ParameterError, integer_if_whole, is_whole, require
from ioa_marl.foundations.scalars import plain_value

if TYPE_CHECKING:
    from ioa_marl.envs.core import Game, PolicyFactory, ScriptedPolicy


def policy(make: Callable[..., Any], *fixed: Any) -> PolicyFactory:
    """Return ``make`` as an entry of `Game.policies`, which takes settings by name only and refuses unknown ones.

    Parameters
    ----------
    make : callable
        Class or function of the game, then of ``fixed``, then of the settings, which all have defaults.
    *fixed
        Positional arguments between the game and the settings.
    """
    allowed = list(inspect.signature(make).parameters)[1 + len(fixed) :]

    def bind(game: Game, **settings: Any) -> ScriptedPolicy:
        for key, value in settings.items():
            if key not in allowed:
                raise ParameterError(key, value, ", ".join(sorted(allowed)) or "no settings at all")
        bound: ScriptedPolicy = make(game, *fixed, **plain_value(settings))
        return bound

    return bind


class PerAgentPolicy:
    """A scripted policy of a role of which some agents follow other policies.

    Parameters
    ----------
    usual : ScriptedPolicy
        Policy of the agents that ``others`` does not name.
    others : mapping of int to ScriptedPolicy
        Policy of each other agent, by its number.
    """

    def __init__(self, usual: ScriptedPolicy, others: Mapping[int, ScriptedPolicy]) -> None:
        self._usual, self._others = usual, dict(others)

    def __call__(self) -> NDArray[Any]:
        """Return the actions of all agents, (batch, agents, …)."""
        actions = np.array(self._usual())
        for number, other in self._others.items():
            actions[:, number] = other()[:, number]
        return actions


def partner(game: Game, role: str, choice: Any) -> ScriptedPolicy:
    """Return the scripted policy of a role that a choice of `Game.set_partners` describes, bound to a game.

    Parameters
    ----------
    game : Game
        The game.
    role : str
        The role.
    choice : str or mapping
        Name of a policy, or a mapping with ``name`` (default: the usual one), the policy's settings, and ``agents``:
        for numbers of agents the name or mapping of a policy of their own.

    Raises
    ------
    ParameterError
        If there is no such policy, setting or agent.
    """
    place = f"partners.{role}"
    own = choice.get("agents", {}) if isinstance(choice, Mapping) else {}
    usual = {key: value for key, value in choice.items() if key != "agents"} if own else choice
    if isinstance(usual, Mapping):
        usual = {"name": game.roles[role].scripted, **usual}
    require(isinstance(own, Mapping), f"{place}.agents", shown(own), "a mapping of numbers to policies")
    last = game.roles[role].count - 1
    others = {}
    for number, policy_of_it in own.items():
        number = int(number) if isinstance(number, str) and number.isdecimal() else integer_if_whole(number)
        require(is_whole(number) and 0 <= number <= last, f"{place}.agents", shown(number), f"0 to {last}")
        others[number] = _bound(game, role, policy_of_it, f"{place}.agents.{number}")
    base = _bound(game, role, usual, place)
    return PerAgentPolicy(base, others) if others else base


def _bound(game: Game, role: str, choice: Any, place: str) -> ScriptedPolicy:
    choice = {"name": choice} if isinstance(choice, str) else choice
    named = isinstance(choice, Mapping) and isinstance(choice.get("name"), str)
    require(named, place, shown(choice), "the name of a policy, or a mapping with name and settings")
    settings = {str(key): value for key, value in choice.items() if key != "name"}
    try:
        return game.scripted(choice["name"], role, **settings)
    except ParameterError as error:
        raise ParameterError(f"{place}.{error.name}", error.value, error.allowed) from error
