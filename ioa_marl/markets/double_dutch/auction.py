"""The double Dutch auction: parameters, presets, and `simulate` for one auction over given bids.

Buyers (fixed agents) bid for one lot of computing each, sellers (aerial agents) offer one lot each. The buyer
clock falls, the seller clock rises; the auctioneer chooses the step. Source: Sections IV-D and V-B of "Hybrid
Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI Task Offloading in Internet of Agents".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import ParameterError, check_integer, check_number, make_preset, require
from ioa_marl.markets.double_dutch.kernels import MAX_CLOCK, open_auction, run_auction
from ioa_marl.markets.double_dutch.state import AuctionState, DoubleDutchRecord, allocate_state

LARGEST_SUM = 1e9
"""Largest amount of money, and largest weight of a reward, that is accepted."""


@dataclass(frozen=True)
class DoubleDutchParams:
    """Parameters of the double Dutch auction; the defaults are the preset ``paper``.

    Money is in units of account, clocks are multiples of ``tick``. In each episode a market level
    m ~ U(level) and a width s ~ logU(width) are drawn; values are m + s·U(value_spread), costs are
    m − s·U(cost_spread), obtained through the physical quantities of Eqs. 33 and 34: the fixed agents' unit
    prices and the aerial agents' hover powers are calibrated to that, the other quantities are constants.
    """

    buyers: int = 10
    """Largest number of buyers J (fixed agents)."""
    sellers: int = 10
    """Largest number of sellers K (aerial agents)."""
    min_buyers: int | None = None
    """Smallest number of buyers; drawn uniformly per episode. None: always ``buyers``."""
    min_sellers: int | None = None
    """Smallest number of sellers; drawn uniformly per episode. None: always ``sellers``."""
    level: tuple[float, float] = (25.0, 55.0)
    """Range of the market level m [units per lot], uniform per episode."""
    width: tuple[float, float] = (6.0, 22.0)
    """Range of the width s [units per lot], log-uniform per episode."""
    value_spread: tuple[float, float] = (-0.5, 1.0)
    """Range of a buyer's position, values are m + s·U."""
    cost_spread: tuple[float, float] = (-0.5, 1.0)
    """Range of a seller's position, costs are m − s·U."""
    buyer_clock: float = 80.0
    """Start of the buyer clock C_b [units per lot]; also the cap that scales prices in observations."""
    seller_clock: float = 0.0
    """Start of the seller clock C_s [units per lot]."""
    tick: float = 0.25
    """Smallest clock movement [units per lot]."""
    steps: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0)
    """Steps the auctioneer may choose from [units per lot], multiples of ``tick``, increasing."""
    max_ticks: int = 400
    """Closing time T: broadcasts after which the auction ends."""
    psi: float = 0.5
    """Pricing coefficient ψ in [0, 1]: weight of the buyer clock in the clearing price."""
    scripted_step: float = 2.0
    """Step of the auctioneer when no agent plays it [units per lot]; one of ``steps``."""
    regret_weight: float = 0.1
    """Weight b of the regret |v − c| of each acceptance."""
    welfare_weight: float = 1.0
    """Weight c of social welfare."""
    message_weight: float = 0.03
    """Weight d of each bidder listening to a broadcast that nobody accepts [units per message]."""
    trade_weight: float = 0.0
    """Weight e of the number of trades [units per trade]."""
    welfare_paid: str = "per_trade"
    """When welfare enters the reward: ``per_trade`` (as pairs complete) or ``at_end`` (one lump)."""
    lot: float = 10.0
    """Lot size w [Mbit]."""
    cycles_per_mbit: float = 1e4
    """Computing per task λ [cycles/Mbit], for fixed and aerial agents."""
    fixed_speed: float = 4e6
    """Processing speed μ_j of a fixed agent [cycles/s]."""
    aerial_speed: float = 6e6
    """Processing speed μ_k of an aerial agent [cycles/s]."""
    aerial_power_coefficient: float = 1.5e-22
    """Power coefficient σ_k of an aerial agent [W·s³/cycles³]."""
    relay_time: float = 0.1
    """Transmission time t_k_up from a fixed to an aerial agent [s]."""
    buyer_delay_weight: float = 20.0
    """Weight θ_j of the logarithmic delay penalty in Eq. 33 [units]."""
    compute_energy_price: float = 1000.0
    """Cost ξ_k of an aerial agent's computing energy [units/J]."""
    hover_energy_price: float = 1.0
    """Cost γ_k of an aerial agent's hover energy [units/J]."""
    seller_delay_weight: float = 400.0
    """Weight θ_k of the squared delay in Eq. 34 [units/s²]."""

    def __post_init__(self) -> None:
        """Refuse what the auction cannot be run with, naming key, value and what is allowed."""
        for name in ("level", "width", "value_spread", "cost_spread", "steps"):
            self._make_tuple(name)
        for name in ("buyers", "sellers"):
            check_integer(self, name, 1, 100_000)
            if getattr(self, f"min_{name}") is not None:
                check_integer(self, f"min_{name}", 1, getattr(self, name))
        check_integer(self, "max_ticks", 1, MAX_CLOCK)
        for name in ("level", "width", "value_spread", "cost_spread"):
            low, high = getattr(self, name) if len(getattr(self, name)) == 2 else (math.nan, math.nan)
            usable = -LARGEST_SUM <= low <= high <= LARGEST_SUM
            require(usable, name, getattr(self, name), f"two numbers up to {LARGEST_SUM:g}, the lower first")
        require(self.width[0] > 0, "width", self.width, "positive numbers")
        for name in (
            "tick", "buyer_clock", "lot", "cycles_per_mbit", "fixed_speed", "aerial_speed", "relay_time",
            "hover_energy_price",
        ):  # fmt: skip
            check_number(self, name, low=1e-12, high=1e12)
        for name in (
            "regret_weight", "welfare_weight", "message_weight", "trade_weight", "seller_clock",
            "aerial_power_coefficient", "buyer_delay_weight", "compute_energy_price", "seller_delay_weight",
        ):  # fmt: skip
            check_number(self, name, low=0.0, high=LARGEST_SUM)
        check_number(self, "psi", low=0.0, high=1.0)
        require(
            self.welfare_paid in ("per_trade", "at_end"),
            "welfare_paid", self.welfare_paid, "per_trade or at_end",
        )  # fmt: skip
        self._check_clocks()
        lowest = self.level[0] - max(w * spread for w in self.width for spread in self.cost_spread)
        overhead = self._compute_cost() + self._delay_cost()
        require(
            lowest >= overhead, "level", self.level,
            f"values that keep every cost at or above computing and delay cost ({overhead:.3g}); "
            f"the lowest cost would be {lowest:.3g}",
        )  # fmt: skip

    def _make_tuple(self, name: str) -> None:
        value = getattr(self, name)
        try:
            object.__setattr__(self, name, tuple(float(x) for x in value))
        except (TypeError, ValueError) as error:
            raise ParameterError(name, value, "a sequence of numbers") from error

    def _check_clocks(self) -> None:
        for name, value in (
            ("buyer_clock", self.buyer_clock), ("seller_clock", self.seller_clock),
            ("scripted_step", self.scripted_step), *(("steps", step) for step in self.steps),
        ):  # fmt: skip
            ratio = value / self.tick
            require(
                math.isfinite(ratio) and abs(ratio - round(ratio)) < 1e-9 and ratio < MAX_CLOCK,
                name, value, f"a multiple of tick={self.tick}",
            )  # fmt: skip
        increasing = all(a < b for a, b in itertools.pairwise(self.steps))
        require(
            len(self.steps) > 0 and self.steps[0] > 0 and increasing,
            "steps", self.steps, "positive numbers, increasing",
        )  # fmt: skip
        listed = ", ".join(f"{step:g}" for step in self.steps)
        require(self.scripted_step in self.steps, "scripted_step", self.scripted_step, f"one of the steps {listed}")
        require(
            self.seller_clock < self.buyer_clock, "seller_clock", self.seller_clock,
            f"less than buyer_clock={self.buyer_clock}",
        )  # fmt: skip
        needed = self.ticks_needed()
        require(
            needed <= self.max_ticks, "max_ticks", self.max_ticks,
            f"at least {needed}, which the smallest step needs with these clocks and bidders",
        )  # fmt: skip

    def ticks_needed(self) -> int:
        """Return the most broadcasts an auction can take: every clock move and every acceptance on its own."""
        finest = min(min(self.steps, default=self.tick), self.scripted_step)
        moves = math.ceil((self.buyer_clock - self.seller_clock) / finest) + 1
        return moves + self.buyers + self.sellers

    def _compute_cost(self) -> float:
        cycles = self.cycles_per_mbit * self.lot
        return self.compute_energy_price * self.aerial_speed**2 * self.aerial_power_coefficient * cycles

    def _delay_cost(self) -> float:
        return self.seller_delay_weight * (self.cycles_per_mbit * self.lot / self.fixed_speed) ** 2

    def record(
        self,
        controlled_roles: Sequence[str] = ("auctioneer",),
        max_cycles: int | None = None,
        extended: bool = False,
        autoreset: bool = True,
    ) -> NDArray[Any]:
        """Return what the kernels need to know, an array of one `DoubleDutchRecord`.

        Parameters
        ----------
        controlled_roles : sequence of str, default ("auctioneer",)
            Roles that act in steps of the environment.
        max_cycles : int, optional
            Steps after which an episode is cut off.
        extended : bool, default False
            Whether the auctioneer sees the extended features.
        autoreset : bool, default True
            Whether a market that ends starts its next episode in the same step.
        """
        aerial_time = self.cycles_per_mbit * self.lot / self.aerial_speed
        log_low, log_high = np.log(self.width)
        return DoubleDutchRecord.row(
            psi=self.psi, tick=self.tick, lot=self.lot,
            regret_weight=self.regret_weight, welfare_weight=self.welfare_weight,
            message_weight=self.message_weight, trade_weight=self.trade_weight,
            level_low=self.level[0], level_high=self.level[1], log_width_low=log_low, log_width_high=log_high,
            value_low=self.value_spread[0], value_high=self.value_spread[1],
            cost_low=self.cost_spread[0], cost_high=self.cost_spread[1],
            buyer_penalty=self.buyer_delay_weight * math.log1p(aerial_time),
            compute_cost=self._compute_cost(), delay_cost=self._delay_cost(),
            hover_cost=self.hover_energy_price * (self.relay_time + aerial_time),
            min_buyers=self.buyers if self.min_buyers is None else self.min_buyers,
            min_sellers=self.sellers if self.min_sellers is None else self.min_sellers,
            max_buyers=self.buyers, max_sellers=self.sellers,
            buyer_start=round(self.buyer_clock / self.tick),
            seller_start=round(self.seller_clock / self.tick),
            max_ticks=self.max_ticks,
            pay_per_trade=self.welfare_paid == "per_trade",
            scripted_step=round(self.scripted_step / self.tick),
            max_cycles=np.iinfo(np.int64).max if max_cycles is None else max_cycles,
            auctioneer_learns="auctioneer" in controlled_roles,
            buyers_learn="buyer" in controlled_roles,
            sellers_learn="seller" in controlled_roles,
            extended=extended, autoreset=autoreset,
        )  # fmt: skip

    def step_ticks(self) -> NDArray[np.int64]:
        """Return the auctioneer's steps in ticks."""
        return np.array([round(step / self.tick) for step in self.steps], dtype=np.int64)


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "calm": {
        "level": (20.0, 20.0),
        "width": (5.0, 5.0),
        "value_spread": (-1.0, 6.0),
        "cost_spread": (-3.0, 3.0),
        "buyer_clock": 60.0,
    },
    "mixed": {"buyers": 16, "sellers": 16, "min_buyers": 4, "min_sellers": 4},
    "thin": {"buyers": 5, "sellers": 10, "min_sellers": 1},
    "thick": {"buyers": 50, "sellers": 50, "max_ticks": 500},
    "exchange": {"buyers": 1000, "sellers": 1000, "max_ticks": 2400},
}
"""What each preset changes of the defaults."""


@dataclass(frozen=True)
class AuctionResult:
    """What happened in one double Dutch auction."""

    price: float
    """Clearing price r* [units per lot]."""
    buyers: NDArray[np.int64]
    """Indices of the buyers who trade, in order of acceptance, shape (trades,)."""
    sellers: NDArray[np.int64]
    """Indices of the sellers who trade, in order of acceptance, shape (trades,)."""
    buyer_clocks: NDArray[np.float64]
    """Buyer clock at which each trading buyer accepted, shape (trades,)."""
    seller_clocks: NDArray[np.float64]
    """Seller clock at which each trading seller accepted, shape (trades,)."""
    accepted: tuple[int, int]
    """Buyers and sellers who accepted, trading or dropped."""
    ticks: int
    """Broadcasts."""
    moves: int
    """Clock moves, which are the auctioneer's decisions."""
    messages: int
    """Clock messages delivered: listeners summed over broadcasts."""
    welfare: float
    """Σ values − Σ costs over the traders [units]."""
    optimal_welfare: float
    """Largest possible welfare, by sorted matching [units]."""
    efficiency: float
    """welfare / optimal_welfare; 1 where there is nothing to gain."""
    clock_surplus: float
    """Eq. 37 as printed: accepted clocks in place of valuations [units]."""
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
) -> AuctionResult:
    """Run one double Dutch auction over given bids.

    Parameters
    ----------
    bids : array_like, shape (buyers,)
        Bids of the buyers; they accept at any clock at or below. Finite, at least 0.
    asks : array_like, shape (sellers,)
        Asks of the sellers; they accept at any clock at or above. Finite, at least 0.
    step : float or sequence of float
        The auctioneer's step, or one step per clock move (the last one is then repeated). Positive multiples
        of ``tick``.
    tick : float, optional
        Smallest clock movement; by default the smallest step. Bids within 1e-9 ticks of a clock count as on it.
    buyer_clock, seller_clock : float, optional
        Where the clocks start, rounded outwards to a tick; by default the highest bid (or ask, if that is
        higher) and the lowest ask (or bid).
    psi : float, default 0.5
        Weight ψ of the buyer clock in the clearing price.

    Returns
    -------
    AuctionResult

    Raises
    ------
    ParameterError
        If a number is not usable; the message names it and what is allowed.

    References
    ----------
    Section IV-D, Eqs. 35-37, of "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI
    Task Offloading in Internet of Agents".

    Examples
    --------
    >>> result = simulate([10, 8, 6, 3], [1, 2, 5, 7], step=0.1)
    >>> result.trades, round(result.price, 6)
    (3, 5.0)
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
    everything = np.concatenate([bids, asks])
    top = everything.max() if buyer_clock is None else buyer_clock
    bottom = everything.min() if seller_clock is None else seller_clock
    for name, given, clock in (("buyer_clock", buyer_clock, top), ("seller_clock", seller_clock, bottom)):
        within = math.isfinite(clock) and abs(clock) / tick < MAX_CLOCK
        require(within or given is None, name, clock, f"a number within {MAX_CLOCK} ticks of {tick:g}")
        require(within, "tick", tick, f"more, so that the bids are within {MAX_CLOCK} ticks")
    require(bottom <= top, "seller_clock", bottom, f"at most buyer_clock={top:g}")
    start = (math.ceil(top / tick - 1e-9), math.floor(bottom / tick + 1e-9))

    state, params = _given_bids(bids, asks, tick, psi, start)
    open_auction(0, state, params)
    moves = run_auction(state, params, plan_ticks, state.order)
    return _result(state, moves, tick)


def _bids(values: ArrayLike, name: str) -> NDArray[np.float64]:
    out = np.atleast_1d(np.asarray(values, dtype=np.float64))
    require(
        out.ndim == 1 and out.size > 0 and bool(np.all(np.isfinite(out) & (out >= 0))),
        name, values, "a sequence of finite numbers, at least 0",
    )  # fmt: skip
    return out


def _given_bids(
    bids: NDArray[np.float64], asks: NDArray[np.float64], tick: float, psi: float, start: tuple[int, int]
) -> tuple[AuctionState, NDArray[Any]]:
    n = max(len(bids), len(asks))
    state = allocate_state(1, n)
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
    totals = state.totals[0]
    trades = int(totals.trades)
    buyers, sellers = (state.order[0, side, :trades].astype(np.int64) for side in range(2))
    return AuctionResult(
        price=float(totals.price),
        buyers=buyers,
        sellers=sellers,
        buyer_clocks=state.accepted_at[0, 0, buyers] * tick,
        seller_clocks=state.accepted_at[0, 1, sellers] * tick,
        accepted=(int(state.winners[0, 0]), int(state.winners[0, 1])),
        ticks=int(totals.ticks),
        moves=int(moves),
        messages=int(totals.messages),
        welfare=float(totals.welfare),
        optimal_welfare=float(totals.optimal_welfare),
        efficiency=float(totals.efficiency),
        clock_surplus=float(totals.clock_surplus),
        regret=float(totals.regret),
    )


def preset(name: str, **changes: Any) -> DoubleDutchParams:
    """Return the parameters of a preset, with ``changes`` applied."""
    return make_preset(DoubleDutchParams, PRESETS, name, changes)
