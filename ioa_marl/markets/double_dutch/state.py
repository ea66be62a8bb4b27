"""What kernels of the double Dutch auction read and write: parameters and totals as records, the state as arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.records import Record

Array = NDArray[Any]


class DoubleDutchRecord(Record):
    """What kernels know of the auction and of the game that is made of it."""

    psi: float
    """Pricing coefficient ψ in [0, 1]: weight of the buyer clock in the clearing price."""
    tick: float
    """Smallest clock movement [units per lot]."""
    regret_weight: float
    """Weight b of the regret |v − c| of each acceptance."""
    welfare_weight: float
    """Weight c of social welfare."""
    message_weight: float
    """Weight d of each bidder listening to a broadcast that nobody accepts [units per message]."""
    trade_weight: float
    """Weight e of the number of trades [units per trade]."""
    level_low: float
    """Least market level m [units per lot]."""
    level_high: float
    """Largest market level m [units per lot]."""
    log_width_low: float
    """Logarithm of the least width s [of units per lot]."""
    log_width_high: float
    """Logarithm of the largest width s [of units per lot]."""
    value_low: float
    """Least position of a buyer; its value is the level plus the width times its position."""
    value_high: float
    """Largest position of a buyer."""
    cost_low: float
    """Least position of a seller; its cost is the level less the width times its position."""
    cost_high: float
    """Largest position of a seller."""
    lot: float
    """Lot size w [Mbit]."""
    buyer_penalty: float
    """Logarithmic delay penalty in a buyer's value of one lot, Eq. 33 [units]."""
    compute_cost: float
    """Cost of a seller's computing energy for one lot, Eq. 34 [units]."""
    hover_cost: float
    """Cost of hovering while one lot is sent and computed, per watt of hover power, Eq. 34 [units/W]."""
    delay_cost: float
    """Squared delay in a seller's cost of one lot, Eq. 34 [units]."""
    min_buyers: int
    """Smallest number of buyers in an episode."""
    max_buyers: int
    """Largest number of buyers J."""
    min_sellers: int
    """Smallest number of sellers in an episode."""
    max_sellers: int
    """Largest number of sellers K."""
    buyer_start: int
    """Start of the buyer clock [ticks]."""
    seller_start: int
    """Start of the seller clock [ticks]."""
    max_ticks: int
    """Closing time T: broadcasts after which the auction ends."""
    pay_per_trade: bool
    """Whether welfare enters the reward as pairs complete, not in one lump at the end."""
    scripted_step: int
    """Step of the auctioneer when no agent plays it [ticks]."""
    max_cycles: int
    """Steps of the environment after which an episode is cut off."""
    auctioneer_learns: bool
    """Whether the auctioneer acts in steps of the environment."""
    buyers_learn: bool
    """Whether the buyers do; else they are truthful."""
    sellers_learn: bool
    """Whether the sellers do; else they are truthful."""
    extended: bool
    """Whether the auctioneer sees the extended features."""
    autoreset: bool
    """Whether a market that ends starts its next episode in the same step."""


class Metrics(Record):
    """Totals of an episode, which are its metrics at the end; efficiency and ticks are filled in then."""

    return_: float
    """Undiscounted return of the auctioneer."""
    welfare: float
    """Σ values − Σ costs of the traders [units]."""
    optimal_welfare: float
    """Largest possible welfare [units]."""
    efficiency: float
    """Welfare over the largest possible; 1 where there is nothing to gain."""
    clock_surplus: float
    """Eq. 37 as printed: accepted clocks in place of valuations [units]."""
    price: float
    """Clearing price r* [units per lot]."""
    trades: float
    """Number of trades."""
    ticks: float
    """Broadcasts."""
    messages: float
    """Listeners summed over broadcasts."""
    regret: float
    """Σ |valuation − clock| over all who accepted [units]."""


class AuctionState(NamedTuple):
    """Everything that a batch of auctions is, as arrays that can be saved and restored."""

    seed: Array
    """uint64 (batch,): first key word of the market's random stream."""
    stream: Array
    """uint64 (batch,): second key word (environment index)."""
    episode: Array
    """uint64 (batch,): episodes begun so far, counted from 0."""
    size: Array
    """int32 (batch, 2): bidders taking part on each side."""
    clock: Array
    """int32 (batch, 2): buyer and seller clock in ticks."""
    side: Array
    """int64 (batch,): the active side, whose bidders are asked."""
    ticks: Array
    """int64 (batch,): broadcasts so far."""
    deciding: Array
    """bool (batch,): nobody accepted the last broadcast, and the clock has not been moved yet."""
    closed: Array
    """bool (batch,): the auction has ended by its own rules."""
    cycles: Array
    """int64 (batch,): steps of the environment so far."""
    winners: Array
    """int32 (batch, 2): bidders that have accepted."""
    recent: Array
    """int32 (batch, 2, 2): per side the clock at the last acceptance and the gap to the one before."""
    order: Array
    """int32 (batch, 2, bidders): acceptance order, then eagerness."""
    threshold: Array
    """int32 (batch, 2, bidders): the last clock, in ticks, at which a truthful bidder accepts."""
    valuation: Array
    """float64 (batch, 2, bidders): value of a buyer, cost of a seller."""
    accepted_at: Array
    """int32 (batch, 2, bidders): the clock, in ticks, at which a bidder accepted; -1 before."""
    totals: Array
    """`Metrics` (batch,): running totals of the episode."""


def allocate_state(batch: int, bidders: int) -> AuctionState:
    """Return a zeroed state for ``batch`` auctions with up to ``bidders`` bidders a side."""
    return AuctionState(
        seed=np.zeros(batch, np.uint64),
        stream=np.zeros(batch, np.uint64),
        episode=np.zeros(batch, np.uint64),
        size=np.zeros((batch, 2), np.int32),
        clock=np.zeros((batch, 2), np.int32),
        side=np.zeros(batch, np.int64),
        ticks=np.zeros(batch, np.int64),
        deciding=np.zeros(batch, np.bool_),
        closed=np.zeros(batch, np.bool_),
        cycles=np.zeros(batch, np.int64),
        winners=np.zeros((batch, 2), np.int32),
        recent=np.zeros((batch, 2, 2), np.int32),
        order=np.zeros((batch, 2, bidders), np.int32),
        threshold=np.zeros((batch, 2, bidders), np.int32),
        valuation=np.zeros((batch, 2, bidders)),
        accepted_at=np.zeros((batch, 2, bidders), np.int32),
        totals=Metrics.zeros(batch),
    )
