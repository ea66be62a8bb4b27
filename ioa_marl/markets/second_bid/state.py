"""What the kernels of the modified second-bid auction read and write by name: parameters, a batch of markets, metrics.

Providers are numbered as in the paper: 0 is the UAV (the brand bidder), 1 … N are the ground base stations (the
performance bidders). Stations alone have the indices 0 … N − 1, and a winner is a station's index or ``UAV`` (-1).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.records import Record

Array = NDArray[Any]

UAV = -1
"""The winner, where it is the UAV."""


class SecondBidRecord(Record):
    """Parameters of an auction in the units of its kernels; ranges are uniform, from ``…_low`` to ``…_high``.

    Sizes are in Gbit and bandwidths in GHz, so that rates are in Gbit/s.
    """

    stations: int
    """Number of ground base stations N, without the UAV."""
    levels: int
    """Number of price scaling factors A."""
    tasks: int
    """Tasks auctioned in an episode."""
    pareto: bool
    """Whether valuations are a common value times Pareto match values; else they come from latency and accuracy."""
    current_bids: bool
    """Whether the auctioneer sees the bids of the task that it prices."""
    uav_visible: bool
    """Whether it sees the UAV's valuation of that task as well."""
    periods: int
    """Past periods over which a provider's latency and accuracy are averaged."""
    noise_power_low: float
    """Noise power σ² at either end of a link [dBm]."""
    noise_power_high: float
    channel_gain_low: float
    """Channel power gain g [dB]."""
    channel_gain_high: float
    task_size_low: float
    """Size D of a task, the same up and down [Gbit]."""
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
    gpu_per_bit: float
    """GPU work per bit of a task e_p."""
    accuracy_low: float
    """Accuracy R of a provider."""
    accuracy_high: float
    accuracy_noise: float
    """Half width of the uniform noise on the accuracy in each averaged period."""
    accuracy_cap: float
    """Largest accuracy, noise included."""
    accuracy_redraw: float
    """Probability per task that a provider's accuracy is drawn anew."""
    beta: float
    """Sensitivity β of the match value to accuracy."""
    latency_factor: float
    """Value factor ω₁ of latency [units·s]."""
    accuracy_factor: float
    """Value factor ω₂ of accuracy."""
    uav_factor: float
    """What the UAV's match value is multiplied by, for its line of sight."""
    uav_weight: float
    """Bargaining power ζ: weight of the UAV's valuation in the surplus."""
    contract_price: float
    """Contract price b₀ that the UAV pays where it serves [units]."""
    log_common_value_low: float
    """Logarithm of the common value C of Pareto valuations [log of units]."""
    log_common_value_high: float
    pareto_shape: float
    """Shape α of the stations' Pareto match values."""
    pareto_uav: float
    """Match value of the UAV in Pareto valuations."""
    smoothing: float
    """Weight of the past in the moving averages that the auctioneer sees."""
    log_low: float
    """Logarithm of a valuation or bid that is seen as 0 [log of units]."""
    log_high: float
    """Logarithm of a valuation or bid that is seen as 1 [log of units]."""
    log_ratio: float
    """log(b₍₁₎/b₍₂₎) that is seen as 1."""


class LogBids(Record):
    """Logarithms of a task's valuation and bids [log of units]."""

    uav: float
    """Log of the UAV's valuation v₀."""
    first: float
    """Log of the highest bid b₍₁₎ of a station."""
    second: float
    """Log of the second highest bid b₍₂₎ of a station."""


class LastTask(LogBids):
    """What everybody knows of the last task."""

    rho: float
    """Price scaling factor ρ."""
    winner: float
    """Index of the station that won, or -1 for the UAV."""


class SettledTask(Record):
    """How a task of this episode was settled."""

    rho: float
    """Price scaling factor ρ."""
    payment: float
    """What the winner paid [units]."""
    lost: float
    """Surplus lost against the best ρ [units]."""


class SecondBidMetrics(Record):
    """Figures of an episode: sums over its tasks while it is played, means over them when it has ended."""

    surplus: float
    """Allocative surplus: ζ v₀ where the UAV serves, else the true value of the station that does [units]."""
    optimal_surplus: float
    """Surplus of the best ρ in every task, knowing all true values and the bids made [units]."""
    efficiency: float
    """Surplus by optimal surplus; 1 where the latter is 0."""
    station_surplus: float
    """Part of the surplus that stations serve [units]."""
    uav_surplus: float
    """Part of the surplus that the UAV serves [units]."""
    uav_share: float
    """Share of the tasks that the UAV serves."""
    revenue: float
    """Payments to the auctioneer [units]."""
    bidder_utility: float
    """Value − payment of whoever serves [units]."""
    delay: float
    """Mean latency of the provider that serves [s]."""
    rho: float
    """Price scaling factor ρ."""


class SecondBidState(NamedTuple):
    """Everything that a batch of markets is, as arrays that can be saved and restored; providers = stations + 1."""

    seed: Array
    """uint64 (batch,): first key word of the market's random stream."""
    stream: Array
    """uint64 (batch,): second key word (environment index)."""
    instance: Array
    """uint64 (batch,): unused; nothing in this market lasts longer than an episode."""
    episode: Array
    """uint64 (batch,): episodes begun so far, counted from 0."""
    phase: Array
    """int64 (batch,): 0 the stations bid, 1 the auctioneer sets ρ."""
    cycles: Array
    """int64 (batch,): environment steps of this episode so far."""
    task: Array
    """int64 (batch,): tasks auctioned so far in this episode."""
    accuracy: Array
    """float64 (batch, providers): each provider's accuracy R before the noise of the periods."""
    common: Array
    """float64 (batch, providers): common value c of the present task (Eq. 9) [units]."""
    value: Array
    """float64 (batch, providers): valuation v of the present task (Eq. 11) [units]."""
    delay: Array
    """float64 (batch, providers): mean latency E[T] of the present task [s]."""
    bid: Array
    """float64 (batch, stations): the stations' bids for the present task, 0 before they are made [units]."""
    rank: Array
    """int64 (batch, stations): stations by bid, the highest first, ties by index."""
    last: Array
    """`LastTask` (batch,): the last task; zero before there is one."""
    averages: Array
    """`LogBids` (batch,): moving averages over the tasks so far."""
    utility: Array
    """float64 (batch, stations): value − payment of each station in the last task [units]."""
    receipts: Array
    """float64 (batch, stations + 2): receipts of the stations, the UAV and the auctioneer in this episode [units]."""
    totals: Array
    """`SecondBidMetrics` (batch,): sums over the tasks so far."""
    winners: Array
    """int64 (batch, tasks): who won each task of this episode, a station's index or -1 for the UAV."""
    settled: Array
    """`SettledTask` (batch, tasks): how each task of this episode was settled."""
    settled_value: Array
    """float64 (batch, providers): valuations of the last task [units]."""
    settled_bid: Array
    """float64 (batch, stations): the stations' bids for the last task [units]."""


def allocate_state(batch: int, stations: int, tasks: int) -> SecondBidState:
    """Return a zeroed state of ``batch`` markets with ``stations`` stations and ``tasks`` tasks an episode."""
    providers = stations + 1
    words = {name: np.zeros(batch, np.uint64) for name in ("seed", "stream", "instance", "episode")}
    whole = {name: np.zeros(batch, np.int64) for name in ("phase", "cycles", "task")}
    of_providers = {
        name: np.zeros((batch, providers)) for name in ("accuracy", "common", "value", "delay", "settled_value")
    }
    return SecondBidState(
        **words,
        **whole,
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
    )
