"""`audit`, the audit of policies in the slicing market, with Clarke payments or with the dual currency."""

from __future__ import annotations

from ioa_marl.evaluation.audits.held_out import ratio_error, standard_error
from ioa_marl.evaluation.audits.results import AuditResult, Finding, Progress, silent
from ioa_marl.evaluation.audits.subject import AuditSettings, Subject
from ioa_marl.evaluation.audits.vcg_slicing.banked import audit_bank, infers
from ioa_marl.evaluation.audits.vcg_slicing.clarke import audit_reports, audit_sealed
from ioa_marl.evaluation.audits.vcg_slicing.report_play import ReportReplays

MARKETS = 16
"""Evaluation markets, unless there are many providers."""
SLOW_MARKETS = 4
"""The same where the bank infers utilities or its pool in every round."""
MANY = 1000
"""Providers from which on there are two markets."""
ROUNDING = 1e-9
"""Losses up to this part of the mean utility or profit are attributed to rounding."""


def audit(subject: Subject, settings: AuditSettings, progress: Progress = silent) -> AuditResult:
    """Audit policies in the slicing market.

    With Clarke payments, providers deviate by reporting a constant multiple of their worth in all rounds of an episode,
    alone and in pairs, and by any other report in a single auction of the mechanism to whose allocation the policy
    steers. With a bank they deviate by bidding a multiple of their belief.

    Parameters
    ----------
    subject : Subject
        The policies and the market.
    settings : AuditSettings
        How thoroughly deviations are searched: ``markets`` is by default 16, 4 where the bank infers utilities or
        its pool, and 2 from 1000 providers on; ``reports`` is the number of reports in a single auction, and limits
        that of multiples in an episode; and ``refine`` adds multiples next to the best one, but for bids to a bank,
        which are multiples of the market's grid.
    progress : callable
        Called with what is being done and the share of it that is done.

    Returns
    -------
    AuditResult
    """
    config = subject.config
    usual = 2 if config.providers >= MANY else SLOW_MARKETS if infers(config) else MARKETS
    markets = settings.markets_or(usual)
    progress("episodes without deviations", 0.0)
    replays = ReportReplays(subject, markets)
    progress("episodes without deviations", 1.0)
    found = outcomes(replays)
    if "slice" not in subject.controlled_roles:
        note = "Deviations from the bids are not tried, since no agents divide the resources."
        return found + AuditResult((), (), (note,))
    if "vsp" in subject.controlled_roles:
        note = (
            "Regret is that of the audit of constant actions, since agents bid for the providers; pairs are not tried."
        )
        found += AuditResult((), (), (note,))
    elif config.banked:
        found += audit_bank(replays, settings, progress)
    else:
        found += audit_reports(replays, settings, progress)
    return found if config.banked else found + audit_sealed(replays, settings, progress)


def outcomes(replays: ReportReplays) -> AuditResult:
    """Return what the play without deviations shows: individual rationality, budget, efficiency."""
    truth, banked = replays.truth, replays.config.banked
    unit = "money per episode" if banked else "utility per episode"
    slack = ROUNDING * float(abs(truth.profits).mean())
    losing = ((truth.profits < -slack) & truth.present).sum(axis=1) / truth.present.sum(axis=1)
    best, welfare = truth.metrics["optimal_welfare"], truth.metrics["welfare"]
    lost, error = ratio_error(best - welfare, best)
    charge = "taxes, which the bank keeps" if banked else "Clarke payments, which the network keeps"
    findings = (
        Finding(
            "ir_violations", float(losing.mean()), "share", "exact",
            "share of the providers that end an episode with less than if they had stayed away",
            standard_error(losing), "ir_violations",
        ),
        Finding(
            "budget_residual", float(truth.residual.mean()), unit, "exact",
            f"{charge}; below 0 it pays more than it receives", standard_error(truth.residual), "budget_residual",
        ),
        Finding(
            "efficiency_loss", lost, "share of the optimum", "exact",
            "welfare that is lost against the optimal allocation in every round", error,
        ),
    )  # fmt: skip
    return AuditResult(findings)
