"""The actor's gradient over all outcomes: values of every outcome as one by one, and what straight through misses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from joint import KINDS, each, played, sampled, weights_of
from probes import Bandit, BanditConfig, Bazaar, Crowd
from sessions import Session, bazaar, differing

from ioa_marl.foundations.parameters import ParameterError


def one_by_one(stack, view, own, chosen):
    """Evaluate the critics for every outcome of every head, one after another."""
    heads = stack.heads
    out = torch.zeros(*own.shape[:-1], heads.count, heads.outcomes)
    for head, size in enumerate(heads.sizes):
        for outcome in range(size):
            changed = own.clone().unflatten(-1, (heads.count, heads.outcomes))
            changed[..., head, :] = torch.eye(heads.outcomes)[outcome]
            inputs = stack.critic_inputs(view, changed.flatten(-2), chosen)
            out[..., head, outcome] = stack.values(stack.critics, inputs).min(dim=1).values
    return out


@each
@pytest.mark.parametrize("twins", [False, True])
@pytest.mark.parametrize(("game_class", "share_above"), [(Bazaar, 64), (Crowd, 64), (Bazaar, 1)])
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_values_of_all_outcomes_equal_those_computed_one_by_one(learner, twins, game_class, share_above, seeds):
    changes = {"twin_critics": twins, "share_above": share_above}
    agent = played(learner, seeds=seeds, game_class=game_class, **changes).agent
    _, view, _ = sampled(agent)
    for stack in agent._learners.values():
        chosen = stack.sample_agents(agent.config.batch_size)
        rows = stack.stacked(view.actions[stack.role.name], chosen).shape[:2]
        drawn = np.random.default_rng(0).random((*rows, stack.heads.count))
        own = stack.heads.one_hot(torch.from_numpy((drawn * stack.heads.sizes).astype(np.int64)))
        with torch.no_grad():
            wanted = one_by_one(stack, view, own, chosen)
        found = stack.outcome_values(view, own, chosen)
        exists = stack.heads.allowed.expand_as(found)
        torch.testing.assert_close(found[exists], wanted[exists], rtol=0, atol=1e-5)


@each
def test_gradient_is_that_of_the_mean_value_of_the_policy(learner):
    """One head: compared with a sum over outcomes in double precision; no entropy, no penalty, no clipping."""
    changes = {"actor_gradient": "expected", "logit_penalty": 0.0, "max_grad_norm": 1e9, "actor_lr": 1e-12}
    agent = played(learner, **changes).agent
    batch, view, _ = sampled(agent)
    stack = agent._learners["player"]
    stack._update_actor(batch, view, None, weights_of(batch, stack), 0.0)
    found = [p.grad.clone() for p in stack.actor.parameters()]
    own = stack.stacked(view.actions["player"])
    values = one_by_one(stack, view, own, None).detach().double()[:, :, 0]
    logits = stack.logits(stack.actor, view.observations)[:, :, 0].double()
    active = stack.stacked(batch.active["player"])
    mean = (logits.softmax(-1) * values).sum(-1)
    loss = -torch.where(active, mean, 0.0).sum(-1) / active.sum(-1).clamp(min=1)
    wanted = torch.autograd.grad(loss.sum(), list(stack.actor.parameters()))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@each
def test_seed_trained_among_three_equals_the_one_trained_alone_to_the_bit(learner):
    usual = bazaar(learner).agent.config
    changes = {"actor_gradient": "expected", "n_step": usual.n_step, "buffer_size": usual.buffer_size}
    among, alone = (
        Session(learner, Bazaar, seeds=seeds, num_envs=4, budget=200, **changes).run(40) for seeds in ((0, 1, 2), (2,))
    )
    assert among.metrics
    assert differing(among.agent.state_dict(2), alone.agent.state_dict(0)) == []


@pytest.mark.parametrize("learner", KINDS)
def test_the_best_of_many_outcomes_is_found_where_a_drawn_slope_points_the_wrong_way(learner):
    """Forty-one prices, the profit of which rises and falls: the gradient over all of them finds the peak."""
    profits = tuple(float(1.0 - ((price - 27) / 20) ** 2) for price in range(41))
    changes = {
        "actor_gradient": "expected", "actor_lr": 3e-3, "critic_lr": 3e-3, "entropy_start": 0.1, "entropy_end": 0.02,
        "width": 32, "learning_starts": 256, "reward_scale": 1.0,
    }  # fmt: skip
    session = Session(learner, Bandit, BanditConfig(profits), budget=500, **changes).run(500)
    chosen = session.best_actions([[0.5]]).reshape(3)
    assert np.all(np.abs(chosen - 27) <= 2), chosen


def test_only_known_gradients_are_allowed():
    with pytest.raises(
        ParameterError, match="actor_gradient=reinforce is not allowed: use straight_through or expected"
    ):
        played("maddpg", 0, actor_gradient="reinforce")
