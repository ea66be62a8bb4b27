"""Values without names: every number that a thing holds, as tokens that are equal where values are, to the bit."""

from __future__ import annotations

import dataclasses
import hashlib
import numbers
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tokens = list[str]
"""Sorted: which name a value had, and in which order fields come, makes no difference."""
Entry = dict[str, Tokens]
"""The tokens of one thing, by what they are: rewards, metrics and so on."""
REFUSED = "refused"
"""Token of a combination of settings that the package refuses."""


def arrays_of(thing: Any) -> Iterator[NDArray[Any]]:
    """Yield every number that ``thing`` holds, however deep: texts, classes and functions are no values.

    Raises
    ------
    TypeError
        If it holds something of which nobody has said where its values are; nothing is left out in silence.
    """
    if thing is None or isinstance(thing, (str, bytes, type, PurePath)) or callable(thing):
        return
    if isinstance(thing, np.ndarray) and thing.dtype.names:
        for name in thing.dtype.names:
            yield from arrays_of(thing[name])
    elif isinstance(thing, (np.ndarray, np.generic, numbers.Number)):
        yield np.asarray(thing)
    elif hasattr(thing, "detach"):  # a tensor
        yield np.asarray(thing.detach().cpu())
    elif dataclasses.is_dataclass(thing):
        for field in dataclasses.fields(thing):
            yield from arrays_of(getattr(thing, field.name))
    elif isinstance(thing, Mapping):
        for value in thing.values():
            yield from arrays_of(value)
    elif isinstance(thing, (list, tuple, set, frozenset, range)):
        for value in thing:
            yield from arrays_of(value)
    else:
        raise TypeError(f"{type(thing).__name__} is nothing that a fingerprint can be taken of")


def token(array: NDArray[Any]) -> str:
    """Return an array's digest, shape and mean: the digest decides, the others are for whoever looks for the reason.

    Integers and truth values count as they are, whatever their width; of real numbers every bit counts, and their width
    as well. One NaN is like any other.
    """
    if array.dtype.kind in "biu":
        array = array.astype(np.int64)
    elif array.dtype.kind == "f":
        array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
    else:
        raise TypeError(f"an array of {array.dtype} holds no numbers")
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    with np.errstate(all="ignore"):
        mean = float(array.mean(dtype=np.float64)) if array.size else 0.0
    return f"{digest.hexdigest()[:16]} {array.shape} mean {mean:.9g}"


def tokens_of(*things: Any) -> Tokens:
    """Return the tokens of all arrays in some things."""
    return sorted(token(array) for thing in things for array in arrays_of(thing))


def pooled(*things: Any) -> Tokens:
    """Return one token of all real numbers in some things, sorted: it stays where arrays are only cut up otherwise."""
    parts = [array.ravel() for thing in things for array in arrays_of(thing) if array.dtype.kind == "f"]
    return [token(np.sort(np.concatenate(parts)))] if parts else []


class Trace:
    """Arrays that come step by step; each series becomes one token in the end.

    A series has a kind, under which it is compared, and a name, which only keeps it apart from others of its kind.
    """

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], list[NDArray[Any]]] = {}

    def add(self, kind: str, name: str, array: NDArray[Any]) -> None:
        """Append a copy of ``array`` along its first axis."""
        self._series.setdefault((kind, name), []).append(np.array(array))

    def entry(self) -> Entry:
        """Return the tokens of all series, by kind."""
        entry: Entry = {}
        for (kind, _), parts in self._series.items():
            entry.setdefault(kind, []).append(token(np.concatenate(parts)))
        return {kind: sorted(tokens) for kind, tokens in entry.items()}


def differences(was: Mapping[str, Entry], now: Iterable[tuple[str, Entry | Exception]]) -> Iterator[str]:
    """Yield what differs between recorded entries and those that are made now, in words, as it is found.

    An entry that could not be made, so that there is an error instead of it, differs.
    """
    missing = set(was)
    for name, entry in now:
        missing.discard(name)
        if name not in was:
            yield f"{name}: it was not recorded, and is there now"
        elif isinstance(entry, Exception):
            yield f"{name}: it cannot be made: {type(entry).__name__}: {entry}"
        else:
            for kind in sorted(was[name].keys() | entry.keys()):
                yield from _different(f"{name}/{kind}", was[name].get(kind, []), entry.get(kind, []))
    for name in sorted(missing):
        yield f"{name}: it was recorded, and is not there now"


def _different(name: str, was: Sequence[str], now: Sequence[str], most: int = 3) -> Iterator[str]:
    gone, new = Counter(was) - Counter(now), Counter(now) - Counter(was)
    if gone or new:
        lines = [f"{name}: {gone.total()} of {len(was)} values are gone, {new.total()} are new"]
        lines += [f"    was {value}" for value in list(gone.elements())[:most]]
        lines += [f"    now {value}" for value in list(new.elements())[:most]]
        yield "\n".join(lines)
