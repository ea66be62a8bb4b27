"""Bids of the two-tier market as decisions: what buyers and sellers observe, choose and gain in the auction of a round.

Buyer j is fixed agent j, seller k is aerial agent k. A bid is a multiple of the valuation of Eqs. 33 and 34. Arguments
are those of `ioa_marl.markets.two_tier.drivers`; ``side`` is 0 for buyers, 1 for sellers.
"""

from __future__ import annotations

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.scaling import unit
from ioa_marl.markets.double_dutch.kernels import BUYERS, SELLERS
from ioa_marl.markets.double_dutch.state import Array, AuctionState
from ioa_marl.markets.two_tier.kernels import Market, Settings

BIDDER_FEATURES = 10
"""Number of features that a buyer or a seller observes."""


@kernel
def choose_bids(market: Market, mask: Array, multipliers: Array, choices: Array) -> None:
    """Set the bids of this round's bidders; who does not take part has no bid, and its choice changes nothing.

    Parameters
    ----------
    market, mask
        See the module.
    multipliers : ndarray of float64, shape (multipliers,)
        Bids over valuations.
    choices : ndarray of int64, shape (batch, 2, bidders)
        Index of each bidder's multiplier.
    """
    auction, factor = market.auction, market.tier.factor
    for b in range(mask.shape[0]):
        if mask[b]:
            for side in range(2):
                for i in range(factor.shape[2]):
                    factor[b, side, i] = 1.0
                for m in range(auction.size[b, side]):
                    i = auction.order[b, side, m]
                    factor[b, side, i] = multipliers[choices[b, side, i]]


@kernel
def write_participants(auction: AuctionState, side: int, out: Array) -> None:
    """Write which bidders of a side take part in the auction, into ``out``, bool (batch, bidders of the side)."""
    for b in range(out.shape[0]):
        for i in range(out.shape[1]):
            out[b, i] = False
        for m in range(auction.size[b, side]):
            out[b, auction.order[b, side, m]] = True


@kernel
def write_gains(market: Market, mask: Array, side: int, out: Array) -> None:
    """Write what bidders gain by the auction of the round that was just settled.

    Parameters
    ----------
    market, mask
        See the module.
    side : int
        Side of the bidders.
    out : ndarray of float32, shape (batch, bidders of the side)
        Where v_j − r* of a buyer or r* − v_k of a seller goes [units]; 0 without a trade.
    """
    tier, auction = market.tier, market.auction
    for b in range(mask.shape[0]):
        if mask[b]:
            price, r = auction.totals[b].price, market.pricing.round[b] - 1
            for i in range(out.shape[1]):
                out[b, i] = 0.0
            for m in range(int(auction.totals[b].trades)):
                i = auction.order[b, side, m]
                valuation = tier.bids[b, r, side, i]
                out[b, i] = valuation - price if side == BUYERS else price - valuation


@kernel
def observe_bidders(market: Market, settings: Settings, side: int, highest: float, out: Array) -> None:
    """Write the observations of the buyers or of the sellers.

    The features are the round, the numbers of buyers and sellers in this round's auction, of the last auction the
    clearing price, the number of trades and the final clocks, and then the own valuation, whether the bidder takes
    part, and its last multiplier.

    Parameters
    ----------
    market, settings
        See the module.
    side : int
        Side of the bidders.
    highest : float
        The largest multiplier.
    out : ndarray of float32, shape (batch, bidders of the side, features)
        Where the observations go, in [0, 1].
    """
    auction, tier, rules = market.auction, market.tier, settings.auction[0]
    buyers, sellers, start = float(rules.max_buyers), float(rules.max_sellers), float(rules.buyer_start)
    cap = start * rules.tick
    for b in range(out.shape[0]):
        for i in range(out.shape[1]):
            out[b, i, 0] = unit(market.pricing.round[b] / settings.pricing[0].rounds)
            out[b, i, 1] = unit(auction.size[b, BUYERS] / buyers)
            out[b, i, 2] = unit(auction.size[b, SELLERS] / sellers)
            out[b, i, 3] = unit(auction.totals[b].price / cap)
            out[b, i, 4] = unit(auction.totals[b].trades / min(buyers, sellers))
            out[b, i, 5] = unit(auction.clock[b, BUYERS] / start)
            out[b, i, 6] = unit(auction.clock[b, SELLERS] / start)
            out[b, i, 7] = unit(auction.valuation[b, side, i] / cap)
            out[b, i, 8] = unit(0.0)
            out[b, i, 9] = unit(tier.factor[b, side, i] / highest)
        for m in range(auction.size[b, side]):
            out[b, auction.order[b, side, m], 8] = unit(1.0)
