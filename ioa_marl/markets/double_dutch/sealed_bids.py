"""Numba kernels of sealed-bid double auctions: the efficient trades of a market, and who pays what under each rule.

Sides are 0 (buyers) and 1 (sellers). What users call is in `ioa_marl.markets.double_dutch.rivals`, where every rule has
its source. Common arguments of the kernels:

- ``b``: index of the market in the batch;
- ``rule``: one of the constants below; ``weight`` is k of the k-double auction;
- ``reports`` and ``out``: `SealedBids` and `Settlements` of the batch, whose fields have the shapes and units.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.double_dutch.kernels import BUYERS, SELLERS, sort_by_eagerness
from ioa_marl.markets.double_dutch.state import Array

TRADE_REDUCTION, MCAFEE, K_DOUBLE, SBBA, VCG = range(5)
"""Rules."""


class SealedBids(NamedTuple):
    """Reports of a batch of markets."""

    report: Array
    """float64 (batch, 2, bidders): bids of the buyers and asks of the sellers [units per lot]."""
    size: Array
    """int64 (batch, 2): number of bidders on each side."""
    lot: Array
    """int64 (batch, bidders): place of each seller in the lottery of SBBA; the last of the efficient sellers is
    excluded. Other rules do not read it."""


class Settlements(NamedTuple):
    """Outcomes of a batch of markets."""

    order: Array
    """int64 (batch, 2, bidders): indices of the bidders of each side, the traders first."""
    trades: Array
    """int64 (batch,): number of trades."""
    price: Array
    """float64 (batch, 2): price that a trading buyer pays, and price that a trading seller receives [units per lot];
    NaN without a trade."""


@kernel
def efficient_trades(b: int, reports: SealedBids, out: Settlements) -> int:
    """Sort both sides of a market into ``out.order``, the most eager first, and return the number of efficient trades.

    Ties go to the lower index, and a pair trades only if its bid exceeds its ask.
    """
    for side in range(2):
        for i in range(reports.size[b, side]):
            out.order[b, side, i] = i
        sort_by_eagerness(out.order, reports.report, b, side, reports.size[b, side])
    trades = 0
    while trades < min(reports.size[b, BUYERS], reports.size[b, SELLERS]):
        buyer, seller = out.order[b, BUYERS, trades], out.order[b, SELLERS, trades]
        if not reports.report[b, BUYERS, buyer] > reports.report[b, SELLERS, seller]:
            break
        trades += 1
    return trades


@kernel
def marginal_report(b: int, side: int, place: int, reports: SealedBids, out: Settlements) -> float:
    """Return the report at a place in the order of a side, counted from 0 [units per lot].

    Before the first place the report is the most eager one possible, and after the last place the least eager one.
    """
    eager = math.inf if side == BUYERS else -math.inf
    if place < 0:
        return eager
    if place >= reports.size[b, side]:
        return -eager
    return float(reports.report[b, side, out.order[b, side, place]])


@kernel
def exclude_by_lot(b: int, trades: int, reports: SealedBids, out: Settlements) -> None:
    """Move the seller with the last place in the lottery to the end of the ``trades`` efficient sellers."""
    excluded = 0
    for m in range(1, trades):
        if reports.lot[b, out.order[b, SELLERS, m]] > reports.lot[b, out.order[b, SELLERS, excluded]]:
            excluded = m
    seller = out.order[b, SELLERS, excluded]
    for m in range(excluded, trades - 1):
        out.order[b, SELLERS, m] = out.order[b, SELLERS, m + 1]
    out.order[b, SELLERS, trades - 1] = seller


@kernel
def settle_market(b: int, rule: int, weight: float, reports: SealedBids, out: Settlements) -> None:
    """Write traders and prices of one market under a rule; `ioa_marl.markets.double_dutch.rivals` has the sources."""
    trades = efficient_trades(b, reports, out)
    bid, next_bid = (
        marginal_report(b, BUYERS, trades - 1, reports, out),
        marginal_report(b, BUYERS, trades, reports, out),
    )
    ask, next_ask = (
        marginal_report(b, SELLERS, trades - 1, reports, out),
        marginal_report(b, SELLERS, trades, reports, out),
    )
    middle = 0.5 * (next_bid + next_ask)
    kept, buyer_price, seller_price = trades - 1, bid, ask  # Trade reduction, which McAfee's auction falls back on.
    if rule == MCAFEE and ask <= middle <= bid:
        kept, buyer_price, seller_price = trades, middle, middle
    elif rule == K_DOUBLE:
        clearing = weight * min(bid, next_ask) + (1.0 - weight) * max(ask, next_bid)
        kept, buyer_price, seller_price = trades, clearing, clearing
    elif rule == SBBA and next_ask <= bid:
        kept, buyer_price, seller_price = trades, next_ask, next_ask
    elif rule == SBBA:
        seller_price = bid
        exclude_by_lot(b, trades, reports, out)
    elif rule == VCG:
        kept, buyer_price, seller_price = trades, max(next_bid, ask), min(next_ask, bid)
    out.trades[b] = max(kept, 0)
    out.price[b, BUYERS] = buyer_price if kept > 0 else math.nan
    out.price[b, SELLERS] = seller_price if kept > 0 else math.nan


@kernel
def settle_markets(rule: int, weight: float, reports: SealedBids, out: Settlements) -> None:
    """Settle every market of a batch under a rule."""
    for b in range(out.trades.shape[0]):
        settle_market(b, rule, weight, reports, out)
