"""A table of one's own for the second-bid auction: valuations of many tasks, or the resources of each provider.

| Table | Columns |
| --- | --- |
| valuations | ``market`` (a task), ``station``, ``value``, and ``uav``, once for each task or in all of its rows |
| providers | ``provider`` (``uav`` or ``station``), and any of the figures of `providers.FIGURES` |

Source of the quantities: Sections 3 and 4 of "Diffusion-based auction mechanism for efficient resource management in
6G-enabled vehicular metaverses".
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.parameters import require
from ioa_marl.foundations.philox import philox_block, to_unit
from ioa_marl.foundations.tables import Table, parse_table
from ioa_marl.markets.second_bid.state import Array, SecondBidState

if TYPE_CHECKING:
    from ioa_marl.markets.second_bid import params as parameters
    from ioa_marl.markets.second_bid.providers import Providers

SMALLEST_VALUE, LARGEST_VALUE = 1e-9, 1e9
"""Accepted range of valuations [units]; observations are logarithms of them."""
OF_START = 1_000_001
"""Purpose of the random counter: the first task of an episode."""


def count_stations(text: str) -> int:
    """Return the number of stations of a table of either form, which is checked.

    Raises
    ------
    ParameterError
        If the table has other columns than those of a form, or a cell that is not allowed.
    """
    if is_of_providers(text):
        kinds = _kinds(parse_table(text))
        return len(kinds) - 1
    return int(own_values(text).shape[1]) - 1


def is_of_providers(text: str) -> bool:
    """Whether a table has the resources of providers, and not valuations."""
    return "provider" in parse_table(text).columns


def _kinds(table: Table) -> tuple[str, ...]:
    kinds = tuple(kind.lower() for kind in table.texts("provider"))
    table.require("provider", np.array([kind in ("uav", "station") for kind in kinds]), "uav or station")
    uavs = kinds.count("uav")
    require(uavs == 1, "data", f"a table with {uavs} rows of a UAV", "one row of the UAV, and one for each station")
    return kinds


def own_providers(params: parameters.SecondBidParams) -> Providers | None:
    """Return the providers of ``params.data``; None without it, or if it has valuations.

    Returns
    -------
    Providers or None
        The same object for equal parameters.
    """
    if params.data is None or not is_of_providers(params.data):
        return None
    from ioa_marl.markets.second_bid.params import SecondBidParams

    names = [field.name for field in dataclasses.fields(SecondBidParams) if field.name != "data"]
    return _own_providers(params.data, SecondBidParams(**{name: getattr(params, name) for name in names}))


@lru_cache(maxsize=64)
def _own_providers(text: str, params: parameters.SecondBidParams) -> Providers:
    from ioa_marl.markets.second_bid.providers import FIGURES, market_from

    table = parse_table(text)
    table.require_columns(("provider",), ("provider", *FIGURES))
    kinds = _kinds(table)
    order = [kinds.index("uav"), *(i for i, kind in enumerate(kinds) if kind == "station")]
    figures = {}
    for name in table.columns:
        if name != "provider":
            column = table.numbers(name, f"numbers [{FIGURES[name]}]")
            table.require(name, np.isfinite(column), f"numbers [{FIGURES[name]}]")
            figures[name] = column[order]
    return market_from(params, **figures)


@lru_cache(maxsize=16)
def own_values(text: str) -> NDArray[np.float64]:
    """Return the valuations of a table, float64 (tasks, stations + 1), the UAV's first [units].

    Tasks keep the order in which the table first names them, and so do the stations.
    """
    table = parse_table(text)
    table.require_columns(("market", "station", "value", "uav"), ("market", "station", "value", "uav"))
    allowed = f"numbers from {SMALLEST_VALUE:g} to {LARGEST_VALUE:g} [units]"
    value, uav = (table.numbers(name, allowed) for name in ("value", "uav"))
    table.require("value", (value >= SMALLEST_VALUE) & (value <= LARGEST_VALUE), allowed)
    fits = np.isnan(uav) | ((uav >= SMALLEST_VALUE) & (uav <= LARGEST_VALUE))
    table.require("uav", fits, f"{allowed}, or nothing")
    for title in ("market", "station"):
        table.require(title, np.array([name != "" for name in table.texts(title)]), "a name in every row")
    tasks = {name: i for i, name in enumerate(dict.fromkeys(table.texts("market")))}
    stations = {name: i for i, name in enumerate(dict.fromkeys(table.texts("station")))}
    task = np.array([tasks[name] for name in table.texts("market")])
    station = np.array([stations[name] for name in table.texts("station")])
    out = np.full((len(tasks), len(stations) + 1), np.nan)
    for row in range(table.rows):
        t, i = task[row], station[row] + 1
        first = bool(np.isnan(out[t, i]))
        require(first, "data.station", f"{table.texts('station')[row]} (row {row + 1})", "each station of a task once")
        out[t, i] = value[row]
        if not np.isnan(uav[row]):
            same = bool(np.isnan(out[t, 0])) or out[t, 0] == uav[row]
            require(same, "data.uav", f"{uav[row]:g} (row {row + 1})", "one valuation for each task")
            out[t, 0] = uav[row]
    complete = ~np.isnan(out)
    for name, t in tasks.items():
        require(bool(complete[t, 0]), "data", f"market {name} without a valuation of the UAV", "one for each task")
        require(
            bool(complete[t].all()), "data", f"market {name} without a value of each station", "one for each station"
        )
    out.setflags(write=False)
    return out


@kernel
def _write(state: SecondBidState, mask: Array, values: Array) -> None:
    for b in range(mask.shape[0]):
        if mask[b]:
            w0, _, _, _ = philox_block(state.seed[b], state.stream[b], 1, state.episode[b], OF_START)
            start = min(int(to_unit(w0) * values.shape[0]), values.shape[0] - 1)
            row = (start + state.task[b]) % values.shape[0]
            for n in range(values.shape[1]):
                state.value[b, n] = values[row, n]
                state.common[b, n] = np.nan
                state.delay[b, n] = np.nan


def write_values(params: parameters.SecondBidParams, state: SecondBidState, mask: NDArray[np.bool_]) -> None:
    """Replace the valuations of the current task by those of ``params.data``, if it has any.

    An episode starts at a task of the table that is drawn uniformly, and goes on in the table's order, from its end to
    its beginning. Latencies are not known, NaN.

    Parameters
    ----------
    params : SecondBidParams
        Parameters.
    state : SecondBidState
        Batch of markets, whose task has been drawn.
    mask : ndarray of bool, shape (batch,)
        Markets; the others do not change.
    """
    if params.data is not None and not is_of_providers(params.data):
        _write(state, mask, own_values(params.data))
