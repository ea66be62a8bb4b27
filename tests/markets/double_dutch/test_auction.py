"""One double Dutch auction over given bids: fixtures worked out by hand, and what holds for all bids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.double_dutch.auction import AuctionResult, simulate
from ioa_marl.markets.double_dutch.references import sorted_matching

many = settings(max_examples=150, deadline=None)
few = settings(max_examples=60, deadline=None)

TICK = 0.25
# Whole numbers put several bidders on one tick, quarters put them on ticks, the rest between them.
money = st.one_of(st.integers(0, 12).map(float), st.integers(0, 240).map(lambda n: n / 4), st.floats(0, 60))
side = st.lists(money, min_size=1, max_size=8)
plans = st.lists(st.sampled_from([1, 2, 3, 5, 8, 20, 100]).map(lambda n: n * TICK), min_size=1, max_size=12)
share = st.floats(0, 1)
on_ticks = st.lists(st.integers(0, 200), min_size=1, max_size=8, unique=True).map(lambda n: np.array(n) * TICK)


def test_truth_clears_the_fixture_at_five_with_three_trades():
    result = simulate([10, 8, 6, 3], [1, 2, 5, 7], step=0.1)
    assert (result.trades, result.accepted) == (3, (3, 3))
    assert result.price == pytest.approx(5.0, abs=1e-9)
    assert result.buyers.tolist() == [0, 1, 2]
    assert result.sellers.tolist() == [0, 1, 2]
    assert result.welfare == result.optimal_welfare == 16.0
    assert (result.regret, result.clock_surplus) == pytest.approx((0.0, 16.0))


def test_two_bidders_trade_between_their_reports():
    result = simulate([41], [9], step=0.5, psi=0.25)
    assert (result.trades, result.ticks, result.moves, result.messages) == (1, 2, 0, 2)
    assert result.price == 0.25 * 41 + 0.75 * 9


def test_clocks_take_turns_after_acceptances_only():
    # Buyers at 10 and 6, sellers at 0 and 3, step 2 from 10 and 0. By hand: buyer accepts 10; seller accepts 0;
    # buyers 10 no, 8 no, 6 yes; sellers 0 no, 2 no, 4 yes, and everybody has traded.
    result = simulate([10, 6], [0, 3], step=2, tick=1)
    assert (result.ticks, result.moves, result.messages) == (8, 4, 2 + 2 + 3 * 1 + 3 * 1)
    assert result.buyer_clocks.tolist() == [10.0, 6.0]
    assert result.seller_clocks.tolist() == [0.0, 4.0]
    assert (result.price, result.regret, result.clock_surplus) == (5.0, 1.0, 12.0)


def test_a_step_that_jumps_over_everybody_takes_all_in_one_tick_and_the_lower_index_trades():
    result = simulate([4, 9, 5], [1], step=5, tick=1, buyer_clock=9, seller_clock=1)
    assert (result.accepted, result.buyers.tolist()) == ((1, 1), [1])
    result = simulate([4, 6, 5], [1, 1], step=5, tick=1, buyer_clock=9, seller_clock=1)
    assert result.accepted == (3, 2)
    assert result.buyers.tolist() == [0, 1]
    assert result.welfare == 4 + 6 - 2 < result.optimal_welfare


def test_last_acceptors_of_the_longer_side_are_dropped():
    result = simulate([9, 8, 7], [1, 6], step=1)
    # The third buyer accepts at 7 only after the second seller, who closes the auction at 6.
    assert (result.accepted, result.trades) == ((2, 2), 2)
    result = simulate([9, 9, 9], [1, 6], step=1)
    assert (result.accepted, result.buyers.tolist()) == ((3, 2), [0, 1])


def test_an_exhausted_side_leaves_the_turn_to_the_other():
    # All three buyers accept at 9; the sellers' clock alone then runs on to 5, where the third seller accepts.
    result = simulate([9, 9, 9], [1, 2, 5, 8], step=1)
    assert (result.accepted, result.trades, result.price) == ((3, 3), 3, 7.0)
    # The only seller is in: nobody could trade with a second buyer.
    result = simulate([9, 8], [1], step=1)
    assert (result.accepted, result.ticks) == ((1, 1), 2)


def test_crossing_clocks_leave_the_price_where_they_stood_before():
    result = simulate([10, 2], [1, 8], step=4, tick=1)
    # Buyer accepts 10, seller 1; buyers 10 no, 6 no, 2 yes; sellers 1 no, and 1 + 4 would cross 2.
    assert (result.accepted, result.trades, result.price) == ((2, 1), 1, 0.5 * 2 + 0.5 * 1)


def test_without_gains_from_trade_the_buyer_who_accepts_finds_nobody():
    result = simulate([2], [5], step=1)
    assert (result.accepted, result.trades, result.welfare, result.efficiency) == ((1, 0), 0, 0.0, 1.0)


@many
@given(side, side, plans, share)
def test_winners_are_equal_and_the_price_lies_between_the_clocks(bids, asks, plan, psi):
    result = simulate(bids, asks, plan, tick=TICK, psi=psi)
    assert len(result.buyers) == len(result.sellers) == min(result.accepted)
    assert len(set(result.buyers)) == len(set(result.sellers)) == result.trades
    assert np.all(result.seller_clocks <= result.price + 1e-9)
    assert np.all(result.price <= result.buyer_clocks + 1e-9)
    assert np.all(np.diff(result.buyer_clocks) <= 0)
    assert np.all(np.diff(result.seller_clocks) >= 0)


@many
@given(side, side, plans, share)
def test_nobody_who_tells_the_truth_trades_at_a_loss(bids, asks, plan, psi):
    result = simulate(bids, asks, plan, tick=TICK, psi=psi)
    assert np.all(np.array(bids)[result.buyers] >= result.price - 1e-8)
    assert np.all(np.array(asks)[result.sellers] <= result.price + 1e-8)


@many
@given(side, side, plans)
def test_accepted_clocks_and_regrets_add_up_to_welfare(bids, asks, plan):
    result = simulate(bids, asks, plan, tick=TICK)
    values, costs = np.array(bids)[result.buyers], np.array(asks)[result.sellers]
    buyer_regret, seller_regret = np.abs(values - result.buyer_clocks), np.abs(costs - result.seller_clocks)
    added = (result.buyer_clocks + buyer_regret).sum() - (result.seller_clocks - seller_regret).sum()
    assert result.welfare == pytest.approx(added, abs=1e-8)
    assert result.welfare == pytest.approx(values.sum() - costs.sum(), abs=1e-8)
    assert result.clock_surplus == pytest.approx(result.buyer_clocks.sum() - result.seller_clocks.sum())
    assert result.regret >= buyer_regret.sum() + seller_regret.sum() - 1e-8


@many
@given(side, side, plans)
def test_welfare_never_exceeds_sorted_matching(bids, asks, plan):
    result = simulate(bids, asks, plan, tick=TICK)
    assert result.optimal_welfare == pytest.approx(sorted_matching(bids, asks).welfare, abs=1e-9)
    assert result.welfare + 1e-8 >= 0.0
    assert result.welfare <= result.optimal_welfare + 1e-8
    # The ratio of the two inherits the tolerance of welfares, which counts for more the smaller the optimum is.
    slack = 1e-8 / min(1.0, result.optimal_welfare) if result.optimal_welfare > 0.0 else 1e-8
    assert -slack <= result.efficiency <= 1.0 + slack


@many
@given(side, side, plans)
def test_auction_halts_within_a_bound_on_its_ticks(bids, asks, plan):
    result = simulate(bids, asks, plan, tick=TICK)
    top, bottom = max(*bids, *asks), min(*bids, *asks)
    assert result.moves <= (top - bottom) / min(plan) + 4
    assert result.ticks <= result.moves + len(bids) + len(asks)
    assert result.ticks <= result.messages <= result.ticks * max(len(bids), len(asks))


@many
@given(side, side)
def test_a_market_with_gains_from_trade_does_not_stop_at_the_start(bids, asks):
    assume(max(bids) > min(asks))
    result = simulate(bids, asks, step=TICK)
    assert result.ticks >= 2
    assert result.accepted[0] >= 1
    if max(bids) - min(asks) >= 2 * TICK:
        assert result.trades >= 1
    assert simulate(bids, asks, step=100.0, tick=TICK).ticks >= 1


@few
@given(on_ticks, on_ticks)
def test_a_step_that_tells_all_bidders_apart_makes_every_efficient_trade(bids, asks):
    result = simulate(bids, asks, TICK)
    assert result.welfare == pytest.approx(sorted_matching(bids, asks).welfare, abs=1e-9)


def test_efficiency_goes_to_one_as_the_step_goes_to_zero():
    rng = np.random.default_rng(8)
    markets = [(rng.uniform(10, 50, 10), rng.uniform(5, 35, 10)) for _ in range(200)]
    lost = []
    for step in (5.0, 0.5, 0.05, 0.005):
        results = [simulate(bids, asks, step) for bids, asks in markets]
        optimum = [sorted_matching(bids, asks).welfare for bids, asks in markets]
        lost.append(1.0 - np.mean([r.welfare / best for r, best in zip(results, optimum, strict=True)]))
    assert np.all(np.diff(lost) < 0)
    assert lost[1] < 0.01
    assert lost[-1] < 1e-4


@pytest.mark.parametrize("step", [0.5, 0.1, 0.01])
def test_equal_bids_lose_an_efficient_trade_at_any_step(step):
    # Both buyers accept 2 at once, the seller accepts 0, and the turn is the buyers' again although two of them
    # wait for one seller: their clock falls to the last buyer and meets the sellers' before the second one is asked.
    result = simulate([2, 2, 0], [0, 1], step)
    assert (result.accepted, result.welfare, result.optimal_welfare) == ((3, 1), 2.0, 3.0)


@few
@given(st.data())
def test_order_of_the_bidders_does_not_matter(data):
    # Ties within a tick go by index, so every bidder of a side is on a tick of its own.
    bids, asks = data.draw(on_ticks), data.draw(on_ticks)
    rows, columns = (np.array(data.draw(st.permutations(range(len(x))))) for x in (bids, asks))
    plain, shuffled = simulate(bids, asks, TICK), simulate(bids[rows], asks[columns], TICK)
    assert rows[shuffled.buyers].tolist() == plain.buyers.tolist()
    assert columns[shuffled.sellers].tolist() == plain.sellers.tolist()
    assert np.array_equal(plain.price, shuffled.price, equal_nan=True)
    assert (plain.ticks, plain.messages) == (shuffled.ticks, shuffled.messages)


@few
@given(side, side, plans, st.sampled_from([0.5, 4.0, 1024.0]))
def test_unit_of_account_does_not_matter(bids, asks, plan, factor):
    # Powers of two, so that the scaled numbers are exact; tiny bids are left out, they would lose bits.
    assume(all(x == 0 or x > 1e-200 for x in bids + asks))
    one = simulate(bids, asks, plan, tick=TICK)
    scaled = simulate(
        np.multiply(bids, factor), np.multiply(asks, factor), np.multiply(plan, factor), tick=TICK * factor
    )
    assert np.array_equal(scaled.price, one.price * factor, equal_nan=True)
    assert scaled.buyers.tolist() == one.buyers.tolist()
    assert (scaled.ticks, scaled.messages) == (one.ticks, one.messages)


@few
@given(side, side, plans)
def test_a_plan_is_followed_move_by_move(bids, asks, plan):
    padded = simulate(bids, asks, [*plan, *[plan[-1]] * 5], tick=TICK)
    assert _same(simulate(bids, asks, plan, tick=TICK), padded)


def test_a_bid_a_rounding_error_below_a_clock_counts_as_on_it():
    assert simulate([0.1 + 0.2], [0.3], step=0.1).trades == 1
    assert simulate([0.3], [0.1 + 0.2], step=0.1).trades == 1


@pytest.mark.parametrize(
    ("key", "arguments"),
    [
        ("bids", {"bids": []}),
        ("bids", {"bids": [-1.0]}),
        ("asks", {"asks": [float("inf")]}),
        ("asks", {"asks": [[1.0]]}),
        ("step", {"step": 0.0}),
        ("step", {"step": []}),
        ("step", {"step": float("nan")}),
        ("step", {"step": 0.3, "tick": 0.25}),
        ("step", {"step": 1e-8, "tick": 1.0}),
        ("step", {"step": 3e9, "tick": 1.0}),
        ("tick", {"tick": 0.0}),
        ("tick", {"step": 1e-9}),
        ("psi", {"psi": 1.5}),
        ("seller_clock", {"buyer_clock": 1.0, "seller_clock": 2.0}),
        ("buyer_clock", {"buyer_clock": float("inf")}),
        ("seller_clock", {"seller_clock": -3e9, "tick": 1.0}),
    ],
)
def test_numbers_that_cannot_be_used_are_named(key, arguments):
    with pytest.raises(ParameterError, match="is not allowed: use ") as error:
        simulate(**{"bids": [10.0], "asks": [1.0], "step": 1.0, **arguments})
    assert error.value.name == key
    assert str(error.value.value) in str(error.value)


def test_a_bid_far_above_the_clock_is_accepted_at_once():
    result = simulate([1e12], [1.0], step=1.0, buyer_clock=80.0)
    assert (result.trades, result.buyer_clocks.tolist()) == (1, [80.0])


def _same(one: AuctionResult, other: AuctionResult) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name == "price")
        for name in one.__dataclass_fields__
    )


@pytest.mark.parametrize(("bids", "asks", "step"), [([10, 8], [1, 2], 100), ([5], [6], 1), ([0.25], [0.5], 0.25)])
def test_auction_without_a_trade_has_no_price_as_in_mcafee(bids, asks, step):
    result = simulate(bids, asks, step)
    assert result.trades == 0
    assert np.isnan(result.price)


@many
@given(side, side, plans, share)
def test_price_is_a_number_exactly_where_somebody_trades(bids, asks, plan, psi):
    result = simulate(bids, asks, plan, tick=TICK, psi=psi)
    assert np.isnan(result.price) == (result.trades == 0)


def clearing_interval(bids, asks, trades):
    """Return the prices at which the most eager ``trades`` bidders of each side want to trade and nobody else does."""
    bids = [*np.sort(bids)[::-1], -np.inf]
    asks = [*np.sort(asks), np.inf]
    return max(asks[trades - 1], bids[trades]), min(bids[trades - 1], asks[trades])


@pytest.mark.parametrize(
    ("bids", "asks", "price", "accepted", "ticks"),
    [
        # One seller: it accepts 2, and the buyers' clock runs on. 8 is the next loser, who refused 8.5 before.
        ([10, 8], [2], 8.5, (2, 1), 2 + 5),
        # The next loser would pay less than the seller asks: the clock stops where it would cross the ask.
        ([10, 1], [2], 2.0, (1, 1), 1 + 3 + 17),
        # One buyer: the sellers' clock runs on from 2 to the next loser at 5, who refused 4.5.
        ([10], [2, 5], 4.5, (1, 2), 2 + 7),
        # Everybody trades: there is no loser, and both clocks make the price.
        ([10, 8], [2, 4], 6.0, (2, 2), None),
        # Two buyers accept at once, and the one with the higher index is the loser.
        ([10, 10], [2], 10.0, (2, 1), 2),
        # Nobody trades.
        ([2], [5, 6], np.nan, (1, 0), None),
    ],
)
def test_remaining_clock_runs_on_to_the_next_loser(bids, asks, price, accepted, ticks):
    result = simulate(bids, asks, step=0.5, ending="next_loser")
    assert result.price == pytest.approx(price, nan_ok=True)
    assert result.accepted == accepted
    assert ticks in (None, result.ticks)


@many
@given(on_ticks, on_ticks, share)
def test_with_the_next_loser_the_price_lies_in_the_clearing_interval(bids, asks, psi):
    result = simulate(bids, asks, TICK, psi=psi, ending="next_loser")
    if result.trades:
        low, high = clearing_interval(bids, asks, result.trades)
        assert low - 1e-9 <= result.price <= high + 1e-9


@many
@given(side, plans, share, st.booleans())
def test_with_one_trader_on_a_side_no_step_is_too_coarse_for_a_price_in_the_clearing_interval(
    values, plan, psi, buying
):
    # A coarse step may jump over the loser, but the price is the clock before that.
    bids, asks = (values, [0.0]) if buying else ([60.0], values)
    result = simulate(bids, asks, plan, tick=TICK, psi=psi, ending="next_loser", buyer_clock=60.0, seller_clock=0.0)
    if result.trades:
        clock = result.buyer_clocks[0] if buying else result.seller_clocks[0]
        accepting = [value >= clock - 1e-8 if buying else value <= clock + 1e-8 for value in values]
        if sum(accepting) == 1:  # Of two who accept at once, the one with the lower index trades.
            low, high = clearing_interval(bids, asks, 1)
            assert low - 1e-8 <= result.price <= high + 1e-8


@many
@given(side, side, plans, share)
def test_the_other_ending_changes_no_trade_but_prices_and_messages(bids, asks, plan, psi):
    one, other = (simulate(bids, asks, plan, tick=TICK, psi=psi, ending=e) for e in ("exhausted", "next_loser"))
    assert one.buyers.tolist() == other.buyers.tolist()
    assert one.sellers.tolist() == other.sellers.tolist()
    assert one.messages <= other.messages
    assert one.regret <= other.regret + 1e-9
    values = np.array(bids)[other.buyers], np.array(asks)[other.sellers]
    assert np.all(values[0] >= other.price - 1e-8)
    assert np.all(values[1] <= other.price + 1e-8)
    if len(bids) == len(asks):
        assert one.price == pytest.approx(other.price, nan_ok=True) or one.accepted[0] != one.accepted[1]
    else:
        assert other.accepted >= one.accepted


def test_in_thin_markets_most_prices_lie_outside_the_clearing_interval_unless_the_clock_runs_on():
    rng = np.random.default_rng(16)
    outside = {"exhausted": 0, "next_loser": 0}
    for _ in range(300):
        bids, asks = np.round(rng.uniform(15, 60, 5), 3), np.round(rng.uniform(15, 40, 1), 3)
        for ending in outside:
            result = simulate(bids, asks, 0.05, ending=ending, buyer_clock=80, seller_clock=0)
            if result.trades:
                low, high = clearing_interval(bids, asks, 1)
                outside[ending] += not low - 0.05 <= result.price <= high + 0.05
    assert outside["next_loser"] == 0
    assert outside["exhausted"] > 150


def test_unknown_ending_is_named():
    with pytest.raises(ParameterError, match="ending=crossed is not allowed: use exhausted or next_loser"):
        simulate([5], [1], 1, ending="crossed")
