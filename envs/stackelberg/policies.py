"""Scripted policies of the Stackelberg market, which may use the whole state of the game."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.policies import policy
from ioa_marl.foundations.parameters import is_number, require
from ioa_marl.markets.stackelberg.drivers import answer_markets, best_responses
from ioa_marl.markets.stackelberg.kernels import FIXED, MOBILE
from ioa_marl.markets.stackelberg.records import Deviation
from ioa_marl.markets.stackelberg.references import best_posted_pair, round_prices

if TYPE_CHECKING:
    from ioa_marl.envs.core import PolicyFactory
    from ioa_marl.envs.stackelberg.game import StackelbergGame

FIRST_MARGIN = 0.5
"""Margin over unit costs of the prices to which `best_response` responds in the first round."""


class _Leader:
    """Base of the policies of one side of the leaders, which turn prices into actions."""

    def __init__(self, game: StackelbergGame, side: int) -> None:
        self._game, self._side = game, side
        self._count = (game.config.mobile, game.config.fixed)[side]
        self._all = np.ones(game.num_envs, np.bool_)

    def _actions(self, prices: NDArray[np.float64]) -> NDArray[Any]:
        """Return prices (batch, leaders) as actions: the nearest grid price, or the share of ``price_cap``."""
        config = self._game.config
        share = np.clip(prices / config.price_cap, 0.0, 1.0)
        if config.action == "box":
            return share[:, :, None]
        return np.rint(share * (config.price_levels - 1)).astype(np.int64)

    def _cost_plus(self, margin: float) -> NDArray[np.float64]:
        """Return prices of both sides at a margin over unit costs, (batch, 2, leaders)."""
        prices: NDArray[np.float64] = np.minimum(self._game.market.cost * (1.0 + margin), self._game.config.price_cap)
        return prices


class CostPlus(_Leader):
    """Post the unit cost plus a margin."""

    def __init__(self, game: StackelbergGame, side: int, margin: float = 0.5) -> None:
        super().__init__(game, side)
        require(is_number(margin) and margin >= 0.0, "margin", margin, "a number of at least 0")
        self._margin = margin

    def __call__(self) -> NDArray[Any]:
        """Return (batch, leaders) actions."""
        return self._actions(self._cost_plus(self._margin)[:, self._side, : self._count])


class PostedPair(_Leader):
    """Post one price for all leaders of the side: ``price``, or that of the best pair for the instance."""

    def __init__(self, game: StackelbergGame, side: int, price: float | None = None) -> None:
        super().__init__(game, side)
        cap = game.config.price_cap
        usable = price is None or (is_number(price) and 0.0 <= price <= cap)
        require(usable, "price", price, f"null or 0 to price_cap={cap:g}")
        self._price = price

    def __call__(self) -> NDArray[Any]:
        """Return (batch, leaders) actions."""
        game = self._game
        prices = np.full((game.num_envs, self._count), self._price or 0.0)
        if self._price is None:
            for instance in np.unique(game.market.instance):
                pair = best_posted_pair(game.config, game.config.price_levels, int(instance))
                prices[game.market.instance == instance] = pair[self._side]
        return self._actions(prices)


class BestResponse(_Leader):
    """Post the best response to the other side's last prices, in the first round to unit costs plus 50%."""

    def __call__(self) -> NDArray[Any]:
        """Return (batch, leaders) actions."""
        game, market = self._game, self._game.market
        new = (market.round == 0)[:, None, None]
        rivals = np.where(new, self._cost_plus(FIRST_MARGIN), market.price)
        deviations = Deviation.zeros(game.num_envs, self._count)
        best_responses(market, game.params, self._all, self._side, rivals, game.config.scan(), deviations)
        prices = deviations["price"]
        if game.config.action == "box":
            return self._actions(prices)
        # A leader may lose a buyer just above its best price, so the better neighbour is taken, not the nearest.
        return round_prices(game.config, market, self._all, prices, self._side, game.config.price_levels, rivals)


class Equilibrium(_Leader):
    """Post the prices of Algorithm 2; where it finds no equilibrium, its prices of lowest NashConv."""

    def __call__(self) -> NDArray[Any]:
        """Return (batch, leaders) actions; the prices of both sides are rounded together."""
        return self._actions(self._game.equilibrium_to_play()[:, self._side, : self._count])


class ExactShare:
    """Choose the exact best shares, rounded to the grid of shares."""

    def __init__(self, game: StackelbergGame) -> None:
        self._game = game
        self._all = np.ones(game.num_envs, np.bool_)

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, wireless) indices of shares."""
        market = self._game.market
        # A policy may be called at any time, so it must not overwrite the results of the last round.
        answers = market._replace(share=np.zeros_like(market.share), buys=np.zeros_like(market.buys))
        answer_markets(answers, self._game.params, self._all)
        shares: NDArray[np.int64] = np.rint(answers.share * (self._game.config.share_levels - 1)).astype(np.int64)
        return shares


def _of_side(side: int) -> dict[str, PolicyFactory]:
    """Return the policies of one side of the leaders by name."""
    return {
        "best_response": policy(BestResponse, side),
        "greedy": policy(BestResponse, side),
        "oracle": policy(Equilibrium, side),
        "cost_plus": policy(CostPlus, side),
        "posted_pair": policy(PostedPair, side),
    }


POLICIES: dict[str, dict[str, PolicyFactory]] = {
    "mobile": _of_side(MOBILE),
    "fixed": _of_side(FIXED),
    "wireless": {"best_response": policy(ExactShare), "oracle": policy(ExactShare)},
}
"""Scripted policies of each role by name."""
