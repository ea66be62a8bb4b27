"""An agent that was saved and goes on in a new process does what it would have done, to the bit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import sessions
from learners import every
from sessions import bazaar, differing

from ioa_marl.foundations import checkpoint

STEPS = 33
"""Not a multiple of anything: rollouts, windows and rings are half full."""


@every()
def test_saved_agent_goes_on_in_a_new_process_to_the_bit(learner, tmp_path):
    halfway, ended = tmp_path / "halfway.safetensors", tmp_path / "ended.safetensors"
    session = bazaar(learner).run(STEPS)
    checkpoint.save(halfway, session.tree())
    subprocess.run(
        [sys.executable, sessions.__file__, learner, str(halfway), str(ended), str(STEPS)], check=True, timeout=120
    )
    assert differing(session.run(STEPS).tree(), checkpoint.load(ended)) == []
    assert differing(checkpoint.load(halfway)["agent"][0], checkpoint.load(ended)["agent"][0])


@every()
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_agent_can_be_saved_before_it_has_learnt_anything(learner, steps, tmp_path):
    session = bazaar(learner).run(steps)
    checkpoint.save(tmp_path / "early", session.tree())
    other = bazaar(learner).run(3).load(checkpoint.load(tmp_path / "early"))
    assert differing(session.run(20).tree(), other.run(20).tree()) == []


@every()
def test_seed_can_go_on_at_another_place_beside_other_seeds(learner):
    session, moved = bazaar(learner, [0, 1, 2]).run(20), bazaar(learner, [7, 2])
    saved = session.tree()
    for key in ("game", "agent"):
        saved[key] = [bazaar(learner, [7]).run(20).tree()[key][0], saved[key][2]]
    moved.load(saved)
    for trained in (session, moved):
        trained.run(20)
    assert differing(session.agent.state_dict(2), moved.agent.state_dict(1)) == []


@every()
def test_policy_state_is_all_that_playing_needs(learner, tmp_path):
    trained, fresh = bazaar(learner).run(40), bazaar(learner)
    draws = np.random.default_rng(0)
    seen = {"player": draws.random((2, 50, 2, 3), np.float32), "rival": draws.random((2, 50, 1, 3), np.float32)}
    wanted = trained.agent.act(seen, deterministic=True)
    before = fresh.agent.act(seen, deterministic=True)
    assert any(not np.array_equal(before[role], wanted[role]) for role in seen)
    for i in (0, 1):
        checkpoint.save(tmp_path / "policy", trained.agent.policy_state(i))
        fresh.agent.load_policy_state(i, checkpoint.load(tmp_path / "policy"))
        assert checkpoint.difference(fresh.agent.policy_state(i), checkpoint.load(tmp_path / "policy")) is None
    after = fresh.agent.act(seen, deterministic=True)
    assert all(np.array_equal(after[role], wanted[role]) for role in seen)
