"""Random actions, drawn before anything is timed."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


def random_actions(space: spaces.Space[Any], shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    """Return uniform actions of a space, (*shape, heads or coordinates)."""
    if isinstance(space, spaces.Discrete):
        return space.start + rng.integers(0, space.n, shape)
    if isinstance(space, spaces.MultiDiscrete):
        return space.start + rng.integers(0, space.nvec, (*shape, *space.nvec.shape))
    if isinstance(space, spaces.Box):
        return rng.uniform(space.low, space.high, (*shape, *space.shape)).astype(np.float32)
    raise TypeError(f"no random actions are known for {space}")
