"""Scripted policies of the two-tier market; they may look at the whole state of the game."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.policies import policy
from ioa_marl.foundations.parameters import is_number, require
from ioa_marl.markets.stackelberg.kernels import FIXED, MOBILE
from ioa_marl.markets.two_tier.references import best_fixed_pair, best_posted_pair, cost_plus_indices

if TYPE_CHECKING:
    from ioa_marl.envs.core import PolicyFactory
    from ioa_marl.envs.two_tier.game import TwoTierGame

FIRST_MARGIN = 0.5
"""Before anything was posted, a best response is one to prices this far above unit costs."""


class _Leader:
    """A policy of one side of the leaders."""

    def __init__(self, game: TwoTierGame, side: int) -> None:
        self._game, self._side = game, side
        self._count = (game.config.mobile, game.config.fixed)[side]

    def _cost_plus(self, margin: float) -> NDArray[np.int64]:
        config, cost = self._game.config, self._game.market.cost
        return cost_plus_indices(config, config.price_levels, cost[:, self._side, : self._count], margin)


class CostPlus(_Leader):
    """Unit cost and a margin on top."""

    def __init__(self, game: TwoTierGame, side: int, margin: float = 0.5) -> None:
        super().__init__(game, side)
        require(is_number(margin) and margin >= 0.0, "margin", margin, "a number of at least 0")
        self._margin = margin

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, leaders) indices of prices."""
        return self._cost_plus(self._margin)


class ScriptedMargin(CostPlus):
    """The margin that the market itself uses when nobody plays the side."""

    def __init__(self, game: TwoTierGame, side: int) -> None:
        margins = (game.config.scripted_mobile_margin, game.config.scripted_fixed_margin)
        super().__init__(game, side, margins[side])


class PostedPair(_Leader):
    """One price for everybody on the side: that of the best pair for the instance, unless ``price`` is given."""

    def __init__(self, game: TwoTierGame, side: int, price: float | None = None) -> None:
        super().__init__(game, side)
        cap = game.config.price_cap
        usable = price is None or (is_number(price) and 0.0 <= price <= cap)
        require(usable, "price", price, f"null or 0 to price_cap={cap:g}")
        self._price = price

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, leaders) indices of prices."""
        game, config = self._game, self._game.config
        last = config.price_levels - 1
        actions = np.full((game.num_envs, self._count), round((self._price or 0.0) / config.price_cap * last))
        if self._price is None:
            for instance in np.unique(game.market.instance):
                pair = best_posted_pair(config, config.price_levels, int(instance))
                actions[game.market.instance == instance] = pair[self._side]
        return actions


class BestResponse(_Leader):
    """The price that would have been best in the last round, given what wireless agents expect now.

    The others post what they posted, the auctioneer uses the steps that it used. Before there was a round, the others
    post unit costs plus half, and the auctioneer the scripted steps.
    """

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, leaders) indices of prices."""
        game, deviation_evaluator, side = self._game, self._game.deviation_evaluator(), self._side
        actions = np.zeros((game.num_envs, self._count), np.int64)
        for b in range(game.num_envs):
            deviation_evaluator.take(game.whole, b)
            state, tier = deviation_evaluator.market.pricing, deviation_evaluator.market.tier
            if state.round[0] == 0:
                np.minimum(state.cost * (1.0 + FIRST_MARGIN), game.config.price_cap, out=state.price)
                tier.pair[0] = game.config.scripted_pair()
            actions[b] = deviation_evaluator.best_prices(side, side)[0][side, : self._count]
        return actions


class Equilibrium(_Leader):
    """Equilibrium prices of the pricing tier by Algorithm 2, given what wireless agents expect now."""

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, leaders) indices of prices."""
        return self._game.equilibrium_to_play()[:, self._side, : self._count]


class FixedPair:
    """The traditional double Dutch auction: the same two steps always, the best pair unless others are given."""

    def __init__(self, game: TwoTierGame, buyer_step: float | None = None, seller_step: float | None = None) -> None:
        self._game, steps = game, game.config.steps
        listed = ", ".join(f"{step:g}" for step in steps)
        self._given = [
            None if step is None else steps.index(step) if step in steps else -1 for step in (buyer_step, seller_step)
        ]
        for name, step, index in zip(
            ("buyer_step", "seller_step"), (buyer_step, seller_step), self._given, strict=True
        ):
            require(index != -1, name, step, f"null or one of {listed}")

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, 1, 2) indices of steps."""
        game, config = self._game, self._game.config
        actions = np.zeros((game.num_envs, 1, 2), np.int64)
        if None in self._given:
            margins = config.scripted_mobile_margin, config.scripted_fixed_margin
            for instance in np.unique(game.market.instance):
                pair = best_fixed_pair(config, config.price_levels, *margins, int(instance))
                actions[game.market.instance == instance] = pair
        for clock, index in enumerate(self._given):
            if index is not None:
                actions[:, 0, clock] = index
        return actions


class ScriptedPair(FixedPair):
    """The steps that the market itself uses when nobody plays the auctioneer."""

    def __init__(self, game: TwoTierGame) -> None:
        super().__init__(game, game.config.scripted_buyer_step, game.config.scripted_seller_step)


class BestPair:
    """The pair of steps with the highest return on the bids of this round: every pair is simulated."""

    def __init__(self, game: TwoTierGame) -> None:
        self._game = game

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, 1, 2) indices of steps."""
        game, deviation_evaluator = self._game, self._game.deviation_evaluator()
        actions = np.zeros((game.num_envs, 1, 2), np.int64)
        for b in range(game.num_envs):
            deviation_evaluator.take(game.whole, b)
            actions[b, 0] = deviation_evaluator.best_pair()
        return actions


def _of_side(side: int) -> dict[str, PolicyFactory]:
    return {
        "oracle": policy(Equilibrium, side),
        "best_response": policy(BestResponse, side),
        "greedy": policy(BestResponse, side),
        "cost_plus": policy(CostPlus, side),
        "posted_pair": policy(PostedPair, side),
        "scripted_margin": policy(ScriptedMargin, side),
    }


POLICIES: dict[str, dict[str, PolicyFactory]] = {
    "mobile": _of_side(MOBILE),
    "fixed": _of_side(FIXED),
    "auctioneer": {
        "oracle": policy(BestPair),
        "fixed_pair": policy(FixedPair),
        "scripted_pair": policy(ScriptedPair),
    },
}
"""For each role its scripted policies by name."""
