"""Every learner on every market with its defaults: environment steps per second, and where a training step goes."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
from learning import PARTS, Training
from measure import Effort, quiet_collector

from ioa_marl import registry
from ioa_marl.foundations.errors import UserError

LEARNERS = tuple(name for name, target in registry.AGENTS.items() if ".learners." in target)
MARKETS = tuple(registry.MARKETS)
LONGEST = 15.0
"""After so many seconds there is no further round; a rollout of some pairings takes as long."""


def share(learner: str, market: str, effort: Effort) -> dict[str, Any]:
    """Return speed and parts of one pairing."""
    training = Training(learner, market)
    period = training.warm()
    rounds, total = [], 0.0
    with quiet_collector():
        for _ in range(effort.rounds):
            training.spent[:] = 0.0
            steps = 0
            while steps == 0 or training.spent.sum() < effort.seconds:
                training.run(period)
                steps += period
            took = training.spent.sum()
            rounds.append((training.env_steps * steps / took, training.spent / took))
            total += took
            if total > LONGEST:
                break
    speeds = [float(speed) for speed, _ in rounds]
    parts = np.median([part for _, part in rounds], axis=0)
    return {
        "learner": learner,
        "market": market,
        "agents": sum(role.count for role in training.roles),
        "steps_per_second": {"min": min(speeds), "median": statistics.median(speeds), "max": max(speeds)},
        "parts": dict(zip(PARTS, map(float, parts), strict=True)),
    }


def measure_shares(effort: Effort) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Measure every pairing; returns those that cannot be, with the reason, as well."""
    rows, skipped = [], {}
    for market in MARKETS:
        for learner in LEARNERS:
            try:
                row = share(learner, market, effort)
            except UserError as error:
                skipped[f"{learner} on {market}"] = str(error)
                continue
            rows.append(row)
            speed, learning = row["steps_per_second"]["median"], row["parts"]["learning"]
            print(f"{learner} on {market}: {speed:,.0f} environment steps/s, {learning:.0%} learning", flush=True)
    return rows, skipped
