"""A wireless agent's answer is its exact best one, and takes part exactly where that is worth something."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioa_marl.markets.stackelberg import drivers
from ioa_marl.markets.stackelberg.equilibrium import answer_to, follower_utilities, latencies
from ioa_marl.markets.stackelberg.params import draw_markets, preset
from ioa_marl.markets.stackelberg.records import Traits

CASES = ("max", "ma", "fa", "aa")
GRID = np.linspace(0.0, 1.0, 10_001)


def utility_on_grid(params, market, n, mobile_price, fixed_price):
    """U_n of Eq. 13 at every share of the grid, written out in NumPy."""
    traits, i, j = market.traits[0, n], market.reach[0, 0, n], market.reach[0, 1, n]
    load, share = traits.load, market.offloading_ratio[0, j]
    own = GRID * load * market.time_per_mbit[0, 0, i]
    rest = (1 - GRID) * load * (1 - share) * market.time_per_mbit[0, 1, j]
    far = (
        market.relay_time[0, n] + (1 - GRID) * load * share * market.aerial_time_per_mbit[0, j]
        if share > 0
        else 0 * GRID
    )
    time = {"ma": own, "fa": rest, "aa": far, "max": np.maximum(own, np.maximum(rest, far))}[params.latency_case]
    efficiency = traits.exponent / math.log(2)
    energy = traits.mobile_energy * (2 ** (efficiency * GRID) - 1)
    energy += traits.fixed_energy * (2**efficiency - 2 ** (efficiency * GRID))
    with np.errstate(invalid="ignore", divide="ignore"):
        left = traits.slack - time
        qoe = np.where(left > 0, traits.qoe_weight * np.log(left), -np.inf)
    return qoe - load * (GRID * mobile_price + (1 - GRID) * fixed_price) - energy


def changed(params, market, **values):
    """Set traits of all wireless agents, or fields of the state, and let the market take them in."""
    for name, value in values.items():
        (market.traits[name] if name in Traits.names() else getattr(market, name))[...] = value
    drivers.reshape_markets(market, params.record(), np.ones(len(market.seed), np.bool_))
    return market


prices = st.floats(0.0, 10.0)


@settings(max_examples=200, deadline=None)
@given(
    case=st.sampled_from(CASES), seed=st.integers(0, 10_000), mobile=prices, fixed=prices,
    qoe=st.sampled_from([20.0, 60.0, 300.0]), share=st.sampled_from([0.0, 0.05, 0.25, 1.0]),
    swapped=st.booleans(), slack=st.sampled_from([None, 0.06, 0.12]),
)  # fmt: skip
def test_answer_beats_a_grid_of_ten_thousand_shares(case, seed, mobile, fixed, qoe, share, swapped, slack):
    # swapped: g_j < g_i, where U is not concave. slack: deadlines that rule out part of the shares.
    params = preset("city", latency_case=case)
    market = draw_markets(params, [seed])
    changes = {"qoe_weight": qoe, "offloading_ratio": share}
    if swapped:
        changes |= {"mobile_energy": 1.0, "fixed_energy": 4.0}
    if slack is not None:
        changes["slack"] = slack
    changed(params, market, **changes)
    outcome = answer_to(params, market, mobile, fixed)
    for n in range(params.wireless):
        best = utility_on_grid(params, market, n, mobile, fixed).max()
        if outcome.buys[n]:
            assert outcome.utilities[n] >= best - 1e-9 * (1 + abs(best))
            assert outcome.utilities[n] >= 0.0
        else:
            assert best < 1e-9
            assert outcome.utilities[n] == 0.0
            assert outcome.shares[n] == 0.0


def test_answers_are_ends_kinks_and_inner_points():
    params = preset("kinked")
    market = draw_markets(params, range(50))
    kinds = set()
    for index in range(50):
        shares = answer_to(params, market, 1.3, 2.9, index).shares
        kinks = market.segments["end"][index][:, :2]
        for n, share in enumerate(shares):
            if share in (0.0, 1.0):
                kinds.add("end")
            else:
                kinds.add("kink" if np.abs(kinks[n] - share).min() < 1e-12 else "inside")
    assert kinds == {"end", "kink", "inside"}


def test_answers_of_a_utility_that_is_not_concave_can_jump():
    # With g_j < g_i the energy term is convex in the share: the answer jumps from one end to the other.
    params = preset("paper", latency_case="aa")
    market = changed(params, draw_markets(params, [0]), mobile_energy=1.0, fixed_energy=4.0)
    answers = [float(answer_to(params, market, price, 5.0).shares[0]) for price in np.linspace(4.0, 10.0, 61)]
    assert set(np.round(answers, 6)) == {0.0, 1.0}


@pytest.mark.parametrize("case", CASES)
def test_utilities_at_given_shares_are_those_of_equation_13(case):
    params = preset("city", latency_case=case)
    market = draw_markets(params, [5])
    for share in (0.0, 0.3, 0.77, 1.0):
        got = follower_utilities(params, market, 2.0, 3.0, share)
        for n in range(params.wireless):
            expected = utility_on_grid(params, market, n, 2.0, 3.0)[round(share * 10_000)]
            assert got[n] == pytest.approx(expected, rel=1e-12)


def test_utility_is_minus_infinity_beyond_the_tolerable_delay():
    params = preset("paper")
    market = changed(params, draw_markets(params, [0]), slack=0.09)
    assert follower_utilities(params, market, 1.0, 1.0, 1.0)[0] == -math.inf
    assert not answer_to(params, market, 0.0, 0.0).buys[0]


def test_aerial_branch_is_dropped_when_nothing_is_passed_on():
    params = preset("paper")
    market = draw_markets(params, [0])
    # 10 Mbit: 0.1 s at the mobile agent, 0.025 s at the fixed one, 0.0167 s at the aerial one, 0.1 s to get there.
    assert latencies(params, market, 0.0)[0] == pytest.approx(0.1 + 0.25 / 60)
    changed(params, market, offloading_ratio=0.0)
    assert latencies(params, market, 0.0)[0] == pytest.approx(0.025)
    assert latencies(params, market, 1.0)[0] == pytest.approx(0.1)


def test_congestion_splits_the_speed_of_a_mobile_agent():
    lone = preset("city", latency_case="ma")
    crowded = dataclasses.replace(lone, congestion=True)
    one, four = (latencies(p, draw_markets(p, [3]), 1.0) for p in (lone, crowded))
    assert four == pytest.approx(4 * one)  # 12 wireless agents, 3 mobile agents


def test_mobility_factor_is_paid_or_only_credited():
    settings_ = {"mobility_offset": 1.25, "wireless": 1}
    paid, printed = (preset("paper", mobility=mobility, **settings_) for mobility in ("paid_by_follower", "as_printed"))
    first, second = (answer_to(p, draw_markets(p, [0]), 2.0, 3.0) for p in (paid, printed))
    plain = preset("paper")
    # Paying 2 m is what paying 2.5 is without a factor.
    same = answer_to(plain, draw_markets(plain, [0]), 2.5, 3.0)
    assert first.shares == pytest.approx(same.shares)
    assert first.mobile_profits == pytest.approx(same.mobile_profits)
    cheap = answer_to(plain, draw_markets(plain, [0]), 2.0, 3.0)
    assert second.shares == pytest.approx(cheap.shares)
    assert second.mobile_profits[0] == pytest.approx(cheap.shares[0] * 10 * (2.0 * 1.25 - 0.5))


def test_served_part_scales_what_a_fixed_agent_is_paid_and_the_quality_of_experience():
    params = preset("paper")
    whole, half = draw_markets(params, [0]), draw_markets(params, [0])
    changed(params, half, served_fraction=0.5)
    a, b = (answer_to(params, market, 2.0, 3.0) for market in (whole, half))
    assert b.shares == pytest.approx(a.shares)
    assert b.fixed_sales == pytest.approx(a.fixed_sales / 2)
    assert b.fixed_profits == pytest.approx(a.fixed_profits / 2)
    left = 3.8 - latencies(params, whole, a.shares)[0]
    lost = 0.5 * (1 - a.shares[0])
    expected = a.utilities[0] - lost * 300 * math.log(left) + lost * 10 * 3.0
    assert b.utilities[0] == pytest.approx(expected)


def test_hundred_thousand_answers_take_well_under_a_second():
    import time

    params = preset("internet")
    market = draw_markets(params, [0])
    market.price[...] = 2.0
    record, mask = params.record(), np.ones(1, np.bool_)
    drivers.answer_markets(market, record, mask)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        drivers.answer_markets(market, record, mask)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.25  # 0.02 s on an idle core
