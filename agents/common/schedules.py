"""What depends on how far training is: temperatures and exploration, and when it is time for updates."""

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


def updates_due(now: int, made: int, learning_starts: int, update_every: int) -> int:
    """Return how many updates are to be made after ``now`` environment steps, of which the last ``made`` are new.

    There is one for every ``update_every`` steps, from ``learning_starts`` on.
    """
    return now // update_every - (now - made) // update_every if now >= learning_starts else 0


def first_update(made: int, learning_starts: int, update_every: int) -> int:
    """Return after how many environment steps, ``made`` at a time, `updates_due` is first more than 0."""
    too_early = (max(learning_starts, 1) - 1) // made * made
    due = (too_early // update_every + 1) * update_every
    return -(-due // made) * made
