"""How the rounds of an episode are compared with equilibria and with the largest joint profit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.records import plain_view
from ioa_marl.markets.stackelberg import drivers
from ioa_marl.markets.stackelberg.benchmarks import known_equilibria, known_joint_maxima
from ioa_marl.markets.stackelberg.kernels import FIXED, MOBILE, MarketState
from ioa_marl.markets.stackelberg.params import StackelbergParams
from ioa_marl.markets.stackelberg.records import StackelbergMetrics

COMPARED_EVERY = 5
"""In a dynamic market, in which every round has an equilibrium of its own, every fifth round is compared."""


def audit_round(params: StackelbergParams, market: MarketState, mask: NDArray[np.bool_]) -> None:
    """Add the figures of a round that need a search to the episode's totals, with the round's conditions and prices.

    Parameters
    ----------
    params : StackelbergParams
        Parameters of the markets.
    market : MarketState
        Batch of markets, whose round has been settled.
    mask : ndarray of bool, shape (batch,)
        Markets that played the round.
    """
    totals, nash_conv = market.totals, np.zeros(len(mask))
    gain = np.zeros_like(market.price)
    drivers.nash_conv_of_markets(market, params.record(), mask, market.price, params.scan(), gain, nash_conv)
    totals["nash_conv"][mask] += nash_conv[mask]
    totals["last_nash_conv"][mask] = nash_conv[mask]
    totals["audited"][mask] += 1.0
    every = COMPARED_EVERY if params.dynamics else 1
    compared = mask & ((params.rounds - market.round) % every == 0)
    equilibria, joint = known_equilibria(params, market, compared), known_joint_maxima(params, market, compared)
    for b, benchmark in equilibria.items():
        row, profit = totals[b], float(market.profit[b].sum())
        row.compared += 1.0
        row.compared_profit += profit
        row.equilibrium_profit += benchmark.profit
        row.equilibria += len(benchmark.found)
        row.pure += len(benchmark.found) > 0
        row.price_distance += _distance(params, market.price[b], benchmark.found, benchmark.prices)
        row.at_cap += joint[b].at_cap
        room = joint[b].profit - benchmark.profit
        if len(benchmark.found) and room > 1e-9 * abs(joint[b].profit):
            row.gain += profit - benchmark.profit
            row.room += room


def _distance(
    params: StackelbergParams,
    posted: NDArray[np.float64],
    found: NDArray[np.float64],
    nearly: NDArray[np.float64],
) -> float:
    """Return the mean distance of the posted prices from the nearest equilibrium [units/Mbit].

    ``posted`` and ``nearly``, which takes its place if none was found, have the shape (2, leaders), ``found`` has the
    shape (found, 2, leaders).
    """
    apart = np.abs((found if len(found) else nearly[None]) - posted)
    total = apart[:, MOBILE, : params.mobile].sum(axis=1) + apart[:, FIXED, : params.fixed].sum(axis=1)
    return float(total.min() / (params.mobile + params.fixed))


def metrics_of(market: MarketState) -> NDArray[np.void]:
    """Return the metrics of the present episodes, `StackelbergMetrics` (batch,).

    Those that need a search are NaN where not every round of the episode has been audited. An episode that was cut off
    before its first round ended has a NashConv of 0, and before its first comparison no metrics of one.
    """
    totals, rounds = market.totals, np.maximum(market.round, 1)
    values = StackelbergMetrics.zeros(len(market.round))
    plain_view(values).fill(np.nan)
    for name in ("leader_profit", "follower_welfare"):
        values[name] = totals[name] / rounds
    values["social_welfare"] = values["leader_profit"] + values["follower_welfare"]
    values["participation"] = totals["purchases"] / np.maximum(totals["tasks"], 1e-9)
    audited = totals["audited"] == market.round
    compared = np.where(audited & (totals["compared"] > 0), totals["compared"], np.nan)
    values["nash_conv"] = np.where(audited, totals["nash_conv"] / rounds, np.nan)
    values["last_nash_conv"] = np.where(audited, totals["last_nash_conv"], np.nan)
    for name, total in (
        ("price_distance", "price_distance"), ("pure_equilibrium", "pure"), ("equilibria", "equilibria"),
        ("monopoly_at_cap", "at_cap"),
    ):  # fmt: skip
        values[name] = totals[total] / compared
    expected = totals["equilibrium_profit"] / compared
    with np.errstate(divide="ignore", invalid="ignore"):
        values["relative_nash_conv"] = np.where(expected <= 1e-9, 0.0, values["nash_conv"] / expected)
        values["relative_profit"] = np.where(expected <= 1e-9, 0.0, totals["compared_profit"] / compared / expected)
        has_room = ~np.isnan(compared) & (totals["room"] > 0.0)
        values["profit_gain"] = np.where(has_room, totals["gain"] / totals["room"], np.nan)
    return values
