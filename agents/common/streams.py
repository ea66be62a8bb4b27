"""Random numbers of agents: counter-based streams, each identified by a training seed and a stream number.

The numbers of a seed depend on its own counter only, and never on the other seeds. The counter is the whole state of a
stream.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.philox import philox_block, to_unit


@kernel
def _fill(seeds: NDArray[Any], stream: Any, counters: NDArray[Any], out: NDArray[Any]) -> None:
    for s in range(out.shape[0]):
        n = out.shape[1]
        for start in range(0, n, 4):
            block = np.uint64(start // 4 + 1)
            w0, w1, w2, w3 = philox_block(seeds[s], stream, block, counters[s], 0)
            out[s, start] = to_unit(w0)
            if start + 1 < n:
                out[s, start + 1] = to_unit(w1)
            if start + 2 < n:
                out[s, start + 2] = to_unit(w2)
            if start + 3 < n:
                out[s, start + 3] = to_unit(w3)


@kernel
def _normal_pair(first: Any, second: Any) -> tuple[float, float]:
    """Turn two random words into two independent standard normal numbers (Box and Muller)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - to_unit(first)))
    angle = 2.0 * math.pi * to_unit(second)
    return radius * math.cos(angle), radius * math.sin(angle)


@kernel
def _fill_normal(seeds: NDArray[Any], stream: Any, counters: NDArray[Any], out: NDArray[Any]) -> None:
    for s in range(out.shape[0]):
        for r in range(out.shape[1]):
            n = out.shape[2]
            for start in range(0, n, 4):
                block = np.uint64(start // 4 + 1)
                w0, w1, w2, w3 = philox_block(seeds[s], stream, block, counters[s, r], r)
                z0, z1 = _normal_pair(w0, w1)
                z2, z3 = _normal_pair(w2, w3)
                out[s, r, start] = z0
                if start + 1 < n:
                    out[s, r, start + 1] = z1
                if start + 2 < n:
                    out[s, r, start + 2] = z2
                if start + 3 < n:
                    out[s, r, start + 3] = z3


@kernel
def _fingerprints(words: NDArray[Any], out: NDArray[Any]) -> None:
    for s in range(words.shape[0]):
        for r in range(words.shape[1]):
            mixed = np.uint64(0xCBF29CE484222325)
            for i in range(words.shape[2]):
                mixed = (mixed ^ np.uint64(words[s, r, i])) * np.uint64(0x100000001B3)
            out[s, r] = mixed


class Streams:
    """Uniform random numbers for several training seeds.

    Parameters
    ----------
    seeds : sequence of int
        Training seeds.
    stream_offset : int
        Number of the stream. Different streams of a seed, and those of its markets, are independent.
    """

    def __init__(self, seeds: Sequence[int], stream_offset: int) -> None:
        self._seeds = np.array(seeds, np.uint64)
        # Markets use their index as stream number; agents count down from the largest number.
        self._stream = np.uint64(2**64 - 1 - stream_offset)
        self.counters = np.zeros(len(self._seeds), np.uint64)

    def uniform(self, *shape: int) -> NDArray[np.float64]:
        """Return uniform numbers in [0, 1), float64 (seeds, *shape), and advance the counter of every seed by one."""
        out = np.empty((len(self._seeds), int(np.prod(shape))))
        _fill(self._seeds, self._stream, self.counters, out)
        self.counters += np.uint64(1)
        return out.reshape(len(self._seeds), *shape)

    def normal(self, *shape: int) -> NDArray[np.float32]:
        """Return standard normal numbers, float32 (seeds, *shape), and advance the counter of every seed by one."""
        out = np.empty((len(self._seeds), 1, int(np.prod(shape))), np.float32)
        _fill_normal(self._seeds, self._stream, self.counters[:, None], out)
        self.counters += np.uint64(1)
        return out.reshape(len(self._seeds), *shape)

    def normal_of(self, observations: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """Return standard normal numbers that are a function of the seed, the observation and its row.

        No counter advances.

        Parameters
        ----------
        observations : ndarray of float32
            (seeds, rows, features).
        count : int
            Number of normal numbers for each observation.

        Returns
        -------
        ndarray of float32
            (seeds, rows, count).
        """
        words = np.ascontiguousarray(observations, np.float32).view(np.uint32)
        counters = np.empty(words.shape[:2], np.uint64)
        _fingerprints(words, counters)
        out = np.empty((*words.shape[:2], count), np.float32)
        _fill_normal(self._seeds, self._stream, counters, out)
        return out

    def integers(self, high: NDArray[np.int64] | int, *shape: int) -> NDArray[np.int64]:
        """Return uniform integers in [0, high), int64 (seeds, *shape); ``high`` is broadcast to that shape."""
        out: NDArray[np.int64] = (self.uniform(*shape) * high).astype(np.int64)
        return out

    def categorical(self, probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
        """Sample outcomes, int64 (seeds, …), of which ``probabilities`` are (seeds, …, outcomes)."""
        return by_inversion(probabilities, self.uniform(*probabilities.shape[1:-1]))


def by_inversion(probabilities: NDArray[np.floating], u: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the outcomes to which uniform numbers belong.

    Parameters
    ----------
    probabilities : ndarray
        (…, outcomes).
    u : ndarray of float64
        (…), uniform in [0, 1).

    Returns
    -------
    ndarray of int64
        (…): the number of outcomes whose cumulative probability is at most u.
    """
    # Without the last edge, rounding of the sum cannot lead to an outcome that does not exist.
    edges = np.cumsum(probabilities, axis=-1, dtype=np.float64)[..., :-1]
    drawn: NDArray[np.int64] = (u[..., None] >= edges).sum(axis=-1)
    return drawn
