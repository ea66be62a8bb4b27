"""`audit`, the audit of policies in the modified second-bid auction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from ioa_marl.evaluation.audits.constant_actions import audited_members
from ioa_marl.evaluation.audits.held_out import (
    HeldOutGain,
    by_member,
    held_out_gain,
    ratio_error,
    search_factors,
    standard_error,
)
from ioa_marl.evaluation.audits.results import AuditResult, Finding, Gain, Progress, silent
from ioa_marl.evaluation.audits.second_bid.counterfactuals import Floats, Replays, alone, joined, ring, two_names
from ioa_marl.evaluation.audits.second_bid.outcomes import outcomes
from ioa_marl.evaluation.audits.second_bid.rounds import round_regret
from ioa_marl.evaluation.audits.subject import AuditSettings, Subject
from ioa_marl.markets.second_bid.drivers import MULTIPLIERS
from ioa_marl.markets.second_bid.params import MOST_DRAWS

MARKETS = 200
"""Evaluation markets, unless their tasks are many."""
TASKS = 20_000
"""Tasks of all markets together, from which on there are fewer markets."""
MOMENTS = 5
"""Tasks of an episode before which regret in a single auction is measured."""
ROUND_MARKETS = 50
"""Largest number of markets in which it is measured."""
PAIRS = 3
"""Largest number of pairs that collude, one at a time."""
RING = (0.5, 0.8, 1.0, 1.2, 1.5, 2.0)
"""Factors from which each of a pair chooses."""
SECOND_NAMES = (0.5, 0.8, 1.0, 1.2, 1.5, 2.0)
"""Factors of the bid under a false name."""


def audit(subject: Subject, settings: AuditSettings, progress: Progress = silent) -> AuditResult:
    """Audit policies in the modified second-bid auction.

    Stations deviate by multiplying all their bids of an episode by a constant, alone, in pairs that tell each other
    their valuations, and under a second name; and by any other bid in a single auction. The other stations bid as
    without the deviation, and the auctioneer reacts.

    Parameters
    ----------
    subject : Subject
        The policies and the market.
    settings : AuditSettings
        How thoroughly deviations are searched: ``markets`` is by default 200, or fewer with more than 100 tasks;
        ``reports`` is the number of bids of a single auction, and limits the number of factors of an episode; and
        ``refine`` adds factors next to the best one, and bids next to those of the others and to the best one.
    progress : callable
        Called with what is being done and the share of it that is done.

    Returns
    -------
    AuditResult
    """
    config = subject.config
    markets = settings.markets_or(max(2, min(MARKETS, TASKS // config.tasks)))
    progress("episodes without deviations", 0.0)
    if "auctioneer" not in subject.controlled_roles:
        note = "Deviations from the bids are not tried, since no agent is the auctioneer."
        return outcomes(Replays(subject, markets)) + AuditResult((), (), (note,))
    moments = np.unique(np.linspace(0, config.tasks - 1, min(MOMENTS, config.tasks)).round().astype(int)).tolist()
    replays = Replays(subject, markets)
    progress("episodes without deviations", 1.0)
    members = audited_members(config.stations)
    found = outcomes(replays)
    single: Sequence[HeldOutGain] = ()
    if "station" in subject.controlled_roles:
        note = "Regret over whole episodes is that of the audit of constant actions, since agents bid for the stations."
        found += AuditResult((), (), (note,))
    else:
        misreports, single = _misreports(replays, members, settings, progress)
        found += misreports
    few = Replays(subject, min(markets, ROUND_MARKETS), moments)
    found += _rounds(few, members, settings, progress)
    found += _pairs(replays, members, progress)
    return found + _false_names(replays, members, single, progress)


def _thinned(reports: int) -> list[float]:
    """Return at most ``reports`` factors of the market's grid other than 1, evenly spread."""
    factors = [factor for factor in MULTIPLIERS if factor != 1.0]
    chosen = np.linspace(0, len(factors) - 1, min(reports, len(factors))).round().astype(int)
    return [factors[i] for i in chosen]


def _misreports(
    replays: Replays, members: Sequence[int], settings: AuditSettings, progress: Progress
) -> tuple[AuditResult, list[HeldOutGain]]:
    """Return what stations gain by a constant factor on all bids, on average and each."""

    def play(tried: Mapping[int, Sequence[float]], what: str) -> dict[int, Floats]:
        deviations = joined([alone(replays.config.stations, station, some) for station, some in tried.items()])
        groups = [(station,) for station, some in tried.items() for _ in some]
        return by_member(replays.utilities(deviations, groups, lambda share: progress(what, share)), tried)

    factors, utilities = search_factors(play, members, _thinned(settings.reports), settings.refine)
    truths = {station: replays.truthful(station) for station in members}
    gains = [held_out_gain(utilities[station], truths[station]) for station in members]
    names = {station: [f"all bids times {factor:g}" for factor in factors[station]] for station in members}
    listed = tuple(
        Gain(f"station_{station}", "misreport", gain.mean, gain.standard_error, gain.how(names[station]))
        for station, gain in zip(members, gains, strict=True)
    )
    together = np.mean([gain.gains for gain in gains], axis=0)
    relative, error = ratio_error(together, np.mean(list(truths.values()), axis=0))
    findings = (
        Finding(
            "episode_regret", float(together.mean()), "units per episode", "lower bound",
            "what a station gains by the best constant factor on its bids, the others bidding as they do; mean over "
            f"{len(members)} stations, factors chosen on other markets", standard_error(together), "regret",
        ),
        Finding(
            "relative_regret", relative, "share of the utility at the truth", "lower bound",
            "`episode_regret` over the mean utility of these stations without deviation", error,
        ),
    )  # fmt: skip
    return AuditResult(findings, listed), gains


def _rounds(replays: Replays, members: Sequence[int], settings: AuditSettings, progress: Progress) -> AuditResult:
    """Return what stations gain by another bid in a single auction."""
    found = round_regret(
        replays, members, settings.reports, settings.refine, lambda share: progress("misreports in one auction", share)
    )
    gains = np.where(found.gains > 1e-9 * replays.draws.value[:, :, 1:].mean(), found.gains, 0.0)
    each = gains.mean(axis=(0, 2))
    any_gains = (gains > 0.0).any(axis=2).mean(axis=0)
    tried = f"{gains.size} bids of {len(members)} stations in {gains.shape[0] * gains.shape[1]} auctions"
    findings = (
        Finding(
            "round_regret", float(each.mean()), "units per auction", "lower bound",
            f"what a station gains by another bid in a single auction, all others being known to it; mean over {tried}",
            standard_error(each),
        ),
        Finding(
            "largest_round_regret", float(gains.max(initial=0.0)), "units", "lower bound",
            "the largest of these gains",
        ),
        Finding(
            "manipulable_auctions", float(any_gains.mean()), "share", "lower bound",
            "share of these auctions in which any of the stations gains", standard_error(any_gains),
        ),
    )  # fmt: skip
    return AuditResult(findings)


def _pairs(replays: Replays, members: Sequence[int], progress: Progress) -> AuditResult:
    """Return what pairs of stations gain that tell each other their valuations."""
    stations = replays.config.stations
    pairs = list(pairwise(members))[:PAIRS]
    cells = [(low, high) for low in RING for high in RING if (low, high) != (1.0, 1.0)]
    deviations = joined([ring(stations, pair, cells) for pair in pairs])
    groups = [pair for pair in pairs for _ in cells]
    utilities = replays.utilities(deviations, groups, lambda share: progress("pairs of stations", share))
    names = [f"the lower bid times {low:g}, the higher one times {high:g}" for low, high in cells]
    gains, listed = [], []
    for pair, part in zip(pairs, np.split(utilities, len(pairs)), strict=True):
        gain = held_out_gain(part, replays.truthful(pair[0]) + replays.truthful(pair[1]))
        gains.append(gain.gains)
        who = f"station_{pair[0]} and station_{pair[1]}"
        listed.append(Gain(who, "joint misreport", gain.mean, gain.standard_error, gain.how(names)))
    together = np.mean(gains, axis=0)
    finding = Finding(
        "collusion_gain", float(together.mean()), "units per episode", "lower bound",
        "what two stations gain together that know both valuations, by constant factors on the lower and the higher "
        f"bid; mean over {len(pairs)} pairs, factors chosen on other markets",
        standard_error(together), "collusion_gain",
    )  # fmt: skip
    return AuditResult((finding,), tuple(listed))


def _cannot_enter_twice(replays: Replays) -> str | None:
    """Return why no station can bid under a second name, or None if it can."""
    subject, config = replays.subject, replays.config
    if "station" in subject.controlled_roles:
        return "False names are not tried, since the agents that bid for the stations bid once each."
    if config.stations >= 1000 or (
        config.valuations == "physical" and (config.stations + 2) * config.periods > MOST_DRAWS
    ):
        return "False names are not tried, since the market has no room for another station."
    if config.information == "current_bids" and subject.policy_of("auctioneer") is None:
        return (
            f"False names are not tried, since the auctioneer's observation has places for {config.stations} bids only."
        )
    return None


def _false_names(
    replays: Replays, members: Sequence[int], single: Sequence[HeldOutGain], progress: Progress
) -> AuditResult:
    """Return what a station gains by a second bid under a false name, compared with the same bid alone."""
    why_not = _cannot_enter_twice(replays)
    if why_not is not None:
        return AuditResult((), (), (why_not,))
    stations = replays.config.stations
    own = (1.0, 1.5, 2.0)
    cells = [(factor, name) for factor in own for name in (0.0, *SECOND_NAMES)]
    deviations = joined([two_names(stations, station, cells) for station in members])
    groups = [(station,) for station in members for _ in cells]
    utilities = replays.utilities(deviations, groups, lambda share: progress("false names", share))
    one_name = np.array([name == 0.0 for _, name in cells])
    names = [f"own bids times {factor:g}, those of a second name times {name:g}" for factor, name in cells]
    gains, listed = [], []
    for station, part in zip(members, np.split(utilities, len(members)), strict=True):
        truth = replays.truthful(station)
        alone_best = held_out_gain(part[one_name], truth)
        two = held_out_gain(part[~one_name], truth + alone_best.gains)
        gains.append(two.gains)
        how = two.how([name for name, is_one in zip(names, one_name, strict=True) if not is_one])
        listed.append(Gain(f"station_{station}", "false name", two.mean, two.standard_error, how))
    together = np.mean(gains, axis=0)
    finding = Finding(
        "false_name_gain", float(together.mean()), "units per episode", "lower bound",
        "what a station gains by bidding under a second name as well, over its best bids under one name; mean over "
        f"{len(members)} stations, 0 where a second name does not help", standard_error(together),
    )  # fmt: skip
    return AuditResult((finding,), tuple(listed))
