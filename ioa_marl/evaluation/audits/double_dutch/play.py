"""`Auctions`: double Dutch auctions under an audited auctioneer, in which single bidders report something else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ioa_marl.agents.base import Agent
from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.evaluation.audits.subject import Subject
from ioa_marl.evaluation.playing import evaluation_config
from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.seeds import EVALUATION_SEED
from ioa_marl.markets.double_dutch import drivers
from ioa_marl.markets.double_dutch.kernels import BUYERS, MAX_CLOCK, play_tick
from ioa_marl.markets.double_dutch.observations import observe_auctioneer
from ioa_marl.markets.double_dutch.state import Array, AuctionState, allocate_state

AUCTIONEER = "auctioneer"
SIDES = ("buyer", "seller")
NEVER = (-1, MAX_CLOCK)
"""Report of a bidder that accepts no clock, by side [ticks]."""
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@kernel
def set_report(b: int, state: AuctionState, side: int, bidder: int, clock: int) -> None:
    """Let a waiting bidder report ``clock``, the last one that it accepts [ticks].

    Its valuation stays, so that utilities and welfare are the true ones. The waiting bidders stay in the order of their
    reports.
    """
    first, last = state.winners[b, side], state.size[b, side] - 1
    place = first
    while state.order[b, side, place] != bidder:
        place += 1
    state.threshold[b, side, bidder] = clock
    # The others close the gap, and then make room where the report belongs.
    for m in range(place, last):
        state.order[b, side, m] = state.order[b, side, m + 1]
    m = last
    while m > first:
        other = state.threshold[b, side, state.order[b, side, m - 1]]
        before = other >= clock if side == BUYERS else other <= clock
        if before:
            break
        state.order[b, side, m] = state.order[b, side, m - 1]
        m -= 1
    state.order[b, side, m] = bidder


@kernel
def set_reports(state: AuctionState, rows: Array, sides: Array, bidders: Array, clocks: Array) -> None:
    """Apply `set_report` in each of the markets ``rows``; all arrays are int64 (rows,)."""
    for k in range(rows.shape[0]):
        set_report(rows[k], state, sides[k], bidders[k], clocks[k])


@kernel
def _participants(state: AuctionState, out: Array) -> None:
    """Write whether each bidder takes part into ``out``, bool (batch, 2, bidders)."""
    for b in range(out.shape[0]):
        for side in range(2):
            for i in range(out.shape[2]):
                out[b, side, i] = False
            for m in range(state.size[b, side]):
                out[b, side, state.order[b, side, m]] = True


@kernel
def _advance(state: AuctionState, params: Array, step_ticks: Array, rows: Array, actions: Array, closed: Array) -> None:
    """Play one tick of the markets ``rows`` with ``actions``, int64 (rows,); write whether each is over."""
    for k in range(rows.shape[0]):
        _, closed[k] = play_tick(rows[k], state, params, step_ticks[actions[k]], state.order)


@kernel
def _observe(state: AuctionState, params: Array, rows: Array, out: Array) -> None:
    """Write the auctioneer's observations of the markets ``rows`` into the same rows of ``out``."""
    for k in range(rows.shape[0]):
        observe_auctioneer(rows[k], state, params, out)


@kernel
def _utilities(state: AuctionState, rows: Array, sides: Array, bidders: Array, out: Array) -> None:
    """Write the utility of one bidder in each of the markets ``rows``, which are over [units]."""
    for k in range(rows.shape[0]):
        b, side, bidder = rows[k], sides[k], bidders[k]
        totals = state.totals[b]
        utility = 0.0
        for m in range(int(totals.trades)):
            if state.order[b, side, m] == bidder:
                gain = state.valuation[b, side, bidder] - totals.price
                utility = gain if side == BUYERS else -gain
        out[k] = utility


@kernel
def _trades(state: AuctionState, out: Array) -> None:
    """Write whether each bidder trades in auctions that are over into ``out``, bool (batch, 2, bidders)."""
    for b in range(out.shape[0]):
        for side in range(2):
            for i in range(out.shape[2]):
                out[b, side, i] = False
            for m in range(int(state.totals[b].trades)):
                out[b, side, state.order[b, side, m]] = True


class _RoomyGame(DoubleDutchGame):
    """A market with room for one more bidder on each side than its settings have, and the same observations."""

    def allocate(self) -> AuctionState:
        """Return the zeroed arrays of the batch."""
        return allocate_state(self.num_envs, max(self.config.buyers, self.config.sellers) + 1)


class Auctions:
    """A batch of auctions that an agent conducts, of which any rows are played at a time.

    Parameters
    ----------
    subject : Subject
        The auctioneer and the market.
    capacity : int
        Number of auctions.
    """

    def __init__(self, subject: Subject, capacity: int) -> None:
        self._remake: Callable[[], Agent] = lambda: next(
            a for a in reversed(list(subject.make_agents())) if AUCTIONEER in {r.name for r in a.context.plays}
        )
        self.game = _RoomyGame(evaluation_config(subject.config), capacity, (AUCTIONEER,), autoreset=False)
        self.capacity = capacity
        self.state: AuctionState = self.game.market
        self.params = self.game.config.record((AUCTIONEER,), None, subject.config.observation == "extended", False)
        self._steps = self.game.config.step_ticks()
        self._first = subject.first_episode
        self._scripted = subject.policy_of(AUCTIONEER) is not None
        self._observations = np.zeros((capacity, 1, self.game.roles[AUCTIONEER].observation_space.shape[0]), np.float32)
        self.restart()

    def restart(self) -> None:
        """Begin with a new agent, whose random streams begin anew."""
        self._agent = self._remake()
        self._agent.attach(self.game)

    def open(self, offset: int = 0, markets: int | None = None) -> None:
        """Open evaluation markets from number ``offset`` on, with truthful bidders.

        With ``markets``, there are only that many, which are repeated: row b is market b mod ``markets``.
        """
        rows = np.arange(self.capacity, dtype=np.uint64)
        numbers = rows if markets is None else rows % np.uint64(markets)
        self.game.reset(np.full(self.capacity, EVALUATION_SEED, np.uint64), numbers + np.uint64(self._first + offset))

    def reopen(self, valuations: Floats, present: Bools) -> None:
        """Open auctions in which the bidders report other valuations, float64 (batch, 2, bidders).

        Even a policy that looks at the bidders' values sees the reports. ``present``, bool (batch, 2, bidders), has
        who takes part.
        """
        self.state.valuation[...] = valuations
        self.state.size[...] = present.sum(axis=2)
        self.state.order[...] = np.argsort(~present, axis=2, kind="stable")
        drivers.open_markets(self.state, self.params, np.ones(self.capacity, np.bool_))
        self.game.openings += 1

    def participants(self) -> Bools:
        """Return who takes part, bool (batch, 2, bidders).

        These are not the first ones of a side: a seller whose cost is above every buyer's income stays away.
        """
        out = np.zeros(self.state.order.shape, np.bool_)
        _participants(self.state, out)
        return out

    def play_tick(self, rows: Ints) -> Bools:
        """Play one tick of the markets ``rows``, int64 (rows,); return which are over."""
        _observe(self.state, self.params, rows, self._observations)
        if self._scripted:  # it looks at the whole game
            actions = self._agent.act({AUCTIONEER: self._observations[None]}, deterministic=True)[AUCTIONEER][0, rows]
        else:
            seen = self._observations[rows]
            actions = self._agent.act({AUCTIONEER: seen[None]}, deterministic=True)[AUCTIONEER][0]
        closed = np.zeros(len(rows), np.bool_)
        indices = np.ascontiguousarray(actions[:, 0], np.int64)
        _advance(self.state, self.params, self._steps, rows, indices, closed)
        return closed

    def decides_twice_alike(self) -> bool:
        """Return whether the agent chooses the same steps when it is asked again."""
        _observe(self.state, self.params, np.arange(self.capacity), self._observations)
        seen = {AUCTIONEER: self._observations[None]}
        first, second = (self._agent.act(seen, deterministic=True)[AUCTIONEER].copy() for _ in range(2))
        return bool(np.array_equal(first, second))

    def play_out(self, rows: Ints) -> None:
        """Play the markets ``rows`` to their ends."""
        while len(rows):
            rows = rows[~self.play_tick(rows)]

    def replay(self) -> None:
        """Play all markets to their ends in one batch, with an agent that begins anew.

        An agent that draws random numbers draws the same ones every time, because a market keeps its place in the batch
        even when it is over.
        """
        self.restart()
        every = np.arange(self.capacity)
        rest = every
        while len(rest):
            _observe(self.state, self.params, every, self._observations)
            seen = {AUCTIONEER: self._observations[None]}
            chosen = self._agent.act(seen, deterministic=True)[AUCTIONEER][0, :, 0]
            closed = np.zeros(len(rest), np.bool_)
            indices = np.ascontiguousarray(chosen[rest], np.int64)
            _advance(self.state, self.params, self._steps, rest, indices, closed)
            rest = rest[~closed]

    def utilities(self, rows: Ints, sides: Ints, bidders: Ints) -> Floats:
        """Return the utility of one bidder in each of the markets ``rows``, float64 (rows,) [units]."""
        out = np.zeros(len(rows))
        _utilities(self.state, rows, sides, bidders, out)
        return out

    def trades(self) -> Bools:
        """Return who trades in auctions that are over, bool (batch, 2, bidders)."""
        out = np.zeros(self.state.order.shape, np.bool_)
        _trades(self.state, out)
        return out

    def all_utilities(self, truth: Floats) -> Floats:
        """Return the utility of every bidder, float64 (batch, 2, bidders) [units].

        ``truth`` has the true valuations, float64 (batch, 2, bidders) [units per lot].
        """
        gains = truth - self.state.totals["price"][:, None, None]
        gains[:, 1] *= -1.0
        return np.where(self.trades(), gains, 0.0)

    def copy_rows(self, source: AuctionState, rows: Ints, to: Ints) -> None:
        """Copy the markets ``rows`` of another batch into the rows ``to`` of this one."""
        for own, other in zip(self.state, source, strict=True):
            own[to] = other[rows]


def decides_by_observation(subject: Subject) -> bool:
    """Return whether the auctioneer's steps depend on nothing but what it observes.

    Two auctions that look the same to it then go on in the same way, whatever the bidders' reports are.
    """
    policy = subject.policy_of(AUCTIONEER)
    if policy is not None:
        return policy in PUBLIC
    auctions = Auctions(subject, 64)
    auctions.open()
    return auctions.decides_twice_alike()


PUBLIC = frozenset({"fixed_step", "traditional", "two_phase", "step_table", "scripted_step"})
"""Scripted policies of the auctioneer that look at nothing that it does not observe."""


def bytes_of_market(state: AuctionState) -> int:
    """Return the size of one market's state [bytes]."""
    return sum(array[:1].nbytes for array in state)
