"""Valuations of one's own figures: what the market's kernels draw, closed forms, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.second_bid import common_values, drivers, match_values, pixel_accuracy, preset, valuations

MARKETS, PERIODS = 40, 10
SETTINGS = {"latency_factor": 1.7, "accuracy_factor": 0.6, "beta": 1.5}


def drawn(params, tasks):
    """Return common values, valuations, latencies and accuracies that the kernels draw, (tasks, markets, providers)."""
    state = params.allocate(MARKETS, 1)
    state.seed[:], state.stream[:] = 11, np.arange(MARKETS)
    out = []
    for task in range(tasks):
        state.task[:] = task
        drivers.draw_tasks(state, params.record(), np.ones(MARKETS, np.bool_))
        out.append([array.copy() for array in (state.common, state.value, state.delay, state.accuracy)])
    return np.moveaxis(np.array(out), 1, 0)


@pytest.mark.parametrize("settings", [{}, SETTINGS], ids=["paper", "other factors"])
@pytest.mark.parametrize("noise", [0.0, 0.035])
def test_past_periods_are_valued_as_the_market_values_them(settings, noise):
    # The blocks of random numbers of one task with ten periods are those of ten tasks with one period each.
    given = {"accuracy_noise": noise, "accuracy_redraw": 0.0, **settings}
    single = preset("paper", periods=1, **given)
    common, value, delay, accuracy = drawn(single, PERIODS)
    uav = np.where(np.arange(single.stations + 1) == 0, single.uav_factor, 1.0)
    if noise > 0.0:  # Each period's accuracy follows from its match value.
        accuracy = 1.0 - (single.accuracy_factor * uav * common / value) ** (1.0 / single.beta)
        assert accuracy.std(axis=0).min() > 0.001
    found = valuations(np.moveaxis(delay, 0, -1), np.moveaxis(accuracy, 0, -1), **settings, match_factors=uav)
    (common,), (value,), (delay_of_ten,), _ = drawn(preset("paper", periods=PERIODS, **given), 1)
    assert delay.mean(axis=0) == pytest.approx(delay_of_ten, rel=1e-12)
    assert found.common == pytest.approx(common, rel=1e-12)
    assert found.value == pytest.approx(value, rel=1e-9)
    assert found.match == pytest.approx(value / common, rel=1e-9)


def test_value_falls_with_latency_and_grows_with_accuracy():
    assert common_values([0.5, 0.5]) == pytest.approx(2.0)
    assert common_values([[0.5, 0.5], [0.6, 0.4]])[1] > 2.0  # a mean of 1/T, which is convex
    assert match_values([0.9], accuracy_factor=3.0, beta=2.0) == pytest.approx(300.0)
    assert (match_values([[0.2], [0.9]], beta=0.0) == 1.0).all()
    assert np.diff(match_values(np.linspace(0.0, 0.99, 50)[:, None])).min() > 0.0


def test_periods_of_latencies_and_accuracies_are_their_own():
    found = valuations([[0.5, 0.5, 0.5], [1.0, 1.0, 1.0]], [[0.5], [0.0]])
    assert found.value.tolist() == [8.0, 1.0]
    alone = valuations([0.5, 0.5], [0.5], match_factors=2.6)
    assert alone.value.shape == ()
    assert alone.value == pytest.approx(20.8)


def test_accuracy_is_the_share_of_equal_pixels():
    rng = np.random.default_rng(5)
    original = rng.integers(0, 8, (3, 1, 200))
    processed = np.where(rng.random((3, 4, 200)) < 0.3, (original + 1) % 8, original)
    found = pixel_accuracy(processed, original)
    assert found.shape == (3, 4)
    counted = [[sum(a == b for a, b in zip(image, true[0], strict=True)) for image in images]
               for images, true in zip(processed, original, strict=True)]  # fmt: skip
    assert (found * 200).round(9).tolist() == counted


@pytest.mark.parametrize(
    ("function", "given", "key"),
    [
        (common_values, ([0.5, 0.0],), "latencies"), (common_values, ([0.5, -1.0],), "latencies"),
        (common_values, ([0.5, np.nan],), "latencies"), (common_values, ([np.inf],), "latencies"),
        (common_values, (0.5,), "latencies"), (common_values, ([],), "latencies"),
        (common_values, ([[1.0, 2.0], [1.0]],), "latencies"), (common_values, (["slow"],), "latencies"),
        (common_values, ([0.5], 0.0), "latency_factor"), (common_values, ([0.5], "1"), "latency_factor"),
        (match_values, ([1.0],), "accuracies"), (match_values, ([-0.1],), "accuracies"),
        (match_values, ([np.nan],), "accuracies"), (match_values, ([0.5], np.inf), "accuracy_factor"),
        (match_values, ([0.5], 1.0, -1.0), "beta"), (match_values, ([0.5], 1.0, np.nan), "beta"),
        (valuations, ([[0.5], [0.5]], [[0.5], [0.5], [0.5]]), "accuracies"),
        (valuations, ([[0.5], [0.5]], [0.5]), "accuracies"),
        (valuations, ([[0.5], [0.5]], [[0.5], [0.5]], 1.0, 1.0, 2.0, [1.0, 2.0, 3.0]), "match_factors"),
        (valuations, ([[0.5], [0.5]], [[0.5], [0.5]], 1.0, 1.0, 2.0, [1.0, 0.0]), "match_factors"),
        (pixel_accuracy, ([1, 2, 3], [1, 2]), "processed"),
        (pixel_accuracy, ([[1], [2]], [[1], [2], [3]]), "processed"),
        (pixel_accuracy, ([1], []), "original"), (pixel_accuracy, ([[1, 2], [3]], [1, 2]), "processed"),
    ],
)  # fmt: skip
def test_figures_that_are_none_get_one_line(function, given, key):
    with pytest.raises(ParameterError) as error:
        function(*given)
    assert error.value.name == key
    assert "\n" not in str(error.value)
