"""Seeds of training, evaluation and calibration, which differ so that nothing is selected on scored episodes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import ParameterError

MAX_TRAINING_SEED = 2**32 - 1
"""Largest training seed; the smallest is 0."""
EVALUATION_SEED = 2**63
"""First seed of the evaluation episodes."""
CALIBRATION_SEED = 2**62
"""Seed of the markets on which references such as the best constant action are selected."""
COMPARISON_SEED = 2**61
"""First seed of the markets on which mechanisms are compared; no agent is trained on them, and nothing selected."""
MAX_INSTANCE = 2**32 - 1
"""Largest number of an instance; training seed s uses instance s."""


def as_seeds(name: str, values: ArrayLike) -> NDArray[np.uint64]:
    """Return whole numbers of at least 0, (…,), as uint64; raise `ParameterError` for others instead of truncating."""
    array = np.asarray(values)
    whole = array.dtype.kind in "iu"
    if not whole or (array.dtype.kind == "i" and bool((array < 0).any())):
        invalid = array.min() if whole else array.dtype
        raise ParameterError(name, invalid, "whole numbers from 0 to 2**64 - 1")
    return array.astype(np.uint64, copy=False)
