"""Records and state of the double Dutch auction: the parameters and the totals by name, a batch of markets as arrays.

Sides are 0 (buyers) and 1 (sellers). Clocks are integers, multiples of the tick.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.records import Record

Array = NDArray[Any]


class DoubleDutchRecord(Record):
    """Parameters of an auction and of its game, as kernels read them."""

    psi: float
    """Pricing coefficient ψ in [0, 1]: weight of the buyer clock in the clearing price."""
    tick: float
    """Smallest clock movement [units per lot]."""
    regret_weight: float
    """Weight b of the regret |v − c| of each acceptance."""
    welfare_weight: float
    """Weight c of social welfare."""
    message_weight: float
    """Weight d of each bidder that listens to a broadcast which nobody accepts [units per message]."""
    trade_weight: float
    """Weight e of the number of trades [units per trade]."""
    level_low: float
    """Least market level m [units per lot]."""
    level_high: float
    """Largest market level m [units per lot]."""
    log_width_low: float
    """Logarithm of the least width s [log of units per lot]."""
    log_width_high: float
    """Logarithm of the largest width s [log of units per lot]."""
    value_low: float
    """Least position of a buyer, whose value is the level plus the width times its position."""
    value_high: float
    """Largest position of a buyer."""
    cost_low: float
    """Least position of a seller, whose cost is the level less the width times its position."""
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
    """Closing time T: the number of broadcasts after which the auction ends."""
    runs_on: bool
    """Whether the clock of the other side runs on to the next loser when one side is exhausted."""
    pay_per_trade: bool
    """Whether welfare enters the reward as pairs complete, and not as one sum at the end."""
    scripted_step: int
    """Step of the auctioneer when it is scripted [ticks]."""
    max_cycles: int
    """Number of steps of the environment after which an episode is truncated."""
    auctioneer_controlled: bool
    """Whether the auctioneer acts in steps of the environment; else it uses ``scripted_step``."""
    buyers_controlled: bool
    """Whether the buyers act in steps of the environment; else they are truthful."""
    sellers_controlled: bool
    """Whether the sellers act in steps of the environment; else they are truthful."""
    extended: bool
    """Whether the auctioneer observes the extended features."""
    autoreset: bool
    """Whether a market whose episode ends starts the next episode in the same step."""


class Metrics(Record):
    """Running totals of an episode, which are its metrics at the end; efficiency and ticks are written only then."""

    return_: float
    """Undiscounted return of the auctioneer [units]."""
    welfare: float
    """Welfare: Σ values − Σ costs of the traders [units]."""
    optimal_welfare: float
    """Largest possible welfare [units]."""
    efficiency: float
    """Welfare over the largest possible welfare; 1 if that is 0."""
    clock_surplus: float
    """Eq. 37 as printed, with accepted clocks in place of valuations [units]."""
    price: float
    """Clearing price r* [units per lot]; as a metric it is NaN without a trade."""
    trades: float
    """Number of trades."""
    ticks: float
    """Number of broadcasts."""
    messages: float
    """Number of clock messages: the listeners summed over the broadcasts."""
    exchange_cost: float
    """Exchange cost of Eq. 39: d times the listeners, summed over the broadcasts that nobody accepted [units]."""
    regret: float
    """Σ |valuation − clock| over all who accepted [units]."""


class AuctionState(NamedTuple):
    """State of a batch of auctions: arrays that can be saved and restored."""

    seed: Array
    """uint64 (batch,): first key of the market's random stream."""
    stream: Array
    """uint64 (batch,): second key, the index of the environment."""
    episode: Array
    """uint64 (batch,): index of the current episode, from 0."""
    size: Array
    """int32 (batch, 2): number of bidders on each side."""
    clock: Array
    """int32 (batch, 2): buyer clock and seller clock [ticks]."""
    side: Array
    """int64 (batch,): active side, to which the next broadcast goes."""
    ticks: Array
    """int64 (batch,): number of broadcasts so far."""
    deciding: Array
    """bool (batch,): whether nobody accepted the last broadcast and the clock has not moved since."""
    closed: Array
    """bool (batch,): whether the auction has ended by its own rules."""
    cycles: Array
    """int64 (batch,): steps of the environment in this episode so far."""
    winners: Array
    """int32 (batch, 2): number of bidders of each side that have accepted."""
    recent: Array
    """int32 (batch, 2, 2): for each side, the clock at its last acceptance and the gap to the one before [ticks]."""
    order: Array
    """int32 (batch, 2, bidders): indices of the bidders, those that have accepted first, in the order of acceptance;
    the others follow by eagerness."""
    threshold: Array
    """int32 (batch, 2, bidders): last clock that a truthful bidder accepts [ticks]."""
    valuation: Array
    """float64 (batch, 2, bidders): values of the buyers and costs of the sellers [units per lot]."""
    accepted_at: Array
    """int32 (batch, 2, bidders): clock at which a bidder accepted [ticks]; −1 before."""
    totals: Array
    """`Metrics` (batch,): running totals of the episode."""


def allocate_state(batch: int, bidders: int) -> AuctionState:
    """Return a zeroed state of ``batch`` auctions with at most ``bidders`` bidders on each side."""
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
