"""The two-tier market for PettingZoo and Gymnasium; see `ioa_marl.envs.two_tier.game.TwoTierGame`."""

from __future__ import annotations

from ioa_marl.envs.entry_points import EntryPoints
from ioa_marl.envs.two_tier.game import TwoTierGame

_points = EntryPoints(TwoTierGame)
parallel_env, raw_env, env = _points.parallel_env, _points.raw_env, _points.env
gym_env, gym_vector_env = _points.gym_env, _points.gym_vector_env
