"""Tables of figures of one's own, which a setting reads from a CSV or Parquet file and then holds as text.

A setting such as ``data`` of a market takes the path of a file. The table replaces the path as soon as the setting is
checked, so that a configuration holds all that its result depends on: a run keeps the table in its ``config.yaml``, its
digest changes with the figures and not with the name of the file, and its rows can be checked without the file.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.parameters import ParameterError, require

LARGEST_TABLE = 1_000_000
"""Largest table of a setting, in characters of its text."""
LARGEST_TABLE_FILE = 64 * 2**20
"""Largest file that is read as a table [bytes]."""
_FORMS = "a file of comma-separated values (.csv) or a Parquet file (.parquet)"

Column = NDArray[np.float64] | tuple[str, ...]
"""Numbers, NaN where a cell is empty, or texts, empty where a cell is."""


@dataclass(frozen=True, eq=False)
class Table:
    """A table with named columns of the same length."""

    columns: Mapping[str, Column]
    """Columns by name, in the order of the file."""
    rows: int
    """Number of rows."""

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a column as text; a number becomes text as a file would have it."""
        column = self.columns[name]
        return column if isinstance(column, tuple) else tuple(_cell(value) for value in column)

    def numbers(self, name: str, allowed: str) -> NDArray[np.float64]:
        """Return a column of numbers, NaN where a cell is empty.

        Raises
        ------
        ParameterError
            If the column has text; the message names the column, the row and what is allowed.
        """
        column = self.columns[name]
        if not isinstance(column, tuple):
            return column
        row = next((i for i, text in enumerate(column) if not _is_number(text)), 0)
        raise ParameterError(f"data.{name}", f"{column[row]} (row {row + 1})", allowed)

    def require(self, name: str, valid: NDArray[np.bool_], allowed: str) -> None:
        """Refuse a table unless all entries of ``valid``, bool (rows,), hold; the message names the first bad row."""
        if not valid.all():
            row = int(np.argmin(valid))
            value = self.texts(name)[row] or "empty"
            raise ParameterError(f"data.{name}", f"{value} (row {row + 1})", allowed)

    def require_columns(self, needed: tuple[str, ...], known: tuple[str, ...]) -> None:
        """Refuse a table without one of the ``needed`` columns, or with one that is not ``known``."""
        for name in self.columns:
            require(name in known, "data", f"a table with the column {name}", f"the columns {', '.join(known)}")
        for name in needed:
            require(
                name in self.columns, "data", f"a table of the columns {', '.join(self.columns)}",
                f"a table with the column {name}",
            )  # fmt: skip


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == ""
    return True


def _cell(value: float) -> str:
    if math.isnan(value):
        return ""
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(float(value))


def is_table(value: Any) -> bool:
    """Whether a setting's value is the text of a table, and not the path of a file."""
    return isinstance(value, str) and "\n" in value


def table_label(text: str) -> str:
    """Return a short name of a table for people, with the first digits of its hash."""
    rows = text.count("\n") - 1
    return f"table of {rows} row{'s' * (rows != 1)} ({hashlib.sha256(text.encode()).hexdigest()[:8]})"


def table_text(name: str, value: str | os.PathLike[str] | Mapping[str, Any]) -> str:
    """Return the text of a table in its one form, from the path of a file or from any text of the table.

    Parameters
    ----------
    name : str
        Name of the setting, for messages.
    value : str, path-like or mapping
        Path of a CSV or Parquet file whose columns have names; or the lines of a CSV file, each with its end; or
        columns by name, sequences of numbers (NaN or None for an empty cell) or of text.

    Raises
    ------
    ParameterError
        If there is no such file, or it is not such a table, or it is too large.
    """
    if isinstance(value, Mapping):
        value = _lines(name, value)
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    require(isinstance(value, str) and value != "", name, value, _FORMS)
    text = _normal_form(name, value, value.encode()) if is_table(value) else _read(name, value)
    require(
        len(text) <= LARGEST_TABLE, name, f"a table of {len(text)} characters",
        f"a table of at most {LARGEST_TABLE}, since it is a part of each row; plain functions take larger arrays",
    )  # fmt: skip
    return text


def _lines(name: str, columns: Mapping[str, Any]) -> str:
    """Return columns by name as the lines of a CSV file."""
    texts = {
        title: [_plain_cell(cell) for cell in np.asarray(cells).ravel().tolist()] for title, cells in columns.items()
    }
    lengths = {title: len(cells) for title, cells in texts.items()}
    require(len(set(lengths.values())) == 1, name, f"columns of the lengths {lengths}", "columns of the same length")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(texts)
    writer.writerows(zip(*texts.values(), strict=True))
    return out.getvalue()


def _plain_cell(cell: Any) -> str:
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return _cell(float(cell))
    return "" if cell is None else str(cell)


def _read(name: str, path: str) -> str:
    file = Path(path).expanduser()
    try:
        size = file.stat().st_size
        require(file.is_file() and size <= LARGEST_TABLE_FILE, name, path, f"{_FORMS} of at most 64 MiB")
        content = file.read_bytes()
    except OSError as error:
        raise ParameterError(name, path, f"{_FORMS} that can be read ({error.strerror})") from error
    return _normal_form(name, path, content)


@lru_cache(maxsize=64)
def _normal_form(name: str, source: str, content: bytes) -> str:
    shown = "its text" if is_table(source) else source
    columns = _parquet(name, shown, content) if content[:4] == b"PAR1" else _csv(name, shown, content)
    require(len(set(columns)) == len(columns) > 0, name, shown, f"{_FORMS} whose columns have different names")
    lengths = {len(column) for column in columns.values()}
    require(lengths != {0}, name, shown, "a table with at least one row")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    texts = [column if isinstance(column, tuple) else [_cell(x) for x in column] for column in columns.values()]
    for row in zip(*texts, strict=True):
        writer.writerow(row)
    return out.getvalue()


def _csv(name: str, source: str, content: bytes) -> dict[str, Column]:
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ParameterError(name, source, f"{_FORMS}: {' '.join(str(error).split())}") from error
    rows = [row for row in rows if row]
    require(len(rows) > 0, name, source, f"{_FORMS} with a line of names")
    head = [cell.strip() for cell in rows[0]]
    for number, row in enumerate(rows[1:], 1):
        require(len(row) == len(head), name, source, f"rows of {len(head)} cells; row {number} has {len(row)}")
    require(all(head) and len(set(head)) == len(head), name, source, "names of columns that all differ")
    cells = [[cell.strip() for cell in column] for column in zip(*rows[1:], strict=True)]
    return {title: _column(column) for title, column in zip(head, cells or [[] for _ in head], strict=True)}


def _column(cells: list[str]) -> Column:
    """Return cells as numbers if they all are, or empty, and else as texts."""
    if all(_is_number(cell) for cell in cells):
        return np.array([float(cell) if cell else math.nan for cell in cells])
    return tuple(cells)


def _parquet(name: str, source: str, content: bytes) -> dict[str, Column]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(content))
        columns = {}
        for title in table.column_names:
            cells = ["" if cell is None else cell for cell in table[title].to_pylist()]
            plain = all(isinstance(cell, (int, float, str)) and not isinstance(cell, bool) for cell in cells)
            require(plain, name, f"{source}, column {title}", "columns of numbers or of text")
            # The same table has the same text in both forms of a file.
            columns[title] = _column([cell.strip() if isinstance(cell, str) else _cell(float(cell)) for cell in cells])
    except pa.ArrowException as error:
        raise ParameterError(name, source, f"{_FORMS}: {' '.join(str(error).split())}") from error
    return columns


@lru_cache(maxsize=64)
def parse_table(text: str) -> Table:
    """Return the table of a text that `table_text` returned; callers must not change its arrays."""
    columns = _csv("data", "its text", text.encode())
    for column in columns.values():
        if not isinstance(column, tuple):
            column.setflags(write=False)
    return Table(columns, len(next(iter(columns.values()))))


def read_table(path: str | Path) -> Table:
    """Return the table of a CSV or Parquet file, of any size up to 64 MiB, for plain functions that take arrays.

    Parameters
    ----------
    path : str or Path
        The file; its columns must have names.

    Raises
    ------
    ParameterError
        If the file cannot be read as a table.
    """
    return parse_table(_read("path", str(path)))


def parquet_as_csv(path: Path) -> str | None:
    """Return the lines of a CSV file with the table of a Parquet file; None if the file is none."""
    with path.open("rb") as file:
        return _read("path", str(path)) if file.read(4) == b"PAR1" else None


def hold_table(config: Any, name: str) -> Table | None:
    """Replace the path in the field ``name`` of a frozen configuration by the table's text, and return the table.

    Raises
    ------
    ParameterError
        See `table_text`.
    """
    value = getattr(config, name)
    if value is None:
        return None
    text = table_text(name, value)
    object.__setattr__(config, name, text)
    return parse_table(text)
