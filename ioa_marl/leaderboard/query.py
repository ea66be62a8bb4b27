"""Reading of a run store: one row per seed.

No content of a store can stop the reading: sizes and kinds of files are checked before they are read, and a damaged
seed becomes a row that says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.files import DamagedFileError, check_readable, read_json
from ioa_marl.leaderboard.curves import LARGEST_TABLE, Curve, read_curve
from ioa_marl.leaderboard.folders import find_seeds
from ioa_marl.leaderboard.installed import Installed
from ioa_marl.leaderboard.seeds import (
    DAMAGED,
    DONE,
    FAILED,
    INTACT,
    NAMES,
    NOT_REPLAYABLE,
    UNCHECKED,
    UNFINISHED,
    Record,
    SeedRow,
    names_from_path,
    seed_of,
)
from ioa_marl.leaderboard.settings import Configs
from ioa_marl.leaderboard.text import first_line, shortened, visible
from ioa_marl.training.audited import columns_of, read_audit, search_of
from ioa_marl.training.integrity import RECORDS, REMEDY, check_row


def read_store(runs: Path) -> list[SeedRow]:
    """Return all seeds of a run store, at any depth below ``runs``, each once.

    Raises
    ------
    UserError
        If there is no run in ``runs``.
    """
    if not _exists(runs):
        raise UserError(f"there is no run store {runs}")
    folders = find_seeds(runs)
    if runs in folders.unreadable:
        raise UserError(f"cannot read the run store {runs}: {folders.unreadable[runs]}")
    if not folders.seeds:
        raise UserError(f"there is no run in the run store {runs}")
    configs = Configs()
    installed = Installed()
    rows = _each_once([installed.judged(_seed_row(folder, configs)) for folder in folders.seeds])
    return rows + [_unread(folder, why) for folder, why in sorted(folders.unreadable.items())]


class _SeedKey(NamedTuple):
    """The properties by which copies of the same seed are recognised."""

    env: str
    preset: str
    agent: str
    digest: str
    seed: int | Path
    """Training seed; the folder if the seed is unknown, so that the row is a copy of no other."""


def _each_once(rows: Iterable[SeedRow]) -> list[SeedRow]:
    """Return each seed once: several stores side by side may contain copies of the same run."""
    first: dict[_SeedKey, SeedRow] = {}
    for row in rows:
        key = _SeedKey(row.env, row.preset, row.agent, row.digest, row.seed if row.seed >= 0 else row.folder)
        earlier = first.get(key)
        if earlier is not None and row.status == earlier.status == DONE and _numbers(row) != _numbers(earlier):
            note = f"other numbers of the same seed in {visible(str(row.folder))}"
            first[key] = dataclasses.replace(earlier, notes=(*earlier.notes, note))
        elif earlier is None or (row.status == DONE and earlier.status != DONE):
            first[key] = row
    return list(first.values())


def _numbers(row: SeedRow) -> str:
    return repr((row.scores, row.metrics, row.references))  # compared as text, in which NaN equals NaN


def _unread(folder: Path, why: str) -> SeedRow:
    reason = first_line(f"{shortened(visible(str(folder)), 200)} cannot be looked into: {why}")
    return SeedRow(folder, "?", "", "?", "?", seed_of(folder), DAMAGED, reason)


def _seed_row(folder: Path, configs: Configs) -> SeedRow:
    names = names_from_path(folder)
    try:
        settings = configs.of(folder / "config.yaml") if _exists(folder / "config.yaml") else {}
        problem = ""
    except DamagedFileError as error:
        settings, problem = {}, _with_remedy(error)
    for key, setting in (("env", "env.name"), ("preset", "env.preset")):
        if isinstance(settings.get(setting), str):
            names[key] = str(settings[setting])
    env, preset, agent, digest = (names[key] for key in NAMES)
    unknown = SeedRow(folder, env, preset, agent, digest, seed_of(folder), DAMAGED, settings=settings)
    path = folder / "result.json"
    try:
        content = read_json(path) if _exists(path) else {}
        if not isinstance(content, Mapping):
            raise DamagedFileError(path, "is damaged: it is not a JSON object")
        return _from_result(Record(path, content), content, unknown, problem)
    except DamagedFileError as error:
        return dataclasses.replace(unknown, reason=_with_remedy(error))


def _from_result(record: Record, content: Mapping[str, Any], unknown: SeedRow, problem: str) -> SeedRow:
    """Return the row of a seed with a readable result; ``problem`` describes damage of its configuration."""
    folder = unknown.folder
    env, preset, agent, digest = (record.name(key, getattr(unknown, key)) for key in NAMES)
    seed = record.seed(folder)
    scores = record.scores() if content.get("status") == DONE else {}
    status, reason = _status(folder, content, scores)
    notes: list[str] = []
    checked, replayable = "", False
    if status == DONE:
        damage, checked, replayable = _checked(folder, content)
        damage = damage or problem
        if damage:
            status, reason = DAMAGED, first_line(damage)
    audit = _audit(folder, content, notes) if status == DONE else {}
    row = SeedRow(
        folder, env, preset, agent, digest, seed, status, reason,
        budget=record.whole("budget"),
        scores=scores,
        sampled_scores=record.numbers("sampled_scores"),
        references=record.references(),
        references_on_the_way=record.references("references_on_the_way"),
        metrics=record.numbers("metrics"),
        audit=columns_of(audit),
        audit_search=search_of(audit),
        env_steps=record.whole("env_steps"),
        steps_per_second=record.number("steps_per_second"),
        train_seconds=record.number("train_seconds"),
        seeds_together=record.whole("seeds_together"),
        parameters=record.whole("parameters"),
        code=record.texts("code"),
        commit=_commit(folder, notes),
        settings=unknown.settings,
        curve=_curve(folder, notes) if status == DONE else None,
        checked=checked, replayable=replayable,
    )  # fmt: skip
    notes += [f"result.json has no usable {', '.join(dict.fromkeys(record.wrong))}"] if record.wrong else []
    lost = content.get("lost_evaluations")
    if lost:
        steps = ", ".join(str(step)[:20] for step in lost[:5]) if isinstance(lost, list) else str(lost)
        more = ", …" if isinstance(lost, list) and len(lost) > 5 else ""
        notes.append(first_line(f"lost evaluations: after {steps}{more} steps"))
    return dataclasses.replace(row, notes=tuple(notes) if status == DONE else ())


def _checked(folder: Path, content: Mapping[str, Any]) -> tuple[str, str, bool]:
    """Return a line about damage or "", the result of the check in words, and whether the row can be replayed.

    Sizes are checked first, because computing the checksum of a file reads it.
    """
    sealed = content.get("files")
    try:
        for name in RECORDS:
            if isinstance(sealed, Mapping) and name in sealed:
                check_readable(folder / name, LARGEST_TABLE)
        integrity = check_row(folder, content)
    except DamagedFileError as error:
        return _with_remedy(error), "", False
    except (TypeError, ValueError, KeyError, AttributeError):  # malformed checksums
        return f"{folder / 'result.json'} is damaged: its files have no checksums: {REMEDY}", "", False
    words = [*([] if integrity.checked else [UNCHECKED]), *([] if integrity.replayable else [NOT_REPLAYABLE])]
    return integrity.problem, ", ".join(words) or INTACT, integrity.replayable


def _audit(folder: Path, content: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Return the audit of a seed, or nothing and a note if it is not of this row."""
    try:
        return read_audit(folder, content)
    except DamagedFileError as error:
        notes.append(first_line(str(error)))
        return {}


def _commit(folder: Path, notes: list[str]) -> str | None:
    path = folder / "provenance.json"
    if not _exists(path):
        return None
    try:
        content = read_json(path)
    except DamagedFileError as error:
        notes.append(first_line(f"no commit: {path.name} {error.reason}"))
        return None
    commit = content.get("commit") if isinstance(content, Mapping) else None
    return first_line(commit)[:64] if isinstance(commit, str) else None


def _curve(folder: Path, notes: list[str]) -> Curve | None:
    path = folder / "evaluation.parquet"
    try:
        return read_curve(path)
    except DamagedFileError as error:
        notes.append(first_line(f"no learning curve: {path.name} {error.reason}"))
        return None


def _exists(path: Path) -> bool:
    """Whether a path exists, broken links included; True as well if that cannot be determined, and reading says why."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _with_remedy(error: DamagedFileError) -> str:
    return f"{first_line(error)}; {REMEDY}"


def _status(folder: Path, content: Mapping[str, Any], scores: Mapping[str, float]) -> tuple[str, str]:
    """Return the status of a seed, and the reason if it is not done."""
    status = content.get("status")
    error = first_line(content.get("error") or "")
    if status == DONE:
        for role, score in scores.items():
            if math.isnan(score):
                return FAILED, f"the score of {role} is not a number"
        return DONE, ""
    if status == FAILED:
        return FAILED, error or "it failed without saying why"
    if status == "interrupted":
        return UNFINISHED, "interrupted; the same train command goes on with it"
    if status == "running" or not _exists(folder / "result.json"):
        if _locked(folder / ".lock"):
            return UNFINISHED, "still running"
        return UNFINISHED, "stopped before its end; the same train command goes on with it"
    return DAMAGED, f"result.json has no known status (status={first_line(status)}); {REMEDY}"


def _locked(path: Path) -> bool:
    """Whether another process has locked a file; a lock that cannot be tried or is not a plain file counts as free."""
    try:
        if path.is_symlink():
            return False
        check_readable(path)
        with filelock.FileLock(path, timeout=0):
            return False
    except filelock.Timeout:
        return True
    except (OSError, DamagedFileError):
        return False
