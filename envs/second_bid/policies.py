"""Scripted policies of the modified second-bid auction; they may look at the whole state of the game."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.policies import policy
from ioa_marl.foundations.parameters import integer_if_whole, is_number, is_whole, require
from ioa_marl.markets.second_bid.drivers import MULTIPLIERS, best_actions
from ioa_marl.markets.second_bid.references import calibration

if TYPE_CHECKING:
    from ioa_marl.envs.core import PolicyFactory
    from ioa_marl.envs.second_bid.game import SecondBidGame


class ConstantRho:
    """The same ρ always: the best one on markets kept for that purpose, unless the index of another is given."""

    def __init__(self, game: SecondBidGame, level: int | None = None) -> None:
        level = calibration(game.config).constant if level is None else level
        levels = game.config.levels
        level = integer_if_whole(level)
        require(is_whole(level) and 0 <= level < levels, "level", level, f"an index from 0 to {levels - 1}")
        self._actions = np.full((game.num_envs, 1), level, np.int64)

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, 1) indices of ρ."""
        return self._actions


class SecondPrice(ConstantRho):
    """The second-price auction, ρ = 1."""

    def __init__(self, game: SecondBidGame) -> None:
        super().__init__(game, 0)


class RatioRule(ConstantRho):
    """The nearest ρ of the grid to max(1, ζ E[v₀]/E[b₍₂₎]), the optimum of a market with Pareto match values."""

    def __init__(self, game: SecondBidGame) -> None:
        distance = np.abs(np.log(game.config.rhos() / calibration(game.config).ratio))
        super().__init__(game, int(np.argmin(distance)))


class MyopicMSB:
    """ρ = max(1, b₍₁₎/b₍₂₎) of the present bids, rounded up: it gives the UAV the task wherever the grid can."""

    def __init__(self, game: SecondBidGame) -> None:
        self._game, self._rhos = game, game.config.rhos()

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, 1) indices of ρ."""
        first, second = _two_best(self._game)
        enough = self._rhos * second[:, None] >= first[:, None]
        return np.where(enough.any(axis=1), enough.argmax(axis=1), len(self._rhos) - 1)[:, None]


class Threshold:
    """ρ = 1 where the best bid exceeds a threshold [units], else the largest ρ; by default the best threshold.

    With ``physical`` valuations that is ζ E[v₀], as the bids say nothing about v₀; with ``pareto`` it is searched for.
    """

    def __init__(self, game: SecondBidGame, threshold: float | None = None) -> None:
        self._game = game
        self._threshold = calibration(game.config).threshold if threshold is None else threshold
        usable = is_number(self._threshold) and self._threshold >= 0.0
        require(usable, "threshold", threshold, "a finite number of at least 0")

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, 1) indices of ρ."""
        first, _ = _two_best(self._game)
        return np.where(first > self._threshold, 0, self._game.config.levels - 1)[:, None]


class LastWinner:
    """ρ = 1 if the last best bid exceeded the UAV's last valuation, else the largest; first the best constant ρ."""

    def __init__(self, game: SecondBidGame) -> None:
        self._game, self._constant = game, calibration(game.config).constant

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, 1) indices of ρ."""
        market = self._game.market
        last = np.where(market.last["first"] > market.last["uav"], 0, self._game.config.levels - 1)
        return np.where(market.task > 0, last, self._constant)[:, None]


class FullInformation:
    """The ρ with the largest surplus for somebody who knows every true value and the bids made, ties to the smallest.

    Where stations misreport, it makes the best of the bids that there are: it chooses between the highest bidder, at
    its true value, and the UAV.
    """

    def __init__(self, game: SecondBidGame) -> None:
        self._game = game
        self._actions = np.zeros((game.num_envs, 1), np.int64)

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, 1) indices of ρ."""
        game = self._game
        best_actions(game.market, game.params, game.rhos, self._actions)
        return self._actions


def _two_best(game: SecondBidGame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Highest and second highest bid of a station for the present task, (batch,) each."""
    bids = np.take_along_axis(game.market.bid, game.market.rank[:, :2], axis=1)
    return bids[:, 0], bids[:, 1]


class Multiplied:
    """Every station bids its valuation times a factor, one of 0.5, 0.6, … 2."""

    def __init__(self, game: SecondBidGame, factor: float = 0.8) -> None:
        known = [is_number(factor) and abs(factor - multiplier) < 1e-9 for multiplier in MULTIPLIERS]
        require(any(known), "factor", factor, "0.5, 0.6, … 2.0")
        self._actions = np.full((game.num_envs, game.config.stations), known.index(True), np.int64)

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, stations) indices of multipliers."""
        return self._actions


class Truthful(Multiplied):
    """Every station bids its valuation."""

    def __init__(self, game: SecondBidGame) -> None:
        super().__init__(game, 1.0)


POLICIES: dict[str, dict[str, PolicyFactory]] = {
    "auctioneer": {
        "constant_rho": policy(ConstantRho),
        "second_price": policy(SecondPrice),
        "ratio_rule": policy(RatioRule),
        "myopic_msb": policy(MyopicMSB),
        "threshold": policy(Threshold),
        "last_winner": policy(LastWinner),
        "oracle": policy(FullInformation),
    },
    "station": {"truthful": policy(Truthful), "multiplied": policy(Multiplied)},
}
"""For each role its scripted policies by name."""
