"""`Bidding`, the part of the two-tier market in which buyers and sellers choose their bids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, Role
from ioa_marl.envs.spaces import unit_box
from ioa_marl.foundations.compile import machine_code
from ioa_marl.markets.two_tier import bids

if TYPE_CHECKING:
    from ioa_marl.envs.two_tier.game import TwoTierConfig, TwoTierGame

BIDDERS = ("buyer", "seller")
"""Roles of the bidders, by side: buyer j is fixed agent j, seller k is aerial agent k."""


def bidder_roles(config: TwoTierConfig) -> dict[str, Role]:
    """Return the roles of the bidders, who choose a multiplier of their valuation."""
    box, choice = unit_box(bids.BIDDER_FEATURES), spaces.Discrete(len(config.multipliers))
    counts = zip(BIDDERS, (config.fixed, config.aerial), strict=True)
    return {role: Role(role, count, box, choice, "truthful") for role, count in counts}


class Bidding:
    """Choices, observations, gains and activity of the bidders of a game, which is given to the constructor."""

    def __init__(self, game: TwoTierGame) -> None:
        self._game, config = game, game.config
        whole, n = game.whole, game.num_envs
        self._multipliers = np.array(config.multipliers)
        self._choices = np.zeros(whole.tier.factor.shape, np.int64)
        mask = np.zeros(n, np.bool_)
        self._choose = machine_code(bids.choose_bids, whole, mask, self._multipliers, self._choices)
        self._observe = machine_code(
            bids.observe_bidders, whole, game.settings, 0, 1.0, np.zeros((n, 1, 1), np.float32)
        )
        self._write_participants = machine_code(bids.write_participants, whole.auction, 0, np.zeros((n, 1), np.bool_))
        self._write_gains = machine_code(bids.write_gains, whole, mask, 0, np.zeros((n, 1), np.float32))

    def take(self, mask: NDArray[np.bool_], actions: Arrays) -> None:
        """Set the bids of the markets ``mask``, bool (batch,), from both roles' actions, int64 (batch, agents)."""
        for side, role in enumerate(BIDDERS):
            self._choices[:, side, : actions[role].shape[1]] = actions[role]
        self._choose(self._game.whole, mask, self._multipliers, self._choices)

    def observe(self, observations: Arrays) -> None:
        """Write the observations of the bidders among the roles, float32 (batch, agents, features)."""
        game = self._game
        for side, role in enumerate(BIDDERS):
            if role in observations:
                self._observe(game.whole, game.settings, side, float(self._multipliers[-1]), observations[role])

    def pay(self, mask: NDArray[np.bool_], rewards: Arrays) -> None:
        """Write what the bidders among the roles gained in the settled round [units], float32 (batch, agents)."""
        for side, role in enumerate(BIDDERS):
            if role in rewards:
                self._write_gains(self._game.whole, mask, side, rewards[role])

    def keep_participants(self, active: Arrays) -> None:
        """Leave only those bidders active, bool (batch, agents), that take part in the auction of this round."""
        for side, role in enumerate(BIDDERS):
            if role in active:
                participants = np.zeros(active[role].shape, np.bool_)
                self._write_participants(self._game.whole.auction, side, participants)
                active[role] &= participants

    def state(self) -> list[NDArray[Any]]:
        """Return the multipliers of the last bids over the largest one, float64 (batch, agents) of each role."""
        factor, config = self._game.whole.tier.factor, self._game.config
        highest = self._multipliers[-1]
        return [factor[:, side, :count] / highest for side, count in enumerate((config.fixed, config.aerial))]
