"""Random draws of a slicing market: the number of providers, their types, and the fluctuations of a round.

In all kernels ``b`` is the index of the market in the batch, ``state`` the `SlicingState` of the batch, whose docstring
has shapes and units, ``params`` a `SlicingRecord` (1,), and ``mask`` bool (batch,), the markets that count.
"""

from __future__ import annotations

import math

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.philox import philox_block, to_unit
from ioa_marl.markets.vcg_slicing.records import DRAWN, SlicingRecord, SlicingState
from ioa_marl.markets.vcg_slicing.solver import SMALLEST_RATE
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES, Array

TYPES, TYPES_OF_EPISODE, START, PRESENT, FLUCTUATION = 400, 401, 402, 403, 404
"""Purposes of the random counter: types of an instance, types of an episode, initial shares, number of providers,
fluctuations of a round."""


@kernel
def draw_types(b: int, state: SlicingState, params: Array) -> None:
    """Draw β and ξ of every provider, with one block of random words for each."""
    p: SlicingRecord = params[0]
    key0, key1, episode, purpose = state.instance[b], np.uint64(0), np.uint64(0), TYPES
    if p.redraw:
        key0, key1, episode, purpose = state.seed[b], state.stream[b], state.episode[b], TYPES_OF_EPISODE
    for i in range(state.worth.shape[1]):
        w0, w1, w2, w3 = philox_block(key0, key1, i + 1, episode, purpose)
        state.worth[b, i] = p.worth_low + (p.worth_high - p.worth_low) * to_unit(w0)
        spread = p.rate_high - p.rate_low
        state.rate[b, i, 0] = p.rate_low + spread * to_unit(w1)
        state.rate[b, i, 1] = p.rate_low + spread * to_unit(w2)
        state.rate[b, i, 2] = p.rate_low + spread * to_unit(w3)
        for k in range(RESOURCES):
            if state.rate[b, i, k] < SMALLEST_RATE or i >= state.present[b]:
                state.rate[b, i, k] = 0.0  # the solver accepts no smaller rate, and such a resource is of no use
    state.types_instance[b] = state.instance[b]
    state.known[b] = DRAWN


@kernel
def draw_count(b: int, state: SlicingState, params: Array) -> int:
    """Return the number of providers of the episode, uniform from ``fewest`` to all."""
    p: SlicingRecord = params[0]
    n = state.worth.shape[1]
    w0, _, _, _ = philox_block(state.seed[b], state.stream[b], 1, state.episode[b], PRESENT)
    more = int(n - p.fewest)
    return int(n) - more + min(int(to_unit(w0) * (more + 1)), more)


@kernel
def draw_fluctuations(state: SlicingState, mask: Array, share_noise: Array, profit_noise: Array) -> None:
    """Draw the standard normal numbers of the next round of the markets ``mask``, by Box and Muller.

    Parameters
    ----------
    state : SlicingState
        Batch of markets.
    mask : ndarray of bool, shape (batch,)
        Markets.
    share_noise : ndarray of float64, shape (batch, n, 3)
        Where the numbers for the shares go.
    profit_noise : ndarray of float64, shape (batch, n)
        Where the numbers for the gross profits go.
    """
    n = state.worth.shape[1]
    for b in range(state.worth.shape[0]):
        if mask[b]:
            for i in range(n):
                block = state.rounds[b] * n + i + 1
                w0, w1, w2, w3 = philox_block(state.seed[b], state.stream[b], block, state.episode[b], FLUCTUATION)
                first, second = math.sqrt(-2.0 * math.log1p(-to_unit(w0))), math.sqrt(-2.0 * math.log1p(-to_unit(w1)))
                share_noise[b, i, 0] = first * math.cos(2.0 * math.pi * to_unit(w2))
                share_noise[b, i, 1] = first * math.sin(2.0 * math.pi * to_unit(w2))
                share_noise[b, i, 2] = second * math.cos(2.0 * math.pi * to_unit(w3))
                profit_noise[b, i] = second * math.sin(2.0 * math.pi * to_unit(w3))
