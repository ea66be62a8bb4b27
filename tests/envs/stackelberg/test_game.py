"""How the Stackelberg market is played and scored: rewards, metrics, ledger, scripted policies."""

import time

import numpy as np
import pytest

from ioa_marl.envs.stackelberg.game import LEADERS, StackelbergGame
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.stackelberg.equilibrium import (
    answer_to,
    maximise_joint_profit,
    nash_conv,
    solve_equilibrium,
)
from ioa_marl.markets.stackelberg.params import draw_markets
from ioa_marl.markets.stackelberg.references import best_posted_pair


def make(preset="city", n=1, controlled_roles=None, instance=3, seed=0, **settings):
    game = StackelbergGame(StackelbergGame.make_config(preset, **settings), n, controlled_roles, autoreset=False)
    seeds, streams = np.full(n, seed, np.uint64), np.arange(n, dtype=np.uint64)
    game.reset(seeds, streams, np.full(n, instance, np.uint64))
    return game


def play(game, policy, **settings):
    acts = {role: game.scripted(policy, role, **settings) for role in LEADERS}
    while True:
        step = game.step({role: act() for role, act in acts.items()})
        if (step.terminated | step.truncated).all():
            return step


def mean_nash_conv(policy, preset="city", n=40, settings=None, **changes):
    return float(play(make(preset, n, seed=2**63, **changes), policy, **(settings or {})).metrics["nash_conv"].mean())


def test_rewards_and_metrics_are_those_of_the_market_at_the_posted_prices():
    game = make()
    config, market, regrets, apart = game.config, draw_markets(game.config, [0], [0], [3]), [], []
    found = solve_equilibrium(config, market)
    assert len(found.equilibria) == 1
    for round_ in range(config.rounds):
        indices = {role: np.full((1, 3), 8 + 4 * side + round_ % 3) for side, role in enumerate(LEADERS)}
        step = game.step(indices)
        prices = [indices[role][0] * 0.2 for role in LEADERS]
        outcome = answer_to(config, market, *prices)
        # 40 Mbit are the mean load in a leader's reach.
        assert step.rewards["mobile"][0] == pytest.approx(outcome.mobile_profits / 40, rel=1e-6)
        assert step.rewards["fixed"][0] == pytest.approx(outcome.fixed_profits / 40, rel=1e-6)
        regrets.append(nash_conv(config, market, *prices).total)
        apart += [np.abs(found.mobile_prices - prices[0]), np.abs(found.fixed_prices - prices[1])]
    metrics = {name: float(values[0]) for name, values in step.metrics.items()}
    assert metrics["nash_conv"] == pytest.approx(np.mean(regrets))
    assert metrics["last_nash_conv"] == pytest.approx(regrets[-1])
    assert regrets[-1] != pytest.approx(np.mean(regrets), rel=0.01)
    profit = found.outcome.leader_profit
    assert metrics["relative_nash_conv"] == pytest.approx(metrics["nash_conv"] / profit)
    assert metrics["relative_profit"] == pytest.approx(metrics["leader_profit"] / profit)
    joint = maximise_joint_profit(config, market).profit
    assert metrics["profit_gain"] == pytest.approx((metrics["leader_profit"] - profit) / (joint - profit))
    assert metrics["price_distance"] == pytest.approx(np.mean(apart))
    assert metrics["pure_equilibrium"] == 1.0
    assert metrics["social_welfare"] == pytest.approx(metrics["leader_profit"] + metrics["follower_welfare"])


def test_a_cartel_that_ends_in_equilibrium_is_not_forgiven():
    # The cap in 19 rounds and the equilibrium in the last one: the last prices alone would have a score near 1.
    game = make("paper", action="box")
    oracle = {role: game.scripted("oracle", role) for role in LEADERS}
    for _ in range(19):
        game.step({role: np.ones((1, 1, 1)) for role in LEADERS})
    step = game.step({role: act() for role, act in oracle.items()})
    zero = mean_nash_conv("cost_plus", "paper", n=1)
    assert step.metrics["last_nash_conv"][0] < 0.01 * zero
    assert step.metrics["nash_conv"][0] > 10 * zero
    assert 0.8 < step.metrics["profit_gain"][0] < 1.0


def test_profit_gain_is_zero_in_equilibrium_and_not_a_number_where_none_was_found():
    step = play(make("paper", action="box"), "oracle")
    assert step.metrics["profit_gain"][0] == pytest.approx(0.0, abs=1e-6)
    assert step.metrics["relative_profit"][0] == pytest.approx(1.0, abs=1e-6)
    assert step.metrics["price_distance"][0] == pytest.approx(0.0, abs=1e-6)
    assert step.metrics["monopoly_at_cap"][0] == 0.5  # the fixed agent's price; the mobile one undercuts it
    without = play(make("kinked", action="box", instance=1, rounds=2), "oracle")
    assert without.metrics["equilibria"][0] == 0.0
    assert np.isnan(without.metrics["profit_gain"][0])
    assert np.isfinite(without.metrics["nash_conv"][0])


def test_a_saved_episode_goes_on_with_its_figures():
    game = make("dynamic", rounds=6)
    act = {role: game.scripted("cost_plus", role) for role in LEADERS}
    for _ in range(3):
        game.step({role: a() for role, a in act.items()})
    saved, ends = game.save(), []
    for _ in range(2):
        game.restore(saved)
        for _ in range(3):
            step = game.step({role: a() for role, a in act.items()})
        ends.append({name: float(values[0]) for name, values in step.metrics.items()})
    assert ends[0] == pytest.approx(ends[1], nan_ok=True)
    assert np.isfinite(ends[0]["nash_conv"])


def test_ledger_says_who_paid_what_over_the_episode():
    game = make("scarce")
    play(game, "cost_plus")
    ledger = game.ledger()[0]
    assert abs(ledger.sum()) < 1e-9
    sold = answer_to(game.config, game.market, *(game.market.price[0, side, :3] for side in range(2)))
    assert ledger[12:15] == pytest.approx(20 * sold.mobile_sales * game.market.price[0, 0, :3])
    assert ledger[15:18] == pytest.approx(20 * sold.fixed_sales * game.market.price[0, 1, :3])
    assert (ledger[:12] <= 0).all()


def test_wireless_agents_that_learn_are_asked_after_the_leaders_and_never_buy_at_a_loss():
    game = make("scarce", controlled_roles=("mobile", "fixed", "wireless"))
    acts = {role: game.scripted("cost_plus", role) for role in LEADERS}
    acts["wireless"] = lambda: np.full((1, 12), 20)
    first = game.step({role: act() for role, act in acts.items()})
    assert first.active["wireless"].all()
    assert not first.active["mobile"].any()
    assert not first.rewards["mobile"].any()
    second = game.step({role: act() for role, act in acts.items()})
    assert second.active["mobile"].all()
    assert (second.rewards["wireless"] >= 0).all()
    assert set(np.unique(game.market.share)) <= {0.0, 1.0}
    assert second.rewards["wireless"][0] == pytest.approx(game.market.utility[0], rel=1e-6)


def test_answers_on_the_grid_of_shares_are_nearly_as_good_as_exact_ones():
    exact, controlled_roles = make(controlled_roles=LEADERS), make(controlled_roles=("mobile", "fixed", "wireless"))
    prices = {role: np.full((1, 3), 9 + 5 * side) for side, role in enumerate(LEADERS)}
    exact.step(prices)
    act = controlled_roles.scripted("best_response", "wireless")
    controlled_roles.step({**prices, "wireless": np.zeros((1, 12), int)})
    controlled_roles.step({**prices, "wireless": act()})
    assert np.abs(controlled_roles.market.share - exact.market.share).max() <= 0.025 + 1e-9
    loss = exact.market.utility - controlled_roles.market.utility
    assert (loss >= -1e-9).all()
    assert loss.max() < 0.5


def test_box_actions_are_shares_of_the_price_cap():
    game = make(action="box")
    game.step({"mobile": np.full((1, 3, 1), 0.25), "fixed": np.full((1, 3, 1), 0.5)})
    assert (game.market.price[0, 0] == 2.5).all()
    assert (game.market.price[0, 1] == 5.0).all()


@pytest.mark.parametrize("preset", ["paper", "city"])
def test_policies_are_ranked_as_they_should_be(preset):
    zero = mean_nash_conv("cost_plus", preset)
    oracle = mean_nash_conv("oracle", preset)
    assert 1 - oracle / zero > 0.98  # what is left is the price grid
    assert mean_nash_conv("oracle", preset, action="box") < 0.02 * zero
    assert oracle <= mean_nash_conv("best_response", preset) + 0.02 * zero
    assert oracle <= mean_nash_conv("posted_pair", preset)
    assert mean_nash_conv("greedy", preset) == mean_nash_conv("best_response", preset)
    assert mean_nash_conv("cost_plus", preset, settings={"margin": 2.0}) != zero


def test_best_pair_beats_every_other_pair_on_its_own_markets():
    config = StackelbergGame.make_config("paper")
    pair = best_posted_pair(config, 51, 0)
    market = draw_markets(config, [0])
    regrets = {
        (p_i, p_j): nash_conv(config, market, p_i, p_j).total
        for p_i in np.arange(0, 51, 2) * 0.2
        for p_j in np.arange(0, 51, 2) * 0.2
    }
    assert nash_conv(config, market, *pair).total <= min(regrets.values()) + 1e-9


def test_posted_pair_is_that_of_each_markets_instance():
    game = StackelbergGame(StackelbergGame.make_config("city"), 2, autoreset=False)
    game.reset(np.array([7, 7], np.uint64), None, np.array([1, 2], np.uint64))
    for side, role in enumerate(LEADERS):
        actions = game.scripted("posted_pair", role)()
        for b, instance in enumerate((1, 2)):
            np.testing.assert_allclose(actions[b] * 0.2, best_posted_pair(game.config, 51, instance)[side])
    assert (game.scripted("posted_pair", "mobile", price=2.0)() == 10).all()


def test_best_response_answers_the_prices_last_seen():
    game = make()
    game.step({"mobile": np.full((1, 3), 15), "fixed": np.full((1, 3), 20)})
    actions = game.scripted("best_response", "mobile")()
    for leader in range(3):
        profits = []
        for index in range(51):
            prices = np.full(3, 3.0)
            prices[leader] = index * 0.2
            profits.append(answer_to(game.config, game.market, prices, 4.0).mobile_profits[leader])
        assert profits[actions[0, leader]] >= max(profits) - 1e-9


def test_oracle_in_a_cycling_market_plays_the_prices_of_lowest_nash_conv():
    game = make("kinked", action="box", instance=1)
    found = solve_equilibrium(game.config, game.market)
    assert not found.converged
    step = play(game, "oracle")
    assert step.metrics["nash_conv"][0] == pytest.approx(found.nash_conv, rel=1e-3)
    assert step.metrics["pure_equilibrium"][0] == 0.0


def test_oracle_follows_conditions_that_change():
    game = make("dynamic", action="box")
    act = {role: game.scripted("oracle", role) for role in LEADERS}
    posted = []
    for _ in range(3):
        game.step({role: a() for role, a in act.items()})
        posted.append(game.market.price.copy())
    assert not np.array_equal(posted[0], posted[1])


def test_nothing_beats_the_reference():
    config = StackelbergGame.make_config("city")
    seeds = np.arange(4, dtype=np.uint64)
    bound = StackelbergGame.reference(config, seeds, seeds, seeds)["leaders"]
    assert (bound == 0.0).all()
    for policy in ("oracle", "cost_plus", "best_response", "posted_pair"):
        assert (play(make(n=4), policy).metrics["nash_conv"] >= bound).all()


def test_metrics_that_need_a_search_are_left_out_on_request():
    game = make()
    game.full_metrics = False
    metrics = play(game, "cost_plus").metrics
    assert np.isnan(metrics["nash_conv"]).all()
    assert np.isfinite(metrics["leader_profit"]).all()


def test_nash_conv_of_two_thousand_episodes_takes_seconds():
    game = make(n=2000, rounds=1)
    acts = {role: game.scripted("cost_plus", role)() for role in LEADERS}
    game.full_metrics = False
    game.step(acts)
    from ioa_marl.markets.stackelberg.drivers import nash_conv_of_markets

    market, mask, total = game.market, np.ones(2000, np.bool_), np.zeros(2000)
    gain = np.zeros_like(market.price)
    began = time.perf_counter()
    nash_conv_of_markets(market, game.params, mask, market.price, game.config.scan(), gain, total)
    assert time.perf_counter() - began < 10.0  # about 1 s on an idle core
    assert (total > 0).all()


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("action", {"action": "continuous"}),
        ("price_levels", {"price_levels": 1}),
        ("share_levels", {"share_levels": 2.0}),
        ("observation", {"observation": "all"}),
        ("observation", {"redraw": "episode"}),
        ("instance", {"instance": -1}),
        ("max_cycles", {"max_cycles": 0}),
    ],
)
def test_settings_of_the_environment_are_checked(key, changes):
    with pytest.raises(ParameterError) as caught:
        StackelbergGame.make_config("city", **changes)
    assert caught.value.name == key


@pytest.mark.parametrize(
    ("policy", "setting"), [("cost_plus", {"margin": -0.1}), ("cost_plus", {"margin": float("nan")}),
                            ("posted_pair", {"price": 10.5})],
)  # fmt: skip
def test_settings_of_policies_are_checked(policy, setting):
    with pytest.raises(ParameterError):
        make().scripted(policy, "mobile", **setting)
