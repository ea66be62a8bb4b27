"""A comparison as a picture: one panel for each figure, one bar for each mechanism. Matplotlib is imported on use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ioa_marl.envs.rendering import BLUE, GREEN, GRID, INK, MUTED, ORANGE, PINK, YELLOW, new_figure, style_axes
from ioa_marl.evaluation.mechanisms.comparison import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 1400
"""Width of the picture [pixels]; the height grows with the number of mechanisms."""
DIFFERENCE = "difference"
"""Name of the panel of paired differences of welfare, which have 95% intervals."""
PANELS = (
    ("welfare", "welfare", BLUE),
    (DIFFERENCE, "welfare less base", BLUE),
    ("revenue", "revenue", GREEN),
    ("budget_surplus", "budget surplus", YELLOW),
    ("regret", "regret, lower bound", ORANGE),
    ("messages", "messages", PINK),
)
"""Figure, title and colour of each panel."""
LOGARITHMIC = 50.0
"""Ratio of the largest and the smallest number of messages from which on their axis is logarithmic."""
_LEFT, _RIGHT, _TOP, _BOTTOM, _GAP = 170, 30, 112, 44, 26
_ROW = 34


def picture(comparison: Comparison) -> Figure:
    """Draw the mean of each figure with its standard error, one bar for each mechanism.

    Parameters
    ----------
    comparison : Comparison
        The comparison.

    Returns
    -------
    Figure
        To be saved with `matplotlib.figure.Figure.savefig`.
    """
    rows = comparison.mechanisms
    height = _TOP + _BOTTOM + _ROW * max(4, len(rows))
    figure = new_figure(WIDTH, height)
    title = f"{comparison.family.replace('_', ' ')}: {comparison.source}".replace("$", r"\$")
    figure.text(0.02, 1 - 16 / height, title, fontsize=14, color=INK, va="top", fontweight="bold")
    caption = (
        f"means over {comparison.markets} markets with the same bids; base: {comparison.base}; "
        "lines are standard errors, and 95% intervals of differences"
    )
    figure.text(0.02, 1 - 42 / height, caption, fontsize=10.5, color=MUTED, va="top")
    across = (WIDTH - _LEFT - _RIGHT - _GAP * (len(PANELS) - 1)) / len(PANELS)
    for place, (name, panel_title, colour) in enumerate(PANELS):
        left = (_LEFT + place * (across + _GAP)) / WIDTH
        axes = figure.add_axes((left, _BOTTOM / height, across / WIDTH, 1 - (_TOP + _BOTTOM) / height))
        _draw_bars(axes, comparison, name, colour)
        axes.set_title(panel_title, fontsize=11, color=INK, fontweight="bold", loc="left", pad=6)
        axes.set_yticks(range(len(rows)), [row.name for row in rows] if place == 0 else [], fontsize=10.5, color=INK)
    return figure


def _draw_bars(axes: Axes, comparison: Comparison, name: str, colour: str) -> None:
    """Draw the bars of one figure."""
    names = [row.name for row in comparison.mechanisms]
    if name == DIFFERENCE:
        estimates = [comparison.difference(mechanism) for mechanism in names]
        means, ends = np.array([e.value for e in estimates]), [(e.low, e.high) for e in estimates]
    else:
        found = [comparison.mean(mechanism, name) for mechanism in names]
        means, ends = np.array([mean for mean, _ in found]), [(mean - error, mean + error) for mean, error in found]
    places = np.arange(len(names))
    style_axes(axes, "", "", grid=None)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.barh(places, means, height=0.62, color=colour, alpha=0.85)
    for place, (low, high) in zip(places, ends, strict=True):
        if high > low:
            axes.plot([low, high], [place, place], color=INK, linewidth=1.6)
    if name == "messages" and means.min() > 0.0 and means.max() / means.min() >= LOGARITHMIC:
        axes.set_xscale("log")
        axes.set_xlim(left=means.min() / 2.0)
    elif not means.any():
        axes.set_xlim(-0.05, 1.0)
    if means.min() < 0.0:
        axes.axvline(0.0, color=MUTED, linewidth=1.0)
    axes.set_ylim(len(names) - 0.4, -0.6)
