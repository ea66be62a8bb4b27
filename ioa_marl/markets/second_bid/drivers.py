"""Batched drivers of the modified second-bid auction: draws, bids, auctions and observations of many markets.

Arrays are written in place. Common arguments of the drivers:

- ``state``: the `SecondBidState` of the batch;
- ``params``: the parameters, `SecondBidRecord` (1,);
- ``mask``: bool (batch,), the markets that are played; the rows of the others are not touched;
- ``rhos``: float64 (levels,), the price scaling factors ρ.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.scaling import unit
from ioa_marl.markets.second_bid.draws import draw_nominal, draw_task
from ioa_marl.markets.second_bid.kernels import best_action, clear_episode, hold_auction, rank_bids
from ioa_marl.markets.second_bid.state import UAV, Array, LastTask, LogBids, SecondBidRecord, SecondBidState

HISTORY_FEATURES = 9
"""Number of features of the auctioneer without the bids of the current task."""
STATION_FEATURES = 3
"""Number of features of a station."""
MULTIPLIERS = tuple(tenths / 10 for tenths in range(5, 21))
"""Bids from which a station chooses, as multiples of its valuation: 0.5, 0.6, …, 2.0."""
TRUTH = MULTIPLIERS.index(1.0)
"""Index of the truthful bid."""


@kernel
def _log_unit(log: float, params: Array) -> Any:
    """Scale the logarithm of a valuation or bid to [0, 1], by the scales of the parameters."""
    p: SecondBidRecord = params[0]
    return unit((log - p.log_low) / (p.log_high - p.log_low))


@kernel
def _rho_unit(rho: float, params: Array) -> Any:
    """Scale ρ = 10^(a/A) to a/(A − 1)."""
    levels = params[0].levels
    return unit(math.log10(rho) * levels / max(levels - 1, 1))


@kernel
def draw_tasks(state: SecondBidState, params: Array, mask: Array) -> None:
    """Draw the next task of the markets ``mask``."""
    for b in range(mask.shape[0]):
        if mask[b]:
            draw_task(b, state, params)


@kernel
def draw_resources(state: SecondBidState, params: Array) -> None:
    """Draw the resources that stay of all markets."""
    for b in range(state.nominal.shape[0]):
        draw_nominal(b, state, params)


@kernel
def clear_episodes(state: SecondBidState, mask: Array) -> None:
    """Clear the records of the last episode of the markets ``mask``."""
    for b in range(mask.shape[0]):
        if mask[b]:
            clear_episode(b, state)


@kernel
def make_bids(state: SecondBidState, multipliers: Array, actions: Array, mask: Array) -> None:
    """Write and rank the bids of the markets ``mask``, which are the valuations times ``multipliers[actions]``.

    ``multipliers`` is float64 (choices,), and ``actions`` int64 (batch, stations).
    """
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
    """Auction the current task of the markets ``mask`` at the factors ``rhos[actions]``.

    Parameters
    ----------
    actions : ndarray of int64, shape (batch, 1)
        Indices of the factors.
    surplus : ndarray of float32, shape (batch, 1)
        Output: allocative surplus of the task [units].
    terminated : ndarray of bool, shape (batch,)
        Output: whether it was the last task of the episode.
    """
    for b in range(mask.shape[0]):
        if mask[b]:
            task_surplus, ended = hold_auction(b, state, params, rhos, actions[b, 0])
            surplus[b, 0] = np.float32(task_surplus)
            terminated[b] = ended


@kernel
def best_actions(state: SecondBidState, params: Array, rhos: Array, out: Array) -> None:
    """Write the index of the ρ with the largest surplus, given all true values, into ``out``, int64 (batch, 1)."""
    for b in range(out.shape[0]):
        out[b, 0], _ = best_action(b, state, params, rhos)


@kernel
def observe_auctioneers(state: SecondBidState, params: Array, out: Array) -> None:
    """Write the observations of the auctioneers into ``out``, float32 (batch, 1, features), scaled to [0, 1].

    They are the past and, if the parameters say so, the bids of the current task and the UAV's valuation of it.
    """
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
    """Write the observations of the stations into ``out``, float32 (batch, stations, 3), scaled to [0, 1].

    They are the own valuation, the last ρ, and whether the station won the last task.
    """
    for b in range(out.shape[0]):
        has_past = state.task[b] > 0
        last: LastTask = state.last[b]
        rho = _rho_unit(last.rho, params) if has_past else np.float32(0.0)
        for i in range(out.shape[1]):
            out[b, i, 0] = _log_unit(math.log(state.value[b, i + 1]), params)
            out[b, i, 1] = rho
            out[b, i, 2] = np.float32(has_past and last.winner == i)
