"""A copy of an environment goes on as the original does, and neither notices what the other one does."""

import copy
import pickle
import subprocess
import sys

import cloudpickle
import gymnasium
import numpy as np
import pytest
from every_market import EVERY, MARKETS, cases
from pettingzoo.env_registry.registration import make as make_pettingzoo

import ioa_marl  # noqa: F401 - registers the environments
from ioa_marl import registry
from ioa_marl.envs import VectorGame

WAYS = {
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),
    "cloudpickle": lambda env: cloudpickle.loads(cloudpickle.dumps(env)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def parallel(market, settings):
    return make_pettingzoo("parallel", f"ioa_marl/{market}-v0", **settings)


def draws(env, seed):
    """Return a function that draws an action for everybody, the same ones for the same seed."""
    spaces = {agent: copy.deepcopy(env.action_space(agent)) for agent in env.possible_agents}
    for i, space in enumerate(spaces.values()):
        space.seed(seed + i)
    return lambda: {agent: space.sample() for agent, space in spaces.items()}


def shown(value):
    """Return what an environment returned in a form that can be compared bit for bit, NaN included."""
    if isinstance(value, dict):
        return {key: shown(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [shown(inner) for inner in value]
    if value is None:
        return None
    array = np.asarray(value)
    return (str(array.dtype), array.shape, shown(array.tolist()) if array.dtype == object else array.tobytes())


def story(env, seed, steps):
    """Play on, over the ends of episodes, and return everything that is shown."""
    draw, told = draws(env, seed), []
    for _ in range(steps):
        if not env.agents:
            told.append(env.reset())
        told += [env.step(draw()), env.state(), env.agents.copy()]
    return shown(told)


def age(env, moment):
    """Bring an environment to a moment of its life."""
    if moment == "fresh":
        return
    env.reset(seed=8)
    draw = draws(env, 50)
    for _ in range(2):
        if env.agents:
            env.step(draw())
    while moment == "finished" and env.agents:
        env.step(draw())


@pytest.mark.parametrize("moment", ["fresh", "stepped", "finished"])
@pytest.mark.parametrize(("market", "settings"), **cases(lambda market: market.copies))
def test_a_copy_of_a_parallel_environment_goes_on_as_the_original(market, settings, moment):
    original = parallel(market, settings)
    age(original, moment)
    copies = [way(original) for way in WAYS.values()]
    if moment == "fresh":
        with pytest.raises(RuntimeError, match="reset"):
            copies[0].step({})
        for env in (original, *copies):
            env.reset(seed=8)
    expected = story(original, 3, 14)  # first: a copy that shared arrays would now be where this one is
    assert "metrics" in str(expected)
    for env in copies:
        assert story(env, 3, 14) == expected


def test_copies_of_an_auction_have_the_same_metrics_at_its_end():
    original = parallel("double_dutch", {})
    age(original, "stepped")
    endings = []
    for env in (original, *(way(original) for way in WAYS.values())):
        draw = draws(env, 1)
        while env.agents:
            infos = env.step(draw())[4]
        endings.append(infos["auctioneer_0"]["metrics"])
    assert all(metrics == endings[0] for metrics in endings)
    assert endings[0]["trades"] > 0


@pytest.mark.parametrize("way", WAYS)
def test_the_original_does_not_notice_what_a_copy_does(way):
    settings = {"controlled_roles": ["slice", "vsp"], "preset": "dual_currency", "rounds": 6, "voi": "network"}
    undisturbed, original = parallel("vcg_slicing", settings), parallel("vcg_slicing", settings)
    for env in (undisturbed, original):
        age(env, "stepped")
    other = WAYS[way](original)
    story(other, 99, 9)
    assert story(original, 3, 14) == story(undisturbed, 3, 14)


@pytest.mark.parametrize("moment", ["fresh", "stepped", "finished"])
@pytest.mark.parametrize("market", **EVERY)
def test_a_copy_of_a_turn_based_environment_goes_on_as_the_original(market, moment):
    def told(env, actions):
        out = []
        for _ in range(60):
            if not env.agents:
                break
            agent = env.agent_selection
            out.append(shown((env.last(), env.observe(agent), env.infos, env.rewards)))
            done = env.terminations[agent] or env.truncations[agent]
            env.step(None if done else actions[agent])
        return out

    original = make_pettingzoo("aec", f"ioa_marl/{market}-v0")
    actions = draws(original, 4)()
    if moment != "fresh":
        original.reset(seed=8)
        told(original, actions) if moment == "finished" else original.step(actions[original.agent_selection])
    copies = [way(original) for way in WAYS.values()]
    if moment == "fresh":
        for env in (original, *copies):
            env.reset(seed=8)
    expected = told(original, actions)
    assert [told(env, actions) for env in copies] == [expected] * len(copies)


@pytest.mark.parametrize("moment", ["fresh", "stepped"])
@pytest.mark.parametrize("market", [market for market in MARKETS if market.gymnasium], ids=str)
@pytest.mark.parametrize("vector", [False, True], ids=["single", "vector"])
def test_a_copy_of_a_gymnasium_environment_goes_on_as_the_original(market, vector, moment):
    name = f"ioa_marl/{market}-v0"
    original = gymnasium.make_vec(name, num_envs=3, max_cycles=6) if vector else gymnasium.make(name, max_cycles=6)

    def told(env):
        space = copy.deepcopy(env.action_space)
        space.seed(2)
        out = []
        for _ in range(15):
            found = env.step(space.sample())
            out.append(shown(found))
            if not vector and (found[2] or found[3]):
                out.append(shown(env.reset()))
        return out

    if moment == "stepped":
        original.reset(seed=8)
        original.step(original.action_space.sample())
    # A shallow copy of one of Gymnasium's wrappers has the same environment in it: that is what shallow means.
    copies = [way(original if vector or name != "copy" else original.unwrapped) for name, way in WAYS.items()]
    if moment == "fresh":
        for env in (original, *copies):
            env.reset(seed=8)
    expected = told(original)
    assert "metrics" in str(expected)
    assert [told(env) for env in copies] == [expected] * len(copies)


@pytest.mark.parametrize("market", registry.env_names())
@pytest.mark.parametrize("begun", [False, True])
def test_a_copy_of_a_game_goes_on_as_the_original(market, begun):
    game_class = registry.load_env(market)
    roles = tuple(game_class.make_roles(game_class.make_config()))
    original = game_class(game_class.make_config(max_cycles=3), 2, roles)
    original.full_metrics, original.final_states = False, True
    seeds = np.array([4, 9], np.uint64)
    spaces = {role: original.roles[role].action_space for role in roles}
    for space in spaces.values():
        space.seed(6)
    counts = {role: original.roles[role].count for role in roles}
    actions = [
        {r: np.array([[space.sample() for _ in range(counts[r])] for _ in range(2)]) for r, space in spaces.items()}
        for _ in range(7)
    ]

    def told(game):
        return [(shown(vars(game.step(given))), shown(game.ledger())) for given in actions]

    if begun:
        original.reset(seeds)
        original.step(actions[-1])
    copies = [way(original) for way in WAYS.values()]
    if not begun:
        for game in (original, *copies):
            game.reset(seeds)
    expected = told(original)
    for game in copies:
        assert (game.full_metrics, game.final_states) == (False, True)
        assert told(game) == expected


def test_a_copy_of_a_vector_game_goes_on_as_the_original():
    game_class = registry.load_env("two_tier")
    original = VectorGame(game_class, game_class.make_config(), [1, 2], 2, ("mobile",), with_state=True)
    action = {"mobile": np.full((2, 2, 10), 7)}
    fresh = [way(original) for way in WAYS.values()]

    def told(game):
        return [shown(vars(game.step(action))) for _ in range(3)]

    original.reset()
    original.step(action)
    stepped = [way(original) for way in WAYS.values()]
    expected = told(original)
    for game in fresh:
        with pytest.raises(RuntimeError, match="reset"):
            game.step(action)
        game.reset()
        game.step(action)
    for game in (*fresh, *stepped):
        assert told(game) == expected


def test_a_rendered_environment_is_copied_without_its_window(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    original = parallel("double_dutch", {"render_mode": "human"})
    age(original, "stepped")
    original.render()
    other = pickle.loads(pickle.dumps(original))
    other.close()
    assert original._single._window.is_open
    other.render()
    assert other._single._window is not original._single._window
    assert story(other, 3, 5) == story(original, 3, 5)
    original.close()
    other.close()
    picture = parallel("stackelberg", {"render_mode": "rgb_array"})
    age(picture, "stepped")
    drawn = picture.render()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(picture)).render(), drawn)


def test_the_critic_of_the_bank_comes_along():
    game_class = registry.load_env("vcg_slicing")
    game = game_class(game_class.make_config("dual_currency", externality="critic", slice_reward="bids"))
    game.reset(np.array([1], np.uint64))
    game.supply("slice", Half())
    other = copy.copy(game)
    hold = {"slice": np.full((1, game.config.providers, 3), game.config.hold)}
    assert shown(vars(other.step(hold))) == shown(vars(game.step(hold)))
    assert isinstance(other.bank.critic, Half)
    assert shown(other.save()) == shown(game.save())


class Half:
    """An estimator of what the others could have: half of the largest."""

    def __call__(self, before, after, *, hold, largest, largest_of_others):
        return largest_of_others / 2


def test_what_was_never_reset_is_copied_without_asking_for_its_state(monkeypatch):
    def nothing_yet(self):
        raise AttributeError("arrays are made by reset()")

    env, vector = parallel("double_dutch", {}), gymnasium.make_vec("ioa_marl/double_dutch-v0", num_envs=2)
    env.game.full_metrics = False
    monkeypatch.setattr(type(env.game), "save", nothing_yet)
    for way in WAYS.values():
        assert way(env).reset(seed=1)[0].keys() == {"auctioneer_0"}
        assert not way(env).game.full_metrics
        assert way(vector).reset(seed=1)[0].shape == (2, 6)


def test_another_process_goes_on_from_a_pickle():
    original = parallel("stackelberg", {"preset": "dynamic"})
    age(original, "stepped")
    actions = draws(original, 1)()
    code = (
        "import pickle, sys; env, actions = pickle.load(sys.stdin.buffer); assert 'torch' not in sys.modules;"
        "sys.stdout.buffer.write(pickle.dumps(env.step(actions)))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps((original, actions)), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert shown(pickle.loads(done.stdout)) == shown(original.step(actions))
