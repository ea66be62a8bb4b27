"""The audit of the dual-currency auction measures gains that follow from the equations, without artefacts of luck."""

import itertools

import numpy as np
import pytest

from ioa_marl.agents.baselines.random import RandomAgent, RandomConfig
from ioa_marl.agents.baselines.scripted import ScriptedAgent, ScriptedConfig
from ioa_marl.envs.vcg_slicing.config import VCGSlicingConfig
from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame
from ioa_marl.evaluation import playing
from ioa_marl.evaluation.audits.vcg_slicing import bid_play
from ioa_marl.evaluation.audits.vcg_slicing import dual_currency as audit_dual_currency
from ioa_marl.evaluation.audits.vcg_slicing.bid_play import play_bids
from ioa_marl.evaluation.audits.vcg_slicing.dual_currency import (
    deviation_curve,
    group_deviation,
    joint_deviation,
    scale_in_play,
)
from ioa_marl.evaluation.audits.vcg_slicing.dual_currency_theory import (
    dual_currency_volume,
    quantised_volume,
    rank_deficiency,
    scale_fixture,
)
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.foundations.seeds import EVALUATION_SEED
from ioa_marl.markets.vcg_slicing.dual_currency.equations import interest_system

FREE = "dual_currency_no_interest"

KNOWN_RATES = {"profit_mean": 0.0, "profit_deviation": 0.0}
"""Profits in proportion to utilities: the bank's estimate of α is exact from the start."""


def settings(**changes):
    usual = {"mechanism": "dual_currency", "providers": 4, "rounds": 12, "multipliers": (0.5, 0.9, 1.0, 1.1, 1.5)}
    return VCGSlicingConfig(**usual | changes)


def constant(config, *profiles):
    """Factors of each profile in every round, (profiles, rounds, providers)."""
    return np.repeat(np.array(profiles)[:, None, :], config.rounds, axis=1)


def slices(agent_class, agent_config, config, seeds=1):
    return playing.make_agent(agent_class, agent_config, VCGSlicingGame(config, 1), ["slice"], seeds)


# --- play


@pytest.mark.parametrize("externality", ["exact", "estimated"])
def test_a_twin_without_deviation_is_the_same_to_the_bit(externality):
    config = settings(externality=externality, rounds=6)
    play = play_bids(config, np.ones((2, 6, 4)), instances=[1, 2], episodes=2)
    for array in vars(play).values():
        np.testing.assert_array_equal(array[0], array[1])
    assert len(np.unique(play.welfare[0, :, :, -1])) == 4  # of four markets, not of one


def test_a_profile_is_the_same_whatever_is_played_beside_it(monkeypatch):
    config = settings(rounds=5)
    factors = constant(config, [1.0, 1.0, 1.0, 1.0], [1.5, 1.0, 1.5, 1.0], [0.5, 0.9, 1.0, 1.1])
    together = play_bids(config, factors, episodes=3)
    monkeypatch.setattr(bid_play, "LARGEST_BATCH", 1)
    for name, array in vars(play_bids(config, factors, episodes=3)).items():
        np.testing.assert_array_equal(array, getattr(together, name))


def test_rounds_add_up_to_what_the_market_itself_reports():
    """Scripted providers are truthful, and the market's metrics are the means of the recorded quantities."""
    config = settings()
    play = play_bids(config, np.ones((1, 12, 4)), instances=[3], episodes=2)
    game = VCGSlicingGame(config, 2, ["slice"])
    game.reset(np.full(2, EVALUATION_SEED, np.uint64), None, np.full(2, 3, np.uint64))
    oracle = game.scripted("oracle", "slice")
    steps = [game.step({"slice": oracle()}) for _ in range(12)]
    metrics = steps[-1].metrics
    np.testing.assert_allclose(play.profits[0, 0].sum(axis=-1).mean(axis=-1), metrics["net_profit"], rtol=1e-12)
    np.testing.assert_allclose(play.interest[0, 0].sum(axis=-1).mean(axis=-1), metrics["interest"], rtol=1e-12)
    np.testing.assert_allclose(play.welfare[0, 0].mean(axis=-1), metrics["welfare"], rtol=1e-12)


def test_noise_is_on_the_rounds_with_overbidding_only_and_bids_are_factors_of_beliefs():
    config = settings()
    factors = np.ones((3, 12, 4))
    factors[1, 6:, 0], factors[2, 6:, 0] = 0.5, 1.5
    play = play_bids(config, factors, "oracle", [0], 2)
    assert play.noise[:2].max() == 0.0
    assert play.noise[2, ..., :6].max() == 0.0
    assert play.noise[2, ..., 6:].min() > 0.0
    np.testing.assert_allclose(play.bids[1, ..., 6:, 0], 0.5 * play.bids[0, ..., 6:, 0], rtol=1e-12)
    # Utilities do not change by underbidding, so the whole difference of profits is in the interest.
    np.testing.assert_array_equal(play.welfare[0], play.welfare[1])
    np.testing.assert_allclose(play.profits[1] + play.interest[1], play.profits[0] + play.interest[0], rtol=1e-12)
    # The pool is what the bank lends, whoever bids what.
    np.testing.assert_allclose(play.loans.sum(axis=-1), play.loans[0, 0, 0, 0].sum(), rtol=1e-12)


def test_an_agent_allocates_as_the_policy_that_it_plays():
    config = settings(rounds=4)
    factors = constant(config, [1.0] * 4, [1.5, 1.0, 1.0, 1.0])
    agent = slices(ScriptedAgent, ScriptedConfig("greedy"), config, seeds=2)
    by_agent = play_bids(config, factors, agent, [0, 5], 3)
    for name, array in vars(play_bids(config, factors, "greedy", [0, 5], 3)).items():
        np.testing.assert_array_equal(array, getattr(by_agent, name))


def test_an_allocator_that_draws_lots_draws_the_same_for_every_profile():
    config = settings(rounds=4, mechanism=FREE)
    factors = constant(config, [1.0] * 4, [0.5, 1.0, 1.0, 0.5])
    play = play_bids(config, factors, slices(RandomAgent, RandomConfig(), config), episodes=2)
    np.testing.assert_array_equal(play.profits[0], play.profits[1])
    assert not np.array_equal(play.welfare[0, 0, 0], play_bids(config, factors).welfare[0, 0, 0])


# --- deviations


def test_without_interest_bids_that_are_not_too_high_change_nothing():
    found = joint_deviation(settings(mechanism=FREE), episodes=2, instances=[0, 4])
    low = slice(None), slice(0, 3), slice(0, 3)
    for gains in (found.gains, found.others_gains, *found.own_gains):
        np.testing.assert_array_equal(gains[low], 0.0)
    np.testing.assert_array_equal(found.interest, 0.0)
    assert found.gains[:, 4, 4].max() < 0.0  # noise costs welfare, and this pair its part of it
    assert np.all(found.welfare[:, 4, 4] < found.welfare_truth)
    assert abs(found.mean) < 0.05  # the noise of a small overbid may look good elsewhere, where factors are chosen


def test_a_group_never_gains_more_than_the_interest_that_it_pays_at_the_truth_while_it_underbids():
    """An underbid changes only interest. The allocator is far from the optimum, and the bank knows α."""
    config = settings(multipliers=(0.8, 0.9, 0.95, 1.0), rounds=8, **KNOWN_RATES)
    found = joint_deviation(config, allocator="hold", instances=range(6), episodes=2)
    assert np.all(found.gains <= found.interest[:, None, None] + 1e-9)
    assert found.gains.max() > 0.1
    assert found.deviating > 0.0
    assert found.mean > 0.0


def test_gains_are_those_of_single_plays():
    config = settings(rounds=6)
    found = joint_deviation(config, (2, 0), first=2, instances=[7], episodes=2, first_episode=3)
    assert found.gains.shape == (1, 5, 5)
    for i, j in ((0, 4), (3, 1)):
        factors = np.ones((2, 6, 4))
        factors[1, 2:, 2], factors[1, 2:, 0] = config.multipliers[i], config.multipliers[j]
        play = play_bids(config, factors, instances=[7], episodes=2, first_episode=3)
        gain = (play.profits[1] - play.profits[0])[..., 2:, :].mean(axis=(0, 1, 2))
        assert found.gains[0, i, j] == pytest.approx(gain[[0, 2]].sum(), abs=1e-9)
        np.testing.assert_allclose(found.own_gains[:, 0, i, j], gain[[2, 0]], atol=1e-9)
        assert found.others_gains[0, i, j] == pytest.approx(gain[[1, 3]].sum(), abs=1e-9)
        assert found.welfare[0, i, j] == pytest.approx(play.welfare[1, ..., 2:].mean())
    assert found.gains[0, 2, 2] == 0.0


def test_the_best_factors_are_chosen_on_other_episodes():
    config = settings(rounds=4, multipliers=(0.9, 0.95, 1.0, 1.05, 1.1))
    given = {"allocator": "hold", "instances": range(5), "episodes": 3}
    found, later = (group_deviation(config, [1], **given, first_episode=first) for first in (0, 3))
    better = later.gains.max(axis=1) > 0.0
    chosen = np.where(better, later.gains.argmax(axis=1), config.truth)
    np.testing.assert_array_equal(found.chosen[:, 0], chosen)
    np.testing.assert_array_equal(found.best_gains, found.gains[np.arange(5), chosen])
    assert found.deviating == better.mean() > 0.0
    assert found.standard_error == pytest.approx(found.best_gains.std(ddof=1) / np.sqrt(5))
    assert "lower bound" in audit_dual_currency.MEANING


def test_a_provider_loses_by_over_and_by_underbidding_once_beliefs_have_settled():
    config = settings(rounds=90, providers=5, **KNOWN_RATES)
    found = deviation_curve(config, 1, first=60, second=75, instances=[0, 1], episodes=2)
    assert found.segments == ((0, 60), (60, 75), (75, 90))
    assert found.gains[0] == 0.0
    differences = (found.deviation.profits - found.truth.profits)[0]
    np.testing.assert_array_equal(differences[..., :60, :], 0.0)
    own = differences[..., 1]
    assert own[..., 60:75].mean(axis=-1).max() < 0.0  # in every market
    assert own[..., 75:].mean(axis=-1).max() < 0.0
    np.testing.assert_allclose(found.gains[1:], [own[..., 60:75].mean(), own[..., 75:].mean()], rtol=1e-12)
    assert found.standard_errors[1] == pytest.approx(own[..., 60:75].mean(axis=-1).std(ddof=1) / 2)
    assert found.factors.tolist() == [1.0] * 60 + [1.5] * 15 + [0.5] * 15
    curve = found.grid.gains.mean(axis=0)
    assert np.argmax(curve) == config.truth
    assert np.all(np.diff(curve[:3]) > 0.0)
    assert np.all(np.diff(curve[2:]) < 0.0)


def test_where_the_bank_estimates_a_negative_rate_interest_is_paid_to_the_provider_and_overbidding_pays():
    """Once the allocation has settled, utility hardly varies and no longer corrects the estimate."""
    config = settings(rounds=60, providers=5)
    factors = np.ones((2, 60, 5))
    factors[1, 30:, 1] = 1.5
    play = play_bids(config, factors, instances=[1])
    own = play.rates[0, 0, 0, 30:, 1]
    assert own.max() < 0.0
    assert play.interest[1, 0, 0, 30:, 1].max() < 0.0
    assert np.all((play.profits[1] - play.profits[0])[0, 0, 30:, 1] > 0.0)
    usual = play_bids(settings(rounds=60, providers=5, **KNOWN_RATES), factors, instances=[1])
    assert usual.rates.min() > 0.0
    assert np.all((usual.profits[1] - usual.profits[0])[0, 0, 30:, 1] < 0.0)


def test_all_bidding_the_same_factor_up_to_one_is_as_good_as_the_truth_and_being_honest_then_does_not_pay():
    config = settings(rounds=60)
    found = scale_in_play(config, first=40, instances=range(3))
    np.testing.assert_allclose(found.together[:3], 0.0, atol=1e-9)
    assert np.all(found.together[3:] < 0.0)
    assert found.noise[:3].max() == 0.0
    assert found.noise[3:].min() > 0.0
    assert found.interest[2] < 0.02
    assert found.honest[2] == 0.0
    assert np.all(found.honest[[0, 1, 3, 4]] < 0.0)


# --- equations


def test_scaled_bids_have_no_interest_and_a_scaled_bid_alone_has_that_of_its_closed_form():
    best = np.random.default_rng(3).uniform(5.0, 200.0, 9)
    c = np.array([0.1, 0.5, 1.0, 1.5, 4.0])
    found = scale_fixture(best, c)
    total, rest = best.sum(), best[1:].sum()
    np.testing.assert_allclose(found.interest, 0.0, atol=1e-12 * total)
    np.testing.assert_allclose(found.loan_changes, 0.0, atol=1e-12 * total)
    np.testing.assert_allclose(found.noise, np.maximum(c - 1.0, 0.0) / 9, atol=1e-15)
    np.testing.assert_allclose(found.alone, best[0] * rest * abs(c - 1.0) / (c * best[0] + rest), atol=1e-12 * total)
    np.testing.assert_allclose(found.honest, best[0] * rest * abs(c - 1.0) / (best[0] + c * rest), atol=1e-12 * total)


def test_only_a_group_of_everybody_has_more_than_one_set_of_bids_without_interest():
    best = np.random.default_rng(5).uniform(1.0, 200.0, 7)
    found = rank_deficiency(best)
    assert found.sizes.tolist() == list(range(1, 8))
    assert found.ranks.tolist() == [1, 2, 3, 4, 5, 6, 6]
    assert found.deficient.tolist() == [False] * 6 + [True]
    assert [len(values) for values in found.singular_values] == found.sizes.tolist()
    for members in range(1, 8):
        determinant = np.linalg.det(interest_system(best, best[members:])[0])
        expected = best.sum() ** (members - 1) * best[members:].sum()
        assert determinant == pytest.approx(expected, rel=1e-10, abs=1e-10 * best.sum() ** members)
    # Whichever providers they are.
    for group in itertools.combinations(range(5), 3):
        order = [*group, *(i for i in range(5) if i not in group)]
        assert rank_deficiency(best[:5][order]).ranks.tolist() == [1, 2, 3, 4, 4]
    everybody, _ = interest_system(best, best[7:])
    np.testing.assert_allclose(everybody @ (3.0 * best), 0.0, atol=1e-9)


def test_volumes_are_those_that_the_paper_prints():
    for providers, bids, coarse, fine in ((10, 0.005, 0.08, 10.0), (50, 0.025, 0.4, 50.0)):
        assert dual_currency_volume(providers, 500).bids == bids * 1e6
        assert quantised_volume(providers, 20).bids == coarse * 1e6
        assert quantised_volume(providers, 100).bids == fine * 1e6
    assert dual_currency_volume(10, 500).total == 8 * 5000  # bid, utility, profit, loan, three shares, tax
    assert quantised_volume(10, 20).total == 80_000 + 4 * 10


def test_what_cannot_be_audited_is_named():
    config = settings(rounds=3)
    truth = np.ones((1, 3, 4))
    with pytest.raises(ParameterError, match="mechanism=vcg"):
        play_bids(VCGSlicingConfig(rounds=3, providers=4), truth)
    with pytest.raises(ParameterError, match=r"factors=\[1.05\]"):
        play_bids(config, truth * 1.05)
    with pytest.raises(ParameterError, match=r"factors=\[2.0\]"):
        play_bids(config, truth * 2.0)
    with pytest.raises(ParameterError, match="shape"):
        play_bids(config, truth[0])
    with pytest.raises(ParameterError, match="episodes=0"):
        play_bids(config, truth, episodes=0)
    bidder = playing.make_agent(
        ScriptedAgent, ScriptedConfig("truthful"), VCGSlicingGame(config, 1, ["vsp"]), ["vsp"], 1
    )
    with pytest.raises(ParameterError, match="allocator=vsp"):
        play_bids(config, truth, bidder)
    with pytest.raises(ParameterError, match="members"):
        group_deviation(config, [1, 1])
    with pytest.raises(ParameterError, match="first=3"):
        joint_deviation(config, first=3)
    with pytest.raises(ParameterError, match="second=650"):
        deviation_curve(config)
    with pytest.raises(ParameterError, match="provider=4"):
        deviation_curve(config, 4, first=1, second=2)
    with pytest.raises(ParameterError, match="pair"):
        joint_deviation(config, (0, 1, 2))
    with pytest.raises(ParameterError, match="best"):
        scale_fixture([1.0, 0.0], [1.0])
    with pytest.raises(ParameterError, match="factors"):
        scale_fixture([1.0, 2.0], [0.0])
