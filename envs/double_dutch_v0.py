"""The double Dutch auction for PettingZoo and Gymnasium; see `ioa_marl.envs.double_dutch.game.DoubleDutchGame`."""

from __future__ import annotations

from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.envs.entry_points import EntryPoints

_points = EntryPoints(DoubleDutchGame)
parallel_env, raw_env, env = _points.parallel_env, _points.raw_env, _points.env
gym_env, gym_vector_env = _points.gym_env, _points.gym_vector_env
