"""The run store: the files in a seed's folder, and their reading and writing."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
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

from ioa_marl.evaluation.columns import SAMPLED
from ioa_marl.foundations.checkpoint import LATEST
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.files import DamagedFileError, check_readable, read_json, write_atomically
from ioa_marl.training.integrity import RECORDS, REMEDY, check_row

PACKAGES = (
    "numpy", "numba", "torch", "stable_baselines3", "gymnasium", "pettingzoo", "hydra-core",
)  # fmt: skip
"""Libraries whose versions are recorded."""


class _Readable(yaml.SafeDumper):
    """Writes text of several lines, such as the table of one's own data, as it is."""

    def represent_lines(self, text: str) -> yaml.Node:
        """Return the node of a text."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _Readable.represent_lines)


class InUseError(UserError):
    """Another process has locked a seed's folder."""


class RunGoneError(UserError):
    """The folder of a whole run has been renamed or removed."""


class SeedFolder:
    """The folder of one seed of a run.

    It holds ``config.yaml``, ``provenance.json``, ``result.json``, ``evaluation.parquet``, TensorBoard events and
    ``checkpoint/``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.latest = path / LATEST
        self.best = path / "checkpoint" / "best.safetensors"
        self.tables = path / "evaluation.parquet"
        self._lock: filelock.BaseFileLock | None = None
        self._place: tuple[int, int] | None = None
        self._existed = True

    def lock(self) -> None:
        """Keep other processes away from this seed until `unlock` or the end of this process.

        Raises
        ------
        InUseError
            If another process has locked it.
        UserError
            If the folder cannot be written to.
        """
        try:
            self._existed = self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            file = self.path / ".lock"
            if file.is_dir():
                raise UserError(f"{file} is a folder where a file belongs: remove it, and run the same command again")
            if os.path.lexists(file) and not file.is_file():
                file.unlink()  # locking a pipe or a device would lock all seeds or none
            self._acquire(file)
            for leftover in self.path.rglob(".*.tmp"):  # from a process that was killed while it wrote
                leftover.unlink()
        except OSError as error:
            self._release()
            raise UserError(f"cannot write to {self.path}: {error.strerror or error}") from error

    def _acquire(self, file: Path) -> None:
        """Lock a file, and try again if its former owner removed it meanwhile: it would protect nothing."""
        while True:
            lock = filelock.FileLock(file)
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout as error:
                raise InUseError(f"{self.path} is in use by another process") from error
            self._lock = lock
            opened, self._place = os.fstat(lock._context.lock_file_fd or -1), self._lock_file()
            if self._place == (opened.st_dev, opened.st_ino):
                return
            self._release()
            self.path.mkdir(parents=True, exist_ok=True)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def check_in_place(self) -> None:
        """Refuse to write if the folder was renamed or removed after it was locked: it would come back incomplete.

        Raises
        ------
        RunGoneError
            If the folder of the whole run does not exist any more.
        UserError
            If only the folder of this seed does not exist any more.
        """
        if self._lock is None or self._lock_file() == self._place:
            return
        reason = "was renamed or removed while it was in use; run the command again to go on"
        if not self.path.parent.is_dir():
            raise RunGoneError(f"{self.path.parent} {reason}")
        raise UserError(f"{self.path} {reason}")

    def _lock_file(self) -> tuple[int, int] | None:
        """Return device and inode of the lock file, which are unique while this process keeps it open."""
        try:
            status = (self.path / ".lock").stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def unlock(self) -> None:
        """Release the folder for other processes."""
        if self._lock is not None:
            if not self._existed and not (self.path / "result.json").exists():
                self._remove_empty()
            self._release()

    def _remove_empty(self) -> None:
        """Remove the folders that locking created, if they are still empty."""
        (self.path / ".lock").unlink(missing_ok=True)
        with suppress(OSError):  # not empty: another run is inside
            for folder in (self.path, *list(self.path.parents)[:4]):
                folder.rmdir()

    def check_places(self) -> None:
        """Refuse a folder that contains a folder where a file is to be written.

        Raises
        ------
        UserError
            The message names the folder.
        """
        for place in (*(self.path / name for name in ("result.json", *RECORDS)), self.latest, self.best):
            if place.is_dir():
                raise UserError(f"{place} is a folder where a file belongs: remove it, and run the same command again")

    def result(self) -> dict[str, Any]:
        """Return the content of ``result.json``, or an empty dictionary if it cannot be read."""
        try:
            result = read_json(self.path / "result.json")
        except DamagedFileError:
            return {}
        return result if isinstance(result, dict) else {}

    def problem(self) -> str:
        """Return a line that names the damaged file of a finished seed and the remedy, or "" if there is no damage."""
        result = self.result()
        if not result and os.path.lexists(self.path / "result.json"):
            return f"{self.path / 'result.json'} is damaged: {REMEDY}"
        if result.get("status") != "done":
            return ""
        return check_row(self.path, result).problem

    def finished(self) -> bool:
        """Whether the seed is done and its row is undamaged."""
        return self.result().get("status") == "done" and not self.problem()

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Replace ``result.json``."""
        self.check_in_place()
        write_json(self.path / "result.json", result)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write ``config.yaml``."""
        self.check_in_place()
        text = yaml.dump(dict(config), Dumper=_Readable, sort_keys=False, allow_unicode=True)
        write_atomically(self.path / "config.yaml", text.encode())

    def write_provenance(self, provenance: Mapping[str, Any]) -> None:
        """Write ``provenance.json``; the former content, of earlier parts of the run, moves to ``earlier``."""
        self.check_in_place()
        path = self.path / "provenance.json"
        former: Any = {}
        if os.path.lexists(path):
            try:
                former = read_json(path)
            except DamagedFileError as error:
                former = {"started": None, "lost": error.reason}
        if not isinstance(former, dict) or not isinstance(former.get("earlier", []), list):
            former = {"started": None, "lost": "did not hold what belongs there"}
        earlier = former.pop("earlier", [])
        if former and former.get("started") != provenance["started"]:
            earlier.append(former)
        write_json(path, {**provenance, "earlier": earlier})

    def episodes(self) -> dict[int, pa.Table]:
        """Return the evaluated episodes as one table for each training step with an evaluation.

        Raises
        ------
        DamagedFileError
            If the file cannot be read.
        """
        if not os.path.lexists(self.tables):
            return {}
        check_readable(self.tables)
        try:
            table = pq.read_table(self.tables)
            steps = [int(step) for step in table["step"].unique().to_pylist()]
            return {step: _of_step(table, step) for step in steps}
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise DamagedFileError(self.tables, "is damaged") from error

    def write_episodes(self, tables: Sequence[pa.Table]) -> None:
        """Replace ``evaluation.parquet``."""
        self.check_in_place()
        sink = pa.BufferOutputStream()
        # Only the last evaluation has figures with sampled actions.
        pq.write_table(pa.concat_tables(tables, promote_options="default"), sink)
        write_atomically(self.tables, sink.getvalue().to_pybytes())


def _of_step(table: pa.Table, step: int) -> pa.Table:
    """Return the rows of a step, without the columns that only the last evaluation has if it is another one."""
    rows = table.filter(pa.compute.equal(table["step"], step)).combine_chunks()
    absent = [name for name in rows.column_names if name.startswith(SAMPLED) and rows[name].null_count == rows.num_rows]
    return rows.drop_columns(absent)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write indented JSON atomically; numbers that are not finite are written as null."""
    write_atomically(path, (json.dumps(finite(value), indent=2, allow_nan=False) + "\n").encode())


def finite(value: Any) -> Any:
    """Return nested values with None in place of numbers that are not finite, which JSON cannot represent."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def episode_table(step: int, episodes: Mapping[str, NDArray[np.float64]], seed_index: int) -> pa.Table:
    """Return the episodes of one evaluation of one seed as a table with one row per episode.

    Parameters
    ----------
    step : int
        Environment steps at the evaluation.
    episodes : mapping of str to ndarray of float64, shape (seeds, episodes)
        Metrics of each episode.
    seed_index : int
        Index of the seed on the first axis.
    """
    columns = {name: pa.array(values[seed_index], from_pandas=True) for name, values in episodes.items()}  # NaN: null
    n = len(next(iter(columns.values())))
    return pa.table({"step": np.full(n, step), "episode": np.arange(n), **columns})


def provenance() -> dict[str, Any]:
    """Return versions, commit, machine, command and starting time of this process."""
    return {
        "versions": {"ioa_marl": _version("ioa_marl"), **installed_versions()},
        "commit": _commit(),
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
        },
        "command": sys.argv[1:],
        "started": now(),
    }


def installed_versions() -> dict[str, str | None]:
    """Return the versions of the libraries that results depend on."""
    return {name: _version(name) for name in PACKAGES} | {"python": platform.python_version()}


def now() -> str:
    """Return the current time in UTC, in ISO 8601 to the second."""
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
    """Return the commit of the source tree that is running, or None for an installed package."""
    try:
        process = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() or None if process.returncode == 0 else None


def table_digest(table: pa.Table) -> str:
    """Return a fingerprint of evaluated episodes: the first 16 digits of a SHA-256 over names and values."""
    digest = hashlib.sha256()
    for name in table.column_names:
        values = np.ascontiguousarray(table[name].to_numpy())
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:16]
