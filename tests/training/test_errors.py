"""What a person can do wrong ends in one line, exit status 2, and nothing written.

Most cases run in this process, through the function that the command is; a few run the command itself.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ioa_marl.agents.learners.sac import SACConfig
from ioa_marl.cli import app
from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.foundations.errors import ParameterError, UserError
from ioa_marl.training.compose import planned
from ioa_marl.training.config import resolve

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
        (
            ["env=double_dutch", "agent=mappo", "agent.minibatches=2049"],
            ["minibatches=2049", "1 to 2048", "auctioneer"],
        ),
        ([*ALWAYS, "roles.buyer.agent=mappo"], ["budget=640", "at least 2048", "mappo first learns in the role buyer"]),
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
        # Several mistakes are told at once.
        (
            ["env=double_dutch", "agent=sac", "agent.lr=1", "agent.gama=3"],
            ["agent.lr", "actor_lr or critic_lr", "agent.gama", "gamma?"],
        ),
        (
            [*ALWAYS, "bugdet=5", "episodes=3", "env.byers=2"],
            ["budget?", "evaluation.episodes or evaluation.final_episodes?", "unknown key env.byers: did you mean"],
        ),
        ([*ALWAYS, "budget=x", "num_envs=0", "seeds=-1"], ["budget=x", "num_envs=0", "seeds=-1"]),
        (
            ["env=double_dutch", "agent=sac", "agent.gamma=[0.9,0.99]", "agent.depth=x"],
            ["agent.gamma=0.9,0.99 with -m", "agent.depth=x"],
        ),
        (["env=double_duch", "agent=pppo"], ["double_dutch", "ppo"]),
        # What Hydra's own words do not explain.
        ([*ALWAYS, "roles=1"], ["roles=1", "roles.ROLE.agent=NAME"]),
        ([*ALWAYS, "roles.buyer=sac"], ["use roles.buyer.agent=sac"]),
        ([*ALWAYS, "roles={buyer: sac}"], ["roles.ROLE.agent=NAME"]),
        ([*ALWAYS, "roles.buyer.agent.gamma=1"], ["roles.buyer.agent=NAME"]),
        ([*ALWAYS, "~roles.buyer.agent"], ["roles.buyer.agent is not set"]),
        ([*ALWAYS, "~budget"], ["~budget", "cannot be left out"]),
        ([*ALWAYS, "~agent.settings"], ["cannot be left out"]),
        ([*ALWAYS, "~env"], ["~env"]),
        (["env=double_dutch", "agent=sac", "~agent.gamma"], ["~agent.gamma"]),
        ([*ALWAYS, "evaluation=null"], ["evaluation=null", "default"]),
        ([*ALWAYS, "evaluation={episodes: 3}"], ["evaluation.KEY=VALUE"]),
        (["env=null", "agent=random"], ["env=null", "double_dutch"]),
        (["env=double_dutch", "agent=null"], ["agent is not set"]),
        (["env=double_dutch", "agent=[]"], ["agent=[]", "one name"]),
        (["env=double_dutch", "agent=[sac,ppo]"], ["agent=sac,ppo with -m"]),
        (["env=double_dutch", "agent=1e5"], ["agent=", "one name"]),
        (["env=double_dutch", "agent=sac", "agent=ppo"], ["given twice"]),
        (["env=double_dutch", "agent.gamma=0.5"], ["agent is not set"]),
        (["env=double_dutch", "agent=sac", "agent.name=ppo"], ["choose it with agent=ppo"]),
        (["env=double_dutch", "agent=sac", "+agent.gamma=0.5"], ["write agent.gamma=0.5"]),
        ([*ALWAYS, "runs=null"], ["runs=null", "folder"]),
        ([*ALWAYS, "runs=[a,b]"], ["runs=", "folder"]),
        ([*ALWAYS, "budget=${nope}"], ["budget has no value", "nope"]),
        ([*ALWAYS, "budget=${budget}"], ["budget has no value"]),
        ([*ALWAYS, "budget.x=1"], ["budget has one value"]),
        ([*ALWAYS, "agent@roles=sac"], ["roles.ROLE.agent=NAME"]),
        ([*ALWAYS, "roles.auctioneer.agent=null"], ["roles.auctioneer.agent=NAME"]),
        ([*ALWAYS, "+mine=1"], ["--config-dir DIR +GROUP=NAME"]),
        # What the grammar of overrides eats.
        ([*ALWAYS, "β=1"], ["β=1", "letters"]),
        ([*ALWAYS, "budget=1#2"], ["budget=1#2", "whole number"]),
        ([*ALWAYS, "seeds=[1,2"], ["seeds=[1,2", "seeds=[3,7]"]),
        ([*ALWAYS, "-m", "env.buyers=(1,2"], ["env.buyers=(1,2", "quotes"]),
        ([*ALWAYS, "budget=" + "1" * 5000], ["characters"]),
        ([*ALWAYS, "seeds=[" + "1," * 5000], ["characters"]),
        ([*ALWAYS, "env.observation=a\nb\x1b[31m"], ["a\\nb\\x1b[31m"]),
        ([*ALWAYS, ""], ["empty argument"]),
        (["env=double_dutch", "agent=ppo,", "sac"], ["agent=ppo,sac"]),
        # Every value of these sweeps is legal, and the whole is not what was meant.
        ([*ALWAYS, "-m", "seeds=0,1,2"], ["seeds=[0,1,2]"]),
        ([*ALWAYS, "seeds=0,1,2"], ["seeds=[0,1,2]"]),
        ([*ALWAYS, "-m", "seeds=range(3)"], ["seeds=[0,1,2]"]),
        ([*ALWAYS, "-m", "seeds=choice(3,[4])"], ["seeds=[3,[4]]"]),
        ([*ALWAYS, "-m", "runs=a,b"], ["""'runs="a,b"'"""]),
        ([*ALWAYS, "-m", "device=cuda:0,cuda:1"], ["device=cuda:0 seeds="]),
        ([*ALWAYS, "-m", "budget=100,000"], ["budget=100000"]),
        ([*ALWAYS, "budget=[1000,2000]"], ["budget=1000,2000 with -m"]),
        ([*ALWAYS, "-m", "env.level=30,50"], ["env.level=[30,50]"]),
        ([*ALWAYS, "-m", "budget=interval(1,9)"], ["list or a range"]),
        ([*ALWAYS, "-m", "budget=range(1,1e9)"], ["at most"]),
        ([*ALWAYS, "-m", "budget=range(0,10,0)"], ["at most"]),
        ([*ALWAYS, "-m", "budget=range(9,1)"], ["no values"]),
        ([*ALWAYS, "-m", "budget=range(1000,1900)", "num_envs=range(1,500)"], ["jobs", "at most"]),
        ([*ALWAYS, "-m", "agent=glob(zz*)"], ["matches nothing"]),
        ([*ALWAYS, "-m", "budget=glob(*)"], ["agent=glob(*)"]),
        # Hydra's own settings, and options.
        ([*ALWAYS, "hydra/launcher=joblib"], ["add -m"]),
        ([*ALWAYS, "-m", "hydra/launcher=joblb"], ["did you mean joblib"]),
        ([*ALWAYS, "-m", "hydra.launcher.n_jobs=2"], ["hydra/launcher=joblib"]),
        ([*ALWAYS, "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=x"], ["Integer"]),
        ([*ALWAYS, "-m", "hydra.swep.dir=x"], ["did you mean sweep"]),
        ([*ALWAYS, "-m", "hydra.sweep.dir=a,b"], ["one value"]),
        ([*ALWAYS, "-m", "hydra/sweeper=optuna"], ["basic"]),
        ([*ALWAYS, "~hydra"], ["~hydra"]),
        ([*ALWAYS, "--budget=5"], ["write budget=5"]),
        ([*ALWAYS, "--cfg"], ["--cfg job"]),
        ([*ALWAYS, "--cfg", "x"], ["job or hydra or all"]),
        ([*ALWAYS, "--config-dir", "nowhere"], ["nowhere is not a folder"]),
        ([*ALWAYS, "-m", "env.buyers=5,6", "--cfg", "job"], ["shows one job"]),
    ],
    ids=lambda value: " ".join(value)[:80] if isinstance(value, list) else None,
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


@pytest.mark.parametrize(
    "name", ["a=b", "a#b", "50%", "(a)", "é", "a b", "a,b", "~a", "[a", "1", "true", "a:b", "$a", "a\\"]
)
def test_a_folder_may_have_any_name(name, tmp_path):
    folder = tmp_path / name
    assert planned([*ALWAYS, f"runs={folder}"]).specs[0].runs == folder
    assert planned([*ALWAYS, f"runs={name if name[0] != '[' else './' + name}"]).specs[0].runs == Path(name)


def test_the_home_folder_is_meant_by_its_sign(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert planned([*ALWAYS, "runs=~/x"]).specs[0].runs == tmp_path / "x"


def test_a_job_gets_the_text_that_was_typed(ioa_marl, tmp_path):
    done = ioa_marl("train", *ALWAYS, "runs=a=b #1 (é),50%")
    assert done.exit_code == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a=b #1 (é),50%"]


def test_whole_numbers_in_e_notation_are_whole():
    spec = planned(
        ["env=double_dutch", "agent=sac", "budget=1e5", "num_envs=3.2e1", "seeds=[1e1,2]", "agent.batch_size=1e2",
         "env.buyers=1e1", "evaluation.episodes=1e1"]
    ).specs[0]  # fmt: skip
    plain = planned(
        ["env=double_dutch", "agent=sac", "budget=100000", "num_envs=32", "seeds=[10,2]", "agent.batch_size=100",
         "env.buyers=10", "evaluation.episodes=10"]
    ).specs[0]  # fmt: skip
    assert spec == plain
    assert spec.digest == plain.digest
    assert [planned(["-m", *ALWAYS, "budget=range(1e3,3e3,1e3)"]).specs[i].budget for i in (0, 1)] == [1000, 2000]
    level = planned(["env=second_bid", "agent=constant_rho", "agent.settings.level=1e0"])
    assert level.specs[0].agents[0].config.settings["level"] == 1


def test_numbers_of_numpy_are_numbers():
    values = {
        "env": {"name": "double_dutch", "preset": "paper", "buyers": np.int64(5), "psi": np.float32(0.25),
                "level": np.array([30.0, 50.0])},
        "agent": {"name": "sac", "batch_size": np.int32(32), "gamma": np.float64(0.5)},
        "budget": np.int64(5000), "num_envs": np.uint8(8), "seeds": np.arange(3), "device": "cpu", "runs": "runs",
        "evaluation": {"episodes": np.int16(2), "points": 1}, "roles": {},
    }  # fmt: skip
    spec = resolve(values)
    assert json.loads(json.dumps(spec.resolved())) == spec.resolved()
    assert (spec.budget, spec.num_envs, spec.seeds, spec.env_config.buyers) == (5000, 8, (0, 1, 2), 5)
    assert spec.env_config.level == (30.0, 50.0)
    with pytest.raises(UserError, match=r"budget=1\.5"):
        resolve({**values, "budget": np.float64(1.5)})
    with pytest.raises(UserError, match="seeds="):
        resolve({**values, "seeds": np.array([0.5])})
    with pytest.raises(UserError, match=r"env\.buyers=0"):
        resolve({**values, "env": {**values["env"], "buyers": np.int64(0)}})


def test_configurations_hold_python_numbers_whatever_they_were_given():
    config = SACConfig(gamma=np.float64(0.5), batch_size=np.int64(32))
    assert (type(config.gamma), type(config.batch_size)) == (float, int)
    market = DoubleDutchGame.make_config("paper", buyers=np.int64(4), psi=np.float32(0.5))
    assert (type(market.buyers), type(market.psi)) == (int, float)
    with pytest.raises(ParameterError, match="gamma"):
        SACConfig(gamma=np.float64("nan"))


@pytest.mark.parametrize("missing", ["budget", "num_envs", "seeds", "device", "runs", "evaluation", "env"])
def test_a_configuration_that_lacks_a_key_is_told(missing):
    values = {
        "env": {"name": "double_dutch", "preset": "paper"}, "agent": {"name": "random"}, "budget": 640, "num_envs": 8,
        "seeds": 1, "device": "cpu", "runs": "runs", "evaluation": {}, "roles": {},
    }  # fmt: skip
    resolve(values)
    with pytest.raises(UserError, match=f"{missing} is"):
        resolve({key: value for key, value in values.items() if key != missing})
