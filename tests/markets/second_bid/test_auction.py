"""One modified second-bid auction: who wins, what is paid, and what nobody can gain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.second_bid.auction import UAV, allocate

# Where products round as everywhere: numbers next to the smallest there is have fewer digits.
bid = st.just(0.0) | st.floats(1e-200, 1e6)
bids_of = st.lists(bid, min_size=2, max_size=8)
rhos = st.floats(1.0, 10.0)


def utility(values, bids, rho, station):
    return allocate(bids, rho).utilities(values)[station]


@settings(deadline=None)
@given(bids_of, rhos)
def test_a_station_wins_iff_its_bid_exceeds_rho_times_every_other_bid(bids, rho):
    result = allocate(bids, rho)
    winners = [n for n, b in enumerate(bids) if all(b > rho * other for m, other in enumerate(bids) if m != n)]
    assert winners == ([] if result.winner == UAV else [result.winner])


@given(bids_of, rhos, st.data())
def test_the_payment_does_not_depend_on_the_winners_bid(bids, rho, data):
    before = allocate(bids, rho)
    if before.winner == UAV:
        return
    assert before.payment < bids[before.winner]
    raised = data.draw(st.floats(before.payment, 2e6, exclude_min=True))
    bids[before.winner] = raised
    after = allocate(bids, rho)
    assert (after.winner, after.payment) == (before.winner, before.payment)


@given(bids_of, rhos)
def test_what_a_station_must_exceed_does_not_depend_on_its_own_bid(bids, rho):
    critical = allocate(bids, rho).critical
    for n in range(len(bids)):
        changed = [*bids]
        changed[n] = 3.0
        assert allocate(changed, rho).critical[n] == critical[n]


@given(bids_of)
def test_at_rho_one_it_is_vickreys_auction(bids):
    result = allocate(bids, 1.0)
    first, second = sorted(bids)[-1], sorted(bids)[-2]
    if first > second:
        assert bids[result.winner] == first
        assert result.payment == second
    else:
        assert result.winner == UAV


@given(bids_of, rhos, rhos)
def test_the_uav_keeps_the_task_when_rho_rises(bids, rho, other):
    low, high = sorted([rho, other])
    if allocate(bids, low).winner == UAV:
        assert allocate(bids, high).winner == UAV


@given(bids_of, rhos, st.integers(-20, 20))
def test_bids_times_c_keep_the_winner_and_multiply_the_payment_by_c(bids, rho, exponent):
    # Powers of two: the products are exact, so that a bid on the edge stays there.
    c = 2.0**exponent
    before, after = allocate(bids, rho), allocate([c * b for b in bids], rho)
    assert after.winner == before.winner
    assert after.payment == (before.payment if before.winner == UAV else c * before.payment)
    np.testing.assert_array_equal(after.critical, c * before.critical)


@given(st.lists(bid, min_size=2, max_size=8, unique=True), rhos, st.data())
def test_the_winner_is_who_it_is_wherever_it_stands_in_the_list(bids, rho, data):
    order = data.draw(st.permutations(range(len(bids))))
    before, after = allocate(bids, rho), allocate([bids[n] for n in order], rho)
    assert (UAV if after.winner == UAV else order[after.winner]) == before.winner
    assert after.payment == before.payment
    np.testing.assert_array_equal(after.critical, before.critical[list(order)])


@given(bids_of, rhos, st.data())
def test_no_station_gains_by_misreporting_at_a_given_rho(values, rho, data):
    station = data.draw(st.integers(0, len(values) - 1))
    bids = [*values]
    bids[station] = data.draw(bid)
    assert utility(values, bids, rho, station) <= utility(values, values, rho, station)
    assert utility(values, values, rho, station) >= 0.0


@given(bids_of, rhos, st.lists(bid, min_size=1, max_size=3), st.data())
def test_false_names_never_help_a_station(values, rho, false, data):
    station = data.draw(st.integers(0, len(values) - 1))
    bids = [*values]
    bids[station] = data.draw(bid)
    result = allocate([*bids, *false], rho)
    # The task is worth its value whichever of its names wins.
    mine = result.winner == station or result.winner >= len(values)
    gained = values[station] - result.payment if mine else 0.0
    assert gained <= utility(values, values, rho, station)


def test_the_uav_pays_its_contract_price_and_a_station_rho_times_the_second_bid():
    assert allocate([8.0, 5.0], 2.0, contract_price=6.0).payment == 6.0
    assert allocate([8.0, 5.0], 1.5, contract_price=6.0).payment == 7.5
    assert allocate([8.0], 3.0).payment == 0.0


def test_a_bid_on_the_edge_loses():
    assert allocate([10.0, 5.0], 2.0).winner == UAV
    assert allocate([np.nextafter(10.0, 11.0), 5.0], 2.0).winner == 0


@pytest.mark.parametrize(
    ("key", "arguments"),
    [
        ("bids", ([], 1.0)),
        ("bids", ([1.0, float("nan")], 1.0)),
        ("bids", ([1.0, float("inf")], 1.0)),
        ("bids", ([1.0, -1.0], 1.0)),
        ("bids", ([[1.0, 2.0]], 1.0)),
        ("rho", ([1.0, 2.0], 0.99)),
        ("rho", ([1.0, 2.0], float("nan"))),
        ("contract_price", ([1.0, 2.0], 1.0, -1.0)),
        ("contract_price", ([1.0, 2.0], 1.0, float("inf"))),
    ],
)
def test_what_cannot_be_auctioned_is_named(key, arguments):
    with pytest.raises(ParameterError) as error:
        allocate(*arguments)
    assert error.value.name == key
