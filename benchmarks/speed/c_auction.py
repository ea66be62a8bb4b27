"""The double Dutch auction of ``double_dutch.c``, compiled on the spot and called through ctypes."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from arrays import allocate_outputs
from numpy.typing import NDArray

from ioa_marl.envs.double_dutch.game import DoubleDutchConfig
from ioa_marl.markets.double_dutch.state import allocate_state

SOURCE = Path(__file__).parent / "double_dutch.c"
FLAGS = ("-O3", "-ffp-contract=off", "-fPIC", "-shared")
"""Fused multiply-adds would round differently; with ``-march=native`` the auction was some 10 % slower."""


def compiler() -> str | None:
    """Return the C compiler of this machine, if it has one."""
    return shutil.which("cc")


def compile_library() -> ctypes.CDLL:
    """Compile the auction and load it."""
    cc = compiler()
    if cc is None:
        raise FileNotFoundError("there is no C compiler called cc")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "double_dutch.so"
        subprocess.run([cc, *FLAGS, str(SOURCE), "-o", str(library), "-lm"], check=True)
        return ctypes.CDLL(str(library))


class CAuction:
    """A batch of auctions stepped by C, over arrays of the same layout as the library's.

    The address of every array that stays is taken once; a step takes that of its actions in the cheapest way
    that ctypes has.

    Parameters
    ----------
    config : DoubleDutchConfig
        Settings of the market.
    num_envs : int
        Number of markets.
    """

    def __init__(self, config: DoubleDutchConfig, num_envs: int) -> None:
        bidders = max(config.buyers, config.sellers)
        self.state = allocate_state(num_envs, bidders)
        self.outputs = allocate_outputs(config, num_envs)
        if config.ending != "exhausted":
            raise ValueError(f"the C engine ends auctions as ending=exhausted does, not as {config.ending}")
        record = config.record(max_cycles=config.max_cycles, extended=config.observation == "extended")
        self._parameters = (record, config.step_ticks())
        arrays = (*self.state, *self.outputs, *self._parameters)
        sizes = (num_envs, bidders, self.outputs.observation.shape[-1], self.outputs.ledger.shape[-1])
        # The struct Batch: one address per array, then the sizes; all of them are eight bytes.
        self._batch = (ctypes.c_int64 * (len(arrays) + len(sizes)))(*(a.ctypes.data for a in arrays), *sizes)
        library = compile_library()
        self._open, self._step = library.open_markets, library.step_markets
        self._open.restype = self._step.restype = None
        self._from_buffer: Any = (ctypes.c_int64 * num_envs).from_buffer

    def reset(self, seeds: NDArray[np.uint64]) -> None:
        """Start episode 0 of every market; market e draws from stream e of its seed."""
        self.state.seed[:] = seeds
        self.state.stream[:] = np.arange(len(seeds))
        self.state.episode[:] = 0
        self._open(self._batch)

    def step(self, actions: NDArray[np.int64]) -> None:
        """Play one tick of every market, contiguous actions (batch, 1)."""
        self._step(self._batch, self._from_buffer(actions))
