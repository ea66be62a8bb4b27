"""The slicing market keeps the promises of `Game`, and behaves at the doors of PettingZoo and Gymnasium."""

import warnings

import numpy as np
import pytest

from ioa_marl.envs import check_market, vcg_slicing_v0
from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame

with warnings.catch_warnings():
    # PettingZoo's tests import its own games in a way that it deprecates.
    warnings.simplefilter("ignore", DeprecationWarning)
    from pettingzoo.test import api_test, max_cycles_test, parallel_api_test, parallel_seed_test, seed_test

BOTH = ("slice", "vsp")
CHOICES = (("slice",), ("vsp",), BOTH)

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("roles", CHOICES, ids="+".join)
def test_paper_keeps_every_promise(roles):
    check_market(VCGSlicingGame, "paper", controlled_roles=roles, num_envs=3, processes=roles == BOTH, rounds=12)


@pytest.mark.parametrize("preset", ["n20", "n50"])
def test_larger_markets_keep_every_promise(preset):
    check_market(VCGSlicingGame, preset, num_envs=2, processes=False, rounds=6)


@pytest.mark.parametrize(
    ("roles", "settings"),
    [
        (None, {"observation": "extended"}),
        (BOTH, {"observation": "extended", "redraw": "episode"}),
        (None, {"observation": "extended", "redraw": "episode", "slice_reward": "increment"}),
        (("vsp",), {"instance": 5, "max_cycles": 3}),
        (BOTH, {"max_cycles": 1, "slice_reward": "bids"}),
        (BOTH, {"max_cycles": 5, "slice_reward": "own"}),
        (BOTH, {"providers": 2, "slice_reward": "utility"}),
        (BOTH, {"providers": 2, "rate": (0.0, 1e-4)}),
    ],
    ids=str,
)
def test_settings_keep_every_promise(roles, settings):
    check_market(VCGSlicingGame, controlled_roles=roles, num_envs=3, processes=False, **{"rounds": 6, **settings})


def test_city_keeps_every_promise():
    check_market(VCGSlicingGame, "city", num_envs=2, episodes=1, processes=False, rounds=2)


@pytest.mark.parametrize("roles", CHOICES, ids="+".join)
def test_pettingzoo_accepts_the_environments(roles):
    settings = {"controlled_roles": roles, "providers": 3, "rounds": 20}
    parallel_api_test(vcg_slicing_v0.parallel_env(**settings), num_cycles=100)
    parallel_seed_test(lambda: vcg_slicing_v0.parallel_env(**settings), num_cycles=50)
    seed_test(lambda: vcg_slicing_v0.env(**settings), num_cycles=50)
    with warnings.catch_warnings():
        # They are different roles, so their spaces are.
        warnings.filterwarnings("ignore", "(Agents have|Observations are) different")
        # It knows no MultiDiscrete.
        warnings.filterwarnings("ignore", "Action space for each agent probably should be")
        api_test(vcg_slicing_v0.env(**settings), num_cycles=60)


def test_pettingzoo_finds_that_max_cycles_is_obeyed():
    max_cycles_test(vcg_slicing_v0)


def test_first_agent_acts_only_in_its_phase():
    game = VCGSlicingGame(VCGSlicingGame.make_config(rounds=2), 1, BOTH)
    _, active = game.reset(np.zeros(1, np.uint64))
    actions = {"slice": np.full((1, 10, 3), 3), "vsp": np.full((1, 10), 5)}
    seen = [(bool(active["vsp"].all()), bool(active["slice"].any()))]
    for _ in range(3):
        active = game.step(actions).active
        seen.append((bool(active["vsp"].any()), bool(active["slice"].all())))
    assert seen == [(True, False), (False, True), (True, False), (False, True)]
