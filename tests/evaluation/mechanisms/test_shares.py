"""Mechanisms that divide resources on the same types: known truths and full runs of every misreport."""

from __future__ import annotations

import numpy as np
import pytest

from ioa_marl.evaluation.audits.vcg_slicing.collusion import quantised_vcg
from ioa_marl.evaluation.audits.vcg_slicing.mechanisms import exact_vcg
from ioa_marl.evaluation.mechanisms import SlicingTypes, compare_shares
from ioa_marl.evaluation.mechanisms.shares import _VCG, _DualCurrency, _KellyEquilibrium
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.vcg_slicing import clarke_payments, utilities, welfare_optimum

QUICK = ["vcg", "kelly", "kelly_equilibrium", "dual_currency"]


def market(seed, providers=4):
    rng = np.random.default_rng(seed)
    return rng.uniform(100, 200, providers), rng.uniform(0, 10, (providers, 3))


@pytest.fixture(scope="module")
def paper():
    return compare_shares(markets=5, mechanisms=QUICK)


def test_nobody_gains_under_vcg_and_the_dual_currency_near_the_truth(paper):
    assert paper.mean("vcg", "regret") == (0.0, 0.0)
    assert paper.mean("dual_currency", "regret") == (0.0, 0.0)
    assert paper.mean("kelly", "regret")[0] > 10.0
    assert paper.mean("kelly_equilibrium", "regret")[0] > 0.1


def test_price_takers_divide_as_vcg_does_and_pay_more(paper):
    for figure in ("welfare", "efficiency"):
        np.testing.assert_allclose(paper["kelly_equilibrium"].figures[figure], paper["vcg"].figures[figure], rtol=1e-7)
    assert np.all(paper["kelly_equilibrium"].figures["revenue"] > paper["vcg"].figures["revenue"])


def test_taxes_of_the_truth_are_the_clarke_payments(paper):
    np.testing.assert_allclose(paper["dual_currency"].figures["revenue"], paper["vcg"].figures["revenue"], rtol=1e-6)
    assert not paper["dual_currency"].figures["ir_violations"].any()


def test_whoever_pays_its_worth_loses(paper):
    """β is the utility of unlimited resources, and a share of them is worth less."""
    assert paper["kelly"].figures["ir_violations"].tolist() == [10.0] * 5
    assert np.all(paper["kelly"].figures["welfare"] < paper["vcg"].figures["welfare"])


@pytest.mark.parametrize(("quanta", "mechanism"), [(None, exact_vcg), (4, quantised_vcg(4))])
def test_profits_after_misreports_are_those_of_the_whole_auction(quanta, mechanism):
    worth, rates = market(1)
    fast = _VCG(worth, rates, quanta)
    for provider in range(4):
        for factor in (0.5, 0.8, 1.3):
            told = worth.copy()
            told[provider] *= factor
            outcome = mechanism(told, rates)
            expected = utilities(worth, rates, outcome.shares)[provider] - outcome.payments[provider]
            assert fast.profit(provider, factor) == pytest.approx(expected, abs=1e-6)


def test_a_loan_off_by_a_share_of_the_bid_bears_that_interest():
    worth, rates = market(2)
    best = clarke_payments(worth, rates).optimum.utilities
    found = _DualCurrency(worth, rates, np.zeros((4, 3)))
    for factor in (0.5, 0.9, 1.2):
        # Without draws there is no noise, and only the interest on the loan changes.
        bids = best.copy()
        bids[1] *= factor
        interest = abs(best.sum() * bids[1] / bids.sum() - best[1])
        assert found.profit(1, factor) == pytest.approx(found.profit(1, 1.0) - interest)


def test_prices_of_price_takers_clear_the_market():
    worth, rates = market(3)
    found, optimum = _KellyEquilibrium(worth, rates), welfare_optimum(worth, rates)
    assert found.payments.sum() == pytest.approx(optimum.prices.sum())
    # At these prices nobody wants another share: the utility of a price taker is highest at its own.
    rng = np.random.default_rng(0)
    for shares in rng.dirichlet(np.ones(4), (200, 3)).transpose(0, 2, 1):
        gain = utilities(worth, rates, shares) - shares @ optimum.prices
        assert np.all(gain <= utilities(worth, rates, found.shares) - found.payments + 1e-6)


def test_quantised_vcg_loses_little_welfare_and_sends_many_numbers():
    types = SlicingTypes((market(4, 3), market(5, 3)))
    found = compare_shares(types, mechanisms=["vcg", "qvcg"], quanta=4, grid=3)
    assert np.all(found["qvcg"].figures["welfare"] <= found["vcg"].figures["welfare"] + 1e-9)
    assert found.mean("qvcg", "efficiency")[0] > 0.8
    assert found.mean("qvcg", "regret")[0] == 0.0
    assert (found.mean("vcg", "messages")[0], found.mean("qvcg", "messages")[0]) == (12.0, 3 * 4**3)


def test_all_mechanisms_have_the_types_of_the_draw(paper):
    types = SlicingTypes.drawn(markets=5)
    best = [welfare_optimum(*of_market).welfare for of_market in types.types]
    np.testing.assert_allclose(paper["vcg"].figures["welfare"], best)
    other = SlicingTypes.drawn(markets=5, seed=1)
    assert not np.allclose(types.types[0][0], other.types[0][0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quanta": 0}, "quanta=0 is not allowed: use 1 to 1000"),
        ({"mechanisms": ["vgc"]}, "unknown mechanism 'vgc'"),
        ({"preset": "internet"}, "providers=100000 is not allowed: use 1 to 1000"),
    ],
)
def test_what_is_not_allowed_is_refused_in_one_line(arguments, message):
    with pytest.raises((ParameterError, UserError), match=message):
        compare_shares(**arguments)
