"""Records: what kernels read by name, such as parameters, and write by name, such as metrics.

A kernel takes an array of one row and begins with ``p = params[0]``; fields are then read as ``p.psi``, at the speed of
positions in a plain array. (A record that is passed as an argument would be copied field by field.) Where Numba is
switched off, the same code runs as plain Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_TYPES = {"float": np.float64, "int": np.int64, "bool": np.int64}


class Record:
    """Base of the descriptions of records: annotated fields, each ``float``, ``int`` or ``bool``, with a docstring.

    Every field takes eight bytes; truth values are stored as 0 and 1. A name that Python reserves ends in an
    underscore.

    Examples
    --------
    >>> class Toll(Record):
    ...     price: float
    ...     lanes: int
    >>> Toll.row(price=2.5, lanes=3)[0].price
    np.float64(2.5)
    >>> Toll.names()
    ('price', 'lanes')
    """

    @classmethod
    def dtype(cls) -> np.dtype[Any]:
        """Return NumPy's type of one record."""
        annotations: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            annotations |= vars(base).get("__annotations__", {})
        fields = [(name, _TYPES[getattr(kind, "__name__", kind)]) for name, kind in annotations.items()]
        return np.dtype((np.record, fields))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the fields, in order, without the underscore of reserved names."""
        return tuple(name.rstrip("_") for name in cls.dtype().names or ())

    @classmethod
    def row(cls, **values: float) -> NDArray[Any]:
        """Return an array of one record with these values.

        Raises
        ------
        TypeError
            If a field has no value, or a value no field.
        """
        fields = cls.dtype().names or ()
        if set(values) != set(fields):
            raise TypeError(f"{cls.__name__} needs exactly the fields {', '.join(fields)}")
        out = np.zeros(1, cls.dtype())
        out[0] = tuple(values[name] for name in fields)
        return out

    @classmethod
    def zeros(cls, *shape: int) -> NDArray[Any]:
        """Return an array of records that are zero in every field."""
        return np.zeros(shape, cls.dtype())


def plain_view(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of records as one of numbers with a last axis for the fields, sharing memory; others as they are.

    All fields of such records are ``float``: a checkpoint stores plain numbers only.
    """
    names = array.dtype.names
    if names is None:
        return array
    return array.view(np.float64).reshape(*array.shape, len(names))
