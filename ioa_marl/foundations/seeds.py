"""Which seeds are used for what, so that nothing is chosen on the episodes it is scored on."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import ParameterError

MAX_TRAINING_SEED = 2**32 - 1
"""Training seeds are 0 to this."""
EVALUATION_SEED = 2**63
"""First seed of the evaluation episodes."""
CALIBRATION_SEED = 2**62
"""Seed of the markets on which references without information (the best constant action) are chosen."""
MAX_INSTANCE = 2**32 - 1
"""Instances are 0 to this; training seed s has instance s."""


def as_seeds(name: str, values: ArrayLike) -> NDArray[np.uint64]:
    """Return whole numbers from 0 as uint64, or raise `ParameterError`: a fraction would be cut off without a word."""
    given = np.asarray(values)
    whole = given.dtype.kind in "iu"
    if not whole or (given.dtype.kind == "i" and bool((given < 0).any())):
        wrong = given.min() if whole else given.dtype
        raise ParameterError(name, wrong, "whole numbers from 0 to 2**64 - 1")
    return given.astype(np.uint64, copy=False)
