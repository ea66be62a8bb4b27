"""The part about learners: figures h, i and j, seeds in one process (k), and where a training step goes (l)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import Effort, Figure, SkippedError
from report import conditions, figure_row, print_figure

Row = dict[str, Any]


@dataclass(frozen=True)
class Peers:
    """Where the peers are that no package brings along."""

    d2sac: Path | None = None
    """Checkout of the published D2SAC."""
    d2sac_python: str = ""
    """Interpreter that has what it imports."""
    benchmarl_python: str = ""
    """Interpreter that has BenchMARL and this project."""


def _stacks(effort: Effort, peers: Peers) -> list[Figure]:
    from stacking import stacked_critics

    return stacked_critics(effort)


def _activations(effort: Effort, peers: Peers) -> list[Figure]:
    from diffusion_updates import activations

    return [activations(effort)]


def _published(effort: Effort, peers: Peers) -> list[Figure]:
    from diffusion_updates import published

    if peers.d2sac is None or not peers.d2sac_python:
        raise SkippedError("no checkout of D2SAC, or no interpreter for it, was given (--d2sac, --d2sac-python)")
    return published(effort, peers.d2sac, peers.d2sac_python)


def _benchmarl(effort: Effort, peers: Peers) -> list[Figure]:
    from against_benchmarl import against_benchmarl

    if not peers.benchmarl_python:
        raise SkippedError("no interpreter with BenchMARL was given (--benchmarl-python)")
    return against_benchmarl(effort, peers.benchmarl_python)


def _seeds(effort: Effort) -> tuple[list[Row], dict[str, str]]:
    from seeds import measure_seeds

    return measure_seeds(effort), {}


def _shares(effort: Effort) -> tuple[list[Row], dict[str, str]]:
    from shares import measure_shares

    return measure_shares(effort)


FIGURES: dict[str, dict[str, Callable[[Effort, Peers], list[Figure]]]] = {
    "h": {"h": _stacks},
    "i": {"i1": _activations, "i2, i3": _published},
    "j": {"j": _benchmarl},
}
"""Groups of figures with targets: what is skipped or measured as one, by name."""
TABLES: dict[str, Callable[[Effort], tuple[list[Row], dict[str, str]]]] = {"k": _seeds, "l": _shares}
"""Groups without targets; they return rows, and what was left out with the reason."""
GROUPS = (*FIGURES, *TABLES)
ROUNDS = {"j": 5, "k": 5, "l": 3}
"""Rounds of groups in which a turn is a period of training, which may take seconds."""


def measure_learners(effort: Effort, peers: Peers, groups: tuple[str, ...] = GROUPS) -> dict[str, Any]:
    """Measure and print; what cannot be measured is skipped, and said to be.

    Returns
    -------
    dict
        For each group when, where and with what it was measured, its ``rows`` and what was ``skipped``.
    """
    out = {}
    for group in groups:
        shorter = dataclasses.replace(effort, rounds=min(ROUNDS.get(group, effort.rounds), effort.rounds))
        rows: list[Row] = []
        skipped: dict[str, str] = {}
        if group in TABLES:
            rows, skipped = TABLES[group](shorter)
        for name, measure in FIGURES.get(group, {}).items():
            try:
                figures = measure(shorter, peers)
            except SkippedError as reason:
                skipped[name] = str(reason)
                print(f"{name}: skipped, {reason}", flush=True)
                continue
            for figure in figures:
                print_figure(figure)
            rows += map(figure_row, figures)
        out[group] = {**conditions(shorter), "rows": rows, "skipped": skipped}
    return out
