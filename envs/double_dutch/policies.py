"""Scripted policies of the double Dutch auction; they may look at the whole state of the game."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.policies import policy
from ioa_marl.foundations.parameters import is_number, require
from ioa_marl.markets.double_dutch.clairvoyant import ClairvoyantPlan, clairvoyant_plan
from ioa_marl.markets.double_dutch.kernels import BUYERS, SELLERS
from ioa_marl.markets.double_dutch.references import best_fixed_step

if TYPE_CHECKING:
    from ioa_marl.envs.core import PolicyFactory
    from ioa_marl.envs.double_dutch.game import DoubleDutchGame


def _index_of(game: DoubleDutchGame, name: str, step: float) -> int:
    steps = game.config.steps
    require(step in steps, name, step, f"one of {', '.join(f'{s:g}' for s in steps)}")
    return steps.index(step)


class FixedStep:
    """The traditional double Dutch auction: the same step always, the best one unless another is given."""

    def __init__(self, game: DoubleDutchGame, step: float | None = None) -> None:
        index = best_fixed_step(game.config) if step is None else _index_of(game, "step", step)
        self._actions = np.full((game.num_envs, 1), index, np.int64)

    def __call__(self) -> NDArray[np.int64]:
        """Return the step's index for every market."""
        return self._actions


class ScriptedStep(FixedStep):
    """The step that the market itself uses when nobody plays the auctioneer."""

    def __init__(self, game: DoubleDutchGame) -> None:
        super().__init__(game, game.config.scripted_step)


class TwoPhase:
    """A coarse step until the active side's first acceptance, then a fine one."""

    def __init__(self, game: DoubleDutchGame, coarse: float = 5.0, fine: float = 1.0) -> None:
        self._game = game
        self._coarse, self._fine = _index_of(game, "coarse", coarse), _index_of(game, "fine", fine)

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, 1) step indices."""
        market = self._game.market
        started = np.take_along_axis(market.winners, market.side[:, None], axis=1) > 0
        return np.where(started, self._fine, self._coarse)


class Clairvoyant:
    """The plan that is optimal for somebody who knows every bid."""

    def __init__(self, game: DoubleDutchGame) -> None:
        self._game = game
        self._plans: list[ClairvoyantPlan | None] = [None] * game.num_envs
        self._solved: list[tuple[bytes, bytes] | None] = [None] * game.num_envs

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, 1) step indices, solving a market anew where the bids are new."""
        market = self._game.market
        actions = np.zeros((self._game.num_envs, 1), np.int64)
        for b in range(self._game.num_envs):
            key = (market.size[b].tobytes(), market.valuation[b].tobytes())
            plan = self._plans[b]
            if plan is None or self._solved[b] != key:
                plan = self._plans[b] = clairvoyant_plan(market, b, self._game.config)
                self._solved[b] = key
            actions[b, 0] = plan.action(market.side[b], market.clock[b, 0], market.clock[b, 1])
        return actions


class Truthful:
    """Accept at every clock that is no worse than the own valuation."""

    def __init__(self, game: DoubleDutchGame, side: int) -> None:
        self._game, self._side = game, side
        self._count = (game.config.buyers, game.config.sellers)[side]

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, bidders) with 1 for accept."""
        limits = self._game.market.threshold[:, self._side, : self._count]
        clock = self._game.market.clock[:, self._side, None]
        accept = clock <= limits if self._side == BUYERS else clock >= limits
        return accept.astype(np.int64)


class Shaded(Truthful):
    """Accept only at a clock better than the own valuation by a fixed share of it."""

    def __init__(self, game: DoubleDutchGame, side: int, shade: float = 0.1) -> None:
        super().__init__(game, side)
        require(is_number(shade) and 0.0 <= shade < 1.0, "shade", shade, "a number in [0, 1)")
        self._factor = 1.0 - shade if side == BUYERS else 1.0 + shade

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, bidders) with 1 for accept."""
        reported = self._game.market.valuation[:, self._side, : self._count] * self._factor
        clock = self._game.market.clock[:, self._side, None] * self._game.config.tick
        accept = clock <= reported if self._side == BUYERS else clock >= reported
        return accept.astype(np.int64)


POLICIES: dict[str, dict[str, PolicyFactory]] = {
    "auctioneer": {
        "fixed_step": policy(FixedStep),
        "two_phase": policy(TwoPhase),
        "oracle": policy(Clairvoyant),
        "scripted_step": policy(ScriptedStep),
    },
    "buyer": {"truthful": policy(Truthful, BUYERS), "shaded": policy(Shaded, BUYERS)},
    "seller": {"truthful": policy(Truthful, SELLERS), "shaded": policy(Shaded, SELLERS)},
}
"""For each role its scripted policies by name."""
