"""Centralised critics learn values that critics of the own observation and action cannot; three seeds each."""

from __future__ import annotations

import numpy as np
from learners import every
from sessions import Session, bazaar
from team_probes import Chorus, HandOver, OthersCoin, Pair, every_joint

JOINT = every_joint(2, 2, 2, 2)
"""All coins and actions of two agents."""


def trying_everything(learner, game_class, **changes):
    """Return a trained session whose agents play uniformly, so that every joint action is known."""
    session = Session(learner, game_class)
    return Session(learner, game_class, **session.entry.exploring, **changes).run_enough()


def values_of_pair(session):
    """Return the agents' values of all coins and actions of `Pair`, (seeds, agents, cases, critics)."""
    coins, actions = JOINT[:, :2], JOINT[:, 2:]
    return session.joint_values({"player": coins[:, :, None].astype(np.float32)}, {"player": actions})


@every(action_values=True, centralised=True)
def test_centralised_critic_tells_the_two_contributions_to_a_common_reward_apart(learner):
    found = values_of_pair(trying_everything(learner, Pair))
    wanted = Pair.reward_of(JOINT[:, :2], JOINT[:, 2:])[:, None]
    np.testing.assert_allclose(found, np.broadcast_to(wanted, found.shape), atol=0.2)


@every(action_values=True, centralised=False)
def test_local_critic_knows_its_own_contribution_and_the_mean_of_the_other_one(learner):
    """The other agent is right with probability 1/2, and a local critic can only learn this mean."""
    # Half of the reward is noise to it: with smaller batches the critic wanders by more than the tolerance.
    found = values_of_pair(trying_everything(learner, Pair, critic_lr=2e-3, batch_size=256))
    right = JOINT[:, :2] == JOINT[:, 2:]
    mean = np.stack([2.0 * right[:, 0] + 0.5, right[:, 1] + 1.0])[:, :, None]
    np.testing.assert_allclose(found, np.broadcast_to(mean, found.shape), atol=0.25)
    assert np.all(np.abs(found - Pair.reward_of(JOINT[:, :2], JOINT[:, 2:])[:, None]) > 0.2)


@every()
def test_both_agents_of_a_common_reward_find_their_own_part(learner):
    chosen = Session(learner, Pair).run_enough().best_actions([[0.0], [1.0]])
    assert np.array_equal(chosen, np.broadcast_to(np.array([[0, 0], [1, 1]]), chosen.shape))


@every()
def test_only_a_centralised_critic_knows_what_another_agent_sees(learner):
    session = Session(learner, OthersCoin).run_enough()
    coins = every_joint(2, 2)
    observations = {"player": coins[:, :, None].astype(np.float32)}
    found = session.joint_values(observations, {"player": np.zeros((4, 2), np.int64)})  # (seeds, agents, cases, …)
    known = coins[:, ::-1] if session.entry.centralised else np.full((4, 2), 0.5)
    known = known.T.reshape(2, 4, *[1] * (found.ndim - 3))
    np.testing.assert_allclose(
        found, np.broadcast_to(known, found.shape), atol=0.1 if session.entry.centralised else 0.3
    )


@every(action_values=True)
def test_value_of_what_the_others_do_on_average(learner):
    """It is exact for every joint action, and so the same whoever of them does it and whatever oneself does."""
    session = trying_everything(learner, Chorus)
    joint = every_joint(*[2] * 5)
    actions = {"player": joint[:, :3], "rival": joint[:, 3:]}
    seen = {name: np.full((*done.shape, 1), 0.5, np.float32) for name, done in actions.items()}
    for name, worth in Chorus.reward_of(actions).items():
        found = session.joint_values(seen, actions, name)  # (seeds, agents, cases, critics)
        known = (worth if session.entry.centralised else np.zeros_like(worth)).T[:, :, None]
        np.testing.assert_allclose(found, np.broadcast_to(known, found.shape), atol=0.15)


OPENING = np.stack([HandOver.seen_by(np.zeros(2, int), [0, 1]), HandOver.seen_by(np.zeros(2, int), 0.5)], axis=1)
"""First observations of both agents of `HandOver`, (worlds, agents, features)."""
WALKING = np.stack([HandOver.seen_by(np.ones(1, int), 0.5), HandOver.seen_by(np.ones(1, int), 1)], axis=1)
"""Their observations before an open door."""


@every(centralised=True)
def test_centralised_critic_solves_the_xor_game(learner):
    session = Session(learner, HandOver)
    session = Session(learner, HandOver, **session.entry.one_step).run_enough()
    opened = session.best_actions(OPENING)[..., 0] != np.array([0, 1])
    assert np.all(opened)
    assert np.all(session.best_actions(WALKING)[..., 1] == 1)


@every(centralised=False)
def test_local_critic_with_one_step_returns_fails_in_the_xor_game(learner):
    session = Session(learner, HandOver)
    session = Session(learner, HandOver, **session.entry.one_step).run_enough()
    opened = session.best_actions(OPENING)[..., 0] != np.array([0, 1])
    assert not np.any(opened), "0.4 at once, and the same afterwards whatever it does"


@every(centralised=False)
def test_local_critic_solves_the_xor_game_where_returns_reach_to_its_end(learner):
    session = Session(learner, HandOver)
    session = Session(learner, HandOver, **session.entry.long_returns).run_enough()
    opened = session.best_actions(OPENING)[..., 0] != np.array([0, 1])
    assert np.all(opened), "its failure is that of its critic, not of its actor"


@every()
def test_an_actor_does_not_see_what_another_role_observes(learner):
    """The logits decide the actions of a thousand random observations; one that moved would change some of them."""
    agent, draws = bazaar(learner).agent, np.random.default_rng(0)
    counts = {"player": 2, "rival": 1}
    seen = {name: draws.normal(0, 30, (2, 1000, count, 3)).astype(np.float32) for name, count in counts.items()}
    actions = agent.act(seen, deterministic=True)
    for name, other in (("player", "rival"), ("rival", "player")):
        changed = {**seen, other: draws.permuted(seen[other], axis=1)}
        again = agent.act(changed, deterministic=True)
        np.testing.assert_array_equal(again[name], actions[name])
        assert (again[other] != actions[other]).any()
