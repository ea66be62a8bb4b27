"""The benchmark of size transfer: its rules are what it says, and its page and the documentation have its numbers."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from ioa_marl.envs.vcg_slicing import VCGSlicingGame

ROOT = Path(__file__).parents[2]
FILE = ROOT / "benchmarks" / "slicing" / "transfer.py"
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="the benchmarks are not beside the tests")


@pytest.fixture(scope="module")
def transfer():
    spec = importlib.util.spec_from_file_location("benchmark_of_transfer", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_rule_with_factor_one_is_greedy_and_a_larger_factor_lets_fewer_shares_grow(transfer):
    game = VCGSlicingGame(VCGSlicingGame.make_config("transfer_10", rounds=5), 40)
    observations, _ = game.reset(np.arange(40, dtype=np.uint64))
    greedy, changes = game.scripted("greedy", "slice"), len(game.config.changes)
    for _ in range(4):
        seen, chosen = observations["slice"].copy(), greedy()
        assert (transfer.rule(1.0, changes)(seen) == chosen).mean() > 0.999, "but for rounding of observations"
        assert (transfer.rule(1.5, changes)(seen) <= chosen).mean() > 0.999
        observations = game.step({"slice": chosen}).observations


def test_the_page_and_the_documentation_have_the_scores_of_the_results(transfer):
    result = json.loads((FILE.parent / "results" / "transfer.json").read_text())
    page, docs = (FILE.parent / "results" / "transfer.md").read_text(), (ROOT / "docs" / "evaluation.md").read_text()
    assert page == transfer.report(result)
    for name, of_size in result["scores"].items():
        cells = " | ".join(f"{np.mean(values):.3f}" for values in of_size.values())
        assert name == "random" or f"| `{name}` | {cells} |" in docs or f"| {name} | {cells} |" in docs
