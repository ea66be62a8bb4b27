"""The double Dutch auction in vectorised NumPy: masks over the batch, no Python loop over markets.

Same state, same random numbers, and the same order of floating-point operations as ioa_marl's kernels, so
results are equal bit for bit. Only the auctioneer acts, the bidders are truthful.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
from arrays import allocate_outputs
from numpy.typing import NDArray

from ioa_marl.envs.double_dutch.game import DoubleDutchConfig
from ioa_marl.markets.double_dutch.state import allocate_state

Words = NDArray[np.uint64]
Rows = NDArray[np.intp]

_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)
_FACTOR = np.array([0xD2E7470EE14C6C93, 0xCA5A826395121157], np.uint64)[:, None, None]
_FACTOR_LOW, _FACTOR_HIGH = _FACTOR & _LOW, _FACTOR >> _32
_WEYL = np.array([0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B], np.uint64)[:, None, None]
_exp = np.vectorize(math.exp, otypes=[np.float64])  # np.exp rounds its last bit differently


def philox_uniforms(key: Words, episode: Words, block: Words, purpose: Words) -> NDArray[np.float64]:
    """Uniforms in [0, 1) of Philox 4×64-10.

    Parameters
    ----------
    key : ndarray of uint64, shape (2, rows)
        Seeds and streams.
    episode : ndarray of uint64, shape (rows,)
        Second counter word.
    block, purpose : ndarray of uint64, shape (blocks,)
        First and third counter word.

    Returns
    -------
    ndarray of float64, shape (rows, blocks, 4)
    """
    even = np.zeros((2, len(episode), len(block)), np.uint64)  # counter words 0 and 2
    odd = np.zeros_like(even)  # counter words 1 and 3
    even[0], even[1], odd[0] = block, purpose, episode[:, None]
    key = key[:, :, None].copy()
    for _ in range(10):
        words_low, words_high = even & _LOW, even >> _32
        middle = _FACTOR_HIGH * words_low + ((_FACTOR_LOW * words_low) >> _32)
        other = _FACTOR_LOW * words_high + (middle & _LOW)
        high = _FACTOR_HIGH * words_high + (middle >> _32) + (other >> _32)
        low = _FACTOR * even
        even, odd = high[::-1] ^ odd ^ key, low[::-1]
        key += _WEYL
    words = np.stack([even[0], odd[0], even[1], odd[1]], axis=-1)
    return (words >> np.uint64(11)).astype(np.float64) * (1.0 / 9007199254740992.0)


class NumpyAuction:
    """A batch of auctions stepped by NumPy.

    Parameters
    ----------
    config : DoubleDutchConfig
        Settings of the market.
    num_envs : int
        Number of markets.
    """

    def __init__(self, config: DoubleDutchConfig, num_envs: int) -> None:
        if config.ending != "exhausted":
            raise ValueError(f"the NumPy engine ends auctions as ending=exhausted does, not as {config.ending}")
        self._extended = config.observation == "extended"
        record = config.record(max_cycles=config.max_cycles)[0]
        # Attributes of NumPy's record take a microsecond each.
        self._p = SimpleNamespace(**dict(zip(record.dtype.names, record.item(), strict=True)))
        self._steps = config.step_ticks()
        self._bidders = max(config.buyers, config.sellers)
        self._all = np.arange(num_envs)
        blocks = -(-self._bidders // 4)
        # One block for sizes, level and width, then the buyers' and the sellers' blocks.
        self._block = np.array([1, *range(1, blocks + 1), *range(1, blocks + 1)], np.uint64)
        self._purpose = np.repeat(np.array([0, 1, 2], np.uint64), (1, blocks, blocks))
        self.state = allocate_state(num_envs, self._bidders)
        self.outputs = allocate_outputs(config, num_envs)

    def reset(self, seeds: Words) -> None:
        """Start episode 0 of every market; market e draws from stream e of its seed."""
        self.state.seed[:], self.state.stream[:], self.state.episode[:] = seeds, self._all, 0
        self._open(self._all)
        self.outputs.observation[:, 0] = self._observe(self._all)

    def step(self, actions: NDArray[np.int64]) -> None:
        """Play one tick of every market, (batch, 1) actions; finished markets start their next episode."""
        s, p = self.state, self._p
        side = s.side.astype(np.intp)
        empty = self._exhausted()  # a side without bidders from the start
        reward, accepted = self._broadcast(side, ~empty)
        closed = empty | (accepted & self._exhausted())
        self._set_price(np.flatnonzero(closed))
        mover = ~empty & ~accepted
        closed |= self._move(np.flatnonzero(mover), side, self._steps[actions[:, 0]])
        late = ~closed & (s.ticks >= p.max_ticks)
        self._set_price(np.flatnonzero(late))
        closed |= late
        if not p.pay_per_trade:
            total = p.welfare_weight * s.totals["welfare"] + p.trade_weight * s.totals["trades"]
            reward[closed] += total[closed]
        s.totals["return_"] += reward
        s.cycles[:] += 1
        truncated = ~closed & (s.cycles >= p.max_cycles)
        self._set_price(np.flatnonzero(truncated))
        out = self.outputs
        out.reward[:, 0], out.terminated[:], out.truncated[:] = reward, closed, truncated
        ended = np.flatnonzero(closed | truncated)
        if ended.size:
            self._finish(ended)
            s.episode[ended] += np.uint64(1)
            self._open(ended)
        self.outputs.observation[:, 0] = self._observe(self._all)

    def _exhausted(self) -> NDArray[np.bool_]:
        winners = self.state.winners
        none_left = self.state.size == winners
        ahead = winners[:, ::-1] >= winners
        exhausted: NDArray[np.bool_] = (none_left & ahead).any(axis=1)
        return exhausted

    def _set_price(self, rows: Rows, previous: NDArray[Any] | None = None) -> None:
        if rows.size:
            clock = self.state.clock[rows] if previous is None else previous
            psi = self._p.psi
            price = (psi * clock[:, 0] + (1.0 - psi) * clock[:, 1]) * self._p.tick
            self.state.totals["price"][rows] = price

    def _broadcast(self, side: Rows, asked: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Ask the active sides; returns the rewards and where somebody accepted."""
        s, rows = self.state, self._all
        first = s.winners[rows, side]
        listeners = np.where(asked, s.size[rows, side] - first, 0)
        s.ticks[:] += asked
        s.totals["messages"] += listeners
        clock = s.clock[rows, side][:, None]
        limit = s.threshold[rows, side]
        willing = np.where(side[:, None] == 0, clock <= limit, clock >= limit)
        accepts = willing & (s.accepted_at[rows, side] < 0) & asked[:, None]
        count = accepts.sum(axis=1, dtype=np.int32)
        accepted = count > 0
        reward = -self._p.message_weight * listeners
        s.totals["exchange_cost"] -= np.where(accepted, 0.0, reward)
        where = np.flatnonzero(accepted)
        if where.size:
            reward[where] = 0.0
            self._book(accepts, side, first, reward)
            own = side[where]
            s.winners[where, own] += count[where]
            now = s.clock[where, own]
            s.recent[where, own, 1] = np.abs(now - s.recent[where, own, 0])
            s.recent[where, own, 0] = now
            other = 1 - own
            waiting = s.winners[where, other] < s.size[where, other]
            s.side[where] = np.where(waiting, other, own)
        return reward, accepted

    def _book(
        self, accepts: NDArray[np.bool_], side: Rows, first: NDArray[np.int32], reward: NDArray[np.float64]
    ) -> None:
        """Regrets and completed pairs of this broadcast's acceptors; adds to ``reward``."""
        s, p = self.state, self._p
        row, bidder = np.nonzero(accepts)
        own = side[row]
        begins = np.searchsorted(row, row)
        place = first[row] + np.arange(len(row)) - begins
        clock = s.clock[row, own]
        s.order[row, own, place] = bidder
        s.accepted_at[row, own, bidder] = clock
        regret = np.abs(s.valuation[row, own, bidder] - clock * p.tick)
        # np.add.at adds one by one in this order, as the kernels do; a sum of sums would round differently.
        np.add.at(s.totals["regret"], row, regret)
        pays = np.zeros((len(row), 2))
        pays[:, 0] = -p.regret_weight * regret
        paired = np.flatnonzero(place < s.winners[row, 1 - own])
        if paired.size:
            r, m = row[paired], place[paired]
            buyer, seller = s.order[r, 0, m], s.order[r, 1, m]
            gain = s.valuation[r, 0, buyer] - s.valuation[r, 1, seller]
            spread = s.accepted_at[r, 0, buyer] - s.accepted_at[r, 1, seller]
            np.add.at(s.totals["welfare"], r, gain)
            np.add.at(s.totals["clock_surplus"], r, spread * p.tick)
            np.add.at(s.totals["trades"], r, 1.0)
            if self._p.pay_per_trade:
                pays[paired, 1] = p.welfare_weight * gain + p.trade_weight
        np.add.at(reward, np.repeat(row, 2), pays.ravel())

    def _move(self, rows: Rows, side: Rows, steps: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Move the active clocks of ``rows``; returns where clocks crossed, (batch,)."""
        crossed = np.zeros(len(self._all), np.bool_)
        if rows.size:
            own, step, clock = side[rows], steps[rows], self.state.clock
            before = clock[rows]
            clock[rows, own] += np.where(own == 0, -step, step).astype(np.int32)
            over = clock[rows, 0] < clock[rows, 1]
            crossed[rows] = over
            # The price takes the clock that moved as it was before it crossed the other one.
            self._set_price(rows[over], before[over])
        return crossed

    def _finish(self, ended: Rows) -> None:
        """Write metrics, receipts and last observations of the markets that ended."""
        s, out = self.state, self.outputs
        totals = s.totals[ended]
        possible = totals["optimal_welfare"] > 0.0
        totals["efficiency"] = 1.0
        np.divide(totals["welfare"], totals["optimal_welfare"], out=totals["efficiency"], where=possible)
        totals["ticks"] = s.ticks[ended]
        out.metrics[ended] = totals
        out.metrics["price"][ended] = np.where(totals["trades"] > 0.0, totals["price"], np.nan)
        # An auction that a cycle limit cuts off is not settled: nobody pays.
        trades = np.where(out.terminated[ended], totals["trades"], 0.0)
        trade, m = np.nonzero(np.arange(self._bidders) < trades[:, None])
        row, price = ended[trade], totals["price"][trade]
        out.ledger[ended] = 0.0
        out.ledger[row, s.order[row, 0, m]] = -price
        out.ledger[row, self._p.max_buyers + s.order[row, 1, m]] = price
        out.final_observation[ended, 0] = self._observe(ended)

    def _observe(self, rows: Rows) -> NDArray[np.float64]:
        s, p = self.state, self._p
        cap, most = p.buyer_start, (p.max_buyers, p.max_sellers)
        clock = s.clock[rows]
        out = np.empty((len(rows), self.outputs.observation.shape[2]))
        out[:, 0] = s.side[rows]
        out[:, 1] = s.ticks[rows] / p.max_ticks
        out[:, 2:4] = clock / cap
        out[:, 4:6] = s.winners[rows] / most
        if self._extended:
            recent = s.recent[rows]
            out[:, 6:8] = np.abs(clock - recent[:, :, 0]) / cap
            out[:, 8:10] = recent[:, :, 1] / cap
            out[:, 10:12] = s.size[rows] / most
        return out.clip(0.0, 1.0)

    def _draw(self, rows: Rows) -> None:
        """Draw sizes and valuations; bidders that take no part are worth less than nothing."""
        s, p = self.state, self._p
        key = np.stack([s.seed[rows], s.stream[rows]])
        drawn = philox_uniforms(key, s.episode[rows], self._block, self._purpose)
        u, sides = drawn[:, 0], drawn[:, 1:].reshape(len(rows), 2, -1)[:, :, : self._bidders]
        least, most = (p.min_buyers, p.min_sellers), (p.max_buyers, p.max_sellers)
        size = least + (u[:, :2] * (np.subtract(most, least) + 1)).astype(np.int64)
        level = (p.level_low + (p.level_high - p.level_low) * u[:, 2])[:, None]
        log_width = p.log_width_low + (p.log_width_high - p.log_width_low) * u[:, 3]
        width = _exp(log_width)[:, None]

        target = level + width * (p.value_low + (p.value_high - p.value_low) * sides[:, 0])
        income = (target + p.buyer_penalty) / p.lot * p.lot
        values = np.maximum(income - p.buyer_penalty, 0.0)
        takes_part = np.arange(self._bidders) < size[:, :, None]
        highest = np.where(takes_part[:, 0], income, 0.0).max(axis=1).clip(0.0)

        target = level - width * (p.cost_low + (p.cost_high - p.cost_low) * sides[:, 1])
        hover_power = np.maximum(target - (p.compute_cost + p.delay_cost), 0.0) / p.hover_cost
        costs = p.compute_cost + p.hover_cost * hover_power + p.delay_cost
        # What was drawn for bidders that are not there must not be seen.
        s.valuation[rows, 0] = np.where(takes_part[:, 0], values, 0.0)
        s.valuation[rows, 1] = np.where(takes_part[:, 1], costs, 0.0)
        takes_part[:, 1] &= costs <= highest[:, None]
        s.size[rows] = takes_part.sum(axis=2)
        tick = p.tick
        s.threshold[rows, 0] = np.where(takes_part[:, 0], np.floor(values / tick + 1e-9), -1)
        s.threshold[rows, 1] = np.where(takes_part[:, 1], np.ceil(costs / tick - 1e-9), 1 << 30)
        best = np.stack([np.where(takes_part[:, 0], -values, np.inf), np.where(takes_part[:, 1], costs, np.inf)])
        best.sort(axis=2)
        gain = -best[0] - best[1]
        # A running sum adds one by one, as the kernels do; np.sum would add in pairs.
        s.totals[rows] = 0.0
        s.totals["optimal_welfare"][rows] = np.where(gain > 0.0, gain, 0.0).cumsum(axis=1)[:, -1]

    def _open(self, rows: Rows) -> None:
        """Start the current episode of ``rows``."""
        s = self.state
        self._draw(rows)
        start = self._p.buyer_start, self._p.seller_start
        s.accepted_at[rows] = -1
        s.winners[rows], s.recent[rows, :, 1] = 0, 0
        for array in (s.side, s.ticks, s.cycles):
            array[rows] = 0
        s.clock[rows] = s.recent[rows, :, 0] = start
