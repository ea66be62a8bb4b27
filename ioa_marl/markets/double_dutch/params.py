"""Parameters and presets of the double Dutch auction.

Buyers (fixed agents) bid for one lot of computing each, and sellers (aerial agents) offer one lot each. The buyer
clock falls, the seller clock rises, and the auctioneer chooses the step. Source: Sections IV-D and V-B of "Hybrid
Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI Task Offloading in Internet of Agents".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.parameters import (
    ParameterError,
    added_setting,
    check_integer,
    check_number,
    make_preset,
    require,
)
from ioa_marl.foundations.tables import hold_table, take_from_table
from ioa_marl.markets.double_dutch.kernels import MAX_CLOCK
from ioa_marl.markets.double_dutch.own_bids import own_bids
from ioa_marl.markets.double_dutch.state import DoubleDutchRecord

ENDINGS = ("exhausted", "next_loser")
"""Rules by which an auction ends when all bidders of one side have accepted."""
LARGEST = 1e9
"""Largest accepted amount of money [units] and largest accepted weight of a reward."""


@dataclass(frozen=True)
class DoubleDutchParams:
    """Parameters of the double Dutch auction; the defaults are the preset ``paper``.

    Money is in units of account, and clocks are multiples of ``tick``. In each episode a market level
    m ~ U(level) and a width s ~ logU(width) are drawn. Values are m + s·U(value_spread), and costs are
    m − s·U(cost_spread). Both follow from the physical quantities of Eqs. 33 and 34: the unit prices of the fixed
    agents and the hover powers of the aerial agents are calibrated to them, and the other quantities are constants.
    """

    buyers: int = 10
    """Largest number of buyers J (fixed agents)."""
    sellers: int = 10
    """Largest number of sellers K (aerial agents)."""
    min_buyers: int | None = None
    """Smallest number of buyers; the number is drawn uniformly per episode. None: always ``buyers``."""
    min_sellers: int | None = None
    """Smallest number of sellers; the number is drawn uniformly per episode. None: always ``sellers``."""
    level: tuple[float, float] = (25.0, 55.0)
    """Range of the market level m [units per lot], uniform per episode."""
    width: tuple[float, float] = (6.0, 22.0)
    """Range of the width s [units per lot], log-uniform per episode."""
    value_spread: tuple[float, float] = (-0.5, 1.0)
    """Range of the position of a buyer, whose value is m + s·position."""
    cost_spread: tuple[float, float] = (-0.5, 1.0)
    """Range of the position of a seller, whose cost is m − s·position."""
    buyer_clock: float = 80.0
    """Start of the buyer clock C_b [units per lot], at least the highest bid; it also scales prices in observations."""
    seller_clock: float = 0.0
    """Start of the seller clock C_s [units per lot], at most the lowest ask."""
    tick: float = 0.25
    """Smallest clock movement [units per lot]."""
    steps: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0)
    """Steps from which the auctioneer chooses [units per lot], increasing multiples of ``tick``."""
    max_ticks: int = 400
    """Closing time T: the number of broadcasts after which the auction ends."""
    ending: str = added_setting("exhausted")
    """End of the auction once a side is used up: at once (``exhausted``) or when a loser accepts (``next_loser``)."""
    psi: float = 0.5
    """Pricing coefficient ψ in [0, 1]: weight of the buyer clock in the clearing price."""
    scripted_step: float = 2.0
    """Step of the auctioneer when it is scripted [units per lot]; one of ``steps``."""
    regret_weight: float = 0.1
    """Weight b of the regret |v − c| of each acceptance."""
    welfare_weight: float = 1.0
    """Weight c of social welfare."""
    message_weight: float = 0.03
    """Weight d of each bidder that listens to a broadcast which nobody accepts [units per message]."""
    trade_weight: float = 0.0
    """Weight e of the number of trades [units per trade]."""
    welfare_paid: str = "per_trade"
    """When welfare enters the reward: ``per_trade`` (as pairs complete) or ``at_end`` (as one sum)."""
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
    data: str | None = added_setting(None)
    """File (CSV, Parquet) of one's own bids and asks, a row for each, instead of draws. None: bids are drawn."""

    def __post_init__(self) -> None:
        """Check the parameters; an error names the key, the value and the allowed values."""
        if hold_table(self, "data") is not None:
            self._take_numbers_of_bidders()
        for name in ("level", "width", "value_spread", "cost_spread", "steps"):
            self._make_tuple(name)
        for name in ("buyers", "sellers"):
            check_integer(self, name, 1, 100_000)
            if getattr(self, f"min_{name}") is not None:
                check_integer(self, f"min_{name}", 1, getattr(self, name))
        check_integer(self, "max_ticks", 1, MAX_CLOCK)
        for name in ("level", "width", "value_spread", "cost_spread"):
            low, high = getattr(self, name) if len(getattr(self, name)) == 2 else (math.nan, math.nan)
            valid = -LARGEST <= low <= high <= LARGEST
            require(valid, name, getattr(self, name), f"two numbers up to {LARGEST:g}, the lower first")
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
            check_number(self, name, low=0.0, high=LARGEST)
        check_number(self, "psi", low=0.0, high=1.0)
        require(
            self.welfare_paid in ("per_trade", "at_end"),
            "welfare_paid", self.welfare_paid, "per_trade or at_end",
        )  # fmt: skip
        require_ending(self.ending)
        self._check_clocks()
        if self.data is not None:
            return
        lowest, _ = self.bid_bounds()
        overhead = self._compute_cost() + self._delay_cost()
        require(
            lowest >= overhead, "level", self.level,
            f"values that keep every cost at or above computing and delay cost ({overhead:.3g}); "
            f"the lowest cost would be {lowest:.3g}",
        )  # fmt: skip

    @classmethod
    def set_by_data(cls, data: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the settings that follow from a table, and those that it has as columns."""
        return ("buyers", "sellers", "min_buyers", "min_sellers"), ()

    def _take_numbers_of_bidders(self) -> None:
        """Set the numbers of bidders to those of the table, with which other values than the defaults must agree."""
        assert self.data is not None
        size = own_bids(self.data).size
        for side, name in enumerate(("buyers", "sellers")):
            most, least = int(size[:, side].max()), int(size[:, side].min())
            take_from_table(self, {name: most, f"min_{name}": None if least == most else least})

    def _make_tuple(self, name: str) -> None:
        """Convert a field to a tuple of floats."""
        value = getattr(self, name)
        try:
            object.__setattr__(self, name, tuple(float(x) for x in value))
        except (TypeError, ValueError) as error:
            raise ParameterError(name, value, "a sequence of numbers") from error

    def _check_clocks(self) -> None:
        """Check the clocks, the steps and the closing time."""
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
        longest = self.ticks_needed()
        require(
            longest <= self.max_ticks, "max_ticks", self.max_ticks,
            f"at least {longest}, which the smallest step needs with these clocks and bidders",
        )  # fmt: skip

    def bid_bounds(self) -> tuple[float, float]:
        """Return the lowest cost of a seller and the highest value of a buyer that can occur [units per lot]."""
        if self.data is not None:
            given = own_bids(self.data)
            return given.lowest, given.highest
        lowest = self.level[0] - max(w * spread for w in self.width for spread in self.cost_spread)
        highest = self.level[1] + max(w * spread for w in self.width for spread in self.value_spread)
        return lowest, highest

    def require_bids_within_clocks(self) -> None:
        """Refuse clocks that start inside the range of the bids: in the paper they start at the extreme bids.

        A bidder beyond the start would accept the first broadcast with a regret that no step of the auctioneer can
        avoid. This is checked wherever bids are drawn, and not when the parameters are made, since the two-tier market
        uses them for bids of its own.
        """
        lowest, highest = self.bid_bounds()
        drawn = "with these level, width and {}" if self.data is None else "in data"
        require(
            highest <= self.buyer_clock + 1e-9 * abs(highest), "buyer_clock", self.buyer_clock,
            f"at least {highest:g}, the highest bid {drawn.format('value_spread')}",
        )  # fmt: skip
        require(
            lowest >= self.seller_clock - 1e-9 * abs(lowest), "seller_clock", self.seller_clock,
            f"at most {lowest:g}, the lowest ask {drawn.format('cost_spread')}",
        )  # fmt: skip

    def ticks_needed(self) -> int:
        """Return the largest possible number of broadcasts of an auction.

        It occurs if every clock move has the smallest step and every acceptance has a broadcast of its own.
        """
        finest = min(min(self.steps, default=self.tick), self.scripted_step)
        moves = math.ceil((self.buyer_clock - self.seller_clock) / finest) + 1
        return moves + self.buyers + self.sellers

    def _compute_cost(self) -> float:
        """Return the cost of a seller's computing energy for one lot, the first term of Eq. 34 [units]."""
        cycles = self.cycles_per_mbit * self.lot
        return self.compute_energy_price * self.aerial_speed**2 * self.aerial_power_coefficient * cycles

    def _delay_cost(self) -> float:
        """Return the squared delay in a seller's cost of one lot, the last term of Eq. 34 [units]."""
        return self.seller_delay_weight * (self.cycles_per_mbit * self.lot / self.fixed_speed) ** 2

    def record(
        self,
        controlled_roles: Sequence[str] = ("auctioneer",),
        max_cycles: int | None = None,
        extended: bool = False,
        autoreset: bool = True,
    ) -> NDArray[Any]:
        """Return the parameters as kernels read them.

        Parameters
        ----------
        controlled_roles : sequence of str, default ("auctioneer",)
            Roles that act in steps of the environment. Unknown names are ignored.
        max_cycles : int, optional
            Number of steps after which an episode is truncated. Default: no limit.
        extended : bool, default False
            Whether the auctioneer observes the extended features.
        autoreset : bool, default True
            Whether a market whose episode ends starts the next episode in the same step.

        Returns
        -------
        ndarray of `DoubleDutchRecord`, shape (1,)
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
            runs_on=self.ending == "next_loser",
            pay_per_trade=self.welfare_paid == "per_trade",
            scripted_step=round(self.scripted_step / self.tick),
            max_cycles=np.iinfo(np.int64).max if max_cycles is None else max_cycles,
            auctioneer_controlled="auctioneer" in controlled_roles,
            buyers_controlled="buyer" in controlled_roles,
            sellers_controlled="seller" in controlled_roles,
            extended=extended, autoreset=autoreset,
        )  # fmt: skip

    def step_ticks(self) -> NDArray[np.int64]:
        """Return the steps of the auctioneer [ticks], int64 (steps,)."""
        return np.array([round(step / self.tick) for step in self.steps], dtype=np.int64)


def require_ending(ending: str) -> None:
    """Refuse a rule for the end of the auction that is unknown."""
    require(ending in ENDINGS, "ending", ending, " or ".join(ENDINGS))


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
"""Fields that differ from the defaults in each preset."""


def preset(name: str, **changes: Any) -> DoubleDutchParams:
    """Return the parameters of a preset, with the fields ``changes`` replaced.

    Raises
    ------
    ParameterError
        If a field is invalid, or a bid could lie outside the starts of the clocks.
    """
    params: DoubleDutchParams = make_preset(DoubleDutchParams, PRESETS, name, changes)
    params.require_bids_within_clocks()
    return params
