"""Metrics and receipts of the episodes of a slicing market.

In all kernels ``b`` is the index of the market in the batch, ``state`` the `SlicingState` of the batch, whose docstring
has shapes and units, ``params`` a `SlicingRecord` (1,), and ``mask`` bool (batch,), the markets that count.
"""

from __future__ import annotations

import math

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.ledger import balance
from ioa_marl.markets.vcg_slicing.records import SlicingRecord, SlicingState
from ioa_marl.markets.vcg_slicing.workspace import Array


@kernel
def equal_split_welfare(b: int, state: SlicingState) -> float:
    """Return the welfare of 1/n of each resource for every provider [utility]."""
    n = state.present[b]
    welfare = 0.0
    for i in range(n):
        y = (state.rate[b, i, 0] + state.rate[b, i, 1] + state.rate[b, i, 2]) / n
        welfare -= state.worth[b, i] * math.expm1(-y)
    return welfare


@kernel
def measure_quickly(state: SlicingState, params: Array, mask: Array, metrics: Array, ledger: Array) -> None:
    """Write the metrics that need no optimum: welfare, and payments if they are computed every round. Others are NaN.

    Parameters
    ----------
    state, params, mask
        See the module.
    metrics : ndarray of Metrics, shape (batch,)
        Where the metrics go.
    ledger : ndarray of float64, shape (batch, accounts)
        Where the receipts go [utility]: the providers come first, the last account balances the sum. All are 0 if
        payments are not computed every round.
    """
    p: SlicingRecord = params[0]
    for b in range(state.worth.shape[0]):
        if not mask[b]:
            continue
        total, rounds = 0.0, max(state.rounds[b], 1)
        for t in range(state.rounds[b]):
            total += state.history[b, t + 1]
        for i in range(state.worth.shape[1]):
            ledger[b, i] = -state.total_payment[b, i]
        received = balance(b, ledger)
        row = metrics[b]
        row.welfare_ratio, row.final_ratio, row.optimal_welfare = np.nan, np.nan, np.nan
        row.equal_split_ratio, row.payments, row.overcharged = np.nan, np.nan, np.nan
        row.welfare = total / rounds
        if p.vsp_controlled:
            row.payments = received / rounds


@kernel
def measure_markets(state: SlicingState, params: Array, mask: Array, metrics: Array, ledger: Array) -> None:
    """Write metrics and receipts of the episodes that end in the markets ``mask``, whose optima must be solved.

    If payments are not computed every round, all reports are truthful, and the payments of all rounds follow from sums
    of utilities. For the arguments see `measure_quickly`.
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
            total_payment = state.total_payment[b, i]
            if not p.vsp_controlled:
                total_payment = rounds * state.others[b, i] - (total - state.total_utility[b, i])
            ledger[b, i] = -total_payment
            payment = state.others[b, i] - (bids - state.multiplier[b, i] * state.utility[b, i])
            # The tolerance excludes rounding errors of the welfare.
            overcharged += payment > state.utility[b, i] + 1e-9 * best
        received = balance(b, ledger)
        mean = total / rounds if rounds > 0 else last
        row = metrics[b]
        row.welfare = mean
        row.optimal_welfare = best
        row.welfare_ratio = mean / best if best > 0.0 else 1.0
        row.final_ratio = last / best if best > 0.0 else 1.0
        row.equal_split_ratio = equal_split_welfare(b, state) / best if best > 0.0 else 1.0
        row.payments = received / max(rounds, 1)
        row.overcharged = overcharged
