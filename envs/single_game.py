"""A game of one market with its renderer, on which the interfaces of other libraries are built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.checking import RESET_FIRST
from ioa_marl.envs.copying import Unbegun
from ioa_marl.envs.core import Game
from ioa_marl.foundations.errors import shown
from ioa_marl.foundations.parameters import require

RENDER_MODES = ["human", "rgb_array", "ansi"]


def fresh_seed() -> int:
    """Return a seed that nobody has chosen."""
    return int(np.random.SeedSequence().generate_state(1, np.uint32)[0])


class SingleGame:
    """A game of one market that stays at its end until it is reset, and its renderer."""

    def __init__(
        self,
        game_class: type[Game],
        preset: str | None,
        controlled_roles: Sequence[str] | None,
        render_mode: str | None,
        settings: dict[str, Any],
    ) -> None:
        require(
            render_mode is None or (isinstance(render_mode, str) and render_mode in RENDER_MODES),
            "render_mode", shown(render_mode), f"null or one of {', '.join(RENDER_MODES)}",
        )  # fmt: skip
        self.game = game_class(game_class.make_config(preset, **settings), 1, controlled_roles, autoreset=False)
        self.render_mode = render_mode
        self._window: Any = None
        self.begun = False

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied: no window, and of a game that was never reset nothing but what it is made from."""
        return {**self.__dict__, "_window": None, "game": self.game if self.begun else Unbegun(self.game)}

    def reset(self, seed: int | None) -> dict[str, NDArray[Any]]:
        """Start over with ``seed``, or go on to the next episode of the present one."""
        if seed is not None or not self.begun:
            seed = fresh_seed() if seed is None else seed
            observations, self.active = self.game.reset(np.array([seed], np.uint64))
            self.begun = True
        else:
            observations, self.active = self.game.next_episode()
        return observations

    def render(self) -> Any:
        """Draw the market in the chosen mode."""
        if not self.begun:
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
