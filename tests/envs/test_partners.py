"""Scripted policies of roles that are not controlled can be chosen, for each agent of a role."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.envs.stackelberg.game import StackelbergGame
from ioa_marl.envs.two_tier.game import TwoTierGame
from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame
from ioa_marl.envs.vcg_slicing_v0 import parallel_env
from ioa_marl.foundations.parameters import ParameterError

PARTNERS = {"vsp": {"agents": {0: {"name": "shaded", "multiplier": 0.5}, "3": "truthful"}}}


@pytest.mark.parametrize("mechanism", ["vcg", "dual_currency"])
def test_a_partner_that_shades_is_the_market_in_which_that_bid_is_an_action(mechanism):
    config = VCGSlicingGame.make_config(providers=4, rounds=3, mechanism=mechanism, coalitions=((0, 1),))
    game, controlled, usual = (
        VCGSlicingGame(config, 3, roles) for roles in (["slice"], ["slice", "vsp"], ["slice"])
    )  # fmt: skip
    game.set_partners(PARTNERS)
    for each in (game, controlled, usual):
        each.reset(np.arange(3, dtype=np.uint64))
    bids = np.full((3, 4), config.truth)
    bids[:, 0] = 0
    rng = np.random.default_rng(1)
    for _ in range(3):
        actions = {"slice": rng.integers(0, 7, (3, 4, 3))}
        step = game.step(actions)
        controlled.step({**actions, "vsp": bids})
        expected = controlled.step({**actions, "vsp": bids})
        usual.step(actions)
        np.testing.assert_array_equal(step.rewards["slice"], expected.rewards["slice"])
    for name, values in expected.metrics.items():
        np.testing.assert_array_equal(step.metrics[name], values, err_msg=name)
    np.testing.assert_array_equal(game.ledger(), controlled.ledger())
    assert not np.allclose(game.ledger(), usual.ledger())


def test_partners_that_are_chosen_again_replace_all_that_were_chosen_before():
    config = TwoTierGame.make_config(bids="chosen", wireless=2, mobile=2, fixed=2, aerial=2, rounds=2)
    game = TwoTierGame(config, 1, ("auctioneer",))
    game.set_partners({"seller": {"name": "multiplied", "factor": 1.5}})
    game.set_partners({"mobile": {"name": "cost_plus", "margin": 0.5}})
    game.reset(np.zeros(1, np.uint64))
    twin = copy.deepcopy(game)
    before = game.market.price.copy()
    with pytest.raises(ParameterError, match="nobody"):
        game.set_partners({"fixed": {"name": "cost_plus", "margin": 0.1}, "nobody": "truthful"})
    for _ in range(2):
        actions = {"auctioneer": np.zeros((1, 1, 2), np.int64)}
        one, other = game.step(actions), twin.step(actions)
        np.testing.assert_array_equal(one.rewards["auctioneer"], other.rewards["auctioneer"])
    np.testing.assert_array_equal(game.market.price, twin.market.price)
    assert before.any()


def test_copies_keep_their_partners():
    config = VCGSlicingGame.make_config("dual_currency", providers=3, rounds=2)
    game = VCGSlicingGame(config, 2)
    game.set_partners(PARTNERS | {"vsp": {"name": "shaded", "multiplier": 1.5}})
    game.reset(np.arange(2, dtype=np.uint64))
    other = copy.deepcopy(game)
    hold = {"slice": np.full((2, 3, 3), 3)}
    for _ in range(2):
        step, same = game.step(hold), other.step(hold)
    np.testing.assert_array_equal(step.metrics["bid_ratio"], same.metrics["bid_ratio"])
    assert (step.metrics["noise"] > 0.0).all()


def test_environments_take_partners():
    env = parallel_env(preset="dual_currency", partners={"vsp": {"name": "shaded", "multiplier": 0.5}}, rounds=1)
    env.reset(seed=2)
    infos = env.step({agent: np.full(3, 3) for agent in env.agents})[4]
    usual = parallel_env(preset="dual_currency", rounds=1)
    usual.reset(seed=2)
    truth = usual.step({agent: np.full(3, 3) for agent in usual.agents})[4]
    half, whole = (info["slice_0"]["metrics"]["bid_ratio"] for info in (infos, truth))
    assert half == pytest.approx(whole / 2)


def test_policies_that_are_called_anyway_can_be_replaced_in_other_markets():
    game = StackelbergGame(StackelbergGame.make_config(), 1, ["mobile"])
    game.set_partners({"fixed": {"agents": {0: "cost_plus"}}})
    game.reset(np.zeros(1, np.uint64))
    game.step({"mobile": np.zeros((1, game.roles["mobile"].count), np.int64)})


@pytest.mark.parametrize(
    ("partners", "said"),
    [
        (3, "partners=3 is not allowed: use a mapping of roles"),
        ({"buyer": "truthful"}, "use roles that a policy plays here: vsp"),
        ({"slice": "greedy"}, "use roles that a policy plays here: vsp"),
        ({"vsp": "nobody"}, "use one of truthful, shaded for vsp"),
        ({"vsp": 3}, "use the name of a policy"),
        ({"vsp": {"agents": [0]}}, "use a mapping of numbers to policies"),
        ({"vsp": {"agents": {10: "shaded"}}}, "partners.vsp.agents=10 is not allowed: use 0 to 9"),
        ({"vsp": {"agents": {0: {"name": "shaded", "other": 1}}}}, "partners.vsp.agents.0.other=1"),
    ],
)
def test_partners_that_make_no_sense_get_one_line(partners, said):
    with pytest.raises(ParameterError) as error:
        VCGSlicingGame(VCGSlicingGame.make_config(), 1).set_partners(partners)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_bidders_that_the_auction_itself_plays_have_no_other_policy():
    with pytest.raises(ParameterError, match="roles that a policy plays here: none"):
        DoubleDutchGame(DoubleDutchGame.make_config(), 1).set_partners({"buyer": "shaded"})
