"""Agents on a probe, trained as the runner does it, with functions that evaluate them.

Run as a program, this module trains the agent of a checkpoint on: ``sessions.py AGENT FROM TO ITERATIONS``.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import torch
from learners import LEARNERS
from probes import Bazaar

from ioa_marl.agents.base import AgentContext
from ioa_marl.envs.vector import VectorGame
from ioa_marl.foundations import checkpoint


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
    num_envs : int, optional
        Markets per seed; 8 unless the learner says otherwise.
    budget : int, optional
        Length of the training [steps of the batch] in the agent's context; 10 000 unless the learner says otherwise.
    changes
        Hyper-parameters that differ from those that the learner has in this probe.
    """

    def __init__(self, learner, game_class, config=None, *, seeds=(0, 1, 2), num_envs=None, budget=None, **changes):
        config = game_class.config_class() if config is None else config
        self.entry = LEARNERS[learner]
        usual = {"num_envs": 8, "enough": self.entry.enough, "soon": self.entry.soon, "budget": 10_000}
        usual |= self.entry.changes.get(game_class.name, {})
        self.enough, self.soon, markets, usual_budget = (
            usual.pop(name) for name in ("enough", "soon", "num_envs", "budget")
        )
        budget = usual_budget if budget is None else budget
        num_envs = markets if num_envs is None else num_envs
        self.learner, self.seeds, self.num_envs = learner, tuple(seeds), num_envs
        self.game = VectorGame(game_class, config, seeds, num_envs, with_state=self.entry.agent.needs_state)
        self.game.reset()
        state = self.game.state
        plays = tuple(self.game.game.roles[name] for name in self.game.game.controlled_roles)
        context = AgentContext(
            plays, plays, self.seeds, num_envs, budget * num_envs, torch.device("cpu"),
            0 if state is None else state.shape[-1],
        )  # fmt: skip
        self.agent = self.entry.agent(context, dataclasses.replace(self.entry.config, **{**usual, **changes}))
        self.metrics = []

    def run(self, iterations):
        """Train; returns itself."""
        for _ in range(iterations):
            transition = self.game.step(self.agent.act(self.game.observations, deterministic=False))
            self.agent.observe(transition)
            metrics = self.agent.learn()
            if metrics:
                self.metrics.append({name: values.copy() for name, values in metrics.items()})
        return self

    def run_enough(self):
        """Train until the values have converged; returns itself."""
        return self.run(self.enough)

    def run_soon(self):
        """Train until the right action is chosen; returns itself."""
        return self.run(self.soon)

    def learners(self, role="player"):
        """Return the PPO learners of a role, one per seed."""
        return [learners[role].learners[0] for learners in self.agent._learners]

    def stack(self, role="player"):
        """Return the stacked learner of a role, all seeds in one."""
        return self.agent._learners[role]

    def values(self, observations, role="player"):
        """Return the agents' values of the observations (n, features); see `Learner.values`."""
        return self.entry.values(self, observations, role)

    def joint_values(self, observations, actions, role="player"):
        """Return the values of observations and actions of all agents; see `Learner.joint_values`.

        A critic of the own observation and action uses only these.
        """
        if self.entry.joint_values is not None:
            return self.entry.joint_values(self, observations, actions, role)
        out = []
        for agent in range(observations[role].shape[1]):
            found = self.values(observations[role][:, agent], role)[:, agent]
            if self.entry.action_values:  # (seeds, n, critics, actions)
                done = np.broadcast_to(actions[role][:, agent, None, None], (*found.shape[:-1], 1))
                found = np.take_along_axis(found, done, axis=-1)[..., 0]
            out.append(found)
        return np.stack(out, axis=1)

    def best_actions(self, observations, role="player"):
        """Return the deterministic actions, (seeds, n, agents, …).

        The observations are (n, agents, features), or (n, features) if all agents have the same ones.
        """
        seen = np.asarray(observations, np.float32)
        seen = seen[:, None] if seen.ndim == 2 else seen
        batch = {
            r.name: np.broadcast_to(
                seen[None] if r.name == role else np.float32(0.5),
                (len(self.seeds), len(seen), r.count, *r.observation_space.shape),
            ).copy()
            for r in self.agent.context.plays
        }
        return self.agent.act(batch, deterministic=True)[role]

    def tree(self):
        """Return the complete state of markets and agents."""
        return {
            "seeds": list(self.seeds),
            "game": [self.game.save(i) for i in range(len(self.seeds))],
            "agent": [self.agent.state_dict(i) for i in range(len(self.seeds))],
        }

    def load(self, tree):
        """Continue from a state that `tree` returned; returns itself."""
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


def bazaar(learner, seeds=(0, 1), game_class=Bazaar):
    """Return a session in which every part of an agent's state is used; its replay buffer is soon full."""
    return Session(learner, game_class, seeds=seeds, num_envs=4, budget=200, **LEARNERS[learner].bazaar)


def main(learner, source, target, iterations):
    """Continue training from one checkpoint, and write another."""
    torch.set_num_threads(1)
    saved = checkpoint.load(Path(source))
    session = bazaar(learner, saved["seeds"]).load(saved)
    checkpoint.save(Path(target), session.run(int(iterations)).tree())


if __name__ == "__main__":
    main(*sys.argv[1:])
