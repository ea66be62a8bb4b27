"""How fast a learnt auctioneer is audited: ``python benchmarks/speed/audits.py [--markets 1000] [--results FOLDER]``.

All reports of every bidder of the double Dutch auction are covered by branches of few auctions; beside it, the grid of
41 reports is played from the beginning, in turns on the same markets and with the same policy. The policy is a network
of 64×64 units that has learnt nothing: its weights do not matter for the time, but the length of its auctions does.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import single_thread  # noqa: F401 - before everything that starts threads
from measure import FULL
from report import conditions

from ioa_marl.agents.learners.ppo import PPOAgent
from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.evaluation.audits.double_dutch.branches import misreport_gains
from ioa_marl.evaluation.audits.double_dutch.reports import Replays, replayed_gains
from ioa_marl.evaluation.audits.subject import AuditSettings, Subject
from ioa_marl.evaluation.playing import make_agent

RESULTS = Path(__file__).resolve().parent / "results"
MARKETS = 1000
REPORTS = 41
COMPARED = 10
"""Markets of a turn in which both ways are timed."""
ROUNDS = 5


def learner() -> Subject:
    """Return an auctioneer of PPO, 64×64 units, before training."""
    config = DoubleDutchGame.make_config("paper")

    def make() -> list[PPOAgent]:
        probe = DoubleDutchGame(config, 1)
        return [make_agent(PPOAgent, PPOAgent.config_class(hidden=(64, 64)), probe, ("auctioneer",), 1)]

    return Subject(DoubleDutchGame, config, ("auctioneer",), make)


def timed(function: Any, *arguments: Any) -> tuple[float, Any]:
    """Return the processor time of a call [s], and its result."""
    start = time.process_time()
    found = function(*arguments)
    return time.process_time() - start, found


def measure(markets: int) -> dict[str, Any]:
    """Return the seconds of an audit of all bidders, and how many times faster branches are than replays."""
    subject = learner()
    misreport_gains(subject, 2)  # compile
    whole, found = timed(misreport_gains, subject, markets)
    replays = Replays(subject, COMPARED, side_by_side=True)
    settings = AuditSettings(COMPARED, REPORTS, refine=False)
    ratios = []
    for _ in range(ROUNDS):
        branches, exact = timed(misreport_gains, subject, COMPARED)
        grid, searched = timed(replayed_gains, replays, settings, subject.config.tick)
        assert (searched.gains <= exact.gains + 1e-9).all()
        ratios.append(grid / branches)
    return {
        **{key: value for key, value in conditions(FULL).items() if key not in ("rounds", "seconds_per_turn")},
        "markets": markets, "bidders": 20, "reports_of_the_grid": REPORTS, "parts_played": found.auctions,
        "seconds": whole, "seconds_for_1000_markets": whole * 1000 / markets,
        "times_faster_than_the_grid": sorted(ratios)[len(ratios) // 2], "ratios": ratios,
        "share_of_the_exact_gain_that_the_grid_finds": float(searched.gains.sum() / exact.gains.sum()),
    }  # fmt: skip


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return what was asked for; fewer markets lie beside the published result."""
    parser = argparse.ArgumentParser(description="Measure how fast a learnt auctioneer is audited, on one thread.")
    parser.add_argument("--markets", type=int, default=MARKETS)
    parser.add_argument("--results", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.results is None:
        chosen.results = RESULTS if chosen.markets == MARKETS else RESULTS / "quick"
    return chosen


def main() -> None:
    """Measure, print and write ``audits.json``."""
    chosen = options()
    found = measure(chosen.markets)
    chosen.results.mkdir(parents=True, exist_ok=True)
    (chosen.results / "audits.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
