"""Check a row of the leaderboard: play its checkpoint again on the same episodes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ioa_marl import checkpoint
from ioa_marl.agents.base import Agent
from ioa_marl.errors import UserError
from ioa_marl.evaluation.protocol import check_episodes, scores
from ioa_marl.training.config import RunSpec, from_resolved
from ioa_marl.training.runner import bidder_gains, evaluate, load_agents
from ioa_marl.training.store import SeedFolder


@dataclass(frozen=True)
class CheckpointScore:
    """What a checkpoint achieves."""

    path: Path
    """The checkpoint file."""
    steps: int
    """Environment steps it was trained for."""
    scores: dict[str, float]
    """Score for each thing that the market scores."""
    metrics: dict[str, float]
    """Mean of every figure over the episodes."""
    bidder_gain: dict[str, dict[str, Any]]
    """Per role of bidders what its agents would gain by constant actions, if that was asked for; see `ConstantGain`."""
    confirmed: bool | None
    """Whether ``result.json`` has the same numbers to the bit; None where it is not about this evaluation."""


@dataclass(frozen=True)
class OpenedCheckpoint:
    """A checkpoint of a run, read and found to be playable."""

    file: Path
    """The checkpoint file."""
    spec: RunSpec
    """The run, with the checkpoint's seed."""
    saved: dict[str, Any]
    """What the file holds."""

    @property
    def first_episode(self) -> int:
        """First evaluation episode: the best checkpoint was chosen on the usual ones, so it is scored on fresh ones."""
        return self.spec.evaluation.episodes if self.file.name == "best.safetensors" else 0

    def agents(self) -> list[Agent]:
        """Return the agents, ready to act."""
        return load_agents(self.spec, self.saved)


def open_checkpoint(path: Path) -> OpenedCheckpoint:
    """Read a seed's folder, or a checkpoint file in it.

    Raises
    ------
    UserError
        If there is no checkpoint of a run, or it was made with other versions than those installed.
    """
    file = SeedFolder(path).latest if path.is_dir() else path
    saved = checkpoint.load(file)
    if "spec" not in saved:
        raise UserError(f"{file} is not a checkpoint of a run")
    spec = from_resolved(saved["spec"], Path())
    if saved["spec"]["versions"] != spec.resolved()["versions"]:
        raise UserError(f"{file} was made with other versions than those installed: {saved['spec']['versions']}")
    return OpenedCheckpoint(file, spec, saved)


def evaluate_checkpoint(path: Path, episodes: int | None = None, bidder_gain: bool = False) -> CheckpointScore:
    """Play a checkpoint on the evaluation episodes.

    Parameters
    ----------
    path : Path
        A seed's folder, or a checkpoint file in it. ``best.safetensors`` is scored on fresh episodes.
    episodes : int, optional
        Number of episodes; default: as many as the run used.
    bidder_gain : bool, default False
        Whether to find what bidders would gain by constant actions, also where the run did not.
    """
    torch.set_num_threads(1)
    opened = open_checkpoint(path)
    file, spec, saved, first = opened.file, opened.spec, opened.saved, opened.first_episode
    if episodes is not None:
        spec = dataclasses.replace(spec, evaluation=dataclasses.replace(spec.evaluation, episodes=episodes))
        check_episodes(spec.evaluation)
    agents = opened.agents()
    played = evaluate(spec, agents, spec.seeds, first)
    found = scores(spec.game_class, spec.env_config, played, spec.learning, first, spec.seeds)
    metrics = {name: float(values.mean()) for name, values in played.items()}
    gains = bidder_gains(spec, agents, spec.seeds, first) if bidder_gain or spec.evaluation.bidder_gain else {}
    audit = {role: gain.of_seed(0) for role, gain in gains.items()}
    result = SeedFolder(file.parent.parent).result()
    comparable = first == 0 and result.get("env_steps") == saved["steps"] and episodes is None
    confirmed = None
    if comparable:
        confirmed = result["metrics"] == metrics and result.get("bidder_gains", audit) == audit
    return CheckpointScore(
        file, int(saved["steps"]), {role: float(v[0]) for role, v in found.items()}, metrics, audit, confirmed
    )


def report(found: CheckpointScore) -> str:
    """Return the result as text."""
    lines = [f"{found.path}  after {found.steps} steps"]
    lines += [f"  score {role:<16} {value:.6f}" for role, value in found.scores.items()]
    lines += [f"  {name:<22} {value:.6f}" for name, value in found.metrics.items()]
    for role, gain in found.bidder_gain.items():
        lines.append(f"  {role}: {gain['meaning']}")
        rows = zip(gain["agents"], gain["actions"], gain["gains"], gain["standard_errors"], strict=True)
        for agent, action, value, error in rows:
            spread = "" if error is None else f" ± {error:.6f}"
            how = "no constant is better" if action is None else f"by action {action}"
            lines.append(f"    {f'{role}_{agent}':<20} {value:.6f}{spread} {how}")
    if found.confirmed is not None:
        verdict = "confirmed to the bit" if found.confirmed else "NOT CONFIRMED: the recorded numbers differ"
        lines.append(f"  recorded row: {verdict}")
    return "\n".join(lines)
