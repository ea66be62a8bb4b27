"""The functions that every module ``NAME_v0`` exports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pettingzoo.utils.env import AECEnv

from ioa_marl.envs.core import Game
from ioa_marl.envs.parallel import MarketParallelEnv
from ioa_marl.envs.single_agent import MarketEnv, MarketVectorEnv


@dataclass(frozen=True)
class EntryPoints:
    """The exports of ``envs/<market>_v0.py``, under the names that PettingZoo and Gymnasium use."""

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
        """Return the Gymnasium environment, in which one agent is controlled; keywords as in `MarketEnv`."""
        return MarketEnv(self.game_class, **kwargs)

    def gym_vector_env(self, **kwargs: Any) -> MarketVectorEnv:
        """Return the batched Gymnasium environment; keywords as in `MarketVectorEnv`."""
        return MarketVectorEnv(self.game_class, **kwargs)
