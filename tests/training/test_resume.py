"""A run that is killed at any moment and started again has the same result to the bit."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import filelock
import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors
import safetensors.numpy
import torch
from typer.testing import CliRunner

from ioa_marl import registry
from ioa_marl.agents.baselines.greedy import GreedyAgent
from ioa_marl.cli import app
from ioa_marl.foundations import checkpoint
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.paths import cache_folder
from ioa_marl.training.config import resolve
from ioa_marl.training.seeds import train_seeds

LEARNERS = {
    "sac": {"learning_starts": 100, "batch_size": 32, "width": 16},
    "ppo": {"rollout_size": 256, "n_epochs": 2},
}
LONG = {"budget": 3200, "num_envs": 16, "evaluation": {"points": 8, "episodes": 5}}
SHORT = {"budget": 24, "num_envs": 4, "evaluation": {"points": 2, "episodes": 3}}
"""A very short run that writes all files of longer ones; its two evaluations differ."""
PATIENCE = 120.0
"""Time limit for a process [s]."""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Share the cache among all processes of these tests."""
    folder = tmp_path_factory.mktemp("cache")
    compiled = cache_folder() / "numba"  # by this process already
    if compiled.is_dir():
        (folder / "numba").symlink_to(compiled.resolve())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IOA_MARL_CACHE", str(folder))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


def described(runs, agent="greedy", seeds=2, size=SHORT):
    """Return a run as the command would understand it."""
    fixed = {"env": {"name": "double_dutch", "preset": "paper"}, "device": "cpu"}
    return resolve(
        {**fixed, **size, "agent": {"name": agent, **LEARNERS.get(agent, {})}, "seeds": seeds, "runs": str(runs)}
    )


def settings(agent="greedy", seeds=2, size=SHORT):
    """Return the arguments of the command for the same run."""
    nested = {"agent": {"": agent, **LEARNERS.get(agent, {})}, "seeds": {"": seeds}}
    for key, value in size.items():
        nested[key] = value if isinstance(value, dict) else {"": value}
    return [f"{f'{key}.{sub}'.strip('.')}={x}" for key, values in nested.items() for sub, x in values.items()]


def command(runs, *arguments):
    return [sys.executable, "-P", "-m", "ioa_marl", "train", "env=double_dutch", f"runs={runs}", *arguments]


def train(runs, agent="greedy", seeds=2):
    """Train without the command."""
    spec = described(runs, agent, seeds)
    train_seeds(spec, spec.seeds)


def tell(runs, *arguments, status=0):
    """Run the command in this process, and return its output on stderr."""
    done = CliRunner().invoke(app, ["train", "env=double_dutch", f"runs={runs}", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == status, done.stderr
    return done.stderr


def folders(runs):
    """Return the folders of all seeds by seed number."""
    return {int(path.name.removeprefix("seed_")): path for path in sorted(Path(runs).glob("*/*/*/seed_*"))}


def result(folder):
    return json.loads((folder / "result.json").read_text())


def tensors_and_tree(path):
    """Return the arrays of a checkpoint by name, and the rest without what measures time."""
    with safetensors.safe_open(path, framework="numpy") as file:
        tree = json.loads(file.metadata()["tree"])
    tree.pop("train_seconds", None)
    return {name: (a.dtype, a.shape, a.tobytes()) for name, a in safetensors.numpy.load_file(path).items()}, tree


MEASURED = ("train_seconds", "steps_per_second", "seeds_together", "files", "checksum")
"""Keys with measurements of time, or with checksums that depend on them."""


def assert_same_outcome(folder, other):
    """Assert that two seeds have the same result except for measurements of time."""
    one, two = ({key: value for key, value in result(path).items() if key not in MEASURED} for path in (folder, other))
    assert one == two
    assert one["status"] == "done"
    assert pq.read_table(folder / "evaluation.parquet").equals(pq.read_table(other / "evaluation.parquet"))
    for name in ("latest", "best"):
        (arrays, tree), (wanted, wanted_tree) = (
            tensors_and_tree(path / "checkpoint" / f"{name}.safetensors") for path in (folder, other)
        )
        assert arrays.keys() == wanted.keys()
        assert [key for key in arrays if arrays[key] != wanted[key]] == []
        assert tree == wanted_tree
    assert (folder / "config.yaml").read_bytes() == (other / "config.yaml").read_bytes()


def assert_same_outcomes(runs, others, seeds):
    one, two = folders(runs), folders(others)
    assert list(one) == list(two) == list(seeds)
    for seed in seeds:
        assert_same_outcome(one[seed], two[seed])


def wait_for(condition, process):
    """Wait until ``condition()`` holds; False if the process ends before."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return True


def version(path):
    """Return a value that changes when a file is replaced; None if there is no file."""
    try:
        return path.stat().st_ino, path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def all_files(runs):
    """Return all files, each with a value that changes when it is replaced."""
    return {path: version(path) for path in runs.rglob("*") if path.is_file()}


@pytest.mark.parametrize("agent", ["sac", pytest.param("ppo", marks=pytest.mark.slow)])
def test_killed_at_any_moment_and_started_again_ends_as_if_nothing_had_happened(agent, tmp_path):
    spec = described(tmp_path / "whole", agent, size=LONG)
    train_seeds(spec, spec.seeds)
    chosen = random.Random(agent)
    between = result(spec.seed_folder(0))["train_seconds"] / 8  # from one checkpoint to the next
    again = command(tmp_path / "killed", *settings(agent, size=LONG))
    kills = 0
    while True:
        with (tmp_path / "said").open("w+") as said:
            process = subprocess.Popen(again, stdout=said, stderr=said)
            seeds = folders(tmp_path / "killed")
            # First before any checkpoint is there, then at some moment after the next one.
            names = ["result.json"] if kills == 0 else ["checkpoint/latest.safetensors"]
            before = {path / name: version(path / name) for path in seeds.values() for name in names}

            def something_new(before=before, names=names):
                now = [path / name for path in folders(tmp_path / "killed").values() for name in names]
                return any(version(path) not in (None, before.get(path)) for path in now)

            if kills < 3 and wait_for(something_new, process):
                time.sleep(chosen.random() * between)
                if process.poll() is None:
                    process.kill()
                    kills += 1
            code = process.wait(PATIENCE)
            said.seek(0)
            assert code in (0, -9), said.read()
        if code == 0:
            break
    assert kills == 3
    assert_same_outcomes(tmp_path / "killed", tmp_path / "whole", [0, 1])


class Killed(BaseException):
    """Raised in place of the end of the process: it is not caught, and nothing more is written."""


def die_at(patch, write):
    """Stop this process at the replacement of file number ``write``."""
    counter, replace = itertools.count(), Path.replace

    def dying(path, target):
        if next(counter) >= write:
            raise Killed
        return replace(path, target)

    patch.setattr(Path, "replace", dying)


def test_killed_at_each_write_of_a_file_ends_as_if_nothing_had_happened(tmp_path):
    train(tmp_path / "whole")
    write = 0
    for write in itertools.count():
        runs = tmp_path / f"killed_{write}"
        with pytest.MonkeyPatch.context() as patch:
            die_at(patch, write)
            try:
                train(runs)
                break
            except Killed:
                pass
        train(runs)
        assert_same_outcomes(runs, tmp_path / "whole", [0, 1])
    assert write >= 19, "configuration, provenance, results, episodes and checkpoints of two seeds"


def test_the_same_command_again_does_nothing(tmp_path):
    train(tmp_path)
    before = all_files(tmp_path)
    assert "2 seeds already done" in " ".join(tell(tmp_path, *settings()).split())
    assert all_files(tmp_path) == before


def test_one_more_seed_trains_only_that_one(tmp_path):
    tell(tmp_path / "grown", *settings(seeds=2))
    before = {seed: version(path / "result.json") for seed, path in folders(tmp_path / "grown").items()}
    tell(tmp_path / "grown", *settings(seeds=3))
    after = folders(tmp_path / "grown")
    assert list(after) == [0, 1, 2]
    assert {seed: version(after[seed] / "result.json") for seed in (0, 1)} == before
    assert result(after[2])["seeds_together"] == 1
    train(tmp_path / "at_once", seeds=3)
    assert_same_outcomes(tmp_path / "grown", tmp_path / "at_once", [0, 1, 2])


@pytest.fixture
def failing():
    """Register an agent that fails while it learns, and return its name."""

    class Failing(GreedyAgent):
        def learn(self):
            raise RuntimeError("the learner broke\nfor this reason")

    registry.register_agent("failing")(Failing)
    yield "failing"
    registry._entries["agent"].pop("failing")


def test_failed_run_says_why_and_the_other_jobs_go_on(failing, tmp_path):
    tell(tmp_path, "-m", *settings(f"{failing},greedy"), status=1)
    by_agent = {path.parts[-3]: result(path) for path in tmp_path.glob("*/*/*/seed_1")}
    assert by_agent["greedy"]["status"] == "done"
    assert by_agent[failing]["status"] == "failed"
    assert by_agent[failing]["error"] == "RuntimeError: the learner broke"
    assert {result(path)["status"] for path in tmp_path.glob(f"*/{failing}/*/seed_*")} == {"failed"}


def test_seed_of_another_process_is_waited_for_and_trained_if_that_one_does_not_finish_it(tmp_path):
    train(tmp_path)
    held = folders(tmp_path)[1]
    (held / "result.json").unlink()
    others = {path: version(path) for path in all_files(tmp_path) if held not in path.parents}
    with (tmp_path / "said").open("w+") as said:
        with filelock.FileLock(held / ".lock"):
            process = subprocess.Popen(command(tmp_path, *settings()), stdout=said, stderr=said)
            wait_for(lambda: "waited for" in (tmp_path / "said").read_text(), process)
            assert process.poll() is None
            assert not (held / "result.json").exists()
        assert process.wait(PATIENCE) == 0
    first, *_ = (tmp_path / "said").read_text().splitlines()
    assert first == f"ioa-marl: {held.parent}: seed_1 in use by another process, which is waited for"
    assert result(held)["status"] == "done"
    assert {path: version(path) for path in others} == others


def halfway(runs):
    """Create a run that was killed with checkpoints of both seeds, and return that of the second seed."""
    with pytest.MonkeyPatch.context() as patch:
        die_at(patch, 12)
        with pytest.raises(Killed):
            train(runs)
    latest = [folder / "checkpoint" / "latest.safetensors" for folder in folders(runs).values()]
    assert [checkpoint.load(path)["iteration"] for path in latest] == [3, 3]
    return latest[1]


@pytest.mark.parametrize("damage", ["empty", "short", "cut", "almost", "header", "other", "text"])
def test_unreadable_checkpoint_is_told_in_one_line(damage, tmp_path):
    path = halfway(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "short": whole[:5],
            "almost": whole[:-1],
            "cut": whole[: len(whole) // 2],
            "header": whole[:8] + b"x" * 40 + whole[48:],
            "other": safetensors.numpy.save({"weights": np.zeros(3)}),
            "text": b"this is not a checkpoint at all, it is a text that somebody wrote\n",
        }[damage]
    )
    damaged = path.read_bytes()
    said = tell(tmp_path, *settings(), status=2)
    lines = said.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"ioa-marl: checkpoint {path} cannot be read: ")
    assert lines[0].endswith(f"; {checkpoint.REMEDY}")
    assert path.read_bytes() == damaged, "it is left to be looked at"
    assert [result(folder)["status"] for folder in folders(tmp_path).values()] == ["done", "failed"]


def fill_disk(patch, name=""):
    """Make writing fail for files whose names contain ``name``."""
    fsync = os.fsync

    def full(descriptor):
        if name in Path(f"/proc/self/fd/{descriptor}").readlink().name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    patch.setattr(os, "fsync", full)


def test_checkpoint_on_a_full_disk_leaves_the_previous_one_and_says_so(tmp_path):
    path = tmp_path / "some" / "latest.safetensors"
    checkpoint.save(path, {"weights": torch.ones(3), "step": 1})
    with pytest.MonkeyPatch.context() as patch:
        fill_disk(patch)
        with pytest.raises(UserError) as told:
            checkpoint.save(path, {"weights": torch.zeros(3), "step": 2})
    assert str(told.value) == f"cannot write {path}: No space left on device; the previous one is intact"
    kept = checkpoint.load(path)
    assert torch.equal(kept["weights"], torch.ones(3))
    assert kept["step"] == 1
    assert list(path.parent.iterdir()) == [path], "nothing half-written is left"


def test_first_checkpoint_on_a_full_disk_claims_no_previous_one(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        fill_disk(patch)
        with pytest.raises(UserError) as told:
            checkpoint.save(tmp_path / "latest.safetensors", {"step": 1})
    assert str(told.value) == f"cannot write {tmp_path / 'latest.safetensors'}: No space left on device"


@pytest.mark.parametrize("full_for", ["latest.safetensors", ""])
def test_run_that_fills_the_disk_says_so_and_goes_on_when_there_is_space_again(full_for, tmp_path):
    train(tmp_path / "whole")
    path = halfway(tmp_path / "filled")
    kept = path.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        fill_disk(patch, full_for)
        said = tell(tmp_path / "filled", *settings(), status=2)
    assert said.startswith("ioa-marl: cannot write ")
    assert "No space left on device; the previous one is intact" in said
    assert said.count("\n") == 1
    assert path.read_bytes() == kept
    if full_for:
        for folder in folders(tmp_path / "filled").values():
            assert result(folder)["status"] == "failed"
            assert "latest.safetensors: No space left on device" in result(folder)["error"]
    train(tmp_path / "filled")
    assert_same_outcomes(tmp_path / "filled", tmp_path / "whole", [0, 1])
