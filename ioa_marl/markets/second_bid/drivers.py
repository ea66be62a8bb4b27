"""Batched drivers of the modified second-bid auction: draw, bid and auction in many markets, encode what agents see.

Each driver runs scalar kernels over the markets ``mask``, bool (batch,); outputs go into preallocated arrays, and
``params`` is one row of `SecondBidRecord`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.scaling import unit
from ioa_marl.markets.second_bid.kernels import best_action, clear_episode, draw_task, hold_auction, rank_bids
from ioa_marl.markets.second_bid.state import UAV, Array, LastTask, LogBids, SecondBidRecord, SecondBidState

HISTORY_FEATURES = 9
"""Features of the auctioneer without the bids of the present task."""
STATION_FEATURES = 3
MULTIPLIERS = tuple(tenths / 10 for tenths in range(5, 21))
"""What a station may multiply its valuation with: 0.5, 0.6, … 2.0."""
TRUTH = MULTIPLIERS.index(1.0)
"""Index of the truthful bid."""


@kernel
def _log_unit(log: float, params: Array) -> Any:
    """Scale the logarithm of a valuation or bid to [0, 1]."""
    p: SecondBidRecord = params[0]
    return unit((log - p.log_low) / (p.log_high - p.log_low))


@kernel
def _rho_unit(rho: float, params: Array) -> Any:
    """Scale ρ = 10^(a/A) to a/(A - 1)."""
    levels = params[0].levels
    return unit(math.log10(rho) * levels / max(levels - 1, 1))


@kernel
def draw_tasks(state: SecondBidState, params: Array, mask: Array) -> None:
    """Draw the next task of the markets ``mask``."""
    for b in range(mask.shape[0]):
        if mask[b]:
            draw_task(b, state, params)


@kernel
def clear_episodes(state: SecondBidState, mask: Array) -> None:
    """Forget the last episode of the markets ``mask``."""
    for b in range(mask.shape[0]):
        if mask[b]:
            clear_episode(b, state)


@kernel
def make_bids(state: SecondBidState, multipliers: Array, actions: Array, mask: Array) -> None:
    """Take the bids of the markets ``mask``: valuations times ``multipliers[actions]``, actions (batch, stations)."""
    for b in range(mask.shape[0]):
        if mask[b]:
            for i in range(state.bid.shape[1]):
                state.bid[b, i] = state.value[b, i + 1] * multipliers[actions[b, i]]
            rank_bids(b, state)


@kernel
def hold_auctions(
    state: SecondBidState,
    params: Array,
    rhos: Array,
    actions: Array,
    mask: Array,
    surplus: Array,
    terminated: Array,
) -> None:
    """Auction the present task of the markets ``mask`` at ``rhos[actions]``, actions (batch, 1).

    Writes ``surplus`` float32 (batch, 1), and ``terminated`` (batch,) where it was the last task.
    """
    for b in range(mask.shape[0]):
        if mask[b]:
            gained, last = hold_auction(b, state, params, rhos, actions[b, 0])
            surplus[b, 0] = np.float32(gained)
            terminated[b] = last


@kernel
def best_actions(state: SecondBidState, params: Array, rhos: Array, out: Array) -> None:
    """Write the action with the largest surplus, knowing every true value, of every market, int64 (batch, 1)."""
    for b in range(out.shape[0]):
        out[b, 0], _ = best_action(b, state, params, rhos)


@kernel
def observe_auctioneers(state: SecondBidState, params: Array, out: Array) -> None:
    """Write what the auctioneers see, float32 (batch, 1, features): the past, and the present bids if they may."""
    p: SecondBidRecord = params[0]
    for b in range(out.shape[0]):
        for feature in range(out.shape[2]):
            out[b, 0, feature] = np.float32(0.0)
        if state.task[b] > 0:
            last: LastTask = state.last[b]
            averages: LogBids = state.averages[b]
            out[b, 0, 0] = _log_unit(last.uav, params)
            out[b, 0, 1] = _log_unit(last.first, params)
            out[b, 0, 2] = _log_unit(last.second, params)
            out[b, 0, 3] = unit((last.first - last.second) / p.log_ratio)
            out[b, 0, 4] = np.float32(0.5 if last.winner == UAV else 1.0)
            out[b, 0, 5] = _rho_unit(last.rho, params)
            out[b, 0, 6] = _log_unit(averages.uav, params)
            out[b, 0, 7] = _log_unit(averages.first, params)
            out[b, 0, 8] = _log_unit(averages.second, params)
        if p.current_bids and state.bid[b, 0] > 0.0:
            for i in range(p.stations):
                out[b, 0, HISTORY_FEATURES + i] = _log_unit(math.log(state.bid[b, state.rank[b, i]]), params)
            if p.uav_visible:
                out[b, 0, HISTORY_FEATURES + p.stations] = _log_unit(math.log(state.value[b, 0]), params)


@kernel
def observe_stations(state: SecondBidState, params: Array, out: Array) -> None:
    """Write what the stations see, float32 (batch, stations, 3): own valuation, last ρ, whether they won the last."""
    for b in range(out.shape[0]):
        played = state.task[b] > 0
        last: LastTask = state.last[b]
        rho = _rho_unit(last.rho, params) if played else np.float32(0.0)
        for i in range(out.shape[1]):
            out[b, i, 0] = _log_unit(math.log(state.value[b, i + 1]), params)
            out[b, i, 1] = rho
            out[b, i, 2] = np.float32(played and last.winner == i)
