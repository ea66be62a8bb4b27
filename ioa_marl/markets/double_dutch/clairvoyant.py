"""The clairvoyant plan: the optimal steps of an auctioneer who knows every bid, and their return.

Dynamic programming over the decision points gives the optimum of a relaxed auction, in which simultaneous acceptors
trade in the order of their valuations. The auction itself orders them by index, since it does not know the valuations.
The two differ only if the auction ends when some of a group of simultaneous acceptors have a partner and others have
none. In such a market a best-first search, bounded by the relaxed optimum, finds the exact plan.

Arguments that the kernels share:

- ``b``, ``state``, ``params``, ``side``: those of `ioa_marl.markets.double_dutch.kernels`;
- ``low``: the initial seller clock [ticks], the least clock of the tables;
- ``steps``: the auctioneer's steps, int64 (steps,) [ticks];
- ``tables``: int64 (2, clocks), the number of bidders of each side that accept at a clock;
- ``sums``: float64 (2, bidders + 1), the valuations of the m most eager bidders of each side, summed [units];
- ``values``: float64 (2, clocks, clocks), the value-to-go of the decision point (active side, C_b, C_s) [units];
- ``actions``: int16 (2, clocks, clocks), the index of the best step there.

In code C_b and C_s are ``cb`` and ``cs`` [ticks], and ``wb`` and ``ws`` are the winners of both sides.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.double_dutch.kernels import BUYERS, SELLERS, open_auction, play_tick
from ioa_marl.markets.double_dutch.params import DoubleDutchParams
from ioa_marl.markets.double_dutch.state import Array, AuctionState, DoubleDutchRecord

SEARCH_LIMIT = 20_000
"""Largest number of nodes that the best-first search expands in one market; after them it returns a bound."""
_EPSILON = 1e-9
"""Largest gap between the bound and the value of an optimal plan, for rounding errors [units]."""


@kernel
def _count_accepting(state: AuctionState, b: int, side: int, low: int, tables: Array) -> None:
    """Write the number of bidders of a side that accept the clock c into ``tables[side, c - low]``."""
    for c in range(tables.shape[1]):
        tables[side, c] = 0
        for m in range(state.size[b, side]):
            limit = state.threshold[b, side, state.order[b, side, m]]
            tables[side, c] += (c + low <= limit) if side == BUYERS else (c + low >= limit)


@kernel
def _prefix_sums(state: AuctionState, b: int, side: int, sums: Array) -> None:
    """Write the sum of the valuations of the m most eager bidders of a side into ``sums[side, m]`` [units]."""
    sums[side, 0] = 0.0
    for m in range(state.size[b, side]):
        sums[side, m + 1] = sums[side, m] + state.valuation[b, side, state.order[b, side, m]]


@kernel
def _arrive(
    side: int,
    cb: int,
    cs: int,
    wb: int,
    ws: int,
    tables: Array,
    sums: Array,
    n_buyers: int,
    n_sellers: int,
    params: Array,
    low: int,
    values: Array,
) -> float:
    """Return the value-to-go of broadcasts at the clocks (cb, cs) with ``side`` active and (wb, ws) winners [units].

    They end at the next decision point or with the auction.
    """
    p: DoubleDutchRecord = params[0]
    total = 0.0
    tick = p.tick
    while True:
        accepting = tables[side, (cb if side == BUYERS else cs) - low]
        accepted = wb if side == BUYERS else ws
        if accepting <= accepted:
            return float(total + values[side, cb - low, cs - low])
        valuations = sums[side, accepting] - sums[side, accepted]
        regret = abs(valuations - (accepting - accepted) * (cb if side == BUYERS else cs) * tick)
        old_pairs = min(wb, ws)
        if side == BUYERS:
            wb = accepting
        else:
            ws = accepting
        pairs = min(wb, ws)
        welfare = (sums[0, pairs] - sums[0, old_pairs]) - (sums[1, pairs] - sums[1, old_pairs])
        total += p.welfare_weight * welfare + p.trade_weight * (pairs - old_pairs)
        total -= p.regret_weight * regret
        exhausted = (wb == n_buyers and ws >= wb) or (ws == n_sellers and wb >= ws)
        if exhausted and (not p.runs_on or wb != ws or n_buyers == n_sellers):
            return float(total)
        if (ws < n_sellers) if side == BUYERS else (wb < n_buyers):
            side = 1 - side


@kernel
def clairvoyant_kernel(
    b: int,
    state: AuctionState,
    params: Array,
    steps: Array,
    tables: Array,
    sums: Array,
    values: Array,
    actions: Array,
) -> float:
    """Solve the relaxed auction of market ``b``, and return its value at the start [units].

    A decision point is (active side, C_b, C_s) after a broadcast that nobody accepted. With known bids the winners
    follow from the clocks. Every move narrows C_b − C_s, so that decision points are solved from narrow to wide.
    All of ``tables``, ``sums``, ``values`` and ``actions`` are overwritten.
    """
    p: DoubleDutchRecord = params[0]
    low, high = p.seller_start, p.buyer_start
    n = high - low + 1
    n_buyers, n_sellers = state.size[b, 0], state.size[b, 1]
    if n_buyers == 0 or n_sellers == 0:
        return 0.0
    for side in range(2):
        _count_accepting(state, b, side, low, tables)
        _prefix_sums(state, b, side, sums)
    for gap in range(n):
        for cs in range(low, high - gap + 1):
            cb = cs + gap
            for side in range(2):
                wb = tables[0, cb - low]
                if wb == 0 and (side == SELLERS or cs > low):
                    continue  # No broadcast goes to the sellers before a buyer has accepted.
                ws = tables[1, cs - low] if wb > 0 else 0
                waiting = n_buyers - wb if side == BUYERS else n_sellers - ws
                best_value, best_step = -np.inf, 0
                for a in range(steps.shape[0]):
                    next_cb = cb - steps[a] if side == BUYERS else cb
                    next_cs = cs if side == BUYERS else cs + steps[a]
                    value = 0.0
                    if next_cb >= next_cs:
                        value = _arrive(
                            side, next_cb, next_cs, wb, ws, tables, sums, n_buyers, n_sellers, params, low, values
                        )
                    if value >= best_value:
                        best_value, best_step = value, a
                values[side, cb - low, cs - low] = best_value - p.message_weight * waiting
                actions[side, cb - low, cs - low] = best_step
    return _arrive(BUYERS, high, low, 0, 0, tables, sums, n_buyers, n_sellers, params, low, values)


@kernel
def play_plan(state: AuctionState, params: Array, steps: Array, actions: Array) -> None:
    """Play market 0 to its end with the steps of the table ``actions``; the outcome is in its totals."""
    p: DoubleDutchRecord = params[0]
    low = p.seller_start
    closed = False
    while not closed:
        a = actions[state.side[0], state.clock[0, 0] - low, state.clock[0, 1] - low]
        _, closed = play_tick(0, state, params, steps[a], state.order)


@dataclass(frozen=True)
class ClairvoyantPlan:
    """The optimal plan of an auctioneer who knows every bid of one market."""

    value: float
    """Return of the plan [units]."""
    bound: float
    """Upper bound of the return of any policy [units]; equal to ``value`` if ``exact``."""
    exact: bool
    """Whether the plan is proven optimal."""
    low: int
    """Initial seller clock [ticks]."""
    actions: NDArray[np.int16]
    """Index of the plan's step at (side, C_b − low, C_s − low), shape (2, clocks, clocks)."""

    def action(self, side: int, buyer_clock: int, seller_clock: int) -> int:
        """Return the index of the plan's step when ``side`` is active at these clocks [ticks]."""
        return int(self.actions[side, buyer_clock - self.low, seller_clock - self.low])


def clairvoyant_plan(state: AuctionState, b: int, params: DoubleDutchParams) -> ClairvoyantPlan:
    """Return the clairvoyant plan of one market of a batch.

    The plan starts with the auction: it depends on the valuations, the numbers of bidders and the participants, but
    not on the current clocks and winners.

    Parameters
    ----------
    state : AuctionState
        State of the batch, which is not changed.
    b : int
        Index of the market.
    params : DoubleDutchParams
        Parameters of the auction.

    Returns
    -------
    ClairvoyantPlan
    """
    record, steps = params.record(), params.step_ticks()
    low, high = int(record[0].seller_start), int(record[0].buyer_start)
    n = high - low + 1
    market = AuctionState(*(array[b : b + 1].copy() for array in state))
    open_auction(0, market, record)
    values, actions = np.zeros((2, n, n)), np.zeros((2, n, n), np.int16)
    tables, sums = np.zeros((2, n), np.int64), np.zeros((2, market.order.shape[2] + 1))
    bound = clairvoyant_kernel(0, market, record, steps, tables, sums, values, actions)
    ranked = market.order[0].copy()
    open_auction(0, market, record)
    play_plan(market, record, steps, actions)
    value = float(market.totals[0].return_)
    if bound - value <= _EPSILON:
        return ClairvoyantPlan(value, value, True, low, actions)
    path, bound, exact = _Search(params, market, ranked, tables, sums, values).run()
    for side, cb, cs, action in path:
        actions[side, cb - low, cs - low] = action
    return ClairvoyantPlan(bound if exact else value, bound, exact, low, actions)


def clairvoyant_bounds(state: AuctionState, params: DoubleDutchParams) -> NDArray[np.float64]:
    """Return the upper bound of the auctioneer's return in every market of ``state``, shape (batch,) [units].

    If the plan of a market is proven optimal, the bound is its return; see `clairvoyant_plan`.

    Parameters
    ----------
    state : AuctionState
        State of the batch, which is not changed.
    params : DoubleDutchParams
        Parameters of the auction.
    """
    return np.array([clairvoyant_plan(state, b, params).bound for b in range(len(state.seed))])


@dataclass(frozen=True)
class _Point:
    """A decision point of the exact auction, or its end."""

    closed: bool
    """Whether the auction is over."""
    side: int
    """Active side."""
    clocks: tuple[int, int]
    """Buyer clock and seller clock [ticks]."""
    winners: tuple[int, int]
    """Numbers of buyers and sellers that have accepted."""
    unmatched: tuple[int, ...]
    """Acceptors of the longer side without a partner, in the order in which they would trade."""
    reward: float
    """Return so far [units]."""
    relaxed: float
    """Return so far of the relaxed auction [units], which is never less than ``reward``."""

    @property
    def key(self) -> tuple[int, tuple[int, int], tuple[int, ...]]:
        """Key of the point: points with the same key have the same future."""
        return self.side, self.clocks, self.unmatched


class _Search:
    """Best-first search (A*) over exact decision points, with the relaxed value-to-go as its bound.

    ``ranked``, int32 (2, bidders), lists the bidders of each side by eagerness.
    """

    def __init__(
        self,
        params: DoubleDutchParams,
        market: AuctionState,
        ranked: NDArray[np.int32],
        tables: NDArray[np.int64],
        sums: NDArray[np.float64],
        values: NDArray[np.float64],
    ) -> None:
        self.params = params
        self.steps = [int(step) for step in params.step_ticks()]
        record = params.record()[0]
        self.start = (int(record.buyer_start), int(record.seller_start))
        self.size = (int(market.size[0, 0]), int(market.size[0, 1]))
        self.ranked = ranked
        self.valuation = market.valuation[0]
        self.tables, self.sums, self.values = tables, sums, values

    def run(self) -> tuple[list[tuple[int, int, int, int]], float, bool]:
        """Return the best path of (side, C_b, C_s, action), the bound [units], and whether the path attains it."""
        root = self._broadcast(_Point(False, BUYERS, self.start, (0, 0), (), 0.0, 0.0))
        queue = [(-self._bound(root), 0, root)]
        best: dict[object, float] = {root.key: root.reward}
        parents: dict[int, tuple[int, _Point, int]] = {}
        count = 0
        for _ in range(SEARCH_LIMIT):
            bound, number, point = heapq.heappop(queue)
            if point.closed:
                path = []
                while number in parents:
                    number, origin, action = parents[number]
                    path.append((origin.side, *origin.clocks, action))
                return path, -bound, True
            if point.reward < best[point.key]:
                continue
            for action in range(len(self.steps)):
                successor = self._move(point, self.steps[action])
                if not successor.closed:
                    if successor.reward <= best.get(successor.key, -np.inf):
                        continue
                    best[successor.key] = successor.reward
                count += 1
                parents[count] = (number, point, action)
                heapq.heappush(queue, (-self._bound(successor), count, successor))
        return [], -queue[0][0], False

    def _bound(self, point: _Point) -> float:
        """Return an upper bound of the return of all plans through a point [units]."""
        if point.closed:
            return point.reward
        (cb, cs), low = point.clocks, self.start[1]
        return point.relaxed + float(self.values[point.side, cb - low, cs - low])

    def _move(self, point: _Point, step: int) -> _Point:
        """Return the next decision point or end after a clock move by ``step`` ticks."""
        waiting = self.size[point.side] - point.winners[point.side]
        cost = self.params.message_weight * waiting
        cb, cs = point.clocks
        clocks = (cb - step, cs) if point.side == BUYERS else (cb, cs + step)
        successor = _Point(
            clocks[0] < clocks[1], point.side, clocks, point.winners, point.unmatched,
            point.reward - cost, point.relaxed - cost,
        )  # fmt: skip
        return successor if successor.closed else self._broadcast(successor)

    def _broadcast(self, point: _Point) -> _Point:
        """Return the point after broadcasts at constant clocks, up to one that nobody accepts or the end."""
        side, clocks, winners = point.side, point.clocks, list(point.winners)
        unmatched, reward, relaxed = point.unmatched, point.reward, point.relaxed
        weights = self.params
        while True:
            accepting = int(self.tables[side, clocks[side] - self.start[1]])
            accepted = winners[side]
            if accepting <= accepted:
                return _Point(False, side, clocks, (winners[0], winners[1]), unmatched, reward, relaxed)
            acceptors = sorted(int(i) for i in self.ranked[side, accepted:accepting])
            valuations = float(self.sums[side, accepting] - self.sums[side, accepted])
            regret = abs(valuations - (accepting - accepted) * clocks[side] * weights.tick)
            old_pairs = min(winners)
            new_pairs = max(0, min(accepting, winners[1 - side]) - accepted)
            # If this side has fewer winners, its acceptors become the partners of the other side's unmatched bidders.
            welfare = sum(
                abs(self.valuation[1 - side, unmatched[m]] - self.valuation[side, acceptors[m]])
                for m in range(new_pairs)
            )
            if winners[1 - side] > accepted:
                unmatched = unmatched[new_pairs:] or tuple(acceptors[new_pairs:])
            else:
                unmatched = (*unmatched, *acceptors)
            winners[side] = accepting
            pairs = min(winners)
            relaxed_welfare = (self.sums[0, pairs] - self.sums[0, old_pairs]) - (
                self.sums[1, pairs] - self.sums[1, old_pairs]
            )
            other = weights.trade_weight * new_pairs - weights.regret_weight * regret
            reward += weights.welfare_weight * float(welfare) + other
            relaxed += weights.welfare_weight * float(relaxed_welfare) + other
            exhausted = [winners[s] == self.size[s] and winners[1 - s] >= winners[s] for s in range(2)]
            runs_on = weights.ending == "next_loser" and winners[0] == winners[1] and self.size[0] != self.size[1]
            if any(exhausted) and not runs_on:
                return _Point(True, side, clocks, (winners[0], winners[1]), unmatched, reward, relaxed)
            if winners[1 - side] < self.size[1 - side]:
                side = 1 - side
