"""Whatever an entry point names or does: `list` says what is wrong, `train` says it in one line, the rest works."""

from __future__ import annotations

import sys
import textwrap

import numpy as np
import pytest
from typer.testing import CliRunner

from ioa_marl import registry
from ioa_marl.cli import app
from ioa_marl.envs.vector import VectorGame

AGENTS = """
import dataclasses, enum, pathlib, sys
import numpy as np
from gymnasium import spaces
from ioa_marl.agents.base import Agent
from ioa_marl.foundations.errors import ParameterError


@dataclasses.dataclass(frozen=True)
class Settings:
    share: float = 0.5


class Good(Agent):
    config_class, action_spaces, learns = Settings, (spaces.Discrete,), False

    def act(self, observations, *, deterministic):
        return {role.name: np.zeros(observations[role.name].shape[:3], np.int64) for role in self.context.plays}


def function(setting, config):
    return Good(setting, config)


instance = object()


class Stranger:
    pass


class Unfinished(Agent):
    config_class, action_spaces = Settings, (spaces.Discrete,)


def made(**changes):
    return type("Made", (Good,), changes)


def settings(default, kind=object, check=None):
    changes = {"__annotations__": {"x": kind}, "x": default, **({"__post_init__": check} if check else {})}
    return made(config_class=dataclasses.dataclass(type("Made", (), changes)))


def fails(self):
    raise ZeroDivisionError("no\\nnumber [red]of[/red] \\x1b[31mthings")


def leaves(self):
    sys.exit(3)


def complains(self):
    raise ParameterError("x", self.x, "another one")


class Colour(enum.Enum):
    RED = 1


no_settings = type("Made", (Agent,), {"act": Good.act, "action_spaces": (spaces.Discrete,)})
settings_no_dataclass = made(config_class=dict)
settings_an_instance = made(config_class=Settings())
settings_required = made(config_class=dataclasses.make_dataclass("Needs", [("rate", float)]))
settings_fail = settings(1, int, fails)
settings_leave = settings(1, int, leaves)
settings_refused = settings(1, int, complains)
settings_of_no_text = settings(pathlib.Path("x"), pathlib.Path)
settings_of_objects = settings(np.float32(1.0), np.float32)
settings_of_colours = settings(Colour.RED, Colour)
no_spaces = type("Made", (Agent,), {"act": Good.act, "config_class": Settings})
one_space = made(action_spaces=spaces.Discrete)
odd_spaces = made(action_spaces=("Discrete",))
odd_version = made(version="1.0")
odd_devices = made(devices="cpu")
odd_incidental = made(incidental="path")


class Holder:
    Inner = Good


class Exits(Agent):
    config_class, action_spaces, learns = Settings, (spaces.Discrete,), False
    act = Good.act

    @classmethod
    def prepared(cls, config, plays, acting):
        raise RuntimeError("nothing is prepared\\nhere")
"""

MARKETS = """
import copy
from ioa_marl.envs.double_dutch.game import DoubleDutchGame


def made(**changes):
    return type("Made", (DoubleDutchGame,), changes)


def fails(*arguments, **settings):
    raise KeyError("a market\\nthat fails")


other_name = made(name="another")
no_presets = made(name="no_presets", presets={})
list_of_presets = made(name="list_of_presets", presets=["paper"])
odd_preset = made(name="odd_preset", presets={"a/b": {}})
wrong_preset = made(name="wrong_preset", presets={"paper": {}, "wrong": {"nothing": 3}})
preset_of_nothing = made(name="preset_of_nothing", presets={"paper": None})
config_fails = made(name="config_fails", make_config=classmethod(fails))
config_of_none = made(name="config_of_none", make_config=classmethod(lambda cls, preset=None, **changes: None))
roles_fail = made(name="roles_fail", make_roles=classmethod(fails))
no_roles = made(name="no_roles", make_roles=classmethod(lambda cls, config: {}))
roles_of_text = made(name="roles_of_text", make_roles=classmethod(lambda cls, config: {"buyer": "buyer"}))
nobody_learns = made(name="nobody_learns", default_controlled_roles=())
stranger_learns = made(name="stranger_learns", default_controlled_roles=("stranger",))
odd_objectives = made(name="odd_objectives", objectives=None)
odd_metrics = made(name="odd_metrics", metric_names="welfare")
odd_version = made(name="odd_version", version=None)
"""

BROKEN_AGENTS = {
    "good": None,
    "inner": None,
    "exits": None,
    "module_only": "it is a module, and has to be a subclass of ioa_marl.agents.base.Agent",
    "function": "it is a function, and has to be a subclass of",
    "instance": "it is no class, and has to be a subclass of",
    "stranger": "Stranger has to be a subclass of",
    "unfinished": "Unfinished lacks act",
    "no_settings": "config_class has to be a dataclass",
    "settings_no_dataclass": "config_class has to be a dataclass",
    "settings_an_instance": "config_class has to be a dataclass",
    "settings_required": "the setting rate of Needs has no default",
    "settings_fail": "ZeroDivisionError: no number [red]of[/red] \\x1b[31mthings",
    "settings_leave": "SystemExit: 3",
    "settings_refused": "x=1 is not allowed: use another one",
    "settings_of_no_text": "PosixPath is not JSON serializable",
    "settings_of_objects": "float32",
    "settings_of_colours": "Colour is not JSON serializable",
    "no_spaces": "action_spaces has to be a tuple",
    "one_space": "action_spaces has to be a tuple",
    "odd_spaces": "action_spaces has to be a tuple",
    "odd_version": "version has to be a whole number",
    "odd_devices": "devices has to be a tuple of names",
    "odd_incidental": "incidental has to be a frozenset",
    "missing": "AttributeError",
    "nowhere": "ModuleNotFoundError: No module named 'odd_nowhere'",
    "leaves": "SystemExit: bye",
    "ends": "GeneratorExit",
    "syntax": "SyntaxError",
    "aborts": "BaseExceptionGroup: two of them",
}
TARGETS = {
    "good": "odd_agents:Good", "inner": "odd_agents:Holder.Inner", "exits": "odd_agents:Exits",
    "module_only": "odd_agents", "stranger": "odd_agents:Stranger", "unfinished": "odd_agents:Unfinished",
    "nowhere": "odd_nowhere:Agent", "leaves": "odd_leaves:Agent", "ends": "odd_ends:Agent",
    "syntax": "odd_syntax:Agent", "aborts": "odd_aborts:Agent",
}  # fmt: skip
BROKEN_MARKETS = {
    "other_name": "Made.name has to be 'other_name'",
    "no_presets": "presets has to be a mapping",
    "list_of_presets": "presets has to be a mapping",
    "odd_preset": "the preset 'a/b' of Made has to be a word",
    "wrong_preset": "unexpected keyword argument 'nothing'",
    "preset_of_nothing": "the preset paper of Made has to be a mapping",
    "config_fails": "KeyError",
    "config_of_none": "the preset paper of Made makes no",
    "roles_fail": "KeyError",
    "no_roles": "make_roles has to return a mapping",
    "roles_of_text": "make_roles has to return a mapping",
    "nobody_learns": "default_controlled_roles has to be a tuple of its roles",
    "stranger_learns": "default_controlled_roles has to be a tuple of its roles",
    "odd_objectives": "objectives has to be a mapping",
    "odd_metrics": "metric_names has to be a tuple",
    "odd_version": "version has to be a whole number",
}
MODULES = {
    "odd_agents": AGENTS,
    "odd_markets": MARKETS,
    "odd_leaves": "import sys\nsys.exit('bye')",
    "odd_ends": "raise GeneratorExit",
    "odd_syntax": "class",
    "odd_aborts": "raise BaseExceptionGroup('two of them', [SystemExit(1), KeyError(2)])",
}


def package(folder, name, entry_points):
    """Write what an installed package leaves behind."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)


def section(kind, names, module):
    lines = [
        f"{name} = {TARGETS.get(name, f'{module}:{name}') if kind == 'agents' else f'{module}:{name}'}"
        for name in names
    ]
    return f"[ioa_marl.{kind}]\n" + "\n".join(lines) + "\n"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on the path where a test puts packages, and the registry of a process that has just started."""
    for name, text in MODULES.items():
        (tmp_path / "site").mkdir(exist_ok=True)
        (tmp_path / "site" / f"{name}.py").write_text(textwrap.dedent(text))
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path / "site")
    own = {
        kind: {name: entry for name, entry in entries.items() if entry.source == registry.OWN}
        for kind, entries in registry._entries.items()
    }
    monkeypatch.setattr(registry, "_entries", own)
    monkeypatch.setattr(registry, "_discovered", set())
    monkeypatch.setattr(registry, "_refused", [])
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "250")
    yield tmp_path / "site"
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def odd(site):
    """All of them at once."""
    package(
        site, "odd", section("agents", BROKEN_AGENTS, "odd_agents") + section("envs", BROKEN_MARKETS, "odd_markets")
    )


def listed():
    """Return the rows of the list by name."""
    done = CliRunner().invoke(app, ["list"])
    assert done.exit_code == 0, done.output
    assert done.exception is None
    rows = [" ".join(line.split()) for line in done.stdout.splitlines()]
    return {row.partition(" ")[0]: row for row in rows if row}


def refused(*arguments):
    """Return the one line that the command says."""
    done = CliRunner().invoke(app, ["train", *arguments, "budget=64", "seeds=1", "evaluation.episodes=2"])
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.isprintable()
    return line


def test_everything_that_is_broken_is_listed_with_the_reason_beside_what_works(odd):
    rows = listed()
    for name, reason in {**BROKEN_AGENTS, **BROKEN_MARKETS}.items():
        if name == "odd_version":  # both an agent and a market
            continue
        if reason is None:
            assert rows[name] == f"{name} odd 1.0"
        else:
            assert f"{name} odd 1.0 BROKEN: " in rows[name]
            assert reason in rows[name]
    for name in ("double_dutch", "two_tier", "ppo", "loaded"):
        assert "BROKEN" not in rows[name]


@pytest.mark.parametrize("name", [name for name, reason in BROKEN_AGENTS.items() if reason])
def test_a_broken_agent_is_one_line_where_it_is_asked_for(name, odd, tmp_path):
    for asked in ([f"agent={name}"], ["agent=random", f"roles.buyer.agent={name}"]):
        line = refused("env=double_dutch", *asked)
        assert line.startswith(f"ioa-marl: agent '{name}' of odd 1.0 cannot be loaded: ")
        assert BROKEN_AGENTS[name] in line
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize("name", BROKEN_MARKETS)
def test_a_broken_market_is_one_line_where_it_is_asked_for(name, odd, tmp_path):
    line = refused(f"env={name}", "agent=random")
    assert line.startswith(f"ioa-marl: environment '{name}' of odd 1.0 cannot be loaded: ")
    assert BROKEN_MARKETS[name] in line
    assert list((tmp_path / "here").iterdir()) == []


def test_what_works_beside_it_trains(odd, tmp_path):
    for name in ("good", "inner"):
        short = ["budget=64", "num_envs=8", "seeds=1", "evaluation.episodes=2", "evaluation.points=1"]
        done = CliRunner().invoke(
            app, ["train", "env=double_dutch", f"agent={name}", *short, f"runs={tmp_path / 'runs'}"]
        )
        assert done.exit_code == 0, done.output
        assert (tmp_path / "runs" / "double_dutch-paper" / name).is_dir()


def test_an_agent_that_fails_where_a_run_is_described_is_named_in_one_line(odd, tmp_path):
    line = refused("env=double_dutch", "agent=exits")
    assert line == "ioa-marl: agent 'exits' of odd 1.0 cannot be used: RuntimeError: nothing is prepared here"
    assert list((tmp_path / "here").iterdir()) == []


def test_a_ctrl_c_while_a_plugin_is_loaded_is_one(site):
    (site / "odd_leaves.py").write_text("raise KeyboardInterrupt")
    package(site, "odd", "[ioa_marl.agents]\nleaves = odd_leaves:Agent\n")
    with pytest.raises(KeyboardInterrupt):
        registry.load_agent("leaves")


def test_names_that_cannot_be_typed_are_refused_by_name(site):
    package(
        site, "odd", "[ioa_marl.agents]\na/b = odd_agents:Good\nwith space = odd_agents:Good\n[x] = odd_agents:Good\n"
    )
    rows = listed()
    assert rows["a/b"] == "a/b odd 1.0 BROKEN: the name has to be of letters, digits, _, - and dots"
    assert rows["with"].startswith("with space odd 1.0 BROKEN: the name has to be")
    assert "a/b" not in registry.agent_names()
    for name in ("a/b", "", "x y", 3):
        with pytest.raises(registry.RegistrationError, match="use letters, digits"):
            registry.register_agent(name)(object)


def test_two_packages_with_one_name_are_told_apart(site):
    package(site, "odd", "[ioa_marl.agents]\nsame = odd_agents:Good\n")
    package(site, "other", "[ioa_marl.agents]\nsame = odd_agents:Holder.Inner\nown = odd_agents:Good\n")
    done = CliRunner().invoke(app, ["list"])
    rows = [" ".join(line.split()) for line in done.stdout.splitlines() if line.startswith("same")]
    assert len(rows) == 2
    assert sum("BROKEN: the name is taken by" in row for row in rows) == 1
    assert "own" in registry.agent_names()


def test_a_package_whose_entry_points_cannot_be_read_stops_nobody_else(site):
    package(site, "odd", "[ioa_marl.agents]\ngood = odd_agents:Good\n")
    package(site, "torn", "[ioa_marl.agents]\nthis is no entry point\n")
    rows = listed()
    assert rows["good"] == "good odd 1.0"
    assert rows["torn"].startswith("torn torn 1.0 BROKEN: its entry points cannot be read: ")
    assert registry.load_agent("good").__name__ == "Good"


def test_a_class_that_is_registered_by_hand_is_checked_too(site):
    registry.register_agent("mine")(object)
    with pytest.raises(
        registry.UserError, match=r"agent 'mine' of builtins cannot be loaded: object has to be a subclass"
    ):
        registry.load_agent("mine")


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        ({}, "the actions of auctioneer need the shape (2, 3, 1) (seeds, markets, agents), and there are none"),
        ({"auctioneer": None}, "and their shape is None"),
        ({"auctioneer": [[[0]]]}, "and their shape is None"),
        ({"auctioneer": np.zeros((3, 2, 1), np.int64)}, "and their shape is (3, 2, 1)"),
        ({"auctioneer": np.zeros(6, np.int64)}, "and their shape is (6,)"),
        ({"auctioneer": np.zeros((2, 3), np.int64)}, "and their shape is (2, 3)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_actions_of_another_shape_are_named_with_what_is_wanted(actions, said):
    game_class = registry.load_env("double_dutch")
    game = VectorGame(game_class, game_class.make_config(), [0, 1], 3)
    game.reset()
    with pytest.raises(ValueError, match="the actions of auctioneer") as told:
        game.step(actions)
    assert said in str(told.value)
