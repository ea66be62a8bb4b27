"""Wrappers for libraries that ask more of a PettingZoo environment than PettingZoo does."""

from __future__ import annotations

from typing import Any

from pettingzoo.utils.env import ParallelEnv
from pettingzoo.utils.wrappers import BaseParallelWrapper


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
