"""Compilation of kernels: one decorator, a cache that notices edits of any kernel, and a word when it takes a while.

Numba's disk cache looks only at the file of the function that is called: an edit of a helper in another file would
silently run old machine code. The cache folder of a file's kernels is therefore named by a hash over that file and
everything of its own package and of this one that it imports, directly or not.
"""

from __future__ import annotations

import logging
import sysconfig
import tempfile
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba
import numba.core.config
from numba.core import event
from numba.core.registry import CPUDispatcher

from ioa_marl.foundations.imports import fingerprint, imported_files
from ioa_marl.foundations.paths import cache_folder

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
R = TypeVar("R")

OWN = "ioa_marl"
"""The package that this file is in."""
_log = logging.getLogger(OWN)
_config: Any = numba.core.config  # its settings are not in its types
_OPTIONS = {
    "nopython": True,
    "error_model": "numpy",
    "_nrt": False,
    "forceinline": True,
    "no_cfunc_wrapper": True,  # an entry from C, that nobody uses
}


class _Kernel(CPUDispatcher):
    """A function that is compiled in one form to be called from Python, and in another to be part of other kernels.

    The entry from Python unpacks every field of every argument. In helpers, which Python never calls, it was a third of
    the time to compile a market. The second form goes without it.
    """

    folder: Path | None = None
    """Where both forms are kept, or None if they are compiled in every process."""

    @cached_property
    def part(self) -> Any:
        """The form that is part of other kernels."""
        part = CPUDispatcher(self.py_func, self.locals, {**self.targetoptions, "no_cpython_wrapper": True})
        if self.folder is not None:
            _keep(part, self.folder / "parts")  # under the names that the other form has in the folder above
        return part

    @property
    def _numba_type_(self) -> Any:
        """What other kernels take this one for."""
        return self.part._numba_type_


def _keep(dispatcher: CPUDispatcher, folder: Path) -> None:
    """Let Numba keep what it compiles in a folder; a user's own functions stay where they are."""
    before = _config.CACHE_DIR
    _config.CACHE_DIR = str(folder)
    try:
        dispatcher.enable_caching()  # which reads the setting
    finally:
        _config.CACHE_DIR = before


class _Announcer(event.Listener):
    """Says what is being compiled before it keeps anybody waiting, once per market and process.

    It is logged as a warning, which Python shows where no logging is set up. ``warnings`` would turn into an error
    where a test suite asks for that, and only as long as nothing is in the cache.
    """

    def __init__(self) -> None:
        self.announced: set[str] = set()

    def on_start(self, compilation: event.Event) -> None:
        """Hear that Numba compiles a function, since it is not in the cache."""
        compiled = compilation.data["dispatcher"]
        market = market_of(compiled.py_func.__module__) if isinstance(compiled, _Kernel) else None
        if market is None or market in self.announced:
            return
        self.announced.add(market)
        often = "once" if compiled.folder is not None else "in every process, for want of a folder that keeps it"
        _log.warning("compiling %s, %s: up to a minute", market, often)

    def on_end(self, compilation: event.Event) -> None:
        """Hear that Numba is done with a function."""


_announcer = _Announcer()
_register: Any = event.register
_register("numba:compile", _announcer)


def market_of(module: str) -> str | None:
    """Return the market that a module of kernels belongs to; None for kernels of no market, which take a second.

    Examples
    --------
    >>> market_of("ioa_marl.markets.double_dutch.kernels"), market_of("my_market.kernels"), market_of("ioa_marl.agents")
    ('double_dutch', 'my_market', None)
    """
    top, *path = module.split(".")
    if top != OWN:
        return top
    if path[0] != "markets" or path[1] == "common":
        return None
    return path[1] if len(path) > 2 else path[1].rpartition("_")[0] or None


def kernel(function: F) -> F:
    """Compile a scalar function or a batched driver in nopython mode, cached on disk.

    Kernels neither allocate arrays nor take views of them, so reference counting is switched off: its atomic
    operations, some hundred a market step, took five sixths of the time. A kernel that does either does not
    compile. Helpers are inlined, or every call would pass some hundred array fields. Division by zero gives infinity
    as in NumPy.
    """
    if _config.DISABLE_JIT:
        return function
    compiled: Any = _Kernel(function, targetoptions=dict(_OPTIONS))
    compiled.folder = _folder(function)
    if compiled.folder is not None:
        _keep(compiled, compiled.folder)
    made: F = compiled
    return made


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


def sources(file: Path, module: str, package: str) -> dict[str, Path]:
    """Return every file that the machine code of the kernels in a source file may depend on.

    Parameters
    ----------
    file : Path
        The source file.
    module : str
        The name of its module as Python has it, perhaps ``__main__``.
    package : str
        The package that the module is in; empty where it is in none.

    Returns
    -------
    dict of str to Path
        Files by the names of their modules: of this package, of the kernel's own, and for a script of what lies beside
        it.
    """
    if package:
        followed = {package.partition(".")[0]}
        module = f"{package}.__main__" if module == "__main__" else module
    elif file.parent == Path(sysconfig.get_path("purelib")):
        followed = {module}
    else:
        followed = {path.stem for path in file.parent.glob("*.py")}
        followed |= {path.parent.name for path in file.parent.glob("*/__init__.py")}
    return imported_files(file, module, frozenset(followed | {OWN}))


def _folder(function: Callable[..., Any]) -> Path | None:
    """Return the cache folder of a kernel, None where it can be compiled in memory only: seconds in every process."""
    file = Path(function.__code__.co_filename)
    if not file.is_file():  # typed into an interpreter or a notebook
        return None
    return _folder_of(file, function.__module__, function.__globals__.get("__package__") or "")


@cache
def _folder_of(file: Path, module: str, package: str) -> Path | None:
    digest = fingerprint(sources(file, module, package))
    for parent in (cache_folder(), Path(tempfile.gettempdir()) / OWN):
        folder = parent / "numba" / digest
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    return None
