"""Files that may be damaged, endless or a stranger's: read within bounds, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import yaml

from ioa_marl.foundations.errors import UserError

LARGEST_TEXT = 16 * 2**20
"""Bytes of a JSON or YAML file that is read."""
LARGEST_FILE = 64 * 2**30
"""Bytes of any file that is read."""
DEEPEST = 64
"""Levels of nested lists and mappings in a JSON or YAML file."""
MOST_VALUES = 200_000
"""Values in a JSON or YAML file, each counted as often as it is referred to."""


class DamagedFileError(UserError):
    """A file exists and cannot be used; the message is one line that names it.

    Parameters
    ----------
    path : Path
        The file.
    reason : str
        What is wrong with it, as it follows the file's name.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.path, self.reason = path, reason


def check_readable(path: Path, most: int = LARGEST_FILE) -> int:
    """Return the size of a file in bytes, after making sure that reading it comes to an end.

    Raises
    ------
    DamagedFileError
        If it is missing, no regular file, or larger than ``most`` bytes.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise DamagedFileError(path, f"cannot be read: {_reason(error)}") from error
    if not stat.S_ISREG(found.st_mode):
        raise DamagedFileError(path, "is a folder" if stat.S_ISDIR(found.st_mode) else "is not a regular file")
    if found.st_size > most:
        raise DamagedFileError(path, f"has {found.st_size} bytes; at most {most} are read")
    return found.st_size


def read_bytes(path: Path, most: int = LARGEST_FILE) -> bytes:
    """Return the content of a regular file of at most ``most`` bytes.

    Raises
    ------
    DamagedFileError
        If it is missing, no regular file, too large, or cannot be read.
    """
    check_readable(path, most)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DamagedFileError(path, f"cannot be read: {_reason(error)}") from error


def read_text(path: Path, most: int = LARGEST_TEXT) -> str:
    """Return a text in UTF-8, whatever the locale; errors as in `read_bytes`."""
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DamagedFileError(path, "is not text in UTF-8") from error


def read_json(path: Path, most: int = LARGEST_TEXT) -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    DamagedFileError
        If it cannot be read, is no JSON, or is nested too deeply.
    """
    text = read_text(path, most)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(path, f"is not JSON: {_reason(error)}") from error
    _check_extent(path, found)
    return found


def read_yaml(path: Path, most: int = LARGEST_TEXT) -> Any:
    """Return what a YAML file of plain values holds.

    Raises
    ------
    DamagedFileError
        If it cannot be read, is no YAML, is nested too deeply, refers to itself, or grows too large by references.
    """
    text = read_text(path, most)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        found = yaml.load(text, Loader=loader)  # a safe loader makes plain values only
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise DamagedFileError(path, f"is not YAML: {_reason(error)}") from error
    _check_extent(path, found)
    return found


def _check_extent(path: Path, value: Any) -> None:
    """Refuse nested values that nobody could walk through: YAML can refer to itself, or double at every level."""
    waiting = [(value, 0)]
    seen = 0
    while waiting:
        inner, depth = waiting.pop()
        seen += 1
        if depth > DEEPEST:
            raise DamagedFileError(path, f"is nested more than {DEEPEST} levels deep")
        if seen > MOST_VALUES:
            raise DamagedFileError(path, f"holds more than {MOST_VALUES} values")
        if isinstance(inner, dict):
            waiting += [(held, depth + 1) for held in inner.values()]
        elif isinstance(inner, (list, tuple, set)):
            waiting += [(held, depth + 1) for held in inner]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a regular file, as 64 hexadecimal digits; errors as in `read_bytes`."""
    check_readable(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DamagedFileError(path, f"cannot be read: {_reason(error)}") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data`` so that at any moment either the old or the new file is there, whole.

    Raises
    ------
    UserError
        If it cannot be written; the old file is intact then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        kept = "; the previous one is intact" if path.exists() else ""
        raise UserError(f"cannot write {path}: {error.strerror or error}{kept}") from error


def check_working_folder() -> None:
    """Refuse to go on where the folder that this process runs in was removed.

    Raises
    ------
    UserError
        If it was.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise UserError("the working folder was renamed or removed; change to one that is there") from error


def _reason(error: BaseException) -> str:
    told = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(told).split())[:200]
