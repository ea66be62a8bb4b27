"""Training of the seeds of a run: one process at a time per seed's folder, and failures that stay with their seed."""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ioa_marl.foundations.errors import UserError, one_line
from ioa_marl.training.config import RunSpec
from ioa_marl.training.failures import Notify, SeedsFailedError, blamed
from ioa_marl.training.integrity import REMEDY, seal
from ioa_marl.training.resume import changed_names, read_checkpoint
from ioa_marl.training.runner import Report, Trainer
from ioa_marl.training.store import InUseError, RunGoneError, SeedFolder, finite, installed_versions, now, provenance

_log = logging.getLogger("ioa_marl")

WAIT = 0.2
"""Interval at which the lock of a seed that another process trains is polled [s]."""


def describe(spec: RunSpec, seed: int) -> dict[str, Any]:
    """Return the entries at the beginning of every ``result.json``."""
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
    """Train the seeds that are not done; resume from checkpoints where they exist.

    Seeds at the same step train side by side. The result of a seed does not depend on the seeds beside it. If another
    process trains a seed, this one waits for it, and trains the seed itself if the other process does not finish it.

    Parameters
    ----------
    spec : RunSpec
        The run.
    seeds : sequence of int
        Some of its seeds.
    report : callable, optional
        Called with the progress of training.
    notify : callable, optional
        Called with messages for the user; default: log them as warnings.

    Raises
    ------
    SeedsFailedError
        If single seeds failed; all others have been trained.
    """
    failures: list[SeedsFailedError] = []
    crashes: list[BaseException] = []
    waiting = list(seeds)
    while waiting:
        folders = _locked(spec, waiting, failures, notify)
        try:
            crashes += _train_locked(spec, folders, failures, report, notify)
        finally:
            for folder in folders.values():
                folder.unlock()
        waiting = [seed for seed in waiting if seed not in folders and seed not in _seeds_of(failures)]
    if crashes:
        for error in failures:  # only one error can be raised
            for reason in dict.fromkeys(error.reasons.values()):
                notify(reason)
        for other in crashes[1:]:
            notify(one_line(other) if isinstance(other, UserError) else one_line(f"{type(other).__name__}: {other}"))
        raise crashes[0]
    if failures:
        raise functools.reduce(lambda one, other: one.and_also(other), failures)


def _seeds_of(failures: Sequence[SeedsFailedError]) -> set[int]:
    return {seed for error in failures for seed in error.reasons}


def _locked(
    spec: RunSpec, seeds: Sequence[int], failures: list[SeedsFailedError], notify: Notify
) -> dict[int, SeedFolder]:
    """Lock the folders that are free; if all are in use, wait until one is free."""
    notified = False
    while True:
        folders: dict[int, SeedFolder] = {}
        failed = _seeds_of(failures)
        for seed in (seed for seed in seeds if seed not in failed):
            folder = SeedFolder(spec.seed_folder(seed))
            folders[seed] = folder
            try:
                folder.lock()
            except InUseError:
                del folders[seed]
            except UserError as error:
                failures.append(SeedsFailedError({seed: str(error)}))
                del folders[seed]
            except BaseException:  # interrupted: nothing else would unlock them
                for locked in folders.values():
                    locked.unlock()
                raise
        busy = [seed for seed in seeds if seed not in folders and seed not in _seeds_of(failures)]
        if folders or not busy:
            return folders
        if not notified:
            names = ", ".join(f"seed_{seed}" for seed in busy)
            notify(f"{spec.folder}: {names} in use by another process, which is waited for")
            notified = True
        time.sleep(WAIT)


def _train_locked(
    spec: RunSpec,
    folders: Mapping[int, SeedFolder],
    failures: list[SeedsFailedError],
    report: Report | None,
    notify: Notify,
) -> list[BaseException]:
    """Train the seeds that are not done, whose folders are locked; return the errors of whole groups of seeds."""
    crashes: list[BaseException] = []
    todo = [seed for seed, folder in folders.items() if not folder.finished()]
    for seed in todo:
        problem = folders[seed].problem()
        if problem:
            notify(problem.replace(REMEDY, "it is made again"))
    while todo:
        groups: dict[int, dict[int, Mapping[str, Any] | None]] = {}
        for seed in todo:
            try:
                saved = _open(spec, seed, folders[seed], notify)
            except RunGoneError as error:
                return [*crashes, error]
            except UserError as error:
                failures.append(SeedsFailedError({seed: str(error)}))
                _write_failure(spec, seed, folders[seed], "failed", {"error": str(error)})
                continue
            groups.setdefault(int(saved["iteration"]) if saved else 0, {})[seed] = saved
        todo = []
        for _, group in sorted(groups.items()):
            try:
                _train_group(spec, group, [folders[seed] for seed in group], report, notify)
            except SeedsFailedError as error:  # the others go on from their last checkpoints
                failures.append(error)
                todo += [seed for seed in group if seed not in error.reasons]
            except (Exception, SystemExit) as error:  # the other groups can still be done
                crashes.append(error)
    return crashes


def _open(spec: RunSpec, seed: int, folder: SeedFolder, notify: Notify) -> dict[str, Any] | None:
    """Check that a seed can be trained; return its checkpoint, or None if it has none.

    Raises
    ------
    UserError
        If the checkpoint cannot be used, or there is a folder where a file belongs.
    """
    folder.check_in_place()
    folder.check_places()
    if not os.path.lexists(folder.latest):
        return None
    saved = read_checkpoint(spec, seed, folder.latest)
    used, installed = saved.get("libraries", {}), installed_versions()
    other = [f"{name} {used[name]}, now {installed[name]}" for name in changed_names(used, installed)]
    if other:
        notify(f"{folder.path} goes on with other libraries than it began with: {', '.join(other)}")
    return saved


def _train_group(
    spec: RunSpec,
    saved: Mapping[int, Mapping[str, Any] | None],
    folders: Sequence[SeedFolder],
    report: Report | None,
    notify: Notify,
) -> None:
    """Train seeds that are at the same step; ``saved`` maps each seed to its checkpoint."""
    began, seeds = provenance(), tuple(saved)
    try:
        for seed, folder in zip(seeds, folders, strict=True):
            with blamed(seed):
                folder.write_config({**spec.resolved(), "seed": seed})
                folder.write_provenance(began)
                folder.write_result({**describe(spec, seed), "status": "running", "started": began["started"]})
        trainer = Trainer(spec, seeds, folders)
        states = [state for state in saved.values() if state is not None and state["iteration"] > 0]
        if states:
            trainer.resume(states, notify)
        trainer.run(report)
        for i, (seed, folder) in enumerate(zip(seeds, folders, strict=True)):
            with blamed(seed):
                folder.write_provenance({**began, "ended": now()})
                done = finite({**describe(spec, seed), "status": "done", **trainer.result(i)})
                folder.write_result(seal(folder.path, done))
    except SeedsFailedError as error:
        for seed, folder in zip(seeds, folders, strict=True):
            if seed in error.reasons:
                _write_failure(spec, seed, folder, "failed", error.records[seed])
        raise
    except BaseException as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        reason = (f"{type(error).__name__}: {error}".splitlines() or [""])[0]
        for seed, folder in zip(seeds, folders, strict=True):
            _write_failure(spec, seed, folder, status, {"error": reason})
        raise


def _write_failure(spec: RunSpec, seed: int, folder: SeedFolder, status: str, record: Mapping[str, Any]) -> None:
    if folder.finished():  # it finished before other seeds of its group failed
        return
    with suppress(UserError):  # as on a full disk, which the original error reports
        folder.write_result({**describe(spec, seed), "status": status, **record, "ended": now()})
