"""Boards: runs of the same market on the same scale, one row each, with the references that mark the scale."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ioa_marl import registry
from ioa_marl.errors import UserError
from ioa_marl.evaluation.statistics import (
    Estimate,
    estimate,
    interquartile_mean,
    probability_of_improvement,
)
from ioa_marl.leaderboard.query import DONE, SeedRow, Setting, Settings

LONGEST_LABEL = 40
"""Characters of a label; settings that take more are replaced by the run's digest."""

MOST_SETTINGS = 3
"""Settings in the title of a board."""

REFERENCES = {"optimum": "optimum", "constant": "best constant", "random": "random play"}
"""Keys in ``result.json`` and names of the references that every board has, usually the highest first."""


@dataclass(frozen=True, eq=False)
class Run:
    """All seeds of one run; equal to itself only."""

    env: str
    preset: str
    agent: str
    digest: str
    seeds: tuple[SeedRow, ...]
    label: str = ""
    """Agent, and what tells the run apart from others of the same agent on the board."""

    @property
    def done(self) -> tuple[SeedRow, ...]:
        """Seeds that count."""
        return tuple(seed for seed in self.seeds if seed.status == DONE)

    @property
    def settings(self) -> Settings:
        """Flattened configuration, empty where no seed's can be read."""
        return next((seed.settings for seed in self.seeds if seed.settings), {})

    @property
    def learns(self) -> bool:
        """Whether anything was trained."""
        return any(seed.env_steps for seed in self.done)

    @property
    def budget(self) -> int | None:
        """Environment steps asked for, per seed."""
        return next((seed.budget for seed in self.seeds if seed.budget is not None), None)

    @property
    def env_steps(self) -> int | None:
        """Environment steps trained, per seed."""
        return next((seed.env_steps for seed in self.done if seed.env_steps is not None), None)

    @property
    def parameters(self) -> int | None:
        """Trained numbers of all agents of the run."""
        return next((seed.parameters for seed in self.done if seed.parameters is not None), None)


@dataclass(frozen=True)
class Row:
    """One run on one board."""

    run: Run
    rank: int
    scores: tuple[float, ...]
    """Per seed that is done; empty where no role is scored."""
    score: Estimate
    """Interquartile mean and 95% interval; NaN where no role is scored."""
    improvement: float
    """Probability that a seed beats a seed of the next row; NaN in the last row."""
    objective: float
    """Interquartile mean of what is scored, in the market's units."""
    metrics: Mapping[str, float]
    """Interquartile mean of each metric."""

    @property
    def bidder_gain(self) -> Mapping[str, float]:
        """Per role of bidders the interquartile mean of what they would gain by a constant action, where all tell."""
        told = [seed.bidder_gain for seed in self.run.done]
        roles = [role for role in (told[0] if told else {}) if all(role in held for held in told)]
        return {role: _middle([held[role] for held in told]) for role in roles}

    @property
    def steps_per_second(self) -> float:
        """Median over seeds, of all that trained together; in evaluation for what does not learn."""
        return _median(seed.steps_per_second for seed in self.run.done)

    @property
    def train_minutes(self) -> float:
        """Minutes of training per seed, NaN for what does not learn."""
        if not self.run.learns:
            return math.nan
        shares = [
            seed.train_seconds / (seed.seeds_together or 1) / 60.0
            for seed in self.run.done
            if seed.train_seconds is not None
        ]
        return float(np.mean(shares)) if shares else math.nan


@dataclass(frozen=True)
class Reference:
    """A mark on the scale: not an agent, and without a rank."""

    name: str
    score: float
    objective: float


@dataclass(frozen=True)
class Board:
    """Runs that can be compared: same market, same settings of it, same episodes, same role."""

    env: str
    preset: str
    role: str | None
    """Scored role; None for runs without one."""
    variant: str
    """Settings that tell the board apart from others of the same market and preset."""
    slug: str
    """Name that is unique among the boards, fit for a folder."""
    objective: str
    """Metric that is scored."""
    metrics: tuple[str, ...]
    """Metrics shown beside the score."""
    rows: tuple[Row, ...]
    """Best first."""
    references: tuple[Reference, ...]
    """Highest first."""

    @property
    def title(self) -> str:
        """Market, preset, role and what is special."""
        parts = (f"{self.env} {self.preset}", self.role or "no scored role", self.variant)
        return " · ".join(part for part in parts if part)

    def mixed(self) -> list[Row | Reference]:
        """Return rows and references, best first; a reference goes before what equals it."""
        lines: list[Row | Reference] = [*self.references, *self.rows]
        return sorted(lines, key=lambda line: -_order(line))


@dataclass(frozen=True)
class Problem:
    """Seeds of a run that are not done, for the same reason."""

    run: Run
    status: str
    reason: str
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Leaderboard:
    """Everything that is shown."""

    boards: tuple[Board, ...]
    problems: tuple[Problem, ...]
    runs: tuple[Run, ...] = field(repr=False)
    """All runs, labelled, whether done or not."""


def arrange(seeds: Sequence[SeedRow]) -> Leaderboard:
    """Sort the seeds of a store into runs, boards and problems."""
    runs = _label(_runs(seeds))
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        roles: list[str | None] = [*sorted({role for seed in run.done for role in seed.scores})]
        for role in (roles or [None]) if run.done else []:
            groups.setdefault((run.env, run.preset, role, tuple(_identity(run.settings).items())), []).append(run)
    variants = _variants(list(groups))
    slugs = unique([_slug(key, list(groups), variant) for key, variant in zip(groups, variants, strict=True)])
    boards = [
        _board(group, key[2] if isinstance(key[2], str) else None, variant, slug)
        for (key, group), variant, slug in zip(groups.items(), variants, slugs, strict=True)
    ]
    boards.sort(key=lambda board: (board.env, board.preset, board.role or "~", board.variant))
    return Leaderboard(tuple(boards), tuple(p for run in runs for p in _problems(run)), tuple(runs))


def unique(names: Sequence[str]) -> list[str]:
    """Return names with a number appended to those that occur more than once."""
    return [name if names.count(name) == 1 else f"{name}-{names[: i + 1].count(name)}" for i, name in enumerate(names)]


def _order(line: Row | Reference) -> float:
    value = line.score.value if isinstance(line, Row) else line.score
    return -math.inf if math.isnan(value) else value


def _median(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else math.nan


def _runs(seeds: Sequence[SeedRow]) -> list[Run]:
    grouped: dict[tuple[str, str, str, str], list[SeedRow]] = {}
    for seed in seeds:
        grouped.setdefault((seed.env, seed.preset, seed.agent, seed.digest), []).append(seed)
    return [Run(*key, tuple(sorted(group, key=lambda seed: seed.seed))) for key, group in sorted(grouped.items())]


def _identity(settings: Settings) -> dict[str, Setting]:
    """Return the settings on which the scale depends; training's cycle limit is lifted in evaluation."""
    keys = ("evaluation.episodes", "versions.env", "versions.protocol")
    return {
        key: value
        for key, value in sorted(settings.items())
        if (key.startswith("env.") and key != "env.max_cycles") or key in keys
    }


def _label(runs: Sequence[Run]) -> list[Run]:
    """Name each run by its agent and, where one agent has several runs of a market, what differs."""
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.env, run.preset, tuple(_identity(run.settings).items()), run.agent), []).append(run)
    out = []
    for group in groups.values():
        texts = [", ".join(parts) for parts in _told_apart([run.settings for run in group])]
        digests = _shortened([run.digest for run in group])
        for run, text, digest in zip(group, texts, digests, strict=True):
            clear = len(f"{run.agent} {text}") <= LONGEST_LABEL and texts.count(text) == 1
            what = text if clear else digest
            label = f"{run.agent} {what}" if what else run.agent
            out.append(Run(run.env, run.preset, run.agent, run.digest, run.seeds, label))
    return sorted(out, key=lambda run: (run.env, run.preset, run.label))


def _told_apart(settings: Sequence[Settings]) -> list[list[str]]:
    """Return for each run the settings that not all have, but for those that more than half of them have."""
    out: list[list[str]] = [[] for _ in settings]
    for key in sorted({key for held in settings for key in held}):
        values = [repr(held.get(key)) for held in settings]
        for i, held in enumerate(settings):
            if key in held and 2 * values.count(values[i]) <= len(values):
                out[i].append(f"{key.rpartition('.')[2]}={held[key]}")
    return out


def _shortened(digests: Sequence[str]) -> list[str]:
    """Return the beginnings of digests, of at least six characters, that tell them apart."""
    for length in range(6, max(map(len, digests), default=0)):
        if len({digest[:length] for digest in digests}) == len(digests):
            return [digest[:length] for digest in digests]
    return list(digests)


def _variants(keys: Sequence[tuple[object, ...]]) -> list[str]:
    """Return for each board the settings that tell it apart from those of the same market, preset and role."""
    out = []
    for key in keys:
        alike = [other for other in keys if other[:3] == key[:3] and other[3]]
        if not key[3]:
            out.append("settings unknown" if alike else "")
            continue
        parts = _told_apart([_settings_of(other) for other in alike])[alike.index(key)]
        out.append(", ".join(parts[:MOST_SETTINGS]) + (", …" if len(parts) > MOST_SETTINGS else ""))
    return out


def _settings_of(key: tuple[object, ...]) -> dict[str, Setting]:
    pairs = key[3]
    return dict(pairs) if isinstance(pairs, tuple) else {}


def _slug(key: tuple[object, ...], keys: Sequence[tuple[object, ...]], variant: str) -> str:
    roles = {other[2] for other in keys if other[:2] == key[:2]}
    role = str(key[2] or "unscored") if len(roles) > 1 else ""
    return file_name("-".join(part for part in (f"{key[0]}-{key[1]}", role, variant) if part))


def file_name(text: str) -> str:
    """Return a text as one component of a path."""
    return re.sub(r"[^\w.=+,-]+", "_", text).strip(".") or "_"


def _problems(run: Run) -> list[Problem]:
    reasons: dict[tuple[str, str], list[int]] = {}
    for seed in run.seeds:
        if seed.status != DONE:
            reasons.setdefault((seed.status, seed.reason), []).append(seed.seed)
    return [Problem(run, status, why, tuple(seeds)) for (status, why), seeds in reasons.items()]


def _board(runs: Sequence[Run], role: str | None, variant: str, slug: str) -> Board:
    env, preset = runs[0].env, runs[0].preset
    objective, metrics = _columns(env, role, runs)
    rows = sorted((_row(run, role, objective) for run in runs), key=lambda row: (-_order(row), row.run.label))
    ranked = []
    for place, row in enumerate(rows):
        below = rows[place + 1].scores if place + 1 < len(rows) else ()
        chance = probability_of_improvement(row.scores, below) if row.scores and below else math.nan
        ranked.append(Row(row.run, place + 1, row.scores, row.score, chance, row.objective, row.metrics))
    return Board(env, preset, role, variant, slug, objective, metrics, tuple(ranked), _references(env, runs, role))


def _columns(env: str, role: str | None, runs: Sequence[Run]) -> tuple[str, tuple[str, ...]]:
    """Return the metric that is scored and those shown beside it; guessed where the market is not installed."""
    held = [name for run in runs for seed in run.done for name in seed.metrics]
    present = list(dict.fromkeys(held))
    try:
        game = registry.load_env(env)
        objective = game.objectives.get(role or "", "")
        shown = tuple(name for name in game.board_metrics if name in present)
    except (UserError, AttributeError):  # of a plug-in that is missing or no whole market
        objective = _guessed_objective(role, runs, present)
        shown = tuple(name for name in present if not name.startswith("reward_"))
    if not objective:
        objective = next((name for name in present if name.startswith("reward_")), "return")
    return objective, tuple(name for name in shown if name != objective)


def _guessed_objective(role: str | None, runs: Sequence[Run], names: Sequence[str]) -> str:
    """Return the metric whose distance from the references is the score, in every seed."""
    seeds = [seed for run in runs for seed in run.done if role in seed.scores]
    for name in names:
        if seeds and all(
            math.isclose(on_scale(seed, str(role), seed.metrics.get(name, math.nan)), seed.scores[str(role)])
            for seed in seeds
        ):
            return name
    return ""


def on_scale(seed: SeedRow, role: str, objective: float) -> float:
    """Return where an objective is on the scale of a seed; NaN where its references do not tell."""
    zero = _zero(seed, role)
    one = seed.references.get("optimum", {}).get(role, math.nan)
    return (objective - zero) / (one - zero) if one != zero else math.nan


def _zero(seed: SeedRow, role: str) -> float:
    return seed.references.get("zero", seed.references.get("random", {})).get(role, math.nan)


def _row(run: Run, role: str | None, objective: str) -> Row:
    scores = tuple(seed.scores[role] for seed in run.done if role is not None and role in seed.scores)
    nothing = Estimate(math.nan, math.nan, math.nan)
    names = dict.fromkeys(name for seed in run.done for name in seed.metrics)
    metrics = {name: _middle([seed.metrics.get(name, math.nan) for seed in run.done]) for name in names}
    score = estimate(scores) if scores else nothing
    return Row(run, 0, scores, score, math.nan, metrics.get(objective, math.nan), metrics)


def _middle(values: Sequence[float]) -> float:
    """Interquartile mean; NaN if any value is, which trimming would hide."""
    return float(interquartile_mean(values)) if np.isfinite(values).all() else math.nan


def _references(env: str, runs: Sequence[Run], role: str | None) -> tuple[Reference, ...]:
    """Return the marks of the scale, on average over the seeds that tell all of them.

    Seeds differ in it only where each has an instance of the market for itself.
    """
    told = {}
    for seed in (seed for run in runs for seed in run.done if role is not None):
        held = {key: seed.references.get(key, {}).get(str(role), math.nan) for key in REFERENCES}
        held["zero"] = _zero(seed, str(role))
        if role in seed.scores and all(math.isfinite(value) for value in held.values()):
            told[seed.seed] = {key: (on_scale(seed, str(role), value), value) for key, value in held.items()}
    if not told:
        return ()
    names = dict(REFERENCES)
    if any(marks["zero"] != marks["random"] for marks in told.values()):
        names["zero"] = _name_of_zero(env, str(role))
    means = {key: np.mean([marks[key] for marks in told.values()], axis=0).tolist() for key in names}
    return tuple(sorted((Reference(names[key], *means[key]) for key in names), key=lambda mark: -mark.score))


def _name_of_zero(env: str, role: str) -> str:
    try:
        return registry.load_env(env).zero_name[role]
    except (UserError, AttributeError, KeyError):  # of a plug-in that is missing, no whole market or says nothing
        return "zero of the scale"
