"""Runs that are killed at random moments, and files that are damaged: what is promised of both, tried.

    python benchmarks/kills.py                 # writes benchmarks/kills/results
    python benchmarks/kills.py --kills 3       # writes benchmarks/kills/results/quick, as --quick and --only do

A sweep is killed with SIGKILL again and again, alone or with its workers, and in the end compared to the bit with one
that was left alone. Then each file of a seed is damaged in each way, half-way through the run and after its end: the
other seed finishes with the same bits, nothing hangs, and a line names the file. Exit status 1 if anything is not so.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from typer.testing import CliRunner

from ioa_marl import __version__
from ioa_marl.cli import app
from ioa_marl.foundations import checkpoint
from ioa_marl.foundations.files import check_readable

RESULTS = Path(__file__).resolve().parent / "kills" / "results"
KILLS, QUICK_KILLS = 60, 2
MOST_IN_A_ROW = 4
"""A store is killed so often, at most, before its run may end."""
PATIENCE = 60.0
"""Seconds after which something hangs."""
MEMORY = 6 * 2**30
"""Bytes that a command may ask for beyond what it has: who reads an endless file meets this first."""
MEASURED = ("train_seconds", "steps_per_second", "seeds_together", "files", "checksum")
"""What ``result.json`` says that a clock has measured, and the checksums of what holds it."""
SWEEP = [
    "-m", "env=double_dutch", "agent=ppo,sac", "num_envs=16", "budget=3200", "seeds=2", "evaluation.points=8",
    "evaluation.episodes=5",
]  # fmt: skip
LAUNCHERS = {"one after the other": [], "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]}
TINY = [
    "env=double_dutch", "agent=greedy", "num_envs=4", "budget=24", "seeds=2", "evaluation.points=2",
    "evaluation.episodes=3",
]  # fmt: skip
"""A run of the blink of an eye, which writes all that long ones write."""


def same(one: Path, two: Path) -> bool:
    """Whether two seeds ended alike, to the bit, but for what was measured with a clock."""
    for file in ("result.json", "evaluation.parquet", "config.yaml", str(checkpoint.LATEST)):
        check_readable(one / file)  # it may be endless
        check_readable(two / file)
    results = [json.loads((path / "result.json").read_text()) for path in (one, two)]
    kept = [{key: value for key, value in result.items() if key not in MEASURED} for result in results]
    if kept[0] != kept[1] or kept[0]["status"] != "done":
        return False
    if not pq.read_table(one / "evaluation.parquet").equals(pq.read_table(two / "evaluation.parquet")):
        return False
    for name in ("latest", "best"):
        paths = [path / "checkpoint" / f"{name}.safetensors" for path in (one, two)]
        if [os.path.lexists(path) for path in paths] in ([True, False], [False, True]):
            return False
        if os.path.lexists(paths[0]):
            check_readable(paths[0])
            check_readable(paths[1])
            states = [checkpoint.load(path) for path in paths]
            for state in states:
                state.pop("train_seconds", None)
            if checkpoint.digest(states[0]) != checkpoint.digest(states[1]):
                return False
    return (one / "config.yaml").read_bytes() == (two / "config.yaml").read_bytes()


def seed_folders(runs: Path) -> dict[str, Path]:
    """Return all seeds of a store by their place in it."""
    return {str(path.relative_to(runs)): path for path in sorted(runs.glob("*/*/*/seed_*"))}


# --- killed at random moments


@dataclass(frozen=True)
class Killed:
    """A store whose training was killed, and finished in the end."""

    launcher: str
    kills: int
    same: bool
    """Whether every seed ended as in the store that was left alone, to the bit."""
    said: str
    """The first line of what the command said where it failed; empty if it never did."""


def train(runs: Path, launcher: str) -> subprocess.Popen[str]:
    """Start the sweep in a session of its own."""
    command = [sys.executable, "-P", "-m", "ioa_marl", "train", *SWEEP, f"runs={runs}", *LAUNCHERS[launcher]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def of_session(leader: int) -> Iterator[int]:
    """Yield the processes of a session that are alive."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            yield int(stat.parent.name)


def killed_store(runs: Path, whole: Path, launcher: str, kills: int, seconds: float, chosen: random.Random) -> Killed:
    """Kill the sweep so many times, let it end, and compare."""
    failed = ""
    done = 0
    while done < kills:
        process = train(runs, launcher)
        try:
            process.wait(chosen.random() * seconds)
        except subprocess.TimeoutExpired:
            if chosen.random() < 0.5:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()  # its workers notice by themselves
            done += 1
        said = process.communicate()[1]
        if process.returncode not in (0, -signal.SIGKILL):
            failed = failed or (said.splitlines() or ["?"])[0]
        if process.returncode == 0:
            break  # it was faster
        deadline = time.monotonic() + PATIENCE
        while any(of_session(process.pid)):
            if time.monotonic() > deadline:
                failed = failed or "a worker goes on without the command"
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.05)
    process = train(runs, launcher)
    said = process.communicate()[1]
    if process.returncode:
        failed = failed or (said.splitlines() or ["?"])[0]
    mine, wanted = seed_folders(runs), seed_folders(whole)
    alike = not failed and list(mine) == list(wanted) and all(same(mine[name], wanted[name]) for name in wanted)
    return Killed(launcher, done, alike, failed)


def kill(count: int, folder: Path, chosen: random.Random) -> list[Killed]:
    """Kill sweeps ``count`` times altogether."""
    process = train(folder / "whole", "one after the other")
    if process.communicate()[1] and process.returncode:
        raise SystemExit("the sweep that is left alone failed")
    began = time.monotonic()
    shutil.rmtree(folder / "whole")
    process = train(folder / "whole", "one after the other")  # again, with everything compiled: how long it takes
    process.communicate()
    seconds = time.monotonic() - began
    found: list[Killed] = []
    while (left := count - sum(store.kills for store in found)) > 0:
        launcher = list(LAUNCHERS)[len(found) % len(LAUNCHERS)]
        kills = min(left, chosen.randint(1, MOST_IN_A_ROW))
        found.append(killed_store(folder / f"killed_{len(found)}", folder / "whole", launcher, kills, seconds, chosen))
        print(found[-1], flush=True)
    return found


# --- damaged files


def _replaced(act: Callable[[Path], Any]) -> Callable[[Path, random.Random], None]:
    def damage(path: Path, chosen: random.Random) -> None:
        path.unlink()
        act(path)

    return damage


def _changed(act: Callable[[bytes], bytes]) -> Callable[[Path, random.Random], None]:
    return lambda path, chosen: path.write_bytes(act(path.read_bytes())) and None


def _flipped(path: Path, chosen: random.Random) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[chosen.randrange(len(data) // 2, len(data))] ^= 1 << chosen.randrange(8)
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "missing": lambda path, chosen: path.unlink(),
    "empty": _changed(lambda data: b""),
    "cut": _changed(lambda data: data[: len(data) // 2]),
    "zeroed": _changed(lambda data: bytes(len(data))),
    "one bit flipped": _flipped,
    "a folder": _replaced(lambda path: path.mkdir()),
    "a FIFO": _replaced(os.mkfifo),
    "endless": _replaced(lambda path: path.symlink_to("/dev/zero")),
}
QUICK_DAMAGES = ("cut", "a folder")
FILES = (
    ".lock", "config.yaml", "provenance.json", "result.json", "evaluation.parquet", "events.out.tfevents",
    "checkpoint/latest.safetensors", "checkpoint/best.safetensors",
)  # fmt: skip


GOOD = ("rebuilt", "refused", "noticed")


@dataclass(frozen=True)
class Damaged:
    """What became of a store with one damaged file."""

    when: str
    file: str
    damage: str
    outcome: str
    """One of `GOOD`, or words in capitals for what may not be."""
    said: str
    """What the command said, from its first line on."""


def _command(arguments: Sequence[str], sender: Any) -> None:
    """Run a command in a forked process; sends the exit status, what it said, and whether it crashed."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    os.setsid()
    done = CliRunner().invoke(app, list(arguments))
    crash = done.exception is not None and not isinstance(done.exception, SystemExit)
    sender.send((done.exit_code, done.stderr + (repr(done.exception) if crash else ""), crash, done.stdout))


def run(*arguments: str) -> tuple[int, str, str, str]:
    """Run a command; returns its status, what it said on stderr and stdout, and what went wrong with running it."""
    context = multiprocessing.get_context("fork")  # everything is imported: a start takes no time
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_command, args=(arguments, sender))
    process.start()
    sender.close()
    found = receiver.poll(PATIENCE)
    try:
        status, said, crash, out = receiver.recv() if found else (-1, "", False, "")
    except EOFError:
        return -1, "", "", "TRACEBACK: the process died"
    finally:
        process.kill()
        process.join()
    if not found:
        return -1, "", "", "HANGS"
    wrong = "TRACEBACK" if crash or "Traceback" in said else ""
    if "MemoryError" in said or "std::bad_alloc" in said:
        wrong = "MEMORY"
    return status, said, out, wrong


def outcome(runs: Path, whole: Path, file: str, ended_before: bool) -> tuple[str, str]:
    """Run all commands on a store with a damaged file of seed 0; returns what became of it, and what was said."""
    wrong = []
    status, said, _, trouble = run("train", *TINY, f"runs={runs}")
    if trouble:
        wrong.append(trouble)
    mine, wanted = seed_folders(runs), seed_folders(whole)
    first, second = list(wanted)
    ended = {}
    for name in wanted:
        try:
            ended[name] = same(mine[name], wanted[name])
        except Exception:  # whatever the damage makes of reading it
            ended[name] = False
    if not ended[second]:
        wrong.append("OTHER SEED")
    lines = [line for line in said.splitlines() if line.startswith("ioa-marl: ")]
    if len(lines) > 2:
        wrong.append("MANY LINES")
    board, told, table, trouble = run("leaderboard", str(runs), "--out", str(runs.with_name("board")))
    if trouble or board or "greedy" not in table:
        wrong.append(f"BOARD {trouble or told[:80]}".strip())
    refuted, answer, checked, trouble = run("evaluate", str(mine[first]))
    if trouble:
        wrong.append(f"EVALUATE {trouble}")
    name = Path(file).name
    if ended[first]:
        good = "rebuilt"
    elif any(name in line for line in lines):
        good = "refused"
    else:
        good = "noticed"
        said_so = [told, table, *([answer, checked] if refuted else [])]
        if not ended_before or not any(name in text for text in said_so):
            wrong.append("UNNAMED" if status else "DIFFERENT")
    return ", ".join(wrong) or good, said.strip()[:400]


def stores(folder: Path) -> dict[str, Path]:
    """Make the stores that are damaged: one in the midst of training, and one that is done."""
    if run("train", *TINY, f"runs={folder / 'whole'}")[0]:
        raise SystemExit("the run that is left alone failed")
    half = folder / "half"
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_half, args=(half,))
    process.start()
    process.join()
    latest = [path / checkpoint.LATEST for path in seed_folders(half).values()]
    if len(latest) != 2 or not all(path.exists() for path in latest):
        raise SystemExit("the run was not stopped between its evaluations")
    return {"half-way": half, "done": folder / "whole"}


def _half(runs: Path) -> None:
    """Train up to the first checkpoints, and die."""
    from ioa_marl.training.runner import Trainer

    save = Trainer._save

    def dying(trainer: Trainer) -> None:
        save(trainer)
        os._exit(9)

    Trainer._save = dying  # type: ignore[method-assign]
    CliRunner().invoke(app, ["train", *TINY, f"runs={runs}"])


def damage(names: Sequence[str], folder: Path, chosen: random.Random) -> list[Damaged]:
    """Damage every file in every way that is named, before and after the end of training."""
    found = []
    made = stores(folder)
    for when, store in made.items():
        for file in FILES:
            for name in names:
                runs = folder / "damaged" / "runs"
                shutil.rmtree(runs.parent, ignore_errors=True)
                shutil.copytree(store, runs)
                path = next(next(iter(seed_folders(runs).values())).glob(f"{file}*"))
                DAMAGES[name](path, chosen)
                found.append(Damaged(when, file, name, *outcome(runs, made["done"], file, when == "done")))
                print(f"{when}: {file} {name}: {found[-1].outcome}", flush=True)
    return found


# --- what is written


def report(kills: Sequence[Killed], damaged: Sequence[Damaged]) -> str:
    """Return the page of results."""
    today = datetime.datetime.now(datetime.UTC).date()
    lines = [
        "# Kills and damaged files",
        "",
        f"Written by `python benchmarks/kills.py` on {today}: ioa_marl {__version__}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, {platform.platform(terse=True)}.",
    ]
    if kills:
        lines += ["", "| launcher | stores | kills | the same bits in the end |", "| --- | ---: | ---: | ---: |"]
        for launcher in LAUNCHERS:
            part = [store for store in kills if store.launcher == launcher]
            if part:
                count, alike = sum(store.kills for store in part), sum(store.same for store in part)
                lines.append(f"| {launcher} | {len(part)} | {count} | {alike} of {len(part)} |")
    for when in dict.fromkeys(case.when for case in damaged):
        part = [case for case in damaged if case.when == when]
        names = list(dict.fromkeys(case.damage for case in part))
        lines += ["", f"## A file of one seed of two is damaged: {when}", "", "| file | " + " | ".join(names) + " |"]
        lines.append("| --- |" + " --- |" * len(names))
        for file in dict.fromkeys(case.file for case in part):
            cells = [case.outcome for case in part if case.file == file]
            lines.append(f"| `{file}` | " + " | ".join(cells) + " |")
    if damaged:
        lines += [
            "",
            "`rebuilt`: the seed ends with the same bits; `refused`: a line names the file and the seed is left as it "
            "is; `noticed`: the seed was done already, and `evaluate` fails, or the leaderboard warns, naming it. "
            "In all cases the other seed ends with the same bits, and the leaderboard is made. "
            "Capitals say what may not be: HANGS, TRACEBACK, MEMORY, OTHER SEED (it did not end the same), "
            "DIFFERENT (it ended as if all was well, "
            "with other numbers), UNNAMED (no line names the file), MANY LINES, BOARD (no leaderboard), EVALUATE (it "
            "hangs or crashes).",
        ]
    return "\n".join(lines) + "\n"


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what was asked for; what is less than the published results lies beside them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, help=f"default: {KILLS}")
    parser.add_argument("--only", choices=["kills", "damage"], help="one part")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of the bits")
    parser.add_argument("--quick", action="store_true", help="a few kills and damages: whether it runs")
    parser.add_argument("--results", type=Path, help="folder; default: kills/results, or its quick for less than all")
    args = parser.parse_args(arguments)
    if args.kills is None:
        args.kills = QUICK_KILLS if args.quick else KILLS
    if args.results is None:
        whole = args.kills == KILLS and not args.quick and args.only is None
        args.results = RESULTS if whole else RESULTS / "quick"
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, damage, and write what became of it; return the exit status."""
    args = options(arguments)
    torch.set_num_threads(1)
    chosen = random.Random(args.seed)
    kills: list[Killed] = []
    damaged: list[Damaged] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if args.only != "damage":
            kills = kill(args.kills, folder, chosen)
        if args.only != "kills":
            damaged = damage(QUICK_DAMAGES if args.quick else list(DAMAGES), folder / "files", chosen)
    args.results.mkdir(parents=True, exist_ok=True)
    page = report(kills, damaged)
    (args.results / "README.md").write_text(page, encoding="utf-8")
    held = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "version": __version__}
    parts = {"kills": [asdict(store) for store in kills], "damaged": [asdict(case) for case in damaged]}
    text = json.dumps({**held, "seed": args.seed, **parts}, indent=1)
    (args.results / "kills.json").write_text(text + "\n", encoding="utf-8")
    print(page)
    wrong = [case for case in damaged if case.outcome not in GOOD]
    return int(bool(wrong) or not all(store.same for store in kills))


if __name__ == "__main__":
    sys.exit(main())
