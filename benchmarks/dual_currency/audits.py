"""The claims that are made for the dual-currency auction, measured: Figs. 7, 8 and 10 and Table II of the paper.

``python benchmarks/dual_currency/audits.py [--quick]`` writes ``results/*.csv``, ``results/*.png`` and
``results/README.md``. Every gain is a difference between two plays of the same markets with the same randomness.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from figures import draw_deviation, draw_pairs
from numpy.typing import NDArray

from ioa_marl.envs.vcg_slicing.config import VCGSlicingConfig
from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame
from ioa_marl.evaluation.audits.vcg_slicing.bid_play import BidPlay, play_bids
from ioa_marl.evaluation.audits.vcg_slicing.dual_currency import (
    DeviationCurve,
    GroupDeviation,
    ScalePlay,
    deviation_curve,
    group_deviation,
    joint_deviation,
    scale_in_play,
)
from ioa_marl.evaluation.audits.vcg_slicing.dual_currency_theory import (
    RankAudit,
    ScaleFixture,
    dual_currency_volume,
    quantised_volume,
    rank_deficiency,
    scale_fixture,
)
from ioa_marl.markets.vcg_slicing.optimum import welfare_optimum

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
INTEREST, FREE = "dual_currency", "dual_currency_no_interest"
KNOWN = {"profit_mean": 0.0, "profit_deviation": 0.0}
"""Gross profits in proportion to utilities: the bank's α̂ is exact."""
FINE = tuple(round(0.5 + 0.05 * step, 2) for step in range(21))
"""Factors for one provider; pairs try every second one."""
PRINTED_VOLUMES = {
    10: (0.005, 0.08, 10.0), 20: (0.01, 0.16, 20.0), 30: (0.015, 0.24, 30.0), 40: (0.02, 0.32, 40.0),
    50: (0.025, 0.40, 50.0),
}  # fmt: skip
"""Table II [10⁶ numbers]: dual currency with 500 rounds, quantised VCG with units of 0.05 and of 0.01."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A market and an allocator in which groups are audited."""

    name: str
    settings: dict[str, Any]
    allocator: str = "oracle"
    rounds: int = 120
    first: int = 100
    """Deviations start here."""
    episodes: int = 2

    def config(self, **changes: Any) -> VCGSlicingConfig:
        """Return the market: that of the figures but for what the case says."""
        usual = {"mechanism": INTEREST, "providers": 5, "rounds": self.rounds}
        config = VCGSlicingGame.make_config(**(usual | self.settings | changes))
        assert isinstance(config, VCGSlicingConfig)
        return config


HELD = {"allocator": "hold", "rounds": 50, "first": 25, "episodes": 4}
"""Nothing is ever changed of the equal split, which is far off the optimum."""
EQUAL = KNOWN | {"start_spread": (1.0, 1.0)}
GUESSED = {"externality": "estimated"}
CASES = (
    Case("interest", {}),
    Case("interest, α known", KNOWN),
    Case("interest, α known, from round 0", KNOWN, rounds=50, first=0),
    Case("interest, α known, greedy slices", KNOWN, "greedy"),
    Case("interest, α known, equal split", EQUAL, **HELD),
    Case("interest, α known, N=10", KNOWN | {"providers": 10}),
    Case("no interest", {"mechanism": FREE}),
    Case("no interest, α known", KNOWN | {"mechanism": FREE}),
    Case("no interest, α known, equal split", EQUAL | {"mechanism": FREE}, **HELD),
)
ESTIMATED = (
    Case("interest, externality estimated", KNOWN | GUESSED, rounds=45, first=25),
    Case("no interest, externality estimated", KNOWN | GUESSED | {"mechanism": FREE}, rounds=45, first=25),
    Case("no interest, externality estimated, equal split", EQUAL | GUESSED | {"mechanism": FREE}, **HELD),
)
"""They solve every market anew in every round, so there are fewer of them."""


def row_of(case: Case, found: GroupDeviation) -> dict[str, Any]:
    """Return what the table says of an audit."""
    truth = int(np.flatnonzero(found.multipliers == 1.0)[0])
    here = (slice(None), *(truth,) * len(found.members))
    off = np.ones(found.gains.shape[1:], np.bool_)
    off[here[1:]] = False
    mean = found.gains.mean(axis=0)
    cell = np.unravel_index(int(np.where(off, mean, -np.inf).argmax()), mean.shape)
    chosen = tuple(found.chosen.T)
    lost = found.welfare[(np.arange(len(found.gains)), *chosen)] / found.welfare_truth - 1.0
    return {
        "case": case.name,
        "members": len(found.members),
        "instances": len(found.gains),
        "profit_at_truth": float(found.profit.mean()),
        "interest_at_truth": float(found.interest.mean()),
        "best_gain": found.mean,
        "standard_error": found.standard_error,
        "largest_gain": float(found.best_gains.max()),
        "deviating": found.deviating,
        "welfare_change_percent": 100.0 * float(lost.mean()),
        "best_common_cell": " ".join(f"{found.multipliers[i]:g}" for i in cell),
        "gain_there": float(mean[cell]),
        "gain_lowest": float(mean[(0,) * mean.ndim]),
        "gain_highest": float(mean[(-1,) * mean.ndim]),
    }


def audit_groups(count: int, few: int) -> tuple[list[dict[str, Any]], dict[str, GroupDeviation]]:
    """Audit single providers and pairs in all cases; returns rows and the pairs' audits."""
    rows, pairs = [], {}
    for case in (*CASES, *ESTIMATED):
        instances = range(few if case in ESTIMATED else count)
        given: dict[str, Any] = {
            "first": case.first, "allocator": case.allocator, "instances": instances, "episodes": case.episodes,
        }  # fmt: skip
        started = time.perf_counter()
        alone = group_deviation(case.config(multipliers=FINE), [0], **given)
        pairs[case.name] = joint_deviation(case.config(multipliers=FINE[::2]), **given)
        rows += [row_of(case, alone), row_of(case, pairs[case.name])]
        print(f"{case.name}: {time.perf_counter() - started:.0f} s", flush=True)
    return rows, pairs


def play_apart(config: VCGSlicingConfig, factors: NDArray[np.float64], count: int) -> BidPlay:
    """Play instance i in episode i: in one episode, all instances would have the same random numbers."""
    parts = [play_bids(config, factors, instances=[i], first_episode=i) for i in range(count)]
    return BidPlay(**{name: np.concatenate([getattr(part, name) for part in parts], 1) for name in vars(parts[0])})


def rate_rows(count: int) -> list[dict[str, Any]]:
    """Return how far the bank's α̂ is off, truth being told."""
    rows = []
    for providers in (4, 5, 10, 20):
        case = Case("", {"providers": providers}, rounds=200)
        config = case.config()
        play = play_apart(config, np.ones((1, config.rounds, providers)), count)
        for t in (0, 10, 50, 199):
            rate = play.rates[0, :, 0, t]
            rows.append({
                "providers": providers, "round": t, "rates": rate.size,
                "negative_percent": 100.0 * float(np.mean(rate < 0.0)),
                "outside_percent": 100.0 * float(np.mean((rate < 0.5) | (rate > 1.5))),
                "lowest": float(rate.min()), "highest": float(rate.max()),
                "interest_over_profit": float(play.interest[0, :, 0, t].sum() / play.profits[0, :, 0, t].sum()),
            })  # fmt: skip
    return rows


def overbidding_rows(count: int) -> list[dict[str, Any]]:
    """Return what each provider gains by overbidding alone, apart for those whose α̂ is negative."""
    rows = []
    for providers in (4, 5, 10):
        case = Case("", {"providers": providers})
        config = case.config()
        factors = np.ones((1 + providers, config.rounds, providers))
        for i in range(providers):
            factors[1 + i, case.first :, i] = 1.5
        play = play_apart(config, factors, count)
        profits = play.profits[:, :, 0, case.first :].mean(axis=-2)  # (profiles, instances, providers)
        gains = np.stack([profits[1 + i, :, i] - profits[0, :, i] for i in range(providers)], axis=-1)
        negative = play.rates[0, :, 0, case.first] < 0.0
        for name, chosen in (("α̂ < 0", negative), ("α̂ ≥ 0", ~negative)):
            found = gains[chosen]
            rows.append({
                "providers": providers, "of": name, "count": int(chosen.sum()),
                "gaining": int(np.sum(found > 0.0)), "mean_gain": float(found.mean()) if found.size else float("nan"),
                "largest_gain": float(found.max()) if found.size else float("nan"),
            })  # fmt: skip
    return rows


def scale_rows(fixture: ScaleFixture, play: ScalePlay) -> list[dict[str, Any]]:
    """Return the scale fixture beside the same in play."""
    return [
        {
            "factor": float(fixture.factors[i]), "loan_change": float(fixture.loan_changes[i]),
            "interest": float(fixture.interest[i]), "noise": float(fixture.noise[i]),
            "interest_of_one_alone": float(fixture.alone[i]), "interest_of_one_honest": float(fixture.honest[i]),
            "play_gain_together": float(play.together[i]), "play_gain_of_one_honest": float(play.honest[i]),
            "play_interest_over_profit": float(play.interest[i]), "play_noise": float(play.noise[i]),
        }
        for i in range(len(fixture.factors))
    ]  # fmt: skip


def volume_rows() -> list[dict[str, Any]]:
    """Return Table II, printed and counted."""
    rows = []
    for providers, printed in PRINTED_VOLUMES.items():
        volumes = (
            dual_currency_volume(providers, 500),
            quantised_volume(providers, 20),
            quantised_volume(providers, 100),
        )
        for name, volume, figure in zip(("dual currency", "QVCG-0.05", "QVCG-0.01"), volumes, printed, strict=True):
            rows.append({
                "providers": providers, "mechanism": name, "printed": round(figure * 1e6), "bids": volume.bids,
                "reports": volume.reports, "answers": volume.answers, "total": volume.total,
            })  # fmt: skip
    return rows


def segment_rows(curves: dict[str, DeviationCurve]) -> list[dict[str, Any]]:
    """Return profits of the deviator of Fig. 7 in each segment."""
    rows = []
    for name, curve in curves.items():
        for (start, end), gain, error in zip(curve.segments, curve.gains, curve.standard_errors, strict=True):
            truth = curve.truth.profits[..., start:end, curve.provider].mean()
            welfare = [play.welfare[..., start:end].mean() for play in (curve.truth, curve.deviation)]
            rows.append({
                "case": name, "rounds": f"{start}-{end}", "factor": float(curve.factors[start]),
                "profit_at_truth": float(truth), "gain": float(gain), "standard_error": float(error),
                "welfare_change_percent": 100.0 * float(welfare[1] / welfare[0] - 1.0),
            })  # fmt: skip
    return rows


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a table."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})


def markdown(rows: Sequence[dict[str, Any]], columns: dict[str, str]) -> str:
    """Return a table; ``columns`` maps keys to headings."""
    lines = ["| " + " | ".join(columns.values()) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    for row in rows:
        shown = (f"{row[key]:.3g}" if isinstance(row[key], float) else str(row[key]) for key in columns)
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


def rank_lines(best: NDArray[np.float64], found: RankAudit) -> str:
    """Return the ranks of Eq. 26's matrices as a table."""
    rows = [
        {"size": int(size), "rank": int(rank), "smallest": f"{values[-1]:.2g}"}
        for size, rank, values in zip(found.sizes, found.ranks, found.singular_values, strict=True)
    ]
    return markdown(rows, {"size": "members", "rank": "rank", "smallest": "smallest singular value over the largest"})


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what was asked for; what is smaller than the published audit lies beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few instances, to see that it works")
    parser.add_argument("--results", type=Path, help="folder; default: results, or results/quick with --quick")
    args = parser.parse_args(arguments)
    if args.results is None:
        args.results = RESULTS / "quick" if args.quick else RESULTS
    return args


def main() -> None:
    """Measure, draw and write."""
    args = options()
    count, few = (3, 2) if args.quick else (24, 8)
    args.results.mkdir(parents=True, exist_ok=True)
    figure_7 = Case("", {}, rounds=1000).config(multipliers=FINE[::2])
    exact_7 = dataclasses.replace(figure_7, **KNOWN)
    many = range(3 if args.quick else 12)
    curves = {
        "instance 0": deviation_curve(figure_7),
        f"{len(many)} instances": deviation_curve(figure_7, instances=many),
        f"{len(many)} instances, α known": deviation_curve(exact_7, instances=many),
    }
    print("figure 7", flush=True)
    groups, pairs = audit_groups(count, few)
    draw_deviation(curves["instance 0"], curves[f"{len(many)} instances, α known"].grid, args.results / "figure_7.png")
    draw_pairs(pairs, args.results / "figures_8_10.png")
    game = VCGSlicingGame(figure_7, 1)
    game.reset(np.zeros(1, np.uint64))
    best = welfare_optimum(game.market.worth[0], game.market.rate[0]).utilities
    settled = Case("", KNOWN).config(multipliers=FINE[::2])
    scale = scale_rows(
        scale_fixture(best, settled.multipliers), scale_in_play(settled, first=100, instances=range(count))
    )
    rates, overbidding = rate_rows(4 * count), overbidding_rows(4 * count)
    volumes, segments = volume_rows(), segment_rows(curves)
    for name, rows in (
        ("groups.csv", groups), ("segments.csv", segments), ("scale.csv", scale), ("rates.csv", rates),
        ("overbidding.csv", overbidding), ("table_ii.csv", volumes),
    ):  # fmt: skip
        write_csv(args.results / name, rows)
    tables = {
        "SEGMENTS": markdown(segments, {
            "case": "markets", "rounds": "rounds", "factor": "factor", "profit_at_truth": "profit at the truth",
            "gain": "gain", "standard_error": "s.e.", "welfare_change_percent": "welfare, %",
        }),
        "GROUPS": markdown(groups, {
            "case": "case", "members": "members", "profit_at_truth": "profit at the truth",
            "interest_at_truth": "interest at the truth", "best_gain": "best gain", "standard_error": "s.e.",
            "largest_gain": "largest", "deviating": "deviating", "welfare_change_percent": "welfare, %",
            "best_common_cell": "best common factors", "gain_there": "gain there", "gain_highest": "gain at 1.5",
        }),
        "SCALE": markdown(scale, {
            "factor": "factor c", "loan_change": "change of loans", "interest": "interest", "noise": "Δ",
            "interest_of_one_honest": "interest of one that bids U*", "play_gain_together": "play: gain of all",
            "play_gain_of_one_honest": "play: gain of one honest", "play_interest_over_profit": "play: interest/profit",
        }),
        "RATES": markdown(rates, {
            "providers": "N", "round": "round", "negative_percent": "α̂ < 0, %",
            "outside_percent": "outside 0.5 to 1.5, %", "lowest": "lowest", "highest": "highest",
        }),
        "OVERBIDDING": markdown(overbidding, {
            "providers": "N", "of": "providers with", "count": "number", "gaining": "that gain",
            "mean_gain": "mean gain", "largest_gain": "largest gain",
        }),
        "RANKS": rank_lines(best, rank_deficiency(best)),
        "VOLUMES": markdown(volumes, {
            "providers": "N", "mechanism": "mechanism", "printed": "printed", "bids": "bids",
            "reports": "reports to the bank", "answers": "handed back", "total": "all",
        }),
    }  # fmt: skip
    text = (HERE / "notes.md").read_text()
    for name, table in tables.items():
        text = text.replace(f"<!-- {name} -->\n", table)
    (args.results / "README.md").write_text(text)


if __name__ == "__main__":
    main()
