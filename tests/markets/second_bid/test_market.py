"""The market around the modified second-bid auction: valuations, references, and what simple rules achieve."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.common import physics
from ioa_marl.markets.second_bid import drivers, references
from ioa_marl.markets.second_bid.kernels import rank_bids
from ioa_marl.markets.second_bid.params import PRESETS, SecondBidParams, preset
from ioa_marl.markets.second_bid.references import (
    best_threshold,
    calibration,
    draw_tasks,
    full_information,
    pareto_optimum,
)
from ioa_marl.markets.second_bid.state import allocate_state

INF, NAN = float("inf"), float("nan")
MARKETS = 800


def tasks_of(params, markets=MARKETS, seed=11):
    return draw_tasks(params, np.full(markets, seed, np.uint64), np.arange(markets))


def drawn(params, markets, task=0, seed=11):
    """Return the state of markets in which the tasks up to ``task`` have been drawn."""
    state = params.allocate(markets, 1)
    state.seed[:], state.stream[:] = seed, np.arange(markets)
    for index in range(task + 1):
        state.task[:] = index
        drivers.draw_tasks(state, params.record(), np.ones(markets, np.bool_))
    return state


class Scale:
    """The scale on which 0 is random play of the grid and 1 the best action with full information."""

    def __init__(self, name, **changes):
        self.params = preset(name, **changes)
        self.tasks = tasks_of(self.params)
        self.rhos = self.params.rhos()
        self.best = full_information(self.tasks, self.params).mean()
        self.random = np.mean([self.tasks.surplus(rho).mean() for rho in self.rhos])
        self.constants = calibration(self.params)

    def surplus(self, rho):
        return self.tasks.surplus(rho).mean()

    def __call__(self, surplus):
        return (surplus - self.random) / (self.best - self.random)

    def threshold(self):
        return self.surplus(np.where(self.tasks.first > self.constants.threshold, 1.0, self.rhos[-1]))


@pytest.fixture(scope="module")
def paper():
    return Scale("paper")


@pytest.fixture(scope="module")
def persistent():
    return Scale("persistent")


def test_simple_rules_are_where_they_were_measured_independently(paper):
    assert paper(paper.surplus(1.0)) == pytest.approx(-0.28, abs=0.03)
    assert paper(paper.tasks.uav.mean()) == pytest.approx(-0.10, abs=0.03)
    assert paper(paper.surplus(paper.rhos[paper.constants.constant])) == pytest.approx(0.11, abs=0.02)
    assert paper(paper.surplus(paper.constants.ratio)) == pytest.approx(0.11, abs=0.02)
    assert paper(paper.threshold()) == pytest.approx(0.455, abs=0.02)


def test_the_threshold_beats_the_usual_auctions_by_as_much_as_the_papers_agent_claims(paper):
    # The paper's agent claims 1.30, 1.27 and 1.23.
    threshold = paper.threshold()
    assert threshold / paper.surplus(1.0) == pytest.approx(1.28, abs=0.02)
    assert threshold / paper.tasks.uav.mean() == pytest.approx(1.20, abs=0.02)
    assert threshold / paper.surplus(paper.constants.ratio) == pytest.approx(1.12, abs=0.02)


def test_what_happened_last_says_much_where_accuracies_persist_and_nothing_where_they_do_not(persistent, paper):
    for scale, expected in ((persistent, 0.73), (paper, -0.17)):
        first, uav = scale.tasks.first, scale.tasks.uav
        rho = np.full(first.shape, scale.rhos[scale.constants.constant])
        rho[:, 1:] = np.where(first[:, :-1] > uav[:, :-1], 1.0, scale.rhos[-1])
        assert scale(scale.surplus(rho)) == pytest.approx(expected, abs=0.03)
    assert persistent(persistent.surplus(persistent.rhos[persistent.constants.constant])) == pytest.approx(
        0.11, abs=0.03
    )


def test_the_uav_dominates_three_stations_and_nine_dominate_the_uav():
    shares = {}
    for name in ("three", "nine"):
        scale = Scale(name)
        tasks = scale.tasks
        with_stations = np.where(tasks.first >= tasks.uav, tasks.first, 0.0).mean()
        shares[name] = with_stations / scale.best
        # The same at the best constant ρ, which needs no knowledge.
        rho = scale.rhos[scale.constants.constant]
        constant = np.where(tasks.first > rho * tasks.second, tasks.first, 0.0).mean() / scale.surplus(rho)
        assert (constant > 0.5) == (name == "nine")
    assert shares["three"] < 0.45 < 0.55 < shares["nine"]


def test_a_task_takes_about_six_tenths_of_a_second_of_which_the_radio_takes_fifty_nine_percent():
    params = preset("paper")
    whole = drawn(params, 4000).delay.mean()
    no_gpu = drawn(preset("paper", gpu_per_bit=0.0, cpu_speed=(1e6, 1e6)), 4000).delay.mean()
    assert whole == pytest.approx(0.61, abs=0.01)
    assert no_gpu / whole == pytest.approx(0.59, abs=0.01)


def test_more_bandwidth_raises_and_larger_tasks_lower_the_surplus():
    def surplus(**changes):
        params = preset("paper", **changes)
        return full_information(tasks_of(params, 200), params).mean()

    by_bandwidth = [surplus(uplink_bandwidth=(b, b), downlink_bandwidth=(b, b)) for b in (20, 40, 60)]
    assert by_bandwidth[0] < by_bandwidth[1] < by_bandwidth[2]
    by_size = [surplus(task_size=(size, size)) for size in (20, 30, 40)]
    assert by_size[0] > by_size[1] > by_size[2]


def test_levels_in_decibels_are_powers_of_ten():
    assert physics.db_to_ratio(-20.0) == pytest.approx(0.01, rel=1e-12)
    assert physics.db_to_ratio(3.0) == pytest.approx(10**0.3, rel=1e-12)
    assert physics.dbm_to_watt(30.0) == pytest.approx(1.0, rel=1e-12)
    assert physics.dbm_to_watt(-112.0) == pytest.approx(10**-14.2, rel=1e-12)


def test_a_link_carries_what_shannon_says():
    # A signal three times as strong as the noise carries two bits per second and hertz.
    assert physics.shannon_rate(20e6, 0.5, 6.0, 1.0) == pytest.approx(40e6, rel=1e-12)
    # A weak one: log(1 + x) is x.
    assert physics.shannon_rate(1.0, 1e-18, 1.0, 1.0) == pytest.approx(1e-18 / math.log(2.0), rel=1e-12)


def test_a_market_without_randomness_has_the_value_computed_by_hand():
    fixed = {
        "noise_power": (-113.0,) * 2, "channel_gain": (-20.0,) * 2, "task_size": (25.0,) * 2,
        "uplink_bandwidth": (20.0,) * 2, "downlink_bandwidth": (40.0,) * 2, "user_power": (10.0,) * 2,
        "provider_power": (30.0,) * 2, "gpu_speed": (2.0,) * 2, "cpu_speed": (1.0,) * 2, "accuracy": (0.75,) * 2,
        "accuracy_noise": 0.0,
    }  # fmt: skip
    state = drawn(preset("paper", latency_factor=3.0, accuracy_factor=0.5, **fixed), 1)
    # 25 MB are 0.2 Gbit; 10.3 and 12.3 decades of signal to noise.
    up, down = 0.2 / (0.02 * math.log2(1 + 10**10.3)), 0.2 / (0.04 * math.log2(1 + 10**12.3))
    latency = up + down + 0.2 * 0.5 / 2.0 + 0.2 / 1.0
    np.testing.assert_allclose(state.delay, latency, rtol=1e-12)
    np.testing.assert_allclose(state.value[0, 1:], 3.0 / latency * 0.5 / 0.25**2, rtol=1e-12)
    np.testing.assert_allclose(state.value[0, 0], 2.6 * state.value[0, 1], rtol=1e-12)


@pytest.mark.parametrize("name", PRESETS)
def test_valuations_stay_within_the_bounds_that_are_checked(name):
    params = preset(name)
    low, high = params.value_bounds()
    values = drawn(params, 3000, task=1).value
    assert low <= values.min() <= values.max() <= high


def test_accuracy_stays_for_as_long_as_it_is_told():
    base = [drawn(preset("paper", accuracy_redraw=p), 2000, task=1).accuracy for p in (0.0, 0.2, 1.0)]
    first = drawn(preset("paper"), 2000).accuracy
    changed = [(accuracy != first).mean() for accuracy in base]
    assert changed[0] == 0.0
    assert changed[1] == pytest.approx(0.2, abs=0.015)
    assert changed[2] == 1.0
    assert first.min() >= 0.5
    assert first.max() < 0.9
    assert abs(np.corrcoef(first[:, 0], first[:, 1])[0, 1]) < 0.06


def test_a_provider_draws_the_same_in_a_market_of_any_size():
    small, large = (drawn(preset("paper", stations=n), 3, task=2) for n in (3, 9))
    np.testing.assert_array_equal(small.value, large.value[:, :4])


@pytest.mark.parametrize("name", ["paper", "pareto"])
def test_a_market_of_a_batch_is_the_same_market_alone(name):
    params = preset(name)
    together = draw_tasks(params, np.array([5, 6, 7]), np.array([2, 0, 1]), episode=4)
    alone = draw_tasks(params, np.array([6]), np.array([0]), episode=4)
    for field in ("uav", "first", "second", "common"):
        np.testing.assert_array_equal(getattr(together, field)[1:2], getattr(alone, field))


@settings(deadline=None)
@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_bids_are_ranked_from_the_highest_down_and_ties_by_index(stations, seed):
    state = allocate_state(1, stations, 1, 0)
    state.bid[0] = np.random.default_rng(seed).integers(0, 4, stations)
    rank_bids(0, state)
    assert state.rank[0].tolist() == sorted(range(stations), key=lambda i: (-state.bid[0, i], i))


def test_no_other_threshold_is_better(paper):
    tasks = paper.tasks
    best = best_threshold(tasks, paper.params)

    def surplus(threshold):
        return paper.surplus(np.where(tasks.first > threshold, 1.0, paper.rhos[-1]))

    others = [surplus(t) for t in np.linspace(0.0, tasks.first.max(), 400)]
    assert surplus(best) >= max(others)


def test_where_nothing_is_known_about_the_uav_the_best_threshold_is_its_mean_value(paper):
    # v₀ is independent of the bids, so the expected surplus is largest where the larger of b₍₁₎ and E[v₀] is served.
    at_mean = paper.surplus(np.where(paper.tasks.first > paper.constants.contract_price, 1.0, paper.rhos[-1]))
    assert paper(at_mean) == pytest.approx(paper(paper.threshold()), abs=0.01)
    assert paper.constants.threshold == paper.constants.contract_price
    # The best of all thresholds on these very tasks, which nobody can know beforehand, gains next to nothing.
    best = best_threshold(paper.tasks, paper.params)
    gained = paper.surplus(np.where(paper.tasks.first > best, 1.0, paper.rhos[-1])) - at_mean
    assert 0.0 <= gained < 0.005 * at_mean


def test_the_best_threshold_weighs_the_uav_and_is_searched_for_where_bids_say_something_about_it():
    for name in ("paper", "persistent"):
        weighed = calibration(preset(name, uav_weight=1.5))
        assert weighed.threshold == pytest.approx(1.5 * weighed.contract_price, rel=1e-12)
    scale = Scale("pareto")
    at_mean = scale.surplus(np.where(scale.tasks.first > scale.constants.contract_price, 1.0, scale.rhos[-1]))
    assert scale.threshold() > 1.005 * at_mean


def test_the_contract_price_is_where_equation_13_is_largest(paper):
    # v₀ and the stations' best bid are independent here.
    prices = np.linspace(0.5, 1.5, 41) * paper.constants.contract_price
    profit = [np.where(paper.tasks.first <= b, paper.tasks.uav - paper.tasks.first, 0.0).mean() for b in prices]
    assert prices[int(np.argmax(profit))] == pytest.approx(paper.constants.contract_price, rel=0.15)
    assert paper.constants.contract_price == pytest.approx(paper.tasks.uav.mean(), rel=0.02)


def test_pareto_optimum_is_the_best_factor_and_its_surplus_is_as_in_closed_form():
    params = preset("pareto")
    optimum = pareto_optimum(params)
    tasks = tasks_of(params, 4000)
    error = 4.0 * np.std(np.maximum(tasks.uav, tasks.first)) / math.sqrt(tasks.uav.size)
    assert tasks.surplus(optimum.rho).mean() == pytest.approx(optimum.surplus, abs=error)
    assert np.maximum(tasks.uav, tasks.first).mean() == pytest.approx(optimum.first_best, abs=error)
    for rho in (0.7, 0.8, 1.25, 1.5):
        assert tasks.surplus(max(1.0, rho * optimum.rho)).mean() < tasks.surplus(optimum.rho).mean()
    assert calibration(params).ratio == pytest.approx(optimum.rho, rel=0.02)
    nearest = int(np.argmin(np.abs(np.log(params.rhos() / optimum.rho))))
    assert calibration(params).constant == nearest


@settings(deadline=None)
@given(st.floats(1.5, 20.0), st.floats(0.05, 50.0), st.integers(2, 30))
def test_the_pareto_optimum_has_at_least_0_948_of_the_first_best(shape, brand, stations):
    params = preset("pareto", pareto_shape=shape, pareto_uav=brand, stations=stations)
    optimum = pareto_optimum(params)
    assert 0.948 * optimum.first_best <= optimum.surplus <= optimum.first_best * (1.0 + 1e-9)


@pytest.mark.parametrize("brand", [0.5, 1.5, 3.0])
def test_the_pareto_first_best_agrees_with_quadrature(brand):
    params = preset("pareto", pareto_shape=2.5, pareto_uav=brand, common_value=(1.0, 1.0))

    def exceeds(x):
        return 1.0 - (1.0 - min(1.0, x**-2.5)) ** params.stations

    above = quad(exceeds, brand, 1.0)[0] if brand < 1.0 else 0.0
    above += quad(exceeds, max(1.0, brand), np.inf)[0]
    assert pareto_optimum(params).first_best == pytest.approx(brand + above, rel=1e-7)


def test_analysis_of_other_valuations_is_refused():
    with pytest.raises(ParameterError, match="valuations=physical"):
        pareto_optimum(preset("paper"))


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("stations", {"stations": 1}),
        ("stations", {"stations": 2.5}),
        ("levels", {"levels": 0}),
        ("tasks", {"tasks": 0}),
        ("periods", {"periods": 0}),
        ("periods", {"periods": 1000, "stations": 12}),
        ("periods", {"periods": 12, "stations": 1000}),
        ("valuations", {"valuations": "none"}),
        ("noise_power", {"noise_power": (-112.0, -115.0)}),
        ("channel_gain", {"channel_gain": (NAN, 0.0)}),
        ("task_size", {"task_size": (0.0, 40.0)}),
        ("task_size", {"task_size": 40.0}),
        ("uplink_bandwidth", {"uplink_bandwidth": (20.0, INF)}),
        ("downlink_bandwidth", {"downlink_bandwidth": (20.0, 40.0, 60.0)}),
        ("user_power", {"user_power": "ab"}),
        ("user_power", {"user_power": ("5", "10")}),
        ("accuracy", {"accuracy": (False, True)}),
        ("cpu_speed", {"cpu_speed": (1, 10**400)}),
        ("beta", {"beta": 10**400}),
        ("cpu_speed", {"cpu_speed": (0.0, 1.0)}),
        ("accuracy", {"accuracy": (0.5, 1.5)}),
        ("accuracy_cap", {"accuracy_cap": 1.0}),
        ("accuracy_noise", {"accuracy_noise": -0.1}),
        ("accuracy_redraw", {"accuracy_redraw": 1.5}),
        ("beta", {"beta": NAN}),
        ("uav_weight", {"uav_weight": 0.0}),
        ("gpu_per_bit", {"gpu_per_bit": -1.0}),
        ("pareto_shape", {"pareto_shape": 1.0}),
        ("common_value", {"common_value": (0.0, 1.0)}),
        ("smoothing", {"smoothing": 1.0}),
        ("pareto_shape", {"valuations": "pareto", "pareto_shape": 1.1}),
        ("latency_factor", {"beta": 10.0, "accuracy_cap": 0.9999, "accuracy": (0.9, 0.9999)}),
    ],
)
def test_an_error_names_the_key_its_value_and_what_is_allowed(key, changes):
    with pytest.raises(ParameterError) as error:
        preset("paper", **changes)
    assert error.value.name == key
    assert "\n" not in str(error.value)
    if key in changes:
        assert str(error.value).startswith(f"{key}={changes[key]} is not allowed: use ")


def test_large_markets_are_calibrated_with_bounded_work_and_the_same_contract_price(monkeypatch, paper):
    drawn_periods = []

    def counted(params, seeds, streams, episode=0, tasks=None, **of_providers):
        drawn_periods.append(len(seeds) * tasks * (params.stations + 1) * params.periods)
        return draw_tasks(params, seeds, streams, episode, tasks, **of_providers)

    monkeypatch.setattr(references, "draw_tasks", counted)
    for size in ({"stations": 1000, "periods": 11}, {"stations": 11, "periods": 1000}, {"stations": 400, "tasks": 1}):
        constants = calibration(preset("paper", **size))
        assert sum(drawn_periods) < 7e6
        drawn_periods.clear()
        # The UAV's mean value depends neither on the stations nor on the periods.
        assert constants.contract_price == pytest.approx(paper.constants.contract_price, rel=0.04)


def test_unknown_settings_and_presets_are_named():
    with pytest.raises(ParameterError, match=r"rho=3 is not allowed: use one of the settings .*stations"):
        preset("paper", rho=3)
    with pytest.raises(ParameterError, match="preset=papers is not allowed: use paper, persistent"):
        preset("papers")


def test_the_grid_of_factors_begins_with_the_second_price_auction():
    rhos = SecondBidParams(levels=10).rhos()
    assert rhos[0] == 1.0
    np.testing.assert_allclose(rhos, 10.0 ** (np.arange(10) / 10), rtol=1e-15)
