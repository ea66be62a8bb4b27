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
from typing import NamedTuple

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.philox import philox_block, to_unit
from ioa_marl.markets.double_dutch.kernels import (
    BUYERS,
    SELLERS,
    aerial_cost,
    clear_totals,
    fixed_valuation,
    open_auction,
    play_tick,
)
from ioa_marl.markets.double_dutch.state import Array, AuctionState
from ioa_marl.markets.stackelberg.draws import between
from ioa_marl.markets.stackelberg.kernels import FIXED, MOBILE, MarketState
from ioa_marl.markets.stackelberg.records import StackelbergRecord
from ioa_marl.markets.two_tier.records import TierTotals, TwoTierRecord

OF_CAPACITY, OF_CAPACITY_SHIFT, OF_AERIAL = range(201, 204)
OF_AERIAL_COST, OF_WIND = range(21, 23)
"""Purposes of the random counter: of an instance, and of an episode."""

NOBODY = -1
"""In place of an agent's index."""
ABSENT = -1.0
"""In place of a valuation: takes no part in the auction."""


class TierState(NamedTuple):
    """What connects the two tiers in a batch of markets, as arrays that can be saved and restored."""

    capacity: Array
    """float64 (batch, fixed): load κ_j that a fixed agent can compute itself in a round [Mbit]."""
    time_per_mbit: Array
    """float64 (batch, aerial): λ_k/μ_k of an aerial agent [s/Mbit]."""
    mean_fixed_time: Array
    """float64 (batch,): mean λ/μ of the fixed agents [s/Mbit], which stands for that of a partner who is unknown."""
    mean_aerial_time: Array
    """float64 (batch,): the same of the aerial agents [s/Mbit]."""
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
    served_fraction: Array
    """float64 (batch, fixed): part of the load that was served in the last round."""
    partner: Array
    """int64 (batch, fixed): the aerial agent that sold to a fixed agent in the last round; -1 none."""
    pair: Array
    """int64 (batch, 2): the auctioneer's last action, indices of the buyer clock's and the seller clock's step."""
    settled_price: Array
    """float64 (batch, 2, leaders): prices of the last settled round [units/Mbit]."""
    settled_ratio: Array
    """float64 (batch, fixed): offloading ratios α that the wireless agents expected in the last settled round."""
    bids: Array
    """float64 (batch, rounds, 2, bidders): valuations in the auctions of this episode [units]; -1 takes no part."""
    returns: Array
    """float64 (batch, rounds): the auctioneer's returns in this episode."""
    aerial_profit: Array
    """float64 (batch, aerial): profit of each aerial agent in the last round [units]."""
    accounts: Array
    """float64 (batch, aerial + 1): payments to each aerial agent over the episode [units]; last, the auctioneer's."""
    totals: Array
    """`TierTotals` (batch,)."""


class Market(NamedTuple):
    """A batch of two-tier markets: both tiers and what connects them."""

    pricing: MarketState
    tier: TierState
    auction: AuctionState


class Settings(NamedTuple):
    """Parameters of both tiers and of what connects them, as kernels read them."""

    pricing: Array
    """`StackelbergRecord` (1,)."""
    auction: Array
    """`DoubleDutchRecord` (1,)."""
    steps: Array
    """int64 (steps,): the auctioneer's steps in ticks."""
    tier: Array
    """`TwoTierRecord` (1,)."""


@kernel
def draw_technology(b: int, market: Market, settings: Settings) -> None:
    """Draw what the instance fixes beside the pricing tier: capacities and speeds of aerial agents.

    Capacities are spread evenly over their log-uniform distribution, one in each of as many equally likely intervals
    as there are fixed agents, so that every instance has overloaded and idle ones.
    """
    p: TwoTierRecord = settings.tier[0]
    tier = market.tier
    key, zero = market.pricing.instance[b], np.uint64(0)
    fixed, aerial = tier.capacity.shape[1], tier.time_per_mbit.shape[1]
    w0, _, _, _ = philox_block(key, zero, 1, zero, OF_CAPACITY_SHIFT)
    shift = int(to_unit(w0) * fixed)
    total = 0.0
    for j in range(fixed):
        w0, _, _, _ = philox_block(key, zero, j + 1, zero, OF_CAPACITY)
        quantile = ((j + shift) % fixed + to_unit(w0)) / fixed
        tier.capacity[b, j] = math.exp(p.log_capacity_low + (p.log_capacity_high - p.log_capacity_low) * quantile)
        total += market.pricing.time_per_mbit[b, FIXED, j]
    tier.mean_fixed_time[b] = total / fixed
    total = 0.0
    for k in range(aerial):
        w0, _, _, _ = philox_block(key, zero, k + 1, zero, OF_AERIAL)
        tier.time_per_mbit[b, k] = between(w0, p.time_per_mbit_low, p.time_per_mbit_high)
        total += tier.time_per_mbit[b, k]
    tier.mean_aerial_time[b] = total / aerial


@kernel
def draw_costs(b: int, market: Market, settings: Settings) -> None:
    """Draw the aerial agents' unit costs and hover powers of the episode, and their costs of one lot (Eq. 34)."""
    p: TwoTierRecord = settings.tier[0]
    tier, state = market.tier, market.pricing
    seed, stream, episode = state.seed[b], state.stream[b], state.episode[b]
    w0, _, _, _ = philox_block(seed, stream, 1, episode, OF_WIND)
    wind = between(w0, p.wind_low, p.wind_high)
    delay = p.aerial_delay_weight * (tier.mean_fixed_time[b] * p.lot) ** 2
    for k in range(tier.time_per_mbit.shape[1]):
        w0, w1, _, _ = philox_block(seed, stream, k + 1, episode, OF_AERIAL_COST)
        tier.unit_cost[b, k] = between(w0, p.cost_low, p.cost_high)
        tier.hover_power[b, k] = wind * between(w1, p.hover_power_low, p.hover_power_high)
        computing = tier.unit_cost[b, k] * p.lot
        hovering = p.hover_energy_price * (p.relay_time + tier.time_per_mbit[b, k] * p.lot)
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
        state.aerial_time_per_mbit[b, j] = market.tier.mean_aerial_time[b]


@kernel
def _clear_totals(b: int, tier: TierState) -> None:
    sums: TierTotals = tier.totals[b]
    sums.mobile_profit, sums.fixed_profit, sums.aerial_profit, sums.follower_welfare = 0.0, 0.0, 0.0, 0.0
    sums.mobile_price, sums.fixed_price, sums.purchases, sums.overloaded = 0.0, 0.0, 0.0, 0.0
    sums.buyers, sums.trades, sums.auctions_with_trade, sums.clearing_price = 0.0, 0.0, 0.0, 0.0
    sums.auction_return, sums.auction_welfare, sums.optimal_welfare, sums.messages = 0.0, 0.0, 0.0, 0.0
    sums.load, sums.unserved_load = 0.0, 0.0


@kernel
def clear_episode(b: int, market: Market, settings: Settings) -> None:
    """Set everything that an episode adds up or remembers to its start: nobody has paid yet, and no lot was sold."""
    tier, auction, clocks = market.tier, market.auction, settings.auction[0]
    for j in range(tier.load.shape[1]):
        market.pricing.offloading_ratio[b, j] = 0.0
        tier.settled_ratio[b, j] = 0.0
        tier.load[b, j] = 0.0
        tier.served_fraction[b, j] = 1.0
        tier.partner[b, j] = NOBODY
    for k in range(tier.accounts.shape[1]):
        tier.accounts[b, k] = 0.0
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
    _clear_totals(b, tier)


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
    p: TwoTierRecord = settings.tier[0]
    tier = market.tier
    lot, highest, buys = p.lot, 0.0, False
    penalty = p.relay_cost + p.fixed_delay_weight * math.log1p(tier.mean_aerial_time[b] * lot)
    count = 0
    for j in range(tier.load.shape[1]):
        posted = price if j == other else market.pricing.price[b, FIXED, j]
        wanted = load if j == other else tier.load[b, j]
        highest = max(highest, posted * lot)
        auction.valuation[row, BUYERS, j] = 0.0
        if wanted - tier.capacity[b, j] >= lot:
            auction.valuation[row, BUYERS, j] = fixed_valuation(posted, lot, penalty)
            auction.order[row, BUYERS, count] = j
            count += 1
            buys = buys or j == other
    auction.size[row, BUYERS] = count
    count = 0
    for k in range(tier.ask.shape[1]):
        auction.valuation[row, SELLERS, k] = 0.0
        # Clipping such a valuation down, as printed, would make the seller trade at a loss.
        if tier.ask[b, k] <= highest:
            auction.valuation[row, SELLERS, k] = tier.ask[b, k]
            auction.order[row, SELLERS, count] = k
            count += 1
    auction.size[row, SELLERS] = count
    return buys


@kernel
def run_auction(auction: AuctionState, row: int, settings: Settings, buyer_step: int, seller_step: int) -> None:
    """Open the auction over the bidders in ``auction[row]`` and play it to its end, steps in ticks."""
    open_auction(row, auction, settings.auction)
    closed = False
    while not closed:
        step = buyer_step if auction.side[row] == BUYERS else seller_step
        _, closed = play_tick(row, auction, settings.auction, step, auction.order)


@kernel
def trade_of(auction: AuctionState, row: int, buyer: int) -> int:
    """Return the seller that a buyer trades with, or `NOBODY`: the m-th buyer meets the m-th seller."""
    for m in range(int(auction.totals[row].trades)):
        if auction.order[row, BUYERS, m] == buyer:
            return int(auction.order[row, SELLERS, m])
    return NOBODY


@kernel
def fixed_profit(
    b: int, j: int, price: float, load: float, trades: bool, clearing: float, market: Market, settings: Settings
) -> float:
    """Profit of a fixed agent, Eq. 16: p (L − u) − r* − ξ E_com − γ E_up, the latter two of what they are spent on."""
    own = min(load, market.tier.capacity[b, j])
    passed = settings.tier[0].lot if trades else 0.0
    paid = clearing + settings.tier[0].relay_cost if trades else 0.0
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
    state, tier, auction, lot = market.pricing, market.tier, market.auction, settings.tier[0].lot
    for side in range(2):
        for leader in range(state.price.shape[2]):
            tier.settled_price[b, side, leader] = state.price[b, side, leader]
    for j in range(tier.load.shape[1]):
        tier.settled_ratio[b, j] = state.offloading_ratio[b, j]
        load, k = tier.load[b, j], trade_of(auction, b, j)
        passed = lot if k != NOBODY else 0.0
        tier.partner[b, j] = k
        tier.served_fraction[b, j] = (min(load, tier.capacity[b, j]) + passed) / load if load > 0.0 else 1.0
        state.served_fraction[b, j] = tier.served_fraction[b, j]
        state.offloading_ratio[b, j] = passed / load if load > 0.0 else 0.0
        state.aerial_time_per_mbit[b, j] = tier.time_per_mbit[b, k] if k != NOBODY else tier.mean_aerial_time[b]


@kernel
def pay_for_lots(b: int, market: Market, settings: Settings) -> None:
    """Enter into profits and accounts what the auction changes: lots are paid for and not computed at home."""
    state, tier = market.pricing, market.tier
    first = settings.pricing[0].wireless + settings.pricing[0].mobile
    price, auctioneer = market.auction.totals[b].price, tier.accounts.shape[1] - 1
    for k in range(tier.aerial_profit.shape[1]):
        tier.aerial_profit[b, k] = 0.0
    for j in range(tier.load.shape[1]):
        k = tier.partner[b, j]
        state.profit[b, FIXED, j] = fixed_profit(
            b, j, state.price[b, FIXED, j], tier.load[b, j], k != NOBODY, price, market, settings
        )
        if k != NOBODY:
            state.accounts[b, first + j] -= price
            tier.accounts[b, auctioneer] += price
            tier.accounts[b, auctioneer] -= price
            tier.accounts[b, k] += price
            tier.aerial_profit[b, k] = price - tier.cost[b, k]


@kernel
def add_up(b: int, market: Market, settings: Settings) -> None:
    """Add what the settled round came to to the totals of the episode."""
    p: StackelbergRecord = settings.pricing[0]
    state, tier, totals = market.pricing, market.tier, market.auction.totals
    sums: TierTotals = tier.totals[b]
    for i in range(p.mobile):
        sums.mobile_profit += state.profit[b, MOBILE, i]
        sums.mobile_price += state.price[b, MOBILE, i] / p.mobile
    for j in range(p.fixed):
        sums.fixed_profit += state.profit[b, FIXED, j]
        sums.fixed_price += state.price[b, FIXED, j] / p.fixed
        sums.overloaded += tier.load[b, j] > tier.capacity[b, j]
        sums.load += tier.load[b, j]
        sums.unserved_load += (1.0 - tier.served_fraction[b, j]) * tier.load[b, j]
    for k in range(tier.aerial_profit.shape[1]):
        sums.aerial_profit += tier.aerial_profit[b, k]
    for n in range(p.wireless):
        sums.follower_welfare += state.utility[b, n]
        sums.purchases += state.buys[b, n]
    sums.buyers += market.auction.size[b, BUYERS]
    sums.trades += totals[b].trades
    if totals[b].trades > 0.0:
        sums.auctions_with_trade += 1.0
        sums.clearing_price += totals[b].price
    sums.auction_return += totals[b].return_
    sums.auction_welfare += totals[b].welfare
    sums.optimal_welfare += totals[b].optimal_welfare
    sums.messages += totals[b].messages
