"""One seed of a run as its files describe it, with every value checked for its type."""

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
"""Largest magnitude of a number that TensorBoard can show in single precision."""
MOST_NUMBERS = 1000
"""Largest number of metrics of a seed, because each takes a column."""
NAMES = ("env", "preset", "agent", "digest")
"""Keys of a result that name its run."""


@dataclass(frozen=True)
class SeedRow:
    """One seed of a run; all its text is `visible`."""

    folder: Path
    """Folder of the seed."""
    env: str
    """Name of the market."""
    preset: str
    """Preset of the market."""
    agent: str
    """Name of the agent, with its roles if they are not the default controlled roles."""
    digest: str
    """Hash of the run's settings."""
    seed: int
    """Training seed; -1 if neither the result nor the folder's name contains it."""
    status: str
    """`DONE`, `FAILED`, `DAMAGED` or `UNFINISHED`."""
    reason: str = ""
    """Why the seed is not done, in one line."""
    budget: int | None = None
    """Environment steps requested."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Score per scored role."""
    sampled_scores: Mapping[str, float] = field(default_factory=dict)
    """Score per scored role with sampled actions; empty if no agent can sample, or in rows of earlier versions."""
    references: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Mean objective per scored role of each reference: ``random``, ``optimum``, ``constant`` and perhaps ``zero``."""
    references_on_the_way: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """References on the episodes of earlier evaluations, if those are not the episodes of the last one."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Mean of each metric over the episodes of the last evaluation."""
    audit: Mapping[str, float] = field(default_factory=dict)
    """Figures of the audit by column, if there is one of this row; see `ioa_marl.evaluation.audits.results.COLUMNS`."""
    audit_search: str = ""
    """How that audit searched, as text; figures of different searches cannot be compared."""
    env_steps: int | None = None
    """Environment steps trained; 0 for agents that do not learn."""
    steps_per_second: float | None = None
    """Environment steps per second of all seeds that trained together."""
    train_seconds: float | None = None
    """Wall time of all seeds that trained together [s]."""
    seeds_together: int | None = None
    """Number of seeds that trained together."""
    parameters: int | None = None
    """Number of trainable parameters of all agents."""
    code: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of the source files of market and agents, if they were recorded."""
    commit: str | None = None
    """Commit of the source tree that trained the seed, if it was recorded."""
    settings: Settings = field(default_factory=dict)
    """Resolved configuration, flattened; see `ioa_marl.leaderboard.settings.flatten`."""
    curve: Curve | None = None
    """Learning curve; None if its file is missing or cannot be used."""
    checked: str = ""
    """Result of checking a seed that is done: `INTACT`, `UNCHECKED`, `NOT_REPLAYABLE` or `REPLAYED`."""
    replayable: bool = False
    """Whether there is a checkpoint to play again."""
    notes: tuple[str, ...] = ()
    """Further notes for readers of the numbers, one line each."""


class Record:
    """Typed access to the values of a ``result.json``.

    Parameters
    ----------
    path : Path
        The file, for messages.
    entries : mapping
        The content of the file.
    """

    def __init__(self, path: Path, entries: Mapping[str, Any]) -> None:
        self._path, self._entries = path, entries
        self.wrong: list[str] = []
        """Keys whose values have the wrong type; they count as missing."""

    def name(self, key: str, otherwise: str) -> str:
        """Return a name, or ``otherwise`` if the record has none."""
        value = self._entries.get(key)
        if value is None:
            return otherwise
        if not isinstance(value, str) or not value or len(value) > LONGEST_NAME:
            raise DamagedFileError(self._path, f"is damaged: {key}={_quoted(value)} is not a name")
        return visible(value)

    def seed(self, folder: Path) -> int:
        """Return the training seed, from the folder's name if the record has none."""
        value = self._entries.get("seed")
        if value is None:
            return seed_of(folder)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_INTEGER:
            raise DamagedFileError(self._path, f"is damaged: seed={_quoted(value)} is not a whole number")
        return value

    def scores(self) -> dict[str, float]:
        """Return the scores, without which a row is damaged; NaN for a score that is not finite."""
        recorded = self._entries.get("scores", {})
        checked = self.numbers("scores")
        if self.wrong:
            raise DamagedFileError(self._path, f"is damaged: scores={_quoted(recorded)} is not a number for each role")
        return checked

    def number(self, key: str) -> float | None:
        """Return a finite number, or None."""
        value = self._entries.get(key)
        if value is None:
            return None
        finite = _number(value)
        if finite is None or math.isnan(finite):
            self.wrong.append(key)
            return None
        return finite

    def whole(self, key: str) -> int | None:
        """Return a whole number of at least 0, or None."""
        value = self._entries.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_INTEGER:
            self.wrong.append(key)
            return None
        return value

    def numbers(self, key: str) -> dict[str, float]:
        """Return numbers by name, NaN for numbers that are not finite."""
        return self._numbers(key, self._entries.get(key))

    def references(self, key: str = "references") -> dict[str, dict[str, float]]:
        """Return the references: for each name, the mean objective per role."""
        recorded = self._entries.get(key)
        if not isinstance(recorded, Mapping):
            self.wrong += [key] if recorded is not None else []
            return {}
        return {visible(name): self._numbers(key, inner) for name, inner in list(recorded.items())[:MOST_NUMBERS]}

    def texts(self, key: str) -> dict[str, str]:
        """Return texts by name, without values that are not text."""
        recorded = self._entries.get(key)
        pairs = recorded.items() if isinstance(recorded, Mapping) else ()
        return {visible(name): visible(value) for name, value in pairs if isinstance(value, str)}

    def _numbers(self, key: str, recorded: Any) -> dict[str, float]:
        if recorded is None:
            return {}
        if not isinstance(recorded, Mapping) or len(recorded) > MOST_NUMBERS:
            self.wrong.append(key)
            return {}
        numbers = {}
        for name, value in recorded.items():
            number = math.nan if value is None else _number(value)
            if number is None or not _is_name(name):
                self.wrong.append(f"{key}.{shortened(visible(name), 40)}")
            else:
                numbers[visible(name)] = number
        return numbers


def seed_of(folder: Path) -> int:
    """Return the seed in the name of a folder, or -1."""
    digits = re.fullmatch(r"seed_(\d{1,18})", folder.name, re.ASCII)
    return int(digits[1]) if digits else -1


def names_from_path(folder: Path) -> dict[str, str]:
    """Return env, preset, agent and digest of a path ``ENV-PRESET/AGENT/DIGEST/seed_S``."""
    parts = [visible(part) for part in (*("?",) * 3, *folder.parts[:-1])[-3:]]
    env, _, preset = parts[0].partition("-")
    return {"env": env, "preset": preset, "agent": parts[1], "digest": parts[2]}


def on_scale(seed: SeedRow, role: str, objective: float, *, last: bool = True) -> float:
    """Return the score of an objective on the scale of a seed; NaN if its references do not define a scale.

    Parameters
    ----------
    seed : SeedRow
        The seed.
    role : str
        The scored role.
    objective : float
        Mean of the metric that is scored.
    last : bool, default True
        Whether it is that of the last evaluation, or of an earlier one, which may be of other episodes.
    """
    ends = seed.references if last or not seed.references_on_the_way else seed.references_on_the_way
    zero = _zero(ends, role)
    one = ends.get("optimum", {}).get(role, math.nan)
    return (objective - zero) / (one - zero) if one != zero else math.nan


def zero_of(seed: SeedRow, role: str) -> float:
    """Return the objective with score 0, or NaN if the references do not contain it."""
    return _zero(seed.references, role)


def _zero(references: Mapping[str, Mapping[str, float]], role: str) -> float:
    return references.get("zero", references.get("random", {})).get(role, math.nan)


def _number(value: Any) -> float | None:
    """Return a number that can be shown, NaN for a number that is not finite, and None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return math.nan
    return float(value) if abs(value) <= LARGEST else None


def _is_name(key: str) -> bool:
    # TensorBoard reserves tags with this prefix for hyperparameters.
    return 0 < len(key) <= LONGEST_NAME and not key.startswith("_hparams_")


def _quoted(value: Any) -> str:
    try:
        return shortened(visible(repr(value)), 60)
    except ValueError:  # an integer with more digits than Python writes
        return "a number of thousands of digits"
