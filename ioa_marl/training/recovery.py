"""What a run takes over from its checkpoints and files, what it makes again, and what it says is lost."""

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


class UnlikeError(Exception):
    """What was loaded is not what is there then."""


def restore_seed(trainer: Trainer, i: int, state: Mapping[str, Any]) -> None:
    """Set one seed to a checkpoint, and make sure that it then is what the checkpoint holds."""
    trainer.game.restore(i, state["game"])
    places = [("game", trainer.game.save(i), state["game"])]
    for agent, agent_state in zip(trainer.agents, state["agents"], strict=True):
        agent.load_state_dict(i, agent_state)
        places.append((type(agent).__name__, agent.state_dict(i), agent_state))
    # The first format did not keep apart lists and tuples, nor numbers and text as keys.
    alike = difference if checkpoint.seal(trainer.folders[i].latest) else _difference_in_first_format
    for name, held, wanted in places:
        where = alike(held, wanted)
        if where is not None:
            raise UnlikeError(f"holds what is not taken over as it is ({name}: {where})")


def _difference_in_first_format(found: Any, wanted: Any) -> str | None:
    return difference(in_first_format(found), wanted)


def restore_tables(trainer: Trainer, i: int, state: Mapping[str, Any], notify: Notify) -> None:
    """Take over the evaluated episodes; those that are missing are played again where a checkpoint allows it."""
    folder = trainer.folders[i]
    damage = ""
    try:
        tables = folder.episodes()
    except DamagedFileError as error:
        tables, damage = {}, f"{error}: it"
    known = {int(step): digest for step, digest in state.get("evaluations", ())}
    wanted = trainer.expected()
    whole = {
        step: table
        for step, table in tables.items()
        if step in wanted and table_digest(table) == known.get(step, table_digest(table))
    }
    if wanted - whole.keys() and folder.best.exists():
        whole |= _replayed_best(trainer, i, wanted - whole.keys(), notify)
    lost = sorted(wanted - whole.keys() - {trainer.steps})
    if lost:
        notify(
            f"{damage or folder.tables} lacks the evaluations at {', '.join(map(str, lost))} steps, and there is no "
            "checkpoint of them: the run goes on, and its result says so"
        )
    elif damage:
        notify(f"{damage} is made again from the checkpoints")
    trainer.tables[i] = {step: whole[step] for step in sorted(whole)}


def restore_best(trainer: Trainer, i: int, state: Mapping[str, Any], notify: Notify) -> None:
    """Write the best checkpoint of a seed again if it is lost and equals the latest one; otherwise say so."""
    folder, step = trainer.folders[i], state.get("best_step")
    if not np.isfinite(trainer.best[i]):
        return
    try:
        read_checkpoint(trainer.spec, trainer.seeds[i], folder.best, complete=False)
    except UserError as error:
        if step == trainer.steps:
            checkpoint.save(folder.best, trainer.policy(i))
            return
        told = str(error).removesuffix(f"; {checkpoint.REMEDY}")
        notify(f"{told}: the best policy up to now is lost, and the run goes on")
        folder.best.unlink(missing_ok=True)


def _replayed_best(trainer: Trainer, i: int, missing: set[int], notify: Notify) -> dict[int, pa.Table]:
    """Evaluate the best checkpoint of a seed again, if it is of a step whose evaluation is missing."""
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
        return {step: episode_table(step, evaluate(alone, load_agents(alone, saved), [seed]), 0)}
    except Exception as error:  # a file that nothing seals may hold anything, and the run goes on without it
        notify(f"{trainer.folders[i].best} cannot be played: {one_line(error)}")
        return {}
