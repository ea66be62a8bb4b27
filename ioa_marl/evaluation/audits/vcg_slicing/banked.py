"""Audit of policies in the dual-currency auction: bids over whole episodes, and what the equations imply."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np

from ioa_marl.agents.base import Agent
from ioa_marl.envs.vcg_slicing.config import VCGSlicingConfig
from ioa_marl.evaluation.audits.constant_actions import audited_members
from ioa_marl.evaluation.audits.held_out import standard_error
from ioa_marl.evaluation.audits.results import AuditResult, Finding, Gain, Progress
from ioa_marl.evaluation.audits.subject import AuditSettings, Subject
from ioa_marl.evaluation.audits.vcg_slicing.bid_play import Anew, SideBySide
from ioa_marl.evaluation.audits.vcg_slicing.dual_currency import (
    GroupDeviation,
    deviation_curve,
    group_deviation,
    joint_deviation,
    scale_in_play,
)
from ioa_marl.evaluation.audits.vcg_slicing.dual_currency_theory import (
    dual_currency_volume,
    rank_deficiency,
    scale_fixture,
)
from ioa_marl.evaluation.audits.vcg_slicing.report_play import ReportReplays
from ioa_marl.markets.vcg_slicing.optimum import welfare_optimum

PAIRS = 2
"""Largest number of pairs that collude, one at a time."""
PAIR_GRID = 6
"""Multiples from which each of a pair chooses, the truth among them."""
MOST_PROVIDERS = 50
"""Largest number of providers with which bids are varied."""
FEW = 2
"""Markets and single providers, and one pair, where the bank infers utilities or its pool in every round."""


def audit_bank(replays: ReportReplays, settings: AuditSettings, progress: Progress) -> AuditResult:
    """Return what providers gain by other bids, and what holds of the loans."""
    config = replays.config
    volume = dual_currency_volume(config.providers, config.rounds)
    said = f"bids ({volume.bids}), reports to the bank ({volume.reports}) and its answers ({volume.answers})"
    messages = Finding("messages", float(volume.total), "numbers per episode", "exact", said)
    found = AuditResult((messages,)) + _theory(replays)
    fewest = config.providers if config.fewest_providers is None else config.fewest_providers
    if config.providers > MOST_PROVIDERS or fewest < 2:
        note = f"Other bids are tried with 2 to {MOST_PROVIDERS} providers that are always present."
        return found + AuditResult((), (), (note,))
    return found + _Bids(replays, settings, progress, infers(config)).audit(audited_members(fewest))


def infers(config: VCGSlicingConfig) -> bool:
    """Return whether the bank infers utilities or its pool in every round, which takes most of the time."""
    return config.externality != "exact" or config.voi != "exact"


def _allocator(subject: Subject, draws_numbers: bool) -> Agent:
    """Return the agent of the slices such that the same markets are played with the same random numbers."""
    if not draws_numbers:
        return SideBySide(subject.agent_of("slice"))

    def make() -> Agent:
        return next(a for a in reversed(subject.make_agents()) if "slice" in {role.name for role in a.context.plays})

    return Anew(make)


def _theory(replays: ReportReplays) -> AuditResult:
    """Return what follows from the equations for the providers of the first market."""
    truth = replays.truth
    n = int(truth.present[0].sum())
    best = welfare_optimum(truth.worth[0, :n], truth.rate[0, :n]).utilities
    best = best[best > 0.0]
    if len(best) < 2:
        return AuditResult((), (), ("Loans are not audited: fewer than two providers have a slice at the optimum.",))
    fixture = scale_fixture(best, [0.5, 1.0, 1.5])
    pool = float(best.sum())
    ranks = rank_deficiency(best) if len(best) <= MOST_PROVIDERS else None
    findings = [
        Finding(
            "scale_interest", round(float(fixture.interest[0]) / pool, 12), "share of the pool", "exact",
            "interest of any provider if all bid half of what the truth is: loans depend on ratios of bids only",
        ),
        Finding(
            "scale_honest_interest", float(fixture.honest[0]) / pool, "share of the pool", "exact",
            "interest of a provider that bids the truth where all others bid half of it: truth is no dominant strategy",
        ),
        Finding(
            "scale_noise", float(fixture.noise[2]), "shares", "exact",
            "standard deviation of the noise on every share if all bid half as much again as the truth",
        ),
    ]  # fmt: skip
    if ranks is not None:
        free = ranks.sizes[ranks.deficient]
        findings.append(Finding(
            "rank_deficient_coalition", float(free[0]) if len(free) else float("nan"), "providers", "exact",
            f"smallest coalition whose bids without interest are not unique, by the rank of Eq. 26, of {len(best)} "
            "providers; NaN if there is none",
        ))  # fmt: skip
    return AuditResult(tuple(findings))


class _Bids:
    """Counterfactual play of bids under one policy of the slices."""

    def __init__(self, replays: ReportReplays, settings: AuditSettings, progress: Progress, slow: bool) -> None:
        subject = replays.subject
        self._replays, self._settings, self._progress, self._slow = replays, settings, progress, slow
        self._episodes = replays.markets if settings.markets is not None else (FEW if slow else replays.markets // 2)
        self._given: dict[str, Any] = {
            "allocator": _allocator(subject, replays.truth.draws_numbers), "instances": (subject.instance,),
            "episodes": self._episodes, "first_episode": subject.first_episode,
        }  # fmt: skip

    def _with_grid(self, most: int) -> Any:
        """Return the settings of the market with at most ``most`` multiples, 1 among them."""
        config = self._replays.config
        grid = config.multipliers
        chosen = np.linspace(0, len(grid) - 1, max(2, min(most, len(grid)))).round().astype(int)
        return dataclasses.replace(config, multipliers=tuple(sorted({1.0, *(grid[i] for i in chosen)})))

    def audit(self, members: list[int]) -> AuditResult:
        """Return all findings about bids."""
        if self._slow:
            members = members[:FEW]
        found = self._alone(members)
        found += self._pairs(list(pairwise(members))[: 1 if self._slow else PAIRS])
        self._progress("all bids scaled, and one provider's course", 0.0)
        found += self._scaled() + self._course(members[0])
        self._progress("all bids scaled, and one provider's course", 1.0)
        return found

    def _finding(self, name: str, column: str, played: list[GroupDeviation], what: str, whose: str) -> Finding:
        gains = np.mean([deviation.episode_gains[0] for deviation in played], axis=0) * self._replays.config.rounds
        return Finding(
            name, float(gains.mean()), "money per episode", "lower bound",
            f"{what} of their belief as bids, all others truthful; mean over {len(played)} {whose}, multiples chosen "
            "on other markets",
            standard_error(gains) if len(gains) > 1 else None, column,
        )  # fmt: skip

    def _gain(self, deviation: GroupDeviation, kind: str) -> Gain:
        gains = deviation.episode_gains[0] * self._replays.config.rounds
        chosen = [f"{deviation.multipliers[i]:g}" for i in deviation.chosen[0]]
        moves = any(factor != "1" for factor in chosen)
        return Gain(
            " and ".join(f"vsp_{member}" for member in deviation.members), kind, float(gains.mean()),
            standard_error(gains) if len(gains) > 1 else None, f"belief times {' and '.join(chosen)}" if moves else "",
        )  # fmt: skip

    def _alone(self, members: list[int]) -> AuditResult:
        config, played = self._with_grid(self._settings.reports), []
        for place, member in enumerate(members):
            self._progress("misreports over whole episodes", place / len(members))
            played.append(group_deviation(config, [member], **self._given))
        self._progress("misreports over whole episodes", 1.0)
        what = "what a provider gains by the best constant multiple"
        finding = self._finding("episode_regret", "regret", played, what, "providers")
        return AuditResult((finding,), tuple(self._gain(deviation, "misreport") for deviation in played))

    def _pairs(self, pairs: list[tuple[int, int]]) -> AuditResult:
        config, played = self._with_grid(3 if self._slow else min(PAIR_GRID, self._settings.reports)), []
        for place, pair in enumerate(pairs):
            self._progress("pairs over whole episodes", place / len(pairs))
            played.append(joint_deviation(config, pair, **self._given))
        self._progress("pairs over whole episodes", 1.0)
        what = "what two providers gain together by the best constant multiples"
        finding = self._finding("collusion_gain", "collusion_gain", played, what, "pairs")
        return AuditResult((finding,), tuple(self._gain(deviation, "joint misreport") for deviation in played))

    def _scaled(self) -> AuditResult:
        play = scale_in_play(self._with_grid(2), **self._given)
        factor, rounds = play.multipliers[0], self._replays.config.rounds
        if factor >= 1.0:
            return AuditResult((), (), ("Bids below the truth are not tried, since the market has no such multiple.",))
        findings = (
            Finding(
                "scaled_bids_gain", float(play.together[0]) * rounds, "money per episode", "exact",
                f"what the mean provider gains if all bid {factor:g} times their belief",
            ),
            Finding(
                "honest_among_scaled_gain", float(play.honest[0]) * rounds, "money per episode", "exact",
                f"what a provider gains by bidding the truth where all others bid {factor:g} times their belief; below "
                "0, the truth is no best response to them",
            ),
        )  # fmt: skip
        return AuditResult(findings)

    def _course(self, provider: int) -> AuditResult:
        config = self._with_grid(2)
        under, over, rounds = config.multipliers[0], config.multipliers[-1], config.rounds
        if not under < 1.0 < over or rounds < 5:
            return AuditResult((), (), ("No course of over- and underbidding is played: rounds or multiples are few.",))
        curve = deviation_curve(
            config, provider, over=over, under=under, first=2 * rounds // 5, second=7 * rounds // 10, **self._given
        )
        return AuditResult(tuple(
            Finding(
                name, float(curve.gains[segment]), "money per round", "exact",
                f"what provider {provider} gains while it bids {factor:g} times its belief, as in Fig. 7",
                float(curve.standard_errors[segment]) if self._episodes > 1 else None,
            )
            for name, segment, factor in (("overbid_gain", 1, over), ("underbid_gain", 2, under))
        ))  # fmt: skip
