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
from ioa_marl.envs.copying import DeepCopied
from ioa_marl.envs.core import Game, Role
from ioa_marl.envs.single_game import RENDER_MODES, SingleGame
from ioa_marl.foundations.errors import shown

_INTEGERS = frozenset({int, np.int64})
"""Types of discrete actions that need no conversion; the game checks that they are in the space."""
_NO_TYPES: frozenset[type] = frozenset()


class MarketParallelEnv(DeepCopied, ParallelEnv[str, Any, Any]):
    """A market as a PettingZoo parallel environment; its agents are those of the controlled roles.

    Parameters
    ----------
    game_class : type of Game
        The market.
    preset : str, optional
        Named settings; default is the market's first preset.
    controlled_roles : sequence of str, optional
        Roles whose agents are the agents of the environment; scripted policies play the others. Default: the market's
        `default_controlled_roles`.
    render_mode : {"human", "rgb_array", "ansi"}, optional
        Kind of picture that `render` draws.
    partners : mapping, optional
        Scripted policies of roles that are not controlled, where they are not the usual ones; see `Game.set_partners`.
    **settings
        Changes of the preset.
    """

    def __init__(
        self,
        game_class: type[Game],
        preset: str | None = None,
        controlled_roles: Sequence[str] | None = None,
        render_mode: str | None = None,
        partners: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self._single = SingleGame(game_class, preset, controlled_roles, render_mode, settings, partners)
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
        self._role_of = {agent: role for role in self.roles for agent in role.agents}
        # Every agent has a space of its own, because PettingZoo seeds the spaces one by one.
        self.observation_spaces = {a: copy.deepcopy(r.observation_space) for a, r in self._role_of.items()}
        self.action_spaces = {a: copy.deepcopy(r.action_space) for a, r in self._role_of.items()}
        self._positions = [(agent, role.name, i) for role in self.roles for i, agent in enumerate(role.agents)]
        self._actions = {role.name: _empty_actions(role) for role in self.roles}
        # The game ignores the action of an inactive agent, but it has to be in the space.
        self._ignored_actions = {role.name: role.action_space.sample() for role in self.roles}
        self._active: dict[str, NDArray[np.bool_]] = {}
        self._list_entries()
        state_shape = self.game.state().shape[1:]
        self.state_space = gymnasium.spaces.Box(0.0, 1.0, state_shape, np.float32)

    def _list_entries(self) -> None:
        """List for each agent the array of its role's actions, its index there, and actions that need no conversion."""
        self._entries = []
        for agent, role, i in self._positions:
            space, role_actions = self.action_spaces[agent], self._actions[role][0]
            plain_types = _INTEGERS if isinstance(space, gymnasium.spaces.Discrete) else _NO_TYPES
            self._entries.append((agent, role_actions, role, i, plain_types, role_actions.dtype, space.shape or ()))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("game", "_entries")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.game = self._single.game
        self._list_entries()

    def observation_space(self, agent: str) -> gymnasium.spaces.Space[Any]:
        """Return the agent's observation space, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gymnasium.spaces.Space[Any]:
        """Return the agent's action space, always the same object."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, dict[str, Any]]]:
        """Start the first episode of ``seed``, or without a seed the next episode; ``options`` are ignored.

        Returns
        -------
        observations : dict of ndarray
            For each agent float32 (features,), in [0, 1].
        infos : dict of dict
            For each agent ``active``: whether the first step uses its action.
        """
        check_options(options)
        observations = self._single.reset(None if seed is None else checked_seed(seed))
        self._active = self._single.active
        self.agents = self.possible_agents.copy()
        by_agent = {agent: observations[role][0, i].copy() for agent, role, i in self._positions}
        return by_agent, self._infos()

    def _infos(self) -> dict[str, dict[str, Any]]:
        active = self._active
        return {agent: {"active": bool(active[role][0, i])} for agent, role, i in self._positions}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[
        dict[str, NDArray[np.float32]],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """Play one step.

        Parameters
        ----------
        actions : dict
            For each agent an element of its action space. Actions of inactive agents are ignored and may be left out.

        Returns
        -------
        observations : dict of ndarray
            For each agent float32 (features,), in [0, 1].
        rewards : dict of float
            In the unit that the market's docstring states.
        terminations, truncations : dict of bool
            Whether the market or ``max_cycles`` ended the episode, the same for all agents.
        infos : dict of dict
            For each agent ``active``, and at the end of an episode ``metrics``: floats in the units that the market's
            docstring states.
        """
        if not self.agents:
            raise RuntimeError(RESET_FIRST)
        left_out = 0
        try:
            for agent, role_actions, role, i, plain_types, dtype, shape in self._entries:
                if agent in actions:
                    action = actions[agent]
                    if type(action) not in plain_types and not (
                        type(action) is np.ndarray and action.dtype is dtype and action.shape == shape
                    ):
                        action = usable_actions(agent, action, shape, self.action_spaces[agent])
                    role_actions[i] = action
                elif self._active[role][0, i]:
                    raise self._action_error(actions, agent)
                else:
                    left_out += 1
                    role_actions[i] = self._ignored_actions[role]
        except (OverflowError, TypeError) as error:
            raise self._action_error(actions, agent) from error
        if len(actions) + left_out != len(self._entries):
            raise self._action_error(actions, agent)
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
            {agent: observations[role][0, i].copy() for agent, role, i in self._positions},
            {agent: float(rewards[role][0, i]) for agent, role, i in self._positions},
            dict.fromkeys(self.possible_agents, terminated),
            dict.fromkeys(self.possible_agents, truncated),
            infos,
        )

    def _action_error(self, actions: Any, agent: str) -> ValueError:
        """Return the error that describes what is wrong with ``actions``; ``agent`` is the last one that was read."""
        if not isinstance(actions, Mapping):
            return ValueError(f"actions are {type(actions).__name__}, expected a mapping of agents to actions")
        for name in actions:
            if name not in self._role_of:
                agents = ", ".join(" to ".join(dict.fromkeys((r.agents[0], r.agents[-1]))) for r in self.roles)
                return ValueError(f"actions of {shown(name)} are not asked for; agents that act are {agents}")
        if agent not in actions:
            return ValueError(f"actions of {agent} are missing, which is active")
        return ValueError(f"an action of {agent} is outside its space {self.action_spaces[agent]}")

    def check_action(self, agent: str, action: Any) -> None:
        """Refuse an action that `step` would refuse.

        Parameters
        ----------
        agent : str
            Name of the agent.
        action : array_like
            An integer or an array with the shape of the agent's action space.

        Raises
        ------
        ValueError
            If the action has another shape, is not of integers where integers are expected, or is outside the space.
        """
        space = self.action_spaces[agent]
        checked = usable_actions(agent, action, space.shape or (), space)
        if not space.contains(checked if isinstance(space, gymnasium.spaces.Box) else checked.astype(np.int64)):
            raise ValueError(f"an action of {agent} is outside its space {space}")

    def state(self) -> NDArray[np.float32]:
        """Return the global state: float32 (features,), in [0, 1]."""
        if not self._single.started:
            raise RuntimeError(RESET_FIRST)
        state: NDArray[np.float32] = self.game.state()[0]
        return state

    def render(self) -> Any:
        """Draw the market: a text, uint8 pixels (height, width, 3), or a window; see `SingleGame.render`."""
        return self._single.render()

    def close(self) -> None:
        """Close the window, if one is open."""
        self._single.close()


def _empty_actions(role: Role) -> NDArray[Any]:
    """Return zeros for the actions of a role's agents, shape (1, agents, …)."""
    box = isinstance(role.action_space, gymnasium.spaces.Box)
    return np.zeros((1, role.count, *(role.action_space.shape or ())), np.float32 if box else np.int64)
