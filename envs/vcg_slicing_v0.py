"""The slicing market for PettingZoo; see `ioa_marl.envs.vcg_slicing.game.VCGSlicingGame`.

Gymnasium's environments have one agent, and one slice alone has nothing to divide.
"""

from __future__ import annotations

from ioa_marl.envs.entry_points import EntryPoints
from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame

_points = EntryPoints(VCGSlicingGame)
parallel_env, raw_env, env = _points.parallel_env, _points.raw_env, _points.env
