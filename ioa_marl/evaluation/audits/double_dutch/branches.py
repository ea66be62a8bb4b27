"""What every bidder gains by every report, exactly, under an auctioneer that decides by what it observes.

A report is the last clock that a bidder accepts. Until the clock reaches it, the auction is the same whatever it is.
So the auctions of all reports of a bidder are branches of few paths: of the truthful auction, for reports more eager
than the truth, and of the auction in which the bidder never accepts, for the others. Each branch leaves its path at
the first broadcast of a clock that the report accepts. One branch for each clock that is broadcast covers all reports
in between: nothing is left out, and no beginning is played twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ioa_marl.evaluation.audits.double_dutch.play import (
    NEVER,
    Auctions,
    Bools,
    Floats,
    Ints,
    bytes_of_market,
    set_reports,
)
from ioa_marl.evaluation.audits.results import Progress, silent
from ioa_marl.evaluation.audits.subject import Subject
from ioa_marl.markets.double_dutch.kernels import BUYERS
from ioa_marl.markets.double_dutch.state import AuctionState

LARGEST_BATCH = 2**26
"""Largest size of the auctions that are kept at a time [bytes]."""
MOST_ROWS = 16_384
"""Largest number of auctions that are kept at a time."""
NO_CLOCK = -(2**40)
"""A clock that is never broadcast [ticks]."""
TIE = 1e-9
"""Gains below this are rounding [units]."""


@dataclass(frozen=True)
class MisreportGains:
    """What each bidder gains by its best report while all others tell the truth."""

    gains: Floats
    """Gain over the truth [units], at least 0; 0 for absent bidders, float64 (markets, 2, bidders)."""
    reports: Floats
    """A report with this gain: the last clock that is accepted [units per lot]; NaN where nothing is gained or the best
    is never to accept, float64 (markets, 2, bidders)."""
    truthful: Floats
    """Utility with the true report [units], float64 (markets, 2, bidders)."""
    present: Bools
    """Whether the bidder takes part in the market, bool (markets, 2, bidders)."""
    valuations: Floats
    """True values and costs [units per lot], float64 (markets, 2, bidders)."""
    auctions: int
    """Number of auctions, or parts of them, that were played."""


class _Best:
    """The best utilities so far."""

    def __init__(self, truthful: Floats) -> None:
        self.utility = truthful.copy()
        self.clock = np.full(truthful.shape, np.nan)

    def offer(self, markets: Ints, sides: Ints, bidders: Ints, utilities: Floats, clocks: Floats) -> None:
        """Keep each utility that is larger than the one so far, with its report; clocks in ticks."""
        flat = np.ravel_multi_index((markets, sides, bidders), self.utility.shape)
        before = self.utility.reshape(-1)[flat]
        np.maximum.at(self.utility.reshape(-1), flat, utilities)
        improving = (utilities > before + TIE) & (utilities == self.utility.reshape(-1)[flat])
        self.clock.reshape(-1)[flat[improving]] = clocks[improving]


class _Pool:
    """Auctions that have just left their path, which are collected and played to their ends together."""

    def __init__(self, subject: Subject, size: int, best: _Best) -> None:
        self._auctions, self._best, self._filled = Auctions(subject, size), best, 0
        self._labels = np.zeros((size, 4), np.int64)
        self.played = 0

    def add(self, source: AuctionState, rows: Ints, markets: Ints, sides: Ints, bidders: Ints, clocks: Ints) -> None:
        """Add the markets ``rows`` of a batch, in each of which a waiting bidder reports ``clocks`` from now on."""
        start = 0
        while start < len(rows):
            if self._filled == self._auctions.capacity:
                self.flush()
            count = min(len(rows) - start, self._auctions.capacity - self._filled)
            part, to = slice(start, start + count), np.arange(self._filled, self._filled + count)
            self._auctions.copy_rows(source, rows[part], to)
            set_reports(self._auctions.state, to, sides[part], bidders[part], clocks[part])
            self._labels[to] = np.stack([markets[part], sides[part], bidders[part], clocks[part]], axis=1)
            self._filled += count
            start += count

    def flush(self) -> None:
        """Play all to their ends, and keep what was best."""
        rows = np.arange(self._filled)
        self._auctions.play_out(rows)
        markets, sides, bidders, clocks = (np.ascontiguousarray(column) for column in self._labels[rows].T)
        utilities = self._auctions.utilities(rows, sides, bidders)
        self._best.offer(markets, sides, bidders, utilities, clocks.astype(np.float64))
        self.played += self._filled
        self._filled = 0


def misreport_gains(subject: Subject, markets: int, progress: Progress = silent) -> MisreportGains:
    """Return what every bidder gains by the best of all reports, all others being truthful.

    Parameters
    ----------
    subject : Subject
        The auctioneer, which has to decide by what it observes; see `decides_by_observation`.
    markets : int
        Number of evaluation markets.
    progress : callable, optional
        Called with the share that is done.

    Returns
    -------
    MisreportGains
    """
    probe = Auctions(subject, 1)
    size = max(1, min(MOST_ROWS, LARGEST_BATCH // bytes_of_market(probe.state)))
    # All bidders of a part may leave their paths at once.
    together = max(1, min(markets, size // max(1, 2 * probe.state.order.shape[2])))
    parts = []
    for start in range(0, markets, together):
        progress("misreports of single bidders", start / markets)
        parts.append(_gains_of_part(subject, start, min(together, markets - start), size))
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
    return MisreportGains(**arrays, auctions=sum(part.auctions for part in parts))


_ARRAYS = ("gains", "reports", "truthful", "present", "valuations")


def _gains_of_part(subject: Subject, offset: int, count: int, size: int) -> MisreportGains:
    """Return the gains in ``count`` markets from number ``offset`` on; the batches have up to ``size`` auctions."""
    truth = Auctions(subject, count)
    truth.open(offset)
    state = truth.state
    bidders = state.order.shape[2]
    present = truth.participants()
    valuations = state.valuation.copy()
    thresholds = state.threshold.copy()
    best = _Best(np.full((count, 2, bidders), -np.inf))
    pool = _Pool(subject, size, best)
    refusals = Auctions(subject, max(1, int(present.sum())))
    refused = _Refusals(refusals)
    rows, last = np.arange(count), np.full((count, 2), NO_CLOCK)
    while len(rows):
        _leave_truth(state, rows, last, thresholds, present, pool, refused)
        rows = rows[~truth.play_tick(rows)]
    truthful = truth.all_utilities(valuations)
    refused.play_out(pool)
    pool.flush()
    numbers, sides, who = refused.labels()
    best.offer(numbers, sides, who, refusals.utilities(np.arange(len(numbers)), sides, who), np.full(len(who), np.nan))
    gains = np.where(present, np.maximum(best.utility - truthful, 0.0), 0.0)
    gains[gains <= TIE] = 0.0
    reports = np.where(gains > 0.0, best.clock * subject.config.tick, np.nan)
    played = pool.played + len(numbers) + count
    return MisreportGains(gains, reports, truthful, present, valuations, played)


class _Refusals:
    """The auctions in which one bidder never accepts, each a copy of the truthful one until it would have accepted."""

    def __init__(self, auctions: Auctions) -> None:
        self._auctions, self._count = auctions, 0
        self._labels = np.zeros((auctions.capacity, 3), np.int64)
        self._last = np.full((auctions.capacity, 2), NO_CLOCK)

    def add(self, source: AuctionState, rows: Ints, sides: Ints, bidders: Ints, last: Ints) -> None:
        """Add copies of the markets ``rows``, in each of which a waiting bidder refuses from now on."""
        to = np.arange(self._count, self._count + len(rows))
        self._auctions.copy_rows(source, rows, to)
        set_reports(self._auctions.state, to, sides, bidders, np.array(NEVER)[sides])
        self._labels[to] = np.stack([rows, sides, bidders], axis=1)
        self._last[to] = last[rows]
        self._count += len(rows)

    def labels(self) -> tuple[Ints, Ints, Ints]:
        """Return market, side and bidder of each auction."""
        markets, sides, bidders = (np.ascontiguousarray(column) for column in self._labels[: self._count].T)
        return markets, sides, bidders

    def play_out(self, pool: _Pool) -> None:
        """Play all to their ends, and branch at every clock on the way: there the bidder accepts after all."""
        markets, sides, bidders = self.labels()
        state, rows = self._auctions.state, np.arange(self._count)
        clocks = np.zeros(self._count, np.int64)
        first = np.ones(self._count, np.bool_)  # the clock that the truthful bidder accepts is no deviation
        while len(rows):
            active = state.side[rows]
            clocks[rows] = state.clock[rows, active]
            own = rows[(active == sides[rows]) & (clocks[rows] != self._last[rows, active])]
            branching = own[~first[own]]
            pool.add(state, branching, markets[branching], sides[branching], bidders[branching], clocks[branching])
            self._last[rows, active] = clocks[rows]
            first[rows] = False
            rows = rows[~self._auctions.play_tick(rows)]


def _leave_truth(
    state: AuctionState, rows: Ints, last: Ints, thresholds: Ints, present: Bools, pool: _Pool, refused: _Refusals
) -> None:
    """Start the branches that leave the truthful auctions ``rows`` at the broadcast that comes next.

    A bidder that would refuse it may accept, if the clock is a new one for its side. One that would accept may refuse.
    ``last`` has the last clock that was broadcast to each side, int64 (markets, 2), and is brought up to date;
    ``present`` has who takes part, bool (markets, 2, bidders).
    """
    active = state.side[rows]
    clocks = state.clock[rows, active].astype(np.int64)
    of_side = thresholds[rows, active]
    waiting = (state.accepted_at[rows, active] < 0) & present[rows, active]
    willing = np.where((active == BUYERS)[:, None], of_side >= clocks[:, None], of_side <= clocks[:, None])
    new = clocks != last[rows, active]
    at, who = np.nonzero(waiting & ~willing & new[:, None])
    pool.add(state, rows[at], rows[at], active[at], who.astype(np.int64), clocks[at])
    at, who = np.nonzero(waiting & willing)
    refused.add(state, rows[at], active[at], who.astype(np.int64), last)
    last[rows, active] = clocks
