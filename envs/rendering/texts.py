"""Building blocks of the text frames: bars, densities, tables, and numbers in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

COLUMNS = 100
"""Largest width of a text frame [characters]."""

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = " ▁▂▃▄▅▆▇█"


def text_bar(fraction: float, width: int, from_right: bool = False) -> str:
    """Return a bar of ``width`` characters, filled from an end up to ``fraction`` (clipped to [0, 1])."""
    length = min(max(fraction, 0.0), 1.0) * width
    if from_right:  # Unicode has no finer characters that are filled on their right
        full, half = divmod(round(2 * length), 2)
        return ("▐" * half + "█" * full).rjust(width)
    full, eighths = divmod(round(8 * length), 8)
    return ("█" * full + (_EIGHTHS[eighths] if eighths else "")).ljust(width)


def text_density(values: NDArray[np.float64], low: float, high: float, width: int) -> str:
    """Return ``width`` characters whose heights show how values are distributed between ``low`` and ``high``.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        Values, in the unit of ``low`` and ``high``; those outside the range count at its ends.
    low, high : float
        Values at the left end of the first and the right end of the last character.
    width : int
        Number of characters.

    Returns
    -------
    str
        A character for each of ``width`` equal intervals. A single value is a bar of one eighth. With more than eight
        values in an interval, heights are in proportion to the largest number, which is a full block.
    """
    at = (np.clip((values - low) / (high - low), 0.0, 1.0) * width).astype(np.int64)
    counts = np.bincount(np.minimum(at, width - 1), minlength=width)
    scale = max(8, int(counts.max(initial=0)))
    return "".join(_HEIGHTS[math.ceil(count / scale * 8)] for count in counts.tolist())


def framed(row: str) -> str:
    """Return a bar or a density between two thin vertical lines, which show its ends."""
    return f"▕{row}▏"


def text_scale(low: float, high: float, width: int) -> str:
    """Return the ends of a price axis, ``low`` at the left and ``high`` at the right of ``width`` characters."""
    left = f"{low:,.2f}"
    return left + f"{high:,.2f}".rjust(width - len(left))


def text_table(rows: Iterable[Sequence[str]], gap: int = 3) -> list[str]:
    """Return one line for each row; the first column is aligned to the left, the others to the right."""
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


def amount(x: float, decimals: int = 1) -> str:
    """Return a number in at most 12 characters: with ``decimals`` (0 to 2) where it fits, else as a power of ten."""
    fits = x == 0.0 or 0.1**decimals <= abs(x) < 1e7
    return f"{x:,.{decimals}f}" if fits else f"{x:.3g}"


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun or verb in the right form; the plural is by default the singular with an s."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def round_headline(played: int, rounds: int) -> str:
    """Return the progress of an episode of ``rounds`` rounds of which ``played`` have been played."""
    return f"round {played} of {rounds}" + ("  ·  closed" if played == rounds else "")
