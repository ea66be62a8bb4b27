"""Benchmark suite for multi-agent reinforcement learning in economic markets of the Internet of Agents.

Importing this package registers its environments with PettingZoo and Gymnasium by name; nothing heavy is
imported before one is made.
"""

from __future__ import annotations

from importlib.metadata import version as _version

import gymnasium.envs.registration as _gymnasium
from pettingzoo.env_registry import registration as _pettingzoo

from ioa_marl.registry import MARKETS as _MARKETS

__version__ = _version("ioa_marl")

for _name, _market in _MARKETS.items():
    _module = f"ioa_marl.envs.{_name}_v0"
    _pettingzoo.register("parallel", f"ioa_marl/{_name}-v0", f"{_module}:parallel_env")
    _pettingzoo.register("aec", f"ioa_marl/{_name}-v0", f"{_module}:env")
    if _market.gymnasium:
        _gymnasium.register(
            f"ioa_marl/{_name}-v0", f"{_module}:gym_env", vector_entry_point=f"{_module}:gym_vector_env"
        )
