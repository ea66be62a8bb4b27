"""Figures of a board: score bars, learning curves and performance profile. Matplotlib is imported on first use."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.rendering import (
    BLUE,
    GREEN,
    GRID,
    INK,
    MUTED,
    ORANGE,
    PINK,
    YELLOW,
    new_figure,
    spread,
    style_axes,
)
from ioa_marl.evaluation import statistics
from ioa_marl.leaderboard.marks import Reference
from ioa_marl.leaderboard.rows import Board
from ioa_marl.leaderboard.text import in_figure, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 1040, 540
"""Size of a figure [pixels]; the height of score bars grows with the number of rows."""
MOST = 10
"""Largest number of rows in learning curves and profiles, in which more lines could not be distinguished."""
MOST_BARS = 100
"""Largest number of score bars; Matplotlib fails with thousands."""

_COLOURS = (BLUE, ORANGE, GREEN, PINK, YELLOW)
_DASHES = ("-", (0, (5, 1.5)))
_LONGEST = 24
"""Longest label, in characters."""


@dataclass(frozen=True)
class ScoreCurve:
    """Learning curves of the seeds of a row."""

    steps: NDArray[np.int64]
    """Environment steps of the evaluations, shape (evaluations,)."""
    scores: NDArray[np.float64]
    """Scores, shape (seeds, evaluations)."""


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file; characters that the font lacks are drawn as boxes."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(out, format="png", dpi=100)
    return out.getvalue()


def score_bars(board: Board) -> Figure:
    """Draw the score of each row with its interval and seeds, and the references as lines."""
    rows = board.rows[:MOST_BARS]
    figure = new_figure(WIDTH, 170 + 34 * max(4, len(rows)))
    caption = "interquartile mean over seeds, 95% interval; dots are seeds" + _omitted(board, MOST_BARS)
    axes = _axes(figure, board, "Score", caption, right=0.9)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    places = range(len(rows))
    values = np.array([row.score.value for row in rows])
    axes.barh(places, values, height=0.62, color=[_colour(i) for i in places], alpha=0.85)
    for place, row in zip(places, rows, strict=True):
        if math.isfinite(row.score.low):
            axes.plot([row.score.low, row.score.high], [place, place], color=INK, linewidth=1.6)
        axes.plot(row.scores, [place] * len(row.scores), "o", color=INK, markersize=3.5, alpha=0.55)
        axes.text(
            1.01, place, f"{row.score.value:.3f}",
            transform=axes.get_yaxis_transform(), va="center", fontsize=10.5, color=INK,
        )  # fmt: skip
    axes.set_yticks(places, [_short(row.run.label) for row in rows], fontsize=10.5, color=INK)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.04)
    axes.set_xlabel("score: 0 is random play, 1 the exact optimum", fontsize=11, color=MUTED, labelpad=6)
    for reference in board.references:
        axes.axvline(reference.score, color=MUTED, linewidth=1.1, linestyle=(0, (2, 2)), zorder=0.5)
    _names_above(axes, board.references)
    return figure


def learning_curves(board: Board, curves: Mapping[str, ScoreCurve]) -> Figure | None:
    """Draw the score over training steps: interquartile mean and 95% band; agents that do not learn are a line.

    Parameters
    ----------
    board : Board
        The board; colours follow the order of its rows.
    curves : mapping of str to ScoreCurve
        Learning curves by the label of the run; rows without one are left out.
    """
    rows = [(i, row, curves[row.run.label]) for i, row in enumerate(board.rows) if row.run.label in curves]
    last = max((int(curve.steps[-1]) for _, _, curve in rows), default=0)
    if last == 0:
        return None
    rows = rows[:MOST]
    figure = new_figure(WIDTH, HEIGHT)
    caption = "interquartile mean over seeds, 95% band; dotted: references and what does not learn"
    axes = _axes(figure, board, "Learning curves", caption + _omitted(board))
    style_axes(axes, "environment steps per seed", "score")
    ends = []
    for i, row, curve in rows:
        if curve.steps[-1] == 0:
            axes.axhline(row.score.value, color=_colour(i), linewidth=1.4, linestyle=":")
        else:
            estimates = [statistics.estimate(column) for column in curve.scores.T]
            low, high = np.array([e.low for e in estimates]), np.array([e.high for e in estimates])
            axes.fill_between(curve.steps, low, high, color=_colour(i), alpha=0.15, linewidth=0)
            middle = [e.value for e in estimates]
            axes.plot(curve.steps, middle, color=_colour(i), linestyle=_dash(i), linewidth=2, marker="o", ms=3)
        ends.append((row.score.value, _short(row.run.label), _colour(i)))
    for reference in board.references:
        axes.axhline(reference.score, color=MUTED, linewidth=1.1, linestyle=(0, (2, 2)), zorder=0.5)
    axes.set_xlim(0, last)
    # Very low scores at the beginning of training would compress the rest of the axis.
    lowest = min([0.0, *(at for at, _, _ in ends)]) - 1.0
    if axes.get_ylim()[0] < lowest:
        axes.set_ylim(bottom=lowest)
        axes.text(
            0.99, 0.02, "the axis is cut below",
            transform=axes.transAxes, ha="right", fontsize=10, color=MUTED, style="italic",
        )  # fmt: skip
    _label_ends(axes, [*ends, *((r.score, r.name, MUTED) for r in board.references)])
    return figure


def performance_profile(board: Board) -> Figure | None:
    """Draw the share of each row's seeds with a score above a threshold, for all thresholds."""
    rows = [(i, row) for i, row in enumerate(board.rows) if row.scores][:MOST]
    if not rows:
        return None
    figure = new_figure(WIDTH, HEIGHT)
    axes = _axes(figure, board, "Performance profile", "further up and right is better" + _omitted(board))
    style_axes(axes, "score τ", "share of seeds with a score above τ")
    every = np.concatenate([row.scores for _, row in rows])
    low, high = min(0.0, float(every.min())), max(1.0, float(every.max()))
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    for i, row in rows:
        x = np.concatenate([[low], np.sort(row.scores), [high]])
        share = statistics.performance_profile(row.scores, x)
        axes.step(
            x, share, where="post", color=_colour(i), linestyle=_dash(i), linewidth=2, label=_short(row.run.label)
        )
    for reference in board.references:
        axes.axvline(reference.score, color=MUTED, linewidth=1.1, linestyle=(0, (2, 2)), zorder=0.5)
    axes.set_xlim(low, high)
    axes.set_ylim(-0.02, 1.02)
    _names_above(axes, board.references)
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=10.5, labelcolor=INK, handlelength=2.4
    )
    return figure


def _axes(figure: Figure, board: Board, name: str, caption: str, right: float = 0.75) -> Axes:
    """Return axes with a title and a caption above; margins have a fixed size in pixels."""
    height = figure.bbox.height
    figure.text(
        0.02, 1 - 18 / height, f"{name}: {in_figure(board.title)}", fontsize=14, color=INK, va="top", fontweight="bold"
    )
    figure.text(0.02, 1 - 44 / height, caption, fontsize=10.5, color=MUTED, va="top")
    widest = max((len(_short(row.run.label)) for row in board.rows), default=0) if right > 0.75 else 0
    left = max(92.0, 36 + 7.6 * widest) / figure.bbox.width
    axes = figure.add_axes((left, 60 / height, right - left, 1 - (60 + 104) / height))
    style_axes(axes, "", "")
    return axes


def _omitted(board: Board, most: int = MOST) -> str:
    return f"; the best {most} of {len(board.rows)}" if len(board.rows) > most else ""


def _short(label: str) -> str:
    return in_figure(shortened(label, _LONGEST))


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]


def _dash(place: int) -> str | tuple[int, tuple[float, float]]:
    return _DASHES[place // len(_COLOURS) % len(_DASHES)]


def _names_above(axes: Axes, references: tuple[Reference, ...]) -> None:
    """Write the names of references above their vertical lines, without overlap."""
    low, high = axes.get_xlim()
    places = spread([r.score for r in references], 0.14 * (high - low), low, high)
    for reference, place in zip(references, places, strict=True):
        axes.text(
            place, 1.015, reference.name,
            transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=10, color=MUTED,
        )  # fmt: skip


def _label_ends(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Write names beside the right ends of lines, without overlap."""
    low, high = axes.get_ylim()
    gap = min(0.045 * (high - low), (high - low) / max(1, len(ends)))
    shown = spread([at for at, _, _ in ends], gap, low, high)
    for (at, text, colour), place in zip(ends, shown, strict=True):
        across = axes.get_yaxis_transform()
        axes.plot([1.0, 1.015], [at, place], transform=across, color=colour, linewidth=1, clip_on=False)
        axes.text(1.02, place, text, transform=across, va="center", fontsize=10.5, color=colour)
