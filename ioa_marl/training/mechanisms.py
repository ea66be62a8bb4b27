"""The command ``ioa-marl mechanisms``: compare mechanisms on the same bids, a trained auctioneer among them."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ioa_marl.evaluation.mechanisms.auctioneers import Auctioneer
from ioa_marl.evaluation.mechanisms.bid_files import read_double_auctions, read_shares, read_single_items
from ioa_marl.evaluation.mechanisms.comparison import Comparison
from ioa_marl.evaluation.mechanisms.comparison import Progress as Report
from ioa_marl.evaluation.mechanisms.double_auctions import LEARNT, compare_double_auctions
from ioa_marl.evaluation.mechanisms.picture import picture
from ioa_marl.evaluation.mechanisms.shares import compare_shares
from ioa_marl.evaluation.mechanisms.single_item import compare_single_item
from ioa_marl.evaluation.mechanisms.table import csv_text, lines
from ioa_marl.foundations import output
from ioa_marl.foundations.errors import UserError, shown, unknown_name
from ioa_marl.foundations.files import check_writable, write_atomically
from ioa_marl.training.check import one_line_about, open_checkpoint

PAGE_WIDTH = 140
"""Width of the table in characters if the output is not a terminal."""
SETTINGS: Mapping[str, tuple[str, ...]] = {
    "double_auction": ("psi", "k", "checkpoint"),
    "single_item": ("rho", "threshold"),
    "shares": ("quanta",),
}
"""Options of each family that others do not have."""


def auctioneer_of(path: Path) -> Auctioneer:
    """Return the auctioneer of a seed's folder, or of a checkpoint file in it.

    Raises
    ------
    UserError
        If there is no checkpoint of a double Dutch auctioneer.
    """
    torch.set_num_threads(1)
    opened = open_checkpoint(path)
    name = opened.spec.game_class.name
    if name != "double_dutch":
        raise UserError(f"{opened.file} is of {shown(name)}: use a checkpoint of double_dutch")
    for agent, choice in zip(opened.agents(), opened.spec.agents, strict=True):
        if tuple(choice.roles) == ("auctioneer",):
            label = f"{opened.spec.agent_label}, trained on {opened.spec.env_label}, seed {opened.spec.seeds[0]}"
            return Auctioneer(opened.spec.env_config, agent, label)
    raise UserError(f"{opened.file} has no agent that plays the auctioneer and no other role")


def mechanisms_command(
    family: str,
    *,
    bids: Path | None,
    draw: Mapping[str, Any],
    mechanisms: Sequence[str],
    settings: Mapping[str, Any],
    out: Path | None,
    picture_file: Path | None,
    quiet: bool,
) -> str:
    """Run ``ioa-marl mechanisms``; return its output.

    Parameters
    ----------
    family : str
        ``double_auction``, ``single_item`` or ``shares``.
    bids : Path, optional
        A user's own bids.
    draw : mapping
        The options ``preset``, ``markets``, ``seed`` and ``grid``; None where the default holds.
    mechanisms : sequence of str
        Names of the mechanisms; empty for all of the family.
    settings : mapping
        Options of single families, see `SETTINGS`; None where they are not given.
    out, picture_file : Path, optional
        Where a CSV file and a PNG file are written.
    quiet : bool
        Whether no progress is shown.
    """
    if family not in SETTINGS:
        raise unknown_name("family", family, SETTINGS)
    for path, suffix in ((out, ".csv"), (picture_file, ".png")):
        if path is not None:
            check_writable(path, suffix)
    given = {name: value for name, value in settings.items() if value is not None}
    for name in given:
        if name not in SETTINGS[family]:
            (owner,) = (other for other, names in SETTINGS.items() if name in names)
            raise UserError(f"--{name} is not allowed with {family}: it is an option of {owner}")
    given |= {name: value for name, value in draw.items() if value is not None}
    if bids is not None and "markets" in given:
        raise UserError("--markets is not allowed with --bids: all markets of the file are compared")
    given["mechanisms"] = mechanisms or None
    with _progress(quiet) as progress, output.without_library_output():
        comparison = _compared(family, bids, given, _report(progress))
    # Files come first, because printing fails with a closed pipe.
    files = {} if out is None else {out: csv_text(comparison).encode()}
    files |= {} if picture_file is None else {picture_file: _png(comparison)}
    for path, content in files.items():
        write_atomically(path, content)
    text = lines(comparison, _width())
    return "\n".join([*text, *([f"written: {'  '.join(map(str, files))}"] if files else [])])


def _compared(family: str, bids: Path | None, given: dict[str, Any], report: Report) -> Comparison:
    """Run the comparison of a family; ``given`` has the arguments of its library function, and a checkpoint."""
    if family == "single_item":
        return compare_single_item(None if bids is None else read_single_items(bids), progress=report, **given)
    if family == "shares":
        return compare_shares(None if bids is None else read_shares(bids), progress=report, **given)
    own = None if bids is None else read_double_auctions(bids)
    checkpoint = given.pop("checkpoint", None)
    if checkpoint is None:
        return compare_double_auctions(own, progress=report, **given)
    if given["mechanisms"] and LEARNT not in given["mechanisms"]:
        raise UserError(
            f"--checkpoint is not allowed without {LEARNT}: add --mechanism {LEARNT}, or leave out --mechanism"
        )
    auctioneer = auctioneer_of(checkpoint)
    with one_line_about(checkpoint):
        return compare_double_auctions(own, auctioneer=auctioneer, progress=report, **given)


def _png(comparison: Comparison) -> bytes:
    content = io.BytesIO()
    picture(comparison).savefig(content, format="png", dpi=100)
    return content.getvalue()


def _width() -> int:
    console = Console()
    return console.width if console.is_terminal or "COLUMNS" in os.environ else PAGE_WIDTH


def _progress(quiet: bool) -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True)


def _report(progress: Progress) -> Report:
    """Return a function that shows the progress of each mechanism."""
    tasks: dict[str, Any] = {}

    def report(name: str, done: int, markets: int) -> None:
        if name not in tasks:
            tasks[name] = progress.add_task(name, total=markets)
        progress.update(tasks[name], completed=done)

    return report
