"""The files that a source file imports, directly or indirectly, determined from its syntax tree.

Nothing is imported for this, because a kernel needs the answer while its own module is still being imported. All styles
of import are followed, at the top of a file or inside a function: ``import a.b``, ``import a.b as c`` and attributes of
it (``c.d.f``), ``from a import b``, ``from . import b`` and ``from .b import *``. If a package only re-exports a name,
the file that defines the name counts and the rest of the package does not. Imports by a string are not followed.

Parsing fifty files takes a quarter of a second. The names of a file are therefore cached on disk under a hash of the
file's content.
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
    """The names that a source file imports from other modules, and those that it binds itself."""

    imported: tuple[tuple[str, str, str], ...]
    """Imports as (module with its leading dots, name in it, local name). The name is empty if the module itself is
    imported; the local name is empty for an attribute of a module that is imported elsewhere in the file."""
    bound: frozenset[str]
    """Every other name that is bound anywhere in the file, and ``*`` if there is an import with a star."""

    def may_export_any_name(self) -> bool:
        """Whether names can be imported from this file that do not occur in it."""
        return not self.bound.isdisjoint(("*", "__getattr__"))


def imported_files(file: Path, module: str, packages: frozenset[str]) -> dict[str, Path]:
    """Return a source file and all files of the given packages that it imports, directly or indirectly.

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
    pending = [(module, file)]
    while pending:
        name, path = pending.pop()
        if name not in files:
            files[name] = path
            pending += _imported(path, name, packages)
    return files


def fingerprint(files: Mapping[str, Path]) -> str:
    """Return 16 hexadecimal digits that change with the content of the files and with the names of their modules."""
    digest = hashlib.sha256()
    for module, file in sorted(files.items()):
        digest.update(f"{module} {_content_hash(file)}\n".encode())
    return digest.hexdigest()[:16]


def source_file(module: str) -> Path | None:
    """Return the source file of a module without importing it, or None if there is no such module or source."""
    spec = _spec(module)
    origin = spec.origin if spec is not None else None
    return Path(origin) if origin is not None and origin.endswith(".py") and Path(origin).is_file() else None


@cache
def _imported(file: Path, module: str, packages: frozenset[str]) -> tuple[tuple[str, Path], ...]:
    """Return the modules of some packages that one file imports, with their files."""
    files: dict[str, Path] = {}
    for written, name, _ in _names(file).imported:
        start = _absolute(written, module, file)
        if start.partition(".")[0] in packages:
            for origin in _origins(start, name):
                path = source_file(origin)
                if path is not None:
                    files[origin] = path
    return tuple(files.items())


def _absolute(written: str, module: str, file: Path) -> str:
    """Return the full name of a module whose name in a file may have leading dots."""
    name = written.lstrip(".")
    dots = len(written) - len(name)
    if not dots:
        return name
    parts = module.split(".")
    # One dot stands for the package that contains the file; for a package's own file, for the package itself.
    package = parts[: len(parts) - dots + (file.name == "__init__.py")]
    return ".".join([*package, name] if name else package)


def _origins(module: str, name: str, visited: frozenset[tuple[str, str]] = frozenset()) -> Iterator[str]:
    """Yield the modules that may define a name of a module; ``visited`` prevents endless recursion."""
    source = source_file(module)
    below = f"{module}.{name}"
    if not name or (module, name) in visited or (source is not None and source.name != "__init__.py"):
        yield module
        return
    is_module = _spec(below) is not None
    if is_module:
        yield below
    if source is None:  # a package without ``__init__.py``
        return
    names = _names(source)
    re_exports = [(written, original) for written, original, local in names.imported if local == name]
    for written, original in re_exports:
        yield from _origins(_absolute(written, module, source), original, visited | {(module, name)})
    elsewhere = is_module or bool(re_exports)
    if name in names.bound or not elsewhere or (names.may_export_any_name() and not re_exports):
        yield module


@cache
def _spec(module: str) -> ModuleSpec | None:
    """Find a module as Python does, but without importing its parent packages."""
    spec: ModuleSpec | None = getattr(sys.modules.get(module), "__spec__", None)
    if spec is not None:
        return spec
    parent, _, _ = module.rpartition(".")
    above = _spec(parent) if parent else None
    path = above.submodule_search_locations if above is not None else None
    if parent and path is None:
        return None
    for finder in sys.meta_path:
        with suppress(KeyError):  # for a folder without __init__.py Python needs the parent package to be imported
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
    """Return the names of a file from the cache, or by parsing it."""
    # The key includes the content of this file, because it determines the format of the cache.
    key = hashlib.sha256(f"{_content_hash(Path(__file__))} {_content_hash(file)}".encode()).hexdigest()[:32]
    cached = cache_folder() / "imports" / f"{key}.json"
    try:
        entry = json.loads(cached.read_bytes())
        return Names(
            tuple((module, name, local) for module, name, local in entry["imported"]), frozenset(entry["bound"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        names = _parsed(file.read_bytes())
    with suppress(OSError):  # where nothing can be written, files are parsed in every process
        cached.parent.mkdir(parents=True, exist_ok=True)
        unfinished = cached.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps({**asdict(names), "bound": sorted(names.bound)}))
        unfinished.replace(cached)
    return names


def _parsed(content: bytes) -> Names:
    """Return the names of a source text; a text that is not Python has none."""
    try:
        nodes = list(ast.walk(ast.parse(content)))
    except (SyntaxError, ValueError):
        return Names((), frozenset())
    imported: dict[tuple[str, str, str], None] = {}
    bound: set[str] = set()
    modules: dict[str, list[str]] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                imported[alias.name, "", alias.asname or ""] = None
                top = alias.name.partition(".")[0]
                modules.setdefault(alias.asname or top, []).append(alias.name if alias.asname else top)
        elif isinstance(node, ast.ImportFrom):
            written = "." * node.level + (node.module or "")
            for alias in node.names:
                if alias.name == "*":
                    imported[written, "", ""] = None
                    bound.add("*")
                else:
                    local = alias.asname or alias.name
                    imported[written, alias.name, local] = None
                    modules.setdefault(local, []).append(_joined(written, alias.name))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
    for node in nodes:
        if isinstance(node, ast.Attribute):
            imported.update(((module, node.attr, ""), None) for module in _dotted(node.value, modules))
    return Names(tuple(imported), frozenset(bound))


def _dotted(node: ast.expr, modules: Mapping[str, list[str]]) -> list[str]:
    """Return the modules that an expression such as ``c.d`` may refer to; ``modules`` maps local names to modules."""
    if isinstance(node, ast.Name):
        return modules.get(node.id, [])
    if isinstance(node, ast.Attribute):
        return [_joined(module, node.attr) for module in _dotted(node.value, modules)]
    return []


def _joined(module: str, name: str) -> str:
    return f"{module}{name}" if module.endswith(".") else f"{module}.{name}"
