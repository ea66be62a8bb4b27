"""What binds a row of a leaderboard: checksums of everything that a board shows, written when a seed is done.

A checksum catches damage. Whoever changes a number on purpose can write a new checksum as well; that is caught by
playing the seed's checkpoint again, see `ioa_marl.training.check`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ioa_marl.foundations.files import DamagedFileError, check_readable, sha256_of

RECORDS = ("config.yaml", "provenance.json", "evaluation.parquet")
"""Files of a seed that a board reads beside ``result.json``."""
WEIGHTS = ("checkpoint/latest.safetensors", "checkpoint/best.safetensors")
"""Checkpoints of a seed; named here once more, because importing those who write them takes seconds."""
CURVES = "events.out.tfevents.*"
"""TensorBoard files of a seed."""
REMEDY = "the same train command makes the row again"
RESEALED = "copy it again, or remove result.json, and the same train command makes the row again"
"""What can be done about a file that only playing again looks at: a sweep finds the seed done."""


@dataclass(frozen=True)
class Integrity:
    """Whether a row is what was written."""

    problem: str
    """The file that is not what it was, with the remedy, in one line; empty where nothing was noticed."""
    checked: bool
    """Whether the row has checksums. Those of earlier versions have none."""
    replayable: bool
    """Whether there is a checkpoint to play the row again with."""


def seal(folder: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a finished seed's result with checksums of the files in ``folder`` and of itself.

    Parameters
    ----------
    folder : Path
        Folder of the seed; everything but ``result.json`` has been written.
    result : mapping
        What ``result.json`` will hold: plain JSON values.
    """
    files = [name for name in (*RECORDS, *WEIGHTS) if (folder / name).exists()]
    files += sorted(path.name for path in folder.glob(CURVES))
    sealed = {
        **result,
        "files": {name: {"bytes": check_readable(folder / name), "sha256": sha256_of(folder / name)} for name in files},
    }
    return {**sealed, "checksum": checksum(sealed)}


def checksum(result: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a result without its checksum, as 64 hexadecimal digits."""
    bound = {key: value for key, value in result.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(bound, sort_keys=True).encode()).hexdigest()


def check_row(folder: Path, result: Mapping[str, Any], *, weights: bool = False) -> Integrity:
    """Compare a finished seed's result and files with the checksums that were written with them.

    Parameters
    ----------
    folder : Path
        Folder of the seed.
    result : mapping
        Its ``result.json``.
    weights : bool, default False
        Whether checkpoints and TensorBoard files are read as well; a board does not show them.
    """
    replayable = not result.get("external") and (folder / WEIGHTS[0]).is_file()
    if "checksum" not in result:
        return Integrity("", False, replayable)
    if result["checksum"] != checksum(result) or not _is_table(result.get("files")):
        return Integrity(f"{folder / 'result.json'} does not match its checksum: {REMEDY}", True, replayable)
    for name, expected in result["files"].items():
        if name in RECORDS or weights:
            problem = _differs(folder / name, expected["sha256"])
            if problem:
                return Integrity(f"{problem}: {REMEDY if name in RECORDS else RESEALED}", True, replayable)
    return Integrity("", True, replayable)


def _is_table(files: Any) -> bool:
    """Whether something is a table of files with their sizes and checksums."""
    return isinstance(files, Mapping) and all(
        isinstance(entry, Mapping) and {"bytes", "sha256"} <= entry.keys() for entry in files.values()
    )


def check_weights(folder: Path, result: Mapping[str, Any]) -> str:
    """Return which checkpoint of a finished seed is missing or has another size, with the remedy, or nothing.

    The row is what was written all the same, and cannot be played again. The content of checkpoints is read when that
    is tried; a sweep that finds a thousand seeds done only looks at sizes.
    """
    files = result.get("files") if "checksum" in result else None  # looked at by `check_row` before
    for name in WEIGHTS:
        expected = files.get(name) if files else None
        if expected is None:
            continue
        try:
            size = check_readable(folder / name)
        except DamagedFileError as error:
            return f"{error}; the row stays, and cannot be played again: {RESEALED}"
        if size != expected["bytes"]:
            told = f"{folder / name} has {size} bytes and had {expected['bytes']}"
            return f"{told}; the row stays, and cannot be played again: {RESEALED}"
    return ""


def _differs(path: Path, expected: str) -> str:
    try:
        return "" if sha256_of(path) == expected else f"{path} does not match its checksum"
    except DamagedFileError as error:
        return str(error)
