"""The second-bid market keeps the promises of `Game`, and behaves at the doors of PettingZoo and Gymnasium."""

import warnings

import pytest
from gymnasium.utils.env_checker import check_env

from ioa_marl.envs import check_market, second_bid_v0
from ioa_marl.envs.second_bid.game import SecondBidGame

with warnings.catch_warnings():
    # PettingZoo's tests import its own games in a way that it deprecates.
    warnings.simplefilter("ignore", DeprecationWarning)
    from pettingzoo.test import api_test, max_cycles_test, parallel_api_test, parallel_seed_test, seed_test

EVERYBODY = ("auctioneer", "station")
CHOICES = (("auctioneer",), ("station",), EVERYBODY)

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("roles", CHOICES, ids="+".join)
@pytest.mark.parametrize("preset", SecondBidGame.presets)
def test_the_market_keeps_every_promise(preset, roles):
    fresh = preset == "persistent" and roles == EVERYBODY  # a fresh process takes a second
    check_market(SecondBidGame, preset, controlled_roles=roles, num_envs=3, processes=fresh, tasks=6)


@pytest.mark.parametrize(
    ("roles", "settings"),
    [
        (None, {"tasks": 50}),
        (None, {"information": "history"}),
        (EVERYBODY, {"uav_bid_visible": True}),
        (None, {"max_cycles": 4}),
        (EVERYBODY, {"max_cycles": 1}),
        (EVERYBODY, {"max_cycles": 3}),
        (("station",), {"max_cycles": 2}),
        (None, {"tasks": 1, "levels": 1, "stations": 2, "periods": 1}),
        (EVERYBODY, {"stations": 40, "tasks": 2}),
    ],
    ids=str,
)
def test_settings_keep_every_promise(roles, settings):
    check_market(SecondBidGame, controlled_roles=roles, num_envs=3, processes=False, **{"tasks": 6, **settings})


@pytest.mark.parametrize("roles", CHOICES, ids="+".join)
def test_pettingzoo_accepts_the_environments(roles):
    parallel_api_test(second_bid_v0.parallel_env(controlled_roles=roles, tasks=6), num_cycles=60)
    parallel_seed_test(lambda: second_bid_v0.parallel_env(controlled_roles=roles), num_cycles=30)
    seed_test(lambda: second_bid_v0.env(controlled_roles=roles), num_cycles=30)


@pytest.mark.parametrize("roles", CHOICES, ids="+".join)
def test_pettingzoo_accepts_the_turn_based_form(roles):
    with warnings.catch_warnings():
        # They are different roles, so their spaces are.
        warnings.filterwarnings("ignore", "(Agents have|Observations are) different")
        # Before the stations have bid for the first task, the auctioneer knows nothing.
        warnings.filterwarnings("ignore", "Observation numpy array is all zeros")
        api_test(second_bid_v0.env(controlled_roles=roles, tasks=6), num_cycles=60)


def test_pettingzoo_finds_that_max_cycles_is_obeyed():
    max_cycles_test(second_bid_v0)


@pytest.mark.parametrize("settings", [{}, {"preset": "persistent"}, {"uav_bid_visible": True, "max_cycles": 20}])
def test_gymnasium_accepts_the_environment(settings, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    check_env(second_bid_v0.gym_env(**settings), skip_render_check=True)
