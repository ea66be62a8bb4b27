"""Tables of figures of one's own, which a setting reads from a CSV or Parquet file and then holds as text.

A setting such as ``data`` of a market takes the path of a file. The table replaces the path as soon as the setting is
checked, so that a configuration holds all that its result depends on: a run keeps the table in its ``config.yaml``, its
digest changes with the figures and not with the name of the file, and its rows can be checked without the file.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.errors import nearest, one_line
from ioa_marl.foundations.parameters import ParameterError, require

LARGEST_TABLE = 1_000_000
"""Largest table of a setting, in characters of its text."""
LARGEST_TABLE_FILE = 64 * 2**20
"""Largest file that is read as a table [bytes]."""
NAMES = frozenset({"agent", "market", "provider", "side", "station"})
"""Columns of names, which are text even if they look like numbers: ``007`` is not ``7``."""
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
            near = nearest(name, known)
            hint = f"did you mean {' or '.join(near)}? Columns are " if near else "the columns "
            require(name in known, "data", f"a table with the column {name}", f"{hint}{', '.join(known)}")
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
    """Return a number as the text of a cell; NaN is an empty one."""
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
    texts: dict[str, list[str]] = {}
    for title, cells in columns.items():
        allowed = "columns by name, each a sequence of numbers or of text"
        try:
            values = np.asarray(cells)
            require(values.ndim == 1, f"{name}.{title}", f"array of shape {values.shape}", allowed)
            texts[str(title)] = [_plain_cell(cell) for cell in values.tolist()]
        except (ValueError, TypeError, OverflowError) as error:
            if isinstance(error, ParameterError):
                raise
            raise ParameterError(f"{name}.{title}", cells, allowed) from error
    lengths = {title: len(cells) for title, cells in texts.items()}
    require(len(set(lengths.values())) == 1, name, f"columns of the lengths {lengths}", "columns of the same length")
    return _written(name, texts)


def _written(name: str, texts: Mapping[str, Sequence[str]]) -> str:
    """Return columns of cells as the lines of a CSV file."""
    for title, cells in texts.items():
        # A line break of any kind, such as U+0085, would not come back from a configuration file as it was.
        odd = next((text for text in (title, *cells) if not text.isprintable()), None)
        require(odd is None, f"{name}.{title}", odd, "names and cells of printable characters")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(texts)
    writer.writerows(zip(*texts.values(), strict=True))
    return out.getvalue()


def _plain_cell(cell: Any) -> str:
    if isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    if isinstance(cell, float):
        return _cell(cell)
    return "" if cell is None else str(cell).strip()


def _read(name: str, path: str) -> str:
    try:
        file = Path(path).expanduser()
        require(not file.is_dir(), name, path, f"{_FORMS}; this is a folder")
        size = file.stat().st_size
        require(file.is_file() and size <= LARGEST_TABLE_FILE, name, path, f"{_FORMS} of at most 64 MiB")
        content = file.read_bytes()
    except (OSError, RuntimeError) as error:
        reason = one_line(getattr(error, "strerror", None) or error)
        raise ParameterError(name, path, f"{_FORMS} that can be read ({reason})") from error
    except ValueError as error:
        if isinstance(error, ParameterError):
            raise
        raise ParameterError(name, path, f"{_FORMS} that can be read ({one_line(error)})") from error
    return _normal_form(name, path, content)


@lru_cache(maxsize=64)
def _normal_form(name: str, source: str, content: bytes) -> str:
    shown = "its text" if is_table(source) else source
    columns = _parquet(name, shown, content) if content[:4] == b"PAR1" else _csv(name, shown, content)
    require(len(set(columns)) == len(columns) > 0, name, shown, f"{_FORMS} whose columns have different names")
    lengths = {len(column) for column in columns.values()}
    require(lengths != {0}, name, shown, "a table with at least one row")
    texts = {
        title: column if isinstance(column, tuple) else [_cell(x) for x in column] for title, column in columns.items()
    }
    return _written(name, texts)


def _csv(name: str, source: str, content: bytes) -> dict[str, Column]:
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ParameterError(name, source, f"{_FORMS}: {one_line(error)}") from error
    rows = [row for row in rows if row]
    require(len(rows) > 0, name, source, f"{_FORMS} with a line of names")
    head = [cell.strip() for cell in rows[0]]
    for number, row in enumerate(rows[1:], 1):
        require(len(row) == len(head), name, source, f"rows of {len(head)} cells; row {number} has {len(row)}")
    twice = next((title for title in head if head.count(title) > 1), "")
    require(not twice, name, f"{source} with the column {twice} twice", "names of columns that all differ")
    require(all(head), name, source, "names of columns, none of them empty")
    require(len(head) > 1 or ";" not in head[0], name, source, "commas between columns, not semicolons")
    cells = [[cell.strip() for cell in column] for column in zip(*rows[1:], strict=True)]
    return {title: _column(title, column) for title, column in zip(head, cells or [[] for _ in head], strict=True)}


def _column(title: str, cells: list[str]) -> Column:
    """Return cells as numbers if they all are, or empty, and else as texts; names are always texts."""
    if title not in NAMES and all(_is_number(cell) for cell in cells):
        return np.array([float(cell) if cell else math.nan for cell in cells])
    return tuple(cells)


def _parquet(name: str, source: str, content: bytes) -> dict[str, Column]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(content))
        titles = table.column_names
        require(len(set(titles)) == len(titles), name, source, "names of columns that all differ")
        columns = {}
        for title in titles:
            kind = table.schema.field(title).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)
            plain = text or pa.types.is_integer(kind) or pa.types.is_floating(kind)
            require(plain, f"{name}.{title}", f"a column of {kind}", "columns of numbers or of text")
            # The same table has the same text in both forms of a file.
            columns[title] = _column(title, [_plain_cell(cell) for cell in table[title].to_pylist()])
    except (pa.ArrowException, OSError, OverflowError, UnicodeError) as error:
        raise ParameterError(name, source, f"{_FORMS}: {one_line(error)}") from error
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


def take_from_table(config: Any, values: Mapping[str, Any]) -> None:
    """Set fields of a frozen configuration to what follows from its table.

    Parameters
    ----------
    config : dataclass
        The configuration.
    values : mapping of str to object
        Values by field, with which other values than the defaults must agree.

    Raises
    ------
    ParameterError
        If a field has another value than the default and that of the table.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    for name, of_table in values.items():
        value = getattr(config, name)
        value = tuple(value) if isinstance(value, list) else value
        require(value in (defaults[name], of_table), name, value, f"{of_table}, as in data")
        object.__setattr__(config, name, of_table)
