"""Equilibria and joint maxima with which an episode is compared, kept while a process plays the same conditions again.

Every evaluation of a training run plays the same episodes, so the benchmarks of each of their rounds are computed once.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.markets.stackelberg.equilibrium import joint_maxima, search_batch
from ioa_marl.markets.stackelberg.kernels import MarketState
from ioa_marl.markets.stackelberg.params import StackelbergParams

LARGEST_MEMORY = 2**27
"""Largest size of what is kept [bytes]; the oldest goes first."""
_OBJECT = 500
"""Bytes of what is kept beside its arrays, roughly."""
_CONDITIONS = (
    "reach", "traits", "relay_time", "time_per_mbit", "aerial_time_per_mbit", "offloading_ratio", "served_fraction",
    "cost",
)  # fmt: skip
"""Arrays of `MarketState` on which equilibria depend."""


@dataclass(frozen=True)
class Equilibria:
    """Equilibria of one market under the conditions of one round."""

    prices: NDArray[np.float64]
    """Unit prices of the equilibrium of lowest total profit or, if none was found, those of lowest NashConv.

    Shape (2, leaders) [units/Mbit].
    """
    found: NDArray[np.float64]
    """Unit prices of all different equilibria that were found, shape (found, 2, leaders) [units/Mbit]."""
    profit: float
    """Total profit of the leaders at ``prices`` [units]."""

    @property
    def nbytes(self) -> int:
        """Size [bytes]."""
        return self.prices.nbytes + self.found.nbytes + _OBJECT


@dataclass(frozen=True)
class Joint:
    """The largest joint profit of one market under the conditions of one round."""

    profit: float
    """Total profit of the leaders [units]: a lower bound of the maximum with more than two."""
    at_cap: float
    """Share of the leaders with a sale whose price is ``price_cap``."""
    nbytes: int = _OBJECT
    """Size [bytes]."""


class _Memory:
    """What has been computed, by kind, settings and conditions."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Any, Any] = OrderedDict()
        self._bytes = 0

    def recall(
        self,
        kind: str,
        params: StackelbergParams,
        market: MarketState,
        mask: NDArray[np.bool_],
        compute: Callable[[NDArray[np.bool_]], dict[int, Any]],
    ) -> dict[int, Any]:
        """Return what is kept of the markets ``mask``, by index in the batch; ``compute`` adds what is not."""
        keys = {b: (kind, params, _digest(market, b)) for b in np.flatnonzero(mask).tolist()}
        out = {b: self._kept[key] for b, key in keys.items() if key in self._kept}
        missing = mask.copy()
        missing[list(out)] = False
        if missing.any():
            for b, value in compute(missing).items():
                out[b] = value
                if keys[b] not in self._kept:
                    self._bytes += value.nbytes
                self._kept[keys[b]] = value
            while self._bytes > LARGEST_MEMORY and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return out


_MEMORY = _Memory()


def _digest(market: MarketState, index: int) -> bytes:
    """Return a digest of the conditions of one market of a batch."""
    digest = hashlib.blake2b(digest_size=16)
    for name in _CONDITIONS:
        digest.update(np.ascontiguousarray(getattr(market, name)[index]).tobytes())
    return digest.digest()


def known_equilibria(params: StackelbergParams, market: MarketState, mask: NDArray[np.bool_]) -> dict[int, Equilibria]:
    """Return the equilibria of the markets ``mask`` of a batch under their current conditions, by index.

    Parameters
    ----------
    params : StackelbergParams
        Parameters of the markets.
    market : MarketState
        Batch of markets.
    mask : ndarray of bool, shape (batch,)
        Markets to solve.

    Returns
    -------
    dict of int to Equilibria
    """

    def compute(missing: NDArray[np.bool_]) -> dict[int, Equilibria]:
        prices, found, solutions = search_batch(params, market, missing)
        return {
            b: Equilibria(
                prices[b].copy(), found[b, : int(solutions[b].equilibria)].copy(), float(solutions[b].leader_profit)
            )
            for b in np.flatnonzero(missing).tolist()
        }

    return _MEMORY.recall("equilibria", params, market, mask, compute)


def known_joint_maxima(params: StackelbergParams, market: MarketState, mask: NDArray[np.bool_]) -> dict[int, Joint]:
    """Return the largest joint profits of the markets ``mask`` of a batch under their current conditions, by index.

    Parameters
    ----------
    params, market, mask
        See `known_equilibria`.

    Returns
    -------
    dict of int to Joint
    """

    def compute(missing: NDArray[np.bool_]) -> dict[int, Joint]:
        _, profit, at_cap = joint_maxima(params, market, missing)
        return {b: Joint(float(profit[b]), float(at_cap[b])) for b in np.flatnonzero(missing).tolist()}

    return _MEMORY.recall("joint", params, market, mask, compute)
