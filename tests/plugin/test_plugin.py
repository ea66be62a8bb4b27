"""Packages of other people add agents and markets by name, and a broken one stops nobody else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ioa_marl import registry
from ioa_marl.cli import app
from ioa_marl.envs import check_market
from ioa_marl.foundations.errors import UserError
from ioa_marl.training.compose import planned

HERE = Path(__file__).parent
PLUGINS = ("example_plugin", "broken_plugin")
SHORT = ("budget=1024", "seeds=1", "evaluation.episodes=5", "evaluation.points=1")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with both plug-ins installed, built from copies."""
    folder = tmp_path_factory.mktemp("plugins")
    copies = [shutil.copytree(HERE / name, folder / "source" / name) for name in PLUGINS]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--target", folder / "site"]
    subprocess.run([*pip, *offline, *copies], check=True)
    return folder / "site"


@pytest.fixture
def ioa_marl(site, tmp_path):
    """The command, run in an empty folder where the plug-ins are installed."""

    def run(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"}
        command = [sys.executable, "-P", "-m", "ioa_marl", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def fresh_registry(site, monkeypatch):
    """The registry of a process that has just started and finds the plug-ins."""
    monkeypatch.syspath_prepend(site)
    builtin = {
        kind: {name: entry for name, entry in entries.items() if entry.source == "ioa_marl"}
        for kind, entries in registry._entries.items()
    }
    monkeypatch.setattr(registry, "_entries", builtin)
    monkeypatch.setattr(registry, "_discovered", set())
    monkeypatch.setattr(registry, "_refused", [])
    return registry


def results(runs):
    return {path.relative_to(runs).parts[:2]: json.loads(path.read_text()) for path in runs.rglob("result.json")}


def test_list_names_what_is_broken_and_what_is_refused_beside_all_that_works(ioa_marl):
    done = ioa_marl("list")
    assert done.returncode == 0, done.stderr
    rows = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "example_agent example_plugin 1.2" in rows
    assert "posted_price example_plugin 1.2 plenty" in rows
    missing = "ModuleNotFoundError: No module named 'library_that_is_not_installed'"
    assert f"broken_agent broken_plugin 0.3 BROKEN: {missing}" in rows
    assert any(row.startswith("missing_market broken_plugin 0.3 BROKEN: AttributeError: ") for row in rows)
    for taken in ("sac", "double_dutch"):
        assert any(row.startswith(f"{taken} ioa_marl ") for row in rows)
        assert f"{taken} broken_plugin 0.3 BROKEN: the name is taken by ioa_marl" in rows
    assert sum("BROKEN" in row for row in rows) == 4


def test_agent_of_a_plugin_trains_by_name_with_its_own_setting(ioa_marl, tmp_path):
    runs = tmp_path / "runs"
    done = ioa_marl("train", "env=double_dutch", "agent=example_agent", "agent.epsilon=0.3", *SHORT, f"runs={runs}")
    assert done.returncode == 0, done.stderr
    ((path, result),) = results(runs).items()
    assert path == ("double_dutch-paper", "example_agent")
    assert result["status"] == "done"
    assert set(result["scores"]) == {"auctioneer"}
    (config,) = runs.rglob("config.yaml")
    assert "epsilon: 0.3" in config.read_text()


def test_market_of_a_plugin_is_trained_on_by_any_agent(ioa_marl, tmp_path):
    runs = tmp_path / "runs"
    market = ("env=posted_price/plenty", "env.customers=6")
    done = ioa_marl("train", "-m", *market, "agent=random,sac,example_agent", *SHORT, f"runs={runs}")
    assert done.returncode == 0, done.stderr
    found = results(runs)
    # With a setting changed it is not the preset any more, and must not stand on its board.
    assert set(found) == {("posted_price-custom", agent) for agent in ("random", "sac", "example_agent")}
    assert {result["status"] for result in found.values()} == {"done"}


def test_wrong_setting_of_a_plugin_is_refused_in_one_line(fresh_registry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["train", "env=posted_price", "agent=example_agent", "agent.epsilon=2", *SHORT])
    assert done.exit_code == 2
    assert done.stderr == "ioa-marl: agent.epsilon=2.0 is not allowed: use 0 to 1\n"
    assert list(tmp_path.iterdir()) == []


def test_agent_of_a_plugin_has_no_presets(fresh_registry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["train", "env=double_dutch", "agent=example_agent/paper", *SHORT])
    assert done.exit_code == 2
    assert done.stderr.startswith("ioa-marl: agent=example_agent/paper is not allowed: use example_agent")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_tuned_settings_come_with_the_agent_or_the_market_of_a_plugin(fresh_registry, monkeypatch):
    agent, market = fresh_registry.load_agent("example_agent"), fresh_registry.load_env("posted_price")
    monkeypatch.setattr(agent, "tuned", {"double_dutch": {"epsilon": 0.5}, "second_bid_nine": {"epsilon": 0.25}})
    monkeypatch.setattr(market, "tuned", {"ppo": {"gamma": 0.125}, "example_agent": {"epsilon": 0.75}})
    for env, epsilon in (("double_dutch/calm", 0.5), ("second_bid/nine", 0.25), ("posted_price", 0.75)):
        assert planned([f"env={env}", "agent=example_agent/tuned"]).specs[0].agents[0].config.epsilon == epsilon
    assert planned(["env=posted_price", "agent=ppo/tuned"]).specs[0].agents[0].config.gamma == 0.125
    with pytest.raises(UserError, match="has no settings for env=second_bid: use example_agent"):
        planned(["env=second_bid", "agent=example_agent/tuned"])


def test_broken_agent_is_refused_in_one_line_when_asked_for(fresh_registry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["train", "env=double_dutch", "agent=broken_agent", *SHORT])
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    for part in ("'broken_agent'", "broken_plugin 0.3", "library_that_is_not_installed"):
        assert part in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("settings", [{}, {"preset": "plenty"}, {"max_cycles": 3}, {"customers": 1}], ids=str)
def test_market_of_the_plugin_keeps_every_promise(fresh_registry, settings):
    # Another process must find the class as this one does; once is enough.
    check_market(fresh_registry.load_env("posted_price"), processes=not settings, **settings)


def test_nothing_of_a_plugin_is_imported_before_it_is_asked_for(fresh_registry):
    assert "example_agent" in fresh_registry.agent_names()
    assert fresh_registry.entry("agent", "example_agent").loaded is None
    assert "broken_plugin.agent" not in sys.modules


def test_unknown_name_suggests_the_plugins_near_one(fresh_registry):
    with pytest.raises(UserError, match="unknown agent 'exampel_agent': did you mean example_agent"):
        fresh_registry.load_agent("exampel_agent")
    with pytest.raises(UserError, match="unknown environment 'posted_prize': did you mean posted_price"):
        fresh_registry.load_env("posted_prize")


def test_name_can_be_registered_only_once(fresh_registry):
    fresh_registry.register_agent("my_agent", "example_plugin.agent:ExampleAgent")
    with pytest.raises(registry.RegistrationError, match="agent 'my_agent' is already registered by example_plugin"):
        fresh_registry.register_agent("my_agent", "example_plugin.agent:ExampleAgent")
    with pytest.raises(registry.RegistrationError, match="'ppo' is already registered by ioa_marl"):
        fresh_registry.register_agent("ppo")(object)
    with pytest.raises(registry.RegistrationError, match=r"'posted_price' is already .* example_plugin 1\.2"):
        fresh_registry.register_env("posted_price")(object)
    assert fresh_registry.load_agent("my_agent").__name__ == "ExampleAgent"
