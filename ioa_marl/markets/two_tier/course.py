"""What a dynamic two-tier market adds up from round to round: changes of prices and shares, and the QoE.

Arguments are those of `ioa_marl.markets.two_tier.kernels`.
"""

from __future__ import annotations

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.stackelberg.follower import gross_utility
from ioa_marl.markets.stackelberg.kernels import FIXED, leader_count
from ioa_marl.markets.two_tier.kernels import ABSENT, Market, Settings, TierState
from ioa_marl.markets.two_tier.records import CourseTotals


@kernel
def clear_course(b: int, tier: TierState) -> None:
    """Set to zero what a dynamic market adds up from round to round."""
    sums: CourseTotals = tier.course[b]
    sums.price_change, sums.changes, sums.share_change, sums.repeated, sums.quality = 0.0, 0.0, 0.0, 0.0, 0.0
    for n in range(tier.last_share.shape[1]):
        tier.last_share[b, n] = ABSENT


@kernel
def add_price_change(b: int, market: Market, settings: Settings) -> None:
    """Add the mean absolute change of the leaders' prices since the last settled round, which must still be there."""
    state, tier = market.pricing, market.tier
    if state.round[b] == 0:
        return
    sums: CourseTotals = tier.course[b]
    total, leaders = 0.0, 0
    for side in range(2):
        for leader in range(leader_count(side, settings.pricing)):
            total += abs(state.price[b, side, leader] - tier.settled_price[b, side, leader])
            leaders += 1
    sums.price_change += total / leaders
    sums.changes += 1.0


@kernel
def add_course(b: int, market: Market, settings: Settings) -> None:
    """Add the changes of the shares and the QoE of the settled round; curves and served fractions must be the round's.

    The QoE of a wireless agent, κ ln(1 + ε − t) ln(1 + t_n/ε), is weighted by the part of its workload that is served,
    as in its utility, and it is 0 without a purchase.
    """
    state, tier = market.pricing, market.tier
    sums: CourseTotals = tier.course[b]
    for n in range(settings.pricing[0].wireless):
        share = ABSENT
        if state.buys[b, n]:
            share = state.share[b, n]
            if tier.last_share[b, n] != ABSENT:
                sums.share_change += abs(share - tier.last_share[b, n])
                sums.repeated += 1.0
            quality, _ = gross_utility(b, n, state.traits, state.curve, state.segments, share)
            served = (1.0 - share) * state.served_fraction[b, state.reach[b, FIXED, n]]
            sums.quality += quality * (share + served)
        tier.last_share[b, n] = share
