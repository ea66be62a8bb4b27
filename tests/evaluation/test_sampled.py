"""The sampled policy is evaluated beside its likeliest actions, from random streams of its own."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces

from ioa_marl import registry
from ioa_marl.agents.base import AgentContext
from ioa_marl.agents.common.streams import Streams
from ioa_marl.agents.learners.ppo import PPOAgent, PPOConfig
from ioa_marl.envs.core import Role
from ioa_marl.evaluation.partners import evaluate_agents
from ioa_marl.evaluation.playing import SAMPLED_STREAM, make_agent, play_episodes
from ioa_marl.foundations.trees import difference

SMALL = {"width": 8, "depth": 1, "hidden": (8,)}
STOCHASTIC = [name for name in registry.agent_names() if registry.load_agent(name).stochastic]
GAME = registry.load_env("double_dutch")
CONFIG = GAME.make_config()
ROLE = "auctioneer"


def agent_of(name, seeds=1, first_seed=0, **changes):
    agent_class = registry.load_agent(name)
    known = {field.name for field in dataclasses.fields(agent_class.config_class)}
    config = agent_class.config_class(**{key: value for key, value in {**SMALL, **changes}.items() if key in known})
    return make_agent(agent_class, config, GAME(CONFIG, 1), [ROLE], seeds, first_seed)


def streams_of(agent):
    return {ROLE: Streams(agent.context.seeds, agent.context.stream_offset(agent.context.plays[0]) + SAMPLED_STREAM)}


def test_learners_can_sample_and_baselines_cannot():
    learners = {name for name in registry.agent_names() if registry.load_agent(name).learns}
    assert set(STOCHASTIC) == learners - {"greedy"}


@pytest.mark.parametrize("name", STOCHASTIC)
def test_actions_are_drawn_from_the_policy_of_training_without_exploration(name):
    agent = agent_of(name, epsilon_start=0.0, epsilon_end=0.0)
    seen = np.repeat(GAME(CONFIG, 1).reset(np.zeros(1, np.uint64))[0][ROLE][None], 20_000, axis=1)
    count = GAME(CONFIG, 1).roles[ROLE].action_space.n
    drawn = agent.sample({ROLE: seen}, streams_of(agent))[ROLE]
    trained = agent.act({ROLE: seen}, deterministic=False)[ROLE]
    shares, expected = (np.bincount(actions.ravel(), minlength=count) / 20_000 for actions in (drawn, trained))
    assert drawn.shape == trained.shape
    # The difference of two shares of 20 000 draws has a standard error of at most 0.005.
    np.testing.assert_allclose(shares, expected, atol=0.02)
    assert not np.array_equal(drawn, trained)  # other random numbers


@pytest.mark.parametrize("name", STOCHASTIC)
def test_a_sampled_evaluation_can_be_repeated_and_leaves_training_as_it_was(name):
    agent = agent_of(name, seeds=2)
    before = copy.deepcopy([agent.state_dict(i) for i in range(2)])
    given = (GAME, CONFIG, [agent], (ROLE,), [0, 1], 6)
    one, two = (evaluate_agents(*given, sampled=True) for _ in range(2))
    assert all(np.array_equal(one[key], two[key], equal_nan=True) for key in one)
    assert not np.array_equal(one["sampled_return"], one["return"])
    assert difference([agent.state_dict(i) for i in range(2)], before) is None
    plain = evaluate_agents(*given)
    assert all(np.array_equal(one[key], plain[key], equal_nan=True) for key in plain)


@pytest.mark.parametrize("name", ["ppo", "sac", "maddpg"])
def test_sampled_actions_of_a_seed_do_not_depend_on_the_seed_beside_it(name):
    both = evaluate_agents(GAME, CONFIG, [agent_of(name, seeds=2)], (ROLE,), [0, 1], 6, sampled=True)
    alone = evaluate_agents(GAME, CONFIG, [agent_of(name, first_seed=1)], (ROLE,), [1], 6, sampled=True)
    np.testing.assert_allclose(alone["sampled_return"][0], both["sampled_return"][1], rtol=1e-6)


@pytest.mark.parametrize("name", ["random", "greedy", "two_phase"])
def test_an_agent_without_a_distribution_is_not_played_twice(name):
    agent_class = registry.load_agent(name)
    agent = make_agent(agent_class, agent_class.config_class(), GAME(CONFIG, 1), [ROLE], 1)
    figures = evaluate_agents(GAME, CONFIG, [agent], (ROLE,), [0], 3, sampled=True)
    assert not any(key.startswith("sampled_") for key in figures)


def test_each_group_of_markets_has_random_numbers_of_its_own(monkeypatch):
    from ioa_marl.evaluation import playing

    agent, drawn = agent_of("sac"), []
    original = type(agent).sample

    def recorded(self, observations, streams):
        drawn.append(int(streams[ROLE].counters[0]))
        return original(self, observations, streams)

    monkeypatch.setattr(type(agent), "sample", recorded)
    monkeypatch.setattr(playing, "LARGEST_BATCH", 1)
    play_episodes(GAME, CONFIG, [agent], (ROLE,), 1, 3, sampled=True)
    assert len(set(drawn)) == len(drawn) > 3


@pytest.mark.parametrize(
    ("space", "mean"),
    [
        (spaces.Box(-10.0, 10.0, (2,), np.float32), 0.0),
        (spaces.MultiDiscrete([2, 3]), None),
    ],
    ids=["box", "heads"],
)
def test_ppo_samples_real_numbers_and_several_heads(space, mean):
    role = Role("player", 2, spaces.Box(0.0, 1.0, (3,), np.float32), space, "none")
    context = AgentContext((role,), (role,), (0, 1), 1, 1, torch.device("cpu"))
    agent = PPOAgent(context, PPOConfig(hidden=(4,)))
    seen = np.full((2, 4000, 2, 3), 0.5, np.float32)
    actions = agent.sample({"player": seen}, {"player": Streams((0, 1), 31)})["player"]
    assert actions.shape == (2, 4000, 2, 2)
    if mean is None:
        assert actions.max(axis=(0, 1, 2)).tolist() == [1, 2]
        assert actions.min() == 0
        joint = np.corrcoef(actions[0, :, 0, 0], actions[0, :, 0, 1])[0, 1]
        assert abs(joint) < 0.06  # heads are independent
        return
    likeliest = agent.act({"player": seen}, deterministic=True)["player"]
    np.testing.assert_allclose(actions.mean(axis=1), likeliest[:, 0], atol=0.07)
    np.testing.assert_allclose(actions.std(axis=1), 1.0, atol=0.05)  # the first standard deviation of the policy
