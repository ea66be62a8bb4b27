"""The cache folder, for files that can be computed again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the cache folder: ``$IOA_MARL_CACHE``, else ``$XDG_CACHE_HOME/ioa_marl``, else ``~/.cache/ioa_marl``."""
    chosen = os.environ.get("IOA_MARL_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ioa_marl"
