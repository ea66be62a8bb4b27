"""Deviations that are played again from the beginning: grids of reports, joint misreports of a pair, false names.

They serve auctioneers that look at the bids or draw random numbers, and deviations of more than one bidder. Every
replay has the same markets and, for an agent that draws random numbers, the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ioa_marl.evaluation.audits.double_dutch.branches import MOST_ROWS, TIE, MisreportGains
from ioa_marl.evaluation.audits.double_dutch.play import SIDES, Auctions, Bools, Floats, Ints
from ioa_marl.evaluation.audits.results import Progress, silent
from ioa_marl.evaluation.audits.subject import AuditSettings, Subject
from ioa_marl.markets.double_dutch.kernels import BUYERS, SELLERS

PAIR_REPORTS = 9
"""Reports that each member of a pair tries: its truth, and four on both sides of it."""
PAIRS = ((BUYERS, BUYERS), (SELLERS, SELLERS), (BUYERS, SELLERS))
"""Sides of the pairs that misreport together."""
REFINEMENTS = 3
"""Times that the neighbourhood of the best report is halved."""


class Replays:
    """The same markets, played again with other reports.

    Parameters
    ----------
    subject : Subject
        The auctioneer.
    markets : int
        Number of markets.
    side_by_side : bool
        Whether several sets of reports may be played in one batch, which an agent that draws random numbers would not
        treat alike.
    """

    def __init__(self, subject: Subject, markets: int, side_by_side: bool) -> None:
        self._subject, self.markets = subject, markets
        self._copies = max(1, MOST_ROWS // markets) if side_by_side else 1
        self._batches: dict[int, Auctions] = {}
        batch = self._batch(1)
        batch.open(0, markets)
        self.truth: Floats = batch.state.valuation.copy()
        """True valuations [units per lot], float64 (markets, 2, bidders)."""
        self.present: Bools = batch.participants()
        """Whether the bidder takes part, bool (markets, 2, bidders); the last of a side, a spare one, never does."""
        batch.replay()
        self.traders: Bools = batch.trades()
        """Who trades if all are truthful, bool (markets, 2, bidders)."""
        self.truthful: Floats = batch.all_utilities(self.truth)
        """Utilities if all are truthful [units], float64 (markets, 2, bidders)."""

    def _batch(self, copies: int) -> Auctions:
        if copies not in self._batches:
            self._batches[copies] = Auctions(self._subject, copies * self.markets)
        return self._batches[copies]

    def played(self, changes: list[Callable[[Floats, Bools], None]]) -> Iterator[tuple[Bools, Floats]]:
        """Play one set of reports after another; each change edits copies of the valuations and of `present` in place.

        Yields who trades, bool (markets, 2, bidders), and the prices, float64 (markets,) [units per lot].
        """
        for start in range(0, len(changes), self._copies):
            group = changes[start : start + self._copies]
            reports, present = np.stack([self.truth] * len(group)), np.stack([self.present] * len(group))
            for k, change in enumerate(group):
                change(reports[k], present[k])
            batch = self._batch(len(group))
            batch.open(0, self.markets)
            batch.reopen(reports.reshape(-1, *self.truth.shape[1:]), present.reshape(-1, *self.truth.shape[1:]))
            batch.replay()
            trades = batch.trades().reshape(reports.shape)
            prices = batch.state.totals["price"].reshape(len(group), -1)
            for k in range(len(group)):
                yield trades[k], prices[k].copy()

    def utilities(self, trades: Bools, prices: Floats) -> Floats:
        """Return the true utilities of all bidders, float64 (markets, 2, bidders) [units]."""
        gains = self.truth - prices[:, None, None]
        gains[:, SELLERS] *= -1.0
        return np.where(trades, gains, 0.0)


def replayed_gains(
    replays: Replays, settings: AuditSettings, tick: float, progress: Progress = silent
) -> MisreportGains:
    """Return what every bidder gains by the best report that is tried: lower bounds.

    Parameters
    ----------
    replays : Replays
        The markets and the auctioneer.
    settings : AuditSettings
        Number of reports, and whether reports next to those of others and around the best one are tried as well.
    tick : float
        Smallest movement of a clock [units per lot].
    progress : callable, optional
        Called with the share that is done.

    Returns
    -------
    MisreportGains
    """
    shape = replays.truth.shape
    gains, best = np.zeros(shape), np.full(shape, np.nan)
    low = np.where(replays.present, replays.truth, np.inf).min(axis=(1, 2))
    high = np.where(replays.present, replays.truth, -np.inf).max(axis=(1, 2))
    count = 0

    def tries(side: int, bidder: int, reports: Floats) -> None:
        """Play reports of one bidder, float64 (reports, markets) [units per lot], and keep what is best."""
        nonlocal count
        changes = [_one_report(side, bidder, np.maximum(report, 0.0)) for report in reports]
        for report, (trades, prices) in zip(reports, replays.played(changes), strict=True):
            own = replays.utilities(trades, prices)[:, side, bidder]
            gain = np.where(replays.present[:, side, bidder], own - replays.truthful[:, side, bidder], 0.0)
            better = gain > gains[:, side, bidder] + TIE
            gains[better, side, bidder] = gain[better]
            best[better, side, bidder] = np.maximum(report, 0.0)[better]
            count += len(gain)

    spacing = (high - low) / (settings.reports - 1)
    grid = low + np.arange(settings.reports)[:, None] * spacing
    bidders = [(side, i) for side in range(2) for i in range(shape[2]) if replays.present[:, side, i].any()]
    for place, (side, bidder) in enumerate(bidders):
        progress("misreports of single bidders", place / len(bidders))
        tries(side, bidder, grid)
        if not settings.refine:
            continue
        others = [replays.truth[:, s, i] for s, i in bidders if (s, i) != (side, bidder)]
        tries(side, bidder, np.array([other + way for other in others for way in (-tick, 0.0, tick)]))
        width = spacing
        for _ in range(REFINEMENTS):
            width = width / 2.0
            at = np.where(np.isnan(best[:, side, bidder]), replays.truth[:, side, bidder], best[:, side, bidder])
            tries(side, bidder, np.array([at - width, at + width]))
    return MisreportGains(gains, best, replays.truthful, replays.present, replays.truth, count)


def _one_report(side: int, bidder: int, report: Floats) -> Callable[[Floats, Bools], None]:
    def change(reports: Floats, present: Bools) -> None:
        reports[:, side, bidder] = report

    return change


@dataclass(frozen=True)
class JointGains:
    """What pairs of bidders gain by the best joint misreport that is tried."""

    name: str
    """Who the pair is, such as ``two buyers``."""
    gains: Floats
    """Sum of both gains over the truth [units], at least 0, float64 (markets,); NaN where there is no such pair."""


def pair_gains(replays: Replays, highest: float, progress: Progress = silent) -> list[JointGains]:
    """Return what the two least eager traders of a side, and those of both sides, gain together: lower bounds.

    They have the most influence on the price. Each of the two tries its truth and four reports on both sides of it.

    Parameters
    ----------
    replays : Replays
        The markets and the auctioneer.
    highest : float
        Largest report that is allowed [units per lot].
    progress : callable, optional
        Called with the share that is done.
    """
    rows = np.arange(replays.markets)
    traders = [_by_eagerness(replays, side) for side in range(2)]
    width = (replays.truth[:, BUYERS].max(axis=1) - np.where(
        replays.present[:, SELLERS], replays.truth[:, SELLERS], np.inf).min(axis=1)) / (2 * PAIR_REPORTS)  # fmt: skip
    offsets = np.arange(PAIR_REPORTS) - PAIR_REPORTS // 2
    found = []
    for place, sides in enumerate(PAIRS):
        progress("misreports of pairs", place / len(PAIRS))
        same = sides[0] == sides[1]
        one, two = traders[sides[0]][:, 0], traders[sides[1]][:, 1 if same else 0]
        exists = (one >= 0) & (two >= 0)
        pair = ((sides[0], np.maximum(one, 0)), (sides[1], np.maximum(two, 0)))
        changes = [
            _pair_report(rows, pair, [np.maximum(width, 0.0) * o for o in (first, second)], highest)
            for first in offsets
            for second in offsets
        ]
        best = np.zeros(replays.markets)
        before = sum(replays.truthful[rows, side, who] for side, who in pair)
        for trades, prices in replays.played(changes):
            own = replays.utilities(trades, prices)
            best = np.maximum(best, sum(own[rows, side, who] for side, who in pair) - before)
        best[best <= TIE] = 0.0
        name = f"two {SIDES[sides[0]]}s" if same else "a buyer and a seller"
        found.append(JointGains(name, np.where(exists, best, np.nan)))
    return found


def _by_eagerness(replays: Replays, side: int) -> Ints:
    """Return the indices of the two least eager traders of a side, int64 (markets, 2); −1 where there is none."""
    eager = replays.truth[:, side] if side == BUYERS else -replays.truth[:, side]
    order = np.argsort(np.where(replays.traders[:, side], eager, np.inf), axis=1, kind="stable")[:, :2]
    return np.where(np.take_along_axis(replays.traders[:, side], order, axis=1), order, -1)


def _pair_report(
    rows: Ints, pair: tuple[tuple[int, Ints], ...], offsets: list[Floats], highest: float
) -> Callable[[Floats, Bools], None]:
    def change(reports: Floats, present: Bools) -> None:
        for (side, who), offset in zip(pair, offsets, strict=True):
            reports[rows, side, who] = np.clip(reports[rows, side, who] + offset, 0.0, highest)

    return change


def false_name_gains(replays: Replays, reports: int, progress: Progress = silent) -> list[JointGains]:
    """Return what one bidder of each side gains by a second report under another name: lower bounds.

    It is the most eager one, and reports the truth under its own name. A buyer has a value for one lot only and pays
    for a second one in vain. A seller has only one lot, so a report with which both names would sell is not tried.

    Parameters
    ----------
    replays : Replays
        The markets and the auctioneer.
    reports : int
        Number of reports that the second name tries.
    progress : callable, optional
        Called with the share that is done.
    """
    rows, alias = np.arange(replays.markets), replays.truth.shape[2] - 1
    low = np.where(replays.present, replays.truth, np.inf).min(axis=(1, 2))
    high = np.where(replays.present, replays.truth, -np.inf).max(axis=(1, 2))
    grid = low + np.linspace(0.0, 1.0, reports)[:, None] * (high - low)
    found = []
    for side, name in enumerate(SIDES):
        progress("false names", side / 2)
        eager = replays.truth[:, side] if side == BUYERS else -replays.truth[:, side]
        who = np.argmax(np.where(replays.present[:, side], eager, -np.inf), axis=1)
        exists: Bools = np.asarray(replays.present[:, side].any(axis=1))
        best = np.zeros(replays.markets)
        for trades, prices in replays.played([_second_name(side, alias, exists, report) for report in grid]):
            own, other = trades[rows, side, who], trades[rows, side, alias]
            valuation = replays.truth[rows, side, who]
            lots = own.astype(np.float64) + other
            utility = (own | other) * valuation - lots * prices if side == BUYERS else lots * (prices - valuation)
            possible = (lots < 2) | (side == BUYERS)
            gain = np.where(lots > 0, utility, 0.0) - replays.truthful[rows, side, who]
            best = np.where(possible, np.maximum(best, gain), best)
        best[best <= TIE] = 0.0
        found.append(JointGains(f"a {name} with two names", np.where(exists, best, np.nan)))
    return found


def _second_name(side: int, alias: int, exists: Bools, report: Floats) -> Callable[[Floats, Bools], None]:
    def change(reports: Floats, present: Bools) -> None:
        reports[:, side, alias] = report
        present[:, side, alias] = exists

    return change
