"""The leaderboard as CSV at full precision, in a form that no reader of CSV misinterprets."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence

from ioa_marl.evaluation.audits.results import COLUMNS as AUDIT_COLUMNS
from ioa_marl.leaderboard.marks import Reference
from ioa_marl.leaderboard.rows import Board, Leaderboard, Problem, Row, Run
from ioa_marl.leaderboard.text import in_csv

COLUMNS = (
    "kind", "env", "preset", "role", "variant", "rank", "agent", "label", "digest", "score", "low", "high",
    "sampled_score", "probability_of_improvement", "objective", "objective_value", "seeds", "seed_scores", "budget",
    "env_steps", "steps_per_second", "train_minutes", "parameters", "commit", "checked", "notes", "reason",
)  # fmt: skip
"""Columns of every file; the metrics follow as ``metric.NAME``."""
MOST_METRICS = 1000
"""Largest number of columns for metrics; those that occur in most rows are chosen."""
DIGEST_MARK = "run-"
"""Prefix of digests, many of which, such as 12345e678901, would be read as numbers or infinities."""
COMMIT_MARK = "git-"
"""Prefix of commits, for the same reason."""


def csv_text(leaderboard: Leaderboard) -> str:
    """Return the whole leaderboard as CSV; the column ``kind`` distinguishes agents, references and problems.

    Words that could be misinterpreted get the prefix ``text-``, see `ioa_marl.leaderboard.text.in_csv`; digests get
    ``run-`` and commits ``git-``.
    """
    lines = [_board_line(board, line) for board in leaderboard.boards for line in board.mixed()]
    lines += [_problem_line(problem) for problem in leaderboard.problems]
    times = Counter(key for line in lines for key in line if key.startswith("metric."))
    audits = [f"audit.{name}" for name in AUDIT_COLUMNS if any(f"audit.{name}" in line for line in lines)]
    metrics = sorted(key for key, _ in times.most_common(MOST_METRICS))
    out = io.StringIO()
    writer = csv.DictWriter(out, [*COLUMNS, *audits, *metrics], restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in line.items()} for line in lines)
    return out.getvalue()


def _board_line(board: Board, line: Row | Reference) -> dict[str, object]:
    shared: dict[str, object] = {
        "env": board.env, "preset": board.preset, "role": board.role, "variant": board.variant,
        "objective": board.objective, "objective_value": line.objective,
    }  # fmt: skip
    if isinstance(line, Reference):
        return shared | {"kind": "reference", "label": line.name, "score": line.score}
    run = line.run
    commits = sorted({seed.commit for seed in run.done if seed.commit})
    return {
        **shared, **_named(run),
        "kind": "agent", "rank": line.rank if line.scores else None,
        "score": line.score.value, "low": line.score.low, "high": line.score.high,
        "sampled_score": line.sampled, "probability_of_improvement": line.improvement,
        "seeds": _list([seed.seed for seed in run.done]), "seed_scores": _list(line.scores),
        "env_steps": run.env_steps,
        "steps_per_second": line.steps_per_second, "train_minutes": line.train_minutes,
        "parameters": run.parameters, "commit": " ".join(COMMIT_MARK + commit for commit in commits),
        "checked": run.checked,
        "notes": "; ".join(f"{note} (seeds {_list(seeds)})" for note, seeds in run.remarks.items()),
        **_prefixed("audit.", line.audit), **_prefixed("metric.", line.metrics),
    }  # fmt: skip


def _problem_line(problem: Problem) -> dict[str, object]:
    run = problem.run
    named = {"env": run.env, "preset": run.preset, **_named(run)}
    return {"kind": problem.status, **named, "seeds": _list(problem.seeds), "reason": problem.reason}


def _named(run: Run) -> dict[str, object]:
    return {"agent": run.agent, "label": run.label, "digest": DIGEST_MARK + run.digest, "budget": run.budget}


def _prefixed(prefix: str, values: Mapping[str, float]) -> dict[str, object]:
    return {prefix + name: value for name, value in values.items()}


class _Numbers(str):
    """Numbers separated by spaces, which need no prefix."""


def _list(values: Sequence[float]) -> _Numbers:
    return _Numbers(" ".join(map(repr, values)))


def _cell(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, _Numbers):
        return in_csv(value)
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value
