"""Audits of the two-tier market against replays of rounds and of auctions by other means, and planted policies."""

import numpy as np
import pytest

from ioa_marl.agents.baselines.scripted import ScriptedAgent, ScriptedConfig
from ioa_marl.envs.two_tier.game import TwoTierGame
from ioa_marl.evaluation.audits.double_dutch import double_dutch_mechanism, incentive_regret
from ioa_marl.evaluation.audits.running import run_audit
from ioa_marl.evaluation.audits.subject import AuditSettings, Subject
from ioa_marl.evaluation.audits.two_tier_answers import AnsweredPrices, answers
from ioa_marl.evaluation.audits.two_tier_bidders import Misreports
from ioa_marl.evaluation.playing import make_agent
from ioa_marl.foundations.seeds import EVALUATION_SEED
from ioa_marl.markets.two_tier.params import TwoTierParams

ROLES = TwoTierGame.default_controlled_roles
SMALL = {"wireless": 6, "mobile": 3, "fixed": 3, "aerial": 4, "capacity": (0.5, 12.0), "rounds": 4, "price_levels": 26}
FEW = AuditSettings(markets=2)


def played_by(config, mobile, fixed, auctioneer, **where):
    """Return scripted policies, each a name with its settings, as the players of the three roles."""

    def make():
        probe = TwoTierGame(config, 1, ROLES)
        return [
            make_agent(ScriptedAgent, ScriptedConfig(*policy), probe, [role], 1)
            for role, policy in zip(ROLES, (mobile, fixed, auctioneer), strict=True)
        ]

    return Subject(TwoTierGame, config, ROLES, make, **where)


def oracle():
    return ("oracle", {})


def pair(buyer, seller):
    return ("fixed_pair", {"buyer_step": buyer, "seller_step": seller})


def profits_of(config, episode, instance, usual, steps, last):
    """Play copies of an episode, with the prices ``last``, two of (copies, 3), in its last round; return profits."""
    copies = len(last[0])
    game = TwoTierGame(config, copies, ROLES, autoreset=False)
    numbers = (np.full(copies, number, np.uint64) for number in (EVALUATION_SEED, episode, instance))
    game.reset(*numbers)
    for r in range(config.rounds):
        mobile, fixed = last if r == config.rounds - 1 else [np.full((copies, 3), usual)] * 2
        actions = {"mobile": mobile, "fixed": fixed, "auctioneer": np.tile(steps, (copies, 1, 1))}
        game.step(actions)
        game.step(actions)
    return game.market.profit.copy()


def test_a_leaders_gain_in_the_last_round_is_that_of_playing_the_episode_again_at_every_price():
    config, instance, episode, usual = TwoTierGame.make_config(**SMALL), 2, 4, 8
    price = ("posted_pair", {"price": usual * 0.4})
    found = run_audit(played_by(config, price, price, pair(0.5, 1.25), instance=instance, first_episode=episode), FEW)
    steps, total = (config.steps.index(0.5), config.steps.index(1.25)), 0.0
    for e in (episode, episode + 1):
        for side in range(2):
            for leader in range(3):
                last = [np.full((26, 3), usual), np.full((26, 3), usual)]
                last[side][:, leader] = np.arange(26)
                profits = profits_of(config, e, instance, usual, steps, last)[:, side, leader]
                total += profits.max() - profits[usual]
    assert found.value("last_nash_conv") == pytest.approx(total / 2.0)
    assert total > 1.0


@pytest.mark.parametrize("batch", [1, 2**27])
@pytest.mark.parametrize("auctioneer", [pair(0.5, 1.25), oracle()], ids=["fixed_pair", "oracle"])
def test_a_price_that_the_auctioneer_answers_gains_what_playing_the_round_with_its_policy_does(
    auctioneer, batch, monkeypatch
):
    monkeypatch.setattr("ioa_marl.evaluation.audits.two_tier_answers.LARGEST_BATCH", batch)
    config, usual = TwoTierGame.make_config(**SMALL), 8
    seed, first = np.array([EVALUATION_SEED], np.uint64), np.zeros(1, np.uint64)
    game = TwoTierGame(config, 1, ROLES)
    game.reset(seed, first, first)
    same = np.full((1, 3), usual)
    game.step({"mobile": same, "fixed": same, "auctioneer": np.zeros((1, 1, 2), np.int64)})
    found = AnsweredPrices(played_by(config, oracle(), oracle(), auctioneer)).gains(game.save(), 0)
    expected = []
    for j in range(3):
        copies = TwoTierGame(config, 26, ROLES)
        copies.reset(np.repeat(seed, 26), np.repeat(first, 26), np.repeat(first, 26))
        tried = np.full((26, 3), usual)
        tried[:, j] = np.arange(26)
        actions = {"mobile": np.full((26, 3), usual), "fixed": tried}
        copies.step({**actions, "auctioneer": np.zeros((26, 1, 2), np.int64)})
        steps = copies.scripted(auctioneer[0], "auctioneer", **auctioneer[1])()
        copies.step({**actions, "auctioneer": steps})
        profits = copies.market.profit[:, 1, j]
        expected.append(profits.max() - profits[usual])
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert max(expected) > 0.1


def test_only_an_auctioneer_whose_steps_may_differ_is_asked_again():
    config = TwoTierGame.make_config(**SMALL)
    asked = {name: answers(played_by(config, oracle(), oracle(), (name, {}))) for name in ("oracle", "scripted_pair")}
    assert asked == {"oracle": True, "scripted_pair": False}
    found = run_audit(played_by(config, oracle(), oracle(), oracle()), AuditSettings(markets=2, reports=3))
    assert found.value("answered_fixed_regret") >= 0.0


@pytest.mark.parametrize("dynamics", [False, True])
def test_the_markets_own_regrets_are_those_of_the_audit(dynamics):
    config = TwoTierGame.make_config(**SMALL, dynamics=dynamics)
    subject = played_by(config, ("cost_plus", {"margin": 0.5}), ("cost_plus", {"margin": 0.25}), pair(0.5, 0.5))
    found, metrics = run_audit(subject, AuditSettings(markets=4)), subject.play(4)
    for name, own in (("nash_conv", ""), ("last_nash_conv", "last_")):
        regrets = metrics[f"{own}mobile_regret"] + metrics[f"{own}fixed_regret"]
        assert found.value(name) == pytest.approx(regrets.mean())
    assert found.value("auctioneer_regret") == pytest.approx(metrics["auction_regret"].mean())
    assert found.value("messages") == pytest.approx(metrics["messages"].mean())
    assert found.value("nash_conv") == pytest.approx(found.value("mobile_regret") + found.value("fixed_regret"))
    assert found.value("regret") == pytest.approx(found.value("nash_conv") / 6)
    assert sum(gain.value for gain in found.gains if gain.deviation == "price") == pytest.approx(
        found.value("nash_conv")
    )


def test_planted_prices_and_steps_are_found_and_the_oracles_are_cleared():
    config = TwoTierGame.make_config("paper", rounds=6)
    honest = run_audit(played_by(config, oracle(), oracle(), oracle()), AuditSettings(markets=2, reports=3))
    high = ("posted_pair", {"price": 5.0})
    planted = run_audit(played_by(config, high, high, pair(3.0, 0.0625)), FEW)
    assert honest.value("last_nash_conv") < 1.0 < 20.0 < planted.value("last_nash_conv")
    assert honest.value("auctioneer_regret") == 0.0
    assert planted.value("auctioneer_regret") > 1.0
    assert honest.finding("bidder_regret").kind == "lower bound", "the steps depend on the reports"
    assert planted.finding("bidder_regret").kind == "exact"
    for found in (honest, planted):
        assert found.value("budget_residual") == 0.0
        assert found.value("trader_losses") == 0.0, "truthful bidders never trade at a loss"


def auction(seed, buyers=4, sellers=5):
    """Return parameters and the valuations of an auction, (2, bidders)."""
    params = TwoTierParams(fixed=buyers, aerial=sellers)
    bids = np.full((2, max(buyers, sellers)), -1.0)
    rng = np.random.default_rng(seed)
    bids[0, :buyers], bids[1, :sellers] = rng.uniform(2.0, 14.0, buyers), rng.uniform(1.0, 9.0, sellers)
    return params, bids


@pytest.mark.parametrize(("seed", "step"), [(0, 0.5), (1, 0.75), (2, 1.25), (3, 2.0)])
def test_a_bidders_gain_is_that_of_the_audit_of_double_auctions(seed, step):
    """The other audit plays the auction as a mechanism; with a report for each clock it finds the same."""
    params, bids = auction(seed)
    values, costs = bids[0, :4], bids[1, :5]
    found = Misreports(params, False, 41, True)
    index = params.steps.index(step)
    gains, _, audited = found.gains(bids, np.array([index, index]))
    mechanism = double_dutch_mechanism(step, params.tick, params.psi, buyer_clock=20.0, seller_clock=0.0)
    other = incentive_regret(mechanism, values, costs, np.arange(0.0, 20.0 + step, step), epsilon=params.tick)
    assert found.exact
    assert audited.sum() == 9
    np.testing.assert_allclose(gains[0, :4], other.buyers, atol=1e-9)
    np.testing.assert_allclose(gains[1, :5], other.sellers, atol=1e-9)


def test_a_bidder_that_already_bids_its_best_multiple_gains_no_more():
    params, bids = auction(3)
    audit, pair_of_steps = Misreports(params, False, 41, True), np.array([7, 7])
    truthful, reports, _ = audit.gains(bids, pair_of_steps, np.ones(bids.shape))
    np.testing.assert_array_equal(truthful, audit.gains(bids, pair_of_steps)[0])
    side, bidder = np.unravel_index(truthful.argmax(), truthful.shape)
    factor = np.ones(bids.shape)
    factor[side, bidder] = reports[side, bidder] / bids[side, bidder]
    assert truthful[side, bidder] > 0.0
    assert audit.gains(bids, pair_of_steps, factor)[0][side, bidder] == pytest.approx(0.0, abs=1e-9)
    absurd = np.where(np.arange(bids.size).reshape(bids.shape) == side * 5 + bidder, 0.0 if side == 0 else 1e3, 1.0)
    lost = audit.gains(bids, pair_of_steps, absurd)[0][side, bidder]
    mechanism = double_dutch_mechanism(params.steps[7], params.tick, params.psi, buyer_clock=20.0, seller_clock=0.0)
    utility = mechanism(bids[0, :4], bids[1, :5]).utilities(bids[0, :4], bids[1, :5])[side][bidder]
    assert lost == pytest.approx(utility + truthful[side, bidder]), "who never trades has nothing but all to gain"


def test_no_report_between_two_clocks_gains_more():
    params, bids = auction(5)
    index = params.steps.index(0.75)
    gains, reports, _ = Misreports(params, False, 41, True).gains(bids, np.array([index, index]))
    mechanism = double_dutch_mechanism(0.75, params.tick, params.psi, buyer_clock=20.0, seller_clock=0.0)
    dense = incentive_regret(mechanism, bids[0, :4], bids[1, :5], np.linspace(0.0, 20.0, 321))
    np.testing.assert_allclose(gains[0, :4], dense.buyers, atol=1e-9)
    assert gains.max() > 0.0
    assert (reports[gains == 0.0] == bids[gains == 0.0]).all()


def test_where_the_auctioneer_looks_at_reports_more_of_them_never_find_less():
    params, bids = auction(6)
    coarse, fine = (
        Misreports(params, True, reports, refine).gains(bids, np.zeros(2, np.int64))[0]
        for reports, refine in ((5, False), (9, True))
    )
    assert (fine >= coarse).all()
    assert fine.max() > 0.0


def test_of_many_bidders_some_are_audited_where_the_auctioneer_looks_at_reports():
    params, bids = auction(8, buyers=13, sellers=4)
    few, every = Misreports(params, True, 3, False), Misreports(params, False, 3, False)
    gains, _, audited = few.gains(bids, np.zeros(2, np.int64))
    assert audited.sum(axis=1).tolist() == [10, 4]
    assert (gains[~audited] == 0.0).all()
    assert every.gains(bids, np.zeros(2, np.int64))[2].sum(axis=1).tolist() == [13, 4]


def test_without_a_seller_nobody_has_anything_to_gain():
    params, bids = auction(7)
    bids[1] = -1.0
    gains, _, audited = Misreports(params, False, 41, True).gains(bids, np.zeros(2, np.int64))
    assert (gains == 0.0).all()
    assert not audited.any(), "there is no auction, so it counts nothing"


def test_capacities_that_never_bind_leave_no_auction_to_audit():
    config = TwoTierGame.make_config(**{**SMALL, "capacity": (1e6, 1e6)})
    found = run_audit(played_by(config, oracle(), oracle(), pair(0.5, 0.5)), FEW)
    for name in ("buyer_regret", "seller_regret", "efficiency_loss"):
        assert np.isnan(found.value(name)), "without a buyer there is no auction"
    assert found.value("ir_violations") == 0.0
    assert "efficiency_loss" not in found.columns()


def test_followers_whose_expectations_fail_are_counted():
    """With capacities near zero most load is not served, and a share of the followers ends below nothing."""
    config = TwoTierGame.make_config(**{**SMALL, "capacity": (1e-3, 1e-3)})
    subject = played_by(config, ("cost_plus", {"margin": 2.0}), ("cost_plus", {"margin": 0.0}), pair(0.5, 0.5))
    found = run_audit(subject, FEW)
    utilities = []
    for episode in range(2):
        game = TwoTierGame(config, 1, ROLES, autoreset=False)
        game.reset(np.array([EVALUATION_SEED], np.uint64), np.array([episode], np.uint64), np.zeros(1, np.uint64))
        acts = [game.scripted(name, role, **settings) for role, (name, settings) in zip(
            ROLES, (("cost_plus", {"margin": 2.0}), ("cost_plus", {"margin": 0.0}), pair(0.5, 0.5)), strict=True
        )]  # fmt: skip
        for _ in range(config.rounds):
            for _phase in range(2):
                game.step({role: act() for role, act in zip(ROLES, acts, strict=True)})
            utilities.append(game.market.utility[0].copy())
    assert found.value("ir_violations") == pytest.approx(np.mean(np.array(utilities) < 0.0))
    assert found.value("ir_violations") > 0.5


def test_progress_is_reported_for_every_round_of_every_market():
    config, seen = TwoTierGame.make_config(**SMALL), []
    run_audit(
        played_by(config, ("scripted_margin", {}), ("scripted_margin", {}), ("scripted_pair", {})),
        AuditSettings(markets=3), lambda what, share: seen.append(share),
    )  # fmt: skip
    assert len(seen) == 3 * config.rounds
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)
