"""Bids of one's own under every rule: against the plain auction, brute force, and the comparison of mechanisms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ioa_marl.evaluation.mechanisms import ItemValues, compare_single_item
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.second_bid import SecondBidParams, allocate, auction_traces
from ioa_marl.markets.second_bid.state import UAV
from ioa_marl.markets.second_bid.traces import RULES

RNG = np.random.default_rng(4)
BIDS, OF_UAV = RNG.lognormal(2.0, 0.6, (80, 4)).round(3), RNG.lognormal(2.4, 0.6, 80).round(3)


@pytest.mark.parametrize("rivals", ["stations", "providers"])
@pytest.mark.parametrize("weight", [1.0, 0.7])
def test_every_task_is_settled_as_the_plain_auction_says(rivals, weight):
    params = SecondBidParams(rivals=rivals, uav_weight=weight)
    for found in auction_traces(BIDS, OF_UAV, contract_price=3.0, params=params).values():
        for task, rho in enumerate(found.rho):
            uav_bid = OF_UAV[task] if rivals == "providers" else 0.0
            one = allocate(BIDS[task], rho, 3.0, uav_bid)
            assert (found.winner[task], found.payment[task]) == (one.winner, pytest.approx(one.payment, rel=1e-12))
            surplus = weight * OF_UAV[task] if one.winner == UAV else BIDS[task, one.winner]
            assert found.surplus[task] == surplus
        assert found.total_surplus == pytest.approx(found.surplus.sum())
        assert found.uav_share == np.mean(found.winner == UAV)


def test_no_constant_no_threshold_and_no_factor_of_a_task_is_better():
    found, rhos = auction_traces(BIDS, OF_UAV), SecondBidParams().rhos()
    ordered = np.sort(BIDS, axis=1)

    def surplus(rho):
        return np.where(ordered[:, -1] > rho * ordered[:, -2], ordered[:, -1], OF_UAV)

    every = np.array([surplus(rho) for rho in rhos])
    np.testing.assert_allclose(found["msb"].total_surplus, every.sum(axis=1).max(), rtol=1e-12)
    np.testing.assert_array_equal(found["oracle"].surplus, every.max(axis=0))
    np.testing.assert_array_equal(found["oracle"].rho, rhos[every.argmax(axis=0)])
    limits = [0.0, *ordered[:, -1]]
    best = max(surplus(np.where(ordered[:, -1] > limit, 1.0, rhos[-1])).sum() for limit in limits)
    assert found["threshold"].total_surplus == pytest.approx(best, rel=1e-12)
    assert found["second_price"].total_surplus == ordered[:, -1].sum()


def test_rules_are_those_of_the_comparison_of_mechanisms():
    names = ["second_price", "msb", "ratio_rule", "threshold"]
    compared = compare_single_item(ItemValues.of(list(BIDS), OF_UAV), mechanisms=names, grid=2)
    for name, found in auction_traces(BIDS, OF_UAV, rules=names).items():
        np.testing.assert_allclose(compared[name].figures["welfare"], found.surplus)
        np.testing.assert_allclose(compared[name].figures["revenue"], found.payment)


def test_the_ratio_rule_is_the_ratio_of_means_on_the_grid():
    params = SecondBidParams(levels=40)
    found = auction_traces(BIDS, OF_UAV, rules=["ratio_rule"], params=params)["ratio_rule"]
    ratio = OF_UAV.mean() / np.sort(BIDS, axis=1)[:, -2].mean()
    assert np.all(found.rho == params.rhos()[np.abs(np.log(params.rhos() / ratio)).argmin()])
    assert np.ptp(found.rho) == 0.0


def test_a_given_factor_and_threshold_are_used():
    for rho, limit in itertools.product((1.0, 1.7), (0.0, 9.0)):
        found = auction_traces(BIDS, OF_UAV, rho=rho, threshold=limit)
        assert np.all(found["msb"].rho == rho)
        assert np.array_equal(found["threshold"].rho == 1.0, BIDS.max(axis=1) > limit)
    assert list(found) == list(RULES)


def test_a_task_without_bids_goes_to_the_uav():
    found = auction_traces([[0.0, 0.0], [4.0, 0.0]], [5.0, 1.0])
    for outcome in found.values():
        assert outcome.winner.tolist() == [UAV, 0]
        assert outcome.payment.tolist() == [3.0, 0.0]


@pytest.mark.parametrize(
    ("key", "given", "settings"),
    [
        ("bids", ([[1.0, -2.0]], [1.0]), {}), ("bids", ([[1.0, np.nan]], [1.0]), {}), ("bids", ([1.0, 2.0], [1.0]), {}),
        ("bids", ([[1.0], [2.0]], [1.0, 2.0]), {}), ("bids", ([[1.0, 2.0], [1.0]], [1.0, 2.0]), {}),
        ("bids", (np.zeros((0, 2)), []), {}), ("uav", ([[1.0, 2.0]], [1.0, 2.0]), {}), ("uav", ([[1.0, 2.0]], 1.0), {}),
        ("uav", ([[1.0, 2.0]], [np.inf]), {}), ("bids", ([["high", "low"]], [1.0]), {}),
        ("rho", ([[1.0, 2.0]], [1.0]), {"rho": 0.5}), ("threshold", ([[1.0, 2.0]], [1.0]), {"threshold": -1.0}),
        ("contract_price", ([[1.0, 2.0]], [1.0]), {"contract_price": np.nan}),
        ("rules", ([[1.0, 2.0]], [1.0]), {"rules": ["vcg"]}),
    ],
)  # fmt: skip
def test_traces_that_are_none_get_one_line(key, given, settings):
    with pytest.raises(ParameterError) as error:
        auction_traces(*given, **settings)
    assert error.value.name == key
    assert "\n" not in str(error.value)


def test_a_wrong_bid_is_named_with_its_task():
    with pytest.raises(ParameterError, match=r"bids=-2.0 of task 1 is not allowed"):
        auction_traces([[1.0, 2.0], [3.0, -2.0]], [1.0, 1.0])
