"""A market as a PettingZoo parallel environment."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from pettingzoo.utils.env import ParallelEnv

from ioa_marl.envs.checking import RESET_FIRST, check_options, checked_seed, usable_actions
from ioa_marl.envs.copying import Independent
from ioa_marl.envs.core import Game, Role
from ioa_marl.envs.single_game import RENDER_MODES, SingleGame
from ioa_marl.foundations.errors import shown

_PLAIN = frozenset({int, np.int64})
"""Types of actions that are integers for sure; the game looks whether they are in the space."""
_NONE: frozenset[type] = frozenset()


class MarketParallelEnv(Independent, ParallelEnv[str, Any, Any]):
    """A market as a PettingZoo parallel environment; its agents are those of the controlled roles.

    Parameters
    ----------
    game_class : type of Game
        The market.
    preset : str, optional
        Named settings; default is the market's first preset.
    controlled_roles : sequence of str, optional
        Roles whose agents appear, and act through `step`; the others are scripted.
    render_mode : {"human", "rgb_array", "ansi"}, optional
        How `render` draws.
    **settings
        Changes of the preset.
    """

    def __init__(
        self,
        game_class: type[Game],
        preset: str | None = None,
        controlled_roles: Sequence[str] | None = None,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        self._single = SingleGame(game_class, preset, controlled_roles, render_mode, settings)
        self.game = self._single.game
        self.render_mode = render_mode
        self.metadata = {
            "name": f"{game_class.name}_v{game_class.version}",
            "render_modes": RENDER_MODES,
            "is_parallelizable": True,
            "render_fps": 4,
        }
        self.roles: list[Role] = [self.game.roles[name] for name in self.game.controlled_roles]
        self.possible_agents = [agent for role in self.roles for agent in role.agents]
        self.agents: list[str] = []
        self._space = {agent: role for role in self.roles for agent in role.agents}
        # A space of its own for every agent: PettingZoo seeds them one by one.
        self.observation_spaces = {a: copy.deepcopy(r.observation_space) for a, r in self._space.items()}
        self.action_spaces = {a: copy.deepcopy(r.action_space) for a, r in self._space.items()}
        self._place = [(agent, role.name, i) for role in self.roles for i, agent in enumerate(role.agents)]
        self._actions = {role.name: _table(role) for role in self.roles}
        # Any legal action does for an agent that is not asked.
        self._ignored = {role.name: role.action_space.sample() for role in self.roles}
        self._active: dict[str, NDArray[np.bool_]] = {}
        self._bind()
        state = self.game.state().shape[1:]
        self.state_space = gymnasium.spaces.Box(0.0, 1.0, state, np.float32)

    def _bind(self) -> None:
        """Note where each agent's action is written: a row of the table, its index, and what surely fits there."""
        self._entries = []
        for agent, role, i in self._place:
            space, row = self.action_spaces[agent], self._actions[role][0]
            sure = _PLAIN if isinstance(space, gymnasium.spaces.Discrete) else _NONE
            self._entries.append((agent, row, role, i, sure, row.dtype, space.shape or ()))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("game", "_entries")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.game = self._single.game
        self._bind()

    def observation_space(self, agent: str) -> gymnasium.spaces.Space[Any]:
        """Return the agent's observation space, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gymnasium.spaces.Space[Any]:
        """Return the agent's action space, always the same object."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, dict[str, Any]]]:
        """Start an episode: the first one of ``seed``, or without a seed the next one; ``options`` change nothing."""
        check_options(options)
        observations = self._single.reset(None if seed is None else checked_seed(seed))
        self._active = self._single.active
        self.agents = self.possible_agents.copy()
        current = {agent: observations[role][0, i].copy() for agent, role, i in self._place}
        return current, self._infos()

    def _infos(self) -> dict[str, dict[str, Any]]:
        active = self._active
        return {agent: {"active": bool(active[role][0, i])} for agent, role, i in self._place}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[
        dict[str, NDArray[np.float32]],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """Play one step; actions of inactive agents are ignored and may be left out."""
        if not self.agents:
            raise RuntimeError(RESET_FIRST)
        left_out = 0
        try:
            for agent, row, role, i, sure, dtype, shape in self._entries:
                if agent in actions:
                    action = actions[agent]
                    if type(action) not in sure and not (
                        type(action) is np.ndarray and action.dtype is dtype and action.shape == shape
                    ):
                        action = usable_actions(agent, action, shape, self.action_spaces[agent])
                    row[i] = action
                elif self._active[role][0, i]:
                    raise self._misfit(actions, agent)
                else:
                    left_out += 1
                    row[i] = self._ignored[role]
        except (OverflowError, TypeError) as error:
            raise self._misfit(actions, agent) from error
        if len(actions) + left_out != len(self._entries):
            raise self._misfit(actions, agent)
        step = self.game.step(self._actions)
        self._active = step.active
        terminated, truncated = bool(step.terminated[0]), bool(step.truncated[0])
        infos = self._infos()
        if terminated or truncated:
            metrics = {name: float(values[0]) for name, values in step.metrics.items()}
            for info in infos.values():
                info["metrics"] = metrics.copy()
            self.agents = []
        observations, rewards = step.observations, step.rewards
        return (
            {agent: observations[role][0, i].copy() for agent, role, i in self._place},
            {agent: float(rewards[role][0, i]) for agent, role, i in self._place},
            dict.fromkeys(self.possible_agents, terminated),
            dict.fromkeys(self.possible_agents, truncated),
            infos,
        )

    def _misfit(self, actions: Any, agent: str) -> ValueError:
        """Return the error for ``actions`` that cannot be played, as was noticed at ``agent``."""
        if not isinstance(actions, Mapping):
            return ValueError(f"actions are {type(actions).__name__}, expected a mapping of agents to actions")
        for name in actions:
            if name not in self._space:
                known = ", ".join(" to ".join(dict.fromkeys((r.agents[0], r.agents[-1]))) for r in self.roles)
                return ValueError(f"actions of {shown(name)} are not asked for; agents that act are {known}")
        if agent not in actions:
            return ValueError(f"actions of {agent} are missing, which is active")
        return ValueError(f"an action of {agent} is outside its space {self.action_spaces[agent]}")

    def check_action(self, agent: str, action: Any) -> None:
        """Refuse an action that `step` would refuse.

        Raises
        ------
        ValueError
            If it is of another shape, no integers where integers are expected, or outside the agent's space.
        """
        space = self.action_spaces[agent]
        checked = usable_actions(agent, action, space.shape or (), space)
        if not space.contains(checked if isinstance(space, gymnasium.spaces.Box) else checked.astype(np.int64)):
            raise ValueError(f"an action of {agent} is outside its space {space}")

    def state(self) -> NDArray[np.float32]:
        """Return the global state, a vector in [0, 1]."""
        if not self._single.begun:
            raise RuntimeError(RESET_FIRST)
        state: NDArray[np.float32] = self.game.state()[0]
        return state

    def render(self) -> Any:
        """Draw the market: text, an RGB array, or a window."""
        return self._single.render()

    def close(self) -> None:
        """Close the window, if one is open."""
        self._single.close()


def _table(role: Role) -> NDArray[Any]:
    """Return room for the actions of a role's agents, (1, agents, …)."""
    box = isinstance(role.action_space, gymnasium.spaces.Box)
    return np.zeros((1, role.count, *(role.action_space.shape or ())), np.float32 if box else np.int64)
