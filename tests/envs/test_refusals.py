"""What cannot be meant is refused in one line, by every interface in the same words, and changes nothing."""

import gymnasium
import numpy as np
import pytest
from pettingzoo.env_registry.registration import make as make_pettingzoo

import ioa_marl  # noqa: F401 - registers the environments
from ioa_marl import registry
from ioa_marl.envs import VectorGame
from ioa_marl.envs.wrappers import one_space
from ioa_marl.foundations.errors import ParameterError
from ioa_marl.markets.second_bid.references import draw_tasks
from ioa_marl.markets.stackelberg import params as stackelberg
from ioa_marl.markets.two_tier import params as two_tier

NAME = "ioa_marl/double_dutch-v0"
NO_INTEGERS = {
    "a fraction": 1.7,
    "a whole float": 1.0,
    "a float array": np.array(2.0),
    "nan": np.nan,
    "text": "3",
    "nothing": None,
    "a truth value": True,
    "a NumPy truth value": np.True_,
    "a complex number": 1 + 0j,
    "an object": np.array(3, object),
    "a date": np.datetime64(3, "s"),
    "a number beyond every type": 10**30,
    "a list": [3],
    "rows of different lengths": [[1], [1, 2]],
    "too many": np.array([1, 2]),
    "below the space": -1,
    "above the space": 10,
    "a large unsigned number": np.uint64(2**64 - 1),
}
INTEGERS = [3, np.int64(3), np.int8(3), np.uint16(3), np.array(3), np.uint64(3)]
NO_SEEDS = [1.5, 1.0, np.float64(2), "a", "1", -1, True, np.True_, np.nan, None, [1, 2], np.array([1]), 2**63, {}]
SEEDS = [7, np.int64(7), np.uint8(7), np.array(7)]


def parallel(market="double_dutch", **settings):
    return make_pettingzoo("parallel", f"ioa_marl/{market}-v0", **settings)


def refused(does, *kinds):
    """Return the message of the error that ``does`` raises, which must be one line."""
    with pytest.raises(kinds or (ValueError, RuntimeError)) as caught:
        does()
    message = str(caught.value)
    assert message
    assert len(message.splitlines()) == 1
    assert len(message) < 600
    return message


@pytest.mark.parametrize("action", NO_INTEGERS.values(), ids=NO_INTEGERS)
def test_what_is_no_integer_in_the_space_is_refused_by_every_interface(action):
    env, turns = parallel(), make_pettingzoo("aec", NAME)
    single, vector = gymnasium.make(NAME).unwrapped, gymnasium.make_vec(NAME, num_envs=1)
    for each in (env, turns, single, vector):
        each.reset(seed=1)
    before = env.game.save()
    messages = [
        refused(lambda: env.step({"auctioneer_0": action})),
        refused(lambda: turns.step(action)),
        refused(lambda: single.step(action)),
        refused(lambda: vector.step([action])),
    ]
    assert all("action" in message and "auctioneer" in message for message in messages)
    assert all(np.array_equal(array, before[name]) for name, array in env.game.save().items())


@pytest.mark.parametrize("action", [0.5, 1.0, "3", None, True, 1j], ids=repr)
def test_the_interfaces_say_the_same(action):
    env, vector = parallel(), gymnasium.make_vec(NAME, num_envs=1)
    env.reset(seed=1)
    vector.reset(seed=1)
    found = refused(lambda: env.step({"auctioneer_0": action}))
    expected = refused(lambda: vector.step([action]))
    for message in (found, expected):
        assert message.startswith("actions of auctioneer")
        assert "expected integers" in message
    assert found.split("are ")[1].split(",")[0] == expected.split("are ")[1].split(",")[0]


@pytest.mark.parametrize("action", INTEGERS, ids=lambda value: type(value).__name__)
def test_integers_of_every_type_are_one_action(action):
    env, turns = parallel(), make_pettingzoo("aec", NAME)
    expected = parallel()
    for each in (env, turns, expected):
        each.reset(seed=1)
    wanted = expected.step({"auctioneer_0": 3})[0]["auctioneer_0"]
    np.testing.assert_array_equal(env.step({"auctioneer_0": action})[0]["auctioneer_0"], wanted)
    turns.step(action)
    np.testing.assert_array_equal(turns.observe("auctioneer_0"), wanted)


@pytest.mark.parametrize(
    "action",
    [[0.5, 0, 0], [True, False, True], [0, 0], 0, [[0, 0, 0]], [0, 0, 99], [-1, 0, 0], ["0", "0", "0"], [None] * 3],
    ids=repr,
)
def test_several_integers_are_looked_at_one_by_one(action):
    env = parallel("vcg_slicing", providers=2)
    turns = make_pettingzoo("aec", "ioa_marl/vcg_slicing-v0", providers=2)
    env.reset(seed=1)
    turns.reset(seed=1)
    assert "slice" in refused(lambda: env.step({"slice_0": [0, 0, 0], "slice_1": action}))
    assert "slice_0" in refused(lambda: turns.step(action))
    env.step({"slice_0": [0, 0, 0], "slice_1": np.array([1, 1, 1], np.uint8)})


@pytest.mark.parametrize(
    "action", [[np.nan], [np.inf], [1e300], [1.01], [-0.1], 0.5, [0.5, 0.5], ["0.5"], [None], [True], [0.5j]], ids=repr
)
def test_real_actions_are_finite_and_in_their_space(action, recwarn):
    env = parallel("stackelberg", action="box")
    turns = make_pettingzoo("aec", "ioa_marl/stackelberg-v0", action="box")
    env.reset(seed=1)
    turns.reset(seed=1)
    assert "mobile" in refused(lambda: env.step({"mobile_0": action, "fixed_0": [0.5]}))
    assert "mobile_0" in refused(lambda: turns.step(action))
    assert not recwarn.list
    env.step({"mobile_0": [1], "fixed_0": np.array([0.5], np.float64)})


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        ({}, "auctioneer_0 are missing"),
        ({"auctioneer_1": 3}, "auctioneer_1 are not asked for; agents that act are auctioneer_0"),
        ({"auctioneer_0": 3, "buyer_0": 1}, "buyer_0 are not asked for"),
        ({"auctioneer_0": 3, 5: 1}, "5 are not asked for"),
        (None, "NoneType, expected a mapping"),
        ([3], "list, expected a mapping"),
        (3, "int, expected a mapping"),
        ("auctioneer_0", "str, expected a mapping"),
    ],
)
def test_actions_are_those_of_the_agents_that_act(actions, words):
    env = parallel()
    env.reset(seed=1)
    assert words in refused(lambda: env.step(actions))


def test_only_agents_that_are_not_asked_may_be_left_out():
    env = parallel(controlled_roles=["auctioneer", "buyer"])
    _, infos = env.reset(seed=1)
    asked = [agent for agent, info in infos.items() if info["active"]]
    actions = dict.fromkeys(asked, 0)
    assert 0 < len(asked) < len(infos)
    assert "not asked for" in refused(lambda: env.step({**actions, "nobody": 0}))
    assert f"{asked[0]} are missing" in refused(lambda: env.step(dict.fromkeys(asked[1:], 0)))
    env.step(actions)


def test_no_episode_is_played_on_before_it_began():
    vector = gymnasium.make_vec(NAME, num_envs=2)
    env, raw = parallel(render_mode="ansi"), ioa_marl_raw_env()
    game_class = registry.load_env("double_dutch")
    game = VectorGame(game_class, game_class.make_config(), [1], 1)
    for does in (
        lambda: vector.step([1, 1]),
        lambda: env.step({"auctioneer_0": 1}),
        env.state,
        env.render,
        lambda: raw.step(1),
        raw.state,
        lambda: gymnasium.make(NAME).unwrapped.step(1),
        gymnasium.make(NAME, render_mode="ansi").unwrapped.render,
        lambda: game.step({"auctioneer": np.ones((1, 1, 1), np.int64)}),
    ):
        assert "call reset() first" in refused(does, RuntimeError)
    turns = make_pettingzoo("aec", NAME)
    for does in (lambda: turns.step(1), turns.state, lambda: turns.observe("auctioneer_0")):
        assert "reset() needs to be called" in refused(does, AssertionError)


def ioa_marl_raw_env():
    from ioa_marl.envs import double_dutch_v0

    return double_dutch_v0.raw_env()


def test_no_episode_is_played_on_after_its_end():
    env, turns = parallel(max_cycles=1), make_pettingzoo("aec", NAME, max_cycles=1)
    env.reset(seed=1)
    env.step({"auctioneer_0": 1})
    assert "call reset() first" in refused(lambda: env.step({"auctioneer_0": 1}))
    assert env.state().shape == env.state_space.shape
    turns.reset(seed=1)
    turns.step(1)
    assert "its only action is None" in refused(lambda: turns.step(1))
    turns.step(None)
    assert turns.agents == []


@pytest.mark.parametrize("seed", NO_SEEDS, ids=repr)
def test_a_seed_is_a_whole_number(seed):
    if seed is not None:
        for env in (parallel(), make_pettingzoo("aec", NAME), gymnasium.make(NAME), gymnasium.make_vec(NAME)):
            message = refused(lambda env=env: env.reset(seed=seed), ParameterError)
            assert message.startswith("seed=")
            assert "whole number" in message
    game_class = registry.load_env("double_dutch")
    if seed is not NO_SEEDS[-2]:  # such are those of the evaluation
        given = seed if isinstance(seed, (list, np.ndarray)) else [seed]
        refused(lambda: game_class(game_class.make_config()).reset(np.array([[*given, 1]])))
        refused(lambda: VectorGame(game_class, game_class.make_config(), [seed], 1), ParameterError)


@pytest.mark.parametrize("seed", [1.5, -1, "a", True])
def test_drawn_markets_have_whole_seeds(seed):
    for draw, params in (
        (stackelberg.draw_markets, stackelberg.preset("paper")),
        (two_tier.draw_markets, two_tier.preset("paper")),
    ):
        for given in ({"seeds": [seed]}, {"seeds": [1], "streams": [seed]}, {"seeds": [1], "instances": [seed]}):
            assert "whole numbers" in refused(lambda draw=draw, params=params, given=given: draw(params, **given))
    config = registry.load_env("second_bid").make_config()
    assert "whole numbers" in refused(lambda: draw_tasks(config, [seed], [1]))


@pytest.mark.parametrize("seed", SEEDS, ids=lambda value: type(value).__name__)
def test_integers_of_every_type_are_one_seed(seed):
    for make in (parallel, lambda: gymnasium.make(NAME), lambda: gymnasium.make_vec(NAME, num_envs=2)):
        env, expected = make(), make()
        assert str(env.reset(seed=seed)) == str(expected.reset(seed=7))
    turns, expected = make_pettingzoo("aec", NAME), make_pettingzoo("aec", NAME)
    turns.reset(seed=seed)
    expected.reset(seed=7)
    np.testing.assert_array_equal(turns.state(), expected.state())


MALFORMED = [
    ("preset", 5), ("preset", ["paper"]), ("preset", "papier"), ("preset", {}),
    ("controlled_roles", "auctioneer"), ("controlled_roles", 5), ("controlled_roles", []), ("controlled_roles", [5]),
    ("controlled_roles", [["auctioneer"]]),
    ("controlled_roles", ["auctioneer", "auctioneer"]), ("controlled_roles", [None]), ("controlled_roles", ["judge"]),
    ("controlled_roles", b"auctioneer"),
    ("render_mode", "gif"), ("render_mode", 5), ("render_mode", ["ansi"]), ("render_mode", np.zeros((40, 40))),
    ("max_cycles", 0), ("max_cycles", 1.5), ("max_cycles", "3"), ("max_cycles", True), ("max_cycles", [3]),
    ("colour", "red"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), MALFORMED, ids=[f"{key}-{value!r:.20}" for key, value in MALFORMED])
def test_environments_are_made_from_what_can_be_meant(key, value):
    for kind in ("parallel", "aec"):
        message = refused(lambda kind=kind: make_pettingzoo(kind, NAME, **{key: value}), ParameterError)
        assert message.startswith(key)
    if key not in ("controlled_roles", "render_mode"):
        refused(lambda: gymnasium.make(NAME, **{key: value}), ParameterError)
        refused(lambda: gymnasium.make_vec(NAME, num_envs=2, **{key: value}), ParameterError)


@pytest.mark.parametrize("value", [0, -1, 1.5, "3", True, None, [2]], ids=repr)
def test_the_number_of_markets_is_whole_and_positive(value):
    game_class = registry.load_env("double_dutch")
    config = game_class.make_config()
    for make in (
        lambda: game_class(config, value),
        lambda: VectorGame(game_class, config, [1], value),
        lambda: registry_vector_env(value),
    ):
        assert refused(make, ParameterError).startswith("num_envs=")


def registry_vector_env(num_envs):
    from ioa_marl.envs import double_dutch_v0

    return double_dutch_v0.gym_vector_env(num_envs=num_envs)


@pytest.mark.parametrize("options", [5, "a", [1], True], ids=repr)
def test_options_are_a_mapping(options):
    for env in (parallel(), make_pettingzoo("aec", NAME), gymnasium.make(NAME), gymnasium.make_vec(NAME)):
        assert "options" in refused(lambda env=env: env.reset(options=options), ParameterError)
        env.reset(options={"anything": 1})


def test_roles_that_cannot_share_a_policy_are_told_apart():
    env = parallel("two_tier")
    message = refused(lambda: one_space(env), ParameterError)
    assert "use controlled_roles=['mobile'] or controlled_roles=['fixed'] or controlled_roles=['auctioneer']" in message
    assert "extended" not in message
    for roles in (["mobile"], ["fixed"], ["auctioneer"]):
        chosen = parallel("two_tier", controlled_roles=roles)
        assert one_space(chosen) is chosen
    apart = parallel("two_tier", controlled_roles=["mobile", "fixed"], observation="extended")
    assert "controlled_roles=['mobile'] or controlled_roles=['fixed']" in refused(
        lambda: one_space(apart), ParameterError
    )
