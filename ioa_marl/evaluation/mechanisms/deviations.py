"""Misreports of single bidders in double auctions, played as batches: the largest gain of any bidder of a market.

All other bidders tell the truth. Every bidder tries an even grid of reports from the lowest to the highest valuation of
its market, and the valuations of the bidders near the margin, each also a little below and a little above: in most
double auctions the gains are there. In a market with more bidders only those near the margin are tried. Gains are
therefore **lower bounds**.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ioa_marl.evaluation.mechanisms.auctioneers import BUYERS, SELLERS, DoubleAuction, Floats, Played, Whole
from ioa_marl.markets.double_dutch.references import sorted_matching

MOST_BIDDERS = 10
"""Largest number of bidders of each side that try other reports: those nearest to the margin."""
ROWS = 20_000
"""Number of auctions that are played as one batch."""


class Deviations(NamedTuple):
    """Misreports, one row each."""

    reports: Floats
    """float64 (rows, 2, bidders): reports of all bidders of the market, one of them untrue [units per lot]."""
    market: Whole
    """int64 (rows,): number of the market."""
    side: Whole
    """int64 (rows,): side of the bidder that misreports."""
    bidder: Whole
    """int64 (rows,): its index."""


def near_margin(values: Floats, costs: Floats, most: int = MOST_BIDDERS) -> tuple[Whole, Whole]:
    """Return the bidders of each side that are nearest to the margin of the efficient trades.

    Parameters
    ----------
    values : ndarray of float64, shape (buyers,)
        Values of the buyers [units per lot].
    costs : ndarray of float64, shape (sellers,)
        Costs of the sellers [units per lot].
    most : int, default 10
        Largest number of bidders of each side.

    Returns
    -------
    buyers, sellers : ndarray of int64
        Indices, the most eager bidder first.
    """
    trades = len(sorted_matching(values, costs).buyers)
    chosen = []
    for by_eagerness in (np.argsort(-values, kind="stable"), np.argsort(costs, kind="stable")):
        first = min(max(trades - most // 2, 0), max(len(by_eagerness) - most, 0))
        chosen.append(by_eagerness[first : first + most])
    return chosen[0], chosen[1]


def candidates(values: Floats, costs: Floats, near: tuple[Whole, Whole], grid: int, epsilon: float) -> Floats:
    """Return the reports that bidders of a market try, increasing and without repetition [units per lot].

    Parameters
    ----------
    values, costs
        See `near_margin`.
    near : tuple of ndarray
        Bidders whose valuations are tried; see `near_margin`.
    grid : int
        Number of evenly spaced reports.
    epsilon : float
        How closely a bidder over- or undercuts another [units per lot].

    Returns
    -------
    ndarray of float64, shape (reports,)
    """
    everyone = np.concatenate([values, costs])
    others = np.concatenate([values[near[BUYERS]], costs[near[SELLERS]]])
    tried = np.concatenate(
        [np.linspace(everyone.min(), everyone.max(), grid), others - epsilon, others, others + epsilon]
    )
    return np.unique(np.maximum(tried, 0.0))


def deviations(truth: Floats, size: Whole, grid: int, epsilon: float) -> Iterator[Deviations]:
    """Yield all misreports, some markets at a time.

    Parameters
    ----------
    truth : ndarray of float64, shape (markets, 2, bidders)
        Values of the buyers and costs of the sellers [units per lot].
    size : ndarray of int64, shape (markets, 2)
        Numbers of buyers and sellers.
    grid, epsilon
        See `candidates`.

    Yields
    ------
    Deviations
        Of about `ROWS` rows, or of one market.
    """
    parts: list[Deviations] = []
    for market, (buyers, sellers) in enumerate(size.tolist()):
        parts.append(_of_market(market, truth[market], buyers, sellers, grid, epsilon))
        if sum(len(part.market) for part in parts) >= ROWS or market == len(size) - 1:
            yield Deviations(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
            parts = []


def _of_market(market: int, truth: Floats, buyers: int, sellers: int, grid: int, epsilon: float) -> Deviations:
    """Return the misreports of one market; ``truth`` is float64 (2, bidders)."""
    values, costs = truth[BUYERS, :buyers], truth[SELLERS, :sellers]
    near = near_margin(values, costs)
    tried = candidates(values, costs, near, grid, epsilon)
    side = np.repeat([BUYERS, SELLERS], [len(near[BUYERS]) * len(tried), len(near[SELLERS]) * len(tried)])
    bidder = np.repeat(np.concatenate(near), len(tried))
    reports = np.repeat(truth[None], len(side), axis=0)
    reports[np.arange(len(side)), side, bidder] = np.tile(tried, len(near[BUYERS]) + len(near[SELLERS]))
    return Deviations(reports, np.full(len(side), market), side, bidder)


def traders(played: Played) -> NDArray[np.bool_]:
    """Return which bidders trade, bool (rows, 2, bidders)."""
    rows, _, bidders = played.order.shape
    first = np.broadcast_to((np.arange(bidders) < played.trades[:, None])[:, None, :], (rows, 2, bidders))
    row, side, _ = np.nonzero(first)
    out = np.zeros((rows, 2, bidders), np.bool_)
    out[row, side, played.order[first]] = True
    return out


def utilities(played: Played, truth: Floats) -> Floats:
    """Return the true utilities of all bidders, float64 (rows, 2, bidders) [units]; ``truth`` has the same shape."""
    gain = np.stack(
        [truth[:, BUYERS] - played.price[:, :1], played.price[:, 1:] - truth[:, SELLERS]], axis=1
    )  # fmt: skip
    return np.where(traders(played), gain, 0.0)


def largest_gains(
    mechanism: DoubleAuction, truth: Floats, size: Whole, at_truth: Floats, grid: int, epsilon: float,
    done: Callable[[int], None],
) -> tuple[Floats, int]:  # fmt: skip
    """Return the largest gain of any bidder of each market over telling the truth: a lower bound of the regret.

    Parameters
    ----------
    mechanism : DoubleAuction
        The mechanism.
    truth, size, grid, epsilon
        See `deviations`.
    at_truth : ndarray of float64, shape (markets, 2, bidders)
        Utilities if all tell the truth [units].
    done : callable
        Called with the number of markets that are done.

    Returns
    -------
    gains : ndarray of float64, shape (markets,)
        At least 0 [units].
    reports : int
        Largest number of reports that a bidder tried.
    """
    gains, reports = np.zeros(len(truth)), 0
    for batch in deviations(truth, size, grid, epsilon):
        played = mechanism.play(batch.reports, size[batch.market], batch.market)
        row = np.arange(len(batch.market))
        lied = utilities(played, truth[batch.market])[row, batch.side, batch.bidder]
        np.maximum.at(gains, batch.market, lied - at_truth[batch.market, batch.side, batch.bidder])
        who = (batch.market * 2 + batch.side) * truth.shape[2] + batch.bidder
        reports = max(reports, int(np.bincount(who).max()))
        done(int(batch.market[-1]) + 1)
    return gains, reports
