"""Folders that are renamed or removed while a command uses them: one line, and no incomplete folder is created."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ioa_marl import registry
from ioa_marl.agents.baselines.greedy import GreedyAgent
from ioa_marl.cli import app

RUN = ["env=double_dutch", "seeds=2", "budget=24", "num_envs=4", "evaluation.points=2", "evaluation.episodes=3"]


@pytest.fixture
def meanwhile(monkeypatch, tmp_path):
    """Register an agent that changes the folder of the run at its fourth step, between the two evaluations."""
    acts = []

    class Disturbed(GreedyAgent):
        def learn(self):
            self.steps = getattr(self, "steps", 0) + 1
            if self.steps == 4 and acts:
                acts.pop()()
            return super().learn()

    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    registry.register_agent("disturbed")(Disturbed)
    yield acts.append
    registry._entries["agent"].pop("disturbed")
    os.chdir(tmp_path)


def train(*arguments):
    done = CliRunner().invoke(app, ["train", *RUN, *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def seed(number):
    return next(Path("runs").glob(f"*/disturbed/*/seed_{number}"))


GONE = {
    "store removed": lambda: shutil.rmtree("runs"),
    "store renamed": lambda: Path("runs").rename("moved"),
    "run renamed": lambda: seed(0).parent.rename(seed(0).parent.with_name("old")),
    "first seed removed": lambda: shutil.rmtree(seed(0)),
    "last seed renamed": lambda: seed(1).rename(seed(1).with_name("old")),
    "seed replaced by another": lambda: (
        shutil.copytree(seed(1), "copy"),
        shutil.rmtree(seed(1)),
        Path("copy").rename(seed(0).parent / "seed_1"),
    ),
    "working folder removed": lambda: shutil.rmtree(Path.cwd()),
}


OF_ONE_SEED = {"first seed removed": (0, 1), "last seed renamed": (1, 0), "seed replaced by another": (1, 0)}
"""A change to the folder of one seed, the number of that seed, and that of the other."""


@pytest.mark.parametrize("what", GONE)
def test_a_folder_that_goes_away_while_training_ends_in_one_line(what, meanwhile, tmp_path):
    left = []

    def act():
        GONE[what]()
        left.extend(files(tmp_path))

    meanwhile(act)
    done = train("agent=disturbed")
    assert done.exit_code == 2
    assert done.stderr.startswith("ioa-marl: ")
    assert "was renamed or removed" in done.stderr
    assert done.stderr.count("\n") == 1
    if what in OF_ONE_SEED:
        gone, other = (f"seed_{number}/" for number in OF_ONE_SEED[what])
        (row,) = tmp_path.rglob(f"runs/*/*/*/{other}result.json")
        result = json.loads(row.read_text())
        assert result["status"] == "done", "the other seed goes on"
        assert [name for name in files(tmp_path) if gone in name] == [name for name in left if gone in name]
    else:
        assert files(tmp_path) == left, "nothing comes back where it was taken from"


def test_the_next_job_of_a_sweep_whose_working_folder_is_gone_is_told_in_one_line(meanwhile):
    meanwhile(lambda: shutil.rmtree(Path.cwd()))
    done = train("-m", "agent=disturbed,greedy")
    lines = done.stderr.splitlines()
    assert done.exit_code == 2
    assert all(line.startswith("ioa-marl: ") and "was renamed or removed" in line for line in lines), done.stderr
    assert len(lines) == 2


@pytest.mark.parametrize(("setting", "said"), [("n_jobs=0", "n_jobs"), ("n_jobs=zero", "n_jobs=zero")])
def test_a_launcher_that_cannot_be_set_up_is_told_in_one_line(setting, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = train("-m", "agent=greedy", "hydra/launcher=joblib", f"hydra.launcher.{setting}")
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert files(tmp_path) == []
