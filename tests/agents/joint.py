"""Functions that the tests of actor–critics share."""

from __future__ import annotations

import pytest
from probes import Bazaar
from sessions import Session

KINDS = ("maddpg", "mean_field_ac", "independent_ac")
each = pytest.mark.parametrize("learner", KINDS)


def played(learner, iterations=30, *, seeds=(0, 1), game_class=Bazaar, **changes):
    """Return a session whose replay buffer is filled and which has not learnt yet."""
    usual = {"num_envs": 4, "learning_starts": 10**9, "n_step": 2, "entropy_start": 0.1, "entropy_end": 0.1}
    return Session(learner, game_class, seeds=seeds, **{**usual, **changes}).run(iterations)


def sampled(agent):
    """Return a batch, its view and its next view."""
    batch = agent._buffer.sample(agent._sampling.uniform(agent.config.batch_size))
    return (batch, *agent._views(batch))


def weights_of(batch, learner):
    """Return the weights of the batch for every member of a learner, (members, 1)."""
    return batch.weights.repeat_interleave(learner.members.separate, dim=0)
