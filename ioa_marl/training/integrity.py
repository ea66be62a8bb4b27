"""Checksums of everything that a leaderboard shows of a seed, written when the seed is done.

A checksum detects damage. It does not detect a deliberate change, which can include a new checksum; playing the
seed's checkpoint again does, see `ioa_marl.training.check`.
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
"""Files of a seed that a board reads in addition to ``result.json``."""
WEIGHTS = ("checkpoint/latest.safetensors", "checkpoint/best.safetensors")
"""Checkpoints of a seed. The names are repeated here because importing the modules that write them takes seconds."""
CURVES = "events.out.tfevents.*"
"""TensorBoard files of a seed."""
REMEDY = "the same train command makes the row again"
RESEALED = "copy it again, or remove result.json, and the same train command makes the row again"
"""Remedy for a file that only a replay reads: a sweep considers the seed done and would not train it again."""


@dataclass(frozen=True)
class Integrity:
    """Whether a row is as it was written."""

    problem: str
    """One line that names the damaged file and the remedy; empty if no damage was detected."""
    checked: bool
    """Whether the row has checksums; rows of earlier versions have none."""
    replayable: bool
    """Whether there is a checkpoint to play again."""


def seal(folder: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a finished seed's result with checksums of the files in ``folder`` and of itself.

    Parameters
    ----------
    folder : Path
        Folder of the seed, in which everything except ``result.json`` has been written.
    result : mapping
        The content of ``result.json``: plain JSON values.
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
    covered = {key: value for key, value in result.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()


def check_row(folder: Path, result: Mapping[str, Any], *, weights: bool = False) -> Integrity:
    """Compare the result and files of a finished seed with their checksums.

    Parameters
    ----------
    folder : Path
        Folder of the seed.
    result : mapping
        The content of its ``result.json``.
    weights : bool, default False
        Whether checkpoints and TensorBoard files are compared as well; a board does not show them.
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
    """Whether ``files`` maps names to sizes and checksums."""
    return isinstance(files, Mapping) and all(
        isinstance(entry, Mapping) and {"bytes", "sha256"} <= entry.keys() for entry in files.values()
    )


def check_weights(folder: Path, result: Mapping[str, Any]) -> str:
    """Return a line about the first checkpoint of a finished seed that is missing or has another size, or "".

    The row remains valid without the checkpoint but cannot be played again. Only sizes are compared, so that a sweep
    over a thousand finished seeds stays fast; a replay reads the content.
    """
    files = result.get("files") if "checksum" in result else None  # `check_row` has checked its form
    for name in WEIGHTS:
        expected = files.get(name) if files else None
        if expected is None:
            continue
        try:
            size = check_readable(folder / name)
        except DamagedFileError as error:
            return f"{error}; the row stays, and cannot be played again: {RESEALED}"
        if size != expected["bytes"]:
            difference = f"{folder / name} has {size} bytes and had {expected['bytes']}"
            return f"{difference}; the row stays, and cannot be played again: {RESEALED}"
    return ""


def _differs(path: Path, expected: str) -> str:
    try:
        return "" if sha256_of(path) == expected else f"{path} does not match its checksum"
    except DamagedFileError as error:
        return str(error)
