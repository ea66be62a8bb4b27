"""Every market keeps the promises of `Game`, and behaves at the doors of PettingZoo and Gymnasium."""

import warnings

import gymnasium
import pettingzoo
import pytest
from every_market import EVERY, MARKETS, cases
from gymnasium.utils.env_checker import check_env

from ioa_marl.envs import check_market

with warnings.catch_warnings():
    # PettingZoo's tests import its own games in a way that it deprecates.
    warnings.simplefilter("ignore", DeprecationWarning)
    from pettingzoo.test import api_test, max_cycles_test, parallel_api_test, parallel_seed_test, seed_test

pytestmark = pytest.mark.filterwarnings("error")
every_choice = pytest.mark.parametrize(("market", "roles"), **cases(lambda market: market.choices))


@every_choice
def test_a_market_keeps_every_promise_whoever_acts(market, roles):
    fresh = roles == market.everybody  # a fresh process takes a second
    check_market(market.game_class, controlled_roles=roles, num_envs=3, processes=fresh, **market.quick)


@pytest.mark.parametrize(("market", "case"), **cases(lambda market: market.promises))
def test_a_market_keeps_every_promise_whatever_its_settings(market, case):
    roles, settings = case
    check_market(market.game_class, controlled_roles=roles, **{"num_envs": 3, "processes": False, **settings})


@every_choice
def test_pettingzoo_accepts_the_registered_environments(market, roles):
    settings = {"controlled_roles": roles, **market.quick}
    parallel_api_test(pettingzoo.make("parallel", market.id, **settings), num_cycles=60)
    parallel_seed_test(lambda: pettingzoo.make("parallel", market.id, **settings), num_cycles=30)
    seed_test(lambda: pettingzoo.make("aec", market.id, **settings), num_cycles=30)


@every_choice
def test_pettingzoo_accepts_the_turn_based_form(market, roles):
    with warnings.catch_warnings():
        # They are different roles, so their spaces are.
        warnings.filterwarnings("ignore", "(Agents have|Observations are) different")
        # Whoever acts later in a round may know nothing in the beginning.
        warnings.filterwarnings("ignore", "Observation numpy array is all zeros")
        # It knows no MultiDiscrete.
        warnings.filterwarnings("ignore", "Action space for each agent probably should be")
        api_test(pettingzoo.make("aec", market.id, controlled_roles=roles, **market.quick), num_cycles=60)


@pytest.mark.parametrize("market", **EVERY)
def test_pettingzoo_finds_that_max_cycles_is_obeyed(market):
    max_cycles_test(market.module)
    environment = pettingzoo.make("parallel", market.id, max_cycles=3)
    environment.reset(seed=1)
    first = {agent: environment.action_space(agent) for agent in environment.possible_agents}
    for i, space in enumerate(first.values()):
        space.seed(i)
    ends = [environment.step({agent: space.sample() for agent, space in first.items()})[3] for _ in range(3)]
    assert [set(end.values()) for end in ends] == [{False}, {False}, {True}]


@pytest.mark.parametrize("market", [market for market in MARKETS if market.gymnasium], ids=str)
def test_gymnasium_accepts_the_registered_environment(market, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    check_env(gymnasium.make(market.id).unwrapped)


@pytest.mark.parametrize(("market", "settings"), **cases(lambda market: market.alone))
def test_gymnasium_accepts_an_agent_alone(market, settings, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    check_env(market.module.gym_env(**settings), skip_render_check=True)
