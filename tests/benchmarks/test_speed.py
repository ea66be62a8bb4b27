"""The engines that the speed benchmark compares do the same, and the runner writes what it measured. No timing."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ioa_marl.envs.double_dutch.game import DoubleDutchGame

SPEED = Path(__file__).parents[2] / "benchmarks" / "speed"
MARKETS = 24
CASES = [
    ("paper", {}),
    ("calm", {"welfare_paid": "at_end", "trade_weight": 0.5}),
    ("mixed", {"observation": "extended", "max_cycles": 20}),
    ("thin", {"psi": 0.25, "max_ticks": 400}),
    (
        "paper",
        {"level": (30.0, 70.0), "cost_spread": (-3.0, 1.0), "buyer_clock": 92.0},
    ),  # many sellers cost more than any buyer earns
]

pytestmark = pytest.mark.skipif(not SPEED.is_dir(), reason="the benchmarks are not beside the tests")
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler called cc")


@pytest.fixture
def load(monkeypatch):
    """Import modules of the benchmark's folder, which is no package, and forget them afterwards."""
    monkeypatch.syspath_prepend(SPEED)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == SPEED:
            del sys.modules[name]


@pytest.mark.parametrize(
    ("module", "engine"),
    [
        pytest.param("c_auction", "CAuction", marks=needs_compiler),
        ("numpy_auction", "NumpyAuction"),
        ("arrays", "KernelAuction"),
    ],
)
@pytest.mark.parametrize(("preset", "changes"), CASES)
def test_engine_equals_the_game_bit_for_bit(load, module, engine, preset, changes):
    config = DoubleDutchGame.make_config(preset, **changes)
    rival = getattr(load(module), engine)(config, MARKETS)
    episodes = load("arrays").assert_agreement(rival, config, MARKETS, steps=400, seed=3)
    assert episodes > MARKETS


def test_a_wrong_engine_is_noticed(load):
    config = DoubleDutchGame.make_config()
    rival = load("numpy_auction").NumpyAuction(config, MARKETS)
    honest = rival.step

    def step(actions):
        honest(np.minimum(actions, 8))

    rival.step = step
    with pytest.raises(AssertionError):
        load("arrays").assert_agreement(rival, config, MARKETS, steps=200)


def test_runner_writes_figures_and_reasons(tmp_path):
    command = [sys.executable, str(SPEED / "run.py"), "--quick", "--only", "a", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {"date", "cpu", "threads", "versions", "figures", "skipped"} <= results.keys()
    assert results["versions"]["ioa_marl"]
    measured = {figure["key"] for figure in results["figures"]}
    if importlib.util.find_spec("mpe2") is None:
        assert "mpe2" in results["skipped"]["a"]
    else:
        assert measured == {"a1"}
        (figure,) = results["figures"]
        assert figure["min"] <= figure["median"] <= figure["max"]
        assert figure["reached"] == (figure["median"] >= figure["target"])
        assert figure["reached"] or figure["note"]
        assert "| a1 |" in (tmp_path / "out" / "README.md").read_text()


def test_warm_starts_are_timed_beside_solvers_that_find_the_same(load):
    module = load("warm_starts")
    solvers = (module.solve_separately, module.solve_market, module.resolve_market)
    outs = [module.allocate_optima(1, 10) for _ in solvers]
    runs = [module.solver_run(solver, 10, out) for solver, out in zip(solvers, outs, strict=True)]
    assert module.verify(runs, outs) == 0.0
    with pytest.raises(AssertionError):
        module.verify([runs[0], lambda steps: None], [outs[0], module.allocate_optima(1, 10)])


def test_runner_refuses_an_unknown_group(tmp_path):
    command = [sys.executable, str(SPEED / "run.py"), "--only", "a,z", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'z' is not one of" in done.stderr
    assert not list(tmp_path.iterdir())


def test_missed_targets_are_marked(load):
    report, measure = load("report"), load("measure")
    figures = [
        measure.Figure("x1", "ratio", "×", 2.0, [3.0, 1.0, 1.5], note="the time goes elsewhere"),
        measure.Figure("x2", "share", "%", 5.0, [4.0, 6.0, 4.5], at_most=True),
    ]
    table = report.as_markdown(report.as_json(figures, {"c": "there is no compiler"}, measure.QUICK))
    assert "| x1 | ratio | ≥ 2.00× | 1.50× [1.00–3.00] | **no** |" in table
    assert "| x2 | share | ≤ 5.00 % | 4.50 % [4.00–6.00] | yes |" in table
    assert "- x1: the time goes elsewhere" in table
    assert "- c: there is no compiler" in table
