"""Eq. 14 as printed counts the UAV among the second bids: with it, second price is the first best."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ioa_marl.envs.second_bid.game import SecondBidGame
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.second_bid.auction import allocate
from ioa_marl.markets.second_bid.params import SecondBidParams, preset
from ioa_marl.markets.second_bid.references import calibration, draw_tasks, full_information, pareto_optimum
from ioa_marl.markets.second_bid.state import UAV

RHOS = SecondBidParams().rhos()
GRID = list(itertools.product(range(1, 6), repeat=4))
"""All values of a UAV and three stations from 1 to 5."""


def served(uav, stations, rho, *, printed):
    """Value of the provider that serves a task under truthful bids."""
    winner = allocate(stations, rho, uav_bid=uav if printed else 0.0).winner
    return uav if winner == UAV else stations[winner]


def test_with_the_uav_among_the_second_bids_second_price_is_the_first_best_and_no_rho_is_better():
    """All bids of a grid are tried, but for equal ones of the two best stations, of which neither exceeds the other."""
    grid = [bids for bids in GRID if sorted(bids[1:])[-1] > sorted(bids[1:])[-2]]
    first_best = [max(bids) for bids in grid]
    for rho in RHOS:
        printed = [served(uav, stations, rho, printed=True) for uav, *stations in grid]
        assert sum(printed) <= sum(first_best)
        if rho == 1.0:
            assert printed == first_best
    stations_only = [served(uav, stations, 1.0, printed=False) for uav, *stations in grid]
    assert sum(first_best) / sum(stations_only) > 1.04


def test_payment_is_the_lowest_bid_that_wins():
    """The critical payment is found by trying bids, not by the formula."""
    for uav, *stations in GRID[::7]:
        for n in range(3):
            critical = allocate(stations, 1.5, uav_bid=uav).critical[n]
            for bid in np.arange(0.25, 12.0, 0.25):
                trial = [*stations]
                trial[n] = bid
                assert (allocate(trial, 1.5, uav_bid=uav).winner == n) == (bid > critical)


@pytest.mark.parametrize("valuations", ["physical", "pareto"])
def test_references_know_the_rule(valuations):
    """ρ = 1 reaches full information, so that every simple rule is or becomes second price."""
    params = SecondBidParams(rivals="providers", valuations=valuations)
    tasks = draw_tasks(params, np.full(20, 5, np.uint64), np.arange(20))
    best = np.maximum(tasks.first, tasks.uav)
    assert np.array_equal(full_information(tasks, params), best)
    assert np.array_equal(tasks.surplus(1.0, 1.0, "providers"), best)
    assert (calibration(params).constant, calibration(params).threshold) == (0, 0.0)
    stations = SecondBidParams(valuations=valuations)
    assert tasks.surplus(1.0, 1.0, stations.rivals).mean() < 0.95 * best.mean()


@pytest.mark.parametrize("policy", ["oracle", "second_price", "threshold", "constant_rho"])
def test_policies_play_the_first_best_in_the_environment(policy):
    game = SecondBidGame(SecondBidGame.make_config("paper", rivals="providers", tasks=20), 16)
    game.reset(np.full(16, 2, np.uint64))
    act = game.scripted(policy, "auctioneer")
    for _ in range(20):
        best = np.maximum(game.market.value[:, 0], game.market.value[:, 1:].max(axis=1)).astype(np.float32)
        step = game.step({"auctioneer": act()})
        assert np.array_equal(step.rewards["auctioneer"][:, 0], best)
    assert step.metrics["efficiency"] == pytest.approx(np.ones(16))


def test_myopic_rule_still_gives_the_uav_every_task_that_the_grid_reaches():
    game = SecondBidGame(SecondBidGame.make_config("paper", rivals="providers", tasks=20), 16)
    game.reset(np.full(16, 2, np.uint64))
    act = game.scripted("myopic_msb", "auctioneer")
    for task in range(19):
        value = np.sort(game.market.value[:, 1:], axis=1)
        reached = value[:, -1] <= RHOS[-1] * np.maximum(value[:, -2], game.market.value[:, 0])
        game.step({"auctioneer": act()})
        assert np.array_equal(game.market.winners[:, task] == UAV, reached)
    assert np.mean(game.market.winners[:, :19] == UAV) > 0.97


def test_kernels_allocate_as_the_plain_function_does():
    config = SecondBidGame.make_config("paper", rivals="providers", tasks=30)
    game, rng = SecondBidGame(config, 8), np.random.default_rng(0)
    game.reset(np.full(8, 4, np.uint64))
    for task in range(29):
        values, actions = game.market.value.copy(), rng.integers(0, 10, (8, 1))
        game.step({"auctioneer": actions})
        for b in range(8):
            expected = allocate(values[b, 1:], RHOS[actions[b, 0]], uav_bid=values[b, 0])
            assert game.market.winners[b, task] == expected.winner
            if expected.winner != UAV:
                assert game.market.settled["payment"][b, task] == pytest.approx(expected.payment)


def test_an_unknown_set_of_rivals_is_refused_and_the_closed_form_needs_the_stations():
    with pytest.raises(ParameterError, match="rivals=all is not allowed: use stations or providers"):
        SecondBidParams(rivals="all")
    with pytest.raises(ParameterError, match="rivals=providers"):
        pareto_optimum(preset("pareto", rivals="providers"))


def test_preset_visible_is_paper_with_all_bids_in_view():
    paper, visible = (SecondBidGame.make_config(name) for name in ("paper", "visible"))
    features = [SecondBidGame.make_roles(c)["auctioneer"].observation_space.shape[0] for c in (paper, visible)]
    assert features == [14, 15]
    game = SecondBidGame(visible, 4)
    observations, _ = game.reset(np.zeros(4, np.uint64))
    order = np.argsort(game.market.value[:, 0])
    assert np.all(np.diff(observations["auctioneer"][order, 0, -1]) > 0)
