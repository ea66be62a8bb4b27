"""The replay buffer of joint steps contains n-step returns according to their definition, for every agent."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from probes import make_role

from ioa_marl.agents.base import AgentContext
from ioa_marl.agents.replay.joint_buffer import JointReplayBuffer, JointWindows
from ioa_marl.agents.replay.joint_views import ActionCode, mean_of_all, mean_of_others, present_agents, summed
from ioa_marl.envs.core import Role
from ioa_marl.envs.vector import Transition

GAMMA = 0.9
PLAYER, RIVAL = make_role("player", 2, 1, 4), make_role("rival", 1, 1, (2, 4))
ROLES = {"player": PLAYER, "rival": RIVAL}


def arrays(t, steps):
    """Return what `JointWindows.step` takes at time t: observations and actions tell the time, agent and column."""
    columns = len(steps)
    seen, done = {}, {}
    for name, role in ROLES.items():
        tags = t + 0.1 * np.arange(role.count) + 0.01 * np.arange(columns)[:, None]
        seen[name] = tags[..., None].astype(np.float32)
        heads = 2 if name == "rival" else 1
        done[name] = np.broadcast_to((t + np.arange(role.count))[:, None] % 2, (columns, role.count, heads)).copy()
    active = {
        "player": np.array([s["active"][:2] for s in steps], np.bool_),
        "rival": np.array([s["active"][2:] for s in steps], np.bool_),
    }
    rewards = {"player": np.array([s["rewards"] for s in steps], np.float32)}
    after = {name: x + np.float32(0.5) for name, x in seen.items()}
    ends = [np.array([s[kind] for s in steps], np.bool_) for kind in ("terminated", "truncated")]
    return seen, done, active, rewards, after, *ends


def by_definition(n, column, steps):
    """Return (time, time of the successor, returns, discounts, next active) of each complete row of a column."""
    out, first = [], 0
    ends = [t for t, s in enumerate(steps) if s["terminated"] or s["truncated"]]
    for end in [*ends, None]:
        last = len(steps) - 1 if end is None else end
        for t in range(first, last + 1):
            inside = t + n <= last
            if not inside and end is None:
                continue
            stop = t + n if inside else end + 1
            returns, discounts = np.zeros(2), np.ones(2)
            for agent in range(2):
                for k in range(t, stop):
                    if k > t and steps[k]["active"][agent]:
                        discounts[agent] *= GAMMA
                    returns[agent] += discounts[agent] * steps[k]["rewards"][agent]
                if not inside:
                    discounts[agent] *= 0.0 if steps[end]["terminated"] else GAMMA
                elif steps[stop]["active"][agent]:
                    discounts[agent] *= GAMMA
            following = steps[stop]["active"] if inside else (True, True, False)
            out.append((t, float(stop) if inside else end + 0.5, returns, discounts, following))
        first = last + 1
    return out


flag = st.sampled_from([False, False, False, True])
step = st.fixed_dictionaries(
    {
        "active": st.tuples(st.booleans(), st.booleans(), st.booleans()),
        "rewards": st.tuples(st.integers(-8, 8), st.integers(-8, 8)),
        "terminated": flag,
        "truncated": flag,
    }
)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 4), st.lists(st.tuples(step, step), min_size=1, max_size=14))
def test_rows_are_those_of_the_definition(n, steps):
    """An agent's rewards are discounted once for each of its own decisions after the row's step."""
    windows = JointWindows(2, n, GAMMA, list(ROLES.values()), [PLAYER])
    found = [[], []]
    for t, at in enumerate(steps):
        columns, rows = windows.step(*arrays(t, at))
        for i, column in enumerate(columns):
            found[column].append({key: values[i] for key, values in rows.items()})
    for column in range(2):
        own = [at[column] for at in steps]
        wanted = sorted(by_definition(n, column, own), key=lambda row: (row[1], row[0]))
        assert len(found[column]) == len(wanted)
        for row, (t, stop, returns, discounts, following) in zip(found[column], wanted, strict=True):
            tag = 0.1 * np.arange(2) + 0.01 * column
            np.testing.assert_allclose(row["observations/player"][:, 0], t + tag, atol=1e-5)
            np.testing.assert_allclose(row["next_observations/player"][:, 0], stop + tag, atol=1e-5)
            np.testing.assert_allclose(row["next_observations/rival"][:, 0], stop + tag[:1], atol=1e-5)
            np.testing.assert_allclose(row["returns/player"], returns, atol=1e-9)
            np.testing.assert_allclose(row["discounts/player"], discounts, atol=1e-9)
            assert row["actions/player"][:, 0].tolist() == [t % 2, (t + 1) % 2]
            assert (*row["active/player"], *row["active/rival"]) == own[t]["active"]
            assert (*row["next_active/player"], *row["next_active/rival"]) == following
            known = stop == int(stop)
            assert row["next_actions/rival"].tolist() == [[int(stop) % 2 if known else 0] * 2]
            assert "returns/rival" not in row, "whose rewards are another agent's business"


def test_open_windows_go_on_after_saving_and_loading():
    draws = np.random.default_rng(0)

    def drawn(t):
        one = [
            {
                "active": draws.random(3) < 0.7, "rewards": draws.random(2), "terminated": draws.random() < 0.1,
                "truncated": draws.random() < 0.1,
            }
            for _ in range(2)
        ]  # fmt: skip
        return arrays(t, one)

    windows, other = (JointWindows(2, 3, GAMMA, list(ROLES.values()), [PLAYER]) for _ in range(2))
    for t in range(7):
        windows.step(*drawn(t))
    other.step(*drawn(50))
    for column in (slice(0, 1), slice(1, 2)):
        other.load_state(column, windows.state(column))
    for t in range(7, 20):
        given_step = drawn(t)
        (columns, rows), (same, alike) = windows.step(*given_step), other.step(*given_step)
        assert columns.tolist() == same.tolist()
        assert rows.keys() == alike.keys()
        assert all(np.array_equal(rows[key], alike[key]) for key in rows)


def test_every_seed_stores_its_own_markets_and_samples_only_them():
    context = AgentContext((PLAYER,), (PLAYER, RIVAL), (0, 1), 3, 1000, torch.device("cpu"))
    replay = JointReplayBuffer(context, [PLAYER, RIVAL], 1000, 1, GAMMA)

    def of(seeds_value):  # (seeds, markets, agents, …)
        return {name: np.full((2, 3, r.count, 1), 0.0) + np.array(seeds_value)[:, None, None, None]
                for name, r in ROLES.items()}  # fmt: skip

    yes = {name: np.ones((2, 3, r.count), np.bool_) for name, r in ROLES.items()}
    over = np.ones((2, 3), np.bool_)
    seen = {name: x.astype(np.float32) for name, x in of([1.0, 2.0]).items()}
    done = {"player": np.ones((2, 3, 2), np.int64), "rival": np.ones((2, 3, 1, 2), np.int64)}
    rewards = {name: x[..., 0] for name, x in of([10.0, 20.0]).items()}
    replay.observe(Transition(seen, done, yes, yes, rewards, seen, over, ~over, {}), 0.5)
    assert replay.rows.size.tolist() == [3, 3]
    batch = replay.sample(np.random.default_rng(0).random((2, 40)))
    for seed, (value, paid) in enumerate([(1.0, 5.0), (2.0, 10.0)]):
        assert torch.all(batch.observations["player"][seed] == value)
        assert torch.all(batch.returns["player"][seed] == paid), "rewards are scaled"
    assert torch.all(batch.discounts["player"] == 0.0)
    assert batch.actions["rival"].shape == (2, 40, 1, 2)


@pytest.mark.parametrize(("budget", "capacity"), [(50, 50), (10, 32), (10**9, 100)])
def test_buffer_is_bounded_by_the_budget_and_has_room_for_what_one_step_completes(budget, capacity):
    context = AgentContext((PLAYER,), (PLAYER,), (0,), 8, budget, torch.device("cpu"))
    assert JointReplayBuffer(context, [PLAYER], 100, 3, GAMMA).rows.capacity == capacity


def test_action_of_an_agent_that_does_not_act_is_all_zeros_and_differs_from_every_other_one():
    active = torch.tensor([True, False])
    discrete = ActionCode(make_role("r", 1, 1, (2, 3)), torch.device("cpu"))
    assert discrete(torch.tensor([[1, 2], [1, 2]]), active).tolist() == [[0, 1, 0, 0, 0, 1], [0] * 6]
    box = Role("r", 1, PLAYER.observation_space, spaces.Box(0.0, 1.0, (2,), np.float32), "first")
    real = ActionCode(box, torch.device("cpu"))
    assert real(torch.tensor([[0.0, 0.25], [0.5, 0.5]]), active).tolist() == [[0.0, 0.25, 1.0], [0.0, 0.0, 0.0]]
    assert real.width == 3


@pytest.mark.parametrize("agents", [1, 2, 3, 7, 64, 100])
def test_sums_over_agents_do_not_depend_on_what_lies_beside(agents):
    x = torch.randn(5, 9, agents, 3, generator=torch.Generator().manual_seed(0))
    whole = summed(x, 2)
    torch.testing.assert_close(whole.double(), x.double().sum(2), rtol=0, atol=1e-4)
    for seed in (0, 4):
        assert torch.equal(summed(x[seed : seed + 1].contiguous(), 2)[0], whole[seed])


def test_mean_of_others_excludes_the_agent_itself():
    x = torch.tensor([1.0, 2.0, 6.0]).reshape(1, 1, 3, 1)
    everybody = torch.ones(1, 1, 3, dtype=torch.bool)
    for present, one in ((everybody, everybody[:, :, :1]), (None, None)):
        assert mean_of_others(x, present).flatten().tolist() == [4.0, 3.5, 1.5]
        assert mean_of_others(x[:, :, :1], one).flatten().tolist() == [0.0]
        assert mean_of_all(x, present).flatten().tolist() == [3.0]


def test_means_are_over_the_agents_that_are_present():
    x = torch.tensor([1.0, 2.0, 6.0, 100.0]).reshape(1, 1, 4, 1)
    present = torch.tensor([True, False, True, True]).reshape(1, 1, 4)
    assert mean_of_all(x, present).flatten().item() == pytest.approx(107.0 / 3)
    # Of the absent agent itself the others are those that are present.
    assert mean_of_others(x, present).flatten().tolist() == [53.0, pytest.approx(107.0 / 3), 50.5, 3.5]
    assert mean_of_all(x, ~present).flatten().tolist() == [2.0]
    assert mean_of_all(x, present & False).flatten().tolist() == [0.0]
    assert mean_of_others(x, ~present).flatten().tolist() == [2.0, 0.0, 2.0, 2.0]


def test_absent_agents_are_those_that_observe_only_zeros_of_a_role_that_has_them():
    space, observations = spaces.Box(0.0, 1.0, (2,), np.float32), torch.tensor([[0.0, 0.0], [0.0, 0.5]])
    role = Role("slice", 2, space, spaces.Discrete(2), "hold")
    assert present_agents(role, observations) is None
    assert present_agents(dataclasses.replace(role, can_be_absent=True), observations).tolist() == [False, True]
