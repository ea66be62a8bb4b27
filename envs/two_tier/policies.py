"""Scripted policies of the two-tier market, which may use the whole state of the game."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.policies import policy
from ioa_marl.foundations.parameters import is_number, require
from ioa_marl.markets.double_dutch.kernels import BUYERS, SELLERS
from ioa_marl.markets.stackelberg.kernels import FIXED, MOBILE
from ioa_marl.markets.two_tier.grid import cost_plus_indices
from ioa_marl.markets.two_tier.references import best_fixed_pair, best_posted_pair

if TYPE_CHECKING:
    from ioa_marl.envs.core import PolicyFactory
    from ioa_marl.envs.two_tier.game import TwoTierGame

FIRST_MARGIN = 0.5
"""Margin over unit costs of the prices to which `best_response` responds in the first round."""


class _Leader:
    """Base of the policies of one side of the leaders."""

    def __init__(self, game: TwoTierGame, side: int) -> None:
        self._game, self._side = game, side
        self._count = (game.config.mobile, game.config.fixed)[side]

    def _cost_plus(self, margin: float) -> NDArray[np.int64]:
        """Return (batch, leaders) indices of the prices at a margin over unit costs."""
        config, cost = self._game.config, self._game.market.cost
        return cost_plus_indices(config, config.price_levels, cost[:, self._side, : self._count], margin)


class CostPlus(_Leader):
    """Post the unit cost plus a margin."""

    def __init__(self, game: TwoTierGame, side: int, margin: float = 0.5) -> None:
        super().__init__(game, side)
        require(is_number(margin) and margin >= 0.0, "margin", margin, "a number of at least 0")
        self._margin = margin

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, leaders) indices of prices."""
        return self._cost_plus(self._margin)


class ScriptedMargin(CostPlus):
    """Post the unit cost plus the margin of the settings, as the market does when the side is scripted."""

    def __init__(self, game: TwoTierGame, side: int) -> None:
        margins = (game.config.scripted_mobile_margin, game.config.scripted_fixed_margin)
        super().__init__(game, side, margins[side])


class PostedPair(_Leader):
    """Post one price for all leaders of the side: ``price``, or that of the best pair for the instance."""

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
    """Post the best price against the others' last actions, with the α that the wireless agents expect now.

    In the first round the others are assumed to post unit costs plus 50%, and the auctioneer to use the scripted steps.
    """

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, leaders) indices of prices."""
        game, evaluator, side = self._game, self._game.deviation_evaluator(), self._side
        actions = np.zeros((game.num_envs, self._count), np.int64)
        for b in range(game.num_envs):
            evaluator.take(game.whole, b)
            state, tier = evaluator.market.pricing, evaluator.market.tier
            if state.round[0] == 0:
                np.minimum(state.cost * (1.0 + FIRST_MARGIN), game.config.price_cap, out=state.price)
                tier.pair[0] = game.config.scripted_pair()
            prices, _ = evaluator.best_prices(side, side)
            actions[b] = prices[side, : self._count]
        return actions


class Equilibrium(_Leader):
    """Post the prices that no leader gains by leaving in a settled round, or those of the lowest NashConv seen."""

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, leaders) indices of prices."""
        return self._game.equilibrium_to_play()[:, self._side, : self._count]


class PricingEquilibrium(_Leader):
    """Post prices of Algorithm 2, which ignores capacities, with the α that the wireless agents expect now."""

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, leaders) indices of prices."""
        return self._game.pricing_equilibrium()[:, self._side, : self._count]


class FixedPair:
    """Choose constant steps, as the traditional double Dutch auction does: the best pair, or those of the arguments."""

    def __init__(self, game: TwoTierGame, buyer_step: float | None = None, seller_step: float | None = None) -> None:
        self._game, steps = game, game.config.steps
        listed = ", ".join(f"{step:g}" for step in steps)
        self._indices = [
            None if step is None else steps.index(step) if step in steps else -1 for step in (buyer_step, seller_step)
        ]
        for name, step, index in zip(
            ("buyer_step", "seller_step"), (buyer_step, seller_step), self._indices, strict=True
        ):
            require(index != -1, name, step, f"null or one of {listed}")

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, 1, 2) indices of steps."""
        game, config = self._game, self._game.config
        actions = np.zeros((game.num_envs, 1, 2), np.int64)
        if None in self._indices:
            margins = config.scripted_mobile_margin, config.scripted_fixed_margin
            for instance in np.unique(game.market.instance):
                pair = best_fixed_pair(config, config.price_levels, *margins, int(instance))
                actions[game.market.instance == instance] = pair
        for clock, index in enumerate(self._indices):
            if index is not None:
                actions[:, 0, clock] = index
        return actions


class ScriptedPair(FixedPair):
    """Choose the steps of the settings, as the market does when the auctioneer is scripted."""

    def __init__(self, game: TwoTierGame) -> None:
        super().__init__(game, game.config.scripted_buyer_step, game.config.scripted_seller_step)


class BestPair:
    """Choose the pair of steps with the highest return on the bids of this round, by simulation of every pair."""

    def __init__(self, game: TwoTierGame) -> None:
        self._game = game

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, 1, 2) indices of steps."""
        game, evaluator = self._game, self._game.deviation_evaluator()
        actions = np.zeros((game.num_envs, 1, 2), np.int64)
        for b in range(game.num_envs):
            evaluator.take(game.whole, b)
            actions[b, 0] = evaluator.best_pair()
        return actions


class Multiplied:
    """Bid the valuation times ``factor``, one of the multipliers of the settings."""

    def __init__(self, game: TwoTierGame, side: int, factor: float = 0.8) -> None:
        known = game.config.multipliers
        matches = [is_number(factor) and abs(factor - multiplier) < 1e-9 for multiplier in known]
        require(any(matches), "factor", factor, f"one of {', '.join(f'{x:g}' for x in known)}")
        count = (game.config.fixed, game.config.aerial)[side]
        self._actions = np.full((game.num_envs, count), matches.index(True), np.int64)

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, bidders) indices of multipliers."""
        return self._actions


class Truthful(Multiplied):
    """Bid the valuation."""

    def __init__(self, game: TwoTierGame, side: int) -> None:
        super().__init__(game, side, 1.0)


def _of_bidders(side: int) -> dict[str, PolicyFactory]:
    """Return the policies of the buyers or of the sellers by name."""
    return {"truthful": policy(Truthful, side), "multiplied": policy(Multiplied, side)}


def _of_side(side: int) -> dict[str, PolicyFactory]:
    """Return the policies of one side of the leaders by name."""
    return {
        "oracle": policy(Equilibrium, side),
        "pricing_equilibrium": policy(PricingEquilibrium, side),
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
    "buyer": _of_bidders(BUYERS),
    "seller": _of_bidders(SELLERS),
}
"""Scripted policies of each role by name."""
