"""Utility losses in sealed-bid auctions with known equilibria, and agreement with the audits by counterfactual play."""

from __future__ import annotations

import numpy as np
import pytest

from ioa_marl.evaluation.audits.held_out import held_out_gain
from ioa_marl.evaluation.audits.sealed_bid import best_response, equilibrium, shaded, truthful_loss, utility_loss
from ioa_marl.evaluation.audits.second_bid import fixed, station_regret
from ioa_marl.foundations.parameters import ParameterError

SAMPLING = 0.004
"""Tolerance of means over 20 000 draws, from which a maximum is taken; the standard error is at most 0.0025."""


@pytest.mark.parametrize("bidders", [2, 3, 4, 5])
@pytest.mark.parametrize("price", ["first", "second"])
def test_the_known_equilibria_have_no_utility_loss(price, bidders):
    loss = utility_loss(equilibrium(price, bidders), price, bidders)
    assert loss.max < SAMPLING


@pytest.mark.parametrize("bidders", [2, 3, 4, 5])
def test_the_truth_at_the_first_price_loses_what_the_closed_form_says(bidders):
    loss = utility_loss(shaded(1.0), "first", bidders)
    assert loss.mean == pytest.approx(truthful_loss("first", bidders), abs=SAMPLING / 2)
    n = bidders
    expected = loss.values**n * (n - 1) ** (n - 1) / n**n
    np.testing.assert_allclose(loss.losses, expected, atol=SAMPLING)
    assert utility_loss(shaded(1.0), "second", bidders).max < SAMPLING


@pytest.mark.parametrize("bidders", [2, 3, 5])
def test_the_best_bids_at_the_first_price_are_n_minus_1_over_n_of_the_value(bidders):
    # Whatever multiple of their values the others bid; a bid above all of theirs is never better than just above them.
    for factor in (0.9, 1.0):
        loss = utility_loss(shaded(factor), "first", bidders, draws=200_000)
        exact = best_response("first", bidders, factor)(loss.values)
        worth_it = loss.values > 0.4  # at low values the loss is flat
        np.testing.assert_allclose(loss.best_bids[worth_it], exact[worth_it], atol=0.05)
        assert np.mean(loss.best_bids[worth_it] / loss.values[worth_it]) == pytest.approx(
            np.mean(exact[worth_it] / loss.values[worth_it]), abs=0.02
        )


@pytest.mark.parametrize("bidders", [2, 4])
def test_the_best_response_to_those_who_bid_n_minus_1_over_n_is_to_do_the_same(bidders):
    values = np.linspace(0.0, 1.0, 11)
    share = (bidders - 1) / bidders
    np.testing.assert_allclose(best_response("first", bidders, share)(values), share * values)
    assert (best_response("first", bidders, 0.3)(values) <= 0.3).all()  # nobody bids more than is needed to win


def learnt_factor(bidders, rounds=3000, seed=0):
    """Return the mean factor of bidders that learn by multiplicative weights on own payoffs in first-price auctions."""
    rng = np.random.default_rng(seed)
    factors = np.linspace(0.0, 1.0, 41)
    scores = np.zeros((bidders, len(factors)))
    played = np.zeros((rounds, bidders))
    for t in range(rounds):
        weights = np.exp(60.0 * np.sqrt(1 / (t + 1)) * (scores - scores.max(axis=1, keepdims=True)))
        chosen = [rng.choice(len(factors), p=row / row.sum()) for row in weights]
        values = rng.random((64, bidders))
        bids = values * factors[chosen]
        for i in range(bidders):
            highest = np.delete(bids, i, axis=1).max(axis=1)
            tried = values[:, i, None] * factors
            scores[i] += np.where(tried > highest[:, None], values[:, i, None] - tried, 0.0).mean(axis=0)
        played[t] = factors[chosen]
    return played[rounds // 2 :].mean()


@pytest.mark.parametrize("bidders", [2, 3])
def test_bidders_that_learn_shade_to_n_minus_1_over_n_and_then_lose_little(bidders):
    factor = learnt_factor(bidders)
    assert factor == pytest.approx((bidders - 1) / bidders, abs=0.04)
    assert utility_loss(shaded(factor), "first", bidders).mean < 0.1 * truthful_loss("first", bidders)


def test_the_audit_of_constant_factors_agrees_with_the_utility_loss():
    # At the first price the best bid is the same share of every value, so that one factor gains the whole loss.
    rng = np.random.default_rng(1)
    factors = np.linspace(0.4, 0.9, 21)
    for bidders in (2, 3, 5):
        values = rng.random((100_000, bidders))
        highest = values[:, 1:].max(axis=1)
        bids = factors[:, None] * values[:, 0]
        utilities = np.where(bids > highest, values[:, 0] - bids, 0.0)
        found = held_out_gain(utilities, np.zeros(len(values)))
        estimate = utility_loss(shaded(1.0), "first", bidders).mean
        assert found.mean == pytest.approx(estimate, abs=3.0 * found.standard_error + SAMPLING / 2)
        assert found.mean == pytest.approx(truthful_loss("first", bidders), abs=3.0 * found.standard_error)


def test_the_audit_of_single_auctions_agrees_with_the_utility_loss_at_the_second_price():
    rng = np.random.default_rng(2)
    for bidders in (2, 3, 5):
        assert all(station_regret(values, fixed(1.0)).max == 0.0 for values in rng.random((20, bidders)))
        assert utility_loss(shaded(1.0), "second", bidders).mean < SAMPLING


def test_what_cannot_be_estimated_is_named():
    with pytest.raises(ParameterError, match="price=third"):
        utility_loss(shaded(1.0), "third")
    with pytest.raises(ParameterError, match="bidders=1"):
        equilibrium("first", 1)
    with pytest.raises(ParameterError, match="draws=1"):
        utility_loss(shaded(1.0), draws=1)
    with pytest.raises(ParameterError, match="factor=0"):
        best_response("first", 2, 0.0)
