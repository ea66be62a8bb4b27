"""Size transfer in the slicing market: policies trained with few providers, played with 10 to 1 000.

    python benchmarks/slicing/transfer.py [--runs FOLDER] [--quick]

writes ``results/transfer.json`` and ``results/transfer.md``. One policy, which all slices share and which does not know
which of them it plays, is trained with 10 providers, and plays the boards `transfer_10`, `transfer_50`, `transfer_200`
and `transfer_1000` beside the market's own policies. A second learner is trained with 2 to 30 providers, in as many
decisions.

A control does not learn: every share grows by the largest step if its marginal utility exceeds ``factor`` times the
mean of all, else it shrinks by the largest step. With the factor 1 this is the market's policy `greedy`. Another one
finds the factor with which such a rule says most often what a learner does.

Runs are kept in ``--runs``, so that a second call goes on where the first one ended.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ioa_marl.agents.base import AgentContext
from ioa_marl.agents.baselines.loaded import LoadedAgent, LoadedConfig
from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame
from ioa_marl.evaluation.external import score
from ioa_marl.leaderboard.query import read_store
from ioa_marl.leaderboard.rows import arrange

SIZES = (10, 50, 200, 1000)
MARKET = "env=vcg_slicing/transfer_"
LEARNER = ("agent=ppo/vcg_slicing", "agent.agent_index=false", "evaluation.points=3", "evaluation.episodes=100")
TRAINED: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "10 providers": ("transfer_10", 3, (f"{MARKET}10", "budget=150000")),
    "2 to 30 providers": (
        "custom", 3, (f"{MARKET}10", "env.providers=30", "env.fewest_providers=2", "budget=93750",
                      "evaluation.final_episodes=1000"),
    ),
}  # fmt: skip
"""For each learner the preset in the name of its folder, the number of seeds, and the settings of its training: 1.5
million decisions of slices each."""
QUICK = ("budget=64", "num_envs=4", "agent.rollout_size=512", "evaluation.points=1", "evaluation.final_episodes=2")
POLICIES = ("oracle", "greedy", "equal_split", "hold", "random")
FACTORS = tuple(round(0.5 + 0.125 * k, 3) for k in range(17))
CONTROL_EPISODES = 20


def command(*arguments: str) -> None:
    """Run ``ioa-marl train`` in a process of its own."""
    subprocess.run([sys.executable, "-m", "ioa_marl", "train", "--quiet", *arguments], check=True)


def run_folder(runs: Path, preset: str) -> Path:
    """Return the folder of the only run of the learner with a preset."""
    (folder,) = (runs / "trained" / f"vcg_slicing-{preset}" / "ppo").iterdir()
    return folder


def train_and_play(runs: Path, quick: bool) -> None:
    """Train all learners, and play them and the market's own policies on all boards."""
    boards = ",".join(f"vcg_slicing/transfer_{n}" for n in (SIZES[:2] if quick else SIZES))
    few = ("evaluation.final_episodes=2",) if quick else ()
    for name, (preset, seeds, settings) in TRAINED.items():
        command(*settings, *LEARNER, *(QUICK if quick else ()), f"seeds={seeds}", f"runs={runs / 'trained'}")
        command(
            "-m", f"env={boards}", "agent=loaded", f"agent.path={run_folder(runs, preset)}",
            f"agent.shown_as=ppo of {name}", f"seeds={seeds}", f"runs={runs / 'played'}", *few,
        )  # fmt: skip
    command("-m", f"env={boards}", f"agent={','.join(POLICIES)}", "seeds=1", f"runs={runs / 'played'}", *few)


def scores_of(runs: Path) -> dict[str, dict[str, list[float]]]:
    """Return the scores of all rows: by label, then by the number of providers, one for each seed."""
    found: dict[str, dict[str, list[float]]] = {}
    for board in arrange(read_store(runs / "played")).boards:
        size = board.preset.removeprefix("transfer_")
        for row in board.rows:
            found.setdefault(row.run.label, {})[size] = [round(value, 4) for value in row.scores]
    return {name: dict(sorted(of_size.items(), key=lambda item: int(item[0]))) for name, of_size in found.items()}


def over_the_mean(observations: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the own marginal utilities over the mean of all, (episodes, agents, 3), of extended observations."""
    scaled = observations[..., 6:12].astype(np.float64)
    marginals = scaled / (1.0 - scaled)
    own, others, n = marginals[..., :3], marginals[..., 3:], observations.shape[1]
    mean: NDArray[np.float64] = (own + (n - 1) * others) / n
    return own / np.maximum(mean, 1e-300)


def rule(factor: float, changes: int) -> Callable[[NDArray[np.float32]], NDArray[np.int64]]:
    """Return the policy that lets a share grow if its marginal utility exceeds ``factor`` times the mean of all."""
    return lambda observations: np.where(over_the_mean(observations) > factor, changes - 1, 0)


def factors_of_rules(sizes: tuple[int, ...]) -> dict[str, dict[str, float]]:
    """Return the score of the rule with each factor: by the number of providers, then by factor."""
    changes = len(VCGSlicingGame.make_config("paper").changes)
    return {
        str(n): {
            str(factor): round(
                score(f"vcg_slicing/transfer_{n}", rule(factor, changes), episodes=CONTROL_EPISODES).score, 3
            )
            for factor in FACTORS
        }
        for n in sizes
    }


def factor_of_learner(folder: Path, providers: int) -> dict[str, float]:
    """Return the factor whose rule most often says what a saved policy does, and how often, where it changes a share.

    Parameters
    ----------
    folder : Path
        Folder of a seed.
    providers : int
        Number of providers of the board on which it plays.
    """
    config = VCGSlicingGame.make_config(f"transfer_{providers}")
    game = VCGSlicingGame(config, 1)
    role = game.roles["slice"]
    agent = LoadedAgent(AgentContext((role,), (role,), (0,), 1, 1, torch.device("cpu")), LoadedConfig(str(folder)))
    agent.attach(game)
    agree, count = np.zeros(len(FACTORS)), 0

    def act(observations: NDArray[np.float32]) -> NDArray[np.int64]:
        nonlocal agree, count
        actions: NDArray[np.int64] = agent.act({"slice": observations[None]}, deterministic=True)["slice"][0]
        changed = actions != config.hold
        grows, ratio = (actions > config.hold)[changed], over_the_mean(observations)[changed]
        agree += [(grows == (ratio > factor)).sum() for factor in FACTORS]
        count += len(grows)
        return actions

    score(f"vcg_slicing/transfer_{providers}", act, episodes=CONTROL_EPISODES)
    best = int(agree.argmax())
    return {"factor": FACTORS[best], "agreement": round(float(agree[best] / max(count, 1)), 3)}


def table(headers: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table, the first column of which is text."""
    lines = [headers, ["---", *["---:"] * (len(headers) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def of_seeds(values: list[float]) -> str:
    """Return the mean over seeds and, of several, the smallest and largest score."""
    mean = f"{np.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} [{min(values):.3f}–{max(values):.3f}]"


def report(result: Mapping[str, Any]) -> str:
    """Return the page of results."""
    sizes = list(result["rules"])
    headers = ["policy", *(f"N = {n}" for n in sizes)]
    rows = sorted(result["scores"].items(), key=lambda item: -np.mean(item[1][sizes[-1]]))
    learners = [
        [name, *(f"{of_size[n]['factor']:g} ({of_size[n]['agreement']:.2f})" for n in sizes)]
        for name, of_size in result["factors"].items()
    ]
    rules = [[f"{f:g}", *(f"{result['rules'][n][str(f)]:.3f}" for n in sizes)] for f in FACTORS]
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return f"""# Size transfer in the slicing market

Written by `python benchmarks/slicing/transfer.py` on {result["date"]}, with version {result["market_version"]}
of the market, {versions}.

Scores of the boards `transfer_10` to `transfer_1000`: 0 is random play, 1 the optimum in every round. Of several
training seeds the mean stands before the smallest and the largest score. Every learner is PPO with one policy for all
slices and no index, after 1.5 million decisions of slices.

{table(headers, [[name, *(of_seeds(of_size[n]) for n in sizes)] for name, of_size in rows])}

## Without learning

Score of the rule: a share grows by 30% if its marginal utility exceeds *factor* times the mean of all, else it shrinks
by 30%; {CONTROL_EPISODES} episodes. The factor 1 is `greedy`.

{table(["factor", *headers[1:]], rules)}

## What the learners do

Factor whose rule says most often whether a learner lets a share grow or shrink, and in brackets how often; first seed,
{CONTROL_EPISODES} episodes.

{table(["learner", *headers[1:]], learners)}
"""


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options; what is less than everything is written into a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="folder of the runs, which are kept; default: a temporary one")
    parser.add_argument("--quick", action="store_true", help="a moment of training, two sizes and two episodes")
    chosen = parser.parse_args(arguments)
    committed = Path(__file__).resolve().parent / "results"
    chosen.results = committed / "quick" if chosen.quick else committed
    return chosen


def main() -> None:
    """Train, play, and write the results."""
    chosen = options()
    torch.set_num_threads(1)
    sizes = SIZES[:2] if chosen.quick else SIZES
    with tempfile.TemporaryDirectory() as temporary:
        runs = (chosen.runs or Path(temporary)).resolve()
        train_and_play(runs, chosen.quick)
        result = {
            "date": time.strftime("%Y-%m-%d"), "market_version": VCGSlicingGame.version,
            "versions": {name: version(name) for name in ("torch", "numpy", "numba", "stable-baselines3")},
            "training": {name: [*settings, *LEARNER] for name, (_, _, settings) in TRAINED.items()},
            "scores": scores_of(runs),
            "rules": factors_of_rules(sizes),
            "factors": {
                name: {str(n): factor_of_learner(run_folder(runs, preset) / "seed_0", n) for n in sizes}
                for name, (preset, _, _) in TRAINED.items()
            },
        }  # fmt: skip
    chosen.results.mkdir(parents=True, exist_ok=True)
    (chosen.results / "transfer.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (chosen.results / "transfer.md").write_text(report(result), encoding="utf-8")


if __name__ == "__main__":
    main()
