"""Building blocks of the charts: staircases of bids, gains from trade, circles, and labels in the margin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.rendering.figures import GREEN, PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def staircase(heights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the corners of a staircase whose step ``i`` spans [i, i + 1] at height ``heights[i]``.

    Parameters
    ----------
    heights : ndarray of float64, shape (n,)
        Heights of the steps, in the unit of the vertical axis.

    Returns
    -------
    x, y : ndarray of float64, shape (2n,)
        Coordinates of the corners from left to right; ``x`` counts steps.
    """
    edges = np.repeat(np.arange(len(heights) + 1, dtype=np.float64), 2)[1:-1]
    return edges, np.repeat(heights, 2)


def shade_gains(axes: Axes, values: NDArray[np.float64], costs: NDArray[np.float64], alpha: float) -> None:
    """Shade in green the area between two staircases, which is the gain from trade of the pairs of bidders.

    Parameters
    ----------
    axes : Axes
        Axes of the staircases.
    values, costs : ndarray of float64, shape (pairs,)
        The upper and the lower staircase: values of the buyers and costs of the sellers [price per lot].
    alpha : float
        Opacity, from 0 to 1.
    """
    x, upper = staircase(values)
    axes.fill_between(x, staircase(costs)[1], upper, color=GREEN, alpha=alpha, lw=0)


def circles(
    axes: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    filled: NDArray[np.bool_],
    colour: str,
    size: float,
    edge_width: float,
) -> None:
    """Draw circles, filled or hollow.

    Parameters
    ----------
    axes : Axes
        Axes to draw in.
    x, y : ndarray of float64, shape (n,)
        Centres in the units of the axes; a circle whose height is NaN is left out.
    filled : ndarray of bool, shape (n,)
        Whether each circle is filled.
    colour : str
        Colour of the edges and of the filled circles.
    size, edge_width : float
        Diameter and width of the edge [points].
    """
    for chosen, face in ((filled, colour), (~filled, PAPER)):
        axes.plot(
            x[chosen], y[chosen], linestyle="none", marker="o", markersize=size, zorder=5,
            markerfacecolor=face, markeredgecolor=colour, markeredgewidth=edge_width,
        )  # fmt: skip


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels as little as possible until neighbours are ``gap`` apart and all labels lie in [low, high].

    Parameters
    ----------
    positions : sequence of float, length n
        Preferred positions of the labels.
    gap : float
        Smallest distance between neighbours, in the unit of the positions.
    low, high : float
        Range of the labels; it should be at least (n − 1)·gap long.

    Returns
    -------
    list of float, length n
        Positions in the order of the argument.
    """
    order = sorted(range(len(positions)), key=positions.__getitem__)
    last = len(order) - 1
    # Once its share of the gaps is subtracted, a label may not lie below its predecessor: an isotonic regression.
    preferred = [positions[i] - rank * gap for rank, i in enumerate(order)]
    out = [0.0] * len(order)
    for rank, i in enumerate(order):
        fitted = max(
            min(sum(preferred[a : b + 1]) / (b + 1 - a) for b in range(rank, last + 1)) for a in range(rank + 1)
        )
        out[i] = max(low, min(fitted, high - last * gap)) + rank * gap
    return out


class Tag(NamedTuple):
    """A label of a height, in the right margin of a chart."""

    height: float
    """Labelled height, in the unit of the vertical axis."""
    text: str
    """Text of the label, of one or more lines."""
    colour: str
    """Colour of the box."""
    filled: bool
    """Whether the box is filled, which stresses the label."""


def draw_tag(axes: Axes, tag: Tag, y: float | None = None) -> None:
    """Write a label at height ``y`` of the right margin, by default its own, and join both heights by a short line."""
    across = axes.get_yaxis_transform()
    shown_at = tag.height if y is None else y
    axes.plot(
        [1.0, 1.012, 1.024], [tag.height, tag.height, shown_at],
        transform=across, color=tag.colour, linewidth=1.2, clip_on=False, solid_capstyle="butt",
    )  # fmt: skip
    axes.text(
        1.03, shown_at, tag.text,
        transform=across, ha="left", va="center", fontsize=10.5, linespacing=1.25, zorder=6,
        color=PAPER if tag.filled else tag.colour, fontweight="bold" if tag.filled else "normal",
        bbox={"boxstyle": "round,pad=0.4", "facecolor": tag.colour if tag.filled else PAPER, "edgecolor": tag.colour},
    )  # fmt: skip


def draw_tags(axes: Axes, tags: Sequence[Tag]) -> None:
    """Write labels of two lines into the right margin so that none overlaps another; equal heights keep their order."""
    low, high = axes.get_ylim()
    pixel = (high - low) / axes.bbox.height
    heights = spread([tag.height for tag in tags], 54 * pixel, low + 22 * pixel, high - 22 * pixel)
    for tag, y in zip(tags, heights, strict=True):
        draw_tag(axes, tag, y)
