"""The audit of every market keeps the promises of an audit."""

from __future__ import annotations

import pytest

from ioa_marl.envs.testing import check_market
from ioa_marl.evaluation.audits.checking import check_audit
from ioa_marl.evaluation.audits.results import AuditResult, Finding
from ioa_marl.evaluation.audits.running import audit_of, run_audit
from ioa_marl.evaluation.audits.subject import AuditSettings, scripted_subject
from ioa_marl.foundations.errors import UserError
from ioa_marl.registry import load_env
from tests.every_market import MARKETS

Thin = load_env("double_dutch")


class PlugIn(Thin):
    """A market of another package, which brings its own audit."""

    name = "plug_in"
    audit = f"{__name__}:good_audit"


class Nothing(PlugIn):
    """A market of another package without an audit."""

    audit = None


class Missing(PlugIn):
    """A market whose audit does not exist."""

    audit = f"{__name__}:no_audit"


class Careless(PlugIn):
    """A market whose audit breaks its promises."""

    audit = f"{__name__}:careless_audit"


def good_audit(subject, settings, progress):
    finding = Finding("gain", 1.5, "units", "lower bound", "what is gained", 0.1, "regret")
    return AuditResult((finding,), (), ("nothing else",))


def careless_audit(subject, settings, progress):
    finding = Finding("gain", 1.5, "units", "lower bound", "what is gained", 0.1, "regret")
    return AuditResult((finding, finding))


@pytest.mark.parametrize("market", MARKETS, ids=lambda market: market.name)
def test_the_audit_of_every_market_keeps_its_promises(market):
    check_audit(market.game_class, **market.quick)


def test_a_plug_in_market_brings_its_own_audit():
    assert check_audit(PlugIn).value("gain") == 1.5
    assert run_audit(scripted_subject(PlugIn, PlugIn.make_config(), "two_phase")).columns() == {"regret": 1.5}


def test_a_market_without_an_audit_is_named():
    assert audit_of(Nothing) is None
    with pytest.raises(AssertionError, match=r"plug_in has no audit: name one in Game\.audit"):
        check_audit(Nothing)
    (note,) = run_audit(scripted_subject(Nothing, Nothing.make_config(), "two_phase"), AuditSettings(2, 2)).notes
    assert "brings no audit" in note


def test_an_audit_that_cannot_be_imported_is_named():
    with pytest.raises(UserError, match=r"plug_in.*no_audit"):
        audit_of(Missing)
    with pytest.raises(AssertionError, match=r"audit: .*no_audit"):
        check_market(Missing, processes=False, episodes=2, num_envs=2)


def test_two_findings_of_one_name_break_a_promise():
    with pytest.raises(AssertionError, match="two findings of one name"):
        check_audit(Careless)
