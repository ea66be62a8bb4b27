"""One market behind the interfaces that other libraries speak: PettingZoo and Gymnasium."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from pettingzoo.utils.env import AECEnv, ParallelEnv

from ioa_marl.envs.checking import RESET_FIRST, check_options, checked_seed, usable_actions
from ioa_marl.envs.copying import Independent, Unbegun
from ioa_marl.envs.core import Game, Role
from ioa_marl.foundations.errors import shown
from ioa_marl.foundations.parameters import require

RENDER_MODES = ["human", "rgb_array", "ansi"]


def _fresh_seed() -> int:
    return int(np.random.SeedSequence().generate_state(1, np.uint32)[0])


class _Single:
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
            seed = _fresh_seed() if seed is None else seed
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


_PLAIN = frozenset({int, np.int64})
"""Types of actions that are integers for sure; the game looks whether they are in the space."""
_NONE: frozenset[type] = frozenset()


class MarketParallelEnv(Independent, ParallelEnv[str, Any, Any]):
    """A market as a PettingZoo parallel environment; its agents are those of the roles that learn.

    Parameters
    ----------
    game_class : type of Game
        The market.
    preset : str, optional
        Named settings; default is the market's first preset.
    controlled_roles : sequence of str, optional
        Roles whose agents appear; the others are scripted.
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
        self._single = _Single(game_class, preset, controlled_roles, render_mode, settings)
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


class MarketEnv(Independent, gymnasium.Env[NDArray[np.float32], Any]):
    """A market in which one role of one agent learns, as a Gymnasium environment; see `MarketParallelEnv`."""

    metadata: dict[str, Any] = {"render_modes": RENDER_MODES, "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        game_class: type[Game],
        preset: str | None = None,
        role: str | None = None,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        controlled_roles = None if role is None else [role]
        self._single = _Single(game_class, preset, controlled_roles, render_mode, settings)
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
        """Start an episode: the first one of ``seed``, or without a seed the next one."""
        check_options(options)
        seed = None if seed is None else checked_seed(seed)
        super().reset(seed=seed)
        observations = self._single.reset(seed)
        self._ended = False
        return observations[self._role.name][0, 0].copy(), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Play one step."""
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
        """Draw the market: text, an RGB array, or a window."""
        return self._single.render()

    def close(self) -> None:
        """Close the window, if one is open."""
        self._single.close()


def only_agent(game: Game) -> Role:
    """Return the single learning role of a single agent; refuse a game with more."""
    roles = [game.roles[name] for name in game.controlled_roles]
    counts = ", ".join(f"{role.name} ({role.count})" for role in roles)
    require(len(roles) == 1 and roles[0].count == 1, "roles", counts, "one role with one agent")
    return roles[0]


class MarketVectorEnv(Independent, gymnasium.vector.VectorEnv[NDArray[np.float32], Any, NDArray[Any]]):
    """A batch of markets in which one role of one agent learns, as a Gymnasium vector environment.

    Finished markets reset within the step (``SAME_STEP``): the last observation is in ``infos["final_obs"]``,
    the metrics of the finished episodes in ``infos["final_info"]``, both with a mask.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        game_class: type[Game],
        num_envs: int = 1,
        preset: str | None = None,
        role: str | None = None,
        **settings: Any,
    ) -> None:
        config = game_class.make_config(preset, **settings)
        self.game = game_class(config, num_envs, None if role is None else [role])
        self._role = only_agent(self.game)
        self.num_envs = num_envs = self.game.num_envs
        self.single_observation_space = self._role.observation_space
        self.single_action_space = self._role.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._begun = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "game": self.game if self._begun else Unbegun(self.game)}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode everywhere: the first ones of ``seed``, or without a seed the next ones."""
        check_options(options)
        seed = None if seed is None else checked_seed(seed)
        super().reset(seed=seed)
        if seed is not None or not self._begun:
            value = _fresh_seed() if seed is None else seed
            observations, _ = self.game.reset(np.full(self.num_envs, value, np.uint64))
            self._begun = True
        else:
            observations, _ = self.game.next_episode()
        return observations[self._role.name][:, 0].copy(), {}

    def step(
        self, actions: Any
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Step every market."""
        if not self._begun:
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


@dataclass(frozen=True)
class EntryPoints:
    """What ``envs/<market>_v0.py`` exports, by the names that PettingZoo and Gymnasium use."""

    game_class: type[Game]
    """The market."""

    def parallel_env(self, **kwargs: Any) -> MarketParallelEnv:
        """Return the PettingZoo parallel environment; keywords as in `MarketParallelEnv`."""
        return MarketParallelEnv(self.game_class, **kwargs)

    def raw_env(self, **kwargs: Any) -> AECEnv[str, Any, Any]:
        """Return the PettingZoo agent-environment-cycle environment without wrappers."""
        from ioa_marl.envs.turns import TurnBased

        return TurnBased(self.parallel_env(**kwargs))

    def env(self, **kwargs: Any) -> AECEnv[str, Any, Any]:
        """Return the PettingZoo agent-environment-cycle environment, which checks the order of calls."""
        from ioa_marl.envs.turns import OrderedTurns

        return OrderedTurns(self.raw_env(**kwargs))

    def gym_env(self, **kwargs: Any) -> MarketEnv:
        """Return the Gymnasium environment in which one agent learns; keywords as in `MarketEnv`."""
        return MarketEnv(self.game_class, **kwargs)

    def gym_vector_env(self, **kwargs: Any) -> MarketVectorEnv:
        """Return the batched Gymnasium environment; keywords as in `MarketVectorEnv`."""
        return MarketVectorEnv(self.game_class, **kwargs)
