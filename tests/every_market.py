"""The one list of markets for tests that claim the same of all: those of the registry, and what keeps each quick.

What is special about a market's tests is in ``tests/envs/NAME/cases.py``, which is found by looking; each of the names
below may be missing there, as the file may.

``QUICK``
    Settings with which an episode is short, a preset among them if it is not the first one.
``PROMISES``
    Further pairs of controlled roles (None: the usual ones) and arguments of `check_market`.
``ALONE``
    Settings of environments of Gymnasium, for one agent.
``PICTURES``
    Pairs of settings and of steps after which the market is drawn; None plays to the end of the episode.
``STATES``
    Choices of controlled roles whose global states are compared step by step.
``COPIES``
    Settings of environments that are copied.
``ONE_SPACE``
    Choices of controlled roles whose agents a single policy can play.
"""

import importlib.util
import itertools
from pathlib import Path

import numpy as np

from ioa_marl import registry

FOLDER = Path(__file__).parent / "envs"


class Market:
    """A registered market and the cases of its tests."""

    def __init__(self, name):
        self.name = name
        self.id = f"ioa_marl/{name}-v0"
        self.gymnasium = registry.MARKETS[name].gymnasium
        self.game_class = registry.load_env(name)
        self.everybody = tuple(self.game_class.make_roles(self.game_class.make_config()))
        self.choices = tuple(
            c for n in range(len(self.everybody)) for c in itertools.combinations(self.everybody, n + 1)
        )
        given = _cases(FOLDER / name / "cases.py")
        usual = self.game_class.default_controlled_roles
        self.quick = given.get("QUICK", {})
        self.promises = given.get("PROMISES", [(None, {"preset": preset}) for preset in self.game_class.presets])
        self.alone = given.get("ALONE", [{}] * self.gymnasium)
        self.pictures = given.get(
            "PICTURES", [({"preset": preset}, steps) for preset in self.game_class.presets for steps in (0, 1, None)]
        )
        self.states = given.get("STATES", [usual])
        self.copies = given.get("COPIES", [{"max_cycles": 4}])
        self.one_space = given.get("ONE_SPACE", [(role,) for role in self.everybody])

    @property
    def module(self):
        """The module with the environments."""
        return importlib.import_module(f"ioa_marl.envs.{self.name}_v0")

    def config(self, preset=None, **settings):
        """Return the settings of a game."""
        return self.game_class.make_config(preset, **settings)

    def started(self, num_envs=1, seed=3, **settings):
        """Return a game of the usual learners that does not reset itself, with one seed a market."""
        game = self.game_class(self.config(**settings), num_envs, autoreset=False)
        game.reset(np.arange(seed, seed + num_envs, dtype=np.uint64))
        return game

    def __repr__(self):
        return self.name


def _cases(file):
    if not file.exists():
        return {}
    spec = importlib.util.spec_from_file_location(f"cases_of_{file.parent.name}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


def play(game, steps=None):
    """Let the usual scripted policies act for so many steps; None, or too many: to the end of the episode."""
    policies = {role: game.scripted(game.roles[role].scripted, role) for role in game.controlled_roles}
    for _ in range(20_000 if steps is None else steps):
        step = game.step({role: act() for role, act in policies.items()})
        if (step.terminated | step.truncated).all():
            break


MARKETS = [Market(name) for name in registry.MARKETS]
EVERY = {"argvalues": MARKETS, "ids": str}
"""For ``pytest.mark.parametrize("market", **EVERY)``."""


def cases(of):
    """Return arguments of ``pytest.mark.parametrize`` for pairs of a market and each of its cases."""
    pairs = [(market, case) for market in MARKETS for case in of(market)]
    return {"argvalues": pairs, "ids": [f"{market}-{_label(case)}" for market, case in pairs]}


def _label(case):
    if isinstance(case, dict):
        return ",".join(f"{key}={_label(value)}" for key, value in case.items()) or "plain"
    if isinstance(case, (tuple, list)):
        return "+".join(map(_label, case))
    return str(case)
