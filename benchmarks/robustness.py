"""A thousand malformed and odd command lines: each is refused in a line or two, or accepted; nothing else happens.

    python benchmarks/robustness.py                 # writes benchmarks/robustness/results
    python benchmarks/robustness.py --count 150 --seed 7 --out /tmp/robustness

The inputs are drawn from a seed: correct command lines with one to three things made wrong. They go through the command
itself, in one process, up to the point where jobs would start.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import random
import resource
import statistics
import sys
import tempfile
import time
import unittest.mock
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

COUNT, SEED = 1000, 0
RESULTS = Path(__file__).parent / "robustness" / "results"
MOST_LINES, MOST_MEGABYTES, MEDIAN_SECONDS, MOST_SECONDS = 2, 200, 0.3, 2.0

GOOD = (
    ["env=double_dutch", "agent=random", "budget=640", "seeds=1"],
    ["env=double_dutch/calm", "agent=ppo", "agent.gamma=0.9", "budget=4096"],
    ["env=second_bid", "agent=sac/second_bid", "evaluation.episodes=5"],
    ["env=stackelberg", "agent=mappo", "num_envs=16", "budget=100000"],
    ["env=vcg_slicing", "agent=qvcg", "agent.settings.quanta=10"],
    ["env=two_tier", "agent=maddpg", "roles.auctioneer.agent=ppo", "roles.auctioneer.agent.gamma=0.5"],
    ["-m", "env=double_dutch", "agent=ppo,sac", "agent.gamma=0.5", "budget=4096,8192"],
    ["-m", "env=double_dutch,second_bid", "agent=random", "env.max_cycles=5,6"],
    ["-m", "env=double_dutch", "agent=glob(t*)", "evaluation.points=1,2"],
    ["-m", "env=second_bid", "agent=random,threshold", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
)
KEYS = (
    "env", "agent", "budget", "seeds", "num_envs", "device", "runs", "roles", "evaluation", "roles.buyer",
    "roles.buyer.agent", "roles.auctioneer.agent", "roles.nobody.agent", "env.buyers", "env.level", "env.observation",
    "env.preset", "env.name", "env.psi", "agent.gamma", "agent.name", "agent.batch_size", "agent.hidden",
    "agent.settings", "agent.settings.coarse", "agent.path", "agent.width", "evaluation.episodes",
    "evaluation.bidder_gain", "hydra", "hydra.run.dir", "hydra.sweep.dir", "hydra.launcher", "hydra.launcher.n_jobs",
    "hydra/launcher", "hydra/sweeper", "hydra.job.chdir", "hydra.mode", "hydra.verbose", "experiment", "nothing",
    "a.b.c",
)  # fmt: skip
VALUES = (
    "", "null", "true", "false", "0", "1", "-1", "1.5", "1e3", "1e5", "1e400", "nan", "inf", "-inf", "1_000", "007",
    "0x10", "1e-400", "9" * 30, "9" * 5000, "[]", "{}", "[1,2]", "[1,[2]]", "{a: 1}", "{a: {b: [1]}}", "[", "{", "(",
    ")", "]", "'", '"', "'a'", '"a', "a,b", "0,1,2", "1,000", "a,", ",", ",,", "a=b", "a b", "a  b", "#", "%", "50%",
    "~", "~/x", "é", "β", "漢字", "🙂", "\u202e", "\n", "a\nb\nc", "\t", "\x1b[31m", "\\", "\\\\", "$", "${",
    "${budget}", "${nope}", "${a.b}", "${oc.env:HOME}", "${oc.env:NOT_THERE}", "${hydra:runtime.cwd}", "${now:%Y}",
    "???", "choice()", "choice(1,2)", "choice(a", "range(3)", "range(1,10,0)", "range(0,1e18)", "range(5,1)",
    "range(0,1,nan)", "interval(0,1)", "glob(*)", "glob(t*)", "glob(zz)", "glob([a,b],exclude=c)", "shuffle(1,2,3)",
    "shuffle(range(4))", "sort(3,1)", "int(1.5)", "int(a)", "float(1)", "json_str({a:1})", "extend_list(1)",
    "tag(a,b)", "str([1])", "sac", "ppo,sac", "sac/double_dutch", "sac/nothing", "double_dutch", "double_dutch/calm",
    "double_dutch,second_bid", "cuda", "cuda:0,cuda:1", "tpu", "cpu", "joblib", "basic", "ray", "optuna", "/", "/x/y",
    "../x", "a/b/c", ".", "..", "a" * 300, "a" * 20000, "[" * 200, "[" + "1," * 400 + "1]", "[" + "1," * 5000 + "1]",
    "x" + "/y" * 400, "@", "a@b", "!", "&", "*", ";", "`ls`", "|",
)  # fmt: skip
FLAGS = (
    "-m", "--multirun", "--quiet", "--cfg", "--cfg=job", "--cfg=none", "-c", "--config-dir", "--config-dir=nowhere",
    "--config-dir=own", "-cd", "--help=1", "--resolve", "--run", "--info", "--budget=5", "-x", "--", "-", "---",
    "--é", "--hydra-help", "--package=x", "-mm",
)  # fmt: skip
FILES = (
    "a: [1\n", "- 1\n", "&a [*a]\n", "a: &a [*a]\n", "x: 1\n", "# @package _global_\nbudget: many\n",
    "# @package _global_\nagent: sac\n", "# @package _global_\nroles: 3\n", "# @package _global_\nseeds: [0, 0]\n",
    "# @package _global_\ndefaults: [override /agent: nobody]\n", "# @package _global_\ndefaults: 3\n", "\x00\x01",
    "", "# @package _global_\nhydra: {sweeper: {params: {agent: 'ppo,sac'}}}\n", "# @package _global_\nhydra: 1\n",
    "# @package _global_\nhydra: {sweeper: {params: 3}}\n", "# @package a.b\nc: 1\n",
    "# @package _global_\nhydra: {sweeper: {params: {agent: ppo}, max_batch_size: 0}}\n",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What one command line did."""

    arguments: list[str]
    """Words of the command line."""
    file: str | None
    """What ``own/experiment/x.yaml`` held, if it was there."""
    status: int
    """Exit status."""
    lines: int
    """Lines that it wrote to standard error."""
    said: str
    """The first of them."""
    cpu_seconds: float
    """Processor time."""
    seconds: float
    """Time that passed."""
    faults: list[str]
    """What it should not have done."""


def inputs(count: int, seed: int) -> Iterator[tuple[list[str], str | None]]:
    """Yield command lines, and for some the text of a file ``own/experiment/x.yaml``."""
    draw = random.Random(seed)
    for _ in range(count):
        arguments, file = list(draw.choice(GOOD)), None
        for _ in range(draw.choice((1, 1, 1, 1, 2, 3))):
            arguments = draw.choice(WRONGS)(draw, arguments)
        if draw.random() < 0.05:
            file = draw.choice(FILES)
            arguments += ["--config-dir=own", draw.choice(("+experiment=x", "experiment=x", "+experiment=y"))]
        yield arguments, file


def _value(draw: random.Random, arguments: list[str]) -> list[str]:
    return [*arguments, f"{draw.choice(KEYS)}={draw.choice(VALUES)}"]


def _marked(draw: random.Random, arguments: list[str]) -> list[str]:
    mark, equals = draw.choice(("~", "+", "++", "+++", "-+")), draw.choice(("", f"={draw.choice(VALUES)}"))
    return [*arguments, f"{mark}{draw.choice(KEYS)}{equals}"]


def _packaged(draw: random.Random, arguments: list[str]) -> list[str]:
    return [*arguments, f"{draw.choice(KEYS)}@{draw.choice(KEYS)}={draw.choice(VALUES)}"]


def _flag(draw: random.Random, arguments: list[str]) -> list[str]:
    at = draw.randrange(len(arguments) + 1)
    return [*arguments[:at], draw.choice(FLAGS), *arguments[at:]]


def _misspelt(draw: random.Random, arguments: list[str]) -> list[str]:
    """Change, drop, double or insert a character of one word."""
    at = draw.randrange(len(arguments))
    word = arguments[at]
    i = draw.randrange(len(word)) if word else 0
    other = draw.choice("aeinx_.-=,/@+~#%()[]{}'\"\\$ é\n0")
    word = draw.choice(
        (word[:i] + word[i + 1 :], word[:i] + word[i : i + 1] * 2 + word[i + 1 :], word[:i] + other + word[i:])
    )
    return [*arguments[:at], word, *arguments[at + 1 :]]


def _replaced(draw: random.Random, arguments: list[str]) -> list[str]:
    """Give one setting another value."""
    at = draw.randrange(len(arguments))
    return [*arguments[:at], f"{arguments[at].partition('=')[0]}={draw.choice(VALUES)}", *arguments[at + 1 :]]


def _setting(draw: random.Random, arguments: list[str]) -> list[str]:
    """Give a setting that the market or the agent has some value."""
    from ioa_marl import registry

    prefix = draw.choice(("env", "agent"))
    names = [word.partition("=")[2].partition("/")[0] for word in arguments if word.startswith(f"{prefix}=")]
    known = registry.env_names() if prefix == "env" else registry.agent_names()
    if not names or names[-1] not in known:
        return arguments
    schema = (registry.load_env if prefix == "env" else registry.load_agent)(names[-1]).config_class
    field = draw.choice([f.name for f in dataclasses.fields(schema)] or ["nothing"])
    number = str(
        draw.choice((draw.randrange(100), 10 ** draw.randrange(20), -draw.random(), draw.random() * 1e9, 1e-300))
    )
    return [
        *arguments,
        f"{prefix}.{field}={draw.choice((number, number, f'[{number},{number}]', draw.choice(VALUES)))}",
    ]


def _lost(draw: random.Random, arguments: list[str]) -> list[str]:
    at = draw.randrange(len(arguments))
    return arguments[:at] + arguments[at + 1 :] or [""]


def _noise(draw: random.Random, arguments: list[str]) -> list[str]:
    word = "".join(
        chr(draw.choice((draw.randrange(1, 128), draw.randrange(1, 0xD800)))) for _ in range(draw.randrange(12))
    )
    return [
        *arguments,
        draw.choice((word, f"budget={word}", f"{word}=1", word.encode()[:-1].decode(errors="surrogateescape"))),
    ]


WRONGS: tuple[Callable[[random.Random, list[str]], list[str]], ...] = (
    _value, _value, _value, _marked, _packaged, _flag, _misspelt, _misspelt, _replaced, _replaced, _lost, _noise,
    _setting, _setting, _setting, _setting, _setting, _setting,
)  # fmt: skip


@contextmanager
def checked_only() -> Iterator[None]:
    """Let the command end where it would start its jobs."""
    from ioa_marl.training import compose

    with unittest.mock.patch.object(compose, "launch", return_value=0):
        yield


def tried(arguments: Sequence[str], file: str | None, folder: Path) -> Outcome:
    """Give one command line to the command, in an empty folder that has at most that file."""
    from typer.testing import CliRunner

    from ioa_marl.cli import app

    given = folder / "own" / "experiment" / "x.yaml"
    given.parent.mkdir(parents=True, exist_ok=True)
    given.unlink(missing_ok=True)
    if file is not None:
        given.write_text(file)
    before = sorted(folder.rglob("*"))
    started, cpu = time.perf_counter(), time.process_time()
    done = CliRunner().invoke(app, ["train", *arguments])
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    lines = done.stderr.strip().splitlines()
    faults = []
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        faults.append(f"traceback: {type(done.exception).__name__}: {done.exception}"[:300])
    elif done.exit_code not in (0, 2):
        faults.append(f"exit status {done.exit_code}")
    if len(lines) > MOST_LINES:
        faults.append(f"{len(lines)} lines")
    if done.exit_code == 2 and not lines:
        faults.append("refused without a word")
    if sorted(folder.rglob("*")) != before:
        faults.append("files written")
    if cpu > MOST_SECONDS:
        faults.append(f"{cpu:.1f} s")
    return Outcome(
        list(arguments),
        file,
        done.exit_code,
        len(lines),
        lines[0] if lines else "",
        round(cpu, 4),
        round(seconds, 4),
        faults,
    )


def peak_megabytes() -> float:
    """Return the most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(count: int, seed: int, told: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Try ``count`` inputs; return figures, and every input that did what it should not."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch, checked_only():
        os.chdir(scratch)
        try:
            for arguments in GOOD:  # what is imported and compiled once
                tried(arguments, None, Path(scratch))
            memory = peak_megabytes()
            outcomes = []
            for i, (arguments, file) in enumerate(inputs(count, seed), 1):
                outcomes.append(tried(arguments, file, Path(scratch)))
                if outcomes[-1].faults:
                    told(f"{i}: {outcomes[-1].faults} {arguments!r:.300} {file!r}")
        finally:
            os.chdir(here)
    cpu = sorted(outcome.cpu_seconds for outcome in outcomes)
    return {
        "inputs": count,
        "seed": seed,
        "refused": sum(outcome.status == 2 for outcome in outcomes),
        "accepted": sum(outcome.status == 0 for outcome in outcomes),
        "tracebacks": sum("traceback" in fault for outcome in outcomes for fault in outcome.faults),
        "longer_than_two_lines": sum(outcome.lines > MOST_LINES for outcome in outcomes),
        "files_written": sum("files written" in outcome.faults for outcome in outcomes),
        "median_seconds": round(statistics.median(cpu), 3),
        "longest_seconds": round(cpu[-1], 3),
        "median_seconds_passed": round(statistics.median(outcome.seconds for outcome in outcomes), 3),
        "longest_seconds_passed": max(round(outcome.seconds, 3) for outcome in outcomes),
        "memory_megabytes": round(peak_megabytes() - memory, 1),
        "faults": [asdict(outcome) for outcome in outcomes if outcome.faults],
        "slowest": [asdict(outcome) for outcome in sorted(outcomes, key=lambda o: -o.cpu_seconds)[:5]],
        "examples": [asdict(outcome) for outcome in outcomes[:: max(1, count // 40)]],
    }


def passed(figures: dict[str, Any]) -> bool:
    """Whether all of it was as it should be."""
    within = figures["median_seconds"] < MEDIAN_SECONDS and figures["memory_megabytes"] < MOST_MEGABYTES
    return not figures["faults"] and within


def write(figures: dict[str, Any], out: Path) -> None:
    """Write the figures as JSON, and a page that says what they are."""
    figures = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "python": platform.python_version(),
        "machine": platform.machine(), "processors": os.cpu_count(), **figures,
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "robustness.json").write_text(json.dumps(figures, indent=1, ensure_ascii=True) + "\n")
    rows = [
        ("inputs", figures["inputs"], ""), ("refused, exit status 2", figures["refused"], ""),
        ("accepted", figures["accepted"], ""), ("tracebacks", figures["tracebacks"], "0"),
        ("more than two lines", figures["longer_than_two_lines"], "0"),
        ("files written", figures["files_written"], "0"),
        ("median, s of processor time", figures["median_seconds"], f"below {MEDIAN_SECONDS}"),
        ("longest, s of processor time", figures["longest_seconds"], f"at most {MOST_SECONDS}"),
        ("memory at the peak, MB more than before", figures["memory_megabytes"], f"below {MOST_MEGABYTES}"),
        ("inputs with any fault", len(figures["faults"]), "0"),
    ]  # fmt: skip
    table = "\n".join(f"| {name} | {value} | {limit} |" for name, value, limit in rows)
    (out / "README.md").write_text(
        "# Malformed and odd command lines\n\n"
        f"`python benchmarks/robustness.py --count {figures['inputs']} --seed {figures['seed']}`, {figures['date']}, "
        f"Python {figures['python']}, {figures['processors']} processors that others use as well: processor time is "
        f"counted (the median input took {figures['median_seconds_passed']} s to pass).\n\n"
        "Correct command lines with one to three things made wrong: keys, values, marks, options, characters, files. "
        "`robustness.json` holds every fault, the slowest inputs, and forty examples with what was said.\n\n"
        f"| | found | allowed |\n| --- | --- | --- |\n{table}\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=COUNT, help="inputs")
    parser.add_argument("--seed", type=int, default=SEED, help="from which they are drawn")
    parser.add_argument("--out", type=Path, help="folder of the results")
    chosen = parser.parse_args(arguments)
    usual = (chosen.count, chosen.seed) == (COUNT, SEED)
    out = chosen.out or (RESULTS if usual else RESULTS.with_name(f"results-{chosen.count}-{chosen.seed}"))
    figures = measure(chosen.count, chosen.seed, told=print)
    write(figures, out)
    print({key: value for key, value in figures.items() if key not in ("faults", "slowest", "examples")}, f"in {out}")
    return 0 if passed(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
