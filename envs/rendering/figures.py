"""Figures and what frames their charts: header, tiles, axes and legend.

Matplotlib is imported inside the functions, so that making an environment does not wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

WIDTH, HEIGHT = 1080, 720
"""Size of a frame [pixels]."""

# The palette of Okabe and Ito can be distinguished with every common colour blindness, and in grey.
BLUE, ORANGE, GREEN, PINK, YELLOW = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
INK, MUTED, GRID, PAPER = "#1F2328", "#6B7280", "#E5E7EB", "#FFFFFF"
"""Colours of the text, of secondary text, of grid lines and other minor lines, and of the background."""

TILES = 0.848
"""Height of the row of tiles below the header, as a fraction of the figure."""


def new_figure(width: int = WIDTH, height: int = HEIGHT) -> Figure:
    """Return an empty figure of ``width`` × ``height`` pixels, which needs neither a display nor a window system."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def titled_figure(title: str, headline: str, sentence: str, colour: str = INK) -> Figure:
    """Return a new figure with the header that the pictures of all markets have.

    Parameters
    ----------
    title : str
        Name of the market, at the left.
    headline : str
        Progress of the episode, in a box at the right.
    sentence : str
        Summary of the market, below the title.
    colour : str, default INK
        Colour of the box.

    Returns
    -------
    Figure
        1080 × 720 pixels.
    """
    figure = new_figure()
    figure.text(0.03, 0.957, title, fontsize=19, fontweight="bold", color=INK, va="center")
    figure.text(
        0.97, 0.957, headline, fontsize=13, fontweight="bold", color=PAPER, ha="right", va="center",
        bbox={"boxstyle": "round,pad=0.45", "facecolor": colour, "edgecolor": colour},
    )  # fmt: skip
    figure.text(0.03, 0.912, sentence, fontsize=12, color=MUTED, va="center")
    return figure


def figure_to_array(figure: Figure) -> NDArray[np.uint8]:
    """Draw a figure and return its pixels.

    Parameters
    ----------
    figure : Figure
        A figure made by `new_figure` or `titled_figure`.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        Red, green and blue of each pixel, from 0 to 255.
    """
    canvas: Any = figure.canvas
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def tile(figure: Figure, x: float, label: str, value: str, note: str = "", y: float = TILES) -> None:
    """Write a small label, below it a value in large type and, muted, a note.

    Parameters
    ----------
    figure : Figure
        The figure.
    x, y : float
        Lower left corner of the label, as fractions of the figure.
    label, value, note : str
        What is written.
    """
    figure.text(x, y, label, fontsize=10, color=MUTED, va="bottom")
    drawn = figure.text(x, y - 0.012, value, fontsize=17, color=INK, va="top", fontweight="bold")
    if note:
        canvas: Any = figure.canvas
        right = drawn.get_window_extent(canvas.get_renderer()).x1 / figure.bbox.width
        figure.text(right + 0.007, y - 0.0185, note, fontsize=11, color=MUTED, va="top")


def progress_tile(figure: Figure, label: str, value: str, note: str, fraction: float) -> None:
    """Write the first tile of the row, and below it draw a green bar that is filled up to ``fraction``."""
    from matplotlib.patches import Rectangle

    x, y, width = 0.03, TILES, 0.21
    tile(figure, x, label, value, note)
    filled = width * min(max(fraction, 0.0), 1.0)
    for length, colour in ((width, GRID), (filled, GREEN)):
        figure.add_artist(Rectangle((x, y - 0.062), length, 0.009, transform=figure.transFigure, color=colour, lw=0))


def style_axes(axes: Axes, xlabel: str, ylabel: str, grid: Literal["x", "y"] | None = "y") -> None:
    """Give axes the common look: no box, quiet ticks, and behind everything the grid lines of one axis or of none."""
    axes.set_xlabel(xlabel, fontsize=11, color=MUTED, labelpad=6)
    axes.set_ylabel(ylabel, fontsize=11, color=MUTED, labelpad=8)
    axes.tick_params(colors=MUTED, labelsize=10, length=0, pad=6)
    if grid is not None:
        axes.grid(axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")
    axes.set_facecolor(PAPER)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(MUTED)


def title_axes(axes: Axes, title: str, colour: str = INK, fontsize: float = 12.0) -> None:
    """Write a bold title above the left end of axes."""
    axes.set_title(title, fontsize=fontsize, color=colour, fontweight="bold", loc="left", pad=6)


def count_along_x(axes: Axes) -> None:
    """Put the ticks of the horizontal axis at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))


def line_entry(label: str, colour: str, width: float, linestyle: Any = "-", **style: Any) -> Line2D:
    """Return an entry of `legend` for a line; ``style`` has Matplotlib's names."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, lw=width, linestyle=linestyle, label=label, **style)


def mark_entry(label: str, marker: str, colour: str, size: float, **style: Any) -> Line2D:
    """Return an entry of `legend` for single points; ``style`` has Matplotlib's names."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, linestyle="none", marker=marker, markersize=size, label=label, **style)


def area_entry(label: str, colour: str, **style: Any) -> Patch:
    """Return an entry of `legend` for a bar or an area; ``style`` has Matplotlib's names."""
    from matplotlib.patches import Patch

    return Patch(**{"facecolor": colour, "lw": 0, "label": label, **style})


def legend(figure: Figure, entries: Sequence[Artist], y: float = 0.008, **layout: float) -> None:
    """Write a legend of one row at the foot of a figure.

    Parameters
    ----------
    figure : Figure
        The figure.
    entries : sequence of Artist
        Entries from left to right; see `line_entry`, `mark_entry` and `area_entry`.
    y : float, default 0.008
        Lower edge, as a fraction of the figure.
    **layout
        Changes of the sizes and distances, by Matplotlib's names.
    """
    usual = {"fontsize": 9.5, "handlelength": 1.6, "columnspacing": 1.8, "handletextpad": 0.6}
    figure.legend(
        handles=list(entries), loc="lower center", bbox_to_anchor=(0.5, y), ncols=len(entries), frameon=False,
        labelcolor=INK, **(usual | layout),
    )  # fmt: skip
