"""Cases in which truth is a best response in the modified second-bid auction, and adverse selection of tasks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioa_marl.envs.second_bid.game import SecondBidGame
from ioa_marl.evaluation.audits.second_bid import (
    adverse_selection,
    episode_regret,
    fixed,
    scripted_auctioneer,
    station_regret,
    surplus_maximising,
)
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.second_bid.auction import UAV, allocate
from ioa_marl.markets.second_bid.params import preset
from ioa_marl.markets.second_bid.references import draw_tasks, pareto_optimum


def test_a_station_wins_at_five_by_bidding_eleven_where_rho_depends_on_the_bids():
    rule = surplus_maximising(10.0)
    truth, lie = np.array([8.0, 5.0]), np.array([11.0, 5.0])
    assert allocate(truth, rule(truth)).winner == UAV
    result = allocate(lie, rule(lie))
    assert (result.winner, result.payment) == (0, 5.0)
    regret = station_regret(truth, rule, reports=[11.0])
    assert regret.gains.tolist() == [3.0, 0.0]
    assert regret.reports.tolist() == [11.0, 5.0]
    # The finer default grid cannot find more: the payment is the other station's bid.
    assert station_regret(truth, rule).max == 3.0


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0.01, 100.0), min_size=2, max_size=5), st.floats(1.0, 8.0))
def test_no_station_gains_where_rho_does_not_depend_on_the_bids(values, rho):
    assert station_regret(values, fixed(rho)).max == 0.0


@given(st.lists(st.floats(0.01, 100.0), min_size=2, max_size=5), st.floats(0.01, 100.0))
def test_the_surplus_maximising_rule_serves_the_larger_of_the_two(bids, uav):
    bids = np.array(bids)
    winner = allocate(bids, surplus_maximising(uav)(bids)).winner
    first = bids.max()
    if first <= uav:
        assert winner == UAV
    elif (bids == first).sum() == 1:
        assert bids[winner] == first


@pytest.mark.parametrize("policy", ["second_price", "constant_rho"])
def test_over_an_episode_truth_is_best_at_a_constant_rho(policy):
    config = SecondBidGame.make_config("paper", tasks=10)
    found = episode_regret(config, scripted_auctioneer(policy), markets=50)
    assert found.best == 1.0
    assert found.regret == 0.0
    # Truth is best in every market, not only on average.
    assert (found.utilities <= found.utilities[found.multipliers == 1.0] + 1e-3).all()


def test_a_station_gains_by_overbidding_where_the_auctioneer_uses_a_threshold_on_the_bids():
    config = SecondBidGame.make_config("paper", tasks=20)
    found = episode_regret(config, scripted_auctioneer("threshold"), markets=100)
    assert found.best > 1.0
    assert found.regret > 4.0 * found.standard_error > 0.0


def test_a_station_that_looks_ahead_can_gain_even_where_only_the_past_counts():
    # Each task is strategy-proof by itself; but today's bid moves tomorrow's ρ.
    config = SecondBidGame.make_config("persistent")
    found = episode_regret(config, scripted_auctioneer("last_winner"), markets=500, multipliers=(0.9, 1.0, 1.1))
    assert found.best > 1.0
    assert found.regret > 3.0 * found.standard_error > 0.0


def test_an_auctioneer_can_be_given_as_a_function_of_observations():
    config = SecondBidGame.make_config("paper", tasks=5)
    seen = []

    def make(game):
        def act(observations):
            seen.append(observations["auctioneer"].shape)
            return np.zeros((game.num_envs, 1), np.int64)

        return act

    found = episode_regret(config, make, markets=20)
    expected = episode_regret(config, scripted_auctioneer("second_price"), markets=20)
    np.testing.assert_array_equal(found.utilities, expected.utilities)
    assert set(seen) == {(20, 1, 14)}


def test_a_constant_rho_is_free_of_adverse_selection_and_a_threshold_on_bids_is_not():
    params = preset("pareto")
    tasks = draw_tasks(params, np.full(400, 3, np.uint64), np.arange(400))
    constant = adverse_selection(tasks, pareto_optimum(params).rho)
    assert constant.pvalue > 1e-3
    assert constant.uav_mean == pytest.approx(constant.station_mean, rel=0.05)
    rho = np.where(tasks.first > np.median(tasks.first), 1.0, params.rhos()[-1])
    threshold = adverse_selection(tasks, rho)
    assert threshold.pvalue < 1e-12
    assert threshold.uav_mean < 0.7 * threshold.station_mean


def test_what_cannot_be_audited_is_named():
    config = SecondBidGame.make_config("paper", tasks=2)
    with pytest.raises(ParameterError, match="station=5"):
        episode_regret(config, scripted_auctioneer("oracle"), station=5)
    with pytest.raises(ParameterError, match="markets=1"):
        episode_regret(config, scripted_auctioneer("oracle"), markets=1)
    with pytest.raises(ParameterError, match="multipliers"):
        episode_regret(config, scripted_auctioneer("oracle"), multipliers=(0.5, 2.0))
    with pytest.raises(ParameterError, match="values"):
        station_regret([1.0], fixed(1.0))
    tasks = draw_tasks(preset("pareto", tasks=2), np.zeros(3, np.uint64), np.arange(3))
    with pytest.raises(ParameterError, match="rho=1"):
        adverse_selection(tasks, 1.0)
