"""Wrappers for libraries that demand more from an environment than PettingZoo's interface does."""

from __future__ import annotations

from typing import Any

from pettingzoo.utils.env import ParallelEnv
from pettingzoo.utils.wrappers import BaseParallelWrapper

from ioa_marl.foundations.parameters import ParameterError


def one_space(env: ParallelEnv[str, Any, Any]) -> ParallelEnv[str, Any, Any]:
    """Return the environment unchanged if all of its agents have the same spaces, and refuse it otherwise.

    A single policy for all agents needs equal spaces, for example one that Stable-Baselines3 trains on SuperSuit's
    ``supersuit.pettingzoo_env_to_vec_env_v1(one_space(env))``.

    Parameters
    ----------
    env : ParallelEnv
        A market, wrapped or not.

    Raises
    ------
    ParameterError
        If the spaces differ; the message names the roles with equal spaces.
    """
    groups: list[tuple[Any, list[str]]] = []
    market: Any = env.unwrapped
    for role in market.roles:
        spaces = env.observation_space(role.agents[0]), env.action_space(role.agents[0])
        group = next((names for other, names in groups if other == spaces), None)
        if group is None:
            groups.append((spaces, [role.name]))
        else:
            group.append(role.name)
    if len(groups) > 1:
        controlled = [role.name for role in market.roles]
        allowed = " or ".join(f"controlled_roles={names}" for _, names in groups)
        raise ParameterError("controlled_roles", controlled, f"{allowed}, whose agents have the same spaces")
    return env


class FixedInfos(BaseParallelWrapper[str, Any, Any]):
    """A market whose infos have the same keys in every step, as TorchRL's ``PettingZooWrapper`` requires.

    The metrics of a finished episode, which exist only at its end, are moved from the infos to `metrics`.

    Parameters
    ----------
    env : ParallelEnv
        A market.

    Attributes
    ----------
    metrics : dict of float
        Metrics of the last finished episode, in the units that the market's docstring states; empty before the first
        episode ends.
    """

    def __init__(self, env: ParallelEnv[str, Any, Any]) -> None:
        super().__init__(env)
        self.metrics: dict[str, float] = {}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Play one step; arguments and results are those of `MarketParallelEnv.step`, but for the metrics."""
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        for info in infos.values():
            self.metrics = info.pop("metrics", self.metrics)
        return observations, rewards, terminations, truncations, infos
