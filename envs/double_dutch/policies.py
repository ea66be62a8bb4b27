"""Scripted policies of the double Dutch auction, which may use the whole state of the game."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.policies import policy
from ioa_marl.foundations.parameters import is_number, require
from ioa_marl.markets.double_dutch.clairvoyant import ClairvoyantPlan, clairvoyant_plan
from ioa_marl.markets.double_dutch.kernels import BUYERS, SELLERS
from ioa_marl.markets.double_dutch.references import best_fixed_step
from ioa_marl.markets.double_dutch.step_tables import step_table, table_actions

if TYPE_CHECKING:
    from ioa_marl.envs.core import PolicyFactory
    from ioa_marl.envs.double_dutch.game import DoubleDutchGame

COARSE, FINE = 5.0, 1.0
"""Default steps of `TwoPhase` [units per lot]."""


def _index_of(game: DoubleDutchGame, name: str, step: float) -> int:
    """Return the index of the step [units per lot] that the argument ``name`` of a policy has."""
    steps = game.config.steps
    require(step in steps, name, step, f"one of {', '.join(f'{s:g}' for s in steps)}")
    return steps.index(step)


class FixedStep:
    """Choose a constant step [units per lot]: ``step``, or the best one on calibration markets."""

    def __init__(self, game: DoubleDutchGame, step: float | None = None) -> None:
        index = best_fixed_step(game.config) if step is None else _index_of(game, "step", step)
        self._actions = np.full((game.num_envs, 1), index, np.int64)

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, 1) indices of steps."""
        return self._actions


class Traditional(FixedStep):
    """Choose the smallest step always, as in the traditional double Dutch auction: nearly efficient, many messages."""

    def __init__(self, game: DoubleDutchGame) -> None:
        super().__init__(game, game.config.steps[0])


class ScriptedStep(FixedStep):
    """Choose the step of the settings, as the market does when the auctioneer is scripted."""

    def __init__(self, game: DoubleDutchGame) -> None:
        super().__init__(game, game.config.scripted_step)


class TwoPhase:
    """Choose a coarse step until the first acceptance of the active side, and then a fine one [units per lot]."""

    def __init__(self, game: DoubleDutchGame, coarse: float = COARSE, fine: float = FINE) -> None:
        self._game = game
        self._coarse, self._fine = _index_of(game, "coarse", coarse), _index_of(game, "fine", fine)

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, 1) indices of steps."""
        market = self._game.market
        started = np.take_along_axis(market.winners, market.side[:, None], axis=1) > 0
        return np.where(started, self._fine, self._coarse)


class TableOfSteps:
    """Look up the step by the active side, its winners and the distance of the clocks, in a table of 60 cells.

    The table is found by coordinate ascent on markets of its own, the first time that it is needed for these settings.
    """

    def __init__(self, game: DoubleDutchGame) -> None:
        self._game = game
        found = step_table(game.config)
        self._params, self._table = game.config.record(), found.actions
        self._edges = found.shape.edges(game.config)

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, 1) indices of steps."""
        actions = np.zeros((self._game.num_envs, 1), np.int64)
        table_actions(self._game.market, self._params, self._edges, self._table, actions)
        return actions


class Clairvoyant:
    """Follow the clairvoyant plan, which is optimal for an auctioneer who knows every bid."""

    def __init__(self, game: DoubleDutchGame) -> None:
        self._game = game
        self._plans: list[ClairvoyantPlan | None] = [None] * game.num_envs
        self._keys: list[tuple[bytes, bytes] | None] = [None] * game.num_envs

    def __call__(self) -> NDArray[np.int64]:
        """Return (batch, 1) indices of steps, with a new plan for every market whose bids have changed."""
        market = self._game.market
        actions = np.zeros((self._game.num_envs, 1), np.int64)
        for b in range(self._game.num_envs):
            key = (market.size[b].tobytes(), market.valuation[b].tobytes())
            plan = self._plans[b]
            if plan is None or self._keys[b] != key:
                plan = self._plans[b] = clairvoyant_plan(market, b, self._game.config)
                self._keys[b] = key
            actions[b, 0] = plan.action(market.side[b], market.clock[b, BUYERS], market.clock[b, SELLERS])
        return actions


class Truthful:
    """Accept every clock that is no worse than the own valuation."""

    def __init__(self, game: DoubleDutchGame, side: int) -> None:
        self._game, self._side = game, side
        self._count = (game.config.buyers, game.config.sellers)[side]

    def __call__(self) -> NDArray[np.int64]:
        """Return the actions, int64 (batch, bidders), 1 for accept."""
        threshold = self._game.market.threshold[:, self._side, : self._count]
        clock = self._game.market.clock[:, self._side, None]
        accept = clock <= threshold if self._side == BUYERS else clock >= threshold
        return accept.astype(np.int64)


class Shaded(Truthful):
    """Accept every clock that is better than the own valuation by at least the share ``shade`` of it."""

    def __init__(self, game: DoubleDutchGame, side: int, shade: float = 0.1) -> None:
        super().__init__(game, side)
        require(is_number(shade) and 0.0 <= shade < 1.0, "shade", shade, "a number in [0, 1)")
        self._factor = 1.0 - shade if side == BUYERS else 1.0 + shade

    def __call__(self) -> NDArray[np.int64]:
        """Return the actions, int64 (batch, bidders), 1 for accept."""
        report = self._game.market.valuation[:, self._side, : self._count] * self._factor
        clock = self._game.market.clock[:, self._side, None] * self._game.config.tick
        accept = clock <= report if self._side == BUYERS else clock >= report
        return accept.astype(np.int64)


POLICIES: dict[str, dict[str, PolicyFactory]] = {
    "auctioneer": {
        "fixed_step": policy(FixedStep),
        "traditional": policy(Traditional),
        "two_phase": policy(TwoPhase),
        "step_table": policy(TableOfSteps),
        "oracle": policy(Clairvoyant),
        "scripted_step": policy(ScriptedStep),
    },
    "buyer": {"truthful": policy(Truthful, BUYERS), "shaded": policy(Shaded, BUYERS)},
    "seller": {"truthful": policy(Truthful, SELLERS), "shaded": policy(Shaded, SELLERS)},
}
"""Scripted policies of each role by name."""
