"""Scripted policies as entries of `Game.policies`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ioa_marl.foundations.parameters import ParameterError
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
