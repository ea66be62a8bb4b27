"""A batch of markets as a Stable-Baselines3 `VecEnv`, for training with algorithms outside this package."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from ioa_marl.envs.core import Arrays, Game, Step
from ioa_marl.envs.single_agent import only_agent
from ioa_marl.foundations.parameters import require
from ioa_marl.registry import load_env


class MarketVecEnv(VecEnv):
    """A batch of markets in which one role, of a single agent, learns; one call steps all markets.

    Markets whose episode ends are reset within the step, as Stable-Baselines3 expects. Their infos contain
    ``"terminal_observation"`` (the true successor), ``"TimeLimit.truncated"``, ``"metrics"`` (the market's metrics) and
    ``"episode"`` (return ``"r"`` and length ``"l"``, as from `Monitor`). The infos of the other markets are empty.

    Parameters
    ----------
    env : str
        Name of the environment, see `ioa_marl.registry.load_env`.
    num_envs : int, default 256
        Number of markets.
    preset : str, optional
        Named settings; by default the market's first preset.
    role : str, optional
        Role that learns; by default the market's own choice.
    seed : int, default 0
        Market number e uses the random stream e of this seed.
    **settings
        Settings that differ from the preset.

    Examples
    --------
    >>> from stable_baselines3 import PPO
    >>> env = MarketVecEnv("double_dutch", num_envs=8)
    >>> model = PPO("MlpPolicy", env, n_steps=8, batch_size=64, device="cpu").learn(64)
    """

    def __init__(
        self,
        env: str,
        num_envs: int = 256,
        preset: str | None = None,
        role: str | None = None,
        seed: int | None = 0,
        **settings: Any,
    ) -> None:
        game_class = load_env(env)
        config = game_class.make_config(preset, **settings)
        self.game = game_class(config, num_envs, None if role is None else [role])
        self._role = only_agent(self.game)
        self._markets = [_Market(self.game, index) for index in range(num_envs)]
        super().__init__(num_envs, self._role.observation_space, self._role.action_space)
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, np.int64)
        self._actions: NDArray[Any] | None = None
        self._pending_seed: int | None = None
        self._started = False
        self.seed(seed)

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Choose the seed of the next `reset`; None draws a fresh one.

        Parameters
        ----------
        seed : int, optional
            0 to 2**63 - 1.

        Returns
        -------
        list of int
            The seed of each market. It is the same for all: their random streams differ.
        """
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1, np.uint32)[0])
        require(0 <= seed < 2**63, "seed", seed, "0 to 2**63 - 1")
        self._pending_seed = int(seed)
        return [self._pending_seed] * self.num_envs

    def reset(self) -> NDArray[np.float32]:
        """Start an episode in every market: the first one of a new seed, or else the next one.

        Returns
        -------
        ndarray of float32
            (num_envs, features).
        """
        if self._pending_seed is not None:
            observations, _ = self.game.reset(np.full(self.num_envs, self._pending_seed, np.uint64))
            self._pending_seed = None
        else:
            observations, _ = self.game.next_episode()
        self._returns[:] = 0.0
        self._lengths[:] = 0
        self._actions = None
        self._started = True
        return self._own(observations).copy()

    def _own(self, arrays: Arrays) -> NDArray[np.float32]:
        return arrays[self._role.name][:, 0]

    def step_async(self, actions: NDArray[Any]) -> None:
        """Set the actions of the next step, (num_envs,), or (num_envs, numbers) for MultiDiscrete and Box spaces."""
        self._actions = np.asarray(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Step every market.

        Returns
        -------
        observations : ndarray of float32, shape (num_envs, features)
            Observations after the step, or after the reset if the episode ended.
        rewards : ndarray of float32, shape (num_envs,)
            Rewards, in the units of the market.
        dones : ndarray of bool, shape (num_envs,)
            Whether the episode ended.
        infos : list of dict
            See the class.
        """
        if self._actions is None or not self._started:
            raise RuntimeError("nothing to wait for: call reset() once, and step_async() before every step_wait()")
        step = self.game.step({self._role.name: self._actions[:, None]})
        self._actions = None
        rewards = self._own(step.rewards).copy()
        self._returns += rewards
        self._lengths += 1
        dones = step.terminated | step.truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        ended = np.flatnonzero(dones)
        if ended.size:
            for index, info in zip(ended.tolist(), self._final_infos(step, ended), strict=True):
                infos[index] = info
            self._returns[ended] = 0.0
            self._lengths[ended] = 0
        return self._own(step.observations).copy(), rewards, dones, infos

    def _final_infos(self, step: Step, ended: NDArray[np.intp]) -> Iterator[dict[str, Any]]:
        """Yield the infos of the markets ``ended``, (n,) indices; whole columns are converted at once, for speed."""
        metrics = [values[ended].tolist() for values in step.metrics.values()]
        columns = zip(
            self._own(step.final_observations)[ended],
            (step.truncated & ~step.terminated)[ended].tolist(),
            zip(*metrics, strict=True),
            self._returns[ended].tolist(),
            self._lengths[ended].tolist(),
            strict=True,
        )
        for observation, truncated, values, total, length in columns:
            yield {
                "terminal_observation": observation,
                "TimeLimit.truncated": truncated,
                "metrics": dict(zip(step.metrics, values, strict=True)),
                "episode": {"r": round(total, 6), "l": length},
            }

    def close(self) -> None:
        """Do nothing, because a batch of markets has neither a window nor a process."""

    def _selected(self, indices: VecEnvIndices) -> list[_Market]:
        rows: Iterable[int] = self._get_indices(indices)
        return [self._markets[row] for row in rows]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of each market, which was set for the market or belongs to the `Game` of all markets."""
        return [getattr(market, attr_name) for market in self._selected(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of some markets; attributes of the game cannot be changed."""
        for market in self._selected(indices):
            if hasattr(self.game, attr_name):
                raise AttributeError(f"{attr_name} is shared by all markets of the batch and cannot be set")
            setattr(market, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call ``state``, ``ledger`` or ``render`` of each market."""
        return [getattr(market, method_name)(*method_args, **method_kwargs) for market in self._selected(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Return whether the infos contain what a wrapper adds, which is true of `Monitor` only."""
        return [issubclass(wrapper_class, Monitor) for _ in self._selected(indices)]


class _Market:
    """One market of a batch, with the methods that can be called for a single market."""

    render_mode: str | None = None

    def __init__(self, game: Game, index: int) -> None:
        self._game, self._index = game, index

    def __getattr__(self, name: str) -> Any:
        value = None if name.startswith("_") else getattr(self._game, name)
        if value is None or callable(value):
            raise AttributeError(f"a market of a batch has no attribute {name!r}")
        return value

    def state(self) -> NDArray[np.float32]:
        """Return the global state, float32 (features,)."""
        row: NDArray[np.float32] = self._game.state()[self._index].copy()
        return row

    def ledger(self) -> NDArray[np.float64]:
        """Return the amount that each account received in the last finished episode, float64 (accounts,)."""
        row: NDArray[np.float64] = self._game.ledger()[self._index].copy()
        return row

    def render(self, mode: str = "ansi") -> Any:
        """Draw the market; see `Game.render`."""
        return self._game.render(mode, self._index)
