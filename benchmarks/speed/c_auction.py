"""The double Dutch auction of ``double_dutch.c``, compiled on the spot and called through ctypes."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.double_dutch import DoubleDutchConfig
from ioa_marl.markets.double_dutch import allocate_state
from ioa_marl.markets.double_dutch_batch import (
    AUCTIONEER_FEATURES,
    AUCTIONEER_FEATURES_EXTENDED,
    StepOutputs,
)
from ioa_marl.markets.double_dutch_kernels import METRICS

SOURCE = Path(__file__).parent / "double_dutch.c"
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fPIC", "-shared")
"""Numba compiles for the processor it runs on, so C may too; fused multiply-adds would round differently."""


def compiler() -> str | None:
    """Return the C compiler of this machine, if it has one."""
    return shutil.which("cc")


def compile_library(folder: Path, flags: tuple[str, ...] = FLAGS) -> ctypes.CDLL:
    """Compile the auction into ``folder`` and load it."""
    cc = compiler()
    if cc is None:
        raise FileNotFoundError("there is no C compiler called cc")
    library = folder / "double_dutch.so"
    subprocess.run([cc, *flags, str(SOURCE), "-o", str(library), "-lm"], check=True)
    return ctypes.CDLL(str(library))


class CAuction:
    """A batch of auctions stepped by C, over arrays of the same layout as the library's.

    Every pointer is bound once, which is the cheapest way to call C from Python.

    Parameters
    ----------
    config : DoubleDutchConfig
        Settings of the market.
    num_envs : int
        Number of markets.
    """

    def __init__(self, config: DoubleDutchConfig, num_envs: int) -> None:
        bidders = max(config.buyers, config.sellers)
        extended = config.observation == "extended"
        features = AUCTIONEER_FEATURES_EXTENDED if extended else AUCTIONEER_FEATURES
        accounts = config.buyers + config.sellers + 1
        self.state = allocate_state(num_envs, bidders)
        self.outputs = StepOutputs(
            terminated=np.zeros(num_envs, np.bool_),
            truncated=np.zeros(num_envs, np.bool_),
            observation=np.zeros((num_envs, 1, features), np.float32),
            reward=np.zeros((num_envs, 1), np.float32),
            final_observation=np.zeros((num_envs, 1, features), np.float32),
            metrics=np.zeros((num_envs, len(METRICS))),
            ledger=np.zeros((num_envs, accounts)),
        )
        self._parameters = (
            config.numbers(),
            config.counts(max_cycles=config.max_cycles, extended=extended),
            config.step_ticks(),
        )
        with tempfile.TemporaryDirectory() as folder:
            library = compile_library(Path(folder))
        arrays = (*self.state, *self.outputs, *self._parameters)
        sizes = (num_envs, bidders, features, accounts)
        # The struct Batch: one address per array, then the sizes; all of them are eight bytes.
        self._batch = (ctypes.c_int64 * (len(arrays) + len(sizes)))(*(a.ctypes.data for a in arrays), *sizes)
        self._open, self._step = library.open_markets, library.step_markets
        self._open.restype = self._step.restype = None

    def reset(self, seeds: NDArray[np.uint64]) -> None:
        """Start episode 0 of every market; market e draws from stream e of its seed."""
        self.state.seed[:] = seeds
        self.state.stream[:] = np.arange(len(seeds))
        self.state.episode[:] = 0
        self._open(self._batch)

    @staticmethod
    def pointer(actions: NDArray[np.int64]) -> Any:
        """Return what `step` takes: the address of contiguous actions (batch, 1), which must stay alive."""
        return ctypes.c_void_p(actions.ctypes.data)

    def step(self, actions: Any) -> None:
        """Play one tick of every market; finished markets start their next episode."""
        self._step(self._batch, actions)
