"""Boards as text: the cells of a board, and tables of them for the terminal and in Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ioa_marl.leaderboard.marks import Reference
from ioa_marl.leaderboard.rows import Board, Leaderboard, Problem, Row
from ioa_marl.leaderboard.seeds import DAMAGED, FAILED, NOT_REPLAYABLE, UNCHECKED
from ioa_marl.leaderboard.text import in_markdown

NOTHING = "–"
"""Cell without a value."""
CHECKED = "checked"
"""Column that the terminal does not show, because the notes below a board contain the same."""
WIDEST_LABEL = 22
"""Largest width of labels of agents in the terminal, in characters; longer ones are folded."""
LEGEND = (
    "score: 0 is random play unless a mark says otherwise, 1 the exact optimum; interquartile mean over seeds "
    "[95% bootstrap interval]. "
    "P(>next): probability that a seed beats a seed of the next row. minutes: of training, per seed. "
    "steps/s of what does not learn: in evaluation. ref: a mark on the scale, not an agent. "
    "audit: as ioa-marl audit found it; its text says which figures are lower bounds."
)

LEGEND_OF_SAMPLED = (
    "sampled: score of the policy that samples its actions, where the score is that of its likeliest actions."
)
LEGEND_OF_NOTES = (
    f"{UNCHECKED}: the row has no checksums, as those of earlier versions. {NOT_REPLAYABLE}: it has no checkpoint here."
)
PROBLEMS = "Damaged, failed and unfinished"
MOST_LABELS = 8
"""Largest number of rows that a note lists."""


@dataclass(frozen=True)
class Column:
    """One column of a board."""

    header: str
    """Header of the column."""
    of_row: Callable[[Row], str]
    """Returns the cell of a row."""
    of_reference: Callable[[Reference], str] = lambda _: NOTHING
    """Returns the cell of a reference."""
    priority: int = 0
    """If the terminal is too narrow, columns with the lowest priority are dropped first."""
    left: bool = False
    """Whether the cells are text rather than numbers."""


def number(value: float | None) -> str:
    """Return a number with four significant digits, or a dash."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == 0:
        return "0"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 6)}f}" if abs(value) >= 1e-4 else f"{value:.1e}"


def count(value: float | None) -> str:
    """Return a count, abbreviated with k, M, G or T if it is long."""
    if value is None or not math.isfinite(value):
        return NOTHING
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(1e4, 0.9995 * size):
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def interval(row: Row) -> str:
    """Return the score with its interval, or a dash if no role is scored."""
    score = row.score
    if math.isnan(score.value):
        return "n/a"
    spread = f"[{score.low:.3f}, {score.high:.3f}]" if math.isfinite(score.low) else NOTHING
    return f"{score.value:.3f} {spread}"


def minutes(value: float) -> str:
    """Return minutes with one decimal, or with two if there is less than 0.1."""
    return NOTHING if math.isnan(value) else f"{value:.1f}" if value >= 0.1 else f"{value:.2f}"


def columns(board: Board) -> list[Column]:
    """Return the columns of a board, in order."""

    def metric(name: str) -> Callable[[Row], str]:
        return lambda row: number(row.metrics.get(name))

    shown = [
        # The second metric is kept longer than the costs of the run; further metrics are dropped first.
        Column(name, metric(name), priority=(12, 6)[place] if place < 2 else 0)
        for place, name in enumerate(board.metrics)
    ]
    return [
        Column(
            "#",
            lambda row: NOTHING if math.isnan(row.score.value) else str(row.rank),
            lambda _: "ref",
            99,
        ),
        Column("agent", lambda row: row.run.label, lambda mark: mark.name, 99, left=True),
        Column("score [95% interval]", interval, lambda mark: f"{mark.score:.3f}", 99, left=True),
        *([Column("sampled", lambda row: _score(row.sampled), priority=14)] if board.shows_sampled else []),
        *(Column(f"audit: {name}", _audit(name), priority=11) for name in board.audited),
        *shown,
        Column(board.objective, lambda row: number(row.objective), lambda mark: number(mark.objective), 13),
        Column("P(>next)", lambda row: _decimals(row.improvement), priority=8),
        Column("steps/s", lambda row: count(row.steps_per_second), priority=5),
        Column("minutes", lambda row: minutes(row.train_minutes), priority=4),
        Column("params", lambda row: count(row.run.parameters), priority=2),
        Column("seeds", _seeds, priority=10),
        Column("budget", lambda row: count(row.run.budget), priority=7),
        Column("commit", lambda row: _commit(row), priority=1, left=True),
        Column(CHECKED, lambda row: row.run.checked, left=True),
    ]


def _audit(name: str) -> Callable[[Row], str]:
    """Return the function for the cells of a column that audits fill."""
    return lambda row: number(row.audit.get(name))


def _score(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:.3f}"


def _decimals(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:.2f}"


def _seeds(row: Row) -> str:
    done, all_seeds = len(row.run.done), len(row.run.seeds)
    return str(done) if done == all_seeds else f"{done}/{all_seeds}"


def _commit(row: Row) -> str:
    """Return seven digits of the commit, with + if the source tree was changed or seeds have several commits."""
    commits = {seed.commit for seed in row.run.done if seed.commit}
    first = min(commits, default=NOTHING)
    return first[:7] + ("+" if "-dirty" in first or len(commits) > 1 else "")


def cells(column: Column, board: Board) -> list[str]:
    """Return the cells of a column, best row first."""
    return [column.of_row(line) if isinstance(line, Row) else column.of_reference(line) for line in board.mixed()]


def terminal_table(board: Board, width: int) -> Table:
    """Return a board as a table of at most ``width`` characters; columns that do not fit are named below it."""
    chosen = [column for column in columns(board) if column.header != CHECKED]
    lines = board.mixed()
    texts = {column.header: cells(column, board) for column in chosen}

    def needed(column: Column) -> int:
        widest = max(map(cell_len, [*texts[column.header], column.header]))
        return min(widest, WIDEST_LABEL) if column.header == "agent" else widest

    dropped = []
    while sum(map(needed, chosen)) + len(chosen) - 1 > width and min(c.priority for c in chosen) < 99:
        least = min(chosen, key=lambda column: column.priority)
        dropped.append(least.header)
        chosen.remove(least)
    # Text objects, because strings would be parsed as markup.
    table = Table(title=Text(board.title), title_justify="left", title_style="bold", caption_justify="left")
    table.box, table.padding, table.pad_edge, table.show_edge = box.SIMPLE_HEAD, (0, 0), False, False
    if dropped:
        table.caption = Text(f"too narrow for {', '.join(dropped)}: see leaderboard.md")
    for column in chosen:
        wide = column.left and column.header == "agent"
        table.add_column(
            Text(column.header),
            justify="left" if column.left else "right",
            no_wrap=not wide,
            min_width=needed(column),
            overflow="fold",
        )
    for place, line in enumerate(lines):
        style = "dim italic" if isinstance(line, Reference) else ""
        table.add_row(*(Text(texts[column.header][place]) for column in chosen), style=style)
    return table


def print_leaderboard(leaderboard: Leaderboard, console: Console) -> None:
    """Print all boards, then the seeds that failed or are not finished."""
    for board in leaderboard.boards:
        console.print(terminal_table(board, console.width))
        for note, rows in notes(board):
            console.print(Text(f"{note}: {rows}", "yellow"))
        console.print()
    if leaderboard.boards:
        console.print(Text(legend(leaderboard), "dim"))
    if leaderboard.problems:
        console.print()
        table = Table(title=PROBLEMS, title_justify="left", title_style="bold")
        table.box, table.padding, table.pad_edge, table.show_edge = box.SIMPLE_HEAD, (0, 1), False, False
        for header in ("market", "agent", "seeds", "status", "reason"):
            table.add_column(header, overflow="fold")
        for problem in leaderboard.problems:
            style = "red" if problem.status in (FAILED, DAMAGED) else "yellow"
            table.add_row(*(Text(cell) for cell in problem_cells(problem)), style=style)
        console.print(table)


def notes(board: Board) -> list[tuple[str, str]]:
    """Return the notes on a board, each with the rows that it concerns."""
    labels_of: dict[str, list[str]] = {}
    complete: dict[str, int] = {}
    for row in board.rows:
        for note, seeds in row.run.notes.items():
            every = len(seeds) == len(row.run.done)
            complete[note] = complete.get(note, 0) + every
            part = "" if every else f" (seed{'s' * (len(seeds) > 1)} {_listed(list(map(str, seeds)))})"
            labels_of.setdefault(note, []).append(row.run.label + part)
    return [
        (note, "all rows" if complete[note] == len(board.rows) > 1 else _listed(labels))
        for note, labels in labels_of.items()
    ]


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - MOST_LABELS} more" if len(items) > MOST_LABELS else ""
    return ", ".join(items[:MOST_LABELS]) + more


def legend(leaderboard: Leaderboard) -> str:
    """Return the explanation of the columns, and of the notes on checks if there are any."""
    text = f"{LEGEND} {LEGEND_OF_SAMPLED}" if any(board.shows_sampled for board in leaderboard.boards) else LEGEND
    texts = {word for board in leaderboard.boards for row in board.rows for word in row.run.notes}
    needed = any(UNCHECKED in word or NOT_REPLAYABLE in word for word in texts)
    return f"{text} {LEGEND_OF_NOTES}" if needed else text


def problem_cells(problem: Problem) -> list[str]:
    """Return the cells of a problem: market, agent, seeds, status and reason."""
    run = problem.run
    seeds = _listed(["?" if seed < 0 else str(seed) for seed in problem.seeds])
    return [f"{run.env} {run.preset}", run.label, seeds, problem.status, problem.reason]


def markdown(leaderboard: Leaderboard) -> str:
    """Return the whole leaderboard as Markdown."""
    parts = ["# Leaderboard"]
    for board in leaderboard.boards:
        chosen = columns(board)
        body = list(zip(*(cells(column, board) for column in chosen), strict=True))
        marks = [isinstance(line, Reference) for line in board.mixed()]
        rows = [
            [f"*{in_markdown(cell)}*" if mark else in_markdown(cell) for cell in line]
            for line, mark in zip(body, marks, strict=True)
        ]
        alignment = [":--" if column.left else "--:" for column in chosen]
        parts.append(f"## {in_markdown(board.title)}")
        parts.append(_markdown_table([in_markdown(column.header) for column in chosen], alignment, rows))
        parts += ["\n".join(f"- {in_markdown(f'{note}: {rows}')}" for note, rows in notes(board))]
    if leaderboard.boards:
        parts.append(in_markdown(legend(leaderboard)))
    if leaderboard.problems:
        parts.append(f"## {PROBLEMS}")
        rows = [[in_markdown(cell) for cell in problem_cells(problem)] for problem in leaderboard.problems]
        headers = ["market", "agent", "seeds", "status", "reason"]
        parts.append(_markdown_table(headers, [":--"] * len(headers), rows))
    return "\n\n".join(filter(None, parts)) + "\n"


def _markdown_table(headers: Sequence[str], alignment: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (headers, alignment, *rows))
