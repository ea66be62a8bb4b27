"""An agent or a market that calls sys.exit affects only its own run, with a message."""

from __future__ import annotations

import json
import sys

import pytest
from typer.testing import CliRunner

from ioa_marl import registry
from ioa_marl.agents.baselines.greedy import GreedyAgent
from ioa_marl.cli import app
from ioa_marl.foundations.errors import UserError
from ioa_marl.training.check import evaluate_checkpoint

SIZE = ("budget=16", "num_envs=4", "evaluation.points=2", "evaluation.episodes=2", "seeds=1")


@pytest.fixture
def leaving():
    """Register an agent that calls sys.exit at a given place."""

    class Leaves(GreedyAgent):
        where = ""

        @classmethod
        def prepared(cls, config, plays, controlled_roles):
            cls.leave("prepared")
            return super().prepared(config, plays, controlled_roles)

        def learn(self):
            self.leave("learn")
            return super().learn()

        def act(self, observations, *, deterministic):
            self.leave("act")
            return super().act(observations, deterministic=deterministic)

        @classmethod
        def leave(cls, place):
            if cls.where == place:
                sys.exit(0)

    registry.register_agent("leaves")(Leaves)
    yield Leaves
    registry._entries["agent"].pop("leaves")


@pytest.mark.parametrize("where", ["learn", "act"])
def test_an_agent_that_exits_fails_and_the_rest_of_the_sweep_goes_on(where, leaving, tmp_path):
    leaving.where = where
    done = CliRunner().invoke(
        app, ["train", "-m", "env=double_dutch", "agent=leaves,greedy", *SIZE, f"runs={tmp_path}"]
    )
    assert done.exit_code == 1, done.output
    assert "ioa-marl: SystemExit: 0" in done.stderr
    rows = {path.parts[-4]: json.loads(path.read_text()) for path in tmp_path.rglob("result.json")}
    assert {agent: row["status"] for agent, row in rows.items()} == {"leaves": "failed", "greedy": "done"}
    assert rows["leaves"]["error"] == "SystemExit: 0"


def test_an_agent_that_exits_before_the_start_is_told(leaving, tmp_path):
    leaving.where = "prepared"
    done = CliRunner().invoke(app, ["train", "env=double_dutch", "agent=leaves", *SIZE, f"runs={tmp_path}"])
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("ioa-marl: agent 'leaves' of ")
    assert done.stderr.endswith("cannot be used: SystemExit: 0\n")
    assert not list(tmp_path.iterdir())


def test_an_agent_that_exits_while_it_is_played_again_is_told(leaving, tmp_path):
    done = CliRunner().invoke(app, ["train", "env=double_dutch", "agent=leaves", *SIZE, f"runs={tmp_path}"])
    assert done.exit_code == 0, done.output
    (folder,) = tmp_path.glob("*/leaves/*/seed_0")
    leaving.where = "act"
    with pytest.raises(UserError, match="cannot be played: SystemExit: 0"):
        evaluate_checkpoint(folder)
    done = CliRunner().invoke(app, ["leaderboard", str(tmp_path), "--verify"])
    assert done.exit_code == 0, done.output
    assert "could not be played again" in done.output
