"""Observations of the agents of a slicing market, scaled to [0, 1].

In all kernels ``b`` is the index of the market in the batch, ``state`` the `SlicingState` of the batch, whose docstring
has shapes and units, ``params`` a `SlicingRecord` (1,), and ``mask`` bool (batch,), the markets that count.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.vcg_slicing.records import SlicingRecord, SlicingState
from ioa_marl.markets.vcg_slicing.solver import SMALLEST_RATE
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES, Array

SLICE_FEATURES, SLICE_FEATURES_EXTENDED, VSP_FEATURES = 6, 12, 9


@kernel
def _relative(x: float) -> Any:
    """Map a share over the equal share, or a marginal utility over its scale, to [0, 1); 1 becomes 1/2."""
    return np.float32(x / (1.0 + x))


@kernel
def observe_slices(state: SlicingState, params: Array, out: Array) -> None:
    """Write the observations of the slices: own shares and the others' mean shares; extended, marginal utilities too.

    ``out`` is float32 (batch, n, 6), or (batch, n, 12) with extended observations. Absent providers observe zeros.
    """
    p: SlicingRecord = params[0]
    for b in range(state.worth.shape[0]):
        n = state.present[b]
        rest = max(n - 1, 1)
        m0, m1, m2 = 0.0, 0.0, 0.0
        if p.extended:
            for i in range(n):
                left = (state.worth[b, i] - state.utility[b, i]) / p.marginal_scale
                m0 += left * state.rate[b, i, 0]
                m1 += left * state.rate[b, i, 1]
                m2 += left * state.rate[b, i, 2]
        for i in range(n):
            for k in range(RESOURCES):
                out[b, i, k] = _relative(state.share[b, i, k] * n)
                out[b, i, 3 + k] = _relative(max(1.0 - state.share[b, i, k], 0.0) / rest * n)
            if p.extended:
                left = (state.worth[b, i] - state.utility[b, i]) / p.marginal_scale
                own0, own1, own2 = left * state.rate[b, i, 0], left * state.rate[b, i, 1], left * state.rate[b, i, 2]
                out[b, i, 6], out[b, i, 7], out[b, i, 8] = _relative(own0), _relative(own1), _relative(own2)
                out[b, i, 9] = _relative(max(m0 - own0, 0.0) / rest)
                out[b, i, 10] = _relative(max(m1 - own1, 0.0) / rest)
                out[b, i, 11] = _relative(max(m2 - own2, 0.0) / rest)
        for i in range(n, out.shape[1]):
            for f in range(out.shape[2]):
                out[b, i, f] = np.float32(0.0)


@kernel
def observe_vsps(state: SlicingState, params: Array, out: Array) -> None:
    """Write the observations of the providers: own β and ξ, own shares, last payment over β, and the round.

    ``out`` is float32 (batch, n, 9). Absent providers observe zeros.
    """
    p: SlicingRecord = params[0]
    for b in range(state.worth.shape[0]):
        n = state.present[b]
        for i in range(n, out.shape[1]):
            for f in range(out.shape[2]):
                out[b, i, f] = np.float32(0.0)
        for i in range(n):
            out[b, i, 0] = np.float32(state.worth[b, i] / p.worth_high)
            for k in range(RESOURCES):
                out[b, i, 1 + k] = np.float32(state.rate[b, i, k] / max(p.rate_high, SMALLEST_RATE))
                out[b, i, 4 + k] = _relative(state.share[b, i, k] * n)
            out[b, i, 7] = np.float32(min(max(state.payment[b, i] / state.worth[b, i], 0.0), 1.0))
            out[b, i, 8] = np.float32(state.rounds[b] / p.rounds)
