"""The benchmark of the quantised auction runs, and its rows say what they claim."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from ioa_marl.markets.vcg_slicing.optimum import welfare_optimum
from ioa_marl.markets.vcg_slicing.quantised.auction import quantised_payments

FILE = Path(__file__).parents[2] / "benchmarks" / "slicing" / "qvcg.py"
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="the benchmarks are not beside the tests")


@pytest.fixture(scope="module")
def qvcg():
    spec = importlib.util.spec_from_file_location("benchmark_of_qvcg", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_a_row_is_the_mean_over_its_markets(qvcg):
    row = qvcg.measure(4, 5, [0, 1], integral=True)
    found = [quantised_payments(*qvcg.market(4, instance), 5) for instance in (0, 1)]
    best = [welfare_optimum(*qvcg.market(4, instance)).welfare for instance in (0, 1)]
    ratios = [outcome.optimum.welfare / sw for outcome, sw in zip(found, best, strict=True)]
    assert row.ratio == pytest.approx(np.mean(ratios))
    assert row.ratio_lowest == pytest.approx(min(ratios))
    assert row.payments == pytest.approx(np.mean([outcome.payments.sum() for outcome in found]))
    assert row.equal_split_ratio < row.ratio <= 1.0
    assert row.variables < row.variables_full == 4 * (6**3 - 1)
    assert row.problems == 5
    assert row.converged
    assert row.seconds > 0.0


def test_floats_counted_are_those_printed(qvcg):
    for quanta, printed in qvcg.PRINTED_FLOATS.items():
        for providers, floats in printed.items():
            assert qvcg.information_volume(providers, quanta=quanta) == floats


def test_the_page_has_a_line_for_every_row_and_every_pair(qvcg, tmp_path):
    rows = [qvcg.measure(3, 3, [0], integral=integral, pay=False) for integral in (True, False)]
    assert np.isnan(rows[0].payments)
    pair = dict.fromkeys(["factor_0", "factor_1", "profit_true", "profit", "gain"], 1.0)
    pair |= dict.fromkeys(["welfare_true", "welfare", "revenue_true", "revenue"], 2.0)
    page = qvcg.report(rows, [pair | {"instance": 0, "mechanism": "exact"}])
    assert sum(line.startswith("| 3 | 0.333333 |") for line in page.splitlines()) == 2
    assert "| 0 | exact | 1, 1 |" in page
    qvcg.write_csv(tmp_path / "rows.csv", [pair])
    assert (tmp_path / "rows.csv").read_text().splitlines()[0].startswith("factor_0,factor_1")
    qvcg.plot(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000
