"""The audit of an auctioneer of the double Dutch auction in play."""

from __future__ import annotations

import numpy as np

from ioa_marl.evaluation.audits.double_dutch.branches import MisreportGains, misreport_gains
from ioa_marl.evaluation.audits.double_dutch.play import AUCTIONEER, SIDES, Bools, Floats, decides_by_observation
from ioa_marl.evaluation.audits.double_dutch.reports import (
    JointGains,
    Replays,
    false_name_gains,
    pair_gains,
    replayed_gains,
)
from ioa_marl.evaluation.audits.results import AuditResult, Finding, Gain, Kind, Progress
from ioa_marl.evaluation.audits.rounds import mean_finding, mean_of_markets
from ioa_marl.evaluation.audits.subject import AuditSettings, Subject
from ioa_marl.markets.double_dutch.kernels import BUYERS

MARKETS = 200
"""Evaluation markets of the exact search over all reports."""
REPLAYED_MARKETS = 20
"""Evaluation markets where every report is played from the beginning."""
JOINT_MARKETS = 50
"""Evaluation markets on which pairs and false names are tried; they share a batch, so that more cost little."""
LARGEST_AUDITED = 60
"""Bidders of a side up to which every one of them is audited."""
PLAYED = 200
"""Evaluation episodes of the figures that need no deviation."""


def audit(subject: Subject, settings: AuditSettings, progress: Progress) -> AuditResult:
    """Audit an auctioneer, learnt or scripted, whose bidders are truthful but for the deviations that are tried.

    An auctioneer that decides by what it observes has exact gains over all reports of single bidders. For one that
    looks at the bids or draws random numbers, the reports of a grid are played from the beginning.

    Parameters
    ----------
    subject : Subject
        The auctioneer and the market.
    settings : AuditSettings
        How thoroughly deviations are searched.
    progress : callable
        Called with what is being done and the share of it that is done.

    Returns
    -------
    AuditResult
        Figures in units of money per auction.
    """
    result = _play(subject, settings)
    if subject.controlled_roles != (AUCTIONEER,):
        note = f"misreports need truthful bidders, and here {', '.join(subject.controlled_roles)} act"
        return result + AuditResult((), (), (note,))
    config = subject.config
    if max(config.buyers, config.sellers) > LARGEST_AUDITED:
        note = f"misreports in markets of more than {LARGEST_AUDITED} bidders a side take hours, and are not tried"
        return result + AuditResult((), (), (note,))
    exact = decides_by_observation(subject)
    joint = Replays(subject, settings.markets_or(JOINT_MARKETS if exact else REPLAYED_MARKETS), exact)
    if exact:
        gains = misreport_gains(subject, settings.markets_or(MARKETS), progress)
    else:
        gains = replayed_gains(joint, settings, config.tick, progress)
    result += _misreports(gains, "exact" if exact else "lower bound", settings)
    pairs = pair_gains(joint, config.buyer_clock, progress)
    result += _joint(pairs, "pair", "collusion_gain", "the best joint misreport of two marginal traders that was found")
    names = false_name_gains(joint, settings.reports, progress)
    return result + _joint(names, "false_name", None, "a second report under another name")


def _play(subject: Subject, settings: AuditSettings) -> AuditResult:
    """Return the figures of truthful play: what the auction guarantees, and what it costs."""
    figures = subject.play(settings.markets_or(PLAYED))
    loss = figures["optimal_welfare"] - figures["welfare"]

    def of(name: str, values: Floats, unit: str, meaning: str, column: str | None = None) -> Finding:
        return mean_finding(name, values, unit, "exact", meaning, column)

    findings = (
        of("efficiency_loss", loss, "units", "welfare that the efficient trades would add"),
        of("efficiency", figures["efficiency"], "share", "welfare over the largest possible one"),
        of("messages", figures["messages"], "messages", "clock messages: listeners summed over the broadcasts"),
        of(
            "budget_residual", subject.ledgers(len(loss))[:, -1], "units",
            "what the auctioneer keeps of the buyers' payments; below 0, what it adds", "budget_residual",
        ),
    )  # fmt: skip
    return AuditResult(findings)


def _misreports(gains: MisreportGains, kind: Kind, settings: AuditSettings) -> AuditResult:
    """Describe the gains of single bidders."""
    searched = "over all reports"
    if kind != "exact":
        searched = f"over {settings.reports} reports" + (" and those next to others'" if settings.refine else "")
    largest = gains.gains.max(axis=(1, 2))
    per_side = [_mean_present(gains.gains[:, side], gains.present[:, side]) for side in range(2)]
    gaining = np.array([(g > 0.0)[p].mean() for g, p in zip(gains.gains, gains.present, strict=True)])
    below = np.array([(u < -1e-9)[p].mean() for u, p in zip(gains.truthful, gains.present, strict=True)])
    return AuditResult(
        (
            mean_finding(
                "regret", largest, "units", kind,
                f"largest gain of any one bidder from misreporting, all others truthful, {searched}", "regret",
            ),
            *(
                mean_finding(f"regret_{name}", values, "units", kind, f"mean gain of a {name} from its best misreport")
                for name, values in zip(SIDES, per_side, strict=True)
            ),
            mean_finding("gaining_bidders", gaining, "share", kind, "share of bidders that gain by some misreport"),
            mean_finding("ir_violations", below, "share", "exact",
                         "share of truthful bidders that lose by taking part", "ir_violations"),
        ),
        tuple(_by_rank(gains)),
    )  # fmt: skip


def _mean_present(values: Floats, present: Bools) -> Floats:
    """Return the mean of each row over those present, float64 (markets,); NaN where nobody is."""
    count = present.sum(axis=1)
    total = np.where(present, values, 0.0).sum(axis=1)
    means: Floats = np.full(len(count), np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means


def _by_rank(gains: MisreportGains) -> list[Gain]:
    """Return the mean gain of the k-th most eager bidder of each side: indices mean nothing, since bids are drawn."""
    out = []
    for side, name in enumerate(SIDES):
        present = gains.present[:, side]
        eager = gains.valuations[:, side] * (1.0 if side == BUYERS else -1.0)
        order = np.argsort(np.where(present, -eager, np.inf), axis=1, kind="stable")
        ranked = np.take_along_axis(gains.gains[:, side], order, axis=1)
        there = np.take_along_axis(present, order, axis=1)
        for rank in np.flatnonzero(there.any(axis=0)):
            values = ranked[there[:, rank], rank]
            out.append(Gain(f"{name} ranked {rank + 1}", "misreport", *mean_of_markets(values)))
    return out


def _joint(found: list[JointGains], name: str, column: str | None, what: str) -> AuditResult:
    """Describe the gains of pairs or of false names."""
    # Who does not exist in a market gains nothing there.
    values = np.max([np.nan_to_num(each.gains) for each in found], axis=0)
    whose = "who may also do it alone" if name == "pair" else "for the most eager bidder"
    finding = mean_finding(f"{name}_gain", values, "units", "lower bound", f"gain by {what}, {whose}", column)
    gains = (Gain(each.name, name.replace("_", " "), *mean_of_markets(each.gains)) for each in found)
    return AuditResult((finding,), tuple(gain for gain in gains if not np.isnan(gain.value)))
