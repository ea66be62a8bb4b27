"""The training loop: any mix of agents on any mix of roles, several seeds side by side, resumable to the bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from ioa_marl.agents.base import Agent, AgentContext
from ioa_marl.envs.vector import VectorGame
from ioa_marl.evaluation.audits.bidders import ConstantGain
from ioa_marl.evaluation.protocol import references, scores
from ioa_marl.foundations import checkpoint
from ioa_marl.training.config import RunSpec
from ioa_marl.training.divergence import Watch
from ioa_marl.training.events import Curves
from ioa_marl.training.failures import Notify, SeedsFailedError, blamed
from ioa_marl.training.integrity import CURVES
from ioa_marl.training.play import bidder_gains, evaluate
from ioa_marl.training.recovery import UnlikeError, restore_best, restore_seed, restore_tables
from ioa_marl.training.store import SeedFolder, episode_table, installed_versions, table_digest

Report = Callable[[int, Mapping[str, float]], None]
"""Called with the environment steps done and the latest mean scores."""
INDEX = ("step", "episode")
"""Columns of evaluated episodes that are no figures."""


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
            spec.game_class, spec.env_config, seeds, spec.num_envs, spec.controlled_roles, with_state=with_state
        )
        self.game.game.full_metrics = False  # nobody looks at the figures of training episodes
        self.game.reset()
        state_features = 0 if self.game.state is None else self.game.state.shape[-1]
        roles = self.game.game.roles
        controlled_roles = tuple(roles[name] for name in spec.controlled_roles)
        self.agents: list[Agent] = [
            a.agent_class(
                AgentContext(
                    tuple(roles[name] for name in a.roles), controlled_roles, self.seeds, spec.num_envs, spec.budget,
                    torch.device(spec.device), state_features,
                ),
                a.config,
            )
            for a in spec.agents
        ]  # fmt: skip
        run = f"{spec.env_label} {spec.agent_label}"
        self.watch = Watch(
            run, self.seeds, [(a.name, agent) for a, agent in zip(spec.agents, self.agents, strict=True)]
        )
        self.learns = spec.learns
        # What does not learn is the same at any step: it is evaluated once.
        self.iterations = spec.budget // spec.num_envs if self.learns else 0
        points = min(spec.evaluation.points, self.iterations) if self.learns else 1
        self.evaluations = {round(self.iterations * k / points) for k in range(1, points + 1)}
        self.iteration = 0
        self.train_seconds = 0.0
        self.tables: list[dict[int, pa.Table]] = [{} for _ in self.seeds]
        self.best = np.full(len(self.seeds), -np.inf)
        self.best_steps: list[int | None] = [None] * len(self.seeds)
        self.figures: dict[str, NDArray[np.float64]] = {}
        self.latest_scores: dict[str, NDArray[np.float64]] = {}

    @property
    def steps(self) -> int:
        """Environment steps done, per seed."""
        return self.iteration * self.spec.num_envs

    def resume(self, saved: Sequence[Mapping[str, Any]], notify: Notify) -> None:
        """Go on from the seeds' checkpoints, which must be of the same step.

        Raises
        ------
        SeedsFailedError
            If a checkpoint does not hold what the markets and agents of this run are made of.
        """
        self.iteration = int(saved[0]["iteration"])
        self.train_seconds = sum(float(state["train_seconds"]) for state in saved)
        failed = {}
        for i, state in enumerate(saved):
            try:
                restore_seed(self, i, state)
            except Exception as error:  # what a strange state makes an agent do cannot be foreseen
                told = " ".join(str(error).split())[:200]
                what = told if isinstance(error, UnlikeError) else f"cannot be used: {type(error).__name__}: {told}"
                failed[self.seeds[i]] = f"{self.folders[i].latest} {what}; {checkpoint.REMEDY}"
        if failed:
            raise SeedsFailedError(failed)
        for i, state in enumerate(saved):
            self.best[i], self.best_steps[i] = state["best"], state.get("best_step")
            with blamed(self.seeds[i]):
                restore_tables(self, i, state, notify)
                restore_best(self, i, state, notify)
        if any(self.steps in self.expected() and self.steps not in tables for tables in self.tables):
            self._evaluate([])
        if self.iteration == self.iterations:  # nothing else will write what was evaluated again
            for i, folder in enumerate(self.folders):
                with blamed(self.seeds[i]):
                    folder.write_episodes(list(self.tables[i].values()))

    def expected(self) -> set[int]:
        """Return the steps at which there have been evaluations by now."""
        return {k * self.spec.num_envs for k in self.evaluations if k <= self.iteration}

    def run(self, report: Report | None = None) -> None:
        """Train to the end of the budget, evaluating and saving on the way."""
        curves = [self._curves(i) for i in range(len(self.seeds))]
        for agent in self.agents:
            agent.attach(self.game.game)
        try:
            if self.iteration:
                with self.watch.at(self.steps):
                    self.watch.states()
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

    def _curves(self, i: int) -> Curves:
        """Return the TensorBoard file of a seed; a lost one gets the evaluations that are left."""
        path = self.folders[i].path
        lost = self.iteration > 0 and not any(path.glob(CURVES))
        curves = Curves(path, self.steps if self.iteration and not lost else None)
        for step, table in self.tables[i].items() if lost else ():
            columns = {name: table[name].to_numpy()[None] for name in table.column_names if name not in INDEX}
            found = scores(
                self.spec.game_class,
                self.spec.env_config,
                columns,
                self.spec.controlled_roles,
                instances=[self.seeds[i]],
            )
            curves.write(step, time.time(), _evaluated(columns, found, 0))
        return curves

    def _step(self) -> None:
        with self.watch.at(self.steps + self.spec.num_envs):
            actions: dict[str, NDArray[Any]] = {}
            for agent in self.agents:
                actions.update(agent.act(self.game.observations, deterministic=False))
            transition = self.watch.step(self.game, actions)
            for agent in self.agents:
                agent.observe(transition)
                found = agent.learn()
                if found:
                    self.figures.update(self.watch.figures(agent, found))
        self.iteration += 1

    def _evaluate(self, curves: Sequence[Curves]) -> None:
        spec = self.spec
        started = time.perf_counter()
        with self.watch.at(self.steps):
            self.watch.policies()
            self.watch.tell()
            episodes = evaluate(spec, self.agents, self.seeds)
        self.evaluation_speed = float(episodes["length"].sum()) / (time.perf_counter() - started)
        for agent in self.agents:
            agent.attach(self.game.game)
        self.latest_scores = scores(
            spec.game_class, spec.env_config, episodes, spec.controlled_roles, instances=self.seeds
        )
        with self.watch.at(self.steps):
            self.watch.evaluation(episodes, self.latest_scores, spec.game_class.objectives.values())
        for i in range(len(self.seeds)):
            if self.steps in self.tables[i]:  # of another seed that goes on beside it
                continue
            self.tables[i][self.steps] = episode_table(self.steps, episodes, i)
            if not curves:
                continue
            values = _evaluated(episodes, self.latest_scores, i)
            values |= {f"train/{k}": float(v[i]) for k, v in self.figures.items() if np.isfinite(v[i])}
            curves[i].write(self.steps, time.time(), values)

    def _save(self) -> None:
        """Write the evaluated episodes, the best policy, and last the checkpoint that makes them count."""
        for i, folder in enumerate(self.folders):
            with blamed(self.seeds[i]):
                self._save_seed(i, folder)
        self.watch.tell()

    def _save_seed(self, i: int, folder: SeedFolder) -> None:
        states = [agent.state_dict(i) for agent in self.agents]
        if not self.watch.accepts(i, states):
            return  # its last good checkpoint stays
        folder.write_episodes(list(self.tables[i].values()))
        folder.check_in_place()
        first = next(iter(self.latest_scores.values()), None)
        if first is not None and first[i] > self.best[i]:
            self.best[i], self.best_steps[i] = float(first[i]), self.steps
            checkpoint.save(folder.best, self.policy(i))
        checkpoint.save(
            folder.latest,
            {
                **self.policy(i),
                "iteration": self.iteration,
                # A seed's share of the time: it may go on beside other seeds.
                "train_seconds": self.train_seconds / len(self.seeds),
                "evaluations": [[step, table_digest(table)] for step, table in self.tables[i].items()],
                "libraries": installed_versions(),
                "best": float(self.best[i]),
                "best_step": self.best_steps[i],
                "game": self.game.save(i),
                "agents": states,
            },
        )

    def policy(self, i: int) -> dict[str, Any]:
        """Return what a checkpoint needs so that seed number ``i`` can be evaluated with it."""
        return {
            "spec": {**self.spec.resolved(), "seed": self.seeds[i]},
            "steps": self.steps,
            "policies": [agent.policy_state(i) for agent in self.agents],
            "code": self.spec.code,
        }

    @cached_property
    def _gains(self) -> dict[str, ConstantGain]:
        """What bidders would gain by constant actions at the end, if that is asked for."""
        return bidder_gains(self.spec, self.agents, self.seeds) if self.spec.evaluation.bidder_gain else {}

    def _scored(self, i: int, metrics: Mapping[str, float]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Return the scores of a seed and the references, which may take longer than training: only for a score."""
        spec = self.spec
        if spec.controlled_roles != spec.game_class.default_controlled_roles or not spec.game_class.objectives:
            return {}, {}
        anchors = references(spec.game_class, spec.env_config, spec.evaluation.episodes, instance=self.seeds[i])
        found = {
            key: float(anchors.score(key, np.array(metrics[name])))
            for key, name in spec.game_class.objectives.items()
            if anchors.has_scale(key)
        }
        return found, anchors.as_dict()

    def result(self, i: int) -> dict[str, Any]:
        """Return what ``result.json`` says of a finished seed."""
        final = self.tables[i][self.steps]
        metrics = {name: float(np.mean(final[name].to_numpy())) for name in final.column_names if name not in INDEX}
        found, ends = self._scored(i, metrics)
        gains = {role: gain.of_seed(i) for role, gain in self._gains.items()}
        audit = {
            "bidder_gain": {role: float(gain.mean[i]) for role, gain in self._gains.items()}, "bidder_gains": gains,
        } if gains else {}  # fmt: skip
        steps = self.steps * len(self.seeds)
        speed = steps / self.train_seconds if self.train_seconds > 0 else self.evaluation_speed
        return {
            "scores": found,
            "references": ends,
            "metrics": metrics,
            **audit,
            "env_steps": self.steps,
            "steps_per_second": speed,
            "train_seconds": self.train_seconds,
            "seeds_together": len(self.seeds),
            "parameters": sum(agent.parameters_count() for agent in self.agents),
            "code": self.spec.code,
            **({"lost_evaluations": lost} if (lost := sorted(self.expected() - self.tables[i].keys())) else {}),
        }


def _evaluated(
    episodes: Mapping[str, NDArray[np.float64]], found: Mapping[str, NDArray[np.float64]], i: int
) -> dict[str, float]:
    """Return what a learning curve shows of an evaluation, of seed number ``i``."""
    means = {f"evaluation/{name}": float(values[i].mean()) for name, values in episodes.items()}
    return {**{f"score/{role}": float(values[i]) for role, values in found.items()}, **means}
