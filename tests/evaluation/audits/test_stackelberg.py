"""Audits of leaders: nothing to gain at the equilibrium, the profit gain is 1 at the joint maximum, and brute force."""

import itertools

import numpy as np
import pytest

from ioa_marl.agents.baselines.scripted import ScriptedAgent, ScriptedConfig
from ioa_marl.envs.stackelberg.game import LEADERS, StackelbergGame
from ioa_marl.evaluation.audits.running import run_audit
from ioa_marl.evaluation.audits.stackelberg import welfare_optimum
from ioa_marl.evaluation.audits.subject import AuditSettings, Subject, scripted_subject
from ioa_marl.evaluation.playing import make_agent
from ioa_marl.foundations.seeds import EVALUATION_SEED
from ioa_marl.markets.stackelberg.equilibrium import answer_to, follower_utilities, maximise_joint_profit
from ioa_marl.markets.stackelberg.params import draw_markets

FEW = AuditSettings(markets=2)
SMALL = {"preset": "city", "wireless": 4, "mobile": 2, "fixed": 2, "rounds": 2}


def config_of(preset, **changes):
    return StackelbergGame.make_config(preset, **changes)


def posting(config, mobile, fixed, **where):
    """Return leaders that post one price for each side."""

    def make():
        probe = StackelbergGame(config, 1, LEADERS)
        return [
            make_agent(ScriptedAgent, ScriptedConfig("posted_pair", {"price": price}), probe, [role], 1)
            for role, price in zip(LEADERS, (mobile, fixed), strict=True)
        ]

    return Subject(StackelbergGame, config, LEADERS, make, **where)


def market_of(config, episode=0, instance=0):
    """Return the market of an evaluation episode, in its first round."""
    return draw_markets(config, [EVALUATION_SEED], [episode], [instance])


def test_at_the_equilibrium_nobody_gains_and_the_profit_gain_is_zero():
    found = run_audit(scripted_subject(StackelbergGame, config_of("paper", action="box"), "oracle"), FEW)
    assert 0.0 <= found.value("nash_conv") < 1e-5
    assert abs(found.value("profit_gain")) < 1e-6
    assert found.finding("profit_gain").kind == "exact"
    assert found.value("collusion_gain") > 70.0


def test_the_equilibrium_rounded_to_the_price_grid_is_cleared_and_high_prices_are_found():
    honest, planted = (
        run_audit(scripted_subject(StackelbergGame, config_of("city"), policy, **settings), FEW)
        for policy, settings in (("oracle", {}), ("posted_pair", {"price": 6.0}))
    )
    assert honest.value("relative_nash_conv") < 0.01
    assert planted.value("relative_nash_conv") > 0.5
    assert max(gain.value for gain in honest.gains) < 0.2 < 5.0 < max(gain.value for gain in planted.gains)


def test_at_the_joint_maximum_the_profit_gain_is_one_and_a_cartel_gains_nothing():
    config = config_of("paper", action="box")
    joint = maximise_joint_profit(config, market_of(config))
    found = run_audit(posting(config, float(joint.mobile_prices[0]), float(joint.fixed_prices[0])), FEW)
    assert found.value("profit_gain") == pytest.approx(1.0, abs=1e-5)
    assert found.value("collusion_gain") == pytest.approx(0.0, abs=1e-4)
    assert found.value("monopoly_at_cap") == 0.5, "one of the two posts the cap there"
    assert found.value("regret") > 10.0


def test_what_a_cartel_gains_is_what_enumeration_of_price_pairs_finds():
    config = config_of("paper", action="box")
    found, market = run_audit(posting(config, 3.0, 4.0), FEW), market_of(config)
    present = answer_to(config, market, 3.0, 4.0).leader_profit
    grid = np.linspace(0.0, 10.0, 51)
    best = max(answer_to(config, market, i, j).leader_profit for i, j in itertools.product(grid, grid))
    assert best - present <= found.value("collusion_gain") + 1e-9
    assert found.value("collusion_gain") < 1.02 * (best - present)


def test_everybody_at_the_cap_has_regret():
    found = run_audit(posting(config_of("paper"), 10.0, 10.0), FEW)
    assert found.value("regret") > 10.0
    assert found.value("profit_gain") > 0.9
    assert found.columns()["regret"] == found.value("regret")


def test_a_leaders_gain_is_that_of_a_dense_enumeration_of_its_prices():
    config, instance, episode = config_of(**SMALL), 7, 5
    found = run_audit(posting(config, 4.0, 3.0, instance=instance, first_episode=episode), AuditSettings(markets=2))
    gains = {gain.who: gain.value for gain in found.gains}
    step = 0.02
    for side, leader in itertools.product(range(2), range(2)):
        name, total = ("mobile_profits", "fixed_profits")[side], 0.0
        for e in (episode, episode + 1):
            market = market_of(config, e, instance)
            present = getattr(answer_to(config, market, 4.0, 3.0), name)[leader]

            def profit(price, market=market, name=name, side=side, leader=leader):
                prices = [np.full(2, 4.0), np.full(2, 3.0)]
                prices[side][leader] = price
                return getattr(answer_to(config, market, *prices), name)[leader]

            total += max(profit(price) for price in np.arange(0.0, 10.0 + step / 2, step)) - present
        brute = total / 2.0
        most_load = 1.2 * config.workload * config.wireless
        assert brute <= gains[f"{LEADERS[side]}_{leader}"] + 1e-9
        assert gains[f"{LEADERS[side]}_{leader}"] - brute < step * most_load
    assert found.value("nash_conv") == pytest.approx(sum(gains.values()))
    assert found.value("regret") == pytest.approx(sum(gains.values()) / 4)


@pytest.mark.parametrize("preset", ["city", "dynamic"])
def test_conditions_of_every_round_are_those_in_which_it_was_played(preset):
    """The market's own metrics, which are computed before the next round is drawn, say the same."""
    subject = scripted_subject(StackelbergGame, config_of(preset, rounds=10), "cost_plus", margin=1.0)
    found, metrics = run_audit(subject, AuditSettings(markets=4)), subject.play(4)
    for name in ("nash_conv", "profit_gain", "monopoly_at_cap", "pure_equilibrium"):
        assert found.value(name) == pytest.approx(np.nanmean(metrics[name]), rel=1e-9, abs=1e-9), name
    assert found.finding("nash_conv").standard_error == pytest.approx(metrics["nash_conv"].std(ddof=1) / 2.0)
    assert found.finding("collusion_gain").kind == "lower bound"


def test_profit_gain_above_zero_is_an_upper_bound_where_the_joint_maximum_is_searched():
    config = config_of("city")
    above, below = (run_audit(posting(config, price, price), FEW) for price in (6.0, 2.0))
    assert above.value("profit_gain") > 0.0
    assert above.finding("profit_gain").kind == "upper bound"
    assert below.value("profit_gain") < 0.0
    assert below.finding("profit_gain").kind == "lower bound"


def test_no_prices_are_more_efficient_than_unit_costs():
    config = config_of("paper", action="box")
    at_cost = run_audit(scripted_subject(StackelbergGame, config, "cost_plus", margin=0.0), FEW)
    assert at_cost.value("efficiency_loss") == pytest.approx(0.0, abs=1e-9)
    market = market_of(config)
    optimum = float(welfare_optimum(config, market, np.ones(1, np.bool_))[0])
    for mobile, fixed in itertools.product(np.linspace(0.0, 10.0, 21), repeat=2):
        outcome = answer_to(config, market, mobile, fixed)
        assert outcome.utilities.sum() + outcome.leader_profit <= optimum + 1e-9
    outcome = answer_to(config, market, 6.0, 9.0)
    loss = 1.0 - (outcome.utilities.sum() + outcome.leader_profit) / optimum
    assert run_audit(posting(config, 6.0, 9.0), FEW).value("efficiency_loss") == pytest.approx(loss)
    assert loss > 1e-4


def test_prices_below_cost_are_a_loss_of_the_leaders_and_of_nobody_else():
    found = run_audit(posting(config_of("city"), 0.2, 1.0), FEW)
    assert found.value("leader_losses") > 3.0
    assert found.value("ir_violations") == 0.0


@pytest.mark.parametrize("mobility", ["paid_by_follower", "as_printed"])
def test_the_residual_is_what_followers_pay_less_what_mobile_agents_are_credited(mobility):
    config = config_of("city", mobility=mobility, mobility_weight=0.5, mobility_offset=0.9, rounds=3)
    found, residuals = run_audit(posting(config, 2.0, 3.0), FEW), []
    for episode in range(2):
        market = market_of(config, episode)
        shares, traits = answer_to(config, market, 2.0, 3.0).shares, market.traits[0]
        paid = shares * traits["load"] * 2.0
        residuals.append(config.rounds * float((paid * (1.0 - traits["mobility_factor"])).sum()))
    if mobility == "as_printed":
        assert abs(np.mean(residuals)) > 0.1
        assert found.value("budget_residual") == pytest.approx(np.mean(residuals))
    else:
        assert found.value("budget_residual") == 0.0


def test_followers_with_a_coarse_choice_lose_what_an_enumeration_of_shares_finds():
    config = config_of(**SMALL, share_levels=3)
    subject = scripted_subject(StackelbergGame, config, "best_response")
    followers = Subject(
        StackelbergGame, config, (*LEADERS, "wireless"),
        lambda: [
            *posting(config, 2.0, 3.0).make_agents(),
            make_agent(
                ScriptedAgent, ScriptedConfig("best_response"),
                StackelbergGame(config, 1, ["wireless"]), ["wireless"], 1,
            ),
        ],
    )  # fmt: skip
    found = run_audit(followers, FEW)
    losses = []
    for episode in range(2):
        market = market_of(config, episode)
        shares = answer_to(config, market, 2.0, 3.0).shares
        chosen = follower_utilities(config, market, 2.0, 3.0, np.rint(shares * 2.0) / 2.0)
        dense = [follower_utilities(config, market, 2.0, 3.0, share) for share in np.linspace(0.0, 1.0, 1001)]
        losses.append((np.max(dense, axis=0) - chosen).mean())
    assert np.mean(losses) > 0.01
    assert found.value("follower_regret") == pytest.approx(np.mean(losses), rel=1e-3)
    assert found.notes
    assert "follower_regret" not in [finding.name for finding in run_audit(subject, FEW).findings]


def test_progress_reaches_the_end_and_markets_are_as_many_as_requested():
    seen = []
    config = config_of("city", rounds=4)
    found = run_audit(
        posting(config, 2.0, 3.0), AuditSettings(markets=4), lambda what, share: seen.append((what, share))
    )
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert len(shares) == 4 * config.rounds
    halves = [run_audit(posting(config, 2.0, 3.0, first_episode=e), FEW).value("nash_conv") for e in (0, 2)]
    assert found.value("nash_conv") == pytest.approx(np.mean(halves))
    assert halves[0] != halves[1]
