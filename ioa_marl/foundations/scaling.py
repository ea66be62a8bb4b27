"""Scaling of quantities for observations."""

from __future__ import annotations

from typing import Any

import numpy as np

from ioa_marl.foundations.compile import kernel


@kernel
def unit(x: float) -> Any:
    """Return ``x`` clipped to [0, 1] as float32."""
    return np.float32(min(max(x, 0.0), 1.0))
