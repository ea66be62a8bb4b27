"""The observation space that the roles of all markets have."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces


def unit_box(features: int) -> spaces.Box:
    """Return the space of float32 observations in [0, 1], shape (features,)."""
    return spaces.Box(0.0, 1.0, (features,), np.float32)
