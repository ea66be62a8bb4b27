"""Other libraries can use every market of the suite as they find it."""

import math
import warnings

import gymnasium
import numpy as np
import pytest
from every_market import cases

import ioa_marl  # noqa: F401 - registers the environments
from ioa_marl import registry
from ioa_marl.envs.wrappers import one_space

MARKETS = [name for name in registry.env_names() if registry.entry("environment", name).source == "ioa_marl"]
IDS = sorted(name for name in gymnasium.registry if name.startswith("ioa_marl/"))
LONGEST = 20_000
"""Steps within which a random episode has to end."""
TRAINING = 300
"""Steps of training from outside."""


def choices(market):
    """Return the usual learners, and everybody."""
    game_class = registry.load_env(market)
    everybody = tuple(game_class.make_roles(game_class.make_config()))
    return [game_class.default_controlled_roles] + [everybody] * (everybody != game_class.default_controlled_roles)


CASES = [
    pytest.param(market, roles, id=f"{market}-{'+'.join(roles)}") for market in MARKETS for roles in choices(market)
]


def make(market, roles, **settings):
    from pettingzoo.env_registry.registration import make as make_pettingzoo

    return make_pettingzoo("parallel", f"ioa_marl/{market}-v0", controlled_roles=list(roles), **settings)


def sampled(env, seed):
    """Seed the action spaces and return a function that draws an action for everybody, asked or not."""
    for i, agent in enumerate(env.possible_agents):
        env.action_space(agent).seed(seed + i)
    return lambda: {agent: env.action_space(agent).sample() for agent in env.agents}


def check_step(env, observations, rewards):
    for agent, seen in observations.items():
        assert env.observation_space(agent).contains(seen), agent
    assert all(math.isfinite(reward) for reward in rewards.values())


def test_every_market_of_the_suite_is_found():
    assert "double_dutch" in MARKETS
    assert "ioa_marl/double_dutch-v0" in IDS


@pytest.mark.parametrize(("market", "roles"), CASES)
def test_pettingzoo_rollout_that_ignores_whose_turn_it_is(market, roles):
    env = make(market, roles)
    observations, infos = env.reset(seed=3)
    assert set(observations) == set(infos) == set(env.possible_agents)
    draw = sampled(env, 0)
    ended = 0
    for _ in range(LONGEST):
        observations, rewards, terminations, truncations, infos = env.step(draw())
        check_step(env, observations, rewards)
        if not env.agents:
            ends, others = (truncations, terminations) if env.game.endless else (terminations, truncations)
            assert all(ends.values())
            assert not any(others.values())
            for info in infos.values():
                assert tuple(info["metrics"]) == env.game.metric_names
                assert not any(math.isinf(value) for value in info["metrics"].values())
            ended += 1
            if ended == 2:
                break
            env.reset()
    assert ended == 2


@pytest.mark.parametrize(("market", "roles"), CASES)
def test_actions_of_those_who_are_not_asked_change_nothing(market, roles):
    envs = [make(market, roles) for _ in range(2)]
    starts = [env.reset(seed=5) for env in envs]
    draws = [sampled(env, seed) for env, seed in zip(envs, (0, 1000), strict=True)]
    active = {agent: info["active"] for agent, info in starts[0][1].items()}
    for _ in range(200):
        if not envs[0].agents:
            break
        given, other = draws[0](), draws[1]()
        other = {agent: given[agent] if active[agent] else other[agent] for agent in given}
        steps = [env.step(actions) for env, actions in zip(envs, (given, other), strict=True)]
        for agent in envs[0].possible_agents:
            np.testing.assert_array_equal(steps[0][0][agent], steps[1][0][agent])
        assert steps[0][1:] == steps[1][1:]
        active = {agent: info["active"] for agent, info in steps[0][4].items()}


@pytest.mark.parametrize(("market", "roles"), CASES)
def test_supersuit_flattens_observations(market, roles):
    supersuit = pytest.importorskip("supersuit", reason="SuperSuit is not installed")
    plain, env = make(market, roles), supersuit.flatten_v0(make(market, roles))
    expected, _ = plain.reset(seed=2)
    observations, _ = env.reset(seed=2)
    draw = sampled(plain, 0)
    for _ in range(100):
        for agent, seen in observations.items():
            assert env.observation_space(agent).shape == seen.shape == (expected[agent].size,)
            np.testing.assert_array_equal(seen, expected[agent].reshape(-1))
        if not plain.agents:
            break
        actions = draw()
        expected, rewards, *_ = plain.step(actions)
        observations, wrapped_rewards, *_ = env.step(actions)
        assert rewards == wrapped_rewards
        assert env.agents == plain.agents


@pytest.mark.parametrize(("market", "roles"), CASES)
def test_supersuit_makes_all_agents_alike(market, roles):
    supersuit = pytest.importorskip("supersuit", reason="SuperSuit is not installed")
    plain = make(market, roles)
    if len({type(plain.action_space(agent)) for agent in plain.possible_agents}) > 1:
        pytest.skip("SuperSuit pads action spaces of one kind only")
    if isinstance(plain.action_space(plain.possible_agents[0]), gymnasium.spaces.MultiDiscrete):
        pytest.skip("SuperSuit pads no MultiDiscrete actions")
    env = supersuit.pad_action_space_v0(supersuit.pad_observations_v0(make(market, roles)))
    observations, _ = env.reset(seed=2)
    assert len({env.observation_space(agent).shape for agent in env.possible_agents}) == 1
    assert len({str(env.action_space(agent)) for agent in env.possible_agents}) == 1
    draw = sampled(env, 0)
    for _ in range(50):
        observations, rewards, *_ = env.step(draw())
        check_step(env, observations, rewards)
        if not env.agents:
            env.reset()


@pytest.mark.parametrize(("market", "roles"), CASES)
@pytest.mark.filterwarnings("ignore:PettingZoo in TorchRL is tested")
def test_torchrl_plays_whole_episodes(market, roles):
    pytest.importorskip("torchrl", reason="TorchRL is not installed")
    from torchrl.envs import PettingZooWrapper, check_env_specs  # pyright: ignore[reportMissingImports]

    from ioa_marl.envs.wrappers import FixedInfos

    fixed = FixedInfos(make(market, roles))
    env = PettingZooWrapper(fixed, categorical_actions=True, return_state=True)
    assert {group: len(agents) for group, agents in env.group_map.items()} == {
        role: fixed.env.game.roles[role].count for role in roles
    }
    check_env_specs(env, seed=0)
    env.set_seed(1)
    data = env.rollout(LONGEST)
    last = data[-1]["next"]
    assert bool(last["truncated" if fixed.env.game.endless else "terminated"].item())
    assert not bool(data["next", "done"][:-1].any())
    assert tuple(fixed.metrics) == fixed.env.game.metric_names
    assert data["next", "state"].shape == (len(data), *fixed.env.state_space.shape)
    for role in roles:
        rewards = data["next", role, "reward"]
        assert rewards.shape == (len(data), fixed.env.game.roles[role].count, 1)
        assert bool(rewards.isfinite().all())
        assert set(data[role, "info"].keys()) == {"active"}


class Checked(gymnasium.Wrapper):
    """Refuse actions that are not legal, and count."""

    def __init__(self, env):
        super().__init__(env)
        self.steps = self.episodes = 0

    def step(self, action):
        assert self.action_space.contains(action), action
        self.steps += 1
        found = self.env.step(action)
        self.episodes += found[2] or found[3]
        return found


def weights(model):
    return {name: value.detach().clone() for name, value in model.policy.state_dict().items()}


def assert_trained(model, before, env):
    after = weights(model)
    assert any(not after[name].equal(before[name]) for name in before), "nothing was learnt"
    assert all(bool(value.isfinite().all()) for value in after.values())
    assert env.steps >= TRAINING
    observation, _ = env.reset(seed=8)
    action, _ = model.predict(observation, deterministic=True)
    assert env.action_space.contains(action if env.action_space.shape else int(action))


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("vectorised", [False, True], ids=["single", "DummyVecEnv"])
def test_ppo_of_stable_baselines3_trains_from_outside(name, vectorised):
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    env = Checked(gymnasium.make(name))
    given = DummyVecEnv([lambda: env, lambda: Checked(gymnasium.make(name))]) if vectorised else env
    model = PPO("MlpPolicy", given, n_steps=50, batch_size=50, n_epochs=2, seed=0, device="cpu")
    before = weights(model)
    model.learn(TRAINING * (2 if vectorised else 1))
    assert_trained(model, before, env)


@pytest.mark.parametrize("name", IDS)
def test_dqn_of_stable_baselines3_trains_from_outside(name):
    from stable_baselines3 import DQN

    env = Checked(gymnasium.make(name))
    if not isinstance(env.action_space, gymnasium.spaces.Discrete):
        pytest.skip(f"DQN plays Discrete actions only, not {env.action_space}")
    model = DQN("MlpPolicy", env, learning_starts=50, buffer_size=500, train_freq=4, seed=0, device="cpu")
    before = weights(model)
    model.learn(TRAINING)
    assert_trained(model, before, env)


def train_on_supersuits_road(market, roles, processes):
    """Train PPO on two copies of a market made by SuperSuit, and return the metrics of the episodes that ended."""
    supersuit = pytest.importorskip("supersuit", reason="SuperSuit is not installed")
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback

    ended = []

    class Listener(BaseCallback):
        def _on_step(self):
            ended.extend(info["metrics"] for info in self.locals["infos"] if "metrics" in info)
            return True

    market_env = one_space(make(market, roles, max_cycles=7))
    env = supersuit.concat_vec_envs_v1(
        supersuit.pettingzoo_env_to_vec_env_v1(market_env), 2, num_cpus=processes, base_class="stable_baselines3"
    )
    try:
        assert env.num_envs == 2 * len(market_env.possible_agents)
        # SuperSuit's environments have no seed() that Stable-Baselines3's own argument for it could call.
        model = PPO("MlpPolicy", env, n_steps=16, batch_size=16, n_epochs=1, device="cpu")
        before = weights(model)
        model.learn(16 * env.num_envs, callback=Listener())
        after = weights(model)
    finally:
        if processes:
            env.venv.graceful_shutdown_timeout = 0.1  # its processes do not end when they are told to
        env.close()
    assert any(not after[name].equal(before[name]) for name in before), "nothing was learnt"
    names = market_env.game.metric_names
    assert all(tuple(metrics) == names for metrics in ended)
    return ended


@pytest.mark.parametrize(("market", "roles"), **cases(lambda market: market.one_space))
def test_ppo_trains_on_supersuits_copies_of_a_market(market, roles):
    ended = train_on_supersuits_road(market, roles, processes=0)
    # The copies draw their own seeds: two of the same market would be one market.
    assert len({str(metrics) for metrics in ended}) > 2


@pytest.mark.slow
@pytest.mark.parametrize(("market", "roles"), **cases(lambda market: market.one_space))
def test_ppo_trains_on_supersuits_copies_in_processes_of_their_own(market, roles):
    ended = train_on_supersuits_road(market, roles, processes=2)
    assert len({str(metrics) for metrics in ended}) > 2


@pytest.mark.parametrize("name", IDS)
def test_nothing_warns_when_it_is_made_by_its_name(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(name)
        env.reset(seed=0)
        env.step(env.action_space.sample())
        env.close()
