"""Running time of 500 auction rounds with 10 to 50 providers, beside Table III of the paper.

``python benchmarks/dual_currency/table_iii.py [--rounds R] [--auctions K] [--providers N …]`` writes
``results/table_iii.csv`` and ``results/table_iii.md``. One process, one thread; methods take turns, so that a machine
that gets slower or faster does so for all.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame
from ioa_marl.markets.vcg_slicing.quantised.auction import quantised_payments

RESULTS = Path(__file__).resolve().parent / "results"
AUCTIONS = 10
"""Quantised auctions of each kind."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
ROUNDS = 500
PRINTED = {
    "dual currency": (1.57e3, 5.87e3, 12.9e3, 22.8e3, 36.6e3),
    "QVCG-0.05": (0.19e3, 1.82e3, 3.68e3, 9.35e3, 30.4e3),
    "QVCG-0.01": (3.40e3, 33.6e3, 117e3, 225e3, 1140e3),
}
"""Table III [s]: 500 rounds with 10, 20, 30, 40 and 50 providers."""
PROVIDERS = (10, 20, 30, 40, 50)
CHUNK = 10
"""Rounds of the dual-currency auction that are timed in one turn."""


class DualCurrencyRounds:
    """One market whose rounds can be timed.

    A round is bids, loans, the change of the allocation, taxes, and all that the bank learns. Changes are drawn before,
    so that no allocator is timed.
    """

    def __init__(self, providers: int, externality: str) -> None:
        config = VCGSlicingGame.make_config(
            "dual_currency", providers=providers, externality=externality, rounds=10_000, slice_reward="increment"
        )
        self._game = VCGSlicingGame(config, 1)
        self._game.full_metrics = False
        self._game.reset(np.zeros(1, np.uint64))
        # The allocation moves a little in every round, as it does when somebody learns.
        self._actions = np.random.default_rng(0).integers(2, 5, (997, 1, providers, 3))
        self._played = 0

    def play(self, rounds: int) -> None:
        """Play some rounds."""
        for _ in range(rounds):
            self._game.step({"slice": self._actions[self._played % len(self._actions)]})
            self._played += 1


def auction(providers: int, quanta: int) -> Callable[[], None]:
    """Return one quantised auction with all payments, of the market that the rounds are played in."""
    game = VCGSlicingGame(VCGSlicingGame.make_config(providers=providers), 1)
    game.reset(np.zeros(1, np.uint64))
    worth, rate = game.market.worth[0].copy(), game.market.rate[0].copy()

    def run() -> None:
        if not quantised_payments(worth, rate, quanta).converged:
            raise ArithmeticError("a quantised optimum is not certified")

    return run


def timed(work: Callable[[], None]) -> float:
    """Return processor seconds."""
    before = time.process_time()
    work()
    return time.process_time() - before


def measure(providers: int, rounds: int, auctions: int) -> dict[str, list[float]]:
    """Return seconds of single rounds, a list of turns for each method."""
    exact, estimated = (DualCurrencyRounds(providers, externality) for externality in ("exact", "estimated"))
    methods: dict[str, tuple[Callable[[], None], int, int]] = {
        "dual currency, exact": (lambda: exact.play(CHUNK), CHUNK, -(-rounds // CHUNK)),
        "dual currency, estimated": (lambda: estimated.play(CHUNK), CHUNK, -(-rounds // CHUNK)),
        "QVCG-0.05": (auction(providers, 20), 1, auctions),
        "QVCG-0.01": (auction(providers, 100), 1, auctions),
    }
    for work, _, _ in methods.values():
        work()  # compiles, and warms up
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for turn in range(max(turns for _, _, turns in methods.values())):
        for name, (work, each, turns) in methods.items():
            if turn < turns:
                seconds[name].append(timed(work) / each)
    return seconds


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what was asked for; what is smaller than the published measurement lies beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of each dual-currency market")
    parser.add_argument("--auctions", type=int, default=AUCTIONS, help="quantised auctions of each kind")
    parser.add_argument("--providers", type=int, nargs="+", default=list(PROVIDERS), choices=PROVIDERS)
    parser.add_argument("--results", type=Path, help="folder; default: results, or results/quick for less than all")
    args = parser.parse_args(arguments)
    if args.results is None:
        whole = (args.rounds, args.auctions, args.providers) == (ROUNDS, AUCTIONS, list(PROVIDERS))
        args.results = RESULTS if whole else RESULTS / "quick"
    return args


def main() -> None:
    """Measure and write."""
    args = options()
    if not ONE_THREAD.items() <= os.environ.items():  # libraries read these once, when they are loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)
    rows = []
    for providers in args.providers:
        for name, turns in measure(providers, args.rounds, args.auctions).items():
            mean = float(np.mean(turns))
            printed = PRINTED[name.split(",")[0]][PROVIDERS.index(providers)]
            rows.append({
                "providers": providers, "mechanism": name, "turns": len(turns),
                "rounds_timed": len(turns) * (CHUNK if name.startswith("dual") else 1),
                "ms_per_round": round(1e3 * mean, 4), "ms_median": round(1e3 * float(np.median(turns)), 4),
                "seconds_500_rounds": round(ROUNDS * mean, 4), "printed_seconds": printed,
            })  # fmt: skip
            print(rows[-1], flush=True)
    args.results.mkdir(parents=True, exist_ok=True)
    with (args.results / "table_iii.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    machine = f"{platform.machine()}, Python {platform.python_version()}, one thread"
    lines = [
        "# Running time (Table III)\n",
        f"Processor time on {machine}; {args.rounds} rounds and {args.auctions} quantised auctions timed for each N, "
        f"methods in turns, scaled to {ROUNDS} rounds. What the figures hold:\n",
        "- dual currency: bids, loans, changes, taxes and what the bank learns of a round, one market at a time. "
        "`exact` knows the optima without each provider; `estimated` fits utility functions to bills and solves all "
        "1 + N problems anew in every round. No allocator is timed. The printed figures have the training of all "
        "networks in them, so the two columns are of different work.",
        "- QVCG: whole bundles, all 1 + N problems, solved anew in every round as in the paper, although nothing "
        "changes between rounds: one auction is enough for a fixed market. Only the variables that matter are built.\n",
        "| N | mechanism | ms a round | s for 500 rounds | s printed |",
        "| ---: | --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['providers']} | {row['mechanism']} | {row['ms_per_round']:.3g} | {row['seconds_500_rounds']:.3g} "
        f"| {row['printed_seconds']:,.0f} |"
        for row in rows
    ]
    (args.results / "table_iii.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
