import dataclasses
import json
import math
from pathlib import Path

import numpy as np

from ioa_marl.evaluation import score
from ioa_marl.leaderboard.query import read_store
from ioa_marl.leaderboard.seeds import DAMAGED, DONE
from ioa_marl.training.external import save_score


def test_a_row_of_another_stack_is_bound_by_checksums_and_cannot_be_replayed(runs: Path) -> None:
    result = score("double_dutch", lambda seen: np.zeros(len(seen), int), episodes=2)
    folder = save_score(result, runs, "my_rule")
    (row,) = read_store(runs)
    assert (row.status, row.checked, row.notes) == (DONE, "cannot be replayed", ())
    assert row.scores == result.scores
    path = folder / "result.json"
    path.write_text(path.read_text().replace('"my_rule"', '"my_ruse"'))
    (row,) = read_store(runs)
    assert row.status == DAMAGED


def test_a_metric_that_is_not_a_number_is_null_and_the_row_intact(runs: Path) -> None:
    result = score("double_dutch", lambda seen: np.zeros(len(seen), int), episodes=2)
    result = dataclasses.replace(result, metrics={**result.metrics, "regret": math.nan})
    folder = save_score(result, runs, "my_rule")
    held = json.loads((folder / "result.json").read_text(), parse_constant=lambda word: word)
    assert held["metrics"]["regret"] is None
    (row,) = read_store(runs)
    assert row.status == DONE
    assert math.isnan(row.metrics["regret"])
    save_score(result, runs, "my_rule")  # the same again is no other result
