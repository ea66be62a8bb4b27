"""Audit of the slicing market with Clarke payments: reports over whole episodes, and in single sealed auctions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ioa_marl.evaluation.audits.constant_actions import audited_members
from ioa_marl.evaluation.audits.held_out import (
    by_member,
    held_out_gain,
    ratio_error,
    search_factors,
    standard_error,
)
from ioa_marl.evaluation.audits.results import AuditResult, Finding, Gain, Progress
from ioa_marl.evaluation.audits.subject import AuditSettings
from ioa_marl.evaluation.audits.vcg_slicing.collusion import collusion_gain, quantised_vcg
from ioa_marl.evaluation.audits.vcg_slicing.dual_currency_theory import quantised_volume
from ioa_marl.evaluation.audits.vcg_slicing.mechanisms import Mechanism, clarke_priced, exact_vcg, misreport_regret
from ioa_marl.evaluation.audits.vcg_slicing.report_play import Floats, ReportReplays
from ioa_marl.markets.vcg_slicing.baselines import equal_split, kelly_split
from ioa_marl.markets.vcg_slicing.optimum import clarke_payments

PAIRS = 3
"""Largest number of pairs that collude, one at a time."""
PAIR_GRID = 6
"""Multiples from which each of a pair chooses."""
MOST_PROVIDERS = 50
"""Largest number of providers with which pairs and single auctions are audited."""
HUGE = 10_000
"""Providers from which on fewer of them deviate, with fewer multiples: a market then takes a second."""
QUANTISED_GRID, QUANTISED_REPORTS = 3, 8
"""Multiples of episodes, and reports of single auctions, of a mechanism that takes a second an auction."""
QUANTISED_PAIR = (0.7, 0.9, 1.0)
"""Multiples of a pair in such a mechanism."""
REPORTED_NUMBERS = 4
"""Numbers of a report: the worth and three rates."""


@dataclass(frozen=True)
class Sealed:
    """The sealed-bid mechanism to whose allocation a policy steers."""

    name: str
    """What it is called in texts."""
    mechanism: Mechanism
    """It as a function of reports."""
    is_slow: bool = False
    """Whether fewer reports are tried."""
    quanta: int | None = None
    """Units of each resource, if the mechanism is quantised."""


def sealed_mechanism(replays: ReportReplays) -> Sealed | None:
    """Return the mechanism to whose allocation the policy of the slices steers, or None if reports do not move it."""
    policy = replays.subject.policy_of("slice") if "slice" in replays.subject.controlled_roles else None
    if policy == "qvcg":
        settings: Any = replays.subject.agent_of("slice").config
        quanta = int(settings.settings.get("quanta") or 20)
        return Sealed(f"the quantised VCG auction with {quanta} units", quantised_vcg(quanta), True, quanta)
    known = {
        "oracle": Sealed("the exact VCG auction", exact_vcg),
        "kelly": Sealed("Kelly's shares with Clarke payments", clarke_priced(kelly_split)),
        "equal_split": Sealed("the equal split with Clarke payments", clarke_priced(equal_split)),
    }
    return known.get(policy or "")


def _factors(replays: ReportReplays, most: int) -> list[float]:
    """Return at most ``most`` multiples of the market's grid other than 1, evenly spread."""
    factors = [factor for factor in replays.config.multipliers if factor != 1.0]
    chosen = np.unique(np.linspace(0, len(factors) - 1, min(most, len(factors))).round().astype(int))
    return [factors[i] for i in chosen]


def _members(replays: ReportReplays) -> list[int]:
    """Return the providers that deviate; they are present in every episode."""
    fewest = replays.config.fewest_providers
    members = audited_members(replays.config.providers if fewest is None else fewest)
    return members[::2] if replays.config.providers >= HUGE else members


def audit_reports(replays: ReportReplays, settings: AuditSettings, progress: Progress) -> AuditResult:
    """Return what providers gain by a constant multiple of their worth as the report, alone and in pairs."""
    sealed = sealed_mechanism(replays)
    slow = sealed is not None and sealed.is_slow
    slow = slow or replays.config.providers >= HUGE
    most = min(settings.reports, QUANTISED_GRID) if slow else settings.reports
    factors = _factors(replays, most)
    if not factors:
        return AuditResult((), (), ("Other reports are not tried, since the market has no multiple but the truth.",))
    found = _alone(replays, factors, settings.refine, progress)
    members = _members(replays)
    if replays.config.providers > MOST_PROVIDERS or len(members) < 2:
        note = f"Pairs are audited with 2 to {MOST_PROVIDERS} providers that are always present."
        return found + AuditResult((), (), (note,))
    pairs = list(pairwise(members))[: 1 if slow else PAIRS]
    return found + _pairs(replays, pairs, QUANTISED_PAIR[:-1] if slow else _factors(replays, PAIR_GRID), progress)


def _alone(replays: ReportReplays, factors: Sequence[float], refine: bool, progress: Progress) -> AuditResult:
    members = _members(replays)

    def play(tried: Mapping[int, Sequence[float]], what: str) -> dict[int, Floats]:
        pairs = [(member, factor) for member, some in tried.items() for factor in some]
        table = np.ones((len(pairs), replays.config.providers))
        for row, (member, factor) in enumerate(pairs):
            table[row, member] = factor
        groups = [(member,) for member, _ in pairs]
        return by_member(replays.group_profits(table, groups, lambda share: progress(what, share)), tried)

    tried, profits = search_factors(play, members, factors, refine)
    gains, listed = [], []
    for member in members:
        gain = held_out_gain(profits[member], replays.truth.profits[:, member])
        gains.append(gain.gains)
        how = gain.how([f"worth times {factor:g}" for factor in tried[member]])
        listed.append(Gain(f"vsp_{member}", "misreport", gain.mean, gain.standard_error, how))
    together = np.mean(gains, axis=0)
    relative, error = ratio_error(together, replays.truth.utilities[:, members].mean(axis=1))
    findings = (
        Finding(
            "episode_regret", float(together.mean()), "utility per episode", "lower bound",
            "what a provider gains by the best constant multiple of its worth as its report, all others truthful; mean "
            f"over {len(members)} providers, multiples chosen on other markets", standard_error(together), "regret",
        ),
        Finding(
            "relative_regret", relative, "share of the utility of the slice", "lower bound",
            "`episode_regret` over the mean utility of these providers' slices", error,
        ),
    )  # fmt: skip
    return AuditResult(findings, tuple(listed))


def _pairs(
    replays: ReportReplays, pairs: Sequence[tuple[int, int]], factors: Sequence[float], progress: Progress
) -> AuditResult:
    choices = (*factors, 1.0)
    cells = [(a, b) for a in choices for b in choices if (a, b) != (1.0, 1.0)]
    table = np.ones((len(pairs), len(cells), replays.config.providers))
    for place, pair in enumerate(pairs):
        table[place][:, list(pair)] = cells
    groups = [pair for pair in pairs for _ in cells]
    flat = table.reshape(-1, replays.config.providers)
    profits = replays.group_profits(flat, groups, lambda share: progress("pairs over whole episodes", share))
    names = [f"worths times {a:g} and {b:g}" for a, b in cells]
    gains, listed = [], []
    for pair, part in zip(pairs, np.split(profits, len(pairs)), strict=True):
        gain = held_out_gain(part, replays.truth.profits[:, list(pair)].sum(axis=1))
        gains.append(gain.gains)
        who = f"vsp_{pair[0]} and vsp_{pair[1]}"
        listed.append(Gain(who, "joint misreport", gain.mean, gain.standard_error, gain.how(names)))
    together = np.mean(gains, axis=0)
    finding = Finding(
        "collusion_gain", float(together.mean()), "utility per episode", "lower bound",
        f"what two providers gain together by constant multiples of their worths as reports; mean over {len(pairs)} "
        "pairs, multiples chosen on other markets", standard_error(together), "collusion_gain",
    )  # fmt: skip
    return AuditResult((finding,), tuple(listed))


def audit_sealed(replays: ReportReplays, settings: AuditSettings, progress: Progress) -> AuditResult:
    """Return what holds of a single auction with the providers of the first market: exact VCG, and the policy's own."""
    config, truth = replays.config, replays.truth
    sealed = sealed_mechanism(replays)
    last = np.where(truth.present, truth.last_profits < -1e-9 * truth.metrics["optimal_welfare"][:, None], False)
    share = last.sum(axis=1) / truth.present.sum(axis=1)
    messages = float(REPORTED_NUMBERS * config.providers * config.rounds)
    said = "a report of four numbers, the worth and three rates, of each provider in each round"
    if sealed is not None and sealed.quanta is not None:
        messages = float(quantised_volume(config.providers, sealed.quanta).bids)
        said = "one value of each provider for every bundle, which holds for all rounds"
    findings = [
        Finding(
            "final_ir_violations", float(share.mean()), "share", "exact",
            "share of the providers that pay more than their slice is worth at the last allocation",
            standard_error(share),
        ),
        Finding("messages", messages, "numbers per episode", "exact", said),
    ]  # fmt: skip
    n = int(truth.present[0].sum())
    worth, rates = truth.worth[0, :n], truth.rate[0, :n]
    findings.append(_clarke_properties(worth, rates))
    result = AuditResult(tuple(findings))
    if n > MOST_PROVIDERS:
        note = f"Single auctions are audited with at most {MOST_PROVIDERS} providers."
        return result + AuditResult((), (), (note,))
    progress("single auctions", 0.0)
    result += _sealed_regret("clarke", Sealed("the exact VCG auction", exact_vcg), worth, rates, settings)
    progress("single auctions", 0.5)
    if sealed is None:
        note = "The policy follows no reports, so that there is no sealed-bid mechanism of its own to audit."
        result += AuditResult((), (), (note,))
    elif sealed.mechanism is not exact_vcg:
        result += _sealed_regret("mechanism", sealed, worth, rates, settings)
    progress("single auctions", 1.0)
    return result


def _clarke_properties(worth: Floats, rates: Floats) -> Finding:
    """Return the share of providers whose Clarke payment at the optimum is outside its bounds."""
    outcome = clarke_payments(worth, rates)
    best, pays = outcome.optimum, outcome.payments
    slack = 1e-8 * best.welfare
    # Welfare is concave in the resources, whose prices are λ with provider i and λ⁻ⁱ without it.
    low = np.maximum((outcome.prices_without * best.shares).sum(axis=1), 0.0)
    high = np.minimum((best.prices * best.shares).sum(axis=1), best.utilities)
    outside = (pays < low - slack) | (pays > high + slack)
    return Finding(
        "clarke_violations", float(outside.mean()), "share", "exact",
        "share of the providers whose Clarke payment at the optimum is below 0 or λ⁻ⁱ·s, or above the utility or λ·s",
    )  # fmt: skip


def _sealed_regret(prefix: str, sealed: Sealed, worth: Floats, rates: Floats, settings: AuditSettings) -> AuditResult:
    """Return what a provider gains by any other report, and a pair by scaled reports, in a single auction."""
    members = audited_members(len(worth))
    tries = min(settings.reports, QUANTISED_REPORTS) if sealed.is_slow else settings.reports
    alone = misreport_regret(worth, rates, sealed.mechanism, tries, members=members[:2] if sealed.is_slow else None)
    factors = QUANTISED_PAIR if sealed.is_slow else tuple(0.5 + 0.1 * step for step in range(11))
    findings = [
        Finding(
            f"{prefix}_regret", alone.relative, "share of the welfare", "lower bound",
            f"the largest gain of a provider by {tries} other reports of worth and rates, in one auction of "
            f"{sealed.name}",
        ),
    ]  # fmt: skip
    if len(worth) >= 2:
        pair = collusion_gain(worth, rates, sealed.mechanism, factors=factors)
        findings.append(Finding(
            f"{prefix}_collusion", pair.gain / pair.welfare_true, "share of the welfare", "lower bound",
            f"the largest gain of the first two providers together by multiples of their worths, in one auction of "
            f"{sealed.name}",
        ))  # fmt: skip
    return AuditResult(tuple(findings))
