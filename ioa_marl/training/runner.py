"""The training loop: any mix of agents on any mix of roles, several seeds side by side, resumable to the bit."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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
from ioa_marl.files import DamagedFileError
from ioa_marl.evaluation.audit_bidders import ConstantGain, audited_members, best_constant_gain, bidders
from ioa_marl.evaluation.protocol import make_agent, play_episodes, references, scores
from ioa_marl.training.config import RunSpec
from ioa_marl.training.events import Curves
from ioa_marl.training.integrity import REMEDY, seal
from ioa_marl.training.resume import read_checkpoint
from ioa_marl.training.store import (
    InUseError,
    SeedFolder,
    episode_table,
    finite,
    installed_versions,
    now,
    provenance,
    table_digest,
)

_log = logging.getLogger("ioa_marl")

Report = Callable[[int, Mapping[str, float]], None]
"""Called with the environment steps done and the latest mean scores."""
Notify = Callable[[str], None]
"""Called with what a person should know, in one line."""
WAIT = 0.2
"""Seconds between two looks at a seed that another process trains."""


class SeedsFailedError(UserError):
    """Some seeds of a run cannot go on; the others can.

    Parameters
    ----------
    reasons : mapping of int to str
        Why, by seed.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__("; ".join(dict.fromkeys(reasons.values())))
        self.reasons = dict(reasons)


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
        self.tables: list[dict[int, pa.Table]] = [{} for _ in self.seeds]
        self.best = np.full(len(self.seeds), -np.inf)
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
                self._restore(i, state)
            except Exception as error:  # what a strange state makes an agent do cannot be foreseen
                told = " ".join(str(error).split())[:200]
                what = told if isinstance(error, _Unlike) else f"cannot be used: {type(error).__name__}: {told}"
                failed[self.seeds[i]] = f"{self.folders[i].latest} {what}: remove it to train this seed anew"
        if failed:
            raise SeedsFailedError(failed)
        for i, state in enumerate(saved):
            self.best[i] = state["best"]
            self._restore_tables(i, state, notify)
        if any(self.steps in self.expected() and self.steps not in tables for tables in self.tables):
            self._evaluate([])

    def _restore(self, i: int, state: Mapping[str, Any]) -> None:
        """Set one seed to a checkpoint, and make sure that it then is what the checkpoint holds."""
        self.game.restore(i, state["game"])
        places = [("game", self.game.save(i), state["game"])]
        for agent, agent_state in zip(self.agents, state["agents"], strict=True):
            agent.load_state_dict(i, agent_state)
            places.append((type(agent).__name__, agent.state_dict(i), agent_state))
        for name, held, wanted in places:
            where = checkpoint.difference(held, wanted)
            if where is not None:
                raise _Unlike(f"holds what is not taken over as it is ({name}: {where})")

    def _restore_tables(self, i: int, state: Mapping[str, Any], notify: Notify) -> None:
        """Take over the evaluated episodes; those that are missing are played again where a checkpoint allows it."""
        folder = self.folders[i]
        try:
            tables = folder.episodes()
        except DamagedFileError as error:
            notify(f"{error}; what the checkpoints allow is evaluated again")
            tables = {}
        known = {int(step): digest for step, digest in state.get("evaluations", ())}
        wanted = self.expected()
        whole = {
            step: table
            for step, table in tables.items()
            if step in wanted and table_digest(table) == known.get(step, table_digest(table))
        }
        if wanted - whole.keys() and folder.best.exists():
            whole |= self._replayed_best(i, wanted - whole.keys(), notify)
        lost = sorted(wanted - whole.keys() - {self.steps})
        if lost:
            notify(
                f"{folder.tables} lacks the evaluations at {', '.join(map(str, lost))} steps, and no checkpoint of them "
                "is left: the run goes on, and its result says so"
            )
        self.tables[i] = {step: whole[step] for step in sorted(whole)}

    def _replayed_best(self, i: int, missing: set[int], notify: Notify) -> dict[int, pa.Table]:
        """Evaluate the best checkpoint of a seed again, if it is of a step whose evaluation is missing."""
        seed = self.seeds[i]
        alone = dataclasses.replace(self.spec, seeds=(seed,))
        try:
            saved = read_checkpoint(alone, seed, self.folders[i].best, complete=False)
        except UserError as error:
            notify(str(error))
            return {}
        step = int(saved["steps"])
        if step not in missing:
            return {}
        return {step: episode_table(step, evaluate(alone, load_agents(alone, saved), [seed]), 0)}

    def expected(self) -> set[int]:
        """Return the steps at which there have been evaluations by now."""
        return {k * self.spec.num_envs for k in self.evaluations if k <= self.iteration}

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
            if self.steps in self.tables[i]:  # of another seed that goes on beside it
                continue
            self.tables[i][self.steps] = episode_table(self.steps, episodes, i)
            if not curves:
                continue
            values = {f"score/{role}": float(value[i]) for role, value in found.items()}
            values |= {f"evaluation/{name}": float(value[i].mean()) for name, value in episodes.items()}
            values |= {f"train/{k}": float(v[i]) for k, v in self.figures.items() if np.isfinite(v[i])}
            curves[i].write(self.steps, time.time(), values)

    def _save(self) -> None:
        """Write the evaluated episodes, the best policy, and last the checkpoint that makes them count."""
        for i, folder in enumerate(self.folders):
            with _blamed(self.seeds[i]):
                self._save_seed(i, folder)

    def _save_seed(self, i: int, folder: SeedFolder) -> None:
        folder.write_episodes(list(self.tables[i].values()))
        first = next(iter(self.latest_scores.values()), None)
        if first is not None and first[i] > self.best[i]:
            self.best[i] = float(first[i])
            checkpoint.save(folder.best, self._policy(i))
        checkpoint.save(
            folder.latest,
            {
                **self._policy(i),
                "iteration": self.iteration,
                # A seed's share of the time: it may go on beside other seeds.
                "train_seconds": self.train_seconds / len(self.seeds),
                "evaluations": [[step, table_digest(table)] for step, table in self.tables[i].items()],
                "libraries": installed_versions(),
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
            "code": self.spec.code,
        }

    @cached_property
    def _gains(self) -> dict[str, ConstantGain]:
        """What bidders would gain by constant actions at the end, if that is asked for."""
        return bidder_gains(self.spec, self.agents, self.seeds) if self.spec.evaluation.bidder_gain else {}

    def result(self, i: int) -> dict[str, Any]:
        """Return what ``result.json`` says of a finished seed."""
        spec = self.spec
        final = self.tables[i][self.steps]
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
            "code": spec.code,
            **({"lost_evaluations": lost} if (lost := sorted(self.expected() - self.tables[i].keys())) else {}),
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


def train_seeds(
    spec: RunSpec, seeds: Sequence[int], report: Report | None = None, notify: Notify = _log.warning
) -> None:
    """Train seeds that are not done yet, going on from checkpoints where there are any.

    Seeds at the same step train side by side, whatever step that is: a seed's result does not depend on the seeds
    beside it. A seed that another process trains is waited for; if that process does not finish it, it is trained here.

    Parameters
    ----------
    spec : RunSpec
        The run.
    seeds : sequence of int
        Some of its seeds.
    report : callable, optional
        Told how far training is.
    notify : callable, optional
        Told what a person should know; by default it is logged as a warning.

    Raises
    ------
    SeedsFailedError
        If something is wrong with single seeds; all others have been trained then.
    """
    failed: dict[int, str] = {}
    crashes: list[Exception] = []
    waiting = list(seeds)
    while waiting:
        folders = _locked(spec, waiting, failed, notify)
        try:
            crashes += _train_locked(spec, folders, failed, report, notify)
        finally:
            for folder in folders.values():
                folder.unlock()
        waiting = [seed for seed in waiting if seed not in folders and seed not in failed]
    if crashes:
        raise crashes[0]
    if failed:
        raise SeedsFailedError(failed)


def _locked(spec: RunSpec, seeds: Sequence[int], failed: dict[int, str], notify: Notify) -> dict[int, SeedFolder]:
    """Lock the folders that are free; wait for one where all are in use."""
    told = False
    while True:
        folders: dict[int, SeedFolder] = {}
        for seed in seeds:
            if seed in failed:
                continue
            folder = SeedFolder(spec.seed_folder(seed))
            try:
                folder.lock()
            except InUseError:
                continue
            except UserError as error:
                failed[seed] = str(error)
                continue
            folders[seed] = folder
        if folders or all(seed in failed for seed in seeds):
            return folders
        if not told:
            names = ", ".join(f"seed_{seed}" for seed in seeds if seed not in failed)
            notify(f"{spec.folder}: {names} in use by another process, which is waited for")
            told = True
        time.sleep(WAIT)


def _train_locked(
    spec: RunSpec,
    folders: Mapping[int, SeedFolder],
    failed: dict[int, str],
    report: Report | None,
    notify: Notify,
) -> list[Exception]:
    """Train what is missing of some seeds whose folders are locked; returns what went wrong with whole groups."""
    crashes: list[Exception] = []
    groups: dict[int, list[int]] = {}
    for seed in [seed for seed, folder in folders.items() if not folder.finished()]:
        try:
            saved = _open(spec, seed, folders[seed], notify)
        except UserError as error:
            failed[seed] = str(error)
            _write_failure(spec, seed, folders[seed], "failed", str(error))
            continue
        groups.setdefault(int(saved["iteration"]) if saved else 0, []).append(seed)
    for _, group in sorted(groups.items()):
        while group:
            try:
                _train_group(spec, group, [folders[seed] for seed in group], report, notify)
                group = []
            except SeedsFailedError as error:  # the others go on from their last checkpoints
                failed |= error.reasons
                group = [seed for seed in group if seed not in error.reasons]
            except Exception as error:  # the other groups can still be done
                crashes.append(error)
                group = []
    return crashes


def _open(spec: RunSpec, seed: int, folder: SeedFolder, notify: Notify) -> dict[str, Any] | None:
    """Return the checkpoint of a seed, None where there is none, after making sure that the seed can be trained.

    Raises
    ------
    UserError
        If the checkpoint cannot be used, or something else is in the place of a file.
    """
    problem = folder.problem()
    if problem:
        notify(problem.replace(REMEDY, "it is made again"))
    folder.check_places()
    if not os.path.lexists(folder.latest):
        return None
    saved = read_checkpoint(spec, seed, folder.latest)
    used = saved.get("libraries", {})
    other = [
        f"{name} {used[name]}, now {now}" for name, now in installed_versions().items() if used.get(name, now) != now
    ]
    if other:
        notify(f"{folder.path} goes on with other libraries than it began with: {', '.join(other)}")
    return saved


def _train_group(
    spec: RunSpec, seeds: Sequence[int], folders: Sequence[SeedFolder], report: Report | None, notify: Notify
) -> None:
    """Train seeds that are at the same step."""
    began = provenance()
    try:
        # Read again: after a seed has failed, the others go on from what they have saved since.
        saved = [_open(spec, seed, folder, notify) for seed, folder in zip(seeds, folders, strict=True)]
        for seed, folder in zip(seeds, folders, strict=True):
            with _blamed(seed):
                folder.write_config({**spec.resolved(), "seed": seed})
                folder.write_provenance(began)
                folder.write_result({**describe(spec, seed), "status": "running", "started": began["started"]})
        trainer = Trainer(spec, seeds, folders)
        states = [state for state in saved if state is not None and state["iteration"] > 0]
        if states:
            trainer.resume(states, notify)
        trainer.run(report)
        for i, (seed, folder) in enumerate(zip(seeds, folders, strict=True)):
            with _blamed(seed):
                folder.write_provenance({**began, "ended": now()})
                done = finite({**describe(spec, seed), "status": "done", **trainer.result(i)})
                folder.write_result(seal(folder.path, done))
    except SeedsFailedError as error:
        for seed, folder in zip(seeds, folders, strict=True):
            if seed in error.reasons:
                _write_failure(spec, seed, folder, "failed", error.reasons[seed])
        raise
    except BaseException as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        reason = (f"{type(error).__name__}: {error}".splitlines() or [""])[0]
        for seed, folder in zip(seeds, folders, strict=True):
            _write_failure(spec, seed, folder, status, reason)
        raise


@contextmanager
def _blamed(seed: int) -> Iterator[None]:
    """Say that a mistake concerns one seed only."""
    try:
        yield
    except UserError as error:
        raise SeedsFailedError({seed: str(error)}) from error


def _write_failure(spec: RunSpec, seed: int, folder: SeedFolder, status: str, reason: str) -> None:
    if folder.finished():  # of a group whose other seeds failed
        return
    with suppress(UserError):  # a full disk: the error that is under way says so
        folder.write_result({**describe(spec, seed), "status": status, "error": reason, "ended": now()})


class _Unlike(Exception):
    """What was loaded is not what is there then."""
