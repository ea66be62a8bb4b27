"""Markets as agent-environment-cycle environments, by PettingZoo's own conversion of the parallel environments."""

from __future__ import annotations

from typing import Any

from pettingzoo.utils.conversions import parallel_to_aec_wrapper
from pettingzoo.utils.wrappers import OrderEnforcingWrapper

from ioa_marl.envs.checking import RESET_FIRST
from ioa_marl.envs.copying import DeepCopied
from ioa_marl.envs.parallel import MarketParallelEnv


class TurnBased(DeepCopied, parallel_to_aec_wrapper[str, Any, Any]):
    """A market whose agents act one after the other; an action is checked at once, before the market is stepped."""

    env: MarketParallelEnv

    def step(self, action: Any) -> None:
        """Take the action of the agent whose turn it is, and step the market after the action of the last agent.

        Parameters
        ----------
        action : array_like or None
            An element of the agent's action space; None for an agent that has finished.
        """
        if not hasattr(self, "terminations"):
            raise RuntimeError(RESET_FIRST)
        agent = self.agent_selection
        if not (self.terminations[agent] or self.truncations[agent]):
            self.env.check_action(agent, action)
        elif action is not None:
            raise ValueError(f"{agent} has finished: its only action is None")
        super().step(action)


class OrderedTurns(DeepCopied, OrderEnforcingWrapper[str, Any, Any]):
    """`TurnBased` with PettingZoo's checks of the order in which methods are called."""

    def __str__(self) -> str:
        return str(self.env)
