"""The audit of collusion under slicing mechanisms."""

from __future__ import annotations

import numpy as np
import pytest

from ioa_marl.evaluation.audits.vcg_slicing.collusion import collusion_gain, quantised_vcg
from ioa_marl.evaluation.audits.vcg_slicing.mechanisms import SlicingOutcome, exact_vcg
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.vcg_slicing.baselines import utilities
from ioa_marl.markets.vcg_slicing.quantised.auction import quantised_payments
from tests.markets.vcg_slicing.slicing_cases import plain_market


def one_resource(worth):
    """Return providers that need a single resource, all at the same rate."""
    return np.array(worth), np.tile([4.0, 0.0, 0.0], (len(worth), 1))


def test_two_who_share_with_nobody_else_pay_nothing_at_low_reports():
    worth, rates = one_resource([100.0, 100.0])
    found = collusion_gain(worth, rates, factors=(0.5, 1.0))
    # Alone either could have 100 (1 − e^−4), and has half of the resource: it pays 100 (e^−2 − e^−4). Both halving
    # their reports halves payments and leaves the allocation as it is.
    paid = 100 * (np.exp(-2) - np.exp(-4))
    assert found.factors == (0.5, 0.5)
    assert found.revenue_true == pytest.approx(2 * paid)
    assert found.revenue == pytest.approx(paid)
    assert found.gain == pytest.approx(paid)
    assert found.welfare == pytest.approx(found.welfare_true)


@pytest.mark.parametrize(("name", "mechanism"), [("exact", exact_vcg), ("quantised", quantised_vcg(4))])
def test_a_pair_gains_under_vcg_and_what_it_gains_is_what_its_report_gives(name, mechanism):
    worth, rates = plain_market(4, 1)
    found = collusion_gain(worth, rates, mechanism, pair=(2, 0), factors=(0.6, 1.0, 1.4))
    assert found.gain > 1e-3, name
    assert found.relative == pytest.approx(found.gain / found.profits_true[[0, 2]].sum())
    told = worth.copy()
    told[[2, 0]] *= found.factors
    outcome = mechanism(told, rates)
    received = utilities(worth, rates, outcome.shares)
    np.testing.assert_allclose(found.profits, received - outcome.payments)
    assert found.welfare == pytest.approx(received.sum())
    assert found.revenue == pytest.approx(outcome.payments.sum())
    assert found.welfare <= found.welfare_true * (1 + 1e-9)


def test_where_only_one_of_the_pair_may_lie_it_loses_less_than_the_other_saves():
    worth, rates = plain_market(4, 1)

    def deaf_to_the_second(told, told_rates):
        heard = told.copy()
        heard[1] = worth[1]
        return exact_vcg(heard, told_rates)

    found = collusion_gain(worth, rates, deaf_to_the_second)
    assert found.gain > 1e-3
    change = found.profits - found.profits_true
    assert change[0] < 0.0 < -change[0] < change[1]


def test_nothing_gained_leaves_the_truth():
    def fixed(worth, rates):
        return SlicingOutcome(np.full(rates.shape, 0.25), np.zeros(len(worth)))

    found = collusion_gain(*plain_market(4, 0), fixed)
    assert found.factors == (1.0, 1.0)
    assert found.gain == found.relative == 0.0
    np.testing.assert_array_equal(found.profits, found.profits_true)


def test_the_mechanism_is_the_quantised_auction():
    worth, rates = plain_market(4, 2)
    outcome = quantised_payments(worth, rates, 5)
    found = quantised_vcg(5)(worth, rates)
    np.testing.assert_array_equal(found.shares, outcome.optimum.shares)
    np.testing.assert_array_equal(found.payments, outcome.payments)


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ({"pair": (0, 0)}, "pair"),
        ({"pair": (0, 4)}, "pair"),
        ({"factors": ()}, "factors"),
        ({"factors": (0.0,)}, "fac"),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(setting, name):
    with pytest.raises(ParameterError, match=name):
        collusion_gain(*plain_market(4, 0), **setting)
