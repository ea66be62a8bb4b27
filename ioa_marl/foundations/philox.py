"""Philox 4×64-10, a counter-based random generator, as plain Numba functions.

One stream per market: the key is ``(seed, environment index)`` and the episode is part of the counter, so
what a market draws never depends on the batch it is in. Bit for bit the generator of
``numpy.random.Philox`` (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.compile import kernel

_M0 = np.uint64(0xD2E7470EE14C6C93)
_M1 = np.uint64(0xCA5A826395121157)
_W0 = np.uint64(0x9E3779B97F4A7C15)
_W1 = np.uint64(0xBB67AE8584CAA73B)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_11 = np.uint64(11)
_TO_UNIT = 1.0 / 9007199254740992.0


@kernel
def _multiply(a: Any, b: Any) -> tuple[Any, Any]:
    """Return the high and the low word of the 128-bit product of two 64-bit words."""
    a_low, a_high, b_low, b_high = a & _LOW, a >> _32, b & _LOW, b >> _32
    low = a_low * b_low
    middle = a_high * b_low + (low >> _32)
    other = a_low * b_high + (middle & _LOW)
    high = a_high * b_high + (middle >> _32) + (other >> _32)
    return high, a * b


@kernel
def philox_block(key0: Any, key1: Any, block: Any, episode: Any, stream_offset: Any) -> tuple[Any, Any, Any, Any]:
    """Return four 64-bit words of a block of a stream.

    Parameters
    ----------
    key0, key1 : int
        Key of the stream: seed and index of the environment.
    block : int
        First counter word: number of the block, from 1 as in NumPy.
    episode : int
        Second counter word.
    stream_offset : int
        Third counter word, which separates the streams of one episode.
    """
    c0, c1, c2, c3 = np.uint64(block), np.uint64(episode), np.uint64(stream_offset), np.uint64(0)
    k0, k1 = np.uint64(key0), np.uint64(key1)
    for _ in range(10):
        high0, low0 = _multiply(_M0, c0)
        high1, low1 = _multiply(_M1, c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 += _W0
        k1 += _W1
    return c0, c1, c2, c3


@kernel
def to_unit(word: Any) -> float:
    """Map a 64-bit word to a float64 in [0, 1), as NumPy's ``Generator.random`` does."""
    return np.float64(word >> _11) * _TO_UNIT


@kernel
def fill_uniform(
    key0: Any, key1: Any, episode: Any, stream_offset: Any, out: NDArray[Any], row: int, column: int
) -> None:
    """Fill ``out[row, column, :]``, float64 (rows, columns, n), with uniforms in [0, 1), from block 1 on."""
    n = out.shape[2]
    block = np.uint64(1)
    for start in range(0, n, 4):
        w0, w1, w2, w3 = philox_block(key0, key1, block, episode, stream_offset)
        out[row, column, start] = to_unit(w0)
        if start + 1 < n:
            out[row, column, start + 1] = to_unit(w1)
        if start + 2 < n:
            out[row, column, start + 2] = to_unit(w2)
        if start + 3 < n:
            out[row, column, start + 3] = to_unit(w3)
        block += np.uint64(1)
