"""Tables of steps: an auctioneer that looks up its step by what it has observed, and the search for a good table.

A cell of a table is an active side, a bin of that side's winners and a bin of the distance C_b − C_s of the clocks;
finer tables also have bins of the lead over the other side's winners and of the way that the own clock has come. All of
these follow from the paper's observation, so that a learner can represent every table.

Arguments that the kernels share:

- ``b``, ``state``, ``params``: those of `ioa_marl.markets.double_dutch.kernels`;
- ``steps``: the auctioneer's steps, int64 (steps,) [ticks];
- ``edges``: the lower bounds of all bins but the first, as `Edges`;
- ``table``: int64 (cells,), the index of the step of each cell;
- ``visits``: bool (cells, batch), whether an auction has come to a cell in which the step was used;
- ``returns``: float64 (batch,), returns of the auctioneer [units].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.parameters import require
from ioa_marl.foundations.seeds import CALIBRATION_SEED
from ioa_marl.markets.double_dutch.kernels import BUYERS, SELLERS, open_auction, play_tick
from ioa_marl.markets.double_dutch.own_bids import draw_markets
from ioa_marl.markets.double_dutch.params import DoubleDutchParams
from ioa_marl.markets.double_dutch.references import best_fixed_step
from ioa_marl.markets.double_dutch.state import Array, AuctionState, DoubleDutchRecord, allocate_state

STEP_TABLE_SEED = CALIBRATION_SEED + 1
"""Seed of the markets on which tables are searched: not those of training, evaluation, or other references."""
MOST_SWEEPS = 20
"""Largest number of sweeps over all cells; the presets need three to eight."""


class Edges(NamedTuple):
    """Lower bounds of all bins but the first, each int64 (bins − 1,), increasing."""

    winners: Array
    """Numbers of winners of the active side."""
    gaps: Array
    """Distances C_b − C_s [ticks]."""
    leads: Array
    """Winners of the active side less those of the other side."""
    ways: Array
    """Distances of the own clock from its start [ticks]."""


@dataclass(frozen=True)
class TableShape:
    """Bins of a table, by the lower bounds of all bins but the first; the defaults give 60 cells."""

    winners: tuple[float, ...] = (0.0, 0.2, 0.3, 0.5)
    """Winners of the active side, as shares of the largest number of its bidders; 0 is the first winner."""
    gaps: tuple[float, ...] = (0.05, 0.1, 0.175, 0.28, 0.5)
    """Distances of the clocks, as shares of that at the start."""
    leads: tuple[float, ...] = ()
    """Leads over the other side's winners, as shares of the largest number of bidders of a side."""
    ways: tuple[float, ...] = ()
    """Distances of the own clock from its start, as shares of the distance of the clocks at the start."""

    @property
    def bins(self) -> tuple[int, int, int, int, int]:
        """Numbers of bins: sides, winners, gaps, leads and ways."""
        return 2, len(self.winners) + 1, len(self.gaps) + 1, len(self.leads) + 1, len(self.ways) + 1

    def edges(self, params: DoubleDutchParams) -> Edges:
        """Return the bounds of the bins in an auction with these parameters."""
        most, record = max(params.buyers, params.sellers), params.record()[0]
        distance = int(record.buyer_start - record.seller_start)

        def scaled(shares: tuple[float, ...], scale: int, least: float) -> NDArray[np.int64]:
            return np.array([np.ceil(max(share * scale, least) - 1e-9) for share in shares], np.int64)

        return Edges(
            scaled(self.winners, most, 1.0),
            scaled(self.gaps, distance, 0.0),
            scaled(self.leads, most, -np.inf),
            scaled(self.ways, distance, 0.0),
        )


@kernel
def _bin(value: int, edges: Array) -> int:
    """Return the number of lower bounds that ``value`` reaches."""
    count = 0
    while count < edges.shape[0] and value >= edges[count]:
        count += 1
    return count


@kernel
def table_cell(b: int, state: AuctionState, params: Array, edges: Edges) -> int:
    """Return the index of the cell of a table in which market ``b`` is."""
    p: DoubleDutchRecord = params[0]
    side = state.side[b]
    own, other = state.winners[b, side], state.winners[b, 1 - side]
    buyer_clock, seller_clock = state.clock[b, BUYERS], state.clock[b, SELLERS]
    way = p.buyer_start - buyer_clock if side == BUYERS else seller_clock - p.seller_start
    cell = side * (edges.winners.shape[0] + 1) + _bin(own, edges.winners)
    cell = cell * (edges.gaps.shape[0] + 1) + _bin(buyer_clock - seller_clock, edges.gaps)
    cell = cell * (edges.leads.shape[0] + 1) + _bin(own - other, edges.leads)
    return int(cell * (edges.ways.shape[0] + 1) + _bin(way, edges.ways))


@kernel
def table_actions(state: AuctionState, params: Array, edges: Edges, table: Array, out: Array) -> None:
    """Write the step's index of every market into ``out``, int64 (batch, 1)."""
    for b in range(out.shape[0]):
        out[b, 0] = table[table_cell(b, state, params, edges)]


@kernel
def play_table(
    state: AuctionState,
    params: Array,
    steps: Array,
    edges: Edges,
    table: Array,
    mask: Array,
    visits: Array,
    returns: Array,
) -> float:
    """Play the markets ``mask`` with a table, and return the sum of all returns [units].

    Markets outside ``mask`` keep what ``visits`` and ``returns`` have for them. Bids are those of the state.
    """
    total = 0.0
    for b in range(state.clock.shape[0]):
        if mask[b]:
            open_auction(b, state, params)
            for cell in range(visits.shape[0]):
                visits[cell, b] = False
            closed = False
            while not closed:
                cell = table_cell(b, state, params, edges)
                winners = state.winners[b, BUYERS] + state.winners[b, SELLERS]
                _, closed = play_tick(b, state, params, steps[table[cell]], state.order)
                if state.winners[b, BUYERS] + state.winners[b, SELLERS] == winners:
                    visits[cell, b] = True  # Nobody accepted, so that the step was used.
            returns[b] = state.totals[b].return_
        total += returns[b]
    return total


@kernel
def sweep_table(
    state: AuctionState,
    params: Array,
    steps: Array,
    edges: Edges,
    table: Array,
    visits: Array,
    returns: Array,
    mask: Array,
    trial_visits: Array,
    trial_returns: Array,
) -> int:
    """Give every cell in turn the step with the largest sum of returns, and return the number of changed cells.

    A step of a cell matters only to the markets that come to the cell, so that only these are played again.
    ``mask``, bool (batch,), ``trial_visits`` and ``trial_returns``, of the shapes of ``visits`` and ``returns``, are
    working arrays.
    """
    changed = 0
    best = 0.0
    for b in range(returns.shape[0]):
        best += returns[b]
    for cell in range(table.shape[0]):
        come = 0
        for b in range(returns.shape[0]):
            mask[b] = visits[cell, b]
            come += mask[b]
        if come == 0:
            continue
        old = table[cell]
        choice = old
        for action in range(steps.shape[0]):
            if action != old:
                table[cell] = action
                for b in range(returns.shape[0]):
                    trial_returns[b] = returns[b]
                total = play_table(state, params, steps, edges, table, mask, trial_visits, trial_returns)
                if total > best + 1e-9:
                    best, choice = total, action
        table[cell] = choice
        if choice != old:
            changed += 1
            best = play_table(state, params, steps, edges, table, mask, visits, returns)
    return changed


@dataclass(frozen=True)
class StepTable:
    """A table of steps and how it was found."""

    shape: TableShape
    """Bins of the table."""
    actions: NDArray[np.int64]
    """Index of the step of each cell, shape (cells,), in the order of `TableShape.bins`."""
    value: float
    """Mean return on the markets of the search [units]."""
    sweeps: int
    """Number of sweeps over all cells."""
    converged: bool
    """Whether no single cell could be improved any more on these markets."""


def search_step_table(
    params: DoubleDutchParams,
    shape: TableShape | None = None,
    markets: int = 1000,
    seed: int = STEP_TABLE_SEED,
    start: NDArray[np.int64] | int | None = None,
    sweeps: int = MOST_SWEEPS,
) -> StepTable:
    """Search a good table of steps by coordinate ascent of the mean return over random markets.

    Parameters
    ----------
    params : DoubleDutchParams
        Parameters of the auction.
    shape : TableShape, optional
        Bins of the table. Default: 60 cells.
    markets : int, default 1000
        Number of markets, which are the same for all tables.
    seed : int, optional
        Seed of the markets.
    start : ndarray of int64, shape (cells,), or int, optional
        Table at the beginning, or one index for all cells. Default: the best fixed step.
    sweeps : int, optional
        Largest number of sweeps over all cells.

    Returns
    -------
    StepTable
        A local optimum, if it has converged: no other step in a single cell has a larger mean return.
    """
    params.require_bids_within_clocks()
    shape = TableShape() if shape is None else shape
    cells = int(np.prod(shape.bins))
    first = best_fixed_step(params) if start is None else start
    table = np.full(cells, first, np.int64) if np.ndim(first) == 0 else np.array(first, np.int64)
    require(table.shape == (cells,), "start", table.shape, f"a table of {cells} cells")
    record, steps, edges = params.record(), params.step_ticks(), shape.edges(params)
    state = drawn_markets(params, markets, seed)
    visits, returns = np.zeros((cells, markets), np.bool_), np.zeros(markets)
    play_table(state, record, steps, edges, table, np.ones(markets, np.bool_), visits, returns)
    working = np.zeros(markets, np.bool_), np.zeros_like(visits), np.zeros_like(returns)
    count, converged = 0, False
    while count < sweeps and not converged:
        converged = sweep_table(state, record, steps, edges, table, visits, returns, *working) == 0
        count += 1
    return StepTable(shape, table, float(returns.mean()), count, converged)


def drawn_markets(params: DoubleDutchParams, markets: int, seed: int) -> AuctionState:
    """Return the state of ``markets`` auctions with the bids of episode 0 of the streams 0, 1, 2, … of a seed."""
    state = allocate_state(markets, max(params.buyers, params.sellers))
    state.seed[:] = seed
    state.stream[:] = np.arange(markets)
    draw_markets(params, state, params.record())
    return state


def returns_of_table(
    params: DoubleDutchParams, table: StepTable, markets: int = 1000, seed: int = CALIBRATION_SEED
) -> NDArray[np.float64]:
    """Return the auctioneer's return in each of ``markets`` random markets with a table, shape (markets,) [units]."""
    state = drawn_markets(params, markets, seed)
    visits, returns = np.zeros((len(table.actions), markets), np.bool_), np.zeros(markets)
    arrays = table.shape.edges(params), table.actions, np.ones(markets, np.bool_), visits, returns
    play_table(state, params.record(), params.step_ticks(), *arrays)
    return returns


@lru_cache(maxsize=64)
def step_table(params: DoubleDutchParams) -> StepTable:
    """Return the table of 60 cells that the scripted policy ``step_table`` follows; it takes seconds and is cached.

    There are fewer markets where a market has many bidders, so that the search takes about as long.
    """
    return search_step_table(params, markets=min(1000, max(20, 20_000 // (params.buyers + params.sellers))))
