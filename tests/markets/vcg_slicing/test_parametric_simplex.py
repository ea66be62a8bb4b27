"""Warm starts of the slicing market: the same certified optima and payments as from scratch, reached by walking."""

from __future__ import annotations

import numpy as np
import pytest

from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.vcg_slicing.optimum import clarke_payments, welfare_optimum
from ioa_marl.markets.vcg_slicing.solver import (
    TOLERANCE,
    allocate_optima,
    resolve_market,
    solve_market,
    solve_separately,
)
from ioa_marl.markets.vcg_slicing.workspace import workspace
from tests.markets.vcg_slicing.slicing_cases import KINDS, hard_market, plain_market

AGREEMENT = 1e-9
"""Largest difference of welfare and payments, relative to the welfare: both ways stop at a gap of 1e-11."""
MOSTLY_WALKED = 1e-3
"""Largest share of the problems of random markets that may be solved from scratch after all."""
TIED_THROUGHOUT = ("equal ratios", "all alike")
"""Kinds of markets in which everybody is indifferent between all resources, so that a walk may be given up."""


def solved(solver, worth, rates, prices=None):
    """Return the optima of one market and those without each provider, by one of the three ways to solve it."""
    n = len(worth)
    out = allocate_optima(1, n)
    if prices is not None:
        out.price[0] = prices
    solver(worth[None], rates[None], 0, 0, True, TOLERANCE, workspace(n), out)
    return out


def check_agreement(worth, rates, found, scratch):
    """Compare what two ways found, and check the certificates of the first against bounds computed here."""
    welfare = max(scratch.welfare[0], 1e-300)
    assert abs(found.welfare[0] - scratch.welfare[0]) <= AGREEMENT * welfare
    np.testing.assert_allclose(found.others[0], scratch.others[0], rtol=0, atol=AGREEMENT * welfare)
    rest = found.welfare[0] - found.utility[0], scratch.welfare[0] - scratch.utility[0]
    payments, expected = found.others[0] - rest[0], scratch.others[0] - rest[1]
    # Utilities move with the root of the gap, welfare with the gap: payments at one and the same allocation agree.
    np.testing.assert_allclose(found.others[0] - rest[1], expected, rtol=0, atol=AGREEMENT * welfare)
    assert np.all(payments >= 0.0)
    assert found.gap[0] <= TOLERANCE
    walked = found.utility[0] > TOLERANCE * found.welfare[0]
    # Rounding: a bound is a sum of up to a thousand numbers.
    assert np.all(found.others_gap[0][walked] <= TOLERANCE + 1e-13)
    # What everybody gains is the difference of numbers as large as their worth, even where it is tiny.
    rounding = 1e-12 * welfare + 1e-15 * worth.sum()
    assert np.all(dual_values(worth, rates, found.others_price[0]) >= found.others[0] - rounding)


def dual_values(worth, rates, prices):
    """Return, for each provider left out, the bound that its row of prices gives for the others."""
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = np.min(np.where(rates > 0, prices[:, None, :] / rates, np.inf), axis=2)
        unit = np.minimum(unit, worth)
        gains = worth - unit - np.where(unit > 0, unit * np.log(worth / unit), 0.0)
    np.fill_diagonal(gains, 0.0)
    return prices.sum(axis=1) + gains.sum(axis=1)


@pytest.mark.parametrize(
    ("providers", "markets"), [(2, 400), (3, 400), (5, 400), (10, 400), (20, 200), (50, 60), (200, 2)]
)
def test_random_markets_agree_with_those_solved_from_scratch_and_hardly_any_is(providers, markets):
    cold = 0
    for seed in range(markets):
        worth, rates = plain_market(providers, seed)
        scratch = solved(solve_separately, worth, rates)
        found = solved(solve_market, worth, rates)
        check_agreement(worth, rates, found, scratch)
        np.testing.assert_array_equal(found.share, scratch.share)
        assert scratch.cold[0] == 0
        cold += found.cold[0]
    assert cold <= MOSTLY_WALKED * markets * providers


@pytest.mark.parametrize("kind", KINDS)
def test_hard_markets_agree_with_those_solved_from_scratch(kind):
    cold = problems = 0
    for seed in range(60):
        worth, rates = hard_market(kind, seed)
        scratch = solved(solve_separately, worth, rates)
        found = solved(solve_market, worth, rates)
        check_agreement(worth, rates, found, scratch)
        cold, problems = cold + found.cold[0], problems + len(worth)
    if kind not in TIED_THROUGHOUT:
        assert cold <= 0.01 * problems


@pytest.mark.parametrize("providers", [1, 2, 10, 50])
@pytest.mark.parametrize("change", [0.0, 0.01, 0.3])
def test_a_changed_market_is_solved_from_the_prices_it_had(providers, change):
    cold = 0
    for seed in range(60):
        worth, rates = plain_market(providers, seed)
        before = welfare_optimum(worth, rates).prices
        rng = np.random.default_rng([seed, 1])
        worth = worth * np.exp(rng.normal(0, change, providers))
        rates = rates * np.exp(rng.normal(0, change, (providers, 3)))
        scratch = solved(solve_separately, worth, rates)
        found = solved(resolve_market, worth, rates, before)
        check_agreement(worth, rates, found, scratch)
        assert np.all(found.share >= 0.0)
        np.testing.assert_allclose(found.share[0].sum(axis=0), 1.0, atol=1e-12)
        utilities = -worth * np.expm1(-np.sum(rates * found.share[0], axis=1))
        np.testing.assert_allclose(found.utility[0], utilities, rtol=1e-12)
        cold += found.cold[0]
    assert cold <= MOSTLY_WALKED * 60 * providers


@pytest.mark.parametrize("prices", [[0.0, 0.0, 0.0], [1e-9, 1e9, 1.0], [1e-200, 1e-200, 1e-200], [0.0, 50.0, 1e12]])
def test_any_prices_will_do_to_start_from(prices):
    for seed in range(20):
        worth, rates = plain_market(10, seed)
        scratch = solved(solve_separately, worth, rates)
        check_agreement(worth, rates, solved(resolve_market, worth, rates, prices), scratch)


def test_a_resource_that_is_wanted_for_the_first_time_gets_a_price():
    worth, rates = plain_market(6, 4)
    unwanted = rates.copy()
    unwanted[:, 2] = 0.0
    before = welfare_optimum(worth, unwanted)
    assert before.prices[2] == 0.0
    after = welfare_optimum(worth, rates, prices=before.prices)
    assert after.prices[2] > 0.0
    assert after.welfare == pytest.approx(welfare_optimum(worth, rates).welfare, rel=AGREEMENT)
    back = welfare_optimum(worth, unwanted, prices=after.prices)
    assert back.prices[2] == 0.0
    assert back.welfare == pytest.approx(before.welfare, rel=AGREEMENT)


def test_a_walk_that_is_given_up_is_counted_and_its_result_is_certified_all_the_same():
    # Rates are in the same ratio for all, so that everybody is indifferent between all resources.
    worth, rates = hard_market("equal ratios", 4)
    n = len(worth)
    found = solved(solve_market, worth, rates)
    assert 0 < found.cold[0] <= n
    check_agreement(worth, rates, found, solved(solve_separately, worth, rates))


def test_providers_who_buy_nothing_beside_a_dominant_one_are_found_when_it_leaves():
    worth, rates = np.array([1e6, 1.0, 2.0]), np.array([[0.5, 0.5, 0.5], [1.0, 0.0, 2.0], [0.0, 3.0, 1.0]])
    alone = welfare_optimum(worth[1:], rates[1:]).welfare
    assert alone > 1.0
    for solver in (solve_market, solve_separately):
        assert solved(solver, worth, rates).others[0, 0] == pytest.approx(alone, rel=AGREEMENT)


def test_the_payment_of_one_beside_identical_rivals_has_a_closed_form():
    # m alike providers share one resource: each has 1 − exp(−ξ/m), and without one of them 1 − exp(−ξ/(m−1)).
    for m in (2, 3, 8):
        outcome = clarke_payments(np.full(m, 10.0), np.tile([4.0, 0.0, 0.0], (m, 1)))
        rest, without = 10.0 * (m - 1) * -np.expm1(-4.0 / m), 10.0 * (m - 1) * -np.expm1(-4.0 / (m - 1))
        np.testing.assert_allclose(outcome.payments, without - rest, rtol=1e-7)


@pytest.mark.parametrize("prices", [[1.0, 1.0], [1.0, -1.0, 1.0], [1.0, np.nan, 1.0], [1.0, np.inf, 1.0]])
def test_prices_that_are_none_are_refused(prices):
    with pytest.raises(ParameterError, match=r"^prices="):
        welfare_optimum([1.0, 2.0], np.ones((2, 3)), prices=prices)
