"""Search for the folders of seeds in a store, which may be deep, damaged or circular."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MADE_HERE = ".ioa_marl_leaderboard"
"""File that marks a log directory of a leaderboard: it may be replaced, and contains no runs."""
_SEED_FILES = {"result.json", ".lock"}


@dataclass(frozen=True)
class SeedFolders:
    """The result of a search for seeds."""

    seeds: tuple[Path, ...]
    """Folders of seeds, sorted."""
    unreadable: dict[Path, str]
    """Folders that could not be read, and why."""


def find_seeds(runs: Path) -> SeedFolders:
    """Return all folders ``seed_*`` that contain a result or a lock; a seed that failed at once has only a lock.

    Links to folders are followed only if their name is that of a seed: others may lead in a circle or out of the store.
    """
    seeds: list[Path] = []
    unreadable: dict[Path, str] = {}
    pending = [runs]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as entries:
                inside = list(entries)
        except (OSError, ValueError) as error:
            unreadable[folder] = getattr(error, "strerror", None) or str(error)
            continue
        names = {entry.name for entry in inside}
        if folder.name.startswith("seed_") and names & _SEED_FILES:
            seeds.append(folder)
        elif MADE_HERE not in names and (folder is runs or not folder.is_symlink()):
            pending += [folder / entry.name for entry in inside if _is_folder(entry)]
    return SeedFolders(tuple(sorted(seeds)), unreadable)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=entry.name.startswith("seed_"))
    except OSError:  # a link to itself
        return False
