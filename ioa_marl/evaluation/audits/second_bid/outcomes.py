"""What policies do in the second-bid auction without deviations: losses, budget, efficiency, adverse selection."""

from __future__ import annotations

import numpy as np

from ioa_marl.evaluation.audits.held_out import ratio_error, standard_error
from ioa_marl.evaluation.audits.results import AuditResult, Finding
from ioa_marl.evaluation.audits.second_bid.adverse_selection import selected_values
from ioa_marl.evaluation.audits.second_bid.counterfactuals import Floats, Replays
from ioa_marl.markets.second_bid.state import UAV

ROUNDING = 1e-9
"""Losses up to this part of a valuation are attributed to rounding."""


def outcomes(replays: Replays) -> AuditResult:
    """Return what the play without deviations shows: individual rationality, budget, efficiency, adverse selection."""
    return _rationality(replays) + _money(replays) + _selection(replays)


def _provider_utilities(replays: Replays) -> Floats:
    """Return value − payment of every provider for every task, 0 if another one serves it, (markets, tasks, n + 1)."""
    values = np.moveaxis(replays.draws.value, 0, 1)
    winners, payments = replays.truth.winners[0], replays.truth.payments[0]
    served = winners[..., None] + 1 == np.arange(values.shape[-1])
    return np.where(served, values - payments[..., None], 0.0)


def _rationality(replays: Replays) -> AuditResult:
    utilities = _provider_utilities(replays)
    slack = ROUNDING * float(replays.draws.value.mean())
    losing = (utilities.sum(axis=1) < -slack).mean(axis=1)
    stations = (utilities[..., 1:] < -slack).any(axis=2).mean(axis=1)
    findings = [
        Finding(
            "ir_violations", float(losing.mean()), "share", "exact",
            "share of the providers, stations and UAV, that end an episode with less than if they had stayed away",
            standard_error(losing), "ir_violations",
        ),
        Finding(
            "station_losses", float(stations.mean()), "share", "exact",
            "share of the tasks for which a station pays more than its valuation", standard_error(stations),
        ),
    ]  # fmt: skip
    by_uav = replays.truth.winners[0] == UAV
    if not by_uav.any():
        return AuditResult(tuple(findings), (), ("Losses of the UAV are not defined: it serves no task.",))
    share, error = ratio_error((utilities[..., 0] < -slack).sum(axis=1), by_uav.sum(axis=1))
    meaning = "share of the UAV's tasks whose value is below its contract price, the mean of its valuations"
    findings.append(Finding("uav_losses", share, "share", "exact", meaning, error))
    return AuditResult(tuple(findings))


def _money(replays: Replays) -> AuditResult:
    config = replays.config
    values = np.moveaxis(replays.draws.value, 0, 1)
    weighted = values * np.concatenate([[config.uav_weight], np.ones(config.stations)])
    winners = replays.truth.winners[0]
    surplus = np.take_along_axis(weighted, winners[..., None] + 1, axis=2)[..., 0]
    first_best = weighted.max(axis=2)
    # Differences of single tasks are exactly 0 where the right provider serves; those of sums would be rounded.
    lost, error = ratio_error((first_best - surplus).sum(axis=1), first_best.sum(axis=1))
    kept = replays.receipts[:, -1]
    findings = (
        Finding(
            "budget_residual", float(kept.mean()), "units per episode", "exact",
            "what the auctioneer keeps: payments of the stations and of the UAV, since it pays nobody",
            standard_error(kept), "budget_residual",
        ),
        Finding(
            "efficiency_loss", lost, "share of the first best", "exact",
            "surplus that is lost because another provider serves a task than the one that values it most", error,
        ),
        Finding(
            "messages", float(config.stations * config.tasks), "numbers per episode", "exact",
            "sealed bids: one number of each station for each task",
        ),
    )  # fmt: skip
    return AuditResult(findings)


def _selection(replays: Replays) -> AuditResult:
    if replays.config.valuations != "pareto":
        return AuditResult((), (), ("Adverse selection is not defined: the common value differs between providers.",))
    common, by_uav = replays.draws.common[..., 0].T, replays.truth.winners[0] == UAV
    if by_uav.all() or not by_uav.any():
        served = "the UAV serves all tasks" if by_uav.all() else "stations serve all tasks"
        return AuditResult((), (), (f"Adverse selection is not defined: {served}.",))
    found = selected_values(common, by_uav)
    of_uav, of_stations = (np.where(who, common / who.sum(), 0.0).sum(axis=1) for who in (by_uav, ~by_uav))
    ratio, error = ratio_error(of_uav, of_stations)
    findings = (
        Finding(
            "adverse_selection", found.statistic, "distance of distributions, 0 to 1", "estimate",
            "Kolmogorov-Smirnov distance between the common values of the UAV's and of the stations' tasks; the "
            f"probability of one as large by chance is {found.pvalue:.2g}",
        ),
        Finding(
            "uav_common_value", ratio, "ratio", "estimate",
            f"mean common value of the UAV's tasks ({found.uav_mean:.4g}) over that of the stations' tasks "
            f"({found.station_mean:.4g}): below 1, the UAV gets the worse tasks", error,
        ),
    )  # fmt: skip
    return AuditResult(findings)
