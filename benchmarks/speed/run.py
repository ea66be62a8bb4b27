"""Measure how fast the markets are: ``python benchmarks/speed/run.py [--quick] [--only a,b] [--out FOLDER]``."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import single_thread  # noqa: F401 - before everything that starts threads
from measure import FULL, QUICK, Effort, Figure, SkippedError
from report import as_json, conditions, number, write, write_markets

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
MARKETS = "markets"
"""The part that is about every market and has no targets."""


def measure(group: str, effort: Effort) -> list[Figure]:
    """Return the figures of one group."""
    module, _, function = GROUPS[group].partition(":")
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
            mark = "reached" if figure.reached else "missed"
            spread = f"{number(min(figure.values))}-{number(max(figure.values))}"
            print(f"{figure.key}: {number(figure.median, figure.unit)} [{spread}] {mark}, {figure.title}", flush=True)
        figures += measured
    return figures, skipped


def chosen_groups(text: str) -> list[str]:
    """Return the groups named in ``a,b``."""
    groups = [name.strip() for name in text.split(",")]
    known = [*GROUPS, MARKETS]
    for name in groups:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
    return groups


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write; return the exit status."""
    parser = argparse.ArgumentParser(description="Measure how fast the markets are, on one thread.")
    parser.add_argument("--quick", action="store_true", help="a few short rounds: whether it runs, not how fast")
    parser.add_argument(
        "--only", type=chosen_groups, default=[*GROUPS, MARKETS], metavar="a,b", help="groups to measure"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the results")
    options = parser.parse_args(arguments)
    effort = QUICK if options.quick else FULL
    groups = [group for group in options.only if group != MARKETS]
    if groups:
        figures, skipped = measure_groups(groups, effort)
        write(as_json(figures, skipped, effort), options.out)
    if MARKETS in options.only:
        from markets import measure_markets

        write_markets({**conditions(effort), **measure_markets(effort)}, options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
