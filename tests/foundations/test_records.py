"""Records are read and written by name in kernels, and are plain numbers wherever they are stored."""

import doctest
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ioa_marl.foundations import records
from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.records import Record, plain_view


class Toll(Record):
    price: float
    lanes: int
    open: bool


class Count(Record):
    return_: float
    cars: float


@kernel
def collect(tolls, counts, cars):
    toll = tolls[0]
    for b in range(cars.shape[0]):
        if toll.open:
            counts[b].cars += cars[b]
            counts[b].return_ += toll.price * toll.lanes * cars[b]


def test_kernels_read_and_write_fields_by_name():
    counts = Count.zeros(3)
    collect(Toll.row(price=0.5, lanes=4, open=True), counts, np.arange(3.0))
    collect(Toll.row(price=9.0, lanes=9, open=False), counts, np.arange(3.0))
    assert counts["return_"].tolist() == [0.0, 2.0, 4.0]
    assert plain_view(counts).tolist() == [[0.0, 0.0], [2.0, 1.0], [4.0, 2.0]]


def test_the_same_code_runs_uncompiled():
    program = (
        "import test_records as t; t.test_kernels_read_and_write_fields_by_name(); print(type(t.collect).__name__)"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parent,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "function\n"


def test_a_plain_view_shares_memory_and_leaves_other_arrays_alone():
    counts = Count.zeros(2, 3)
    plain_view(counts)[1, 2, 0] = 7.0
    assert counts[1, 2].return_ == 7.0
    numbers = np.arange(3)
    assert plain_view(numbers) is numbers


def test_names_are_those_of_the_fields_and_reserved_words_lose_their_underscore():
    assert Count.names() == ("return", "cars")


@pytest.mark.parametrize("values", [{"price": 1.0}, {"price": 1.0, "lanes": 1, "open": 1, "width": 2}])
def test_a_row_needs_every_field_and_no_other(values):
    with pytest.raises(TypeError, match="needs exactly the fields price, lanes, open"):
        Toll.row(**values)


def test_examples_hold():
    assert doctest.testmod(records).failed == 0
