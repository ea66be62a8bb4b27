"""Boards: runs of the same market on the same scale, one row each, with the references that define the scale."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np

from ioa_marl.evaluation.audits.results import COLUMNS as AUDIT_COLUMNS
from ioa_marl.evaluation.columns import SAMPLED, objective_columns
from ioa_marl.evaluation.statistics import (
    Estimate,
    estimate,
    interquartile_mean,
    probability_of_improvement,
)
from ioa_marl.foundations.parameters import unchanged_settings
from ioa_marl.leaderboard.installed import market_class
from ioa_marl.leaderboard.labels import labels_of, shown_agent, variants_of
from ioa_marl.leaderboard.marks import Reference, references
from ioa_marl.leaderboard.seeds import DONE, INTACT, SeedRow, on_scale
from ioa_marl.leaderboard.settings import Settings, SettingValue, flatten
from ioa_marl.leaderboard.text import file_name, unique

SMALLEST_DIFFERENCE = 0.0005
"""Difference of two scores from which a board shows both; it shows three decimals."""
MOST_METRICS = 30
"""Largest number of metrics in the table of a market that is not installed, so that its own choice is unknown."""

Identity: TypeAlias = tuple[tuple[str, SettingValue], ...]
"""Settings on which the scale depends, sorted by name."""


@dataclass(frozen=True, eq=False)
class Run:
    """All seeds of one run; compared by identity."""

    env: str
    preset: str
    agent: str
    digest: str
    seeds: tuple[SeedRow, ...]
    identity: Identity = ()
    """Settings on which the scale depends; empty if the settings of no seed can be read."""
    label: str = ""
    """Name of the agent, or what it is shown as, and the settings that distinguish the run from others of the same name
    on the board."""

    @property
    def done(self) -> tuple[SeedRow, ...]:
        """Seeds that are done, which alone enter scores."""
        return tuple(seed for seed in self.seeds if seed.status == DONE)

    @property
    def settings(self) -> Settings:
        """Flattened configuration; empty if that of no seed can be read."""
        return next((seed.settings for seed in self.seeds if seed.settings), {})

    @property
    def checked(self) -> str:
        """Result of checking the seeds that are done: one word if it is the same for all, else the count of each."""
        kinds = Counter(seed.checked for seed in self.done)
        if len(kinds) < 2:
            return next(iter(kinds), "")
        return "; ".join(f"{kind} {n}" for kind, n in sorted(kinds.items()))

    @property
    def remarks(self) -> dict[str, tuple[int, ...]]:
        """Notes for readers of the numbers, each with the seeds that it concerns."""
        return _by_text((note, seed.seed) for seed in self.done for note in seed.notes)

    @property
    def notes(self) -> dict[str, tuple[int, ...]]:
        """The remarks, and the seeds whose check has another result than intact."""
        kinds = _by_text((seed.checked, seed.seed) for seed in self.done if seed.checked not in ("", INTACT))
        return kinds | self.remarks

    @property
    def learns(self) -> bool:
        """Whether any seed was trained."""
        return any(seed.env_steps for seed in self.done)

    @property
    def budget(self) -> int | None:
        """Environment steps requested, per seed."""
        return next((seed.budget for seed in self.seeds if seed.budget is not None), None)

    @property
    def env_steps(self) -> int | None:
        """Environment steps trained, per seed."""
        return next((seed.env_steps for seed in self.done if seed.env_steps is not None), None)

    @property
    def parameters(self) -> int | None:
        """Number of trainable parameters of all agents of the run."""
        return next((seed.parameters for seed in self.done if seed.parameters is not None), None)


@dataclass(frozen=True)
class Row:
    """One run on one board."""

    run: Run
    """The run."""
    rank: int
    """Position on the board, from 1."""
    scores: tuple[float, ...]
    """Score of each seed that is done; empty if no role is scored."""
    score: Estimate
    """Interquartile mean and 95% interval over seeds; NaN if no role is scored."""
    improvement: float
    """Probability that a seed has a higher score than a seed of the next row; NaN in the last row."""
    objective: float
    """Interquartile mean over seeds of the metric that is scored, in the market's units."""
    metrics: Mapping[str, float]
    """Interquartile mean over seeds of each metric."""
    sampled: float = math.nan
    """Interquartile mean over seeds of the score with sampled actions; NaN if the agents cannot sample."""

    @property
    def audit(self) -> Mapping[str, float]:
        """Interquartile mean over seeds of each figure that the same audit of every seed has found, by column."""
        if len({seed.audit_search for seed in self.run.done}) > 1:
            return {}
        found = [seed.audit for seed in self.run.done]
        shown = [name for name in (found[0] if found else {}) if all(name in of_seed for of_seed in found)]
        return {name: _interquartile_mean([of_seed[name] for of_seed in found]) for name in shown}

    @property
    def steps_per_second(self) -> float:
        """Median over seeds of the steps per second of all seeds that trained together.

        For agents that do not learn, it is the speed of the evaluation.
        """
        return _median(seed.steps_per_second for seed in self.run.done)

    @property
    def train_minutes(self) -> float:
        """Mean training time per seed [min]; NaN for agents that do not learn."""
        if not self.run.learns:
            return math.nan
        shares = [
            seed.train_seconds / (seed.seeds_together or 1) / 60.0
            for seed in self.run.done
            if seed.train_seconds is not None
        ]
        return float(np.mean(shares)) if shares else math.nan


@dataclass(frozen=True)
class Board:
    """Comparable runs: they share the market, its settings, the evaluation episodes and the scored role."""

    env: str
    """Name of the market."""
    preset: str
    """Preset of the market."""
    role: str | None
    """Scored role; None for runs without a scored role."""
    variant: str
    """Settings that distinguish the board from others of the same market and preset."""
    slug: str
    """Folder name, unique among the boards."""
    objective: str
    """The metric that is scored."""
    metrics: tuple[str, ...]
    """Further metrics that are shown."""
    rows: tuple[Row, ...]
    """Rows, best first."""
    references: tuple[Reference, ...]
    """References, highest first."""

    @property
    def title(self) -> str:
        """Market, preset, role and variant."""
        parts = (f"{self.env} {self.preset}", self.role or "no scored role", self.variant)
        return " · ".join(part for part in parts if part)

    @property
    def shows_sampled(self) -> bool:
        """Whether the sampled policy of any row has another score, so that the board shows both."""
        return any(abs(row.sampled - row.score.value) > SMALLEST_DIFFERENCE for row in self.rows)

    @property
    def audited(self) -> tuple[str, ...]:
        """The columns of audits that any row has, in their usual order."""
        found = {name for row in self.rows for name in row.audit}
        return tuple(name for name in AUDIT_COLUMNS if name in found)

    def mixed(self) -> list[Row | Reference]:
        """Return rows and references, best first; a reference precedes rows with the same score."""
        lines: list[Row | Reference] = [*self.references, *self.rows]
        return sorted(lines, key=lambda line: -_order(line))


@dataclass(frozen=True)
class Problem:
    """Seeds of a run that are not done for the same reason."""

    run: Run
    """The run."""
    status: str
    """Status of the seeds."""
    reason: str
    """Why they are not done, in one line."""
    seeds: tuple[int, ...]
    """Training seeds."""


@dataclass(frozen=True)
class Leaderboard:
    """All boards, problems and runs of a store."""

    boards: tuple[Board, ...]
    """Boards, sorted by market, preset, role and variant."""
    problems: tuple[Problem, ...]
    """Seeds that are not done."""
    runs: tuple[Run, ...] = field(repr=False)
    """All runs with labels, whether done or not."""


def arrange(seeds: Sequence[SeedRow]) -> Leaderboard:
    """Sort the seeds of a store into runs, boards and problems."""
    runs = _runs(seeds)
    agents = [((run.env, run.preset, run.identity), shown_agent(run.agent, run.settings)) for run in runs]
    labels = labels_of(agents, [run.digest for run in runs], [run.settings for run in runs])
    runs = [dataclasses.replace(run, label=label) for run, label in zip(runs, labels, strict=True)]
    runs.sort(key=lambda run: (run.env, run.preset, run.label))
    groups: dict[_BoardKey, list[Run]] = {}
    for run in runs:
        roles: list[str | None] = [*sorted({role for seed in run.done for role in seed.scores})]
        for role in (roles or [None]) if run.done else []:
            groups.setdefault(_BoardKey(run.env, run.preset, role, run.identity), []).append(run)
    variants = variants_of([((key.env, key.preset, key.role), dict(key.identity)) for key in groups])
    slugs = unique(_slugs(list(groups), variants))
    boards = [
        _board(group, key.role, variant, slug)
        for (key, group), variant, slug in zip(groups.items(), variants, slugs, strict=True)
    ]
    boards.sort(key=lambda board: (board.env, board.preset, board.role or "~", board.variant))
    return Leaderboard(tuple(boards), tuple(p for run in runs for p in _problems(run)), tuple(runs))


class _BoardKey(NamedTuple):
    """The properties that the runs of a board share."""

    env: str
    preset: str
    role: str | None
    identity: Identity


class _RunKey(NamedTuple):
    """The properties that the seeds of a run share, except for settings that were changed in the store."""

    env: str
    preset: str
    agent: str
    digest: str


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
    """Group seeds into runs; a seed whose settings differ from those of its run becomes a run of its own."""
    grouped: dict[_RunKey, dict[Identity, list[SeedRow]]] = {}
    identities: dict[tuple[str, int], Identity] = {}
    for seed in sorted(seeds, key=lambda seed: not seed.settings):
        settings_key = seed.env, id(seed.settings)  # the seeds of a run share one mapping
        if settings_key not in identities:
            identities[settings_key] = _identity(seed.env, seed.settings)
        by_identity = grouped.setdefault(_RunKey(seed.env, seed.preset, seed.agent, seed.digest), {})
        identity = identities[settings_key] if seed.settings else next(iter(by_identity), ())
        by_identity.setdefault(identity, []).append(seed)
    return [
        Run(*key, tuple(sorted(group, key=lambda seed: seed.seed)), identity)
        for key, by_identity in sorted(grouped.items())
        for identity, group in by_identity.items()
    ]


def _identity(env: str, settings: Settings) -> Identity:
    """Return the settings on which the scale depends.

    The cycle limit of training does not apply in evaluation and is left out, and so are settings that were added to the
    market later and have no effect. The score is of the last evaluation, whose number of episodes is a setting of its
    own, which rows of earlier versions lack.
    """
    last = "evaluation.final_episodes" if "evaluation.final_episodes" in settings else "evaluation.episodes"
    keys = (last, "versions.env", "versions.protocol")
    game = market_class(env)
    neutral = flatten({"env": unchanged_settings(game.config_class)}) if game is not None else {}
    return tuple(
        (key, value)
        for key, value in sorted(settings.items())
        if ((key.startswith("env.") and key != "env.max_cycles") or key in keys)
        and (key not in neutral or neutral[key] != value)
    )


def _slugs(keys: Sequence[_BoardKey], variants: Sequence[str]) -> list[str]:
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
        ranked.append(dataclasses.replace(row, rank=place + 1, improvement=chance))
    done = [seed for run in runs for seed in run.done]
    marks = () if role is None else references(env, preset, role, runs[0].identity, done)
    return Board(env, preset, role, variant, slug, objective, metrics, tuple(ranked), marks)


def _columns(env: str, role: str | None, runs: Sequence[Run]) -> tuple[str, tuple[str, ...]]:
    """Return the metric that is scored and further metrics to show; they are guessed if the market is not installed."""
    present = list(dict.fromkeys(name for run in runs for seed in run.done for name in seed.metrics))
    game = market_class(env)
    if game is None:
        objective = _guessed_objective(role, runs, present)
        shown = tuple(name for name in present if not name.startswith(("reward_", SAMPLED)))[:MOST_METRICS]
    else:
        objective = game.objectives.get(role or "", "")
        shown = tuple(name for name in game.board_metrics if name in present)
        # Among reference partners another figure is scored than that of the joint play, which is shown beside it.
        column = objective_columns(game).get(role or "", "")
        if column != objective and column in present:
            objective, shown = column, tuple(dict.fromkeys((objective, *shown)))
    if not objective:
        objective = next((name for name in present if name.startswith("reward_")), "return")
    return objective, tuple(name for name in shown if name != objective)


def _guessed_objective(role: str | None, runs: Sequence[Run], names: Sequence[str]) -> str:
    """Return the metric that the references map to the recorded score in every seed, or ""."""
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
    metrics = {name: _interquartile_mean([seed.metrics.get(name, math.nan) for seed in run.done]) for name in names}
    score = estimate(scores) if scores else nothing
    drawn = [seed.sampled_scores[role] for seed in run.done if role is not None and role in seed.sampled_scores]
    sampled = _interquartile_mean(drawn) if drawn and len(drawn) == len(scores) else math.nan
    return Row(run, 0, scores, score, math.nan, metrics.get(objective, math.nan), metrics, sampled)


def _interquartile_mean(values: Sequence[float]) -> float:
    """Return the interquartile mean, or NaN if any value is not finite, which trimming would hide."""
    return float(interquartile_mean(values)) if np.isfinite(values).all() else math.nan
