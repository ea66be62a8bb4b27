"""What lies in a run store, read with DuckDB: one row per seed, and its learning curve.

Nothing in a store can stop the reading: what is damaged becomes a failed row that says so.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import filelock
import numpy as np
import yaml
from numpy.typing import NDArray

from ioa_marl.errors import UserError

DONE, FAILED, UNFINISHED = "done", "failed", "unfinished"

Setting: TypeAlias = bool | int | float | str
Settings: TypeAlias = Mapping[str, Setting]

_RESULT = {
    "env": "VARCHAR", "preset": "VARCHAR", "agent": "VARCHAR", "digest": "VARCHAR", "seed": "BIGINT",
    "budget": "BIGINT", "status": "VARCHAR", "error": "VARCHAR",
    "scores": "MAP(VARCHAR, DOUBLE)", "references": "MAP(VARCHAR, MAP(VARCHAR, DOUBLE))",
    "metrics": "MAP(VARCHAR, DOUBLE)", "bidder_gain": "MAP(VARCHAR, DOUBLE)",
    "env_steps": "BIGINT", "steps_per_second": "DOUBLE",
    "train_seconds": "DOUBLE", "seeds_together": "BIGINT", "parameters": "BIGINT",
}  # fmt: skip
_PROVENANCE = {"commit": "VARCHAR"}

# read_json can skip damaged files only in newline-delimited form, so the text is read and parsed apart; TRY turns
# bytes that are no text, and JSON that is no JSON, into NULL.
_READ = """
    SELECT filename, TRY(from_json(TRY(decode(content)), ?)) FROM read_blob(?) ORDER BY filename
"""
# A mean over episodes in which a figure is not defined is not defined, as in result.json.
_CURVE = """
    SELECT step, avg(coalesce(COLUMNS(* EXCLUDE (step, episode)), 'nan'::DOUBLE))
    FROM read_parquet(?, hive_partitioning = false) GROUP BY step ORDER BY step
"""


@dataclass(frozen=True)
class SeedRow:
    """One seed of a run, as its folder tells it."""

    folder: Path
    env: str
    preset: str
    agent: str
    """Label of the agent, with its role where it is not the usual one."""
    digest: str
    """Hash of the run's settings."""
    seed: int
    """Training seed; -1 where neither the result nor the folder's name tells it."""
    status: str
    """`DONE`, `FAILED` or `UNFINISHED`."""
    reason: str = ""
    """Why it is not done, in one line."""
    budget: int | None = None
    """Environment steps asked for."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Per scored role."""
    references: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """``random``, ``optimum`` and ``constant``: mean objective per scored role."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Means over the last evaluation's episodes."""
    bidder_gain: Mapping[str, float] = field(default_factory=dict)
    """Per role of bidders what they would gain by the best constant action, where that was asked for."""
    env_steps: int | None = None
    """Environment steps trained; 0 for what does not learn."""
    steps_per_second: float | None = None
    """Of all seeds that trained together."""
    train_seconds: float | None = None
    """Wall time of all seeds that trained together."""
    seeds_together: int | None = None
    parameters: int | None = None
    commit: str | None = None
    settings: Settings = field(default_factory=dict)
    """Resolved configuration, flattened; see `flatten`."""


@dataclass(frozen=True)
class Curve:
    """Means of each evaluation of one seed."""

    steps: NDArray[np.int64]
    """Training steps, (evaluations,)."""
    metrics: Mapping[str, NDArray[np.float64]]
    """By name, (evaluations,) each."""


def read_store(runs: Path) -> list[SeedRow]:
    """Return all seeds of a run store, at whatever depth below ``runs`` they lie, each once.

    Raises
    ------
    UserError
        If there is no run in ``runs``.
    """
    if not runs.is_dir():
        raise UserError(f"there is no run store {runs}")
    with duckdb.connect() as connection:
        try:
            folders = _seed_folders(connection, runs)
            if not folders:
                raise UserError(f"there is no run in the run store {runs}")
            results = _read_json(connection, [f / "result.json" for f in folders], _RESULT)
            origins = _read_json(connection, [f / "provenance.json" for f in folders], _PROVENANCE)
        except duckdb.Error as error:
            raise UserError(f"cannot read the run store {runs}: {_first_line(error)}") from error
    configs = _Configs()
    found: dict[tuple[str, str, str, str, int], SeedRow] = {}
    for folder in folders:
        origin = origins.get(folder / "provenance.json") or {}
        row = _seed_row(folder, results, origin.get("commit"), configs)
        key = (row.env, row.preset, row.agent, row.digest, row.seed)
        # The same run may lie in several stores that were put side by side: a seed counts once.
        if key not in found or (row.status == DONE and found[key].status != DONE):
            found[key] = row
    return list(found.values())


def read_curve(row: SeedRow) -> Curve | None:
    """Return the learning curve of a seed, or None where its file is missing or damaged."""
    path = row.folder / "evaluation.parquet"
    if not path.is_file():
        return None
    try:
        with duckdb.connect() as connection:
            found = connection.execute(_CURVE, [_literal(path)])
            names = [column[0] for column in found.description or ()]
            table = np.array(found.fetchall(), np.float64).reshape(-1, len(names))
    except (duckdb.Error, ValueError):
        return None
    return Curve(table[:, 0].astype(np.int64), dict(zip(names[1:], table.T[1:], strict=True)))


def flatten(config: Mapping[str, Any]) -> dict[str, Setting]:
    """Return a resolved configuration as flat keys, named as the overrides of ``ioa-marl train`` are.

    The only agent of a run is ``agent``; of several, each is ``roles.ROLE.agent``.
    """
    tree = {key: value for key, value in config.items() if key not in ("agents", "seed")}
    agents = config.get("agents")
    if isinstance(agents, Mapping):
        if len(agents) == 1:
            tree["agent"] = next(iter(agents.values()))
        else:
            tree["roles"] = {role: {"agent": choice} for role, choice in agents.items()}
    return dict(_leaves(tree, ""))


def _leaves(value: Any, name: str) -> Iterable[tuple[str, Setting]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (bool, int, float, str)):
        yield name, value
    else:
        yield name, json.dumps(value, default=str).replace(" ", "")


class _Configs:
    """Flattened configurations, parsed once per run: all its seeds have the same."""

    def __init__(self) -> None:
        self._held: dict[Path, dict[str, Setting]] = {}

    def of(self, folder: Path) -> dict[str, Setting]:
        if not self._held.get(folder.parent):
            try:
                config = yaml.safe_load((folder / "config.yaml").read_text())
            except (OSError, ValueError, yaml.YAMLError):
                config = None
            self._held[folder.parent] = flatten(config) if isinstance(config, Mapping) else {}
        return self._held[folder.parent]


def _seed_folders(connection: duckdb.DuckDBPyConnection, runs: Path) -> list[Path]:
    """Return the folders of all seeds; one that died at once has a lock and nothing else."""
    found = set()
    for name in ("result.json", ".lock"):
        pattern = f"{_literal(runs)}/**/seed_*/{name}"
        found |= {Path(path) for (path,) in connection.execute("SELECT file FROM glob(?)", [pattern]).fetchall()}
    return sorted({path.parent for path in found})


def _literal(path: Path) -> str:
    """Return the glob pattern that matches nothing but ``path``."""
    return re.sub(r"[\[*?]", lambda hit: f"[{hit.group()}]", str(path))


def _read_json(
    connection: duckdb.DuckDBPyConnection, paths: Sequence[Path], structure: Mapping[str, str]
) -> dict[Path, dict[str, Any] | None]:
    """Return the values of JSON files, with NULL for what has not the type it should have.

    Files that do not exist are left out; for damaged or unreadable ones the value is None.
    """
    out: dict[Path, dict[str, Any] | None] = {path: None for path in paths if path.exists()}
    readable = [_literal(path) for path in out if path.is_file() and os.access(path, os.R_OK)]
    if readable:
        for name, value in connection.execute(_READ, [json.dumps(structure), readable]).fetchall():
            out[Path(name)] = value
    return out


def _seed_row(
    folder: Path, results: Mapping[Path, dict[str, Any] | None], commit: str | None, configs: _Configs
) -> SeedRow:
    path = folder / "result.json"
    held = results.get(path) or {}
    settings = configs.of(folder)
    names = _names_from_path(folder)
    for key, setting in (("env", "env.name"), ("preset", "env.preset")):
        names[key] = str(settings.get(setting, names[key]))
    names |= {key: held[key] for key in names if held.get(key)}
    seed = held.get("seed")
    if seed is None:
        digits = re.fullmatch(r"seed_(\d{1,18})", folder.name)
        seed = int(digits[1]) if digits else -1
    status, reason = _status(folder, path in results, held)
    if path in results and results[path] is None:
        status, reason = FAILED, "result.json is damaged or cannot be read"
    return SeedRow(
        folder, names["env"], names["preset"], names["agent"], names["digest"], seed, status, reason,
        budget=held.get("budget"),
        scores=_numbers(held.get("scores")),
        references={key: _numbers(inner) for key, inner in (held.get("references") or {}).items()},
        metrics=_numbers(held.get("metrics")),
        bidder_gain=_numbers(held.get("bidder_gain")),
        env_steps=held.get("env_steps"),
        steps_per_second=held.get("steps_per_second"),
        train_seconds=held.get("train_seconds"),
        seeds_together=held.get("seeds_together"),
        parameters=held.get("parameters"),
        commit=commit,
        settings=settings,
    )  # fmt: skip


def _numbers(value: Mapping[str, float | None] | None) -> dict[str, float]:
    """Return a map with NaN for NULL, and an empty one for no map."""
    return {key: math.nan if inner is None else inner for key, inner in (value or {}).items()}


def _names_from_path(folder: Path) -> dict[str, str]:
    """Return env, preset, agent and digest as ``ENV-PRESET/AGENT/DIGEST/seed_S`` tells them."""
    parts = (*("?",) * 3, *folder.parts[:-1])[-3:]
    env, _, preset = parts[0].partition("-")
    return {"env": env, "preset": preset, "agent": parts[1], "digest": parts[2]}


def _status(folder: Path, has_result: bool, held: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a seed counts as, and why if it is not done."""
    status = held.get("status")
    error = _first_line(held.get("error") or "")
    if status == DONE:
        for role, score in (held.get("scores") or {}).items():
            if score is None or not math.isfinite(score):
                return FAILED, f"the score of {role} is not a number"
        return DONE, ""
    if status == FAILED:
        return FAILED, error or "it failed without saying why"
    if status == "interrupted":
        return UNFINISHED, "interrupted; the same train command goes on with it"
    if status == "running" or not has_result:
        if _locked(folder / ".lock"):
            return UNFINISHED, "still running"
        return UNFINISHED, "stopped before its end; the same train command goes on with it"
    return FAILED, f"result.json has no known status (status={status})"


def _locked(path: Path) -> bool:
    """Whether another process holds a lock; a lock that cannot be tried counts as free."""
    if not path.exists():
        return False
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False


def _first_line(value: object) -> str:
    return (str(value).strip().splitlines() or [""])[0]
