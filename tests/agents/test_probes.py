"""Every learner solves the probe environments that concern it, with three seeds out of three."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from probes import (
    PPO,
    SAC,
    Bandit,
    BanditConfig,
    Chain,
    ChainConfig,
    Crowd,
    CutOff,
    Session,
    Sign,
    Steady,
    SteadyConfig,
    Target,
    TargetConfig,
    Turns,
    one_hot,
)

GAMMA = 0.8
assert SAC.gamma == PPO.gamma == GAMMA
ENOUGH = {"sac": 400, "ppo": 160}
"""Steps of the eight markets after which values have settled."""
SOON = {"sac": 200, "ppo": 96}
"""Steps after which the right action is known."""


def assert_worth(session, observations, expected, tolerance=0.05, role="player"):
    """All seeds and agents, and with SAC both twins and all actions, hold the observations to be worth this."""
    found = session.values(observations, role)
    wanted = np.asarray(expected, np.float64).reshape(-1, *[1] * (found.ndim - 3))
    np.testing.assert_allclose(found, np.broadcast_to(wanted, found.shape), atol=tolerance)


both = pytest.mark.parametrize("learner", ["sac", "ppo"])


@both
def test_reward_of_one_is_worth_one_where_nothing_comes_after_it(learner):
    assert_worth(Session(learner, Steady).run(SOON[learner]), [[0.5]], [1.0])


@both
def test_reward_that_the_observation_tells_is_worth_plus_or_minus_one(learner):
    assert_worth(Session(learner, Sign).run(ENOUGH[learner]), [[0.0], [1.0]], [-1.0, 1.0])


returns = pytest.mark.parametrize(("learner", "changes"), [("sac", {"n_step": 1}), ("sac", {"n_step": 3}), ("ppo", {})])


@returns
def test_reward_of_the_second_step_is_worth_gamma_at_the_first(learner, changes):
    session = Session(learner, Chain, ChainConfig(length=3, paid_at=1), **changes)
    assert_worth(session.run(ENOUGH[learner] + 100), np.eye(4)[:3], [GAMMA, 1.0, 0.0])


@returns
def test_reward_of_the_terminal_step_is_discounted_once_for_each_step_before_it(learner, changes):
    session = Session(learner, Chain, ChainConfig(length=4, paid_at=3), **changes)
    assert_worth(session.run(ENOUGH[learner]), np.eye(5)[:4], GAMMA ** np.array([3, 2, 1, 0]))


@both
@pytest.mark.parametrize("length", [1, 3])
def test_value_goes_on_beyond_a_truncation(learner, length):
    session = Session(learner, Steady, SteadyConfig(length, truncated=True)).run(ENOUGH[learner])
    assert_worth(session, [[0.5]], [1.0 / (1.0 - GAMMA)], tolerance=0.15)


@both
def test_truncated_episode_is_valued_by_its_own_successor_not_by_the_next_episodes_start(learner):
    assert_worth(Session(learner, CutOff).run(200), np.eye(3)[:2], [GAMMA, 1.0])


@both
@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("heads", [(3,), (2, 3)])
def test_the_rewarded_action_is_found(learner, heads, seen):
    config = TargetConfig(heads, seen)
    changes = {"sac": {"alpha_start": 0.1, "alpha_end": 0.1}, "ppo": {"ent_coef": 0.01}}[learner]
    session = Session(learner, Target, config, **changes).run(SOON[learner])
    observations, right = Target.every_case(config)
    chosen = session.best_actions(observations).reshape(3, len(right), len(heads))
    assert np.array_equal(chosen, np.broadcast_to(right, chosen.shape))


@pytest.mark.parametrize("heads", [(3,), (2, 3)])
def test_sac_knows_what_the_right_and_the_wrong_actions_are_worth(heads):
    config = TargetConfig(heads)
    session = Session("sac", Target, config, alpha_start=0.5, alpha_end=0.5).run(300)
    observations, right = Target.every_case(config)
    values = session.values(observations)  # (seeds, 1, 1, twins, heads, outcomes)
    by_head = [values[..., h, :n] for h, n in enumerate(heads)]
    whole = by_head[0][..., :, None] + by_head[1][..., None, :] if len(heads) == 2 else by_head[0]
    done = np.stack(np.meshgrid(*(np.arange(n) for n in heads), indexing="ij"), axis=-1)
    np.testing.assert_allclose(whole, np.broadcast_to((done == right[0]).mean(-1), whole.shape), atol=0.05)


def test_outcomes_that_a_shorter_head_does_not_have_are_never_played():
    session = Session("sac", Target, TargetConfig((2, 3)), alpha_start=10.0, alpha_end=10.0)
    seen = np.zeros((3, 500, 1, 5), np.float32)
    played = session.agent.act({"player": seen}, deterministic=False)["player"]
    assert played[..., 0].max() == 1
    assert played[..., 1].max() == 2
    stack = session.run(60).stack()
    with torch.no_grad():
        pi = stack.logits(torch.zeros(3, 1, 5)).softmax(-1)
    assert torch.all(pi[:, 0, 0, 2] == 0.0)
    assert torch.all(torch.isfinite(pi))


@pytest.mark.parametrize("alpha", [0.05, 0.5])
def test_sac_plays_the_softmax_of_known_rewards_over_the_temperature(alpha):
    config = BanditConfig()
    session = Session("sac", Bandit, config, alpha_start=alpha, alpha_end=alpha, learning_starts=10**9, actor_lr=3e-3)
    stack = session.run(200).stack()  # uniform exploration: every action's reward is known
    for _ in range(700):
        stack.update(alpha)
    with torch.no_grad():
        policy = stack.logits(torch.full((3, 1, 1), 0.5)).softmax(-1).squeeze().double().numpy()
    weights = np.exp(np.array(config.rewards) / alpha)
    variation = 0.5 * np.abs(policy - weights / weights.sum()).sum(axis=1)
    assert np.all(variation < 0.03), variation


@both
def test_agents_of_several_roles_each_find_their_own_action(learner):
    changes = {} if learner == "sac" else {"rollout_size": 192, "batch_size": 192}
    session = Session(learner, Crowd, **changes).run(SOON[learner])
    for role, count in Crowd.counts.items():
        chosen = session.best_actions([[0.5]], role)
        assert np.array_equal(chosen, np.broadcast_to(np.arange(count), (3, 1, count)))


TURNS = {0: {0: 1.0 + GAMMA, 2: 1.0}, 1: {1: 1.0 + GAMMA, 3: 1.0}}
"""Value of each agent's decisions in `Turns`, by time."""


def assert_turns_are_understood(session, tolerance=0.1):
    times = np.eye(5)[:4]
    chosen, values = session.best_actions(times), session.values(times)
    for agent, expected in TURNS.items():
        for time, worth in expected.items():
            right = 1 - agent
            assert np.all(chosen[:, time, agent] == right)
            found = values[:, agent, time]
            if session.learner == "sac":
                found = found[..., 0, right]
            np.testing.assert_allclose(found, np.full_like(found, worth), atol=tolerance)


@both
def test_reward_that_comes_while_an_agent_waits_is_credited_to_its_last_action(learner):
    changes = {} if learner == "sac" else {"num_envs": 16, "rollout_size": 128, "batch_size": 128}
    assert_turns_are_understood(Session(learner, Turns, **changes).run(ENOUGH[learner]))


def test_reward_that_comes_after_the_end_of_a_rollout_is_credited_to_the_last_action_before_it(monkeypatch):
    """Rollouts of three steps end where an agent waits for what its action pays."""
    monkeypatch.setattr("ioa_marl.agents.ppo.MIN_STEPS_OF_SEVERAL", 1)
    session = Session("ppo", Turns, num_envs=16, rollout_size=96, batch_size=96)
    assert session.learners()[0].buffer.buffer_size == 3
    assert_turns_are_understood(session.run(ENOUGH["ppo"]), tolerance=0.25)


def test_observations_are_told_apart_by_ppos_one_hot_index():
    learner = Session("ppo", Crowd).learners("rival")[0]
    seen = learner._seen(np.full((2, 3, 1), 0.5, np.float32))
    assert np.array_equal(seen[:, 1:], np.tile(one_hot(np.arange(3), 3), (2, 1)))
    assert np.all(seen[:, 0] == 0.5)
