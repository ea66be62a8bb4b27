"""Fingerprints of source files, so that code that was edited without a new version is noticed."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any


@cache
def source_fingerprint(cls: type[Any]) -> str | None:
    """Return a fingerprint of the code of a class: its file and what that imports of the same package.

    Parameters
    ----------
    cls : type
        A market or an agent.

    Returns
    -------
    str or None
        The first 16 digits of a SHA-256; None where there is no source file, as in an interactive session.
    """
    try:
        first = inspect.getsourcefile(cls)
    except (OSError, TypeError):
        return None
    if first is None or not Path(first).is_file():
        return None
    package = cls.__module__.partition(".")[0]
    files: dict[str, Path] = {}
    waiting = [(cls.__module__, Path(first))]
    while waiting:
        module, file = waiting.pop()
        if module in files:
            continue
        files[module] = file
        for name in _imports(file, module):
            found = _file_of(name) if name.partition(".")[0] == package and name not in files else None
            if found is not None:
                waiting.append((name, found))
    digest = hashlib.sha256()
    for module, file in sorted(files.items()):
        digest.update(module.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@cache
def _imports(file: Path, module: str) -> tuple[str, ...]:
    """Return the absolute names that a file imports: modules, and what may be modules."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ()
    inside = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return tuple(dict.fromkeys(_names(tree, inside)))


def _names(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


@cache
def _file_of(module: str) -> Path | None:
    """Return the source file of a module; None for what is none, or has none."""
    loaded = sys.modules.get(module)
    origin = getattr(loaded, "__file__", None)
    if loaded is None:
        try:
            found = importlib.util.find_spec(module)
        except (ImportError, AttributeError, ValueError):
            return None
        origin = found.origin if found is not None else None
    return Path(origin) if origin is not None and origin.endswith(".py") and Path(origin).is_file() else None
