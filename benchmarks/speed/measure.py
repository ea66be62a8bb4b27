"""Interleaved timing: what is compared runs in turns, A B A B …, and a figure is the median over the turns.

Whatever slows the machine down for a while then slows both sides, and their ratio stays.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

Run = Callable[[int], None]
"""Does that many steps."""
Turn = Callable[[int], float]
"""Does that many steps and returns the seconds that they took."""
Clock = Callable[[], float]

busy = time.thread_time
"""Seconds that this thread has computed: what other programs take of the processor does not count."""


class SkippedError(Exception):
    """A figure cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    rounds: int
    """Turns of every contestant."""
    seconds: float
    """Length of a turn [s], about."""


FULL = Effort(rounds=15, seconds=0.25)
QUICK = Effort(rounds=3, seconds=0.01)


@dataclass
class Figure:
    """One figure with its target."""

    key: str
    """Short unique name, its first letter is the group."""
    title: str
    """What is compared with what."""
    unit: str
    """``×`` for a ratio of speeds, ``%`` for a share, ``s`` for seconds."""
    target: float
    """What is aimed at, in that unit."""
    values: list[float]
    """One per round."""
    at_most: bool = False
    """Whether small is good."""
    absolute: dict[str, float] = field(default_factory=dict)
    """Medians behind the figure, by name and unit."""
    note: str = ""
    """Where the time goes, if the target is missed."""

    @property
    def median(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.values)

    @property
    def reached(self) -> bool:
        """Whether the median meets the target."""
        return self.median <= self.target if self.at_most else self.median >= self.target


def cost_of_looking(looks: int = 2000) -> float:
    """Return the seconds that one look at the clock `busy` takes."""
    start = busy()
    for _ in range(looks):
        busy()
    return (busy() - start) / looks


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Hide what exists already from the garbage collector, so that no side pays for the other's objects."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def timed(run: Run, clock: Clock = busy) -> Turn:
    """Return what does a number of steps and tells the seconds that they took."""

    def turn(steps: int) -> float:
        start = clock()
        run(steps)
        return clock() - start

    return turn


def calibrate(turn: Turn, seconds: float) -> int:
    """Return how many steps take about that long; warms up on the way."""
    turn(1)  # loads or compiles kernels
    steps, took = 1, 0.0
    while took < seconds / 2:
        steps = max(steps + 1, min(4 * steps, round(steps * seconds / took))) if took else 1
        took = turn(steps)
    return max(1, round(steps * seconds / took))


def interleave(contestants: Sequence[Run], effort: Effort, clock: Clock = busy) -> list[list[float]]:
    """Let the contestants run in turns.

    Returns
    -------
    list of list of float
        For each contestant its seconds per step, one per round.
    """
    return interleave_turns([timed(run, clock) for run in contestants], effort)


def interleave_turns(turns: Sequence[Turn], effort: Effort, lengths: Sequence[int] | None = None) -> list[list[float]]:
    """As `interleave`, with contestants that tell themselves how long they took.

    With ``lengths``, a turn has that many steps and the contestants are warm already.
    """
    with quiet_collector():
        steps = [calibrate(turn, effort.seconds) for turn in turns] if lengths is None else lengths
        taken: list[list[float]] = [[] for _ in turns]
        for _ in range(effort.rounds):
            for turn, n, times in zip(turns, steps, taken, strict=True):
                times.append(turn(n) / n)
    return taken


def ratios(slow: Sequence[float], fast: Sequence[float], scale: float = 1.0) -> list[float]:
    """Return ``scale · slow / fast`` of every round."""
    return [scale * a / b for a, b in zip(slow, fast, strict=True)]


def micro(seconds: Sequence[float]) -> float:
    """Median in microseconds."""
    return statistics.median(seconds) * 1e6
