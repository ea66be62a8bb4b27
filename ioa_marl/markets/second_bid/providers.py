"""What the UAV and the stations have, where it stays: drawn for an instance, or from figures of one's own with units.

Source of the quantities: Sections 3.1 to 3.3 of "Diffusion-based auction mechanism for efficient resource management in
6G-enabled vehicular metaverses".
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import ParameterError, require
from ioa_marl.foundations.seeds import as_seeds
from ioa_marl.markets.second_bid import drivers
from ioa_marl.markets.second_bid.params import RANGES, RESOURCES, UNIT, SecondBidParams

FIGURES = {
    "uplink_bandwidth": "MHz",
    "downlink_bandwidth": "MHz",
    "provider_power": "dBm",
    "gpu_speed": "Gbit/s",
    "cpu_speed": "Gbit/s",
    "channel_gain": "dB",
    "accuracy": "a share",
}
"""Figures of a provider, with their units."""


@dataclass(frozen=True, eq=False)
class Providers:
    """What each provider has on the whole; shape (stations + 1,) each, the UAV first."""

    uplink_bandwidth: NDArray[np.float64]
    """Uplink bandwidth [MHz]."""
    downlink_bandwidth: NDArray[np.float64]
    """Downlink bandwidth [MHz]."""
    provider_power: NDArray[np.float64]
    """Transmit power [dBm]."""
    gpu_speed: NDArray[np.float64]
    """GPU speed f^g [Gbit/s]."""
    cpu_speed: NDArray[np.float64]
    """CPU speed f^c [Gbit/s]."""
    channel_gain: NDArray[np.float64]
    """Channel power gain g [dB]."""
    accuracy: NDArray[np.float64]
    """Accuracy R."""

    def __len__(self) -> int:
        """Return the number of providers, the UAV among them."""
        return len(self.accuracy)

    def first(self, count: int) -> Providers:
        """Return the first ``count`` of these providers."""
        return Providers(**{name: getattr(self, name)[:count] for name in FIGURES})

    def write(self, nominal: NDArray[Any]) -> None:
        """Write the figures into `SecondBidState.nominal`, `Resources` (batch, providers), in its units."""
        for name in FIGURES:
            nominal[name][:, : len(self)] = getattr(self, name) * UNIT.get(name, 1.0)


def plain_params(params: SecondBidParams) -> SecondBidParams:
    """Return settings without those that only the environment has."""
    names = [field.name for field in dataclasses.fields(SecondBidParams)]
    return SecondBidParams(**{name: getattr(params, name) for name in names})


def draw_providers(params: SecondBidParams, instance: int) -> Providers:
    """Return the providers of an instance, as the market draws them with ``redraw="instance"``.

    Parameters
    ----------
    params : SecondBidParams
        Parameters of the auction, whose ranges are used.
    instance : int
        Number of the instance.

    Returns
    -------
    Providers
        The same object for the same arguments.

    Examples
    --------
    >>> from ioa_marl.markets.second_bid import preset
    >>> draw_providers(preset("paper", stations=2), instance=3).uplink_bandwidth.round(1)
    array([32.1, 20.6, 34.9])
    """
    as_seeds("instance", np.array([instance]))
    return _drawn(plain_params(params), instance)


@lru_cache(maxsize=4096)
def _drawn(params: SecondBidParams, instance: int) -> Providers:
    """Return the providers of an instance; see `draw_providers`."""
    params = dataclasses.replace(params, redraw="instance") if params.valuations == "physical" else params
    state = params.allocate(1, 1)
    state.instance[:] = instance
    drivers.draw_resources(state, params.record())
    return Providers(**{name: state.nominal[name][0] / UNIT.get(name, 1.0) for name in FIGURES})


def _figure(params: SecondBidParams, name: str, given: dict[str, ArrayLike]) -> NDArray[np.float64]:
    """Return a figure of all providers, from what is given or the middle of its range."""
    count, (low, high) = params.stations + 1, RANGES[name]
    if name not in given:
        middle = np.full(count, np.mean(params.range_of(name)))
        if name in RESOURCES:
            middle[0] = np.mean(params.range_of(name, "uav_"))
        return middle
    values = given[name]
    allowed = (
        f"one number or {count}, one for the UAV and then one for each station [{FIGURES[name]}], from {low:g} to "
        f"{high:g}"
    )
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(name, values, allowed) from error
    require(array.shape in ((), (count,)), name, f"array of shape {array.shape}", allowed)
    require(bool(np.all((array >= low) & (array <= high))), name, values, allowed)
    return np.array(np.broadcast_to(array, (count,)))


def _with(ends: tuple[float, float], values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the smallest range around a range and some numbers."""
    return min(ends[0], float(values.min())), max(ends[1], float(values.max()))


def market_from(params: SecondBidParams, **figures: ArrayLike) -> Providers:
    """Return providers with figures of one's own, for `draw_tasks`, `calibration` and `SecondBidGame.set_providers`.

    Every figure is one number for all providers or one for each, the UAV first and then the stations. Those that are
    not given are the middle of their range in the parameters. In an averaged period a provider has (1 − w) times its
    figure plus w times a draw from the range, with the weight w of `SecondBidParams.spread`: with ``spread=0`` it
    always has its figure. Sizes of tasks, the vehicles' power and noise are drawn as before.

    Parameters
    ----------
    params : SecondBidParams
        Number of stations, ranges, and all that does not belong to a provider; with ``valuations="physical"``.
    uplink_bandwidth, downlink_bandwidth : array_like, shape (stations + 1,)
        Bandwidths [MHz].
    provider_power : array_like, shape (stations + 1,)
        Transmit power [dBm].
    gpu_speed, cpu_speed : array_like, shape (stations + 1,)
        Computing speeds f^g and f^c [Gbit/s].
    channel_gain : array_like, shape (stations + 1,)
        Channel power gain g [dB].
    accuracy : array_like, shape (stations + 1,)
        Accuracy R, from 0 to 1.

    Returns
    -------
    Providers

    Raises
    ------
    ParameterError
        If a figure has a wrong name, shape or value; the message is one line that says what is allowed.

    Examples
    --------
    The second station has four times the bandwidth of the first one, all else being equal:

    >>> from ioa_marl.markets.second_bid import draw_tasks, preset
    >>> params = preset("paper", stations=2, spread=0.0, accuracy_noise=0.0)
    >>> market = market_from(params, uplink_bandwidth=[40, 15, 60], downlink_bandwidth=[40, 15, 60])
    >>> tasks = draw_tasks(params, seeds=[0], streams=[0], providers=market)
    >>> tasks.second.mean().round(1), tasks.first.mean().round(1)
    (np.float64(10.4), np.float64(25.3))
    """
    require(params.valuations == "physical", "valuations", params.valuations, "physical, which has resources")
    for name in figures:
        require(name in FIGURES, name, figures[name], f"one of the figures {', '.join(FIGURES)}")
    found = Providers(**{name: _figure(params, name, figures) for name in FIGURES})
    ranges = {}
    for name in FIGURES:
        values, own = getattr(found, name), name in RESOURCES
        ranges[name] = _with(params.range_of(name), values[1:] if own else values)
        if own:
            ranges[f"uav_{name}"] = _with(params.range_of(name, "uav_"), values[:1])
    # This refuses figures with which valuations could overflow.
    dataclasses.replace(plain_params(params), **ranges)  # type: ignore[arg-type]
    return found
