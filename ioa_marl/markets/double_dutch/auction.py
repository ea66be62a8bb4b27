"""One double Dutch auction over known bids: `simulate` and its result.

The equations of the auction are in `ioa_marl.markets.double_dutch.kernels`. Source: Sections IV-D and V-B of "Hybrid
Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI Task Offloading in Internet of Agents".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import require
from ioa_marl.markets.double_dutch.kernels import BUYERS, MAX_CLOCK, SELLERS, open_auction, price_of_trades, run_auction
from ioa_marl.markets.double_dutch.params import require_ending
from ioa_marl.markets.double_dutch.state import AuctionState, DoubleDutchRecord, allocate_state


@dataclass(frozen=True)
class AuctionResult:
    """Outcome of one double Dutch auction."""

    price: float
    """Clearing price r* [units per lot]; NaN without a trade."""
    buyers: NDArray[np.int64]
    """Indices of the buyers who trade, in order of acceptance, shape (trades,)."""
    sellers: NDArray[np.int64]
    """Indices of the sellers who trade, in order of acceptance, shape (trades,)."""
    buyer_clocks: NDArray[np.float64]
    """Buyer clock at which each trading buyer accepted [units per lot], shape (trades,)."""
    seller_clocks: NDArray[np.float64]
    """Seller clock at which each trading seller accepted [units per lot], shape (trades,)."""
    accepted: tuple[int, int]
    """Numbers of buyers and sellers who accepted, with those who were dropped."""
    ticks: int
    """Number of broadcasts."""
    moves: int
    """Number of clock moves, which are the auctioneer's decisions."""
    messages: int
    """Number of clock messages: the listeners summed over the broadcasts."""
    welfare: float
    """Welfare: Σ values − Σ costs over the traders [units]."""
    optimal_welfare: float
    """Largest possible welfare, by sorted matching [units]."""
    efficiency: float
    """Welfare over the largest possible welfare; 1 if that is 0."""
    clock_surplus: float
    """Eq. 37 as printed, with accepted clocks in place of valuations [units]."""
    regret: float
    """Σ |valuation − clock| over all who accepted [units]."""

    @property
    def trades(self) -> int:
        """Number of trades."""
        return len(self.buyers)


def simulate(
    bids: ArrayLike,
    asks: ArrayLike,
    step: float | Sequence[float],
    *,
    tick: float | None = None,
    buyer_clock: float | None = None,
    seller_clock: float | None = None,
    psi: float = 0.5,
    ending: str = "exhausted",
) -> AuctionResult:
    """Run one double Dutch auction over known bids.

    Parameters
    ----------
    bids : array_like, shape (buyers,)
        Bids of the buyers [units per lot], finite and at least 0. A buyer accepts every clock at or below its bid.
    asks : array_like, shape (sellers,)
        Asks of the sellers [units per lot], finite and at least 0. A seller accepts every clock at or above its ask.
    step : float or sequence of float
        The auctioneer's step [units per lot], or one step per clock move, of which the last one is repeated. Steps are
        positive multiples of ``tick``.
    tick : float, optional
        Smallest clock movement [units per lot]. Default: the smallest step. A bid within 1e-9 ticks of a clock counts
        as equal to it.
    buyer_clock, seller_clock : float, optional
        Starts of the clocks [units per lot], which are rounded outwards to a tick. Default: the highest and the lowest
        of all bids and asks.
    psi : float, default 0.5
        Weight ψ of the buyer clock in the clearing price.
    ending : {"exhausted", "next_loser"}, default "exhausted"
        What ends the auction when all bidders of one side have accepted and the other side has as many acceptors:
        that, or that a further bidder of the other side accepts, which is a loser, or the clocks cross. The price is
        then the last clock that the next loser refused, so that it lies between the bids of winners and losers.

    Returns
    -------
    AuctionResult

    Raises
    ------
    ParameterError
        If an argument is invalid; the message names it and the allowed values.

    References
    ----------
    Section IV-D, Eqs. 35-37, of "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI
    Task Offloading in Internet of Agents".

    Examples
    --------
    >>> result = simulate([10, 8, 6, 3], [1, 2, 5, 7], step=0.1)
    >>> result.trades, round(result.price, 6)
    (3, 5.0)
    >>> simulate([5], [6], step=1).price
    nan
    >>> one_seller = {"bids": [10, 8], "asks": [2], "step": 0.5}
    >>> simulate(**one_seller).price, simulate(**one_seller, ending="next_loser").price
    (6.0, 8.5)
    """
    bids, asks = _bids(bids, "bids"), _bids(asks, "asks")
    plan = np.atleast_1d(np.asarray(step, dtype=np.float64))
    require(
        plan.ndim == 1 and plan.size > 0 and bool(np.all(np.isfinite(plan) & (plan > 0))),
        "step", step, "a positive number or a sequence of them",
    )  # fmt: skip
    tick = float(plan.min()) if tick is None else tick
    require(math.isfinite(tick) and tick > 0, "tick", tick, "a positive finite number")
    ratios = plan / tick
    whole = np.all((ratios < MAX_CLOCK) & (ratios >= 0.5) & (np.abs(ratios - np.rint(ratios)) < 1e-6))
    require(bool(whole), "step", step, f"multiples of tick={tick:g}, less than {MAX_CLOCK} of them")
    plan_ticks = np.rint(ratios).astype(np.int64)
    require(0.0 <= psi <= 1.0, "psi", psi, "0 to 1")
    require_ending(ending)
    reports = np.concatenate([bids, asks])
    highest = reports.max() if buyer_clock is None else buyer_clock
    lowest = reports.min() if seller_clock is None else seller_clock
    for name, argument, clock in (("buyer_clock", buyer_clock, highest), ("seller_clock", seller_clock, lowest)):
        within = math.isfinite(clock) and abs(clock) / tick < MAX_CLOCK
        require(within or argument is None, name, clock, f"a number within {MAX_CLOCK} ticks of {tick:g}")
        require(within, "tick", tick, f"more, so that the bids are within {MAX_CLOCK} ticks")
    require(lowest <= highest, "seller_clock", lowest, f"at most buyer_clock={highest:g}")
    start = (math.ceil(highest / tick - 1e-9), math.floor(lowest / tick + 1e-9))

    state, params = _market_of_bids(bids, asks, tick, psi, start)
    params["runs_on"] = ending == "next_loser"
    open_auction(0, state, params)
    moves = run_auction(state, params, plan_ticks, state.order)
    return _result(state, moves, tick)


def _bids(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return the checked bids or asks of a side, shape (bidders,)."""
    out = np.atleast_1d(np.asarray(values, dtype=np.float64))
    require(
        out.ndim == 1 and out.size > 0 and bool(np.all(np.isfinite(out) & (out >= 0))),
        name, values, "a sequence of finite numbers, at least 0",
    )  # fmt: skip
    return out


def _market_of_bids(
    bids: NDArray[np.float64], asks: NDArray[np.float64], tick: float, psi: float, start: tuple[int, int]
) -> tuple[AuctionState, NDArray[Any]]:
    """Return a batch of one market with the bids as valuations, and its parameters; ``start`` has the clocks [ticks].

    Weights of rewards and ranges of draws are zero, since the auction uses neither.
    """
    state = allocate_state(1, max(len(bids), len(asks)))
    for side, values in enumerate((bids, asks)):
        state.size[0, side] = len(values)
        state.valuation[0, side, : len(values)] = values
        state.order[0, side, : len(values)] = np.arange(len(values))
    params = DoubleDutchRecord.zeros(1)
    params["psi"], params["tick"] = psi, tick
    params["buyer_start"], params["seller_start"] = start
    params["max_ticks"] = np.iinfo(np.int64).max
    return state, params


def _result(state: AuctionState, moves: int, tick: float) -> AuctionResult:
    """Return the outcome of market 0, whose auction has ended."""
    totals = state.totals[0]
    trades = int(totals.trades)
    buyers, sellers = (state.order[0, side, :trades].astype(np.int64) for side in range(2))
    return AuctionResult(
        price=float(price_of_trades(0, state)),
        buyers=buyers,
        sellers=sellers,
        buyer_clocks=state.accepted_at[0, BUYERS, buyers] * tick,
        seller_clocks=state.accepted_at[0, SELLERS, sellers] * tick,
        accepted=(int(state.winners[0, BUYERS]), int(state.winners[0, SELLERS])),
        ticks=int(totals.ticks),
        moves=int(moves),
        messages=int(totals.messages),
        welfare=float(totals.welfare),
        optimal_welfare=float(totals.optimal_welfare),
        efficiency=float(totals.efficiency),
        clock_surplus=float(totals.clock_surplus),
        regret=float(totals.regret),
    )
