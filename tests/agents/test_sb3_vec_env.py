"""The batched Stable-Baselines3 adapter against Stable-Baselines3's own adapter of single environments."""

from __future__ import annotations

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from ioa_marl.agents.sb3_vec_env import MarketVecEnv
from ioa_marl.envs import double_dutch_v0
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.parameters import ParameterError


def random_actions(env, rng):
    return rng.integers(0, env.action_space.n, env.num_envs)


@pytest.mark.parametrize("settings", [{}, {"max_cycles": 12}, {"preset": "mixed", "observation": "extended"}])
def test_market_zero_is_the_single_environment_of_the_same_seed_bit_for_bit(settings):
    batch = MarketVecEnv("double_dutch", num_envs=3, seed=5, **settings)
    single = DummyVecEnv([lambda: Monitor(double_dutch_v0.gym_env(**settings))])
    single.seed(5)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(batch.reset()[0], single.reset()[0])
    episodes = 0
    while episodes < 6:
        actions = random_actions(batch, rng)
        observations, rewards, dones, infos = batch.step(actions)
        others, other_rewards, other_dones, other_infos = single.step(actions[:1])
        np.testing.assert_array_equal(observations[0], others[0])
        assert rewards[0] == other_rewards[0]
        assert dones[0] == other_dones[0]
        if dones[0]:
            episodes += 1
            ours, theirs = infos[0], other_infos[0]
            np.testing.assert_array_equal(ours["terminal_observation"], theirs["terminal_observation"])
            assert ours["TimeLimit.truncated"] == theirs["TimeLimit.truncated"]
            np.testing.assert_equal(ours["metrics"], theirs["metrics"])  # a price without a trade is NaN
            assert ours["episode"].items() <= theirs["episode"].items()
        else:
            assert infos[0] == {}


def test_what_is_returned_stays_as_it_is():
    env = MarketVecEnv("double_dutch", num_envs=2)
    rng = np.random.default_rng(1)
    kept = [(env.reset(), np.zeros(2))]
    kept += [env.step(random_actions(env, rng))[:2] for _ in range(5)]
    copies = [(seen.copy(), rewards.copy()) for seen, rewards in kept]
    for _ in range(5):
        env.step(random_actions(env, rng))
    for (seen, rewards), (seen_then, rewards_then) in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(seen, seen_then)
        np.testing.assert_array_equal(rewards, rewards_then)


def test_infos_are_dicts_of_their_own():
    env = MarketVecEnv("double_dutch", num_envs=4)
    env.reset()
    *_, infos = env.step(np.zeros(4, np.int64))
    assert infos == [{}] * 4
    assert len({id(info) for info in infos}) == 4
    infos[0]["mark"] = 1
    *_, later = env.step(np.zeros(4, np.int64))
    assert later[0] == {}


def test_a_seed_starts_over_and_a_reset_without_one_goes_on():
    env = MarketVecEnv("double_dutch", num_envs=3, seed=2)
    rng = np.random.default_rng(3)
    actions = [random_actions(env, rng) for _ in range(60)]

    def rewards():
        env.reset()
        return np.stack([env.step(a)[1] for a in actions])

    first, second = rewards(), rewards()
    assert env.seed(2) == [2, 2, 2]
    assert (first != second).any()
    np.testing.assert_array_equal(rewards(), first)


def test_ppo_of_stable_baselines3_trains_and_logs_episodes():
    env = MarketVecEnv("double_dutch", num_envs=16, seed=0)
    model = PPO("MlpPolicy", env, n_steps=32, batch_size=128, n_epochs=1, seed=0, device="cpu")
    before = {name: p.clone() for name, p in model.policy.state_dict().items()}
    model.learn(16 * 32)
    assert any((p != before[name]).any() for name, p in model.policy.state_dict().items())
    assert model.num_timesteps == 16 * 32
    assert len(model.ep_info_buffer) > 0
    mean, _ = evaluate_policy(model, env, n_eval_episodes=16, warn=True)
    assert np.isfinite(mean)


def test_wrappers_of_stable_baselines3_work_on_it():
    env = VecNormalize(MarketVecEnv("double_dutch", num_envs=4))
    env.reset()
    observations, *_ = env.step(np.zeros(4, np.int64))
    assert observations.shape == (4, 6)


def test_attributes_and_methods_are_those_of_one_market():
    env = MarketVecEnv("double_dutch", num_envs=3)
    env.reset()
    assert env.get_attr("num_envs", 1) == [3]
    assert env.get_attr("render_mode") == [None] * 3
    env.set_attr("label", "b", indices=[1])
    assert env.get_attr("label", 1) == ["b"]
    assert env.has_attr("config")
    assert not env.has_attr("label")  # two markets have none
    assert [state.shape for state in env.env_method("state", indices=[0, 2])] == [(46,), (46,)]
    assert env.env_method("ledger", indices=0)[0].shape == (21,)
    assert isinstance(env.env_method("render", "ansi", indices=2)[0], str)
    with pytest.raises(AttributeError, match="shared"):
        env.set_attr("config", None)
    with pytest.raises(AttributeError, match="no attribute 'step'"):
        env.env_method("step", {})
    assert env.env_is_wrapped(Monitor) == [True] * 3
    assert env.env_is_wrapped(VecNormalize, indices=[0]) == [False]
    env.close()


def test_misuse_is_refused():
    with pytest.raises(UserError, match="double_dutsh"):
        MarketVecEnv("double_dutsh")
    with pytest.raises(ParameterError, match="roles"):
        MarketVecEnv("double_dutch", role="buyer")
    with pytest.raises(ParameterError, match="seed"):
        MarketVecEnv("double_dutch", seed=-1)
    env = MarketVecEnv("double_dutch", num_envs=2)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.zeros(2, np.int64))
    env.reset()
    with pytest.raises(RuntimeError, match="step_async"):
        env.step_wait()
    with pytest.raises(ValueError, match="outside its space"):
        env.step(np.array([0, 10]))
    with pytest.raises(ValueError, match="shape"):
        env.step(np.zeros(3, np.int64))
