"""Numba kernels of the Stackelberg offloading market: what happens in one market.

Sides are 0 (mobile agents) and 1 (fixed agents). Wireless agent n is in reach of one leader of each side, ``reach``;
``member[side]`` lists the wireless agents of leader 0, then those of leader 1 and so on, from ``start``. A leader's
profit depends on its own members only, so a search for a better price looks at these only. Prices that are tried are
a separate argument, shape (batch, 2, leaders), so that a search never changes the posted ones.

In all kernels ``b`` is the index of the market in the batch, ``state`` the `MarketState` of the batch, whose docstring
has shapes and units, and ``params`` an array of one `StackelbergRecord`, shape (1,).

How one wireless agent answers is in `ioa_marl.markets.stackelberg.follower`.
Source: Sections IV-A to IV-C and V-A of "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI
Task Offloading in Internet of Agents", Eqs. 6-20 and Algorithms 1 and 2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.stackelberg.follower import best_share, gross_utility, shape_follower
from ioa_marl.markets.stackelberg.records import EpisodeTotals, StackelbergRecord, Traits

Array = NDArray[Any]

MOBILE, FIXED = 0, 1
"""Sides of the market."""
HOME, LAST = 2, 4
"""Where ``reach`` has the links at the beginning of an episode, and in the last round, in a market with handover."""


class MarketState(NamedTuple):
    """The complete state of a batch of markets, as arrays that can be saved and restored.

    The axis of leaders has the length of the larger side.
    """

    seed: Array
    """uint64 (batch,): first key word of the market's random stream."""
    stream: Array
    """uint64 (batch,): second key word."""
    instance: Array
    """uint64 (batch,): number of the technology."""
    episode: Array
    """uint64 (batch,): index of the current episode, counted from 0."""
    phase: Array
    """int64 (batch,): phase of the round."""
    cycles: Array
    """int64 (batch,): environment steps in this episode."""
    round: Array
    """int64 (batch,): rounds played in this episode."""
    reach: Array
    """int32 (batch, 2, wireless): the leader of each side that a wireless agent can buy from. With handover (batch, 6,
    wireless): then those at the beginning of an episode (`HOME`) and those of the round settled last (`LAST`)."""
    member: Array
    """int32 (batch, 2, wireless): wireless agents by leader."""
    start: Array
    """int32 (batch, 2, leaders + 1): where each leader's members begin."""
    nominal: Array
    """`Traits` (batch, wireless): the wireless agents with one task each and mean gains."""
    traits: Array
    """`Traits` (batch, wireless): the wireless agents in this round."""
    curve: Array
    """`Curve` (batch, wireless): the curves G from which their answers follow in this round."""
    segments: Array
    """`Segment` (batch, wireless, segments): the segments of these curves, see `follower`."""
    time_per_mbit: Array
    """float64 (batch, 2, leaders): λ/μ of a leader [s/Mbit]."""
    idle_share: Array
    """float64 (batch, mobile): idle share D_i/D̄ of a mobile agent's resources."""
    aerial_time_per_mbit: Array
    """float64 (batch, fixed): λ_k/μ_k of the aerial agent behind a fixed agent [s/Mbit]."""
    offloading_ratio: Array
    """float64 (batch, fixed): share α that a fixed agent passes on; 0 drops the aerial branch."""
    relay_time: Array
    """float64 (batch, wireless): t_k_up, from its fixed to the aerial agent [s]."""
    served_fraction: Array
    """float64 (batch, fixed): part of a fixed agent's load that is served (1 in this market)."""
    velocity: Array
    """float64 (batch, wireless + mobile): speeds v_n and v_i [m/s]."""
    slow_fading: Array
    """float64 (batch, wireless): slow fading of both of its links [dB]; empty unless the market is dynamic. With
    independent fading (batch, 2 wireless): of the links to the mobile, then of those to the fixed agents."""
    cost: Array
    """float64 (batch, 2, leaders): unit costs [units/Mbit]."""
    price: Array
    """float64 (batch, 2, leaders): posted unit prices [units/Mbit]; 0 before the first round."""
    sales: Array
    """float64 (batch, 2, leaders): load bought from each leader in the last round [Mbit]."""
    profit: Array
    """float64 (batch, 2, leaders): profit of each leader in the last round [units]."""
    share: Array
    """float64 (batch, wireless): share o of the mobile agent in the last round; 0 where nothing was bought."""
    buys: Array
    """bool (batch, wireless): who bought in the last round."""
    utility: Array
    """float64 (batch, wireless): U_n in the last round [units]; 0 where nothing was bought."""
    accounts: Array
    """float64 (batch, wireless + mobile + fixed + 1): payments to each agent over the episode less its own [units];
    last, the account that pays a mobile agent what ``as_printed`` credits it beyond what was paid."""
    totals: Array
    """`EpisodeTotals` (batch,)."""


@kernel
def leader_count(side: int, params: Array) -> int:
    """Return the number of leaders of a side."""
    return int(params[0].mobile if side == MOBILE else params[0].fixed)


@kernel
def list_members(b: int, side: int, leaders: int, state: MarketState) -> None:
    """Write ``member`` and ``start`` of one side from ``reach``, by a counting sort."""
    n = state.reach.shape[2]
    for leader in range(state.start.shape[2]):
        state.start[b, side, leader] = 0
    for i in range(n):
        state.start[b, side, state.reach[b, side, i] + 1] += 1
    for leader in range(state.start.shape[2] - 1):
        state.start[b, side, leader + 1] += state.start[b, side, leader]
    for i in range(n):
        leader = state.reach[b, side, i]
        state.member[b, side, state.start[b, side, leader]] = i
        state.start[b, side, leader] += 1
    for leader in range(state.start.shape[2] - 1, 0, -1):
        state.start[b, side, leader] = state.start[b, side, leader - 1]
    state.start[b, side, 0] = 0


@kernel
def computing_times(b: int, n: int, state: MarketState, params: Array) -> tuple[float, float, float]:
    """Return the times [s] in which the three agents would compute all of wireless agent ``n``'s workload.

    They are W λ_i/μ_i (mobile), W (1 − α) λ_j/μ_j (fixed) and W α λ_k/μ_k (aerial).
    """
    i, j = state.reach[b, MOBILE, n], state.reach[b, FIXED, n]
    load, alpha = state.traits[b, n].load, state.offloading_ratio[b, j]
    mobile = load * state.time_per_mbit[b, MOBILE, i]
    if params[0].congestion:
        # The mobile agent divides its speed equally among the wireless agents in its reach that have a task.
        sharing = 0
        for q in range(state.start[b, MOBILE, i], state.start[b, MOBILE, i + 1]):
            sharing += state.traits[b, state.member[b, MOBILE, q]].load > 0.0
        mobile *= sharing
    return (
        mobile,
        load * (1.0 - alpha) * state.time_per_mbit[b, FIXED, j],
        load * alpha * state.aerial_time_per_mbit[b, j],
    )


@kernel
def shape_followers(b: int, state: MarketState, params: Array) -> None:
    """Write ``curve`` and ``segments`` of every wireless agent from its traits, its leaders and the shares α."""
    p: StackelbergRecord = params[0]
    for n in range(p.wireless):
        mobile, fixed, aerial = computing_times(b, n, state, params)
        passed = state.offloading_ratio[b, state.reach[b, FIXED, n]] > 0.0
        shape_follower(
            b, n, p.latency_case, state.traits, mobile, fixed, aerial, state.relay_time[b, n], passed,
            state.curve, state.segments,
        )  # fmt: skip


@kernel
def price_paid(b: int, n: int, mobile_price: float, state: MarketState, params: Array) -> float:
    """Return the unit price that a wireless agent pays to its mobile agent: p_i m, or p_i with ``as_printed``."""
    return mobile_price if params[0].as_printed else mobile_price * state.traits[b, n].mobility_factor


@kernel
def leader_profit(
    b: int, side: int, leader: int, own: float, state: MarketState, price: Array, params: Array
) -> tuple[float, float, int]:
    """Return the profit (Eqs. 14 and 16) of one leader at the price ``own`` if its members answer exactly.

    Parameters
    ----------
    b, side, leader : int
        The market, the side (0 mobile, 1 fixed) and the index of the leader on its side.
    own : float
        Unit price of the leader [units/Mbit].
    price : ndarray of float64, shape (batch, 2, leaders)
        Unit prices of all leaders [units/Mbit]; only those of the other side are used.

    Returns
    -------
    profit : float
        Profit [units].
    priced_load : float
        Load that is paid for, mobility factor included [Mbit]. It is the slope of the profit in the price as long as
        no member changes its share.
    buyers : int
        Number of members that buy.
    """
    profit, priced_load, buyers = 0.0, 0.0, 0
    cost = state.cost[b, side, leader]
    for q in range(state.start[b, side, leader], state.start[b, side, leader + 1]):
        n = state.member[b, side, q]
        rival = price[b, 1 - side, state.reach[b, 1 - side, n]]
        mobile_price, fixed_price = (own, rival) if side == MOBILE else (rival, own)
        paid = price_paid(b, n, mobile_price, state, params)
        share, buys = best_share(b, n, state.traits, state.curve, state.segments, paid, fixed_price)
        if buys:
            buyers += 1
            t: Traits = state.traits[b, n]
            load, factor = share * t.load, t.mobility_factor
            if side == FIXED:
                load, factor = (1.0 - share) * t.load * state.served_fraction[b, leader], 1.0
            profit += load * (own * factor - cost)
            priced_load += load * factor
    return profit, priced_load, buyers


@kernel
def answer_prices(b: int, state: MarketState, params: Array) -> None:
    """Write every wireless agent's exact best answer to the posted prices into ``share`` and ``buys``."""
    for n in range(params[0].wireless):
        paid = price_paid(b, n, state.price[b, MOBILE, state.reach[b, MOBILE, n]], state, params)
        fixed_price = state.price[b, FIXED, state.reach[b, FIXED, n]]
        share, buys = best_share(b, n, state.traits, state.curve, state.segments, paid, fixed_price)
        state.share[b, n] = share if buys else 0.0
        state.buys[b, n] = buys


@kernel
def settle(b: int, state: MarketState, params: Array) -> None:
    """Write payments, profits and utilities of a round from ``share`` and ``buys``, and add them to the totals.

    A fixed agent that serves only a part of its load is paid for that part, and the QoE is weighted by the part of the
    workload that is served.
    """
    p: StackelbergRecord = params[0]
    totals: EpisodeTotals = state.totals[b]
    for side in range(2):
        for leader in range(state.sales.shape[2]):
            state.sales[b, side, leader] = 0.0
            state.profit[b, side, leader] = 0.0
    utilities, balance = 0.0, 0.0
    for n in range(p.wireless):
        if p.handover:
            state.reach[b, LAST + MOBILE, n] = state.reach[b, MOBILE, n]
            state.reach[b, LAST + FIXED, n] = state.reach[b, FIXED, n]
        state.utility[b, n] = 0.0
        load = state.traits[b, n].load
        totals.tasks += load > 0.0
        if state.buys[b, n]:
            i, j, share = state.reach[b, MOBILE, n], state.reach[b, FIXED, n], state.share[b, n]
            served = (1.0 - share) * state.served_fraction[b, j]
            mobile_load, fixed_load = share * load, served * load
            to_fixed = fixed_load * state.price[b, FIXED, j]
            to_mobile = mobile_load * price_paid(b, n, state.price[b, MOBILE, i], state, params)
            credited = mobile_load * state.price[b, MOBILE, i] * state.traits[b, n].mobility_factor
            state.sales[b, MOBILE, i] += mobile_load
            state.sales[b, FIXED, j] += fixed_load
            state.profit[b, MOBILE, i] += credited - mobile_load * state.cost[b, MOBILE, i]
            state.profit[b, FIXED, j] += to_fixed - fixed_load * state.cost[b, FIXED, j]
            state.accounts[b, n] -= to_mobile + to_fixed
            state.accounts[b, p.wireless + i] += credited
            state.accounts[b, p.wireless + p.mobile + j] += to_fixed
            balance += (to_mobile + to_fixed) - credited - to_fixed
            qoe, energy = gross_utility(b, n, state.traits, state.curve, state.segments, share)
            state.utility[b, n] = qoe * (share + served) - energy - to_mobile - to_fixed
            utilities += state.utility[b, n]
            totals.purchases += 1.0
    state.accounts[b, state.accounts.shape[1] - 1] += balance
    totals.follower_welfare += utilities
    for side in range(2):
        for leader in range(leader_count(side, params)):
            totals.leader_profit += state.profit[b, side, leader]
