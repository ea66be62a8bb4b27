"""n-step returns and the replay buffer against references in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ioa_marl.agents.replay.buffers import NStepReturns, TransitionBuffer

GAMMA = 0.9


def played(columns, n, steps):
    """Pass steps through `NStepReturns`; returns each column's completed transitions in order.

    A step has, for each column, active, reward, terminated and truncated. Observation and action are the time of
    the step, the true successor is the time plus a half.
    """
    window = NStepReturns(columns, n, GAMMA, features=1, heads=2)
    out = [[] for _ in range(columns)]
    for t, step in enumerate(steps):
        active, reward, terminated, truncated = (np.array(x) for x in zip(*step, strict=True))
        mask, rows = window.step(
            np.full((columns, 1), t, np.float32),
            np.full((columns, 2), (t, -t), np.int64),
            active.astype(np.bool_),
            reward.astype(np.float32),
            np.full((columns, 1), t + 0.5, np.float32),
            terminated.astype(np.bool_),
            truncated.astype(np.bool_),
        )
        for i, column in enumerate(mask):
            assert rows["actions"][i].tolist() == [rows["observations"][i, 0], -rows["observations"][i, 0]]
            out[column].append(
                (
                    float(rows["observations"][i, 0]),
                    float(rows["returns"][i]),
                    float(rows["next_observations"][i, 0]),
                    float(rows["discounts"][i]),
                )
            )
    return out


def expected(n, steps):
    """Return the transitions of one column, decision by decision, from the definition."""
    out, first = [], 0
    ends = [t for t, step in enumerate(steps) if step[2] or step[3]]
    for end in [*ends, len(steps)]:
        decisions = [t for t in range(first, min(end + 1, len(steps))) if steps[t][0]]
        # What a decision earns is all that comes until the next one, or the end.
        limits = [*decisions[1:], min(end + 1, len(steps))]
        earned = [sum(steps[t][1] for t in range(a, b)) for a, b in zip(decisions, limits, strict=False)]
        for i, decision in enumerate(decisions):
            summed = sum(GAMMA**k * r for k, r in enumerate(earned[i : i + n]))
            if i + n < len(decisions):
                out.append((decision, summed, decisions[i + n], GAMMA**n))
            elif end < len(steps):
                left = len(decisions) - i
                out.append((decision, summed, end + 0.5, 0.0 if steps[end][2] else GAMMA**left))
        first = end + 1
    return out


step = st.tuples(
    st.booleans(), st.integers(-8, 8).map(float), st.sampled_from([0, 0, 0, 0, 1]), st.sampled_from([0, 0, 0, 0, 1])
)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 4), st.lists(st.tuples(step, step, step), min_size=1, max_size=25))
def test_n_step_returns_are_those_of_each_columns_own_decisions(n, steps):
    found = played(3, n, steps)
    for column in range(3):
        wanted = expected(n, [at[column] for at in steps])
        assert [row[0] for row in found[column]] == [row[0] for row in wanted]
        np.testing.assert_allclose(found[column], np.reshape(wanted, (-1, 4)) if wanted else [], atol=1e-5)


def test_three_step_return_by_hand():
    """Rewards 1, 2, 4, 8 and then a termination."""
    found = played(1, 3, [[(1, 1.0, 0, 0)], [(1, 2.0, 0, 0)], [(1, 4.0, 0, 0)], [(1, 8.0, 1, 0)]])[0]
    assert found == [
        (0.0, pytest.approx(1.0 + 0.9 * 2.0 + 0.81 * 4.0), 3.0, pytest.approx(0.729)),
        (1.0, pytest.approx(2.0 + 0.9 * 4.0 + 0.81 * 8.0), 3.5, 0.0),
        (2.0, pytest.approx(4.0 + 0.9 * 8.0), 3.5, 0.0),
        (3.0, pytest.approx(8.0), 3.5, 0.0),
    ]


def test_waiting_is_not_discounted_and_its_rewards_belong_to_the_last_action():
    """Acts at times 0 and 3; 1 + 2 + 4 comes in between; the episode is cut off while it waits."""
    steps = [[(1, 1.0, 0, 0)], [(0, 2.0, 0, 0)], [(0, 4.0, 0, 0)], [(1, 8.0, 0, 0)], [(0, 16.0, 0, 1)]]
    assert played(1, 1, steps)[0] == [(0.0, 7.0, 3.0, 0.9), (3.0, 24.0, 4.5, 0.9)]
    assert played(1, 2, steps)[0] == [
        (0.0, pytest.approx(7.0 + 0.9 * 24.0), 4.5, pytest.approx(0.81)),
        (3.0, 24.0, 4.5, 0.9),
    ]


def test_reward_before_the_first_action_of_an_episode_belongs_to_nothing():
    steps = [[(1, 1.0, 1, 0)], [(0, 99.0, 0, 0)], [(1, 2.0, 1, 0)]]
    assert played(1, 2, steps)[0] == [(0.0, 1.0, 0.5, 0.0), (2.0, 2.0, 2.5, 0.0)]


def test_termination_counts_where_an_episode_is_cut_off_at_the_same_step():
    assert played(1, 1, [[(1, 1.0, 1, 1)]])[0] == [(0.0, 1.0, 0.5, 0.0)]


def test_open_windows_go_on_after_saving_and_loading():
    window, other = (NStepReturns(2, 3, GAMMA, 1, 1) for _ in range(2))
    draws = np.random.default_rng(0)

    def random_step():
        return (
            draws.random((2, 1), np.float32), draws.integers(5, size=(2, 1)), draws.random(2) < 0.7,
            draws.random(2), draws.random((2, 1), np.float32), draws.random(2) < 0.1, draws.random(2) < 0.1,
        )  # fmt: skip

    for _ in range(5):
        window.step(*random_step())
    for column in (slice(0, 1), slice(1, 2)):
        other.load_state(column, window.state(column))
    for _ in range(10):
        given_step = random_step()
        (one_columns, one), (two_columns, two) = window.step(*given_step), other.step(*given_step)
        assert one_columns.tolist() == two_columns.tolist()
        assert one.keys() == two.keys()
        assert all(np.array_equal(one[key], two[key]) for key in one)


def rows_of(tags):
    """Return rows that can be told apart by their number."""
    tags = np.array(tags, np.float64)
    return {
        "observations": np.stack([tags, tags], 1), "actions": tags[:, None], "returns": tags,
        "next_observations": np.stack([tags + 0.5, tags], 1), "discounts": tags / 1000.0,
    }  # fmt: skip


def remembered(replay):
    """Return what can be sampled of each member, slot by slot."""
    out = []
    for member, size in enumerate(replay.size):
        uniforms = np.zeros((len(replay.size), max(size, 1)))
        uniforms[member] = (np.arange(max(size, 1)) + 0.5) / max(size, 1)
        batch = replay.sample(uniforms)
        assert batch.weights[member].item() == (size > 0)
        out.append(batch.returns[member].tolist() if size else [])
        if size:
            tags = batch.returns[member]
            assert torch.equal(batch.observations[member], torch.stack([tags, tags], 1))
            assert torch.equal(batch.next_observations[member], torch.stack([tags + 0.5, tags], 1))
            assert torch.equal(batch.actions[member, :, 0], tags.long())
            assert torch.equal(batch.discounts[member], tags / 1000.0)
    return out


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 7), st.data())
def test_buffer_contains_the_latest_rows_of_each_member(capacity, data):
    replay, rings, count = TransitionBuffer(3, capacity, 2, 1, torch.device("cpu")), [[], [], []], 0
    written = [0, 0, 0]
    for _ in range(data.draw(st.integers(1, 6))):
        counts = data.draw(st.lists(st.integers(0, capacity), min_size=3, max_size=3))
        order = data.draw(st.permutations([m for m, k in enumerate(counts) for _ in range(k)]))
        if not order:
            continue
        tags = list(range(count, count + len(order)))
        count += len(order)
        replay.add(np.array(order), rows_of(tags))
        for member, tag in zip(order, tags, strict=True):
            ring = rings[member]
            if len(ring) < capacity:
                ring.append(float(tag))
            else:
                ring[written[member] % capacity] = float(tag)
            written[member] += 1
    assert remembered(replay) == rings
    copy = TransitionBuffer(3, capacity, 2, 1, torch.device("cpu"))
    for member in range(3):
        copy.load_state(slice(member, member + 1), replay.state(slice(member, member + 1)))
    assert remembered(copy) == rings
    for buffer in (replay, copy):
        buffer.add(np.array([0, 2]), rows_of([900, 901]))
    assert remembered(copy) == remembered(replay)


def test_every_row_is_sampled_and_none_that_does_not_exist():
    replay = TransitionBuffer(1, 10, 2, 1, torch.device("cpu"))
    replay.add(np.zeros(3, np.int64), rows_of([1, 2, 3]))
    edges = np.array([[0.0, 1 / 3, 2 / 3, np.nextafter(1.0, 0.0)]])
    assert replay.sample(edges).returns.tolist() == [[1.0, 2.0, 3.0, 3.0]]


def test_more_rows_at_once_than_fit_are_refused():
    replay = TransitionBuffer(2, 3, 2, 1, torch.device("cpu"))
    with pytest.raises(ValueError, match="a replay buffer of 3 rows cannot take 4 rows at once"):
        replay.add(np.ones(4, np.int64), rows_of([1, 2, 3, 4]))
    assert replay.size.tolist() == [0, 0]
