"""The two-tier market: its parameters and presets, and functions that allocate and draw markets.

Mobile and fixed agents post prices, wireless agents answer, and overloaded fixed agents buy computing from aerial
agents in a double Dutch auction. The tiers are the markets of `ioa_marl.markets.stackelberg.params` and
`ioa_marl.markets.double_dutch.params`, connected by `ioa_marl.markets.two_tier.kernels`. Source: "Hybrid Stackelberg
Game and Diffusion-based Auction for Two-tier Agentic AI Task Offloading in Internet of Agents".
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import (
    ParameterError,
    added_setting,
    check_integer,
    check_number,
    check_range,
    make_preset,
    require,
)
from ioa_marl.foundations.seeds import as_seeds
from ioa_marl.foundations.tables import hold_table, parse_table, table_text, take_from_table
from ioa_marl.markets.double_dutch.kernels import MAX_CLOCK
from ioa_marl.markets.double_dutch.params import DoubleDutchParams
from ioa_marl.markets.double_dutch.state import allocate_state as allocate_auction
from ioa_marl.markets.stackelberg import params as stackelberg
from ioa_marl.markets.stackelberg.drivers import reshape_markets
from ioa_marl.markets.stackelberg.params import ACTUATOR_RATIO, StackelbergParams
from ioa_marl.markets.two_tier.drivers import expect_markets, open_tiers
from ioa_marl.markets.two_tier.kernels import ABSENT, NOBODY, Market, Settings, TierState
from ioa_marl.markets.two_tier.own_agents import OwnTier, count_agents, own_tier, table_of_pricing, write_tier
from ioa_marl.markets.two_tier.records import CourseTotals, TierTotals, TwoTierRecord

LARGEST = 1e9
"""Largest accepted value of a parameter."""
SHARED = (
    "wireless", "mobile", "fixed", "rounds", "workload", "cycles_per_mbit", "mobile_speed", "fixed_speed",
    "aerial_speed", "upload_time", "relay_time", "tolerable_delay", "qoe_weight", "actuator_ratio", "bandwidth",
    "mobile_energy", "fixed_energy", "mobile_cost", "fixed_cost", "price_cap", "spread", "deviation_step",
    "max_iterations", "dynamics", "mobility_weight", "mobility_offset", "lowest_idle", "velocity", "velocity_deviation",
    "velocity_range", "memory", "shadowing", "fading_limit", "arrivals", "max_tasks",
)  # fmt: skip
"""Names of the parameters that are those of the pricing tier."""


@dataclass(frozen=True)
class TwoTierParams:
    """Parameters of the two-tier market; the defaults are the preset ``paper``.

    Money is in units of account. Quantities of the pricing tier that differ between agents and have no range are drawn
    per agent, uniform within the relative ``spread`` of their parameter.
    """

    wireless: int = 10
    """Number of wireless agents N (followers)."""
    mobile: int = 10
    """Number of mobile agents I (leaders)."""
    fixed: int = 10
    """Number of fixed agents J (leaders, and buyers when they are overloaded)."""
    aerial: int = 10
    """Number of aerial agents K (sellers)."""
    rounds: int = 20
    """Trading rounds in an episode."""
    workload: float = 10.0
    """Workload W of a wireless agent in a round [Mbit]."""
    cycles_per_mbit: float = 1e4
    """Computing per task λ [cycles/Mbit]."""
    mobile_speed: float = 1e6
    """Processing speed μ_i of a mobile agent [cycles/s]."""
    fixed_speed: float = 4e6
    """Processing speed μ_j of a fixed agent [cycles/s]."""
    aerial_speed: float = 6e6
    """Processing speed μ_k of an aerial agent [cycles/s]."""
    upload_time: float = 0.5
    """Transmission time t_up of a wireless agent [s]."""
    relay_time: tuple[float, float] = (0.1, 0.1)
    """Range of the transmission time t_k_up from a fixed to an aerial agent [s]."""
    tolerable_delay: float = 3.3
    """Tolerable delay ε of a wireless agent [s]."""
    qoe_weight: float = 600.0
    """Weight κ of the quality of experience [units]."""
    actuator_ratio: float = ACTUATOR_RATIO
    """Actuator time t_n over tolerable delay ε."""
    bandwidth: float = 20.0 / 3.0
    """Bandwidth w_B of a wireless agent [MHz]."""
    mobile_energy: float = 4.26
    """Energy cost ζ t_up n_B/g_i of the link to the mobile agent [units], for 1 bit/s/Hz."""
    fixed_energy: float = 2.68
    """Energy cost ζ t_up n_B/g_j of the link to the fixed agent [units], for 1 bit/s/Hz."""
    mobile_cost: tuple[float, float] = (0.7, 1.0)
    """Range of a mobile agent's unit cost ξ σ μ² λ [units/Mbit], uniform per episode."""
    fixed_cost: tuple[float, float] = (1.5, 2.2)
    """Range of a fixed agent's unit cost ξ σ μ² λ [units/Mbit], uniform per episode."""
    price_cap: float = 10.0
    """Largest unit price p̄ that a leader may post [units/Mbit]."""
    spread: float = 0.1
    """Relative half-width of the quantities that differ between agents, in [0, 0.9]."""
    deviation_step: float = 0.05
    """Step Δ of the grid on which the equilibrium of the pricing tier is searched before refinement [units/Mbit]."""
    max_iterations: int = 60
    """Largest number of rounds of Algorithm 2; without convergence the pricing tier has no pure equilibrium."""
    capacity: tuple[float, float] = (0.4, 40.0)
    """Range of the load κ_j that a fixed agent can compute itself in a round [Mbit], log-uniform per instance."""
    lot: float = 2.0
    """Lot size w: the load that a buyer buys and a seller sells in a round [Mbit]."""
    relay_cost: float = 0.2
    """Cost γ E_up of relaying one lot to an aerial agent [units], paid by the fixed agent."""
    fixed_delay_weight: float = 100.0
    """Weight θ_j of the logarithmic delay penalty in a fixed agent's valuation (Eq. 33) [units]."""
    aerial_delay_weight: float = 1e4
    """Weight θ_k of the squared delay in an aerial agent's valuation (Eq. 34) [units/s²]."""
    aerial_cost: tuple[float, float] = (0.2, 0.8)
    """Range of an aerial agent's unit cost ξ σ μ² λ of computing [units/Mbit], uniform per episode."""
    hover_power: tuple[float, float] = (100.0, 300.0)
    """Range of an aerial agent's hover power p_hov in calm air [W], uniform per episode."""
    wind: tuple[float, float] = (0.5, 1.5)
    """Range of the factor of the wind on all hover powers of an episode, uniform."""
    hover_energy_price: float = 0.1
    """Cost γ_k of an aerial agent's hover energy [units/J]."""
    tick: float = 0.0625
    """Smallest clock movement [units per lot]."""
    steps: tuple[float, ...] = (0.0625, 0.125, 0.1875, 0.25, 0.375, 0.5, 0.75, 1.25, 2.0, 3.0)
    """Steps from which the auctioneer chooses for each clock [units per lot]: increasing multiples of ``tick``."""
    scripted_buyer_step: float = 1.25
    """Step of the buyer clock when the auctioneer is scripted [units per lot]; one of ``steps``."""
    scripted_seller_step: float = 0.5
    """Step of the seller clock when the auctioneer is scripted [units per lot]; one of ``steps``."""
    psi: float = 0.5
    """Pricing coefficient ψ in [0, 1]: weight of the buyer clock in the clearing price."""
    regret_weight: float = 0.1
    """Weight b of the regret |v − c| of each acceptance in the auctioneer's return."""
    welfare_weight: float = 1.0
    """Weight c of the auction's welfare in the auctioneer's return."""
    message_weight: float = 0.0075
    """Weight d of each bidder that listens to a broadcast which nobody accepts [units per message]."""
    trade_weight: float = 0.0
    """Weight e of the number of trades [units per trade]."""
    dynamics: bool = added_setting(False)
    """Whether speeds, channel gains and numbers of tasks change between rounds."""
    mobility_weight: float = added_setting(0.0)
    """Weight of idle resources times relative speed in the mobility factor m (Eq. 15), which wireless agents pay."""
    mobility_offset: float = added_setting(1.0)
    """Mobility factor m of a mobile agent without idle resources."""
    lowest_idle: float = added_setting(0.0)
    """Smallest idle share of a mobile agent's resources, which is uniform between this and 1."""
    velocity: float = added_setting(15.0)
    """Mean speed of wireless and mobile agents [m/s]."""
    velocity_deviation: float = added_setting(3.0)
    """Standard deviation of the speeds [m/s]."""
    velocity_range: float = added_setting(20.0)
    """Difference v̄ − v̲ of largest and smallest speed [m/s]."""
    memory: float = added_setting(0.9)
    """Gauss-Markov memory of speeds and slow fading from round to round, in [0, 1)."""
    shadowing: float = added_setting(2.0)
    """Standard deviation of the slow fading [dB]."""
    fading_limit: float = added_setting(2.0)
    """Largest ratio, up or down, of a channel gain to its mean."""
    arrivals: float = added_setting(1.0)
    """Mean number of tasks of a wireless agent in a round (Poisson)."""
    max_tasks: int = added_setting(3)
    """Largest number of tasks of a wireless agent in a round."""
    bids: str = added_setting("truthful")
    """Bids in the auctions: ``truthful``, or ``chosen`` by the roles buyer and seller as multiples of valuations."""
    multipliers: tuple[float, ...] = added_setting((0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5))
    """Bids over valuations from which buyers and sellers choose, increasing, 1 among them. Only with chosen bids."""
    data: str | None = added_setting(None)
    """File (CSV, Parquet) of one's own agents, a row for each, instead of draws. None: the technology is drawn."""

    def __post_init__(self) -> None:
        """Raise an error that names key, value and what is allowed if a parameter is out of range."""
        if hold_table(self, "data") is not None:
            assert self.data is not None
            take_from_table(self, count_agents(self.data))
        check_integer(self, "aerial", 1, 10_000)
        for name in ("relay_time", "capacity", "aerial_cost", "hover_power", "wind"):
            check_range(self, name, 0.0, LARGEST)
        require(self.capacity[0] > 0.0, "capacity", self.capacity, "positive numbers")
        for name in ("steps", "multipliers"):
            self._make_tuple(name)
        self._check_bids()
        for name in ("lot", "tick"):
            check_number(self, name, 1e-9, LARGEST)
        for name in (
            "relay_cost", "fixed_delay_weight", "aerial_delay_weight", "hover_energy_price", "regret_weight",
            "welfare_weight", "message_weight", "trade_weight",
        ):  # fmt: skip
            check_number(self, name, 0.0, LARGEST)
        check_number(self, "psi", 0.0, 1.0)
        pricing = self.pricing()
        self._check_steps()
        self._check_clock()
        if self.data is None:
            self._check_delays(pricing)
        else:
            self._check_own_delays(pricing)

    @classmethod
    def set_by_data(cls, data: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the settings that follow from a table, and those that it has as columns."""
        columns = parse_table(table_text("data", data)).columns
        return ("wireless", "mobile", "fixed", "aerial"), tuple(
            name for name in cls.__dataclass_fields__ if name in columns
        )

    def _check_own_delays(self, pricing: StackelbergParams) -> None:
        """Refuse a table in which 1 + ε − t > 0 may fail because the latency differs from the expected one."""
        values, reach = pricing.own_figures()
        slack = 1.0 + values["tolerable_delay"] - values["upload_time"]
        load = values["workload"] * (self.max_tasks if self.dynamics else 1) * self.cycles_per_mbit
        slowest = float(self.own_tier().time_per_mbit.max()) / self.cycles_per_mbit
        for name, latency in (
            ("mobile_speed", load / values["mobile_speed"][reach[0]]),
            ("fixed_speed", load / values["fixed_speed"][reach[1]]),
            ("aerial_speed", values["relay_time"] + load * slowest),
        ):
            worst = int(np.argmax(latency - slack))
            require(
                latency[worst] < slack[worst], f"data.{name}", f"that of wireless agent {worst}",
                f"values with 1 + ε − t > 0 wherever a workload goes: it takes up to {latency[worst]:.4g} s and "
                f"1 + tolerable_delay − upload_time is {slack[worst]:.4g} s",
            )  # fmt: skip

    def _make_tuple(self, name: str) -> None:
        value = getattr(self, name)
        try:
            object.__setattr__(self, name, tuple(float(x) for x in value))
        except (TypeError, ValueError) as error:
            raise ParameterError(name, value, "a sequence of numbers") from error

    def _check_bids(self) -> None:
        require(self.bids in ("truthful", "chosen"), "bids", self.bids, "truthful or chosen")
        increasing = all(one < other for one, other in itertools.pairwise(self.multipliers))
        usable = increasing and 1.0 in self.multipliers and self.multipliers[0] >= 0.0 and self.multipliers[-1] <= 1e3
        require(usable, "multipliers", self.multipliers, "increasing numbers from 0 to 1000, 1 among them")

    def _check_steps(self) -> None:
        increasing = all(one < other for one, other in itertools.pairwise(self.steps))
        usable = len(self.steps) > 0 and self.steps[0] > 0.0 and increasing
        require(usable, "steps", self.steps, "positive numbers, increasing")
        for step in self.steps:
            ratio = step / self.tick
            whole = math.isfinite(ratio) and abs(ratio - round(ratio)) < 1e-9 and ratio < MAX_CLOCK
            require(whole, "steps", step, f"multiples of tick={self.tick:g}")
        listed = ", ".join(f"{step:g}" for step in self.steps)
        for name in ("scripted_buyer_step", "scripted_seller_step"):
            require(getattr(self, name) in self.steps, name, getattr(self, name), f"one of the steps {listed}")

    def _check_clock(self) -> None:
        """Check that the highest possible bid, where the buyer clock starts, is a whole number of ticks."""
        ratio = self.price_cap * self.lot / self.tick
        whole = abs(ratio - round(ratio)) < 1e-9 * max(ratio, 1.0) and 1.0 <= round(ratio) < MAX_CLOCK
        require(
            whole, "tick", self.tick,
            f"a whole part of price_cap · lot = {self.price_cap * self.lot:g}, where the buyer clock starts",
        )  # fmt: skip
        finest = round(ratio) * self.tick / self.steps[0] if self.steps else 0.0
        require(finest <= 1e6, "steps", self.steps, "steps of which the buyer clock takes at most a million")

    def _check_delays(self, pricing: StackelbergParams) -> None:
        """Refuse markets in which 1 + ε − t > 0 may fail because the latency differs from the expected one."""
        slack = 1.0 + self.tolerable_delay * (1.0 - self.spread) - self.upload_time * (1.0 + self.spread)
        tasks = self.max_tasks if self.dynamics else 1
        load = self.workload * tasks * (1.0 + self.spread) / (1.0 - self.spread) * self.cycles_per_mbit
        for name, extra in (("mobile_speed", 0.0), ("fixed_speed", 0.0), ("aerial_speed", self.relay_time[1])):
            longest = extra + load / getattr(self, name)
            require(
                longest < slack, name, getattr(self, name),
                f"values with 1 + ε − t > 0 wherever a workload goes: it takes up to {longest:.4g} s and "
                f"1 + tolerable_delay − upload_time may be {slack:.4g} s",
            )  # fmt: skip

    def pricing(self) -> StackelbergParams:
        """Return the parameters of the pricing tier; α is 0 until the auction tier sets it."""
        data = None if self.data is None else table_of_pricing(self.data)
        return StackelbergParams(**{name: getattr(self, name) for name in SHARED}, aerial_share=0.0, data=data)

    def own_tier(self) -> OwnTier:
        """Return the figures of the auction tier of ``data``, which must be set; see `own_agents.own_tier`."""
        return own_tier(self)

    def auction(self) -> DoubleDutchParams:
        """Return the parameters of the auction tier, whose clocks start at the highest possible bid and at 0."""
        return DoubleDutchParams(
            buyers=self.fixed,
            sellers=self.aerial,
            buyer_clock=round(self.price_cap * self.lot / self.tick) * self.tick,
            seller_clock=0.0,
            tick=self.tick,
            steps=self.steps,
            scripted_step=self.steps[0],
            max_ticks=MAX_CLOCK,
            psi=self.psi,
            regret_weight=self.regret_weight,
            welfare_weight=self.welfare_weight,
            message_weight=self.message_weight,
            trade_weight=self.trade_weight,
        )

    def scripted_pair(self) -> tuple[int, int]:
        """Return the indices of the steps of the buyer and the seller clock when the auctioneer is scripted."""
        return self.steps.index(self.scripted_buyer_step), self.steps.index(self.scripted_seller_step)

    def settings(self) -> Settings:
        """Return the parameters as kernels read them; shapes and units are those of `Settings`."""
        pricing, auction = self.pricing(), self.auction()
        return Settings(
            pricing=pricing.record(),
            auction=auction.record(),
            steps=auction.step_ticks(),
            tier=self.record(),
        )

    def _mean_relay_time(self) -> float:
        if self.data is None:
            return sum(self.relay_time) / 2.0
        return float(self.pricing().own_figures()[0]["relay_time"].mean())

    def record(self) -> NDArray[Any]:
        """Return the parameters of the connection of the tiers: a `TwoTierRecord` (1,)."""
        log_capacity, time_per_mbit = np.log(self.capacity), self.cycles_per_mbit / self.aerial_speed
        return TwoTierRecord.row(
            lot=self.lot,
            relay_cost=self.relay_cost,
            fixed_delay_weight=self.fixed_delay_weight,
            aerial_delay_weight=self.aerial_delay_weight,
            hover_energy_price=self.hover_energy_price,
            relay_time=self._mean_relay_time(),
            log_capacity_low=log_capacity[0],
            log_capacity_high=log_capacity[1],
            time_per_mbit_low=time_per_mbit / (1.0 + self.spread),
            time_per_mbit_high=time_per_mbit / (1.0 - self.spread),
            cost_low=self.aerial_cost[0],
            cost_high=self.aerial_cost[1],
            hover_power_low=self.hover_power[0],
            hover_power_high=self.hover_power[1],
            wind_low=self.wind[0],
            wind_high=self.wind[1],
        )


def _per_leader(number: int, **changes: Any) -> dict[str, Any]:
    """Return settings for ``number`` wireless agents per leader: capacities, lots and their costs scale with it."""
    defaults = TwoTierParams()
    return {
        "capacity": tuple(number * bound for bound in defaults.capacity),
        "lot": number * defaults.lot,
        "relay_cost": number * defaults.relay_cost,
        "aerial_delay_weight": defaults.aerial_delay_weight / number,
        "hover_power": tuple(number * bound for bound in defaults.hover_power),
        "tick": number * defaults.tick,
        "steps": tuple(number * step for step in defaults.steps),
        "scripted_buyer_step": number * defaults.scripted_buyer_step,
        "scripted_seller_step": number * defaults.scripted_seller_step,
        "message_weight": number * defaults.message_weight,
        **changes,
    }


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "city": _per_leader(
        4,
        wireless=60,
        mobile=15,
        fixed=15,
        aerial=15,
        spread=0.2,
        relay_time=(0.02, 0.1),
        deviation_step=0.2,
        max_iterations=12,
    ),
    "metro": _per_leader(10, wireless=1000, mobile=100, fixed=100, aerial=100, deviation_step=0.2, max_iterations=6),
    "dynamic": {
        "dynamics": True, "wireless": 20, "fading_limit": 1.5, "mobility_weight": 0.4, "mobility_offset": 0.9,
    },
}  # fmt: skip
"""The parameters in which each preset differs from the defaults."""


def preset(name: str, **changes: Any) -> TwoTierParams:
    """Return the parameters of a preset, with ``changes`` applied."""
    return make_preset(TwoTierParams, PRESETS, name, changes)


def allocate_market(params: TwoTierParams, markets: int) -> Market:
    """Return a zeroed batch of markets, without partners and bids.

    Parameters
    ----------
    params : TwoTierParams
        Parameters, which give the shapes.
    markets : int
        Number of markets.

    Returns
    -------
    Market
        Shapes and units are in the docstrings of its parts.
    """
    fixed, aerial, bidders = params.fixed, params.aerial, max(params.fixed, params.aerial)
    pricing = stackelberg.allocate_state(params.pricing(), markets)
    tier = TierState(
        capacity=np.zeros((markets, fixed)),
        time_per_mbit=np.zeros((markets, aerial)),
        mean_fixed_time=np.zeros(markets),
        mean_aerial_time=np.zeros(markets),
        unit_cost=np.zeros((markets, aerial)),
        hover_power=np.zeros((markets, aerial)),
        cost=np.zeros((markets, aerial)),
        ask=np.zeros((markets, aerial)),
        load=np.zeros((markets, fixed)),
        served_fraction=np.zeros((markets, fixed)),
        partner=np.full((markets, fixed), NOBODY, np.int64),
        pair=np.zeros((markets, 2), np.int64),
        settled_price=np.zeros(pricing.price.shape),
        settled_ratio=np.zeros((markets, fixed)),
        bids=np.full((markets, params.rounds, 2, bidders), ABSENT),
        returns=np.zeros((markets, params.rounds)),
        aerial_profit=np.zeros((markets, aerial)),
        accounts=np.zeros((markets, aerial + 1)),
        totals=TierTotals.zeros(markets),
        last_share=np.full((markets, params.wireless if params.dynamics else 0), ABSENT),
        course=CourseTotals.zeros(markets),
        factor=np.ones((markets, 2, bidders if params.bids == "chosen" else 0)),
        factors=np.ones((markets, params.rounds, 2, bidders if params.bids == "chosen" else 0)),
    )
    return Market(pricing, tier, allocate_auction(markets, bidders))


def start_episodes(
    params: TwoTierParams, market: Market, mask: NDArray[np.bool_], settings: Settings | None = None
) -> None:
    """Draw the current episode of some markets, or take it from ``params.data``, and open it.

    Parameters
    ----------
    params : TwoTierParams
        Parameters.
    market : Market
        Batch of markets, whose seeds, streams, instances and episodes are set.
    mask : ndarray of bool, shape (batch,)
        Markets; the others do not change.
    settings : Settings, optional
        ``params.settings()``, if it is at hand.
    """
    settings = params.settings() if settings is None else settings
    stackelberg.start_episodes(_pricing_of(params), market.pricing, mask, settings.pricing)
    open_tiers(market, settings, mask)
    if params.data is not None:
        write_tier(market, settings, mask, params.own_tier())
        expect_markets(market, mask)
    reshape_markets(market.pricing, settings.pricing, mask)


@lru_cache(maxsize=64)
def _pricing_of(params: TwoTierParams) -> StackelbergParams:
    return params.pricing()


def draw_markets(
    params: TwoTierParams,
    seeds: ArrayLike,
    streams: ArrayLike | None = None,
    instances: ArrayLike | None = None,
) -> Market:
    """Return markets at the start of the first episode of each seed.

    Parameters
    ----------
    params : TwoTierParams
        Parameters.
    seeds : array_like of int, shape (batch,)
        Seeds of the costs.
    streams, instances : array_like of int, shape (batch,), optional
        Streams (default 0, 1, …) and instances (default: the seeds).

    Returns
    -------
    Market
        Shapes and units are in the docstrings of its parts.
    """
    market_seeds = np.atleast_1d(as_seeds("seeds", seeds))
    batch = len(market_seeds)
    market = allocate_market(params, batch)
    market.pricing.seed[:] = market_seeds
    market.pricing.stream[:] = np.arange(batch) if streams is None else as_seeds("streams", streams)
    market.pricing.instance[:] = market_seeds if instances is None else as_seeds("instances", instances)
    start_episodes(params, market, np.ones(batch, np.bool_))
    return market
