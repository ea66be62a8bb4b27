"""Search hyper-parameters: the same effort for every learner on every market, as a Hydra sweep.

``python benchmarks/tuning/search.py [--only MARKET/LEARNER …] [--jobs N] [--runs FOLDER]`` runs what is not in the
run store yet, rewrites the rows of ``results/search.csv`` and the chosen ``conf/agent/LEARNER/MARKET.yaml``.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from joblib import Parallel, delayed
from spaces import (
    FIRST_EPISODE,
    GRIDS,
    MARKETS,
    ONE_THREAD,
    SEARCH_SEEDS,
    SEARCH_SHARE,
    WORST_SCORE,
    fixed,
    markets_to_train_on,
)

from ioa_marl import registry

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results" / "search.csv"
FIELDS = ("market", "learner", "setting", "seed", "key", "score", "train_seconds", "chosen")


def arguments(market: str, learner: str, runs: Path) -> list[str]:
    """Return the sweep as a user would type it."""
    m = MARKETS[market]
    settings = {**fixed(learner, m), **{key: ",".join(map(str, values)) for key, values in GRIDS[learner].items()}}
    seeds = ",".join(map(str, SEARCH_SEEDS))
    return [
        "train", "-m", "--quiet", f"env={m.env(market)}", f"agent={learner}", f"runs={runs}", f"seeds=[{seeds}]",
        f"budget={round(m.budget * SEARCH_SHARE)}", f"num_envs={m.num_envs}", "evaluation.points=1",
        *(f"agent.{key}={value}" for key, value in settings.items()),
    ]  # fmt: skip


def searched(market: str, learner: str, runs: Path) -> list[dict[str, Any]]:
    """Train the candidates of one learner on one market; returns the rows of the table."""
    command = [sys.executable, "-m", "ioa_marl", *arguments(market, learner, runs)]
    environment = os.environ | ONE_THREAD
    done = subprocess.run(command, check=False, cwd=runs.parent, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{market}/{learner}: {done.stderr.strip() or done.stdout.strip()}")
    rows = [row for setting in candidates(learner) for row in _rows(market, learner, setting, runs)]
    best = choose(rows)
    return [{**row, "chosen": int(row["setting"] == best)} for row in rows]


def candidates(learner: str) -> list[dict[str, float]]:
    """Return every combination of the searched hyper-parameters."""
    space = GRIDS[learner]
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]


def label(setting: dict[str, float]) -> str:
    """Return a candidate as text."""
    return " ".join(f"{key}={value:g}" for key, value in setting.items())


def _rows(market: str, learner: str, setting: dict[str, float], runs: Path) -> list[dict[str, Any]]:
    """Score a candidate on episodes that are used for nothing else."""
    from ioa_marl.evaluation.protocol import scores
    from ioa_marl.training.check import open_checkpoint
    from ioa_marl.training.compose import specification
    from ioa_marl.training.play import evaluate
    from ioa_marl.training.store import SeedFolder

    torch.set_num_threads(1)
    asked = [a for a in arguments(market, learner, runs)[3:] if a.partition(".")[2].partition("=")[0] not in setting]
    spec = specification([*asked, *(f"agent.{key}={value}" for key, value in setting.items())])
    out = []
    for seed in SEARCH_SEEDS:
        folder = spec.seed_folder(seed)
        opened = open_checkpoint(folder)
        played = evaluate(opened.spec, opened.agents(), (seed,), FIRST_EPISODE, last=False)
        found = scores(spec.game_class, spec.env_config, played, spec.controlled_roles, FIRST_EPISODE, (seed,))
        seconds = SeedFolder(folder).result()["train_seconds"]
        for key, value in found.items():
            out.append(
                {
                    "market": market, "learner": learner, "setting": label(setting), "seed": seed, "key": key,
                    "score": round(float(value[0]), 6), "train_seconds": round(seconds, 1),
                }
            )  # fmt: skip
    return out


def choose(rows: Sequence[dict[str, Any]]) -> str:
    """Return the setting with the best mean score over seeds and whatever is scored."""
    by_setting: dict[str, list[float]] = {}
    for row in rows:
        by_setting.setdefault(row["setting"], []).append(max(float(row["score"]), WORST_SCORE))
    return max(by_setting, key=lambda setting: float(np.mean(by_setting[setting])))


def write_preset(market: str, learner: str, setting: str) -> Path:
    """Write what the chosen candidate changes of the defaults as ``conf/agent/LEARNER/MARKET.yaml``."""
    values = fixed(learner, MARKETS[market]) | dict(part.split("=") for part in setting.split())
    chosen = {key: yaml.safe_load(str(value)) for key, value in values.items()}
    usual = vars(registry.load_agent(learner).config_class())
    lines = [
        f"# Found by the search in benchmarks/tuning for {market}.",
        "defaults:",
        f"  - /agent/{learner}@_here_",
        "  - _self_",
        *(f"{key}: {value}" for key, value in chosen.items() if value != usual[key]),
    ]
    path = ROOT / "conf" / "agent" / learner / f"{market}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def record(rows: Sequence[dict[str, Any]]) -> None:
    """Replace the rows of what was searched in the table."""
    RESULTS.parent.mkdir(exist_ok=True)
    kept = []
    if RESULTS.exists():
        with RESULTS.open(newline="") as file:
            fresh = {(row["market"], row["learner"]) for row in rows}
            kept = [row for row in csv.DictReader(file) if (row["market"], row["learner"]) not in fresh]
    table = sorted([*kept, *rows], key=lambda row: (row["market"], row["learner"], row["setting"], str(row["seed"])))
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def main() -> None:
    """Search, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    every = [f"{market}/{learner}" for learner in GRIDS for market in markets_to_train_on()]
    parser.add_argument("--only", nargs="+", choices=every, default=every, metavar="MARKET/LEARNER")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "tuning")
    args = parser.parse_args()
    runs = args.runs.resolve()
    runs.mkdir(parents=True, exist_ok=True)
    cells = [tuple(cell.split("/")) for cell in args.only]
    found = Parallel(n_jobs=args.jobs, return_as="generator_unordered")(
        delayed(searched)(market, learner, runs) for market, learner in cells
    )
    for rows in found:
        record(rows)
        best = next(row for row in rows if row["chosen"])
        path = write_preset(best["market"], best["learner"], best["setting"])
        mean = np.mean([float(row["score"]) for row in rows if row["chosen"]])
        print(f"{path.relative_to(ROOT)}: {best['setting']} (score {mean:.3f})", flush=True)


if __name__ == "__main__":
    main()
