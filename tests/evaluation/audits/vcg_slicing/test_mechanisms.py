"""The audit of slicing mechanisms."""

from __future__ import annotations

import numpy as np
import pytest

from ioa_marl.evaluation.audits.vcg_slicing.mechanisms import (
    SlicingOutcome,
    exact_vcg,
    individual_rationality,
    misreport_regret,
)
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.vcg_slicing.baselines import equal_split, kelly_split, utilities
from ioa_marl.markets.vcg_slicing.optimum import clarke_payments, welfare_optimum


def market(seed, providers=10):
    rng = np.random.default_rng(seed)
    return rng.uniform(100, 200, providers), rng.uniform(0, 10, (providers, 3))


def free_optimum(worth, rates):
    """Return the optimum of the reports without payments."""
    return SlicingOutcome(welfare_optimum(worth, rates).shares, np.zeros(len(worth)))


def pay_as_bid(worth, rates):
    """Return the optimum of the reports; each provider pays its reported utility."""
    best = welfare_optimum(worth, rates)
    return SlicingOutcome(best.shares, best.utilities)


@pytest.mark.parametrize("seed", range(3))
def test_exact_vcg_has_no_regret(seed):
    found = misreport_regret(*market(seed, 6), tries=40)
    assert found.relative < 1e-9


def test_mechanisms_that_reward_lies_are_found_out():
    worth, rates = market(0, 5)
    free = misreport_regret(worth, rates, free_optimum)
    assert free.gains.min() > 1.0
    bid = misreport_regret(worth, rates, pay_as_bid)
    assert bid.gains.min() > 1.0


def test_reported_gains_are_those_of_the_reports_given_beside_them():
    worth, rates = market(1, 4)
    found = misreport_regret(worth, rates, free_optimum)
    truth = utilities(worth, rates, free_optimum(worth, rates).shares)
    for i in range(4):
        told = worth.copy(), rates.copy()
        told[0][i], told[1][i] = found.worths[i], found.rates[i]
        gain = utilities(worth, rates, free_optimum(*told).shares)[i] - truth[i]
        assert gain == pytest.approx(found.gains[i])
    assert found.welfare == pytest.approx(welfare_optimum(worth, rates).welfare)


def test_nobody_loses_at_the_optimum_and_nearly_everybody_at_the_equal_split():
    violations = []
    for seed in range(20):
        worth, rates = market(seed)
        best = individual_rationality(worth, rates, exact_vcg(worth, rates).shares)
        assert best.violations == 0
        assert best.worst_loss <= best.slack
        assert best.welfare_ratio == pytest.approx(1.0)
        equal = individual_rationality(worth, rates, equal_split(worth, rates))
        assert equal.welfare_ratio < 0.95
        assert equal.worst_loss > 5.0
        violations.append(equal.violations)
    # All ten in most markets, but not in every one.
    assert np.median(violations) == 10
    assert np.mean(violations) > 9


def test_a_provider_loses_exactly_where_the_others_would_do_better_without_it():
    worth, rates = market(7)
    shares = kelly_split(worth, rates)
    found = individual_rationality(worth, rates, shares)
    without = clarke_payments(worth, rates).welfare_without
    losers = utilities(worth, rates, shares).sum() < without - found.slack
    assert 0 < losers.sum() < 10
    assert found.violations == losers.sum()


@pytest.mark.parametrize("shares", [np.full((3, 3), 0.4), np.full((2, 3), 0.1), -np.eye(3)])
def test_allocations_that_cannot_be_are_refused(shares):
    with pytest.raises(ParameterError, match=r"^shares="):
        individual_rationality(*market(0, 3), shares)
