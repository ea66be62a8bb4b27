"""Equilibria that know capacities: against enumeration of all prices, and against play of whole episodes."""

import itertools

import numpy as np
import pytest

from ioa_marl.markets.two_tier import drivers
from ioa_marl.markets.two_tier.deviations import DeviationEvaluator
from ioa_marl.markets.two_tier.equilibrium import TOLERANCE, solve_equilibrium
from ioa_marl.markets.two_tier.params import TwoTierParams, draw_markets

TINY = TwoTierParams(wireless=1, mobile=1, fixed=1, aerial=1, capacity=(0.5, 4.0), steps=(0.25, 1.25),
                     scripted_seller_step=1.25)  # fmt: skip
SMALL = TwoTierParams(wireless=6, mobile=3, fixed=3, aerial=4, capacity=(0.5, 12.0), steps=(0.25, 1.25, 3.0),
                      scripted_seller_step=1.25)  # fmt: skip


def last_rounds(params, seed, levels, prices, rounds=6, changes=()):
    """Play constant prices with the best pairs; ``changes`` are (copy, side, leader, index) in the last round only."""
    copies, evaluator = max([1, *(copy + 1 for copy, *_ in changes)]), DeviationEvaluator(params, levels)
    market = draw_markets(params, [seed] * copies, [0] * copies)
    everywhere, ended = np.ones(copies, np.bool_), np.zeros(copies, np.bool_)
    posted = np.repeat(prices[None], copies, axis=0)
    for r in range(rounds):
        if r == rounds - 1:
            for copy, side, leader, index in changes:
                posted[copy, side, leader] = index
        sides = [np.ascontiguousarray(posted[:, s, :n]) for s, n in enumerate((params.mobile, params.fixed))]
        if r == rounds - 1 and changes:
            # Everybody keeps the steps that are best at the prices before the change.
            pair = last_rounds(params, seed, levels, prices, rounds).tier.pair[0]
        else:
            drivers.post_prices(market, params.settings(), everywhere, levels, *sides)
            evaluator.take(market, 0)
            pair = evaluator.best_pair()
        drivers.post_prices(market, params.settings(), everywhere, levels, *sides)
        pairs = np.ascontiguousarray(np.broadcast_to(pair, (copies, 1, 2)), np.int64)
        drivers.hold_auctions(market, params.settings(), everywhere, pairs, ended)
    return market


def settled_nash_conv(params, seed, levels, prices):
    """NashConv of constant prices by replays of the whole episode, mean of two rounds after each other."""
    total = 0.0
    for rounds in (5, 6):
        before = last_rounds(params, seed, levels, prices, rounds).pricing.profit[0]
        for side, count in enumerate((params.mobile, params.fixed)):
            for leader in range(count):
                changes = [(index, side, leader, index) for index in range(levels)]
                tried = last_rounds(params, seed, levels, prices, rounds, changes).pricing.profit[:, side, leader]
                total += max(tried.max() - before[side, leader], 0.0) / 2.0
    return total


@pytest.mark.parametrize("seed", range(4))
def test_nash_conv_is_what_replays_of_the_episode_say(seed):
    solution = solve_equilibrium(SMALL, draw_markets(SMALL, [seed], [0]), 26)
    assert settled_nash_conv(SMALL, seed, 26, solution.prices) == pytest.approx(solution.total, abs=1e-8)
    assert solution.converged == (solution.total <= TOLERANCE)
    assert (solution.label == "pure equilibrium of the grid") == solution.converged


def nash_conv_of_all_pairs(params, seed, levels):
    """NashConv of every pair of constant prices of one mobile and one fixed agent, mean of two rounds after another."""
    pairs, evaluator = list(itertools.product(range(levels), repeat=2)), DeviationEvaluator(params, levels)
    count = len(pairs)
    market = draw_markets(params, [seed] * count, [0] * count)
    everywhere, ended, total = np.ones(count, np.bool_), np.zeros(count, np.bool_), np.zeros(count)
    prices, steps = np.array(pairs)[:, :, None], np.zeros((count, 1, 2), np.int64)
    for r in range(6):
        sides = [np.ascontiguousarray(prices[:, side]) for side in range(2)]
        drivers.post_prices(market, params.settings(), everywhere, levels, *sides)
        for b in range(count):
            evaluator.take(market, b)
            steps[b, 0] = evaluator.best_pair()
        drivers.hold_auctions(market, params.settings(), everywhere, steps, ended)
        for b in range(count) if r >= 4 else ():
            evaluator.take(market, b)
            total[b] += evaluator.leader_regrets().sum() / 2.0
    return total


def test_in_the_smallest_markets_the_search_finds_the_lowest_nash_conv_of_all_pairs_of_prices():
    levels, found, every = 11, [], []
    for seed in range(8):
        found.append(solve_equilibrium(TINY, draw_markets(TINY, [seed], [0]), levels).total)
        every.append(nash_conv_of_all_pairs(TINY, seed, levels))
    lowest = np.min(every, axis=1)
    assert (found >= lowest - 1e-8).all()
    assert np.sum(found - lowest) < 0.02 * np.sum(np.median(every, axis=1))


def test_a_solution_depends_on_the_draw_only_and_leaves_the_market_as_it_was():
    market = draw_markets(SMALL, [3, 4])
    before = [array.copy() for part in market for array in part]
    second = solve_equilibrium(SMALL, market, 26, 1)
    for array, kept in zip((array for part in market for array in part), before, strict=True):
        np.testing.assert_array_equal(array, kept)
    everywhere, prices = np.ones(2, np.bool_), np.full((2, 3), 9)
    drivers.post_prices(market, SMALL.settings(), everywhere, 26, prices, prices)
    drivers.hold_auctions(market, SMALL.settings(), everywhere, np.zeros((2, 1, 2), np.int64), np.zeros(2, np.bool_))
    again = solve_equilibrium(SMALL, market, 26, 1)
    np.testing.assert_array_equal(second.prices, again.prices)
    assert second.nash_conv.tolist() == again.nash_conv.tolist()
