"""Learning curves: the means over episodes of each evaluation of a seed, read from its Parquet file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ioa_marl.foundations.files import DamagedFileError, check_readable

LARGEST_TABLE = 2**31
"""Largest size of a Parquet file, on disk and unpacked according to its header [bytes]."""
MOST_VALUES = 2 * 10**8
"""Largest number of rows times columns; a small file can contain far more when unpacked."""
MOST_EVALUATIONS = 10_001
"""Largest number of evaluations of a run."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Means over episodes of each evaluation of one seed; compared by identity."""

    steps: NDArray[np.int64]
    """Environment steps of the evaluations, ascending, shape (evaluations,)."""
    metrics: Mapping[str, NDArray[np.float64]]
    """Mean of each metric, by name, shape (evaluations,)."""


def read_curve(path: Path) -> Curve:
    """Return the learning curve in an ``evaluation.parquet``; columns that are not numeric are left out.

    Raises
    ------
    DamagedFileError
        If the file is missing, is not a Parquet file, has no training steps, or is larger than any run writes.
    """
    check_readable(path, LARGEST_TABLE)
    try:
        with path.open("rb") as source:
            return _averaged(path, pq.ParquetFile(source))
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DamagedFileError(path, f"is not a table of episodes: {reason}") from error


def _averaged(path: Path, file: pq.ParquetFile) -> Curve:
    """Average the episodes of each training step, reading some thousands at a time."""
    size = file.metadata
    unpacked = sum(size.row_group(i).total_byte_size for i in range(size.num_row_groups))
    if size.num_rows * size.num_columns > MOST_VALUES or unpacked > LARGEST_TABLE:
        raise DamagedFileError(path, f"has {size.num_rows} rows of {size.num_columns} columns, more than are read")
    types = {field.name: field.type for field in file.schema_arrow}
    if len(types) < len(file.schema_arrow) or not pa.types.is_integer(types.get("step", pa.null())):
        raise DamagedFileError(path, "is not a table of episodes: it needs one column step of whole numbers")
    names = [name for name, kind in types.items() if _is_number(kind) and name not in ("step", "episode")]
    sums: dict[int, NDArray[np.float64]] = {}
    for batch in file.iter_batches(columns=["step", *names], use_threads=False):
        table = np.array([np.ones(len(batch)), *(_floats(batch.column(name)) for name in names)])
        steps, place = np.unique(batch.column("step").to_numpy(zero_copy_only=False), return_inverse=True)
        if steps.dtype.kind not in "iu":
            raise DamagedFileError(path, "is not a table of episodes: a step is missing")
        added = np.array([np.bincount(place, row, len(steps)) for row in table])
        for step, column in zip(steps.tolist(), added.T, strict=True):
            sums[step] = sums[step] + column if step in sums else column
        if len(sums) > MOST_EVALUATIONS:
            raise DamagedFileError(path, f"has more than {MOST_EVALUATIONS} evaluations")
    ordered = sorted(sums)
    totals = np.array([sums[step] for step in ordered]).reshape(len(ordered), len(names) + 1)
    means = totals[:, 1:] / totals[:, :1]
    return Curve(np.array(ordered, np.int64), dict(zip(names, means.T, strict=True)))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _floats(column: pa.Array) -> NDArray[np.float64]:
    """Return a column as float64, (rows,), with NaN for missing values."""
    values: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values
