"""Figures g: how long a fresh interpreter takes until the package is there."""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from measure import Effort, Figure, Run, interleave, ratios

EMPTY: tuple[str, ...] = ("-c", "pass")
IMPORT: tuple[str, ...] = ("-c", "import ioa_marl")
HELP: tuple[str, ...] = ("-m", "ioa_marl", "--help")


def interpreter_run(arguments: Sequence[str], folder: str) -> Run:
    """Return a loop that starts interpreters; from another folder, so that nothing is imported from this one."""

    def run(steps: int) -> None:
        for _ in range(steps):
            subprocess.run([sys.executable, *arguments], check=True, cwd=folder, stdout=subprocess.DEVNULL)

    return run


def heaviest_imports(arguments: Sequence[str], count: int = 5) -> str:
    """Return the packages whose modules take longest to load, by themselves."""
    command = [sys.executable, "-X", "importtime", *arguments]
    with tempfile.TemporaryDirectory() as folder:
        lines = subprocess.run(command, check=True, cwd=folder, capture_output=True, text=True).stderr.splitlines()
    own: dict[str, int] = {}
    for line in lines:
        _, _, rest = line.partition("import time:")
        microseconds, _, name = (part.strip() for part in (*rest.split("|"), "", "")[:3])
        if microseconds.isdigit():
            package = name.partition(".")[0]
            own[package] = own.get(package, 0) + int(microseconds)
    heaviest = sorted(own, key=lambda package: -own[package])[:count]
    return "own import time: " + ", ".join(f"{package} {own[package] / 1000:.0f} ms" for package in heaviest)


def startup(effort: Effort) -> list[Figure]:
    """Figures g: seconds until ``import ioa_marl`` and ``ioa-marl --help`` are done."""
    with tempfile.TemporaryDirectory() as folder:
        cases = [("g1", "import ioa_marl", IMPORT, 0.3)]
        if importlib.util.find_spec("ioa_marl.cli") is not None:
            cases.append(("g2", "ioa-marl --help", HELP, 1.0))
        runs = [interpreter_run(arguments, folder) for arguments in (EMPTY, *(case[2] for case in cases))]
        empty, *taken = interleave(runs, effort, clock=time.perf_counter)
    figures = []
    for (key, name, arguments, target), times in zip(cases, taken, strict=True):
        figure = Figure(
            key=key,
            title=f"`{name}` in a fresh interpreter",
            unit="s",
            target=target,
            values=times,
            at_most=True,
            absolute={
                "times `python -c pass`": statistics.median(ratios(times, empty)),
                "`python -c pass` [s]": statistics.median(empty),
            },
        )
        if not figure.reached:
            figure.note = heaviest_imports(arguments)
        figures.append(figure)
    return figures
