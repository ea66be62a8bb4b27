"""What an audit finds: figures with what they mean and how sure they are, and the gain of each agent."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["exact", "lower bound", "upper bound", "estimate"]
"""How a figure relates to the true one. ``exact``: nothing but the sample of markets separates the two. ``lower
bound``: deviations were searched, and a better one may exist. ``estimate``: neither is known."""
COLUMNS: Mapping[str, str] = {
    "regret": "what an agent gains by the best deviation that was found, all others as they are",
    "collusion_gain": "what a coalition gains by the best joint deviation that was found",
    "ir_violations": "share of agents that end with less than if they had stayed away",
    "budget_residual": "what the market's operator keeps or has to add, per episode",
    "profit_gain": "how far from the competitive profit (0) to the joint maximum (1) sellers end",
}
"""Columns of the leaderboard that audits fill, with their meaning."""
Progress = Callable[[str, float], None]
"""Called with what is being done and the share of it that is done, 0 to 1."""


def silent(what: str, share: float) -> None:
    """Ignore progress."""


@dataclass(frozen=True)
class Finding:
    """One figure of an audit."""

    name: str
    """Name, unique in an audit."""
    value: float
    """The figure; NaN if it is not defined, which `meaning` then explains."""
    unit: str
    """Unit, such as ``units per episode`` or ``share``."""
    kind: Kind
    """How it relates to the true figure."""
    meaning: str
    """What it says, in a sentence."""
    standard_error: float | None = None
    """Standard error over the markets that were played; None if the figure is no mean over markets."""
    column: str | None = None
    """The one of `COLUMNS` in which a leaderboard shows it."""

    def as_dict(self) -> dict[str, Any]:
        """Return the figure as JSON values; a number that is not finite is null."""
        return {key: _plain(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Gain:
    """What one agent, or one group of agents, gains by a deviation."""

    who: str
    """The agent or the group, such as ``buyer_3``."""
    deviation: str
    """The kind of deviation, such as ``misreport``."""
    value: float
    """Mean gain over the markets."""
    standard_error: float | None
    """Standard error over the markets; None for a single market."""
    how: str = ""
    """The deviation that gains most, in words; empty if it differs between markets."""

    def as_dict(self) -> dict[str, Any]:
        """Return the gain as JSON values."""
        return {key: _plain(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class AuditResult:
    """All that an audit finds."""

    findings: tuple[Finding, ...]
    """The figures."""
    gains: tuple[Gain, ...] = ()
    """Gains of single agents or groups, for the table and the picture."""
    notes: tuple[str, ...] = ()
    """What was not audited and why, one sentence each."""

    def __add__(self, other: AuditResult) -> AuditResult:
        """Return both results as one."""
        return AuditResult(self.findings + other.findings, self.gains + other.gains, self.notes + other.notes)

    def value(self, name: str) -> float:
        """Return the figure of this name.

        Raises
        ------
        KeyError
            If there is none.
        """
        return self.finding(name).value

    def finding(self, name: str) -> Finding:
        """Return the finding of this name.

        Raises
        ------
        KeyError
            If there is none.
        """
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(name)

    def columns(self) -> dict[str, float]:
        """Return the figures that a leaderboard shows, by column; those that are not finite are left out."""
        shown = {finding.column: finding.value for finding in self.findings if finding.column}
        return {column: value for column, value in shown.items() if math.isfinite(value)}

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "findings": [finding.as_dict() for finding in self.findings],
            "gains": [gain.as_dict() for gain in self.gains],
            "notes": list(self.notes),
        }


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
