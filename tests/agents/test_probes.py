"""Every learner solves the probe environments that concern it, with three seeds out of three."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learners import GAMMA, LEARNERS, every, names
from probes import (
    Bandit,
    BanditConfig,
    Chain,
    ChainConfig,
    Crowd,
    CutOff,
    Sign,
    Steady,
    SteadyConfig,
    Target,
    TargetConfig,
    Turns,
    one_hot,
)
from sessions import Session
from team_probes import Vanishing


@every()
def test_learner_discounts_by_gamma(learner):
    assert LEARNERS[learner].config.gamma == GAMMA


def assert_worth(session, observations, expected, tolerance=0.05, role="player"):
    """Assert the values of all seeds and agents, and of all critics and actions if it has action values."""
    found = session.values(observations, role)
    wanted = np.asarray(expected, np.float64).reshape(-1, *[1] * (found.ndim - 3))
    np.testing.assert_allclose(found, np.broadcast_to(wanted, found.shape), atol=tolerance)


@every()
def test_reward_of_one_is_worth_one_where_nothing_comes_after_it(learner):
    assert_worth(Session(learner, Steady).run_soon(), [[0.5]], [1.0])


@every()
def test_reward_that_the_observation_tells_is_worth_plus_or_minus_one(learner):
    assert_worth(Session(learner, Sign).run_enough(), [[0.0], [1.0]], [-1.0, 1.0])


returns = pytest.mark.parametrize(
    ("learner", "changes"),
    [(name, {"n_step": n}) for name in names(n_step=True) for n in (1, 3)]
    + [(name, {}) for name in names(n_step=False)],
)


@returns
def test_reward_of_the_second_step_is_worth_gamma_at_the_first(learner, changes):
    session = Session(learner, Chain, ChainConfig(length=3, paid_at=1), **changes)
    assert_worth(session.run(session.enough + 100), np.eye(4)[:3], [GAMMA, 1.0, 0.0])


@returns
def test_reward_of_the_terminal_step_is_discounted_once_for_each_step_before_it(learner, changes):
    session = Session(learner, Chain, ChainConfig(length=4, paid_at=3), **changes)
    assert_worth(session.run_enough(), np.eye(5)[:4], GAMMA ** np.array([3, 2, 1, 0]))


@every()
@pytest.mark.parametrize("length", [1, 3])
def test_value_goes_on_beyond_a_truncation(learner, length):
    session = Session(learner, Steady, SteadyConfig(length, truncated=True)).run_enough()
    assert_worth(session, [[0.5]], [1.0 / (1.0 - GAMMA)], tolerance=0.15)


@every()
def test_episode_that_is_over_and_cut_off_at_once_is_over(learner):
    class Both(Steady):
        def play(self, actions):
            rewards, over, _ = super().play(actions)
            return rewards, over, over

    assert_worth(Session(learner, Both).run_soon(), [[0.5]], [1.0])


@every()
def test_successor_of_the_end_that_is_not_a_number_changes_nothing(learner):
    session = Session(learner, Vanishing).run_soon()
    assert session.metrics
    assert all(np.isfinite(values).all() for found in session.metrics for values in found.values())
    assert_worth(session, np.eye(2), [GAMMA, 1.0], tolerance=0.1)


@every()
def test_truncated_episode_is_valued_by_its_own_successor_not_by_the_next_episodes_start(learner):
    assert_worth(Session(learner, CutOff).run(200), np.eye(3)[:2], [GAMMA, 1.0])


@every()
@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("heads", [(3,), (2, 3)])
def test_the_rewarded_action_is_found(learner, heads, seen):
    config = TargetConfig(heads, seen)
    session = Session(learner, Target, config).run_soon()
    observations, right = Target.every_case(config)
    chosen = session.best_actions(observations).reshape(3, len(right), len(heads))
    assert np.array_equal(chosen, np.broadcast_to(right, chosen.shape))


@every(soft=True)
@pytest.mark.parametrize("heads", [(3,), (2, 3)])
def test_soft_critics_know_what_the_right_and_the_wrong_actions_are_worth(learner, heads):
    config = TargetConfig(heads)
    session = Session(learner, Target, config, alpha_start=0.5, alpha_end=0.5).run(300)
    observations, right = Target.every_case(config)
    values = session.values(observations)  # (seeds, 1, 1, twins, actions)
    done = np.stack(np.meshgrid(*(np.arange(n) for n in heads), indexing="ij"), axis=-1)
    worth = (done == right[0]).mean(-1).flatten()
    np.testing.assert_allclose(values, np.broadcast_to(worth, values.shape), atol=0.05)


@every(soft=True)
def test_outcomes_that_a_shorter_head_does_not_have_are_never_played(learner):
    session = Session(learner, Target, TargetConfig((2, 3)), alpha_start=10.0, alpha_end=10.0)
    seen = np.zeros((3, 500, 1, 5), np.float32)
    played = session.agent.act({"player": seen}, deterministic=False)["player"]
    assert played[..., 0].max() == 1
    assert played[..., 1].max() == 2
    stack = session.run(60).stack()
    with torch.no_grad():
        pi = stack.logits(torch.zeros(3, 1, 5)).softmax(-1)
    assert torch.all(pi[:, 0, 0, 2] == 0.0)
    assert torch.all(torch.isfinite(pi))


@every(soft=True, noisy=False)
@pytest.mark.parametrize("alpha", [0.05, 0.5])
def test_policy_is_the_softmax_of_known_rewards_over_the_temperature(learner, alpha):
    config = BanditConfig()
    session = Session(learner, Bandit, config, alpha_start=alpha, alpha_end=alpha, learning_starts=10**9, actor_lr=3e-3)
    stack = session.run(200).stack()  # uniform exploration: every action's reward is known
    for _ in range(700):
        stack.update(alpha)
    with torch.no_grad():
        policy = stack.logits(torch.full((3, 1, 1), 0.5)).softmax(-1).squeeze().double().numpy()
    weights = np.exp(np.array(config.rewards) / alpha)
    variation = 0.5 * np.abs(policy - weights / weights.sum()).sum(axis=1)
    assert np.all(variation < 0.03), variation


@every()
def test_agents_of_several_roles_each_find_their_own_action(learner):
    session = Session(learner, Crowd).run_soon()
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
            if session.entry.action_values:
                found = found[..., right]
            np.testing.assert_allclose(found, np.full_like(found, worth), atol=tolerance)


@every()
def test_reward_that_comes_while_an_agent_waits_is_credited_to_its_last_action(learner):
    assert_turns_are_understood(Session(learner, Turns).run_enough())


def test_reward_that_comes_after_the_end_of_a_rollout_is_credited_to_the_last_action_before_it(monkeypatch):
    """Rollouts of three steps end where an agent waits for what its action pays."""
    monkeypatch.setattr("ioa_marl.agents.replay.rollouts.MIN_STEPS_OF_SEVERAL", 1)
    session = Session("ppo", Turns, num_envs=16, rollout_size=96, batch_size=96)
    assert session.learners()[0].buffer.buffer_size == 3
    assert_turns_are_understood(session.run_enough(), tolerance=0.25)


def test_stacked_rollouts_that_end_while_an_agent_waits_are_understood_as_well(monkeypatch):
    monkeypatch.setattr("ioa_marl.agents.replay.rollouts.MIN_STEPS_OF_SEVERAL", 1)
    session = Session("mappo", Turns, num_envs=32, rollout_size=96)
    assert session.stack().rollout.steps == 3
    assert_turns_are_understood(session.run_enough(), tolerance=0.25)


def test_observations_are_told_apart_by_ppos_one_hot_index():
    learner = Session("ppo", Crowd).learners("rival")[0]
    seen = learner._inputs(np.full((2, 3, 1), 0.5, np.float32))
    assert np.array_equal(seen[:, 1:], np.tile(one_hot(np.arange(3), 3), (2, 1)))
    assert np.all(seen[:, 0] == 0.5)
