"""References of the double Dutch auction: the frontier of fixed steps and the welfare-maximising matching.

The clairvoyant plan is in `ioa_marl.markets.double_dutch.clairvoyant`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.records import plain_view
from ioa_marl.foundations.seeds import CALIBRATION_SEED
from ioa_marl.markets.double_dutch.kernels import open_auction, play_tick
from ioa_marl.markets.double_dutch.own_bids import draw_markets
from ioa_marl.markets.double_dutch.params import DoubleDutchParams
from ioa_marl.markets.double_dutch.state import Array, AuctionState, Metrics, allocate_state


@kernel
def play_constant(state: AuctionState, params: Array, step: int) -> None:
    """Play every market of the batch, whose bids have been drawn, to its end with one step [ticks]."""
    for b in range(state.clock.shape[0]):
        open_auction(b, state, params)
        closed = False
        while not closed:
            _, closed = play_tick(b, state, params, step, state.order)


@dataclass(frozen=True)
class Frontier:
    """Mean metrics of each fixed step."""

    steps: NDArray[np.float64]
    """Steps [units per lot], shape (steps,)."""
    metrics: dict[str, NDArray[np.float64]]
    """Mean of every metric by name, each of shape (steps,); `Metrics` has the units. The mean of ``price`` is over the
    markets with a trade."""


def fixed_step_frontier(
    params: DoubleDutchParams,
    steps: ArrayLike | None = None,
    markets: int = 1000,
    seed: int = CALIBRATION_SEED,
) -> Frontier:
    """Return the mean metrics of every fixed step, such as efficiency against messages, over random markets.

    Parameters
    ----------
    params : DoubleDutchParams
        Parameters of the auction.
    steps : array_like, shape (steps,), optional
        Steps [units per lot], multiples of ``tick``. Default: those of the auction.
    markets : int, default 1000
        Number of markets, which are the same for every step.
    seed : int, optional
        Seed of the markets. Default: the calibration seed, which neither training nor evaluation uses.

    Returns
    -------
    Frontier
    """
    params.require_bids_within_clocks()
    fixed_steps = np.asarray(params.steps if steps is None else steps, dtype=np.float64)
    record = params.record()
    state = allocate_state(markets, max(params.buyers, params.sellers))
    state.seed[:] = seed
    state.stream[:] = np.arange(markets)
    rows, prices = [], []
    for step in fixed_steps:
        draw_markets(params, state, record)
        play_constant(state, record, round(step / params.tick))
        rows.append(plain_view(state.totals).mean(axis=0))
        traded = state.totals["trades"] > 0.0
        prices.append(state.totals["price"][traded].mean() if traded.any() else np.nan)
    means = dict(zip(Metrics.names(), np.array(rows).T, strict=True))
    return Frontier(fixed_steps, {**means, "price": np.array(prices)})


@lru_cache(maxsize=64)
def best_fixed_step(params: DoubleDutchParams) -> int:
    """Return the index of the step with the highest mean return on calibration markets."""
    markets = max(100, 40_000 // (params.buyers + params.sellers))
    return int(np.argmax(fixed_step_frontier(params, markets=markets).metrics["return"]))


@dataclass(frozen=True)
class Matching:
    """The welfare-maximising set of trades."""

    buyers: NDArray[np.int64]
    """Indices of the trading buyers, highest bid first, shape (trades,)."""
    sellers: NDArray[np.int64]
    """Indices of the trading sellers, lowest ask first, shape (trades,)."""
    welfare: float
    """Σ bids − Σ asks [units]."""


def sorted_matching(bids: ArrayLike, asks: ArrayLike) -> Matching:
    """Match the highest bids with the lowest asks as long as the bid exceeds the ask, which maximises welfare.

    Parameters
    ----------
    bids : array_like, shape (buyers,)
        Bids of the buyers [units per lot].
    asks : array_like, shape (sellers,)
        Asks of the sellers [units per lot].

    Returns
    -------
    Matching
    """
    bids, asks = np.asarray(bids, np.float64), np.asarray(asks, np.float64)
    by_bid = np.argsort(-bids, kind="stable")
    by_ask = np.argsort(asks, kind="stable")
    n = min(len(bids), len(asks))
    gains = bids[by_bid[:n]] - asks[by_ask[:n]]
    trades = int(np.sum(gains > 0))
    return Matching(by_bid[:trades], by_ask[:trades], float(gains[:trades].sum()))
