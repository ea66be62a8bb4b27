"""The slicing market with a bank: what a round does to allocation, money and books."""

import numpy as np
import pytest

from ioa_marl.envs import check_market
from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.vcg_slicing.baselines import utilities
from ioa_marl.markets.vcg_slicing.dual_currency import equations
from ioa_marl.markets.vcg_slicing.dual_currency.bank import Bank
from ioa_marl.markets.vcg_slicing.optimum import clarke_payments

BOTH = ("slice", "vsp")


def make(batch=2, controlled_roles=BOTH, seed=0, autoreset=True, **settings):
    config = VCGSlicingGame.make_config(**{"mechanism": "dual_currency", "providers": 5, "rounds": 6, **settings})
    game = VCGSlicingGame(config, batch, controlled_roles, autoreset)
    game.reset(np.full(batch, seed, np.uint64))
    return game


def rounds(game, count, multiplier=1.0, policy="oracle"):
    """Play whole rounds; yields the steps in which slices acted."""
    slices = game.scripted(policy, "slice")
    bid = np.full((game.num_envs, game.config.providers), game.config.multipliers.index(multiplier))
    for _ in range(count):
        if "vsp" in game.controlled_roles:
            game.step({"slice": slices(), "vsp": bid})
        yield game.step({"slice": slices(), **({"vsp": bid} if "vsp" in game.controlled_roles else {})})


@pytest.mark.parametrize(
    ("roles", "settings"),
    [
        (("slice",), {}),
        (BOTH, {"processes": True}),
        (("vsp",), {"mechanism": "dual_currency_no_interest", "max_cycles": 5}),
        (BOTH, {"externality": "estimated", "bills": 4}),
        (BOTH, {"voi": "network", "noise": "as_printed", "prior_bills": 4, "rounds": 2, "providers": 2}),
        (BOTH, {"redraw": "episode", "observation": "extended", "slice_reward": "bids"}),
        (BOTH, {"fewest_providers": 2, "externality": "estimated"}),
    ],
    ids=str,
)
def test_every_promise_is_kept_with_a_bank(roles, settings):
    usual = {"mechanism": "dual_currency", "providers": 4, "rounds": 4, "processes": False}
    check_market(VCGSlicingGame, controlled_roles=roles, num_envs=3, **{**usual, **settings})


@pytest.mark.parametrize("roles", [("slice",), BOTH], ids="+".join)
def test_every_promise_is_kept_where_the_number_of_providers_changes(roles):
    check_market(
        VCGSlicingGame, controlled_roles=roles, num_envs=3, processes=False, providers=5, fewest_providers=1, rounds=4
    )


def test_without_interest_and_with_exact_knowledge_true_bids_pay_what_plain_vcg_asks():
    """α = 1 and w = 0, so that money is utility: taxes of every round, and receipts of the episode, to 1e-9."""
    plain = VCGSlicingGame(VCGSlicingGame.make_config(providers=5, rounds=6), 2, BOTH, autoreset=False)
    plain.reset(np.zeros(2, np.uint64))
    settings = {"profit_rate": (1.0, 1.0), "profit_mean": 0.0, "profit_deviation": 0.0}
    game = make(mechanism="dual_currency_no_interest", autoreset=False, **settings)
    for one, other in zip(rounds(game, 6, policy="greedy"), rounds(plain, 6, policy="greedy"), strict=True):
        assert np.array_equal(game.market.share, plain.market.share)
        assert game.bank.bank.tax == pytest.approx(plain.market.payment, rel=1e-9, abs=1e-9)
        assert one.rewards["vsp"] == pytest.approx(other.rewards["vsp"], rel=1e-5, abs=1e-6)
    assert one.metrics["payments"] == pytest.approx(other.metrics["payments"], rel=1e-9)
    assert game.ledger()[:, 5] == pytest.approx(plain.ledger()[:, 5], rel=1e-9)  # the bank gets what the network got


def test_a_round_by_hand():
    """One market, everybody bidding 1.5 times its belief: loans, noise, taxes and reports from the equations alone."""
    game = make(batch=1, autoreset=False, belief_weight=0.75)
    market, bank = game.market, game.bank.bank
    worth, rate = market.worth[0].copy(), market.rate[0].copy()
    outcome = clarke_payments(worth, rate)
    ideal = utilities(worth, rate, outcome.optimum.shares)
    belief, estimate = bank.belief[0].copy(), bank.estimate[0].copy()
    assert belief == pytest.approx(utilities(worth, rate, market.share[0]))
    step = next(rounds(game, 1, multiplier=1.5))
    bids = 1.5 * belief
    assert bank.loan[0] == pytest.approx(ideal.sum() * bids / bids.sum())
    assert market.spread[0] == pytest.approx(max(bids.sum() / ideal.sum() - 1, 0) / 5, abs=1e-12)
    utility = utilities(worth, rate, market.share[0])
    # The slices' change, rescaled, then the noise of the equations on it.
    changed = np.maximum(market.previous_share[0] * (1 + bank.change[0]), 0.01 / 5)
    noisy = equations.disturbed(changed / changed.sum(axis=0), market.spread[0], game.bank.share_noise[0])
    assert market.spread[0] > 0
    assert market.share[0] == pytest.approx(noisy, rel=1e-12)
    gross = bank.profit_rate[0] * utility + 10.0 + 5.0 * game.bank.profit_noise[0]
    harm = outcome.welfare_without - (utility.sum() - utility)
    tax = estimate * (harm + np.abs(bank.loan[0] - ideal))
    assert bank.tax[0] == pytest.approx(tax, rel=1e-9)
    assert step.rewards["vsp"][0] == pytest.approx((gross - tax) / worth.mean(), rel=1e-6)
    assert bank.belief[0] == pytest.approx(0.75 * belief + 0.25 * utility)


def test_the_bank_knows_a_round_only_after_it():
    """α̂ that taxes a round is the line through the bills of the rounds before."""
    game = make(batch=1, rounds=5, autoreset=False)
    bank = game.bank.bank
    gross, utility = bank.bill_gross[0, :20].copy(), bank.bill_utility[0, :20].copy()
    assert bank.bill_count[0] == 20
    for t, _ in enumerate(rounds(game, 5, policy="greedy")):
        known = equations.estimated_rate(equations.moments_of(utility, gross))
        harm = bank.bill_harm[0, 20 + t] + np.abs(bank.bill_loan[0, 20 + t] - bank.bill_best[0, 20 + t])
        assert bank.tax[0] == pytest.approx(known * harm, rel=1e-9)
        utility = np.concatenate([utility, bank.bill_utility[0, 20 + t : 21 + t]])
        gross = np.concatenate([gross, bank.bill_gross[0, 20 + t : 21 + t]])
    assert bank.estimate[0] == pytest.approx(equations.estimated_rate(equations.moments_of(utility, gross)), rel=1e-9)


def test_money_and_currency_are_conserved_over_a_thousand_rounds():
    game = make(batch=3, rounds=1000, providers=4, controlled_roles=BOTH, autoreset=False, bills=8)
    rng = np.random.default_rng(0)
    for _ in range(1000):
        game.step({"slice": rng.integers(7, size=(3, 4, 3)), "vsp": rng.integers(11, size=(3, 4))})
        step = game.step({"slice": rng.integers(7, size=(3, 4, 3)), "vsp": rng.integers(11, size=(3, 4))})
        assert np.all(game.market.share >= 0)
        assert game.market.share.sum(axis=1) == pytest.approx(np.ones((3, 3)), abs=1e-9)
    assert (step.terminated | step.truncated).all()
    ledger = game.ledger()
    assert np.all(ledger.sum(axis=1) == 0)
    gross, harm, interest, issued, spent, reclaimed = np.moveaxis(game.bank.bank.flows, 1, 0)
    assert ledger[:, :4] == pytest.approx(gross - harm - interest, rel=1e-9)
    assert ledger[:, 4] == pytest.approx((harm + interest).sum(axis=1), rel=1e-9)
    assert ledger[:, 5] == pytest.approx(-gross.sum(axis=1), rel=1e-9)
    assert spent.sum(axis=1) == pytest.approx(reclaimed.sum(axis=1))
    pool = game.market.ideal.sum(axis=1)
    assert issued.sum(axis=1) == pytest.approx(1000 * pool, rel=1e-9)  # the whole pool, every round


def test_estimated_externalities_come_to_the_exact_ones():
    """Utilities are reported without error, so after 40 bills the fit prices harm within 1% of welfare."""
    game = make(externality="estimated", prior_bills=40, autoreset=False)
    for _ in rounds(game, 6, policy="greedy"):
        pass
    game.optima.solve(np.ones(2, np.bool_))
    assert np.abs(game.bank.bank.without - game.market.others).max() < 0.01 * game.market.optimum.max()
    assert np.abs(game.bank.bank.best.sum(axis=1) / game.market.optimum - 1).max() < 0.01


def test_value_networks_follow_what_utilities_will_be():
    """After 30 rounds of a steering allocator the networks' pool is within 5% of the welfare of the round."""
    game = make(voi="network", rounds=30, prior_bills=40, autoreset=False)
    for _ in rounds(game, 30):
        pass
    assert game.bank.bank.voi.sum(axis=1) == pytest.approx(game.market.utility.sum(axis=1), rel=0.05)


@pytest.mark.parametrize("settings", [{}, {"externality": "estimated"}, {"voi": "network"}], ids=str)
def test_books_can_be_saved_and_restored_to_the_bit(settings):
    game, other = make(**settings), make(seed=9, **settings)
    for _ in rounds(game, 3, multiplier=1.1):
        pass
    other.restore(game.save())
    for one, two in zip(rounds(game, 5, policy="greedy"), rounds(other, 5, policy="greedy"), strict=True):
        assert np.array_equal(one.rewards["vsp"], two.rewards["vsp"])
    assert all(np.array_equal(a, b) for a, b in zip(game.bank.bank, other.bank.bank, strict=True))
    assert {f"bank_{name}" for name in Bank._fields} <= game.save().keys()


def test_absent_providers_have_nothing_do_nothing_and_are_not_counted():
    game = make(batch=40, fewest_providers=2, controlled_roles=BOTH, autoreset=False)
    count = game.market.present
    assert set(count) == {2, 3, 4, 5}
    for step in rounds(game, 6, multiplier=1.1):
        absent = np.arange(5) >= count[:, None]
        assert np.all(game.market.share[absent] == 0)
        assert np.all(step.rewards["vsp"][absent] == 0)
        assert np.all(step.rewards["slice"][absent] == 0)
        assert not np.any(step.active["vsp"] & absent)
    assert np.all(step.final_observations["vsp"][absent] == 0)
    assert np.all(game.ledger()[:, :5][absent] == 0)
    for b in (0, 1):
        n = count[b]
        alone = clarke_payments(game.market.worth[b, :n], game.market.rate[b, :n])
        assert step.metrics["optimal_welfare"][b] == pytest.approx(alone.optimum.welfare, rel=1e-8)


def test_providers_of_an_instance_stay_the_same_when_others_come_and_go():
    config = VCGSlicingGame.make_config(providers=5, fewest_providers=2, rounds=2, instance=3)
    game = VCGSlicingGame(config, 4)
    game.reset(np.arange(4, dtype=np.uint64))
    seen = set()
    for _ in range(12):
        count = game.market.present
        seen |= set(count.tolist())
        assert np.all(game.market.worth == game.market.worth[0])
        present = np.arange(5) < count[:, None]
        assert np.all(game.market.rate[present] > 0)
        assert np.all(game.market.rate[~present] == 0)
        game.step({"slice": np.full((4, 5, 3), 3)})
    assert seen == {2, 3, 4, 5}


def test_references_are_the_optima_of_the_providers_that_are_there():
    config = VCGSlicingGame.make_config(providers=5, fewest_providers=2)
    seeds, streams = np.full(6, 4, np.uint64), np.arange(6, dtype=np.uint64)
    bounds = VCGSlicingGame.reference(config, seeds, streams)["slice"]
    game = VCGSlicingGame(config, 6)
    game.reset(seeds, streams)
    for b in range(6):
        n = game.market.present[b]
        expected = clarke_payments(game.market.worth[b, :n], game.market.rate[b, :n]).optimum.welfare
        assert bounds[b] == pytest.approx(expected, rel=1e-8)


def test_bids_reward_is_the_sum_of_bids():
    game = make(slice_reward="bids")
    for step in rounds(game, 2, multiplier=1.1):
        expected = game.market.bid.sum(axis=1) / game.market.worth.sum(axis=1)
        assert step.rewards["slice"] == pytest.approx(np.tile(expected[:, None], 5), rel=1e-6)


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("mechanism", {"mechanism": "kelly"}),
        ("externality", {"mechanism": "vcg", "externality": "estimated"}),
        ("voi", {"mechanism": "vcg", "voi": "network"}),
        ("noise", {"mechanism": "vcg", "noise": "as_printed"}),
        ("noise", {"noise": "none"}),
        ("slice_reward", {"externality": "critic"}),
        ("fewest_providers", {"externality": "critic", "slice_reward": "bids", "fewest_providers": 2}),
        ("bills", {"mechanism": "vcg", "bills": 7}),
        ("profit_rate", {"mechanism": "vcg", "profit_rate": (1.0, 1.0)}),
        ("prior_bills", {"prior_bills": 1}),
        ("bills", {"bills": 0}),
        ("belief_weight", {"belief_weight": 1.5}),
        ("profit_rate", {"profit_rate": (1.0, 0.5)}),
        ("profit_deviation", {"profit_deviation": -1.0}),
        ("fewest_providers", {"fewest_providers": 11}),
        ("fewest_providers", {"fewest_providers": 0}),
    ],
)
def test_what_a_bank_cannot_work_with_is_refused(key, settings):
    with pytest.raises(ParameterError, match=rf"^{key}="):
        VCGSlicingGame.make_config(**{"mechanism": "dual_currency", **settings})


def test_a_critic_that_nobody_supplies_is_refused_where_it_is_needed():
    game = make(externality="critic", slice_reward="utility")
    with pytest.raises(ParameterError, match=r"^externality=critic is not allowed: use exact or estimated, or let"):
        next(rounds(game, 1))


@pytest.mark.parametrize(("controlled_roles", "cycles", "played"), [(("slice",), 2, 2), (BOTH, 4, 2), (BOTH, 3, 1)])
def test_figures_of_a_cut_episode_are_of_the_rounds_that_were_played(controlled_roles, cycles, played):
    game = make(controlled_roles=controlled_roles, max_cycles=cycles, autoreset=False)
    bids = []
    for _ in range(cycles):
        acting = game.market.phase[0]
        hold, truth = np.full((2, 5, 3), 3), np.full((2, 5), 5)
        if acting == 1:
            bids.append(game.bank.bank.total_bid.copy())
        step = game.step({"slice": hold, **({"vsp": truth} if "vsp" in controlled_roles else {})})
    assert step.truncated.all()
    assert len(bids) == played
    assert step.metrics["bid_ratio"] == pytest.approx(np.mean(bids, axis=0) / step.metrics["optimal_welfare"])
