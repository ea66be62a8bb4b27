"""A budget that ends before the first update is refused; the smallest one that is allowed makes one update."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioa_marl import registry
from ioa_marl.agents.common.schedules import first_update, updates_due
from ioa_marl.foundations.errors import UserError
from ioa_marl.training.config import resolve
from ioa_marl.training.runner import Trainer

SMALL_AGENT = {
    "width": 8, "depth": 1, "hidden": [8], "batch_size": 8, "n_epochs": 1, "rollout_size": 100, "learning_starts": 101,
    "update_every": 30,
}  # fmt: skip
"""Settings that make any learner small and fast; none of them is a multiple of the number of markets."""
MARKETS = 7
LEARNERS = [
    name
    for name in registry.agent_names()
    if registry.entry("agent", name).source == "ioa_marl"
    and {"rollout_size", "learning_starts"}
    & {f.name for f in dataclasses.fields(registry.load_agent(name).config_class)}
]


def described(runs, name, market, budget, **roles):
    known = {field.name for field in dataclasses.fields(registry.load_agent(name).config_class)}
    agent = {"name": name, **{key: value for key, value in SMALL_AGENT.items() if key in known}}
    return resolve(
        {
            "env": market, "budget": budget, "num_envs": MARKETS, "seeds": 1, "runs": str(runs), "device": "cpu",
            "evaluation": {"points": 1, "episodes": 1}, "agent": agent, "roles": roles,
        }
    )  # fmt: skip


def learnt_at(spec):
    """Return for each controlled role the environment steps after which its first update happens."""
    trainer, first = Trainer(spec, spec.seeds, []), {}
    while trainer.iteration < trainer.iterations:
        trainer.step()
        for key in trainer.training_metrics:
            first.setdefault(key.partition("/")[0], trainer.steps)
    return first


AUCTION = {"name": "double_dutch", "preset": "paper", "buyers": 3, "sellers": 3, "min_buyers": 2, "min_sellers": 2}
LEADERS = {"name": "stackelberg", "preset": "paper", "wireless": 4, "mobile": 2, "fixed": 5, "rounds": 3}


@pytest.mark.parametrize(
    ("name", "market"),
    [(name, AUCTION) for name in LEARNERS]
    + [(name, LEADERS) for name in LEARNERS if not registry.load_agent(name).single_agent],
    ids=lambda value: value["name"] if isinstance(value, dict) else value,
)
def test_smallest_budget_is_that_after_which_every_role_has_been_learnt(name, market, tmp_path):
    with pytest.raises(UserError, match=rf"^budget={MARKETS} is not allowed: use at least \d+, .* {name} first learns"):
        described(tmp_path, name, market, MARKETS)
    long = described(tmp_path, name, market, 250)
    found = learnt_at(long)
    assert set(found) == set(long.controlled_roles)
    last = max(found.values())
    assert MARKETS < last < 250
    assert learnt_at(described(tmp_path, name, market, last)) == found
    role = next(role for role in long.controlled_roles if found[role] == last)
    with pytest.raises(UserError, match=rf"^budget={last - 1} .* at least {last}, .* first learns in the role {role}$"):
        described(tmp_path, name, market, last - 1)


@given(made=st.integers(1, 70), learning_starts=st.integers(0, 300), update_every=st.integers(1, 200))
def test_first_update_is_the_first_time_that_one_is_due(made, learning_starts, update_every):
    first = first_update(made, learning_starts, update_every)
    steps = range(made, first + 1, made)
    assert [now for now in steps if updates_due(now, made, learning_starts, update_every)] == [first]


@given(made=st.integers(1, 70), update_every=st.integers(1, 200), steps=st.integers(1, 100))
def test_there_is_one_update_for_every_so_many_steps(made, update_every, steps):
    due = [updates_due(made * k, made, 0, update_every) for k in range(1, steps + 1)]
    assert sum(due) == made * steps // update_every


def test_what_does_not_learn_may_have_any_budget(tmp_path):
    market = {"name": "double_dutch", "preset": "paper"}
    scripted = {"name": "two_phase", "policy": "two_phase", "settings": {}}
    for agent in ({"name": "random"}, {"name": "greedy"}, scripted):
        size = {"budget": 2, "num_envs": 2, "seeds": 1, "runs": str(tmp_path), "device": "cpu", "evaluation": {}}
        assert resolve({"env": market, "agent": agent, **size}).budget == 2
