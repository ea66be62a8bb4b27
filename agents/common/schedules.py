"""Schedules over training: of temperatures, of exploration, and of updates."""

from __future__ import annotations


def geometric(start: float, end: float, fraction: float, progress: float) -> float:
    """Return the value of a schedule that goes geometrically from ``start`` to ``end`` and then stays there.

    Parameters
    ----------
    start, end : float
        First and last value; both are positive.
    fraction : float
        Fraction of training after which the last value is reached, in [0, 1].
    progress : float
        Fraction of training that is over, in [0, 1].
    """
    done = min(progress / fraction, 1.0) if fraction > 0 else 1.0
    return float(start * (end / start) ** done)


def linear(start: float, end: float, fraction: float, progress: float) -> float:
    """Return the value of a schedule that goes linearly from ``start`` to ``end``; parameters as of `geometric`."""
    done = min(progress / fraction, 1.0) if fraction > 0 else 1.0
    return float(start + (end - start) * done)


def updates_due(steps: int, num_envs: int, learning_starts: int, update_every: int) -> int:
    """Return the number of updates that are due after a step of the batch.

    Parameters
    ----------
    steps : int
        Environment steps so far, including those of the last step of the batch.
    num_envs : int
        Environment steps that each step of the batch makes.
    learning_starts : int
        Environment steps before the first update.
    update_every : int
        Environment steps per update.
    """
    return steps // update_every - (steps - num_envs) // update_every if steps >= learning_starts else 0


def first_update(num_envs: int, learning_starts: int, update_every: int) -> int:
    """Return the number of environment steps after which `updates_due` is first positive; parameters as there."""
    too_early = (max(learning_starts, 1) - 1) // num_envs * num_envs
    due = (too_early // update_every + 1) * update_every
    return -(-due // num_envs) * num_envs
