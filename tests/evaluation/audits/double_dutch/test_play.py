"""Misreports under an auctioneer in play: exact over all reports, and found again by playing from the beginning."""

from __future__ import annotations

import numpy as np
import pytest

from ioa_marl.agents.base import Agent
from ioa_marl.agents.baselines.random import RandomAgent, RandomConfig
from ioa_marl.agents.learners.mappo import MAPPOAgent
from ioa_marl.agents.learners.sac import SACAgent
from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.evaluation.audits.double_dutch.branches import misreport_gains
from ioa_marl.evaluation.audits.double_dutch.play import Auctions, decides_by_observation, set_reports
from ioa_marl.evaluation.audits.double_dutch.reports import Replays, false_name_gains, pair_gains, replayed_gains
from ioa_marl.evaluation.audits.running import run_audit
from ioa_marl.evaluation.audits.subject import AuditSettings, Subject, scripted_subject
from ioa_marl.evaluation.playing import make_agent


def scripted(policy, preset="paper", **changes):
    return scripted_subject(DoubleDutchGame, DoubleDutchGame.make_config(preset, **changes), policy)


def of_agent(agent_class, config=None, **changes):
    settings = DoubleDutchGame.make_config("paper", **changes)

    def make() -> list[Agent]:
        probe = DoubleDutchGame(settings, 1)
        chosen = agent_class.config_class() if config is None else config
        return [make_agent(agent_class, chosen, probe, ("auctioneer",), 1)]

    return Subject(DoubleDutchGame, settings, ("auctioneer",), make)


SUBJECTS = {
    "two_phase": scripted("two_phase"),
    "thin": scripted("step_table", "thin"),
    "next_loser": scripted("two_phase", "thin", ending="next_loser"),
    "mixed": scripted("two_phase", "mixed"),
    "sac": of_agent(SACAgent),
    "mappo": of_agent(MAPPOAgent),
}


def brute_force(subject, markets):
    """Return the best gain over every report on the grid of ticks, each auction played from the beginning."""
    clocks = np.arange(-1, int(subject.config.buyer_clock / subject.config.tick) + 1)
    auctions = Auctions(subject, markets * len(clocks))
    every = np.arange(auctions.capacity)
    auctions.open(0, markets)
    valuations, sizes = auctions.state.valuation.copy(), auctions.state.size.copy()
    auctions.play_out(every)
    truth = auctions.all_utilities(valuations)
    best = np.zeros((markets, *truth.shape[1:]))
    for side in range(2):
        for bidder in range(truth.shape[2] - 1):
            rows = np.flatnonzero(bidder < sizes[:, side])
            auctions.open(0, markets)
            set_reports(
                auctions.state, rows, np.full(len(rows), side), np.full(len(rows), bidder), clocks[rows // markets]
            )
            auctions.play_out(every)
            gain = (auctions.all_utilities(valuations) - truth)[:, side, bidder]
            best[:, side, bidder] = gain.reshape(len(clocks), markets).max(axis=0)
    return best


@pytest.mark.parametrize("name", SUBJECTS)
def test_branches_find_what_playing_every_report_from_the_beginning_finds(name):
    subject = SUBJECTS[name]
    found = misreport_gains(subject, 2)
    assert np.allclose(found.gains, brute_force(subject, 2), rtol=0, atol=1e-9)
    assert (found.gains[:, :, :-1].max(axis=(1, 2)) > 0).any()


def test_a_reported_best_report_has_the_gain_that_is_reported():
    subject = SUBJECTS["two_phase"]
    found = misreport_gains(subject, 4)
    replays = Replays(subject, 4, side_by_side=True)
    assert np.allclose(replays.truthful, found.truthful)
    places = np.argwhere(~np.isnan(found.reports))
    assert len(places) > 10
    for market, side, bidder in places:
        report = found.reports[market, side, bidder]

        def change(reports, sizes, at=(market, side, bidder), report=report):
            reports[at] = report

        ((trades, prices),) = replays.played([change])
        gain = (replays.utilities(trades, prices) - replays.truthful)[market, side, bidder]
        assert gain == pytest.approx(found.gains[market, side, bidder], abs=1e-9)


@pytest.mark.parametrize("name", ["two_phase", "mappo"])
def test_reports_of_a_grid_never_gain_more_than_the_exact_best(name):
    subject = SUBJECTS[name]
    exact = misreport_gains(subject, 3).gains
    searched = replayed_gains(Replays(subject, 3, True), AuditSettings(3, 9), subject.config.tick)
    assert (searched.gains <= exact + 1e-9).all()
    assert searched.gains.sum() > 0.5 * exact.sum()


def test_replays_side_by_side_and_one_after_another_are_the_same():
    subject = SUBJECTS["two_phase"]
    settings = AuditSettings(3, 5, refine=False)
    one, other = (replayed_gains(Replays(subject, 3, way), settings, 0.25).gains for way in (True, False))
    assert np.array_equal(one, other)


def test_who_decides_by_its_observation_is_known():
    assert decides_by_observation(SUBJECTS["two_phase"])
    assert decides_by_observation(SUBJECTS["sac"])
    assert not decides_by_observation(scripted("oracle"))
    assert not decides_by_observation(of_agent(RandomAgent, RandomConfig()))


def test_random_steps_are_the_same_in_the_truthful_auction_and_its_counterfactuals():
    replays = Replays(of_agent(RandomAgent, RandomConfig()), 4, side_by_side=False)
    ((trades, prices),) = replays.played([lambda reports, sizes: None])
    assert np.array_equal(replays.utilities(trades, prices), replays.truthful)


def test_a_finer_clock_leaves_less_to_gain_than_a_coarse_one():
    config = DoubleDutchGame.make_config("paper")
    fine, coarse = (
        misreport_gains(scripted_subject(DoubleDutchGame, config, "fixed_step", step=step), 40) for step in (0.5, 5.0)
    )
    assert 0 < fine.gains.max(axis=(1, 2)).mean() < 0.8 * coarse.gains.max(axis=(1, 2)).mean()


def test_a_pair_gains_at_least_what_one_of_the_two_gains_by_the_same_reports():
    replays = Replays(SUBJECTS["two_phase"], 10, side_by_side=True)
    found = {each.name: each.gains for each in pair_gains(replays, 60.0)}
    assert set(found) == {"two buyers", "two sellers", "a buyer and a seller"}
    assert all((np.nan_to_num(gains) >= 0).all() for gains in found.values())
    assert max(np.nanmean(gains) for gains in found.values()) > 0.1


def test_a_seller_with_two_names_does_not_sell_a_lot_that_it_does_not_have():
    replays = Replays(SUBJECTS["two_phase"], 10, side_by_side=True)
    gains = {each.name: each.gains for each in false_name_gains(replays, 9)}
    exact = misreport_gains(SUBJECTS["two_phase"], 10)
    most = np.ptp(replays.truth[replays.present])
    assert (gains["a seller with two names"] <= most).all()
    assert gains["a seller with two names"].mean() < exact.gains.max(axis=(1, 2)).mean()


def test_the_audit_says_which_figures_are_exact():
    learnt, oracle = (
        run_audit(subject, AuditSettings(3, 3, refine=False))
        for subject in (of_agent(MAPPOAgent), scripted("oracle", "thin"))
    )
    assert learnt.finding("regret").kind == "exact"
    assert oracle.finding("regret").kind == "lower bound"
    for found in (learnt, oracle):
        assert found.finding("pair_gain").kind == "lower bound"
        assert found.value("budget_residual") == 0.0
        assert found.value("ir_violations") == 0.0


def test_an_audit_of_bidders_that_act_says_what_it_leaves_out():
    config = DoubleDutchGame.make_config("paper")

    def make() -> list[Agent]:
        probe = DoubleDutchGame(config, 1, ("auctioneer", "buyer"))
        return [make_agent(RandomAgent, RandomConfig(), probe, ("auctioneer", "buyer"), 1)]

    found = run_audit(Subject(DoubleDutchGame, config, ("auctioneer", "buyer"), make), AuditSettings(3, 3))
    assert any("truthful bidders" in note for note in found.notes)
    assert found.finding("constant_gain_buyer").kind == "lower bound"
    assert found.finding("constant_gain_buyer").value > 1.0
