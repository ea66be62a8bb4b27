"""The quantised VCG auction: time, welfare and information against the number of providers, and what a pair gains.

``python benchmarks/slicing/qvcg.py [--instances N] [--quick]`` writes ``results/qvcg.csv``, ``results/collusion.csv``,
``results/qvcg.png`` and ``results/qvcg.md``. Markets are the first instances of the game's presets, so rows of learners
that were scored on them can stand beside these.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame
from ioa_marl.evaluation.audits.vcg_slicing.collusion import collusion_gain, quantised_vcg
from ioa_marl.evaluation.audits.vcg_slicing.mechanisms import exact_vcg
from ioa_marl.markets.vcg_slicing.baselines import equal_split, utilities
from ioa_marl.markets.vcg_slicing.optimum import welfare_optimum
from ioa_marl.markets.vcg_slicing.quantised.auction import (
    full_bytes,
    full_variables,
    information_volume,
    quantised_optimum,
    quantised_payments,
)

RESULTS = Path(__file__).resolve().parent / "results"
INSTANCES = 5
"""Markets per size."""
PROVIDERS = (10, 20, 30, 40, 50)
QUANTA = (20, 100)
PRINTED_SECONDS = {
    20: {10: 0.19e3, 20: 1.82e3, 30: 3.68e3, 40: 9.35e3, 50: 30.4e3},
    100: {10: 3.40e3, 20: 33.6e3, 30: 117e3, 40: 225e3, 50: 1140e3},
}
"""Table III of the paper, for 500 rounds on an Intel i7-10700 [s], by quanta and providers."""
PRINTED_FLOATS = {
    20: {10: 0.08e6, 20: 0.16e6, 30: 0.24e6, 40: 0.32e6, 50: 0.40e6},
    100: {10: 10e6, 20: 20e6, 30: 30e6, 40: 40e6, 50: 50e6},
}
"""Table II of the paper, by quanta and providers."""


@dataclass(frozen=True)
class Row:
    """One auction size, over several markets."""

    providers: int
    quanta: int
    reading: str
    """``whole`` bundles, or the ``mixed`` ones of the linear programme as printed."""
    method: str
    instances: int
    problems: int
    """Programmes solved per market, at most: 1, or with payments 1 + providers."""
    seconds: float
    """Processor time of one auction, all threads, median over the markets [s]."""
    seconds_longest: float
    printed_seconds: float
    welfare: float
    """Mean over the markets."""
    optimal_welfare: float
    """SW* of divisible resources, mean over the markets."""
    ratio: float
    """Mean of welfare over SW*."""
    ratio_lowest: float
    equal_split_ratio: float
    payments: float
    """Sum over providers, mean over the markets; NaN where none were computed."""
    variables: int
    """Of the largest programme built, largest over the markets."""
    variables_full: int
    bytes_full: int
    """About what building them all would take."""
    floats: int
    printed_floats: int
    converged: bool


def market(providers: int, instance: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return worths and rates of an instance of the game."""
    game = VCGSlicingGame(VCGSlicingGame.make_config("paper", providers=providers), 1)
    game.reset(np.zeros(1, np.uint64), instances=np.array([instance], np.uint64))
    return game.market.worth[0].copy(), game.market.rate[0].copy()


def measure(
    providers: int, quanta: int, instances: Sequence[int], integral: bool, method: str = "columns", pay: bool = True
) -> Row:
    """Run the auction on each market once; with ``pay`` off, the allocation only."""
    seconds, welfare, optimal, equal, payments = [], [], [], [], []
    variables, converged = 0, True
    for instance in instances:
        worth, rates = market(providers, instance)
        start = time.process_time()
        if pay:
            outcome = quantised_payments(worth, rates, quanta, integral, method)
            found, certified, paid = outcome.optimum, outcome.converged, float(outcome.payments.sum())
        else:
            found = quantised_optimum(worth, rates, quanta, integral, method)
            certified, paid = found.converged, float("nan")
        seconds.append(time.process_time() - start)
        welfare.append(found.welfare)
        payments.append(paid)
        optimal.append(welfare_optimum(worth, rates).welfare)
        equal.append(float(utilities(worth, rates, equal_split(worth, rates)).sum()))
        variables, converged = max(variables, found.variables), converged and certified
    ratios = [w / best for w, best in zip(welfare, optimal, strict=True)]
    return Row(
        providers, quanta, "whole" if integral else "mixed", method, len(instances), 1 + providers if pay else 1,
        statistics.median(seconds), max(seconds), PRINTED_SECONDS.get(quanta, {}).get(providers, float("nan")),
        statistics.fmean(welfare), statistics.fmean(optimal), statistics.fmean(ratios), min(ratios),
        statistics.fmean(e / best for e, best in zip(equal, optimal, strict=True)), statistics.fmean(payments),
        variables, full_variables(providers, quanta), full_bytes(providers, quanta, integral),
        information_volume(providers, quanta=quanta),
        int(PRINTED_FLOATS.get(quanta, {}).get(providers, 0)), converged,
    )  # fmt: skip


def collusion(instances: Sequence[int], providers: int = 5) -> list[dict[str, Any]]:
    """Return what providers 0 and 1 gain together, under the exact and the quantised auction (Fig. 9)."""
    rows = []
    for instance in instances:
        worth, rates = market(providers, instance)
        for name, mechanism in (("exact", exact_vcg), ("QVCG-0.05", quantised_vcg(20))):
            found = collusion_gain(worth, rates, mechanism)
            rows.append(
                {
                    "instance": instance, "mechanism": name, "factor_0": found.factors[0], "factor_1": found.factors[1],
                    "profit_true": found.profits_true[:2].sum(), "profit": found.profits[:2].sum(), "gain": found.gain,
                    "welfare_true": found.welfare_true, "welfare": found.welfare,
                    "revenue_true": found.revenue_true, "revenue": found.revenue,
                }
            )  # fmt: skip
            print(f"collusion {instance} {name}: {found.gain:.3f}", flush=True)
    return rows


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows with six significant digits."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw the share of the optimal welfare, and time, against the number of providers."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.axhline(1.0, color="black", linestyle="--", label="SW*")
    for quanta in sorted({row.quanta for row in rows}):
        chosen = sorted(
            (row for row in rows if row.quanta == quanta and row.reading == "whole" and row.method == "columns"),
            key=lambda row: row.providers,
        )
        x, label = [row.providers for row in chosen], f"QVCG-{1 / quanta:g}"
        (line,) = left.plot(x, [row.ratio for row in chosen], "o-", label=label)
        colour = line.get_color()
        right.semilogy(x, [row.seconds for row in chosen], "o-", label=label, color=colour)
        printed = [row.printed_seconds for row in chosen]
        right.semilogy(x, printed, "x:", label=f"{label}, as printed for 500 rounds", color=colour)
    left.set(xlabel="providers", ylabel="welfare / SW*")
    right.set(xlabel="providers", ylabel="seconds")
    left.legend()
    right.legend(fontsize=7)
    figure.savefig(path, dpi=120)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    head = [
        "N",
        "quantum",
        "bundles",
        "method",
        "problems",
        "s",
        "s printed",
        "welfare",
        "SW*",
        "welfare / SW*",
        "lowest",
    ]
    head += ["variables", "of", "full, GB", "floats"]
    lines = [f"| {' | '.join(head)} |", f"|{' ---: |' * len(head)}"]
    for row in rows:
        cells = [
            row.providers, f"{1 / row.quanta:g}", row.reading, row.method, row.problems, f"{row.seconds:.3g}",
            f"{row.printed_seconds:,.0f}", f"{row.welfare:.2f}", f"{row.optimal_welfare:.2f}",
            f"{row.ratio:.5f}", f"{row.ratio_lowest:.5f}", f"{row.variables:,}",
            f"{row.variables_full:,}", f"{row.bytes_full / 1e9:.2g}", f"{row.floats:,}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def report(rows: Sequence[Row], pairs: Sequence[dict[str, Any]]) -> str:
    """Return the page of results."""
    joint = ["| instance | auction | factors | joint profit | gain | welfare | payments of all |"]
    joint.append("| ---: | --- | --- | --- | ---: | --- | --- |")
    joint += [
        f"| {p['instance']} | {p['mechanism']} | {p['factor_0']:g}, {p['factor_1']:g} "
        f"| {p['profit_true']:.2f} → {p['profit']:.2f} | {p['gain']:.3f} "
        f"| {p['welfare_true']:.2f} → {p['welfare']:.2f} | {p['revenue_true']:.2f} → {p['revenue']:.2f} |"
        for p in pairs
    ]
    return f"""# Quantised VCG auction

Written by `python benchmarks/slicing/qvcg.py` on {platform.machine()}, Python {platform.python_version()}. Seconds are
processor time of all threads for one auction: the optimum and, where the problems are 1 + N, all payments. A fixed
market needs one auction however many rounds are played. "Printed" is Table III of the paper, for 500 rounds on another
machine. `mixed` is the linear programme as printed, a lottery over bundles; `whole` its integer version. "Variables" is
the largest programme that was built, "of" how many there are, and "full" about what building them all takes in memory.

{table(rows)}

![Welfare and time](qvcg.png)

## Two providers that collude (Fig. 9)

Five providers; 0 and 1 scale their reported utilities by 0.5 to 1.5 in steps of 0.1, all pairs tried. Gains are lower
bounds. The exact auction is open to it as well: it is a property of VCG payments, not of the units.

{chr(10).join(joint)}
"""


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what was asked for; what is smaller than the published measurement lies beside it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=INSTANCES, help="markets per size")
    parser.add_argument("--quick", action="store_true", help="smallest size and one market only")
    parser.add_argument("--results", type=Path, help="folder; default: results, or results/quick for less than all")
    given = parser.parse_args(arguments)
    if given.results is None:
        given.results = RESULTS / "quick" if given.quick or given.instances != INSTANCES else RESULTS
    return given


def main() -> None:
    """Measure and write everything."""
    given = options()
    chosen = range(1 if given.quick else given.instances)
    sizes, full_sizes = (PROVIDERS[:1], ()) if given.quick else (PROVIDERS, PROVIDERS[:1])
    given.results.mkdir(parents=True, exist_ok=True)
    for integral in (True, False):
        measure(5, 4, [0], integral)  # compiles
    rows = []
    for quanta in QUANTA:
        for providers in sizes:
            for integral in (True, False):
                rows.append(measure(providers, quanta, chosen, integral))
                print(f"{providers} {quanta} {rows[-1].reading}: {rows[-1].seconds:.3g} s", flush=True)
    rows += [measure(n, QUANTA[0], chosen[:1], False, "full", pay=False) for n in full_sizes]
    write_csv(given.results / "qvcg.csv", [dataclasses.asdict(row) for row in rows])
    pairs = collusion(chosen[:3])
    write_csv(given.results / "collusion.csv", pairs)
    plot(rows, given.results / "qvcg.png")
    (given.results / "qvcg.md").write_text(report(rows, pairs), encoding="utf-8")


if __name__ == "__main__":
    main()
