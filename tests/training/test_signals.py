"""All signals that ask a command to stop have the same effect: one line, an exit status, and a run that can resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import filelock
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from ioa_marl import registry
from ioa_marl.agents.baselines.greedy import GreedyAgent
from ioa_marl.cli import app
from ioa_marl.foundations import checkpoint, interrupts
from ioa_marl.training import workers

SAID = "ioa-marl: train was interrupted; run it again to go on\n"
RUN = ["env=double_dutch", "seeds=2", "budget=24", "num_envs=4", "evaluation.points=2", "evaluation.episodes=3"]
LONG = ["env=double_dutch", "seeds=2", "budget=10000000", "num_envs=4", "evaluation.points=10", "evaluation.episodes=3"]
PATIENCE = 120.0
"""Time limit for a process [s]."""
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture
def called_away(monkeypatch):
    """Register an agent with a one-time action at its fourth step, and return a function that sets the action."""
    acts = []

    class CalledAway(GreedyAgent):
        def learn(self):
            self.steps = getattr(self, "steps", 0) + 1
            if self.steps == 4 and acts:
                acts.pop()()
            return super().learn()

    registry.register_agent("called_away")(CalledAway)
    yield acts.append
    registry._entries["agent"].pop("called_away")


def train(runs, *arguments):
    done = CliRunner().invoke(app, ["train", *RUN, f"runs={runs}", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def seed_folders(runs):
    return sorted(Path(runs).glob("*/*/*/seed_*"))


def statuses(runs):
    return [json.loads((folder / "result.json").read_text())["status"] for folder in seed_folders(runs)]


def send(number):
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", STATUS, ids=lambda number: number.name)
def test_a_signal_ends_in_one_line_and_the_run_goes_on_to_the_same_bits(number, called_away, tmp_path):
    usual = signal.getsignal(number)
    called_away(send(number))
    stopped = train(tmp_path / "stopped", "agent=called_away")
    assert stopped.exit_code == STATUS[number]
    assert stopped.stderr == SAID
    assert statuses(tmp_path / "stopped") == ["interrupted", "interrupted"]
    for folder in seed_folders(tmp_path / "stopped"):
        assert json.loads((folder / "result.json").read_text())["error"] == f"Interrupted: {number.name}"
    assert signal.getsignal(number) is usual, "a notebook that calls the command keeps its own handlers"
    train(tmp_path / "stopped", "agent=called_away")
    train(tmp_path / "whole", "agent=called_away")
    assert statuses(tmp_path / "stopped") == ["done", "done"]
    for one, two in zip(seed_folders(tmp_path / "stopped"), seed_folders(tmp_path / "whole"), strict=True):
        assert pq.read_table(one / "evaluation.parquet").equals(pq.read_table(two / "evaluation.parquet"))
        saved = [checkpoint.load(folder / "checkpoint" / "latest.safetensors") for folder in (one, two)]
        for state in saved:
            state.pop("train_seconds")
        assert checkpoint.digest(saved[0]) == checkpoint.digest(saved[1])


@pytest.mark.parametrize("number", STATUS, ids=lambda number: number.name)
def test_a_signal_that_is_ignored_at_the_start_stays_ignored(number, called_away, tmp_path):
    usual = signal.signal(number, signal.SIG_IGN)  # as nohup does it, and a shell for what it runs in the background
    try:
        called_away(send(number))
        done = train(tmp_path, "agent=called_away")
    finally:
        signal.signal(number, usual)
    assert done.exit_code == 0
    assert statuses(tmp_path) == ["done", "done"]


def test_a_signal_in_a_callback_that_swallows_exceptions_is_not_lost(called_away, tmp_path):
    class Thing:
        pass

    def swallowed():
        thing = Thing()
        weakref.finalize(thing, lambda: None)
        keep = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        del thing
        assert keep() is None
        time.sleep(20 * interrupts.AGAIN)

    called_away(swallowed)
    done = train(tmp_path, "agent=called_away")
    assert done.exit_code == 143
    assert done.stderr == SAID


def test_a_signal_that_something_takes_for_an_error_of_its_own_is_told_as_a_signal(called_away, tmp_path):
    def mistaken():
        try:
            send(signal.SIGTERM)()
        except BaseException as error:
            raise ValueError("cannot import something") from error

    called_away(mistaken)
    done = train(tmp_path, "agent=called_away")
    assert done.exit_code == 143
    assert done.stderr == SAID


def started(folder, *arguments, **more):
    """Start the command with a pipe for each output stream."""
    command = [sys.executable, "-P", "-m", "ioa_marl", *arguments]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **more
    )


def wait_until(condition, process):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running(runs, count):
    return lambda: len(list(runs.glob("*/*/*/*/result.json"))) == count


def of_session(leader):
    """Return the processes of a session that are alive."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def test_the_command_itself_ends_by_sigterm_in_one_line(tmp_path):
    process = started(tmp_path, "train", *LONG, "agent=greedy")
    wait_until(running(tmp_path / "runs", 2), process)
    process.terminate()
    said = process.communicate(timeout=PATIENCE)
    assert said == ("", SAID)
    assert process.returncode == 143
    assert statuses(tmp_path / "runs") == ["interrupted", "interrupted"]


@pytest.mark.slow
@pytest.mark.parametrize("everybody", [False, True], ids=["the command only", "the workers as well"])
@pytest.mark.parametrize("number", STATUS, ids=lambda number: number.name)
def test_workers_of_a_sweep_are_interrupted_and_none_is_left(number, everybody, tmp_path):
    sweep = ["-m", "agent=greedy", "num_envs=4,8,16", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    process = started(tmp_path, "train", *LONG, *sweep)
    wait_until(running(tmp_path / "runs", 4), process)
    (os.killpg if everybody else os.kill)(process.pid, number)
    begun = time.monotonic()
    said = process.communicate(timeout=PATIENCE)
    assert said == ("", SAID)
    assert process.returncode == STATUS[number]
    assert time.monotonic() - begun < 2 * workers.PATIENCE
    assert statuses(tmp_path / "runs") == ["interrupted"] * 4
    wait_until(lambda: of_session(process.pid) == [], subprocess.Popen(["sleep", "30"]))


@pytest.mark.slow
def test_workers_of_a_killed_command_record_an_interruption_and_end(tmp_path):
    sweep = ["-m", "agent=greedy", "num_envs=4,8", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    process = started(tmp_path, "train", *LONG, *sweep)
    wait_until(running(tmp_path / "runs", 4), process)
    process.kill()
    process.communicate(timeout=PATIENCE)
    wait_until(lambda: of_session(process.pid) == [], subprocess.Popen(["sleep", str(2 * workers.PATIENCE)]))
    assert statuses(tmp_path / "runs") == ["interrupted"] * 4


STUCK = """
import time

from ioa_marl.foundations import interrupts

interrupts.install(kill_by_another=True)
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("cleaning up", flush=True)
    time.sleep(60)
"""


def test_a_second_signal_kills_at_once_and_an_echo_of_the_first_does_not():
    process = subprocess.Popen([sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    assert process.stdout.readline() == "cleaning up\n"
    process.terminate()  # GNU timeout sends it twice
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(interrupts.ECHO + 0.2)
    process.terminate()
    assert process.communicate(timeout=5) == ("", "")
    assert process.returncode == 143


def test_a_worker_that_is_stuck_is_not_waited_for_without_end(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "PATIENCE", 0.3)
    child = subprocess.Popen(
        [
            sys.executable, "-c",
            "import os, signal, sys, time, filelock; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
            "lock = filelock.FileLock(f'{os.getpid()}.worker'); lock.acquire(); print('ready', flush=True);"
            "time.sleep(60)",
        ],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout.readline() == "ready\n"
    begun = time.monotonic()
    workers.stop(tmp_path)
    assert 0.3 <= time.monotonic() - begun < 5
    child.kill()
    child.communicate()


def test_a_worker_that_is_gone_is_not_signalled(tmp_path):
    path = tmp_path / f"{os.getpid()}.worker"  # as if another process had got its number
    with filelock.FileLock(path):
        pass
    path.touch()
    workers.stop(tmp_path)
