"""The random streams are those of NumPy's Philox, bit for bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ioa_marl.foundations.philox import fill_uniform, philox_block, to_unit

words = st.integers(0, 2**64 - 1).map(np.uint64)
blocks = st.integers(1, 2**64 - 1).map(np.uint64)


def numpy_philox(key0, key1, block, episode, purpose):
    """Return NumPy's generator with ``block`` as its next block; it increments the counter before it draws."""
    return np.random.Philox(
        key=np.array([key0, key1], np.uint64),
        counter=np.array([block - np.uint64(1), episode, purpose, 0], np.uint64),
    )


@settings(max_examples=200, deadline=None)
@given(words, words, blocks, words, words)
def test_block_is_numpys_for_every_key_and_counter(key0, key1, block, episode, purpose):
    expected = numpy_philox(key0, key1, block, episode, purpose).random_raw(4)
    assert [int(w) for w in philox_block(key0, key1, block, episode, purpose)] == expected.tolist()


@settings(max_examples=100, deadline=None)
@given(words, words, words, words, st.integers(1, 23))
def test_uniforms_are_those_of_numpys_generator_for_any_length(seed, stream, episode, purpose, n):
    out = np.full((2, 3, n), -1.0)
    fill_uniform(seed, stream, episode, purpose, out, 1, 2)
    expected = np.random.Generator(numpy_philox(seed, stream, np.uint64(1), episode, purpose)).random(n)
    assert out[1, 2].tolist() == expected.tolist()
    out[1, 2] = -1.0
    assert np.all(out == -1.0), "only the row that was asked for is written"


def test_largest_word_stays_below_one():
    assert to_unit(np.uint64(2**64 - 1)) == 1.0 - 2.0**-53
    assert to_unit(np.uint64(0)) == 0.0


def test_neighbouring_seeds_streams_and_episodes_share_no_word():
    keys = [(s, e, t) for s in range(3) for e in range(3) for t in range(3)]
    drawn = [philox_block(np.uint64(s), np.uint64(e), 1, np.uint64(t), 0) for s, e, t in keys]
    assert len({int(w) for block in drawn for w in block}) == 4 * len(keys)
