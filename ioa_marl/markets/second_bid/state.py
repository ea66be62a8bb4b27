"""Records and state of the modified second-bid auction: parameters and metrics by name, a batch of markets as arrays.

Providers have the indices of the paper: 0 is the UAV (the brand bidder), and 1 … N are the ground base stations (the
performance bidders). In arrays of stations alone their indices are 0 … N − 1. A winner is the index of a station in
such an array, or ``UAV`` (−1).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.records import Record

Array = NDArray[Any]

UAV = -1
"""Index of the winner of a task that the UAV serves."""
EVERY_PERIOD, EVERY_EPISODE, EVERY_INSTANCE, OWN = range(4)
"""When the resources of the providers are drawn: for every period, once per episode or instance; or they are given."""


class SecondBidRecord(Record):
    """Parameters of an auction and of its game, in the units of the kernels.

    Draws are uniform from ``…_low`` to ``…_high``. Sizes are in Gbit and bandwidths in GHz, and hence rates in Gbit/s.
    """

    stations: int
    """Number of ground base stations N, without the UAV."""
    levels: int
    """Number of price scaling factors A."""
    tasks: int
    """Number of tasks that are auctioned in an episode."""
    pareto: bool
    """Whether valuations are a common value times Pareto match values; else they come from latency and accuracy."""
    current_bids: bool
    """Whether the auctioneer observes the bids of the task that it prices."""
    uav_visible: bool
    """Whether the auctioneer observes the UAV's valuation of that task."""
    uav_rivals: bool
    """Whether the UAV's valuation counts among the bids that a station has to exceed."""
    periods: int
    """Number of past periods over which a provider's latency and accuracy are averaged."""
    noise_power_low: float
    """Noise power σ² at the receiver of a link [dBm]."""
    noise_power_high: float
    channel_gain_low: float
    """Channel power gain g [dB]."""
    channel_gain_high: float
    task_size_low: float
    """Size D of a task, the same for uplink and downlink [Gbit]."""
    task_size_high: float
    uplink_bandwidth_low: float
    """Uplink bandwidth of a provider [GHz]."""
    uplink_bandwidth_high: float
    downlink_bandwidth_low: float
    """Downlink bandwidth of a provider [GHz]."""
    downlink_bandwidth_high: float
    user_power_low: float
    """Transmit power of a vehicle [dBm]."""
    user_power_high: float
    provider_power_low: float
    """Transmit power of a provider [dBm]."""
    provider_power_high: float
    gpu_speed_low: float
    """GPU speed of a provider [Gbit/s]."""
    gpu_speed_high: float
    cpu_speed_low: float
    """CPU speed of a provider [Gbit/s]."""
    cpu_speed_high: float
    uav_channel_gain_low: float
    """Ranges of the UAV's own resources, in the same units; those of the stations if it has none of its own."""
    uav_channel_gain_high: float
    uav_uplink_bandwidth_low: float
    uav_uplink_bandwidth_high: float
    uav_downlink_bandwidth_low: float
    uav_downlink_bandwidth_high: float
    uav_provider_power_low: float
    uav_provider_power_high: float
    uav_gpu_speed_low: float
    uav_gpu_speed_high: float
    uav_cpu_speed_low: float
    uav_cpu_speed_high: float
    redraw: int
    """When the resources of a provider are drawn: `EVERY_PERIOD`, `EVERY_EPISODE`, `EVERY_INSTANCE`, or not: `OWN`."""
    spread: float
    """Weight of a new draw in what a provider has in a period, if its resources stay."""
    sliding: bool
    """Whether consecutive tasks share all averaged periods but one."""
    task_delay: bool
    """Whether the metric ``delay`` is the latency of the served task itself."""
    gpu_per_bit: float
    """GPU work per bit of a task e_p."""
    accuracy_low: float
    """Accuracy R of a provider."""
    accuracy_high: float
    accuracy_noise: float
    """Half width of the uniform noise of the accuracy in each averaged period."""
    accuracy_cap: float
    """Largest accuracy with its noise."""
    accuracy_redraw: float
    """Probability per task that a provider's accuracy is redrawn."""
    beta: float
    """Sensitivity β of the match value to accuracy."""
    latency_factor: float
    """Value factor ω₁ of latency [units·s]."""
    accuracy_factor: float
    """Value factor ω₂ of accuracy."""
    uav_factor: float
    """Factor of the UAV's match value, for its line of sight."""
    uav_weight: float
    """Bargaining power ζ: weight of the UAV's valuation in the surplus."""
    contract_price: float
    """Contract price b₀ that the UAV pays if it serves a task [units]."""
    log_common_value_low: float
    """Logarithm of the common value C of Pareto valuations [log of units]."""
    log_common_value_high: float
    pareto_shape: float
    """Shape α of the stations' Pareto match values."""
    pareto_uav: float
    """Match value of the UAV in Pareto valuations."""
    smoothing: float
    """Weight of the past in the moving averages that the auctioneer observes."""
    log_low: float
    """Logarithm of a valuation or bid that is observed as 0 [log of units]."""
    log_high: float
    """Logarithm of a valuation or bid that is observed as 1 [log of units]."""
    log_ratio: float
    """Value of log(b₍₁₎/b₍₂₎) that is observed as 1."""


class Resources(Record):
    """What a provider has, if its resources stay: the figures around which its periods vary."""

    uplink_bandwidth: float
    """Uplink bandwidth [GHz]."""
    downlink_bandwidth: float
    """Downlink bandwidth [GHz]."""
    provider_power: float
    """Transmit power [dBm]."""
    gpu_speed: float
    """GPU speed [Gbit/s]."""
    cpu_speed: float
    """CPU speed [Gbit/s]."""
    channel_gain: float
    """Channel power gain g [dB]."""
    accuracy: float
    """Accuracy R."""


class Period(Record):
    """What a provider's averages take from one past period."""

    common: float
    """Value of its latency ω₁/T, averaged in Eq. 9 [units]."""
    match: float
    """Match value ω₂/(1 − R)^β, averaged in Eq. 10."""
    latency: float
    """Latency T [s]."""


class LogBids(Record):
    """Logarithms of the UAV's valuation and of the stations' two highest bids."""

    uav: float
    """Logarithm of the UAV's valuation v₀ [log of units]."""
    first: float
    """Logarithm of the highest bid b₍₁₎ of a station [log of units]."""
    second: float
    """Logarithm of the second highest bid b₍₂₎ of a station [log of units]."""


class LastTask(LogBids):
    """The public outcome of the last task."""

    rho: float
    """Price scaling factor ρ."""
    winner: float
    """Index of the station that won, or −1 for the UAV."""


class SettledTask(Record):
    """Settlement of a task of this episode."""

    rho: float
    """Price scaling factor ρ."""
    payment: float
    """Payment of the winner [units]."""
    lost: float
    """Surplus of the best ρ less the surplus achieved [units]."""


class SecondBidMetrics(Record):
    """Metrics of an episode: sums over its tasks while it is played, and means over them at its end."""

    surplus: float
    """Allocative surplus: ζ v₀ if the UAV serves the task, else the true value of the winning station [units]."""
    optimal_surplus: float
    """Surplus of the best ρ of every task for the bids, given all true values [units]."""
    efficiency: float
    """Surplus over optimal surplus; 1 if the latter is 0."""
    station_surplus: float
    """Surplus of the tasks that stations serve [units]."""
    uav_surplus: float
    """Surplus of the tasks that the UAV serves [units]."""
    uav_share: float
    """Share of the tasks that the UAV serves."""
    revenue: float
    """Payments to the auctioneer [units]."""
    bidder_utility: float
    """Value − payment of the winner [units]."""
    delay: float
    """Latency of the winner: its mean E[T] over the averaged periods or, if so set, that of the task itself [s]."""
    rho: float
    """Price scaling factor ρ."""


class SecondBidState(NamedTuple):
    """State of a batch of markets: arrays that can be saved and restored. The number of providers is stations + 1."""

    seed: Array
    """uint64 (batch,): first key of the market's random stream."""
    stream: Array
    """uint64 (batch,): second key, the index of the environment."""
    episode: Array
    """uint64 (batch,): index of the current episode, from 0."""
    phase: Array
    """int64 (batch,): 0 if the stations bid next, 1 if the auctioneer sets ρ next."""
    cycles: Array
    """int64 (batch,): steps of the environment in this episode so far."""
    task: Array
    """int64 (batch,): number of tasks auctioned in this episode so far."""
    accuracy: Array
    """float64 (batch, providers): accuracy R of each provider, without the noise of the periods."""
    common: Array
    """float64 (batch, providers): common value c of the current task (Eq. 9) [units]."""
    value: Array
    """float64 (batch, providers): valuation v of the current task (Eq. 11) [units]."""
    delay: Array
    """float64 (batch, providers): mean latency E[T] of the current task [s]."""
    bid: Array
    """float64 (batch, stations): bids for the current task, 0 before the stations bid [units]."""
    rank: Array
    """int64 (batch, stations): indices of the stations by bid, the highest first, ties by index."""
    last: Array
    """`LastTask` (batch,): public outcome of the last task; zero before the first one ends."""
    averages: Array
    """`LogBids` (batch,): moving averages over the tasks so far."""
    utility: Array
    """float64 (batch, stations): value − payment of each station in the last task [units]."""
    receipts: Array
    """float64 (batch, stations + 2): receipts of the stations, the UAV and the auctioneer in this episode [units]."""
    totals: Array
    """`SecondBidMetrics` (batch,): sums over the tasks so far."""
    winners: Array
    """int64 (batch, tasks): winner of each task of this episode, the index of a station or −1 for the UAV."""
    settled: Array
    """`SettledTask` (batch, tasks): settlement of each task of this episode."""
    settled_value: Array
    """float64 (batch, providers): valuations of the last task [units]."""
    settled_bid: Array
    """float64 (batch, stations): bids of the stations for the last task [units]."""
    instance: Array
    """uint64 (batch,): number of the instance; it has an effect only where resources belong to the instance."""
    nominal: Array
    """`Resources` (batch, providers): what each provider has; unused where all is drawn for every period."""
    contract_price: Array
    """float64 (batch,): contract price b₀ of the UAV where resources belong to the instance or are given [units]."""
    recent: Array
    """`Period` (batch, providers, periods): the averaged periods if the window slides, of which period k is at
    k mod periods; else without periods."""


LATE = ("instance", "nominal", "contract_price", "recent")
"""Fields of the state that checkpoints of markets without lasting resources and sliding windows do not have."""


def allocate_state(batch: int, stations: int, tasks: int, periods: int) -> SecondBidState:
    """Return a zeroed state of ``batch`` markets with ``stations`` stations and ``tasks`` tasks per episode.

    ``periods`` is the number of averaged periods if the window slides, else 0; `SecondBidParams.allocate` knows it.
    """
    providers = stations + 1
    keys = {name: np.zeros(batch, np.uint64) for name in ("seed", "stream", "episode", "instance")}
    counts = {name: np.zeros(batch, np.int64) for name in ("phase", "cycles", "task")}
    of_providers = {
        name: np.zeros((batch, providers)) for name in ("accuracy", "common", "value", "delay", "settled_value")
    }
    return SecondBidState(
        **keys,
        **counts,
        **of_providers,
        bid=np.zeros((batch, stations)),
        rank=np.zeros((batch, stations), np.int64),
        last=LastTask.zeros(batch),
        averages=LogBids.zeros(batch),
        utility=np.zeros((batch, stations)),
        receipts=np.zeros((batch, stations + 2)),
        totals=SecondBidMetrics.zeros(batch),
        winners=np.zeros((batch, tasks), np.int64),
        settled=SettledTask.zeros(batch, tasks),
        settled_bid=np.zeros((batch, stations)),
        nominal=Resources.zeros(batch, providers),
        contract_price=np.zeros(batch),
        recent=Period.zeros(batch, providers, periods),
    )
