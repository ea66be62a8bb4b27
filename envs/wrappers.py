"""Wrappers for libraries that ask more of a PettingZoo environment than PettingZoo does."""

from __future__ import annotations

from typing import Any

from pettingzoo.utils.env import ParallelEnv
from pettingzoo.utils.wrappers import BaseParallelWrapper

from ioa_marl.foundations.parameters import ParameterError


def one_space(env: ParallelEnv[str, Any, Any]) -> ParallelEnv[str, Any, Any]:
    """Return a market as it is, if all of its agents have the same action and the same observation space.

    A single policy that plays everybody needs that, as those that SuperSuit and Stable-Baselines3 train:
    ``supersuit.pettingzoo_env_to_vec_env_v1(one_space(env))``.

    Parameters
    ----------
    env : ParallelEnv
        A market, wrapped or not.

    Raises
    ------
    ParameterError
        Saying which of its roles go together.
    """
    groups: list[tuple[Any, list[str]]] = []
    market: Any = env.unwrapped
    for role in market.roles:
        spaces = env.observation_space(role.agents[0]), env.action_space(role.agents[0])
        together = next((names for other, names in groups if other == spaces), None)
        if together is None:
            groups.append((spaces, [role.name]))
        else:
            together.append(role.name)
    if len(groups) > 1:
        chosen = [role.name for role in market.roles]
        allowed = " or ".join(f"controlled_roles={names}" for _, names in groups)
        raise ParameterError("controlled_roles", chosen, f"{allowed}, whose agents have the same spaces")
    return env


class FixedInfos(BaseParallelWrapper[str, Any, Any]):
    """Infos that have the same numbers at every step, as TorchRL's ``PettingZooWrapper`` needs them.

    The figures of a finished episode, which are not there before its end, are taken out of the infos.

    Parameters
    ----------
    env : ParallelEnv
        A market.

    Attributes
    ----------
    metrics : dict of float
        Figures of the last finished episode; empty before the first one ends.
    """

    def __init__(self, env: ParallelEnv[str, Any, Any]) -> None:
        super().__init__(env)
        self.metrics: dict[str, float] = {}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Play one step."""
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        for info in infos.values():
            self.metrics = info.pop("metrics", self.metrics)
        return observations, rewards, terminations, truncations, infos
