"""The double Dutch auction for PettingZoo and Gymnasium; see `ioa_marl.envs.double_dutch.DoubleDutchGame`."""

from __future__ import annotations

from typing import Any

from pettingzoo.utils import wrappers
from pettingzoo.utils.env import AECEnv

from ioa_marl.envs.double_dutch import DoubleDutchGame
from ioa_marl.envs.parallel import MarketEnv, MarketParallelEnv, MarketVectorEnv, to_aec


def parallel_env(**kwargs: Any) -> MarketParallelEnv:
    """Return the PettingZoo parallel environment; keywords as in `MarketParallelEnv`."""
    return MarketParallelEnv(DoubleDutchGame, **kwargs)


def raw_env(**kwargs: Any) -> AECEnv[str, Any, Any]:
    """Return the PettingZoo agent-environment-cycle environment without wrappers."""
    return to_aec(parallel_env(**kwargs))


def env(**kwargs: Any) -> AECEnv[str, Any, Any]:
    """Return the PettingZoo agent-environment-cycle environment, which checks the order of calls."""
    checked: AECEnv[str, Any, Any] = wrappers.OrderEnforcingWrapper(raw_env(**kwargs))
    return checked


def gym_env(**kwargs: Any) -> MarketEnv:
    """Return the Gymnasium environment in which the auctioneer learns; keywords as in `MarketEnv`."""
    return MarketEnv(DoubleDutchGame, **kwargs)


def gym_vector_env(**kwargs: Any) -> MarketVectorEnv:
    """Return the batched Gymnasium environment; keywords as in `MarketVectorEnv`."""
    return MarketVectorEnv(DoubleDutchGame, **kwargs)
