"""The best policy found for the double Dutch auction with a large budget: a table of steps with finer cells.

    python benchmarks/best_known/double_dutch.py [--preset paper] [--markets 10000] [--results FOLDER]

The table sees what `step_table` sees in finer bins, and besides the way that the own clock has come, all of it from the
paper's observation. It is refined in stages: each starts from the table
of the last one, with every cell split, and is searched by coordinate ascent on markets that nothing else uses. The
stage that is best on yet other markets is scored on 1 000 evaluation episodes, which the search never sees. The score
is a mark of what is reachable, and no bound.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.evaluation.protocol import references
from ioa_marl.foundations.seeds import CALIBRATION_SEED, EVALUATION_SEED
from ioa_marl.markets.double_dutch.step_tables import (
    StepTable,
    TableShape,
    returns_of_table,
    search_step_table,
)

SEED = CALIBRATION_SEED + 2
"""Seed of the markets of the search: not those of training, evaluation, or the scripted policies."""
VALIDATION_SEED = CALIBRATION_SEED + 3
"""Seed of the markets on which the stages are compared; the best one there is evaluated."""
EPISODES = 1000
"""Evaluation episodes."""
MARKETS = 10_000
"""Markets of the whole search, which takes a few minutes on one core."""
FINE_WINNERS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
FINE_GAPS = (0.03, 0.05, 0.075, 0.1, 0.135, 0.175, 0.225, 0.28, 0.38, 0.5, 0.65)
STAGES = (
    TableShape(),
    TableShape(winners=FINE_WINNERS, gaps=FINE_GAPS),
    TableShape(winners=FINE_WINNERS, gaps=FINE_GAPS, ways=(0.1, 0.2, 0.3, 0.4, 0.5)),
)
"""Tables of 60, 192 and 1 152 cells. The bounds of each stage are among those of the next one. With four bins of the
lead over the other side's winners as well, 4 608 cells, the score on 4 000 markets was the same (0.827)."""


def split(table: StepTable, shape: TableShape) -> NDArray[np.int64]:
    """Return a table of a finer shape with the same steps, int64 (cells,)."""
    old, new = table.shape, shape
    cells = table.actions.reshape(old.bins)
    for axis, name in enumerate(("winners", "gaps", "leads", "ways"), start=1):
        coarse, fine = getattr(old, name), getattr(new, name)
        if not set(coarse) <= set(fine):
            raise ValueError(f"{name}: the bounds {coarse} are not among {fine}")
        # Bin i of the finer table begins at its i-th bound; the first one reaches down without end.
        origin = [0, *(sum(bound <= start for bound in coarse) for start in fine)]
        cells = np.take(cells, origin, axis=axis)
    return np.ascontiguousarray(cells.reshape(-1))


def search(preset: str, markets: int) -> dict[str, Any]:
    """Search in stages, and return the result with everything that is needed to play and to repeat it."""
    config = DoubleDutchGame.make_config(preset)
    ends = references(DoubleDutchGame, config, EPISODES)
    role = "auctioneer"

    def score(returns: NDArray[np.float64]) -> float:
        return float(ends.score(role, returns.mean()))

    stages, best, best_value = [], None, -np.inf
    table: StepTable | None = None
    for shape in STAGES:
        begin = time.perf_counter()
        start = None if table is None else split(table, shape)
        table = search_step_table(config, shape, markets, SEED, start)
        seconds = time.perf_counter() - begin
        validated = float(returns_of_table(config, table, markets, VALIDATION_SEED).mean())
        evaluated = returns_of_table(config, table, EPISODES, EVALUATION_SEED)
        stages.append({
            "cells": len(table.actions), "sweeps": table.sweeps, "converged": table.converged, "seconds": seconds,
            "return_on_search_markets": table.value, "return_on_validation_markets": validated,
            "score": score(evaluated),
        })  # fmt: skip
        print(stages[-1], flush=True)
        if validated > best_value:
            best, best_value = table, validated
    assert best is not None
    returns = returns_of_table(config, best, EPISODES, EVALUATION_SEED)
    gap = ends.optimum[role] - ends.constant[role]
    return {
        "market": "double_dutch", "preset": preset, "version": DoubleDutchGame.version, "episodes": EPISODES,
        "score": score(returns),
        "score_of_best_constant": float(ends.score(role, np.array(ends.constant[role]))),
        "way_from_constant_to_clairvoyant": float((returns.mean() - ends.constant[role]) / gap),
        "return": float(returns.mean()), "references": ends.as_dict(), "stages": stages,
        "command": f"python benchmarks/best_known/double_dutch.py --preset {preset} --markets {markets}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"), "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in ("ioa_marl", "numpy", "numba")},
        "shape": {name: list(getattr(best.shape, name)) for name in ("winners", "gaps", "leads", "ways")},
        "actions": best.actions.tolist(),
    }  # fmt: skip


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options; what is not the whole search is written into a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="paper", help="preset of the market")
    parser.add_argument("--markets", type=int, default=MARKETS, help="markets of the search")
    parser.add_argument("--results", type=Path, help="folder of the result")
    chosen = parser.parse_args(arguments)
    committed = Path(__file__).parent / "results"
    chosen.results = chosen.results or (committed if chosen.markets >= MARKETS else committed / "quick")
    return chosen


def main() -> None:
    """Search, and write the result as JSON."""
    chosen = options()
    result = search(chosen.preset, chosen.markets)
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in result.items()]
    chosen.results.mkdir(parents=True, exist_ok=True)
    file = chosen.results / f"double_dutch-{chosen.preset}.json"
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"score {result['score']:.3f}, {file}")


if __name__ == "__main__":
    main()
