"""Replay of a sample of rows: a check that their checkpoints reproduce the recorded numbers."""

from __future__ import annotations

import dataclasses
import random
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import TypeVar

from rich.console import Console

from ioa_marl.foundations.errors import UserError
from ioa_marl.leaderboard.seeds import DAMAGED, DONE, REPLAYED, SeedRow
from ioa_marl.leaderboard.text import first_line, visible
from ioa_marl.training.integrity import check_row

EVERY = sys.maxsize
"""Sample size that stands for all seeds."""
SAMPLE_SEED = 0
"""Seed of the draw, so that a sample can be repeated."""

T = TypeVar("T")


def sample_size(requested: str | None) -> int:
    """Return the number of seeds to play again from the value of ``--verify``; 0 without one.

    Raises
    ------
    UserError
        If the value is not a number of seeds.
    """
    if requested is None:
        return 0
    if requested == "all":
        return EVERY
    if re.fullmatch(r"[1-9][0-9]{0,17}", requested):
        return int(requested)
    raise UserError(f"--verify={visible(requested)} is not allowed: use a number of seeds from 1, or all")


@dataclass(frozen=True)
class Played:
    """The result of playing a sample of seeds again."""

    requested: bool = False
    """Whether a replay was requested."""
    outcomes: tuple[tuple[SeedRow, str], ...] = ()
    """Each seed with its outcome, in the order in which they were played."""
    failed: int = 0
    """Number of seeds whose numbers differ."""
    possible: int = field(default=0, repr=False)
    """Number of seeds that are done and have a checkpoint."""

    def lines(self) -> Iterator[str]:
        """Yield a summary for the user, and a line for each seed with its outcome."""
        if self.requested and not self.outcomes:
            yield "played again: nothing, because no seed that is done has a checkpoint"
        elif self.requested:
            yield f"played again: {len(self.outcomes)} of {self.possible} seeds that are done and have a checkpoint"
        for seed, outcome in self.outcomes:
            yield f"  {seed.folder}: {outcome}"


def played_again(seeds: Sequence[SeedRow], count: int) -> tuple[list[SeedRow], Played]:
    """Play a sample of seeds again.

    Parameters
    ----------
    seeds : sequence of SeedRow
        All seeds of a store.
    count : int
        Size of the sample; 0 for none.

    Returns
    -------
    list of SeedRow
        The same seeds; replayed ones are marked, and those that failed are damaged.
    Played
        The outcomes.
    """
    if count <= 0:
        return list(seeds), Played()
    possible = [seed for seed in seeds if seed.status == DONE and seed.replayable]
    sample = spread_sample(possible, count)
    # In the order of the store, so that the seeds of a market follow each other.
    sample.sort(key=lambda seed: seed.folder)
    rows = {seed.folder: seed for seed in seeds}
    outcomes = []
    console = Console(stderr=True)
    with console.status("", refresh_per_second=4) as progress:
        for place, seed in enumerate(sample):
            status = visible(f"playing seed {place + 1} of {len(sample)} again: {seed.folder}")
            progress.update(status.replace("[", r"\["))
            rows[seed.folder], outcome = _played(seed)
            outcomes.append((seed, outcome))
    failed = sum(rows[seed.folder].status == DAMAGED for seed in sample)
    return [rows[seed.folder] for seed in seeds], Played(True, tuple(outcomes), failed, len(possible))


def spread_sample(seeds: Sequence[SeedRow], count: int) -> list[SeedRow]:
    """Return a reproducible sample of ``count`` seeds that takes turns between markets and between their runs."""
    generator = random.Random(SAMPLE_SEED)
    markets: dict[tuple[str, str], dict[tuple[str, str], list[SeedRow]]] = {}
    for seed in sorted(seeds, key=lambda seed: seed.folder):
        runs = markets.setdefault((seed.env, seed.preset), {})
        runs.setdefault((seed.agent, seed.digest), []).append(seed)
    turns = []
    for runs in markets.values():
        orders = [generator.sample(group, len(group)) for group in runs.values()]
        generator.shuffle(orders)
        turns.append(list(_in_turns(orders)))
    generator.shuffle(turns)
    return list(islice(_in_turns(turns), count))


def _in_turns(lists: Sequence[Sequence[T]]) -> Iterator[T]:
    """Yield the first of each list, then the second of each, and so on."""
    nothing = object()
    for together in zip_longest(*lists, fillvalue=nothing):
        yield from (item for item in together if item is not nothing)  # type: ignore[misc]


def _played(seed: SeedRow) -> tuple[SeedRow, str]:
    """Play the checkpoint of a seed; return the seed with its new status, and the outcome."""
    from ioa_marl.training.check import evaluate_checkpoint
    from ioa_marl.training.store import SeedFolder

    try:
        score = evaluate_checkpoint(seed.folder)
    except UserError as error:
        damage = check_row(seed.folder, SeedFolder(seed.folder).result(), weights=True).problem
        return _failed(seed, damage) if damage else _not_played(seed, str(error))
    except (Exception, SystemExit) as error:  # from a plug-in's market or agent; the other rows are still played
        return _not_played(seed, f"{type(error).__name__}: {error}")
    if score.confirmed is None:
        return _not_played(seed, "the checkpoint is not of the evaluation that was recorded")
    if score.confirmed:
        return dataclasses.replace(seed, checked=REPLAYED), "as recorded"
    hints = "".join(f" ({hint})" for hint in score.hints)
    return _failed(seed, f"replayed: {'; '.join(score.differences)}{hints}")


def _failed(seed: SeedRow, why: str) -> tuple[SeedRow, str]:
    reason = first_line(why)
    return dataclasses.replace(seed, status=DAMAGED, reason=reason), reason


def _not_played(seed: SeedRow, reason: str) -> tuple[SeedRow, str]:
    note = first_line(f"could not be played again: {reason}")
    return dataclasses.replace(seed, notes=(*seed.notes, note)), note
