"""Find the folders of seeds in a store, however deep, damaged or circular it is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MADE_HERE = ".ioa_marl_leaderboard"
"""File in a log directory that says that it is of a leaderboard: it may be replaced, and there is no run in it."""
_OF_A_SEED = {"result.json", ".lock"}


@dataclass(frozen=True)
class Found:
    """What lies in a store."""

    seeds: tuple[Path, ...]
    """Folders of seeds, sorted."""
    unreadable: dict[Path, str]
    """Folders that could not be looked into, and why."""


def find_seeds(runs: Path) -> Found:
    """Return all folders ``seed_*`` with a result or a lock in them; a seed that died at once has nothing but a lock.

    Links to folders are not followed, but for those to a seed: they may lead in a circle, or out of the store.
    """
    seeds: list[Path] = []
    unreadable: dict[Path, str] = {}
    waiting = [runs]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                inside = list(entries)
        except (OSError, ValueError) as error:
            unreadable[folder] = getattr(error, "strerror", None) or str(error)
            continue
        names = {entry.name for entry in inside}
        if folder.name.startswith("seed_") and names & _OF_A_SEED:
            seeds.append(folder)
        elif MADE_HERE not in names and (folder is runs or not folder.is_symlink()):
            waiting += [folder / entry.name for entry in inside if _is_folder(entry)]
    return Found(tuple(sorted(seeds)), unreadable)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=entry.name.startswith("seed_"))
    except OSError:  # a link to itself
        return False
