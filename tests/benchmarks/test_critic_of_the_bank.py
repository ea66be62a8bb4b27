"""The benchmark of the critics that a bank asks trains on what it says, and its figures are what it says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ioa_marl.markets.vcg_slicing.optimum import welfare_optimum

FILE = Path(__file__).parents[2] / "benchmarks" / "dual_currency" / "critic.py"
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="the benchmarks are not beside the tests")


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_of_critics", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_figures_of_estimates_with_a_known_error(benchmark):
    """Two seeds, two providers: estimates are too large by 10% in one round and right in the other."""
    exact = np.array([[1.0, 2.0], [3.0, 4.0]])
    right = np.broadcast_to(exact[:, None], (2, 2, 5, 2))
    estimate = right * np.array([1.1, 1.0])[:, None, None, None]
    found = benchmark.compared(0.8 * right, estimate, 1.05 * right, exact)
    assert found == pytest.approx(
        {
            "inside": 0.5, "below": 0.0, "error_of_estimate": 0.05, "error_of_clipped": 0.025,
            "error_of_lower_bound": 0.2, "deviation": 0.05, "correlation": 1.0,
        }
    )  # fmt: skip
    assert benchmark.compared(right, 0.5 * right, right, exact)["below"] == 1.0


def test_the_absent_provider_learns_from_the_welfare_of_the_others(benchmark, tmp_path):
    """Its rewards are those of the others, in units of Σβ with it, and it discounts as they do; it sees only zeros."""
    agent = benchmark.train("independent_ac", "absences", 1024, 2, tmp_path)
    batch = agent._buffer.sample(agent._sampling.uniform(256))
    absent = (batch.observations["slice"][:, :, -1] == 0).all(-1)
    assert 0.3 < absent.float().mean() < 0.7
    others, own = batch.returns["slice"][..., 0], batch.returns["slice"][..., -1]
    for seed in (0, 1):
        worth = benchmark.types_of(seed)[0]
        ratio = worth[:-1].sum() / worth.sum()
        assert own[seed][absent[seed]].numpy() == pytest.approx(ratio * others[seed][absent[seed]].numpy(), rel=1e-5)
        assert torch.equal(own[seed][~absent[seed]], others[seed][~absent[seed]])
    assert torch.equal(batch.discounts["slice"][..., -1], batch.discounts["slice"][..., 0])
    assert (batch.returns["slice"] > 0).all()


def test_the_exact_value_is_the_optimum_of_the_market_without_the_provider(benchmark):
    worth, rate = benchmark.types_of(3)
    kept = np.arange(benchmark.PROVIDERS) != 4
    alone = welfare_optimum(worth[kept], rate[kept]).welfare / worth.sum()
    assert benchmark.exact_of(3)[4] == pytest.approx(alone, rel=1e-6)
