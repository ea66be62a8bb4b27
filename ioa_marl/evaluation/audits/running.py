"""`run_audit`, which finds the audits of a market and runs them on policies."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ioa_marl.envs.core import Game
from ioa_marl.evaluation.audits.constant_actions import (
    MEANING,
    ConstantGain,
    audited_members,
    best_constant_gain,
    bidders,
)
from ioa_marl.evaluation.audits.results import AuditResult, Finding, Gain, Progress, silent
from ioa_marl.evaluation.audits.subject import AuditSettings, Subject
from ioa_marl.foundations.errors import UserError

Audit = Callable[[Subject, AuditSettings, Progress], AuditResult]
"""The audit of a market: a function ``audit`` in a module of its own."""
PACKAGE = "ioa_marl.evaluation.audits"
CONSTANT_MARKETS = 100
"""Evaluation markets on which constant actions are tried."""


def audit_of(game_class: type[Game]) -> Audit | None:
    """Return the audit of a market, or None if it has none.

    It is what `Game.audit` names. A market of this package that names nothing has the function ``audit`` of the module
    in this package that is named as the market is.

    Raises
    ------
    UserError
        If the audit that a market names cannot be imported.
    """
    target = game_class.audit
    if target is None:
        name = f"{PACKAGE}.{game_class.name}"
        own = game_class.__module__.startswith("ioa_marl.")
        if not own or importlib.util.find_spec(name) is None:
            return None
        target = f"{name}:audit"
    module, _, attribute = target.partition(":")
    try:
        function: Audit = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"the audit of {game_class.name}, {target}, cannot be imported: {error}") from error
    if not callable(function):
        raise UserError(f"the audit of {game_class.name}, {target}, is no function")
    return function


def run_audit(subject: Subject, settings: AuditSettings | None = None, progress: Progress = silent) -> AuditResult:
    """Audit policies in their market: the market's own audit, and constant actions of roles that have no score.

    Parameters
    ----------
    subject : Subject
        The policies and the market.
    settings : AuditSettings, optional
        How thoroughly deviations are searched.
    progress : callable, optional
        Called with what is being done and the share of it that is done.

    Returns
    -------
    AuditResult

    Raises
    ------
    UserError
        If the audit of the market cannot be imported.
    """
    chosen = AuditSettings() if settings is None else settings
    audit = audit_of(subject.game_class)
    constants = _constants(subject, chosen, progress)
    if audit is None:
        missing = f"{subject.game_class.name} brings no audit of its own; see Game.audit"
        return AuditResult((), (), (missing,)) + constants
    own = audit(subject, chosen, progress)
    # A leaderboard shows one figure in a column: that of the market's own audit, if it has one.
    filled = {finding.column for finding in own.findings}
    shown = (replace(f, column=None) if f.column in filled else f for f in constants.findings)
    return own + replace(constants, findings=tuple(shown))


def _constants(subject: Subject, settings: AuditSettings, progress: Progress) -> AuditResult:
    """Return what bidders that learn gain by the best constant action."""
    found = AuditResult(())
    roles = bidders(subject.game_class, subject.config, subject.controlled_roles)
    for place, role in enumerate(roles):
        progress(f"constant actions of {role}", place / len(roles))
        members = audited_members(subject.game_class.make_roles(subject.config)[role].count)
        gain = best_constant_gain(
            subject.game_class, subject.config, subject.make_agents(), subject.controlled_roles, role,
            settings.markets_or(CONSTANT_MARKETS), members=members, instances=[subject.instance],
            first_episode=subject.first_episode,
        )  # fmt: skip
        found += _described(gain, None if place else "regret")
    return found


def _described(gain: ConstantGain, column: str | None) -> AuditResult:
    role, row = gain.role, gain.of_seed(0)
    gains = [
        Gain(f"{role}_{member}", "constant action", value, error, "" if action is None else f"action {action}")
        for member, action, value, error in zip(
            row["agents"], row["actions"], row["gains"], row["standard_errors"], strict=True
        )
    ]
    errors = gain.standard_errors[0]
    # Gains of the agents come from the same episodes, so their errors may add up.
    error = None if np.isnan(errors).any() else float(errors.mean())
    value = float(gain.mean[0])
    finding = Finding(f"constant_gain_{role}", value, "units per episode", "lower bound", MEANING, error, column)
    return AuditResult((finding,), tuple(gains))


def as_json(result: AuditResult, subject: Subject, settings: AuditSettings) -> dict[str, Any]:
    """Return a result with what was audited, as JSON values."""
    return {
        "env": subject.game_class.name,
        "version": subject.game_class.version,
        "settings": {"markets": settings.markets, "reports": settings.reports, "refine": settings.refine},
        "first_episode": subject.first_episode,
        **result.as_dict(),
    }
