"""Learners find what economics says: a bidder's best bid, and the best steps of the smallest double Dutch auction."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from learners import every
from sessions import Session
from team_probes import Bidding, BiddingConfig

from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.envs.vector import VectorGame

CELL = float(Bidding.grid[1] - Bidding.grid[0])
"""Distance between neighbouring bids."""
LEARNT = Bidding.values[Bidding.values >= 0.5]
"""Values at which a wrong bid costs something that can be told from noise: two cells of 0.1 cost 0.02 and more."""


def bids(session):
    """Return the bids for the values in `LEARNT`, (seeds, values)."""
    return Bidding.grid[session.best_actions(LEARNT[:, None].astype(np.float32))[..., 0]]


@every(bidder=True)
def test_bidder_bids_its_value_at_second_price(learner):
    """Within two cells: against one uniform rival a bid that is off by d costs d²/2, 0.045 at three cells."""
    found = bids(Session(learner, Bidding).run_enough())
    assert np.all(np.abs(found - LEARNT) < 2.5 * CELL), found


@every(bidder=True)
@pytest.mark.parametrize("rivals", [1])
def test_bidder_bids_its_share_of_its_value_at_first_price(learner, rivals):
    """Within two cells of (n − 1)/n of it, the equilibrium of n bidders with uniform values."""
    found = bids(Session(learner, Bidding, BiddingConfig(first_price=True, rivals=rivals)).run_enough())
    assert np.all(np.abs(found - rivals / (rivals + 1) * LEARNT) < 2.5 * CELL), found


DUTCH = DoubleDutchGame.make_config(
    buyers=1, sellers=1, level=(6.0, 6.0), width=(4.0, 4.0), value_spread=(0.0, 1.0), cost_spread=(0.0, 1.0),
    buyer_clock=16.0, seller_clock=0.0, tick=1.0, steps=(1.0, 2.0, 6.0), scripted_step=1.0, regret_weight=0.6,
    message_weight=0.3, max_ticks=40, aerial_power_coefficient=0.0, seller_delay_weight=0.0,
)  # fmt: skip
VALUES, COSTS = (6.0, 10.0), (2.0, 6.0)
"""What the buyer's value and the seller's cost are uniform on in `DUTCH`, independently."""


class Programme:
    """The best auctioneer of `DUTCH` that knows what was announced and nothing else, by backward induction.

    A bidder's valuation is known up to the last price that it declined; it declines at first for sure. Nothing of the
    auction itself is used but its settings.
    """

    def __init__(self, config):
        self.regret, self.message = config.regret_weight, config.message_weight
        self.start, self.steps = round(config.buyer_clock), [round(s) for s in config.steps]
        self.buyer, self.seller = functools.cache(self._buyer), functools.cache(self._seller)

    def value(self):
        """Return the expected return of an auction."""
        return self._ask_buyer(self.start, VALUES[1])

    def _ask_buyer(self, clock, below):
        """Return what a broadcast to the buyer is worth whose value is known to be below ``below``."""
        share = 1.0 if clock <= VALUES[0] else max(below - clock, 0.0) / (below - VALUES[0])
        worth = 0.0
        if share > 0:
            mean = (max(clock, VALUES[0]) + below) / 2
            worth += share * (self._ask_seller(0, COSTS[0], clock, mean) - self.regret * (mean - clock))
        if share < 1:
            worth += (1 - share) * (self.buyer(clock)[0] - self.message)
        return worth

    def _buyer(self, clock):
        """Return what the best move is worth after the buyer declined, and which it is."""
        below = max(min(VALUES[1], clock), VALUES[0])
        ahead = [self._ask_buyer(clock - s, below) if clock >= s else 0.0 for s in self.steps]
        return max(ahead), int(np.argmax(ahead))

    def _ask_seller(self, clock, above, bid, mean_value):
        share = 1.0 if clock >= COSTS[1] else max(clock - above, 0.0) / (COSTS[1] - above)
        worth = 0.0
        if share > 0:
            mean = (above + min(clock, COSTS[1])) / 2
            worth += share * (mean_value - mean - self.regret * (clock - mean))
        if share < 1:
            worth += (1 - share) * (self.seller(clock, bid, mean_value)[0] - self.message)
        return worth

    def _seller(self, clock, bid, mean_value):
        above = min(max(COSTS[0], clock), COSTS[1])
        # The auction is over without a trade when the clocks have crossed.
        ahead = [self._ask_seller(clock + s, above, bid, mean_value) if clock + s <= bid else 0.0 for s in self.steps]
        return max(ahead), int(np.argmax(ahead))

    def policy(self):
        """Return a function of all auctions' sides and clocks that gives the best steps."""
        last_prices = {}  # the last two prices that a buyer was asked at

        def choose(sides, clocks):
            out = np.zeros(len(sides), np.int64)
            for i, (side, (bid, ask)) in enumerate(zip(sides, clocks, strict=True)):
                if side == 0:
                    last_prices[i] = (last_prices.get(i, (self.start,) * 2)[1], int(bid))
                    out[i] = self.buyer(int(bid))[1]
                else:
                    below = min(VALUES[1], last_prices[i][0])
                    out[i] = self.seller(int(ask), int(bid), (max(int(bid), VALUES[0]) + below) / 2)[1]
            return out

        return choose


def first_returns(act, seeds=1, markets=1000):
    """Return what is earned in the first episode of all markets, (seeds, markets); each seed has the same ones."""
    game = VectorGame(DoubleDutchGame, DUTCH, [7] * seeds, markets)
    game.reset()
    total, over = np.zeros((seeds, markets)), np.zeros((seeds, markets), np.bool_)
    while not over.all():
        step = game.step({"auctioneer": act(game)})
        total += np.where(over, 0.0, step.rewards["auctioneer"][..., 0])
        over |= step.ended
    return total


@functools.cache
def best_returns():
    """Return what the programme's policy earns."""
    choose = Programme(DUTCH).policy()
    return first_returns(lambda game: choose(game.game.market.side, game.game.market.clock).reshape(1, -1, 1))[0]


@functools.cache
def constant_returns():
    """Return what each step earns if it is always taken, (steps, markets)."""
    return np.stack([first_returns(lambda game, i=i: np.full((1, 1000, 1), i))[0] for i in range(len(DUTCH.steps))])


def test_programme_expects_what_its_policy_earns_and_no_constant_step_comes_near():
    found, expected = best_returns(), Programme(DUTCH).value()
    assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(len(found))
    assert constant_returns().mean(axis=1).max() < expected - 0.5


@every(auctioneer=True)
def test_auctioneer_of_one_buyer_and_one_seller_reaches_the_dynamic_programme(learner):
    """On the same bids it earns at least 85 % of what the programme does, about twice the best constant step.

    Learners are left out for which no settings are known that get there in seconds.
    """
    session = Session(learner, DoubleDutchGame, DUTCH).run_enough()
    earned = first_returns(lambda game: session.agent.act(game.observations, deterministic=True)["auctioneer"], 3)
    best, constant = best_returns().mean(), constant_returns().mean(axis=1).max()
    assert np.all(earned.mean(axis=1) > 0.85 * best), (earned.mean(axis=1), best)
    assert 0.85 * best > constant + 0.5
