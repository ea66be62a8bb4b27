"""Scripted policies of the modified second-bid auction, which may use the whole state of the game."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.policies import policy
from ioa_marl.foundations.parameters import integer_if_whole, is_number, is_whole, require
from ioa_marl.markets.second_bid.drivers import MULTIPLIERS, best_actions
from ioa_marl.markets.second_bid.params import SecondBidParams
from ioa_marl.markets.second_bid.providers import Providers
from ioa_marl.markets.second_bid.references import calibration, highest_bid_ratio

if TYPE_CHECKING:
    from ioa_marl.envs.core import PolicyFactory
    from ioa_marl.envs.second_bid.game import SecondBidGame


class Calibrated:
    """A figure of calibration markets for every market of a game: where resources last, those of its instance.

    Parameters
    ----------
    game : SecondBidGame
        The game.
    figure : callable
        Maps the parameters and, where resources last, the providers to the figure.
    """

    def __init__(self, game: SecondBidGame, figure: Callable[[SecondBidParams, Providers | None], float]) -> None:
        self._game, self._figure = game, figure
        self._values = np.zeros(game.num_envs)
        self._providers: Providers | None = None
        self._instances: NDArray[np.uint64] | None = None

    def __call__(self) -> NDArray[np.float64]:
        """Return the figure of every market, float64 (batch,)."""
        game, instances, known = self._game, self._game.market.instance, self._instances
        if known is None or self._providers is not game.providers or not np.array_equal(known, instances):
            self._providers, self._instances = game.providers, instances.copy()
            everywhere = np.ones(game.num_envs, np.bool_)
            lasting = game.has_lasting_providers
            self._values[:] = game.by_instance(self._figure, everywhere) if lasting else self._figure(game.config, None)
        return self._values


def _best_constant(params: SecondBidParams, providers: Providers | None) -> float:
    """Return the index of the best constant ρ on calibration markets."""
    return calibration(params, providers).constant


class ConstantRho:
    """Choose a constant ρ: the one with the index ``level``, or the best one on calibration markets.

    Where resources belong to the instance, these are markets of the same instance.
    """

    def __init__(self, game: SecondBidGame, level: int | None = None) -> None:
        levels = game.config.levels
        level = integer_if_whole(level)
        valid = level is None or (is_whole(level) and 0 <= level < levels)
        require(valid, "level", level, f"an index from 0 to {levels - 1}")
        self._level = Calibrated(game, self.best if level is None else lambda params, providers: level)

    def best(self, params: SecondBidParams, providers: Providers | None) -> float:
        """Return the index of ρ where none is given."""
        return _best_constant(params, providers)

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, 1) indices of ρ."""
        return self._level().astype(np.int64)[:, None]


class SecondPrice(ConstantRho):
    """Choose ρ = 1, which gives the second-price auction."""

    def __init__(self, game: SecondBidGame) -> None:
        super().__init__(game, 0)


U0 = ("highest_bid", "uav")
"""Readings of u₀ in the paper's factor max(1, u₀/b₍₂₎)."""


class RatioRule(ConstantRho):
    """Choose the ρ nearest to max(1, E[u₀]/E[b₍₂₎]), in which ``u0`` says what u₀ is.

    ``uav`` (default) is the UAV's valuation with its bargaining power, ζ v₀; this is the optimum of a market with
    Pareto match values. ``highest_bid`` is b₍₁₎, the highest bid of a station. The means are those of calibration
    markets.
    """

    def __init__(self, game: SecondBidGame, u0: str = "uav") -> None:
        _check_u0(u0)
        self._u0 = u0
        super().__init__(game)

    def best(self, params: SecondBidParams, providers: Providers | None) -> float:
        """Return the index of the ρ that is nearest to the ratio."""
        uav = self._u0 == "uav"
        ratio = calibration(params, providers).ratio if uav else highest_bid_ratio(params, providers)
        return int(np.flatnonzero(params.rhos() == params.nearest_rho(ratio))[0])


class MyopicMSB:
    """Choose max(1, u₀/b₍₂₎) of the current task, rounded up, in which ``u0`` says what u₀ is.

    ``highest_bid`` (default) is b₍₁₎, the highest bid of a station; the UAV then gets every task that the grid allows.
    ``uav`` is the UAV's valuation with its bargaining power, ζ v₀, which the auctioneer of the market does not know
    before the task unless ``uav_bid_visible``. The UAV then gets every task for which ζ v₀ is at least b₍₁₎.
    """

    def __init__(self, game: SecondBidGame, u0: str = "highest_bid") -> None:
        _check_u0(u0)
        self._game, self._rhos, self._u0 = game, game.config.rhos(), u0

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, 1) indices of ρ."""
        first, rival = _two_best(self._game)
        if self._u0 == "uav":
            first = self._game.config.uav_weight * self._game.market.value[:, 0]
        uav_wins = self._rhos * rival[:, None] >= first[:, None]
        return np.where(uav_wins.any(axis=1), uav_wins.argmax(axis=1), len(self._rhos) - 1)[:, None]


class Threshold:
    """Choose ρ = 1 if the highest bid exceeds ``threshold`` [units], else the largest ρ.

    By default the threshold is the best one. With ``physical`` valuations that is ζ E[v₀], since the bids are not
    informative about v₀; with ``pareto``, or with ``rivals="providers"``, it is calibrated.
    """

    def __init__(self, game: SecondBidGame, threshold: float | None = None) -> None:
        self._game = game
        valid = threshold is None or (is_number(threshold) and threshold >= 0.0)
        require(valid, "threshold", threshold, "a finite number of at least 0")

        def best(params: SecondBidParams, providers: Providers | None) -> float:
            return calibration(params, providers).threshold if threshold is None else threshold

        self._threshold = Calibrated(game, best)

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, 1) indices of ρ."""
        first, _ = _two_best(self._game)
        return np.where(first > self._threshold(), 0, self._game.config.levels - 1)[:, None]


class LastWinner:
    """Choose ρ = 1 if the last highest bid exceeded the UAV's last valuation, else the largest ρ.

    In the first round it is the best constant ρ.
    """

    def __init__(self, game: SecondBidGame) -> None:
        self._game, self._constant = game, Calibrated(game, _best_constant)

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, 1) indices of ρ."""
        market = self._game.market
        action = np.where(market.last["first"] > market.last["uav"], 0, self._game.config.levels - 1)
        return np.where(market.task > 0, action, self._constant().astype(np.int64))[:, None]


class FullInformation:
    """Choose the ρ with the largest surplus for the bids, given every true value; ties go to the smallest ρ.

    If stations misreport, this is the better choice between the UAV and the highest bidder, each at its true value.
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
    """Return a station's highest bid and the highest bid of its rivals for this task [units], shape (batch,) each."""
    first, second = np.take_along_axis(game.market.bid, game.market.rank[:, :2], axis=1).T
    return first, np.maximum(second, game.market.value[:, 0]) if game.config.rivals == "providers" else second


def _check_u0(u0: str) -> None:
    """Refuse a reading of u₀ that is unknown."""
    require(u0 in U0, "u0", u0, " or ".join(U0))


class Multiplied:
    """Bid the valuation times ``factor``, one of 0.5, 0.6, …, 2."""

    def __init__(self, game: SecondBidGame, factor: float = 0.8) -> None:
        matches = [is_number(factor) and abs(factor - multiplier) < 1e-9 for multiplier in MULTIPLIERS]
        require(any(matches), "factor", factor, "0.5, 0.6, … 2.0")
        self._actions = np.full((game.num_envs, game.config.stations), matches.index(True), np.int64)

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, stations) indices of multipliers."""
        return self._actions


class Truthful(Multiplied):
    """Bid the valuation."""

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
"""Scripted policies of each role by name."""
