"""Scores can be computed and saved with numbers of NumPy as well as of Python."""

import json

import numpy as np
import pytest

from ioa_marl.envs import VectorGame
from ioa_marl.evaluation import score
from ioa_marl.foundations.errors import ParameterError, UserError
from ioa_marl.registry import env_names, load_env
from ioa_marl.training.external import save_score


def always_two(seen):
    return np.full(len(seen), 5)


@pytest.mark.parametrize("form", [np.int64, np.uint16, np.array], ids=lambda form: form.__name__)
def test_a_score_is_made_with_numbers_of_every_type(form):
    expected = score("double_dutch", always_two, episodes=3, seed=2, psi=0.5, max_ticks=500)
    found = score("double_dutch", always_two, episodes=form(3), seed=form(2), psi=np.float32(0.5), max_ticks=form(500))
    assert found.scores == expected.scores
    assert found.config == expected.config
    assert type(found.seed) is int


def test_a_score_is_saved_with_numbers_of_every_type(tmp_path):
    result = score("double_dutch", always_two, episodes=3)
    plain = {"lr": 0.5, "layers": [64, 64], "deep": {"k": 3}, "dueling": True}
    numpy = {
        "lr": np.float32(0.5), "layers": np.array([64, 64]), "deep": {"k": np.int8(3)}, "dueling": np.True_
    }  # fmt: skip
    first = save_score(result, tmp_path, "mine", settings=plain, budget=100, seed=1)
    again = save_score(result, tmp_path, "mine", settings=numpy, budget=np.int64(100), seed=np.array(1))
    assert first == again
    assert json.loads((first / "result.json").read_text())["budget"] == 100


@pytest.mark.parametrize("budget", [1.5, "many", -1, True, None, np.nan])
def test_a_budget_is_a_whole_number(tmp_path, budget):
    result = score("double_dutch", always_two, episodes=3)
    with pytest.raises(UserError, match=r"budget=.* whole number"):
        save_score(result, tmp_path, "mine", budget=budget)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "given", [{"episodes": 1.5}, {"episodes": "3"}, {"episodes": True}, {"seed": 1.5}, {"seed": "1"}]
)
def test_seeds_and_episodes_of_a_score_are_whole_numbers(given):
    with pytest.raises(UserError, match=f"{next(iter(given))}=.* whole number"):
        score("double_dutch", always_two, **given)


@pytest.mark.parametrize("market", env_names())
def test_a_market_is_made_with_numbers_of_every_type(market):
    game_class = load_env(market)
    expected = game_class.make_config(max_cycles=5)
    for five in (np.int64(5), np.uint8(5), np.array(5)):
        config = game_class.make_config(max_cycles=five)
        assert config == expected
        assert type(config.max_cycles) is int
    game = VectorGame(game_class, config, [np.int64(3)], np.int64(2))
    assert game.seeds == (3,)
    assert (type(game.seeds[0]), type(game.num_envs)) == (int, int)
    assert game_class(config, np.array(2)).num_envs == 2


@pytest.mark.parametrize(
    ("market", "role", "policy", "setting", "value", "wrong"),
    [
        ("double_dutch", "auctioneer", "fixed_step", "step", 2.0, "two"),
        ("double_dutch", "buyer", "shaded", "shade", 0.5, "half"),
        ("second_bid", "auctioneer", "constant_rho", "level", 3, 1.5),
        ("second_bid", "auctioneer", "threshold", "threshold", 4.0, "low"),
        ("stackelberg", "mobile", "cost_plus", "margin", 0.5, "half"),
        ("stackelberg", "mobile", "posted_pair", "price", 2.0, "two"),
        ("two_tier", "fixed", "cost_plus", "margin", 0.5, None),
        ("two_tier", "fixed", "posted_pair", "price", 2.0, [1]),
        ("vcg_slicing", "slice", "qvcg", "quanta", 4, 4.5),
        ("vcg_slicing", "vsp", "shaded", "multiplier", 0.8, "some"),
    ],
)
def test_scripted_policies_take_numbers_of_every_type_and_nothing_else(market, role, policy, setting, value, wrong):
    few = {"providers": 4} if policy == "qvcg" else {}  # its programme grows with the providers
    game = load_env(market)(load_env(market).make_config(**few))
    game.reset(np.array([1], np.uint64))
    expected = game.scripted(policy, role, **{setting: value})()
    for form in (np.array, np.int64 if isinstance(value, int) else np.float64):
        np.testing.assert_array_equal(game.scripted(policy, role, **{setting: form(value)})(), expected)
    with pytest.raises(ParameterError, match=setting):
        game.scripted(policy, role, **{setting: wrong})
