"""The best policy known is what its file says: its table has the recorded return on the evaluation episodes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.foundations.seeds import CALIBRATION_SEED, EVALUATION_SEED
from ioa_marl.markets.double_dutch.step_tables import StepTable, TableShape, returns_of_table

FOLDER = Path(__file__).parents[2] / "benchmarks" / "best_known"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the benchmarks are not beside the tests")


def program():
    spec = importlib.util.spec_from_file_location("best_known_double_dutch", FOLDER / "double_dutch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_recorded_table_has_the_recorded_score():
    found = json.loads((FOLDER / "results" / "double_dutch-paper.json").read_text(encoding="utf-8"))
    config = DoubleDutchGame.make_config(found["preset"])
    shape = TableShape(**{name: tuple(bounds) for name, bounds in found["shape"].items()})
    table = StepTable(shape, np.array(found["actions"]), 0.0, 0, False)
    mean = returns_of_table(config, table, found["episodes"], EVALUATION_SEED).mean()
    assert mean == pytest.approx(found["return"], rel=1e-9)
    zero, optimum = (found["references"][key]["auctioneer"] for key in ("zero", "optimum"))
    assert found["score"] == pytest.approx((mean - zero) / (optimum - zero), abs=1e-9)
    assert found["score"] > found["score_of_best_constant"] + 0.15


def test_a_table_that_is_split_plays_as_before():
    best_known = program()
    config, rng = DoubleDutchGame.make_config("paper"), np.random.default_rng(0)
    for coarse, fine in zip(best_known.STAGES, best_known.STAGES[1:], strict=False):
        before = StepTable(coarse, rng.integers(0, 10, int(np.prod(coarse.bins))), 0.0, 0, False)
        after = StepTable(fine, best_known.split(before, fine), 0.0, 0, False)
        returns = [returns_of_table(config, table, 200, CALIBRATION_SEED) for table in (before, after)]
        assert np.array_equal(*returns)
