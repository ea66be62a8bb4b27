"""Agents of a role have networks of their own, or share one that knows which of them it plays: ``share_above``."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
from learners import LEARNERS
from probes import Crowd
from sessions import Session, differing

from ioa_marl.foundations.parameters import ParameterError

LEARNT = pytest.mark.parametrize("learner", ["ppo", "mappo"])


class Louder(Crowd):
    """As `Crowd`, but every agent except the first of each role is paid three times as much."""

    factor: ClassVar = 3.0

    def play(self, actions):
        paid, over, cut = super().play(actions)
        return {name: x * np.where(np.arange(x.shape[1]) == 0, 1.0, self.factor) for name, x in paid.items()}, over, cut


def played_by_the_first(session):
    """Return the first rival's parameters of the first seed, as one vector."""
    learner = session.agent._learners[0]["rival"].learners[0] if session.learner == "ppo" else session.stack("rival")
    if session.learner == "ppo":
        return np.concatenate([x.numpy().ravel() for x in learner.policy_state().values()])
    layers = (*learner.actor.parameters(), *learner.critic.parameters())
    return np.concatenate([x[0].detach().numpy().ravel() for x in layers])


@LEARNT
@pytest.mark.parametrize("share_above", [1, 64])
def test_only_agents_that_share_a_network_learn_from_each_others_rewards(learner, share_above):
    trained = [
        Session(learner, game, seeds=(0,), share_above=share_above, reward_scale=1.0).run(48)
        for game in (Crowd, Louder)
    ]
    one, other = (played_by_the_first(session) for session in trained)
    assert all(session.metrics for session in trained), "both have learnt"
    assert np.array_equal(one, other) == (share_above > 1)


@LEARNT
@pytest.mark.parametrize("share_above", [1, 2, 64])
def test_agents_that_see_the_same_find_their_own_actions_with_networks_of_their_own_and_with_a_shared_one(
    learner, share_above
):
    session = Session(learner, Crowd, share_above=share_above).run(240)
    for role, count in Crowd.counts.items():
        chosen = session.best_actions([[0.5]], role)
        assert np.array_equal(chosen, np.broadcast_to(np.arange(count), (3, 1, count)))


@LEARNT
def test_networks_are_as_many_as_agents_up_to_the_setting(learner):
    def parameters(share_above):
        return Session(learner, Crowd, share_above=share_above).agent.parameters_count()

    assert parameters(1) < parameters(2) < parameters(3) == parameters(64)


def test_ppos_policies_of_single_agents_are_saved_and_sampled_to_the_bit():
    def started():
        return Session("ppo", Crowd, share_above=64, **LEARNERS["ppo"].bazaar)

    session = started().run(33)
    other = started().run(3).load(session.tree())
    assert differing(session.run(20).tree(), other.run(20).tree()) == []
    fresh = started()
    for i in range(3):
        fresh.agent.load_policy_state(i, session.agent.policy_state(i))
    for role in Crowd.counts:
        assert np.array_equal(fresh.best_actions([[0.5]], role), session.best_actions([[0.5]], role))


@LEARNT
@pytest.mark.parametrize("value", [0, 1.5, 10**7])
def test_a_number_of_agents_that_means_nothing_is_refused(learner, value):
    with pytest.raises(ParameterError, match="share_above"):
        dataclasses.replace(LEARNERS[learner].config, share_above=value)


@LEARNT
@pytest.mark.parametrize("agent_index", [False, True])
def test_a_shared_policy_without_the_index_does_the_same_for_every_agent_that_sees_the_same(learner, agent_index):
    session = Session(learner, Crowd, seeds=(0,), share_above=1, agent_index=agent_index).run(48)
    seen = np.linspace(0.0, 1.0, 200)[:, None]
    chosen = session.best_actions(seen, "rival")
    assert bool((chosen == chosen[:, :, :1]).all()) != agent_index
