"""A run store that is written without training: the same files as training runs write."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from ioa_marl.training.integrity import WEIGHTS, seal

RANDOM, OPTIMUM, CONSTANT = 50.0, 90.0, 70.0


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Folder of the store."""
    return tmp_path / "runs"


@pytest.fixture
def add_run(runs: Path) -> Callable[..., Path]:
    """Return a function that adds runs to the store; see `run_writer`."""
    return run_writer(runs)


def run_writer(runs: Path) -> Callable[..., Path]:
    """Return a function that adds a run whose seeds have the scores given, and returns its folder.

    On this scale random play returns 50, the optimum 90 and the best constant action 70.
    """

    def add(
        agent: str,
        score_of_seed: Sequence[float],
        /,
        *,
        digest: str = "d0",
        env: str = "double_dutch",
        env_settings: Mapping[str, Any] = {},
        settings: Mapping[str, Any] = {},
        steps: Sequence[int] = (0,),
        versions: Mapping[str, Any] | None = None,
        sealed: bool = False,
        checkpoint: bool = False,
        **changes: Any,
    ) -> Path:
        folder = runs / f"{env}-paper" / agent / digest
        for seed, score in enumerate(score_of_seed):
            at = folder / f"seed_{seed}"
            at.mkdir(parents=True)
            config = {
                "env": {"name": env, "preset": "paper", "psi": 0.5, **env_settings},
                "agents": {"auctioneer": {"name": agent, **settings}},
                "budget": 1000,
                "evaluation": {"episodes": 2},
                **({"versions": dict(versions)} if versions is not None else {}),
                "seed": seed,
            }
            (at / "config.yaml").write_text(yaml.safe_dump(config))
            (at / "provenance.json").write_text(json.dumps({"commit": "0123456789abcdef"}))
            result = result_of(env, agent, digest, seed, score, steps[-1]) | changes
            # Each evaluation is of two episodes, one unit below and above its mean; earlier ones score less.
            means = [_objective(score) - 4.0 * (len(steps) - 1 - i) for i in range(len(steps))]
            table = {
                "step": [step for step in steps for _ in range(2)],
                "episode": [0, 1] * len(steps),
                "return": [mean + sign for mean in means for sign in (-1.0, 1.0)],
                "efficiency": [0.9] * 2 * len(steps),
            }
            pq.write_table(pa.table(table), at / "evaluation.parquet")
            if checkpoint:
                (at / WEIGHTS[0]).parent.mkdir()
                (at / WEIGHTS[0]).write_bytes(b"weights")
            (at / "result.json").write_text(json.dumps(seal(at, result) if sealed else result))
        return folder

    return add


def _objective(score: float) -> float:
    return RANDOM + (OPTIMUM - RANDOM) * score


def result_of(env: str, agent: str, digest: str, seed: int, score: float, env_steps: int) -> dict[str, Any]:
    return {
        "env": env, "preset": "paper", "agent": agent, "digest": digest, "seed": seed, "budget": 1000,
        "status": "done",
        "scores": {"auctioneer": score},
        "references": {
            "random": {"auctioneer": RANDOM}, "optimum": {"auctioneer": OPTIMUM},
            "constant": {"auctioneer": CONSTANT},
        },
        "metrics": {"return": _objective(score), "efficiency": 0.9, "messages": 120.0 + seed},
        "env_steps": env_steps, "steps_per_second": 5000.0, "train_seconds": 360.0, "seeds_together": 3,
        "parameters": 15774,
    }  # fmt: skip
