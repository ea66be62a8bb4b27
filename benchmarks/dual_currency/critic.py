"""How much the critic's estimate of SW*₋ᵢ (Eqs. 30–33) tells the bank, beside the bounds to which it is clipped.

``python benchmarks/dual_currency/critic.py [--budget N]`` writes ``results/critic.json``. Mean-field slices are trained
on the common reward, with the bank asking their critic. In the last evaluation every estimate is compared with the
exact optimum without the provider, before and after clipping, and so is the lower bound alone, the largest welfare of
the others that is on a bill. In the control the last round terminates the episode, as in version 0 of the market:
Q − γQ is the reward of a round only if the task goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ioa_marl.agents.learners.mean_field_ac import MeanFieldACAgent
from ioa_marl.cli import main as command
from ioa_marl.envs.vcg_slicing import VCGSlicingGame
from ioa_marl.markets.vcg_slicing import clarke_payments
from ioa_marl.training.runner import Trainer

RESULTS = Path(__file__).resolve().parent / "results" / "critic.json"


def exact_of_instance(instance: int) -> np.ndarray:
    """Return SW*₋ᵢ over Σβ of the preset's market with this instance, shape (providers,)."""
    game = VCGSlicingGame(VCGSlicingGame.make_config("dual_currency"))
    game.reset(np.zeros(1, np.uint64), instances=np.array([instance], np.uint64))
    worth, rate = game.market.worth[0], game.market.rate[0]
    return np.asarray(clarke_payments(worth, rate).welfare_without / worth.sum())


def compared(low: np.ndarray, estimate: np.ndarray, high: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """Return the share of estimates inside the bounds, and mean relative errors."""
    clipped = np.minimum(np.maximum(estimate, low), high)
    return {
        "inside": float(((estimate > low) & (estimate < high)).mean()),
        "below": float((estimate <= low).mean()),
        "error_of_estimate": float(np.abs(estimate / exact - 1.0).mean()),
        "error_of_clipped": float(np.abs(clipped / exact - 1.0).mean()),
        "error_of_lower_bound": float(np.abs(low / exact - 1.0).mean()),
    }


def train(budget: int, endless: bool) -> dict[str, float]:
    """Train with one seed, and compare the estimates of the last evaluation."""
    VCGSlicingGame.endless = endless
    records: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    plain, evaluate = MeanFieldACAgent.externality, Trainer._evaluate
    evaluating = False

    def externality(self: Any, role: str, now: Any, then: Any, **given: Any) -> np.ndarray:
        if evaluating:
            free = {"largest": given["largest"] + np.inf, "largest_of_others": given["largest_of_others"] - np.inf}
            raw = plain(self, role, now, then, **{**given, **free})
            high = np.broadcast_to(given["largest"][..., None], raw.shape)
            records.append((given["largest_of_others"].copy(), raw, high.copy()))
        return plain(self, role, now, then, **given)

    def evaluated(self: Any, curves: Any) -> None:
        nonlocal evaluating
        records.clear()
        evaluating = True
        evaluate(self, curves)
        evaluating = False

    MeanFieldACAgent.externality, Trainer._evaluate = externality, evaluated  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = [
            "ioa-marl", "train", "--quiet", "env=vcg_slicing/dual_currency", "env.externality=critic",
            "env.slice_reward=utility", "agent=mean_field_ac/vcg_slicing", "agent.reward_scale=2", f"budget={budget}",
            "num_envs=16", "seeds=[0]", "evaluation.points=1", "evaluation.episodes=20", f"runs={folder}",
        ]  # fmt: skip
        try:
            command()
        except SystemExit as end:
            if end.code:
                raise
    low, estimate, high = (
        np.concatenate([np.asarray(record[k]).reshape(-1, 10) for record in records]) for k in range(3)
    )
    return compared(low, estimate, high, exact_of_instance(0))


def main() -> None:
    """Train with a cut and with a termination, each in a process of its own, and write what was compared."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=int, default=20_000, help="environment steps of a training")
    parser.add_argument("--end", choices=("cut", "termination"), help="train with this end only, and print the result")
    options = parser.parse_args()
    if options.end is not None:
        print(json.dumps(train(options.budget, options.end == "cut")))
        return
    results: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in ("torch", "numpy")},
        "budget": options.budget,
    }
    for end in ("cut", "termination"):
        again = [sys.executable, __file__, "--budget", str(options.budget), "--end", end]
        done = subprocess.run(again, check=True, capture_output=True, text=True)
        results[end] = json.loads(done.stdout.splitlines()[-1])
        print(end, results[end], flush=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
