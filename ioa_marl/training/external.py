"""Save the score of agents from another training stack as a row that the leaderboard accepts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ioa_marl.evaluation.external import ScoreResult
from ioa_marl.evaluation.protocol import PROTOCOL_VERSION, check_training_seed
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.scalars import plain_value, whole_number
from ioa_marl.foundations.settings import plain
from ioa_marl.training.integrity import seal
from ioa_marl.training.store import SeedFolder, episode_table, finite, now, provenance


def save_score(
    result: ScoreResult,
    runs: str | Path,
    agent: str,
    *,
    seed: int | None = None,
    budget: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Write a score to a run store.

    Parameters
    ----------
    result : ScoreResult
        What `ioa_marl.evaluation.score` returned.
    runs : path
        Folder of the run store.
    agent : str
        Name that the leaderboard shows; letters, digits, ``_``, ``-`` and ``.``.
    seed : int, optional
        Training seed; default: the one that `score` was called with. With one call per seed the leaderboard shows the
        confidence interval.
    budget : int, default 0
        Environment steps that the agent was trained for.
    settings : mapping, optional
        Hyper-parameters (JSON values); different hyper-parameters make different rows.

    Returns
    -------
    Path
        The seed's folder.

    Raises
    ------
    UserError
        If the name or seed is not allowed, or the folder contains another result or cannot be written to.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", agent) or agent.startswith("."):
        raise UserError(f"agent={agent} is not allowed: use letters, digits, _, - and .")
    seed, budget, settings = (
        plain_value(result.seed if seed is None else seed),
        plain_value(budget),
        plain_value(settings),
    )
    check_training_seed(seed)
    if whole_number(budget) is None or budget < 0:
        raise UserError(f"budget={budget} is not allowed: use a whole number of at least 0")
    if result.game_class.uses_instances(result.config) and seed != result.seed:
        raise UserError(f"seed={seed} is not allowed: instance {result.seed} was played; use score(..., seed={seed})")
    episodes = next(iter(result.episodes.values())).shape[1]
    config = {
        "env": {"name": result.env, "preset": result.preset, **plain(dataclasses.asdict(result.config))},
        "agents": {"+".join(result.roles): {"name": agent, **dict(settings or {})}},
        "budget": budget,
        "evaluation": {"episodes": episodes, "final_episodes": episodes, "points": 1},
        "versions": {"env": result.game_class.version, "protocol": PROTOCOL_VERSION},
        "external": True,
    }
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]
    folder = SeedFolder(Path(runs) / f"{result.env}-{result.preset}" / agent / digest / f"seed_{seed}")
    row = finite(
        {
            "env": result.env, "preset": result.preset, "agent": agent, "digest": digest, "seed": seed,
            "budget": budget, "status": "done", "scores": result.scores,
            "references": result.references.as_dict(), "metrics": result.metrics, "env_steps": budget,
            "steps_per_second": None, "train_seconds": None, "seeds_together": 1, "parameters": None,
            "external": True,
        }
    )  # fmt: skip
    folder.lock()
    try:
        recorded = folder.result()
        if recorded and recorded.get("metrics") != row["metrics"]:
            raise UserError(f"{folder.path} holds another result: use another agent name, seed or settings")
        folder.write_config({**config, "seed": seed})
        folder.write_provenance({**provenance(), "ended": now()})
        folder.write_episodes([episode_table(budget, result.episodes, 0)])
        folder.write_result(seal(folder.path, row))
    finally:
        folder.unlock()
    return folder.path
