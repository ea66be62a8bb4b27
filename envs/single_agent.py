"""Markets in which one role of one agent is controlled, as Gymnasium environments: single and batched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from ioa_marl.envs.checking import RESET_FIRST, check_options, checked_seed, usable_actions
from ioa_marl.envs.copying import DeepCopied, UnstartedGame
from ioa_marl.envs.core import Game, Role
from ioa_marl.envs.single_game import RENDER_MODES, SingleGame, fresh_seed
from ioa_marl.foundations.parameters import require


class MarketEnv(DeepCopied, gymnasium.Env[NDArray[np.float32], Any]):
    """A market in which one role of one agent is controlled, as a Gymnasium environment.

    Parameters
    ----------
    game_class : type of Game
        The market.
    preset : str, optional
        Named settings; default is the market's first preset.
    role : str, optional
        The controlled role, which must have a single agent; default is the market's `default_controlled_roles`.
    render_mode : {"human", "rgb_array", "ansi"}, optional
        Kind of picture that `render` draws.
    partners : mapping, optional
        Scripted policies of roles that are not controlled, where they are not the usual ones; see `Game.set_partners`.
    **settings
        Changes of the preset.
    """

    metadata: dict[str, Any] = {"render_modes": RENDER_MODES, "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        game_class: type[Game],
        preset: str | None = None,
        role: str | None = None,
        render_mode: str | None = None,
        partners: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        controlled_roles = None if role is None else [role]
        self._single = SingleGame(game_class, preset, controlled_roles, render_mode, settings, partners)
        self.game = self._single.game
        self.render_mode = render_mode
        self._role = only_agent(self.game)
        self.observation_space: gymnasium.spaces.Space[Any] = self._role.observation_space
        self.action_space = self._role.action_space
        self._ended = True

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "game"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.game = self._single.game

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start the first episode of ``seed``, or without a seed the next episode.

        Returns
        -------
        observation : ndarray of float32, shape (features,)
            In [0, 1].
        info : dict
            Empty.
        """
        check_options(options)
        seed = None if seed is None else checked_seed(seed)
        super().reset(seed=seed)
        observations = self._single.reset(seed)
        self._ended = False
        return observations[self._role.name][0, 0].copy(), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Play one step.

        Parameters
        ----------
        action : array_like
            An element of `action_space`: an integer for Discrete, shape (components,) otherwise.

        Returns
        -------
        observation : ndarray of float32, shape (features,)
            In [0, 1].
        reward : float
            In the unit that the market's docstring states.
        terminated, truncated : bool
            Whether the market or ``max_cycles`` ended the episode.
        info : dict
            At the end of an episode ``metrics``, a dict of floats in the units that the market's docstring states.
        """
        if self._ended:
            raise RuntimeError(RESET_FIRST)
        name, space = self._role.name, self.action_space
        step = self.game.step({name: usable_actions(name, action, space.shape or (), space)[None, None]})
        terminated, truncated = bool(step.terminated[0]), bool(step.truncated[0])
        self._ended = terminated or truncated
        info: dict[str, Any] = {}
        if self._ended:
            info["metrics"] = {key: float(values[0]) for key, values in step.metrics.items()}
        observation = step.observations[name][0, 0].copy()
        return observation, float(step.rewards[name][0, 0]), terminated, truncated, info

    def render(self) -> Any:
        """Draw the market: a text, uint8 pixels (height, width, 3), or a window; see `SingleGame.render`."""
        return self._single.render()

    def close(self) -> None:
        """Close the window, if one is open."""
        self._single.close()


def only_agent(game: Game) -> Role:
    """Return the controlled role of a game that has one such role of one agent; refuse any other game."""
    roles = [game.roles[name] for name in game.controlled_roles]
    counts = ", ".join(f"{role.name} ({role.count})" for role in roles)
    require(len(roles) == 1 and roles[0].count == 1, "controlled_roles", counts, "one role with one agent")
    return roles[0]


class MarketVectorEnv(DeepCopied, gymnasium.vector.VectorEnv[NDArray[np.float32], Any, NDArray[Any]]):
    """A batch of markets in which one role of one agent is controlled, as a Gymnasium vector environment.

    A market whose episode ends is reset within the same step (``SAME_STEP``). Its last observation is in
    ``infos["final_obs"]`` and the metrics of its episode are in ``infos["final_info"]``, both with a mask.

    Parameters
    ----------
    game_class : type of Game
        The market.
    num_envs : int, default 1
        Number of markets.
    preset, role, partners, **settings
        See `MarketEnv`.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        game_class: type[Game],
        num_envs: int = 1,
        preset: str | None = None,
        role: str | None = None,
        partners: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        config = game_class.make_config(preset, **settings)
        self.game = game_class(config, num_envs, None if role is None else [role])
        if partners is not None:
            self.game.set_partners(partners)
        self._role = only_agent(self.game)
        self.num_envs = num_envs = self.game.num_envs
        self.single_observation_space = self._role.observation_space
        self.single_action_space = self._role.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._started = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "game": self.game if self._started else UnstartedGame(self.game)}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start in all markets the first episode of ``seed``, or without a seed the next episode.

        Returns
        -------
        observations : ndarray of float32, shape (num_envs, features)
            In [0, 1].
        infos : dict
            Empty.
        """
        check_options(options)
        seed = None if seed is None else checked_seed(seed)
        super().reset(seed=seed)
        if seed is not None or not self._started:
            value = fresh_seed() if seed is None else seed
            observations, _ = self.game.reset(np.full(self.num_envs, value, np.uint64))
            self._started = True
        else:
            observations, _ = self.game.next_episode()
        return observations[self._role.name][:, 0].copy(), {}

    def step(
        self, actions: Any
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Step every market.

        Parameters
        ----------
        actions : array_like of int or float, shape (num_envs,) for Discrete, else (num_envs, components)
            Actions.

        Returns
        -------
        observations : ndarray of float32, shape (num_envs, features)
            In [0, 1]; those after the reset where an episode ended.
        rewards : ndarray of float64, shape (num_envs,)
            In the unit that the market's docstring states.
        terminated, truncated : ndarray of bool, shape (num_envs,)
            Whether the market or ``max_cycles`` ended the episode.
        infos : dict
            Empty unless an episode ended; then with ``final_obs``, an array of objects (num_envs,), ``final_info`` and
            their masks, bool (num_envs,).
        """
        if not self._started:
            raise RuntimeError(RESET_FIRST)
        name = self._role.name
        shape = (self.num_envs, *(self.single_action_space.shape or ()))
        step = self.game.step({name: usable_actions(name, actions, shape, self.single_action_space)[:, None]})
        ended = step.terminated | step.truncated
        infos: dict[str, Any] = {}
        if ended.any():
            final = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(ended):
                final[i] = step.final_observations[name][i, 0].copy()
            metrics = {key: np.where(ended, values, 0.0) for key, values in step.metrics.items()}
            infos = {"final_obs": final, "_final_obs": ended, "_final_info": ended.copy()}
            masks = {f"_{key}": ended.copy() for key in metrics}
            infos["final_info"] = {"metrics": {**metrics, **masks}, "_metrics": ended.copy()}
        return (
            step.observations[name][:, 0].copy(),
            step.rewards[name][:, 0].astype(np.float64),
            step.terminated.copy(),
            step.truncated.copy(),
            infos,
        )
