"""The Stackelberg market keeps the promises of `Game`, and behaves at the doors of PettingZoo and Gymnasium."""

import warnings

import pytest
from gymnasium.utils.env_checker import check_env

from ioa_marl.envs import check_market, stackelberg_v0
from ioa_marl.envs.stackelberg.game import StackelbergGame

with warnings.catch_warnings():
    # PettingZoo's tests import its own games in a way that it deprecates.
    warnings.simplefilter("ignore", DeprecationWarning)
    from pettingzoo.test import api_test, max_cycles_test, parallel_api_test, parallel_seed_test, seed_test

LEADERS = ("mobile", "fixed")
EVERYBODY = (*LEADERS, "wireless")
CHOICES = (LEADERS, ("mobile",), ("fixed",), ("wireless",), ("fixed", "wireless"), EVERYBODY)

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("roles", CHOICES, ids="+".join)
@pytest.mark.parametrize("preset", ["paper", "city"])
def test_stackelberg_keeps_every_promise(preset, roles):
    check_market(
        StackelbergGame,
        preset,
        controlled_roles=roles,
        num_envs=3,
        rounds=3,
        processes=preset == "city" and roles == LEADERS,
    )


@pytest.mark.parametrize("preset", ["dynamic", "kinked", "scarce", "metro"])
def test_other_presets_keep_every_promise(preset):
    small = {"wireless": 60, "mobile": 4, "fixed": 5} if preset == "metro" else {}
    check_market(StackelbergGame, preset, controlled_roles=EVERYBODY, num_envs=2, rounds=2, processes=False, **small)


@pytest.mark.parametrize(
    ("roles", "settings"),
    [
        (None, {"action": "box"}),
        (EVERYBODY, {"action": "box", "observation": "extended", "max_cycles": 3}),
        (None, {"observation": "extended", "redraw": "episode", "instance": 4}),
        (EVERYBODY, {"mobility": "as_printed", "mobility_weight": 0.5, "congestion": True}),
        (None, {"dynamics": True, "latency_case": "ma", "redraw": "episode", "observation": "extended"}),
        (("wireless",), {"wireless": 3, "mobile": 5, "fixed": 4}),
    ],
    ids=str,
)
def test_settings_keep_every_promise(roles, settings):
    changes = {"rounds": 2, "deviation_step": 0.25, **settings}
    check_market(StackelbergGame, "city", controlled_roles=roles, num_envs=2, processes=False, **changes)


@pytest.mark.parametrize("roles", CHOICES, ids="+".join)
def test_pettingzoo_accepts_the_environments(roles):
    parallel_api_test(stackelberg_v0.parallel_env(preset="city", controlled_roles=roles), num_cycles=60)
    parallel_seed_test(lambda: stackelberg_v0.parallel_env(preset="city", controlled_roles=roles), num_cycles=30)
    seed_test(lambda: stackelberg_v0.env(preset="city", controlled_roles=roles), num_cycles=30)


@pytest.mark.parametrize("roles", [LEADERS, EVERYBODY], ids="+".join)
def test_pettingzoo_accepts_the_turn_based_form(roles):
    with warnings.catch_warnings():
        # They are different roles, so their spaces are.
        warnings.filterwarnings("ignore", "(Agents have|Observations are) different")
        api_test(stackelberg_v0.env(preset="city", controlled_roles=roles), num_cycles=60)


def test_pettingzoo_finds_that_max_cycles_is_obeyed():
    max_cycles_test(stackelberg_v0)


@pytest.mark.parametrize("action", ["discrete", "box"])
@pytest.mark.parametrize("role", ["mobile", "fixed", "wireless"])
def test_gymnasium_accepts_a_single_learner(role, action, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    check_env(stackelberg_v0.gym_env(role=role, action=action), skip_render_check=True)
