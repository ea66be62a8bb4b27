"""A user's own bids as CSV or Parquet: the columns of each family, and one clear line for what cannot be used.

The first line has the names of the columns, in any order. Markets, stations and providers have names of any kind;
markets keep the order in which they first occur. Blank lines are skipped.

| Family | Columns |
| --- | --- |
| double auctions | ``market``, ``side`` (``buyer`` or ``seller``), ``value`` (of one lot, from 0) |
| one item | ``market``, ``station``, ``value`` (from 0), and if there is a UAV ``uav``, its valuation, once per market or in every row of it |
| shares | ``market``, ``provider``, ``worth`` β, and the rates ξ ``bandwidth``, ``computing``, ``cache`` (0 for of no use) |
"""  # noqa: E501 - a table

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ioa_marl.evaluation.mechanisms.comparison import MOST_MARKETS
from ioa_marl.evaluation.mechanisms.double_auctions import DoubleAuctionBids
from ioa_marl.evaluation.mechanisms.shares import SlicingTypes
from ioa_marl.evaluation.mechanisms.single_item import ItemValues
from ioa_marl.foundations.errors import UserError, shown
from ioa_marl.foundations.files import read_text
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.foundations.tables import parquet_as_csv
from ioa_marl.markets.vcg_slicing.solver import LARGEST_RATE, LARGEST_WORTH, SMALLEST_RATE, SMALLEST_WORTH

LARGEST_VALUE = 1e9
"""Largest valuation that is accepted [units]."""
SIDES = ("buyer", "seller")
RATES = ("bandwidth", "computing", "cache")


@dataclass(frozen=True)
class _Row:
    """One row of a file."""

    path: Path
    line: int
    cells: Mapping[str, str]

    def refuse(self, column: str, allowed: str) -> UserError:
        """Return the error for a cell."""
        value = shown(self.cells[column])
        return UserError(f"{self.path}, line {self.line}: {column}={value} is not allowed: use {allowed}")

    def text(self, column: str) -> str:
        """Return a name, which must not be empty."""
        if not self.cells[column]:
            raise self.refuse(column, "a name")
        return self.cells[column]

    def number(self, column: str, low: float, high: float, zero: bool = False) -> float:
        """Return a number in [low, high], or 0 if ``zero``."""
        allowed = f"a number from {low:g} to {high:g}{', or 0' if zero and low > 0.0 else ''}"
        text = self.cells[column]
        try:
            value = math.nan if "_" in text else float(text)
        except ValueError:
            value = math.nan
        if not (low <= value <= high or (zero and value == 0.0)):
            raise self.refuse(column, allowed)
        return value


def _rows(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[_Row]:
    """Yield the rows of a file with these columns."""
    try:
        of_parquet = parquet_as_csv(path)
    except OSError:
        of_parquet = None  # `read_text` says what is wrong
    except ParameterError as error:
        raise UserError(str(error)) from error
    text = read_text(path).removeprefix("\ufeff") if of_parquet is None else of_parquet
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    allowed = ", ".join(columns) + (f" and, if you like, {', '.join(optional)}" if optional else "")
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if not any(stripped):
                continue
            if header is None:
                header = stripped
                fits = len(set(header)) == len(header) and set(columns) <= set(header) <= {*columns, *optional}
                if not fits:
                    given = shown(", ".join(header))
                    raise UserError(
                        f"{path}, line {reader.line_num}: the columns {given} are not allowed: use {allowed}"
                    )
                continue
            if len(stripped) != len(header):
                raise UserError(
                    f"{path}, line {reader.line_num}: {len(stripped)} cells are not allowed: use {len(header)}, "
                    f"{', '.join(header)}"
                )
            yield _Row(path, reader.line_num, dict(zip(header, stripped, strict=True)))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: is not CSV: {error}") from error
    if header is None:
        raise UserError(f"{path} is empty: use a first line with the columns {allowed}")


def _by_market(rows: Iterator[_Row], path: Path) -> dict[str, list[_Row]]:
    """Return the rows of each market."""
    markets: dict[str, list[_Row]] = {}
    for row in rows:
        markets.setdefault(row.text("market"), []).append(row)
    if not 1 <= len(markets) <= MOST_MARKETS:
        raise UserError(f"{path} has {len(markets)} markets: use 1 to {MOST_MARKETS}")
    return markets


def _named_once(rows: Sequence[_Row], column: str) -> None:
    """Refuse a market in which a name occurs twice."""
    names: set[str] = set()
    for row in rows:
        name = row.text(column)
        if name in names:
            raise row.refuse(column, f"every {column} of a market once")
        names.add(name)


def _source(path: Path) -> str:
    return f"bids of {path.name}"


def read_double_auctions(path: Path) -> DoubleAuctionBids:
    """Return the bids of double auctions: columns ``market``, ``side``, ``value``.

    Raises
    ------
    UserError
        If the file cannot be read or used; the message has the line, the column, the value and what is allowed.
    """
    pairs = []
    for market, rows in _by_market(_rows(path, ("market", "side", "value")), path).items():
        sides: dict[str, list[float]] = {side: [] for side in SIDES}
        for row in rows:
            side = row.cells["side"].lower()
            if side not in SIDES:
                raise row.refuse("side", " or ".join(SIDES))
            sides[side].append(row.number("value", 0.0, LARGEST_VALUE))
        for side, values in sides.items():
            if not values:
                raise UserError(f"{path}: market {shown(market)} has no {side}: use one or more")
        pairs.append((sides["buyer"], sides["seller"]))
    return DoubleAuctionBids.of(pairs, _source(path))


def read_single_items(path: Path) -> ItemValues:
    """Return the values of single items: columns ``market``, ``station``, ``value``, and if there is a UAV ``uav``.

    Raises
    ------
    UserError
        As `read_double_auctions`.
    """
    values, uavs = [], []
    for market, rows in _by_market(_rows(path, ("market", "station", "value"), ("uav",)), path).items():
        _named_once(rows, "station")
        if len(rows) < 2:
            raise UserError(f"{path}: market {shown(market)} has one station: use two or more")
        values.append([row.number("value", 0.0, LARGEST_VALUE) for row in rows])
        given = [(row, row.number("uav", 0.0, LARGEST_VALUE)) for row in rows if row.cells.get("uav")]
        if "uav" in rows[0].cells and not given:
            raise rows[0].refuse("uav", f"a number from 0 to {LARGEST_VALUE:g} in one row of each market")
        for row, value in given:
            if value != given[0][1]:
                raise row.refuse("uav", f"the same valuation in the whole market, here {given[0][1]:g}")
        uavs.append(given[0][1] if given else 0.0)
    return ItemValues.of(values, uavs, _source(path))


def read_shares(path: Path) -> SlicingTypes:
    """Return the types of providers: columns ``market``, ``provider``, ``worth``, and a rate for each resource.

    Raises
    ------
    UserError
        As `read_double_auctions`.
    """
    types = []
    for rows in _by_market(_rows(path, ("market", "provider", "worth", *RATES)), path).values():
        _named_once(rows, "provider")
        worth = [row.number("worth", SMALLEST_WORTH, LARGEST_WORTH) for row in rows]
        rates = [[row.number(name, SMALLEST_RATE, LARGEST_RATE, zero=True) for name in RATES] for row in rows]
        types.append((np.array(worth), np.array(rates)))
    return SlicingTypes(tuple(types), _source(path))
