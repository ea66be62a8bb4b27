"""Batched drivers of the Stackelberg market: open, play and audit many markets. Arrays are written in place."""

from __future__ import annotations

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.stackelberg.draws import open_episode, open_round
from ioa_marl.markets.stackelberg.follower import latency, net_utility
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
from ioa_marl.markets.stackelberg.records import Deviation, Solution
from ioa_marl.markets.stackelberg.search import best_response, iterate_prices, nash_conv


@kernel
def open_markets(state: MarketState, params: Array, redraw: bool, mask: Array) -> None:
    """Draw and open the present episode of the markets ``mask``, bool (batch,)."""
    for b in range(mask.shape[0]):
        if mask[b]:
            open_episode(b, state, params, redraw)


@kernel
def reshape_markets(state: MarketState, params: Array, mask: Array) -> None:
    """Take in traits, computing times or offloading ratios α that were changed from outside; see `shape_followers`."""
    for b in range(mask.shape[0]):
        if mask[b]:
            shape_followers(b, state, params)


@kernel
def post_prices(state: MarketState, params: Array, mask: Array, side: int, prices: Array) -> None:
    """Post the unit prices ``prices``, float64 (batch, leaders of the side), in the markets ``mask``."""
    for b in range(mask.shape[0]):
        if mask[b]:
            for leader in range(leader_count(side, params)):
                state.price[b, side, leader] = prices[b, leader]


@kernel
def answer_markets(state: MarketState, params: Array, mask: Array) -> None:
    """Every wireless agent's exact answer to the posted prices in the markets ``mask``."""
    for b in range(mask.shape[0]):
        if mask[b]:
            answer_prices(b, state, params)


@kernel
def choose_shares(state: MarketState, params: Array, mask: Array, shares: Array) -> None:
    """Take chosen shares, float64 (batch, wireless); a wireless agent whose utility would be negative buys nothing."""
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
    """Settle the round and set the next one's conditions, or ``terminated``, bool (batch,), after the last round."""
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
    """NashConv of ``price`` (batch, 2, leaders) in the markets ``mask``: ``total`` (batch,), ``gain`` per leader."""
    for b in range(mask.shape[0]):
        if mask[b]:
            total[b] = nash_conv(b, state, price, params, scan, gain)


@kernel
def best_responses(
    state: MarketState, params: Array, mask: Array, side: int, price: Array, scan: Array, deviations: Array
) -> None:
    """Best price of every leader of a side against ``price``, float64 (batch, 2, leaders).

    ``deviations``, `Deviation` (batch, leaders of the side), is written in the markets ``mask``; ``scan``, `GridPoint`
    (grid points,), is scratch.
    """
    for b in range(mask.shape[0]):
        if mask[b]:
            for leader in range(leader_count(side, params)):
                own, profit, present = best_response(b, side, leader, state, price, params, scan)
                deviation: Deviation = deviations[b, leader]
                deviation.price, deviation.profit, deviation.present_profit = own, profit, present


@kernel
def solve_markets(
    state: MarketState,
    params: Array,
    mask: Array,
    price: Array,
    previous: Array,
    lowest_price: Array,
    scan: Array,
    solutions: Array,
) -> None:
    """Algorithm 2 in the markets ``mask``: ``solutions``, `Solution` (batch,); see `iterate_prices`."""
    for b in range(mask.shape[0]):
        if mask[b]:
            converged, rounds, lowest = iterate_prices(b, state, params, price, previous, lowest_price, scan)
            solution: Solution = solutions[b]
            solution.converged, solution.rounds, solution.nash_conv = converged, rounds, lowest


@kernel
def profits_of_markets(state: MarketState, params: Array, mask: Array, price: Array, out: Array) -> None:
    """Profits at exact answers to ``price``: ``out`` float64 (batch, 2, leaders)."""
    for b in range(mask.shape[0]):
        if mask[b]:
            for side in range(2):
                for leader in range(leader_count(side, params)):
                    own = price[b, side, leader]
                    out[b, side, leader], _, _ = leader_profit(b, side, leader, own, state, price, params)


@kernel
def utilities_at(state: MarketState, params: Array, shares: Array, out: Array) -> None:
    """U_n of every wireless agent at given shares, float64 (batch, wireless), whether or not it would buy."""
    for b in range(shares.shape[0]):
        for n in range(params[0].wireless):
            paid = price_paid(b, n, state.price[b, MOBILE, state.reach[b, MOBILE, n]], state, params)
            fixed_price = state.price[b, FIXED, state.reach[b, FIXED, n]]
            out[b, n] = net_utility(b, n, state.traits, state.curve, state.segments, shares[b, n], paid, fixed_price)


@kernel
def latencies_at(state: MarketState, params: Array, shares: Array, out: Array) -> None:
    """Latency t − t_up [s] of every wireless agent at given shares, float64 (batch, wireless)."""
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
    """Load that a leader sells, ``demand`` (n,) [Mbit], at each of its prices ``own`` (n,) against ``price``."""
    for row in range(own.shape[0]):
        _, demand[row], _ = leader_profit(b, side, leader, own[row], state, price, params)
