"""The gain of a bidder by a constant action is 0 where truth is best, and otherwise that of brute force."""

import numpy as np
import pytest
from haggle import HaggleConfig, HaggleGame

from ioa_marl.agents.baselines.random import RandomAgent, RandomConfig
from ioa_marl.agents.baselines.scripted import ScriptedAgent, ScriptedConfig
from ioa_marl.envs.second_bid.game import SecondBidGame
from ioa_marl.envs.stackelberg.game import StackelbergGame
from ioa_marl.evaluation import playing
from ioa_marl.evaluation.audits import constant_actions as audit_bidders
from ioa_marl.evaluation.audits.constant_actions import audited_members, best_constant_gain, bidders
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.foundations.seeds import EVALUATION_SEED

TRUTH = 5
"""Index of the station's factor 1 on its valuation."""


def scripted(game_class, config, role, policy, seeds=1, controlled_roles=None, **settings):
    probe = game_class(config, 1, controlled_roles or [role])
    return playing.make_agent(ScriptedAgent, ScriptedConfig(policy, settings), probe, [role], seeds)


def station_rewards(config, episodes, first, bids):
    """Return total rewards (episodes, stations) for constant bids and ρ of the market's own policy."""
    game = SecondBidGame(config, episodes, ["station"])
    streams = np.arange(first, first + episodes, dtype=np.uint64)
    game.reset(np.full(episodes, EVALUATION_SEED, np.uint64), streams)
    out = np.zeros((episodes, config.stations))
    for _ in range(config.tasks):
        out += game.step({"station": np.tile(bids, (episodes, 1))}).rewards["station"]
    return out


@pytest.mark.parametrize("preset", ["persistent", "paper"])
def test_truthful_stations_gain_nothing_at_a_constant_rho(preset):
    config = SecondBidGame.make_config(preset, tasks=4, information="history", stations=3)
    found = best_constant_gain(
        SecondBidGame, config, [scripted(SecondBidGame, config, "station", "truthful")], ["station"], "station", 12
    )
    assert found.members.tolist() == [0, 1, 2]
    assert not found.better.any()
    np.testing.assert_array_equal(found.gains, np.zeros((1, 3)))
    assert found.of_seed(0)["actions"] == [None] * 3
    assert found.returns.max() > 0.0


def test_a_station_that_overbids_gains_what_brute_force_finds():
    """All bid twice their valuation, and every station gains by bidding the truth or hardly competing."""
    config = SecondBidGame.make_config("paper", tasks=5, stations=3)
    overbid = scripted(SecondBidGame, config, "station", "multiplied", factor=2.0)
    found = best_constant_gain(SecondBidGame, config, [overbid], ["station"], "station", 80, members=[0, 2])
    high = np.full(3, 15)
    usual = station_rewards(config, 80, 0, high)
    for column, station in enumerate((0, 2)):
        tried = np.tile(high, (16, 1))
        tried[:, station] = np.arange(16)
        elsewhere = [station_rewards(config, 80, 80, bids)[:, station].mean() for bids in tried]
        best = int(np.argmax(elsewhere))
        gains = (station_rewards(config, 80, 0, tried[best]) - usual)[:, station]
        assert found.actions[0, column] == best <= TRUTH
        assert found.gains[0, column] == pytest.approx(gains.mean(), abs=1e-9)
        assert found.standard_errors[0, column] == pytest.approx(gains.std(ddof=1) / np.sqrt(80), abs=1e-9)
        assert found.gains[0, column] > 3 * found.standard_errors[0, column]
        assert found.returns[0, column] == pytest.approx(usual[:, station].mean(), abs=1e-9)


def test_a_wireless_agent_that_answers_exactly_loses_by_any_constant_share():
    config = StackelbergGame.make_config("city", wireless=4, mobile=2, fixed=2, rounds=3)
    exact = scripted(StackelbergGame, config, "wireless", "best_response")
    found = best_constant_gain(StackelbergGame, config, [exact], ["wireless"], "wireless", 6, members=[1])
    assert found.gains[0, 0] == 0.0
    assert not found.better[0, 0]


def test_a_best_answer_is_found_for_each_seed_on_its_own_instance():
    """The seller accepts offers of 3 and more; for every seed, a buyer that always offers 0 gains by offering more."""
    agents = [scripted(HaggleGame, HaggleConfig(), "buyer", "always", seeds=2)]
    both = best_constant_gain(HaggleGame, HaggleConfig(), agents, ["buyer"], "buyer", 8, instances=[3, 5])
    for i, instance in enumerate((3, 5)):
        alone = [scripted(HaggleGame, HaggleConfig(), "buyer", "always")]
        one = best_constant_gain(HaggleGame, HaggleConfig(), alone, ["buyer"], "buyer", 8, instances=[instance])
        np.testing.assert_array_equal(one.gains[0], both.gains[i])
        np.testing.assert_array_equal(one.actions[0], both.actions[i])
        assert both.mean[i] == pytest.approx(both.gains[i].mean())


def test_others_that_draw_their_actions_draw_the_same_with_and_without_the_deviation():
    """At ρ = 1 no bid is better than the truth in any market, so different noise between plays would be visible."""
    config = SecondBidGame.make_config("paper", tasks=4, stations=3)
    controlled_roles = ["auctioneer", "station"]
    probe = SecondBidGame(config, 1, controlled_roles)
    random = playing.make_agent(RandomAgent, RandomConfig(), probe, ["auctioneer"], 1)
    truthful = scripted(SecondBidGame, config, "station", "truthful", controlled_roles=controlled_roles)
    found = best_constant_gain(SecondBidGame, config, [random, truthful], controlled_roles, "station", 10, members=[0])
    assert found.gains.tolist() == [[0.0]]


def test_many_episodes_are_played_in_groups_with_the_same_result(monkeypatch):
    config = SecondBidGame.make_config("paper", tasks=2, stations=3)
    given = SecondBidGame, config, [scripted(SecondBidGame, config, "station", "multiplied")], ["station"], "station", 7
    whole = best_constant_gain(*given, members=[0])
    monkeypatch.setattr(playing, "LARGEST_BATCH", 4000)
    assert len(playing.episode_groups(*given[:2], ["station"], 7, 0)) > 1
    np.testing.assert_array_equal(best_constant_gain(*given, members=[0]).gains, whole.gains)


def test_bidders_are_roles_that_act_besides_the_usual_ones():
    config = StackelbergGame.make_config("city")
    assert bidders(StackelbergGame, config, ("mobile", "fixed", "wireless")) == ("wireless",)
    assert bidders(StackelbergGame, config, ("mobile", "fixed")) == ()
    assert audited_members(3) == [0, 1, 2]
    assert audited_members(1000) == [0, 250, 500, 749, 999]


def test_what_cannot_be_audited_is_named():
    config = SecondBidGame.make_config("paper", tasks=2)
    agents = [scripted(SecondBidGame, config, "station", "truthful")]
    with pytest.raises(ParameterError, match="role=auctioneer"):
        best_constant_gain(SecondBidGame, config, agents, ["station"], "auctioneer", 2)
    with pytest.raises(ParameterError, match="member=5"):
        best_constant_gain(SecondBidGame, config, agents, ["station"], "station", 2, members=[5])
    assert "lower bound" in audit_bidders.MEANING
