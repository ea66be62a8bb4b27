"""The programs that soak and kill see what they are there to see."""

from __future__ import annotations

import dataclasses
import importlib.util
import random
import shutil
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not (FOLDER / "soak.py").is_file(), reason="the benchmarks are not beside the tests")


def program(name):
    spec = importlib.util.spec_from_file_location(f"program_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def soak():
    return program("soak")


@pytest.fixture(scope="module")
def kills():
    return program("kills")


def part(soak, megabytes=lambda i: 500.0, files=lambda i: 10, threads=lambda i: 1):
    found = soak.Part("training", "runs")
    for i in range(50):
        found.samples.append(soak.Sample(float(i), i, megabytes(i), files(i), threads(i)))
    return found


def test_what_is_flat_after_the_warm_up_is_flat(soak):
    found = soak.verdict(part(soak, megabytes=lambda i: min(300 + 20.0 * i, 500) + i % 3))
    assert found.flat
    assert abs(found.growth) < 2


@pytest.mark.parametrize(
    "leak",
    [{"megabytes": lambda i: 500.0 + i}, {"files": lambda i: 10 + i // 5}, {"threads": lambda i: 1 + i // 20}],
    ids=lambda leak: next(iter(leak)),
)
def test_what_grows_is_seen(soak, leak):
    assert not soak.verdict(part(soak, **leak)).flat


@pytest.fixture(scope="module")
def store(soak, tmp_path_factory):
    folder = tmp_path_factory.mktemp("soak")
    spec = soak.described(folder / "runs", *soak.SHORT[-1], 2)
    soak.train_seeds(spec, spec.seeds)
    return folder


def test_updates_of_the_leaderboard_leave_no_file_and_no_thread_open(soak, store):
    found = soak.updates(10, store / "runs", store / "board")
    files = [sample.files for sample in found.samples]
    assert files[2:] == files[2:3] * 8
    assert {sample.threads for sample in found.samples} == {found.samples[0].threads}
    assert found.samples[-1].megabytes - found.samples[4].megabytes < soak.MOST_GROWTH


def test_short_runs_leave_no_file_and_no_thread_open(soak, tmp_path):
    found = soak.short_runs(0.0, tmp_path, soak.SHORT[-1:])
    assert len({sample.files for sample in found.samples[2:]}) == 1
    assert len({sample.threads for sample in found.samples[2:]}) == 1


def test_one_changed_weight_is_another_outcome(kills, store, tmp_path):
    one = next((store / "runs").glob("*/*/*/seed_0"))
    two = tmp_path / "seed_0"
    shutil.copytree(one, two)
    assert kills.same(one, two)
    path = two / "checkpoint" / "latest.safetensors"
    tree = kills.checkpoint.load(path)
    next(array for array in tree["game"].values() if array.dtype == "float64" and array.size)[...] += 1e-9
    kills.checkpoint.save(path, tree)
    assert not kills.same(one, two)


def test_each_damage_is_what_its_name_says(kills, tmp_path):
    looks = {}
    for name, damage in kills.DAMAGES.items():
        path = tmp_path / name
        path.write_bytes(b"content of a file")
        damage(path, random.Random(0))
        looks[name] = path
    assert not looks["missing"].exists()
    assert looks["empty"].read_bytes() == b""
    assert looks["cut"].read_bytes() == b"content "
    assert looks["zeroed"].read_bytes() == bytes(17)
    flipped = int.from_bytes(looks["one bit flipped"].read_bytes(), "big") ^ int.from_bytes(b"content of a file", "big")
    assert flipped.bit_count() == 1
    assert looks["a folder"].is_dir()
    assert looks["a FIFO"].is_fifo()
    assert looks["endless"].resolve() == Path("/dev/zero")


def test_a_page_tells_what_was_wrong(kills):
    case = kills.Damaged("half-way", "result.json", "cut", "rebuilt", "")
    bad = dataclasses.replace(case, damage="empty", outcome="HANGS")
    page = kills.report([kills.Killed("joblib", 3, True, ""), kills.Killed("joblib", 2, False, "no")], [case, bad])
    assert "| joblib | 2 | 5 | 1 of 2 |" in page
    assert "| `result.json` | rebuilt | HANGS |" in page


@pytest.mark.slow
def test_a_quick_soak_is_flat(soak, tmp_path):
    assert soak.main(["--quick", "--results", str(tmp_path)]) == 0
    assert "| flat |" in (tmp_path / "README.md").read_text()


@pytest.mark.slow
def test_a_sweep_that_is_killed_ends_with_the_same_bits(kills, tmp_path):
    assert kills.main(["--quick", "--only", "kills", "--results", str(tmp_path)]) == 0
