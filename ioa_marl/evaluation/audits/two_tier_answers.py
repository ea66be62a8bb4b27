"""Prices of fixed agents in the two-tier market where the auctioneer's policy answers a deviation with other steps.

An auctioneer who observes the bidders may choose other steps if a fixed agent posts another price. Copies of a round
are played side by side, one for each price of each fixed agent, and the auctioneer's policy acts in each of them. The
profits of mobile agents do not depend on the auction, so they are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.agents.baselines.random import RandomAgent
from ioa_marl.evaluation.audits.subject import Subject
from ioa_marl.evaluation.playing import LARGEST_BATCH, evaluation_config
from ioa_marl.markets.stackelberg.kernels import FIXED, MOBILE
from ioa_marl.markets.two_tier import drivers

CONSTANT = ("fixed_pair", "scripted_pair")
"""Scripted policies of the auctioneer whose steps are always the same."""


def answers(subject: Subject) -> bool:
    """Return whether the auctioneer's steps can depend on prices of the round in a way that can be played again."""
    if "auctioneer" not in subject.controlled_roles or subject.policy_of("auctioneer") in CONSTANT:
        return False
    return not isinstance(subject.agent_of("auctioneer"), RandomAgent)


class AnsweredPrices:
    """Plays a round again with every price of every fixed agent and the auctioneer's answer.

    Parameters
    ----------
    subject : Subject
        The policies and the market; the auctioneer is one of those who act.
    """

    def __init__(self, subject: Subject) -> None:
        config, roles = evaluation_config(subject.config), subject.controlled_roles
        self._levels, self._fixed = config.price_levels, config.fixed
        size = sum(array.nbytes for array in subject.game_class(config, 1, roles).save().values())
        self._together = min(max(1, LARGEST_BATCH // (self._levels * size)), self._fixed)
        copies = self._together * self._levels
        self._game: Any = subject.game_class(config, copies, roles)
        self._game.reset(np.zeros(copies, np.uint64))
        agents = [a for a in subject.make_agents() if "auctioneer" in {role.name for role in a.context.plays}]
        self._auctioneer = agents[-1]
        self._auctioneer.attach(self._game)
        self._all, self._ended = np.ones(copies, np.bool_), np.zeros(copies, np.bool_)

    def gains(self, saved: Mapping[str, NDArray[Any]], b: int) -> NDArray[np.float64]:
        """Return what each fixed agent gains by its best grid price in the round that market ``b`` is about to settle.

        Parameters
        ----------
        saved : mapping of str to ndarray
            State of a batch of markets whose prices have been posted and whose auctions have not been held, as
            `Game.save` returns it.
        b : int
            Which of them.

        Returns
        -------
        ndarray of float64, shape (fixed,)
            Gains over the profit at the posted price [units], at least 0.
        """
        copied = {name: np.repeat(array[b : b + 1], len(self._all), axis=0) for name, array in saved.items()}
        out = np.zeros(self._fixed)
        for first in range(0, self._fixed, self._together):
            agents = np.arange(first, first + self._together) % self._fixed  # the last group repeats some
            out[agents] = self._gains_of(agents, copied)
        return out

    def _gains_of(self, agents: NDArray[np.int64], copied: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Return the gains of some fixed agents; ``copied`` is the market, once for each price of each of them."""
        game, levels, config = self._game, self._levels, self._game.config
        game.restore(copied)
        posted = np.rint(game.market.price * ((levels - 1) / config.price_cap)).astype(np.int64)
        mobile = np.ascontiguousarray(posted[:, MOBILE, : config.mobile])
        fixed = np.ascontiguousarray(posted[:, FIXED, : config.fixed])
        usual, place = fixed[0, agents].copy(), np.arange(len(agents))
        fixed[np.arange(len(fixed)), np.repeat(agents, levels)] = np.tile(np.arange(levels), len(agents))
        drivers.post_prices(game.whole, game.settings, self._all, levels, mobile, fixed)
        observations, _ = game.restore(game.save())  # what the auctioneer sees after these prices
        chosen = self._auctioneer.act({role: x[None] for role, x in observations.items()}, deterministic=True)
        pairs = np.ascontiguousarray(chosen["auctioneer"][0], dtype=np.int64)
        drivers.hold_auctions(game.whole, game.settings, self._all, pairs, self._ended)
        profits = game.market.profit[:, FIXED].reshape(len(agents), levels, -1)[place, :, agents]
        return np.asarray(profits.max(axis=1) - profits[place, usual])
