"""Conversion of NumPy scalars and arrays to plain Python values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def plain_value(value: Any) -> Any:
    """Return NumPy scalars and arrays as Python numbers and tuples, also inside mappings and sequences.

    Examples
    --------
    >>> plain_value({"width": np.int64(3), "steps": (np.float64(0.5), 1), "name": "calm"})
    {'width': 3, 'steps': (0.5, 1), 'name': 'calm'}
    """
    if isinstance(value, np.floating):
        return float(value)  # tolist() leaves long doubles unconverted
    if isinstance(value, np.ndarray) and value.ndim:
        return tuple(plain_value(inner) for inner in value)
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain_value(inner) for key, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(plain_value(inner) for inner in value)
    return value


def whole_number(value: Any) -> int | None:
    """Return a whole number as a Python int, or None if ``value`` is not a whole number.

    Whole numbers are integers of Python and NumPy and 0-d arrays of integers. Booleans are not, and neither are floats,
    even if their fractional part is 0.

    Examples
    --------
    >>> whole_number(np.int64(3)), whole_number(np.array(4)), whole_number(5.0), whole_number(True)
    (3, 4, None, None)
    """
    value = plain_value(value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else None
