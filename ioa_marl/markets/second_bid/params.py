"""The modified second-bid auction: its parameters and presets.

Ground base stations bid for a computing task of a vehicle, and a UAV serves it at a contract price if no station wins.
The station with the highest bid wins only if its bid exceeds the second highest one times the price scaling factor ρ,
which the auctioneer chooses. Source: Sections 3 to 6 of "Diffusion-based auction mechanism for efficient resource
management in 6G-enabled vehicular metaverses"; the mechanism is from Arnosti, Beck and Milgrom, "Adverse selection and
auction design for internet display advertising", American Economic Review 106, 2016.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.parameters import (
    added_setting,
    check_integer,
    check_number,
    check_range,
    make_preset,
    require,
)
from ioa_marl.foundations.tables import hold_table, take_from_table
from ioa_marl.markets.common.physics import db_to_ratio, dbm_to_watt, processing_time, shannon_rate, transfer_time
from ioa_marl.markets.second_bid.draws import match_value
from ioa_marl.markets.second_bid.own_data import count_stations, is_of_providers, own_providers
from ioa_marl.markets.second_bid.state import (
    EVERY_EPISODE,
    EVERY_INSTANCE,
    EVERY_PERIOD,
    SecondBidRecord,
    SecondBidState,
    allocate_state,
)

LARGEST_VALUE = 1e12
"""Largest possible valuation, and inverse of the smallest one [units]: their sums and logarithms are then accurate."""
MOST_DRAWS = 12_000
"""Largest number of periods of all providers per task, with which a calibration takes about two seconds."""

RANGES = {
    "noise_power": (-300.0, 100.0),
    "channel_gain": (-200.0, 100.0),
    "task_size": (1e-3, 1e6),
    "uplink_bandwidth": (1e-3, 1e6),
    "downlink_bandwidth": (1e-3, 1e6),
    "user_power": (-100.0, 100.0),
    "provider_power": (-100.0, 100.0),
    "gpu_speed": (1e-3, 1e6),
    "cpu_speed": (1e-3, 1e6),
    "accuracy": (0.0, 1.0),
    "common_value": (1e-6, 1e6),
}
"""Smallest and largest allowed bound of each range, in the units of `SecondBidParams`."""
RESOURCES = (
    "uplink_bandwidth", "downlink_bandwidth", "provider_power", "gpu_speed", "cpu_speed", "channel_gain",
)  # fmt: skip
"""Ranges of what belongs to a provider and not to the task; the UAV can have its own."""
REDRAWS = {"task": EVERY_PERIOD, "episode": EVERY_EPISODE, "instance": EVERY_INSTANCE}
"""Values of `SecondBidParams.redraw`, as kernels read them."""
UNIT = {"task_size": 8e-3, "uplink_bandwidth": 1e-3, "downlink_bandwidth": 1e-3}
"""Factors from the units of the parameters to those of the kernels: MB to Gbit, and MHz to GHz for rates in Gbit/s."""


@dataclass(frozen=True)
class SecondBidParams:
    """Parameters of the modified second-bid auction; the defaults are the preset ``paper``.

    Money is in units of account. Draws are uniform in their range, and new for every provider, task and averaged period
    unless the field says otherwise. The ranges are those of Table 1 of the paper. Its units are converted, and data
    sizes and computing speeds are read as Gbit and Gbit/s: otherwise processing would take 30 s, and the bandwidth
    would have no effect.
    """

    stations: int = 5
    """Number of ground base stations N, without the UAV."""
    levels: int = 10
    """Number of price scaling factors A, which are ρ = 10^(a/A) for a = 0, …, A − 1."""
    tasks: int = 50
    """Number of tasks that are auctioned in an episode, one after the other."""
    valuations: str = "physical"
    """Model of the valuations: ``physical`` (from latency and accuracy, Eqs. 1-11) or ``pareto`` (a common value times
    Pareto match values)."""
    periods: int = 10
    """Number of past periods over which a provider's latency and accuracy are averaged (Eqs. 9 and 10); with
    ``physical`` valuations at most 12,000/(N + 1)."""
    noise_power: tuple[float, float] = (-115.0, -112.0)
    """Range of the noise power σ² at the receiver of a link [dBm]."""
    channel_gain: tuple[float, float] = (-25.0, -20.0)
    """Range of the channel power gain g [dB]."""
    task_size: tuple[float, float] = (20.0, 40.0)
    """Range of a task's size D, the same for uplink and downlink [MB]."""
    uplink_bandwidth: tuple[float, float] = (20.0, 60.0)
    """Range of a provider's uplink bandwidth [MHz]."""
    downlink_bandwidth: tuple[float, float] = (20.0, 60.0)
    """Range of a provider's downlink bandwidth [MHz]."""
    user_power: tuple[float, float] = (5.0, 10.0)
    """Range of a vehicle's transmit power [dBm]."""
    provider_power: tuple[float, float] = (25.0, 40.0)
    """Range of a provider's transmit power [dBm]."""
    gpu_speed: tuple[float, float] = (1.0, 2.0)
    """Range of a provider's GPU speed [Gbit/s]."""
    cpu_speed: tuple[float, float] = (1.0, 2.0)
    """Range of a provider's CPU speed [Gbit/s]."""
    gpu_per_bit: float = 0.5
    """GPU work per bit of a task e_p."""
    accuracy: tuple[float, float] = (0.5, 0.9)
    """Range of a provider's accuracy R."""
    accuracy_noise: float = 0.035
    """Half width of the uniform noise of the accuracy in each averaged period."""
    accuracy_cap: float = 0.99
    """Largest accuracy with its noise, below 1."""
    accuracy_redraw: float = 1.0
    """Probability per task that a provider's accuracy is redrawn; otherwise it does not change."""
    beta: float = 2.0
    """Sensitivity β of the match value to accuracy."""
    latency_factor: float = 1.0
    """Value factor ω₁ of latency [units·s]."""
    accuracy_factor: float = 1.0
    """Value factor ω₂ of accuracy."""
    uav_factor: float = 2.6
    """Factor of the UAV's valuation, for its line of sight; not used by ``pareto``."""
    uav_weight: float = 1.0
    """Bargaining power ζ: weight of the UAV's valuation in the surplus."""
    common_value: tuple[float, float] = (0.5, 5.0)
    """Range of the common value C of ``pareto``, log-uniform per task, the same for all providers [units]."""
    pareto_shape: float = 3.0
    """Shape α > 1 of the stations' match values in ``pareto``, whose scale is 1."""
    pareto_uav: float = 3.0
    """Match value of the UAV in ``pareto``."""
    rivals: str = "stations"
    """Bids among which the second highest bid b₍₂₎ of Eq. 14 is chosen: ``stations``, or ``providers`` (with the UAV's
    valuation, as printed). With ``providers`` and ζ = 1, ρ = 1 is the first best: no ρ is better than second price."""
    smoothing: float = 0.8
    """Weight of the past in the moving averages that the auctioneer observes."""
    uav_channel_gain: tuple[float, float] | None = added_setting(None)
    """Range of the UAV's channel power gain g [dB]. None, here and below: that of the stations."""
    uav_uplink_bandwidth: tuple[float, float] | None = added_setting(None)
    """Range of the UAV's uplink bandwidth [MHz]."""
    uav_downlink_bandwidth: tuple[float, float] | None = added_setting(None)
    """Range of the UAV's downlink bandwidth [MHz]."""
    uav_provider_power: tuple[float, float] | None = added_setting(None)
    """Range of the UAV's transmit power [dBm]."""
    uav_gpu_speed: tuple[float, float] | None = added_setting(None)
    """Range of the UAV's GPU speed [Gbit/s]."""
    uav_cpu_speed: tuple[float, float] | None = added_setting(None)
    """Range of the UAV's CPU speed [Gbit/s]."""
    redraw: str = added_setting("task")
    """When the resources of the providers are drawn, their accuracy among them: anew for every averaged period
    (``task``), or once per ``episode`` or ``instance``, and periods vary around them."""
    spread: float = added_setting(0.2)
    """Weight w of the new draw where resources stay: in a period a provider has (1 − w) times what it has on the whole,
    plus w times a new draw from the range; in dB and dBm where the range is. It has no effect where nothing stays."""
    window: str = added_setting("fresh")
    """Averaged periods of consecutive tasks: ``fresh`` ones for every task, or ``sliding``, where every task brings one
    new period and the oldest one is left out. Accuracies are then redrawn with a probability per period."""
    delay_of: str = added_setting("past")
    """Latency of the winner in the metric ``delay``: the mean over the averaged periods (``past``), or that of the
    served ``task`` itself, which is one further period of the winner."""
    data: str | None = added_setting(None)
    """File (CSV, Parquet) of one's own valuations, a row for each bid, or of one's own providers. None: draws."""

    def __post_init__(self) -> None:
        """Check the parameters; an error names the key, the value and the allowed values."""
        if hold_table(self, "data") is not None:
            self._take_table()
        check_integer(self, "stations", 2, 1000)
        check_integer(self, "levels", 1, 1000)
        check_integer(self, "tasks", 1, 100_000)
        check_integer(self, "periods", 1, 1000)
        require(self.valuations in ("physical", "pareto"), "valuations", self.valuations, "physical or pareto")
        require(self.rivals in ("stations", "providers"), "rivals", self.rivals, "stations or providers")
        require(self.redraw in REDRAWS, "redraw", self.redraw, "task, episode or instance")
        require(self.window in ("fresh", "sliding"), "window", self.window, "fresh or sliding")
        require(self.delay_of in ("past", "task"), "delay_of", self.delay_of, "past or task")
        for name, (low, high) in RANGES.items():
            check_range(self, name, low, high)
            if getattr(self, f"uav_{name}", None) is not None:
                check_range(self, f"uav_{name}", low, high)
        for name in ("latency_factor", "accuracy_factor", "uav_factor", "uav_weight", "pareto_uav"):
            check_number(self, name, 1e-6, 1e6)
        check_number(self, "gpu_per_bit", 0.0, 1e6)
        check_number(self, "accuracy_noise", 0.0, 1.0)
        check_number(self, "accuracy_cap", 0.0, 0.9999)
        check_number(self, "accuracy_redraw", 0.0, 1.0)
        check_number(self, "spread", 0.0, 1.0)
        check_number(self, "beta", 0.0, 10.0)
        check_number(self, "pareto_shape", 1.0, 100.0, open_low=True)
        check_number(self, "smoothing", 0.0, 0.999999)
        require(
            self.valuations != "physical" or (self.stations + 1) * self.periods <= MOST_DRAWS,
            "periods", self.periods, f"at most {MOST_DRAWS // (self.stations + 1)} with stations={self.stations}",
        )  # fmt: skip
        for name in ("redraw", "window"):
            default = self.valuations == "physical" or getattr(self, name) in ("task", "fresh")
            require(default, name, getattr(self, name), "task and fresh with valuations=pareto, which have no periods")
        low, high = self.value_bounds()
        name = "latency_factor" if self.valuations == "physical" else "pareto_shape"
        require(
            low >= 1.0 / LARGEST_VALUE and high <= LARGEST_VALUE, name, getattr(self, name),
            f"one with which all valuations are between {1.0 / LARGEST_VALUE:g} and {LARGEST_VALUE:g}; "
            f"they could be {low:.3g} to {high:.3g}",
        )  # fmt: skip
        own_providers(self)  # refuses figures that are not allowed

    @classmethod
    def set_by_data(cls, data: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the settings that follow from a table, and those that it has as columns."""
        return ("stations",), ()

    def _take_table(self) -> None:
        """Set the number of stations to that of the table, and refuse settings that it makes meaningless."""
        assert self.data is not None
        fields = SecondBidParams.__dataclass_fields__
        take_from_table(self, {"stations": count_stations(self.data)})
        names = (
            ("valuations", "redraw") if is_of_providers(self.data) else ("valuations", "redraw", "window", "delay_of")
        )
        for name in names:
            value, default = getattr(self, name), fields[name].default
            require(value == default, name, value, f"{default} with data")

    def value_bounds(self) -> tuple[float, float]:
        """Return a lower and an upper bound of every valuation that can be drawn [units]."""
        if self.valuations == "pareto":
            # A match value is u^(-1/α), and the smallest positive uniform number u is 2⁻⁵³.
            largest_match = max(self.pareto_uav, 2.0 ** (53.0 / self.pareto_shape))
            return min(self.pareto_uav, 1.0) * self.common_value[0], largest_match * self.common_value[1]
        latency = [max(self.latency(1), self.latency(1, "uav_")), min(self.latency(0), self.latency(0, "uav_"))]
        bounds = []
        for end, accuracy in ((0, self.accuracy[0] - self.accuracy_noise), (1, self.accuracy[1] + self.accuracy_noise)):
            capped = min(max(accuracy, 0.0), self.accuracy_cap)
            match = match_value(capped, self.accuracy_factor, self.beta)
            factor = max(1.0, self.uav_factor) if end else min(1.0, self.uav_factor)
            bounds.append(self.latency_factor / latency[end] * match * factor)
        return bounds[0], bounds[1]

    def range_of(self, name: str, whose: str = "") -> tuple[float, float]:
        """Return a range of the stations or, with ``whose="uav_"``, that of the UAV."""
        own: tuple[float, float] | None = getattr(self, f"{whose}{name}", None)
        found: tuple[float, float] = getattr(self, name) if own is None else own
        return found

    def latency(self, end: int, whose: str = "") -> float:
        """Return the shortest (``end`` 0) or the longest (``end`` 1) possible latency of a task, by Eqs. 1-6 [s].

        ``whose`` is that of `range_of`.
        """
        fast = 1 - end  # Index of the bound of gains, powers, bandwidths and speeds that gives this latency.
        has = {name: self.range_of(name, whose)[fast] for name in RESOURCES}
        gain, noise = db_to_ratio(has["channel_gain"]), dbm_to_watt(self.noise_power[end])
        size = self.task_size[end] * UNIT["task_size"]
        total: float = processing_time(size, self.gpu_per_bit, has["gpu_speed"], has["cpu_speed"])
        for bandwidth, power in (
            (has["uplink_bandwidth"], self.user_power[fast]),
            (has["downlink_bandwidth"], has["provider_power"]),
        ):
            rate = shannon_rate(bandwidth * UNIT["uplink_bandwidth"], gain, dbm_to_watt(power), noise)
            total += transfer_time(size, rate)
        return total

    @property
    def has_late_state(self) -> bool:
        """Whether resources stay or the window slides, so that the state has more than accuracies and valuations."""
        return self.redraw != "task" or self.window != "fresh"

    def allocate(self, batch: int, tasks: int | None = None) -> SecondBidState:
        """Return the zeroed state of ``batch`` markets with these settings; ``tasks`` is by default their own."""
        periods = self.periods if self.window == "sliding" else 0
        return allocate_state(batch, self.stations, self.tasks if tasks is None else tasks, periods)

    def rhos(self) -> NDArray[np.float64]:
        """Return the price scaling factors ρ = 10^(a/A) from which the auctioneer chooses, float64 (levels,)."""
        return np.asarray(10.0 ** (np.arange(self.levels) / self.levels))

    def nearest_rho(self, ratio: float) -> float:
        """Return the factor of `rhos` that is nearest to ``ratio``, as a ratio."""
        rhos = self.rhos()
        return float(rhos[int(np.argmin(np.abs(np.log(rhos / ratio))))])

    def record(self, current_bids: bool = False, uav_visible: bool = False) -> NDArray[Any]:
        """Return the parameters as kernels read them, in their units.

        The contract price and the scales of the observations are 0; they come from
        `ioa_marl.markets.second_bid.references.calibration`.

        Parameters
        ----------
        current_bids : bool, default False
            Whether the auctioneer observes the bids of the task that it prices.
        uav_visible : bool, default False
            Whether the auctioneer observes the UAV's valuation of that task.

        Returns
        -------
        ndarray of `SecondBidRecord`, shape (1,)
        """
        ends = {name: np.array(getattr(self, name)) * UNIT.get(name, 1.0) for name in RANGES}
        ends |= {f"uav_{name}": np.array(self.range_of(name, "uav_")) * UNIT.get(name, 1.0) for name in RESOURCES}
        ends["log_common_value"] = np.log(ends.pop("common_value"))
        return SecondBidRecord.row(
            stations=self.stations,
            levels=self.levels,
            tasks=self.tasks,
            pareto=self.valuations == "pareto",
            current_bids=current_bids,
            uav_visible=uav_visible,
            uav_rivals=self.rivals == "providers",
            periods=self.periods,
            redraw=REDRAWS[self.redraw],
            spread=self.spread,
            sliding=self.window == "sliding",
            task_delay=self.delay_of == "task",
            gpu_per_bit=self.gpu_per_bit,
            accuracy_noise=self.accuracy_noise,
            accuracy_cap=self.accuracy_cap,
            accuracy_redraw=self.accuracy_redraw,
            beta=self.beta,
            latency_factor=self.latency_factor,
            accuracy_factor=self.accuracy_factor,
            uav_factor=self.uav_factor,
            uav_weight=self.uav_weight,
            contract_price=0.0,
            pareto_shape=self.pareto_shape,
            pareto_uav=self.pareto_uav,
            smoothing=self.smoothing,
            log_low=0.0,
            log_high=0.0,
            log_ratio=0.0,
            **{
                f"{name}_{end}": value
                for name, pair in ends.items()
                for end, value in zip(("low", "high"), pair, strict=True)
            },
        )


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "persistent": {"accuracy_redraw": 0.2},
    "pareto": {"valuations": "pareto"},
    "three": {"stations": 3},
    "nine": {"stations": 9},
    "resident": {
        "redraw": "instance", "spread": 0.5, "window": "sliding", "periods": 5, "accuracy_redraw": 0.5,
        "delay_of": "task",
    },
}  # fmt: skip
"""Fields that differ from the defaults in each preset."""


def preset(name: str, **changes: Any) -> SecondBidParams:
    """Return the parameters of a preset, with the fields ``changes`` replaced."""
    return make_preset(SecondBidParams, PRESETS, name, changes)
