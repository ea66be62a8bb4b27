"""Drawing primitives that the pictures of all markets share: figures, staircases, tiles, text bars, a window.

Matplotlib is imported inside the functions, so that making an environment does not wait for it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 1080, 720
"""Size of a frame in pixels."""

# Okabe and Ito's palette: distinguishable with every common colour blindness, and in grey.
BLUE, ORANGE, GREEN, PINK, YELLOW = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
INK, MUTED, GRID, PAPER = "#1F2328", "#6B7280", "#E5E7EB", "#FFFFFF"
"""Text, secondary text, lines of no importance, background."""

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = " ▁▂▃▄▅▆▇█"


def new_figure(width: int = WIDTH, height: int = HEIGHT) -> Figure:
    """Return an empty figure of ``width`` × ``height`` pixels that needs no display and no window system."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def figure_to_array(figure: Figure) -> NDArray[np.uint8]:
    """Draw a figure made by `new_figure`.

    Parameters
    ----------
    figure : Figure
        Figure on an Agg canvas.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
    """
    canvas: Any = figure.canvas
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def style_axes(axes: Axes, xlabel: str, ylabel: str) -> None:
    """Give axes the common look: no box, quiet ticks, horizontal grid lines behind everything."""
    axes.set_xlabel(xlabel, fontsize=11, color=MUTED, labelpad=6)
    axes.set_ylabel(ylabel, fontsize=11, color=MUTED, labelpad=8)
    axes.tick_params(colors=MUTED, labelsize=10, length=0, pad=6)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")
    axes.set_facecolor(PAPER)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(MUTED)


def staircase(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the corners of a staircase whose step ``i`` spans [i, i + 1] at height ``values[i]``.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        Heights of the steps.

    Returns
    -------
    x, y : ndarray of float64, shape (2n,)
    """
    edges = np.repeat(np.arange(len(values) + 1, dtype=np.float64), 2)[1:-1]
    return edges, np.repeat(values, 2)


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels as little as possible until neighbours are ``gap`` apart and all lie in [low, high].

    Parameters
    ----------
    positions : sequence of float, length n
        Where the labels would like to be.
    gap : float
        Smallest distance between neighbours.
    low, high : float
        Range of the labels; should be at least (n − 1)·gap long.

    Returns
    -------
    list of float, length n
        Positions in the order given.
    """
    order = sorted(range(len(positions)), key=positions.__getitem__)
    last = len(order) - 1
    # Less its share of gaps, a label may not lie below its predecessor: an isotonic regression.
    wanted = [positions[i] - rank * gap for rank, i in enumerate(order)]
    out = [0.0] * len(order)
    for rank, i in enumerate(order):
        fitted = max(min(sum(wanted[a : b + 1]) / (b + 1 - a) for b in range(rank, last + 1)) for a in range(rank + 1))
        out[i] = max(low, min(fitted, high - last * gap)) + rank * gap
    return out


def tag(axes: Axes, at: float, shown_at: float, text: str, colour: str, filled: bool) -> None:
    """Label the height ``at`` in the right margin, at height ``shown_at``, joined by a short line."""
    across = axes.get_yaxis_transform()
    axes.plot(
        [1.0, 1.012, 1.024], [at, at, shown_at],
        transform=across, color=colour, linewidth=1.2, clip_on=False, solid_capstyle="butt",
    )  # fmt: skip
    axes.text(
        1.03, shown_at, text,
        transform=across, ha="left", va="center", fontsize=10.5, linespacing=1.25, zorder=6,
        color=PAPER if filled else colour, fontweight="bold" if filled else "normal",
        bbox={"boxstyle": "round,pad=0.4", "facecolor": colour if filled else PAPER, "edgecolor": colour},
    )  # fmt: skip


def tile(figure: Figure, x: float, y: float, label: str, value: str, note: str = "") -> None:
    """Write a figure of merit: a small label, below it the value in large type and, muted, a note."""
    figure.text(x, y, label, fontsize=10, color=MUTED, va="bottom")
    drawn = figure.text(x, y - 0.012, value, fontsize=17, color=INK, va="top", fontweight="bold")
    if note:
        canvas: Any = figure.canvas
        right = drawn.get_window_extent(canvas.get_renderer()).x1 / figure.bbox.width
        figure.text(right + 0.007, y - 0.0185, note, fontsize=11, color=MUTED, va="top")


def legend(figure: Figure, entries: Sequence[Any], y: float, **layout: float) -> None:
    """Write a legend of one row at the foot of a figure, its lower edge at ``y``; ``layout`` as matplotlib names it."""
    figure.legend(
        handles=list(entries), loc="lower center", bbox_to_anchor=(0.5, y), ncols=len(entries), frameon=False,
        labelcolor=INK, **layout,
    )  # fmt: skip


def progress_bar(figure: Figure, x: float, y: float, width: float, fraction: float, colour: str) -> None:
    """Draw a thin bar that is filled up to ``fraction``; positions are in fractions of the figure."""
    from matplotlib.patches import Rectangle

    filled = width * min(max(fraction, 0.0), 1.0)
    for length, shade in ((width, GRID), (filled, colour)):
        figure.add_artist(Rectangle((x, y), length, 0.009, transform=figure.transFigure, color=shade, lw=0))


def text_bar(fraction: float, width: int, from_right: bool = False) -> str:
    """Return a bar of ``width`` characters, filled from an end up to ``fraction`` (clipped to [0, 1])."""
    share = min(max(fraction, 0.0), 1.0) * width
    if from_right:  # there are no finer characters that are filled on their right
        full, half = divmod(round(2 * share), 2)
        return ("▐" * half + "█" * full).rjust(width)
    full, rest = divmod(round(8 * share), 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def amount(x: float, decimals: int = 1) -> str:
    """Return a number in at most 12 characters: with ``decimals`` (0 to 2) where it fits, else as a power of ten."""
    fits = x == 0.0 or 0.1**decimals <= abs(x) < 1e7
    return f"{x:,.{decimals}f}" if fits else f"{x:.3g}"


def text_density(values: NDArray[np.float64], low: float, high: float, width: int) -> str:
    """Return ``width`` characters whose heights say how many values lie where between ``low`` and ``high``.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        Values; those outside the range count at its ends.
    low, high : float
        Values at the left end of the first and the right end of the last character.
    width : int
        Number of characters.

    Returns
    -------
    str
        A single value is a bar of one eighth; more in one place are higher, the highest a full block.
    """
    at = (np.clip((values - low) / (high - low), 0.0, 1.0) * width).astype(np.int64)
    counts = np.bincount(np.minimum(at, width - 1), minlength=width)
    scale = max(8, int(counts.max(initial=0)))
    return "".join(_HEIGHTS[math.ceil(count / scale * 8)] for count in counts.tolist())


def text_table(rows: Iterable[Sequence[str]], gap: int = 3) -> list[str]:
    """Return one line a row, columns aligned: the first one to the left, the others to the right."""
    cells = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        (" " * gap)
        .join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        .rstrip()
        for row in cells
    ]


class Window:
    """A window that shows frames in place, without waiting for the person who looks at it.

    It obeys ``MPLBACKEND``. Once closed by hand it stays closed.

    Parameters
    ----------
    title : str
        What the window's bar says.

    Raises
    ------
    RuntimeError
        If there is no display, or matplotlib has no toolkit to open a window with.
    """

    def __init__(self, title: str) -> None:
        chosen = os.environ.get("MPLBACKEND")
        if not (chosen or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise RuntimeError("render_mode='human' needs a display; use 'rgb_array' or 'ansi', or set MPLBACKEND")
        import matplotlib.pyplot as plt

        # Matplotlib reads MPLBACKEND only once, when it is imported.
        if chosen and plt.get_backend().lower() != chosen.lower():
            plt.switch_backend(chosen)
        with plt.rc_context({"toolbar": "None"}):
            self._figure = plt.figure(facecolor=PAPER)
        manager = self._figure.canvas.manager
        if manager is not None:
            manager.set_window_title(title)
        self._interactive = getattr(self._figure.canvas, "required_interactive_framework", None) is not None
        # Without a toolkit or a working display matplotlib picks a backend without windows and says nothing.
        if not (chosen or self._interactive):
            self.close()
            raise RuntimeError(
                "render_mode='human' can open no window: check DISPLAY and that PyQt6 or tkinter is "
                "installed, or use 'rgb_array' or 'ansi'"
            )
        self._image: Any = None

    @property
    def is_open(self) -> bool:
        """Whether the window has not been closed."""
        import matplotlib.pyplot as plt

        return plt.fignum_exists(self._figure.number)

    def show(self, frame: NDArray[np.uint8]) -> None:
        """Show a frame.

        Parameters
        ----------
        frame : ndarray of uint8, shape (height, width, 3)
            Picture; its size may change from frame to frame.
        """
        if not self.is_open:
            return
        if self._image is None or self._image.get_array().shape != frame.shape:
            self._open(frame)
        else:
            self._image.set_data(frame)
        if self._interactive:
            self._figure.canvas.draw_idle()
            self._figure.canvas.flush_events()
        else:
            self._figure.canvas.draw()

    def _open(self, frame: NDArray[np.uint8]) -> None:
        self._figure.clear()
        self._figure.set_size_inches(frame.shape[1] / self._figure.dpi, frame.shape[0] / self._figure.dpi)
        axes = self._figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        self._image = axes.imshow(frame, interpolation="antialiased")
        if self._interactive:
            self._figure.show()

    def close(self) -> None:
        """Close the window; it may be closed already."""
        import matplotlib.pyplot as plt

        plt.close(self._figure)
