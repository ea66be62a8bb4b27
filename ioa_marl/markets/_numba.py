"""Compilation of market kernels: one decorator, and a cache that notices edits of any kernel.

Numba's disk cache looks only at the file of the function that is called: an edit of a helper in another
file would silently run old machine code. The cache folder of a file's kernels is therefore named by a hash over
that file and everything of this package that it imports, directly or not.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba
import numba.core.config

from ioa_marl.paths import cache_folder

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
R = TypeVar("R")


_IMPORT = re.compile(r"^\s*from ioa_marl\.markets(?:\.(\w+))? import (\([^)]*\)|[^\n]*)", re.MULTILINE)


@cache
def _imported(source: Path) -> frozenset[Path]:
    """Return the modules of this package that a source file imports by name."""
    names: set[str] = set()
    for module, what in _IMPORT.findall(source.read_text(encoding="utf-8")):
        names.update([module] if module else re.findall(r"(\w+)(?:\s+as\s+\w+)?", what))
    files = (Path(__file__).parent / f"{name}.py" for name in names)
    return frozenset(file for file in files if file.exists())


@cache
def _kernel_cache(source: Path) -> str | None:
    """Return the cache folder of the kernels in a source file, None where nothing can be written."""
    here = Path(__file__).parent
    # What another package's kernel calls may be in any file beside it.
    waiting = [source] if source.parent == here else sorted(source.parent.glob("*.py"))
    sources: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file not in sources:
            sources.add(file)
            waiting += _imported(file)
    digest = hashlib.sha256()
    for file in sorted(sources | {Path(__file__)}):
        digest.update(file.read_bytes())
    for parent in (cache_folder(), Path(tempfile.gettempdir()) / "ioa_marl"):
        folder = parent / "numba" / digest.hexdigest()[:16]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return str(folder)
        except OSError:
            continue
    return None  # nothing can be written: compile in memory, seconds per process


def kernel(function: F) -> F:
    """Compile a scalar function or a batched driver in nopython mode, cached on disk.

    Kernels neither allocate arrays nor take views of them, so reference counting is switched off: its atomic
    operations, some hundred a market step, took five sixths of the time. A kernel that does either does not
    compile. Helpers are inlined, or every call would pass some hundred array fields. Division by zero gives infinity
    as in NumPy.
    """
    folder = _kernel_cache(Path(function.__code__.co_filename))
    settings: Any = numba.core.config
    njit: Any = numba.njit  # its types leave out the switch for reference counting
    before = settings.CACHE_DIR
    # The setting is read when the function is decorated; a user's own kernels keep theirs.
    settings.CACHE_DIR = folder or before
    try:
        compiled: F = njit(cache=folder is not None, error_model="numpy", _nrt=False, forceinline=True)(function)
    finally:
        settings.CACHE_DIR = before
    return compiled


def machine_code(driver: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> Callable[P, R]:
    """Return the machine code of ``driver`` for arguments of these types, to be called with no others.

    Numba's own call looks up the types of all arguments every time: 3 µs for named tuples of arrays, six times what
    one market's step takes. With Numba switched off, the driver is plain Python and is returned as it is.
    """
    compile_for = getattr(driver, "compile", None)
    if compile_for is None:
        return driver
    typeof: Any = numba.typeof
    compiled: Callable[P, R] = compile_for(tuple(typeof(value) for value in arguments))
    return compiled
