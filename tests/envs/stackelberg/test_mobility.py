"""Metrics of change from round to round, and what leaders see of customers that come and go."""

import itertools

import numpy as np
import pytest

from ioa_marl.envs.stackelberg.game import LEADERS, StackelbergGame
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.stackelberg import drivers, quality_of_experience
from ioa_marl.markets.stackelberg.kernels import MarketState
from ioa_marl.markets.stackelberg.records import StackelbergMetrics

ADDED = ("price_change", "share_stability", "qoe", "handovers")
BOTH = {"mobile_radius": 30.0, "fixed_radius": 120.0}
EVERYBODY = (*LEADERS, "wireless")


def make(n=3, roles=LEADERS, preset="dynamic", **settings):
    config = StackelbergGame.make_config(preset, mobility_metrics=True, **settings)
    game = StackelbergGame(config, n, roles, autoreset=False)
    game.full_metrics = False
    game.reset(np.full(n, 5, np.uint64), np.arange(n, dtype=np.uint64), np.full(n, 2, np.uint64))
    return game


def played(game, rng, watch=lambda market: None):
    """Play an episode with random low prices and shares; ``watch`` gets the market before every step."""
    while True:
        watch(game.market)
        actions = {
            role: rng.integers(4, 16, size=(game.num_envs, game.roles[role].count)) for role in game.controlled_roles
        }
        step = game.step(actions)
        if (step.terminated | step.truncated).all():
            return step


@pytest.mark.parametrize(
    ("roles", "settings"),
    [(LEADERS, {"preset": "dynamic", **BOTH}), (EVERYBODY, {"preset": "dynamic", "fading": "independent"}),
     (LEADERS, {"preset": "scarce"})],
)  # fmt: skip
def test_metrics_are_those_of_the_rounds_computed_anew(roles, settings):
    game, rng = make(roles=roles, rounds=6, **settings), np.random.default_rng(0)
    config = game.config
    rounds, links, conditions = [], [], {}

    def see(market):
        # The conditions of a round are those in which its leaders act.
        if (market.phase == 0).all():
            conditions[int(market.round[0])] = MarketState(*(array.copy() for array in market))

    original = drivers.close_round

    def close_round(market, *rest):
        rounds.append((market.price.copy(), market.share.copy(), market.buys.copy()))
        links.append(market.reach[:, :2].copy())
        return original(market, *rest)

    game._close = close_round
    step = played(game, rng, see)
    assert len(rounds) == 6
    for b in range(3):
        price = np.array([np.r_[p[b, 0, :3], p[b, 1, :3]] for p, _, _ in rounds])
        assert step.metrics["price_change"][b] == pytest.approx(np.abs(np.diff(price, axis=0)).mean())
        changes = [
            abs(now[1][b, n] - was[1][b, n])
            for was, now in itertools.pairwise(rounds)
            for n in range(config.wireless)
            if was[2][b, n] and now[2][b, n]
        ]
        assert step.metrics["share_stability"][b] == pytest.approx(1.0 - np.mean(changes))
        changed = [(now[b] != was[b]).mean() for was, now in itertools.pairwise(links)]
        assert step.metrics["handovers"][b] == pytest.approx(np.mean(changed))
        assert (np.mean(changed) > 0.05) == ("fixed_radius" in settings)
        qualities = []
        for round_, (_, share, buys) in enumerate(rounds):
            market, latency = conditions[round_], np.zeros((3, config.wireless))
            drivers.latencies_at(market, config.record(), share, latency)
            time = market.traits["slack"][b] - latency[b]  # 1 + ε − t
            qualities += list((market.traits["qoe_weight"][b] * np.log(time))[buys[b]])
        assert step.metrics["qoe"][b] == pytest.approx(np.mean(qualities))


def test_without_the_setting_there_are_the_metrics_of_before_and_play_is_the_same():
    settings = {"rounds": 4, **BOTH}
    plain = StackelbergGame(StackelbergGame.make_config("dynamic", **settings), 3, autoreset=False)
    assert plain.metric_names == StackelbergMetrics.names()
    assert StackelbergGame.metric_names == StackelbergMetrics.names()
    plain.full_metrics = False
    plain.reset(np.full(3, 5, np.uint64), np.arange(3, dtype=np.uint64), np.full(3, 2, np.uint64))
    watched = make(**settings)
    assert watched.metric_names == (*StackelbergMetrics.names(), *ADDED)
    one, other = (played(game, np.random.default_rng(3)) for game in (plain, watched))
    for name in plain.metric_names:
        np.testing.assert_array_equal(one.metrics[name], other.metrics[name])
    assert "mobility_totals" in watched.save()
    assert "mobility_totals" not in plain.save()


def test_the_quality_of_experience_is_that_of_the_plain_function_and_what_is_left_of_utility():
    game = make(preset="city", rounds=1, n=1)
    step = game.step({"mobile": np.full((1, 3), 8), "fixed": np.full((1, 3), 14)})
    market, config = game.market, game.config
    assert market.buys.all()
    qualities = quality_of_experience(config, market, market.share[0])
    assert step.metrics["qoe"][0] == pytest.approx(qualities.mean())
    share, traits = market.share[0], market.traits[0]
    paid = traits["load"] * (1.6 * share + 2.8 * (1.0 - share))
    part, whole = np.expm1(traits["exponent"] * share), np.expm1(traits["exponent"])
    energy = traits["mobile_energy"] * part + traits["fixed_energy"] * (whole - part)
    assert market.utility[0] == pytest.approx(qualities - paid - energy)
    with pytest.raises(ParameterError, match="shares"):
        quality_of_experience(config, market, 1.5)


def test_prices_and_shares_that_stay_are_perfectly_stable():
    game = make(preset="city", rounds=3, n=1)
    for _ in range(3):
        step = game.step({role: np.full((1, 3), 15) for role in LEADERS})
    assert step.metrics["price_change"][0] == 0.0
    assert step.metrics["share_stability"][0] == 1.0
    assert step.metrics["handovers"][0] == 0.0


def test_one_round_has_no_change_and_nobody_who_buys_no_quality():
    game = make(preset="scarce", rounds=1, n=1)
    step = game.step({role: np.full((1, 3), 50) for role in LEADERS})
    assert not game.market.buys.any()
    assert all(np.isnan(step.metrics[name][0]) for name in ADDED)


def test_each_episode_and_a_restored_one_have_sums_of_their_own():
    game, rng = make(rounds=4, **BOTH), np.random.default_rng(1)
    first = played(game, rng).metrics["price_change"].copy()
    game.next_episode()
    actions = [{role: rng.integers(51, size=(3, 3)) for role in LEADERS} for _ in range(4)]
    for action in actions[:2]:
        game.step(action)
    saved, ends = game.save(), []
    for _ in range(2):
        game.restore(saved)
        for action in actions[2:]:
            step = game.step(action)
        ends.append([step.metrics[name].copy() for name in ADDED])
    np.testing.assert_array_equal(ends[0], ends[1])
    assert (ends[0][0] != first).all()


def test_a_customer_has_its_own_place_where_customers_come_and_go():
    game = make(observation="customers", fixed_radius=40.0)
    assert game.roles["mobile"].observation_space.shape == (6 + 6 * 4,)
    assert game.roles["fixed"].observation_space.shape == (6 + 6 * 12,)
    market, visits = game.market, np.zeros((3, 12), int)
    for _ in range(5):
        step = game.step({role: np.full((3, 3), 15) for role in LEADERS})
        seen = step.observations["fixed"][:, :, 6:].reshape(3, 3, 12, 6)
        for b in range(3):
            for n in range(12):
                j = market.reach[b, 1, n]
                tasks = round(market.traits[b, n].load / market.nominal[b, n].load)
                assert tuple(seen[b, j, n, :3]) == tuple(tasks == k for k in (1, 2, 3))
                assert seen[b, j, n, 3] == pytest.approx(market.traits[b, n].load / 36.0)
                assert not np.delete(seen[b, :, n], j, axis=0).any(), "others do not see it"
                visits[b, n] |= 1 << int(j)
    assert (visits == 7).any(), "some wireless agent has been in the reach of all three"


def test_oracle_answers_and_observations_follow_the_links_of_the_round():
    game = make(n=2, action="box", **BOTH)
    act = {role: game.scripted("oracle", role) for role in LEADERS}
    game.full_metrics = True
    regrets = []
    for _ in range(5):
        game.step({role: a() for role, a in act.items()})
        regrets.append(game.market.totals["last_nash_conv"] / game.market.profit.sum(axis=(1, 2)))
    # Prices of links that are no longer there would be no equilibrium.
    assert np.median(regrets) < 1e-3
