"""What a source file imports, directly or not, read from its syntax tree.

Nothing is imported to find this out: a kernel asks while its own module is still being imported. All styles of import
are followed, at the top of a file or inside a function: ``import a.b``, ``import a.b as c`` and what is then looked
up in it (``c.d.f``), ``from a import b``, ``from . import b`` and ``from .b import *``. Where a package only hands on
a name, the file that defines the name counts and the rest of the package does not. What is imported by a string is
not seen.

To parse fifty files takes a quarter of a second. What was read from a file is therefore kept in the cache folder, under
a hash of the file's content.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path

from ioa_marl.foundations.paths import cache_folder


@dataclass(frozen=True)
class Names:
    """The names that a source file takes from other modules, and those that it binds itself."""

    taken: tuple[tuple[str, str, str], ...]
    """The module, with its leading dots; the name that is taken from it, empty where it is the module itself; the name
    that it is imported under, empty where it is looked up in a module that is imported already."""
    bound: frozenset[str]
    """Every other name that is bound anywhere in the file, and ``*`` if anything is imported by a star."""

    def hands_on_anything(self) -> bool:
        """Return whether names can be imported from this file that are written nowhere in it."""
        return not self.bound.isdisjoint(("*", "__getattr__"))


def imported_files(file: Path, module: str, packages: frozenset[str]) -> dict[str, Path]:
    """Return a source file and everything that it imports, directly or not, of some packages.

    Parameters
    ----------
    file : Path
        The source file.
    module : str
        The name of its module, from which relative imports start.
    packages : frozenset of str
        Names of top-level packages and modules. Imports of others are not followed.

    Returns
    -------
    dict of str to Path
        Files by the names of their modules.
    """
    files: dict[str, Path] = {}
    waiting = [(module, file)]
    while waiting:
        name, path = waiting.pop()
        if name not in files:
            files[name] = path
            waiting += _imported(path, name, packages)
    return files


def fingerprint(files: Mapping[str, Path]) -> str:
    """Return 16 hexadecimal digits that change with the content of the files and with the names of their modules."""
    digest = hashlib.sha256()
    for module, file in sorted(files.items()):
        digest.update(f"{module} {_content_hash(file)}\n".encode())
    return digest.hexdigest()[:16]


def source_file(module: str) -> Path | None:
    """Return the source file of a module that need not be imported; None for what is no module, or has no source."""
    spec = _spec(module)
    origin = spec.origin if spec is not None else None
    return Path(origin) if origin is not None and origin.endswith(".py") and Path(origin).is_file() else None


@cache
def _imported(file: Path, module: str, packages: frozenset[str]) -> tuple[tuple[str, Path], ...]:
    """Return the modules of some packages that one file imports, with their files."""
    found: dict[str, Path] = {}
    for written, name, _ in _names(file).taken:
        start = _absolute(written, module, file)
        if start.partition(".")[0] in packages:
            for origin in _origins(start, name):
                path = source_file(origin)
                if path is not None:
                    found[origin] = path
    return tuple(found.items())


def _absolute(written: str, module: str, file: Path) -> str:
    """Return the full name of a module that is written in a file, perhaps with leading dots."""
    name = written.lstrip(".")
    dots = len(written) - len(name)
    if not dots:
        return name
    parts = module.split(".")
    # One dot is the package that the file is in, and a package is in itself.
    package = parts[: len(parts) - dots + (file.name == "__init__.py")]
    return ".".join([*package, name] if name else package)


def _origins(module: str, name: str, asked: frozenset[tuple[str, str]] = frozenset()) -> Iterator[str]:
    """Yield the modules that may define a name of a module; ``asked`` holds the questions that led to this one."""
    source = source_file(module)
    below = f"{module}.{name}"
    if not name or (module, name) in asked or (source is not None and source.name != "__init__.py"):
        yield module
        return
    is_module = _spec(below) is not None
    if is_module:
        yield below
    if source is None:  # a package without a file of its own
        return
    names = _names(source)
    handed_on = [(written, taken) for written, taken, given in names.taken if given == name]
    for written, taken in handed_on:
        yield from _origins(_absolute(written, module, source), taken, asked | {(module, name)})
    elsewhere = is_module or bool(handed_on)
    if name in names.bound or not elsewhere or (names.hands_on_anything() and not handed_on):
        yield module


@cache
def _spec(module: str) -> ModuleSpec | None:
    """Find a module as Python does, but without importing the packages that it is in."""
    spec: ModuleSpec | None = getattr(sys.modules.get(module), "__spec__", None)
    if spec is not None:
        return spec
    parent, _, _ = module.rpartition(".")
    above = _spec(parent) if parent else None
    path = above.submodule_search_locations if above is not None else None
    if parent and path is None:
        return None
    for finder in sys.meta_path:
        with suppress(KeyError):  # for a folder without __init__.py Python wants to see the package above imported
            spec = finder.find_spec(module, path)
        if spec is not None:
            return spec
    folders = [str(folder) for entry in path or () if (folder := Path(entry) / module.rpartition(".")[2]).is_dir()]
    if not folders:
        return None
    spec = ModuleSpec(module, None, is_package=True)
    spec.submodule_search_locations = folders
    return spec


@cache
def _content_hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@cache
def _names(file: Path) -> Names:
    """Return the names of a file, which is parsed if that has not been kept."""
    # What is kept depends on this file as well.
    key = hashlib.sha256(f"{_content_hash(Path(__file__))} {_content_hash(file)}".encode()).hexdigest()[:32]
    kept = cache_folder() / "imports" / f"{key}.json"
    try:
        read = json.loads(kept.read_bytes())
        return Names(tuple((module, name, given) for module, name, given in read["taken"]), frozenset(read["bound"]))
    except (OSError, ValueError, KeyError, TypeError):
        names = _parsed(file.read_bytes())
    with suppress(OSError):  # where nothing can be written, files are parsed in every process
        kept.parent.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps({**asdict(names), "bound": sorted(names.bound)}))
        unfinished.replace(kept)
    return names


def _parsed(content: bytes) -> Names:
    """Return the names of a source text; one that is no Python has none."""
    try:
        nodes = list(ast.walk(ast.parse(content)))
    except (SyntaxError, ValueError):
        return Names((), frozenset())
    taken: dict[tuple[str, str, str], None] = {}
    bound: set[str] = set()
    modules: dict[str, list[str]] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                taken[alias.name, "", alias.asname or ""] = None
                top = alias.name.partition(".")[0]
                modules.setdefault(alias.asname or top, []).append(alias.name if alias.asname else top)
        elif isinstance(node, ast.ImportFrom):
            written = "." * node.level + (node.module or "")
            for alias in node.names:
                if alias.name == "*":
                    taken[written, "", ""] = None
                    bound.add("*")
                else:
                    given = alias.asname or alias.name
                    taken[written, alias.name, given] = None
                    modules.setdefault(given, []).append(_joined(written, alias.name))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
    for node in nodes:
        if isinstance(node, ast.Attribute):
            taken.update(((module, node.attr, ""), None) for module in _dotted(node.value, modules))
    return Names(tuple(taken), frozenset(bound))


def _dotted(node: ast.expr, modules: Mapping[str, list[str]]) -> list[str]:
    """Return what an expression like ``c.d`` may name, given what the names of modules stand for."""
    if isinstance(node, ast.Name):
        return modules.get(node.id, [])
    if isinstance(node, ast.Attribute):
        return [_joined(module, node.attr) for module in _dotted(node.value, modules)]
    return []


def _joined(module: str, name: str) -> str:
    return f"{module}{name}" if module.endswith(".") else f"{module}.{name}"
