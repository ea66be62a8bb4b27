"""Numba kernels of the slicing market: the start of an episode, changes of an allocation, rewards and payments.

There are scalar functions of one market ``b`` of the batch, and drivers over all markets. Legend: ``worth`` β_i,
``rate`` ξ_ik, ``share`` s_ik, ``others`` SW*₋ᵢ. Common arguments are ``state``, the `SlicingState` of the batch, whose
docstring has shapes and units, ``params``, a `SlicingRecord` (1,), and ``mask``, bool (batch,), the markets that are
played.

Source: Sections III to VI of "An Enhanced Dual-Currency VCG Auction Mechanism
for Resource Allocation in IoV: A Value of Information Perspective".
"""

from __future__ import annotations

import math

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.philox import philox_block, to_unit
from ioa_marl.markets.vcg_slicing.draws import START, draw_count, draw_types
from ioa_marl.markets.vcg_slicing.records import (
    BIDS,
    DIFFERENCE,
    INCREMENT,
    NOTHING,
    OWN,
    SlicingRecord,
    SlicingState,
)
from ioa_marl.markets.vcg_slicing.solver import TOLERANCE, Optima, largest_gap, solve_market
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES, Array, Workspace


@kernel
def rescale(b: int, state: SlicingState) -> None:
    """Divide the shares of each resource by their sum."""
    for k in range(RESOURCES):
        total = 0.0
        for i in range(state.present[b]):
            total += state.share[b, i, k]
        for i in range(state.present[b]):
            state.share[b, i, k] /= total


@kernel
def update_utilities(b: int, state: SlicingState) -> float:
    """Write the utility (Eq. 39) of every provider, and return the welfare (Eq. 4) [utility]."""
    welfare = 0.0
    for i in range(state.worth.shape[1]):
        y = 0.0
        for k in range(RESOURCES):
            y += state.rate[b, i, k] * state.share[b, i, k]
        state.utility[b, i] = -state.worth[b, i] * math.expm1(-y)
        welfare += state.utility[b, i]
    return welfare


@kernel
def open_market(b: int, state: SlicingState, params: Array) -> None:
    """Start an episode: draw its types unless they have been drawn, and shares around the equal split."""
    p: SlicingRecord = params[0]
    n = draw_count(b, state, params)
    same = state.known[b] != NOTHING and state.types_instance[b] == state.instance[b] and state.present[b] == n
    state.present[b] = n
    if p.redraw or not same:
        draw_types(b, state, params)
    spread = p.start_high - p.start_low
    for i in range(state.worth.shape[1]):
        w0, w1, w2, _ = philox_block(state.seed[b], state.stream[b], i + 1, state.episode[b], START)
        state.share[b, i, 0] = (p.start_low + spread * to_unit(w0)) / n
        state.share[b, i, 1] = (p.start_low + spread * to_unit(w1)) / n
        state.share[b, i, 2] = (p.start_low + spread * to_unit(w2)) / n
        for k in range(RESOURCES if i >= n else 0):
            state.share[b, i, k] = 0.0
        state.multiplier[b, i] = 1.0
        state.total_utility[b, i] = 0.0
        state.payment[b, i] = 0.0
        state.total_payment[b, i] = 0.0
    rescale(b, state)
    for i in range(state.worth.shape[1]):
        for k in range(RESOURCES):
            state.previous_share[b, i, k] = state.share[b, i, k]
    state.rounds[b] = 0
    state.spread[b] = 0.0
    for t in range(state.history.shape[1]):
        state.history[b, t] = 0.0
    state.history[b, 0] = update_utilities(b, state)


@kernel
def open_markets(state: SlicingState, params: Array, mask: Array) -> None:
    """Open the current episode of the markets ``mask``."""
    for b in range(state.worth.shape[0]):
        if mask[b]:
            open_market(b, state, params)


@kernel
def change_shares(
    b: int, state: SlicingState, params: Array, changes: Array, actions: Array
) -> tuple[float, float, float]:
    """Apply the relative changes that the agents of the slices chose, and rescale the shares.

    Parameters
    ----------
    b, state, params
        See the module.
    changes : ndarray of float64, shape (changes,)
        Relative changes to choose from.
    actions : ndarray of int64, shape (batch, n, 3)
        Indices of changes.

    Returns
    -------
    t0, t1, t2 : float
        Sum of the shares of each resource before they are rescaled to 1.
    """
    p: SlicingRecord = params[0]
    t0, t1, t2 = 0.0, 0.0, 0.0
    lowest = p.floor / state.present[b]
    for i in range(state.present[b]):
        for k in range(RESOURCES):
            state.previous_share[b, i, k] = state.share[b, i, k]
            changed = state.share[b, i, k] * (1.0 + changes[actions[b, i, k]])
            state.share[b, i, k] = max(changed, lowest)
        t0 += state.share[b, i, 0]
        t1 += state.share[b, i, 1]
        t2 += state.share[b, i, 2]
    rescale(b, state)
    return t0, t1, t2


@kernel
def welfare_without_change(b: int, i: int, state: SlicingState, floor: float, t0: float, t1: float, t2: float) -> float:
    """Return the welfare if agent ``i`` alone had changed nothing; t0, t1, t2 are those of `change_shares`."""
    h0 = max(state.previous_share[b, i, 0], floor)
    h1 = max(state.previous_share[b, i, 1], floor)
    h2 = max(state.previous_share[b, i, 2], floor)
    n0 = t0 + h0 - state.share[b, i, 0] * t0
    n1 = t1 + h1 - state.share[b, i, 1] * t1
    n2 = t2 + h2 - state.share[b, i, 2] * t2
    f0, f1, f2 = t0 / n0, t1 / n1, t2 / n2
    total, unserved = 0.0, 0.0
    for j in range(state.present[b]):
        y = state.rate[b, j, 0] * state.share[b, j, 0] * f0
        y += state.rate[b, j, 1] * state.share[b, j, 1] * f1
        y += state.rate[b, j, 2] * state.share[b, j, 2] * f2
        if j == i:
            y = state.rate[b, j, 0] * h0 / n0 + state.rate[b, j, 1] * h1 / n1 + state.rate[b, j, 2] * h2 / n2
        total += state.worth[b, j]
        unserved += state.worth[b, j] * math.exp(-y)  # half the time of expm1, in the only loop of length n²
    return total - unserved


@kernel
def total_worth(b: int, state: SlicingState) -> float:
    """Return Σβ, the welfare of unlimited resources [utility]."""
    total = 0.0
    for i in range(state.present[b]):
        total += state.worth[b, i]
    return total


@kernel
def disturb(b: int, state: SlicingState, noise: Array) -> None:
    """Add ``spread`` × ``noise`` to every share, clip at 0 and rescale; ``noise`` is float64 (batch, n, 3)."""
    n = state.present[b]
    for k in range(RESOURCES):
        total = 0.0
        for i in range(n):
            state.share[b, i, k] = max(state.share[b, i, k] + state.spread[b] * noise[b, i, k], 0.0)
            total += state.share[b, i, k]
        for i in range(n):
            # If the noise has clipped all shares to 0, the resource is split equally.
            state.share[b, i, k] = state.share[b, i, k] / total if total > 0.0 else 1.0 / n


@kernel
def play_slices(
    state: SlicingState,
    params: Array,
    changes: Array,
    mask: Array,
    actions: Array,
    noise: Array,
    slice_rewards: Array,
    vsp_rewards: Array,
    terminated: Array,
) -> None:
    """Change the allocations of the markets ``mask`` and settle the round; payments to a bank are settled elsewhere.

    Parameters
    ----------
    state, params, mask
        See the module.
    changes, actions
        See `change_shares`.
    noise : ndarray of float64, shape (batch, n, 3)
        Standard normal numbers; see `disturb`.
    slice_rewards : ndarray of float32, shape (batch, n) or (0, n)
        Where the rewards of the slices go [Σβ, or mean β with ``own``], if the role is controlled. A difference reward
        is that of the change alone, before noise.
    vsp_rewards : ndarray of float32, shape (batch, n) or (0, n)
        Where the rewards of the providers go [mean β], if the role is controlled.
    terminated : ndarray of bool, shape (batch,)
        Where it goes whether the episode has ended.
    """
    p: SlicingRecord = params[0]
    kind, scale = p.slice_reward, p.reward_scale
    for b in range(state.worth.shape[0]):
        if not mask[b]:
            continue
        n = state.present[b]
        before = state.history[b, state.rounds[b]]
        t0, t1, t2 = change_shares(b, state, params, changes, actions)
        welfare = update_utilities(b, state)
        everything = total_worth(b, state)
        for i in range(n if slice_rewards.shape[0] > 0 and kind == DIFFERENCE else 0):
            unchanged = welfare_without_change(b, i, state, p.floor / n, t0, t1, t2)
            slice_rewards[b, i] = np.float32(scale * (welfare - unchanged) / everything)
        if state.spread[b] > 0.0:
            disturb(b, state, noise)
            welfare = update_utilities(b, state)
        state.rounds[b] += 1
        state.history[b, state.rounds[b]] = welfare
        terminated[b] = state.rounds[b] >= p.rounds
        bids = 0.0
        for i in range(n):
            state.total_utility[b, i] += state.utility[b, i]
            bids += state.bid[b, i] if p.banked else state.multiplier[b, i] * state.utility[b, i]
        for i in range(n if p.vsp_controlled and not p.banked else 0):
            # This is Eq. 2 at the actual allocation, which need not be the optimum of the reports.
            state.payment[b, i] = state.others[b, i] - (bids - state.multiplier[b, i] * state.utility[b, i])
            state.total_payment[b, i] += state.payment[b, i]
            vsp_rewards[b, i] = np.float32((state.utility[b, i] - state.payment[b, i]) * n / everything)
        for i in range(n if slice_rewards.shape[0] > 0 and kind != DIFFERENCE else 0):
            reward = welfare
            if kind == INCREMENT:
                reward = scale * (welfare - before)
            elif kind == BIDS:
                reward = bids
            elif kind == OWN:
                reward = state.utility[b, i] * n
            slice_rewards[b, i] = np.float32(reward / everything)


@kernel
def report_types(
    state: SlicingState, mask: Array, actions: Array, multipliers: Array, reported: Array, w: Workspace, out: Optima
) -> float:
    """Set the reports of the providers in the markets ``mask``, and solve the reported markets without each provider.

    Parameters
    ----------
    state, mask
        See the module.
    actions : ndarray of int64, shape (batch, n)
        Indices of multipliers.
    multipliers : ndarray of float64, shape (multipliers,)
        Factors on β to choose from.
    reported : ndarray of float64, shape (batch, n)
        Scratch for reported worths [utility].
    w : Workspace
        Scratch of the solver.
    out : Optima
        Scratch for the optima of one market.

    Returns
    -------
    float
        Largest certified relative gap of all problems.
    """
    worst = 0.0
    for b in range(state.worth.shape[0]):
        if mask[b]:
            for i in range(state.worth.shape[1]):
                state.multiplier[b, i] = multipliers[actions[b, i]] if i < state.present[b] else 1.0
                reported[b, i] = state.worth[b, i] * state.multiplier[b, i]
            solve_market(reported, state.rate, b, 0, True, TOLERANCE, w, out)
            for i in range(state.worth.shape[1]):
                state.others[b, i] = out.others[0, i]
            gap = largest_gap(True, out)
            if not gap <= worst:
                worst = gap
    return worst
