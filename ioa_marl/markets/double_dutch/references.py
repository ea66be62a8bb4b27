"""References for the double Dutch auction without or beside the clairvoyant plan: fixed steps, sorted matching."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.records import plain_view
from ioa_marl.foundations.seeds import CALIBRATION_SEED
from ioa_marl.markets.double_dutch.auction import DoubleDutchParams
from ioa_marl.markets.double_dutch.kernels import draw_bids, open_auction, play_tick
from ioa_marl.markets.double_dutch.state import Array, AuctionState, Metrics, allocate_state


@kernel
def play_constant(state: AuctionState, params: Array, step: int) -> None:
    """Play every market of the batch to its end with one step (in ticks)."""
    for b in range(state.clock.shape[0]):
        draw_bids(b, state, params)
        open_auction(b, state, params)
        closed = False
        while not closed:
            _, closed = play_tick(b, state, params, step, state.order)


@dataclass(frozen=True)
class Frontier:
    """What each fixed step achieves on average."""

    steps: NDArray[np.float64]
    """Steps [units per lot], shape (steps,)."""
    metrics: dict[str, NDArray[np.float64]]
    """Mean of every metric of the auction, shape (steps,) each."""


def fixed_step_frontier(
    params: DoubleDutchParams,
    steps: ArrayLike | None = None,
    markets: int = 1000,
    seed: int = CALIBRATION_SEED,
) -> Frontier:
    """Play ``markets`` drawn markets with each fixed step: efficiency against messages, and the return.

    Parameters
    ----------
    params : DoubleDutchParams
        The auction.
    steps : array_like, optional
        Steps in units, multiples of the tick; by default those of the auction.
    markets : int, default 1000
        Number of markets; the same ones for every step.
    seed : int
        Seed of the markets; by default one that neither training nor evaluation uses.
    """
    chosen = np.asarray(params.steps if steps is None else steps, dtype=np.float64)
    record = params.record()
    state = allocate_state(markets, max(params.buyers, params.sellers))
    state.seed[:] = seed
    state.stream[:] = np.arange(markets)
    rows = []
    for step in chosen:
        play_constant(state, record, round(step / params.tick))
        rows.append(plain_view(state.totals).mean(axis=0))
    means = np.array(rows)
    return Frontier(chosen, {name: means[:, column] for column, name in enumerate(Metrics.names())})


@lru_cache(maxsize=64)
def best_fixed_step(params: DoubleDutchParams) -> int:
    """Return the index of the step with the highest mean return on markets kept for this purpose."""
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
    """Match the highest bids with the lowest asks while a trade gains; this maximises welfare."""
    bids, asks = np.asarray(bids, np.float64), np.asarray(asks, np.float64)
    by_bid = np.argsort(-bids, kind="stable")
    by_ask = np.argsort(asks, kind="stable")
    n = min(len(bids), len(asks))
    gains = bids[by_bid[:n]] - asks[by_ask[:n]]
    trades = int(np.sum(gains > 0))
    return Matching(by_bid[:trades], by_ask[:trades], float(gains[:trades].sum()))
