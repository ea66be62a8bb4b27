"""Benchmark suite for multi-agent reinforcement learning in economic markets of the Internet of Agents.

Importing this package registers its environments with PettingZoo and Gymnasium by name; nothing heavy is
imported before one is made.
"""

from __future__ import annotations

from importlib.metadata import version as _version

import gymnasium.envs.registration as _gymnasium
from pettingzoo.env_registry import registration as _pettingzoo

__version__ = _version("ioa_marl")

# In the auctions one agent learns by default, so that Gymnasium knows them as well.
_GYMNASIUM = ("double_dutch", "second_bid")
for _market in (*_GYMNASIUM, "stackelberg", "two_tier", "vcg_slicing"):
    _module = f"ioa_marl.envs.{_market}_v0"
    _pettingzoo.register("parallel", f"ioa_marl/{_market}-v0", f"{_module}:parallel_env")
    _pettingzoo.register("aec", f"ioa_marl/{_market}-v0", f"{_module}:env")
    if _market in _GYMNASIUM:
        _gymnasium.register(
            f"ioa_marl/{_market}-v0", f"{_module}:gym_env", vector_entry_point=f"{_module}:gym_vector_env"
        )
