"""``ioa-marl audit``: audit stored or scripted policies, and keep what is found with their rows."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

from ioa_marl.agents.base import Agent
from ioa_marl.evaluation.audits.pictures import draw
from ioa_marl.evaluation.audits.results import AuditResult, Progress
from ioa_marl.evaluation.audits.running import as_json, run_audit
from ioa_marl.evaluation.audits.subject import AuditSettings, Subject
from ioa_marl.evaluation.playing import make_agent
from ioa_marl.foundations.checkpoint import LATEST
from ioa_marl.foundations.errors import UserError, shown
from ioa_marl.foundations.files import DamagedFileError, check_writable, exists, is_folder, sha256_of, write_atomically
from ioa_marl.training.audited import FILE, PICTURE, SEARCH, columns_of, read_audit, sealed
from ioa_marl.training.best_response import learnt_best_response
from ioa_marl.training.check import one_line_about, open_checkpoint
from ioa_marl.training.compose import specification
from ioa_marl.training.config import RunSpec
from ioa_marl.training.integrity import check_row
from ioa_marl.training.store import SeedFolder, write_json

MARKETS_OF_RESPONSE = 100
"""Evaluation markets on which a learnt best response is measured."""


@dataclass(frozen=True)
class BestResponse:
    """A learner that is trained against the frozen policies."""

    role: str
    """The role that deviates."""
    learner: str = "ppo"
    """Name of the learner, or NAME/PRESET."""
    budget: int = 100_000
    """Environment steps of its training."""


@dataclass(frozen=True)
class Audited:
    """The audit of one seed, or of scripted policies."""

    label: str
    """Market, agent and seed."""
    result: AuditResult
    """What was found."""
    kept: Path | None
    """Where it was written; None if there is no finished row that it could belong to."""
    confirmed: bool | None
    """Whether an earlier audit with the same settings found the same, to the bit; None if there is none."""


@dataclass(frozen=True)
class _Target:
    """What is to be audited."""

    spec: RunSpec
    """The run, with one seed."""
    subject: Subject
    """Its policies."""
    folder: SeedFolder | None
    """Folder of the row that the audit belongs to, if there is one."""
    checkpoint: Path | None
    """The file that the policies come from; None if none of them was trained."""


def audit_command(
    arguments: Sequence[str],
    settings: AuditSettings,
    picture: Path | None,
    response: BestResponse | None = None,
    *,
    quiet: bool,
    console: Console,
) -> list[Audited]:
    """Run ``ioa-marl audit``: print a table for each seed, and write each audit into its row's folder.

    Parameters
    ----------
    arguments : sequence of str
        Either seeds' folders, runs' folders and checkpoint files, or settings as ``ioa-marl train`` takes them.
    settings : AuditSettings
        How thoroughly deviations are searched.
    picture : Path, optional
        File of a picture, with one seed; the picture in the row's folder is written in any case.
    response : BestResponse, optional
        A learner to train against the policies, as one more deviation.
    quiet : bool
        Whether no progress is shown.
    console : Console
        Where the tables go.

    Returns
    -------
    list of Audited

    Raises
    ------
    UserError
        If nothing can be audited; nothing has been written then.
    """
    torch.set_num_threads(1)
    targets = _targets(arguments)
    if picture is not None:
        _check_picture(picture, len(targets))
    for target in targets:
        _check_place(target)
    done = []
    for target in targets:
        result = _audited(target, settings, response, quiet)
        audited = _keep(target, result, settings, response)
        if picture is not None:
            write_atomically(picture, _picture(result, audited.label))
        console.print(report(audited))
        done.append(audited)
    return done


def _targets(arguments: Sequence[str]) -> list[_Target]:
    """Return what the arguments name."""
    if not arguments:
        raise UserError("say what is audited: a seed's folder, a checkpoint, or env=NAME agent=NAME")
    named = [argument for argument in arguments if "=" in argument and not exists(Path(argument))]
    if named and len(named) < len(arguments):
        other = next(argument for argument in arguments if argument not in named)
        raise UserError(f"{shown(other)} is not allowed beside {shown(named[0])}: name folders, or settings")
    if named:
        return _of_settings(arguments)
    paths = [path for argument in arguments for path in _seeds_in(Path(argument))]
    return [_of_checkpoint(path) for path in paths]


def _seeds_in(path: Path) -> list[Path]:
    """Return the seeds' folders of a run, or the path itself."""
    seeds = sorted(path.glob("seed_*")) if is_folder(path) else []
    return seeds or [path]


def subject_of(path: Path) -> Subject:
    """Return the policies of a seed's folder, or of a checkpoint file in it, for an audit.

    Raises
    ------
    UserError
        If there is no checkpoint that can be played.
    """
    return _of_checkpoint(path).subject


def _of_checkpoint(path: Path) -> _Target:
    opened = open_checkpoint(path)
    spec = opened.spec
    with one_line_about(opened.file):
        opened.agents()  # so that a file that cannot be played is refused before anything else is audited
    # The folder of the file's own name, since checkpoint/ may be a link to another place.
    folder = SeedFolder(Path(os.path.abspath(opened.file)).parent.parent.resolve())  # noqa: PTH100
    latest = opened.file.name == folder.latest.name
    return _Target(spec, _subject(spec, opened.agents, opened.first_episode), folder if latest else None, opened.file)


def _subject(spec: RunSpec, make_agents: Any, first_episode: int) -> Subject:
    return Subject(
        spec.game_class, spec.env_config, spec.controlled_roles, make_agents, spec.seeds[0], first_episode
    )  # fmt: skip


def _of_settings(arguments: Sequence[str]) -> list[_Target]:
    """Return the stored seeds of the run that the settings describe, or its agents if they need no training."""
    spec = specification(arguments)
    stored = [spec.seed_folder(seed) for seed in spec.seeds if SeedFolder(spec.seed_folder(seed)).finished()]
    if stored:
        return [_of_checkpoint(path) for path in stored]
    for name in spec.learners:
        raise UserError(
            f"{name} has to be trained before it can be audited: ioa-marl train {' '.join(arguments)}, "
            "then the same with audit"
        )
    one = dataclasses.replace(spec, seeds=spec.seeds[:1])
    return [_Target(one, _subject(one, partial(_new_agents, one), 0), None, None)]


def _new_agents(spec: RunSpec) -> list[Agent]:
    probe = spec.game_class(spec.env_config, 1, spec.controlled_roles)
    return [make_agent(c.agent_class, c.config, probe, c.roles, 1, spec.seeds[0]) for c in spec.agents]


def _audited(target: _Target, settings: AuditSettings, response: BestResponse | None, quiet: bool) -> AuditResult:
    """Run the audit with a progress bar on a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    hidden = quiet or not console.is_terminal
    with Bar(*columns, console=console, disable=hidden, transient=True) as progress:
        task = progress.add_task(_label(target), total=1.0)

        def show(what: str, share: float) -> None:
            progress.update(task, description=f"{_label(target)}  {what}", completed=share)

        with nullcontext() if target.checkpoint is None else one_line_about(target.checkpoint):
            # The training comes first: what it refuses is then refused before the rest takes its time.
            learnt = AuditResult(()) if response is None else _learnt(target, settings, response, show)
            return run_audit(target.subject, settings, show) + learnt


def _learnt(target: _Target, settings: AuditSettings, response: BestResponse, show: Progress) -> AuditResult:
    return learnt_best_response(
        target.spec, target.checkpoint, response.role, response.learner, response.budget,
        episodes=settings.markets_or(MARKETS_OF_RESPONSE), first_episode=target.subject.first_episode, progress=show,
    )  # fmt: skip


def _label(target: _Target) -> str:
    spec = target.spec
    seed = f"  seed {spec.seeds[0]}" if target.folder is not None else ""
    return f"{spec.env_label}  {spec.agent_label}{seed}"


def _keep(target: _Target, result: AuditResult, settings: AuditSettings, response: BestResponse | None) -> Audited:
    """Write an audit into the folder of its finished row, and compare it with the one that was there."""
    folder, label = target.folder, _label(target)
    if folder is None or not folder.finished():
        return Audited(label, result, None, None)
    row = folder.result()
    trained = None if response is None else dataclasses.asdict(response)
    found = sealed({**as_json(result, target.subject, settings), "best_response": trained}, row)
    try:
        before = read_audit(folder.path, row)
    except DamagedFileError:
        before = {}
    same = None
    if before and all(before.get(key) == found[key] for key in SEARCH):
        same = before["checksum"] == found["checksum"]
    folder.lock()
    try:
        write_atomically(folder.path / PICTURE, _picture(result, label))
        write_json(folder.path / FILE, found)
    finally:
        folder.unlock()
    return Audited(label, result, folder.path / FILE, same)


def _check_place(target: _Target) -> None:
    """Refuse a row to which an audit cannot be bound or written, before anything is played."""
    if target.folder is not None and target.folder.finished():
        folder = target.folder
        row = folder.result()
        if problem := check_row(folder.path, row).problem:
            raise UserError(f"{folder.path} is not audited, since its row does not count: {problem}")
        sealed_with = (
            row["files"].get(LATEST.as_posix()) if "checksum" in row else None
        )  # `check_row` has checked its form
        if sealed_with and sha256_of(folder.latest) != sealed_with["sha256"]:
            raise UserError(f"{folder.latest} is not the checkpoint of the row beside it, to which audits belong")
        for name in (FILE, PICTURE):
            check_writable(folder.path / name, Path(name).suffix)


def _picture(result: AuditResult, title: str) -> bytes:
    out = io.BytesIO()
    draw(result, title).savefig(out, format="png", dpi=100)
    return out.getvalue()


def _check_picture(path: Path, count: int) -> None:
    """Refuse a picture that cannot be written, before anything is played."""
    check_writable(path, ".png")
    if count > 1:
        raise UserError(f"--picture shows one seed, and these are {count}: each has a picture in its folder")


def report(audited: Audited) -> str:
    """Return an audit as text: figures with their meaning, and where it was written."""
    lines = [audited.label]
    width = max((len(f.name) for f in audited.result.findings), default=0)
    for finding in audited.result.findings:
        error = "" if finding.standard_error is None else f" ± {finding.standard_error:.3g}"
        value = f"{finding.value:.4g}{error} {finding.unit}"
        lines.append(f"  {finding.name:<{width}}  {value:<34} {finding.kind}")
        lines.append(f"  {'':<{width}}  {finding.meaning}")
    lines += [f"  not audited: {note}" for note in audited.result.notes]
    if audited.confirmed is not None:
        lines.append(f"  the earlier audit is {'confirmed to the bit' if audited.confirmed else 'NOT CONFIRMED'}")
    if audited.kept is None:
        lines.append("  not kept: an audit belongs to the last policy of a finished row, which ioa-marl train makes")
    else:
        shown_columns = ", ".join(columns_of({"findings": [f.as_dict() for f in audited.result.findings]}))
        lines.append(f"  {audited.kept}, with {PICTURE}; on the leaderboard: {shown_columns or 'nothing'}")
    return "\n".join(lines)
