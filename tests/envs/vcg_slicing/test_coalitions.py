"""Coalitions: what their members get, what they do not touch, and how they are written."""

from __future__ import annotations

import numpy as np
import pytest

from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame
from ioa_marl.envs.vcg_slicing_v0 import parallel_env
from ioa_marl.foundations.parameters import ParameterError

BOTH = ["slice", "vsp"]
GROUPS = ((0, 3, 4), (1, 5))


def played(coalitions, steps=8, **settings):
    """Play the same actions; return the rewards of all steps (steps, batch, providers), metrics and ledger."""
    config = VCGSlicingGame.make_config(providers=6, rounds=steps // 2, coalitions=coalitions, **settings)
    game = VCGSlicingGame(config, 4, BOTH)
    game.reset(np.arange(4, dtype=np.uint64))
    rng = np.random.default_rng(3)
    rewards = []
    for _ in range(steps):
        step = game.step({"slice": rng.integers(0, 7, (4, 6, 3)), "vsp": rng.integers(0, 11, (4, 6))})
        rewards.append(step.rewards["vsp"].copy())
    return np.array(rewards), {name: values.copy() for name, values in step.metrics.items()}, game


@pytest.mark.parametrize("mechanism", ["vcg", "dual_currency", "dual_currency_no_interest"])
def test_members_share_the_mean_of_their_own_rewards_and_nobody_else_gains_or_loses(mechanism):
    own, before, _ = played((), mechanism=mechanism)
    shared, after, _ = played(GROUPS, mechanism=mechanism)
    for group in GROUPS:
        for member in group:
            np.testing.assert_allclose(shared[..., member], own[..., list(group)].mean(axis=-1), atol=1e-5)
    np.testing.assert_array_equal(shared[..., 2], own[..., 2])
    assert np.abs(own).max() > 0.1
    np.testing.assert_allclose(shared.sum(axis=-1), own.sum(axis=-1), atol=1e-5)
    assert {name: after[name].tolist() for name in before} == {name: before[name].tolist() for name in before}
    assert set(after) - set(before) == {"coalition_profit", "others_profit"}


@pytest.mark.parametrize("mechanism", ["vcg", "dual_currency"])
def test_metrics_are_the_mean_rewards_in_units_of_money(mechanism):
    rewards, metrics, game = played(((0, 3, 4),), mechanism=mechanism)
    worth = VCGSlicingGame(game.config, 4, BOTH)
    worth.reset(np.arange(4, dtype=np.uint64))
    per_round = rewards.sum(axis=0) / game.config.rounds * worth.market.worth.mean(axis=1)[:, None]
    np.testing.assert_allclose(metrics["coalition_profit"], per_round[:, 0], rtol=1e-4)
    np.testing.assert_allclose(metrics["others_profit"], per_round[:, [1, 2, 5]].mean(axis=1), rtol=1e-4)


def test_metrics_of_truthful_providers_follow_from_payments_at_the_end():
    game = VCGSlicingGame(VCGSlicingGame.make_config(providers=4, rounds=3, coalitions=((0, 1),)), 2)
    game.reset(np.arange(2, dtype=np.uint64))
    for _ in range(3):
        metrics = game.step({"slice": np.full((2, 4, 3), 3)}).metrics
    total = 2 * metrics["coalition_profit"] + 2 * metrics["others_profit"]
    np.testing.assert_allclose(total, metrics["welfare"] - metrics["payments"])


def test_absent_members_neither_share_nor_receive():
    config = VCGSlicingGame.make_config(
        "dual_currency", providers=4, fewest_providers=2, coalitions=((0, 2, 3),), rounds=2
    )
    alone = VCGSlicingGame.make_config("dual_currency", providers=4, fewest_providers=2, rounds=2)
    rewards = []
    for each in (config, alone):
        game = VCGSlicingGame(each, 64, BOTH)
        game.reset(np.arange(64, dtype=np.uint64))
        present = game.market.present.copy()
        actions = {"slice": np.full((64, 4, 3), 3), "vsp": np.full((64, 4), 5)}
        game.step(actions)
        rewards.append(game.step(actions).rewards["vsp"].copy())
    shared, own = rewards
    assert set(present) == {2, 3, 4}
    for count, members in ((2, [0]), (3, [0, 2]), (4, [0, 2, 3])):
        rows = present == count
        expected = own[rows][:, members].mean(axis=1)
        np.testing.assert_allclose(shared[rows][:, members], np.tile(expected[:, None], len(members)), atol=1e-5)
        assert not shared[rows][:, count:].any()


def test_parallel_environment_pays_the_shared_reward():
    env = parallel_env(preset="dual_currency", coalitions=[[0, 3, 7]], controlled_roles=BOTH, rounds=2)
    env.reset(seed=1)
    for _ in range(2):
        rewards = env.step({agent: env.action_space(agent).sample() for agent in env.agents})[1]
    assert rewards["vsp_0"] == rewards["vsp_3"] == rewards["vsp_7"] != 0.0
    assert len({rewards[f"vsp_{i}"] for i in range(10)}) == 8


@pytest.mark.parametrize(
    ("coalitions", "said"),
    [
        ([0, 3], "a list of groups"),
        ("0,3", "a list of groups"),
        ([[3]], "two providers or more"),
        ([[0, 10]], "0 to 9"),
        ([[0, 1.5]], "0 to 9"),
        ([[0, True]], "0 to 9"),
        ([[0, 0]], "every provider once"),
        ([[0, 1], [2, 1]], "every provider once"),
    ],
)
def test_groups_that_make_no_sense_get_one_line(coalitions, said):
    with pytest.raises(ParameterError, match=said) as error:
        VCGSlicingGame.make_config(coalitions=coalitions)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("coalitions=")


def test_coalitions_are_a_late_setting_that_older_rows_do_not_have():
    from ioa_marl.foundations.parameters import unchanged_settings

    assert unchanged_settings(VCGSlicingGame.config_class)["coalitions"] == ()
