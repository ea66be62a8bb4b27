"""Several processes train the same run: each seed is trained once, and the other processes wait for it or skip it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import filelock
import pytest
from typer.testing import CliRunner

from ioa_marl.cli import app
from ioa_marl.training.config import resolve
from ioa_marl.training.seeds import train_seeds
from ioa_marl.training.store import InUseError, SeedFolder

SWEEP = ("env=double_dutch", "evaluation.episodes=3", "evaluation.points=2", "num_envs=4")
PATIENCE = 300.0


def rows(runs):
    return {path.parent: json.loads(path.read_text()) for path in runs.rglob("result.json")}


def started_once(runs):
    """Assert that only one process has started each seed."""
    for folder, row in rows(runs).items():
        assert row["status"] == "done", folder
        assert json.loads((folder / "provenance.json").read_text())["earlier"] == []


def copies_of_one_sweep(runs, copies):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "ioa_marl", "train", "-m", *SWEEP, f"runs={runs}", "agent=greedy,two_phase",
               "budget=4000", "seeds=6"]  # fmt: skip
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        for _ in range(copies)
    ]
    said = [process.communicate(timeout=PATIENCE)[0] for process in running]
    assert [process.returncode for process in running] == [0] * copies, said
    assert len(rows(runs)) == 12
    started_once(runs)
    return said


def test_copies_of_the_same_sweep_share_the_work_and_end_well(tmp_path):
    copies_of_one_sweep(tmp_path, 3)


@pytest.mark.slow
def test_ten_copies_of_the_same_sweep_share_the_work_and_end_well(tmp_path):
    copies_of_one_sweep(tmp_path, 10)


def test_jobs_of_one_sweep_that_are_the_same_run_are_run_once(tmp_path):
    done = CliRunner().invoke(
        app,
        ["train", "-m", *SWEEP, f"runs={tmp_path}", "agent=random,oracle", "budget=1000,2000", "seeds=2",
         "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert len(rows(tmp_path)) == 4, "what does not learn is the same run with any budget"
    started_once(tmp_path)


def described(runs, seeds):
    env = {"name": "double_dutch", "preset": "paper"}
    size = {"budget": 16, "num_envs": 4, "device": "cpu", "evaluation": {"points": 2, "episodes": 3}}
    return resolve({"env": env, **size, "agent": {"name": "greedy"}, "seeds": seeds, "runs": str(runs)})


def test_overlapping_seeds_of_two_processes_are_trained_once_and_nobody_waits_for_ever(tmp_path):
    """Each process has the seed that the other one waits for, and unlocks it before waiting."""
    first, second = described(tmp_path, [0, 1, 2]), described(tmp_path, [2, 1, 0, 3])
    workers = [threading.Thread(target=train_seeds, args=(spec, spec.seeds)) for spec in (first, second)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
        assert not worker.is_alive()
    assert len(rows(tmp_path)) == 4
    started_once(tmp_path)


def test_who_is_interrupted_while_it_locks_lets_go_of_everything(tmp_path, monkeypatch):
    spec = described(tmp_path, [0, 1, 2])
    lock, locked = SeedFolder.lock, []

    def interrupted(self):
        lock(self)
        locked.append(self.path)
        if len(locked) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SeedFolder, "lock", interrupted)
        with pytest.raises(KeyboardInterrupt) as held:  # which keeps the frames, and the locks in them, alive
            train_seeds(spec, spec.seeds)
    assert len(locked) == 2
    assert not spec.folder.exists(), "nothing came of it"
    train_seeds(spec, spec.seeds)
    started_once(tmp_path)
    assert len(rows(tmp_path)) == 3
    del held


def test_a_lock_that_its_owner_removes_protects_nobody(tmp_path):
    """The owner removes an empty folder while another process is about to lock the file in it."""
    path = tmp_path / "seed_0"
    acquire, removed = filelock.FileLock.acquire, []

    def late(self, *arguments, **keywords):
        if not removed:  # the file that is locked is gone a moment later
            proxy = acquire(self, *arguments, **keywords)
            removed.append((path / ".lock").unlink())
            return proxy
        return acquire(self, *arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filelock.FileLock, "acquire", late)
        one = SeedFolder(path)
        one.lock()
    with pytest.raises(InUseError):
        SeedFolder(path).lock()
    one.unlock()
