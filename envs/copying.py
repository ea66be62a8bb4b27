"""Pickling and copying of games and environments: a copy continues like the original and shares no array with it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from ioa_marl.envs.core import Game


def build_game(
    constructor_call: tuple[Any, ...], full_metrics: bool, final_states: bool, partners: Mapping[str, Any]
) -> Game:
    """Return a game that has not been reset.

    Parameters
    ----------
    constructor_call : tuple
        The class, then its arguments.
    full_metrics, final_states : bool
        Attributes of the game.
    partners : mapping
        What `Game.set_partners` was given.
    """
    game_class, *arguments = constructor_call
    game: Game = game_class(*arguments)
    if partners:
        game.set_partners(partners)
    game.full_metrics, game.final_states = full_metrics, final_states
    return game


class UnstartedGame:
    """Replacement of a game that was never reset in the state of a copy: it has no arrays that need saving."""

    def __init__(self, game: Game) -> None:
        self._game = game

    def __reduce__(self) -> tuple[Any, ...]:
        return self._game.recipe()


class DeepCopied:
    """Base of classes that hold a game: a shallow copy is a deep copy, because both would share the game otherwise."""

    def __copy__(self) -> Self:
        return copy.deepcopy(self)
