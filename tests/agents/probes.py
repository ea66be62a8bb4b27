"""Probe environments: games so small that the right answer is known, and a loop that trains agents on them.

A learner that fails one of them has a defect that the probe's name tells: nothing else can go wrong in it.
The games are strict where the contract allows it: what is undefined is NaN, and so is every array that they have
returned from the moment on when it is no longer valid.

Run as a program, this module trains the agent of a checkpoint on: ``probes.py AGENT FROM TO ITERATIONS``.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from gymnasium import spaces

from ioa_marl import checkpoint
from ioa_marl.agents.base import Setting
from ioa_marl.agents.ppo import PPOAgent, PPOConfig
from ioa_marl.agents.sac import SACAgent, SACConfig
from ioa_marl.envs.core import Game, Role, Step
from ioa_marl.envs.vector import VectorGame
from ioa_marl.markets.parameters import require


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
    """Base of the probes: a subclass says who plays, what is seen and what is paid.

    ``time`` (batch,) counts the steps of the episode, ``world`` (batch,) is an integer below `worlds` that is
    drawn anew for every episode.
    """

    version: ClassVar = 0
    config_class: ClassVar = Nothing
    presets: ClassVar = {"standard": {}}
    default_learning: ClassVar = ("player",)
    metric_names: ClassVar = ("return",)
    objectives: ClassVar = {"player": "return"}
    uninformed: ClassVar = {"player": "first"}
    board_metrics: ClassVar = ()

    worlds = 1
    best_return = 1.0

    def __init__(self, config, num_envs=1, learning=None, autoreset=True):
        super().__init__(config, num_envs, learning, autoreset)
        words = {name: np.zeros(num_envs, np.uint64) for name in ("seed", "stream", "episode", "time")}
        self.arrays = {**words, "total": np.zeros(num_envs), **self.memory()}
        self._lent = []

    def memory(self):
        """Return what else the markets are made of, each array with the leading axis batch."""
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

    @property
    def time(self):
        return self.arrays["time"].astype(np.int64)

    @property
    def world(self):
        return (self.draw(0, at=0) * self.worlds).astype(np.int64)

    def draw(self, purpose, at=None):
        """Return a random number in [0, 1) for every market, (batch,): one for each purpose and time."""
        a = self.arrays
        return chance(a["seed"], a["stream"], a["episode"], a["time"] if at is None else at, purpose)

    def _learning_only(self, arrays, dtype):
        return {name: np.asarray(arrays[name], dtype) for name in self.learning}

    def _lend(self, observations, active, *others):
        """Spoil what was returned by the step before the last one: it is valid no longer."""
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
            {name: self.checked_actions(name, actions) for name in self.learning}
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
        if self.autoreset:
            self.arrays["episode"][ended] += np.uint64(1)
            self.arrays["time"][ended] = 0
            self.arrays["total"][ended] = 0.0
        observations, active = self._now()
        self._lend(observations, active, rewards, final, metrics)
        return Step(observations, rewards, terminated, truncated, active, final, metrics)

    def state(self):
        return np.concatenate([a.reshape(self.num_envs, -1) for a in self.look().values()], axis=1)

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
    """One step; what is seen says whether the reward is +1 or −1, whatever is done."""

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
    """One step pays 1, whatever is done: Q(t) = γ^(paid_at − t), and 0 after it. The time is seen."""

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
    """Whether the right action differs between episodes, and is what is seen."""


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
        which = self.world if self.config.seen else np.zeros(self.num_envs, np.int64)
        return seen[which], right[which]

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
    default_learning: ClassVar = ("player", "rival")
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
    """Two agents act in turn; what an action pays comes at the next step, while its agent is not asked.

    Agent i acts at times i and i + 2 of an episode of four steps, and action 1 − i is worth 1: counted in its
    own actions, the value is 1 + γ at its first turn and 1 at its second. At time 0 agent 1 is given 5 before it
    has done anything: that is nobody's merit.
    """

    name = "turns"
    best_return = 4.5

    @classmethod
    def make_roles(cls, config):
        return {"player": make_role("player", 2, 5, 2)}

    def memory(self):
        return {"owed": np.zeros((self.num_envs, 2))}

    def look(self):
        return {"player": np.repeat(one_hot(self.time, 5)[:, None], 2, axis=1)}

    def acting(self):
        return {"player": (self.time[:, None] % 2) == np.arange(2)}

    def play(self, actions):
        owed, asked, last = self.arrays["owed"], self.acting()["player"], self.time == 3
        rewards = owed.copy()
        owed[...] = np.where(asked, actions["player"] == np.array([1, 0]), 0.0)
        rewards[last] += owed[last]
        owed[last] = 0.0
        rewards[self.time == 0, 1] = 5.0
        return {"player": rewards}, last, np.zeros_like(last)


class Bazaar(ProbeGame):
    """A bit of everything, at random: two roles, unequal heads, agents that wait, both kinds of ending, or both."""

    name = "bazaar"
    default_learning: ClassVar = ("player", "rival")

    @classmethod
    def make_roles(cls, config):
        return {"player": make_role("player", 2, 3, 3), "rival": make_role("rival", 1, 3, (2, 3))}

    def _drawn(self, purpose, *shape):
        flat = [self.draw(purpose + i) for i in range(int(np.prod(shape)))]
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


SAC = SACConfig(
    width=16, actor_lr=1e-2, critic_lr=1e-2, gamma=0.8, n_step=1, tau=0.1, batch_size=32, update_every=8,
    learning_starts=64, alpha_start=1e-3, alpha_end=1e-3, reward_scale=1.0,
)  # fmt: skip
"""Discrete SAC for probes: quick, nearly greedy, one update per step of the eight markets."""
PPO = PPOConfig(
    learning_rate=1e-2, rollout_size=64, batch_size=64, n_epochs=8, gamma=0.8, hidden=(16,), max_grad_norm=10.0
)
"""PPO for probes."""
LEARNERS = {"sac": (SACAgent, SAC), "ppo": (PPOAgent, PPO)}


class Session:
    """An agent of some seeds on a probe.

    Parameters
    ----------
    learner : str
        A name in `LEARNERS`.
    game_class : type of ProbeGame
        The probe.
    config : dataclass, optional
        Its settings.
    seeds : sequence of int
        Training seeds, stacked.
    num_envs : int
        Markets per seed.
    budget : int
        What the agent is told about the length of the training, in steps of the batch.
    changes
        Hyper-parameters that differ from those in `LEARNERS`.
    """

    def __init__(self, learner, game_class, config=None, *, seeds=(0, 1, 2), num_envs=8, budget=10_000, **changes):
        config = game_class.config_class() if config is None else config
        agent_class, usual = LEARNERS[learner]
        self.learner, self.seeds, self.num_envs = learner, tuple(seeds), num_envs
        self.game = VectorGame(game_class, config, seeds, num_envs)
        plays = tuple(self.game.game.roles[name] for name in self.game.game.learning)
        setting = Setting(plays, plays, self.seeds, num_envs, budget * num_envs, torch.device("cpu"))
        self.agent = agent_class(setting, dataclasses.replace(usual, **changes))
        self.figures = []
        self.game.reset()

    def run(self, iterations):
        """Train; returns itself."""
        for _ in range(iterations):
            transition = self.game.step(self.agent.act(self.game.observations, deterministic=False))
            self.agent.observe(transition)
            found = self.agent.learn()
            if found:
                self.figures.append({name: values.copy() for name, values in found.items()})
        return self

    def learners(self, role="player"):
        """Return the PPO learners of a role, one per seed."""
        return [learners[role] for learners in self.agent._learners]

    def stack(self, role="player"):
        """Return the SAC learner of a role, all seeds in one."""
        return self.agent._learners[role]

    def values(self, observations, role="player"):
        """Return what the agents hold the observations (n, features) to be worth.

        SAC says it of every action, (seeds, agents, n, twins, heads, outcomes), PPO of the policy, (seeds, agents, n).
        """
        seen = torch.as_tensor(np.asarray(observations, np.float32))
        with torch.no_grad():
            if self.learner == "sac":
                stack = self.stack(role)
                found = stack.values(stack.critics, seen.expand(stack.members.count, -1, -1))
                return found.unflatten(0, (len(self.seeds), -1)).transpose(2, 3).numpy()
            out = []
            for learner in self.learners(role):
                each = np.repeat(seen.numpy()[:, None], learner.role.count, axis=1)
                found = learner.ppo.policy.predict_values(torch.as_tensor(learner._seen(each)))
                out.append(found.reshape(len(seen), -1).T)
            return np.stack(out)

    def best_actions(self, observations, role="player"):
        """Return the deterministic actions for the observations (n, features), (seeds, n, agents, …)."""
        seen = np.asarray(observations, np.float32)
        batch = {
            r.name: np.broadcast_to(
                seen[None, :, None] if r.name == role else np.float32(0.5),
                (len(self.seeds), len(seen), r.count, *r.observation_space.shape),
            ).copy()
            for r in self.agent.setting.plays
        }
        return self.agent.act(batch, deterministic=True)[role]

    def tree(self):
        """Return all there is to save."""
        return {
            "seeds": list(self.seeds),
            "game": [self.game.save(i) for i in range(len(self.seeds))],
            "agent": [self.agent.state_dict(i) for i in range(len(self.seeds))],
        }

    def load(self, tree):
        """Go on from what `tree` returned; returns itself."""
        for i in range(len(self.seeds)):
            self.game.restore(i, tree["game"][i])
            self.agent.load_state_dict(i, tree["agent"][i])
        return self


def flat(tree, path=""):
    """Return the leaves of nested dicts and lists by path, arrays as bytes."""
    if isinstance(tree, dict):
        return {k: v for key, inner in tree.items() for k, v in flat(inner, f"{path}/{key}").items()}
    if isinstance(tree, list):
        return {k: v for i, inner in enumerate(tree) for k, v in flat(inner, f"{path}/{i}").items()}
    if isinstance(tree, torch.Tensor):
        tree = tree.numpy()
    if isinstance(tree, np.ndarray):
        return {path: (tree.dtype.str, tree.shape, tree.tobytes())}
    return {path: tree}


def differing(one, other):
    """Return the paths at which two trees differ in a single bit."""
    a, b = flat(one), flat(other)
    assert a.keys() == b.keys()
    return [path for path in a if a[path] != b[path]]


def bazaar(learner, seeds=(0, 1)):
    """Return a session that uses everything an agent has to save; its replay ring is soon full."""
    changes = {
        "sac": {"n_step": 3, "buffer_size": 64, "alpha_start": 0.2},
        "ppo": {"rollout_size": 40, "batch_size": 16, "n_epochs": 2, "normalize_advantage": True},
    }[learner]
    return Session(learner, Bazaar, seeds=seeds, num_envs=4, budget=200, **changes)


def main(learner, source, target, iterations):
    """Train the agent of one checkpoint on, and write another."""
    torch.set_num_threads(1)
    saved = checkpoint.load(Path(source))
    session = bazaar(learner, saved["seeds"]).load(saved)
    checkpoint.save(Path(target), session.run(int(iterations)).tree())


if __name__ == "__main__":
    main(*sys.argv[1:])
