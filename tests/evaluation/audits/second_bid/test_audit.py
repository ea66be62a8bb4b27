"""The audit of policies in the second-bid auction: known truths, and planted policies."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ioa_marl.agents.base import Agent
from ioa_marl.agents.baselines.random import RandomAgent, RandomConfig
from ioa_marl.agents.baselines.scripted import ScriptedAgent, ScriptedConfig
from ioa_marl.envs.second_bid.game import SecondBidGame
from ioa_marl.evaluation.audits.running import run_audit
from ioa_marl.evaluation.audits.second_bid import audit, episode_regret, scripted_auctioneer, station_regret
from ioa_marl.evaluation.audits.second_bid.counterfactuals import Replays, alone, ring, two_names
from ioa_marl.evaluation.audits.second_bid.rounds import round_regret
from ioa_marl.evaluation.audits.subject import AuditSettings, Subject, scripted_subject
from ioa_marl.evaluation.playing import make_agent
from ioa_marl.foundations.seeds import EVALUATION_SEED
from ioa_marl.markets.second_bid import contract_price, draw_providers, draw_tasks

QUICK = AuditSettings(markets=40, reports=9)
ROLES = ("auctioneer",)


def quiet(share):
    """Ignore progress."""


def scripted(policy, preset="paper", tasks=20, **settings):
    """Return a scripted auctioneer in a market with few tasks."""
    return scripted_subject(SecondBidGame, SecondBidGame.make_config(preset, tasks=tasks), policy, **settings)


class Planted(Agent):
    """An auctioneer that looks at one number of its observation, and sets ρ = 1 where it is above a level."""

    def __init__(self, context, feature, level):
        self.context, self.feature, self.level = context, feature, level

    def act(self, observations, *, deterministic):
        looked_at = observations["auctioneer"][..., self.feature]
        return {"auctioneer": np.where(looked_at > self.level, 0, 9)}


def planted(feature, level, preset="paper", tasks=20):
    """Return `Planted` as the auctioneer."""
    config = SecondBidGame.make_config(preset, tasks=tasks)

    def make():
        probe = make_agent(RandomAgent, RandomConfig(), SecondBidGame(config, 1, ROLES), ROLES, 1)
        return [Planted(probe.context, feature, level)]

    return Subject(SecondBidGame, config, ROLES, make)


def chance(preset="paper", roles=ROLES, tasks=5):
    """Return agents that draw every action."""
    config = SecondBidGame.make_config(preset, tasks=tasks)

    def make():
        return [make_agent(RandomAgent, RandomConfig(), SecondBidGame(config, 1, roles), roles, 1)]

    return Subject(SecondBidGame, config, roles, make)


@pytest.mark.parametrize("policy", ["second_price", "constant_rho"])
def test_a_price_that_no_bid_moves_leaves_nothing_to_gain_alone(policy):
    found = run_audit(scripted(policy), QUICK)
    for name in ("episode_regret", "round_regret", "largest_round_regret", "manipulable_auctions", "false_name_gain"):
        assert found.value(name) == 0.0, name
    assert found.finding("episode_regret").kind == "lower bound"


def test_two_who_know_each_others_value_save_the_second_price():
    # At ρ = 1 the pair gains what the lower bid of the two adds to the price, where they have the two highest bids.
    subject = scripted("second_price", tasks=10)
    replays = Replays(subject, 30)
    gained = replays.utilities(ring(5, (0, 1), [(0.5, 1.0)]), [(0, 1)], quiet)[0]
    gained -= replays.truthful(0) + replays.truthful(1)
    expected = np.zeros(30)
    for values in replays.draws.value[:, :, 1:]:
        order = np.argsort(-values, axis=1)
        for market in range(30):
            first, second, third = order[market, :3]
            if {first, second} == {0, 1}:
                expected[market] += values[market, second] - max(values[market, second] / 2, values[market, third])
    assert expected.sum() > 0.0
    np.testing.assert_allclose(gained, expected, rtol=1e-9, atol=1e-9)


def test_a_station_gains_about_a_seventh_by_bidding_half_as_much_again_against_the_threshold():
    subject = scripted("threshold", tasks=50)
    replays = Replays(subject, 200)
    gains = []
    for station in range(5):
        lie = replays.utilities(alone(5, station, [1.5]), [(station,)], quiet)[0]
        gains.append(lie.mean() / replays.truthful(station).mean() - 1.0)
    assert np.mean(gains) == pytest.approx(0.14, abs=0.02)
    found = run_audit(subject, AuditSettings(reports=15))
    assert found.value("relative_regret") == pytest.approx(0.15, abs=0.03)
    assert found.value("round_regret") > 5.0 * found.finding("round_regret").standard_error > 0.0
    assert found.columns()["regret"] == found.value("episode_regret")


class SurplusMaximising(ScriptedAgent):
    """An auctioneer that sees all bids and the UAV's value, and maximises the surplus as if bids were values."""

    def attach(self, game):
        self.game = game

    def act(self, observations, *, deterministic):
        market = self.game.market
        actions = np.where(market.bid.max(axis=1) > market.value[:, 0], 0, self.game.config.levels - 1)
        return {"auctioneer": actions.reshape(*observations["auctioneer"].shape[:2], 1)}


def test_who_maximises_the_surplus_of_the_bids_is_exploited_by_the_best_station_that_is_worse_than_the_uav():
    # It bids more than the UAV's value and wins at the second bid, as in the fixture with values 8 and 5 against 10.
    config = SecondBidGame.make_config("visible", tasks=4)
    context = chance().make_agents()[0].context
    subject = Subject(SecondBidGame, config, ROLES, lambda: [SurplusMaximising(context, ScriptedConfig("planted"))])
    replays = Replays(subject, 25, [0, 3])
    found = round_regret(replays, range(5), 41, True, quiet)
    for moment, task in enumerate((0, 3)):
        uav, values = replays.draws.value[task, :, 0], replays.draws.value[task, :, 1:]
        second, first = np.sort(values, axis=1).T[-2:]
        loses = (first <= uav) & (first <= replays.config.rhos()[-1] * second) & (uav < 3.0 * first)
        assert loses.sum() > 5
        expected = np.where(values == first[:, None], (first - second)[:, None], 0.0)
        np.testing.assert_allclose(found.gains[moment][loses], expected[loses], atol=1e-9)
    assert run_audit(subject, QUICK).value("manipulable_auctions") > 0.2


def test_history_leaves_nothing_to_gain_in_one_auction_and_something_over_an_episode():
    found = run_audit(scripted("last_winner", "persistent", tasks=50), AuditSettings(reports=9))
    assert found.value("largest_round_regret") == 0.0
    assert found.value("episode_regret") > 2.0 * found.finding("episode_regret").standard_error > 0.0


def test_a_planted_policy_that_believes_the_highest_bid_is_found_and_one_that_looks_at_the_past_is_cleared():
    exploitable = run_audit(planted(9, 0.75), QUICK)  # feature 9 is the highest bid for this task
    honest = run_audit(planted(0, 0.5), QUICK)  # feature 0 is the UAV's last valuation, which nobody moves
    assert exploitable.value("manipulable_auctions") > 0.1
    assert exploitable.value("episode_regret") > 3.0 * exploitable.finding("episode_regret").standard_error
    assert honest.value("largest_round_regret") == 0.0
    assert honest.value("episode_regret") == 0.0


def test_counterfactuals_are_what_a_play_of_its_own_gives():
    config = SecondBidGame.make_config("persistent", tasks=15)
    factors = (0.7, 1.0, 1.6)
    expected = episode_regret(
        config, scripted_auctioneer("last_winner"), station=2, markets=20, seed=EVALUATION_SEED, multipliers=factors
    )
    replays = Replays(scripted_subject(SecondBidGame, config, "last_winner"), 20)
    found = replays.utilities(alone(5, 2, factors), [(2,)] * 3, quiet)
    np.testing.assert_allclose(found, expected.utilities, rtol=1e-5, atol=1e-3)  # rewards are float32
    np.testing.assert_array_equal(found[1], replays.truthful(2))


def test_regret_in_one_auction_is_that_of_the_rule_that_the_policy_is():
    subject = scripted("threshold", tasks=3, threshold=120.0)
    replays = Replays(subject, 10, [1])
    found = round_regret(replays, range(5), 61, True, quiet)
    rhos = replays.config.rhos()
    for market in range(10):
        values = replays.draws.value[1, market, 1:]
        expected = station_regret(values, lambda bids: rhos[0] if bids.max() > 120.0 else rhos[-1])
        np.testing.assert_allclose(found.gains[0, market], expected.gains, rtol=1e-4, atol=1e-4)


def test_what_happens_without_deviations_is_what_the_evaluation_plays():
    subject = dataclasses.replace(scripted("threshold", tasks=10), first_episode=7)
    found = run_audit(subject, AuditSettings(markets=12, reports=2, refine=False))
    played = subject.play(12)
    assert found.value("budget_residual") == pytest.approx(10 * played["revenue"].mean())
    values = Replays(subject, 12).draws.value
    best = values.max(axis=2).mean()
    assert found.value("efficiency_loss") == pytest.approx(1.0 - played["surplus"].mean() / best)
    assert found.value("messages") == 50.0


def test_a_second_name_that_bids_nothing_changes_nothing_and_one_that_bids_raises_the_price():
    replays = Replays(scripted("second_price", tasks=10), 20)
    nothing, own = replays.utilities(two_names(5, 3, [(1.0, 0.0), (1.0, 1.0)]), [(3,), (3,)], quiet)
    np.testing.assert_allclose(nothing, replays.truthful(3))
    # With an equal second bid, what the station wins costs its whole value.
    np.testing.assert_allclose(own, 0.0, atol=1e-9)


def test_false_names_are_left_out_where_the_auctioneer_has_no_place_for_their_bids():
    found = run_audit(planted(9, 0.6), AuditSettings(markets=2, reports=2))
    assert any(note.startswith("False names") for note in found.notes)
    with pytest.raises(KeyError):
        found.finding("false_name_gain")


def test_luck_is_not_mistaken_for_a_gain():
    found = audit(chance(tasks=3), AuditSettings(markets=6, reports=2, refine=False))
    assert found.value("episode_regret") == 0.0
    assert found.value("largest_round_regret") == 0.0


def test_stations_that_agents_play_are_audited_by_constant_actions():
    found = run_audit(
        chance(roles=("auctioneer", "station"), tasks=1), AuditSettings(markets=2, reports=2, refine=False)
    )
    assert "regret" in found.columns()
    assert found.finding("constant_gain_station").column == "regret"
    assert any("constant actions" in note for note in found.notes)
    assert [finding.column for finding in found.findings].count("regret") == 1
    alone_ = audit(chance(roles=("station",), tasks=2), AuditSettings(markets=4))
    assert alone_.value("station_losses") > 0.0  # stations that overbid lose


def test_adverse_selection_is_found_with_a_threshold_on_bids_and_not_with_a_constant():
    threshold = run_audit(scripted("threshold", "pareto", tasks=50), AuditSettings(markets=100, reports=2))
    constant = run_audit(scripted("ratio_rule", "pareto", tasks=50), AuditSettings(markets=100, reports=2))
    assert threshold.value("adverse_selection") > 0.5
    assert threshold.value("uav_common_value") < 0.7
    assert constant.value("adverse_selection") < 0.1
    assert constant.value("episode_regret") == 0.0


def test_progress_is_told_and_never_falls_within_a_step():
    told = {}

    def progress(what, share):
        assert told.get(what, 0.0) <= share <= 1.0
        told[what] = share

    run_audit(scripted("threshold", tasks=3), AuditSettings(markets=4, reports=3), progress)
    assert len(told) >= 4
    assert all(share == 1.0 for share in told.values())


def test_an_audit_plays_the_instance_of_its_subject():
    config = SecondBidGame.make_config("resident", tasks=8)
    subject = dataclasses.replace(scripted("last_winner", "resident", tasks=8), instance=4)
    replays = Replays(subject, 5, moments=[3])
    tasks = draw_tasks(config, np.full(5, EVALUATION_SEED, np.uint64), np.arange(5), instances=np.full(5, 4))
    np.testing.assert_array_equal(replays.draws.value[:, :, 0].T, tasks.uav)
    np.testing.assert_array_equal(replays.draws.value[:, :, 1:].max(axis=2).T, tasks.first)
    by_uav = replays.truth.winners[0] == -1
    price = contract_price(config, draw_providers(config, 4))
    assert set(replays.truth.payments[0][by_uav]) == {price}
    # A false name is one more station, and what belongs to the others stays what it is.
    ((_, outcomes),) = replays.play(two_names(config.stations, 0, [(1.0, 0.0)]))
    np.testing.assert_array_equal(outcomes.payments[0], replays.truth.payments[0])
    assert (round_regret(replays, [0, 1], 9, True, quiet).gains == 0.0).all()
