"""The training loop for any combination of agents and roles; seeds train side by side and resume to the bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from ioa_marl.agents.base import Agent, AgentContext
from ioa_marl.envs.vector import VectorGame
from ioa_marl.evaluation.averages import mean_metrics, mean_of_episodes
from ioa_marl.evaluation.columns import objective_columns
from ioa_marl.evaluation.partners import is_scored
from ioa_marl.evaluation.protocol import References, references, sampled_scores, scores
from ioa_marl.foundations import checkpoint
from ioa_marl.training.config import RunSpec
from ioa_marl.training.divergence import DivergenceMonitor
from ioa_marl.training.events import Curves
from ioa_marl.training.failures import Notify, SeedsFailedError, blamed
from ioa_marl.training.integrity import CURVES
from ioa_marl.training.play import evaluate
from ioa_marl.training.recovery import RestoreError, restore_best, restore_seed, restore_tables
from ioa_marl.training.store import SeedFolder, episode_table, installed_versions, table_digest

Report = Callable[[int, Mapping[str, float]], None]
"""Called with the environment steps done, per seed, and the latest score per role, averaged over seeds."""
Scores: TypeAlias = dict[str, NDArray[np.float64]]
"""Score of each seed, (seeds,), by key of `Game.objectives`."""
INDEX = ("step", "episode")
"""Columns of the table of evaluated episodes that are not metrics."""


class Trainer:
    """Trains seeds of a run that are at the same step, and writes their folders.

    Parameters
    ----------
    spec : RunSpec
        The run.
    seeds : sequence of int
        Training seeds that train side by side.
    folders : sequence of SeedFolder
        Their folders; the caller has locked them.
    """

    def __init__(self, spec: RunSpec, seeds: Sequence[int], folders: Sequence[SeedFolder]) -> None:
        self.spec, self.seeds, self.folders = spec, tuple(seeds), tuple(folders)
        with_state = any(a.agent_class.needs_state for a in spec.agents)
        self.game = VectorGame(
            spec.game_class, spec.env_config, seeds, spec.num_envs, spec.controlled_roles, with_state=with_state
        )
        self.game.game.full_metrics = False  # the metrics of training episodes are not used
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
        self.monitor = DivergenceMonitor(
            run, self.seeds, [(a.name, agent) for a, agent in zip(spec.agents, self.agents, strict=True)]
        )
        self.learns = spec.learns
        # Agents that do not learn are the same at every step and are evaluated once.
        self.iterations = spec.budget // spec.num_envs if self.learns else 0
        points = min(spec.evaluation.points, self.iterations) if self.learns else 1
        self.evaluations = {round(self.iterations * k / points) for k in range(1, points + 1)}
        self.iteration = 0
        self.train_seconds = 0.0
        self.tables: list[dict[int, pa.Table]] = [{} for _ in self.seeds]
        self.best = np.full(len(self.seeds), -np.inf)
        self.best_steps: list[int | None] = [None] * len(self.seeds)
        self.training_metrics: dict[str, NDArray[np.float64]] = {}
        self.latest_scores: Scores = {}
        self.selection_scores: NDArray[np.float64] | None = None

    @property
    def steps(self) -> int:
        """Environment steps done, per seed."""
        return self.iteration * self.spec.num_envs

    def resume(self, saved: Sequence[Mapping[str, Any]], notify: Notify) -> None:
        """Resume from the checkpoints of the seeds, which must be of the same step.

        Raises
        ------
        SeedsFailedError
            If a checkpoint does not fit the markets and agents of this run.
        """
        self.iteration = int(saved[0]["iteration"])
        self.train_seconds = sum(float(state["train_seconds"]) for state in saved)
        failed = {}
        for i, state in enumerate(saved):
            try:
                restore_seed(self, i, state)
            except Exception as error:  # an agent may raise any type for a state that does not fit
                reason = " ".join(str(error).split())[:200]
                problem = (
                    reason if isinstance(error, RestoreError) else f"cannot be used: {type(error).__name__}: {reason}"
                )
                failed[self.seeds[i]] = f"{self.folders[i].latest} {problem}; {checkpoint.REMEDY}"
        if failed:
            raise SeedsFailedError(failed)
        for i, state in enumerate(saved):
            self.best[i], self.best_steps[i] = state["best"], state.get("best_step")
            with blamed(self.seeds[i]):
                restore_tables(self, i, state, notify)
                restore_best(self, i, state, notify)
        if any(self.steps in self.evaluated_steps() and self.steps not in tables for tables in self.tables):
            self._evaluate([])
        if self.iteration == self.iterations:  # training is over and will not write the new tables
            for i, folder in enumerate(self.folders):
                with blamed(self.seeds[i]):
                    folder.write_episodes(list(self.tables[i].values()))

    def evaluated_steps(self) -> set[int]:
        """Return the environment steps at which evaluations must have happened by now."""
        return {k * self.spec.num_envs for k in self.evaluations if k <= self.iteration}

    def is_last(self, step: int) -> bool:
        """Return whether the evaluation at a step is the last one, from which the row is made."""
        return step == self.iterations * self.spec.num_envs

    def run(self, report: Report | None = None) -> None:
        """Train to the end of the budget, with evaluations and checkpoints on the way."""
        curves = [self._curves(i) for i in range(len(self.seeds))]
        for agent in self.agents:
            agent.attach(self.game.game)
        try:
            if self.iteration:
                with self.monitor.at(self.steps):
                    self.monitor.states()
            if not self.learns:
                self._evaluate(curves)
            while self.iteration < self.iterations:
                started = time.perf_counter()
                self.step()
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
        """Open a TensorBoard file for seed number ``i``; write the known evaluations to it if earlier ones are lost."""
        path = self.folders[i].path
        lost = self.iteration > 0 and not any(path.glob(CURVES))
        curves = Curves(path, self.steps if self.iteration and not lost else None)
        for step, table in self.tables[i].items() if lost else ():
            columns = {name: table[name].to_numpy()[None] for name in table.column_names if name not in INDEX}
            curves.write(step, time.time(), _evaluated(columns, *self._scores_of(columns, [self.seeds[i]]), 0))
        return curves

    def _scores_of(self, episodes: Mapping[str, NDArray[np.float64]], seeds: Sequence[int]) -> tuple[Scores, Scores]:
        """Return the scores of evaluated episodes, (seeds, episodes), and those of the sampled policies."""
        spec = self.spec
        given = (spec.game_class, spec.env_config, episodes, spec.controlled_roles, 0, seeds)
        return scores(*given), sampled_scores(*given)

    def step(self) -> None:
        """Step the markets of all seeds once, and let the agents learn; `run` does so, and evaluates on the way."""
        with self.monitor.at(self.steps + self.spec.num_envs):
            actions: dict[str, NDArray[Any]] = {}
            for agent in self.agents:
                actions.update(agent.act(self.game.observations, deterministic=False))
            transition = self.monitor.step(self.game, actions)
            for agent in self.agents:
                agent.observe(transition)
                metrics = agent.learn()
                if metrics:
                    self.training_metrics.update(self.monitor.metrics(agent, metrics))
        self.iteration += 1

    def _evaluate(self, curves: Sequence[Curves]) -> None:
        spec = self.spec
        started = time.perf_counter()
        with self.monitor.at(self.steps):
            self.monitor.policies()
            self.monitor.throw()
            episodes = evaluate(spec, self.agents, self.seeds, last=self.is_last(self.steps))
        self.evaluation_speed = float(episodes["length"].sum()) / (time.perf_counter() - started)
        for agent in self.agents:
            agent.attach(self.game.game)
        self.latest_scores, drawn = self._scores_of(episodes, self.seeds)
        self.selection_scores = self._selection_scores(episodes)
        with self.monitor.at(self.steps):
            scored = objective_columns(spec.game_class).values()
            self.monitor.evaluation(episodes, self.latest_scores, scored)
        for i in range(len(self.seeds)):
            if self.steps in self.tables[i]:  # read from the file when the seed was resumed
                continue
            self.tables[i][self.steps] = episode_table(self.steps, episodes, i)
            if not curves:
                continue
            values = _evaluated(episodes, self.latest_scores, drawn, i)
            values |= {f"train/{k}": float(v[i]) for k, v in self.training_metrics.items() if np.isfinite(v[i])}
            curves[i].write(self.steps, time.time(), values)

    def _selection_scores(self, episodes: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64] | None:
        """Return the scores by which the best checkpoint is chosen, (seeds,), or None if there are none.

        They are made from the same number of episodes at every evaluation, since levels differ between numbers.
        """
        first = {name: values[:, : self.spec.episodes_on_the_way] for name, values in episodes.items()}
        return next(iter(self._scores_of(first, self.seeds)[0].values()), None)

    def _save(self) -> None:
        """Write the evaluated episodes, the best policy, and last the checkpoint, on which resuming relies."""
        for i, folder in enumerate(self.folders):
            with blamed(self.seeds[i]):
                self._save_seed(i, folder)
        self.monitor.throw()

    def _save_seed(self, i: int, folder: SeedFolder) -> None:
        states = [agent.state_dict(i) for agent in self.agents]
        if not self.monitor.can_save(i, states):
            return  # the last good checkpoint of the seed stays
        folder.write_episodes(list(self.tables[i].values()))
        folder.check_in_place()
        first = self.selection_scores
        if first is not None and first[i] > self.best[i]:
            self.best[i], self.best_steps[i] = float(first[i]), self.steps
            checkpoint.save(folder.best, self.policy(i))
        checkpoint.save(
            folder.latest,
            {
                **self.policy(i),
                "iteration": self.iteration,
                # The seed's share of the time, because it may resume together with other seeds.
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
        """Return the part of a checkpoint with which seed number ``i`` can be evaluated."""
        return {
            "spec": {**self.spec.resolved(), "seed": self.seeds[i]},
            "steps": self.steps,
            "policies": [agent.policy_state(i) for agent in self.agents],
            "code": self.spec.code,
        }

    def _references(self, i: int, episodes: int) -> References | None:
        """Return the references of seed number ``i`` on some first episodes, or None if the run has no score.

        They may take longer to compute than training.
        """
        spec = self.spec
        if not is_scored(spec.game_class, spec.controlled_roles):
            return None
        return references(spec.game_class, spec.env_config, episodes, instance=self.seeds[i])

    def result(self, i: int) -> dict[str, Any]:
        """Return the entries of ``result.json`` for the finished seed number ``i``."""
        final = self.tables[i][self.steps]
        values = {name: final[name].to_numpy() for name in final.column_names if name not in INDEX}
        metrics = mean_metrics(values, objective_columns(self.spec.game_class).values())
        columns = {name: array[None] for name, array in values.items()}
        seed_scores, drawn = (
            {key: float(values[0]) for key, values in found.items()}
            for found in self._scores_of(columns, [self.seeds[i]])
        )
        anchors = self._references(i, self.spec.last_episodes)
        on_the_way = self._references(i, self.spec.episodes_on_the_way) if len(self.tables[i]) > 1 else None
        steps = self.steps * len(self.seeds)
        speed = steps / self.train_seconds if self.train_seconds > 0 else self.evaluation_speed
        return {
            "scores": seed_scores,
            **({"sampled_scores": drawn} if drawn else {}),
            "references": anchors.as_dict() if anchors else {},
            **({"references_on_the_way": on_the_way.as_dict()} if on_the_way and on_the_way != anchors else {}),
            "metrics": metrics,
            "env_steps": self.steps,
            "steps_per_second": speed,
            "train_seconds": self.train_seconds,
            "seeds_together": len(self.seeds),
            "parameters": sum(agent.parameters_count() for agent in self.agents),
            "code": self.spec.code,
            **({"lost_evaluations": lost} if (lost := sorted(self.evaluated_steps() - self.tables[i].keys())) else {}),
        }


def _evaluated(
    episodes: Mapping[str, NDArray[np.float64]], seed_scores: Scores, drawn: Scores, i: int
) -> dict[str, float]:
    """Return the values of an evaluation that the learning curves of seed number ``i`` show.

    Metrics have the shape (seeds, episodes); scores, and those of the sampled policies, (seeds,).
    """
    means = {f"evaluation/{name}": mean_of_episodes(values[i]) for name, values in episodes.items()}
    of_sampled = {f"sampled_score/{role}": float(values[i]) for role, values in drawn.items()}
    return {**{f"score/{role}": float(values[i]) for role, values in seed_scores.items()}, **of_sampled, **means}
