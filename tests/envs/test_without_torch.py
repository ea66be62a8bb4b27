"""Markets and environments work where torch is not installed, and name neither it nor the agents, even in a string."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ioa_marl
from ioa_marl import registry
from ioa_marl.envs.requirements import Requirement, check_requirements
from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame
from ioa_marl.foundations.parameters import ParameterError

ROOT = Path(ioa_marl.__file__).parent
FORBIDDEN = re.compile(r"\btorch\b|ioa_marl[./]agents")


def sources():
    return [file for room in ("envs", "markets") for file in sorted((ROOT / room).rglob("*.py"))]


def forbidden_names(source):
    """Return the modules that a source file imports, and its strings but docstrings, that are forbidden."""
    tree = ast.parse(source)
    described = (ast.Module, ast.ClassDef, ast.FunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, described)]
    # A string that stands alone says what is above it.
    prose = {id(line.value) for body in bodies for line in body if isinstance(line, ast.Expr)}
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            names.append(node.value)
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if FORBIDDEN.search(name)]


def test_no_market_and_no_environment_names_torch_or_an_agent():
    assert len(sources()) > 50
    assert {
        str(file.relative_to(ROOT)): names for file in sources() if (names := forbidden_names(file.read_text()))
    } == {}


@pytest.mark.parametrize(
    "line",
    [
        "import torch",
        "from torch import nn",
        "from ioa_marl import agents",
        "import importlib\nimportlib.import_module('ioa_marl.agents.base')",
        "def f():\n    return f'ioa_marl.agents.{1}'",
    ],
)
def test_a_name_is_noticed_wherever_it_stands(line):
    assert forbidden_names(line)
    assert not forbidden_names('"""Nothing here needs torch or ioa_marl.agents."""')


def run_without_torch(program):
    code = "import sys; sys.modules['torch'] = None\n" + program
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_every_preset_is_played_without_torch():
    """One step of one market in each preset that can be played, agents acting at random."""
    program = """
import numpy as np
from ioa_marl import registry
played = 0
for name in registry.MARKETS:
    game_class = registry.load_env(name)
    for preset in game_class.presets:
        if preset in game_class.infeasible:
            continue
        game = game_class(game_class.make_config(preset), 1)
        game.full_metrics = False
        game.reset(np.zeros(1, np.uint64))
        roles = [game.roles[role] for role in game.controlled_roles]
        step = game.step({r.name: np.stack([[r.action_space.sample() for _ in range(r.count)]]) for r in roles})
        assert all(np.isfinite(rewards).all() for rewards in step.rewards.values()), (name, preset)
        played += 1
assert not [module for module in sys.modules if module.startswith("ioa_marl.agents")]
print(played)
"""
    done = run_without_torch(program)
    assert done.returncode == 0, done.stderr[-2000:]
    games = [registry.load_env(name) for name in registry.MARKETS]
    assert int(done.stdout) == sum(len(set(game.presets) - set(game.infeasible)) for game in games)


def test_value_networks_without_torch_are_refused_in_one_line():
    program = """
import ioa_marl, pettingzoo
from ioa_marl.foundations.parameters import ParameterError
try:
    pettingzoo.make("parallel", "ioa_marl/vcg_slicing-v0", preset="dual_currency", voi="network")
except ParameterError as error:
    print(error)
"""
    done = run_without_torch(program)
    assert done.stdout.count("\n") == 1, done.stderr[-2000:]
    assert done.stdout.startswith("voi=network is not allowed: use exact: its estimator, ")
    assert "torch" in done.stdout


def test_value_networks_are_made_by_name_where_nobody_has_imported_agents():
    program = """
import sys, warnings, ioa_marl, pettingzoo
warnings.simplefilter("ignore")
settings = {"preset": "dual_currency", "voi": "network", "providers": 2, "rounds": 1}
env = pettingzoo.make("parallel", "ioa_marl/vcg_slicing-v0", **settings)
assert "torch" in sys.modules
env.reset(seed=0)
env.step({agent: env.action_space(agent).sample() for agent in env.agents})
print((env.game.bank.bank.voi > 0).all())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr[-2000:]


def test_an_estimator_can_be_replaced_in_the_registry(monkeypatch):
    made = []

    class Flat:
        def __init__(self, batch, providers):
            made.append((batch, providers))

    monkeypatch.setitem(registry.ESTIMATORS, "value_of_information", Flat)
    VCGSlicingGame(VCGSlicingGame.make_config("dual_currency", voi="network", providers=3), 4)
    assert made == [(4, 3)]


class Able:
    def externality(self):
        """Tell something."""


@pytest.mark.parametrize(("players", "allowed"), [({"slice": Able}, True), ({"slice": object}, False), ({}, False)])
def test_a_market_refuses_agents_that_do_not_offer_what_it_asks(players, allowed):
    config = VCGSlicingGame.make_config("dual_currency", externality="critic", slice_reward="bids")
    (asked,) = VCGSlicingGame.requirements(config)
    assert isinstance(asked, Requirement)
    if allowed:
        check_requirements(VCGSlicingGame, config, players)
    else:
        with pytest.raises(ParameterError, match=r"^externality=critic is not allowed: use exact or estimated"):
            check_requirements(VCGSlicingGame, config, players)
    check_requirements(VCGSlicingGame, VCGSlicingGame.make_config("dual_currency"), players)


def test_what_nobody_asked_for_is_not_taken():
    game = VCGSlicingGame(VCGSlicingGame.make_config("dual_currency"))
    with pytest.raises(ValueError, match="vcg_slicing asks nothing of the agent of slice"):
        game.supply("slice", print)
