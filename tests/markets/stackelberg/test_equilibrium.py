"""The leaders' prices: values of the calibrated market, equilibria that are, cycles that are said to be."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.stackelberg import drivers
from ioa_marl.markets.stackelberg.equilibrium import (
    answer_to,
    best_response_price,
    joint_maxima,
    maximise_joint_profit,
    nash_conv,
    solve_batch,
    solve_equilibrium,
)
from ioa_marl.markets.stackelberg.params import draw_markets, preset
from ioa_marl.markets.stackelberg.results import NONE_FOUND, PURE


def everyone(market):
    return np.ones(len(market.seed), np.bool_)


@pytest.mark.parametrize(
    ("case", "price", "share"), [("ma", 2.72, 0.721), ("aa", 3.32, 0.794), ("fa", 3.41, 0.802), ("max", 3.32, 0.794)]
)
def test_best_mobile_price_against_a_fixed_price_of_five(case, price, share):
    params = preset("paper", latency_case=case)
    market = draw_markets(params, [0])
    best = best_response_price(params, market, "mobile", 0, 5.0, 5.0)
    assert best.price == pytest.approx(price, abs=0.006)
    assert answer_to(params, market, best.price, 5.0).shares[0] == pytest.approx(share, abs=0.001)


def test_price_and_share_are_highest_in_case_two_and_lowest_in_case_one():
    found = []
    for case in ("ma", "aa", "fa"):
        params = preset("paper", latency_case=case)
        market = draw_markets(params, [0])
        best = best_response_price(params, market, "mobile", 0, 5.0, 5.0).price
        found.append((best, answer_to(params, market, best, 5.0).shares[0]))
    assert found == sorted(found)
    assert [share for _, share in found] == sorted(share for _, share in found)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("ma", (1.217, 2.813, 0.427)),
        ("fa", (1.848, 2.807, 0.585)),
        ("aa", (1.771, 2.811, 0.570)),
        ("max", (1.771, 2.811, 0.570)),
    ],
)
def test_equilibrium_of_the_calibrated_market(case, expected):
    params = preset("paper", latency_case=case)
    found = solve_equilibrium(params, draw_markets(params, [0]))
    assert found.label == PURE
    assert found.converged
    assert len(found.equilibria) == 1
    assert 4 <= found.rounds <= 6
    got = (found.mobile_prices[0], found.fixed_prices[0], found.outcome.shares[0])
    assert got == pytest.approx(expected, abs=1.5e-3)
    if case == "max":
        assert found.outcome.utilities[0] == pytest.approx(348, abs=0.5)


@pytest.mark.parametrize("case", ["ma", "max"])
def test_equilibrium_is_one_by_brute_force(case):
    # An independent search: 4 001 prices, each answered on a grid of 20 001 shares.
    params = preset("paper", latency_case=case)
    market = draw_markets(params, [0])
    found = solve_equilibrium(params, market)
    share = np.linspace(0.0, 1.0, 20_001)
    time_ = 0.1 * share if case == "ma" else np.maximum(0.1 * share, 0.1 + (1 - share) * 0.25 / 60)
    energy = 4.26 * (2 ** (3 * share) - 1) + 2.68 * (8 - 2 ** (3 * share))
    gross = 300 * np.log(3.8 - time_) - energy
    p_i, p_j = found.mobile_prices[0], found.fixed_prices[0]

    def answer(mobile, fixed):
        return share[np.argmax(gross - 10 * (share * mobile + (1 - share) * fixed))]

    prices = np.linspace(0.0, 10.0, 4_001)
    mobile = max(answer(p, p_j) * 10 * (p - 0.5) for p in prices)
    fixed = max((1 - answer(p_i, p)) * 10 * (p - 1.85) for p in prices)
    assert mobile == pytest.approx(found.outcome.mobile_profits[0], rel=2e-4)
    assert fixed == pytest.approx(found.outcome.fixed_profits[0], rel=2e-4)


def test_city_settles_in_few_rounds_in_most_draws():
    params = preset("city")
    market = draw_markets(params, range(300))
    _, settled, result = solve_batch(params, market, everyone(market))
    assert 0.88 <= settled.mean() <= 0.96  # in about one draw in fourteen nothing is found
    at_rest = result[:, 1] < params.max_iterations  # where the first start is enough
    assert np.isin(result[at_rest, 1], (5, 6)).mean() > 0.9
    assert result[at_rest, 1].max() <= 8
    # Where no equilibrium was found, the prices kept are nearly one.
    relative = result[:, 2] / result[:, 3]
    assert np.median(relative[~settled]) < 0.004
    assert relative.max() < 0.02


def test_scarce_market_has_kinks_and_wireless_agents_that_stay_away():
    params = preset("scarce")
    market = draw_markets(params, range(100))
    prices, _, _ = solve_batch(params, market, everyone(market))
    outcomes = [answer_to(params, market, prices[b, 0], prices[b, 1], b) for b in range(100)]
    buying = np.mean([outcome.buys.mean() for outcome in outcomes])
    assert 0.6 < buying < 0.9
    kinks = market.segments["end"][:, :, :2]
    shares = np.array([outcome.shares for outcome in outcomes])
    inner = (shares > 0) & (shares < 1)
    at_kink = (np.abs(kinks - shares[:, :, None]).min(axis=2) < 1e-12) & inner
    assert at_kink.mean() > 0.01


def test_kinks_that_weigh_more_leave_no_equilibrium():
    params = preset("kinked")
    market = draw_markets(params, range(60))
    _, settled, _ = solve_batch(params, market, everyone(market))
    assert settled.mean() < 0.1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 100_000), name=st.sampled_from(["city", "scarce", "kinked", "dynamic"]))
def test_what_is_labelled_an_equilibrium_has_no_gain_on_a_finer_grid(seed, name):
    params = preset(name)
    market = draw_markets(params, [seed])
    found = solve_equilibrium(params, market)
    fine = preset(name, deviation_step=0.01)
    gain = nash_conv(fine, market, found.mobile_prices, found.fixed_prices).total
    assert gain >= found.nash_conv - 1e-2
    assert found.converged == (found.nash_conv <= params.nash_tolerance * found.outcome.leader_profit + 1e-9)
    if found.converged:
        assert gain <= 2e-3 * found.outcome.leader_profit + 1e-6
    else:
        assert f"after {found.tries} tries" in found.label


def test_none_found_is_confirmed_by_enumeration():
    # One wireless agent at a kink: each leader gains by raising its price until the other undercuts.
    params = preset("paper", relay_time=(0.045, 0.045), deviation_step=0.5)
    market = draw_markets(params, [0])
    assert solve_equilibrium(params, market).label.startswith(NONE_FOUND)
    grid = np.arange(0.0, 10.01, 0.25)
    regrets = [nash_conv(params, market, p_i, p_j).total for p_i, p_j in itertools.product(grid, grid)]
    profit = max(answer_to(params, market, p_i, p_j).leader_profit for p_i, p_j in itertools.product(grid, grid))
    assert min(regrets) > 0.005 * profit
    # With the kink out of the way there is one, and the same enumeration sees it.
    easy = preset("paper", deviation_step=0.5)
    market = draw_markets(easy, [0])
    assert solve_equilibrium(easy, market).label == PURE
    assert min(nash_conv(easy, market, p_i, p_j).total for p_i, p_j in itertools.product(grid, grid)) < 0.2


def test_leaders_that_undercut_each_other_slowly_have_not_settled():
    # Both links cost the same energy, so only prices and speeds count: prices fall by less than η in a round. Algorithm
    # 2 alone rested at (5.03, 5.00), where the fixed agent gains 31 by undercutting a little more.
    for energy in (2.68, 0.0):
        params = preset("paper", mobile_energy=energy, fixed_energy=energy)
        market = draw_markets(params, [0])
        assert nash_conv(params, market, 5.03, 5.0).total > 30.0
        found = solve_equilibrium(params, market)
        assert found.converged
        assert (found.mobile_prices[0], found.fixed_prices[0]) == pytest.approx((1.884, 1.85), abs=1e-3)
        # Confirmed on a finer grid of deviations.
        fine = preset("paper", mobile_energy=energy, fixed_energy=energy, deviation_step=0.005)
        assert nash_conv(fine, market, found.mobile_prices, found.fixed_prices).total < 1e-3


def test_all_starts_lead_to_the_same_choice_and_every_equilibrium_is_one():
    params = preset("dynamic")
    market = draw_markets(params, range(40))
    several = 0
    for index in range(40):
        found = solve_equilibrium(params, market, index=index)
        profits = [answer_to(params, market, *prices, index).leader_profit for prices in found.equilibria]
        if found.converged:
            assert found.outcome.leader_profit == pytest.approx(min(profits), rel=1e-9)
        for prices, profit in zip(found.equilibria, profits, strict=True):
            assert nash_conv(params, market, *prices, index).total <= params.nash_tolerance * profit + 1e-9
        several += len(found.equilibria) > 1
    assert several >= 5  # several equilibria are common


@pytest.mark.parametrize("name", ["paper", "one of each, scarce"])
def test_joint_maximum_of_two_leaders_is_that_of_a_finer_grid(name):
    changes = {} if name == "paper" else {"qoe_weight": 600.0}
    params = preset("paper", **changes)
    market = draw_markets(params, [0])
    best = maximise_joint_profit(params, market)
    grid = np.linspace(0.0, 10.0, 161)
    profits = [answer_to(params, market, p_i, p_j).leader_profit for p_i, p_j in itertools.product(grid, grid)]
    assert not best.is_lower_bound
    assert max(profits) <= best.profit * (1 + 1e-6)
    assert best.profit <= max(profits) * 1.02
    assert (best.at_cap > 0) == (name == "paper")
    assert answer_to(params, market, best.mobile_prices, best.fixed_prices).leader_profit == pytest.approx(best.profit)


def test_joint_maximum_of_many_leaders_beats_every_pair_and_random_changes():
    params = preset("dynamic")
    market, rng = draw_markets(params, range(5)), np.random.default_rng(0)
    prices, profit, _ = joint_maxima(params, market, everyone(market))
    for b in range(5):
        assert answer_to(params, market, prices[b, 0], prices[b, 1], b).leader_profit == pytest.approx(profit[b])
        for p_i, p_j in itertools.product(np.linspace(0.0, params.price_cap, 31), repeat=2):
            assert answer_to(params, market, p_i, p_j, b).leader_profit <= profit[b] + 1e-9
        for _ in range(300):
            other = np.clip(prices[b] + rng.normal(scale=0.5, size=(2, 3)), 0.0, params.price_cap)
            assert answer_to(params, market, other[0], other[1], b).leader_profit <= profit[b] * 1.01


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), mobile=st.floats(0.0, 10.0), fixed=st.floats(0.0, 10.0))
def test_best_response_beats_every_price_of_another_grid(seed, mobile, fixed):
    params = preset("city")
    market = draw_markets(params, [seed])
    for side in ("mobile", "fixed"):
        best = best_response_price(params, market, side, 1, mobile, fixed)
        assert best.profit >= best.present_profit
        prices = {"mobile": np.full(3, mobile), "fixed": np.full(3, fixed)}
        for own in np.linspace(0.0, 10.0, 77):
            prices[side][1] = own
            outcome = answer_to(params, market, prices["mobile"], prices["fixed"])
            # Refinement is local: a peak narrower than the grid may be missed by its height over one grid step.
            assert getattr(outcome, f"{side}_profits")[1] <= best.profit * 1.02 + 0.05
        prices[side][1] = best.price
        outcome = answer_to(params, market, prices["mobile"], prices["fixed"])
        assert getattr(outcome, f"{side}_profits")[1] == pytest.approx(best.profit, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), order=st.permutations(range(12)))
def test_names_of_the_wireless_agents_do_not_matter(seed, order):
    params = preset("city")
    market, other = draw_markets(params, [seed]), draw_markets(params, [seed])
    for name in ("reach", "traits", "relay_time"):
        array = getattr(market, name)
        getattr(other, name)[...] = array[:, :, order] if name == "reach" else array[:, order]
    for side in range(2):
        listed = [[n for n in range(12) if other.reach[0, side, n] == leader] for leader in range(3)]
        other.member[0, side] = np.concatenate(listed)
        other.start[0, side] = np.cumsum([0, *map(len, listed)])
    drivers.reshape_markets(other, params.record(), everyone(other))
    a, b = (answer_to(params, m, [1.0, 2.0, 3.0], [2.5, 3.0, 3.5]) for m in (market, other))
    assert np.array_equal(a.shares[order], b.shares)
    assert np.array_equal(a.buys[order], b.buys)
    assert b.mobile_profits == pytest.approx(a.mobile_profits)
    assert b.fixed_profits == pytest.approx(a.fixed_profits)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000), mobile=st.floats(0.0, 10.0), fixed=st.floats(0.0, 10.0),
    name=st.sampled_from(["city", "dynamic"]), mobility=st.sampled_from(["paid_by_follower", "as_printed"]),
)  # fmt: skip
def test_what_is_paid_is_accounts_and_nobody_buys_at_a_loss(seed, mobile, fixed, name, mobility):
    params = preset(name, mobility=mobility, mobility_weight=0.5)
    market = draw_markets(params, [seed])
    market.price[...] = np.array([mobile, fixed])[None, :, None]
    drivers.answer_markets(market, params.record(), everyone(market))
    drivers.close_round(market, params.record(), everyone(market), np.zeros(1, np.bool_))
    accounts = market.accounts[0]
    assert abs(accounts.sum()) < 1e-9
    assert (accounts[:12] <= 0).all()
    assert (accounts[12:18] >= 0).all()
    assert (mobility == "as_printed") or abs(accounts[18]) < 1e-9
    assert (market.utility >= 0).all()
    costs = (market.cost * market.sales)[0, :, :3].ravel()
    assert market.profit[0, :, :3].ravel() == pytest.approx(accounts[12:18] - costs, abs=1e-9)


def test_markets_of_a_batch_are_solved_as_alone():
    params = preset("city")
    together = draw_markets(params, [3, 4, 5], streams=[0, 0, 0])
    prices, _, result = solve_batch(params, together, everyone(together))
    for b, seed in enumerate([3, 4, 5]):
        alone = draw_markets(params, [seed])
        single, _, single_result = solve_batch(params, alone, everyone(alone))
        assert np.array_equal(single[0], prices[b])
        assert np.array_equal(single_result[0], result[b])


def test_large_markets_are_solved_in_seconds():
    params = preset("metro")
    market = draw_markets(params, [0, 1])
    solve_batch(params, market, everyone(market))
    began = time.perf_counter()
    _, settled, _ = solve_batch(params, market, everyone(market))
    assert time.perf_counter() - began < 5.0
    assert settled.all()


@pytest.mark.parametrize(
    ("call", "key"),
    [
        (lambda p, m: best_response_price(p, m, "aerial", 0, 1.0, 1.0), "side"),
        (lambda p, m: best_response_price(p, m, "mobile", 3, 1.0, 1.0), "leader"),
        (lambda p, m: answer_to(p, m, 11.0, 1.0), "mobile_prices"),
        (lambda p, m: answer_to(p, m, 1.0, [1.0, float("nan"), 1.0]), "fixed_prices"),
        (lambda p, m: answer_to(p, m, 1.0, 1.0, index=1), "index"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(call, key):
    params = preset("city")
    with pytest.raises(ParameterError) as caught:
        call(params, draw_markets(params, [0]))
    assert caught.value.name == key


@pytest.mark.parametrize("name", ["paper", "city", "kinked"])
def test_each_round_of_the_trace_is_a_best_response_to_the_prices_before_it(name):
    params = preset(name)
    market = draw_markets(params, [3])
    start = np.linspace(1.0, 4.0, params.mobile), np.linspace(8.0, 3.0, params.fixed)
    found = solve_equilibrium(params, market, start=start, trace=True)
    trace = found.trace
    assert trace.mobile_prices.shape == (found.rounds + 1, params.mobile)
    assert trace.fixed_prices.shape == (found.rounds + 1, params.fixed)
    assert trace.mobile_prices[0] == pytest.approx(start[0], abs=0)
    assert trace.fixed_prices[0] == pytest.approx(start[1], abs=0)
    for row in range(1, min(found.rounds, 6) + 1):
        before = trace.mobile_prices[row - 1], trace.fixed_prices[row - 1]
        between = trace.mobile_prices[row], trace.fixed_prices[row - 1]
        for side, prices, after in (("mobile", before, trace.mobile_prices), ("fixed", between, trace.fixed_prices)):
            best = [best_response_price(params, market, side, k, *prices).price for k in range(after.shape[1])]
            assert after[row] == pytest.approx(best, abs=1e-12)


def test_trace_ends_at_the_equilibrium_wherever_it_starts():
    params = preset("paper")
    market = draw_markets(params, [0])
    for start in ((0.0, 0.0), (1.0, 9.0), (9.0, 1.85), (10.0, 10.0)):
        found = solve_equilibrium(params, market, start=start, trace=True)
        mobile, fixed, share = (
            x[:, 0] for x in (found.trace.mobile_prices, found.trace.fixed_prices, found.trace.shares)
        )
        assert (mobile[0], fixed[0]) == start
        assert (mobile[-1], fixed[-1], share[-1]) == pytest.approx((1.771, 2.811, 0.570), abs=1.5e-3)
        # One wireless agent with 10 Mbit, whose unit costs are 0.5 and 1.85.
        assert found.trace.mobile_profits[:, 0] == pytest.approx(10 * share * (mobile - 0.5), abs=1e-9)
        assert found.trace.fixed_profits[:, 0] == pytest.approx(10 * (1 - share) * (fixed - 1.85), abs=1e-9)


@pytest.mark.parametrize("name", ["city", "kinked", "dynamic"])
def test_search_is_the_same_with_a_trace_and_with_one_price_written_out(name):
    params = preset(name)
    market = draw_markets(params, [1])
    plain = solve_equilibrium(params, market, 0.5)
    traced = solve_equilibrium(params, market, ([0.5] * params.mobile, 0.5), trace=True)
    assert plain.trace is None
    assert (plain.label, plain.rounds, plain.tries, plain.nash_conv) == (
        traced.label, traced.rounds, traced.tries, traced.nash_conv,
    )  # fmt: skip
    for one, other in zip(plain.equilibria, traced.equilibria, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("start", "key"),
    [
        ((1.0, 2.0, 3.0), "start"), ([5.0], "start"), (([1.0, 2.0], 5.0), "start[0]"), ((1.0, [2.0] * 4), "start[1]"),
        ((np.nan, 1.0), "start[0]"), (10.5, "start[0]"), ((1.0, "low"), "start[1]"), ((1.0, -0.1), "start[1]"),
    ],
)  # fmt: skip
def test_a_start_that_is_none_gets_one_line(start, key):
    params = preset("city")
    with pytest.raises(ParameterError) as error:
        solve_equilibrium(params, draw_markets(params, [0]), start=start)
    assert error.value.name == key
    assert "\n" not in str(error.value)
