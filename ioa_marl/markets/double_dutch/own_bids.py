"""Bids and asks of one's own: a table of one market or of many, of which every episode plays one.

The columns of the table are ``side`` (buyer or seller), ``value`` (of a buyer, or cost of a seller [units per lot])
and, if there are several markets, ``market`` (any name or number). Source: Section IV-D of "Hybrid Stackelberg Game and
Diffusion-based Auction for Two-tier Agentic AI Task Offloading in Internet of Agents".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.parameters import require
from ioa_marl.foundations.philox import philox_block, to_unit
from ioa_marl.foundations.tables import Table, parse_table
from ioa_marl.markets.double_dutch.draws import OF_MARKET, draw_bids
from ioa_marl.markets.double_dutch.state import Array, AuctionState

if TYPE_CHECKING:
    from ioa_marl.markets.double_dutch.params import DoubleDutchParams

SIDES = ("buyer", "seller")
LARGEST_BID = 1e9
"""Largest accepted bid [units per lot]."""


@dataclass(frozen=True, eq=False)
class OwnBids:
    """Markets of a table."""

    bids: NDArray[np.float64]
    """Values of the buyers and costs of the sellers [units per lot], shape (markets, 2, bidders), 0 where is none."""
    size: NDArray[np.int64]
    """Numbers of buyers and sellers, shape (markets, 2)."""

    @property
    def highest(self) -> float:
        """Highest bid of a buyer [units per lot]."""
        return float(self.bids[:, 0].max())

    @property
    def lowest(self) -> float:
        """Lowest ask of a seller [units per lot]."""
        present = np.arange(self.bids.shape[2]) < self.size[:, 1, None]
        return float(self.bids[:, 1][present].min())


@lru_cache(maxsize=16)
def own_bids(text: str) -> OwnBids:
    """Return the markets of the text of a table; callers must not change the arrays.

    Raises
    ------
    ParameterError
        If the table has other columns, an unknown side, a bid out of bounds, or a market without a buyer or a seller.
    """
    table = parse_table(text)
    table.require_columns(("side", "value"), ("market", "side", "value"))
    sides = [side.lower() for side in table.texts("side")]
    table.require("side", np.array([side in SIDES for side in sides]), "buyer or seller")
    allowed = f"numbers from 0 to {LARGEST_BID:g} [units per lot]"
    bid = table.numbers("value", allowed)
    table.require("value", (bid >= 0.0) & (bid <= LARGEST_BID), allowed)
    if "market" in table.columns:
        table.require("market", np.array([name != "" for name in table.texts("market")]), "a name in every row")
    return _by_market(table, np.array([SIDES.index(side) for side in sides]), bid)


def _by_market(table: Table, side: NDArray[np.int64], bid: NDArray[np.float64]) -> OwnBids:
    """Return the bids by market, in the order in which the table first names them."""
    names = table.texts("market") if "market" in table.columns else ("",) * table.rows
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    market = np.array([numbers[name] for name in names])
    size = np.zeros((len(numbers), 2), np.int64)
    np.add.at(size, (market, side), 1)
    for name, number in numbers.items():
        for which in range(2):
            where = f"market {name}" if name else "a table"
            require(size[number, which] > 0, "data", f"{where} without a {SIDES[which]}", "at least one on each side")
    bids = np.zeros((len(numbers), 2, int(size.max())))
    filled = np.zeros_like(size)
    for number, which, value in zip(market, side, bid, strict=True):
        bids[number, which, filled[number, which]] = value
        filled[number, which] += 1
    return OwnBids(bids, size)


@kernel
def _fill(state: AuctionState, mask: Array, bids: Array, size: Array) -> None:
    """Give each market of ``mask`` the bids of a market of the table, drawn uniformly for the episode."""
    for b in range(mask.shape[0]):
        if not mask[b]:
            continue
        w0, _, _, _ = philox_block(state.seed[b], state.stream[b], 1, state.episode[b], OF_MARKET)
        number = min(int(to_unit(w0) * bids.shape[0]), bids.shape[0] - 1)
        for side in range(2):
            state.size[b, side] = size[number, side]
            for i in range(state.valuation.shape[2]):
                present = i < size[number, side]
                state.valuation[b, side, i] = bids[number, side, i] if present else 0.0
                state.order[b, side, i] = i if present else 0


@kernel
def _draw(state: AuctionState, params: Array, mask: Array) -> None:
    for b in range(mask.shape[0]):
        if mask[b]:
            draw_bids(b, state, params)


def draw_markets(
    params: DoubleDutchParams, state: AuctionState, record: NDArray[Any], mask: NDArray[np.bool_] | None = None
) -> None:
    """Draw the bids of the current episode of some markets, or choose them from ``params.data``.

    Parameters
    ----------
    params : DoubleDutchParams
        Parameters of the auction.
    state : AuctionState
        Batch of markets, whose seeds, streams and episodes are set.
    record : ndarray of DoubleDutchRecord, shape (1,)
        ``params.record(…)``.
    mask : ndarray of bool, shape (batch,), optional
        Markets; the others do not change. Default: all.
    """
    mask = np.ones(len(state.seed), np.bool_) if mask is None else mask
    if params.data is None:
        _draw(state, record, mask)
    else:
        given = own_bids(params.data)
        _fill(state, mask, given.bids, given.size)
