"""The equations of the dual-currency auction, each against a closed form or another way of computing it."""

import numpy as np
import pytest

from ioa_marl.markets.vcg_slicing.baselines import utilities
from ioa_marl.markets.vcg_slicing.dual_currency import equations, utility_fit
from ioa_marl.markets.vcg_slicing.dual_currency.bank import draw_past, draw_profit_rates
from ioa_marl.markets.vcg_slicing.optimum import clarke_payments, welfare_optimum
from ioa_marl.markets.vcg_slicing.params import SlicingParams


@pytest.fixture
def market():
    rng = np.random.default_rng(3)
    worth, rate = rng.uniform(100, 200, 10), rng.uniform(0, 10, (10, 3))
    outcome = clarke_payments(worth, rate)
    return worth, rate, outcome.optimum.shares, utilities(worth, rate, outcome.optimum.shares), outcome


def test_loans_divide_the_pool_and_know_only_ratios_of_bids():
    bids = np.array([[3.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert equations.loans(np.array([8.0, 8.0]), bids).tolist() == [[6.0, 2.0, 0.0], [0.0, 0.0, 0.0]]
    rng = np.random.default_rng(0)
    bids = rng.uniform(1, 200, 7)
    for factor in (0.5, 2.0):  # powers of two: equal to the bit
        assert np.array_equal(equations.loans(np.array(900.0), bids), equations.loans(np.array(900.0), factor * bids))


def test_noise_begins_where_bids_exceed_welfare_and_its_unit_is_a_share():
    bids = np.array([[60.0, 40.0], [60.0, 41.0], [30.0, 20.0]])
    assert equations.noise_scale(bids, np.full(3, 100.0), 2).tolist() == [0.0, 0.005, 0.0]
    assert equations.noise_scale(bids, np.full(3, 100.0), 2, as_printed=True).tolist() == [0.0, 0.5, 0.0]
    assert equations.noise_scale(bids, np.zeros(3), 2).tolist() == [0.0, 0.0, 0.0]


def test_a_hundredth_too_much_in_the_bids_costs_little_in_shares_and_a_lot_as_printed(market):
    """0.03% of welfare against 30%: means over 2 000 draws, whose standard error is below a twentieth of them.

    Nearly all of the 0.03% comes from clipping at 0: at the optimum most shares are 0, and what noise adds there helps
    nobody. Noise on the shares that are held costs a hundredth of it.
    """
    worth, rate, shares, ideal, _ = market
    bids, best = 1.01 * ideal, np.array(ideal.sum())
    draws = np.random.default_rng(1).standard_normal((2000, 10, 3))
    loss = []
    for printed in (False, True):
        noisy = equations.disturbed(
            np.tile(shares, (2000, 1, 1)), equations.noise_scale(bids, best, 10, printed), draws
        )
        assert noisy.sum(axis=1) == pytest.approx(np.ones((2000, 3)))
        assert np.all(noisy >= 0)
        loss.append(1 - utilities(worth, rate, noisy).sum(axis=1).mean() / best)
    assert 2e-4 < loss[0] < 5e-4
    assert loss[1] > 0.2
    held = np.where(shares > 1e-6, shares + 0.001 * draws, 0.0)
    held /= held.sum(axis=1, keepdims=True)
    assert 1 - utilities(worth, rate, held).sum(axis=1).mean() / best < 1e-5


def test_noise_that_clips_everything_leaves_the_equal_split():
    shares = np.full((1, 4, 3), 0.25)
    assert np.array_equal(equations.disturbed(shares, np.array([10.0]), -np.ones((1, 4, 3))), shares)


def test_at_the_optimum_true_bids_pay_the_clarke_payment_and_no_interest(market):
    _worth, _rate, _shares, ideal, outcome = market
    loan = equations.loans(np.array(ideal.sum()), ideal)
    alpha = np.linspace(0.5, 1.5, 10)
    flows = equations.settle(alpha, outcome.welfare_without, ideal, ideal, loan, alpha * ideal)
    assert flows.interest == pytest.approx(np.zeros(10), abs=1e-10)
    assert flows.tax == pytest.approx(alpha * outcome.payments)
    assert flows.profit == pytest.approx(alpha * (ideal - outcome.payments))


@pytest.mark.parametrize("factor", [0.5, 0.8, 0.99])
def test_scale_fixture_all_bidding_the_same_multiple_is_as_good_as_the_truth(market, factor):
    """So truth is an equilibrium and not dominant: the interest of 0 comes with every multiple."""
    *_, ideal, _outcome = market
    pool = np.array(ideal.sum())
    loan = equations.loans(pool, factor * ideal)
    assert np.abs(loan - ideal) == pytest.approx(np.zeros(10), abs=1e-10)
    assert equations.noise_scale(factor * ideal, pool, 10) == 0.0
    # With others at a multiple, the truth is no best reply to them: it bears interest, and the multiple does not.
    mixed = factor * ideal
    mixed[0] = ideal[0]
    assert abs(equations.loans(pool, mixed)[0] - ideal[0]) > 1.0 * (1 - factor)


def test_with_the_others_true_every_other_bid_than_the_truth_bears_interest(market):
    *_, ideal, _ = market
    pool = np.array(ideal.sum())
    for factor in (0.5, 0.9, 1.1, 1.5):
        bids = ideal.copy()
        bids[4] *= factor
        assert abs(equations.loans(pool, bids)[4] - ideal[4]) > 0.01 * ideal[4]


def test_externality_is_what_the_others_could_have_more(market):
    worth, rate, *_ = market
    shares = np.full((10, 3), 0.1)
    harm = equations.externalities(clarke_payments(worth, rate).welfare_without, utilities(worth, rate, shares))
    for i in (0, 7):
        rest = np.arange(10) != i
        best = welfare_optimum(worth[rest], rate[rest]).welfare
        assert harm[i] == pytest.approx(best - utilities(worth[rest], rate[rest], shares[rest]).sum())


def test_the_rate_is_estimated_without_bias_where_profits_have_a_mean_of_their_own():
    """Mean of α̂ over 4 000 histories within four standard errors of α; Eq. 34 as printed is off by E[w] E[1/U]."""
    rng = np.random.default_rng(2)
    utility = rng.uniform(60, 140, (4000, 30, 1))
    gross = 0.8 * utility + rng.normal(10.0, 5.0, utility.shape)
    found = equations.estimated_rate(equations.moments_of(utility, gross))
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean() - 0.8) < 4 * error
    assert error < 0.002
    printed = equations.rate_as_printed(utility, gross)
    assert printed.mean() - 0.8 == pytest.approx(10.0 * (1 / utility).mean(), rel=0.02)
    assert printed.mean() - 0.8 > 0.1


def test_running_moments_are_those_of_all_pairs_and_give_the_line_of_least_squares():
    rng = np.random.default_rng(5)
    utility, gross = rng.uniform(50, 150, (40, 3)), rng.normal(100, 30, (40, 3))
    moments = equations.moments_of(utility[:20], gross[:20])
    for u, g in zip(utility[20:], gross[20:], strict=True):
        moments = equations.add_to_moments(moments, u, g)
    for one, other in zip(moments, equations.moments_of(utility, gross), strict=True):
        assert one == pytest.approx(other, rel=1e-12)
    for i in range(3):
        assert equations.estimated_rate(moments)[i] == pytest.approx(
            np.polyfit(utility[:, i], gross[:, i], 1)[0], rel=1e-9
        )


def test_where_utility_never_varied_the_rate_is_the_ratio_of_means():
    utility, gross = np.full((5, 2), 100.0), np.full((5, 2), 70.0)
    assert equations.estimated_rate(equations.moments_of(utility, gross)).tolist() == [0.7, 0.7]
    assert equations.estimated_rate(equations.moments_of(np.zeros((5, 1)), np.ones((5, 1)))).tolist() == [1.0]


def test_a_proper_group_bears_no_interest_only_at_the_truth_but_everybody_at_any_multiple(market):
    *_, ideal, _ = market
    for members in (1, 2, 9):
        others = ideal[members:]
        matrix, _ = equations.interest_system(ideal, others)
        assert np.linalg.matrix_rank(matrix) == members
        assert equations.balanced_bids(ideal, others) == pytest.approx(ideal[:members])
        # If those outside bid half, so must the group.
        assert equations.balanced_bids(ideal, 0.5 * others) == pytest.approx(0.5 * ideal[:members])
    matrix, right = equations.interest_system(ideal, ideal[:0])
    assert np.linalg.matrix_rank(matrix) == 9
    assert matrix @ (0.7 * ideal) == pytest.approx(right, abs=1e-9)
    with pytest.raises(np.linalg.LinAlgError, match="everybody"):
        equations.balanced_bids(ideal, ideal[:0])


def fitted_to_the_past(params, worth, rate):
    """Return slices of ten providers before an episode, their exact reports, and the types fitted to these."""
    share = draw_past(params, 10, (1, 2), 0).share
    reported = utilities(worth, rate, share).T
    center = utility_fit.prior_center(params.worth, params.rate)
    x, _ = utility_fit.fit(
        np.tile(center, (10, 1)), np.full(10, 1e-2), share.swapaxes(0, 1), reported,
        np.ones(reported.shape, np.bool_), center, 60,
    )  # fmt: skip
    return share, reported, utility_fit.fitted_types(x)


def test_fitted_utilities_are_the_true_ones_once_slices_differ_enough():
    """Four unknowns from 20 exact reports: β and ξ within 1%, except rates that hardly matter."""
    params = SlicingParams()
    rng = np.random.default_rng(8)
    worth, rate = rng.uniform(100, 200, 10), rng.uniform(0.5, 10, (10, 3))
    share, reported, (found_worth, found_rate) = fitted_to_the_past(params, worth, rate)
    fitted = utilities(found_worth, found_rate, share).T
    assert np.abs(fitted / reported - 1).max() < 1e-3
    assert clarke_payments(found_worth, found_rate).welfare_without == pytest.approx(
        clarke_payments(worth, rate).welfare_without, rel=0.02
    )


def test_reports_that_are_not_there_do_not_count():
    center = np.log([150.0, 5.0, 5.0, 5.0])
    rng = np.random.default_rng(0)
    shares, known = rng.uniform(0, 0.3, (4, 12, 3)), np.arange(12) < 7
    reported = utilities(np.full((4, 1), 120.0), np.full((4, 1, 3), 3.0), shares)
    spoilt = np.where(known, reported, 1e6)
    args = np.tile(center, (4, 1)), np.full(4, 1e-2), shares
    one = utility_fit.fit(*args, spoilt, np.tile(known, (4, 1)), center, 10)[0]
    other = utility_fit.fit(args[0], args[1], shares[:, :7], reported[:, :7], np.ones((4, 7), np.bool_), center, 10)[0]
    assert one == pytest.approx(other, rel=1e-9)


def test_the_past_is_feasible_and_rates_of_the_first_providers_do_not_depend_on_how_many_there_are():
    params = SlicingParams(providers=6, mechanism="dual_currency", prior_bills=9)
    past = draw_past(params, 4, (7, 0), 2)
    assert past.share.shape == (9, 4, 3)
    assert past.share.sum(axis=1) == pytest.approx(np.ones((9, 3)))
    assert past.before.sum(axis=1) == pytest.approx(np.ones((9, 3)))
    few = draw_profit_rates(SlicingParams(providers=3), (5, 0), 0)
    assert np.array_equal(few, draw_profit_rates(params, (5, 0), 0)[:3])
    assert np.all((few >= 0.5) & (few <= 1.5))


def test_small_utilities_are_fitted_as_well_as_large_ones():
    """Rates of a thousandth: utilities are a thousandth of β, and still within 1% after 64 reports."""
    params = SlicingParams(rate=(0.0, 1e-3), mechanism="dual_currency", prior_bills=64)
    rng = np.random.default_rng(8)
    worth, rate = rng.uniform(100, 200, 10), rng.uniform(0, 1e-3, (10, 3))
    share, reported, (found_worth, found_rate) = fitted_to_the_past(params, worth, rate)
    fitted = utilities(found_worth, found_rate, share).T
    assert np.abs(fitted / reported - 1).max() < 0.01
