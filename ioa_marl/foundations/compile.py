"""Compilation of kernels: a decorator, a cache that notices edits of any dependency, and a message about long waits.

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
    "no_cfunc_wrapper": True,  # the entry point from C is not used
}


class _Kernel(CPUDispatcher):
    """A function that is compiled in two forms: to be called from Python, and to be inlined in other kernels.

    The entry point from Python unpacks every field of every argument. Compiling it for helpers, which Python never
    calls, took a third of the time to compile a market; the second form has no such entry point.
    """

    folder: Path | None = None
    """Cache folder of both forms, or None if they are compiled in every process."""

    @cached_property
    def part(self) -> Any:
        """The form that is inlined in other kernels."""
        part = CPUDispatcher(self.py_func, self.locals, {**self.targetoptions, "no_cpython_wrapper": True})
        if self.folder is not None:
            _enable_cache(part, self.folder / "parts")  # the other form has the same names in the folder above
        return part

    @property
    def _numba_type_(self) -> Any:
        """The type of the kernel as other kernels see it."""
        return self.part._numba_type_


def _enable_cache(dispatcher: CPUDispatcher, folder: Path) -> None:
    """Let Numba cache a function in a folder, without changing the cache of the user's own functions."""
    before = _config.CACHE_DIR
    _config.CACHE_DIR = str(folder)
    try:
        dispatcher.enable_caching()  # which reads the setting
    finally:
        _config.CACHE_DIR = before


class _Announcer(event.Listener):
    """Logs a message before a market is compiled, once per market and process.

    The message is logged as a warning, which Python shows even if logging is not configured. The module ``warnings``
    is not used: in test suites that turn warnings into errors, tests would fail as long as the cache is empty.
    """

    def __init__(self) -> None:
        self.announced: set[str] = set()

    def on_start(self, compilation: event.Event) -> None:
        """Log the message if Numba starts to compile a kernel, because it is not in the cache."""
        compiled = compilation.data["dispatcher"]
        market = market_of(compiled.py_func.__module__) if isinstance(compiled, _Kernel) else None
        if market is None or market in self.announced:
            return
        self.announced.add(market)
        often = "once" if compiled.folder is not None else "in every process, for want of a folder that keeps it"
        _log.warning("compiling %s, %s: up to a minute", market, often)

    def on_end(self, compilation: event.Event) -> None:
        """Do nothing when Numba has finished; the interface requires the method."""


_announcer = _Announcer()
_register: Any = event.register
_register("numba:compile", _announcer)


def market_of(module: str) -> str | None:
    """Return the market of a module of kernels, or None for other kernels, which compile in a second.

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
    operations, about a hundred per market step, took five sixths of the time. A kernel that does either does not
    compile. Helpers are inlined, because otherwise every call would pass about a hundred array fields. Division by zero
    gives infinity, as in NumPy.
    """
    if _config.DISABLE_JIT:
        return function
    compiled: Any = _Kernel(function, targetoptions=dict(_OPTIONS))
    compiled.folder = _folder(function)
    if compiled.folder is not None:
        _enable_cache(compiled, compiled.folder)
    kernel_function: F = compiled
    return kernel_function


def machine_code(driver: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> Callable[P, R]:
    """Return the machine code of ``driver`` for arguments of these types; calls with other types are not allowed.

    Numba's own dispatch determines the types of all arguments at every call. For named tuples of arrays this takes
    3 µs, six times as long as a step of one market. With Numba disabled, the driver is plain Python and is returned
    unchanged.
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
        The name of its module, which may be ``__main__``.
    package : str
        The package that contains the module; empty if there is none.

    Returns
    -------
    dict of str to Path
        Files by the names of their modules: of this package, of the kernel's own package, and for a script of the
        modules in its folder.
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
    """Return the cache folder of a kernel, or None if it can only be compiled in memory."""
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
