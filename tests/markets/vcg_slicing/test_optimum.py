"""The welfare optimum and its Clarke payments: certificates, bounds, and an independent solver."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.vcg_slicing.baselines import equal_split, greedy_split, kelly_split, utilities
from ioa_marl.markets.vcg_slicing.optimum import clarke_payments, welfare_optimum
from ioa_marl.markets.vcg_slicing.solver import TOLERANCE, allocate_optima, solve_markets
from ioa_marl.markets.vcg_slicing.workspace import workspace
from tests.markets.vcg_slicing.slicing_cases import KINDS, hard_market, plain_market

SLACK = 1e-9
"""What solver tolerance may cost, relative to the optimal welfare."""


def dual_value(worth, rates, prices):
    """Σλ + Σ_i max_y [β_i (1 − e^−y) − q_i y]: an upper bound of the welfare, for any prices at least 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = np.min(np.where(rates > 0, prices / rates, np.inf), axis=1)
        y = np.log(np.where(unit < worth, worth / unit, 1.0))
    y = np.minimum(y, 1e3)
    gains = -worth * np.expm1(-y) - np.where(y > 0, np.minimum(unit, worth) * y, 0.0)
    return prices.sum() + gains.sum()


def independent_optimum(worth, rates):
    cvxpy = pytest.importorskip("cvxpy", reason="the independent solver cvxpy is not installed")
    shares = cvxpy.Variable(rates.shape, nonneg=True)
    benefit = cvxpy.sum(cvxpy.multiply(rates, shares), axis=1)
    welfare = cvxpy.sum(cvxpy.multiply(worth, 1 - cvxpy.exp(-benefit)))
    problem = cvxpy.Problem(cvxpy.Maximize(welfare), [cvxpy.sum(shares, axis=0) <= 1])
    problem.solve(solver="CLARABEL", tol_gap_rel=1e-10, tol_gap_abs=1e-8, tol_feas=1e-10)
    return problem.value, shares.value


@pytest.mark.parametrize("providers", [1, 2, 5, 10, 30])
def test_an_independent_solver_finds_the_same_welfare_and_utilities(providers):
    for seed in range(4):
        worth, rates = plain_market(providers, seed)
        found = welfare_optimum(worth, rates)
        value, shares = independent_optimum(worth, rates)
        assert found.welfare == pytest.approx(value, rel=1e-7)
        np.testing.assert_allclose(found.utilities, utilities(worth, rates, shares), atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_hard_market_is_certified_feasible_and_bounded_by_its_prices(kind):
    for seed in range(200):
        worth, rates = hard_market(kind, seed)
        found = welfare_optimum(worth, rates)
        assert found.converged, seed
        assert found.relative_gap <= TOLERANCE
        assert np.all(found.shares >= 0)
        np.testing.assert_allclose(found.shares.sum(axis=0), 1.0, atol=1e-12)
        np.testing.assert_allclose(found.utilities, utilities(worth, rates, found.shares), rtol=1e-12)
        assert found.welfare == pytest.approx(found.utilities.sum(), rel=1e-12)
        assert np.all(found.prices >= 0)
        bound = dual_value(worth, rates, found.prices)
        assert found.welfare <= bound * (1 + 1e-12)
        assert bound - found.welfare <= 1e-8 * max(found.welfare, 1e-300)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 30), st.integers(0, 10**6))
def test_stationarity_and_complementarity(providers, seed):
    worth, rates = plain_market(providers, seed)
    found = welfare_optimum(worth, rates)
    marginals = (worth - found.utilities)[:, None] * rates
    scale = found.welfare
    # Nobody would buy more of anything at its price, and what is held is worth its price at the margin. A gap of g
    # allows ξ·s to be off by about √(2g·welfare/β), and marginal utilities with it.
    off = 3 * np.sqrt(TOLERANCE * scale / worth.min())
    assert np.all(marginals <= found.prices * (1 + off) + 1e-8 * scale)
    assert np.all(found.shares * np.abs(marginals - found.prices) <= off * found.prices + 1e-8 * scale)
    assert np.all(found.prices * (1 - found.shares.sum(axis=0)) <= 1e-12 * scale)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(0, 10**6), st.integers(0, 10**6))
def test_no_feasible_division_has_more_welfare(providers, seed, other):
    worth, rates = plain_market(providers, seed)
    best = welfare_optimum(worth, rates)
    shares = np.random.default_rng(other).dirichlet(np.full(providers, 0.3), 3).T
    nearby = 0.9 * best.shares + 0.1 * shares
    for tried in (shares, nearby, equal_split(worth, rates), kelly_split(worth, rates), greedy_split(worth, rates)):
        np.testing.assert_allclose(tried.sum(axis=0), 1.0)
        assert utilities(worth, rates, tried).sum() <= best.welfare * (1 + TOLERANCE)


def test_one_resource_is_filled_like_water():
    # With one resource, ln(β_i ξ_i / λ) / ξ_i is bought where positive; λ by bisection.
    rng = np.random.default_rng(5)
    worth, rate = rng.uniform(1, 200, 20), rng.uniform(0.5, 10, 20)
    low, high = 1e-9, (worth * rate).max()
    for _ in range(200):
        price = math.sqrt(low * high)
        shares = np.maximum(np.log(worth * rate / price), 0.0) / rate
        low, high = (price, high) if shares.sum() > 1 else (low, price)
    rates = np.zeros((20, 3))
    rates[:, 1] = rate
    found = welfare_optimum(worth, rates)
    np.testing.assert_allclose(found.shares[:, 1], shares, atol=1e-6)
    assert found.prices[1] == pytest.approx(price, rel=1e-6)
    assert found.prices[0] == found.prices[2] == 0.0


def test_a_provider_without_wants_gets_nothing_and_pays_nothing():
    worth, rates = plain_market(6, 1)
    rates[2] = 0.0
    rates[:, 0] = 0.0
    outcome = clarke_payments(worth, rates)
    assert outcome.optimum.prices[0] == 0.0
    assert outcome.optimum.utilities[2] == 0.0
    assert outcome.payments[2] == 0.0
    assert outcome.converged


def test_where_nobody_wants_anything_welfare_is_zero_and_certified():
    outcome = clarke_payments([1.0, 2.0], np.zeros((2, 3)))
    assert outcome.optimum.welfare == outcome.optimum.bound == 0.0
    assert outcome.converged
    assert outcome.payments.tolist() == [0.0, 0.0]


def test_a_lone_provider_gets_everything_for_nothing():
    outcome = clarke_payments([120.0], [[3.0, 0.5, 2.0]])
    np.testing.assert_allclose(outcome.optimum.shares, 1.0)
    assert outcome.optimum.welfare == pytest.approx(120 * (1 - math.exp(-5.5)))
    assert outcome.payments[0] == 0.0


def test_two_alike_providers_share_and_pay_what_the_other_loses():
    outcome = clarke_payments([100.0, 100.0], np.full((2, 3), 2.0))
    each = 100 * (1 - math.exp(-3.0))
    np.testing.assert_allclose(outcome.optimum.utilities, each, rtol=1e-8)
    np.testing.assert_allclose(outcome.payments, 100 * (1 - math.exp(-6.0)) - each, rtol=1e-6)


def check_clarke_bounds(worth, rates):
    outcome = clarke_payments(worth, rates)
    best = outcome.optimum
    slack = SLACK * max(best.welfare, 1e-300)
    assert outcome.converged
    assert np.all(outcome.payments >= 0)
    assert np.all(outcome.payments <= best.utilities + slack)
    assert np.all(outcome.payments <= best.shares @ best.prices + slack)
    assert np.all(outcome.payments >= np.sum(outcome.prices_without * best.shares, axis=1) - slack)
    return outcome


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(0, 10**6))
def test_payments_lie_between_the_values_of_the_slice_at_both_prices(providers, seed):
    check_clarke_bounds(*plain_market(providers, seed))


@pytest.mark.parametrize("kind", KINDS)
def test_clarke_bounds_hold_in_hard_markets(kind):
    for seed in range(30):
        check_clarke_bounds(*hard_market(kind, seed))


@pytest.mark.parametrize("providers", [2, 10, 60, 400])
def test_payments_are_those_of_solving_the_market_without_each_provider(providers):
    worth, rates = plain_market(providers, 3)
    outcome = clarke_payments(worth, rates)
    for i in range(0, providers, max(1, providers // 12)):
        rest = np.arange(providers) != i
        without = welfare_optimum(worth[rest], rates[rest])
        assert outcome.welfare_without[i] == pytest.approx(without.welfare, rel=1e-9)
        expected = without.welfare - outcome.optimum.utilities[rest].sum()
        assert outcome.payments[i] == pytest.approx(expected, abs=SLACK * without.welfare)


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 12), st.integers(0, 10**6), st.integers(0, 10**6))
def test_misreports_do_not_pay(providers, seed, lie):
    worth, rates = plain_market(providers, seed)
    rng = np.random.default_rng(lie)
    i = rng.integers(providers)
    truth = clarke_payments(worth, rates)
    told_worth, told_rates = worth.copy(), rates.copy()
    told_worth[i] *= math.exp(rng.normal(0, 1))
    told_rates[i] *= np.exp(rng.normal(0, 0.5, 3) * rng.integers(0, 2))
    outcome = clarke_payments(told_worth, told_rates)
    profit = utilities(worth, rates, outcome.optimum.shares)[i] - outcome.payments[i]
    assert profit <= truth.profits[i] + SLACK * truth.optimum.welfare


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_scaling_all_worths_leaves_the_division_and_scales_money(providers, seed, factor):
    worth, rates = plain_market(providers, seed)
    plain, scaled = clarke_payments(worth, rates), clarke_payments(factor * worth, rates)
    np.testing.assert_allclose(scaled.optimum.shares, plain.optimum.shares, atol=1e-5)
    slack = SLACK * scaled.optimum.welfare
    np.testing.assert_allclose(scaled.payments, factor * plain.payments, atol=slack)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(0, 10**6))
def test_the_order_of_providers_and_resources_does_not_matter(providers, seed):
    worth, rates = plain_market(providers, seed)
    rng = np.random.default_rng(seed)
    order, resources = rng.permutation(providers), rng.permutation(3)
    plain = clarke_payments(worth, rates)
    moved = clarke_payments(worth[order], rates[order][:, resources])
    np.testing.assert_allclose(moved.optimum.shares, plain.optimum.shares[order][:, resources], atol=1e-5)
    np.testing.assert_allclose(moved.payments, plain.payments[order], atol=SLACK * plain.optimum.welfare)


def test_a_market_of_a_batch_is_the_same_market_alone_to_the_bit():
    markets = [plain_market(10, seed) for seed in range(5)]
    worth, rates = (np.stack(part) for part in zip(*markets, strict=True))
    out = allocate_optima(5, 10)
    solve_markets(worth, rates, True, TOLERANCE, workspace(10), out)
    for b, market in enumerate(markets):
        alone = clarke_payments(*market)
        np.testing.assert_array_equal(out.share[b], alone.optimum.shares)
        np.testing.assert_array_equal(out.others[b], alone.welfare_without)


def test_fifty_clarke_problems_take_less_than_fifty_milliseconds():
    worth, rates = plain_market(50, 0)
    clarke_payments(worth, rates)
    times = []
    for _ in range(5):
        begin = time.process_time()
        clarke_payments(worth, rates)
        times.append(time.process_time() - begin)
    assert min(times) < 0.05


def test_a_hundred_thousand_providers_are_certified_in_about_a_second():
    worth, rates = plain_market(100_000, 0)
    begin = time.process_time()
    found = welfare_optimum(worth, rates)
    assert found.converged
    assert time.process_time() - begin < 2.0
    assert dual_value(worth, rates, found.prices) <= found.welfare * (1 + 1e-8)


def test_greedy_portions_come_close_and_kelly_beats_the_equal_split():
    ratios = {"equal": [], "kelly": [], "greedy": []}
    for seed in range(20):
        worth, rates = plain_market(10, seed)
        best = welfare_optimum(worth, rates).welfare
        for name, split in (("equal", equal_split), ("kelly", kelly_split), ("greedy", greedy_split)):
            ratios[name].append(utilities(worth, rates, split(worth, rates)).sum() / best)
    means = {name: np.mean(values) for name, values in ratios.items()}
    assert means["equal"] < means["kelly"] < means["greedy"] < 1
    assert means["greedy"] > 0.98


@pytest.mark.parametrize(
    ("key", "worth", "rates"),
    [
        ("worth", [0.0, 1.0], np.ones((2, 3))),
        ("worth", [math.nan, 1.0], np.ones((2, 3))),
        ("worth", [], np.ones((0, 3))),
        ("worth", [1.0, 1e13], np.ones((2, 3))),
        ("rates", [1.0, 1.0], np.ones((3, 3))),
        ("rates", [1.0, 1.0], np.ones((2, 2))),
        ("rates", [1.0], [[1.0, -1.0, 0.0]]),
        ("rates", [1.0], [[1.0, math.inf, 0.0]]),
        ("rates", [1.0], [[1.0, 1e-7, 0.0]]),
    ],
)
def test_markets_that_cannot_be_solved_are_refused(key, worth, rates):
    with pytest.raises(ParameterError, match=f"^{key}="):
        welfare_optimum(worth, rates)
