"""Boards: runs of the same market on the same scale, one row each, with the references that mark the scale."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from ioa_marl.evaluation.statistics import (
    Estimate,
    estimate,
    interquartile_mean,
    probability_of_improvement,
)
from ioa_marl.foundations.parameters import unchanged_settings
from ioa_marl.leaderboard.installed import market_class
from ioa_marl.leaderboard.labels import labels_of, variants_of
from ioa_marl.leaderboard.seeds import DONE, INTACT, SeedRow, on_scale, zero_of
from ioa_marl.leaderboard.settings import AgentContext, Settings, flatten
from ioa_marl.leaderboard.text import file_name, unique

REFERENCES = {"optimum": "optimum", "constant": "best constant", "random": "random play"}
"""Keys in ``result.json`` and names of the references that every board has, usually the highest first."""

MOST_METRICS = 30
"""Metrics in the table of a market that does not say which it shows, because it is not installed."""


@dataclass(frozen=True, eq=False)
class Run:
    """All seeds of one run; equal to itself only."""

    env: str
    preset: str
    agent: str
    digest: str
    seeds: tuple[SeedRow, ...]
    identity: tuple[tuple[str, AgentContext], ...] = ()
    """Settings on which the scale depends, sorted; empty where no seed's can be read."""
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
    def checked(self) -> str:
        """What is known of the seeds that count: one word if it is the same of all, else how many of each."""
        kinds = Counter(seed.checked for seed in self.done)
        if len(kinds) < 2:
            return next(iter(kinds), "")
        return "; ".join(f"{kind} {n}" for kind, n in sorted(kinds.items()))

    @property
    def remarks(self) -> dict[str, tuple[int, ...]]:
        """What a reader of the numbers should know, with the seeds that it is about."""
        return _by_text((note, seed.seed) for seed in self.done for note in seed.notes)

    @property
    def notes(self) -> dict[str, tuple[int, ...]]:
        """The remarks, and which seeds are not simply as they were written."""
        kinds = _by_text((seed.checked, seed.seed) for seed in self.done if seed.checked not in ("", INTACT))
        return kinds | self.remarks

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
    runs = _runs(seeds)
    agents = [((run.env, run.preset, run.identity), run.agent) for run in runs]
    labels = labels_of(agents, [run.digest for run in runs], [run.settings for run in runs])
    runs = [dataclasses.replace(run, label=label) for run, label in zip(runs, labels, strict=True)]
    runs.sort(key=lambda run: (run.env, run.preset, run.label))
    groups: dict[_Key, list[Run]] = {}
    for run in runs:
        roles: list[str | None] = [*sorted({role for seed in run.done for role in seed.scores})]
        for role in (roles or [None]) if run.done else []:
            groups.setdefault((run.env, run.preset, role, run.identity), []).append(run)
    variants = variants_of([(key[:3], dict(key[3])) for key in groups])
    slugs = unique(_slugs(list(groups), variants))
    boards = [
        _board(group, key[2], variant, slug)
        for (key, group), variant, slug in zip(groups.items(), variants, slugs, strict=True)
    ]
    boards.sort(key=lambda board: (board.env, board.preset, board.role or "~", board.variant))
    return Leaderboard(tuple(boards), tuple(p for run in runs for p in _problems(run)), tuple(runs))


_Key: TypeAlias = tuple[str, str, str | None, tuple[tuple[str, AgentContext], ...]]
"""Market, preset, role and the settings on which the scale depends: what the runs of a board share."""


def _by_text(notes: Iterable[tuple[str, int]]) -> dict[str, tuple[int, ...]]:
    out: dict[str, tuple[int, ...]] = {}
    for text, seed in notes:
        out[text] = (*out.get(text, ()), seed)
    return out


def _order(line: Row | Reference) -> float:
    value = line.score.value if isinstance(line, Row) else line.score
    return -math.inf if math.isnan(value) else value


def _median(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else math.nan


def _runs(seeds: Sequence[SeedRow]) -> list[Run]:
    """Join the seeds of each run; of a seed whose settings are others than its run's, no mean is taken with them."""
    grouped: dict[tuple[str, str, str, str], dict[tuple[tuple[str, AgentContext], ...], list[SeedRow]]] = {}
    identities: dict[tuple[str, int], tuple[tuple[str, AgentContext], ...]] = {}
    for seed in sorted(seeds, key=lambda seed: not seed.settings):
        what = seed.env, id(seed.settings)  # all seeds of a run have one mapping
        if what not in identities:
            identities[what] = _identity(seed.env, seed.settings)
        alike = grouped.setdefault((seed.env, seed.preset, seed.agent, seed.digest), {})
        identity = identities[what] if seed.settings else next(iter(alike), ())
        alike.setdefault(identity, []).append(seed)
    return [
        Run(*key, tuple(sorted(group, key=lambda seed: seed.seed)), identity)
        for key, alike in sorted(grouped.items())
        for identity, group in alike.items()
    ]


def _identity(env: str, settings: Settings) -> tuple[tuple[str, AgentContext], ...]:
    """Return the settings on which the scale depends; training's cycle limit is lifted in evaluation.

    Settings that were added to a market later and change nothing are left out.
    """
    keys = ("evaluation.episodes", "versions.env", "versions.protocol")
    game = market_class(env)
    neutral = flatten({"env": unchanged_settings(game.config_class)}) if game is not None else {}
    return tuple(
        (key, value)
        for key, value in sorted(settings.items())
        if ((key.startswith("env.") and key != "env.max_cycles") or key in keys)
        and (key not in neutral or neutral[key] != value)
    )


def _slugs(keys: Sequence[_Key], variants: Sequence[str]) -> list[str]:
    roles: dict[tuple[str, str], set[str | None]] = {}
    for env, preset, role, _ in keys:
        roles.setdefault((env, preset), set()).add(role)
    out = []
    for (env, preset, role, _), variant in zip(keys, variants, strict=True):
        part = (role or "unscored") if len(roles[env, preset]) > 1 else ""
        out.append(file_name("-".join(text for text in (f"{env}-{preset}", part, variant) if text)))
    return out


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
    game = market_class(env)
    if game is None:
        objective = _guessed_objective(role, runs, present)
        shown = tuple(name for name in present if not name.startswith("reward_"))[:MOST_METRICS]
    else:
        objective = game.objectives.get(role or "", "")
        shown = tuple(name for name in game.board_metrics if name in present)
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
        held["zero"] = zero_of(seed, str(role))
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
    game = market_class(env)
    return "zero of the scale" if game is None else game.score_floor_name.get(role, "zero of the scale")
