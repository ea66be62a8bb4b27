"""Gymnasium's batch of Double-Dutch auctions is as many single ones."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ioa_marl.envs.double_dutch.game import DoubleDutchGame

ID = "ioa_marl/double_dutch-v0"

pytestmark = pytest.mark.filterwarnings("error")


def last_observations(seed, streams, actions, episodes):
    """Return, market by market, the last observations of its first episodes, played alone without autoreset."""
    found = []
    for market, stream in enumerate(streams):
        game = DoubleDutchGame(DoubleDutchGame.make_config(), autoreset=False)
        game.reset(np.array([seed], np.uint64), np.array([stream], np.uint64))
        found.append([])
        for action in actions[:, market]:
            step = game.step({"auctioneer": np.array([[action]])})
            if step.terminated[0]:
                found[-1].append(step.observations["auctioneer"][0, 0].copy())
                game.next_episode()
            if len(found[-1]) == episodes:
                break
    return found


def test_vector_environment_resets_within_the_step_and_returns_the_last_observation():
    environment = gymnasium.make_vec(ID, num_envs=4)
    assert environment.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    first, _ = environment.reset(seed=11)
    actions = np.random.default_rng(0).integers(10, size=(200, 4))
    wanted = last_observations(11, range(4), actions, episodes=2)
    found = [[] for _ in range(4)]
    for row in actions:
        observations, _, terminated, truncated, infos = environment.step(row)
        assert not truncated.any()
        assert terminated.any() == ("final_obs" in infos)
        for market in np.flatnonzero(terminated):
            assert infos["_final_obs"][market]
            assert infos["_final_info"][market]
            found[market].append(infos["final_obs"][market])
            # The clocks are at their starts again.
            np.testing.assert_array_equal(observations[market], first[market])
        for market in np.flatnonzero(~terminated) if terminated.any() else ():
            assert infos["final_obs"][market] is None
            assert not infos["_final_obs"][market]
    for market in range(4):
        assert len(found[market]) >= 2
        np.testing.assert_array_equal(found[market][:2], wanted[market])


def test_vector_environment_is_the_same_as_gymnasiums_own_for_the_first_market():
    ours = gymnasium.make_vec(ID, num_envs=3, max_cycles=31)
    other = SyncVectorEnv([lambda: gymnasium.make(ID, max_cycles=31)], autoreset_mode=AutoresetMode.SAME_STEP)
    np.testing.assert_array_equal(ours.reset(seed=5)[0][:1], other.reset(seed=5)[0])
    rng, ends = np.random.default_rng(1), []
    for _ in range(300):
        actions = rng.integers(10, size=3)
        found, wanted = ours.step(actions), other.step(actions[:1])
        for array, expected in zip(found[:4], wanted[:4], strict=True):
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array[:1], expected)
        if "final_obs" in wanted[4]:
            np.testing.assert_array_equal(found[4]["final_obs"][0], wanted[4]["final_obs"][0])
            ends.append(bool(wanted[2][0]))
    assert len(ends) > 5
    assert len(set(ends)) == 2, "both terminated and truncated episodes are wanted here"


def test_vector_environment_without_a_seed_goes_on_to_the_next_episodes():
    ours, single = gymnasium.make_vec(ID, num_envs=2), gymnasium.make(ID)
    ours.reset(seed=3)
    single.reset(seed=3)
    ours.step(np.array([4, 4]))
    single.step(4)
    ours.reset()
    single.reset()
    for _ in range(5):
        found, wanted = ours.step(np.array([9, 9])), single.step(9)
        np.testing.assert_array_equal(found[0][0], wanted[0])
        assert found[1][0] == wanted[1]
