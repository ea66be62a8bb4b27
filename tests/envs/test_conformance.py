"""Our markets keep the promises of `Game`, and behave at the doors of PettingZoo and Gymnasium."""

import warnings

import gymnasium
import numpy as np
import pettingzoo
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ioa_marl.envs import check_market, double_dutch_v0
from ioa_marl.envs.double_dutch.game import DoubleDutchGame

with warnings.catch_warnings():
    # PettingZoo's tests import its own games in a way that it deprecates.
    warnings.simplefilter("ignore", DeprecationWarning)
    from pettingzoo.test import api_test, max_cycles_test, parallel_api_test, parallel_seed_test, seed_test

ID = "ioa_marl/double_dutch-v0"
EVERYBODY = ("auctioneer", "buyer", "seller")
CHOICES = (("auctioneer",), ("buyer",), ("seller",), ("buyer", "seller"), EVERYBODY)
LARGE = ("thick", "exchange")

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("roles", CHOICES, ids="+".join)
@pytest.mark.parametrize("preset", [preset for preset in DoubleDutchGame.presets if preset not in LARGE])
def test_double_dutch_keeps_every_promise(preset, roles):
    # A fresh process takes a second: once for the short path, in which only the auctioneer learns, once for the other.
    fresh = preset == "mixed" and roles in (("auctioneer",), EVERYBODY)
    check_market(DoubleDutchGame, preset, controlled_roles=roles, num_envs=3, processes=fresh)


@pytest.mark.parametrize("roles", [("auctioneer",), EVERYBODY], ids="+".join)
@pytest.mark.parametrize("preset", LARGE)
def test_large_double_dutch_keeps_every_promise(preset, roles):
    check_market(DoubleDutchGame, preset, controlled_roles=roles, num_envs=2, episodes=1, processes=False)


@pytest.mark.parametrize(
    ("roles", "settings"),
    [
        (None, {"observation": "extended"}),
        (EVERYBODY, {"observation": "extended"}),
        (None, {"max_cycles": 4}),
        (EVERYBODY, {"max_cycles": 1}),
        (EVERYBODY, {"observation": "extended", "max_cycles": 7, "welfare_paid": "at_end"}),
    ],
    ids=str,
)
def test_settings_keep_every_promise(roles, settings):
    check_market(DoubleDutchGame, controlled_roles=roles, num_envs=3, processes=False, **settings)


@pytest.mark.parametrize("roles", CHOICES, ids="+".join)
def test_pettingzoo_accepts_the_registered_environments(roles):
    parallel_api_test(pettingzoo.make("parallel", ID, controlled_roles=roles), num_cycles=300)
    parallel_seed_test(lambda: pettingzoo.make("parallel", ID, controlled_roles=roles), num_cycles=100)
    seed_test(lambda: pettingzoo.make("aec", ID, controlled_roles=roles), num_cycles=100)


@pytest.mark.parametrize("roles", CHOICES, ids="+".join)
def test_pettingzoo_accepts_the_turn_based_form(roles):
    with warnings.catch_warnings():
        # They are different roles, so their spaces are.
        warnings.filterwarnings("ignore", "(Agents have|Observations are) different")
        api_test(pettingzoo.make("aec", ID, controlled_roles=roles), num_cycles=100)


def test_pettingzoo_finds_that_max_cycles_is_obeyed():
    max_cycles_test(double_dutch_v0)
    environment = pettingzoo.make("parallel", ID, max_cycles=3)
    environment.reset(seed=1)
    ends = [environment.step({"auctioneer_0": 0})[3]["auctioneer_0"] for _ in range(3)]
    assert ends == [False, False, True]


def test_gymnasium_accepts_the_registered_environment(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    check_env(gymnasium.make(ID).unwrapped)


def test_gymnasium_accepts_the_registered_environment_with_every_argument(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    check_env(gymnasium.make(ID, preset="mixed", observation="extended", max_cycles=50).unwrapped)


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
