"""Quantities that fall over training: temperatures, exploration."""

from __future__ import annotations


def geometric(start: float, end: float, fraction: float, progress: float) -> float:
    """Return what falls geometrically from ``start`` to ``end`` over a ``fraction`` of training, at ``progress``.

    Both are shares of the training, in [0, 1]; ``start`` and ``end`` are positive.
    """
    done = min(progress / fraction, 1.0) if fraction > 0 else 1.0
    return float(start * (end / start) ** done)


def linear(start: float, end: float, fraction: float, progress: float) -> float:
    """Return what goes linearly from ``start`` to ``end`` over a ``fraction`` of training, at ``progress``."""
    done = min(progress / fraction, 1.0) if fraction > 0 else 1.0
    return float(start + (end - start) * done)
