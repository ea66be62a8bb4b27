"""Observations of the double Dutch auction, scaled to [0, 1].

The common arguments ``b``, ``state``, ``params`` and ``side`` are those of `ioa_marl.markets.double_dutch.kernels`. The
arrays of observations are float32 (batch, agents, features); those of a side that is not controlled have no agents.
"""

from __future__ import annotations

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.scaling import unit
from ioa_marl.markets.double_dutch.kernels import BUYERS, SELLERS
from ioa_marl.markets.double_dutch.state import Array, AuctionState, DoubleDutchRecord

AUCTIONEER_FEATURES = 6
"""Number of features of the auctioneer."""
AUCTIONEER_FEATURES_EXTENDED = 12
"""Number of features of the auctioneer with the extended observation."""
BIDDER_EXTRAS = 2
"""Number of features that a bidder observes besides those of the auctioneer."""


@kernel
def observe_auctioneer(b: int, state: AuctionState, params: Array, out: Array) -> None:
    """Write the auctioneer's observation of market ``b`` into ``out``, float32 (batch, 1, features).

    It is {Ψ, t, C_b, C_s, |J_b|, |K_s|}, followed by the extended features if the parameters say so.
    """
    p: DoubleDutchRecord = params[0]
    cap = float(p.buyer_start)
    out[b, 0, 0] = np.float32(state.side[b])
    out[b, 0, 1] = unit(state.ticks[b] / p.max_ticks)
    out[b, 0, 2] = unit(state.clock[b, BUYERS] / cap)
    out[b, 0, 3] = unit(state.clock[b, SELLERS] / cap)
    out[b, 0, 4] = unit(state.winners[b, BUYERS] / p.max_buyers)
    out[b, 0, 5] = unit(state.winners[b, SELLERS] / p.max_sellers)
    if p.extended:
        for side in range(2):
            out[b, 0, 6 + side] = unit(abs(state.clock[b, side] - state.recent[b, side, 0]) / cap)
            out[b, 0, 8 + side] = unit(state.recent[b, side, 1] / cap)
        out[b, 0, 10] = unit(state.size[b, BUYERS] / p.max_buyers)
        out[b, 0, 11] = unit(state.size[b, SELLERS] / p.max_sellers)


@kernel
def observe_bidders(b: int, state: AuctionState, params: Array, side: int, auctioneer: Array, out: Array) -> None:
    """Write the observations of the bidders of a side into ``out``, float32 (batch, bidders, features).

    A bidder observes the features of the auctioneer, ``auctioneer``, float32 (batch, 1, features). Its own valuation
    over the start of the buyer clock and whether it has accepted follow.
    """
    p: DoubleDutchRecord = params[0]
    cap = p.buyer_start * p.tick
    shared = auctioneer.shape[2]
    for i in range(out.shape[1]):
        for feature in range(shared):
            out[b, i, feature] = auctioneer[b, 0, feature]
        out[b, i, shared] = unit(state.valuation[b, side, i] / cap)
        out[b, i, shared + 1] = np.float32(state.accepted_at[b, side, i] >= 0)


@kernel
def observe_all(b: int, state: AuctionState, params: Array, auctioneer: Array, buyers: Array, sellers: Array) -> None:
    """Write the observations of all agents of market ``b``, float32 (batch, agents, features) for each role."""
    observe_auctioneer(b, state, params, auctioneer)
    observe_bidders(b, state, params, BUYERS, auctioneer, buyers)
    observe_bidders(b, state, params, SELLERS, auctioneer, sellers)


@kernel
def observe_markets(state: AuctionState, params: Array, auctioneer: Array, buyers: Array, sellers: Array) -> None:
    """Write the observations of all agents of all markets, float32 (batch, agents, features) for each role.

    The array of the auctioneer is needed even if only bidders are controlled, since they observe what it does.
    """
    for b in range(auctioneer.shape[0]):
        observe_all(b, state, params, auctioneer, buyers, sellers)
