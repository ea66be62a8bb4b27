"""`BestKnown`, the largest objective that any policy is known to reach on a board."""

from __future__ import annotations

from typing import NamedTuple


class BestKnown(NamedTuple):
    """A mark on a board, between what learners reach and a bound that perhaps nobody can."""

    objective: float
    """Mean of the metric that is scored, on the episodes of the last evaluation, in the unit of the metric."""
    episodes: int
    """Number of these episodes."""
    version: int
    """Version of the market."""
    command: str
    """Command that finds the policy again."""
