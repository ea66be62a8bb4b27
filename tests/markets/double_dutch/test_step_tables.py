"""Tables of steps: the search finds what brute force finds, and the policy plays what the search has evaluated."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.foundations.seeds import CALIBRATION_SEED, EVALUATION_SEED, MAX_TRAINING_SEED
from ioa_marl.markets.double_dutch.params import DoubleDutchParams
from ioa_marl.markets.double_dutch.step_tables import (
    STEP_TABLE_SEED,
    StepTable,
    TableShape,
    returns_of_table,
    search_step_table,
    step_table,
)

SMALL = DoubleDutchParams(
    buyers=3, sellers=3, level=(10.0, 14.0), width=(2.0, 4.0), buyer_clock=20.0, steps=(1.0, 2.0, 4.0),
    scripted_step=1.0, tick=1.0, max_ticks=60,
)  # fmt: skip
COARSE = TableShape(winners=(0.0,), gaps=())
"""Four cells: whether a buyer has accepted, and whether a seller has."""


def play(game, policy, episodes):
    """Mean return of the first episode of each market, in steps of the environment."""
    game.reset(np.full(episodes, EVALUATION_SEED, np.uint64))
    act = game.scripted(policy, "auctioneer")
    returns, playing = np.zeros(episodes), np.ones(episodes, bool)
    while playing.any():
        step = game.step({"auctioneer": act()})
        ended = playing & step.terminated
        returns[ended] = step.metrics["return"][ended]
        playing &= ~step.terminated
    return returns


def test_no_change_of_a_single_cell_improves_a_table_that_has_converged():
    found = search_step_table(SMALL, COARSE, markets=200)
    assert found.converged
    for cell, action in itertools.product(range(4), range(3)):
        other = found.actions.copy()
        other[cell] = action
        changed = StepTable(COARSE, other, 0.0, 0, False)
        assert returns_of_table(SMALL, changed, 200, STEP_TABLE_SEED).mean() <= found.value + 1e-9


def test_search_is_within_a_percent_of_the_best_of_all_tables():
    """All 81 tables of four cells are tried on the markets of the search."""
    tables = itertools.product(range(3), repeat=4)
    values = [
        returns_of_table(SMALL, StepTable(COARSE, np.array(t), 0.0, 0, False), 200, STEP_TABLE_SEED).mean()
        for t in tables
    ]
    found = search_step_table(SMALL, COARSE, markets=200)
    assert max(values) - 0.01 * (max(values) - min(values)) <= found.value <= max(values) + 1e-9


def test_value_of_a_search_is_the_mean_return_on_its_markets():
    found = search_step_table(SMALL, markets=50)
    assert found.value == pytest.approx(returns_of_table(SMALL, found, 50, STEP_TABLE_SEED).mean(), abs=1e-12)
    assert len(found.actions) == 60


def test_policy_plays_in_the_environment_what_the_search_evaluates():
    game = DoubleDutchGame(DoubleDutchGame.make_config("paper"), 64, autoreset=False)
    expected = returns_of_table(game.config, step_table(game.config), 64, EVALUATION_SEED)
    assert play(game, "step_table", 64) == pytest.approx(expected, abs=1e-9)


def test_table_of_steps_is_better_than_two_phase_and_the_best_constant_and_traditional_is_worst():
    game = DoubleDutchGame(DoubleDutchGame.make_config("paper"), 300, autoreset=False)
    names = ("step_table", "two_phase", "fixed_step", "traditional")
    means = [play(game, name, 300).mean() for name in names]
    assert means == sorted(means, reverse=True)
    assert means[0] > means[1] + 0.5


def test_traditional_takes_the_finest_step():
    game = DoubleDutchGame(DoubleDutchGame.make_config("paper", steps=(0.5, 2.0)), 2)
    game.reset(np.zeros(2, np.uint64))
    assert game.scripted("traditional", "auctioneer")().tolist() == [[0], [0]]


def test_bins_are_shares_of_the_market():
    edges = TableShape().edges(DoubleDutchParams())
    assert edges.winners.tolist() == [1, 2, 3, 5]
    assert edges.gaps.tolist() == [16, 32, 56, 90, 160]
    assert TableShape().bins == (2, 5, 6, 1, 1)


def test_markets_of_the_search_are_used_for_nothing_else():
    assert MAX_TRAINING_SEED < CALIBRATION_SEED < STEP_TABLE_SEED < EVALUATION_SEED


def test_table_of_another_shape_is_refused():
    with pytest.raises(ParameterError, match=r"use a table of 60 cells"):
        search_step_table(SMALL, start=np.zeros(59, np.int64))
