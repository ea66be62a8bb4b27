"""The slicing market as a game: what simple policies achieve, and who pays what."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.foundations.seeds import CALIBRATION_SEED, EVALUATION_SEED
from ioa_marl.markets.vcg_slicing.optimum import clarke_payments, welfare_optimum
from ioa_marl.markets.vcg_slicing.params import SLICE_REWARDS

INSTANCES = 60


def make(preset=None, num_envs=INSTANCES, controlled_roles=None, seed=11, instances=None, **settings):
    """A game on different instances from one seed, at the start of its first episode."""
    game = VCGSlicingGame(VCGSlicingGame.make_config(preset, **settings), num_envs, controlled_roles, autoreset=False)
    given = np.arange(num_envs) if instances is None else instances
    game.reset(np.full(num_envs, seed, np.uint64), instances=np.asarray(given, np.uint64))
    return game


def random_play(game, seed=0):
    rng = np.random.default_rng(seed)
    spaces_of = {name: role.action_space for name, role in game.roles.items()}

    def act(name):
        shape = (game.num_envs, game.roles[name].count)
        space = spaces_of[name]
        if isinstance(space, spaces.MultiDiscrete):
            return rng.integers(0, space.nvec, (*shape, len(space.nvec)))
        return rng.integers(0, space.n, shape)

    return act


def play(game, **policies):
    """Play an episode; each role's policy is a scripted one by name, or a function; returns metrics and rewards."""
    rewards = {role: np.zeros((game.num_envs, game.roles[role].count)) for role in game.controlled_roles}
    players = {role: game.scripted(p, role) if isinstance(p, str) else p for role, p in policies.items()}
    while True:
        step = game.step({role: player() for role, player in players.items()})
        for role, values in step.rewards.items():
            rewards[role] += values
        if (step.terminated | step.truncated).all():
            return {name: values.copy() for name, values in step.metrics.items()}, rewards


def ratios(preset, policy, num_envs=INSTANCES):
    game = make(preset, num_envs)
    act = random_play(game)
    metrics, _ = play(game, slice=(lambda: act("slice")) if policy == "random" else policy)
    return metrics["welfare_ratio"], metrics["final_ratio"]


@pytest.mark.parametrize(
    ("policy", "mean", "final"),
    [
        ("random", 0.765, None),
        ("equal_split", 0.855, 0.855),
        ("hold", 0.845, 0.845),
        ("kelly", 0.935, 0.937),
        ("greedy", 0.983, 0.989),
        ("oracle", 0.992, 0.999),
    ],
)
def test_share_of_the_optimum_with_ten_providers(policy, mean, final):
    during, last = ratios("paper", policy)
    assert during.mean() == pytest.approx(mean, abs=0.01)
    assert final is None or last.mean() == pytest.approx(final, abs=0.005)


@pytest.mark.parametrize(("policy", "mean"), [("equal_split", 0.67), ("greedy", 0.91), ("oracle", 0.98)])
def test_share_of_the_optimum_with_fifty_providers(policy, mean):
    during, _ = ratios("n50", policy, 12)
    assert during.mean() == pytest.approx(mean, abs=0.015)


def test_holding_is_the_best_constant_change():
    # Every change that all make alike, on markets that are neither trained nor scored on.
    config = VCGSlicingGame.make_config()
    actions = np.array(list(itertools.product(range(7), repeat=3)))
    markets = 10
    game = VCGSlicingGame(config, len(actions) * markets, autoreset=False)
    streams = np.tile(np.arange(markets), len(actions)).astype(np.uint64)
    game.reset(np.full(game.num_envs, CALIBRATION_SEED, np.uint64), streams, streams)
    chosen = np.repeat(actions, markets, axis=0)[:, None, :].repeat(10, axis=1)
    metrics, _ = play(game, slice=lambda: chosen)
    means = metrics["welfare_ratio"].reshape(len(actions), markets).mean(axis=1)
    held = means[np.flatnonzero(np.all(actions == config.hold, axis=1))[0]]
    assert means.max() <= held + 1e-6


@pytest.mark.parametrize("policy", ["random", "greedy", "oracle"])
def test_no_policy_beats_the_reference(policy):
    game = make()
    seeds, streams = np.full(INSTANCES, 11, np.uint64), np.arange(INSTANCES).astype(np.uint64)
    bound = VCGSlicingGame.reference(game.config, seeds, streams, streams)["slice"]
    act = random_play(game)
    metrics, _ = play(game, slice=(lambda: act("slice")) if policy == "random" else policy)
    np.testing.assert_array_equal(metrics["optimal_welfare"], bound)
    assert np.all(metrics["welfare"] <= bound)
    assert np.all(game.market.history <= bound[:, None] * (1 + 1e-10))
    assert bound[3] == pytest.approx(welfare_optimum(game.market.worth[3], game.market.rate[3]).welfare)


def test_reference_follows_redrawn_types():
    config = VCGSlicingGame.make_config(redraw="episode", observation="extended")
    game = VCGSlicingGame(config, 4, autoreset=False)
    seeds = np.full(4, EVALUATION_SEED, np.uint64)
    game.reset(seeds)
    first = play(game, slice="oracle")[0]["optimal_welfare"]
    streams = np.arange(4).astype(np.uint64)
    np.testing.assert_array_equal(VCGSlicingGame.reference(config, seeds, streams, seeds)["slice"], first)
    game.next_episode()
    metrics, _ = play(game, slice="oracle")
    assert not np.any(metrics["optimal_welfare"] == first)
    assert metrics["welfare_ratio"].mean() > 0.985


def test_providers_stay_the_same_over_the_episodes_of_an_instance():
    game = make(num_envs=2, instances=[4, 4])
    first = play(game, slice="hold")[0]
    start = game.market.share.copy()
    game.next_episode()
    later = play(game, slice="hold")[0]
    np.testing.assert_array_equal(first["optimal_welfare"], later["optimal_welfare"])
    assert first["optimal_welfare"][0] == first["optimal_welfare"][1]
    assert not np.any(start == game.market.share)


def test_types_new_every_episode_need_marginal_utilities_to_be_seen():
    with pytest.raises(ParameterError, match=r"^observation=paper is not allowed: use extended with redraw=episode"):
        VCGSlicingGame.make_config(redraw="episode")


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("providers", {"providers": 1}),
        ("rate", {"rate": (0.0, 0.0)}),
        ("rate", {"rate": (0.0, 9e-5)}),
        ("instance", {"instance": 7, "redraw": "episode", "observation": "extended"}),
    ],
)
def test_markets_without_a_scale_or_with_settings_without_effect_are_refused(key, settings):
    with pytest.raises(ParameterError, match=rf"^{key}=.* is not allowed: use [^\n]+$"):
        VCGSlicingGame.make_config(**settings)


def solve_markets_beyond_the_settings(game):
    """Solve markets with rates far below what settings allow: some of them defeat the solver."""
    for seed in range(1000):
        game.market.rate[0] = np.maximum(np.random.default_rng(seed).uniform(-2e-6, 1e-6, (10, 3)), 0)
        game.market.known[0] = 1
        game.optima.solve(np.ones(1, np.bool_))


def test_an_optimum_that_is_not_certified_is_no_end_of_the_scale():
    game = make(num_envs=1)
    with pytest.raises(ArithmeticError, match=r"certified only to .* of itself, not to 1e-08"):
        solve_markets_beyond_the_settings(game)


@pytest.mark.parametrize("controlled_roles", [("slice",), ("slice", "vsp")])
def test_without_full_metrics_only_what_needs_no_optimum_is_computed(controlled_roles):
    whole, quick = (make(num_envs=3, controlled_roles=controlled_roles, rounds=8) for _ in range(2))
    quick.full_metrics = False
    outcomes = []
    for game in (whole, quick):
        act = random_play(game)
        outcomes.append(play(game, **{role: functools.partial(act, role) for role in game.controlled_roles}))
    known = {"welfare", "payments"} if "vsp" in controlled_roles else {"welfare"}
    for name, values in outcomes[1][0].items():
        if name in known:
            np.testing.assert_allclose(values, outcomes[0][0][name], rtol=1e-12)
        else:
            assert np.all(np.isnan(values)), name
    assert not np.any(quick.market.known == 2)
    np.testing.assert_array_equal(quick.ledger(), whole.ledger() if "vsp" in controlled_roles else np.zeros((3, 11)))
    for role in controlled_roles:
        np.testing.assert_array_equal(outcomes[0][1][role], outcomes[1][1][role])


def test_payments_of_the_last_allocation_are_clarke_payments():
    game = make(num_envs=5)
    metrics, _ = play(game, slice="greedy")
    for b in range(5):
        market = game.market
        without = clarke_payments(market.worth[b], market.rate[b]).welfare_without
        pays = without - (market.utility[b].sum() - market.utility[b])
        assert metrics["overcharged"][b] == np.sum(pays > market.utility[b] + 1e-6)


@pytest.mark.parametrize("policy", ["oracle", "greedy", "equal_split"])
def test_payments_every_round_and_payments_worked_out_at_the_end_agree(policy):
    late, every = make(num_envs=4), make(num_envs=4, controlled_roles=("slice", "vsp"))
    first, _ = play(late, slice=policy)
    second, _ = play(every, slice=policy, vsp="truthful")
    np.testing.assert_allclose(late.ledger(), every.ledger(), rtol=1e-7)
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-7)


def test_what_is_paid_is_received():
    for game in (make(num_envs=4), make(num_envs=4, controlled_roles=("slice", "vsp")), make("city", 1)):
        act = random_play(game)
        metrics, _ = play(game, **{role: functools.partial(act, role) for role in game.controlled_roles})
        ledger = game.ledger()
        assert np.all(np.abs(ledger.sum(axis=1)) <= 1e-9)
        assert np.all(ledger[:, ::-1].sum(axis=1) == 0.0)
        np.testing.assert_allclose(ledger[:, -1] / 50, metrics["payments"], rtol=1e-12)


def test_reward_of_a_provider_is_utility_less_payment():
    game = make(num_envs=3, controlled_roles=("vsp",))
    _, rewards = play(game, vsp="truthful")
    mean_worth = game.market.worth.mean(axis=1, keepdims=True)
    expected = (game.market.total_utility + game.ledger()[:, :-1]) / mean_worth
    np.testing.assert_allclose(rewards["vsp"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("multiplier", [0.5, 0.8, 1.3, 1.5])
def test_lying_alone_does_not_pay_where_slices_follow_the_reports(multiplier):
    game = make(num_envs=10, instances=[2] * 10, controlled_roles=("vsp",), seed=5)
    streams = np.zeros(10, np.uint64)
    game.reset(np.full(10, 5, np.uint64), streams, np.full(10, 2, np.uint64))
    truth = np.full((10, 10), game.config.truth)
    _, honest = play(game, vsp=lambda: truth)
    game.reset(np.full(10, 5, np.uint64), streams, np.full(10, 2, np.uint64))
    lies = truth.copy()
    np.fill_diagonal(lies, game.config.multipliers.index(multiplier))  # in market b, provider b lies
    _, lying = play(game, vsp=lambda: lies)
    gains = np.diag(lying["vsp"] - honest["vsp"])
    # Slices move in steps of 10%, so that a lie may by chance lead to a slightly better allocation.
    assert gains.max() < 0.01 * 50
    assert gains.mean() < 0


def test_reports_move_the_slices_and_only_reports_enter_payments():
    game = make(num_envs=1, controlled_roles=("slice", "vsp"))
    lies = np.full((1, 10), game.config.truth)
    lies[0, 3] = game.config.multipliers.index(1.5)
    play(game, slice="oracle", vsp=lambda: lies)
    market = game.market
    reports = market.worth[0] * np.where(np.arange(10) == 3, 1.5, 1.0)
    outcome = clarke_payments(reports, market.rate[0])
    reported = reports / market.worth[0] * market.utility[0]
    np.testing.assert_allclose(market.payment[0], outcome.welfare_without - (reported.sum() - reported), rtol=1e-6)
    held, wanted = market.share[0], outcome.optimum.shares
    assert np.abs(held - wanted)[wanted > 0.05].max() < 0.05


@pytest.mark.parametrize("redraw", ["never", "episode"])
def test_oracle_that_is_asked_in_every_phase_follows_the_reports_of_the_round(redraw):
    game = make(num_envs=3, controlled_roles=("slice", "vsp"), rounds=3, redraw=redraw, observation="extended")
    kept, act = game.scripted("oracle", "slice"), random_play(game)
    differing = 0
    for _ in range(6):
        actions = kept()
        np.testing.assert_array_equal(actions, game.scripted("oracle", "slice")())
        step = game.step({"slice": actions, "vsp": act("vsp")})
        differing += np.any(kept() != actions)
    assert (step.terminated | step.truncated).all()
    assert differing == 6  # reports and shares were new at every step


def test_slices_see_their_shares_and_with_extended_their_marginal_utilities():
    game = make(num_envs=2, observation="extended")
    seen = game.step({"slice": np.full((2, 10, 3), 4)}).observations["slice"].astype(np.float64)
    market = game.market
    ratio = seen / (1 - seen)
    np.testing.assert_allclose(ratio[..., :3], market.share * 10, rtol=1e-5)
    np.testing.assert_allclose(ratio[..., 3:6], (1 - market.share) / 9 * 10, rtol=1e-5)
    # Marginal utilities by differences, in units of mean β times mean ξ.
    step = 1e-6
    benefit = np.sum(market.rate * market.share, axis=2)
    for resource in range(3):
        more = -market.worth * np.expm1(-(benefit + market.rate[..., resource] * step))
        marginal = (more - market.utility) / step / (150.0 * 5.0)
        np.testing.assert_allclose(ratio[..., 6 + resource], marginal, rtol=1e-3)
        others = (marginal.sum(axis=1, keepdims=True) - marginal) / 9
        np.testing.assert_allclose(ratio[..., 9 + resource], others, rtol=1e-3)


def test_order_of_the_providers_does_not_matter():
    game, moved = make(num_envs=1), make(num_envs=1)
    order = np.random.default_rng(3).permutation(10)
    for name in ("worth", "rate", "share", "utility"):
        getattr(moved.market, name)[0] = getattr(game.market, name)[0][order]
    actions = np.random.default_rng(4).integers(0, 7, (1, 10, 3))
    first, second = game.step({"slice": actions}), moved.step({"slice": actions[:, order]})
    np.testing.assert_allclose(second.observations["slice"], first.observations["slice"][:, order], rtol=1e-6)
    np.testing.assert_allclose(second.rewards["slice"], first.rewards["slice"][:, order], rtol=1e-4, atol=1e-6)


def test_scripted_policies_refuse_settings_that_they_do_not_have():
    game = make(num_envs=1)
    with pytest.raises(ParameterError, match=r"multiplier=0.77 is not allowed: use one of 0.5, 0.6"):
        game.scripted("shaded", "vsp", multiplier=0.77)
    with pytest.raises(ParameterError):
        game.scripted("oracle", "slice", multiplier=1.0)


def ranges(low, high):
    """Two numbers between powers of ten, the lower first; or twice the same."""
    power = st.floats(low, high).map(lambda x: 10**x)
    return st.one_of(st.tuples(power, power).map(lambda pair: tuple(sorted(pair))), power.map(lambda x: (x, x)))


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "providers": st.integers(2, 7),
            "worth": ranges(-6, 9),
            "rate": st.one_of(
                ranges(-4, 6), st.just((0.0, 1e-4)), ranges(-4, 3).map(lambda pair: (pair[0] / 100, pair[1]))
            ),
            "start_spread": ranges(-3, 3),
            "floor": st.sampled_from([1e-6, 0.01, 1.0]),
            "changes": st.sampled_from([(0.0,), (-0.9, 0.0, 10.0), (-0.3, 0.0, 0.3)]),
            "multipliers": st.sampled_from([(1.0,), (1e-3, 1.0, 1e3), (0.5, 1.0)]),
            "rounds": st.integers(1, 8),
            "slice_reward": st.sampled_from(SLICE_REWARDS),
            "reward_scale": st.sampled_from([1e-6, 10.0, 1e6]),
            "redraw": st.sampled_from(["never", "episode"]),
            "max_cycles": st.sampled_from([None, 1, 5]),
        }
    ),
    st.sampled_from([("slice",), ("vsp",), ("slice", "vsp")]),
    st.integers(0, 9),
)
def test_no_setting_that_construction_accepts_leads_to_nan_or_infinity(changes, controlled_roles, seed):
    config = VCGSlicingGame.make_config(observation="extended", **changes)
    game = VCGSlicingGame(config, 2, controlled_roles)
    observations, _ = game.reset(np.full(2, seed, np.uint64))
    act = random_play(game, seed)
    for _ in range(20):
        for array in (*observations.values(), game.state()):
            assert np.all((array >= 0) & (array <= 1))
        step = game.step({role: act(role) for role in controlled_roles})
        observations, ended = step.observations, step.terminated | step.truncated
        for array in (*step.rewards.values(), *(values[ended] for values in step.metrics.values())):
            assert np.all(np.isfinite(array))
        assert np.all(np.isfinite(game.ledger()))
        assert np.all(step.metrics["welfare"][ended] <= step.metrics["optimal_welfare"][ended] * (1 + 1e-8))


def test_first_agent_acts_only_in_its_phase():
    game = VCGSlicingGame(VCGSlicingGame.make_config(rounds=2), 1, ("slice", "vsp"))
    _, active = game.reset(np.zeros(1, np.uint64))
    actions = {"slice": np.full((1, 10, 3), 3), "vsp": np.full((1, 10), 5)}
    seen = [(bool(active["vsp"].all()), bool(active["slice"].any()))]
    for _ in range(3):
        active = game.step(actions).active
        seen.append((bool(active["vsp"].any()), bool(active["slice"].all())))
    assert seen == [(True, False), (False, True), (True, False), (False, True)]
