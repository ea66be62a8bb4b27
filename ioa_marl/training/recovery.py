"""Resuming a seed from its files: restore what they contain, replay what is missing, report what is lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ioa_marl.foundations import checkpoint
from ioa_marl.foundations.errors import UserError, one_line
from ioa_marl.foundations.files import DamagedFileError
from ioa_marl.foundations.trees import difference, in_first_format
from ioa_marl.training.failures import Notify
from ioa_marl.training.play import evaluate, load_agents
from ioa_marl.training.resume import read_checkpoint
from ioa_marl.training.store import episode_table, table_digest

if TYPE_CHECKING:
    from ioa_marl.training.runner import Trainer


class RestoreError(Exception):
    """The state after loading a checkpoint differs from the state in the checkpoint."""


def restore_seed(trainer: Trainer, i: int, state: Mapping[str, Any]) -> None:
    """Load the checkpoint of seed number ``i``, and check that saving it again would give the same state.

    Raises
    ------
    RestoreError
        If the restored state differs from the checkpoint.
    """
    trainer.game.restore(i, state["game"])
    places = [("game", trainer.game.save(i), state["game"])]
    for agent, agent_state in zip(trainer.agents, state["agents"], strict=True):
        agent.load_state_dict(i, agent_state)
        places.append((type(agent).__name__, agent.state_dict(i), agent_state))
    # The first format of checkpoints did not distinguish lists from tuples, or numeric keys from text.
    difference_of = difference if checkpoint.seal(trainer.folders[i].latest) else _difference_in_first_format
    for name, restored, saved in places:
        where = difference_of(restored, saved)
        if where is not None:
            raise RestoreError(f"cannot be restored exactly ({name}: {where})")


def _difference_in_first_format(restored: Any, saved: Any) -> str | None:
    return difference(in_first_format(restored), saved)


def restore_tables(trainer: Trainer, i: int, state: Mapping[str, Any], notify: Notify) -> None:
    """Read the evaluated episodes of seed number ``i``; replay missing ones if the best checkpoint is of that step."""
    folder = trainer.folders[i]
    damage = ""
    try:
        tables = folder.episodes()
    except DamagedFileError as error:
        tables, damage = {}, f"{error}: it"
    known = {int(step): digest for step, digest in state.get("evaluations", ())}
    expected = trainer.evaluated_steps()
    intact = {
        step: table
        for step, table in tables.items()
        if step in expected and table_digest(table) == known.get(step, table_digest(table))
    }
    if expected - intact.keys() and folder.best.exists():
        intact |= _replayed_best(trainer, i, expected - intact.keys(), notify)
    lost = sorted(expected - intact.keys() - {trainer.steps})
    if lost:
        notify(
            f"{damage or folder.tables} lacks the evaluations at {', '.join(map(str, lost))} steps, and there is no "
            "checkpoint of them: the run goes on, and its result says so"
        )
    elif damage:
        notify(f"{damage} is made again from the checkpoints")
    trainer.tables[i] = {step: intact[step] for step in sorted(intact)}


def restore_best(trainer: Trainer, i: int, state: Mapping[str, Any], notify: Notify) -> None:
    """Check the best checkpoint of seed number ``i``.

    If it is lost and the latest checkpoint is of the same step, it is written again; otherwise ``notify`` is called.
    """
    folder, step = trainer.folders[i], state.get("best_step")
    if not np.isfinite(trainer.best[i]):
        return
    try:
        read_checkpoint(trainer.spec, trainer.seeds[i], folder.best, complete=False)
    except UserError as error:
        if step == trainer.steps:
            checkpoint.save(folder.best, trainer.policy(i))
            return
        problem = str(error).removesuffix(f"; {checkpoint.REMEDY}")
        notify(f"{problem}: the best policy up to now is lost, and the run goes on")
        folder.best.unlink(missing_ok=True)


def _replayed_best(trainer: Trainer, i: int, missing: set[int], notify: Notify) -> dict[int, pa.Table]:
    """Evaluate the best checkpoint of seed number ``i`` again if the evaluation at its step is missing."""
    seed = trainer.seeds[i]
    alone = dataclasses.replace(trainer.spec, seeds=(seed,))
    try:
        saved = read_checkpoint(alone, seed, trainer.folders[i].best, complete=False)
    except UserError as error:
        notify(str(error).removesuffix(f"; {checkpoint.REMEDY}"))
        return {}
    try:
        step = int(saved["steps"])
        if step not in missing:
            return {}
        played = evaluate(alone, load_agents(alone, saved), [seed], last=trainer.is_last(step))
        return {step: episode_table(step, played, 0)}
    except Exception as error:  # the file has no checksum and may contain anything; the run goes on without it
        notify(f"{trainer.folders[i].best} cannot be played: {one_line(error)}")
        return {}
