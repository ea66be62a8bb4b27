"""Markets in the turn-based form of PettingZoo, made from their parallel form by PettingZoo's own conversion."""

from __future__ import annotations

from typing import Any

from pettingzoo.utils.conversions import parallel_to_aec_wrapper
from pettingzoo.utils.wrappers import OrderEnforcingWrapper

from ioa_marl.envs.checking import RESET_FIRST
from ioa_marl.envs.copying import Independent
from ioa_marl.envs.parallel import MarketParallelEnv


class TurnBased(Independent, parallel_to_aec_wrapper[str, Any, Any]):
    """A market in which agents hand in their actions one after the other; each is checked when it is handed in."""

    env: MarketParallelEnv

    def step(self, action: Any) -> None:
        """Take the action of the agent whose turn it is; with the last one's, the market is played on."""
        if not hasattr(self, "terminations"):
            raise RuntimeError(RESET_FIRST)
        agent = self.agent_selection
        if not (self.terminations[agent] or self.truncations[agent]):
            self.env.check_action(agent, action)
        elif action is not None:
            raise ValueError(f"{agent} has finished: its only action is None")
        super().step(action)


class OrderedTurns(Independent, OrderEnforcingWrapper[str, Any, Any]):
    """`TurnBased` with PettingZoo's checks of the order of calls."""

    def __str__(self) -> str:
        return str(self.env)
