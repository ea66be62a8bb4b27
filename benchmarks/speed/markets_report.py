"""Tables and plots of what `markets.measure_markets` found."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ioa_marl import registry
from ioa_marl.envs import rendering as r

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOTS = {"batch": "markets_batch.png", "growth": "markets_growth.png"}
"""Files of the plots, beside the tables."""
_PALETTE = (r.BLUE, r.GREEN, r.ORANGE, r.YELLOW, r.PINK, r.MUTED)
_COLOURS = dict(zip(registry.MARKETS, itertools.cycle(_PALETTE), strict=False))
"""A market has the same colour in every plot, whichever others are there."""

Row = dict[str, Any]


def short(value: float) -> str:
    """Return a number with three digits that count, grouped."""
    if value >= 1000:
        digits = 10 ** (int(np.log10(value)) - 2)
        return f"{round(value / digits) * digits:,}"
    return f"{value:.3g}"


def _span(row: Row) -> str:
    return f"{short(row['median'])} [{short(row['min'])}–{short(row['max'])}]"


def by_market(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each market, in the order in which they were measured."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["market"], []).append(row)
    return found


def as_markdown(results: dict[str, Any]) -> list[str]:
    """Return the section about all markets, line by line."""
    lines = [
        "## All markets",
        "",
        f"{results['date']}, {results['cpu']}, one thread, {results['rounds']} rounds of at least "
        f"{results['seconds_per_turn']} s each. Market-steps per second, median [min–max]; random actions, resets "
        "included.",
        "",
    ]
    if results["speed"]:
        lines += _batch_table(by_market(results["speed"]))
        lines += ["", f"![Market-steps per second by batch size]({PLOTS['batch']})", ""]
    if results["growth"]:
        lines += ["Growth with the participants, one market a call:", ""]
        lines += _growth_table(results["growth"])
        lines += ["", f"![Time of a step by participants]({PLOTS['growth']})", ""]
    if results["skipped"]:
        lines += ["Not measured:", ""]
        lines += [f"- {name}: {reason}" for name, reason in results["skipped"].items()]
    return lines


def _batch_table(markets: dict[str, list[Row]]) -> list[str]:
    first = next(iter(markets.values()))
    heads = [row["interface"] + ("" if row["interface"] == "PettingZoo" else f", {row['batch']}") for row in first]
    lines = [
        "| market | agents | " + " | ".join(heads) + " | largest batch against one |",
        "| --- | --- |" + " --- |" * (len(heads) + 1),
    ]
    for market, rows in markets.items():
        one = next(row for row in rows if row["interface"] == "Game.step")
        gains = [many / alone for many, alone in zip(rows[-1]["values"], one["values"], strict=True)]
        cells = [market + ", " + rows[0]["preset"], str(rows[0]["agents"]), *map(_span, rows)]
        lines.append("| " + " | ".join(cells) + f" | {short(float(np.median(gains)))}× |")
    return lines


def _growth_table(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| market | participants | agents that act | steps/s | a step [µs] | a participant [µs] |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        step = 1e6 / row["median"]
        lines.append(
            f"| {row['market']}, {row['preset']} | {row['participants']:,} {row['counted']} | {row['agents']:,} | "
            f"{_span(row)} | {short(step)} | {short(step / row['participants'])} |"
        )
    return lines


def plot(results: dict[str, Any], folder: Path) -> None:
    """Draw both plots that there are results for."""
    if results["speed"]:
        _plot_batches(by_market(results["speed"]), folder / PLOTS["batch"])
    if results["growth"]:
        _plot_growth(by_market(results["growth"]), folder / PLOTS["growth"])


def _plot_batches(markets: dict[str, list[Row]], path: Path) -> None:
    figure = r.new_figure(1000, 600)
    axes = figure.add_axes((0.1, 0.12, 0.72, 0.74))
    ends = {}
    for market, rows in markets.items():
        steps = [row for row in rows if row["interface"] == "Game.step"]
        ends[market] = _line(axes, market, [row["batch"] for row in steps], steps)
        alone = next(row for row in rows if row["interface"] == "PettingZoo")
        axes.plot(1, alone["median"], "o", color=_COLOURS[market], markerfacecolor=r.PAPER, markersize=8, zorder=4)
    _finish(axes, "markets in one call", "market-steps per second", ends)
    figure.text(0.1, 0.94, "Speed by batch size", fontsize=16, fontweight="bold", color=r.INK)
    figure.text(0.1, 0.895, "one thread, random actions; rings: one market behind PettingZoo", color=r.MUTED)
    figure.savefig(path, metadata={"Software": None})


def _plot_growth(markets: dict[str, list[Row]], path: Path) -> None:
    figure = r.new_figure(1000, 600)
    axes = figure.add_axes((0.1, 0.12, 0.72, 0.74))
    ends = {}
    for market, rows in markets.items():
        seconds = [{key: 1e6 / row[other] for key, other in _RECIPROCAL.items()} for row in rows]
        ends[market] = _line(axes, market, [row["participants"] for row in rows], seconds)
    low, high = axes.get_ylim()
    left, right = axes.get_xlim()
    for start in 10.0 ** np.arange(-4, 9):  # guides: time in proportion to the participants
        axes.plot([left, right], [start, start * right / left], color=r.GRID, linewidth=0.8, zorder=1)
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    _finish(axes, "participants", "time of a step [µs]", ends)
    figure.text(0.1, 0.94, "Growth with the participants", fontsize=16, fontweight="bold", color=r.INK)
    figure.text(0.1, 0.895, "one market, one thread; grey lines: proportional growth", color=r.MUTED)
    figure.savefig(path, metadata={"Software": None})


_RECIPROCAL = {"median": "median", "min": "max", "max": "min"}


def _line(axes: Axes, market: str, across: Sequence[int], rows: Sequence[Row]) -> float:
    """Draw medians with their ranges; returns the height of the last one."""
    middle = np.array([row["median"] for row in rows])
    reach = [middle - [row["min"] for row in rows], [row["max"] for row in rows] - middle]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.errorbar(
        across, middle, yerr=reach, color=_COLOURS[market], marker="o", markersize=6, linewidth=2, capsize=3, zorder=3
    )
    return float(middle[-1])


def _finish(axes: Axes, xlabel: str, ylabel: str, ends: dict[str, float]) -> None:
    """Label the axes, and every line at the right margin in its colour."""
    axes.set_xlabel(xlabel, fontsize=11, color=r.MUTED)
    axes.set_ylabel(ylabel, fontsize=11, color=r.MUTED)
    axes.tick_params(which="both", colors=r.MUTED, length=0)
    axes.grid(axis="y", color=r.GRID, linewidth=0.8)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda x, _: f"{x / 1e6:,g} M" if x >= 1e6 else f"{x:,g}")
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(r.MUTED)
    low, high = np.log(axes.get_ylim())
    wanted = [(np.log(end) - low) / (high - low) for end in ends.values()]
    for market, place in zip(ends, r.spread(wanted, 0.06, 0.0, 1.0), strict=True):
        axes.text(1.02, place, market, transform=axes.transAxes, va="center", color=_COLOURS[market], fontweight="bold")
