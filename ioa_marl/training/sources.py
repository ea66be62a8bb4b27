"""Fingerprints of the code of markets and agents, which reveal code that was edited without a new version."""

from __future__ import annotations

import inspect
from functools import cache
from pathlib import Path
from typing import Any

from ioa_marl.foundations.imports import fingerprint, imported_files


@cache
def source_fingerprint(cls: type[Any]) -> str | None:
    """Return a fingerprint of the code of a class: its file and all modules of the same package that the file imports.

    Parameters
    ----------
    cls : type
        The class of a market or an agent.

    Returns
    -------
    str or None
        The first 16 digits of a SHA-256; None where there is no source file, as in an interactive session.
    """
    try:
        file = inspect.getsourcefile(cls)
    except (OSError, TypeError):
        return None
    if file is None or not Path(file).is_file():
        return None
    package = cls.__module__.partition(".")[0]
    return fingerprint(imported_files(Path(file), cls.__module__, frozenset({package})))
