"""The bank of the dual-currency auction: its books, as arrays that can be saved, and its estimates from them.

The equations are in `equations`. Functions work on a batch of markets; ``rows``, int64 (rows,), are the indices of the
markets that they work on, and n is the number of providers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ioa_marl.markets.vcg_slicing.dual_currency import utility_fit
from ioa_marl.markets.vcg_slicing.dual_currency.equations import (
    CURRENCY_FLOWS,
    MONEY_FLOWS,
    Floats,
    Flows,
    Moments,
    add_to_moments,
    estimated_rate,
    moments_of,
    moving_average,
)
from ioa_marl.markets.vcg_slicing.params import SlicingParams
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES

Rows = NDArray[np.intp]

RATES_OF_PROFIT, RATES_OF_EPISODE, PAST = 410, 411, 412
"""Purposes of the random counter: α of an instance, α of an episode, bills from before the episode."""
FIRST_ITERATIONS = 30
"""Iterations of the fit to the bills from before the episode; every round adds one more."""


class Bank(NamedTuple):
    """Books of the banks of a batch of markets."""

    profit_rate: Floats
    """(batch, n): true α, which the bank does not know [money/utility]."""
    belief: Floats
    """(batch, n): belief of each provider about its own utility [utility]; the bank does not know it."""
    voi: Floats
    """(batch, n): the bank's value of information f_i of this round [currency]."""
    estimate: Floats
    """(batch, n): the bank's estimate α̂ [money/utility]."""
    pairs: Floats
    """(batch, 5, n): the `Moments` of utility and gross profit over all bills."""
    loan: Floats
    """(batch, n): loans K of the round [currency]."""
    total_bid: Floats
    """(batch,): Σx of the round [currency]."""
    change: Floats
    """(batch, n, 3): relative changes of the shares in the last round."""
    bids_sum: Floats
    """(batch,): Σ of Σx over the rounds played [currency]."""
    tax: Floats
    """(batch, n): taxes Z of the last round [money]."""
    interest: Floats
    """(batch, n): the part of the tax that is interest on the loan [money]."""
    without: Floats
    """(batch, n): the bank's belief of SW*₋ᵢ [utility]."""
    best: Floats
    """(batch, n): the bank's belief of U* [utility]."""
    largest: Floats
    """(batch,): largest welfare on any bill [utility]."""
    largest_of_others: Floats
    """(batch, n): largest welfare of the others on any bill [utility]."""
    flows: Floats
    """(batch, 6, n): Σ of each of `MONEY_FLOWS` and `CURRENCY_FLOWS` over the rounds played."""
    noise: Floats
    """(batch,): Σ of Δ over the rounds played [shares]."""
    bill_count: NDArray[np.int64]
    """(batch,): number of bills so far; bill k is stored at index k modulo the number of stored bills."""
    bill_before: Floats
    """(batch, bills, n, 3): shares before each change."""
    bill_change: Floats
    """(batch, bills, n, 3): relative changes of the shares."""
    bill_share: Floats
    """(batch, bills, n, 3): shares at which utility was reported."""
    bill_utility: Floats
    """(batch, bills, n): reported utility [utility]."""
    bill_gross: Floats
    """(batch, bills, n): reported gross profit [money]."""
    bill_loan: Floats
    """(batch, bills, n): loans [currency]; 0 before the episode."""
    bill_best: Floats
    """(batch, bills, n): the bank's belief of U* in that round [utility]; 0 before the episode."""
    bill_harm: Floats
    """(batch, bills, n): the bank's belief of the harm I in that round [utility]; 0 before the episode."""
    fit: Floats
    """(batch, n, 4): unknowns of the fitted utility functions, see `utility_fit`."""
    damping: Floats
    """(batch, n): damping of the fit."""
    price: Floats
    """(batch, 3): prices at the optimum of the fitted utilities, from which the solver starts in the next round."""


def allocate_bank(batch: int, params: SlicingParams) -> Bank:
    """Return zeroed books for ``batch`` markets; shapes and units are those of `Bank`."""
    n, bills = params.providers, params.bills
    single = ("profit_rate", "belief", "voi", "estimate", "loan", "tax", "interest", "without", "best")
    flows = len(MONEY_FLOWS) + len(CURRENCY_FLOWS)
    return Bank(
        **{name: np.zeros((batch, n)) for name in (*single, "largest_of_others", "damping")},
        **{name: np.zeros(batch) for name in ("total_bid", "bids_sum", "largest", "noise")},
        **{name: np.zeros((batch, bills, n, RESOURCES)) for name in ("bill_before", "bill_change", "bill_share")},
        **{
            f"bill_{name}": np.zeros((batch, bills, n)) for name in ("utility", "gross", "loan", "best", "harm")
        },
        price=np.zeros((batch, RESOURCES)),
        pairs=np.zeros((batch, len(Moments._fields), n)),
        change=np.zeros((batch, n, RESOURCES)),
        flows=np.zeros((batch, flows, n)),
        bill_count=np.zeros(batch, np.int64),
        fit=np.zeros((batch, n, utility_fit.UNKNOWNS)),
    )  # fmt: skip


class Past(NamedTuple):
    """Rounds before the episode with random allocations; all arrays have the shape (bills, n, …)."""

    before: Floats
    """(bills, n, 3): shares before the change."""
    change: Floats
    """(bills, n, 3): relative change of each share."""
    share: Floats
    """(bills, n, 3): shares after the change."""
    noise: Floats
    """(bills, n): standard normal numbers for the fluctuation of profits."""


def draw_past(params: SlicingParams, count: int, key: tuple[int, int], episode: int) -> Past:
    """Draw initial allocations, each with one random change.

    Parameters
    ----------
    params : SlicingParams
        The market.
    count : int
        Number of providers present.
    key : (int, int)
        Seed and stream.
    episode : int
        Number of the episode.

    Returns
    -------
    Past
        With ``count`` providers.
    """
    counter = np.array([0, episode, PAST, 0], np.uint64)
    rng = np.random.Generator(np.random.Philox(key=np.array(key, np.uint64), counter=counter))
    shape = (params.prior_bills, count, RESOURCES)
    before = rng.uniform(*params.start_spread, shape)
    before /= before.sum(axis=1, keepdims=True)
    change = np.array(params.changes)[rng.integers(len(params.changes), size=shape)]
    share = np.maximum(before * (1.0 + change), params.floor / count)
    return Past(before, change, share / share.sum(axis=1, keepdims=True), rng.standard_normal(shape[:2]))


def draw_profit_rates(params: SlicingParams, key: tuple[int, int], episode: int) -> Floats:
    """Return α of every provider [money/utility], shape (providers,).

    The α of a provider does not depend on the number of providers after it. ``key`` and ``episode`` are the key and
    a word of the counter of the random numbers.
    """
    if params.data is not None:
        given = params.own_types()[2]
        if given is not None:
            return given
    purpose = RATES_OF_EPISODE if params.redraw == "episode" else RATES_OF_PROFIT
    counter = np.array([0, episode, purpose, 0], np.uint64)
    rng = np.random.Generator(np.random.Philox(key=np.array(key, np.uint64), counter=counter))
    return rng.uniform(*params.profit_rate, params.providers)


def open_books(
    bank: Bank, b: int, params: SlicingParams, count: int, past: Past, utility: Floats, start: Floats
) -> None:
    """Start the books of market ``b`` with the bills from before the episode.

    Parameters
    ----------
    bank : Bank
        The books, with ``profit_rate`` already drawn.
    b : int
        Market.
    params : SlicingParams
        The market.
    count : int
        Number of providers present.
    past : Past
        The rounds before the episode.
    utility : ndarray of float64, shape (bills, count)
        Utilities in these rounds.
    start : ndarray of float64, shape (count,)
        Utilities of the initial allocation, which are the initial beliefs.
    """
    for name, array in bank._asdict().items():
        if name != "profit_rate":
            array[b] = 0
    gross = bank.profit_rate[b, :count] * utility + params.profit_mean + params.profit_deviation * past.noise
    bank.pairs[b, :, :count] = np.stack(moments_of(utility, gross))
    stored = min(params.bills, params.prior_bills)
    newest = slice(params.prior_bills - stored, None)
    places = np.arange(params.prior_bills)[newest] % params.bills
    for name, rows in (("before", past.before), ("change", past.change), ("share", past.share)):
        getattr(bank, f"bill_{name}")[b, places, :count] = rows[newest]
    bank.bill_utility[b, places, :count] = utility[newest]
    bank.bill_gross[b, places, :count] = gross[newest]
    bank.bill_count[b] = params.prior_bills
    bank.belief[b, :count] = start
    total = utility.sum(axis=1)
    bank.largest[b] = total.max()
    bank.largest_of_others[b, :count] = (total[:, None] - utility).max(axis=0)


def infer_rates(bank: Bank, rows: Rows) -> None:
    """Write the estimates α̂ from all bills so far; ``rows`` is int64 (rows,)."""
    bank.estimate[rows] = estimated_rate(Moments(*np.moveaxis(bank.pairs[rows], 1, 0)))


def known_bills(bank: Bank, rows: Rows) -> NDArray[np.bool_]:
    """Return which of the stored bills have been written, bool (rows, bills)."""
    return np.asarray(np.arange(bank.bill_utility.shape[1]) < bank.bill_count[rows, None])


def infer_utilities(bank: Bank, rows: Rows, center: Floats, present: NDArray[np.bool_], iterations: int) -> None:
    """Improve the fits of the utility functions to the stored bills.

    Parameters
    ----------
    bank : Bank
        The books.
    rows : ndarray of int64, shape (rows,)
        Markets.
    center : ndarray of float64, shape (4,)
        Center of the prior, see `utility_fit`.
    present : ndarray of bool, shape (rows, n)
        Which providers are present.
    iterations : int
        Iterations of the fit.
    """
    bills, n = bank.bill_utility.shape[1:]
    known = known_bills(bank, rows)[:, None, :] & present[:, :, None]
    shares = bank.bill_share[rows].swapaxes(1, 2).reshape(-1, bills, RESOURCES)
    reported = bank.bill_utility[rows].swapaxes(1, 2).reshape(-1, bills)
    x, damping = utility_fit.fit(
        bank.fit[rows].reshape(-1, utility_fit.UNKNOWNS), bank.damping[rows].reshape(-1), shares, reported,
        known.reshape(-1, bills), center, iterations,
    )  # fmt: skip
    bank.fit[rows] = x.reshape(-1, n, utility_fit.UNKNOWNS)
    bank.damping[rows] = damping.reshape(-1, n)


class RoundReport(NamedTuple):
    """Report of a round to the bank, after the round."""

    before: Floats
    """(rows, n, 3): shares before the change."""
    change: Floats
    """(rows, n, 3): relative change of each share."""
    share: Floats
    """(rows, n, 3): shares at which utility was reported."""
    utility: Floats
    """(rows, n): reported utility [utility]."""
    harm: Floats
    """(rows, n): the bank's belief of the harm I [utility]."""


def book(bank: Bank, rows: Rows, report: RoundReport, flows: Flows, weight: float) -> None:
    """Write the bill of a round, which the bank uses from the next round on, and update the providers' beliefs.

    Parameters
    ----------
    bank : Bank
        The books.
    rows : ndarray of int64, shape (rows,)
        Markets.
    report : RoundReport
        Report of the round.
    flows : Flows
        Money and currency that moved, shape (rows, n) each.
    weight : float
        Weight of the past in the providers' beliefs.
    """
    place = bank.bill_count[rows] % bank.bill_utility.shape[1]
    bill = {
        "before": report.before, "change": report.change, "share": report.share, "utility": report.utility,
        "gross": flows.gross, "loan": flows.issued, "best": bank.best[rows], "harm": report.harm,
    }  # fmt: skip
    for name, values in bill.items():
        getattr(bank, f"bill_{name}")[rows, place] = values
    bank.bill_count[rows] += 1
    old = Moments(*np.moveaxis(bank.pairs[rows], 1, 0))
    bank.pairs[rows] = np.stack(add_to_moments(old, report.utility, flows.gross), axis=1)
    total = report.utility.sum(axis=1)
    bank.largest[rows] = np.maximum(bank.largest[rows], total)
    bank.largest_of_others[rows] = np.maximum(bank.largest_of_others[rows], total[:, None] - report.utility)
    bank.belief[rows] = moving_average(bank.belief[rows], report.utility, weight)
    bank.tax[rows], bank.interest[rows] = flows.tax, flows.interest
    bank.flows[rows] += np.stack(flows, axis=1)
