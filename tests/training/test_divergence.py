"""A seed whose numbers are no longer finite fails with the step and the reason, and does not affect other seeds."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from ioa_marl import registry
from ioa_marl.agents.baselines.random import RandomAgent
from ioa_marl.agents.networks.heads import Heads
from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.foundations import checkpoint
from ioa_marl.foundations.errors import UserError
from ioa_marl.leaderboard.query import read_curve, read_store
from ioa_marl.training.check import evaluate_checkpoint
from ioa_marl.training.config import resolve
from ioa_marl.training.divergence import DivergedError, first_not_finite
from ioa_marl.training.runner import Trainer
from ioa_marl.training.seeds import train_seeds
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
    """Return a very short run."""
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
    """Train until it fails, and return the message in one line."""
    with pytest.raises(DivergedError) as caught:
        train_seeds(spec, spec.seeds)
    (line,) = str(caught.value).splitlines()
    return line


def result(spec, seed):
    return json.loads((spec.seed_folder(seed) / "result.json").read_text())


def assert_failed(spec, seed):
    """Assert that a seed has failed at a known step, and that its files contain finite numbers only."""
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
@pytest.mark.filterwarnings("error::RuntimeWarning")
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
    """Set the first floating-point tensor of one seed to NaN at a step, as an update might."""

    def poison(seed, iteration):
        plain = Trainer.step

        def step(self):
            plain(self)
            if self.iteration == iteration and seed in self.seeds:
                i = self.seeds.index(seed)
                for agent in self.agents:
                    state = agent.state_dict(i)
                    next(floating(state))[...] = torch.nan
                    agent.load_state_dict(i, state)

        monkeypatch.setattr(Trainer, "step", step)

    return poison


def floating(tree):
    """Yield the floating-point tensors of nested values, except for replay buffers."""
    if isinstance(tree, torch.Tensor) and tree.is_floating_point():
        yield tree
    if isinstance(tree, dict):
        tree = [inner for key, inner in tree.items() if key not in ("memory", "replay", "returns", "rollout")]
    for inner in tree if isinstance(tree, list) else ():
        yield from floating(inner)


MEASURED = ("train_seconds", "steps_per_second", "seeds_together", "files", "checksum")


def without_clock(held):
    return {key: value for key, value in held.items() if key not in MEASURED}


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("iteration", [3, 17])
def test_only_the_seed_that_diverged_fails_and_the_others_end_as_they_would_have(name, iteration, tmp_path, poisoned):
    """It fails before the first or after the second checkpoint; the other seeds' results are the same to the bit."""
    healthy, spec = (described(tmp_path / where, name, seeds=3) for where in ("healthy", "poisoned"))
    train_seeds(healthy, healthy.seeds)
    poisoned(1, iteration)
    line = train(spec)
    assert "seed 1 diverged at step" in line
    failed = assert_failed(spec, 1)
    assert iteration * MARKETS < failed["step"] <= -(-iteration // 8) * 8 * MARKETS  # the next evaluation
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
    """Checkpoints as earlier versions wrote them after a learner had diverged."""
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


def changed(spec, game_class=None, agent_class=None):
    """Return a run with another class for the market or its agent."""
    agents = spec.agents if agent_class is None else (dataclasses.replace(spec.agents[0], agent_class=agent_class),)
    return dataclasses.replace(spec, game_class=game_class or spec.game_class, agents=agents)


class Broken(DoubleDutchGame):
    """A market in which something is not a number in the markets of seed 1, from the sixth step on.

    `price` is NaN where nobody knows it.
    """

    what, value = "", np.nan

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls = 0

    def step(self, actions):
        step = super().step(actions)
        self.calls += 1
        rows = slice(MARKETS, 2 * MARKETS)
        if self.calls < 6 or (self.num_envs != 3 * MARKETS and not self.what.startswith("metric")):
            return step
        name = self.what.partition(" ")[2]
        if self.what.startswith("metric"):
            step.metrics[name][...] = self.value
            return step
        for role in self.controlled_roles:
            getattr(step, self.what)[role][rows] = self.value
        return step


@pytest.mark.parametrize("name", ["ppo", "mappo", "sac"])
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("rewards", "a reward of auctioneer is not finite"),
        ("observations", "an observation of auctioneer is not finite"),
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_market_that_is_no_longer_finite_fails_the_seed_that_it_happens_to(name, what, said, value, tmp_path):
    market = type("Broken", (Broken,), {"what": what, "value": value})
    spec = changed(described(tmp_path, name, seeds=3), market)
    line = train(spec)
    assert "seed 1 diverged at step 24: " + said in line
    assert assert_failed(spec, 1)["step"] == 24
    assert [result(spec, seed)["status"] for seed in (0, 2)] == ["done", "done"]


@pytest.mark.parametrize("name", ["random", "sac"])
@pytest.mark.parametrize(("metric", "value"), [("return", np.nan), ("return", -np.inf), ("price", np.inf)])
def test_a_score_that_is_no_number_is_a_failed_run(name, metric, value, tmp_path):
    market = type("Broken", (Broken,), {"name": f"broken_{metric}", "what": f"metric {metric}", "value": value})
    spec = changed(described(tmp_path, name), market)
    line = train(spec)
    assert f"{metric} of evaluation is not finite" in line
    assert assert_failed(spec, 0)["step"] == (0 if name == "random" else spec.budget // 4)


def test_a_metric_that_is_nan_by_its_meaning_is_null_in_files_and_confirmed(tmp_path, monkeypatch):
    market = type("Broken", (Broken,), {"name": "double_dutch", "what": "metric price"})
    monkeypatch.setattr(registry, "load_env", lambda name: market)
    spec = changed(described(tmp_path, "sac", seeds=2, points=2), market)
    train_seeds(spec, spec.seeds)
    for seed in spec.seeds:
        folder = SeedFolder(spec.seed_folder(seed))
        text = (folder.path / "result.json").read_text()
        assert "NaN" not in text
        assert json.loads(text)["metrics"]["price"] is None
        table = pq.read_table(folder.path / "evaluation.parquet")
        assert table["price"].null_count == len(table) == 6
        assert table["welfare"].null_count == 0
        assert [len(part) for part in folder.episodes().values()] == [3, 3]
        assert evaluate_checkpoint(folder.path).confirmed
    rows = read_store(tmp_path)
    assert all(np.isnan(row.metrics["price"]) and np.isfinite(row.metrics["welfare"]) for row in rows)
    assert all(np.isnan(read_curve(row.folder / "evaluation.parquet").metrics["price"]).all() for row in rows)


class Wild(RandomAgent):
    """An agent with faulty actions in seed 1 from the sixth step on."""

    learns, wrong = True, None

    def __init__(self, *args):
        super().__init__(*args)
        self.calls = 0

    def act(self, observations, *, deterministic):
        actions = super().act(observations, deterministic=deterministic)
        self.calls += not deterministic
        if self.calls >= 6 and 1 in self.context.seeds:
            actions = {role: self.changed(chosen, self.context.seeds.index(1)) for role, chosen in actions.items()}
        return actions

    def changed(self, chosen, i):
        chosen = chosen.astype(np.result_type(chosen, type(self.wrong)))
        chosen[i, -1] = self.wrong
        return chosen


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(-1, "outside its space"), (10**6, "outside its space"), (np.nan, "not finite"), (np.inf, "not")],
)
def test_actions_that_cannot_be_played_fail_the_seed_whose_they_are(wrong, said, tmp_path):
    agent = type("Wild", (Wild,), {"wrong": wrong})
    spec = changed(described(tmp_path, "random", seeds=2), agent_class=agent)
    line = train(spec)
    assert "seed 1 diverged at step 24: an action of auctioneer is " + said in line
    assert assert_failed(spec, 1)["step"] == 24
    assert result(spec, 0)["status"] == "done"


class Remembers(RandomAgent):
    """An agent with an infinite running minimum, and a training metric that is missing for one seed."""

    learns, figure = True, np.nan
    need_not_be_finite = frozenset({"low"})
    weight = 1.0

    def learn(self):
        values = np.ma.masked_array(np.full(len(self.context.seeds), 0.5))
        if 1 in self.context.seeds:
            values[self.context.seeds.index(1)] = self.figure
        return {"auctioneer/temper": values}

    def state_dict(self, seed_index):
        weight = self.weight if self.context.seeds[seed_index] == 1 else 1.0
        return {**super().state_dict(seed_index), "scale": {"low": torch.full((3,), torch.inf)}, "weights": [weight]}


def test_a_running_minimum_may_be_infinite_and_a_figure_missing(tmp_path):
    agent = type("Remembers", (Remembers,), {"figure": np.ma.masked})
    spec = changed(described(tmp_path, "random", seeds=2), agent_class=agent)
    train_seeds(spec, spec.seeds)
    assert [result(spec, seed)["status"] for seed in spec.seeds] == ["done", "done"]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("figure", np.nan, "auctioneer/temper of random is nan"),
        ("figure", -np.inf, "auctioneer/temper of random is -inf"),
        ("weight", np.nan, "weights/0 of random is not finite"),
        ("weight", np.inf, "weights/0 of random is not finite"),
        ("need_not_be_finite", frozenset(), "scale/low of random is not finite"),
    ],
)
def test_figures_and_states_of_a_plugin_are_looked_at(field, value, said, tmp_path):
    agent = type("Remembers", (Remembers,), {"figure": 0.5, field: value})
    spec = changed(described(tmp_path, "random", seeds=2), agent_class=agent)
    line = train(spec)
    assert said in line
    assert assert_failed(spec, 1)
    if field != "need_not_be_finite":
        assert result(spec, 0)["status"] == "done"


def test_another_failure_is_told_as_what_it_is(tmp_path, monkeypatch):
    def fail(self, observations, *, deterministic):
        raise RuntimeError("out of ideas")

    monkeypatch.setattr(RandomAgent, "act", fail)
    monkeypatch.setattr(RandomAgent, "learns", True)
    spec = described(tmp_path, "random", seeds=2)
    with pytest.raises(RuntimeError, match="out of ideas"):
        train_seeds(spec, spec.seeds)
    assert result(spec, 0)["error"] == result(spec, 1)["error"] == "RuntimeError: out of ideas"


def test_logits_are_numbers_where_the_likeliest_action_is_asked_for(tmp_path, monkeypatch):
    """Finite weights can be so large that their outputs are not finite, which random actions would not reveal."""
    plain = Heads.choose

    def choose(self, logits, streams, seeds):
        if streams is None and seeds == 2:
            logits = logits.clone()
            logits.reshape(2, -1)[1, 0] = torch.nan
        return plain(self, logits, streams, seeds)

    monkeypatch.setattr(Heads, "choose", choose)
    spec = described(tmp_path, "sac", seeds=2)
    line = train(spec)
    assert "seed 1 diverged at step 32: what a policy returns is not finite" in line
    assert result(spec, 0)["status"] == "done"


def test_the_command_says_one_line_and_exits_as_for_any_failed_run(tmp_path):
    absurd = ["agent.actor_lr=1e30", "agent.learning_starts=64", "agent.batch_size=16", "budget=1024"]
    command = [sys.executable, "-P", "-m", "ioa_marl", "train", "env=double_dutch", "agent=sac", "seeds=1", *absurd]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line == (
        "ioa-marl: double_dutch-paper sac: seed 0 diverged at step 704: auctioneer/critic_loss of sac is nan"
    )
    (path,) = tmp_path.rglob("result.json")
    held = json.loads(path.read_text())
    assert (held["status"], held["step"]) == ("failed", 704)


def test_a_policy_that_is_no_number_is_not_played(tmp_path):
    """A checkpoint as earlier versions wrote it after a learner had diverged, which random actions would not reveal."""
    first = described(tmp_path / "first", "sac")
    train_seeds(first, first.seeds)
    folder = SeedFolder(first.seed_folder(0))
    tree = checkpoint.load(folder.latest)
    next(floating(tree["policies"]))[...] = torch.nan
    checkpoint.save(folder.latest, tree)
    said = "the policy of sac has diverged: auctioneer/weights.0 holds what is no number"
    with pytest.raises(UserError, match=said):
        described(tmp_path / "second", "loaded", path=str(folder.path), sample=True)
    with pytest.raises(UserError, match=said):
        evaluate_checkpoint(folder.path)
