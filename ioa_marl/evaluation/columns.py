"""Names of the figures of an evaluation, for those who make them and those who read them; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ioa_marl.envs.core import Game

SCORED = "scored_"
"""Prefix of a figure that is scored in a market with reference partners; the key of `Game.objectives` follows."""
SAMPLED = "sampled_"
"""Prefix of figures of the evaluation with sampled actions, which only the last one has; the figure's name follows."""


def objective_columns(game_class: type[Game]) -> dict[str, str]:
    """Return for each key of `Game.objectives` the figure of an evaluation from which its score is made.

    This is the metric itself or, among reference partners, the metric in the episodes that were played for this key.
    """
    if not game_class.reference_partners:
        return dict(game_class.objectives)
    return {key: SCORED + key for key in game_class.objectives}


def sampled_figures(figures: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Return the figures of the evaluation with sampled actions, under the names that they have without it."""
    return {name.removeprefix(SAMPLED): values for name, values in figures.items() if name.startswith(SAMPLED)}
