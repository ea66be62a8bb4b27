"""One seed of a run as its folder tells it, with every value checked for its type."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ioa_marl.foundations.files import DamagedFileError
from ioa_marl.leaderboard.curves import Curve
from ioa_marl.leaderboard.settings import LARGEST_INTEGER, Settings
from ioa_marl.leaderboard.text import LONGEST_NAME, shortened, visible

DONE, FAILED, DAMAGED, UNFINISHED = "done", "failed", "damaged", "unfinished"

INTACT = "intact"
UNCHECKED = "unchecked"
NOT_REPLAYABLE = "cannot be replayed"
REPLAYED = "replayed"

LARGEST = 1e38
"""Size of a number up to which TensorBoard, which keeps single precision, can show it."""
MOST_NUMBERS = 1000
"""Metrics of a seed that are shown; more would be a column each."""
NAMES = ("env", "preset", "agent", "digest")


@dataclass(frozen=True)
class SeedRow:
    """One seed of a run; all its text is `visible`."""

    folder: Path
    env: str
    preset: str
    agent: str
    """Label of the agent, with its role where it is not the usual one."""
    digest: str
    """Hash of the run's settings."""
    seed: int
    """Training seed; -1 where neither the result nor the folder's name tells it."""
    status: str
    """`DONE`, `FAILED`, `DAMAGED` or `UNFINISHED`."""
    reason: str = ""
    """Why it is not done, in one line."""
    budget: int | None = None
    """Environment steps asked for."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Per scored role."""
    references: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """``random``, ``optimum`` and ``constant``: mean objective per scored role."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Means over the last evaluation's episodes."""
    bidder_gain: Mapping[str, float] = field(default_factory=dict)
    """Per role of bidders what they would gain by the best constant action, where that was asked for."""
    env_steps: int | None = None
    """Environment steps trained; 0 for what does not learn."""
    steps_per_second: float | None = None
    """Of all seeds that trained together."""
    train_seconds: float | None = None
    """Wall time of all seeds that trained together."""
    seeds_together: int | None = None
    parameters: int | None = None
    code: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of the source files of market and agents, where they were recorded."""
    commit: str | None = None
    settings: Settings = field(default_factory=dict)
    """Resolved configuration, flattened; see `ioa_marl.leaderboard.settings.flatten`."""
    curve: Curve | None = None
    """Learning curve; None where its file is missing or cannot be used."""
    checked: str = ""
    """What is known of a seed that is done: `INTACT`, `UNCHECKED`, `NOT_REPLAYABLE` or `REPLAYED`."""
    replayable: bool = False
    """Whether there is a checkpoint to play it again with."""
    notes: tuple[str, ...] = ()
    """What else a reader of its numbers should know, one line each."""


class Record:
    """A ``result.json``, of which each value is asked for by its type.

    Parameters
    ----------
    path : Path
        The file, for messages.
    held : mapping
        What it holds.
    """

    def __init__(self, path: Path, held: Mapping[str, Any]) -> None:
        self._path, self._held = path, held
        self.wrong: list[str] = []
        """Keys whose values have not the type they should have; they count as missing."""

    def name(self, key: str, otherwise: str) -> str:
        """Return a name; of what it is called by without one, if the record says nothing."""
        value = self._held.get(key)
        if value is None:
            return otherwise
        if not isinstance(value, str) or not value or len(value) > LONGEST_NAME:
            raise DamagedFileError(self._path, f"is damaged: {key}={_told(value)} is not a name")
        return visible(value)

    def seed(self, folder: Path) -> int:
        """Return the training seed, from the folder's name if the record has none."""
        value = self._held.get("seed")
        if value is None:
            return seed_of(folder)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_INTEGER:
            raise DamagedFileError(self._path, f"is damaged: seed={_told(value)} is not a whole number")
        return value

    def scores(self) -> dict[str, float]:
        """Return the scores, which a row cannot do without; NaN for what has none."""
        held = self._held.get("scores", {})
        found = self.numbers("scores")
        if self.wrong:
            raise DamagedFileError(self._path, f"is damaged: scores={_told(held)} is not a number for each role")
        return found

    def number(self, key: str) -> float | None:
        """Return a finite number."""
        value = self._held.get(key)
        if value is None:
            return None
        found = _number(value)
        if found is None or math.isnan(found):
            self.wrong.append(key)
            return None
        return found

    def whole(self, key: str) -> int | None:
        """Return a count."""
        value = self._held.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_INTEGER:
            self.wrong.append(key)
            return None
        return value

    def numbers(self, key: str) -> dict[str, float]:
        """Return numbers by name, NaN for what is no finite number."""
        return self._numbers(key, self._held.get(key))

    def references(self) -> dict[str, dict[str, float]]:
        """Return the marks of the scale: numbers by role, by name of the mark."""
        held = self._held.get("references")
        if not isinstance(held, Mapping):
            self.wrong += ["references"] if held is not None else []
            return {}
        return {visible(name): self._numbers("references", inner) for name, inner in list(held.items())[:MOST_NUMBERS]}

    def texts(self, key: str) -> dict[str, str]:
        """Return texts by name, without those that are none."""
        held = self._held.get(key)
        pairs = held.items() if isinstance(held, Mapping) else ()
        return {visible(name): visible(value) for name, value in pairs if isinstance(value, str)}

    def _numbers(self, key: str, held: Any) -> dict[str, float]:
        if held is None:
            return {}
        if not isinstance(held, Mapping) or len(held) > MOST_NUMBERS:
            self.wrong.append(key)
            return {}
        found = {}
        for name, value in held.items():
            number = math.nan if value is None else _number(value)
            if number is None or not _is_name(name):
                self.wrong.append(f"{key}.{shortened(visible(name), 40)}")
            else:
                found[visible(name)] = number
        return found


def seed_of(folder: Path) -> int:
    """Return the seed that the name of a folder tells, or -1."""
    digits = re.fullmatch(r"seed_(\d{1,18})", folder.name, re.ASCII)
    return int(digits[1]) if digits else -1


def names_from_path(folder: Path) -> dict[str, str]:
    """Return env, preset, agent and digest as ``ENV-PRESET/AGENT/DIGEST/seed_S`` tells them."""
    parts = [visible(part) for part in (*("?",) * 3, *folder.parts[:-1])[-3:]]
    env, _, preset = parts[0].partition("-")
    return {"env": env, "preset": preset, "agent": parts[1], "digest": parts[2]}


def on_scale(seed: SeedRow, role: str, objective: float) -> float:
    """Return where an objective is on the scale of a seed; NaN where its references do not tell."""
    zero = zero_of(seed, role)
    one = seed.references.get("optimum", {}).get(role, math.nan)
    return (objective - zero) / (one - zero) if one != zero else math.nan


def zero_of(seed: SeedRow, role: str) -> float:
    """Return the objective that scores 0, NaN where the references do not tell."""
    return seed.references.get("zero", seed.references.get("random", {})).get(role, math.nan)


def _number(value: Any) -> float | None:
    """Return a number that can be shown, NaN for one that is not finite, and None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return math.nan
    return float(value) if abs(value) <= LARGEST else None


def _is_name(key: str) -> bool:
    # TensorBoard keeps hyperparameters under tags that begin so.
    return 0 < len(key) <= LONGEST_NAME and not key.startswith("_hparams_")


def _told(value: Any) -> str:
    try:
        return shortened(visible(repr(value)), 60)
    except ValueError:  # an integer of more digits than are written
        return "a number of thousands of digits"
