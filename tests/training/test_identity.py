"""A run keeps its identity across releases, and a checkpoint belongs to one seed of one run."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from ioa_marl import registry
from ioa_marl.agents.baselines.greedy import GreedyAgent
from ioa_marl.agents.baselines.scripted import without_later_settings
from ioa_marl.evaluation import protocol
from ioa_marl.foundations import checkpoint, imports
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.parameters import added_setting
from ioa_marl.leaderboard.query import read_store
from ioa_marl.leaderboard.rows import arrange
from ioa_marl.training import job
from ioa_marl.training.check import evaluate_checkpoint, report
from ioa_marl.training.config import RunSpec, resolve
from ioa_marl.training.seeds import train_seeds
from ioa_marl.training.sources import source_fingerprint

SIZE = {"budget": 24, "num_envs": 4, "evaluation": {"points": 2, "episodes": 3}}
SAC = {"name": "sac", "learning_starts": 8, "batch_size": 4, "width": 8, "update_every": 4}


def described(runs, agent="greedy", seeds=2, **changes):
    chosen = agent if isinstance(agent, dict) else {"name": agent}
    fixed = {"env": {"name": "double_dutch", "preset": "paper"}, "device": "cpu"}
    return resolve({**fixed, **SIZE, "agent": chosen, "seeds": seeds, "runs": str(runs), **changes})


def train(spec):
    said = []
    train_seeds(spec, spec.seeds, notify=said.append)
    return said


@pytest.fixture
def halfway(tmp_path, monkeypatch):
    """Return a run whose two seeds were killed after the first evaluation, and their checkpoints."""
    spec = described(tmp_path, SAC)
    save = checkpoint.save

    class KilledError(BaseException):
        pass

    def dying(path, tree):
        save(path, tree)
        if path.name == "latest.safetensors" and path.parts[-3] == "seed_1":
            raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", dying)
        with pytest.raises(KilledError):
            train(spec)
    return spec, [spec.seed_folder(seed) / checkpoint.LATEST for seed in (0, 1)]


def arrays_of(tree, place=()):
    """Yield the places of all tensors and arrays in nested values."""
    for key, inner in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(inner, (torch.Tensor, np.ndarray)):
            yield (*place, key)
        elif isinstance(inner, (dict, list, tuple)):
            yield from arrays_of(inner, (*place, key))


def at(tree, place):
    for key in place:
        tree = tree[key]
    return tree


def broadcast(value):
    return value[:1].clone() if isinstance(value, torch.Tensor) else value[:1].copy()


def widened(value):
    return value.double() if isinstance(value, torch.Tensor) else value.astype(np.float64)


FORGERIES = {"broadcast": broadcast, "another dtype": widened}


@pytest.mark.parametrize("part", ["agents", "game"])
@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_state_that_would_be_bent_into_shape_is_refused_with_the_file(forgery, part, halfway):
    spec, (_, latest) = halfway
    tree = checkpoint.load(latest)
    fitting = [
        place
        for place in arrays_of(tree[part])
        if at(tree[part], place).shape and at(tree[part], place).shape[0] > 1
        and str(at(tree[part], place).dtype).endswith(("float32", "int64", "bool"))
    ]  # fmt: skip
    *parents, last = fitting[0]
    holder = at(tree[part], parents)
    holder[last] = FORGERIES[forgery](holder[last])
    checkpoint.save(latest, tree)
    with pytest.raises(UserError) as told:
        train(spec)
    assert str(latest) in str(told.value)
    assert str(told.value).endswith(checkpoint.REMEDY)
    assert [json.loads((spec.seed_folder(s) / "result.json").read_text())["status"] for s in (0, 1)] == [
        "done",
        "failed",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tree: tree["spec"].update(seed=0), "is of seed 0, not of seed 1"),
        (lambda tree: tree["spec"].update(budget=48), "is of another run: budget is 48 there, 24 here"),
        (lambda tree: tree["spec"]["env"].update(buyers=3), "is of another run: env.buyers is 3 there"),
        (lambda tree: tree["spec"]["versions"].update(protocol=1), "made with other versions"),
        (lambda tree: tree["spec"]["versions"]["agents"].update(sac=-1), "(agents.sac -1, now"),
        (lambda tree: tree.update(steps=99), "is of no step of this run"),
        (lambda tree: tree.update(iteration=10**6, steps=4 * 10**6), "is of no step of this run"),
        (lambda tree: tree.pop("agents"), "is no checkpoint of a run"),
        (lambda tree: tree.update(game=3), "is no checkpoint of a run"),
        (lambda tree: tree["agents"].append({}), "is no checkpoint of a run"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused_and_the_other_seed_trains(change, said, halfway):
    spec, (_, latest) = halfway
    tree = checkpoint.load(latest)
    change(tree)
    checkpoint.save(latest, tree)
    with pytest.raises(UserError) as told:
        train(spec)
    assert f"{latest} " in str(told.value)
    assert said in str(told.value)
    assert len(str(told.value).splitlines()) == 1
    assert json.loads((spec.seed_folder(0) / "result.json").read_text())["status"] == "done"


def test_the_checkpoint_of_another_seed_is_refused(halfway):
    spec, (first, second) = halfway
    second.write_bytes(first.read_bytes())
    with pytest.raises(UserError, match=r"seed_1/checkpoint/latest\.safetensors is of seed 0, not of seed 1"):
        train(spec)


def test_other_libraries_are_said_and_the_run_goes_on(halfway):
    spec, (_, latest) = halfway
    tree = checkpoint.load(latest)
    tree["libraries"]["numpy"] = "1.0"
    checkpoint.save(latest, tree)
    (said,) = train(spec)
    assert said.startswith(f"{spec.seed_folder(1)} goes on with other libraries than it began with: numpy 1.0, now ")
    assert evaluate_checkpoint(spec.seed_folder(1)).confirmed


@dataclass(frozen=True)
class Before:
    """Settings of an agent."""

    epsilon: float = 0.1
    """Share of random actions."""


@dataclass(frozen=True)
class After(Before):
    """The same settings with one that was added later."""

    patience: int = added_setting(3)
    """The added setting; 3 leaves results unchanged."""
    steps: tuple[int, ...] = added_setting((1, 2))
    """Another setting."""


@pytest.fixture
def releases(monkeypatch):
    """Return a function that installs the agent of a given release."""

    def install(config):
        agent = type("Kept", (GreedyAgent,), {"config_class": config})
        monkeypatch.setitem(
            registry._entries["agent"], "kept", registry.Entry("agent", "kept", agent, "test", loaded=agent)
        )

    return install


def test_a_setting_that_is_added_with_a_default_that_changes_nothing_keeps_the_run(releases, tmp_path):
    releases(Before)
    old = described(tmp_path, "kept")
    train(old)
    releases(After)
    new = described(tmp_path, "kept")
    assert new.digest == old.digest
    assert "patience" in new.resolved()["agents"]["auctioneer"]
    rows = (old.seed_folder(0) / "result.json").stat().st_mtime_ns
    assert train(new) == []
    assert (old.seed_folder(0) / "result.json").stat().st_mtime_ns == rows, "it is done already"
    assert evaluate_checkpoint(old.seed_folder(0)).confirmed
    for changed in ({"patience": 4}, {"steps": [1, 3]}):
        assert described(tmp_path, {"name": "kept", **changed}).digest != old.digest


def test_rows_from_before_a_market_had_a_setting_are_on_the_same_board(monkeypatch, tmp_path):
    from ioa_marl.envs.double_dutch.game import DoubleDutchGame

    train(described(tmp_path, "greedy", 1))
    grown = dataclasses.make_dataclass(
        "Grown", [("fee", float, added_setting(0.0))], bases=(DoubleDutchGame.config_class,), frozen=True
    )
    anchors = protocol.references(DoubleDutchGame, DoubleDutchGame.make_config("paper"), 3).as_dict()
    monkeypatch.setattr(DoubleDutchGame, "config_class", grown)
    assert protocol.references(DoubleDutchGame, DoubleDutchGame.make_config("paper"), 3).as_dict() == anchors
    train(described(tmp_path, "two_phase", 1))
    (board,) = arrange(read_store(tmp_path)).boards
    assert len(board.rows) == 2


@pytest.mark.parametrize("policy", ["myopic_msb", "ratio_rule"])
def test_a_later_setting_of_a_policy_keeps_its_runs_unless_it_is_given(policy, tmp_path):
    market = {"env": {"name": "second_bid", "preset": "paper"}}
    agent = {"name": policy, "policy": policy}
    before, null, uav, bid = (
        described(tmp_path, {**agent, "settings": settings}, **market).digest
        for settings in ({}, {"u0": None}, {"u0": "uav"}, {"u0": "highest_bid"})
    )
    assert before == null
    assert len({null, uav, bid}) == 3
    threshold = {"policy": "threshold", "settings": {"threshold": None}}
    assert without_later_settings(threshold) == threshold, "it had the setting from the beginning"


def test_what_has_really_changed_is_said_to_be_of_an_older_version(tmp_path, monkeypatch, capsys):
    old = described(tmp_path, "greedy", 1)
    train(old)
    folder, version = old.folder, GreedyAgent.version
    monkeypatch.setattr(GreedyAgent, "version", 7)
    new = described(tmp_path, "greedy", 1)
    assert new.folder != folder
    job.run(new)
    said = capsys.readouterr().err
    assert f"{folder} holds this run as an older version made it (agents.greedy {version}, now 7)" in " ".join(
        said.split()
    )
    assert (folder / "seed_0" / "result.json").exists()


SOURCE = """
from ioa_marl.agents.baselines.greedy import GreedyAgent, GreedyConfig
from {package}.helper import FACTOR


class Mine(GreedyAgent):
    config_class = GreedyConfig
"""


def test_edited_code_of_the_same_version_is_noticed(tmp_path, monkeypatch, capsys):
    package = tmp_path / "edited_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("FACTOR = 1\n")
    (package / "agent.py").write_text(SOURCE.format(package="edited_package"))
    monkeypatch.syspath_prepend(tmp_path)

    def install():
        # As in a new process: a process reads every source file once.
        for cached in (source_fingerprint, imports._content_hash, imports._names, imports._imported, imports._spec):
            cached.cache_clear()
        for name in [name for name in sys.modules if name.startswith("edited_package")]:
            del sys.modules[name]
        agent = importlib.import_module("edited_package.agent").Mine
        entry = registry.Entry("agent", "mine", agent, "test", loaded=agent)
        monkeypatch.setitem(registry._entries["agent"], "mine", entry)
        return described(tmp_path / "runs", "mine")

    job.run(install())
    folder = install().seed_folder(0)
    assert "changed" not in capsys.readouterr().err
    job.run(install())
    assert "changed" not in capsys.readouterr().err
    (package / "helper.py").write_text("FACTOR = 2\n")
    job.run(install())
    said = " ".join(capsys.readouterr().err.split())
    assert f"code of agent mine changed since seed_0, seed_1 of {folder.parent} ended" in said
    result = json.loads((folder / "result.json").read_text())
    result["metrics"]["welfare"] += 1.0
    (folder / "result.json").write_text(json.dumps(result))
    told = report(evaluate_checkpoint(folder))
    assert "recorded row: NOT CONFIRMED" in told
    assert "perhaps because: code of agent mine changed since" in told


def test_a_class_without_a_file_has_no_fingerprint():
    assert source_fingerprint(type("Nowhere", (), {"__module__": "__nowhere__"})) is None


def test_the_run_of_a_fixed_seed_number_depends_on_no_other_seed_number(tmp_path):
    assert isinstance(described(tmp_path), RunSpec)
    assert described(tmp_path, seeds=[3]).digest == described(tmp_path, seeds=5).digest
