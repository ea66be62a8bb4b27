"""A fingerprint notices a changed bit, and nothing else: names and order may change."""

import importlib
import json
import subprocess
import sys
from collections import OrderedDict
from dataclasses import make_dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not beside the tests")


@pytest.fixture
def load(monkeypatch):
    """Import modules of the fingerprint's package, which is not installed, and forget them afterwards."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield lambda name: importlib.import_module(f"fingerprinting.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "fingerprinting"]:
        del sys.modules[name]


@pytest.fixture
def values(load):
    return load("values")


def test_names_and_the_order_of_fields_make_no_difference(values):
    prices, count = np.array([1.0, 2.5]), 7
    before = make_dataclass("Outcome", ["price", "trades"])(prices, count)
    after = make_dataclass("Result", ["count", "label", "clearing_price"])(np.int32(count), "settled", prices.copy())
    pair = NamedTuple("Pair", [("a", object), ("b", object)])(count, OrderedDict(price=torch.tensor(prices)))
    record = np.zeros(2, [("price", float), ("trades", int)])
    record["price"], record["trades"] = prices, count
    expected = values.tokens_of(before)
    assert len(expected) == 2
    assert values.tokens_of(after) == values.tokens_of(pair) == expected
    assert values.tokens_of(record) == values.tokens_of({"x": prices, "y": np.array([count, count])})


@pytest.mark.parametrize(
    "other",
    [
        np.nextafter([1.0, 2.5], 3.0), np.array([2.5, 1.0]), np.array([[1.0, 2.5]]), np.array([1.0, 2.5], np.float32),
        np.array([1.0, np.nan]), np.array([1, 2]), np.array([1.0]),
    ],
    ids=str,
)  # fmt: skip
def test_any_other_bit_shape_or_precision_is_another_token(values, other):
    assert values.token(other) != values.token(np.array([1.0, 2.5]))


def test_every_nan_and_every_width_of_integers_is_the_same(values):
    odd = np.array([0x7FF8000000000001], np.uint64).view(np.float64)
    assert values.token(odd) == values.token(np.array([-np.nan]))
    assert values.token(np.array([True, False])) == values.token(np.array([1, 0], np.uint8))


def test_pooled_numbers_stay_where_arrays_are_cut_up_otherwise(values):
    weights = np.random.default_rng(0).random((4, 3)).astype(np.float32)
    stacked, apart = {"w": weights, "steps": 3}, {"rows": [torch.tensor(row) for row in weights.T]}
    assert values.pooled(stacked) == values.pooled(apart)
    weights[0, 0] *= 2
    assert values.pooled(stacked) != values.pooled(apart)


def test_a_thing_whose_values_nobody_knows_is_refused(values):
    with pytest.raises(TypeError, match="iterator is nothing"):
        values.tokens_of({"prices": iter([1.0])})
    with pytest.raises(TypeError, match="holds no numbers"):
        values.tokens_of(np.array(["a"]))


def test_a_series_is_one_token_under_its_kind_whatever_it_is_called(values):
    def entry(*names):
        trace = values.Trace()
        array = np.zeros(2)
        for step in range(3):
            for name in names:
                array[...] = step + len(name)  # the same buffer every time, as a game has it
                trace.add("metrics", name, array)
        return trace.entry()

    assert entry("welfare", "price") == entry("price", "surplus")
    assert entry("welfare", "price") != entry("welfare", "cost")
    assert [len(tokens) for tokens in entry("welfare", "price").values()] == [2]


def test_what_differs_is_listed_and_what_is_the_same_is_not(values):
    was = {"same": {"rewards": ["a", "b"]}, "gone": {}, "other": {"rewards": ["a", "a"], "ends": ["c"]}, "broken": {}}
    now = [
        ("same", {"rewards": ["a", "b"]}), ("other", {"rewards": ["a", "d"], "ends": ["c"]}), ("new", {}),
        ("broken", KeyError("welfare")),
    ]  # fmt: skip
    lines = list(values.differences(was, now))
    assert [line.partition(":")[0] for line in lines] == ["other/rewards", "new", "broken", "gone"]
    assert lines[0].splitlines() == [
        "other/rewards: 1 of 2 values are gone, 1 are new", "    was a", "    now d"
    ]  # fmt: skip
    assert "KeyError: 'welfare'" in lines[2]


def test_all_doors_open(load):
    doors = load("doors")
    assert all(door is not None for door in map(doors.door, doors.DOORS))


def test_every_market_of_ours_is_played_and_trained_on_and_no_stranger(load):
    doors, markets, learners = load("doors"), load("markets"), load("learners")
    ours = set(doors.own_names("environment"))
    assert ours >= set(markets.VARIANTS) | set(learners.MARKETS)
    assert set(learners.LEARNERS) < set(doors.own_names("agent"))
    played = {name.split("/")[1] for name, _ in markets.items()}
    trained = {name.split("/")[1] for name, _ in learners.items() if name.startswith("learners/")}
    assert played == ours
    assert trained == ours | {"special"}


def test_a_record_is_reproduced_by_another_process_and_one_changed_value_is_found(tmp_path):
    file = tmp_path / "fingerprint.json"

    def run(command):
        program = [
            sys.executable,
            BENCHMARKS / "fingerprints.py",
            command,
            file,
            "--only",
            "markets/double_dutch/calm/random",
        ]
        return subprocess.run(program, capture_output=True, text=True, check=False)

    done = run("record")
    assert done.returncode == 0, done.stderr
    recorded = json.loads(file.read_text())
    entry = recorded["entries"]["markets/double_dutch/calm/random auctioneer"]
    assert len(entry["metrics"]) == 11
    entry["metrics"][3] = "0" * 16
    file.write_text(json.dumps(recorded))
    done = run("compare")
    assert done.returncode == 1, done.stderr
    assert "markets/double_dutch/calm/random auctioneer/metrics: 1 of 11 values are gone, 1 are new" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 differences"
