"""The Stackelberg offloading market: its parameters and presets, and functions that allocate and draw markets.

Mobile and fixed agents (leaders) post unit prices of computing; each wireless agent (follower) is in reach of one of
each and answers with the share of its workload that goes to the mobile one. Source: Sections IV-A to IV-C and V-A of
"Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI Task Offloading in Internet of Agents".

To compose the market with others, use the kernels. `kernels.MarketState` is a batch of markets. Set
``offloading_ratio`` (α of each fixed agent; 0 drops the aerial branch), ``relay_time`` and ``served_fraction``, and
call `shape_followers(b, state, params)`. Then `answer_prices` writes every exact answer to ``price``, `settle` books
payments, profits and utilities, and `leader_profit` returns the profit of a leader at another price. For a single
wireless agent there are `follower.shape_follower`, `best_share`, `gross_utility`, `net_utility` and `latency`.
`drivers` has the same for batches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import (
    added_setting,
    check_integer,
    check_number,
    check_range,
    make_preset,
    require,
)
from ioa_marl.foundations.seeds import as_seeds
from ioa_marl.foundations.tables import hold_table, parse_table, table_text, take_from_table
from ioa_marl.markets.stackelberg import drivers
from ioa_marl.markets.stackelberg.figures import (
    LARGEST,
    MOST_EFFICIENCY,
    SMALLEST,
    Figures,
    bounds_of,
    count_agents,
    figures_of_table,
    reachable,
    require_feasible,
    write_figures,
)
from ioa_marl.markets.stackelberg.figures import LEADERS as LEADERS
from ioa_marl.markets.stackelberg.follower import LATENCY_CASES, SEGMENTS
from ioa_marl.markets.stackelberg.kernels import MarketState
from ioa_marl.markets.stackelberg.mobility import departure_rate
from ioa_marl.markets.stackelberg.records import Curve, EpisodeTotals, GridPoint, Segment, StackelbergRecord, Traits

ACTUATOR_RATIO = math.expm1(0.1)
"""t_n/ε in every preset, so that the factor ln(1 + t_n/ε) of the QoE is 0.1."""
_SAME_IN_RECORD = (
    "wireless", "mobile", "fixed", "rounds", "congestion", "dynamics", "max_tasks", "max_iterations", "price_cap",
    "deviation_step", "deviation_tolerance", "price_tolerance", "nash_tolerance", "spread",
    "workload", "upload_time", "tolerable_delay",
    "mobile_energy", "fixed_energy", "cycles_per_mbit", "mobile_speed", "fixed_speed", "aerial_speed", "aerial_share",
    "mobility_weight", "mobility_offset", "lowest_idle", "velocity", "velocity_deviation", "velocity_range", "memory",
    "shadowing", "fading_limit", "arrivals",
)  # fmt: skip
"""Parameters that kernels read under the same name."""


@dataclass(frozen=True)
class StackelbergParams:
    """Parameters of the Stackelberg market; the defaults are the preset ``paper``.

    Money is in units of account. Quantities that differ between agents and have no range are drawn per agent, uniform
    within the relative ``spread`` of their parameter. The bandwidth of a wireless agent is scaled with its workload and
    its transmission time: its spectral efficiency stays within ``spread`` of workload/(bandwidth · upload_time).
    """

    wireless: int = 1
    """Number of wireless agents N (followers)."""
    mobile: int = 1
    """Number of mobile agents I (leaders)."""
    fixed: int = 1
    """Number of fixed agents J (leaders), each with an aerial agent behind it."""
    rounds: int = 20
    """Rounds of pricing in an episode."""
    latency_case: str = "max"
    """Which branch of the latency binds: ``max`` (the longest), or always ``ma``, ``fa`` or ``aa``."""
    mobility: str = "paid_by_follower"
    """Who pays for the mobility factor m: the wireless agent (``paid_by_follower``) or nobody (``as_printed``)."""
    congestion: bool = False
    """Whether a mobile agent's speed is divided equally among the wireless agents in its reach that have a task."""
    dynamics: bool = False
    """Whether speeds, channel gains and numbers of tasks change between rounds."""
    redraw: str = "never"
    """When the technology of an instance is drawn anew: ``never``, or every ``episode``."""
    workload: float = 10.0
    """Workload W of a task [Mbit]."""
    cycles_per_mbit: float = 1e4
    """Computing per task λ [cycles/Mbit]."""
    mobile_speed: float = 1e6
    """Processing speed μ_i of a mobile agent [cycles/s]."""
    fixed_speed: float = 4e6
    """Processing speed μ_j of a fixed agent [cycles/s]."""
    aerial_speed: float = 6e6
    """Processing speed μ_k of an aerial agent [cycles/s]."""
    aerial_share: float = 0.25
    """Share α that a fixed agent passes on to its aerial agent."""
    upload_time: float = 0.5
    """Transmission time t_up of a wireless agent [s]."""
    relay_time: tuple[float, float] = (0.1, 0.1)
    """Range of the transmission time t_k_up from a fixed to an aerial agent [s]."""
    tolerable_delay: float = 3.3
    """Tolerable delay ε of a wireless agent [s]."""
    qoe_weight: float = 3000.0
    """Weight κ of the quality of experience [units]."""
    actuator_ratio: float = ACTUATOR_RATIO
    """Actuator time t_n over tolerable delay ε."""
    bandwidth: float = 20.0 / 3.0
    """Bandwidth w_B of a wireless agent [MHz]."""
    mobile_energy: float = 4.26
    """Energy cost ζ t_up n_B/g_i of the link to the mobile agent [units], for 1 bit/s/Hz."""
    fixed_energy: float = 2.68
    """Energy cost ζ t_up n_B/g_j of the link to the fixed agent [units], for 1 bit/s/Hz."""
    mobile_cost: tuple[float, float] = (0.5, 0.5)
    """Range of a mobile agent's unit cost ξ σ μ² λ [units/Mbit], uniform per episode."""
    fixed_cost: tuple[float, float] = (1.85, 1.85)
    """Range of a fixed agent's unit cost, relaying included [units/Mbit], uniform per episode."""
    price_cap: float = 10.0
    """Largest unit price p̄ that a leader may post [units/Mbit]."""
    spread: float = 0.0
    """Relative half-width of the quantities that differ between agents, in [0, 0.9]."""
    mobility_weight: float = 0.0
    """Weight of idle resources times relative speed in the mobility factor m (Eq. 15)."""
    mobility_offset: float = 1.0
    """Mobility factor m of a mobile agent without idle resources."""
    lowest_idle: float = 0.0
    """Smallest idle share of a mobile agent's resources, which is uniform between this and 1."""
    velocity: float = 15.0
    """Mean speed of wireless and mobile agents [m/s]."""
    velocity_deviation: float = 3.0
    """Standard deviation of the speeds [m/s]."""
    velocity_range: float = 20.0
    """Difference v̄ − v̲ of largest and smallest speed [m/s]."""
    memory: float = 0.9
    """Gauss-Markov memory of speeds and slow fading from round to round, in [0, 1)."""
    shadowing: float = 2.0
    """Standard deviation of the slow fading [dB]."""
    fading_limit: float = 2.0
    """Largest ratio, up or down, of a channel gain to its mean."""
    arrivals: float = 1.0
    """Mean number of tasks of a wireless agent in a round (Poisson)."""
    max_tasks: int = 3
    """Largest number of tasks of a wireless agent in a round."""
    deviation_step: float = 0.05
    """Step Δ of the grid on which better prices are searched before refinement [units/Mbit]."""
    deviation_tolerance: float = 1e-5
    """Width of the bracket at which the refinement of a best price stops [units/Mbit]."""
    price_tolerance: float = 1e-2
    """Tolerance η: Algorithm 2 stops when no price changes by more [units/Mbit]."""
    nash_tolerance: float = 1e-4
    """NashConv over total leader profit up to which prices count as an equilibrium."""
    max_iterations: int = 60
    """Largest number of rounds of Algorithm 2; without convergence there is no pure equilibrium."""
    data: str | None = added_setting(None)
    """File (CSV, Parquet) of one's own agents, a row for each, instead of draws. None: the technology is drawn."""
    mobile_radius: float | None = added_setting(None)
    """Radius of a mobile agent's reach [m], which a wireless agent crosses at their relative speed and then has another
    mobile agent; needs ``dynamics``. None: it keeps its mobile agent."""
    fixed_radius: float | None = added_setting(None)
    """Radius of a fixed agent's reach [m], which a wireless agent crosses at its own speed; needs ``dynamics``. None:
    it keeps its fixed agent."""
    round_time: float = added_setting(5.0)
    """Time between two rounds [s]; it counts only where a reach has a radius."""
    fading: str = added_setting("common")
    """Fading of the two links of a wireless agent, with ``dynamics``: ``common`` or ``independent``."""

    def __post_init__(self) -> None:
        """Raise an error that names key, value and what is allowed if a parameter is out of range."""
        table = hold_table(self, "data")
        if table is not None:
            take_from_table(self, count_agents(table))
        for name, most in (("wireless", 1_000_000), ("mobile", 10_000), ("fixed", 10_000)):
            check_integer(self, name, 1, most)
        for name in ("rounds", "max_iterations"):
            check_integer(self, name, 1 if name == "rounds" else 2, 10_000)
        check_integer(self, "max_tasks", 1, 100)
        self._check_choices()
        for name in ("relay_time", "mobile_cost", "fixed_cost"):
            check_range(self, name, 0.0, LARGEST)
        for name in (
            "workload", "cycles_per_mbit", "mobile_speed", "fixed_speed", "aerial_speed", "upload_time", "bandwidth",
            "price_cap", "velocity_range", "deviation_step", "deviation_tolerance", "actuator_ratio", "qoe_weight",
        ):  # fmt: skip
            check_number(self, name, SMALLEST, LARGEST**2)
        for name in (
            "tolerable_delay", "mobile_energy", "fixed_energy", "mobility_weight", "mobility_offset", "velocity",
            "velocity_deviation", "arrivals", "price_tolerance", "nash_tolerance", "shadowing",
        ):  # fmt: skip
            check_number(self, name, 0.0, LARGEST)
        for name, highest in (("aerial_share", 1.0), ("spread", 0.9), ("lowest_idle", 1.0), ("memory", 1.0)):
            check_number(self, name, 0.0, highest)
        check_number(self, "fading_limit", 1.0, 1e6)
        require(self.memory < 1.0, "memory", self.memory, "a number below 1")
        require(self.arrivals <= 100.0, "arrivals", self.arrivals, "a number up to 100")
        require(self.shadowing <= 100.0, "shadowing", self.shadowing, "a number up to 100")
        points = self.price_cap / self.deviation_step
        require(points <= 1e5, "deviation_step", self.deviation_step, "at least price_cap/100000")
        smallest = 1e-12 * self.price_cap
        require(
            self.deviation_tolerance >= smallest, "deviation_tolerance", self.deviation_tolerance,
            f"at least {smallest:g}",
        )  # fmt: skip
        require(
            self.latency_case != "aa" or self.aerial_share > 0.0, "latency_case", self.latency_case,
            "another case while aerial_share=0",
        )  # fmt: skip
        self._check_mobility()
        if table is None:
            self._check_feasible()
        else:
            self._check_table()

    @classmethod
    def set_by_data(cls, data: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the settings that follow from a table, and those that it has as columns."""
        columns = parse_table(table_text("data", data)).columns
        return ("wireless", "mobile", "fixed"), tuple(name for name in cls.__dataclass_fields__ if name in columns)

    def _check_table(self) -> None:
        require(self.redraw == "never", "redraw", self.redraw, "never with data, which is always the same")
        require(
            not self.congestion or self.mobile_radius is None, "mobile_radius", self.mobile_radius,
            "null with data and congestion: all wireless agents might share one mobile agent",
        )  # fmt: skip
        state = allocate_state(self, 1)
        values, reach = self.own_figures()
        for linked in reachable(self, values, reach):
            write_figures(self, values, linked, state)
            require_feasible(self, values, state, self._most_tasks())

    def own_figures(self) -> tuple[Figures, NDArray[np.int32]]:
        """Return the figures and links of ``data``, which must be set; see `figures.figures_of_table`."""
        assert self.data is not None
        return figures_of_table(self, parse_table(self.data))

    def _check_mobility(self) -> None:
        """Check handover and fading, which belong to dynamic markets."""
        check_number(self, "round_time", SMALLEST, LARGEST)
        for side in LEADERS:
            name = f"{side}_radius"
            radius = getattr(self, name)
            if radius is not None:
                check_number(self, name, 1e-3, LARGEST)
                require(self.dynamics, name, radius, "null without dynamics: nobody moves between rounds")
                require(getattr(self, side) > 1, name, radius, f"null with {side}=1: there is no other {side} agent")
        kinds = ("common", "independent")
        require(self.fading in kinds, "fading", self.fading, " or ".join(kinds))
        require(
            self.dynamics or self.fading == "common", "fading", self.fading, "common without dynamics: gains are means"
        )

    def _check_choices(self) -> None:
        require(self.latency_case in LATENCY_CASES, "latency_case", self.latency_case, ", ".join(LATENCY_CASES))
        readings = ("paid_by_follower", "as_printed")
        require(self.mobility in readings, "mobility", self.mobility, " or ".join(readings))
        require(self.redraw in ("never", "episode"), "redraw", self.redraw, "never or episode")
        for name in ("congestion", "dynamics"):
            require(isinstance(getattr(self, name), bool), name, getattr(self, name), "true or false")

    def _check_feasible(self) -> None:
        """Refuse markets in which a wireless agent may have no share with 1 + ε − t > 0, or in which E may overflow."""
        share = np.linspace(0.0, 1.0, 1001)
        slack = 1.0 + self.tolerable_delay * (1.0 - self.spread) - self.upload_time * (1.0 + self.spread)
        load = self.workload * self._most_tasks() * (1.0 + self.spread) / (1.0 - self.spread)
        crowd = self.most_in_reach("mobile") if self.congestion else 1
        mobile, fixed, aerial = (
            load * self.cycles_per_mbit / speed for speed in (self.mobile_speed, self.fixed_speed, self.aerial_speed)
        )
        passed = min(self.aerial_share * (1.0 + self.spread), 1.0)
        branches = {
            "ma": share * mobile * crowd,
            "fa": (1.0 - share) * fixed * (1.0 - self.aerial_share * (1.0 - self.spread)),
            "aa": self.relay_time[1] + (1.0 - share) * aerial * passed if self.aerial_share > 0.0 else 0.0 * share,
        }
        case = self.latency_case
        latency = np.max(list(branches.values()), axis=0) if case == "max" else branches[case]
        shortest = float(latency.min())
        require(
            shortest < slack, "workload", self.workload,
            "values with 1 + ε − t > 0 for some share: the shortest computing latency is up to "
            f"{shortest:.4g} s and 1 + tolerable_delay − upload_time may be {slack:.4g} s",
        )  # fmt: skip
        efficiency = self.efficiency() * (1.0 + self.spread)
        require(
            efficiency <= MOST_EFFICIENCY, "bandwidth", self.bandwidth,
            f"values with spectral efficiencies workload/(bandwidth · upload_time) up to {MOST_EFFICIENCY:g}; "
            f"it may be {efficiency:.4g} bit/s/Hz",
        )  # fmt: skip

    def has_handover(self) -> bool:
        """Return whether wireless agents change to other leaders."""
        return self.mobile_radius is not None or self.fixed_radius is not None

    def _most_tasks(self) -> int:
        return self.max_tasks if self.dynamics else 1

    def mean_load(self) -> float:
        """Return the mean workload of a task [Mbit]."""
        return self.workload if self.data is None else float(self.own_figures()[0]["workload"].mean())

    def most_in_reach(self, side: str) -> int:
        """Return the largest number of wireless agents in reach of one leader of a side, ``mobile`` or ``fixed``."""
        if getattr(self, f"{side}_radius") is not None:
            return self.wireless
        if self.data is None:
            return math.ceil(self.wireless / int(getattr(self, side)))
        return int(np.bincount(self.own_figures()[1][LEADERS.index(side)]).max().item())

    def efficiency(self) -> float:
        """Return the mean spectral efficiency B̄ [bit/s/Hz]."""
        return self.workload / (self.bandwidth * self.upload_time)

    def record(self) -> NDArray[Any]:
        """Return the parameters as kernels read them: a `StackelbergRecord` (1,)."""
        qoe_weight = self.qoe_weight * math.log1p(self.actuator_ratio)
        return StackelbergRecord.row(
            **{name: getattr(self, name) for name in _SAME_IN_RECORD},
            latency_case=LATENCY_CASES.index(self.latency_case),
            as_printed=self.mobility == "as_printed",
            qoe_weight=qoe_weight,
            efficiency=self.efficiency(),
            relay_time_low=self.relay_time[0],
            relay_time_high=self.relay_time[1],
            mobile_cost_low=self.mobile_cost[0],
            mobile_cost_high=self.mobile_cost[1],
            fixed_cost_low=self.fixed_cost[0],
            fixed_cost_high=self.fixed_cost[1],
            handover=self.has_handover(),
            mobile_departure=departure_rate(self.mobile_radius, self.round_time),
            fixed_departure=departure_rate(self.fixed_radius, self.round_time),
            independent_fading=self.fading == "independent",
            **self._bounds(),
        )

    def _bounds(self) -> dict[str, float]:
        """Return the bounds by which observations are scaled; see `StackelbergRecord`."""
        return self._upper_bounds() if self.data is None else bounds_of(self, self.own_figures()[0])

    def _upper_bounds(self) -> dict[str, float]:
        """Return the bounds of quantities that are drawn."""
        most, least, tasks = 1.0 + self.spread, 1.0 - self.spread, self._most_tasks()
        gain = self.fading_limit * tasks if self.dynamics else 1.0
        variation = self.fading_limit if self.dynamics else 1.0
        return {
            "least_mobile_cost": self.mobile_cost[0],
            "most_mobile_cost": self.mobile_cost[1],
            "least_fixed_cost": self.fixed_cost[0],
            "most_fixed_cost": self.fixed_cost[1],
            "least_mobile_energy": self.mobile_energy * least / variation,
            "most_mobile_energy": self.mobile_energy * most * variation,
            "least_fixed_energy": self.fixed_energy * least / variation,
            "most_fixed_energy": self.fixed_energy * most * variation,
            "least_factor": self.mobility_offset,
            "most_factor": self.mobility_offset + self.mobility_weight,
            "most_qoe_weight": self.qoe_weight * math.log1p(self.actuator_ratio) * most,
            "most_load": self.workload * most * tasks,
            "most_slack": 1.0 + self.tolerable_delay * most - self.upload_time * least,
            "most_energy": max(self.mobile_energy, self.fixed_energy) * most * gain,
            "most_mobile_time": self.cycles_per_mbit / (self.mobile_speed * least),
            "most_fixed_time": self.cycles_per_mbit / (self.fixed_speed * least),
            "most_aerial_time": self.cycles_per_mbit / (self.aerial_speed * least),
        }

    def scan(self) -> NDArray[Any]:
        """Return scratch for a search of prices, `GridPoint` (grid points,)."""
        return GridPoint.zeros(math.ceil(self.price_cap / self.deviation_step - 1e-9) + 1)


_CITY: Mapping[str, Any] = {
    "wireless": 12, "mobile": 3, "fixed": 3, "spread": 0.2, "mobile_cost": (0.4, 0.6), "fixed_cost": (1.5, 2.2),
    "relay_time": (0.11, 0.15),
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "city": {**_CITY},
    "metro": {**_CITY, "wireless": 1_000, "mobile": 20, "fixed": 20, "deviation_step": 0.25},
    "internet": {
        **_CITY, "wireless": 100_000, "mobile": 200, "fixed": 200, "deviation_step": 1.0, "deviation_tolerance": 2e-3,
    },
    "dynamic": {
        **_CITY, "dynamics": True, "qoe_weight": 600.0, "price_cap": 12.0, "relay_time": (0.2, 0.3),
        "fading_limit": 1.5, "mobility_weight": 0.4, "mobility_offset": 0.9,
    },
    "kinked": {**_CITY, "relay_time": (0.02, 0.1)},
    "scarce": {**_CITY, "qoe_weight": 350.0, "relay_time": (0.02, 0.1)},
    "literal": {"cycles_per_mbit": 1e10, "bandwidth": 1e-3, "qoe_weight": 0.5},
}  # fmt: skip
"""The parameters in which each preset differs from the defaults; ``literal`` (SI units) is refused."""


def preset(name: str, **changes: Any) -> StackelbergParams:
    """Return the parameters of a preset, with ``changes`` applied."""
    return make_preset(StackelbergParams, PRESETS, name, changes)


def allocate_state(params: StackelbergParams, markets: int) -> MarketState:
    """Return a zeroed state for a batch of markets.

    Parameters
    ----------
    params : StackelbergParams
        Parameters, which give the shapes.
    markets : int
        Number of markets.

    Returns
    -------
    MarketState
        Shapes and units are in its docstrings.
    """
    n, i, j = params.wireless, params.mobile, params.fixed
    most, fading_links = max(i, j), n if params.fading == "common" else 2 * n
    leaders = (markets, 2, most)
    return MarketState(
        seed=np.zeros(markets, np.uint64),
        stream=np.zeros(markets, np.uint64),
        instance=np.zeros(markets, np.uint64),
        episode=np.zeros(markets, np.uint64),
        phase=np.zeros(markets, np.int64),
        cycles=np.zeros(markets, np.int64),
        round=np.zeros(markets, np.int64),
        reach=np.zeros((markets, 6 if params.has_handover() else 2, n), np.int32),
        member=np.zeros((markets, 2, n), np.int32),
        start=np.zeros((markets, 2, most + 1), np.int32),
        nominal=Traits.zeros(markets, n),
        traits=Traits.zeros(markets, n),
        curve=Curve.zeros(markets, n),
        segments=Segment.zeros(markets, n, SEGMENTS),
        time_per_mbit=np.zeros(leaders),
        idle_share=np.zeros((markets, i)),
        aerial_time_per_mbit=np.zeros((markets, j)),
        offloading_ratio=np.zeros((markets, j)),
        relay_time=np.zeros((markets, n)),
        served_fraction=np.zeros((markets, j)),
        velocity=np.zeros((markets, n + i)),
        slow_fading=np.zeros((markets, fading_links if params.dynamics else 0)),
        cost=np.zeros(leaders),
        price=np.zeros(leaders),
        sales=np.zeros(leaders),
        profit=np.zeros(leaders),
        share=np.zeros((markets, n)),
        buys=np.zeros((markets, n), np.bool_),
        utility=np.zeros((markets, n)),
        accounts=np.zeros((markets, n + i + j + 1)),
        totals=EpisodeTotals.zeros(markets),
    )


def start_episodes(
    params: StackelbergParams, state: MarketState, mask: NDArray[np.bool_], record: NDArray[Any] | None = None
) -> None:
    """Draw the current episode of some markets, or take it from ``params.data``, and open its first round.

    Parameters
    ----------
    params : StackelbergParams
        Parameters.
    state : MarketState
        Batch of markets, whose seeds, streams, instances and episodes are set.
    mask : ndarray of bool, shape (batch,)
        Markets; the others do not change.
    record : ndarray, optional
        ``params.record()``, if it is at hand.
    """
    record = params.record() if record is None else record
    drivers.open_markets(state, record, params.redraw == "episode", mask)
    if params.data is None:
        return
    values, reach = params.own_figures()
    for market in np.flatnonzero(mask):
        write_figures(params, values, reach, state, int(market))
    if params.dynamics:
        drivers.refresh_markets(state, record, mask)
    else:
        drivers.reshape_markets(state, record, mask)


def draw_markets(
    params: StackelbergParams,
    seeds: ArrayLike,
    streams: ArrayLike | None = None,
    instances: ArrayLike | None = None,
) -> MarketState:
    """Return markets in the first episode of each seed, with its first round open.

    Parameters
    ----------
    params : StackelbergParams
        Parameters.
    seeds : array_like of int, shape (batch,)
        Seeds of the unit costs.
    streams, instances : array_like of int, shape (batch,), optional
        Streams (default 0, 1, …) and instances (default: the seeds).

    Returns
    -------
    MarketState
        Shapes and units are in its docstrings.
    """
    market_seeds = np.atleast_1d(as_seeds("seeds", seeds))
    batch = len(market_seeds)
    state = allocate_state(params, batch)
    state.seed[:] = market_seeds
    state.stream[:] = np.arange(batch) if streams is None else as_seeds("streams", streams)
    state.instance[:] = market_seeds if instances is None else as_seeds("instances", instances)
    start_episodes(params, state, np.ones(batch, np.bool_))
    return state
