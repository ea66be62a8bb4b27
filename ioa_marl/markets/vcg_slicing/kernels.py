"""Numba kernels of the slicing market: draws, the change of an allocation, utilities, rewards, payments, observations.

Scalar functions of one market ``b`` of the batch, and the drivers over all markets. Legend: ``worth`` β_i, ``rate``
ξ_ik, ``share`` s_ik, ``others`` SW*₋ᵢ. Source: Sections III to VI of "An Enhanced Dual-Currency VCG Auction Mechanism
for Resource Allocation in IoV: A Value of Information Perspective".
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.ledger import balance
from ioa_marl.foundations.philox import philox_block, to_unit
from ioa_marl.markets.vcg_slicing.records import (
    BIDS,
    DIFFERENCE,
    DRAWN,
    INCREMENT,
    NOTHING,
    OWN,
    SlicingRecord,
    SlicingState,
)
from ioa_marl.markets.vcg_slicing.solver import SMALLEST_RATE, TOLERANCE, Optima, largest_gap, solve_market
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES, Array, Workspace

SLICE_FEATURES, SLICE_FEATURES_EXTENDED, VSP_FEATURES = 6, 12, 9

TYPES, TYPES_OF_EPISODE, START, PRESENT, FLUCTUATION = 400, 401, 402, 403, 404
"""Purposes of the random draws: β and ξ of an instance, of an episode; shares at the start; the number of providers;
noise of a round."""


@kernel
def draw_types(b: int, state: SlicingState, params: Array) -> None:
    """Draw β and ξ of every provider; one block of random words each."""
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
                state.rate[b, i, k] = 0.0  # below what the solver is made for, and of no use
    state.drawn[b] = state.instance[b]
    state.known[b] = DRAWN


@kernel
def draw_count(b: int, state: SlicingState, params: Array) -> int:
    """Draw the number of providers of the episode, uniform from ``FEWEST`` to all."""
    p: SlicingRecord = params[0]
    n = state.worth.shape[1]
    w0, _, _, _ = philox_block(state.seed[b], state.stream[b], 1, state.episode[b], PRESENT)
    more = int(n - p.fewest)
    return int(n) - more + min(int(to_unit(w0) * (more + 1)), more)


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
    """Eq. 39 for every provider; returns the welfare, Eq. 4."""
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
    """Start an episode: draw its types unless they are known, and shares around the equal split."""
    p: SlicingRecord = params[0]
    n = draw_count(b, state, params)
    same = state.known[b] != NOTHING and state.drawn[b] == state.instance[b] and state.present[b] == n
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
        state.earned[b, i] = 0.0
        state.payment[b, i] = 0.0
        state.paid[b, i] = 0.0
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
    """Open the present episode of the markets ``mask``."""
    for b in range(state.worth.shape[0]):
        if mask[b]:
            open_market(b, state, params)


@kernel
def change_shares(
    b: int, state: SlicingState, params: Array, changes: Array, actions: Array
) -> tuple[float, float, float]:
    """Apply the agents' relative changes, ``actions`` (batch, n, 3) indexing ``changes``.

    Returns the sums of the three columns before they were rescaled to 1.
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
    """Welfare if agent ``i`` had chosen no change and all others what they chose; t0, t1, t2 as returned above."""
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
    """Σβ, the welfare of unlimited resources."""
    total = 0.0
    for i in range(state.present[b]):
        total += state.worth[b, i]
    return total


@kernel
def draw_fluctuations(state: SlicingState, mask: Array, share_noise: Array, profit_noise: Array) -> None:
    """Write the standard normal numbers of the coming round of the markets ``mask``, by Box and Muller.

    ``share_noise`` is (batch, n, 3), for the shares of each provider, and ``profit_noise`` (batch, n), for its profit.
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


@kernel
def disturb(b: int, state: SlicingState, noise: Array) -> None:
    """Add ``spread`` × ``noise``, (batch, n, 3) standard normal, to every share; clip at 0 and rescale."""
    n = state.present[b]
    for k in range(RESOURCES):
        total = 0.0
        for i in range(n):
            state.share[b, i, k] = max(state.share[b, i, k] + state.spread[b] * noise[b, i, k], 0.0)
            total += state.share[b, i, k]
        for i in range(n):
            # All clipped, which takes noise far above the shares: nobody is preferred.
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
    """Change the allocation of the markets ``mask`` and settle the round, as far as no bank does.

    ``noise`` is that of `disturb`. A difference reward is that of the change alone, before noise. Rewards of roles
    that do not learn have no rows. Units are Σβ, for ``own`` and for the providers the mean β.
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
            state.earned[b, i] += state.utility[b, i]
            bids += state.bid[b, i] if p.banked else state.multiplier[b, i] * state.utility[b, i]
        for i in range(n if p.learn_vsp and not p.banked else 0):
            # Eq. 2 at the allocation made, which need not be the optimum of the reports.
            state.payment[b, i] = state.others[b, i] - (bids - state.multiplier[b, i] * state.utility[b, i])
            state.paid[b, i] += state.payment[b, i]
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
    """Take the providers' reports in the markets ``mask`` and solve the reported markets without each provider.

    ``actions`` (batch, n) index ``multipliers``; ``reported`` (batch, n) and ``out`` (one market) are scratch.
    Returns the largest certified gap of any of the problems.
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


@kernel
def _relative(x: float) -> Any:
    """Map a share over the equal share, or a marginal utility over its scale, to [0, 1): 1/2 where it is 1."""
    return np.float32(x / (1.0 + x))


@kernel
def observe_slices(state: SlicingState, params: Array, out: Array) -> None:
    """Write own share and the others' mean share of each resource, and marginal utilities if they are on."""
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
    """Write own β and ξ, own shares, the last payment over β, and the round."""
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


@kernel
def equal_split_welfare(b: int, state: SlicingState) -> float:
    """Welfare of giving everybody 1/n of each resource."""
    n = state.present[b]
    welfare = 0.0
    for i in range(n):
        y = (state.rate[b, i, 0] + state.rate[b, i, 1] + state.rate[b, i, 2]) / n
        welfare -= state.worth[b, i] * math.expm1(-y)
    return welfare


@kernel
def measure_quickly(state: SlicingState, params: Array, mask: Array, metrics: Array, ledger: Array) -> None:
    """Write what is known without an optimum: welfare, and payments that were computed every round; else NaN, 0."""
    p: SlicingRecord = params[0]
    for b in range(state.worth.shape[0]):
        if not mask[b]:
            continue
        total, rounds = 0.0, max(state.rounds[b], 1)
        for t in range(state.rounds[b]):
            total += state.history[b, t + 1]
        for i in range(state.worth.shape[1]):
            ledger[b, i] = -state.paid[b, i]
        received = balance(b, ledger)
        measured = metrics[b]
        measured.welfare_ratio, measured.final_ratio, measured.optimal_welfare = np.nan, np.nan, np.nan
        measured.equal_split_ratio, measured.payments, measured.overcharged = np.nan, np.nan, np.nan
        measured.welfare = total / rounds
        if p.learn_vsp:
            measured.payments = received / rounds


@kernel
def measure_markets(state: SlicingState, params: Array, mask: Array, metrics: Array, ledger: Array) -> None:
    """Write metrics and receipts of the episodes that end in the markets ``mask``; their optimum must be known.

    Where payments were not computed every round, reports were the truth throughout, and the payments of all rounds
    follow from the sums of the utilities.
    """
    p: SlicingRecord = params[0]
    for b in range(state.worth.shape[0]):
        if not mask[b]:
            continue
        n = state.present[b]
        for i in range(n, ledger.shape[1]):
            ledger[b, i] = 0.0
        rounds, best = state.rounds[b], state.optimum[b]
        last, total, bids = state.history[b, rounds], 0.0, 0.0
        for t in range(rounds):
            total += state.history[b, t + 1]
        for i in range(n):
            bids += state.multiplier[b, i] * state.utility[b, i]
        overcharged = 0
        for i in range(n):
            paid = state.paid[b, i]
            if not p.learn_vsp:
                paid = rounds * state.others[b, i] - (total - state.earned[b, i])
            ledger[b, i] = -paid
            payment = state.others[b, i] - (bids - state.multiplier[b, i] * state.utility[b, i])
            # Rounding of the welfare is no overcharge.
            overcharged += payment > state.utility[b, i] + 1e-9 * best
        received = balance(b, ledger)
        mean = total / rounds if rounds > 0 else last
        measured = metrics[b]
        measured.welfare = mean
        measured.optimal_welfare = best
        measured.welfare_ratio = mean / best if best > 0.0 else 1.0
        measured.final_ratio = last / best if best > 0.0 else 1.0
        measured.equal_split_ratio = equal_split_welfare(b, state) / best if best > 0.0 else 1.0
        measured.payments = received / max(rounds, 1)
        measured.overcharged = overcharged
