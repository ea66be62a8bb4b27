"""PPO's rollout buffer: advantages of agents that wait, by hand; and Stable-Baselines3's where nobody waits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer

from ioa_marl.agents.replay.masked_rollout import MaskedRolloutBuffer

GAMMA, LAMBDA = 0.9, 0.5


def made(kind, steps, columns, space=None):
    space = spaces.Discrete(4) if space is None else space
    return kind(steps, spaces.Box(0.0, 1.0, (2,), np.float32), space, "cpu", LAMBDA, GAMMA, n_envs=columns)


def one_column(rewards, values, active, starts=(), last_value=0.0, done=False):
    """Return the buffer of one agent; ``starts`` are the steps at which an episode begins."""
    buffer = made(MaskedRolloutBuffer, len(rewards), 1)
    for t, (reward, value) in enumerate(zip(rewards, values, strict=True)):
        buffer.active[t] = bool(active[t])
        start = np.array([float(t in starts)])
        seen = np.full((1, 2), t / 10, np.float32)
        buffer.add(seen, np.array([[t % 4]]), np.array([reward]), start, torch.tensor([[value]]), torch.tensor([0.0]))
    buffer.compute_returns_and_advantage(torch.tensor([[last_value]]), np.array([done]))
    return buffer


def test_waiting_is_not_discounted_and_its_rewards_belong_to_the_last_action():
    """Decides at 0 and 3, waits in between and after; then the episode is over."""
    buffer = one_column(
        rewards=[1.0, 2.0, 4.0, 8.0, 16.0], values=[5.0, -77.0, -77.0, 6.0, -77.0], active=[1, 0, 0, 1, 0], done=True
    )
    second = 24.0 - 6.0
    first = 7.0 + GAMMA * 6.0 - 5.0 + GAMMA * LAMBDA * second
    assert buffer.advantages[:, 0] == pytest.approx([first, 0.0, 0.0, second, 0.0])
    assert buffer.returns[[0, 3], 0] == pytest.approx([first + 5.0, 24.0])


def test_end_of_an_episode_cuts_advantages_values_and_rewards_that_come_while_waiting():
    """The second episode begins at step 2, where the agent waits and is paid 99 for nothing."""
    buffer = one_column(
        rewards=[1.0, 2.0, 99.0, 8.0], values=[5.0, -77.0, -77.0, 6.0], active=[1, 0, 0, 1], starts=(0, 2),
        last_value=10.0,
    )  # fmt: skip
    assert buffer.advantages[:, 0] == pytest.approx([3.0 - 5.0, 0.0, 0.0, 8.0 + GAMMA * 10.0 - 6.0])


def test_last_decision_is_bootstrapped_once_however_long_the_agent_waits():
    buffer = one_column(
        rewards=[1.0, 2.0, 4.0], values=[5.0, -77.0, -77.0], active=[1, 0, 0], starts=(0,), last_value=10.0
    )
    assert buffer.advantages[0, 0] == pytest.approx(7.0 + GAMMA * 10.0 - 5.0)


def test_only_decisions_are_trained_on():
    buffer = one_column(rewards=[1.0] * 6, values=[0.0] * 6, active=[1, 0, 1, 1, 0, 0])
    rows = [batch for epoch in range(3) for batch in buffer.get(2)]
    assert [len(batch.advantages) for batch in rows] == [2, 1] * 3
    for epoch in range(3):
        seen = torch.cat([batch.observations[:, 0] for batch in rows[2 * epoch : 2 * epoch + 2]])
        assert sorted(seen.tolist()) == pytest.approx([0.0, 0.2, 0.3])
    buffer.reset()
    assert buffer.active.all()
    assert not buffer.full


def test_columns_do_not_mix():
    """Each agent's advantages are those that it has in a buffer of its own."""
    draws = np.random.default_rng(0)
    steps, columns = 12, 5
    rewards, values = draws.normal(size=(2, steps, columns)).astype(np.float32)
    active, starts = draws.random((steps, columns)) < 0.6, draws.random((steps, columns)) < 0.2
    last = draws.normal(size=columns).astype(np.float32)
    together = made(MaskedRolloutBuffer, steps, columns)
    for t in range(steps):
        together.active[t] = active[t]
        seen = np.zeros((columns, 2), np.float32)
        together.add(
            seen, np.zeros((columns, 1)), rewards[t], starts[t].astype(np.float32),
            torch.tensor(values[t]), torch.zeros(columns),
        )  # fmt: skip
    together.compute_returns_and_advantage(torch.tensor(last), np.zeros(columns))
    for c in range(columns):
        begins = np.flatnonzero(starts[:, c])
        alone = one_column(rewards[:, c], values[:, c].tolist(), active[:, c], begins, float(last[c]))
        assert np.array_equal(together.advantages[:, c], alone.advantages[:, 0])


@pytest.mark.parametrize("space", [spaces.Discrete(4), spaces.MultiDiscrete([2, 3]), spaces.Box(-1.0, 1.0, (2,))])
@pytest.mark.parametrize("batch_size", [None, 7, 64])
def test_buffer_is_stable_baselines3s_where_everybody_always_acts(space, batch_size):
    steps, columns = 11, 3
    ours, theirs = (made(kind, steps, columns, space) for kind in (MaskedRolloutBuffer, RolloutBuffer))
    draws = np.random.default_rng(1)
    heads = int(np.prod(space.shape)) or 1
    for t in range(steps):
        row = (
            draws.random((columns, 2), np.float32), draws.integers(2, size=(columns, heads)),
            draws.normal(size=columns).astype(np.float32), (draws.random(columns) < 0.3).astype(np.float32),
            torch.tensor(draws.normal(size=(columns, 1)), dtype=torch.float32),
            torch.tensor(draws.normal(size=columns), dtype=torch.float32),
        )  # fmt: skip
        for buffer in (ours, theirs):
            buffer.add(*row)
        assert ours.full == theirs.full == (t == steps - 1)
    last, dones = torch.tensor(draws.normal(size=(columns, 1)), dtype=torch.float32), np.array([1.0, 0.0, 1.0])
    for buffer in (ours, theirs):
        buffer.compute_returns_and_advantage(last, dones)
    assert ours.advantages.tobytes() == theirs.advantages.tobytes()
    assert ours.returns.tobytes() == theirs.returns.tobytes()
    drawn = []
    for buffer in (ours, theirs):
        np.random.seed(5)
        drawn.append([batch for epoch in range(2) for batch in buffer.get(batch_size)])
    assert len(drawn[0]) == len(drawn[1])
    for one, other in zip(*drawn, strict=True):
        for name, a, b in zip(one._fields, one, other, strict=True):
            assert torch.equal(a, b), name
