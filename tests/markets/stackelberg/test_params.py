"""What the parameters of the Stackelberg market refuse, and what its draws are."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, poisson

from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.stackelberg import drivers
from ioa_marl.markets.stackelberg.equilibrium import answer_to, nash_conv, solve_equilibrium
from ioa_marl.markets.stackelberg.follower import LATENCY_CASES
from ioa_marl.markets.stackelberg.params import PRESETS, StackelbergParams, draw_markets, preset

INF, NAN = math.inf, math.nan


def test_printed_numbers_in_si_units_are_refused_with_the_inequality_that_fails():
    with pytest.raises(ParameterError, match=r"1 \+ ε − t > 0") as caught:
        preset("literal")
    assert "\n" not in str(caught.value)
    # With a latency that can be met, the spectral efficiency of 20 000 bit/s/Hz is what is left.
    with pytest.raises(ParameterError, match="spectral efficiencies") as caught:
        preset("literal", cycles_per_mbit=1e4)
    assert "2e+04 bit/s/Hz" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("wireless", 0), ("wireless", 2.5), ("wireless", True), ("mobile", 10_001), ("fixed", -1), ("rounds", 0),
        ("latency_case", "min"), ("mobility", "free"), ("congestion", 1), ("dynamics", None), ("workload", 0.0),
        ("workload", INF), ("workload", "ten"), ("cycles_per_mbit", NAN), ("mobile_speed", 0.0), ("upload_time", -1.0),
        ("relay_time", (0.2, 0.1)), ("relay_time", (0.1,)), ("relay_time", 0.1), ("relay_time", (0.1, 4.0)),
        ("aerial_share", 1.1), ("tolerable_delay", -0.1), ("qoe_weight", 0.0), ("bandwidth", 0.1), ("bandwidth", 0.0),
        ("mobile_energy", -1.0), ("fixed_cost", (NAN, 1.0)), ("price_cap", 0.0), ("spread", 0.95), ("memory", 1.0),
        ("fading_limit", 0.5), ("arrivals", 101.0), ("max_tasks", 0), ("deviation_step", 0.0),
        ("deviation_step", 1e-6), ("deviation_tolerance", 0.0), ("max_iterations", 1), ("shadowing", INF),
        ("velocity_range", 0.0), ("actuator_ratio", 0.0),
    ],
)  # fmt: skip
def test_unusable_values_are_refused_with_one_line(key, value):
    with pytest.raises(ParameterError) as caught:
        preset("city", **{key: value})
    assert "\n" not in str(caught.value)
    assert caught.value.name in (key, "workload")  # latencies that nobody can meet are told of workloads


def test_aerial_case_needs_something_passed_on():
    with pytest.raises(ParameterError, match="latency_case=aa"):
        preset("paper", latency_case="aa", aerial_share=0.0)


def test_unknown_presets_and_settings_are_refused():
    with pytest.raises(ParameterError, match="preset=rural"):
        preset("rural")
    with pytest.raises(ParameterError, match="wirless=3"):
        preset("paper", wirless=3)


def test_defaults_are_the_preset_paper():
    assert next(iter(PRESETS)) == "paper"
    assert preset("paper") == StackelbergParams()


def test_presets_keep_the_fixed_link_the_better_one():
    for name in ("paper", "city", "kinked", "scarce", "metro", "dynamic"):
        market = draw_markets(preset(name), range(20))
        assert (market.traits["mobile_energy"] >= market.traits["fixed_energy"]).all()


def test_quantities_are_uniform_within_the_spread():
    params = preset("city", wireless=1000)
    market = draw_markets(params, [1, 2])
    for values, mean in (
        (market.traits["load"], 10.0), (market.traits["qoe_weight"], 300.0),
        (market.traits["exponent"], 3 * math.log(2)), (market.traits["mobile_energy"], 4.26),
        (market.traits["fixed_energy"], 2.68),
    ):  # fmt: skip
        assert kstest(values.ravel() / mean, "uniform", (0.8, 0.4)).pvalue > 1e-3
    assert kstest(market.relay_time.ravel(), "uniform", (0.11, 0.04)).pvalue > 1e-3
    many = draw_markets(params, range(500))
    assert kstest(many.cost[:, 1, :3].ravel(), "uniform", (1.5, 0.7)).pvalue > 1e-3
    assert kstest(many.cost[:, 0, :3].ravel(), "uniform", (0.4, 0.2)).pvalue > 1e-3
    assert kstest(1e-2 / many.time_per_mbit[:, 0, :3].ravel(), "uniform", (0.8, 0.4)).pvalue > 1e-3


def test_technology_belongs_to_the_instance_and_costs_to_the_episode():
    params = preset("city")
    a = draw_markets(params, [1, 1, 2, 1], streams=[0, 1, 0, 0], instances=[7, 7, 7, 8])
    for name in ("traits", "time_per_mbit", "reach", "relay_time", "offloading_ratio"):
        field = getattr(a, name)
        assert np.array_equal(field[0], field[1])
        assert np.array_equal(field[0], field[2])
        assert not np.array_equal(field[0], field[3])
    assert not np.array_equal(a.cost[0], a.cost[1])
    assert not np.array_equal(a.cost[0], a.cost[2])
    assert np.array_equal(a.cost[0], a.cost[3])


@given(wireless=st.integers(1, 40), mobile=st.integers(1, 7), fixed=st.integers(1, 7), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_every_wireless_agent_is_listed_once_with_its_leaders_and_loads_are_balanced(wireless, mobile, fixed, seed):
    market = draw_markets(preset("city", wireless=wireless, mobile=mobile, fixed=fixed), [seed])
    for side, leaders in enumerate((mobile, fixed)):
        assert sorted(market.member[0, side]) == list(range(wireless))
        sizes = np.diff(market.start[0, side, : leaders + 1])
        assert sizes.sum() == wireless
        assert sizes.max() - sizes.min() <= 1
        for leader in range(leaders):
            members = market.member[0, side, market.start[0, side, leader] : market.start[0, side, leader + 1]]
            assert (market.reach[0, side, members] == leader).all()


def test_tasks_are_poisson_and_gains_stay_within_their_limit():
    params = preset("dynamic", wireless=2000)
    market = draw_markets(params, [1])
    tasks = np.round(market.traits["load"][0] / market.nominal["load"][0]).astype(int)
    expected = [poisson.pmf(0, 1), poisson.pmf(1, 1), poisson.pmf(2, 1), poisson.sf(2, 1)]
    assert np.bincount(tasks, minlength=4) / 2000 == pytest.approx(expected, abs=0.04)
    some = tasks > 0
    gain = tasks[some] * market.nominal["mobile_energy"][0, some] / market.traits["mobile_energy"][0, some]
    assert gain.min() >= 1 / 1.5 - 1e-12
    assert gain.max() <= 1.5 + 1e-12
    assert gain.std() > 0.2
    assert not answer_to(params, market, 0.5, 0.5).buys[tasks == 0].any()


def test_speeds_follow_a_gauss_markov_process():
    params = preset("dynamic", wireless=3000, rounds=30)
    market = draw_markets(params, [1])
    mask, record = np.ones(1, np.bool_), params.record()
    start = market.velocity[0].copy()
    for _ in range(10):
        drivers.close_round(market, record, mask, np.zeros(1, np.bool_))
        before = market.velocity[0].copy()
        drivers.refresh_markets(market, record, mask)
    after = market.velocity[0]
    assert np.corrcoef(before, after)[0, 1] == pytest.approx(0.9, abs=0.03)
    assert np.corrcoef(start, after)[0, 1] == pytest.approx(0.9**10, abs=0.06)
    assert after.mean() == pytest.approx(15.0, abs=0.3)
    assert after.std() == pytest.approx(3.0, abs=0.2)


# Most extreme settings are refused, so that few are changed at a time, and a draw that is refused is drawn again.
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data())
def test_what_construction_accepts_never_gives_nan(data):
    number = st.floats(0.0, 1e4, allow_nan=False) | st.floats(0.0, 1.0)
    seldom = st.integers(0, 3).map(lambda n: n == 3)
    changes = {
        name: data.draw(number, name)
        for name in ("workload", "upload_time", "tolerable_delay", "qoe_weight", "bandwidth", "mobile_energy",
                     "fixed_energy", "price_cap", "mobility_weight", "mobility_offset", "shadowing", "arrivals")
        if data.draw(seldom, f"change {name}")
    }  # fmt: skip
    for name in ("relay_time", "mobile_cost", "fixed_cost"):
        if data.draw(seldom, f"change {name}"):
            changes[name] = tuple(sorted((data.draw(number), data.draw(number))))
    changes["latency_case"] = data.draw(st.sampled_from(LATENCY_CASES))
    changes["aerial_share"] = data.draw(st.sampled_from([0.0, 0.25, 1.0]))
    changes["deviation_step"] = max(changes.get("price_cap", 10.0), 1e-6) / 20
    for name in ("dynamics", "congestion"):
        changes[name] = data.draw(st.booleans())
    if changes["dynamics"]:
        changes["fading"] = data.draw(st.sampled_from(["common", "independent"]))
        changes["mobile_radius"] = data.draw(st.sampled_from([None, 1e-3, 100.0]))
    try:
        params = preset("city", wireless=4, mobile=2, fixed=2, max_iterations=3, **changes)
    except ParameterError:
        assume(False)
    market = draw_markets(params, [data.draw(st.integers(0, 99))])
    mask = np.ones(1, np.bool_)
    drivers.close_round(market, params.record(), mask, np.zeros(1, np.bool_))
    drivers.refresh_markets(market, params.record(), mask)
    low, high = 0.3 * params.price_cap, 0.6 * params.price_cap
    outcome = answer_to(params, market, low, high)
    found = solve_equilibrium(params, market)
    for value in dataclasses.astuple(outcome) + dataclasses.astuple(found.outcome):
        assert np.isfinite(value).all()
    assert np.isfinite([found.nash_conv, nash_conv(params, market, low, high).total]).all()
