"""Train every learner on every market with its committed settings, five seeds, and write the table of scores.

``python benchmarks/tuning/table.py [--only MARKET …] [--jobs N] [--runs FOLDER]`` runs what is not in the run store
yet and writes ``results/README.md``, ``results/scores.csv`` and ``results/scores.png``. Rows of other markets
stay as they are.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed
from matplotlib.figure import Figure
from spaces import BASELINES, GRIDS, MARKETS, ONE_THREAD, markets_to_train_on

from ioa_marl.leaderboard.query import read_store
from ioa_marl.leaderboard.rows import Board, Row, arrange

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results"
SEEDS = 5
NEEDED = 4
"""Of five seeds so many have to beat the best constant action."""
SHOWN = -1.0
"""Lowest score that the plot shows."""


def command(market: str, agent: str, runs: Path) -> list[str]:
    """Return one training as a user would type it."""
    m = MARKETS[market]
    chosen = f"{agent}/{market}" if agent in GRIDS else agent
    policies = BASELINES[market].get(agent, ())
    return [
        "train", "--quiet", f"env={m.env(market)}", f"agent={chosen}", f"runs={runs}", f"seeds={SEEDS}",
        f"budget={m.budget}", f"num_envs={m.num_envs}", "evaluation.points=10", *policies,
    ]  # fmt: skip


def trained(market: str, agent: str, runs: Path) -> str:
    """Train one agent on one market, if that was not done before; returns a line that says so."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "ioa_marl", *command(market, agent, runs)],
        check=False, cwd=runs.parent, env=os.environ | ONE_THREAD, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{market}/{agent}: {done.stderr.strip() or done.stdout.strip()}")
    after = os.times()
    kept = cost_file(runs, market, agent)
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        seconds = after.children_user + after.children_system - before.children_user - before.children_system
        kept.write_text(f"{seconds / 60:.2f}\n")
    return f"{market}/{agent}"


def cost_file(runs: Path, market: str, agent: str) -> Path:
    """Return where the processor minutes of a training are kept: a second run of the command takes none."""
    return runs.with_name(f"{runs.name}-cost") / f"{market}-{agent}"


def rows_of(board: Board, runs: Path) -> list[dict[str, Any]]:
    """Return what the table says of every agent of a board, the best first."""
    constant = next(line.score for line in board.references if line.name == "best constant")
    random = next(row for row in board.rows if row.run.agent == "random")
    return [_row(board, row, constant, random, runs) for row in board.rows]


def short(label: str) -> str:
    """Return what plays, without who plays what: ``a+b=x,c=y 1f2e3d`` is x, y."""
    return ", ".join(dict.fromkeys(part.split()[0].rpartition("=")[2] for part in label.split(",")))


def _row(board: Board, row: Row, constant: float, random: Row, runs: Path) -> dict[str, Any]:
    learns = row.run.learns
    return {
        "market": board.env,
        "scored": board.role,
        "agent": short(row.run.label),
        "score": round(row.score.value, 4),
        "low": round(row.score.low, 4),
        "high": round(row.score.high, 4),
        "best_constant": round(constant, 4),
        "seeds_above_constant": sum(score > constant for score in row.scores) if learns else "",
        "above_random": int(row.score.low > random.score.high) if learns else "",
        "processor_minutes": cost_file(runs, board.env, row.run.agent).read_text().strip() if learns else "",
        "budget": row.run.budget if learns else "",
        "seeds": " ".join(f"{score:.4f}" for score in row.scores),
    }


def with_kept(fresh: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return fresh rows beside those of the other markets, as they are in the table so far."""
    path, kept = RESULTS / "scores.csv", []
    if path.exists():
        markets = {row["market"] for row in fresh}
        with path.open(newline="") as file:
            kept = [_numbers(row) for row in csv.DictReader(file) if row["market"] not in markets]
    return sorted([*kept, *fresh], key=lambda row: (row["market"], row["scored"]))


def _numbers(row: dict[str, str]) -> dict[str, Any]:
    exact = {key: float(row[key]) for key in ("score", "low", "high", "best_constant")}
    counted = {key: int(row[key]) for key in ("seeds_above_constant", "above_random") if row[key]}
    return {**row, **exact, **counted}


def chosen_settings() -> list[str]:
    """Return a table of what the search chose."""
    lines = [
        "## What the search chose\n",
        "| market | learner | settings | mean score in the search |",
        "| --- | --- | --- | --- |",
    ]
    found: dict[tuple[str, str, str], list[float]] = {}
    with (RESULTS / "search.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["chosen"] == "1":
                found.setdefault((row["market"], row["learner"], row["setting"]), []).append(float(row["score"]))
    for (market, learner, setting), scores in found.items():
        lines.append(f"| {market} | {learner} | {setting} | {sum(scores) / len(scores):.3f} |")
    return [*lines, ""]


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table as a page."""
    lines = [(HERE / "notes.md").read_text(), *chosen_settings(), "## Scores\n" if rows else ""]
    for market, scored in dict.fromkeys((row["market"], row["scored"]) for row in rows):
        part = [row for row in rows if (row["market"], row["scored"]) == (market, scored)]
        lines += [
            f"### {market}, {scored}\n",
            f"Best constant action: {part[0]['best_constant']:.3f}.\n",
            "| agent | score, 95% interval | seeds above constant | above random | processor minutes, five seeds |",
            "| --- | --- | --- | --- | --- |",
        ]
        for row in part:
            above = {"": "", 1: "yes", 0: "**no**"}[row["above_random"]]
            count = row["seeds_above_constant"]
            shown = "" if count == "" else f"{count} of {SEEDS}" if count >= NEEDED else f"**{count} of {SEEDS}**"
            interval = f"{row['score']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
            lines.append(f"| {row['agent']} | {interval} | {shown} | {above} | {row['processor_minutes']} |")
        lines.append("")
    return "\n".join(lines)


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw all scores with their intervals, a panel for each thing that is scored."""
    keys = list(dict.fromkeys((row["market"], row["scored"]) for row in rows))
    columns = 4
    figure = Figure(figsize=(4.2 * columns, 8.4))
    axes = figure.subplots(-(-len(keys) // columns), columns, squeeze=False)
    for axis in axes.flat[len(keys) :]:
        axis.set_visible(False)
    for axis, (market, scored) in zip(axes.flat, keys, strict=False):
        part = [row for row in rows if (row["market"], row["scored"]) == (market, scored)][::-1]
        for y, row in enumerate(part):
            colour = "tab:blue" if row["budget"] != "" else "0.55"
            if row["score"] < SHOWN:
                axis.text(SHOWN, y, f" ◂ {row['score']:.1f}", va="center", color=colour)
                continue
            low, high = row["score"] - max(row["low"], SHOWN), row["high"] - row["score"]
            axis.errorbar(row["score"], y, xerr=[[low], [high]], fmt="o", color=colour, capsize=3)
        axis.axvline(part[0]["best_constant"], color="tab:orange", linestyle="--", linewidth=1)
        axis.set_ylim(-0.6, len(part) - 0.4)
        axis.set_yticks(range(len(part)), [row["agent"] for row in part])
        axis.set_xlim(SHOWN - 0.05, 1.1)
        axis.set_title(f"{market} · {scored}")
        axis.grid(axis="x", alpha=0.3)
    figure.supxlabel("score (interquartile mean of five seeds, 95% interval; dashed: best constant action)")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Train, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = markets_to_train_on()
    parser.add_argument("--only", nargs="+", choices=known, default=known, metavar="MARKET")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "learners")
    args = parser.parse_args()
    runs = args.runs.resolve()
    runs.mkdir(parents=True, exist_ok=True)
    # The longest first, so that no core waits for the last one.
    markets = sorted(args.only, key=lambda market: not MARKETS[market].many)
    cells = [(market, agent) for market in markets for agent in [*GRIDS, *BASELINES[market]]]
    for line in Parallel(n_jobs=args.jobs, return_as="generator_unordered")(
        delayed(trained)(market, agent, runs) for market, agent in cells
    ):
        print(line, flush=True)
    boards = [board for board in arrange(read_store(runs)).boards if board.env in args.only]
    rows = with_kept([row for board in boards for row in rows_of(board, runs)])
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "scores.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (RESULTS / "README.md").write_text(markdown(rows))
    plot(rows, RESULTS / "scores.png")


if __name__ == "__main__":
    main()
