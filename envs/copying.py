"""How games and environments are pickled and copied: a copy goes on as the original, and shares nothing with it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from ioa_marl.envs.core import Game


def made_anew(made_from: tuple[Any, ...], full_metrics: bool, final_states: bool) -> Game:
    """Return a game that is to be given the state of another one."""
    game_class, *arguments = made_from
    game: Game = game_class(*arguments)
    game.full_metrics, game.final_states = full_metrics, final_states
    return game


class Unbegun:
    """Stands for a game that was never reset where it is copied: there is nothing to save, perhaps not even arrays."""

    def __init__(self, game: Game) -> None:
        self._game = game

    def __reduce__(self) -> tuple[Any, ...]:
        return self._game.recipe()


class Independent:
    """Base of what has a game: a shallow copy, which would play the same game, is a deep one."""

    def __copy__(self) -> Self:
        return copy.deepcopy(self)
