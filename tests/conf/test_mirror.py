"""The YAML tree says what the dataclasses say."""

import dataclasses
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from typer.testing import CliRunner

import ioa_marl.conf
from ioa_marl import registry
from ioa_marl.cli import app
from ioa_marl.evaluation.protocol import EvaluationConfig
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.training.compose import specification
from ioa_marl.training.config import build, plain

CONF = Path(ioa_marl.conf.__path__[0])
OWN_AGENTS = [name for name in registry.agent_names() if registry.entry("agent", name).source == "ioa_marl"]
OWN_ENVS = [name for name in registry.env_names() if registry.entry("environment", name).source == "ioa_marl"]


def composed(group, name):
    with initialize_config_module("ioa_marl.conf", version_base="1.3"):
        return OmegaConf.to_container(compose("config", overrides=[f"{group}={name}"])[group])


@pytest.mark.parametrize("name", OWN_AGENTS)
def test_agent_yaml_has_the_defaults_of_its_dataclass(name):
    values = composed("agent", name)
    assert values.pop("name") == name
    defaults = plain(dataclasses.asdict(registry.load_agent(name).config_class()))
    if "policy" in defaults and name != "scripted":
        assert values.pop("policy") == name
        assert set(values) == {"settings"}
        return
    assert values == defaults


AGENT_PRESETS = sorted(
    path.relative_to(CONF / "agent").with_suffix("").as_posix() for path in (CONF / "agent").glob("*/**/*.yaml")
)


@pytest.mark.parametrize("choice", AGENT_PRESETS)
def test_agent_preset_lists_only_settings_that_differ_from_the_defaults_of_its_agent(choice):
    """Those that are named after a market, or after one of its presets as in ``MARKET-PRESET``, can play it."""
    name, _, preset = choice.partition("/")
    assert name in OWN_AGENTS
    assert preset == "paper" or preset.partition("-")[0] in OWN_ENVS
    listed = OmegaConf.to_container(OmegaConf.load(CONF / "agent" / f"{choice}.yaml"))
    assert listed.pop("defaults") == [f"/agent/{name}@_here_", "_self_"]
    values = composed("agent", choice)
    assert values.pop("name") == name, "settings of another agent are no preset of this one"
    defaults = plain(dataclasses.asdict(registry.load_agent(name).config_class()))
    assert listed == {key: value for key, value in values.items() if value != defaults[key]}
    build(registry.load_agent(name).config_class, values, "agent")
    if preset != "paper":
        spec = specification([f"env={preset.replace('-', '/')}", f"agent={choice}"])
        assert plain(dataclasses.asdict(spec.agents[0].config)) == values


def test_list_shows_every_preset_that_can_be_asked_for():
    done = CliRunner().invoke(app, ["list"], env={"COLUMNS": "300"})
    assert done.exit_code == 0, done.output
    shown = {"env": set(), "agent": set()}
    group = "env"
    for line in done.stdout.splitlines():
        group = "agent" if line.strip() == "Agents" else group
        name, _, presets = line.partition(" ioa_marl ")
        shown[group] |= {f"{name.strip()}/{preset.strip()}" for preset in presets.split(",") if preset.strip()}
    files = {
        group: {path.relative_to(CONF / group).with_suffix("").as_posix() for path in (CONF / group).glob("*/*.yaml")}
        for group in shown
    }
    refused = {f"{name}/{preset}" for name in OWN_ENVS for preset in registry.load_env(name).infeasible}
    # Whoever has settings for a market has them as ``tuned`` in that market.
    tuned = {f"{name.partition('/')[0]}/tuned" for name in files["agent"] if name.partition("/")[2] in OWN_ENVS}
    assert shown == {"env": files["env"] - refused, "agent": files["agent"] | tuned}
    assert "sac/stackelberg" in shown["agent"]


def test_every_agent_yaml_is_registered():
    assert sorted(path.stem for path in (CONF / "agent").glob("*.yaml")) == sorted(OWN_AGENTS)


@pytest.mark.parametrize("name", OWN_ENVS)
def test_env_yaml_has_every_preset_of_the_market(name):
    game_class = registry.load_env(name)
    first, *others = game_class.presets
    files = {path.stem for path in (CONF / "env" / name).glob("*.yaml")}
    assert files == set(others)
    for preset in game_class.presets:
        values = composed("env", name if preset == first else f"{name}/{preset}")
        assert (values.pop("name"), values.pop("preset")) == (name, preset)
        if preset in game_class.infeasible:
            with pytest.raises(ParameterError):
                game_class.config_class(**values)
            with pytest.raises(ParameterError):
                game_class.make_config(preset)
            continue
        assert values == plain(dataclasses.asdict(game_class.make_config(preset)))


def test_evaluation_yaml_has_the_defaults_of_its_dataclass():
    with initialize_config_module("ioa_marl.conf", version_base="1.3"):
        values = OmegaConf.to_container(compose("config").evaluation)
    assert values == dataclasses.asdict(EvaluationConfig())
