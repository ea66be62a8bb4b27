"""What the installed versions of markets and agents say of a row that was made with theirs at the time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ioa_marl import registry
from ioa_marl.foundations.errors import UserError
from ioa_marl.leaderboard.seeds import DAMAGED, DONE, SeedRow, on_scale
from ioa_marl.leaderboard.text import first_line
from ioa_marl.training.sources import source_fingerprint

if TYPE_CHECKING:
    from ioa_marl.envs.core import Game

MARKET, PROTOCOL, RUNNER, AGENTS = "versions.env", "versions.protocol", "versions.runner", "versions.agents."
"""Settings that say with which versions a run was made."""

_NEEDED = ("version", "objectives", "config_class", "board_metrics", "score_floor_name")


def market_class(name: str) -> type[Game] | None:
    """Return the class of a market, None where it is not installed, cannot be loaded or is no whole market."""
    try:
        found = registry.load_env(name)
    except UserError:
        return None
    return found if all(hasattr(found, key) for key in _NEEDED) else None


class Installed:
    """Compares rows with what is installed; each market and agent is loaded once, and only if a row names it."""

    def __init__(self) -> None:
        self._markets: dict[str, type[Game] | None] = {}
        self._numbers: dict[tuple[str, str], int | None] = {}
        self._sources: dict[str, str | None] = {}

    def judged(self, row: SeedRow) -> SeedRow:
        """Return a row that is done with notes on its versions, or as damaged where it contradicts its market."""
        if row.status != DONE:
            return row
        problem = self._contradiction(row)
        if problem:
            return dataclasses.replace(row, status=DAMAGED, reason=problem)
        versions = self._versions(row)
        return dataclasses.replace(row, notes=(*row.notes, *versions.values(), *self._code(row, versions)))

    def _contradiction(self, row: SeedRow) -> str:
        """Return what is wrong with scores that the row's market does not give, or not for the row's metrics."""
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
            made = on_scale(row, role, row.metrics.get(game.objectives[role], math.nan))
            if not math.isclose(score, made, rel_tol=1e-6, abs_tol=1e-6):
                return f"its score of {role} is {score:.6g}, but its metrics and references give {made:.6g}"
        return ""

    def _versions(self, row: SeedRow) -> dict[str, str]:
        """Return for each market, agent or part of the package that has another version now what it had then."""
        notes = {}
        for key, held in row.settings.items():
            if key in (MARKET, PROTOCOL, RUNNER) or key.startswith(AGENTS):
                now = self._number(key, row)
                if now is not None and now != held:
                    name = row.env if key == MARKET else key.removeprefix(AGENTS).removeprefix("versions.")
                    age = "older" if isinstance(held, int) and held < now else "other"
                    notes[name] = first_line(f"{age} version: {name} {held}, now {now}")
        return notes

    def _number(self, key: str, row: SeedRow) -> int | None:
        """Return the installed version that belongs to a setting, None where nothing of the name is installed."""
        what = key, row.env if key == MARKET else ""
        if what not in self._numbers:
            self._numbers[what] = _version(key, row.env)
        return self._numbers[what]

    def _code(self, row: SeedRow, versions: Mapping[str, str]) -> list[str]:
        """Return whose sources have changed; of another version that goes without saying."""
        changed = []
        for what, held in row.code.items():
            kind, _, name = what.partition(" ")
            if what not in self._sources:
                self._sources[what] = _fingerprint(kind, name)
            if self._sources[what] not in (None, held) and name not in versions:
                changed.append(name)
        return [first_line(f"code of {', '.join(changed)} changed since")] if changed else []


def _version(key: str, env: str) -> int | None:
    # These need torch, which takes a second to import: only for rows that name a version.
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
