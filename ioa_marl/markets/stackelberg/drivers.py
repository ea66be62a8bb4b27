"""Batched drivers of the Stackelberg market: open, play and audit many markets. Arrays are written in place."""

from __future__ import annotations

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.stackelberg import follower as f
from ioa_marl.markets.stackelberg import kernels as k
from ioa_marl.markets.stackelberg.draws import open_episode, open_round
from ioa_marl.markets.stackelberg.follower import net_utility
from ioa_marl.markets.stackelberg.kernels import Array, MarketState, answer_prices, price_paid, settle, shape_followers
from ioa_marl.markets.stackelberg.search import best_response, iterate_prices, nash_conv


@kernel
def open_markets(state: MarketState, numbers: Array, counts: Array, redraw: bool, mask: Array) -> None:
    """Draw and open the present episode of the markets ``mask``, bool (batch,)."""
    for b in range(mask.shape[0]):
        if mask[b]:
            open_episode(b, state, numbers, counts, redraw)


@kernel
def reshape_markets(state: MarketState, counts: Array, mask: Array) -> None:
    """Take in traits, paces or shares α that were changed from outside; see `shape_followers`."""
    for b in range(mask.shape[0]):
        if mask[b]:
            shape_followers(b, state, counts)


@kernel
def post_prices(state: MarketState, counts: Array, mask: Array, side: int, prices: Array) -> None:
    """Post the unit prices ``prices``, float64 (batch, leaders of the side), in the markets ``mask``."""
    for b in range(mask.shape[0]):
        if mask[b]:
            for leader in range(counts[k.MOBILES + side]):
                state.price[b, side, leader] = prices[b, leader]


@kernel
def answer_markets(state: MarketState, counts: Array, mask: Array) -> None:
    """Every wireless agent's exact answer to the posted prices in the markets ``mask``."""
    for b in range(mask.shape[0]):
        if mask[b]:
            answer_prices(b, state, counts)


@kernel
def choose_shares(state: MarketState, counts: Array, mask: Array, shares: Array) -> None:
    """Take chosen shares, float64 (batch, wireless); a wireless agent whose utility would be negative buys nothing."""
    for b in range(mask.shape[0]):
        if mask[b]:
            for n in range(counts[k.WIRELESS]):
                paid = price_paid(b, n, state.price[b, k.MOBILE, state.reach[b, k.MOBILE, n]], state, counts)
                fixed_price = state.price[b, k.FIXED, state.reach[b, k.FIXED, n]]
                utility = net_utility(b, n, state.traits, state.curve, shares[b, n], paid, fixed_price)
                buys = utility >= 0.0 and state.traits[b, n, f.LOAD] > 0.0
                state.share[b, n] = shares[b, n] if buys else 0.0
                state.buys[b, n] = buys


@kernel
def close_round(state: MarketState, numbers: Array, counts: Array, mask: Array, terminated: Array) -> None:
    """Settle the round and set the next one's conditions, or ``terminated``, bool (batch,), after the last round."""
    for b in range(mask.shape[0]):
        if mask[b]:
            settle(b, state, counts)
            state.round[b] += 1
            terminated[b] = state.round[b] >= counts[k.ROUNDS]


@kernel
def refresh_markets(state: MarketState, numbers: Array, counts: Array, mask: Array) -> None:
    """Draw the conditions of the next round in the markets ``mask``."""
    for b in range(mask.shape[0]):
        if mask[b]:
            open_round(b, state, numbers, counts)


@kernel
def nash_conv_of_markets(
    state: MarketState,
    numbers: Array,
    counts: Array,
    mask: Array,
    price: Array,
    scan: Array,
    gain: Array,
    total: Array,
) -> None:
    """NashConv of ``price`` (batch, 2, leaders) in the markets ``mask``: ``total`` (batch,), ``gain`` per leader."""
    for b in range(mask.shape[0]):
        if mask[b]:
            total[b] = nash_conv(b, state, price, numbers, counts, scan, gain)


@kernel
def best_responses(
    state: MarketState, numbers: Array, counts: Array, mask: Array, side: int, price: Array, scan: Array, out: Array
) -> None:
    """Best price of every leader of a side against ``price`` (batch, 2, leaders): ``out`` (batch, leaders, 3).

    Columns: price, profit, profit at its price in ``price``.
    """
    for b in range(mask.shape[0]):
        if mask[b]:
            for leader in range(counts[k.MOBILES + side]):
                own, value, present = best_response(b, side, leader, state, price, numbers, counts, scan)
                out[b, leader, 0], out[b, leader, 1], out[b, leader, 2] = own, value, present


@kernel
def solve_markets(
    state: MarketState,
    numbers: Array,
    counts: Array,
    mask: Array,
    price: Array,
    before: Array,
    found: Array,
    scan: Array,
    outcome: Array,
) -> None:
    """Algorithm 2 in the markets ``mask``; ``outcome`` (batch, 3): converged, rounds, NashConv."""
    for b in range(mask.shape[0]):
        if mask[b]:
            converged, rounds, regret = iterate_prices(b, state, numbers, counts, price, before, found, scan)
            outcome[b, 0], outcome[b, 1], outcome[b, 2] = converged, rounds, regret


@kernel
def profits_of_markets(state: MarketState, counts: Array, mask: Array, price: Array, out: Array) -> None:
    """Profits at exact answers to ``price``: ``out`` float64 (batch, 2, leaders)."""
    for b in range(mask.shape[0]):
        if mask[b]:
            for side in range(2):
                for leader in range(counts[k.MOBILES + side]):
                    own = price[b, side, leader]
                    out[b, side, leader], _, _ = k.leader_profit(b, side, leader, own, state, price, counts)


@kernel
def utilities_at(state: MarketState, counts: Array, shares: Array, out: Array) -> None:
    """U_n of every wireless agent at given shares, float64 (batch, wireless), whether or not it would buy."""
    for b in range(shares.shape[0]):
        for n in range(counts[k.WIRELESS]):
            paid = price_paid(b, n, state.price[b, k.MOBILE, state.reach[b, k.MOBILE, n]], state, counts)
            fixed_price = state.price[b, k.FIXED, state.reach[b, k.FIXED, n]]
            out[b, n] = net_utility(b, n, state.traits, state.curve, shares[b, n], paid, fixed_price)


@kernel
def latencies_at(state: MarketState, counts: Array, shares: Array, out: Array) -> None:
    """Latency t − t_up [s] of every wireless agent at given shares, float64 (batch, wireless)."""
    for b in range(shares.shape[0]):
        for n in range(counts[k.WIRELESS]):
            j = state.reach[b, k.FIXED, n]
            mobile, fixed, aerial = k.computing_times(b, n, state, counts)
            out[b, n] = f.latency(
                counts[k.CASE], shares[b, n], mobile, fixed, aerial, state.relay[b, n], state.passed_share[b, j] > 0.0
            )


@kernel
def demand_of_leader(
    state: MarketState, counts: Array, b: int, side: int, leader: int, price: Array, own: Array, out: Array
) -> None:
    """Load that a leader sells at each of its prices ``own`` (n,) against ``price``, and its profit: ``out`` (n, 2)."""
    for row in range(own.shape[0]):
        profit, earning, _ = k.leader_profit(b, side, leader, own[row], state, price, counts)
        out[row, 0], out[row, 1] = earning, profit
