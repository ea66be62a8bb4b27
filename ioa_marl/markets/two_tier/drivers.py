"""Batched drivers of the two-tier market: open, post prices, run auctions. Arrays are written in place.

Common arguments of all drivers are ``market``, the `Market` of the batch, ``settings``, a `Settings`, and ``mask``,
bool (batch,), the markets that are played; the rows of the others are not touched.
"""

from __future__ import annotations

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.scaling import unit
from ioa_marl.markets.double_dutch.kernels import BUYERS, SELLERS
from ioa_marl.markets.double_dutch.state import Array
from ioa_marl.markets.stackelberg.drivers import answer_markets, refresh_markets, reshape_markets
from ioa_marl.markets.stackelberg.kernels import FIXED, MOBILE, MarketState, settle
from ioa_marl.markets.two_tier.course import add_course, add_price_change, clear_course
from ioa_marl.markets.two_tier.draws import draw_costs, draw_technology
from ioa_marl.markets.two_tier.kernels import (
    LAST_GAP,
    NOBODY,
    Market,
    Settings,
    add_up,
    clear_episode,
    enter_bidders,
    expect,
    pass_lots_on,
    pay_for_lots,
    record_auction,
    run_auction,
    write_loads,
)

AUCTIONEER_FEATURES, AUCTIONEER_FEATURES_EXTENDED = 9, 15
FIXED_EXTRAS, FIXED_EXTRAS_EXTENDED = 1, 4
"""Number of features that a fixed agent's observation has beyond those of the pricing tier."""


@kernel
def open_tiers(market: Market, settings: Settings, mask: Array) -> None:
    """Draw what the current episode of the markets ``mask`` has beside its pricing tier, which is open already."""
    for b in range(mask.shape[0]):
        if mask[b]:
            if market.pricing.episode[b] == 0:
                draw_technology(b, market, settings)
            draw_costs(b, market, settings)
            clear_episode(b, market, settings)
            if settings.pricing[0].dynamics:
                clear_course(b, market.tier)
            expect(b, market)


@kernel
def expect_markets(market: Market, mask: Array) -> None:
    """Set what the wireless agents of the markets ``mask`` expect; see `kernels.expect`."""
    for b in range(mask.shape[0]):
        if mask[b]:
            expect(b, market)


def post_prices(market: Market, settings: Settings, mask: Array, levels: int, mobile: Array, fixed: Array) -> None:
    """Post prices, write the exact answers of the wireless agents, and enter the bidders of the auction.

    Parameters
    ----------
    market, settings, mask
        See the module.
    levels : int
        Number of grid prices: index m is the price p̄ m/(levels − 1) [units/Mbit].
    mobile, fixed : ndarray of int64, shape (batch, mobile) and (batch, fixed)
        Indices of prices.
    """
    _set_prices(market.pricing, settings.pricing[0].price_cap, mask, levels, mobile, fixed)
    answer_markets(market.pricing, settings.pricing, mask)
    _enter_markets(market, settings, mask)


@kernel
def _set_prices(state: MarketState, cap: float, mask: Array, levels: int, mobile: Array, fixed: Array) -> None:
    for b in range(mask.shape[0]):
        if mask[b]:
            for i in range(mobile.shape[1]):
                state.price[b, MOBILE, i] = cap * mobile[b, i] / (levels - 1)
            for j in range(fixed.shape[1]):
                state.price[b, FIXED, j] = cap * fixed[b, j] / (levels - 1)


@kernel
def _enter_markets(market: Market, settings: Settings, mask: Array) -> None:
    for b in range(mask.shape[0]):
        if mask[b]:
            write_loads(b, market, settings)
            enter_bidders(b, market, settings, market.auction, b, NOBODY, 0.0, 0.0)


def hold_auctions(market: Market, settings: Settings, mask: Array, pairs: Array, terminated: Array) -> None:
    """Run the auctions and settle the round. Afterwards the wireless agents expect the shares α of this round.

    Parameters
    ----------
    market, settings, mask
        See the module.
    pairs : ndarray of int64, shape (batch, 1, 2)
        Indices of the steps of the buyer clock and of the seller clock.
    terminated : ndarray of bool, shape (batch,)
        Becomes True where this was the last round of the episode.
    """
    _run_auctions(market, settings, mask, pairs)
    reshape_markets(market.pricing, settings.pricing, mask)
    _settle_rounds(market, settings, mask, terminated)
    reshape_markets(market.pricing, settings.pricing, mask)


@kernel
def _run_auctions(market: Market, settings: Settings, mask: Array, pairs: Array) -> None:
    for b in range(mask.shape[0]):
        if mask[b]:
            for side in range(2):
                market.tier.pair[b, side] = pairs[b, 0, side]
            buyer_step, seller_step = settings.steps[pairs[b, 0, BUYERS]], settings.steps[pairs[b, 0, SELLERS]]
            run_auction(market.auction, b, settings, market.tier.factor, buyer_step, seller_step)
            record_auction(b, market)
            if settings.pricing[0].dynamics:
                add_price_change(b, market, settings)
            pass_lots_on(b, market, settings)


@kernel
def _settle_rounds(market: Market, settings: Settings, mask: Array, terminated: Array) -> None:
    """Settle the round; the curves of the wireless agents must be those of the shares α that the auction has set."""
    for b in range(mask.shape[0]):
        if mask[b]:
            settle(b, market.pricing, settings.pricing)
            pay_for_lots(b, market, settings)
            add_up(b, market, settings)
            if settings.pricing[0].dynamics:
                add_course(b, market, settings)
            expect(b, market)
            market.pricing.round[b] += 1
            terminated[b] = market.pricing.round[b] >= settings.pricing[0].rounds


def change_conditions(market: Market, settings: Settings, mask: Array) -> None:
    """Draw tasks, channel gains and speeds of the next round, if the market is dynamic; all else stays as it is."""
    if settings.pricing[0].dynamics:
        refresh_markets(market.pricing, settings.pricing, mask)


@kernel
def observe_auctioneer(market: Market, settings: Settings, extended: bool, out: Array) -> None:
    """Write the auctioneer's observations of the bidders of this round and of the last auction.

    The features are the round, the numbers of buyers and sellers, the highest and the mean income p_j w of the buyers,
    and of the last auction the clearing price, the number of trades and the final clocks. Extended observations add the
    numbers of acceptances, the last gap between acceptances of each side, and the last pair of steps.

    Parameters
    ----------
    market, settings
        See the module.
    extended : bool
        Whether observations are extended.
    out : ndarray of float32, shape (batch, 1, features)
        Where the observations go, in [0, 1].
    """
    auction, tier, rules = market.auction, market.tier, settings.auction[0]
    buyers, sellers = float(rules.max_buyers), float(rules.max_sellers)
    start, last_step = float(rules.buyer_start), max(settings.steps.shape[0] - 1, 1)
    cap, lot = start * rules.tick, settings.tier[0].lot
    for b in range(out.shape[0]):
        highest, total = 0.0, 0.0
        for m in range(auction.size[b, BUYERS]):
            # The last auction may have moved buyers to the front of the order, but it still has all of them.
            income = market.pricing.price[b, FIXED, auction.order[b, BUYERS, m]] * lot
            highest, total = max(highest, income), total + income
        out[b, 0, 0] = unit(market.pricing.round[b] / settings.pricing[0].rounds)
        out[b, 0, 1] = unit(auction.size[b, BUYERS] / buyers)
        out[b, 0, 2] = unit(auction.size[b, SELLERS] / sellers)
        out[b, 0, 3] = unit(highest / cap)
        out[b, 0, 4] = unit(total / max(auction.size[b, BUYERS], 1) / cap)
        out[b, 0, 5] = unit(auction.totals[b].price / cap)
        out[b, 0, 6] = unit(auction.totals[b].trades / min(buyers, sellers))
        for side in range(2):
            out[b, 0, 7 + side] = unit(auction.clock[b, side] / start)
            if extended:
                out[b, 0, 9 + side] = unit(auction.winners[b, side] / (buyers if side == BUYERS else sellers))
                out[b, 0, 11 + side] = unit(auction.recent[b, side, LAST_GAP] / start)
                out[b, 0, 13 + side] = unit(tier.pair[b, side] / last_step)


@kernel
def observe_fixed(market: Market, settings: Settings, extended: bool, first: int, out: Array) -> None:
    """Write the features that only fixed agents observe.

    The first is the own capacity over the load of all wireless agents in reach, or over its largest value if the market
    is dynamic, since fixed agents do not see tasks before they come. Extended observations add the share α
    that it passed on, the part of its load that was served, and the price that it paid for a lot over the highest
    possible bid.

    Parameters
    ----------
    market, settings
        See the module.
    extended : bool
        Whether observations are extended.
    first : int
        Index of the first of these features.
    out : ndarray of float32, shape (batch, fixed, features)
        Where the observations go, in [0, 1].
    """
    state, tier = market.pricing, market.tier
    rules, pricing = settings.auction[0], settings.pricing[0]
    cap = rules.buyer_start * rules.tick
    for b in range(out.shape[0]):
        for j in range(out.shape[1]):
            load = 0.0
            for q in range(state.start[b, FIXED, j], state.start[b, FIXED, j + 1]):
                load += pricing.most_load if pricing.dynamics else state.traits[b, state.member[b, FIXED, q]].load
            out[b, j, first] = unit(tier.capacity[b, j] / load if load > 0.0 else 1.0)
            if extended:
                paid = market.auction.totals[b].price if tier.partner[b, j] != NOBODY else 0.0
                out[b, j, first + 1] = unit(state.offloading_ratio[b, j])
                out[b, j, first + 2] = unit(tier.served_fraction[b, j])
                out[b, j, first + 3] = unit(paid / cap)
