"""The modified second-bid auction for PettingZoo and Gymnasium; see `ioa_marl.envs.second_bid.game.SecondBidGame`."""

from __future__ import annotations

from ioa_marl.envs.entry_points import EntryPoints
from ioa_marl.envs.second_bid.game import SecondBidGame

_points = EntryPoints(SecondBidGame)
parallel_env, raw_env, env = _points.parallel_env, _points.raw_env, _points.env
gym_env, gym_vector_env = _points.gym_env, _points.gym_vector_env
