"""The clairvoyant plan: what an auctioneer who knows every bid would do, and the return that it gets.

Dynamic programming over the decision points gives the optimum of a relaxed auction, in which simultaneous
acceptors trade in order of their valuations. The auction itself orders them by index (it cannot see valuations),
which matters only where the plan ends in the middle of such a group; there a best-first search, bounded by the
relaxed optimum, finds the exact one.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.double_dutch.auction import DoubleDutchParams
from ioa_marl.markets.double_dutch.kernels import open_auction, play_tick
from ioa_marl.markets.double_dutch.state import Array, AuctionState, DoubleDutchRecord

SEARCH_LIMIT = 20_000
"""Nodes that the best-first search may expand in one market before it settles for a bound."""
_EPSILON = 1e-9


@kernel
def _count_accepting(state: AuctionState, b: int, side: int, low: int, tables: Array) -> None:
    """``tables[side, c - low]``: bidders that accept the clock c when they are asked at it."""
    for c in range(tables.shape[1]):
        tables[side, c] = 0
        for m in range(state.size[b, side]):
            limit = state.threshold[b, side, state.order[b, side, m]]
            tables[side, c] += (c + low <= limit) if side == 0 else (c + low >= limit)


@kernel
def _prefix_sums(state: AuctionState, b: int, side: int, sums: Array) -> None:
    """``sums[side, m]``: the valuations of the m most eager bidders."""
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
    """Value of broadcasting at clocks (cb, cs) with ``side`` active and (wb, ws) winners so far."""
    p: DoubleDutchRecord = params[0]
    total = 0.0
    tick = p.tick
    while True:
        target = tables[side, (cb if side == 0 else cs) - low]
        first = wb if side == 0 else ws
        if target <= first:
            return float(total + values[side, cb - low, cs - low])
        gained = sums[side, target] - sums[side, first]
        regret = abs(gained - (target - first) * (cb if side == 0 else cs) * tick)
        done = min(wb, ws)
        if side == 0:
            wb = target
        else:
            ws = target
        pairs = min(wb, ws)
        welfare = (sums[0, pairs] - sums[0, done]) - (sums[1, pairs] - sums[1, done])
        total += p.welfare_weight * welfare + p.trade_weight * (pairs - done)
        total -= p.regret_weight * regret
        if (wb == n_buyers and ws >= wb) or (ws == n_sellers and wb >= ws):
            return float(total)
        if (ws < n_sellers) if side == 0 else (wb < n_buyers):
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
    """Fill ``values`` and ``actions`` (2, clocks, clocks) of the decision points; return the root's value.

    A decision point is (active side, C_b, C_s) after a broadcast that nobody accepted: with known bids the
    winners follow from the clocks. Every move narrows C_b − C_s, so states are solved from narrow to wide.
    ``tables`` int64 (2, clocks) and ``sums`` float64 (2, bidders + 1) are scratch space.
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
                if wb == 0 and (side == 1 or cs > low):
                    continue  # sellers are asked only after a buyer accepted
                ws = tables[1, cs - low] if wb > 0 else 0
                waiting = n_buyers - wb if side == 0 else n_sellers - ws
                best, choice = -np.inf, 0
                for a in range(steps.shape[0]):
                    to_b = cb - steps[a] if side == 0 else cb
                    to_s = cs if side == 0 else cs + steps[a]
                    value = 0.0
                    if to_b >= to_s:
                        value = _arrive(
                            side, to_b, to_s, wb, ws, tables, sums, n_buyers, n_sellers, params, low, values
                        )
                    if value >= best:
                        best, choice = value, a
                values[side, cb - low, cs - low] = best - p.message_weight * waiting
                actions[side, cb - low, cs - low] = choice
    return _arrive(0, high, low, 0, 0, tables, sums, n_buyers, n_sellers, params, low, values)


@kernel
def play_plan(state: AuctionState, params: Array, steps: Array, actions: Array) -> None:
    """Play market 0 to its end by a table of actions (2, clocks, clocks); the totals hold the outcome."""
    p: DoubleDutchRecord = params[0]
    low = p.seller_start
    closed = False
    while not closed:
        a = actions[state.side[0], state.clock[0, 0] - low, state.clock[0, 1] - low]
        _, closed = play_tick(0, state, params, steps[a], state.order)


@dataclass(frozen=True)
class ClairvoyantPlan:
    """The best plan of an auctioneer who knows every bid of one market."""

    value: float
    """Return of the plan."""
    bound: float
    """Upper bound of the return of any policy; equal to ``value`` where ``exact``."""
    exact: bool
    """Whether the plan is proven optimal."""
    low: int
    """Seller clock at the start [ticks]."""
    actions: NDArray[np.int16]
    """Index of the plan's step by (side, C_b − low, C_s − low), shape (2, clocks, clocks)."""

    def action(self, side: int, buyer_clock: int, seller_clock: int) -> int:
        """Return the index of the plan's step; clocks in ticks."""
        return int(self.actions[side, buyer_clock - self.low, seller_clock - self.low])


def clairvoyant_plan(state: AuctionState, b: int, params: DoubleDutchParams) -> ClairvoyantPlan:
    """Solve market ``b`` of ``state``.

    Valuations, sizes and participants are read; clocks and winners are not: the plan is that of the auction's
    start.
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
    """Return the largest possible return of the auctioneer in every market of ``state``, shape (batch,)."""
    return np.array([clairvoyant_plan(state, b, params).bound for b in range(len(state.seed))])


@dataclass(frozen=True)
class _Point:
    """A decision point with what the future may still depend on, or an end."""

    closed: bool
    side: int
    clocks: tuple[int, int]
    winners: tuple[int, int]
    unmatched: tuple[int, ...]
    """Acceptors of the longer side without a partner, in the order in which they would trade."""
    reward: float
    """Return so far."""
    relaxed: float
    """Return so far if traders were ranked by valuation; never less than ``reward``."""

    @property
    def key(self) -> tuple[int, tuple[int, int], tuple[int, ...]]:
        return self.side, self.clocks, self.unmatched


class _Search:
    """Best-first search (A*) over exact decision points, with the relaxed value-to-go as its bound."""

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
        """Return the best path as (side, C_b, C_s, action), the bound, and whether the path attains it."""
        root = self._broadcast(_Point(False, 0, self.start, (0, 0), (), 0.0, 0.0))
        queue = [(-self._bound(root), 0, root)]
        best: dict[object, float] = {root.key: root.reward}
        parents: dict[int, tuple[int, _Point, int]] = {}
        made = 0
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
                following = self._move(point, self.steps[action])
                if not following.closed:
                    if following.reward <= best.get(following.key, -np.inf):
                        continue
                    best[following.key] = following.reward
                made += 1
                parents[made] = (number, point, action)
                heapq.heappush(queue, (-self._bound(following), made, following))
        return [], -queue[0][0], False

    def _bound(self, point: _Point) -> float:
        if point.closed:
            return point.reward
        (cb, cs), low = point.clocks, self.start[1]
        return point.relaxed + float(self.values[point.side, cb - low, cs - low])

    def _move(self, point: _Point, step: int) -> _Point:
        waiting = self.size[point.side] - point.winners[point.side]
        cost = self.params.message_weight * waiting
        cb, cs = point.clocks
        clocks = (cb - step, cs) if point.side == 0 else (cb, cs + step)
        moved = _Point(
            clocks[0] < clocks[1], point.side, clocks, point.winners, point.unmatched,
            point.reward - cost, point.relaxed - cost,
        )  # fmt: skip
        return moved if moved.closed else self._broadcast(moved)

    def _broadcast(self, point: _Point) -> _Point:
        """Ask the active side, and on until a broadcast that nobody accepts or the end."""
        side, clocks, winners = point.side, point.clocks, list(point.winners)
        unmatched, reward, relaxed = point.unmatched, point.reward, point.relaxed
        weights = self.params
        while True:
            target = int(self.tables[side, clocks[side] - self.start[1]])
            first = winners[side]
            if target <= first:
                return _Point(False, side, clocks, (winners[0], winners[1]), unmatched, reward, relaxed)
            joined = sorted(int(i) for i in self.ranked[side, first:target])
            gained = float(self.sums[side, target] - self.sums[side, first])
            regret = abs(gained - (target - first) * clocks[side] * weights.tick)
            done = min(winners)
            pairs = max(0, min(target, winners[1 - side]) - first)
            # Where this side was behind, the other's unmatched bidders find partners.
            gain = sum(
                abs(self.valuation[1 - side, unmatched[m]] - self.valuation[side, joined[m]]) for m in range(pairs)
            )
            if winners[1 - side] > first:
                unmatched = unmatched[pairs:] or tuple(joined[pairs:])
            else:
                unmatched = (*unmatched, *joined)
            winners[side] = target
            now = min(winners)
            ranked_gain = (self.sums[0, now] - self.sums[0, done]) - (self.sums[1, now] - self.sums[1, done])
            other = weights.trade_weight * pairs - weights.regret_weight * regret
            reward += weights.welfare_weight * float(gain) + other
            relaxed += weights.welfare_weight * float(ranked_gain) + other
            exhausted = [winners[s] == self.size[s] and winners[1 - s] >= winners[s] for s in range(2)]
            if any(exhausted):
                return _Point(True, side, clocks, (winners[0], winners[1]), unmatched, reward, relaxed)
            if winners[1 - side] < self.size[1 - side]:
                side = 1 - side
