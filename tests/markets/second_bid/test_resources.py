"""Resources of the UAV's own, resources that stay, and the sliding window: second ways to the same numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.second_bid import (
    SecondBidParams,
    calibration,
    contract_price,
    draw_providers,
    draw_tasks,
    drivers,
    market_from,
    preset,
)

MARKETS = 30
POINT = {
    "noise_power": (-113.0, -113.0), "channel_gain": (-22.0, -22.0), "task_size": (30.0, 30.0),
    "uplink_bandwidth": (40.0, 40.0), "downlink_bandwidth": (50.0, 50.0), "user_power": (8.0, 8.0),
    "provider_power": (30.0, 30.0), "gpu_speed": (1.5, 1.5), "cpu_speed": (1.2, 1.2), "accuracy": (0.7, 0.7),
    "accuracy_noise": 0.0,
}  # fmt: skip
"""Ranges of a single number, with which nothing is random."""


def drawn(params, tasks, instance=0, seed=11, markets=MARKETS, providers=None):
    """Return common values, valuations and latencies that the kernels draw, (tasks, markets, providers) each."""
    state, record = params.allocate(markets, 1), params.record()
    state.seed[:], state.stream[:], state.instance[:] = seed, np.arange(markets), instance
    out = []
    for task in range(tasks):
        state.task[:] = task
        drivers.draw_tasks(state, record, np.ones(markets, np.bool_))
        out.append([array.copy() for array in (state.common, state.value, state.delay)])
    return np.moveaxis(np.array(out), 1, 0)


def latency(bandwidths, power, gain, gpu, cpu):
    """Return the latency of a task by Eqs. 1-6, with the size, noise and vehicle of `POINT` [s]."""
    bits, noise = 30e6 * 8, 1e-3 * 10 ** (-113 / 10)
    rates = [
        mhz * 1e6 * math.log2(1 + 10 ** (gain / 10) * 1e-3 * 10 ** (dbm / 10) / noise)
        for mhz, dbm in zip(bandwidths, (8.0, power), strict=True)
    ]
    return sum(bits / rate for rate in rates) + bits * 0.5 / (gpu * 1e9) + bits / (cpu * 1e9)


def test_the_uav_is_served_by_its_own_resources_and_the_stations_by_theirs():
    own = {
        "uav_channel_gain": (-16.0, -16.0), "uav_uplink_bandwidth": (20.0, 20.0),
        "uav_downlink_bandwidth": (80.0, 80.0), "uav_provider_power": (26.0, 26.0), "uav_gpu_speed": (0.9, 0.9),
        "uav_cpu_speed": (0.8, 0.8),
    }  # fmt: skip
    _, _, delay = drawn(preset("paper", **POINT, **own), 1, markets=1)[:, 0]
    assert delay[0, 0] == pytest.approx(latency((20.0, 80.0), 26.0, -16.0, 0.9, 0.8), rel=1e-12)
    assert delay[0, 1:] == pytest.approx(latency((40.0, 50.0), 30.0, -22.0, 1.5, 1.2), rel=1e-12)


def test_own_ranges_of_the_uav_that_are_those_of_the_stations_change_nothing():
    plain = SecondBidParams()
    same = {f"uav_{name}": getattr(plain, name) for name in ("channel_gain", "uplink_bandwidth", "cpu_speed")}
    np.testing.assert_array_equal(drawn(preset("paper", **same), 3), drawn(plain, 3))


@pytest.mark.parametrize("settings", [{}, {"accuracy_redraw": 0.3}, {"redraw": "instance", "spread": 0.5}])
def test_a_sliding_window_averages_the_periods_that_a_market_of_single_periods_has(settings):
    single = drawn(preset("paper", periods=1, **settings), 12, instance=4)
    found = drawn(preset("paper", periods=5, window="sliding", **settings), 8, instance=4)
    match = single[1] / single[0]
    for task in range(8):
        window = slice(task, task + 5)
        common = single[0, window].mean(axis=0)
        assert found[0, task] == pytest.approx(common, rel=1e-12)
        assert found[1, task] == pytest.approx(common * match[window].mean(axis=0), rel=1e-12)
        assert found[2, task] == pytest.approx(single[2, window].mean(axis=0), rel=1e-12)


def test_valuations_persist_through_the_window_and_not_beyond():
    value = np.log(drawn(preset("paper", window="sliding"), 25, markets=400)[1])
    for lag, expected in ((1, 0.9), (5, 0.5), (10, 0.0), (14, 0.0)):
        correlation = np.corrcoef(value[0, :, 1:].ravel(), value[lag, :, 1:].ravel())[0, 1]
        assert correlation == pytest.approx(expected, abs=0.06)
    fresh = np.log(drawn(preset("paper"), 2, markets=400)[1])
    assert abs(np.corrcoef(fresh[0, :, 1:].ravel(), fresh[1, :, 1:].ravel())[0, 1]) < 0.06


def test_what_stays_belongs_to_the_instance_and_what_varies_to_the_market():
    params = preset("resident", spread=0.0, accuracy_noise=0.0, task_size=(30.0, 30.0), noise_power=(-113.0, -113.0),
                    user_power=(8.0, 8.0))  # fmt: skip
    one = drawn(params, 4, instance=1)[1]
    assert np.ptp(one, axis=(0, 1)).max() < 1e-9  # nothing else varies
    np.testing.assert_allclose(drawn(params, 2, instance=1, seed=12)[1], one[:2])
    assert np.abs(drawn(params, 1, instance=2)[1] / one[:1] - 1.0).min() > 1e-3
    varied = drawn(preset("resident"), 4, instance=1)[1]
    assert np.ptp(varied, axis=1).min() > 0.5


def test_with_a_spread_of_one_nothing_stays():
    stays = {"redraw": "instance", "spread": 1.0}
    np.testing.assert_array_equal(drawn(preset("paper", **stays), 3, instance=5), drawn(preset("paper"), 3))


def test_resources_of_an_episode_differ_between_episodes_and_not_between_instances():
    params, key = preset("paper", redraw="episode", spread=0.1), ([3], [0])
    first, again = draw_tasks(params, *key, instances=[1]), draw_tasks(params, *key, instances=[2])
    np.testing.assert_array_equal(first.uav, again.uav)
    others = [draw_tasks(params, *key, episode=episode).uav.mean() for episode in range(1, 6)]
    assert np.ptp(others) > 10 * first.uav.std() / math.sqrt(first.uav.size)


def test_periods_lie_between_what_stays_and_a_new_draw():
    """(1 − w) a + w x, by the same random numbers: the values of x from a market without anything that stays."""
    settings = {**POINT, "cpu_speed": (1.0, 2.0), "periods": 1}
    new = drawn(preset("paper", **settings), 3)[2]
    stays = draw_providers(preset("paper", **settings), 7).cpu_speed
    bits, fixed = 30e6 * 8, latency((40.0, 50.0), 30.0, -22.0, 1.5, np.inf)
    speed = bits / (new - fixed) / 1e9
    mixed = drawn(preset("paper", **settings, redraw="instance", spread=0.3), 3, instance=7)[2]
    np.testing.assert_allclose(mixed, fixed + bits / ((0.7 * stays + 0.3 * speed) * 1e9), rtol=1e-9)


def test_drawn_providers_are_those_of_the_market():
    params = preset("resident")
    of_instance = draw_tasks(params, [5, 6], [0, 1], instances=[9, 9])
    given = draw_tasks(params, [5, 6], [0, 1], providers=draw_providers(params, 9))
    np.testing.assert_array_equal(of_instance.uav, given.uav)
    np.testing.assert_array_equal(of_instance.first, given.first)


def test_own_figures_are_what_the_providers_have():
    params = preset("paper", **POINT, spread=0.0, stations=3)
    market = market_from(params, uplink_bandwidth=[40, 20, 60, 40], cpu_speed=[1.2, 1.2, 1.2, 2.4], accuracy=0.6)
    tasks = draw_tasks(params, [0], [0], providers=market)
    seconds = [latency((up, 50.0), 30.0, -22.0, 1.5, cpu) for up, cpu in ((40, 1.2), (20, 1.2), (60, 1.2), (40, 2.4))]
    values = np.sort(1.0 / np.array(seconds[1:]) / 0.4**2)
    for found, value in ((tasks.lowest, values[0]), (tasks.second, values[1]), (tasks.first, values[2])):
        np.testing.assert_allclose(found, value, rtol=1e-9)
    np.testing.assert_allclose(tasks.uav, 2.6 / seconds[0] / 0.4**2, rtol=1e-9)
    np.testing.assert_allclose(contract_price(params, market), tasks.uav[0, 0], rtol=1e-9)


def test_missing_figures_are_the_middle_of_the_range_and_of_the_uavs_own():
    market = market_from(preset("paper", uav_gpu_speed=(0.2, 0.4)))
    assert market.gpu_speed.tolist() == pytest.approx([0.3, 1.5, 1.5, 1.5, 1.5, 1.5])
    assert market.channel_gain.tolist() == [-22.5] * 6


@pytest.mark.parametrize("instance", [0, 3])
def test_contract_price_of_an_instance_is_the_mean_value_of_its_uav(instance):
    params = preset("resident")
    providers = draw_providers(params, instance)
    tasks = draw_tasks(params, np.full(400, 77, np.uint64), np.arange(400), providers=providers)
    assert contract_price(params, providers) == pytest.approx(tasks.uav.mean(), rel=0.02)
    constants = calibration(params, providers)
    assert constants.contract_price == constants.threshold == contract_price(params, providers)
    means = [tasks.surplus(rho).mean() for rho in params.rhos()]
    assert means[constants.constant] == pytest.approx(max(means), rel=0.01)


@pytest.mark.parametrize(
    ("key", "figures"),
    [
        ("uplink_bandwidth", {"uplink_bandwidth": [20, 30, 40]}), ("accuracy", {"accuracy": 1.2}),
        ("gpu_speed", {"gpu_speed": [1, 1, 1, 1, 1, math.nan]}), ("channel_gain", {"channel_gain": "high"}),
        ("bandwidth", {"bandwidth": 20.0}), ("cpu_speed", {"cpu_speed": [[1.0] * 6]}),
        ("provider_power", {"provider_power": [[30], [30, 30]]}),
    ],
)  # fmt: skip
def test_figures_of_providers_that_are_none_get_one_line(key, figures):
    with pytest.raises(ParameterError) as error:
        market_from(preset("paper"), **figures)
    assert error.value.name == key
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("uav_cpu_speed", {"uav_cpu_speed": (0.0, 1.0)}), ("uav_channel_gain", {"uav_channel_gain": -20.0}),
        ("redraw", {"redraw": "never"}), ("window", {"window": "moving"}), ("delay_of", {"delay_of": "mean"}),
        ("spread", {"spread": 1.5}), ("redraw", {"redraw": "instance", "valuations": "pareto"}),
        ("window", {"window": "sliding", "valuations": "pareto"}),
        ("latency_factor", {"uav_cpu_speed": (1e-3, 1.0), "task_size": (1e6, 1e6), "latency_factor": 1e-6}),
    ],
)  # fmt: skip
def test_settings_that_are_none_get_one_line(key, changes):
    with pytest.raises(ParameterError) as error:
        preset("paper", **changes)
    assert error.value.name == key


def test_providers_of_another_market_are_refused():
    with pytest.raises(ParameterError, match="providers=4 is not allowed: use 6, the UAV and the stations"):
        draw_tasks(preset("paper"), [0], [0], providers=market_from(preset("three")))
    with pytest.raises(ParameterError, match="valuations=pareto"):
        market_from(preset("pareto"))
