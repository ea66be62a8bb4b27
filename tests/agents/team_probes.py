"""Probe environments of several agents, whose values depend on the inputs of the critic, and one of a bidder."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from probes import ProbeGame, chance, make_role, one_hot


def every_joint(*outcomes):
    """Return all combinations, (cases, len(outcomes)), the first one varying slowest."""
    return np.array(list(itertools.product(*map(range, outcomes))), np.int64)


class Pair(ProbeGame):
    """One step; both agents get 2·1[a₀ = o₀] + 1[a₁ = o₁], where oᵢ is a coin that only agent i sees."""

    name = "pair"
    worlds = 4
    best_return = 3.0

    @classmethod
    def make_roles(cls, config):
        return {"player": make_role("player", 2, 1, 2)}

    def coins(self):
        """Return the coins that the agents observe, (batch, 2)."""
        return np.stack([self.world // 2, self.world % 2], axis=1)

    @classmethod
    def reward_of(cls, coins, actions):
        """Return the reward of both agents for coins and actions (cases, 2)."""
        return (coins == actions) @ np.array([2.0, 1.0])

    def look(self):
        return {"player": self.coins()[:, :, None]}

    def play(self, actions):
        over = np.ones(self.num_envs, np.bool_)
        paid = self.reward_of(self.coins(), actions["player"])
        return {"player": np.repeat(paid[:, None], 2, axis=1)}, over, ~over


class OthersCoin(Pair):
    """One step; the reward of an agent is 1 if the other agent observes 1, whatever they do."""

    name = "others_coin"

    def play(self, actions):
        over = np.ones(self.num_envs, np.bool_)
        return {"player": self.coins()[:, ::-1].astype(np.float64)}, over, ~over


class Chorus(ProbeGame):
    """One step, two roles, no information: the reward is the mean action of the others minus that of the other role."""

    name = "chorus"
    default_controlled_roles: ClassVar = ("player", "rival")
    counts: ClassVar = {"player": 3, "rival": 2}

    @classmethod
    def make_roles(cls, config):
        return {name: make_role(name, n, 1, 2) for name, n in cls.counts.items()}

    @classmethod
    def reward_of(cls, actions):
        """Return the rewards for actions {role: (cases, agents)}, {role: (cases, agents)}."""
        of_role = {name: done.mean(axis=1, keepdims=True) for name, done in actions.items()}
        out = {}
        for name, other in (("player", "rival"), ("rival", "player")):
            n = cls.counts[name]
            others = (actions[name].sum(axis=1, keepdims=True) - actions[name]) / (n - 1)
            out[name] = others - of_role[other]
        return out

    def look(self):
        return {name: np.full((self.num_envs, n, 1), 0.5) for name, n in self.counts.items()}

    def play(self, actions):
        over = np.ones(self.num_envs, np.bool_)
        return self.reward_of(actions), over, ~over


class HandOver(ProbeGame):
    """Two steps: agent 0 opens a door by a₀ XOR o₀ = 1, which only agent 1 will see, and agent 1 then walks through.

    Walking (action 1) through the open door gives both agents 1; an opener who leaves it shut gets 0.4 at once, and
    so does the other. The best they can do is to open and walk: γ against 0.4. What agent 0 sees afterwards does
    not depend on what it did. A critic of nothing but that holds both of its actions to lead to the same, and with
    returns of one step prefers the 0.4, however long it learns. A critic that sees what both see does not.
    """

    name = "hand_over"
    worlds = 2
    shut = 0.4

    @classmethod
    def make_roles(cls, config):
        return {"player": make_role("player", 2, 3, 2)}

    def memory(self):
        return {"open": np.zeros(self.num_envs, np.int64)}

    @classmethod
    def seen_by(cls, time, bit):
        """Return an agent's observation, (cases, features): the time, and a bit, or 1/2 if it observes none."""
        bit = np.broadcast_to(np.asarray(bit, np.float32), np.shape(time))
        return np.concatenate([one_hot(time, 2), bit[:, None]], axis=1)

    def look(self):
        time = np.minimum(self.time, 1)
        first = self.seen_by(time, np.where(self.time == 0, self.world, 0.5))
        second = self.seen_by(time, np.where(self.time == 0, 0.5, self.arrays["open"]))
        return {"player": np.stack([first, second], axis=1)}

    def play(self, actions):
        opening, done = self.time == 0, actions["player"]
        paid = np.where(opening, self.shut * (done[:, 0] == self.world), (self.arrays["open"] == 1) & (done[:, 1] == 1))
        self.arrays["open"][:] = np.where(opening, done[:, 0] != self.world, 0)
        return {"player": np.repeat(paid[:, None], 2, axis=1)}, ~opening, np.zeros_like(opening)


class Vanishing(ProbeGame):
    """Two steps, the second pays 1 and ends the episode; what would be seen after that is not a number."""

    name = "vanishing"

    @classmethod
    def make_roles(cls, config):
        return {"player": make_role("player", 1, 2, 2)}

    def look(self):
        seen = np.where((self.time < 2)[:, None], one_hot(np.minimum(self.time, 1), 2), np.nan)
        return {"player": seen[:, None]}

    def play(self, actions):
        return self.everywhere(self.time == 1), self.time == 1, np.zeros(self.num_envs, np.bool_)


@dataclass(frozen=True)
class BiddingConfig:
    """Settings of `Bidding`."""

    first_price: bool = False
    """Whether the winner pays its own bid rather than the highest other one."""
    rivals: int = 1
    """Other bidders, whose values are uniform; they bid them, or at first price their equilibrium bids."""


class Bidding(ProbeGame):
    """A bidder sees its value and chooses a bid from a grid, for 32 sealed-bid auctions; paid is the mean gain.

    At second price its value is the best bid. At first price among n bidders with values from U[0, 1] the others bid
    (n − 1)/n of theirs, and so is its best answer.
    """

    name = "bidding"
    config_class: ClassVar = BiddingConfig
    grid: ClassVar = np.linspace(0.0, 1.0, 11)
    values: ClassVar = np.linspace(0.0, 1.0, 11)
    auctions: ClassVar = 32

    worlds = len(values)

    @classmethod
    def make_roles(cls, config):
        return {"player": make_role("player", 1, 1, len(cls.grid))}

    def look(self):
        return {"player": self.values[self.world][:, None, None]}

    def play(self, actions):
        value, bid = self.values[self.world][:, None], self.grid[actions["player"]]
        a, n = self.arrays, self.config.rivals
        words = (a["seed"], a["stream"], a["episode"])
        drawn = chance(*(w[:, None, None] for w in words), np.arange(self.auctions)[:, None], 1 + np.arange(n))
        highest = drawn.max(axis=2) * (n / (n + 1) if self.config.first_price else 1.0)
        gain = np.where(bid > highest, value - (bid if self.config.first_price else highest), 0.0)
        over = np.ones(self.num_envs, np.bool_)
        return self.everywhere(gain.mean(axis=1)), over, ~over
