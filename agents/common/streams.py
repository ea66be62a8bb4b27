"""Random numbers of agents: one counter-based stream per training seed and purpose.

What a seed draws depends on its own counter only, never on the seeds beside it, and the counter is all
there is to save.
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
    """Two independent standard normal numbers out of two words (Box and Muller)."""
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
        Which of a seed's streams; two purposes never share numbers with each other or with a market.
    """

    def __init__(self, seeds: Sequence[int], stream_offset: int) -> None:
        self._seeds = np.array(seeds, np.uint64)
        # Markets use small stream numbers (their index); agents count down from the top.
        self._stream = np.uint64(2**64 - 1 - stream_offset)
        self.counters = np.zeros(len(self._seeds), np.uint64)

    def uniform(self, *shape: int) -> NDArray[np.float64]:
        """Return numbers in [0, 1), shape (seeds, *shape), and advance every seed's counter by one."""
        out = np.empty((len(self._seeds), int(np.prod(shape))))
        _fill(self._seeds, self._stream, self.counters, out)
        self.counters += np.uint64(1)
        return out.reshape(len(self._seeds), *shape)

    def normal(self, *shape: int) -> NDArray[np.float32]:
        """Return standard normal numbers, shape (seeds, *shape), and advance every seed's counter by one."""
        out = np.empty((len(self._seeds), 1, int(np.prod(shape))), np.float32)
        _fill_normal(self._seeds, self._stream, self.counters[:, None], out)
        self.counters += np.uint64(1)
        return out.reshape(len(self._seeds), *shape)

    def normal_of(self, observations: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """Return standard normal numbers that depend on a seed, an observation and its place only; no counter moves.

        Parameters
        ----------
        observations : ndarray of float32
            (seeds, rows, features).
        count : int
            Numbers for each observation.

        Returns
        -------
        ndarray of float32
            (seeds, rows, count).
        """
        seen = np.ascontiguousarray(observations, np.float32).view(np.uint32)
        counters = np.empty(seen.shape[:2], np.uint64)
        _fingerprints(seen, counters)
        out = np.empty((*seen.shape[:2], count), np.float32)
        _fill_normal(self._seeds, self._stream, counters, out)
        return out

    def integers(self, high: NDArray[np.int64] | int, *shape: int) -> NDArray[np.int64]:
        """Return integers in [0, high), shape (seeds, *shape); ``high`` broadcasts against that shape."""
        out: NDArray[np.int64] = (self.uniform(*shape) * high).astype(np.int64)
        return out

    def categorical(self, probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
        """Draw from distributions over the last axis, shape (seeds, …, outcomes)."""
        u = self.uniform(*probabilities.shape[1:-1])
        # The last edge is left out, so rounding of the sum can never give an outcome that does not exist.
        edges = np.cumsum(probabilities, axis=-1, dtype=np.float64)[..., :-1]
        drawn: NDArray[np.int64] = (u[..., None] >= edges).sum(axis=-1)
        return drawn
