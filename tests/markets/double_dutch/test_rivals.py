"""McAfee, trade reduction, the k-double auction, SBBA and VCG keep the promises of their papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.stats import chisquare

from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.double_dutch.references import sorted_matching
from ioa_marl.markets.double_dutch.rivals import (
    k_double_auction,
    mcafee,
    sbba,
    settle,
    trade_reduction,
    vcg_double_auction,
)
from ioa_marl.markets.double_dutch.sealed_bids import SBBA

BIDS, ASKS = [10, 8, 6, 3], [1, 2, 5, 7]


def sbba_by_fixed_lot(bids, asks):
    return sbba(bids, asks, np.random.default_rng(5))


MECHANISMS = [mcafee, trade_reduction, k_double_auction, sbba_by_fixed_lot]
every_mechanism = pytest.mark.parametrize("mechanism", MECHANISMS)
# Small whole numbers make ties common, the others make them rare.
reports = st.one_of(
    st.lists(st.integers(0, 6).map(float), max_size=6), st.lists(st.floats(0, 1e6, width=32), max_size=6)
)
quick = settings(max_examples=100, deadline=None)


def assignment(bids, asks):
    """Return the largest welfare by a linear assignment, which knows nothing of sorting."""
    gains = np.maximum(np.subtract.outer(np.asarray(bids, float), np.asarray(asks, float)), 0.0)
    return gains[linear_sum_assignment(gains, maximize=True)].sum()


def scale(bids, asks):
    return 1e-12 * (1.0 + sum(bids) + sum(asks))


@quick
@given(reports, reports)
def test_sorted_matching_is_the_optimum_of_the_assignment_problem(bids, asks):
    best = assignment(bids, asks)
    assert sorted_matching(bids, asks).welfare == pytest.approx(best, abs=scale(bids, asks))


@every_mechanism
@quick
@given(bids=reports, asks=reports)
def test_nobody_who_tells_the_truth_loses(mechanism, bids, asks):
    for utilities in mechanism(bids, asks).utilities(bids, asks):
        assert np.all(utilities >= -scale(bids, asks))


@every_mechanism
@quick
@given(bids=reports, asks=reports)
def test_money_and_lots_are_conserved(mechanism, bids, asks):
    outcome = mechanism(bids, asks)
    assert len(outcome.buyers) == len(set(outcome.buyers)) == len(outcome.sellers) == len(set(outcome.sellers))
    buyers, sellers = outcome.utilities(bids, asks)
    everything = buyers.sum() + sellers.sum() + outcome.budget_surplus
    assert everything == pytest.approx(outcome.welfare(bids, asks), abs=scale(bids, asks))
    assert outcome.budget_surplus >= 0.0
    if mechanism in (k_double_auction, sbba_by_fixed_lot):
        assert outcome.budget_surplus == 0.0


@every_mechanism
@quick
@given(bids=reports, asks=reports)
def test_at_most_one_efficient_trade_is_lost(mechanism, bids, asks):
    efficient = sorted_matching(bids, asks)
    trades = mechanism(bids, asks).trades
    assert len(efficient.buyers) - 1 <= trades <= len(efficient.buyers)
    if mechanism is k_double_auction:
        welfare = mechanism(bids, asks).welfare(bids, asks)
        assert welfare == pytest.approx(efficient.welfare, abs=scale(bids, asks))


@pytest.mark.parametrize("seed", range(10))
def test_sbba_keeps_the_share_of_welfare_that_its_paper_promises(seed):
    rng = np.random.default_rng(seed)
    bids, asks = rng.uniform(0, 10, 6), rng.uniform(0, 10, 5)
    draws = [sbba(bids, asks, rng) for _ in range(200)]
    # Every lot is equally likely, so the mean over the different outcomes is the expectation.
    outcomes = {tuple(draw.sellers): draw.welfare(bids, asks) for draw in draws}
    efficient = sorted_matching(bids, asks)
    k = len(efficient.buyers)
    assert len(outcomes) in (1, k)
    assert np.mean(list(outcomes.values())) >= (1 - 1 / k) * efficient.welfare - 1e-9


@quick
@given(reports, reports)
def test_k_double_auction_price_clears_the_market(bids, asks):
    for weight in (0.0, 0.3, 1.0):
        outcome = k_double_auction(bids, asks, weight)
        if outcome.trades:
            tolerance = scale(bids, asks)
            assert set(np.flatnonzero(np.array(bids) > outcome.buyer_price + tolerance)) <= set(outcome.buyers)
            assert set(np.flatnonzero(np.array(asks) < outcome.buyer_price - tolerance)) <= set(outcome.sellers)


def test_k_double_auction_between_two_splits_the_surplus_by_its_weight():
    for weight, price in ((0.0, 2.0), (0.25, 4.0), (0.5, 6.0), (1.0, 10.0)):
        outcome = k_double_auction([10], [2], weight)
        assert (outcome.trades, outcome.buyer_price, outcome.seller_price) == (1, price, price)


@quick
@given(reports, reports)
def test_under_vcg_everybody_has_what_its_presence_adds_to_welfare(bids, asks):
    outcome = vcg_double_auction(bids, asks)
    best = assignment(bids, asks)
    added = [
        [best - assignment(bids[:i] + bids[i + 1 :], asks) for i in range(len(bids))],
        [best - assignment(bids, asks[:i] + asks[i + 1 :]) for i in range(len(asks))],
    ]
    for utilities, expected in zip(outcome.utilities(bids, asks), added, strict=True):
        assert utilities == pytest.approx(np.array(expected), abs=scale(bids, asks))
    assert outcome.welfare(bids, asks) == pytest.approx(best, abs=scale(bids, asks))
    assert outcome.budget_surplus <= scale(bids, asks)


def test_vcg_between_two_pays_the_whole_gain_twice():
    outcome = vcg_double_auction([10], [2])
    assert (outcome.buyer_price, outcome.seller_price, outcome.budget_surplus) == (2.0, 10.0, -8.0)


def test_nobody_gains_by_misreporting_to_vcg():
    rng = np.random.default_rng(2)
    for _ in range(20):
        bids, asks = rng.random(5), rng.random(4)
        truth = vcg_double_auction(bids, asks).utilities(bids, asks)
        for side, i in ((0, 0), (0, 3), (1, 1), (1, 2)):
            for report in rng.random(10):
                told = [bids.copy(), asks.copy()]
                told[side][i] = report
                assert vcg_double_auction(*told).utilities(bids, asks)[side][i] <= truth[side][i] + 1e-12


def test_a_batch_of_markets_is_settled_as_each_alone_whatever_is_beyond_its_size():
    rng = np.random.default_rng(3)
    reports, size = rng.random((40, 2, 6)), rng.integers(0, 7, (40, 2))
    lots = np.array([rng.permutation(6) for _ in range(40)])
    out = settle(SBBA, reports, size, lot=lots)
    for market, (n, m) in enumerate(size):
        alone = settle(
            SBBA,
            reports[market : market + 1, :, : max(n, m, 1)],
            size[market : market + 1],
            lot=lots[market : market + 1],
        )
        trades = out.trades[market]
        assert trades == alone.trades[0]
        assert out.order[market, :, :trades].tolist() == alone.order[0, :, :trades].tolist()
        np.testing.assert_array_equal(out.price[market], alone.price[0])


def test_mcafee_trades_everything_at_the_mean_of_the_first_bid_and_ask_left_out():
    outcome = mcafee(BIDS, ASKS)
    assert (outcome.trades, outcome.buyer_price, outcome.seller_price) == (3, 5.0, 5.0)


def test_mcafee_reduces_trade_where_that_mean_is_out_of_reach():
    outcome = mcafee([10, 8, 6, 0.5], [1, 2, 5, 7])  # the mean is 3.75, which the seller at 5 refuses
    assert (outcome.trades, outcome.buyer_price, outcome.seller_price) == (2, 6.0, 5.0)
    assert outcome.budget_surplus == 2.0


def test_mcafee_reduces_trade_where_one_side_is_used_up():
    outcome = mcafee([10, 8], [1, 2, 5])
    assert (outcome.trades, outcome.buyer_price, outcome.seller_price) == (1, 8.0, 2.0)


def test_sbba_loses_no_trade_where_an_ask_sets_the_price():
    outcome = sbba([10, 9, 4], [1, 2, 6], np.random.default_rng(0))
    assert (outcome.trades, outcome.buyer_price, outcome.seller_price) == (2, 6.0, 6.0)


def test_sbba_leaves_out_each_efficient_seller_equally_often():
    rng = np.random.default_rng(11)
    counts = np.zeros(4)
    for _ in range(3000):
        counts[sbba(BIDS, ASKS, rng).sellers] += 1
    assert counts[3] == 0
    assert chisquare(3000 - counts[:3]).pvalue > 1e-3


def test_sbba_repeats_itself_with_the_same_generator():
    draws = [[sbba(BIDS, ASKS, rng).sellers.tolist() for _ in range(20)] for rng in map(np.random.default_rng, (3, 3))]
    assert draws[0] == draws[1]


def test_equal_reports_go_to_the_lower_index():
    outcome = k_double_auction([7, 9, 7, 7], [3, 5, 5, 3, 5])
    assert (outcome.buyers.tolist(), outcome.sellers.tolist()) == ([1, 0, 2, 3], [0, 3, 1, 2])
    reduced = trade_reduction([7, 7, 7], [2, 2, 2])
    assert (reduced.buyers.tolist(), reduced.sellers.tolist()) == ([0, 1], [0, 1])


@every_mechanism
@pytest.mark.parametrize(
    ("bids", "asks"),
    [([], []), ([], [1.0]), ([1.0], []), ([1.0], [2.0]), ([2.0], [2.0]), ([1, 2], [3, 4, 5])],
)
def test_without_gains_nobody_trades_and_nothing_is_paid(mechanism, bids, asks):
    outcome = mechanism(bids, asks)
    assert (outcome.trades, outcome.budget_surplus, outcome.welfare(bids, asks)) == (0, 0.0, 0.0)
    assert math.isnan(outcome.buyer_price)
    assert math.isnan(outcome.seller_price)
    assert [u.tolist() for u in outcome.utilities(bids, asks)] == [[0.0] * len(bids), [0.0] * len(asks)]


@pytest.mark.parametrize("mechanism", [mcafee, trade_reduction, sbba_by_fixed_lot])
def test_truthful_mechanisms_give_up_an_only_pair(mechanism):
    assert mechanism([10], [2]).trades == 0


@every_mechanism
def test_reports_that_are_no_numbers_are_refused(mechanism):
    with pytest.raises(ParameterError, match=r"bids=.*nan.* is not allowed: use a sequence of finite numbers"):
        mechanism([1.0, float("nan")], [1.0])
    with pytest.raises(ParameterError, match="asks="):
        mechanism([1.0], [[1.0]])


def test_weight_of_the_k_double_auction_is_a_share():
    with pytest.raises(ParameterError, match=r"weight=1\.5 is not allowed: use 0 to 1"):
        k_double_auction(BIDS, ASKS, 1.5)
