"""The leaderboard command: read the run store, print the table, and write Markdown, CSV and TensorBoard files."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from ioa_marl.foundations.errors import UserError
from ioa_marl.leaderboard.folders import MADE_HERE
from ioa_marl.leaderboard.query import read_store
from ioa_marl.leaderboard.rows import Leaderboard, arrange
from ioa_marl.leaderboard.spreadsheet import csv_text
from ioa_marl.leaderboard.table import markdown, print_leaderboard
from ioa_marl.leaderboard.text import visible
from ioa_marl.leaderboard.verify import played_again

LOG = "tensorboard"
"""Name of the log directory in the output folder."""
PAGE_WIDTH = 120
"""Width of the table in characters if the output is not a terminal."""


def make_leaderboard(runs: Path, out: Path, verify: int = 0) -> int:
    """Compare all runs of a store.

    Parameters
    ----------
    runs : Path
        Folder of the run store.
    out : Path
        Folder for ``leaderboard.md``, ``leaderboard.csv`` and ``tensorboard/``; other files in it stay.
    verify : int, default 0
        Number of seeds whose checkpoints are played again before anything is written: a sample, spread over boards
        and runs.

    Returns
    -------
    int
        Number of replayed seeds whose recorded numbers were not reproduced.

    Raises
    ------
    UserError
        If there is no run, or ``out`` cannot be written; in that case the former leaderboard stays intact.
    """
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=PAGE_WIDTH)
    seeds, played = played_again(read_store(runs), verify)
    leaderboard = arrange(seeds)
    write(leaderboard, out)
    # Files come first, because printing fails with a closed pipe or a terminal that lacks characters.
    print_leaderboard(leaderboard, console)
    console.print()
    for line in (
        *played.lines(),
        f"written: {out / 'leaderboard.md'}  {out / 'leaderboard.csv'}  {out / LOG}",
        # With more than 40 runs TensorBoard selects none by itself.
        f"to see it in a browser: tensorboard --logdir {shlex.quote(str(out / LOG))}  "
        "(HPARAMS tab; in TEXT and IMAGES tick the run leaderboard)",
    ):
        console.print(visible(line), soft_wrap=True, markup=False, highlight=False)
    return played.failed


def write(leaderboard: Leaderboard, out: Path) -> None:
    """Write all files of the leaderboard; if one of them fails, the former files stay."""
    from ioa_marl.leaderboard.tensorboard import write_log

    log = out / LOG
    if log.exists() and not (log / MADE_HERE).is_file():
        raise UserError(f"{log} exists and is not of a leaderboard: choose another folder with --out")
    table = markdown(leaderboard)
    with _staging(out) as folder:
        (folder / "leaderboard.md").write_text(table, encoding="utf-8")
        (folder / "leaderboard.csv").write_text(csv_text(leaderboard), encoding="utf-8")
        (folder / LOG).mkdir()
        (folder / LOG / MADE_HERE).write_text("Made by ioa-marl leaderboard, which replaces this folder.\n")
        write_log(leaderboard, folder / LOG, table)


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """Yield a temporary folder in ``out``; when all its files are written, they replace the former ones."""
    staged: Path | None = None
    try:
        out.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=".leaderboard-", dir=out))
        yield staged
        _swap(staged / LOG, out / LOG, staged / "former")
        for name in ("leaderboard.md", "leaderboard.csv"):
            (staged / name).replace(out / name)
    except OSError as error:
        raise UserError(f"cannot write the leaderboard to {out}: {error.strerror or error}") from error
    finally:
        if staged is not None:
            shutil.rmtree(staged, ignore_errors=True)


def _swap(new: Path, old: Path, aside: Path) -> None:
    """Replace a folder by another; if that fails, the former one is restored."""
    if old.exists():
        old.rename(aside)
    try:
        new.rename(old)
    except BaseException:
        if aside.exists() and not old.exists():
            aside.rename(old)
        raise
