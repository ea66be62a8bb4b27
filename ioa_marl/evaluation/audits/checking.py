"""`check_audit`, which checks that the audit of a market keeps the promises of `AuditResult`."""

from __future__ import annotations

import json
import math
from typing import Any, get_args

from ioa_marl.agents.baselines.random import RandomAgent, RandomConfig
from ioa_marl.envs.core import Game
from ioa_marl.evaluation.audits.results import COLUMNS, AuditResult, Kind
from ioa_marl.evaluation.audits.running import audit_of, run_audit
from ioa_marl.evaluation.audits.subject import AuditSettings, Subject
from ioa_marl.evaluation.playing import make_agent


def check_audit(
    game_class: type[Game], preset: str | None = None, *, markets: int = 2, reports: int = 3, **settings: Any
) -> AuditResult:
    """Check that a market has an audit whose findings can be read, shown and made again.

    The audit runs twice on agents that act at random, with few markets and reports.

    Parameters
    ----------
    game_class : type of Game
        The market.
    preset : str, optional
        Named settings; default is the market's first preset.
    markets, reports : int
        Number of evaluation markets, and of reports of each bidder.
    **settings
        Changes of the preset.

    Returns
    -------
    AuditResult
        What was found.

    Raises
    ------
    AssertionError
        At the first broken promise, or if the market has no audit; the message is one line.
    UserError
        If the audit that the market names cannot be imported.
    """
    name = game_class.name
    _ensure(audit_of(game_class) is not None, f"{name} has no audit: name one in Game.audit")
    config = game_class.make_config(preset, **settings)
    roles = game_class.default_controlled_roles

    def make() -> list[Any]:
        return [make_agent(RandomAgent, RandomConfig(), game_class(config, 1, roles), roles, 1)]

    subject = Subject(game_class, config, roles, make)
    chosen, shares = AuditSettings(markets, reports, refine=False), []
    found = run_audit(subject, chosen, lambda _, share: shares.append(share))
    _ensure(bool(found.findings), f"the audit of {name} finds nothing")
    _ensure(all(0.0 <= share <= 1.0 for share in shares), f"the audit of {name} reports a progress outside 0 to 1")
    names = [finding.name for finding in found.findings]
    _ensure(len(set(names)) == len(names), f"the audit of {name} has two findings of one name: {names}")
    columns = [finding.column for finding in found.findings if finding.column is not None]
    _ensure(set(columns) <= set(COLUMNS), f"the audit of {name} has a column that no leaderboard has: {columns}")
    _ensure(len(set(columns)) == len(columns), f"the audit of {name} fills a column twice: {columns}")
    for finding in found.findings:
        known = finding.kind in get_args(Kind)
        _ensure(known, f"{finding.name} of the audit of {name} is {finding.kind!r}, which is no kind")
        _ensure(bool(finding.meaning and finding.unit), f"{finding.name} of the audit of {name} has no meaning or unit")
        _ensure(not math.isinf(finding.value), f"{finding.name} of the audit of {name} is infinite")
    again = json.dumps(run_audit(subject, chosen).as_dict())
    _ensure(json.dumps(found.as_dict()) == again, f"the audit of {name} finds something else when it is repeated")
    return found


def _ensure(condition: bool, promise: str) -> None:
    if not condition:
        raise AssertionError(promise)
