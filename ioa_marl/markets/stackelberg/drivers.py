"""Batched drivers of the Stackelberg market: open, play and audit many markets. Arrays are written in place.

Common arguments of all drivers:

- ``state``: the `MarketState` of the batch;
- ``params``: the parameters, `StackelbergRecord` (1,);
- ``mask``: bool (batch,), the markets that are played; the rows of the others are not touched;
- ``side``: 0 mobile, 1 fixed;
- ``price``: float64 (batch, 2, leaders), unit prices [units/Mbit], which need not be the posted ones;
- ``scan``: scratch of a search, `GridPoint` (grid points,), see `StackelbergParams.scan`.
"""

from __future__ import annotations

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.stackelberg.draws import open_episode, open_round
from ioa_marl.markets.stackelberg.follower import gross_utility, latency, net_utility
from ioa_marl.markets.stackelberg.iteration import Trial, find_equilibria
from ioa_marl.markets.stackelberg.joint import maximise_joint_profit
from ioa_marl.markets.stackelberg.kernels import (
    FIXED,
    MOBILE,
    Array,
    MarketState,
    answer_prices,
    computing_times,
    leader_count,
    leader_profit,
    price_paid,
    settle,
    shape_followers,
)
from ioa_marl.markets.stackelberg.records import Deviation
from ioa_marl.markets.stackelberg.search import best_response, nash_conv


@kernel
def open_markets(state: MarketState, params: Array, redraw: bool, mask: Array) -> None:
    """Draw the current episode of the markets ``mask`` and open its first round.

    With ``redraw`` the technology of the instance is drawn anew in every episode.
    """
    for b in range(mask.shape[0]):
        if mask[b]:
            open_episode(b, state, params, redraw)


@kernel
def reshape_markets(state: MarketState, params: Array, mask: Array) -> None:
    """Recompute the answers' curves after traits, computing times or ratios α have changed; see `shape_followers`."""
    for b in range(mask.shape[0]):
        if mask[b]:
            shape_followers(b, state, params)


@kernel
def post_prices(state: MarketState, params: Array, mask: Array, side: int, prices: Array) -> None:
    """Post ``prices``, float64 (batch, leaders of the side) [units/Mbit], in the markets ``mask``."""
    for b in range(mask.shape[0]):
        if mask[b]:
            for leader in range(leader_count(side, params)):
                state.price[b, side, leader] = prices[b, leader]


@kernel
def answer_markets(state: MarketState, params: Array, mask: Array) -> None:
    """Write every wireless agent's exact best answer to the posted prices into ``share`` and ``buys``."""
    for b in range(mask.shape[0]):
        if mask[b]:
            answer_prices(b, state, params)


@kernel
def choose_shares(state: MarketState, params: Array, mask: Array, shares: Array) -> None:
    """Set the shares to ``shares``, float64 (batch, wireless); agents with a negative utility buy nothing instead."""
    for b in range(mask.shape[0]):
        if mask[b]:
            for n in range(params[0].wireless):
                paid = price_paid(b, n, state.price[b, MOBILE, state.reach[b, MOBILE, n]], state, params)
                fixed_price = state.price[b, FIXED, state.reach[b, FIXED, n]]
                utility = net_utility(b, n, state.traits, state.curve, state.segments, shares[b, n], paid, fixed_price)
                buys = utility >= 0.0 and state.traits[b, n].load > 0.0
                state.share[b, n] = shares[b, n] if buys else 0.0
                state.buys[b, n] = buys


@kernel
def close_round(state: MarketState, params: Array, mask: Array, terminated: Array) -> None:
    """Settle the round, and write into ``terminated``, bool (batch,), whether it was the last one of the episode."""
    for b in range(mask.shape[0]):
        if mask[b]:
            settle(b, state, params)
            state.round[b] += 1
            terminated[b] = state.round[b] >= params[0].rounds


@kernel
def refresh_markets(state: MarketState, params: Array, mask: Array) -> None:
    """Draw the conditions of the next round in the markets ``mask``."""
    for b in range(mask.shape[0]):
        if mask[b]:
            open_round(b, state, params)


@kernel
def nash_conv_of_markets(
    state: MarketState,
    params: Array,
    mask: Array,
    price: Array,
    scan: Array,
    gain: Array,
    total: Array,
) -> None:
    """Write the NashConv of ``price`` [units].

    ``total``, float64 (batch,), becomes the sum of all gains, and ``gain``, float64 (batch, 2, leaders), the gain of
    each leader by its best deviation alone.
    """
    for b in range(mask.shape[0]):
        if mask[b]:
            total[b] = nash_conv(b, state, price, params, scan, gain)


@kernel
def best_responses(
    state: MarketState, params: Array, mask: Array, side: int, price: Array, scan: Array, deviations: Array
) -> None:
    """Write the best price of every leader of a side against ``price`` into ``deviations``.

    ``deviations`` are `Deviation` (batch, leaders of the side).
    """
    for b in range(mask.shape[0]):
        if mask[b]:
            for leader in range(leader_count(side, params)):
                own, profit, present = best_response(b, side, leader, state, price, params, scan)
                deviation: Deviation = deviations[b, leader]
                deviation.price, deviation.profit, deviation.present_profit = own, profit, present


@kernel
def solve_markets(
    state: MarketState, params: Array, mask: Array, trial: Trial, scan: Array, gain: Array, solutions: Array
) -> None:
    """Search equilibria in the markets ``mask``; see `iteration.find_equilibria`."""
    for b in range(mask.shape[0]):
        if mask[b]:
            find_equilibria(b, state, params, trial, scan, gain, solutions)


@kernel
def joint_profits(
    state: MarketState, params: Array, mask: Array, price: Array, base: Array, best: Array, profit: Array, at_cap: Array
) -> None:
    """Write the largest joint profit [units] and the share of sellers at the cap there; both float64 (batch,).

    The other arrays are those of `joint.maximise_joint_profit`.
    """
    for b in range(mask.shape[0]):
        if mask[b]:
            profit[b], at_cap[b] = maximise_joint_profit(b, state, price, base, best, params)


@kernel
def profits_of_markets(state: MarketState, params: Array, mask: Array, price: Array, out: Array) -> None:
    """Write every leader's profit [units] at exact answers to ``price`` into ``out``, float64 (batch, 2, leaders)."""
    for b in range(mask.shape[0]):
        if mask[b]:
            for side in range(2):
                for leader in range(leader_count(side, params)):
                    own = price[b, side, leader]
                    out[b, side, leader], _, _ = leader_profit(b, side, leader, own, state, price, params)


@kernel
def utilities_at(state: MarketState, params: Array, shares: Array, out: Array) -> None:
    """Write U_n of every wireless agent [units] at ``shares``, whether or not it would buy.

    ``shares`` and ``out`` are float64 (batch, wireless).
    """
    for b in range(shares.shape[0]):
        for n in range(params[0].wireless):
            paid = price_paid(b, n, state.price[b, MOBILE, state.reach[b, MOBILE, n]], state, params)
            fixed_price = state.price[b, FIXED, state.reach[b, FIXED, n]]
            out[b, n] = net_utility(b, n, state.traits, state.curve, state.segments, shares[b, n], paid, fixed_price)


@kernel
def qualities_at(state: MarketState, params: Array, shares: Array, out: Array) -> None:
    """Write the quality of experience κ ln(1 + ε − t) ln(1 + t_n/ε) of Eq. 13 [units] at ``shares``, bought or not.

    ``shares`` and ``out`` are float64 (batch, wireless); it is −∞ where 1 + ε − t ≤ 0.
    """
    for b in range(shares.shape[0]):
        for n in range(params[0].wireless):
            out[b, n], _ = gross_utility(b, n, state.traits, state.curve, state.segments, shares[b, n])


@kernel
def latencies_at(state: MarketState, params: Array, shares: Array, out: Array) -> None:
    """Write the latency t − t_up [s] of every wireless agent at ``shares``.

    ``shares`` and ``out`` are float64 (batch, wireless).
    """
    for b in range(shares.shape[0]):
        for n in range(params[0].wireless):
            j = state.reach[b, FIXED, n]
            mobile, fixed, aerial = computing_times(b, n, state, params)
            relay, passed = state.relay_time[b, n], state.offloading_ratio[b, j] > 0.0
            out[b, n] = latency(params[0].latency_case, shares[b, n], mobile, fixed, aerial, relay, passed)


@kernel
def demand_of_leader(
    state: MarketState, params: Array, b: int, side: int, leader: int, price: Array, own: Array, demand: Array
) -> None:
    """Write the demand curve of one leader of market ``b`` against the others' prices ``price``.

    ``own``, float64 (points,), are prices of the leader [units/Mbit], and ``demand``, float64 (points,), becomes the
    load that it is paid for at each of them, mobility factor included [Mbit].
    """
    for row in range(own.shape[0]):
        _, demand[row], _ = leader_profit(b, side, leader, own[row], state, price, params)
