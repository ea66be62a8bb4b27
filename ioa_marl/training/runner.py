"""The training loop: any mix of agents on any mix of roles, several seeds side by side, resumable to the bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from ioa_marl import checkpoint
from ioa_marl.agents.base import Agent, Setting
from ioa_marl.envs.vector import VectorGame
from ioa_marl.errors import UserError
from ioa_marl.evaluation.audit_bidders import ConstantGain, audited_members, best_constant_gain, bidders
from ioa_marl.evaluation.protocol import make_agent, play_episodes, references, scores
from ioa_marl.training.config import RunSpec
from ioa_marl.training.events import Curves
from ioa_marl.training.store import SeedFolder, episode_table, now, provenance

Report = Callable[[int, Mapping[str, float]], None]
"""Called with the environment steps done and the latest mean scores."""


class Trainer:
    """Trains some seeds of a run that are at the same step, and keeps their folders up to date.

    Parameters
    ----------
    spec : RunSpec
        The run.
    seeds : sequence of int
        Seeds that train side by side.
    folders : sequence of SeedFolder
        Their folders, locked by the caller.
    """

    def __init__(self, spec: RunSpec, seeds: Sequence[int], folders: Sequence[SeedFolder]) -> None:
        self.spec, self.seeds, self.folders = spec, tuple(seeds), tuple(folders)
        with_state = any(a.agent_class.needs_state for a in spec.agents)
        self.game = VectorGame(
            spec.game_class, spec.env_config, seeds, spec.num_envs, spec.learning, with_state=with_state
        )
        self.game.game.full_metrics = False  # nobody looks at the figures of training episodes
        self.game.reset()
        state_features = 0 if self.game.state is None else self.game.state.shape[-1]
        roles = self.game.game.roles
        acting = tuple(roles[name] for name in spec.learning)
        self.agents: list[Agent] = [
            a.agent_class(
                Setting(
                    tuple(roles[name] for name in a.roles), acting, self.seeds, spec.num_envs, spec.budget,
                    torch.device(spec.device), state_features,
                ),
                a.config,
            )
            for a in spec.agents
        ]  # fmt: skip
        self.learns = spec.learns
        # What does not learn is the same at any step: it is evaluated once.
        self.iterations = spec.budget // spec.num_envs if self.learns else 0
        points = min(spec.evaluation.points, self.iterations) if self.learns else 1
        self.evaluations = {round(self.iterations * k / points) for k in range(1, points + 1)}
        self.iteration = 0
        self.train_seconds = 0.0
        self.tables: list[list[pa.Table]] = [[] for _ in self.seeds]
        self.best = np.full(len(self.seeds), -np.inf)
        self.figures: dict[str, NDArray[np.float64]] = {}
        self.latest_scores: dict[str, NDArray[np.float64]] = {}

    @property
    def steps(self) -> int:
        """Environment steps done, per seed."""
        return self.iteration * self.spec.num_envs

    def resume(self, saved: Sequence[Mapping[str, Any]]) -> None:
        """Go on from the seeds' checkpoints, which must be of the same step."""
        self.iteration = int(saved[0]["iteration"])
        self.train_seconds = sum(float(state["train_seconds"]) for state in saved)
        for i, state in enumerate(saved):
            self.game.restore(i, state["game"])
            for agent, agent_state in zip(self.agents, state["agents"], strict=True):
                agent.load_state_dict(i, agent_state)
            self.best[i] = state["best"]
            self.tables[i] = self.folders[i].episodes(self.steps)

    def run(self, report: Report | None = None) -> None:
        """Train to the end of the budget, evaluating and saving on the way."""
        resumed = self.steps if self.iteration else None
        curves = [Curves(folder.path, resumed) for folder in self.folders]
        for agent in self.agents:
            agent.attach(self.game.game)
        try:
            if not self.learns:
                self._evaluate(curves)
            while self.iteration < self.iterations:
                started = time.perf_counter()
                self._step()
                self.train_seconds += time.perf_counter() - started
                if self.iteration in self.evaluations:
                    self._evaluate(curves)
                    self._save()
                if report is not None:
                    report(self.steps, {k: float(v.mean()) for k, v in self.latest_scores.items()})
            if not self.learns:
                self._save()
        finally:
            for curve in curves:
                curve.close()

    def _step(self) -> None:
        actions: dict[str, NDArray[Any]] = {}
        for agent in self.agents:
            actions.update(agent.act(self.game.observations, deterministic=False))
        transition = self.game.step(actions)
        for agent in self.agents:
            agent.observe(transition)
            found = agent.learn()
            if found:
                self.figures.update(found)
        self.iteration += 1

    def _evaluate(self, curves: Sequence[Curves]) -> None:
        spec = self.spec
        started = time.perf_counter()
        episodes = evaluate(spec, self.agents, self.seeds)
        self.evaluation_speed = float(episodes["length"].sum()) / (time.perf_counter() - started)
        for agent in self.agents:
            agent.attach(self.game.game)
        found = scores(spec.game_class, spec.env_config, episodes, spec.learning, instances=self.seeds)
        self.latest_scores = found
        for i in range(len(self.seeds)):
            self.tables[i].append(episode_table(self.steps, episodes, i))
            values = {f"score/{role}": float(value[i]) for role, value in found.items()}
            values |= {f"evaluation/{name}": float(value[i].mean()) for name, value in episodes.items()}
            values |= {f"train/{k}": float(v[i]) for k, v in self.figures.items() if np.isfinite(v[i])}
            curves[i].write(self.steps, time.time(), values)

    def _save(self) -> None:
        """Write the evaluated episodes, the best policy, and last the checkpoint that makes them count."""
        for i, folder in enumerate(self.folders):
            folder.write_episodes(self.tables[i])
            first = next(iter(self.latest_scores.values()), None)
            if first is not None and first[i] > self.best[i]:
                self.best[i] = float(first[i])
                checkpoint.save(folder.best, self._policy(i))
            checkpoint.save(
                folder.latest,
                {
                    **self._policy(i),
                    "iteration": self.iteration,
                    # A seed's share: it may go on in another company.
                    "train_seconds": self.train_seconds / len(self.seeds),
                    "best": float(self.best[i]),
                    "game": self.game.save(i),
                    "agents": [agent.state_dict(i) for agent in self.agents],
                },
            )

    def _policy(self, i: int) -> dict[str, Any]:
        return {
            "spec": {**self.spec.resolved(), "seed": self.seeds[i]},
            "steps": self.steps,
            "policies": [agent.policy_state(i) for agent in self.agents],
        }

    @cached_property
    def _gains(self) -> dict[str, ConstantGain]:
        """What bidders would gain by constant actions at the end, if that is asked for."""
        return bidder_gains(self.spec, self.agents, self.seeds) if self.spec.evaluation.bidder_gain else {}

    def result(self, i: int) -> dict[str, Any]:
        """Return what ``result.json`` says of a finished seed."""
        spec = self.spec
        final = self.tables[i][-1]
        metrics = {
            name: float(np.mean(final[name].to_numpy()))
            for name in final.column_names
            if name not in ("step", "episode")
        }
        anchors = references(spec.game_class, spec.env_config, spec.evaluation.episodes, instance=self.seeds[i])
        usual = spec.learning == spec.game_class.default_learning
        found = {
            key: float(anchors.score(key, np.array(metrics[name])))
            for key, name in spec.game_class.objectives.items()
            if usual and anchors.has_scale(key)
        }
        gains = {role: gain.of_seed(i) for role, gain in self._gains.items()}
        audit = {
            "bidder_gain": {role: float(gain.mean[i]) for role, gain in self._gains.items()}, "bidder_gains": gains,
        } if gains else {}  # fmt: skip
        steps = self.steps * len(self.seeds)
        speed = steps / self.train_seconds if self.train_seconds > 0 else self.evaluation_speed
        return {
            "scores": found,
            "references": anchors.as_dict(),
            "metrics": metrics,
            **audit,
            "env_steps": self.steps,
            "steps_per_second": speed,
            "train_seconds": self.train_seconds,
            "seeds_together": len(self.seeds),
            "parameters": sum(agent.parameters_count() for agent in self.agents),
        }


def evaluate(
    spec: RunSpec, agents: Sequence[Agent], seeds: Sequence[int], first_episode: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Play the evaluation episodes with the agents of a run, trained with ``seeds``; see `play_episodes`."""
    episodes = spec.evaluation.episodes
    return play_episodes(
        spec.game_class, spec.env_config, agents, spec.learning, len(seeds), episodes, first_episode, seeds
    )


def bidder_gains(
    spec: RunSpec, agents: Sequence[Agent], seeds: Sequence[int], first_episode: int = 0
) -> dict[str, ConstantGain]:
    """Return for each role of bidders that act what some of its agents would gain by constant actions."""
    roles = spec.game_class.make_roles(spec.env_config)
    return {
        role: best_constant_gain(
            spec.game_class, spec.env_config, agents, spec.learning, role, spec.evaluation.episodes,
            members=audited_members(roles[role].count), instances=seeds, first_episode=first_episode,
        )
        for role in bidders(spec.game_class, spec.env_config, spec.learning)
    }  # fmt: skip


def load_agents(spec: RunSpec, saved: Mapping[str, Any]) -> list[Agent]:
    """Return the agents of a checkpoint, ready to act."""
    probe = spec.game_class(spec.env_config, 1, spec.learning)
    agents = []
    for choice, state in zip(spec.agents, saved["policies"], strict=True):
        # Its own seed: what an agent draws in evaluation depends on it.
        agent = make_agent(choice.agent_class, choice.config, probe, choice.roles, 1, spec.seeds[0])
        agent.load_policy_state(0, state)
        agents.append(agent)
    return agents


def describe(spec: RunSpec, seed: int) -> dict[str, Any]:
    """Return what every ``result.json`` begins with."""
    return {
        "env": spec.game_class.name,
        "preset": spec.preset,
        "agent": spec.agent_label,
        "digest": spec.digest,
        "seed": seed,
        "budget": spec.budget,
    }


def train_seeds(spec: RunSpec, seeds: Sequence[int], report: Report | None = None) -> None:
    """Train seeds that are not done yet, going on from checkpoints where there are any.

    Seeds at the same step train side by side, whatever step that is: a seed's result does not depend on the seeds
    beside it.
    """
    folders = {seed: SeedFolder(spec.seed_folder(seed)) for seed in seeds}
    locked: list[SeedFolder] = []
    try:
        for folder in folders.values():
            folder.lock()
            locked.append(folder)
        waiting = [seed for seed in seeds if folders[seed].result().get("status") != "done"]
        saved = {seed: checkpoint.load(folders[seed].latest) for seed in waiting if folders[seed].latest.exists()}
        groups: dict[int, list[int]] = {}
        for seed in waiting:
            groups.setdefault(int(saved[seed]["iteration"]) if seed in saved else 0, []).append(seed)
        failures = []
        for iteration, group in sorted(groups.items()):
            states = [saved[s] for s in group] if iteration else []
            try:
                _train_group(spec, group, [folders[s] for s in group], states, report)
            except Exception as error:  # the other groups can still be done
                failures.append(error)
        if failures:
            raise failures[0]
    finally:
        for folder in locked:
            folder.unlock()


def _train_group(
    spec: RunSpec,
    seeds: Sequence[int],
    folders: Sequence[SeedFolder],
    saved: Sequence[Mapping[str, Any]],
    report: Report | None,
) -> None:
    began = provenance()
    try:
        for seed, folder in zip(seeds, folders, strict=True):
            folder.write_config({**spec.resolved(), "seed": seed})
            folder.write_provenance(began)
            folder.write_result({**describe(spec, seed), "status": "running", "started": began["started"]})
        trainer = Trainer(spec, seeds, folders)
        if saved:
            trainer.resume(saved)
        trainer.run(report)
        for i, (seed, folder) in enumerate(zip(seeds, folders, strict=True)):
            folder.write_provenance({**began, "ended": now()})
            folder.write_result({**describe(spec, seed), "status": "done", **trainer.result(i)})
    except BaseException as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        for seed, folder in zip(seeds, folders, strict=True):
            with suppress(UserError):  # a full disk: the error that is under way says so
                folder.write_result({**describe(spec, seed), "status": status, "error": reason, "ended": now()})
        raise
