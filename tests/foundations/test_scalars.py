"""Plain functions treat NumPy's numbers like Python's."""

import dataclasses

import numpy as np
import pytest

from ioa_marl.evaluation.statistics import estimate
from ioa_marl.foundations.scalars import plain_value, whole_number
from ioa_marl.markets.double_dutch.auction import simulate
from ioa_marl.markets.double_dutch.rivals import k_double_auction
from ioa_marl.markets.second_bid.auction import allocate
from ioa_marl.markets.stackelberg import params as stackelberg
from ioa_marl.markets.stackelberg.equilibrium import best_response_price, solve_equilibrium
from ioa_marl.markets.vcg_slicing.baselines import greedy_split
from ioa_marl.markets.vcg_slicing.optimum import clarke_payments, welfare_optimum
from ioa_marl.markets.vcg_slicing.quantised.auction import full_bytes, information_volume, quantised_optimum

TYPES = (100.0, 80.0), ((4.0, 1.0, 1.0), (1.0, 4.0, 2.0))
BIDS = (10, 8, 6, 3), (1, 2, 5, 7)
CITY = stackelberg.preset("city")
MARKETS = CITY, stackelberg.draw_markets(CITY, [1, 2])
CASES = {
    "simulate": (simulate, BIDS, {"step": 0.5, "tick": 0.25, "psi": 0.5, "buyer_clock": 12.0, "seller_clock": 0.0}),
    "allocate": (allocate, [(8.0, 5.0)], {"rho": 1.5, "contract_price": 6.0}),
    "k_double_auction": (k_double_auction, BIDS, {"weight": 0.5}),
    "quantised_optimum": (quantised_optimum, TYPES, {"quanta": 4}),
    "full_bytes": (full_bytes, [], {"providers": 40, "quanta": 90}),
    "information_volume": (information_volume, [], {"providers": 40, "quanta": 90}),
    "greedy_split": (greedy_split, TYPES, {"portions": 16}),
    "welfare_optimum": (welfare_optimum, TYPES, {"tolerance": 2.0**-30}),
    "clarke_payments": (clarke_payments, TYPES, {"tolerance": 2.0**-30}),
    "solve_equilibrium": (solve_equilibrium, MARKETS, {"start": 0.5, "index": 1}),
    "best_response_price": (
        best_response_price, [*MARKETS, "mobile"], {"leader": 1, "mobile_prices": 2.0, "fixed_prices": 2.0, "index": 1}
    ),
    "estimate": (estimate, [(0.5, 0.25, 1.0)], {"seed": 3}),
}  # fmt: skip
FORMS = {
    "narrow": lambda value: np.int8(value) if isinstance(value, int) else np.float32(value),
    "usual": lambda value: np.int64(value) if isinstance(value, int) else np.float64(value),
    "long": lambda value: np.uint64(value) if isinstance(value, int) else np.longdouble(value),
    "array": np.array,
}


def comparable(value):
    if dataclasses.is_dataclass(value):
        return {field.name: comparable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [comparable(inner) for inner in value] if isinstance(value, tuple) else np.asarray(value).tolist()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CASES)
def test_a_function_takes_numbers_of_every_type(name, form):
    function, given, settings = CASES[name]
    expected = comparable(function(*given, **settings))
    found = function(*given, **{key: FORMS[form](value) for key, value in settings.items()})
    assert comparable(found) == expected


def test_plain_values_are_the_same_numbers_also_inside():
    given = {"a": np.float32(0.5), "b": [np.int8(3), (np.bool_(True), "x")], "c": {"d": np.arange(2)}, "e": None}
    plain = plain_value(given)
    assert plain == {"a": 0.5, "b": [3, (True, "x")], "c": {"d": (0, 1)}, "e": None}
    assert type(plain["a"]) is float
    assert type(plain["b"][1][0]) is bool
    assert type(plain_value(np.longdouble(0.25))) is float


@pytest.mark.parametrize(
    "value", [1.0, np.float64(1), "1", True, np.True_, None, np.array([1]), 1j, np.datetime64(1, "s")]
)
def test_what_is_no_whole_number(value):
    assert whole_number(value) is None
