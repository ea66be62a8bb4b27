"""A game of one market with its renderer, the common part of the interfaces to PettingZoo and Gymnasium."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.checking import RESET_FIRST
from ioa_marl.envs.copying import UnstartedGame
from ioa_marl.envs.core import Game
from ioa_marl.foundations.errors import shown
from ioa_marl.foundations.parameters import require

RENDER_MODES = ["human", "rgb_array", "ansi"]
"""Render modes: a window, an array of pixels, a text."""


def fresh_seed() -> int:
    """Return a seed from the entropy of the operating system, below 2**32."""
    return int(np.random.SeedSequence().generate_state(1, np.uint32)[0])


class SingleGame:
    """A game of one market, which keeps the last state of an episode until it is reset, and its renderer.

    Parameters
    ----------
    game_class : type of Game
        The market.
    preset : str or None
        Named settings; None: the market's first preset.
    controlled_roles : sequence of str or None
        Roles that are controlled; None: the market's `default_controlled_roles`.
    render_mode : {"human", "rgb_array", "ansi"} or None
        Kind of picture that `render` draws; None: `render` draws nothing.
    settings : dict
        Changes of the preset.
    partners : mapping, optional
        Scripted policies of roles that are not controlled; see `Game.set_partners`.

    Attributes
    ----------
    game : Game
        The game.
    active : dict of ndarray
        For each controlled role bool (1, agents): whether the first step of the episode uses the agent's action.
    started : bool
        Whether the game has been reset.
    """

    def __init__(
        self,
        game_class: type[Game],
        preset: str | None,
        controlled_roles: Sequence[str] | None,
        render_mode: str | None,
        settings: dict[str, Any],
        partners: Mapping[str, Any] | None = None,
    ) -> None:
        require(
            render_mode is None or (isinstance(render_mode, str) and render_mode in RENDER_MODES),
            "render_mode", shown(render_mode), f"null or one of {', '.join(RENDER_MODES)}",
        )  # fmt: skip
        self.game = game_class(game_class.make_config(preset, **settings), 1, controlled_roles, autoreset=False)
        if partners is not None:
            self.game.set_partners(partners)
        self.render_mode = render_mode
        self._window: Any = None
        self.started = False

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy: it has no window, and an `UnstartedGame` if the game was never reset."""
        return {**self.__dict__, "_window": None, "game": self.game if self.started else UnstartedGame(self.game)}

    def reset(self, seed: int | None) -> dict[str, NDArray[Any]]:
        """Start an episode and return its observations.

        Parameters
        ----------
        seed : int or None
            Seed whose first episode is started; None: the next episode of the last seed, at first that of a new one.

        Returns
        -------
        dict of ndarray
            For each controlled role float32 (1, agents, features), in [0, 1].
        """
        if seed is not None or not self.started:
            seed = fresh_seed() if seed is None else seed
            observations, self.active = self.game.reset(np.array([seed], np.uint64))
            self.started = True
        else:
            observations, self.active = self.game.next_episode()
        return observations

    def render(self) -> Any:
        """Draw the market in the mode ``render_mode``.

        Returns
        -------
        ndarray of uint8, shape (height, width, 3), or str or None
            Pixels for ``rgb_array``, a text for ``ansi``; None for ``human``, which shows the picture in a window.
        """
        if not self.started:
            raise RuntimeError(RESET_FIRST)
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs a render_mode, chosen when the environment is made")
            return None
        if self.render_mode == "human":
            from ioa_marl.envs.rendering import Window

            if self._window is None:
                self._window = Window(self.game.name)
            self._window.show(self.game.render("rgb_array"))
            return None
        return self.game.render(self.render_mode)

    def close(self) -> None:
        """Close the window, if one is open."""
        if self._window is not None:
            self._window.close()
            self._window = None
