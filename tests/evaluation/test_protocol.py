"""Scores: the meaning of 0 and 1, and the instance that is played."""

import json
import os

import numpy as np
import pytest
from haggle import HaggleConfig, HaggleGame

from ioa_marl import registry
from ioa_marl.envs.policies import policy
from ioa_marl.evaluation import external, playing, protocol
from ioa_marl.foundations.errors import UserError


class AlwaysWorth:
    """Offer 4 if the worth of the market, which depends on its instance, is high."""

    def __init__(self, game, least=0.5):
        self._game, self._least = game, least

    def __call__(self):
        high = self._game.market.worth[:, None] >= self._least
        return np.repeat(np.where(high, 4, 0), 2, axis=1)


class Both(HaggleGame):
    """The same market with both roles learning, a zero for one of them, and two scores."""

    name = "haggle_both"
    default_controlled_roles = ("buyer", "seller")
    objectives = {"trade": "paid", "seller": "paid"}  # noqa: RUF012
    constant_baseline = {"buyer": "always", "seller": "always"}  # noqa: RUF012
    score_floor = {"buyer": ("always", {"action": 2})}  # noqa: RUF012
    policies = {  # noqa: RUF012
        "buyer": {**HaggleGame.policies["buyer"], "worth": policy(AlwaysWorth)},
        "seller": HaggleGame.policies["seller"],
    }

    @classmethod
    def reference(cls, config, seeds, streams, instances=None):
        return {key: np.full(len(seeds), 4.0 * config.rounds) for key in cls.objectives}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IOA_MARL_CACHE", str(tmp_path))


def test_without_a_named_zero_random_play_is_zero():
    found = protocol.references(HaggleGame, HaggleConfig(), 50)
    assert found.zero == found.random
    # The larger of two uniform offers is 3 or 4 with probability 16/25, and is then paid in each of three rounds.
    assert found.random["buyer"] == pytest.approx(3 * (3 * 7 + 4 * 9) / 25, rel=0.05)
    assert (found.optimum["buyer"], found.constant["buyer"]) == (12.0, 0.0)


def test_a_named_zero_leaves_the_other_roles_to_chance():
    found = protocol.references(Both, HaggleConfig(), 50)
    # Offers of 2, and a seller who takes each with probability one half.
    assert found.zero["trade"] == pytest.approx(3 * 2 / 2, rel=0.05)
    assert found.zero != found.random


def test_a_group_of_roles_and_a_role_are_scored_side_by_side():
    played = {"paid": np.full((2, 10), 12.0)}
    found = protocol.scores(Both, HaggleConfig(), played, Both.default_controlled_roles, instances=[0, 1])
    assert {key: value.tolist() for key, value in found.items()} == {"trade": [1.0, 1.0], "seller": [1.0, 1.0]}
    assert protocol.scores(Both, HaggleConfig(), played, ("buyer",)) == {}


def test_each_seed_is_played_on_its_own_instance():
    agent = playing.make_agent(
        protocol.ScriptedAgent, protocol.ScriptedConfig("worth"), Both(HaggleConfig(), 1), ["buyer"], 2
    )
    seller = playing.make_agent(
        protocol.ScriptedAgent, protocol.ScriptedConfig("native"), Both(HaggleConfig(), 1), ["seller"], 2
    )
    played = playing.play_episodes(Both, HaggleConfig(), [agent, seller], ("buyer", "seller"), 2, 10, 0, [0, 1])
    # The worth is instance · 7 + stream + …, modulo ten: another instance, another order.
    assert not np.array_equal(played["worth"][0], played["worth"][1])
    np.testing.assert_array_equal(played["paid"], np.where(played["worth"] >= 0.5, 12.0, 0.0))
    np.testing.assert_array_equal(played["length"], np.full((2, 10), 6.0))


def test_references_of_a_fixed_instance_are_those_of_every_seed():
    fixed = HaggleConfig(instance=3)
    assert protocol.references(HaggleGame, fixed, 5, instance=1) == protocol.references(
        HaggleGame, fixed, 5, instance=2
    )


def test_a_market_of_several_roles_is_scored_with_one_callable_each(monkeypatch):
    monkeypatch.setattr(external, "find_game", lambda env_id: (Both, None))
    functions = {
        "buyer": lambda seen: np.full(seen.shape[:2], 4),
        "seller": lambda seen: np.ones(len(seen), int),
    }
    result = external.score("haggle_both", functions, episodes=5, seed=2)
    assert result.scores == {"trade": 1.0, "seller": 1.0}
    with pytest.raises(UserError, match="no overall score: its scores are trade, seller"):
        _ = result.score
    with pytest.raises(UserError, match="buyer, seller"):
        external.score("haggle_both", functions["buyer"], episodes=5)
    with pytest.raises(UserError, match="act_fn is for buyer: use one callable for each of buyer, seller"):
        external.score("haggle_both", {"buyer": functions["buyer"]}, episodes=5)


def test_many_large_markets_are_played_in_groups_with_the_same_result(monkeypatch):
    agent = playing.make_agent(
        protocol.ScriptedAgent, protocol.ScriptedConfig("worth"), Both(HaggleConfig(), 1), ["buyer"], 2
    )
    seller = playing.make_agent(
        protocol.ScriptedAgent, protocol.ScriptedConfig("native"), Both(HaggleConfig(), 1), ["seller"], 2
    )
    given = Both, HaggleConfig(), [agent, seller], ("buyer", "seller"), 2, 10, 0, [0, 1]
    whole = playing.play_episodes(*given)
    monkeypatch.setattr(playing, "LARGEST_BATCH", 700)
    groups = playing.episode_groups(Both, HaggleConfig(), ("buyer", "seller"), 10, 7)
    assert {count for _, count in groups[:-1]} <= {2, 3}
    assert [e for first, count in groups for e in range(first, first + count)] == list(range(7, 17))
    parts = playing.play_episodes(*given)
    for name, values in whole.items():
        np.testing.assert_array_equal(parts[name], values)


def test_where_random_play_is_the_optimum_there_is_no_score():
    class Free(HaggleGame):
        name = "haggle_free"
        default_controlled_roles = ("seller",)
        objectives = {"seller": "worth"}  # noqa: RUF012
        constant_baseline = {"seller": "always"}  # noqa: RUF012

        @classmethod
        def reference(cls, config, seeds, streams, instances=None):
            game = cls(config, len(seeds), ("seller",))
            game.reset(seeds, streams, instances)
            return {"seller": game.market.worth}

    assert protocol.scores(Free, HaggleConfig(), {"worth": np.ones((1, 3))}, ("seller",)) == {}
    assert not protocol.references(Free, HaggleConfig(), 3).has_scale("seller")


@pytest.mark.parametrize("seed", [-1, 2**33, True, 0.5])
def test_a_seed_that_no_run_can_have_is_not_scored(seed):
    with pytest.raises(UserError, match="seed="):
        external.score("double_dutch", lambda seen: np.zeros(len(seen), int), seed=seed, episodes=2)


@pytest.mark.parametrize("change", [{"slice_reward": "own"}, {"reward_scale": 0.5}], ids=str)
def test_how_slices_are_rewarded_changes_no_reference_and_none_is_computed_twice(change):
    slicing = registry.load_env("vcg_slicing")
    configs = [slicing.make_config(rounds=5), slicing.make_config(rounds=5, **change)]
    one, other = (protocol.compute_references(slicing, config, 3) for config in configs)
    assert one == other
    usual, changed = (protocol.references(slicing, config, 3) for config in configs)
    assert usual is changed
    assert usual == one


def as_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def as_a_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text(path.read_text().replace("4", "5", 1)),
        lambda path: path.write_text(""),
        lambda path: path.write_text("[" * 100_000),
        lambda path: path.write_text('{"zero": {}, "optimum": {"buyer": "4"}, "constant": {}, "random": {}}'),
        lambda path: path.write_text('{"zero": 5, "optimum": {}, "constant": {}, "random": {}}'),
        as_a_pipe,
        as_a_folder,
    ],
    ids=["a digit", "empty", "deep", "text", "a number", "pipe", "folder"],
)
def test_damaged_references_in_the_cache_are_computed_again(damage, tmp_path, monkeypatch):
    monkeypatch.setenv("IOA_MARL_CACHE", str(tmp_path))
    protocol._references.cache_clear()
    wanted = protocol.references(HaggleGame, HaggleConfig(), 3)
    (path,) = tmp_path.rglob("*.json")
    damage(path)
    protocol._references.cache_clear()
    assert protocol.references(HaggleGame, HaggleConfig(), 3) == wanted
    if not path.is_dir():
        held = json.loads(path.read_text())
        assert held.pop("checksum") == wanted.checksum()
        assert held == wanted.as_dict()


def test_references_that_an_earlier_version_kept_are_not_computed_again(tmp_path, monkeypatch):
    monkeypatch.setenv("IOA_MARL_CACHE", str(tmp_path))
    protocol._references.cache_clear()
    wanted = protocol.references(HaggleGame, HaggleConfig(), 3)
    (path,) = tmp_path.rglob("*.json")
    path.write_text(json.dumps(wanted.as_dict()))
    protocol._references.cache_clear()
    monkeypatch.setattr(protocol, "compute_references", lambda *_: pytest.fail("they are there"))
    assert protocol.references(HaggleGame, HaggleConfig(), 3) == wanted
