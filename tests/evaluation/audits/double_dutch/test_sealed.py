"""Some bidder gains by misreporting in nearly every double Dutch auction, and none in the truthful mechanisms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioa_marl.evaluation.audits.double_dutch import (
    IncentiveRegret,
    double_dutch_mechanism,
    incentive_regret,
    utility_curve,
)
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.double_dutch.rivals import k_double_auction, mcafee, sbba, trade_reduction

BIDS, ASKS = [10.0, 8.0, 6.0, 3.0], [1.0, 2.0, 5.0, 7.0]

# Ten buyers and ten sellers, among them the value 41 and the cost 9 of Fig. 8.
VALUES = [41.0, 22.0, 24.0, 41.0, 25.0, 32.0, 49.0, 49.0, 40.0, 34.0]
COSTS = [9.0, 13.0, 10.0, 34.0, 20.0, 8.0, 24.0, 28.0, 23.0, 33.0]
fine = double_dutch_mechanism(0.25, buyer_clock=60.0, seller_clock=0.0)


def sbba_by_fixed_lot(bids, asks):
    return sbba(bids, asks, np.random.default_rng(1))


def uniform_markets(n, seed=0, a_side=5):
    rng = np.random.default_rng(seed)
    return [(rng.random(a_side), rng.random(a_side)) for _ in range(n)]


def test_seller_with_cost_five_gains_by_misreporting():
    mechanism = double_dutch_mechanism(0.1)
    truth, lie = utility_curve(mechanism, BIDS, ASKS, "seller", 2, [5.0, 5.8])
    assert truth == pytest.approx(0.0, abs=1e-9)
    assert lie == pytest.approx(0.8, abs=1e-9)
    regret = incentive_regret(mechanism, BIDS, ASKS, epsilon=0.1)
    assert regret.sellers[2] >= 0.8 - 1e-9
    assert regret.max >= regret.mean > 0


def test_reported_best_reports_have_the_reported_gains():
    mechanism = double_dutch_mechanism(0.1)
    regret = incentive_regret(mechanism, BIDS, ASKS, epsilon=0.1)
    for role, gains, best, truth in (
        ("buyer", regret.buyers, regret.buyer_reports, BIDS), ("seller", regret.sellers, regret.seller_reports, ASKS),
    ):  # fmt: skip
        for bidder, gain in enumerate(gains):
            reports = [truth[bidder], best[bidder]]
            before, after = utility_curve(mechanism, BIDS, ASKS, role, bidder, reports)
            assert after - before == gain
            assert gain > 0 or reports[0] == reports[1]


@pytest.mark.parametrize("mechanism", [mcafee, trade_reduction, sbba_by_fixed_lot])
def test_truthful_mechanisms_have_no_regret_on_the_fixture(mechanism):
    regret = incentive_regret(mechanism, BIDS, ASKS)
    assert (regret.max, regret.mean) == (0.0, 0.0)
    assert regret.buyer_reports.tolist() == BIDS
    assert regret.seller_reports.tolist() == ASKS


side = st.one_of(st.lists(st.integers(0, 6).map(float), max_size=5), st.lists(st.floats(0, 100, width=32), max_size=5))


@pytest.mark.parametrize("mechanism", [mcafee, trade_reduction, sbba_by_fixed_lot])
@settings(max_examples=40, deadline=None)
@given(values=side, costs=side)
def test_nobody_gains_by_misreporting_to_a_truthful_mechanism(mechanism, values, costs):
    assert incentive_regret(mechanism, values, costs, grid=np.linspace(0, 110, 12)).max <= 1e-9


def test_k_double_auction_at_an_end_of_its_range_is_truthful_for_one_side():
    for weight, truthful in ((0.0, "buyers"), (1.0, "sellers")):
        regret = incentive_regret(lambda b, a, w=weight: k_double_auction(b, a, w), [10.0], [2.0])
        gains = {"buyers": regret.buyers[0], "sellers": regret.sellers[0]}
        assert gains.pop(truthful) == 0.0
        # The other side takes the whole surplus of 8, up to the grid.
        assert 7.9 < gains.popitem()[1] <= 8.0


def test_lone_pair_splits_its_surplus_so_that_both_shade_their_reports():
    mechanism = double_dutch_mechanism(0.5)
    bids = np.array([41.0, 30.0, 20.0, 9.0])
    # The buyer pays half of its bid and half of the ask.
    expected = 41.0 - 0.5 * (bids + 9.0)
    assert utility_curve(mechanism, [41.0], [9.0], "buyer", 0, bids) == pytest.approx(expected)
    assert incentive_regret(mechanism, [41.0], [9.0]).max == pytest.approx(16.0, abs=0.5)


@pytest.mark.parametrize(("role", "truth", "price"), [("buyer", 41.0, 24.0), ("seller", 9.0, 24.0)])
def test_curves_of_the_buyer_at_41_and_the_seller_at_9_peak_at_the_truth(role, truth, price):
    reports = np.arange(0.0, 60.25, 0.25)
    curve = utility_curve(fine, VALUES, COSTS, role, 0, reports)
    gain = abs(truth - price)
    # One step, as drawn in Fig. 8: the full gain on one side of the price, nothing beyond it.
    assert set(curve) == {0.0, gain}
    assert curve[reports == truth] == gain == curve.max()
    assert curve.min() == 0.0
    trades = curve == gain
    assert np.sum(trades[1:] != trades[:-1]) == 1


def test_audit_of_all_bidders_finds_the_gains_that_the_two_curves_do_not_show():
    regret = incentive_regret(fine, VALUES, COSTS, grid=np.arange(0.0, 60.25, 0.25), epsilon=0.25)
    assert (regret.buyers[0], regret.sellers[0]) == (0.0, 0.0)
    assert regret.max >= 2.0
    assert np.sum(regret.buyers > 0) >= 5


def test_four_in_five_uniform_markets_have_a_profitable_deviation_on_a_coarse_grid():
    # 5 × 5, values and costs U[0, 1], step 1/1000, 21 reports that know nothing of the others: a lower bound.
    mechanism = double_dutch_mechanism(1e-3, buyer_clock=1.0, seller_clock=0.0)
    gainful = [_gains_on(mechanism, *market, np.linspace(0, 1, 21)) for market in uniform_markets(250)]
    assert np.mean(gainful) == pytest.approx(0.79, abs=0.06)


def test_nearly_all_uniform_markets_have_one_for_bidders_who_know_the_others_reports():
    mechanism = double_dutch_mechanism(1e-3, buyer_clock=1.0, seller_clock=0.0)
    regrets = [incentive_regret(mechanism, *market, epsilon=1e-3).max for market in uniform_markets(25)]
    assert np.mean(np.array(regrets) > 2e-3) > 0.9
    assert np.mean(regrets) > 0.05


def _gains_on(mechanism, values, costs, grid):
    for role, truths in (("buyer", values), ("seller", costs)):
        for bidder, truth in enumerate(truths):
            curve = utility_curve(mechanism, values, costs, role, bidder, np.append(grid, truth))
            # A tick is what the resolution of the clocks alone can give or take.
            if curve.max() > curve[-1] + 1e-3:
                return True
    return False


def test_regret_summarises_all_bidders_and_none():
    regret = IncentiveRegret(np.array([0.0, 3.0]), np.array([1.0, 0.0]), np.zeros(2), np.zeros(2))
    assert (regret.max, regret.mean) == (3.0, 1.0)
    empty = incentive_regret(mcafee, [], [])
    assert (empty.max, empty.mean) == (0.0, 0.0)


def test_truth_is_not_changed_by_the_audit():
    values, costs = np.array(BIDS), np.array(ASKS)
    incentive_regret(k_double_auction, values, costs)
    assert values.tolist() == BIDS
    assert costs.tolist() == ASKS


def test_unknown_bidders_are_named():
    with pytest.raises(ParameterError, match="role=auctioneer is not allowed: use buyer or seller"):
        utility_curve(mcafee, BIDS, ASKS, "auctioneer", 0, [1.0])
    with pytest.raises(ParameterError, match="bidder=4 is not allowed: use an index below 4"):
        utility_curve(mcafee, BIDS, ASKS, "buyer", 4, [1.0])


def test_double_dutch_mechanism_without_trades_has_no_price():
    outcome = double_dutch_mechanism(1.0)(np.array([2.0]), np.array([5.0]))
    assert outcome.trades == 0
    assert np.isnan(outcome.buyer_price)
    assert outcome.budget_surplus == 0.0
