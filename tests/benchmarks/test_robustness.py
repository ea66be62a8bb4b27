"""Malformed command lines, drawn from a seed: one or two lines each, nothing written, quickly and in little memory."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def robustness():
    spec = importlib.util.spec_from_file_location("robustness", ROOT / "benchmarks" / "robustness.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["robustness"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["robustness"]


@pytest.mark.slow
def test_150_malformed_command_lines_are_told_in_a_line_or_two(robustness):
    figures = robustness.measure(150, seed=20)
    assert figures["faults"] == []
    assert figures["refused"] > 100
    assert figures["accepted"] > 5
    assert robustness.passed(figures), figures


def test_the_same_seed_draws_the_same_inputs(robustness):
    assert list(robustness.inputs(40, 1)) == list(robustness.inputs(40, 1))
    assert list(robustness.inputs(40, 1)) != list(robustness.inputs(40, 2))


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (lambda *_: 1 / 0, "traceback"),
        (lambda *_: Path("left").write_text("x"), "files written"),
        (lambda *_: sys.stderr.write("a\nb\nc\n"), "3 lines"),
        (lambda *_: sys.exit(1), "exit status 1"),
    ],
)
def test_a_fault_is_noticed(robustness, monkeypatch, tmp_path, wrong, fault):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ioa_marl.training.compose.make_plan", wrong)
    monkeypatch.setattr("ioa_marl.training.compose.launch", lambda *_: 0)
    found = robustness.tried(["env=double_dutch", "agent=random"], None, tmp_path)
    assert any(fault in said for said in found.faults), found


def test_other_counts_are_written_beside_the_committed_results(robustness, monkeypatch, tmp_path):
    monkeypatch.setattr(robustness, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(robustness, "measure", lambda *_, **__: {
        "inputs": 3, "seed": 0, "refused": 3, "accepted": 0, "tracebacks": 0, "longer_than_two_lines": 0,
        "files_written": 0, "median_seconds": 0.1, "longest_seconds": 0.1, "median_seconds_passed": 0.1,
        "longest_seconds_passed": 0.1, "memory_megabytes": 1.0, "faults": [], "slowest": [], "examples": [],
    })  # fmt: skip
    assert robustness.main(["--count", "3"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["results-3-0"]


def test_the_committed_results_are_of_a_thousand_inputs_without_a_fault(robustness):
    figures = json.loads((robustness.RESULTS / "robustness.json").read_text())
    assert figures["inputs"] >= 1000
    assert robustness.passed(figures)
    assert figures["date"] in (robustness.RESULTS / "README.md").read_text()
