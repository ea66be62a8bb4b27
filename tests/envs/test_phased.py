"""Rounds of phases: who is asked when, what runs inside a step, where rewards and ends belong."""

import numpy as np
import pytest
from haggle import HaggleConfig, HaggleGame

from ioa_marl.envs import check_market
from ioa_marl.envs.vector import VectorGame
from ioa_marl.foundations.parameters import ParameterError


def started(roles=None, num_envs=2, **settings):
    game = HaggleGame(HaggleGame.make_config(**settings), num_envs, roles)
    _, active = game.reset(np.arange(num_envs, dtype=np.uint64))
    return game, active


@pytest.mark.parametrize("roles", [("buyer",), ("seller",), ("buyer", "seller")], ids="+".join)
@pytest.mark.parametrize("limit", [None, 1, 2, 5])
def test_a_game_of_phases_keeps_every_promise(roles, limit):
    check_market(HaggleGame, controlled_roles=roles, num_envs=4, processes=False, max_cycles=limit)


def test_with_one_learning_role_a_round_is_one_step():
    game, active = started(("buyer",))
    assert active["buyer"].all()
    step = game.step({"buyer": np.array([[1, 3], [2, 0]])})
    # The native seller has answered within the step: 3 is taken, 2 is not.
    np.testing.assert_array_equal(step.rewards["buyer"], [[1, 1], [0, 0]])
    assert step.active["buyer"].all()
    ends = [game.step({"buyer": np.zeros((2, 2), int)}).terminated.tolist() for _ in range(2)]
    assert ends == [[False, False], [True, True]]


class EndlessHaggle(HaggleGame):
    endless = True


@pytest.mark.parametrize("limit", [None, 2, 3])
def test_the_last_round_of_an_endless_game_is_a_cut(limit):
    check_market(EndlessHaggle, controlled_roles=("buyer",), num_envs=3, processes=False, max_cycles=limit)
    games = [cls(cls.make_config(max_cycles=limit), 2, ("buyer",)) for cls in (HaggleGame, EndlessHaggle)]
    for game in games:
        game.reset(np.arange(2, dtype=np.uint64))
    for _ in range(7):
        usual, endless = (game.step({"buyer": np.ones((2, 2), int)}) for game in games)
        assert not endless.terminated.any()
        np.testing.assert_array_equal(endless.truncated, usual.terminated | usual.truncated)
        np.testing.assert_array_equal(endless.observations["buyer"], usual.observations["buyer"])


def test_with_both_learning_the_buyers_are_paid_in_the_step_of_the_seller():
    game, active = started(("buyer", "seller"))
    assert active["buyer"].all()
    assert not active["seller"].any()
    first = game.step({"buyer": np.array([[1, 3], [2, 0]]), "seller": np.ones((2, 1), int)})
    assert first.active["seller"].all()
    assert not first.active["buyer"].any()
    assert not first.rewards["buyer"].any()
    second = game.step({"buyer": np.full((2, 2), 4), "seller": np.array([[0], [1]])})
    np.testing.assert_array_equal(second.rewards["buyer"], [[0, 0], [2, 2]])
    np.testing.assert_array_equal(second.rewards["seller"], [[0], [2]])


def test_a_scripted_first_phase_is_played_before_anybody_is_asked():
    game, active = started(("seller",))
    assert active["seller"].all()
    game.market.offer[:] = 0
    assert game.market.phase.tolist() == [1, 1]


def test_markets_in_different_phases_go_on_separately():
    game, _ = started(("buyer", "seller"))
    early = game.save()
    game.step({"buyer": np.array([[1, 3], [2, 4]]), "seller": np.ones((2, 1), int)})
    late = game.save()
    game.restore({name: np.stack([early[name][0], late[name][1]]) for name in early})
    step = game.step({"buyer": np.full((2, 2), 3), "seller": np.ones((2, 1), int)})
    assert step.active["seller"][:, 0].tolist() == [True, False]
    np.testing.assert_array_equal(step.rewards["seller"][:, 0], [0, 4])


def test_the_instance_is_the_seed_unless_another_is_given():
    game, _ = started(num_envs=3)
    assert game.market.instance.tolist() == [0, 1, 2]
    game.reset(np.zeros(3, np.uint64), None, np.array([7, 8, 9], np.uint64))
    assert game.market.instance.tolist() == [7, 8, 9]
    fixed, _ = started(num_envs=3, instance=4)
    assert fixed.market.instance.tolist() == [4, 4, 4]


def test_a_vector_of_seeds_gives_every_seed_its_instance():
    def instances(**given):
        game = VectorGame(HaggleGame, HaggleConfig(), [3, 5], 2, **given)
        game.reset()
        return game.game.market.instance.tolist()

    assert instances() == [3, 3, 5, 5]
    assert instances(instances=[0, 9]) == [0, 0, 9, 9]


@pytest.mark.parametrize(("key", "value"), [("instance", -1), ("instance", 0.5), ("max_cycles", 0), ("instance", True)])
def test_what_cannot_be_a_setting_is_refused_by_name(key, value):
    with pytest.raises(ParameterError, match=f"{key}={value} is not allowed"):
        HaggleConfig(**{key: value})
