"""The audit of policies in the slicing market, with Clarke payments and with a bank."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ioa_marl.agents.base import Agent
from ioa_marl.agents.baselines.greedy import GreedyAgent, GreedyConfig
from ioa_marl.agents.baselines.random import RandomAgent, RandomConfig
from ioa_marl.agents.baselines.scripted import ScriptedAgent, ScriptedConfig
from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame
from ioa_marl.evaluation.audits.running import run_audit
from ioa_marl.evaluation.audits.subject import AuditSettings, Subject, scripted_subject
from ioa_marl.evaluation.audits.vcg_slicing.auditing import audit
from ioa_marl.evaluation.audits.vcg_slicing.bid_play import SideBySide, play_bids
from ioa_marl.evaluation.audits.vcg_slicing.report_play import ReportReplays
from ioa_marl.evaluation.playing import make_agent
from ioa_marl.foundations.seeds import EVALUATION_SEED

QUICK = AuditSettings(markets=4, reports=5)
SLICE = ("slice",)


def settings(**changes):
    """Return a market with few providers and rounds."""
    return VCGSlicingGame.make_config("paper", **{"providers": 4, "rounds": 12} | changes)


def scripted(policy, **changes):
    """Return a scripted policy of the slices in such a market."""
    return scripted_subject(VCGSlicingGame, settings(**changes), policy)


def chance(roles=SLICE, **changes):
    """Return agents that draw every action."""
    config = settings(**changes)

    def make():
        return [make_agent(RandomAgent, RandomConfig(), VCGSlicingGame(config, 1, roles), roles, 1)]

    return Subject(VCGSlicingGame, config, roles, make)


def quiet(share):
    """Ignore progress."""


def test_the_exact_vcg_auction_has_no_regret_and_keeps_all_bounds_and_a_pair_gains():
    found = run_audit(scripted("oracle", rounds=50, providers=6), AuditSettings(markets=4, reports=21))
    assert found.value("clarke_regret") < 1e-8
    assert found.value("clarke_violations") == 0.0
    assert found.value("clarke_collusion") > 1e-6
    # In play the policy can only approach the optimum of the reports, so that truth is best up to what it misses.
    assert abs(found.value("relative_regret")) < 1e-3
    assert found.value("ir_violations") == 0.0


@pytest.mark.parametrize("policy", ["greedy", "equal_split", "hold"])
def test_where_reports_move_nothing_a_provider_alone_cannot_gain(policy):
    # The own report changes neither the allocation nor the own payment.
    found = audit(scripted(policy), QUICK, lambda what, share: None)
    assert found.value("episode_regret") == 0.0
    assert found.columns()["regret"] == 0.0


def test_the_greedy_agent_is_audited_as_the_rule_that_it_plays():
    config = settings()

    def make():
        return [make_agent(GreedyAgent, GreedyConfig(), VCGSlicingGame(config, 1, SLICE), SLICE, 1)]

    by_agent, by_rule = (
        run_audit(subject, QUICK) for subject in (Subject(VCGSlicingGame, config, SLICE, make), scripted("greedy"))
    )
    assert by_agent.value("episode_regret") == by_rule.value("episode_regret")
    assert by_agent.value("ir_violations") == by_rule.value("ir_violations")


def test_kellys_shares_are_found_to_reward_misreports():
    found = audit(scripted("kelly", rounds=30), AuditSettings(markets=6, reports=10), lambda what, share: None)
    assert found.value("episode_regret") > 4.0 * found.finding("episode_regret").standard_error > 0.0
    assert found.value("mechanism_regret") > 1e-4


class LazyUnlessBribed(ScriptedAgent):
    """Divides the resources by marginal utility where somebody reports more than its worth, else changes nothing."""

    def attach(self, game):
        self.market = game.market

    def act(self, observations, *, deterministic):
        market = self.market
        marginals = (market.worth - market.utility)[..., None] * market.rate
        better = np.where(marginals > marginals.mean(axis=1, keepdims=True), 6, 0)
        bribed = (market.multiplier > 1.0).any(axis=1)[:, None, None]
        actions = np.where(bribed, better, 3)
        return {"slice": actions.reshape(*observations["slice"].shape[:2], *actions.shape[1:])}


def test_a_planted_policy_that_works_only_for_those_who_overreport_is_found():
    config = settings()
    context = chance().make_agents()[0].context
    subject = Subject(VCGSlicingGame, config, SLICE, lambda: [LazyUnlessBribed(context, ScriptedConfig("bribed"))])
    replays = ReportReplays(subject, 4)
    table = np.ones((2, 4))
    table[1, 2] = 1.5
    truth, lie = replays.group_profits(table, [(2,), (2,)], quiet)
    np.testing.assert_allclose(truth, replays.truth.profits[:, 2], rtol=1e-9)
    found = audit(subject, QUICK, lambda what, share: None)
    moved = {gain.who: gain for gain in found.gains if gain.deviation == "misreport"}
    # Whoever overreports gets the whole welfare that it causes.
    assert moved["vsp_2"].value == pytest.approx((lie - truth).mean())
    assert moved["vsp_2"].value > 4.0 * moved["vsp_2"].standard_error > 0.0
    assert found.value("relative_regret") > 0.05


def test_profits_with_other_reports_are_those_of_the_market_in_which_providers_report():
    config = settings(rounds=6)
    subject = scripted_subject(VCGSlicingGame, config, "kelly")
    factors = np.ones((1, 4))
    factors[0, 1], factors[0, 3] = 1.3, 0.7
    found = ReportReplays(subject, 3).group_profits(factors, [(1, 3)], quiet)[0]

    roles = ("slice", "vsp")
    game = VCGSlicingGame(config, 3, roles, autoreset=False)
    reports = np.full((3, 4), config.truth)
    reports[:, 1], reports[:, 3] = config.multipliers.index(1.3), config.multipliers.index(0.7)
    game.reset(np.full(3, EVALUATION_SEED, np.uint64), instances=np.zeros(3, np.uint64))
    policy, profits, ended = game.scripted("kelly", "slice"), np.zeros(3), False
    while not ended:
        step = game.step({"slice": policy(), "vsp": reports})
        profits += step.rewards["vsp"][:, [1, 3]].sum(axis=1) * game.market.worth.mean(axis=1)
        ended = bool((step.terminated | step.truncated).all())
    np.testing.assert_allclose(found, profits, rtol=1e-4)


def test_what_happens_without_deviations_is_what_the_evaluation_plays():
    for changes in ({}, {"mechanism": "dual_currency"}):
        subject = dataclasses.replace(scripted("greedy", **changes), first_episode=3, instance=5)
        replays, played = ReportReplays(subject, 3), subject.play(3)
        np.testing.assert_allclose(replays.truth.payments.sum(axis=1), 12 * played["payments"])
        np.testing.assert_allclose(replays.truth.residual, 12 * played["payments"])
        found = audit(subject, AuditSettings(markets=3, reports=2), lambda what, share: None)
        assert found.value("efficiency_loss") == pytest.approx(1.0 - played["welfare_ratio"].mean(), rel=1e-6)
        if changes:
            np.testing.assert_allclose(replays.truth.profits.sum(axis=1), 12 * played["net_profit"])


def test_the_bank_leaves_nothing_to_gain_near_the_optimum_and_truth_is_not_dominant():
    known = {"mechanism": "dual_currency", "profit_mean": 0.0, "profit_deviation": 0.0, "start_spread": (1.0, 1.0)}
    found = run_audit(scripted("oracle", rounds=40, **known), AuditSettings(markets=2, reports=5))
    assert found.value("episode_regret") == 0.0
    assert found.value("collusion_gain") == 0.0
    assert found.value("honest_among_scaled_gain") < 0.0
    assert found.value("scaled_bids_gain") == pytest.approx(0.0, abs=1.0)
    assert found.value("overbid_gain") < 0.0
    assert found.value("scale_interest") < 1e-12 < found.value("scale_honest_interest")
    assert found.value("rank_deficient_coalition") == 4.0
    assert found.value("messages") == 8 * 4 * 40
    assert set(found.columns()) == {"regret", "collusion_gain", "ir_violations", "budget_residual"}


def test_an_agent_plays_profiles_side_by_side_as_it_plays_them_one_by_one():
    config = settings(mechanism="dual_currency", rounds=4)
    agent = scripted_subject(VCGSlicingGame, config, "greedy").agents[0]

    class Looking(Agent):
        def __init__(self):
            self.context = agent.context

        def act(self, observations, *, deterministic):
            own = observations["slice"][..., :3]
            return {"slice": np.where(own > own.mean(axis=1, keepdims=True), 1, 5)}  # depends on the batch's rows

    factors = np.ones((3, 4, 4))
    factors[1, :, 0], factors[2, :, 1] = 1.5, 0.5
    together = play_bids(config, factors, SideBySide(Looking()), episodes=2)
    for profile in range(3):
        single = play_bids(config, factors[profile : profile + 1], Looking(), episodes=2)
        for name, array in vars(single).items():
            np.testing.assert_array_equal(array[0], getattr(together, name)[profile])


@pytest.mark.parametrize("changes", [{}, {"mechanism": "dual_currency"}])
def test_luck_is_not_mistaken_for_a_gain(changes):
    subject = chance(rounds=3, **changes)
    replays = ReportReplays(subject, 3)
    assert replays.truth.draws_numbers
    if not changes:
        np.testing.assert_allclose(
            replays.group_profits(np.ones((2, 4)), [(1,), (1,)], quiet), np.tile(replays.truth.profits[:, 1], (2, 1))
        )
    found = audit(subject, AuditSettings(markets=2, reports=2), lambda what, share: None)
    assert np.isfinite(found.value("episode_regret"))


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"fewest_providers": 3}, None),
        ({"multipliers": (1.0,)}, "Other reports"),
        ({"mechanism": "dual_currency", "multipliers": (1.0,)}, None),
        ({"providers": 2}, None),
        ({"redraw": "episode", "observation": "extended"}, None),
        ({"mechanism": "dual_currency", "fewest_providers": 3}, None),
        ({"mechanism": "dual_currency", "redraw": "episode", "observation": "extended"}, None),
        ({"mechanism": "dual_currency", "fewest_providers": 1}, "Other bids"),
        ({"mechanism": "dual_currency_no_interest", "externality": "estimated"}, None),
    ],
)
def test_every_kind_of_market_is_audited_or_the_note_says_what_is_not(changes, missing):
    found = run_audit(scripted("greedy", rounds=5, **changes), AuditSettings(markets=2, reports=2))
    for finding in found.findings:
        assert np.isfinite(finding.value), finding.name
    assert ("regret" in found.columns()) == (missing is None)
    assert missing is None or any(note.startswith(missing) for note in found.notes)


def test_providers_that_agents_play_are_audited_by_constant_actions():
    found = run_audit(chance(roles=("slice", "vsp"), rounds=2), AuditSettings(markets=2, reports=2))
    assert [finding.name for finding in found.findings if finding.column == "regret"] == ["constant_gain_vsp"]
    assert any("constant actions" in note for note in found.notes)


def test_quantised_vcg_is_audited_as_the_mechanism_that_it_is():
    subject = scripted_subject(VCGSlicingGame, settings(rounds=10), "qvcg", quanta=4)
    found = run_audit(subject, AuditSettings(markets=2, reports=3))
    assert found.value("mechanism_regret") < 1e-8  # it is a VCG auction of bundles
    assert found.value("messages") == 4 * 4**3
    assert "4 units" in found.finding("mechanism_regret").meaning


@pytest.mark.parametrize("changes", [{}, {"mechanism": "dual_currency"}])
def test_progress_is_told_and_never_falls_within_a_step(changes):
    told = {}

    def progress(what, share):
        assert told.get(what, 0.0) <= share <= 1.0
        told[what] = share

    run_audit(scripted("greedy", rounds=5, **changes), AuditSettings(markets=2, reports=3), progress)
    assert len(told) >= 4
    assert all(share == 1.0 for share in told.values())
