"""Check a row of the leaderboard: play its checkpoint again on the same episodes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ioa_marl.agents.base import Agent
from ioa_marl.agents.saved.description import whole
from ioa_marl.evaluation.averages import mean_metrics
from ioa_marl.evaluation.columns import objective_columns
from ioa_marl.evaluation.partners import is_scored
from ioa_marl.evaluation.protocol import check_episodes, references, sampled_scores, scores
from ioa_marl.foundations import checkpoint
from ioa_marl.foundations.errors import ParameterError, UserError, one_line
from ioa_marl.foundations.files import DamagedFileError, is_folder, read_yaml
from ioa_marl.foundations.trees import difference
from ioa_marl.training.config import RunSpec, from_resolved
from ioa_marl.training.integrity import check_row
from ioa_marl.training.play import evaluate, load_agents
from ioa_marl.training.resume import changed_names, different_versions, differing_values
from ioa_marl.training.seeds import describe
from ioa_marl.training.store import SeedFolder, episode_table, finite, installed_versions, table_digest

MOST_DIFFERENCES = 10
"""Differences that a report names one by one."""


@dataclass(frozen=True)
class CheckpointScore:
    """The score of a checkpoint, and whether playing it again confirms the recorded row."""

    path: Path
    """The checkpoint file."""
    steps: int
    """Environment steps it was trained for."""
    scores: dict[str, float]
    """Score per objective of the market."""
    sampled_scores: dict[str, float]
    """Score per objective with sampled actions; empty if no agent can sample."""
    metrics: dict[str, float]
    """Mean of each figure over the episodes."""
    confirmed: bool | None
    """Whether the recorded row is reproduced to the bit; None if it describes another evaluation."""
    differences: tuple[str, ...] = ()
    """One line for each recorded value that was not reproduced."""
    checked: tuple[str, ...] = ()
    """One line for each kind of comparison that was made."""
    hints: tuple[str, ...] = ()
    """One line for each possible explanation of a difference."""


@dataclass(frozen=True)
class OpenedCheckpoint:
    """A checkpoint of a run that was read and can be played."""

    file: Path
    """The checkpoint file."""
    spec: RunSpec
    """The run, with the checkpoint's seed."""
    saved: dict[str, Any]
    """The content of the file."""

    @property
    def first_episode(self) -> int:
        """First evaluation episode: the best checkpoint was chosen on the usual ones, so it is scored on fresh ones."""
        spec = self.spec
        return max(spec.evaluation.episodes, spec.last_episodes) if self.file.name == "best.safetensors" else 0

    def agents(self) -> list[Agent]:
        """Return the agents, ready to act.

        Raises
        ------
        UserError
            If the states in the file do not fit the agents.
        """
        try:
            return load_agents(self.spec, self.saved)
        except UserError as error:
            raise UserError(f"{self.file} cannot be played: {error}") from error


def open_checkpoint(path: Path) -> OpenedCheckpoint:
    """Read a seed's folder, or a checkpoint file in it.

    Raises
    ------
    UserError
        If there is no checkpoint of a run, or it was made with other versions than those installed.
    """
    file = SeedFolder(path).latest if is_folder(path) else path
    saved = checkpoint.load(file)
    if "spec" not in saved:
        raise UserError(f"{file} is not a checkpoint of a run")
    try:
        spec = from_resolved(saved["spec"], Path())
        whole(saved, "steps", 0, spec.budget)
    except UserError as error:
        raise UserError(f"{file} is not a checkpoint of a run that is possible here: {error}") from error
    made, policies = saved["spec"]["versions"], saved.get("policies")
    if difference(made, spec.resolved()["versions"]):
        raise UserError(f"{file} was made with other versions than those installed: {one_line(made)}")
    if not isinstance(policies, list) or len(policies) != len(spec.agents):
        raise UserError(f"{file} is not a checkpoint of a run: it does not have one policy for each agent")
    if not all(isinstance(saved.get(key, {}), dict) for key in ("code", "libraries")):
        raise UserError(f"{file} is not a checkpoint of a run: its code or libraries are no table")
    return OpenedCheckpoint(file, spec, saved)


@contextmanager
def one_line_about(file: Path) -> Iterator[None]:
    """Turn every error of playing a checkpoint into one line: a checkpoint may contain arbitrary numbers."""
    try:
        yield
    except (UserError, ParameterError):
        raise
    except (Exception, SystemExit) as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise UserError(f"{file} cannot be played: {reason}") from error


def evaluate_checkpoint(path: Path, episodes: int | None = None) -> CheckpointScore:
    """Play a checkpoint on the evaluation episodes.

    Parameters
    ----------
    path : Path
        A seed's folder, or a checkpoint file in it. ``best.safetensors`` is scored on fresh episodes.
    episodes : int, optional
        Number of episodes; default: as many as the last evaluation of the run had.
    """
    torch.set_num_threads(1)
    opened = open_checkpoint(path)
    file, spec, saved, first = opened.file, opened.spec, opened.saved, opened.first_episode
    if episodes is not None:
        spec = dataclasses.replace(spec, evaluation=dataclasses.replace(spec.evaluation, final_episodes=episodes))
        check_episodes(spec.evaluation)
    agents = opened.agents()
    with one_line_about(file):
        played = evaluate(spec, agents, spec.seeds, first)
    scale = (spec.game_class, spec.env_config, played, spec.controlled_roles, first, spec.seeds)
    score = CheckpointScore(
        file,
        int(saved["steps"]),
        {role: float(v[0]) for role, v in scores(*scale).items()},
        {role: float(v[0]) for role, v in sampled_scores(*scale).items()},
        mean_metrics({name: values[0] for name, values in played.items()}, objective_columns(spec.game_class).values()),
        None,
    )
    # Resolved, because the name of the folder is compared below and a path such as `.` has none.
    folder = SeedFolder(Path(os.path.abspath(file)).parent.parent.resolve())  # noqa: PTH100 - checkpoint/ may be a link
    if file.name != folder.latest.name or episodes is not None or not os.path.lexists(folder.path / "result.json"):
        return score
    if folder.result().get("status") in ("running", "interrupted", "failed"):
        return score
    return _compared(score, opened, agents, folder, played)


def _compared(
    score: CheckpointScore,
    opened: OpenedCheckpoint,
    agents: Sequence[Agent],
    folder: SeedFolder,
    played: Mapping[str, NDArray[np.float64]],
) -> CheckpointScore:
    """Compare the replayed episodes, and the run that the checkpoint describes, with everything that the row shows."""
    spec, saved, result = opened.spec, opened.saved, folder.result()
    integrity = check_row(folder.path, result, weights=True)
    pairs = _replayed(score, spec, result)
    replayed = list(pairs)
    # The digest is that of the saved description: `spec` plays on the CPU, wherever the agents were trained.
    described = {
        **describe(spec, spec.seeds[0]), "digest": spec.digest_of(saved["spec"]), "env_steps": int(saved["steps"])
    }  # fmt: skip
    pairs |= {key: (result.get(key), value) for key, value in described.items()}
    pairs["parameters"] = (result.get("parameters"), sum(agent.parameters_count() for agent in agents))
    pairs["seed of the folder"] = (folder.path.name, f"seed_{spec.seeds[0]}")
    pairs["digest of the folder"] = (folder.path.parent.name, described["digest"])
    differences = [problem] if (problem := integrity.problem or folder.problem()) else []
    for name, (recorded, value) in pairs.items():
        how = "played" if name in replayed else "in the checkpoint"
        differences += [
            f"{at}: {was} recorded, {now} {how}" for at, was, now in _unequal(name, recorded, finite(value))
        ]
    differences += _setting_differences(folder, spec, saved["spec"]) + _episode_differences(folder, score.steps, played)
    what = ", ".join(name.replace("_", " ") for name in replayed)
    checked = (
        f"played again and compared to the bit: {what}, {spec.last_episodes} episodes",
        "compared with the checkpoint: names, digest, seed, budget, steps, parameters, settings, versions",
        "compared with their checksums: checkpoints, learning curves, earlier evaluations, times, provenance"
        if integrity.checked
        else "not checked, since an earlier version wrote no checksums: checkpoints, learning curves, times",
    )
    hints = [f"code of {name} changed since" for name in changed_names(saved.get("code", {}), spec.code)]
    libraries = saved.get("libraries", {})
    hints += [f"{line} (library)" for line in different_versions(libraries, installed_versions()) if libraries]
    return dataclasses.replace(
        score, confirmed=not differences, differences=tuple(differences), checked=checked, hints=tuple(hints)
    )


def _replayed(score: CheckpointScore, spec: RunSpec, result: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the recorded and the replayed value of each entry that was played again."""
    counts = {"references": spec.last_episodes, "references_on_the_way": spec.episodes_on_the_way}
    ends: dict[str, Any] = {name: {} for name in counts if name == "references" or name in result}
    if is_scored(spec.game_class, spec.controlled_roles):
        ends = {
            name: references(spec.game_class, spec.env_config, counts[name], instance=spec.seeds[0]).as_dict()
            for name in ends
        }
    replayed: dict[str, Any] = {"scores": score.scores, **ends, "metrics": score.metrics}
    if score.sampled_scores or "sampled_scores" in result:
        replayed["sampled_scores"] = score.sampled_scores or None
    return {key: (result.get(key), value) for key, value in replayed.items()}


def _same_json(recorded: Any, replayed: Any) -> bool:
    """Whether two JSON values are the same; a number that is not finite counts as null, and 1 is not True."""
    mistaken = type(recorded) is bool and type(replayed) is not bool
    return bool(finite(recorded) == finite(replayed)) and not mistaken


def _unequal(name: str, recorded: Any, replayed: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name and both values wherever nested JSON values differ."""
    return differing_values(recorded, replayed, name, absent="nothing", equal=_same_json)


def _setting_differences(folder: SeedFolder, spec: RunSpec, described: Mapping[str, Any]) -> list[str]:
    """Return a line for each setting of ``config.yaml``, which a board reads, that differs from the checkpoint."""
    try:
        config = read_yaml(folder.path / "config.yaml")
        recorded, expected = (spec.identity(each) for each in (config, described))
        recorded["seed"], expected["seed"] = config.get("seed"), described["seed"]
    except DamagedFileError as error:
        return [str(error)]
    except (AttributeError, KeyError, TypeError, ValueError):
        return [f"{folder.path / 'config.yaml'} does not describe a run"]
    return [
        f"config.yaml: {name} is {was}, {now} in the checkpoint" for name, was, now in _unequal("", recorded, expected)
    ]


def _episode_differences(folder: SeedFolder, steps: int, played: Mapping[str, NDArray[np.float64]]) -> list[str]:
    """Return a line if the recorded episodes of the last evaluation are not those that were played."""
    try:
        tables = folder.episodes()
    except DamagedFileError as error:
        return [str(error)]
    if steps not in tables:
        return [f"{folder.tables} has no episodes at {steps} steps"]
    if table_digest(tables[steps]) != table_digest(episode_table(steps, played, 0)):
        return [f"{folder.tables}: the episodes at {steps} steps are not those that were played"]
    return []


def report(score: CheckpointScore) -> str:
    """Return the score, the metrics and the comparison with the recorded row as text."""
    lines = [f"{score.path}  after {score.steps} steps"]
    lines += [f"  score {role:<16} {value:.6f}" for role, value in score.scores.items()]
    lines += [f"  sampled score {role:<8} {value:.6f}" for role, value in score.sampled_scores.items()]
    lines += [f"  {name:<22} {value:.6f}" for name, value in score.metrics.items()]
    if score.confirmed is not None:
        lines.append(f"  recorded row: {'confirmed to the bit' if score.confirmed else 'NOT CONFIRMED'}")
        lines += [f"    {line}" for line in score.differences[:MOST_DIFFERENCES]]
        if len(score.differences) > MOST_DIFFERENCES:
            lines.append(f"    and {len(score.differences) - MOST_DIFFERENCES} more differences")
        if not score.confirmed:
            lines += [f"    perhaps because: {hint}" for hint in score.hints]
        lines += [f"    {line}" for line in score.checked]
    return "\n".join(lines)
