"""What the two-tier market promises as a game: phases, rewards, figures, scores, observations, policies."""

import numpy as np
import pytest

from ioa_marl.envs import two_tier_v0
from ioa_marl.envs.two_tier.game import TwoTierGame
from ioa_marl.foundations.parameters import ParameterError

LEADERS = ("mobile", "fixed")
REGRETS = ("mobile_regret", "fixed_regret", "auction_regret")
AUDITED = (*REGRETS, "last_mobile_regret", "last_fixed_regret")


def started(num_envs=4, roles=None, preset="paper", seed=0, **settings):
    game = TwoTierGame(TwoTierGame.make_config(preset, **settings), num_envs, roles, autoreset=False)
    game.reset(np.arange(seed, seed + num_envs, dtype=np.uint64))
    return game


def episode(game, chosen, rng=None):
    """Play to the end; ``chosen`` maps roles to policies, others play at random. Returns the steps."""
    policies = {role: game.scripted(name, role, **settings) for role, (name, settings) in chosen.items()}
    steps = []
    while True:
        actions = {}
        for role in game.controlled_roles:
            space, count = game.roles[role].action_space, game.roles[role].count
            if role in policies:
                actions[role] = policies[role]()
            elif role == "auctioneer":
                actions[role] = rng.integers(space.nvec, size=(game.num_envs, count, 2))
            else:
                actions[role] = rng.integers(space.n, size=(game.num_envs, count))
        step = game.step(actions)
        steps.append({role: rewards.copy() for role, rewards in step.rewards.items()})
        if (step.terminated | step.truncated).all():
            return step, steps


def profile(leaders, auctioneer, **settings):
    return {**dict.fromkeys(LEADERS, (leaders, settings)), "auctioneer": (auctioneer, {})}


@pytest.mark.parametrize(
    ("roles", "length"), [(None, 40), (LEADERS, 20), (("auctioneer",), 20), (("fixed", "auctioneer"), 40)], ids=str
)
def test_leaders_act_first_and_the_auctioneer_answers(roles, length):
    game = started(roles=roles)
    _, steps = episode(game, {role: (game.roles[role].scripted, {}) for role in game.controlled_roles})
    assert len(steps) == length


def test_rewards_are_profits_of_the_round_and_the_return_of_its_auction():
    game = started()
    step, steps = episode(game, profile("cost_plus", "scripted_pair", margin=1.0))
    assert not any(rewards.any() for rewards in steps[0].values()), "nothing is paid before the auction"
    total = {role: sum(step[role].sum(axis=1, dtype=np.float64) for step in steps) for role in game.controlled_roles}
    for role in LEADERS:
        # One wireless agent of 10 Mbit on average is in a leader's reach.
        np.testing.assert_allclose(total[role] * 10.0 / 20, step.metrics[f"{role}_profit"], rtol=1e-5)
    always = step.metrics["auctions"] == 1.0
    assert always.any()
    returns = step.metrics["auction_return"][always]
    np.testing.assert_allclose(total["auctioneer"][always] / 20, returns, rtol=1e-4, atol=1e-4)


def test_the_ledger_holds_every_payment_of_the_episode():
    game = started(6)
    episode(game, {}, np.random.default_rng(0))
    ledger, config = game.ledger(), game.config
    assert ledger.shape == (6, 10 + 10 + 10 + 10 + 1)
    np.testing.assert_allclose(ledger.sum(axis=1), 0.0, atol=1e-9)
    assert (ledger[:, : config.wireless] <= 0.0).all()
    assert (ledger[:, 10:20] >= 0.0).all()
    assert (ledger[:, 30:40] >= 0.0).all()
    assert ledger[:, 30:40].sum() > 0.0
    np.testing.assert_allclose(ledger[:, 40], 0.0, atol=1e-9)


def test_regrets_are_left_out_where_nobody_looks_at_them():
    game, other = started(3), started(3)
    other.full_metrics = False
    chosen = profile("scripted_margin", "scripted_pair")
    full, quick = episode(game, chosen)[0].metrics, episode(other, chosen)[0].metrics
    for name in game.metric_names:
        if name in AUDITED:
            assert np.isfinite(full[name]).all()
            assert np.isnan(quick[name]).all()
        else:
            np.testing.assert_array_equal(full[name], quick[name])


def test_the_leaders_scores_are_means_over_all_rounds():
    rounds, rng, lasts = 4, np.random.default_rng(2), []
    prices = rng.integers(5, 30, (rounds, 2, 3, 10))

    def played(until):
        game = started(3, rounds=rounds, max_cycles=2 * until)
        for r in range(until):
            for _ in range(2):
                step = game.step({"mobile": prices[r, 0], "fixed": prices[r, 1], "auctioneer": np.full((3, 1, 2), 5)})
        assert step.truncated.all()
        return {name: step.metrics[name].copy() for name in AUDITED}

    by_length = [played(until) for until in range(1, rounds + 1)]
    for role in LEADERS:
        lasts = np.array([metrics[f"last_{role}_regret"] for metrics in by_length])
        assert lasts.std(axis=0).min() > 1.0, "rounds differ"
        np.testing.assert_allclose(by_length[-1][f"{role}_regret"], lasts.mean(axis=0), rtol=1e-12)


def test_leaders_that_end_at_the_references_after_the_cap_do_not_score_like_them():
    game, rounds = started(4, rounds=8), 8
    policies = {role: game.scripted("oracle", role) for role in TwoTierGame.reference_partners}
    for r in range(rounds):
        for _ in range(2):
            actions = {role: policy() for role, policy in policies.items()}
            if r < rounds - 1:
                actions |= {role: np.full((4, 10), 50) for role in LEADERS}
            step = game.step(actions)
    for role in LEADERS:
        assert (step.metrics[f"last_{role}_regret"] < 0.2 * step.metrics[f"{role}_regret"]).all()


def test_a_round_that_is_cut_off_before_its_auction_counts_for_nothing():
    whole, cut = started(2, max_cycles=6), started(2, max_cycles=7)
    for game in (whole, cut):
        policies = {role: game.scripted(game.roles[role].scripted, role) for role in game.controlled_roles}
        while True:
            step = game.step({role: policy() for role, policy in policies.items()})
            if step.truncated.all():
                break
    np.testing.assert_array_equal(whole.ledger(), cut.ledger())
    for name in whole.metric_names:
        np.testing.assert_allclose(
            whole.buffers[whole._current_buffers].step.metrics[name], step.metrics[name], atol=1e-9
        )


def test_half_of_the_fixed_agents_are_overloaded_at_equilibrium_prices_and_their_auctions_trade():
    step, _ = episode(started(20), profile("oracle", "scripted_pair"))
    figures = {name: values.mean() for name, values in step.metrics.items()}
    assert 0.4 < figures["overloaded"] < 0.62
    assert figures["buyers"] > 3.0
    assert figures["trades"] > 0.85 * figures["buyers"]
    assert figures["participation"] == 1.0
    assert figures["auctions"] == 1.0
    assert 2.0 < figures["mobile_price"] < 2.3
    assert 3.1 < figures["fixed_price"] < 3.5


def test_at_equilibrium_prices_a_middling_pair_of_steps_is_best_in_the_mean():
    game = started(20)
    episode(game, profile("oracle", "scripted_pair"))
    total, evaluator = np.zeros((10, 10)), game.deviation_evaluator()
    for b in range(20):
        evaluator.take(game.whole, b)
        total += evaluator.pair_returns(0, 20)[0]
    buyer, seller = np.unravel_index(total.argmax(), total.shape)
    assert 0 < buyer < 9
    assert 0 < seller < 9
    # Measured at these prices: 1.303 and 1.167 times; with prices of Algorithm 2 the second was above 1.2.
    assert total.max() > 1.3 * total[9, 9]
    assert total.max() > 1.15 * total.mean()
    assert total[0, 0] < total[9, 9]


def test_each_role_has_a_scale_on_which_references_and_baselines_spread():
    def mean_regrets(chosen, rng=None):
        step, _ = episode(started(24, instance=1), chosen, rng)
        return {name: step.metrics[name].mean() for name in REGRETS}

    score_floor = mean_regrets(dict(TwoTierGame.score_floor), np.random.default_rng(0))
    oracle = mean_regrets(profile("oracle", "oracle"))
    constant_baseline = mean_regrets(profile("posted_pair", "fixed_pair"))
    ignorant = mean_regrets(profile("pricing_equilibrium", "fixed_pair"))
    assert oracle["auction_regret"] == pytest.approx(0.0, abs=1e-9)
    assert oracle["mobile_regret"] < 0.1 * score_floor["mobile_regret"]
    assert oracle["fixed_regret"] < 0.1 * score_floor["fixed_regret"]
    assert oracle["fixed_regret"] < 0.2 * ignorant["fixed_regret"], "capacities matter to those who look at them"
    assert constant_baseline["auction_regret"] < 0.4 * score_floor["auction_regret"]
    assert constant_baseline["mobile_regret"] < score_floor["mobile_regret"]


def test_no_policy_beats_the_reference():
    reference = TwoTierGame.reference(TwoTierGame.make_config(), *np.zeros((2, 3), np.uint64))
    assert set(reference) == set(TwoTierGame.objectives)
    for leaders in ("oracle", "best_response", "cost_plus"):
        step, _ = episode(started(3, rounds=4), profile(leaders, "oracle"))
        for scored, metric in TwoTierGame.objectives.items():
            assert (step.metrics[metric] >= reference[scored] - 1e-9).all()


@pytest.mark.parametrize("observation", ["paper", "extended"])
def test_the_auctioneer_sees_this_rounds_bidders_and_the_last_auction(observation):
    game = started(5, observation=observation)
    actions = {role: game.scripted(game.roles[role].scripted, role)() for role in game.controlled_roles}
    for _ in range(3):
        step = game.step(actions)
    seen, auction = step.observations["auctioneer"][:, 0], game.whole.auction
    assert seen.shape == (5, 9 if observation == "paper" else 15)
    np.testing.assert_allclose(seen[:, 0], 1 / 20)
    np.testing.assert_allclose(seen[:, 1:3], auction.size / 10.0)
    for b in range(5):
        incomes = game.market.price[b, 1, auction.order[b, 0, : auction.size[b, 0]]] * 2.0
        expected = [incomes.max() / 20, incomes.mean() / 20] if len(incomes) else [0.0, 0.0]
        np.testing.assert_allclose(seen[b, 3:5], expected, rtol=1e-5)
    np.testing.assert_allclose(seen[:, 5], auction.totals["price"] / 20.0, rtol=1e-6)
    np.testing.assert_allclose(seen[:, 6], auction.totals["trades"] / 10.0)
    if observation == "extended":
        np.testing.assert_allclose(seen[:, 13:], np.array([[7, 5]] * 5) / 9.0)


def test_a_round_without_an_auction_counts_nothing():
    count = 3
    game = started(count, rounds=3)
    for pair in (0, 9):
        game.reset(np.arange(count, dtype=np.uint64))
        # Fixed agents that ask for the price cap have no load, so nobody buys a lot.
        actions = {"mobile": np.zeros((count, 10), int), "fixed": np.full((count, 10), 50)}
        step = None
        while step is None or not step.truncated.all():
            step = game.step({**actions, "auctioneer": np.full((count, 1, 2), pair)})
        for name in ("buyers", "auctions", "auction_regret"):
            assert not step.metrics[name].any()
        for name in ("clearing_price", "auction_return", "auction_efficiency"):
            assert np.isnan(step.metrics[name]).all()


def test_each_role_is_scored_beside_the_references_of_the_others():
    partners = TwoTierGame.reference_partners
    assert set(partners) == set(TwoTierGame.objectives)
    steps, _ = episode(started(6), dict(partners))
    assert steps.metrics["auctions"].min() == 1.0
    random, _ = episode(started(6), {role: partners[role] for role in LEADERS}, np.random.default_rng(0))
    assert steps.metrics["auction_regret"].max() < 1e-9 < random.metrics["auction_regret"].min()


def test_a_fixed_agent_knows_its_capacity_in_either_observation():
    paper, extended = (started(4, observation=name) for name in ("paper", "extended"))
    assert paper.roles["fixed"].observation_space.shape == (6,)
    actions = {role: paper.scripted(paper.roles[role].scripted, role)() for role in paper.controlled_roles}
    seen = [game.step(actions).observations["fixed"] for game in (paper, extended)]
    np.testing.assert_array_equal(seen[0][..., 5], seen[1][..., 11])
    assert seen[0][..., 5].std() > 0.1


def test_a_fixed_agent_can_also_know_what_it_passed_on():
    game = started(4, observation="extended")
    actions = {role: game.scripted(game.roles[role].scripted, role)() for role in game.controlled_roles}
    for _ in range(2):
        step = game.step(actions)
    seen, market, tier = step.observations["fixed"], game.market, game.whole.tier
    for b in range(4):
        reach = np.bincount(market.reach[b, 1], weights=market.traits["load"][b], minlength=10)
        np.testing.assert_allclose(seen[b, :, 11], np.minimum(tier.capacity[b] / reach, 1.0), rtol=1e-5)
    np.testing.assert_allclose(seen[..., 12], market.offloading_ratio, rtol=1e-6)
    np.testing.assert_allclose(seen[..., 13], tier.served_fraction, rtol=1e-6)
    bought = tier.partner >= 0
    assert bought.any()
    assert (seen[..., 14][bought] > 0.0).all()
    assert not seen[..., 14][~bought].any()


def test_the_auctioneers_oracle_takes_the_best_of_all_pairs():
    game = started(6)
    leaders = {role: game.scripted("scripted_margin", role) for role in LEADERS}
    game.step({role: policy() for role, policy in leaders.items()} | {"auctioneer": np.zeros((6, 1, 2), int)})
    chosen, saved, returns = game.scripted("oracle", "auctioneer")(), game.save(), []
    for pair in [*np.ndindex(10, 10), None]:
        game.restore(saved)
        actions = chosen if pair is None else np.broadcast_to(pair, (6, 1, 2))
        step = game.step({**{role: np.zeros((6, 10), int) for role in LEADERS}, "auctioneer": actions})
        returns.append(step.rewards["auctioneer"][:, 0].copy())
    np.testing.assert_array_equal(returns[-1], np.max(returns[:-1], axis=0))


def test_scripted_policies_play_what_they_say():
    game = started(3)
    cost = game.market.cost
    plus = game.scripted("cost_plus", "fixed", margin=0.25)()
    np.testing.assert_allclose(plus * 0.2, cost[:, 1] * 1.25, atol=0.1 + 1e-12)
    assert (game.scripted("posted_pair", "mobile", price=3.0)() == 15).all()
    pair = game.scripted("fixed_pair", "auctioneer", buyer_step=3.0, seller_step=0.0625)()
    assert (pair == [9, 0]).all()
    assert (game.scripted("scripted_pair", "auctioneer")() == [7, 5]).all()


@pytest.mark.parametrize(
    ("role", "policy", "settings"),
    [
        ("mobile", "cost_plus", {"margin": -0.1}),
        ("fixed", "posted_pair", {"price": 11.0}),
        ("auctioneer", "fixed_pair", {"buyer_step": 0.3}),
        ("auctioneer", "oracle", {"step": 1}),
        ("auctioneer", "greedy", {}),
    ],
)
def test_policies_refuse_settings_that_mean_nothing(role, policy, settings):
    with pytest.raises(ParameterError):
        started(1).scripted(policy, role, **settings)


def test_gymnasiums_batch_of_auctioneers_goes_on_from_episode_to_episode():
    environment = two_tier_v0.gym_vector_env(num_envs=3, role="auctioneer", rounds=4)
    environment.reset(seed=1)
    ends = []
    for _ in range(9):
        _, _, terminated, truncated, infos = environment.step(np.full((3, 2), 4))
        assert not terminated.any()
        ends.append(bool(truncated.all()))
        if truncated.all():
            assert (infos["final_info"]["metrics"]["auction_regret"] >= 0.0).all()
    assert [r for r, end in enumerate(ends) if end] == [3, 7]
