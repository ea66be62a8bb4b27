"""Tables of what `learner_figures.measure_learners` found."""

from __future__ import annotations

from typing import Any

from markets_report import short
from report import figure_lines, measured_with, skipped_lines

Row = dict[str, Any]
TURNS = {
    "j": "an iteration of BenchMARL's loop and as many environment steps of ours",
    "k": "a period of training each",
    "l": "one or more periods of training",
}
"""What a turn is where it is no time."""


def as_markdown(results: dict[str, Any]) -> list[str]:
    """Return the section about learners, line by line."""
    lines = ["## Learners", ""]
    for group, found in results.items():
        table = {"k": _seeds, "l": _shares}.get(group, _figures)
        lines += [f"### {group}", "", measured_with(found, TURNS.get(group, "")), ""]
        if found["rows"]:
            lines += [*table(found["rows"]), ""]
        if found["skipped"]:
            lines += [*skipped_lines(found["skipped"]), ""]
    return lines


def _figures(rows: list[Row]) -> list[str]:
    return figure_lines(rows)


def _span(values: dict[str, float]) -> str:
    return f"{short(values['median'])} [{short(values['min'])}–{short(values['max'])}]"


def _seeds(rows: list[Row]) -> list[str]:
    lines = [
        "| learner, market | one after another, one core [×] | two at a time, two cores [×] | "
        "environment steps/s, stacked | one seed alone | start of a process [s] |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['learner']}, {row['market']}, {row['seeds']} seeds | {_span(row['one_core'])} | "
        f"{_span(row['two_cores'])} | {short(row['steps_per_second_stacked'])} | "
        f"{short(row['steps_per_second_single'])} | {short(row['start_seconds'])} |"
        for row in rows
    ]
    return lines


def _shares(rows: list[Row]) -> list[str]:
    parts = list(rows[0]["parts"])
    lines = [
        f"| market, agents | learner | environment steps/s | {' | '.join(f'{part} [%]' for part in parts)} |",
        "| --- | --- | --- |" + " --- |" * len(parts),
    ]
    for row in rows:
        cells = " | ".join(f"{100 * row['parts'][part]:.1f}" for part in parts)
        lines.append(
            f"| {row['market']}, {row['agents']} | {row['learner']} | {_span(row['steps_per_second'])} | {cells} |"
        )
    return lines
