"""A seed whose numbers are no longer finite has failed, says when and by what, and harms nobody beside it."""

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from ioa_marl import checkpoint, registry
from ioa_marl.agents.base import Agent
from ioa_marl.agents.random import RandomAgent, RandomConfig
from ioa_marl.cli import app
from ioa_marl.envs.double_dutch import DoubleDutchGame
from ioa_marl.errors import UserError
from ioa_marl.training.check import evaluate_checkpoint
from ioa_marl.training.config import resolve
from ioa_marl.training.divergence import DivergedError, first_not_finite
from ioa_marl.training.runner import Trainer, train_seeds
from ioa_marl.training.store import SeedFolder

MARKETS, STEPS = 4, 32
SMALL = {
    "width": 8, "depth": 1, "hidden": [8], "batch_size": 8, "buffer_size": 256, "learning_starts": 8, "n_step": 2,
    "update_every": 4, "rollout_size": 16, "n_epochs": 2, "denoising_steps": 2,
}  # fmt: skip
LEARNERS = ("ppo", "mappo", "sac", "diffusion_sac", "diffusion_sac_ref", "maddpg", "mean_field_ac", "independent_ac")


def known(name):
    return {field.name for field in dataclasses.fields(registry.load_agent(name).config_class)}


def described(runs, name, seeds=1, points=4, roles=None, **agent):
    """Return a run of the blink of an eye."""
    settings = {**{key: value for key, value in SMALL.items() if key in known(name)}, **agent}
    return resolve(
        {
            "env": {"name": "double_dutch", "preset": "calm", "buyers": 3, "sellers": 3},
            "agent": {"name": name, **settings}, "budget": STEPS * MARKETS, "num_envs": MARKETS, "seeds": seeds,
            "runs": str(runs), "device": "cpu", "evaluation": {"points": points, "episodes": 3},
            **({} if roles is None else {"roles": roles}),
        }
    )  # fmt: skip


def train(spec):
    """Train to where it fails; returns what is said, in one line."""
    with pytest.raises(DivergedError) as caught:
        train_seeds(spec, spec.seeds)
    (line,) = str(caught.value).splitlines()
    return line


def result(spec, seed):
    return json.loads((spec.seed_folder(seed) / "result.json").read_text())


def assert_failed(spec, seed):
    """A seed has failed and says when, and what is left of it is finite."""
    found = result(spec, seed)
    assert found["status"] == "failed"
    assert f"diverged at step {found['step']}: " in found["error"]
    assert 0 <= found["step"] <= spec.budget
    latest = SeedFolder(spec.seed_folder(seed)).latest
    if latest.exists():
        tree = checkpoint.load(latest)
        assert tree["steps"] < found["step"]
        assert first_not_finite([tree["policies"], tree["agents"]], frozenset()) is None
    return found


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("absurd", ["rates", "rewards"])
def test_a_learner_that_diverges_is_a_failed_run(name, absurd, tmp_path):
    rates = {key: 1e30 for key in known(name) if key in ("learning_rate", "actor_lr", "critic_lr")}
    spec = described(tmp_path, name, seeds=2, **(rates if absurd == "rates" else {"reward_scale": 1e38}))
    line = train(spec)
    for seed in (0, 1):
        found = assert_failed(spec, seed)
        assert found["error"] in line
    assert "seeds 0, 1 " in line or ("seed 0 " in line and "seed 1 " in line)
    assert name in line


@pytest.fixture
def poisoned(monkeypatch):
    """Let one seed's first floating tensor become NaN at a step, as if an update had done it."""

    def poison(seed, iteration):
        plain = Trainer._step

        def step(self):
            plain(self)
            if self.iteration == iteration and seed in self.seeds:
                i = self.seeds.index(seed)
                for agent in self.agents:
                    state = agent.state_dict(i)
                    next(floating(state))[...] = torch.nan
                    agent.load_state_dict(i, state)

        monkeypatch.setattr(Trainer, "_step", step)

    return poison


def floating(tree):
    """Yield the tensors of floating-point numbers of nested values."""
    if isinstance(tree, torch.Tensor) and tree.is_floating_point():
        yield tree
    for inner in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from floating(inner)


MEASURED = ("train_seconds", "steps_per_second", "seeds_together")


def without_clock(held):
    return {key: value for key, value in held.items() if key not in MEASURED}


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("iteration", [3, 17])
def test_only_the_seed_that_diverged_fails_and_the_others_end_as_they_would_have(name, iteration, tmp_path, poisoned):
    """Before the first checkpoint and after the second; the others' results and checkpoints are the same to the bit."""
    healthy, spec = (described(tmp_path / where, name, seeds=3) for where in ("healthy", "poisoned"))
    train_seeds(healthy, healthy.seeds)
    poisoned(1, iteration)
    line = train(spec)
    assert "seed 1 diverged at step" in line
    failed = assert_failed(spec, 1)
    assert failed["step"] in (iteration * MARKETS, iteration * MARKETS + MARKETS, -(-iteration // 8) * 8 * MARKETS)
    assert SeedFolder(spec.seed_folder(1)).latest.exists() == (iteration > 8)
    for seed in (0, 2):
        one, other = (SeedFolder(which.seed_folder(seed)) for which in (healthy, spec))
        assert one.result()["status"] == "done"
        assert without_clock(one.result()) == without_clock(other.result())
        tables = (pq.read_table(folder.path / "evaluation.parquet") for folder in (one, other))
        assert next(tables).equals(next(tables))
        for file in ("latest", "best"):
            trees = [without_clock(checkpoint.load(getattr(folder, file))) for folder in (one, other)]
            assert checkpoint.digest(trees[0]) == checkpoint.digest(trees[1])
        assert evaluate_checkpoint(other.path).confirmed


def test_seeds_that_diverge_at_different_times_fail_one_by_one(tmp_path, monkeypatch, poisoned):
    spec = described(tmp_path, "sac", seeds=4)
    poisoned(3, 20)
    poisoned(0, 10)
    line = train(spec)
    assert "seed 0 diverged at step" in line
    assert "seed 3 diverged at step" in line
    assert assert_failed(spec, 0)["step"] < assert_failed(spec, 3)["step"]
    assert [result(spec, seed)["status"] for seed in (1, 2)] == ["done", "done"]


def test_a_run_that_is_started_again_diverges_again_and_its_last_good_checkpoint_stays(tmp_path, poisoned):
    spec = described(tmp_path, "mappo")
    poisoned(0, 20)
    train(spec)
    first, latest = assert_failed(spec, 0), SeedFolder(spec.seed_folder(0)).latest
    held = latest.read_bytes()
    train(spec)
    second = assert_failed(spec, 0)
    assert {**first, "ended": ""} == {**second, "ended": ""}
    assert latest.read_bytes() == held


@pytest.mark.parametrize("name", LEARNERS)
def test_a_checkpoint_that_is_not_finite_is_not_trained_on(name, tmp_path, monkeypatch):
    """As earlier versions left them where a learner had diverged."""
    spec = described(tmp_path, name)
    monkeypatch.setattr(Trainer, "iterations", property(lambda self: 16, lambda self, value: None), raising=False)
    train_seeds(spec, spec.seeds)
    monkeypatch.undo()
    folder = SeedFolder(spec.seed_folder(0))
    folder.write_result({"status": "interrupted"})
    tree = checkpoint.load(folder.latest)
    list(floating(tree["agents"]))[-1][...] = torch.inf
    checkpoint.save(folder.latest, tree)
    line = train(spec)
    assert f"seed 0 diverged at step {tree['steps']}: " in line
    assert result(spec, 0)["status"] == "failed"
    assert result(spec, 0)["step"] == tree["steps"]
