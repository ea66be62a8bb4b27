"""Comparison of recorded rows with the installed versions of markets and agents."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ioa_marl import registry
from ioa_marl.evaluation.columns import SAMPLED, objective_columns
from ioa_marl.foundations.errors import UserError
from ioa_marl.leaderboard.seeds import DAMAGED, DONE, SeedRow, on_scale
from ioa_marl.leaderboard.text import first_line
from ioa_marl.training.sources import source_fingerprint

if TYPE_CHECKING:
    from ioa_marl.envs.core import Game

MARKET, PROTOCOL, RUNNER, AGENTS = "versions.env", "versions.protocol", "versions.runner", "versions.agents."
"""Settings with the versions that a run was made with."""

_REQUIRED = ("version", "objectives", "reference_partners", "config_class", "board_metrics", "score_floor_name")


def market_class(name: str) -> type[Game] | None:
    """Return the class of a market, or None if it is not installed, cannot be loaded or is incomplete."""
    try:
        game_class = registry.load_env(name)
    except UserError:
        return None
    return game_class if all(hasattr(game_class, key) for key in _REQUIRED) else None


class Installed:
    """Compares rows with the installed code; each market and agent is loaded once, and only if a row names it."""

    def __init__(self) -> None:
        self._markets: dict[str, type[Game] | None] = {}
        self._numbers: dict[tuple[str, str], int | None] = {}
        self._sources: dict[str, str | None] = {}

    def judged(self, row: SeedRow) -> SeedRow:
        """Return a finished row with notes on its versions, or as damaged if it contradicts its market."""
        if row.status != DONE:
            return row
        problem = self._contradiction(row)
        if problem:
            return dataclasses.replace(row, status=DAMAGED, reason=problem)
        versions = self._versions(row)
        return dataclasses.replace(row, notes=(*row.notes, *versions.values(), *self._code(row, versions)))

    def _contradiction(self, row: SeedRow) -> str:
        """Return a line if the market has no such score, or if metrics and references give another score; else ""."""
        if row.env not in self._markets:
            self._markets[row.env] = market_class(row.env)
        game = self._markets[row.env]
        if game is None or row.settings.get(MARKET, game.version) != game.version:
            return ""
        for role, score in row.scores.items():
            if role not in game.objectives:
                return f"it has a score of {role}, which {row.env} does not score"
            if PROTOCOL not in row.settings or row.settings[PROTOCOL] != self._number(PROTOCOL, row):
                continue
            column = objective_columns(game)[role]
            made = {"": (score, column)}
            if role in row.sampled_scores:
                made["sampled "] = (row.sampled_scores[role], SAMPLED + column)
            for what, (value, name) in made.items():
                expected = on_scale(row, role, row.metrics.get(name, math.nan))
                if not math.isclose(value, expected, rel_tol=1e-6, abs_tol=1e-6):
                    return (
                        f"its {what}score of {role} is {value:.6g}, but its metrics and references give {expected:.6g}"
                    )
        return ""

    def _versions(self, row: SeedRow) -> dict[str, str]:
        """Return a note for each market, agent or part of the package whose version differs from the recorded one."""
        notes = {}
        for key, recorded in row.settings.items():
            if key in (MARKET, PROTOCOL, RUNNER) or key.startswith(AGENTS):
                installed = self._number(key, row)
                if installed is not None and installed != recorded:
                    name = row.env if key == MARKET else key.removeprefix(AGENTS).removeprefix("versions.")
                    age = "older" if isinstance(recorded, int) and recorded < installed else "other"
                    notes[name] = first_line(f"{age} version: {name} {recorded}, now {installed}")
        return notes

    def _number(self, key: str, row: SeedRow) -> int | None:
        """Return the installed version that corresponds to a setting, or None if it is not installed."""
        cache_key = key, row.env if key == MARKET else ""
        if cache_key not in self._numbers:
            self._numbers[cache_key] = _version(key, row.env)
        return self._numbers[cache_key]

    def _code(self, row: SeedRow, versions: Mapping[str, str]) -> list[str]:
        """Return a note on sources that have changed, except for those whose version has changed as well."""
        changed = []
        for label, recorded in row.code.items():
            kind, _, name = label.partition(" ")
            if label not in self._sources:
                self._sources[label] = _fingerprint(kind, name)
            if self._sources[label] not in (None, recorded) and name not in versions:
                changed.append(name)
        return [first_line(f"code of {', '.join(changed)} changed since")] if changed else []


def _version(key: str, env: str) -> int | None:
    # Imported only for rows that name a version, because torch takes a second to import.
    if key == PROTOCOL:
        from ioa_marl.evaluation.protocol import PROTOCOL_VERSION

        return PROTOCOL_VERSION
    if key == RUNNER:
        from ioa_marl.training.config import RUNNER_VERSION

        return RUNNER_VERSION
    loaded = market_class(env) if key == MARKET else _agent_class(key.removeprefix(AGENTS))
    return None if loaded is None else loaded.version


def _agent_class(name: str) -> type[Any] | None:
    try:
        return registry.load_agent(name)
    except UserError:
        return None


def _fingerprint(kind: str, name: str) -> str | None:
    loaded: Any = None
    if kind in ("market", "agent"):
        loaded = market_class(name) if kind == "market" else _agent_class(name)
    return None if loaded is None else source_fingerprint(loaded)
