"""Probe environments: games so small that the right answer is known.

A learner that fails one of them has a defect that the probe's name tells: nothing else can go wrong in it.
The games are strict where the contract allows it: what is undefined is NaN, and so is every array that they have
returned from the moment on when it is no longer valid.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from gymnasium import spaces

from ioa_marl.envs.core import Game, Role, Step
from ioa_marl.foundations.parameters import require


def chance(*words):
    """Return numbers in [0, 1) that depend on nothing but the integers ``words``, which broadcast."""
    z = np.zeros(np.broadcast_shapes(*(np.shape(w) for w in words)) or (1,), np.uint64)
    for word in words:
        z = (z ^ np.asarray(word, np.uint64)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(29)
    return (z >> np.uint64(11)) * 2.0**-53


def one_hot(index, n):
    """Return float32 (…, n)."""
    return np.eye(n, dtype=np.float32)[index]


def make_role(name, count, features, actions):
    """Return a role; ``actions`` is a number of actions, or a tuple of the numbers of each head."""
    space = spaces.Discrete(actions) if isinstance(actions, int) else spaces.MultiDiscrete(actions)
    return Role(name, count, spaces.Box(0.0, 1.0, (features,), np.float32), space, "first")


@dataclass(frozen=True)
class Nothing:
    """A probe without settings."""


class ProbeGame(Game):
    """Base class of the probes; a subclass defines roles, observations and rewards.

    ``time`` (batch,) is the step of the episode, and ``world`` (batch,) an integer below `worlds` that is drawn for
    every episode.
    """

    version: ClassVar = 0
    config_class: ClassVar = Nothing
    presets: ClassVar = {"standard": {}}
    default_controlled_roles: ClassVar = ("player",)
    metric_names: ClassVar = ("return",)
    objectives: ClassVar = {"player": "return"}
    constant_baseline: ClassVar = {"player": "first"}
    board_metrics: ClassVar = ()

    worlds = 1
    best_return = 1.0

    def __init__(self, config, num_envs=1, controlled_roles=None, autoreset=True):
        super().__init__(config, num_envs, controlled_roles, autoreset)
        words = {name: np.zeros(num_envs, np.uint64) for name in ("seed", "stream", "episode", "time")}
        self.arrays = {**words, "total": np.zeros(num_envs), **self.memory()}
        self._lent = []

    def memory(self):
        """Return further arrays of the markets' state, with the leading axis batch."""
        return {}

    def look(self):
        """Return the observations of all roles."""
        raise NotImplementedError

    def play(self, actions):
        """Return the rewards of all roles, and where the episode is terminated and truncated."""
        raise NotImplementedError

    def acting(self):
        """Return the active agents of all roles."""
        return {name: np.ones((self.num_envs, r.count), np.bool_) for name, r in self.roles.items()}

    @classmethod
    def active_when(cls, observations, agents):
        """Return which of ``agents`` players act, bool (n, agents), if all have the observations (n, features)."""
        return np.ones((len(observations), agents), np.bool_)

    @property
    def time(self):
        return self.arrays["time"].astype(np.int64)

    @property
    def world(self):
        return (self.draw(0, at=0) * self.worlds).astype(np.int64)

    def draw(self, stream_offset, at=None):
        """Return a random number in [0, 1) for every market, (batch,), a function of the stream and the time."""
        a = self.arrays
        return chance(a["seed"], a["stream"], a["episode"], a["time"] if at is None else at, stream_offset)

    def _learning_only(self, arrays, dtype):
        return {name: np.asarray(arrays[name], dtype) for name in self.controlled_roles}

    def _lend(self, observations, active, *others):
        """Overwrite the arrays that the step before the last one returned, which are no longer valid."""
        if len(self._lent) == 2:
            for array in self._lent.pop(0):
                array[...] = ~array if array.dtype == np.bool_ else np.nan
        self._lent.append(
            [a for arrays in (observations, active, *others) for a in arrays.values() if a.flags.writeable]
        )

    def _now(self):
        return self._learning_only(self.look(), np.float32), self._learning_only(self.acting(), np.bool_)

    def reset(self, seeds, streams=None):
        self.arrays["seed"][:] = self.checked_seeds(seeds)
        self.arrays["stream"][:] = np.arange(self.num_envs) if streams is None else streams
        self.arrays["episode"][:] = 0
        return self._open(np.ones(self.num_envs, np.bool_))

    def _open(self, where):
        self.arrays["time"][where] = 0
        self.arrays["total"][where] = 0.0
        observations, active = self._now()
        self._lend(observations, active)
        return observations, active

    def next_episode(self):
        stepped = self.arrays["time"] > 0
        self.arrays["episode"][stepped] += np.uint64(1)
        return self._open(stepped)

    def step(self, actions):
        rewards, terminated, truncated = self.play(
            {name: self.checked_actions(name, actions) for name in self.controlled_roles}
        )
        rewards = self._learning_only(rewards, np.float32)
        self.arrays["total"] += np.mean([r.mean(axis=1) for r in rewards.values()], axis=0)
        self.arrays["time"] += np.uint64(1)
        ended = terminated | truncated
        final = {
            name: np.where(ended[:, None, None], seen, np.float32(np.nan))
            for name, seen in self._learning_only(self.look(), np.float32).items()
        }
        metrics = {"return": np.where(ended, self.arrays["total"], np.nan)}
        final_state = np.where(ended[:, None], self.state(), np.float32(np.nan)) if self.final_states else None
        if self.autoreset:
            self.arrays["episode"][ended] += np.uint64(1)
            self.arrays["time"][ended] = 0
            self.arrays["total"][ended] = 0.0
        observations, active = self._now()
        states = {} if final_state is None else {"state": final_state}
        self._lend(observations, active, rewards, final, metrics, states)
        return Step(observations, rewards, terminated, truncated, active, final, metrics, final_state)

    def state(self):
        seen = self.look().values()
        return np.concatenate([a.reshape(self.num_envs, -1) for a in seen], axis=1).astype(np.float32)

    def save(self):
        return {name: array.copy() for name, array in self.arrays.items()}

    def restore(self, saved):
        for name, array in self.arrays.items():
            array[...] = saved[name]
        self._lent.clear()
        return self._now()

    def ledger(self):
        return np.zeros((self.num_envs, 1))

    @classmethod
    def scripted_policies(cls, role):
        return ("first",)

    def scripted(self, policy, role, **settings):
        require(policy == "first", "policy", policy, "first")
        require(not settings, "settings", settings, "none")
        shape = self.roles[role].action_space.shape
        return lambda: np.zeros((self.num_envs, self.roles[role].count, *shape), np.int64)

    @classmethod
    def reference(cls, config, seeds, streams):
        return {"player": np.full(len(seeds), cls.best_return)}

    def render(self, mode, index=0):
        require(mode == "ansi", "mode", mode, "ansi")
        return f"{self.name}: step {self.time[index]} of episode {self.arrays['episode'][index]}"

    def everywhere(self, value):
        """Return ``value`` for the player of every market, (batch, 1)."""
        return {"player": np.broadcast_to(value, (self.num_envs,))[:, None].copy()}


@dataclass(frozen=True)
class SteadyConfig:
    """Settings of `Steady`."""

    length: int = 1
    """Steps of an episode."""
    truncated: bool = False
    """Whether it is cut off rather than over."""


class Steady(ProbeGame):
    """Reward 1 at every step, and nothing to see: Q = 1 where one step ends it, 1/(1−γ) where it is only cut off."""

    name = "steady"
    config_class: ClassVar = SteadyConfig

    @classmethod
    def make_roles(cls, config):
        return {"player": make_role("player", 1, 1, 2)}

    def look(self):
        return {"player": np.full((self.num_envs, 1, 1), 0.5)}

    def play(self, actions):
        over = self.time == self.config.length - 1
        never = np.zeros_like(over)
        return (self.everywhere(1.0), *((never, over) if self.config.truncated else (over, never)))


class Sign(ProbeGame):
    """One step; the observation determines whether the reward is +1 or −1, whatever the action."""

    name = "sign"
    worlds = 2

    @classmethod
    def make_roles(cls, config):
        return {"player": make_role("player", 1, 1, 2)}

    def look(self):
        return {"player": self.world[:, None, None]}

    def play(self, actions):
        over = np.ones(self.num_envs, np.bool_)
        return self.everywhere(2.0 * self.world - 1.0), over, ~over


@dataclass(frozen=True)
class ChainConfig:
    """Settings of `Chain`."""

    length: int = 3
    """Steps of an episode."""
    paid_at: int = 1
    """Step that pays 1."""


class Chain(ProbeGame):
    """One step pays 1, whatever the action: Q(t) = γ^(paid_at − t), and 0 after it. The observation is the time."""

    name = "chain"
    config_class: ClassVar = ChainConfig

    @classmethod
    def make_roles(cls, config):
        return {"player": make_role("player", 1, config.length + 1, 2)}

    def look(self):
        return {"player": one_hot(self.time, self.config.length + 1)[:, None]}

    def play(self, actions):
        over = self.time == self.config.length - 1
        return self.everywhere(self.time == self.config.paid_at), over, np.zeros_like(over)


class CutOff(ProbeGame):
    """World 0 pays nothing and is cut off just before world 1, which pays 1 and is over: Q = γ and 1.

    The next episode starts in either world: who takes its first observation for the successor gets 0.75 γ or so.
    """

    name = "cut_off"
    worlds = 2

    @classmethod
    def make_roles(cls, config):
        return {"player": make_role("player", 1, 3, 2)}

    def look(self):
        return {"player": one_hot(self.world + self.time, 3)[:, None]}

    def play(self, actions):
        return self.everywhere(self.world), self.world == 1, self.world == 0


@dataclass(frozen=True)
class TargetConfig:
    """Settings of `Target`."""

    heads: tuple[int, ...] = (3,)
    """Numbers of actions; more than one makes the space a MultiDiscrete."""
    seen: bool = False
    """Whether the right action differs between episodes and is the observation."""


class Target(ProbeGame):
    """One step; each head that does the right thing is paid its share of 1. Unseen, the right thing is the last one."""

    name = "target"
    config_class: ClassVar = TargetConfig

    @property
    def worlds(self):
        return int(np.prod(self.config.heads))

    @classmethod
    def make_roles(cls, config):
        actions = config.heads if len(config.heads) > 1 else config.heads[0]
        return {"player": make_role("player", 1, sum(config.heads), actions)}

    @classmethod
    def every_case(cls, config):
        """Return all observations (cases, features) and the right actions (cases, heads)."""
        if not config.seen:
            right = [tuple(n - 1 for n in config.heads)]
            return np.full((1, sum(config.heads)), 0.5, np.float32), np.array(right)
        right = np.array(list(itertools.product(*map(range, config.heads))))
        return np.concatenate([one_hot(r, n) for r, n in zip(right.T, config.heads, strict=True)], 1), right

    def _cases(self):
        seen, right = self.every_case(self.config)
        mask = self.world if self.config.seen else np.zeros(self.num_envs, np.int64)
        return seen[mask], right[mask]

    def look(self):
        return {"player": self._cases()[0][:, None]}

    def play(self, actions):
        done = actions["player"].reshape(self.num_envs, -1)
        over = np.ones(self.num_envs, np.bool_)
        return self.everywhere((done == self._cases()[1]).mean(axis=1)), over, ~over


@dataclass(frozen=True)
class BanditConfig:
    """Settings of `Bandit`."""

    rewards: tuple[float, ...] = (0.0, 0.4, 0.6, 0.95, 1.0)
    """What each action pays."""


class Bandit(ProbeGame):
    """One step and nothing to see: Q is what the actions pay, the soft-optimal policy softmax(Q/α)."""

    name = "bandit"
    config_class: ClassVar = BanditConfig

    @classmethod
    def make_roles(cls, config):
        return {"player": make_role("player", 1, 1, len(config.rewards))}

    def look(self):
        return {"player": np.full((self.num_envs, 1, 1), 0.5)}

    def play(self, actions):
        over = np.ones(self.num_envs, np.bool_)
        return {"player": np.array(self.config.rewards)[actions["player"]]}, over, ~over


class Crowd(ProbeGame):
    """One step, two roles, nothing to see; agent i of a role with n actions is paid 1 for action i mod n."""

    name = "crowd"
    default_controlled_roles: ClassVar = ("player", "rival")
    counts: ClassVar = {"player": 2, "rival": 3}

    @classmethod
    def make_roles(cls, config):
        return {name: make_role(name, n, 1, n) for name, n in cls.counts.items()}

    def look(self):
        return {name: np.full((self.num_envs, n, 1), 0.5) for name, n in self.counts.items()}

    def play(self, actions):
        over = np.ones(self.num_envs, np.bool_)
        return {name: done == np.arange(done.shape[1]) for name, done in actions.items()}, over, ~over


class Turns(ProbeGame):
    """Two agents act in turn; the reward of an action comes at the next step, in which its agent does not act.

    Agent i acts at times i and i + 2 of an episode of four steps, and action 1 − i pays 1. With time counted in an
    agent's own decisions, the value is 1 + γ at its first turn and 1 at its second. At time 0 agent 1 receives 5 before
    it has acted, which no decision must be credited with.
    """

    name = "turns"
    best_return = 4.5

    @classmethod
    def make_roles(cls, config):
        return {"player": make_role("player", 2, 5, 2)}

    def memory(self):
        return {"delayed_reward": np.zeros((self.num_envs, 2))}

    def look(self):
        return {"player": np.repeat(one_hot(self.time, 5)[:, None], 2, axis=1)}

    @classmethod
    def active_when(cls, observations, agents):
        return np.argmax(observations, axis=1)[:, None] % 2 == np.arange(agents)

    def acting(self):
        return {"player": (self.time[:, None] % 2) == np.arange(2)}

    def play(self, actions):
        delayed, active, last = self.arrays["delayed_reward"], self.acting()["player"], self.time == 3
        rewards = delayed.copy()
        delayed[...] = np.where(active, actions["player"] == np.array([1, 0]), 0.0)
        rewards[last] += delayed[last]
        delayed[last] = 0.0
        rewards[self.time == 0, 1] = 5.0
        return {"player": rewards}, last, np.zeros_like(last)


class Bazaar(ProbeGame):
    """Random observations and rewards, two roles, heads of unequal size, agents that wait, and all kinds of endings."""

    name = "bazaar"
    default_controlled_roles: ClassVar = ("player", "rival")

    @classmethod
    def make_roles(cls, config):
        return {"player": make_role("player", 2, 3, 3), "rival": make_role("rival", 1, 3, (2, 3))}

    def _drawn(self, stream_offset, *shape):
        flat = [self.draw(stream_offset + i) for i in range(int(np.prod(shape)))]
        return np.stack(flat, axis=1).reshape(self.num_envs, *shape)

    def look(self):
        return {"player": self._drawn(100, 2, 3), "rival": self._drawn(200, 1, 3)}

    def acting(self):
        return {"player": self._drawn(300, 2) < 0.7, "rival": self._drawn(400, 1) < 0.7}

    def play(self, actions):
        u = self.draw(500)
        rewards = {
            "player": self._drawn(600, 2) + (actions["player"] == 1),
            "rival": self._drawn(700, 1) + (actions["rival"] == np.array([1, 2])).mean(axis=2),
        }
        return rewards, u < 0.15, (u > 0.1) & (u < 0.25)
