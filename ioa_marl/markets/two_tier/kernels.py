"""Numba kernels of the two-tier market: one trading round, from posted prices to payments, in one market.

The pricing tier is the Stackelberg market (`ioa_marl.markets.stackelberg.kernels`), the auction tier the double Dutch
auction (`ioa_marl.markets.double_dutch.kernels`). This module connects them: it computes capacities and excess loads,
valuations, the shares α that follow from the trades, the load that is served, and all accounts. Between rounds the
pricing tier has the α that the wireless agents expect of the next round, which is the α of the last one.

In all kernels ``b`` is the index of the market in the batch, ``market`` the `Market` of the batch and ``settings`` its
parameters. Results are written into ``market``, whose fields have the shapes and units.

Source: "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI Task Offloading in Internet of
Agents", Sections III and IV, Eqs. 5-20 and 33-37.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.double_dutch.kernels import (
    BUYERS,
    SELLERS,
    clear_totals,
    fixed_valuation,
    open_auction,
    play_tick,
    sort_by_eagerness,
    truthful_threshold,
)
from ioa_marl.markets.double_dutch.state import Array, AuctionState
from ioa_marl.markets.stackelberg.kernels import FIXED, MOBILE, MarketState
from ioa_marl.markets.stackelberg.records import StackelbergRecord
from ioa_marl.markets.two_tier.records import TierTotals, TwoTierRecord

NOBODY = -1
"""Index of an agent where there is none."""
ABSENT = -1.0
"""Valuation in the record of bids of an agent that does not take part in the auction."""
LAST_GAP = 1
"""Index on the last axis of ``AuctionState.recent``: distance between the last two acceptances of a side [ticks]."""


class TierState(NamedTuple):
    """State of the connection between the two tiers in a batch of markets, as arrays that can be saved and restored."""

    capacity: Array
    """float64 (batch, fixed): load κ_j that a fixed agent can compute itself in a round [Mbit]."""
    time_per_mbit: Array
    """float64 (batch, aerial): λ_k/μ_k of an aerial agent [s/Mbit]."""
    mean_fixed_time: Array
    """float64 (batch,): mean λ/μ of the fixed agents [s/Mbit]; valuations use it while the partner is unknown."""
    mean_aerial_time: Array
    """float64 (batch,): mean λ/μ of the aerial agents [s/Mbit]."""
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
    """int64 (batch, fixed): the aerial agent that sold to a fixed agent in the last round; `NOBODY` without a trade."""
    pair: Array
    """int64 (batch, 2): the auctioneer's last action, indices of the buyer clock's and the seller clock's step."""
    settled_price: Array
    """float64 (batch, 2, leaders): prices of the last settled round [units/Mbit]."""
    settled_ratio: Array
    """float64 (batch, fixed): offloading ratios α that the wireless agents expected in the last settled round."""
    bids: Array
    """float64 (batch, rounds, 2, bidders): valuations in the auctions of this episode [units]; `ABSENT` of others."""
    returns: Array
    """float64 (batch, rounds): the auctioneer's returns in this episode [units]."""
    aerial_profit: Array
    """float64 (batch, aerial): profit of each aerial agent in the last round [units]."""
    accounts: Array
    """float64 (batch, aerial + 1): payments to each aerial agent over the episode [units]; last, the auctioneer's."""
    totals: Array
    """`TierTotals` (batch,)."""
    last_share: Array
    """float64 (batch, wireless): shares o of the last settled round; `ABSENT` where nothing was bought. Empty unless
    the market is dynamic."""
    course: Array
    """`CourseTotals` (batch,), 0 unless the market is dynamic."""
    factor: Array
    """float64 (batch, 2, bidders): bid of a buyer or a seller over its valuation, in this round or, before the bids of
    this round, in the last one. The axis of bidders is empty, as that of the next array, if all bids are truthful."""
    factors: Array
    """float64 (batch, rounds, 2, bidders): the same in the auctions of this episode."""


class Market(NamedTuple):
    """A batch of two-tier markets."""

    pricing: MarketState
    """The pricing tier."""
    tier: TierState
    """The connection of the tiers."""
    auction: AuctionState
    """The auction tier."""


class Settings(NamedTuple):
    """Parameters of both tiers and of their connection, as kernels read them."""

    pricing: Array
    """`StackelbergRecord` (1,)."""
    auction: Array
    """`DoubleDutchRecord` (1,)."""
    steps: Array
    """int64 (steps,): the auctioneer's steps [ticks]."""
    tier: Array
    """`TwoTierRecord` (1,)."""


@kernel
def expect(b: int, market: Market) -> None:
    """Set the expectations of the wireless agents: the partner is unknown, and all load is served.

    The expected shares α are those in ``offloading_ratio``. The curves of the wireless agents have to be computed anew
    afterwards, see `ioa_marl.markets.stackelberg.kernels.shape_followers`.
    """
    state = market.pricing
    for j in range(state.served_fraction.shape[1]):
        state.served_fraction[b, j] = 1.0
        state.aerial_time_per_mbit[b, j] = market.tier.mean_aerial_time[b]


@kernel
def _clear_totals(b: int, tier: TierState) -> None:
    """Set the totals of the episode to zero."""
    sums: TierTotals = tier.totals[b]
    sums.mobile_profit, sums.fixed_profit, sums.aerial_profit, sums.follower_welfare = 0.0, 0.0, 0.0, 0.0
    sums.mobile_price, sums.fixed_price, sums.purchases, sums.overloaded = 0.0, 0.0, 0.0, 0.0
    sums.buyers, sums.trades, sums.auctions_with_trade, sums.clearing_price = 0.0, 0.0, 0.0, 0.0
    sums.auction_return, sums.auction_welfare, sums.optimal_welfare, sums.messages = 0.0, 0.0, 0.0, 0.0
    sums.auctions, sums.load, sums.unserved_load = 0.0, 0.0, 0.0
    sums.audited, sums.mobile_regret, sums.fixed_regret = 0.0, 0.0, 0.0
    sums.last_mobile_regret, sums.last_fixed_regret = 0.0, 0.0


@kernel
def clear_episode(b: int, market: Market, settings: Settings) -> None:
    """Set totals, accounts and the memory of past rounds to their values at the start of an episode."""
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
        auction.clock[b, side] = clocks.buyer_start if side == BUYERS else clocks.seller_start
        auction.recent[b, side, LAST_GAP] = 0
        for i in range(auction.valuation.shape[2]):
            auction.valuation[b, side, i] = 0.0
            auction.accepted_at[b, side, i] = -1
    clear_totals(b, auction)
    for r in range(tier.returns.shape[1]):
        tier.returns[b, r] = 0.0
        for side in range(2):
            for i in range(tier.bids.shape[3]):
                tier.bids[b, r, side, i] = ABSENT
    for side in range(2):
        for i in range(tier.factor.shape[2]):
            tier.factor[b, side, i] = 1.0
    _clear_totals(b, tier)


@kernel
def write_loads(b: int, market: Market, settings: Settings) -> None:
    """Write the loads L_j of the fixed agents [Mbit] from the wireless agents' answers."""
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

    A fixed agent whose excess load is at least one lot is a buyer. An aerial agent whose valuation exceeds the highest
    income of a fixed agent from a lot does not take part.

    Parameters
    ----------
    b : int
        Market.
    market, settings
        See the module.
    auction : AuctionState
        The auctions, of which row ``row`` gets the bidders.
    row : int
        Row of ``auction``.
    other : int
        A fixed agent for which ``price`` and ``load`` replace its own, or `NOBODY`.
    price : float
        Unit price of ``other`` [units/Mbit].
    load : float
        Load of ``other`` [Mbit].

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
        own_load = load if j == other else tier.load[b, j]
        highest = max(highest, posted * lot)
        auction.valuation[row, BUYERS, j] = 0.0
        if own_load - tier.capacity[b, j] >= lot:
            auction.valuation[row, BUYERS, j] = fixed_valuation(posted, lot, penalty)
            auction.order[row, BUYERS, count] = j
            count += 1
            buys = buys or j == other
    auction.size[row, BUYERS] = count
    count = 0
    for k in range(tier.ask.shape[1]):
        auction.valuation[row, SELLERS, k] = 0.0
        # The paper clips higher valuations instead, with which the seller would trade at a loss.
        if tier.ask[b, k] <= highest:
            auction.valuation[row, SELLERS, k] = tier.ask[b, k]
            auction.order[row, SELLERS, count] = k
            count += 1
    auction.size[row, SELLERS] = count
    return buys


@kernel
def apply_bids(auction: AuctionState, row: int, settings: Settings, factor: Array) -> None:
    """Let bidders accept the clocks that their bids accept, where a bid is ``factor`` times the valuation.

    Regrets and welfare of the auction stay those of the valuations. ``factor``, float64 (rows, 2, bidders), has the
    rows of ``auction``; without bidders in it all bids are valuations.
    """
    if factor.shape[2] == 0:
        return
    for side in range(2):
        truthful = True
        for m in range(auction.size[row, side]):
            i = auction.order[row, side, m]
            if factor[row, side, i] != 1.0:
                truthful = False
                bid = factor[row, side, i] * auction.valuation[row, side, i]
                auction.threshold[row, side, i] = truthful_threshold(bid, settings.auction[0].tick, side)
        # Acceptors of one clock are ordered by index, so the order of bids within a clock makes no difference.
        if not truthful:
            sort_by_eagerness(auction.order, auction.threshold, row, side, auction.size[row, side])


@kernel
def run_auction(
    auction: AuctionState, row: int, settings: Settings, factor: Array, buyer_step: int, seller_step: int
) -> None:
    """Open the auction with the bidders of ``auction[row]`` and play it to its end; the steps are in ticks.

    ``factor`` is that of `apply_bids`.
    """
    open_auction(row, auction, settings.auction)
    apply_bids(auction, row, settings, factor)
    closed = False
    while not closed:
        step = buyer_step if auction.side[row] == BUYERS else seller_step
        _, closed = play_tick(row, auction, settings.auction, step, auction.order)


@kernel
def trade_of(auction: AuctionState, row: int, buyer: int) -> int:
    """Return the seller that a buyer trades with, or `NOBODY`: the m-th buyer trades with the m-th seller."""
    for m in range(int(auction.totals[row].trades)):
        if auction.order[row, BUYERS, m] == buyer:
            return int(auction.order[row, SELLERS, m])
    return NOBODY


@kernel
def fixed_profit(
    b: int, j: int, price: float, load: float, trades: bool, clearing: float, market: Market, settings: Settings
) -> float:
    """Return the profit of a fixed agent [units], Eq. 16: p (L − u) − r* − ξ E_com − γ E_up.

    ξ E_com is the cost of the load that it computes itself, and r* and γ E_up are paid only if it trades.

    Parameters
    ----------
    b, j : int
        Market and fixed agent.
    price : float
        Unit price p [units/Mbit].
    load : float
        Load L [Mbit].
    trades : bool
        Whether it buys a lot.
    clearing : float
        Clearing price r* [units per lot].
    market, settings
        See the module.
    """
    own = min(load, market.tier.capacity[b, j])
    passed = settings.tier[0].lot if trades else 0.0
    paid = clearing + settings.tier[0].relay_cost if trades else 0.0
    return float(price * (own + passed) - market.pricing.cost[b, FIXED, j] * own - paid)


@kernel
def record_auction(b: int, market: Market) -> None:
    """Record the valuations and the bids over them in the auction of this round, and the auctioneer's return."""
    tier, auction, r = market.tier, market.auction, market.pricing.round[b]
    for side in range(2):
        for i in range(tier.bids.shape[3]):
            tier.bids[b, r, side, i] = ABSENT
        for i in range(tier.factor.shape[2]):
            tier.factors[b, r, side, i] = tier.factor[b, side, i]
        for m in range(auction.size[b, side]):
            i = auction.order[b, side, m]
            tier.bids[b, r, side, i] = auction.valuation[b, side, i]
    tier.returns[b, r] = auction.totals[b].return_


@kernel
def pass_lots_on(b: int, market: Market, settings: Settings) -> None:
    """Set α, partners and served fractions from the trades of the auction; record the prices and the α before it."""
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
    """Correct profits and accounts for the auction: lots are paid for, and computed by the aerial agents."""
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
    """Add the results of the settled round to the totals of the episode."""
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
    # With one side only, listeners cost the auctioneer what no steps can avoid.
    if market.auction.size[b, BUYERS] > 0 and market.auction.size[b, SELLERS] > 0:
        sums.auctions += 1.0
        sums.auction_return += totals[b].return_
    sums.auction_welfare += totals[b].welfare
    sums.optimal_welfare += totals[b].optimal_welfare
    sums.messages += totals[b].messages
