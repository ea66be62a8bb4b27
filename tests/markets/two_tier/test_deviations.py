"""Regrets of leaders and auctioneer against replays of whole episodes; constants that are chosen by search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioa_marl.markets.two_tier import drivers
from ioa_marl.markets.two_tier.deviations import DeviationEvaluator
from ioa_marl.markets.two_tier.params import TwoTierParams, draw_markets, preset
from ioa_marl.markets.two_tier.references import best_fixed_pair, best_posted_pair

SMALL = TwoTierParams(wireless=6, mobile=3, fixed=3, aerial=4, capacity=(0.5, 12.0), rounds=4, steps=(0.25, 1.25, 3.0),
                      scripted_seller_step=1.25)  # fmt: skip
LEVELS = 26


class History:
    """Actions of an episode that can be played again, with changes, in many copies of the same market at once."""

    def __init__(self, params, seed, rounds=3):
        rng = np.random.default_rng(seed)
        self.params, self.seed, self.rounds = params, seed, rounds
        self.mobile = rng.integers(2, 10, (rounds, params.mobile))
        self.fixed = rng.integers(4, 14, (rounds, params.fixed))
        self.pairs = rng.integers(len(params.steps), size=(rounds, 2))

    def play(self, copies, mobile=(), fixed=(), pairs=(), until=None):
        """Play ``copies`` markets; changes are (copy, round, which agent or clock, action)."""
        params, rounds = self.params, self.rounds if until is None else until
        market = draw_markets(params, [self.seed] * copies, [0] * copies)
        played = [np.repeat(x[None], copies, axis=0) for x in (self.mobile, self.fixed, self.pairs)]
        for actions, changes in zip(played, (mobile, fixed, pairs), strict=True):
            for copy, r, mask, action in changes:
                actions[copy, r, mask] = action
        everywhere, ended = np.ones(copies, np.bool_), np.zeros(copies, np.bool_)
        for r in range(rounds):
            prices = [np.ascontiguousarray(x[:, r]) for x in played[:2]]
            drivers.post_prices(market, params.settings(), everywhere, LEVELS, *prices)
            drivers.hold_auctions(
                market, params.settings(), everywhere, np.ascontiguousarray(played[2][:, r, None]), ended
            )
        return market


@pytest.mark.parametrize("seed", range(6))
def test_a_leaders_regret_is_what_another_price_gains_when_the_last_round_is_played_again(seed):
    history, evaluator = History(SMALL, seed), DeviationEvaluator(SMALL, LEVELS)
    evaluator.take(history.play(1), 0)
    found, last = evaluator.leader_regrets(), history.rounds - 1
    for side, (role, count) in enumerate((("mobile", SMALL.mobile), ("fixed", SMALL.fixed))):
        regret = 0.0
        for leader in range(count):
            tried = history.play(LEVELS, **{role: [(index, last, leader, index) for index in range(LEVELS)]})
            profits = tried.pricing.profit[:, side, leader]
            regret += profits.max() - profits[getattr(history, role)[last, leader]]
        assert found[side] == pytest.approx(regret, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_auctioneers_regret_is_what_other_steps_gain_when_each_round_is_played_again(seed):
    history, evaluator = History(SMALL, seed), DeviationEvaluator(SMALL, LEVELS)
    played = history.play(1)
    evaluator.take(played, 0)
    steps, regret = len(SMALL.steps), 0.0
    for r in range(history.rounds):
        changes = [
            (copy, r, clock, (copy // steps, copy % steps)[clock]) for copy in range(steps**2) for clock in (0, 1)
        ]
        returns = history.play(steps**2, pairs=changes, until=r + 1).auction.totals["return_"]
        regret += returns.max() - played.tier.returns[0, r]
        total, lost = evaluator.pair_returns(r, r + 1)
        np.testing.assert_allclose(total.ravel(), returns, atol=1e-9)
        assert lost == returns.max() - played.tier.returns[0, r]
    assert evaluator.auction_regret() == pytest.approx(regret / history.rounds, abs=1e-9)


def test_regrets_are_those_of_settled_rounds():
    history, evaluator = History(SMALL, 1), DeviationEvaluator(SMALL, LEVELS)
    market = draw_markets(SMALL, [1], [0])
    evaluator.take(market, 0)
    assert evaluator.leader_regrets().tolist() == [0.0, 0.0]
    assert evaluator.auction_regret() == 0.0
    market = history.play(1)
    evaluator.take(market, 0)
    before = [*evaluator.leader_regrets(), evaluator.auction_regret()]
    prices = [np.full((1, 3), 20), np.full((1, 3), 1)]
    drivers.post_prices(market, SMALL.settings(), np.ones(1, np.bool_), LEVELS, *prices)
    evaluator.take(market, 0)
    assert [*evaluator.leader_regrets(), evaluator.auction_regret()] == pytest.approx(before, abs=1e-12)


def test_trying_deviations_leaves_the_market_as_it_was():
    history, evaluator = History(SMALL, 2), DeviationEvaluator(SMALL, LEVELS)
    market = history.play(1)
    before = [array.copy() for part in market for array in part]
    evaluator.take(market, 0)
    evaluator.leader_regrets()
    evaluator.auction_regret()
    evaluator.best_pair()
    for array, kept in zip((array for part in market for array in part), before, strict=True):
        np.testing.assert_array_equal(array, kept)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_nobody_has_negative_regret(seed):
    evaluator = DeviationEvaluator(SMALL, LEVELS)
    evaluator.take(History(SMALL, seed).play(1), 0)
    assert evaluator.auction_regret() >= -1e-9
    assert (evaluator.leader_regrets() >= 0.0).all()


def test_a_best_price_leaves_its_leader_nothing_to_gain():
    history, evaluator, last = History(SMALL, 4), DeviationEvaluator(SMALL, LEVELS), 2
    evaluator.take(history.play(1), 0)
    evaluator.leader_regrets()  # puts the last round's prices and expectations back
    best, gains = evaluator.best_prices()
    assert gains.min() > 0.0
    for side, role in enumerate(("mobile", "fixed")):
        for leader in range(3):
            tried = history.play(LEVELS + 1, **{role: [
                *((index, last, leader, index) for index in range(LEVELS)),
                (LEVELS, last, leader, best[side, leader]),
            ]})  # fmt: skip
            profits = tried.pricing.profit[:, side, leader]
            assert profits[LEVELS] == profits[:LEVELS].max()


def auctions_at_scripted_prices(params, markets, pair):
    from ioa_marl.markets.two_tier.grid import cost_plus_indices

    market = draw_markets(params, np.full(markets, 9))
    cost, everywhere, ended = market.pricing.cost, np.ones(markets, np.bool_), np.zeros(markets, np.bool_)
    sides = ((0, params.mobile, 1.1), (1, params.fixed, 0.5))
    prices = [cost_plus_indices(params, 51, cost[:, side, :count], margin) for side, count, margin in sides]
    pairs = np.ascontiguousarray(np.broadcast_to(pair, (markets, 1, 2)), np.int64)
    for _ in range(params.rounds):
        drivers.post_prices(market, params.settings(), everywhere, 51, *prices)
        drivers.hold_auctions(market, params.settings(), everywhere, pairs, ended)
    return market.tier.returns.mean()


@pytest.mark.parametrize("name", ["paper", "city"])
def test_the_best_pair_of_steps_beats_others_on_fresh_markets_and_is_neither_finest_nor_coarsest(name):
    params = preset(name)
    pair = best_fixed_pair(params, 51, 1.1, 0.5, 9)
    assert all(index > 0 for index in pair)
    assert pair != (9, 9)
    best = auctions_at_scripted_prices(params, 40, pair)
    for other in ((0, 0), (2, 2), (9, 9), (0, 9), (9, 0), (pair[0], 0), (0, pair[1])):
        assert auctions_at_scripted_prices(params, 40, other) < best


def test_the_best_pair_of_prices_leaves_less_regret_than_others():
    params = TwoTierParams()
    found = best_posted_pair(params, 51, 3)

    def regret(mobile, fixed):
        market = draw_markets(params, np.full(20, 5), instances=np.full(20, 3))
        everywhere, ended = np.ones(20, np.bool_), np.zeros(20, np.bool_)
        pairs = np.ascontiguousarray(np.broadcast_to(params.scripted_pair(), (20, 1, 2)), np.int64)
        evaluator, total = DeviationEvaluator(params, 51), 0.0
        for _ in range(params.rounds):
            prices = [np.full((20, 10), index) for index in (mobile, fixed)]
            drivers.post_prices(market, params.settings(), everywhere, 51, *prices)
            drivers.hold_auctions(market, params.settings(), everywhere, pairs, ended)
            for b in range(20):
                evaluator.take(market, b)
                total += evaluator.leader_regrets().sum()
        return total

    best, (i, j) = regret(*found), found
    for other in ((i - 4, j), (i + 4, j), (i, j - 4), (i, j + 4), (i + 5, j + 5), (i - 5, j - 5)):
        assert regret(*other) > best
