"""The modified second-bid auction: its parameters and presets, and the auction of one task over known bids.

Ground base stations bid for a computing task of a vehicle, and a UAV serves it at a contract price if no station wins.
The station with the highest bid wins only if its bid exceeds the second highest one times the price scaling factor ρ,
which the auctioneer chooses. Source: Sections 3 to 6 of "Diffusion-based auction mechanism for efficient resource
management in 6G-enabled vehicular metaverses"; the mechanism is from Arnosti, Beck and Milgrom, "Adverse selection and
auction design for internet display advertising", American Economic Review 106, 2016.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import check_integer, check_number, check_range, make_preset, require
from ioa_marl.markets.common.physics import db_to_ratio, dbm_to_watt, processing_time, shannon_rate, transfer_time
from ioa_marl.markets.second_bid.kernels import critical_payment, match_value, wins
from ioa_marl.markets.second_bid.state import UAV, SecondBidRecord

LARGEST_VALUE = 1e12
"""Largest possible valuation, and inverse of the smallest one [units]: their sums and logarithms are then accurate."""
MOST_DRAWS = 12_000
"""Largest number of periods of all providers per task, with which a calibration takes about two seconds."""

_RANGES = {
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
_UNIT = {"task_size": 8e-3, "uplink_bandwidth": 1e-3, "downlink_bandwidth": 1e-3}
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

    def __post_init__(self) -> None:
        """Check the parameters; an error names the key, the value and the allowed values."""
        check_integer(self, "stations", 2, 1000)
        check_integer(self, "levels", 1, 1000)
        check_integer(self, "tasks", 1, 100_000)
        check_integer(self, "periods", 1, 1000)
        require(self.valuations in ("physical", "pareto"), "valuations", self.valuations, "physical or pareto")
        require(self.rivals in ("stations", "providers"), "rivals", self.rivals, "stations or providers")
        for name, (low, high) in _RANGES.items():
            check_range(self, name, low, high)
        for name in ("latency_factor", "accuracy_factor", "uav_factor", "uav_weight", "pareto_uav"):
            check_number(self, name, 1e-6, 1e6)
        check_number(self, "gpu_per_bit", 0.0, 1e6)
        check_number(self, "accuracy_noise", 0.0, 1.0)
        check_number(self, "accuracy_cap", 0.0, 0.9999)
        check_number(self, "accuracy_redraw", 0.0, 1.0)
        check_number(self, "beta", 0.0, 10.0)
        check_number(self, "pareto_shape", 1.0, 100.0, open_low=True)
        check_number(self, "smoothing", 0.0, 0.999999)
        require(
            self.valuations != "physical" or (self.stations + 1) * self.periods <= MOST_DRAWS,
            "periods", self.periods, f"at most {MOST_DRAWS // (self.stations + 1)} with stations={self.stations}",
        )  # fmt: skip
        low, high = self.value_bounds()
        name = "latency_factor" if self.valuations == "physical" else "pareto_shape"
        require(
            low >= 1.0 / LARGEST_VALUE and high <= LARGEST_VALUE, name, getattr(self, name),
            f"one with which all valuations are between {1.0 / LARGEST_VALUE:g} and {LARGEST_VALUE:g}; "
            f"they could be {low:.3g} to {high:.3g}",
        )  # fmt: skip

    def value_bounds(self) -> tuple[float, float]:
        """Return a lower and an upper bound of every valuation that can be drawn [units]."""
        if self.valuations == "pareto":
            # A match value is u^(-1/α), and the smallest positive uniform number u is 2⁻⁵³.
            largest_match = max(self.pareto_uav, 2.0 ** (53.0 / self.pareto_shape))
            return min(self.pareto_uav, 1.0) * self.common_value[0], largest_match * self.common_value[1]
        latency = [self.latency(end) for end in (1, 0)]
        bounds = []
        for end, accuracy in ((0, self.accuracy[0] - self.accuracy_noise), (1, self.accuracy[1] + self.accuracy_noise)):
            capped = min(max(accuracy, 0.0), self.accuracy_cap)
            match = match_value(capped, self.accuracy_factor, self.beta)
            factor = max(1.0, self.uav_factor) if end else min(1.0, self.uav_factor)
            bounds.append(self.latency_factor / latency[end] * match * factor)
        return bounds[0], bounds[1]

    def latency(self, end: int) -> float:
        """Return the shortest (``end`` 0) or the longest (``end`` 1) possible latency of a task, by Eqs. 1-6 [s]."""
        fast = 1 - end  # Index of the bound of gains, powers, bandwidths and speeds that gives this latency.
        gain = db_to_ratio(self.channel_gain[fast])
        noise = dbm_to_watt(self.noise_power[end])
        size = self.task_size[end] * _UNIT["task_size"]
        total: float = processing_time(size, self.gpu_per_bit, self.gpu_speed[fast], self.cpu_speed[fast])
        for bandwidth, power in (
            (self.uplink_bandwidth[fast], self.user_power[fast]),
            (self.downlink_bandwidth[fast], self.provider_power[fast]),
        ):
            rate = shannon_rate(bandwidth * _UNIT["uplink_bandwidth"], gain, dbm_to_watt(power), noise)
            total += transfer_time(size, rate)
        return total

    def rhos(self) -> NDArray[np.float64]:
        """Return the price scaling factors ρ = 10^(a/A) from which the auctioneer chooses, float64 (levels,)."""
        return np.asarray(10.0 ** (np.arange(self.levels) / self.levels))

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
        ends = {name: np.array(getattr(self, name)) * _UNIT.get(name, 1.0) for name in _RANGES}
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
}
"""Fields that differ from the defaults in each preset."""


def preset(name: str, **changes: Any) -> SecondBidParams:
    """Return the parameters of a preset, with the fields ``changes`` replaced."""
    return make_preset(SecondBidParams, PRESETS, name, changes)


@dataclass(frozen=True)
class Allocation:
    """Outcome of the auction of one task."""

    winner: int
    """Index of the station that wins, or ``UAV`` (−1)."""
    payment: float
    """Payment of the winner to the auctioneer: ρ·b₍₂₎ for a station, the contract price for the UAV [units]."""
    critical: NDArray[np.float64]
    """Critical payment of each station, shape (stations,) [units]: ρ times the highest bid of its rivals, which its bid
    must exceed and which it would pay."""

    def utilities(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return the utilities of the stations, value − payment for the winner and 0 for the others.

        Parameters
        ----------
        values : array_like, shape (stations,)
            True valuations of the task [units].

        Returns
        -------
        ndarray of float64, shape (stations,)
            Utilities [units].
        """
        values = np.asarray(values, np.float64)
        out = np.zeros(len(self.critical))
        if self.winner != UAV:
            out[self.winner] = values[self.winner] - self.payment
        return out


def allocate(
    bids: ArrayLike | Sequence[float], rho: float, contract_price: float = 0.0, uav_bid: float = 0.0
) -> Allocation:
    """Auction one task among the stations; the UAV serves it if no station wins.

    Parameters
    ----------
    bids : array_like, shape (stations,)
        Bids of the stations [units], finite and at least 0. If there is one station, the second highest bid is 0.
    rho : float
        Price scaling factor ρ ≥ 1; 1 gives the second-price auction, in which the UAV serves ties.
    contract_price : float, default 0
        Contract price b₀ that the UAV pays if it serves the task [units].
    uav_bid : float, default 0
        Bid of the UAV, if it counts among the bids that a station has to exceed [units]; see
        `SecondBidParams.rivals`.

    Returns
    -------
    Allocation

    Raises
    ------
    ParameterError
        If an argument is invalid; the message names it and the allowed values.

    References
    ----------
    Eqs. 14 and 15 of "Diffusion-based auction mechanism for efficient resource management in 6G-enabled vehicular
    metaverses". By default the second highest bid is that of a station: with the UAV's bid among them, the auction
    would not be free of adverse selection.

    Examples
    --------
    >>> allocate([8.0, 5.0], rho=1.5)
    Allocation(winner=0, payment=7.5, critical=array([ 7.5, 12. ]))
    >>> allocate([8.0, 5.0], rho=2.0, contract_price=6.0).winner
    -1
    >>> allocate([8.0, 5.0], rho=1.0, uav_bid=7.0).payment
    7.0
    """
    bid = np.atleast_1d(np.asarray(bids, np.float64))
    valid = bid.ndim == 1 and bid.size > 0 and bool(np.all(np.isfinite(bid) & (bid >= 0.0)))
    require(valid, "bids", bids, "a sequence of finite numbers, at least 0")
    require(math.isfinite(rho) and rho >= 1.0, "rho", rho, "a number of at least 1")
    require(math.isfinite(contract_price) and contract_price >= 0.0, "contract_price", contract_price, "0 or more")
    require(math.isfinite(uav_bid) and uav_bid >= 0.0, "uav_bid", uav_bid, "0 or more")
    best = int(np.argmax(bid))
    first, second = float(bid[best]), float(np.delete(bid, best).max(initial=0.0))
    highest_other = np.full(len(bid), first)
    highest_other[best] = second
    highest_other = np.maximum(highest_other, uav_bid)
    critical = np.array([critical_payment(float(other), float(rho)) for other in highest_other])
    if wins(first, float(highest_other[best]), float(rho)):
        return Allocation(best, float(critical[best]), critical)
    return Allocation(UAV, float(contract_price), critical)
