"""Batched drivers of the two-tier market: open, post prices, run auctions. Arrays are written in place."""

from __future__ import annotations

from ioa_marl.markets import stackelberg_kernels as p
from ioa_marl.markets import two_tier_kernels as k
from ioa_marl.markets._numba import kernel
from ioa_marl.markets.double_dutch_kernels import Array
from ioa_marl.markets.stackelberg_draws import open_episode
from ioa_marl.markets.stackelberg_kernels import answer_prices


@kernel
def open_markets(market: k.Market, settings: k.Settings, which: Array) -> None:
    """Draw and open the present episode of the markets ``which``, bool (batch,)."""
    for b in range(which.shape[0]):
        if which[b]:
            open_episode(b, market.pricing, settings.pricing, settings.pricing_counts, False)
            if market.pricing.episode[b] == 0:
                k.draw_technology(b, market, settings)
            k.draw_costs(b, market, settings)
            k.clear_episode(b, market)
            k.expect(b, market, settings)


@kernel
def post_prices(market: k.Market, settings: k.Settings, which: Array, levels: int, mobile: Array, fixed: Array) -> None:
    """Post prices, let the wireless agents answer and enter the auction's bidders.

    ``mobile`` and ``fixed`` are int64 (batch, leaders of the side): index m is the price p̄ m/(levels − 1).
    """
    state, cap = market.pricing, settings.pricing[p.PRICE_CAP]
    for b in range(which.shape[0]):
        if which[b]:
            for i in range(mobile.shape[1]):
                state.price[b, p.MOBILE, i] = cap * mobile[b, i] / (levels - 1)
            for j in range(fixed.shape[1]):
                state.price[b, p.FIXED, j] = cap * fixed[b, j] / (levels - 1)
            answer_prices(b, state, settings.pricing_counts)
            k.write_loads(b, market, settings)
            k.enter_bidders(b, market, settings, market.auction, b, k.NOBODY, 0.0, 0.0)


@kernel
def hold_auctions(market: k.Market, settings: k.Settings, which: Array, pairs: Array, terminated: Array) -> None:
    """Run the auctions and settle the round; ``terminated``, bool (batch,), is set after the last one.

    ``pairs`` int64 (batch, 1, 2) indexes the steps of the buyer clock and of the seller clock.
    """
    for b in range(which.shape[0]):
        if which[b]:
            for side in range(2):
                market.tier.pair[b, side] = pairs[b, 0, side]
            k.run_auction(market.auction, b, settings, settings.steps[pairs[b, 0, 0]], settings.steps[pairs[b, 0, 1]])
            k.record_auction(b, market)
            k.settle_round(b, market, settings)
            market.pricing.round[b] += 1
            terminated[b] = market.pricing.round[b] >= settings.pricing_counts[p.ROUNDS]
