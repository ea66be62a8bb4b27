"""What a person can do wrong ends in one line, exit status 2, and nothing written.

Most cases run in this process, through the function that the command is; a few run the command itself.
"""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from ioa_marl.cli import app

ALWAYS = ["env=double_dutch", "agent=random", "seeds=1", "budget=640", "evaluation.episodes=2"]


@pytest.fixture
def ioa_marl(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["env=double_duch", "agent=ppo"], ["double_duch", "double_dutch"]),
        (["env=double_dutch/clam", "agent=ppo"], ["env=double_dutch/clam", "double_dutch/calm"]),
        (["env=double_dutch", "agent=ppoo"], ["ppoo", "ppo"]),
        (["env=double_dutch", "agent=sac/papre"], ["agent=sac/papre", "use sac"]),
        (["agent=ppo"], ["env is not set", "double_dutch"]),
        (["env=double_dutch"], ["agent is not set", "ppo"]),
        ([*ALWAYS, "bugdet=5"], ["bugdet", "budget"]),
        ([*ALWAYS, "env.byers=5"], ["env.byers", "buyers"]),
        (["env=double_dutch", "agent=sac", "agent.actr_lr=5"], ["agent.actr_lr", "actor_lr"]),
        ([*ALWAYS, "+agent.zzz=1"], ["agent.zzz=1"]),
        ([*ALWAYS, "env.buyers=many"], ["env.buyers=many", "Integer"]),
        ([*ALWAYS, "env.buyers=0"], ["env.buyers=0", "1 to 100000"]),
        ([*ALWAYS, "env.psi=2"], ["env.psi=2", "0 to 1"]),
        ([*ALWAYS, "env.tick=nan"], ["env.tick=nan", "a number from"]),
        ([*ALWAYS, "env.max_ticks=10"], ["env.max_ticks=10", "at least 341"]),
        ([*ALWAYS, "env.observation=all"], ["env.observation=all", "paper or extended"]),
        ([*ALWAYS, "env.preset=calm"], ["env.preset=calm", "env=NAME/calm"]),
        ([*ALWAYS, "budget=-5"], ["budget=-5", "from 1"]),
        ([*ALWAYS, "budget=10"], ["budget=10", "num_envs=64"]),
        ([*ALWAYS, "budget=1.5"], ["budget=1.5", "whole number"]),
        (["env=double_dutch", "agent=ppo", "budget=2000"], ["budget=2000", "at least 2048", "ppo", "auctioneer"]),
        (["env=double_dutch", "agent=sac", "budget=1000"], ["budget=1000", "at least 1024", "sac", "auctioneer"]),
        ([*ALWAYS, "roles.buyer.agent=mappo"], ["budget=640", "at least 2048", "mappo first learns as buyer"]),
        ([*ALWAYS, "-m", "agent=random,maddpg"], ["budget=640", "at least 1024", "maddpg"]),
        ([*ALWAYS, "seeds=0"], ["seeds=0"]),
        ([*ALWAYS, "seeds=[1,1]"], ["seeds=[1, 1]", "different"]),
        ([*ALWAYS, "num_envs=0"], ["num_envs=0"]),
        ([*ALWAYS, "device=tpu"], ["device=tpu", "cpu or cuda"]),
        ([*ALWAYS, "evaluation.episodes=0"], ["evaluation.episodes=0"]),
        ([*ALWAYS, "roles.byer.agent=random"], ["byer", "buyer"]),
        ([*ALWAYS, "roles.buyer.agent=two_phase"], ["two_phase", "buyer", "truthful"]),
        ([*ALWAYS, "roles.buyer.agent=nobody"], ["nobody"]),
        (["env=double_dutch", "agent=sac", "agent.gamma=2"], ["agent.gamma=2", "0 to 1"]),
        (["env=double_dutch", "agent=sac", "agent.batch_size=0"], ["agent.batch_size=0", "from 1"]),
        (["env=double_dutch", "agent=two_phase", "agent.settings.coarse=7"], ["coarse=7", "one of"]),
        (["env=double_dutch", "agent=two_phase", "+agent.settings.speed=7"], ["speed=7", "coarse"]),
        (["env=double_dutch", "agent=ppo,sac"], ["agent=ppo,sac", "-m"]),
        ([*ALWAYS, "-m", "env.buyers=5,0"], ["env.buyers=0"]),
        ([*ALWAYS, "--fast"], ["--fast"]),
        ([*ALWAYS, "nonsense"], ["nonsense"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_train_refuses_in_one_line(ioa_marl, arguments, said, tmp_path):
    done = ioa_marl("train", *arguments)
    assert done.exit_code == 2, done.output
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("ioa-marl: ")
    for part in said:
        assert part in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["leaderboard", "nowhere"], "nowhere"),
        (["evaluate", "nowhere"], "nowhere"),
        (["evaluate", "nowhere/checkpoint/latest.safetensors"], "nowhere"),
    ],
)
def test_missing_folders_are_named_in_one_line(ioa_marl, arguments, said, tmp_path):
    done = ioa_marl(*arguments)
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_checkpoint_is_named_in_one_line(ioa_marl, tmp_path):
    (tmp_path / "latest.safetensors").write_bytes(b"not a checkpoint")
    done = ioa_marl("evaluate", "latest.safetensors")
    assert done.exit_code == 2
    assert "latest.safetensors cannot be read" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("arguments", [["agent=nobody"], []], ids=["unknown agent", "a file in the place of the store"])
def test_the_command_itself_tells_one_line_without_a_traceback(arguments, tmp_path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    command = [sys.executable, "-P", "-m", "ioa_marl", "train", *ALWAYS, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "nobody" in done.stderr or "cannot write" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert (tmp_path / "runs").read_text() == "a file where the folder should be"
