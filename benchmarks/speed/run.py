"""Measure how fast the markets are: ``python benchmarks/speed/run.py [--quick] [--only a,b] [--out FOLDER]``."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import single_thread  # noqa: F401 - before everything that starts threads
from measure import FULL, QUICK, Effort, Figure, SkippedError
from report import as_json, conditions, print_figure, write, write_learners, write_markets, write_solvers

RESULTS = Path(__file__).resolve().parent / "results"
GROUPS = {
    "a": "peers:single",
    "b": "peers:batched",
    "c": "engines:c_engine",
    "d": "engines:numpy_engine",
    "e": "rollout:environment_share",
    "f": "rollout:sb3_rollouts",
    "g": "startup:startup",
}
"""Groups of figures: module and function."""
SOLVER_GROUPS = {"m": "warm_starts:warm_starts"}
"""The same for solvers within the markets; results in a file of their own."""
MARKETS = "markets"
"""The part that is about every market and has no targets."""
LEARNERS = "learners"
"""The part that is about learners: all of `LEARNER_GROUPS`."""
LEARNER_GROUPS = ("h", "i", "j", "k", "l")


def measure(group: str, effort: Effort) -> list[Figure]:
    """Return the figures of one group."""
    module, _, function = {**GROUPS, **SOLVER_GROUPS}[group].partition(":")
    figures: list[Figure] = getattr(importlib.import_module(module), function)(effort)
    return figures


def measure_groups(groups: list[str], effort: Effort) -> tuple[list[Figure], dict[str, str]]:
    """Measure and print groups of figures; returns those that were skipped, with the reason, as well."""
    figures: list[Figure] = []
    skipped: dict[str, str] = {}
    for group in groups:
        try:
            measured = measure(group, effort)
        except SkippedError as reason:
            skipped[group] = str(reason)
            print(f"{group}: skipped, {reason}", flush=True)
            continue
        for figure in measured:
            print_figure(figure)
        figures += measured
    return figures, skipped


def chosen_groups(text: str) -> list[str]:
    """Return the groups named in ``a,b``."""
    groups = [name.strip() for name in text.split(",")]
    known = [*GROUPS, *SOLVER_GROUPS, *LEARNER_GROUPS, MARKETS, LEARNERS]
    for name in groups:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
    return groups


def add_peers(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where peers are that cannot be installed beside this project."""
    parser.add_argument("--d2sac", type=Path, metavar="FOLDER", help="checkout of the published D2SAC's code")
    parser.add_argument("--d2sac-python", default="", metavar="PYTHON", help="interpreter that has what it imports")
    parser.add_argument(
        "--benchmarl-python", default="", metavar="PYTHON", help="interpreter that has BenchMARL and this project"
    )


def chosen_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return what was asked for; a quick measurement, or one of some groups only, lies beside the published one."""
    parser = argparse.ArgumentParser(description="Measure how fast the markets are, on one thread.")
    parser.add_argument("--quick", action="store_true", help="a few short rounds: whether it runs, not how fast")
    parser.add_argument(
        "--only",
        type=chosen_groups,
        default=[*GROUPS, *SOLVER_GROUPS, MARKETS, LEARNERS],
        metavar="a,b",
        help="groups to measure",
    )
    parser.add_argument("--out", type=Path, help="folder; default: results, or results/quick for less than all")
    add_peers(parser)
    options = parser.parse_args(arguments)
    if options.out is None:
        some = [group for group in GROUPS if group in options.only]  # they share a file
        options.out = RESULTS / "quick" if options.quick or 0 < len(some) < len(GROUPS) else RESULTS
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write; return the exit status."""
    options = chosen_options(arguments)
    effort = QUICK if options.quick else FULL
    groups = [group for group in options.only if group in GROUPS]
    if groups:
        figures, skipped = measure_groups(groups, effort)
        write(as_json(figures, skipped, effort), options.out)
    solvers = [group for group in options.only if group in SOLVER_GROUPS]
    if solvers:
        figures, skipped = measure_groups(solvers, effort)
        write_solvers(as_json(figures, skipped, effort), options.out)
    if MARKETS in options.only:
        from markets import measure_markets

        write_markets({**conditions(effort), **measure_markets(effort)}, options.out)
    learning = tuple(group for group in LEARNER_GROUPS if group in options.only or LEARNERS in options.only)
    if learning:
        from learner_figures import Peers, measure_learners

        peers = Peers(options.d2sac, options.d2sac_python, options.benchmarl_python)
        write_learners(measure_learners(effort, peers, learning), options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
