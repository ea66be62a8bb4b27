"""The picture of an audit: who gains how much by which deviation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ioa_marl.envs.rendering import BLUE, GREEN, INK, MUTED, ORANGE, PINK, YELLOW, new_figure, style_axes
from ioa_marl.evaluation.audits.results import AuditResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 1040
"""Width of the picture [pixels]; its height grows with the number of bars."""
MOST = 40
"""Largest number of bars; the largest gains are drawn."""
_COLOURS = (BLUE, ORANGE, GREEN, PINK, YELLOW)


def draw(result: AuditResult, title: str) -> Figure:
    """Draw the gain of each agent or group as a bar with its standard error, and the figures beside them.

    Parameters
    ----------
    result : AuditResult
        What was found.
    title : str
        Title of the picture.
    """
    gains = list(result.gains)
    if len(gains) > MOST:
        kept = sorted(range(len(gains)), key=lambda k: -abs(gains[k].value))[:MOST]
        gains = [gains[k] for k in sorted(kept)]
    kinds = list(dict.fromkeys(gain.deviation for gain in gains))
    lines = [
        f"{f.name}  {f.value:.4g}"
        + ("" if f.standard_error is None else f" ± {f.standard_error:.2g}")
        + f"  ({f.kind})"
        for f in result.findings
    ]
    figure = new_figure(WIDTH, 150 + max(24 * len(gains), 26 * len(lines), 120))
    figure.text(0.03, 1 - 34 / figure.bbox.height, title, fontsize=15, color=INK, va="center")
    axes = figure.add_axes((0.2, 0.11, 0.38, 0.76))
    style_axes(axes, "gain over what the policy does; lines are standard errors" if gains else "", "", "x")
    for place, gain in enumerate(gains):
        colour = _COLOURS[kinds.index(gain.deviation) % len(_COLOURS)]
        axes.barh(place, gain.value, height=0.65, color=colour, alpha=0.85)
        if gain.standard_error is not None:
            ends = [gain.value - gain.standard_error, gain.value + gain.standard_error]
            axes.plot(ends, [place, place], color=INK, linewidth=1.3)
    axes.set_yticks(range(len(gains)), [gain.who for gain in gains], fontsize=9.5, color=INK)
    axes.set_ylim(max(len(gains), 1) - 0.4, -0.6)
    if not gains:
        axes.set_xticks([])
        axes.text(0.5, 0.5, "no deviation was tried", ha="center", transform=axes.transAxes, color=MUTED)
    for place, kind in enumerate(kinds):
        y = 1 - 64 / figure.bbox.height
        figure.text(0.2 + 0.13 * place, y, f"■ {kind}", fontsize=10, color=_COLOURS[place % len(_COLOURS)], va="center")
    for place, line in enumerate(lines):
        y = 0.87 - (place + 0.5) * 26 / figure.bbox.height
        figure.text(0.61, y, line, fontsize=10, color=INK, va="center")
    return figure
