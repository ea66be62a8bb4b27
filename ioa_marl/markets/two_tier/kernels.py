"""Numba kernels of the two-tier market: one trading round, from posted prices to payments, in one market.

The pricing tier is the Stackelberg market (`ioa_marl.markets.stackelberg.kernels`), the auction tier the double Dutch
auction (`ioa_marl.markets.double_dutch.kernels`); here is what connects them: capacities and excess loads, valuations,
the auction's trades as shares α passed on, what is served, and everybody's account. Between rounds the pricing tier
holds what followers expect of the next one: the α of the last round and answers shaped for it.

Source: "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI Task Offloading in Internet of
Agents", Sections III and IV, Eqs. 5-20 and 33-37.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.philox import philox_block, to_unit
from ioa_marl.markets.double_dutch import kernels as a
from ioa_marl.markets.double_dutch.kernels import (
    aerial_cost,
    clear_totals,
    fixed_valuation,
    open_auction,
    play_tick,
)
from ioa_marl.markets.double_dutch.state import Array, AuctionState
from ioa_marl.markets.stackelberg.kernels import FIXED, MarketState, leader_count

LOT, RELAY_COST, FIXED_DELAY_WEIGHT, AERIAL_DELAY_WEIGHT, HOVER_PRICE, AERIAL_RELAY = range(6)
LOG_CAPACITY_LOW, LOG_CAPACITY_HIGH, PACE_LOW, PACE_HIGH = range(6, 10)
COST_LOW, COST_HIGH, HOVER_LOW, HOVER_HIGH, WIND_LOW, WIND_HIGH = range(10, 16)
N_NUMBERS = 16
"""Entries of the float parameter vector of what connects the tiers."""

OF_CAPACITY, OF_CAPACITY_SHIFT, OF_AERIAL = range(201, 204)
OF_AERIAL_COST, OF_WIND = range(21, 23)
"""Purposes of the random counter: of an instance, and of an episode."""

NOBODY = -1
"""In place of an agent's index."""
ABSENT = -1.0
"""In place of a valuation: takes no part in the auction."""

(
    MOBILE_PROFIT, FIXED_PROFIT, AERIAL_PROFIT, FOLLOWER_WELFARE, MOBILE_PRICE, FIXED_PRICE, PARTICIPATION, OVERLOADED,
    N_BUYERS, N_TRADES, CLEARED, CLEARING_PRICE, AUCTION_RETURN, AUCTION_WELFARE, AUCTION_OPTIMUM, MESSAGES, LOAD,
    UNSERVED,
) = range(18)  # fmt: skip
N_SUMS = 18
"""Columns of ``TierState.sums``, totals over the rounds: profits and utilities [units]; mean prices posted
[units/Mbit]; wireless agents that bought; fixed agents with excess load; buyers and trades; rounds with a trade and
their clearing prices [units per lot]; the auctions' returns, welfares, optimal welfares [units] and messages; load of
the fixed agents and what of it was not served [Mbit]."""


class TierState(NamedTuple):
    """What connects the two tiers in a batch of markets, as arrays that can be saved and restored."""

    capacity: Array
    """float64 (batch, fixed): load κ_j that a fixed agent can compute itself in a round [Mbit]."""
    pace: Array
    """float64 (batch, aerial): λ_k/μ_k of an aerial agent [s/Mbit]."""
    delay: Array
    """float64 (batch, 2): mean λ/μ of the fixed and of the aerial agents [s/Mbit], while the partner is unknown."""
    unit_cost: Array
    """float64 (batch, aerial): unit cost ξ σ μ² λ of an aerial agent's computing in this episode [units/Mbit]."""
    hover_power: Array
    """float64 (batch, aerial): power p_hov of an aerial agent in this episode [W]."""
    cost: Array
    """float64 (batch, aerial): an aerial agent's cash cost of one lot [units]."""
    ask: Array
    """float64 (batch, aerial): its valuation v_k of one lot (Eq. 34) [units]."""
    load: Array
    """float64 (batch, fixed): load L_j that the wireless agents want from a fixed agent in this round [Mbit]."""
    served: Array
    """float64 (batch, fixed): part of the load that was served in the last round."""
    partner: Array
    """int64 (batch, fixed): the aerial agent that sold to a fixed agent in the last round; -1 none."""
    pair: Array
    """int64 (batch, 2): the auctioneer's last action, indices of the buyer clock's and the seller clock's step."""
    settled_price: Array
    """float64 (batch, 2, leaders): prices of the last settled round [units/Mbit]."""
    settled_share: Array
    """float64 (batch, fixed): shares α that the wireless agents expected in the last settled round."""
    bids: Array
    """float64 (batch, rounds, 2, bidders): valuations in the auctions of this episode [units]; -1 takes no part."""
    returns: Array
    """float64 (batch, rounds): the auctioneer's returns in this episode."""
    aerial_profit: Array
    """float64 (batch, aerial): profit of each aerial agent in the last round [units]."""
    received: Array
    """float64 (batch, aerial + 1): payments received over the episode, last those of the auctioneer [units]."""
    sums: Array
    """float64 (batch, sums): totals over the rounds of the episode."""


class Market(NamedTuple):
    """A batch of two-tier markets: both tiers and what connects them."""

    pricing: MarketState
    tier: TierState
    auction: AuctionState


class Settings(NamedTuple):
    """Parameter vectors of both tiers and of what connects them."""

    pricing: Array
    """`StackelbergRecord` (1,)."""
    auction: Array
    """`DoubleDutchRecord` (1,)."""
    steps: Array
    """int64 (steps,): the auctioneer's steps in ticks."""
    numbers: Array
    """float64 (N_NUMBERS,)."""


@kernel
def _between(word: Any, low: float, high: float) -> float:
    return low + (high - low) * to_unit(word)


@kernel
def draw_technology(b: int, market: Market, settings: Settings) -> None:
    """Draw what the instance fixes beside the pricing tier: capacities and speeds of aerial agents.

    Capacities are spread evenly over their log-uniform distribution, one in each of as many equally likely intervals
    as there are fixed agents, so that every instance has overloaded and idle ones.
    """
    tier, numbers = market.tier, settings.numbers
    key, zero = market.pricing.instance[b], np.uint64(0)
    fixed, aerial = tier.capacity.shape[1], tier.pace.shape[1]
    w0, _, _, _ = philox_block(key, zero, 1, zero, OF_CAPACITY_SHIFT)
    shift = int(to_unit(w0) * fixed)
    total = 0.0
    for j in range(fixed):
        w0, _, _, _ = philox_block(key, zero, j + 1, zero, OF_CAPACITY)
        quantile = ((j + shift) % fixed + to_unit(w0)) / fixed
        low, high = numbers[LOG_CAPACITY_LOW], numbers[LOG_CAPACITY_HIGH]
        tier.capacity[b, j] = math.exp(low + (high - low) * quantile)
        total += market.pricing.time_per_mbit[b, FIXED, j]
    tier.delay[b, 0] = total / fixed
    total = 0.0
    for k in range(aerial):
        w0, _, _, _ = philox_block(key, zero, k + 1, zero, OF_AERIAL)
        tier.pace[b, k] = _between(w0, numbers[PACE_LOW], numbers[PACE_HIGH])
        total += tier.pace[b, k]
    tier.delay[b, 1] = total / aerial


@kernel
def draw_costs(b: int, market: Market, settings: Settings) -> None:
    """Draw the aerial agents' unit costs and hover powers of the episode, and their costs of one lot (Eq. 34)."""
    tier, numbers, state = market.tier, settings.numbers, market.pricing
    seed, stream, episode = state.seed[b], state.stream[b], state.episode[b]
    w0, _, _, _ = philox_block(seed, stream, 1, episode, OF_WIND)
    wind, lot = _between(w0, numbers[WIND_LOW], numbers[WIND_HIGH]), numbers[LOT]
    delay = numbers[AERIAL_DELAY_WEIGHT] * (tier.delay[b, 0] * lot) ** 2
    for k in range(tier.pace.shape[1]):
        w0, w1, _, _ = philox_block(seed, stream, k + 1, episode, OF_AERIAL_COST)
        tier.unit_cost[b, k] = _between(w0, numbers[COST_LOW], numbers[COST_HIGH])
        tier.hover_power[b, k] = wind * _between(w1, numbers[HOVER_LOW], numbers[HOVER_HIGH])
        computing, energy = tier.unit_cost[b, k] * lot, numbers[HOVER_PRICE]
        hovering = energy * (numbers[AERIAL_RELAY] + tier.pace[b, k] * lot)
        tier.cost[b, k] = aerial_cost(tier.hover_power[b, k], computing, hovering, 0.0)
        tier.ask[b, k] = aerial_cost(tier.hover_power[b, k], computing, hovering, delay)


@kernel
def expect(b: int, market: Market) -> None:
    """Set what followers expect beside the shares α in ``offloading_ratio``: partners unknown, all load served.

    Their answers have then to be shaped anew, see `ioa_marl.markets.stackelberg.kernels.shape_followers`.
    """
    state = market.pricing
    for j in range(state.served_fraction.shape[1]):
        state.served_fraction[b, j] = 1.0
        state.aerial_time_per_mbit[b, j] = market.tier.delay[b, 1]


@kernel
def clear_episode(b: int, market: Market, settings: Settings) -> None:
    """Set everything that an episode adds up or remembers to its start: nothing passed on, nobody paid."""
    tier, auction, clocks = market.tier, market.auction, settings.auction[0]
    for j in range(tier.load.shape[1]):
        market.pricing.offloading_ratio[b, j] = 0.0
        tier.settled_share[b, j] = 0.0
        tier.load[b, j] = 0.0
        tier.served[b, j] = 1.0
        tier.partner[b, j] = NOBODY
    for k in range(tier.received.shape[1]):
        tier.received[b, k] = 0.0
    for k in range(tier.aerial_profit.shape[1]):
        tier.aerial_profit[b, k] = 0.0
    for side in range(2):
        tier.pair[b, side] = 0
        for leader in range(tier.settled_price.shape[2]):
            tier.settled_price[b, side, leader] = 0.0
        auction.size[b, side] = 0
        auction.winners[b, side] = 0
        auction.clock[b, side] = clocks.buyer_start if side == 0 else clocks.seller_start
        auction.recent[b, side, 1] = 0
        for i in range(auction.valuation.shape[2]):
            auction.valuation[b, side, i] = 0.0
            auction.accepted_at[b, side, i] = -1
    clear_totals(b, auction)
    for r in range(tier.returns.shape[1]):
        tier.returns[b, r] = 0.0
        for side in range(2):
            for i in range(tier.bids.shape[3]):
                tier.bids[b, r, side, i] = ABSENT
    for column in range(N_SUMS):
        tier.sums[b, column] = 0.0


@kernel
def write_loads(b: int, market: Market, settings: Settings) -> None:
    """Write the loads L_j of the fixed agents from the wireless agents' answers."""
    state, tier = market.pricing, market.tier
    for j in range(tier.load.shape[1]):
        tier.load[b, j] = 0.0
    for n in range(settings.pricing[0].wireless):
        if state.buys[b, n]:
            tier.load[b, state.reach[b, FIXED, n]] += (1.0 - state.share[b, n]) * state.traits[b, n].load


@kernel
def enter_bidders(
    b: int, market: Market, settings: Settings, auction: AuctionState, row: int, other: int, price: float, load: float
) -> bool:
    """Enter this round's bidders into ``auction[row]`` with their valuations, Eqs. 33 and 34.

    A fixed agent whose excess load is at least one lot buys one. An aerial agent whose valuation exceeds what any fixed
    agent earns with a lot stays away.

    Parameters
    ----------
    other : int
        A fixed agent that has ``price`` [units/Mbit] and ``load`` [Mbit] in place of its own, or `NOBODY`.

    Returns
    -------
    bool
        Whether ``other`` is a buyer.
    """
    tier, numbers = market.tier, settings.numbers
    lot, highest, buys = numbers[LOT], 0.0, False
    penalty = numbers[RELAY_COST] + numbers[FIXED_DELAY_WEIGHT] * math.log1p(tier.delay[b, 1] * lot)
    count = 0
    for j in range(tier.load.shape[1]):
        posted = price if j == other else market.pricing.price[b, FIXED, j]
        wanted = load if j == other else tier.load[b, j]
        highest = max(highest, posted * lot)
        auction.valuation[row, a.BUYERS, j] = 0.0
        if wanted - tier.capacity[b, j] >= lot:
            auction.valuation[row, a.BUYERS, j] = fixed_valuation(posted, lot, penalty)
            auction.order[row, a.BUYERS, count] = j
            count += 1
            buys = buys or j == other
    auction.size[row, a.BUYERS] = count
    count = 0
    for k in range(tier.ask.shape[1]):
        auction.valuation[row, a.SELLERS, k] = 0.0
        # Clipping such a valuation down, as printed, would make the seller trade at a loss.
        if tier.ask[b, k] <= highest:
            auction.valuation[row, a.SELLERS, k] = tier.ask[b, k]
            auction.order[row, a.SELLERS, count] = k
            count += 1
    auction.size[row, a.SELLERS] = count
    return buys


@kernel
def run_auction(auction: AuctionState, row: int, settings: Settings, buyer_step: int, seller_step: int) -> None:
    """Open the auction over the bidders in ``auction[row]`` and play it to its end, steps in ticks."""
    open_auction(row, auction, settings.auction)
    closed = False
    while not closed:
        step = buyer_step if auction.side[row] == a.BUYERS else seller_step
        _, closed = play_tick(row, auction, settings.auction, step, auction.order)


@kernel
def trade_of(auction: AuctionState, row: int, buyer: int) -> int:
    """Return the seller that a buyer trades with, or `NOBODY`: the m-th buyer meets the m-th seller."""
    for m in range(int(auction.totals[row].trades)):
        if auction.order[row, a.BUYERS, m] == buyer:
            return int(auction.order[row, a.SELLERS, m])
    return NOBODY


@kernel
def fixed_profit(
    b: int, j: int, price: float, load: float, trades: bool, clearing: float, market: Market, settings: Settings
) -> float:
    """Profit of a fixed agent, Eq. 16: p (L − u) − r* − ξ E_com − γ E_up, the latter two of what they are spent on."""
    own = min(load, market.tier.capacity[b, j])
    passed = settings.numbers[LOT] if trades else 0.0
    paid = clearing + settings.numbers[RELAY_COST] if trades else 0.0
    return float(price * (own + passed) - market.pricing.cost[b, FIXED, j] * own - paid)


@kernel
def record_auction(b: int, market: Market) -> None:
    """Keep the valuations of the auction just played and the auctioneer's return."""
    tier, auction, r = market.tier, market.auction, market.pricing.round[b]
    for side in range(2):
        for i in range(tier.bids.shape[3]):
            tier.bids[b, r, side, i] = ABSENT
        for m in range(auction.size[b, side]):
            i = auction.order[b, side, m]
            tier.bids[b, r, side, i] = auction.valuation[b, side, i]
    tier.returns[b, r] = auction.totals[b].return_


@kernel
def pass_lots_on(b: int, market: Market, settings: Settings) -> None:
    """Set α, partners and served parts of the load from the trades of the auction, and keep what they replace."""
    state, tier, auction, lot = market.pricing, market.tier, market.auction, settings.numbers[LOT]
    for side in range(2):
        for leader in range(state.price.shape[2]):
            tier.settled_price[b, side, leader] = state.price[b, side, leader]
    for j in range(tier.load.shape[1]):
        tier.settled_share[b, j] = state.offloading_ratio[b, j]
        load, k = tier.load[b, j], trade_of(auction, b, j)
        passed = lot if k != NOBODY else 0.0
        tier.partner[b, j] = k
        tier.served[b, j] = (min(load, tier.capacity[b, j]) + passed) / load if load > 0.0 else 1.0
        state.served_fraction[b, j] = tier.served[b, j]
        state.offloading_ratio[b, j] = passed / load if load > 0.0 else 0.0
        state.aerial_time_per_mbit[b, j] = tier.pace[b, k] if k != NOBODY else tier.delay[b, 1]


@kernel
def pay_for_lots(b: int, market: Market, settings: Settings) -> None:
    """Enter into profits and accounts what the auction changes: lots are paid for and not computed at home."""
    state, tier = market.pricing, market.tier
    first = settings.pricing[0].wireless + settings.pricing[0].mobile
    price, auctioneer = market.auction.totals[b].price, tier.received.shape[1] - 1
    for k in range(tier.aerial_profit.shape[1]):
        tier.aerial_profit[b, k] = 0.0
    for j in range(tier.load.shape[1]):
        k = tier.partner[b, j]
        state.profit[b, FIXED, j] = fixed_profit(
            b, j, state.price[b, FIXED, j], tier.load[b, j], k != NOBODY, price, market, settings
        )
        if k != NOBODY:
            state.accounts[b, first + j] -= price
            tier.received[b, auctioneer] += price
            tier.received[b, auctioneer] -= price
            tier.received[b, k] += price
            tier.aerial_profit[b, k] = price - tier.cost[b, k]


@kernel
def add_up(b: int, market: Market, settings: Settings) -> None:
    """Add the figures of the settled round to the sums of the episode."""
    state, tier, totals = market.pricing, market.tier, market.auction.totals
    sums = tier.sums
    for side in range(2):
        count = leader_count(side, settings.pricing)
        for leader in range(count):
            sums[b, MOBILE_PROFIT + side] += state.profit[b, side, leader]
            sums[b, MOBILE_PRICE + side] += state.price[b, side, leader] / count
    for k in range(tier.aerial_profit.shape[1]):
        sums[b, AERIAL_PROFIT] += tier.aerial_profit[b, k]
    for n in range(settings.pricing[0].wireless):
        sums[b, FOLLOWER_WELFARE] += state.utility[b, n]
        sums[b, PARTICIPATION] += state.buys[b, n]
    for j in range(settings.pricing[0].fixed):
        sums[b, OVERLOADED] += tier.load[b, j] > tier.capacity[b, j]
        sums[b, LOAD] += tier.load[b, j]
        sums[b, UNSERVED] += (1.0 - tier.served[b, j]) * tier.load[b, j]
    sums[b, N_BUYERS] += market.auction.size[b, a.BUYERS]
    sums[b, N_TRADES] += totals[b].trades
    if totals[b].trades > 0.0:
        sums[b, CLEARED] += 1.0
        sums[b, CLEARING_PRICE] += totals[b].price
    sums[b, AUCTION_RETURN] += totals[b].return_
    sums[b, AUCTION_WELFARE] += totals[b].welfare
    sums[b, AUCTION_OPTIMUM] += totals[b].optimal_welfare
    sums[b, MESSAGES] += totals[b].messages
