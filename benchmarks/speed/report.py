"""The results as JSON and as a table."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from measure import Effort, Figure

PACKAGES = ("ioa_marl", "numpy", "numba", "torch", "stable-baselines3", "pettingzoo", "gymnasium", "mpe2", "vmas")

TITLE = """# Speed, as measured

Written by `python benchmarks/speed/run.py`; what the figures mean is told in `../README.md`.
"""


def cpu_name() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of everything that is measured."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if shutil.which("cc"):
        answer = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=False).stdout
        found["cc"] = answer.partition("\n")[0]
    return found


def conditions(effort: Effort) -> dict[str, Any]:
    """Return when, where and with what is measured."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": cpu_name(),
        "system": platform.platform(terse=True),
        "threads": 1,
        "rounds": effort.rounds,
        "seconds_per_turn": effort.seconds,
        "versions": versions(),
    }


def figure_row(figure: Figure) -> dict[str, Any]:
    """Return one figure as JSON."""
    return {
        "key": figure.key,
        "title": figure.title,
        "unit": figure.unit,
        "better": "low" if figure.at_most else "high",
        "target": figure.target,
        "median": figure.median,
        "min": min(figure.values),
        "max": max(figure.values),
        "reached": figure.reached,
        "absolute": figure.absolute,
        "note": figure.note,
    }


def as_json(figures: list[Figure], skipped: dict[str, str], effort: Effort) -> dict[str, Any]:
    """Return everything that was measured, and where."""
    return {**conditions(effort), "figures": [figure_row(figure) for figure in figures], "skipped": skipped}


def print_figure(figure: Figure) -> None:
    """Print one line about a figure."""
    mark = "reached" if figure.reached else "missed"
    spread = f"{number(min(figure.values))}-{number(max(figure.values))}"
    print(f"{figure.key}: {number(figure.median, figure.unit)} [{spread}] {mark}, {figure.title}", flush=True)


def number(value: float, unit: str = "") -> str:
    """Return a value with its unit, three digits long."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}{'' if unit == '×' else ' '}{unit}".rstrip()


def as_markdown(results: dict[str, Any], title: str = TITLE) -> str:
    """Return the table."""
    lines = [*title.splitlines(), "", measured_with(results), "", *figure_lines(results["figures"])]
    if results["skipped"]:
        lines += ["", *skipped_lines(results["skipped"])]
    return "\n".join(lines) + "\n"


def measured_with(results: dict[str, Any], turn: str = "") -> str:
    """Return when, where and with what it was measured, in words; ``turn`` says what a turn is, if not a time."""
    turn = turn or f"{results['seconds_per_turn']} s a side"
    return (
        f"{results['date']}, {results['cpu']}, one thread, {results['rounds']} rounds of {turn}. "
        + ", ".join(f"{name} {version}" for name, version in results["versions"].items())
        + "."
    )


def figure_lines(figures: list[dict[str, Any]]) -> list[str]:
    """Return the table of figures with targets, what is behind them, and why some were missed."""
    lines = ["| | figure | target | median [min–max] | reached |", "| --- | --- | --- | --- | --- |"]
    for f in figures:
        bound = "≤" if f["better"] == "low" else "≥"
        measured = f"{number(f['median'], f['unit'])} [{number(f['min'])}–{number(f['max'])}]"
        target, reached = number(f["target"], f["unit"]), "yes" if f["reached"] else "**no**"
        lines.append(f"| {f['key']} | {f['title']} | {bound} {target} | {measured} | {reached} |")
    lines += ["", "Behind the figures, medians:", ""]
    for f in figures:
        lines.append(f"- {f['key']}: " + ", ".join(f"{name} {value:.4g}" for name, value in f["absolute"].items()))
    missed = [f for f in figures if not f["reached"]]
    if missed:
        lines += ["", "Not reached:", ""]
        lines += [f"- {f['key']}: {f['note'] or 'see the medians above.'}" for f in missed]
    return lines


def skipped_lines(skipped: dict[str, str]) -> list[str]:
    """Return what was not measured, and why."""
    return ["Not measured:", "", *(f"- {group}: {reason}" for group, reason in skipped.items())]


def write(results: dict[str, Any], folder: Path) -> None:
    """Write the figures, over those of before, and the page again."""
    _write_json(results, folder / "results.json")
    write_page(folder)


def write_solvers(results: dict[str, Any], folder: Path) -> None:
    """Write the figures of solvers, over those of before, and the page again."""
    _write_json(results, folder / "solvers.json")
    write_page(folder)


def write_markets(results: dict[str, Any], folder: Path) -> None:
    """Write what was measured of all markets, with its plots, over that of before, and the page again."""
    import markets_report

    _write_json(results, folder / "markets.json")
    markets_report.plot(results, folder)
    write_page(folder)


def write_learners(results: dict[str, Any], folder: Path) -> None:
    """Write groups of figures about learners, over those of before, and the page again."""
    path = folder / "learners.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    _write_json(dict(sorted({**before, **results}.items())), path)
    write_page(folder)


def _write_json(results: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_page(folder: Path) -> None:
    """Write ``README.md`` from the results that are in the folder, whenever they were measured."""
    import learners_report
    import markets_report

    def found(name: str) -> Any:
        path = folder / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    names = ("results", "solvers", "markets", "learners")
    figures, solvers, markets, learners = (found(f"{name}.json") for name in names)
    parts = [as_markdown(figures) if figures is not None else TITLE]
    if solvers is not None:
        parts.append(as_markdown(solvers, "## Solvers\n"))
    if learners is not None:
        parts.append("\n".join(learners_report.as_markdown(learners)) + "\n")
    if markets is not None:
        parts.append("\n".join(markets_report.as_markdown(markets)) + "\n")
    (folder / "README.md").write_text("\n".join(parts), encoding="utf-8")
