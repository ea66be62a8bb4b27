"""Ten seeds stacked in one process against ten processes of one seed each.

The ten processes are all alike, so one or two of them are run and their time is taken ten times: one at a time on one
core, or two at a time on two cores, where each then slows the other as far as they share caches and memory.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

from measure import Effort, Turn, interleave_turns
from peer_process import Peer

LEARNERS = ("sac", "diffusion_sac", "maddpg", "mean_field_ac", "mappo")
MARKET = "vcg_slicing"
SEEDS = 10


def start(learner: str, seeds: int) -> Peer:
    """Return a process that trains some seeds side by side."""
    settings = {"learner": learner, "market": MARKET, "seeds": list(range(seeds)), "changes": {}}
    return Peer(sys.executable, "peer_training.py", settings)


def two_at_a_time(first: Peer, second: Peer) -> Turn:
    """Return what lets two processes run at once, and tells the mean of their processor seconds."""

    def turn(steps: int) -> float:
        first.start(steps)
        second.start(steps)
        return (first.finish() + second.finish()) / 2

    return turn


def seeds_of(learner: str, effort: Effort) -> dict[str, Any]:
    """Return the seconds of a seed's environment step, per round, in a stack, alone and as one of two at once."""
    with start(learner, SEEDS) as stacked, start(learner, 1) as single, start(learner, 1) as other:
        turns = [stacked.turn, single.turn, two_at_a_time(single, other)]
        taken = interleave_turns(turns, effort, [1, 1, 1])
        steps = single.about["env_steps"]
        together, alone, pair = ([seconds / steps for seconds in side] for side in taken)
    in_turn = [SEEDS * a / t for a, t in zip(alone, together, strict=True)]
    two_cores = [SEEDS / 2 * p / t for p, t in zip(pair, together, strict=True)]
    return {
        "learner": learner,
        "market": MARKET,
        "seeds": SEEDS,
        "one_core": summary(in_turn),
        "two_cores": summary(two_cores),
        "steps_per_second_stacked": SEEDS / statistics.median(together),
        "steps_per_second_single": 1.0 / statistics.median(alone),
        "start_seconds": single.about["start [s]"],
    }


def summary(values: list[float]) -> dict[str, float]:
    """Return smallest, middle and largest value."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def measure_seeds(effort: Effort) -> list[dict[str, Any]]:
    """Measure every stacked learner."""
    rows = []
    for learner in LEARNERS:
        row = seeds_of(learner, effort)
        rows.append(row)
        print(
            f"seeds, {learner}: {row['one_core']['median']:.2f}× one process after another, "
            f"{row['two_cores']['median']:.2f}× two at a time on two cores",
            flush=True,
        )
    return rows
