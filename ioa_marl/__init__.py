"""Benchmark suite for multi-agent reinforcement learning in economic markets of the Internet of Agents.

Importing this package registers its environments with PettingZoo and Gymnasium by name; nothing heavy is
imported before one is made.
"""

from __future__ import annotations

from importlib.metadata import version as _version

import gymnasium.envs.registration as _gymnasium
from pettingzoo.env_registry import registration as _pettingzoo

__version__ = _version("ioa_marl")

_SINGLE_AGENT = {"double_dutch": True, "second_bid": True, "stackelberg": False, "vcg_slicing": False}
for _market, _single_agent in _SINGLE_AGENT.items():
    _module = f"ioa_marl.envs.{_market}_v0"
    _pettingzoo.register("parallel", f"ioa_marl/{_market}-v0", f"{_module}:parallel_env")
    _pettingzoo.register("aec", f"ioa_marl/{_market}-v0", f"{_module}:env")
    if _single_agent:
        _gymnasium.register(
            f"ioa_marl/{_market}-v0", f"{_module}:gym_env", vector_entry_point=f"{_module}:gym_vector_env"
        )
