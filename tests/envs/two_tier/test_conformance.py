"""The two-tier market keeps the promises of `Game`, and behaves at the doors of PettingZoo and Gymnasium."""

import itertools
import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from ioa_marl.envs import check_market, two_tier_v0
from ioa_marl.envs.two_tier.game import TwoTierGame

with warnings.catch_warnings():
    # PettingZoo's tests import its own games in a way that it deprecates.
    warnings.simplefilter("ignore", DeprecationWarning)
    from pettingzoo.test import api_test, max_cycles_test, parallel_api_test, parallel_seed_test, seed_test

EVERYBODY = ("mobile", "fixed", "auctioneer")
CHOICES = tuple(choice for size in (1, 2, 3) for choice in itertools.combinations(EVERYBODY, size))
SMALL = {"wireless": 6, "mobile": 3, "fixed": 3, "aerial": 4, "capacity": (0.5, 12.0), "rounds": 4}

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("roles", CHOICES, ids="+".join)
def test_two_tier_keeps_every_promise(roles):
    check_market(TwoTierGame, controlled_roles=roles, num_envs=3, processes=roles == EVERYBODY, **SMALL)


@pytest.mark.parametrize("preset", ["paper", "city"])
def test_presets_keep_every_promise(preset):
    check_market(TwoTierGame, preset, num_envs=2, episodes=1, processes=False, rounds=3)


def test_a_large_market_keeps_every_promise():
    check_market(TwoTierGame, "metro", num_envs=2, episodes=1, processes=False, rounds=2, fixed=40, price_levels=6)


@pytest.mark.parametrize(
    ("roles", "settings"),
    [
        (None, {"observation": "extended"}),
        (("auctioneer",), {"observation": "extended", "instance": 3}),
        (None, {"max_cycles": 3}),
        (("mobile", "fixed"), {"max_cycles": 1}),
        (None, {"wireless": 1, "mobile": 1, "fixed": 1, "aerial": 1, "steps": (0.5, 1.25)}),
        (None, {"capacity": (1e-9, 1e-9), "psi": 0.0}),
        (None, {"capacity": (1e6, 1e6), "price_levels": 2}),
    ],
    ids=str,
)
def test_settings_keep_every_promise(roles, settings):
    check_market(TwoTierGame, controlled_roles=roles, num_envs=3, processes=False, **{**SMALL, **settings})


@pytest.mark.parametrize("roles", [("mobile",), ("auctioneer",), EVERYBODY], ids="+".join)
def test_pettingzoo_accepts_the_environments(roles):
    settings = {"controlled_roles": roles, **SMALL}
    parallel_api_test(two_tier_v0.parallel_env(**settings), num_cycles=60)
    parallel_seed_test(lambda: two_tier_v0.parallel_env(**settings), num_cycles=30)
    seed_test(lambda: two_tier_v0.env(**settings), num_cycles=30)
    with warnings.catch_warnings():
        # They are different roles, so their spaces are.
        warnings.filterwarnings("ignore", "(Agents have|Observations are) different")
        # It knows no MultiDiscrete.
        warnings.filterwarnings("ignore", "Action space for each agent probably should be")
        api_test(two_tier_v0.env(**settings), num_cycles=40)


def test_pettingzoo_finds_that_max_cycles_is_obeyed():
    max_cycles_test(two_tier_v0)


def test_gymnasium_accepts_the_auctioneer_alone(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    check_env(two_tier_v0.gym_env(role="auctioneer", **SMALL), skip_render_check=True)


def test_gymnasiums_batch_of_auctioneers_goes_on_from_episode_to_episode():
    environment = two_tier_v0.gym_vector_env(num_envs=3, role="auctioneer", **SMALL)
    environment.reset(seed=1)
    ends = []
    for _ in range(9):
        _, _, terminated, _, infos = environment.step(np.full((3, 2), 4))
        ends.append(bool(terminated.all()))
        if terminated.all():
            assert (infos["final_info"]["metrics"]["auction_regret"] >= 0.0).all()
    assert [r for r, end in enumerate(ends) if end] == [3, 7]
