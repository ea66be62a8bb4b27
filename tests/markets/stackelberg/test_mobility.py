"""Handover between leaders, and fading that is common to both links of a wireless agent or independent."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import chisquare, ks_2samp

from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.stackelberg import drivers, market_from
from ioa_marl.markets.stackelberg.benchmarks import known_equilibria, known_joint_maxima
from ioa_marl.markets.stackelberg.equilibrium import (
    answer_to,
    follower_utilities,
    maximise_joint_profit,
    solve_equilibrium,
)
from ioa_marl.markets.stackelberg.kernels import MarketState
from ioa_marl.markets.stackelberg.mobility import departure_rate
from ioa_marl.markets.stackelberg.params import draw_markets, preset

BOTH = {"mobile_radius": 40.0, "fixed_radius": 150.0}


def copied(market):
    return MarketState(*(array.copy() for array in market))


def next_round(params, market):
    mask, record = np.ones(len(market.seed), np.bool_), params.record()
    drivers.close_round(market, record, mask, np.zeros(len(mask), np.bool_))
    drivers.refresh_markets(market, record, mask)


def rounds_of(params, market, count):
    """Yield a copy of the market in a round, and the market in the round after it."""
    for _ in range(count):
        before = copied(market)
        next_round(params, market)
        yield before, market


def log_gains(params, market):
    """Return the logarithm of the gain of both links over their mean, (2, agents with a task)."""
    tasks = np.rint(market.traits["load"] / market.nominal["load"])
    some = tasks > 0
    return np.array(
        [
            np.log(tasks[some] * market.nominal[name][some] / market.traits[name][some])
            for name in ("mobile_energy", "fixed_energy")
        ]
    )


def test_the_mean_time_in_reach_is_that_of_crossing_a_circle():
    radius, speed, round_time = 200.0, 12.0, 5.0
    offset = np.random.default_rng(1).uniform(-radius, radius, 200_000)
    crossing = 2.0 * np.sqrt(radius**2 - offset**2) / speed
    rate = departure_rate(radius, round_time) * speed  # per round
    assert round_time / rate == pytest.approx(crossing.mean(), rel=5e-3)
    assert departure_rate(None, round_time) == 0.0


def test_handovers_are_as_frequent_as_speeds_say():
    params = preset("dynamic", wireless=2000, fixed=4, rounds=40, **BOTH)
    market = draw_markets(params, [3])
    changes, expected, variance, together = np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(2)
    for before, after in rounds_of(params, market, 10):
        speed = before.velocity[0, : params.wireless]
        of_leader = before.velocity[0, params.wireless :][before.reach[0, 0]]
        departures = [
            1.0 - np.exp(-2.0 * 5.0 * v / (math.pi * radius))
            for v, radius in ((np.abs(speed - of_leader), 40.0), (speed, 150.0))
        ]
        changed = after.reach[0, :2] != before.reach[0, :2]
        for side, p in enumerate(departures):
            changes[side] += changed[side].sum()
            expected[side] += p.sum()
            variance[side] += (p * (1.0 - p)).sum()
        together += changed.all(axis=0).sum(), (departures[0] * departures[1]).sum()
    assert expected.min() > 3000
    assert np.abs(changes - expected).max() < 4.0 * np.sqrt(variance.max())
    assert together[0] == pytest.approx(together[1], abs=4.0 * np.sqrt(together[1]))


def test_every_other_leader_is_the_next_one_with_the_same_probability():
    params = preset("dynamic", wireless=3000, mobile=4, fixed=5, **BOTH)
    before, after = next(rounds_of(params, draw_markets(params, [5]), 1))
    for side, count in ((0, 4), (1, 5)):
        was, now = before.reach[0, side], after.reach[0, side]
        steps = (now - was)[now != was] % count
        assert set(steps) == set(range(1, count))
        assert chisquare(np.bincount(steps, minlength=count)[1:]).pvalue > 1e-3


def test_who_drives_with_its_mobile_agent_stays_in_its_reach_and_passes_the_fixed_ones():
    params = preset("dynamic", wireless=1000, velocity=20.0, velocity_deviation=0.0, **BOTH)
    stayed, market = np.zeros(1000), draw_markets(params, [0])
    for before, after in rounds_of(params, market, 12):
        assert np.array_equal(after.reach[0, 0], before.reach[0, 0])
        stayed += after.reach[0, 1] == before.reach[0, 1]
    # 20 m/s for 5 s against a mean chord of 236 m.
    assert stayed.mean() / 12 == pytest.approx(math.exp(-100.0 / (math.pi * 75.0)), abs=0.015)


def test_a_side_without_a_radius_keeps_its_links():
    for side, name in enumerate(("mobile_radius", "fixed_radius")):
        params = preset("dynamic", wireless=200, **{name: 30.0})
        before, after = next(rounds_of(params, draw_markets(params, [2]), 1))
        assert (after.reach[0, side] != before.reach[0, side]).any()
        assert np.array_equal(after.reach[0, 1 - side], before.reach[0, 1 - side])


def test_members_and_profits_follow_the_links():
    params = preset("dynamic", **BOTH)
    market = draw_markets(params, range(5))
    prices = np.full_like(market.price, 3.0)
    for before, after in rounds_of(params, market, 6):
        for b in range(5):
            for side, count in enumerate((params.mobile, params.fixed)):
                for leader in range(count):
                    first, end = after.start[b, side, leader : leader + 2]
                    assert list(after.member[b, side, first:end]) == list(
                        np.flatnonzero(after.reach[b, side] == leader)
                    )
        profits = np.zeros_like(prices)
        drivers.profits_of_markets(after, params.record(), np.ones(5, np.bool_), prices, profits)
        # A leader's own search goes by its list of members, the books of a round by the links themselves.
        for b in range(5):
            outcome = answer_to(params, after, 3.0, 3.0, b)
            assert profits[b, 0, :3] == pytest.approx(outcome.mobile_profits)
            assert profits[b, 1, :3] == pytest.approx(outcome.fixed_profits)
        assert not np.array_equal(before.reach[:, :2], after.reach[:, :2])


def test_equilibrium_and_joint_maximum_are_those_of_a_market_that_was_built_with_the_links_of_the_round():
    params = preset("dynamic", max_tasks=1, arrivals=3.0, wireless=9, **BOTH)
    still = dataclasses.replace(params, dynamics=False, mobile_radius=None, fixed_radius=None)
    market, compared = draw_markets(params, range(6)), 0
    start = market.reach[:, :2].copy()
    for _ in range(3):
        next_round(params, market)
    mask = np.ones(6, np.bool_)
    equilibria, joint = known_equilibria(params, market, mask), known_joint_maxima(params, market, mask)
    for b in range(6):
        traits = market.traits[b]
        if (traits["load"] == 0.0).any():
            continue
        compared += 1
        assert not np.array_equal(market.reach[b, :2], start[b])
        workload, exponent = traits["load"], traits["exponent"]
        built = market_from(
            still, mobile_of=market.reach[b, 0], fixed_of=market.reach[b, 1], workload=workload,
            upload_time=0.5, tolerable_delay=traits["slack"] - 0.5,
            qoe_weight=traits["qoe_weight"] / np.log1p(params.actuator_ratio),
            bandwidth=workload / (0.5 * exponent / math.log(2.0)), mobile_energy=traits["mobile_energy"],
            fixed_energy=traits["fixed_energy"], relay_time=market.relay_time[b],
            mobility_factor=traits["mobility_factor"], mobile_speed=1e4 / market.time_per_mbit[b, 0, :3],
            fixed_speed=1e4 / market.time_per_mbit[b, 1, :3], aerial_speed=1e4 / market.aerial_time_per_mbit[b],
            aerial_share=market.offloading_ratio[b], mobile_cost=market.cost[b, 0, :3],
            fixed_cost=market.cost[b, 1, :3],
        )  # fmt: skip
        found = solve_equilibrium(still, built)
        assert equilibria[b].prices[0, :3] == pytest.approx(found.mobile_prices, rel=1e-4)
        assert equilibria[b].prices[1, :3] == pytest.approx(found.fixed_prices, rel=1e-4)
        assert joint[b].profit == pytest.approx(maximise_joint_profit(still, built).profit, rel=1e-6)
    assert compared >= 2


def test_every_episode_begins_with_the_links_of_the_instance():
    params = preset("dynamic", **BOTH)
    market, record, mask = draw_markets(params, [4, 5]), params.record(), np.ones(2, np.bool_)
    home, third = market.reach[:, :2].copy(), []
    for episode in range(3):
        market.episode[:] = episode
        drivers.open_markets(market, record, False, mask)
        assert np.array_equal(market.reach[:, :2], home)
        assert (np.diff(market.start[:, :, :4], axis=2) == 4).all()
        for _ in range(5):
            next_round(params, market)
        third.append(market.reach[:, :2].copy())
    assert not np.array_equal(third[0], third[1])
    alone = draw_markets(params, [4, 5])
    alone.episode[:] = 2
    drivers.open_markets(alone, record, False, mask)
    for _ in range(5):
        next_round(params, alone)
    assert np.array_equal(alone.reach[:, :2], third[2]), "an episode does not depend on those before it"


def test_a_technology_that_is_drawn_anew_has_links_of_its_own():
    params = preset("dynamic", redraw="episode", **BOTH)
    market, mask = draw_markets(params, [4]), np.ones(1, np.bool_)
    next_round(params, market)
    market.episode[:] = 1
    drivers.open_markets(market, params.record(), True, mask)
    opened = draw_markets(preset("dynamic", redraw="episode"), [4])
    opened.episode[:] = 1
    drivers.open_markets(opened, preset("dynamic", redraw="episode").record(), True, mask)
    assert np.array_equal(market.reach[:, :2], opened.reach)
    assert np.array_equal(market.member, opened.member)


def test_new_options_shift_no_other_draw():
    plain = preset("dynamic")
    others = [preset("dynamic", **changes) for changes in (BOTH, {"fading": "independent"})]
    markets = [draw_markets(params, [8]) for params in (plain, *others)]
    for _ in range(4):
        for params, market in zip((plain, *others), markets, strict=True):
            next_round(params, market)
        for market in markets[1:]:
            assert np.array_equal(market.velocity, markets[0].velocity)
            assert np.array_equal(market.traits["load"], markets[0].traits["load"])
            assert np.array_equal(market.traits["mobile_energy"], markets[0].traits["mobile_energy"])
            assert np.array_equal(market.cost, markets[0].cost)


@pytest.mark.parametrize(("fading", "correlation"), [("common", 1.0), ("independent", 0.0)])
def test_gains_of_the_two_links_of_a_wireless_agent(fading, correlation):
    params = preset("dynamic", wireless=6000, arrivals=50.0, fading=fading, fading_limit=1e6, shadowing=6.0)
    market = draw_markets(params, [6])
    for round_ in range(3):
        mobile, fixed = log_gains(params, market)
        assert len(mobile) == 6000
        assert np.corrcoef(mobile, fixed)[0, 1] == pytest.approx(correlation, abs=0.05 if fading != "common" else 1e-9)
        assert ks_2samp(mobile, fixed, method="asymp").pvalue > 1e-3, round_
        # The logarithm of an exponential variable has variance π²/6, and 6 dB are 1.38.
        assert fixed.var() == pytest.approx(math.pi**2 / 6.0 + (0.6 * math.log(10.0)) ** 2, rel=0.06)
        next_round(params, market)


def test_slow_fading_of_either_link_is_a_process_of_its_own_and_a_new_link_begins_anew():
    params = preset("dynamic", wireless=6000, fading="independent", mobile_radius=5.0, fixed_radius=100.0)
    before, after = next(rounds_of(params, draw_markets(params, [6]), 1))
    was, now = (market.slow_fading[0].reshape(2, 6000) for market in (before, after))
    assert np.corrcoef(was)[0, 1] == pytest.approx(0.0, abs=0.05)
    for side in range(2):
        same = after.reach[0, side] == before.reach[0, side]
        assert same.sum() > 1000
        assert (~same).sum() > 1000
        assert np.corrcoef(was[side, same], now[side, same])[0, 1] == pytest.approx(0.9, abs=0.02)
        assert np.corrcoef(was[side, ~same], now[side, ~same])[0, 1] == pytest.approx(0.0, abs=0.08)
        assert now[side, ~same].std() == pytest.approx(2.0, rel=0.07)
        assert now[side, same].std() == pytest.approx(2.0, rel=0.07)


def test_answers_are_exact_where_the_fixed_link_is_the_worse_one():
    params = preset("dynamic", wireless=200, fading="independent", **BOTH)
    market = draw_markets(params, [1])
    next_round(params, market)
    worse = market.traits["fixed_energy"][0] > market.traits["mobile_energy"][0]
    assert 20 < worse.sum() < 100
    outcome = answer_to(params, market, 3.0, 3.2)
    grid = np.linspace(0.0, 1.0, 1001)
    best = np.max([follower_utilities(params, market, 3.0, 3.2, share) for share in grid], axis=0)
    buys = outcome.buys
    assert (buys & worse).sum() > 5
    assert (outcome.utilities[buys] >= best[buys] - 1e-9).all()
    assert outcome.utilities[buys] == pytest.approx(best[buys], abs=0.05)


def test_with_handover_all_wireless_agents_may_share_one_speed():
    settings = {
        "congestion": True, "max_tasks": 1, "spread": 0.0, "mobile_speed": 1e5, "fixed_speed": 1e4, "max_iterations": 2
    }  # fmt: skip
    few = preset("dynamic", **settings)
    assert (few.most_in_reach("mobile"), few.most_in_reach("fixed")) == (4, 4)
    # At the best share four that share it wait for 2.6 s, and twelve for 4.6 s, of at most 3.8 s.
    with pytest.raises(ParameterError, match=r"4\.6\d* s") as caught:
        preset("dynamic", **settings, mobile_radius=100.0)
    assert caught.value.name == "workload"
    assert preset("dynamic", **settings, fixed_radius=100.0).most_in_reach("fixed") == 12


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("mobile_radius", {"mobile_radius": 0.0}),
        ("fixed_radius", {"fixed_radius": math.inf}),
        ("mobile_radius", {"mobile_radius": "wide"}),
        ("fixed_radius", {"fixed_radius": True}),
        ("fixed_radius", {"fixed_radius": 100.0, "fixed": 1}),
        ("mobile_radius", {"mobile_radius": 100.0, "dynamics": False}),
        ("round_time", {"round_time": 0.0}),
        ("fading", {"fading": "none"}),
        ("fading", {"fading": "independent", "dynamics": False}),
    ],
)
def test_unusable_settings_are_refused_in_one_line(key, changes):
    with pytest.raises(ParameterError) as caught:
        preset("dynamic", **changes)
    assert caught.value.name == key
    assert "\n" not in str(caught.value)
