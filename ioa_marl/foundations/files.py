"""Reading of untrusted files within bounds, and writing that is complete or has no effect."""

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
"""Largest JSON or YAML file that is read [bytes]."""
LARGEST_FILE = 64 * 2**30
"""Largest file that is read [bytes]."""
DEEPEST = 64
"""Largest number of levels of nested lists and mappings in a JSON or YAML file."""
MOST_VALUES = 200_000
"""Largest number of values in a JSON or YAML file; a value counts once per reference to it."""


class DamagedFileError(UserError):
    """A file exists and cannot be used; the message is one line that names it.

    Parameters
    ----------
    path : Path
        The file.
    reason : str
        What is wrong with it; the message is the path and this text.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.path, self.reason = path, reason


def exists(path: Path) -> bool:
    """Return whether there is such a file or folder; a name that is too long to exist does not exist."""
    try:
        return path.exists()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Return whether there is such a folder; a name that is too long to exist does not exist."""
    return exists(path) and path.is_dir()


def check_readable(path: Path, most: int = LARGEST_FILE) -> int:
    """Return the size of a file [bytes], after checking that it is a regular file of bounded size.

    Raises
    ------
    DamagedFileError
        If it is missing, no regular file, or larger than ``most`` bytes.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise DamagedFileError(path, f"cannot be read: {_reason(error)}") from error
    if not stat.S_ISREG(status.st_mode):
        raise DamagedFileError(path, "is a folder" if stat.S_ISDIR(status.st_mode) else "is not a regular file")
    if status.st_size > most:
        raise DamagedFileError(path, f"has {status.st_size} bytes; at most {most} are read")
    return status.st_size


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
    """Return the text of a file in UTF-8, independently of the locale; errors are those of `read_bytes`."""
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DamagedFileError(path, "is not text in UTF-8") from error


def read_json(path: Path, most: int = LARGEST_TEXT) -> Any:
    """Return the content of a JSON file.

    Raises
    ------
    DamagedFileError
        If it cannot be read, is no JSON, or is nested too deeply.
    """
    text = read_text(path, most)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(path, f"is not JSON: {_reason(error)}") from error
    _check_extent(path, content)
    return content


def read_yaml(path: Path, most: int = LARGEST_TEXT) -> Any:
    """Return the content of a YAML file of plain values.

    Raises
    ------
    DamagedFileError
        If it cannot be read, is no YAML, is nested too deeply, refers to itself, or grows too large by references.
    """
    text = read_text(path, most)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(text, Loader=loader)  # a safe loader makes plain values only
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise DamagedFileError(path, f"is not YAML: {_reason(error)}") from error
    _check_extent(path, content)
    return content


def _check_extent(path: Path, value: Any) -> None:
    """Refuse values that are nested too deeply or too many: YAML can refer to itself or double at every level."""
    pending = [(value, 0)]
    count = 0
    while pending:
        inner, depth = pending.pop()
        count += 1
        if depth > DEEPEST:
            raise DamagedFileError(path, f"is nested more than {DEEPEST} levels deep")
        if count > MOST_VALUES:
            raise DamagedFileError(path, f"holds more than {MOST_VALUES} values")
        if isinstance(inner, dict):
            pending += [(element, depth + 1) for element in inner.values()]
        elif isinstance(inner, (list, tuple, set)):
            pending += [(element, depth + 1) for element in inner]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a regular file as 64 hexadecimal digits; errors are those of `read_bytes`."""
    check_readable(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DamagedFileError(path, f"cannot be read: {_reason(error)}") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file so that at any moment either the complete old or the complete new content exists.

    Raises
    ------
    UserError
        If it cannot be written; in that case the old file is intact.
    """
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        intact = "; the previous one is intact" if path.exists() else ""
        raise UserError(f"cannot write {path}: {error.strerror or error}{intact}") from error


def _temporary(path: Path) -> Path:
    """Return the file that is written before it replaces ``path``."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def check_writable(path: Path, suffix: str) -> None:
    """Refuse a path that cannot be written, before the work that would be lost.

    Parameters
    ----------
    path : Path
        The file.
    suffix : str
        How its name must end, in any case, such as ``.csv``.

    Raises
    ------
    UserError
        If the name ends otherwise, or the file is a folder or would be in a place that cannot be written to.
    """
    if path.suffix.lower() != suffix:
        raise UserError(f"{path} is not allowed: use a name that ends with {suffix}")
    try:
        _temporary(path).lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write {path}: {_reason(error)}") from error
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder")
    folder = next(parent for parent in (path.parent, *path.parent.parents) if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"cannot write {path}: {folder} is not a folder that can be written to")


def check_working_folder() -> None:
    """Check that the working folder of this process still exists.

    Raises
    ------
    UserError
        If it was renamed or removed.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise UserError("the working folder was renamed or removed; change to one that is there") from error


def _reason(error: BaseException) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(reason).split())[:200]
