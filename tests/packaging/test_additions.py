"""A market's package and an agent's file, each with its one line in the registry, are found everywhere.

They are added to a copy of the project, as CONTRIBUTING tells a developer to: the toy market of the tests under another
name, and an agent that always takes the first action.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PICTURE = """
        m = self.market
        text = f"round {m.round[index]}, worth {m.worth[index]}, offer {m.offer[index]}, stream {m.stream[index]}"
        if mode == "ansi":
            return text
        figure = rendering.new_figure()
        rendering.tile(figure, 0.1, 0.9, "bazaar", text)
        figure.add_axes((0.1, 0.1, 0.8, 0.6)).bar(["worth", "offer"], [m.worth[index] + 1, m.offer[index] + 1])
        return rendering.figure_to_array(figure)
"""
TOY = (ROOT / "tests" / "haggle.py").read_text().partition('\n        return "haggle" if mode == "ansi"')[0] + PICTURE
TOY = TOY.replace("from ioa_marl.envs.core", "from ioa_marl.envs import rendering\nfrom ioa_marl.envs.core")
GAME = TOY.replace("rounds: int = 3", "rounds: int = 20").replace('"haggle"', '"bazaar"').replace("Haggle", "Bazaar")
PACKAGE = '''"""The bazaar."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
'''
ENTRY_POINTS = '''"""The bazaar for PettingZoo."""

from ioa_marl.envs.bazaar.game import BazaarGame
from ioa_marl.envs.entry_points import EntryPoints

_points = EntryPoints(BazaarGame)
parallel_env, raw_env, env = _points.parallel_env, _points.raw_env, _points.env
'''
AGENT = '''"""The first action, always."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from ioa_marl.agents.base import Agent


@dataclass(frozen=True)
class EagerConfig:
    """No settings."""


class EagerAgent(Agent):
    """Always takes the first action."""

    config_class: ClassVar[type[Any]] = EagerConfig
    action_spaces: ClassVar = (spaces.Discrete,)
    learns: ClassVar[bool] = False

    def act(self, observations, *, deterministic):
        """Return zeros."""
        return {role.name: np.zeros(observations[role.name].shape[:-1], np.int64) for role in self.context.plays}
'''
FILES = {
    "envs/bazaar/__init__.py": PACKAGE,
    "envs/bazaar/__init__.pyi": "from .game import BazaarGame as BazaarGame\n",
    "envs/bazaar/game.py": GAME,
    "envs/bazaar_v0.py": ENTRY_POINTS,
    "conf/env/bazaar.yaml": "name: bazaar\npreset: paper\nrounds: 20\nmax_cycles: null\ninstance: null\n",
    "agents/baselines/eager.py": AGENT,
    "conf/agent/eager.yaml": "name: eager\n",
    "tests/envs/bazaar/cases.py": 'PICTURES = [({"rounds": 4}, steps) for steps in (1, None)]\n',
}
LINES = {
    "MARKETS = {\n": '    "bazaar": Market("ioa_marl.envs.bazaar:BazaarGame"),\n',
    "AGENTS = {\n": '    "eager": "ioa_marl.agents.baselines.eager:EagerAgent",\n',
}


@pytest.fixture(scope="module")
def python(copy_of_the_project, tmp_path_factory):
    """Return a function that runs Python in a copy of the project with the additions, and returns what it prints."""
    root = tmp_path_factory.mktemp("with_additions") / "project"
    shutil.copytree(copy_of_the_project, root, symlinks=True)
    for folder in ("tests", "docs"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    registry = root / "ioa_marl" / "registry.py"
    text = registry.read_text()
    for place, line in LINES.items():
        assert text.count(place) == 1
        text = text.replace(place, place + line)
    registry.write_text(text)
    # Kernels are compiled anew for another folder; they are not wanted here, as the toy market has none.
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTEST_XDIST_WORKER", None)

    def run(*arguments, fails=False):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def test_pettingzoo_finds_the_market(python):
    code = (
        "import pettingzoo, ioa_marl; from ioa_marl import registry\n"
        "env = pettingzoo.make('parallel', 'ioa_marl/bazaar-v0'); env.reset(seed=1); print(env.agents)\n"
        "print('bazaar' in registry.env_names(), registry.load_agent('eager').__name__)\n"
    )
    assert python("-c", code).splitlines() == ["['buyer_0', 'buyer_1']", "True EagerAgent"]


def test_the_command_lists_both_and_plays_them(python):
    listed = python("-m", "ioa_marl", "list")
    assert "bazaar" in listed
    assert "eager" in listed
    assert "BROKEN" not in listed
    python("-m", "ioa_marl", "train", "env=bazaar", "agent=eager", "budget=60", "num_envs=2", "evaluation.episodes=3")
    assert "eager" in python("-m", "ioa_marl", "leaderboard")


def test_shared_tests_include_the_market(python):
    files = [f"tests/envs/test_{name}.py" for name in ("conformance", "rendering", "states", "copies")]
    told = python("-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", "bazaar", "-rA")
    for name in (
        "test_a_market_keeps_every_promise_whoever_acts[bazaar-buyer+seller]",
        "test_pettingzoo_accepts_the_registered_environments[bazaar-seller]",
        "test_states_are_those_of_games_that_do_not_reset_themselves",
        "test_a_copy_of_a_parallel_environment_goes_on_as_the_original[bazaar",
        "test_every_preset_renders_at_every_stage[bazaar-rounds=4+1]",
    ):
        assert any(line.startswith("PASSED") and name in line and "bazaar" in line for line in told.splitlines()), told


def test_pages_that_do_not_name_them_are_found(python):
    told = python(
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/docs/test_documentation.py",
        "-k",
        "registered",
        fails=True,
    )
    assert "README does not name ['bazaar', 'eager']" in told


def test_the_gallery_draws_the_market(python, tmp_path):
    python("docs/make_gallery.py", "bazaar", "--out", str(tmp_path))
    assert (tmp_path / "bazaar.png").stat().st_size > 1000
