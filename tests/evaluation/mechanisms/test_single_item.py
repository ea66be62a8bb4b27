"""Auctions of one item on the same values: known truths and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from ioa_marl.envs.second_bid.game import SecondBidConfig, SecondBidGame
from ioa_marl.evaluation.audits.second_bid import fixed, station_regret
from ioa_marl.evaluation.mechanisms import ItemValues, compare_single_item
from ioa_marl.evaluation.mechanisms.single_item import candidates
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.second_bid.references import calibration


@pytest.fixture(scope="module")
def paper():
    return compare_single_item(markets=40)


@pytest.mark.parametrize("name", ["second_price", "msb", "ratio_rule"])
def test_no_station_gains_where_rho_does_not_depend_on_its_bid(paper, name):
    assert paper[name].figures["regret"].tolist() == [0.0] * 40


def test_regret_of_first_price_is_the_lead_over_the_second_bid(paper):
    values = ItemValues.drawn(markets=40)
    leads = [np.diff(np.sort(stations)[-2:])[0] for stations in values.stations]
    np.testing.assert_allclose(paper["first_price"].figures["regret"], leads, atol=1e-3)  # of values about 50
    highest = [stations.max() for stations in values.stations]
    assert (
        paper["first_price"].figures["revenue"].tolist() == highest == paper["second_price"].figures["welfare"].tolist()
    )


def test_a_station_below_the_threshold_gains_by_bidding_above_it():
    values = ItemValues.of([[8.0, 5.0], [8.0, 5.0]], uav=10.0)
    found = compare_single_item(values, mechanisms=["threshold", "second_price"], threshold=9.0)
    # At the truth the UAV serves the task; with a bid above 9 the better station wins at 5.
    assert found["threshold"].figures["welfare"].tolist() == [10.0, 10.0]
    assert found["threshold"].figures["regret"].tolist() == [3.0, 3.0]
    assert found["second_price"].figures["welfare"].tolist() == [8.0, 8.0]


def test_regrets_are_those_of_the_audit():
    values = ItemValues.drawn(markets=5, seed=2)
    found = compare_single_item(values, mechanisms=["msb", "threshold"], rho=1.4)
    rhos = SecondBidConfig().rhos()
    limit = calibration(SecondBidConfig()).threshold
    for market, stations in enumerate(values.stations):
        tried = candidates(stations, 31)
        rules = {"msb": fixed(1.4), "threshold": lambda bids: 1.0 if bids.max() > limit else rhos[-1]}
        for name, rule in rules.items():
            assert found[name].figures["regret"][market] == pytest.approx(station_regret(stations, rule, tried).max)


@pytest.mark.parametrize("name", ["second_price", "ratio_rule", "threshold"])
def test_a_rule_sells_as_the_policy_of_the_environment(name):
    game = SecondBidGame(SecondBidConfig(), 30)
    game.reset(np.full(30, 2**61, np.uint64))
    values = ItemValues.drawn(markets=30)
    np.testing.assert_array_equal(np.array(values.stations), game.market.value[:, 1:])
    step = game.step({"auctioneer": game.scripted(name, "auctioneer")()})
    found = compare_single_item(values, mechanisms=[name], grid=2)[name].figures["welfare"]
    np.testing.assert_allclose(step.rewards["auctioneer"][:, 0], found, rtol=1e-6)


def test_rules_for_own_values_are_the_best_for_these_values():
    values = ItemValues.of([[9.0, 3.0], [4.0, 3.9], [6.0, 5.8]], uav=[5.0, 5.0, 5.0])
    found = compare_single_item(values, mechanisms=["threshold", "msb", "second_price"])
    # The first best, 9 + 5 + 6, is reached by a threshold from 4 to 6.
    assert found["threshold"].figures["welfare"].sum() == 20.0
    for rho in 10 ** (np.arange(10) / 10):
        other = compare_single_item(values, mechanisms=["msb"], rho=float(rho))
        assert other["msb"].figures["welfare"].sum() <= found["msb"].figures["welfare"].sum()


def test_payments_are_at_most_the_value_of_the_winner(paper):
    for row in paper.mechanisms:
        assert not row.figures["ir_violations"].any()
        assert np.all(row.figures["efficiency"] <= 1.0)
    assert paper["msb"].figures["messages"].tolist() == [5.0] * 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rho": 0.5}, r"rho=0\.5 is not allowed: use a number of at least 1"),
        ({"threshold": -1.0}, "threshold=-1.0 is not allowed"),
        ({"mechanisms": ["first_prize"]}, "unknown mechanism 'first_prize': did you mean first_price"),
        ({"preset": "visible"}, "preset=visible is not allowed: use paper"),
    ],
)
def test_what_is_not_allowed_is_refused_in_one_line(arguments, message):
    with pytest.raises((ParameterError, UserError), match=message):
        compare_single_item(**arguments)


def test_values_of_a_single_station_are_refused():
    with pytest.raises(ParameterError, match="stations="):
        ItemValues.of([[1.0]])
