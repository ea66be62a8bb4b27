"""What the end of an episode does to learners of the slicing market: a cut, as it is, against a termination.

``python benchmarks/slicing/horizon.py [--budget N] [--seeds N]`` writes ``results/horizon.json``. Each learner is
trained twice on the preset `common_reward`, with the same settings, seeds and budget. In the control the last
round terminates the episode, as it did in version 0 of the market, so that learners take what comes after it for 0,
although they cannot see how many rounds are left. Nothing else differs.
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

RESULTS = Path(__file__).resolve().parent / "results" / "horizon.json"
LEARNERS = ("mean_field_ac", "independent_ac")
CODE = """
import sys
from ioa_marl.cli import main
from ioa_marl.envs.vcg_slicing import VCGSlicingGame
VCGSlicingGame.endless = {endless}
main()
"""


def trained(learner: str, endless: bool, budget: int, seeds: int, runs: Path) -> list[float]:
    """Return the welfare over its optimum that each seed reaches."""
    arguments = [
        "train", "--quiet", "env=vcg_slicing/common_reward", f"agent={learner}/vcg_slicing",
        "agent.reward_scale=2", f"budget={budget}", "num_envs=16", f"seeds={seeds}", "evaluation.points=1",
        f"runs={runs}",
    ]  # fmt: skip
    subprocess.run([sys.executable, "-c", CODE.format(endless=endless), *arguments], check=True)
    results = [json.loads(file.read_text()) for file in sorted(runs.rglob("result.json"))]
    return [result["metrics"]["welfare_ratio"] for result in results]


def main() -> None:
    """Train all pairs, and write their results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=int, default=20_000, help="environment steps of a training")
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for learner in LEARNERS:
        for end, endless in (("cut", True), ("termination", False)):
            with tempfile.TemporaryDirectory() as folder:
                ratios = trained(learner, endless, options.budget, options.seeds, Path(folder))
            rows.append({"learner": learner, "end": end, "welfare_ratio": ratios})
            print(rows[-1], flush=True)
    RESULTS.write_text(
        json.dumps(
            {
                "date": time.strftime("%Y-%m-%d"),
                "versions": {name: version(name) for name in ("torch", "numpy")},
                "budget": options.budget,
                "rows": rows,
            },
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
