"""Scripted policies of the slicing market, which may use the whole state of the game."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.policies import policy
from ioa_marl.foundations.parameters import integer_if_whole, is_whole, require
from ioa_marl.markets.vcg_slicing.baselines import kelly_split

if TYPE_CHECKING:
    from ioa_marl.envs.core import PolicyFactory
    from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame


class Hold:
    """Change nothing: the best constant action that all share, since rescaling undoes any change that all make."""

    def __init__(self, game: VCGSlicingGame) -> None:
        shape = (game.num_envs, game.config.providers, 3)
        self._actions = np.full(shape, game.config.hold, np.int64)

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, providers, 3) indices of changes."""
        return self._actions


class Greedy:
    """Choose the largest change if the own marginal utility is above the mean of all, else the smallest change."""

    def __init__(self, game: VCGSlicingGame) -> None:
        self._game = game

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, providers, 3) indices of changes."""
        market = self._game.market
        marginals = (market.worth - market.utility)[..., None] * market.rate
        above = marginals > marginals.sum(axis=1, keepdims=True) / market.present[:, None, None]
        return np.where(above, len(self._game.config.changes) - 1, 0)


class _Towards(ABC):
    """Steer to a target allocation by the change that is nearest to it in the logarithm."""

    def __init__(self, game: VCGSlicingGame) -> None:
        self._game = game
        steps = np.log1p(game.config.changes)
        self._boundaries = (steps[1:] + steps[:-1]) / 2

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, providers, 3) indices of changes."""
        share = self._game.market.share
        # The shares of absent providers are 0.
        change = np.log(np.maximum(self._target(), 1e-300) / np.where(share > 0.0, share, 1.0))
        return np.searchsorted(self._boundaries, change)

    @abstractmethod
    def _target(self) -> NDArray[np.float64]:
        """Return the allocation to steer to, broadcastable to (batch, providers, 3)."""


class EqualSplit(_Towards):
    """Steer to 1/N of each resource for every provider."""

    def _target(self) -> NDArray[np.float64]:
        return 1.0 / self._game.market.present[:, None, None]


class Kelly(_Towards):
    """Steer to shares in proportion to bids: reported worths, divided in proportion to the rates."""

    def _target(self) -> NDArray[np.float64]:
        market = self._game.market
        return kelly_split(market.worth * market.multiplier, market.rate)


class _Cached(_Towards):
    """Steer to an allocation that depends on the reported types only, and is computed when they change."""

    def __init__(self, game: VCGSlicingGame) -> None:
        super().__init__(game)
        self._shares = np.zeros((game.num_envs, game.config.providers, 3))
        self._keys = np.zeros((game.num_envs, 0), np.uint64)

    def _target(self) -> NDArray[np.float64]:
        keys = self._game.optima.report_keys()
        stale = np.ones(len(keys), np.bool_)
        if keys.shape == self._keys.shape:
            stale = np.any(keys != self._keys, axis=1)
        if stale.any():
            self._renew(stale)
            self._keys = keys
        return self._shares

    @abstractmethod
    def _renew(self, stale: NDArray[np.bool_]) -> None:
        """Compute the allocations of the markets ``stale``, bool (batch,)."""


class Oracle(_Cached):
    """Steer to the welfare optimum of the reported types, which are the true ones unless providers misreport."""

    def _renew(self, stale: NDArray[np.bool_]) -> None:
        self._game.optima.write_reported(stale, self._shares)


class QuantisedVCG(_Cached):
    """Steer to the optimum of the reported types in whole units of 1/``quanta`` of each resource."""

    def __init__(self, game: VCGSlicingGame, quanta: int = 20) -> None:
        from ioa_marl.markets.vcg_slicing.quantised import (
            auction,  # here: SciPy's solvers are slow to load
        )

        super().__init__(game)
        most = auction.MOST_QUANTA
        quanta = integer_if_whole(quanta)
        require(is_whole(quanta) and 1 <= quanta <= most, "quanta", quanta, f"a whole number from 1 to {most}")
        self._quanta, self._solve = quanta, auction.quantised_optimum

    def _renew(self, stale: NDArray[np.bool_]) -> None:
        market = self._game.market
        reported = (market.worth * market.multiplier)[..., None]
        types = np.concatenate([reported, market.rate], axis=2)[stale]
        different, which = np.unique(types, axis=0, return_inverse=True)  # many markets have the same providers
        shares = np.zeros((len(different), *market.rate.shape[1:]))
        for row, reports in enumerate(different):
            optimum = self._solve(reports[:, 0], reports[:, 1:], self._quanta)
            if not optimum.converged:
                raise ArithmeticError("a quantised optimum is not certified: too many bundles are as good as the best")
            shares[row] = optimum.shares
        self._shares[stale] = shares[which.reshape(-1)]


class Truthful:
    """Report the true worth."""

    def __init__(self, game: VCGSlicingGame) -> None:
        self._actions = np.full((game.num_envs, game.config.providers), game.config.truth, np.int64)

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, providers) indices of multipliers."""
        return self._actions


class Shaded(Truthful):
    """Report a fixed multiple of the true worth."""

    def __init__(self, game: VCGSlicingGame, multiplier: float = 0.8) -> None:
        grid = game.config.multipliers
        require(multiplier in grid, "multiplier", multiplier, f"one of {', '.join(f'{m:g}' for m in grid)}")
        self._actions = np.full((game.num_envs, game.config.providers), grid.index(multiplier), np.int64)


POLICIES: dict[str, dict[str, PolicyFactory]] = {
    "slice": {
        "oracle": policy(Oracle),
        "qvcg": policy(QuantisedVCG),
        "greedy": policy(Greedy),
        "equal_split": policy(EqualSplit),
        "kelly": policy(Kelly),
        "hold": policy(Hold),
    },
    "vsp": {"truthful": policy(Truthful), "shaded": policy(Shaded)},
}
"""Scripted policies of each role by name."""
