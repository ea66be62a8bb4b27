"""An hour of training and a thousand updates of the leaderboard, in one process: memory and open files stay flat.

    python benchmarks/soak.py                           # writes benchmarks/soak/results
    python benchmarks/soak.py --minutes 5 --updates 50  # writes benchmarks/soak/results/quick, as --quick does

Half of the time is one long run, the other half is short runs of all markets in turn. Exit status 1 if anything grows.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import gc
import io
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ioa_marl import __version__
from ioa_marl.foundations.errors import UserError
from ioa_marl.leaderboard.board import make_leaderboard
from ioa_marl.training.config import RunSpec, resolve
from ioa_marl.training.seeds import train_seeds

RESULTS = Path(__file__).resolve().parent / "soak" / "results"
MINUTES, UPDATES = 60.0, 1000
QUICK_MINUTES, QUICK_UPDATES = 0.5, 20
WARM_UP = 0.4
"""Share of the samples in which caches may fill."""
MOST_GROWTH = 16.0
"""Megabytes that may come on top after the warm-up: the allocator's pools are not returned at once."""
SAMPLES = 200
"""Of each part, at most."""
SHORT = (
    ("double_dutch", "ppo", {"rollout_size": 256, "n_epochs": 2}, 512, 16),
    ("second_bid", "sac", {"learning_starts": 64, "batch_size": 32, "width": 16}, 256, 16),
    ("stackelberg", "maddpg", {"learning_starts": 64, "batch_size": 32, "width": 16}, 128, 16),
    ("two_tier", "mappo", {"rollout_size": 128, "n_epochs": 2}, 256, 16),
    ("vcg_slicing", "mean_field_ac", {"learning_starts": 32, "batch_size": 16, "width": 16}, 64, 8),
    ("double_dutch", "greedy", {}, 256, 16),
)
"""Market, agent, its settings, budget and markets side by side of the short runs."""


@dataclass(frozen=True)
class Sample:
    """What a process holds at a moment."""

    seconds: float
    """Since the part began."""
    done: int
    """Steps, runs or updates."""
    megabytes: float
    """Resident memory."""
    files: int
    """Open file descriptors."""
    threads: int


@dataclass
class Part:
    """Samples of one kind of work."""

    name: str
    unit: str
    """What is counted in `Sample.done`."""
    samples: list[Sample] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def sample(self, done: int) -> None:
        """Take a sample."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.samples.append(
            Sample(
                time.monotonic() - self.began, done, pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
                len(list(Path("/proc/self/fd").iterdir())), threading.active_count(),
            )
        )  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """Whether something grows."""

    part: str
    done: int
    unit: str
    minutes: float
    megabytes: float
    """Resident memory at the end of the warm-up, by the fitted line."""
    growth: float
    """Megabytes that the fitted line gains from there to the end."""
    files: tuple[int, int]
    """Most open files in the first and in the second half after the warm-up."""
    threads: tuple[int, int]
    flat: bool


def verdict(part: Part) -> Verdict:
    """Fit a line through the memory after the warm-up, and compare both halves of it for files and threads."""
    rest = part.samples[int(WARM_UP * len(part.samples)) :]
    if len(rest) < 4:
        raise SystemExit(f"{part.name}: {len(part.samples)} samples are too few for a verdict; use more time")
    done = np.array([sample.done for sample in rest], float)
    slope, start = np.polyfit(done - done[0], [sample.megabytes for sample in rest], 1)
    growth = float(slope * (done[-1] - done[0]))
    halves = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    files = tuple(max(sample.files for sample in half) for half in halves)
    threads = tuple(max(sample.threads for sample in half) for half in halves)
    flat = growth <= MOST_GROWTH and files[1] <= files[0] and threads[1] <= threads[0]
    last = part.samples[-1]
    return Verdict(
        part.name, last.done, part.unit, last.seconds / 60, float(start), growth, (files[0], files[1]),
        (threads[0], threads[1]), flat,
    )  # fmt: skip


def described(
    runs: Path, market: str, agent: str, settings: Mapping[str, Any], budget: int, num_envs: int, seeds: Any
) -> RunSpec:
    """Return a run as the command would understand it."""
    from ioa_marl import registry

    preset = next(iter(registry.load_env(market).presets))
    return resolve(
        {
            "env": {"name": market, "preset": preset}, "agent": {"name": agent, **settings}, "device": "cpu",
            "budget": budget, "num_envs": num_envs, "evaluation": {"points": 2, "episodes": 4},
            "seeds": seeds, "runs": str(runs),
        }
    )  # fmt: skip


class TimeIsUp(Exception):  # noqa: N818 - no error
    """The long run has had its time."""


def one_long_run(seconds: float, folder: Path) -> Part:
    """Train one run, and sample while it goes on."""
    learner = {"learning_starts": 100, "batch_size": 32, "width": 16}
    spec = described(folder / "long", "double_dutch", "sac", learner, 10**9, 16, 2)
    every = seconds / SAMPLES
    part = Part("one long run", "steps")

    def report(steps: int, scores: Mapping[str, float]) -> None:
        passed = time.monotonic() - part.began
        if not part.samples or passed - part.samples[-1].seconds >= every:
            part.sample(steps)
        if passed > seconds and len(part.samples) >= 8:  # enough for a verdict on a busy machine too
            raise TimeIsUp

    with contextlib.suppress(TimeIsUp):
        train_seeds(spec, spec.seeds, report)
    return part


def short_runs(seconds: float, folder: Path, kinds: Sequence[tuple[Any, ...]] = SHORT) -> Part:
    """Train runs of all kinds in turn; a sample after each turn."""
    part = Part("short runs", "runs")
    turn = 0
    while time.monotonic() - part.began < seconds or len(part.samples) < 8:
        for market, agent, settings, budget, num_envs in kinds:
            spec = described(folder / f"turn_{turn}", market, agent, settings, budget, num_envs, 2)
            train_seeds(spec, spec.seeds)
        turn += 1
        part.sample(turn * len(kinds))
    return part


def updates(count: int, runs: Path, out: Path) -> Part:
    """Make the leaderboard of a store again and again."""
    part = Part("updates of the leaderboard", "updates")
    for done in range(1, count + 1):
        with contextlib.redirect_stdout(io.StringIO()):
            make_leaderboard(runs, out)
        if done % max(1, count // SAMPLES) == 0:
            part.sample(done)
    return part


def report(found: Sequence[Verdict]) -> str:
    """Return the page of results."""
    today = datetime.datetime.now(datetime.UTC).date()
    lines = [
        "# Soak",
        "",
        f"Written by `python benchmarks/soak.py` on {today}: ioa_marl {__version__}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, {platform.platform(terse=True)}. "
        "One process does all of it. A line is fitted through the resident memory after the first "
        f"{WARM_UP:.0%} of the samples; flat means that it gains at most {MOST_GROWTH:.0f} MB to the end, "
        "and that neither open files nor threads become more.",
        "",
        "| part | done | minutes | memory after the warm-up, MB | growth since, MB | open files | threads | verdict |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for v in found:
        pairs = (f"{first} → {second}" for first, second in (v.files, v.threads))
        lines.append(
            f"| {v.part} | {v.done} {v.unit} | {v.minutes:.1f} | {v.megabytes:.0f} | {v.growth:+.1f} "
            f"| {' | '.join(pairs)} | {'flat' if v.flat else '**GROWS**'} |"
        )
    return "\n".join(lines) + "\n"


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what was asked for; what is shorter than the published soak lies beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help=f"of training; default: {MINUTES:.0f}")
    parser.add_argument("--updates", type=int, help=f"of the leaderboard; default: {UPDATES}")
    parser.add_argument("--quick", action="store_true", help="less than two minutes: whether it runs")
    parser.add_argument("--results", type=Path, help="folder; default: soak/results, or its quick for less than all")
    args = parser.parse_args(arguments)
    if args.minutes is None:
        args.minutes = QUICK_MINUTES if args.quick else MINUTES
    if args.updates is None:
        args.updates = QUICK_UPDATES if args.quick else UPDATES
    if args.results is None:
        args.results = RESULTS if (args.minutes, args.updates) == (MINUTES, UPDATES) else RESULTS / "quick"
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, update, and write the verdict; return the exit status."""
    args = options(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        seconds, kinds = 30 * args.minutes, SHORT[-1:] if args.quick else SHORT
        parts = [one_long_run(seconds, folder), short_runs(seconds, folder, kinds)]
        try:
            parts.append(updates(args.updates, folder / "turn_0", folder / "board"))
        except UserError as error:
            raise SystemExit(f"the leaderboard failed: {error}") from error
    found = [verdict(part) for part in parts]
    args.results.mkdir(parents=True, exist_ok=True)
    page = report(found)
    (args.results / "README.md").write_text(page, encoding="utf-8")
    held = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "version": __version__}
    samples = {part.name: [asdict(sample) for sample in part.samples] for part in parts}
    text = json.dumps({**held, "verdicts": [asdict(v) for v in found], "samples": samples}, indent=1)
    (args.results / "soak.json").write_text(text + "\n", encoding="utf-8")
    print(page)
    return int(not all(v.flat for v in found))


if __name__ == "__main__":
    sys.exit(main())
