"""How quantities become observations: float32 in [0, 1], in plain or logarithmic measure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ioa_marl.markets._numba import kernel


@kernel
def unit(x: float) -> Any:
    """Return ``x`` clipped to [0, 1] as float32."""
    return np.float32(min(max(x, 0.0), 1.0))


@kernel
def log_unit(x: float, low: float, high: float) -> Any:
    """Return where ``x`` is between ``low`` (0) and ``high`` (1), both positive, in logarithmic measure, clipped."""
    if x <= low:
        return np.float32(0.0)
    return unit(math.log(x / low) / math.log(high / low))
