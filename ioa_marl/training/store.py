"""The run store: what lies in a seed's folder, and how it gets there."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from ioa_marl.checkpoint import LATEST
from ioa_marl.errors import UserError
from ioa_marl.files import write_atomically

PACKAGES = (
    "ioa_marl", "numpy", "numba", "torch", "stable_baselines3", "gymnasium", "pettingzoo", "hydra-core",
)  # fmt: skip


class SeedFolder:
    """One seed of a run on disk.

    It holds ``config.yaml``, ``provenance.json``, ``result.json``, ``evaluation.parquet``, TensorBoard events and
    ``checkpoint/``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.latest = path / LATEST
        self.best = path / "checkpoint" / "best.safetensors"
        self._lock: filelock.BaseFileLock | None = None
        self._existed = True

    def lock(self) -> None:
        """Keep other processes away from this seed until `unlock` or the end of this process."""
        try:
            self._existed = self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = filelock.FileLock(self.path / ".lock")
            self._lock.acquire(timeout=0)
            for leftover in self.path.rglob(".*.tmp"):  # of a process that was killed while it wrote
                leftover.unlink()
        except filelock.Timeout as error:
            self._lock = None
            raise UserError(f"{self.path} is in use by another process") from error
        except OSError as error:
            raise UserError(f"cannot write to {self.path}: {error.strerror or error}") from error

    def unlock(self) -> None:
        """Let other processes have it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
            if not self._existed and not (self.path / "result.json").exists():
                self._remove_empty()

    def _remove_empty(self) -> None:
        """Take back the folders that locking made, where nothing came of it."""
        (self.path / ".lock").unlink(missing_ok=True)
        with suppress(OSError):  # another run is in there
            for folder in (self.path, *list(self.path.parents)[:4]):
                folder.rmdir()

    def result(self) -> dict[str, Any]:
        """Return ``result.json``, or an empty dictionary."""
        try:
            held: dict[str, Any] = json.loads((self.path / "result.json").read_text())
        except (OSError, ValueError):
            return {}
        return held

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Replace ``result.json``."""
        write_json(self.path / "result.json", result)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write ``config.yaml``."""
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        write_atomically(self.path / "config.yaml", text.encode())

    def write_provenance(self, provenance: Mapping[str, Any]) -> None:
        """Write ``provenance.json``; what it said of earlier parts of the run is kept under ``earlier``."""
        path = self.path / "provenance.json"
        held = json.loads(path.read_text()) if path.exists() else {}
        earlier = held.pop("earlier", [])
        if held and held["started"] != provenance["started"]:
            earlier.append(held)
        write_json(path, {**provenance, "earlier": earlier})

    def episodes(self, up_to: int) -> list[pa.Table]:
        """Return the evaluated episodes of up to ``up_to`` training steps, one table per evaluation."""
        path = self.path / "evaluation.parquet"
        if not path.exists():
            return []
        table = pq.read_table(path)
        steps = [step for step in table["step"].unique().to_pylist() if step <= up_to]
        return [table.filter(pa.compute.equal(table["step"], step)) for step in steps]

    def write_episodes(self, tables: Sequence[pa.Table]) -> None:
        """Replace ``evaluation.parquet``."""
        sink = pa.BufferOutputStream()
        pq.write_table(pa.concat_tables(tables), sink)
        write_atomically(self.path / "evaluation.parquet", sink.getvalue().to_pybytes())


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write readable JSON atomically."""
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())


def episode_table(step: int, episodes: Mapping[str, NDArray[np.float64]], seed_index: int) -> pa.Table:
    """Return the episodes of one evaluation of one seed, one row each."""
    columns = {name: values[seed_index] for name, values in episodes.items()}
    n = len(next(iter(columns.values())))
    return pa.table({"step": np.full(n, step), "episode": np.arange(n), **columns})


def provenance() -> dict[str, Any]:
    """Return where and with what this process computes."""
    return {
        "versions": {name: _version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "commit": _commit(),
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
        },
        "command": sys.argv[1:],
        "started": now(),
    }


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _commit() -> str | None:
    """Commit of the source tree that is running; None where it is an installed package."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
