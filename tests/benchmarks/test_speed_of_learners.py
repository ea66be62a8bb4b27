"""What the speed of learners is measured with does what is claimed: same numbers, same sizes, turns. No real timing."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import sys
from pathlib import Path

import pytest
import torch

SPEED = Path(__file__).parents[2] / "benchmarks" / "speed"

pytestmark = pytest.mark.skipif(not SPEED.is_dir(), reason="the benchmarks are not beside the tests")


@pytest.fixture
def load(monkeypatch):
    """Import modules of the benchmark's folder, which is no package, and forget them afterwards."""
    monkeypatch.syspath_prepend(SPEED)
    before, threads = set(sys.modules), torch.get_num_threads()
    yield importlib.import_module
    torch.set_num_threads(threads)
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == SPEED:
            del sys.modules[name]


@pytest.mark.parametrize("joint", [True, False])
def test_stack_and_loop_compute_the_same_and_a_loop_that_does_not_is_noticed(load, joint, monkeypatch):
    stacking = load("stacking")
    case = stacking.Case("x", "critics", agents=3, inputs=5, width=8, batch=16, joint=joint, target=1.0)
    stacking.assert_agreement(case)
    honest = stacking.Loop.update

    def update(loop, data):
        honest(loop, dataclasses.replace(data, discounts=data.discounts * (1.0 + 1e-4)))

    monkeypatch.setattr(stacking.Loop, "update", update)
    with pytest.raises(AssertionError):
        stacking.assert_agreement(case)


def test_agreement_of_critics_that_learn_nothing_is_not_accepted(load, monkeypatch):
    stacking = load("stacking")
    case = stacking.Case("x", "critics", agents=2, inputs=3, width=4, batch=8, joint=False, target=1.0)
    monkeypatch.setattr(stacking, "LR", 0.0)
    with pytest.raises(AssertionError, match="not learnt anything"):
        stacking.assert_agreement(case)


def test_process_takes_turns_and_its_last_words_are_told(load):
    peer_process = load("peer_process")
    settings = {"learner": "sac", "market": "double_dutch", "seeds": [0, 1], "changes": {"learning_starts": 1}}
    with peer_process.Peer(sys.executable, "peer_training.py", settings) as peer:
        assert peer.about["env_steps"] == 2 * 64
        one, four = peer.turn(1), peer.turn(8)
        assert 0.0 < one < four
    with pytest.raises(peer_process.PeerError, match="nobody"):
        peer_process.Peer(sys.executable, "peer_training.py", {**settings, "learner": "nobody"})


def test_periods_of_training_are_those_of_the_learner(load):
    learning = load("learning")
    sac = learning.Training("sac", "double_dutch", (0, 1), num_envs=4, update_every=16, learning_starts=16)
    assert sac.warm() == 4
    assert sac.env_steps == 8
    mappo = learning.Training("mappo", "double_dutch", num_envs=8, rollout_size=64, n_epochs=1)
    assert mappo.warm() == 8
    assert (mappo.spent > 0).all()


def test_learner_that_never_learns_is_noticed(load):
    training = load("learning").Training("sac", "double_dutch", num_envs=1, learning_starts=10**6)
    with pytest.raises(RuntimeError, match="not learnt anything in 3 steps"):
        training.warm(longest=3)


def test_diffusion_learners_of_the_comparison_update(load):
    diffusion = load("diffusion_updates")
    for changes in ({"activation": "mish"}, {"activation": "relu"}):
        learner = diffusion.make_learner(8, seeds=2, **changes)
        found = learner.update(diffusion.TEMPERATURE)
        assert all(torch.isfinite(values).all() and values.shape == (2,) for values in found.values())
        assert learner.actor.rest.weights[0].shape[1:] == (256, 256)


def test_peers_that_are_not_there_are_skipped_with_the_reason(load, tmp_path, monkeypatch):
    learners, diffusion, measure = load("learner_figures"), load("diffusion_updates"), load("measure")
    monkeypatch.setitem(learners.FIGURES, "i", {"i2, i3": learners._published})
    found = learners.measure_learners(measure.QUICK, learners.Peers(), ("i", "j"))
    assert found["i"]["rows"] == found["j"]["rows"] == []
    assert "--d2sac" in found["i"]["skipped"]["i2, i3"]
    assert "--benchmarl-python" in found["j"]["skipped"]["j"]
    with pytest.raises(measure.SkippedError, match="no checkout"):
        diffusion.published(measure.QUICK, tmp_path, sys.executable)


def test_interpreter_without_benchmarl_is_skipped_with_its_words(load):
    against, measure = load("against_benchmarl"), load("measure")
    if importlib.util.find_spec("benchmarl") is not None:
        pytest.skip("this interpreter has BenchMARL")
    with pytest.raises(measure.SkippedError, match="No module named 'benchmarl'"):
        against.against_benchmarl(measure.QUICK, sys.executable)


def test_both_sides_of_a_comparison_have_the_same_sizes(load):
    against, learning = load("against_benchmarl"), load("learning")
    for pair in against.PAIRS:
        training = learning.Training(
            pair.learner, against.MARKET, num_envs=against.MARKETS, preset=against.PRESET,
            controlled_roles=against.ROLES, **pair.changes,
        )  # fmt: skip
        config, theirs = training.agent.config, pair.settings
        assert sum(role.count for role in training.roles) == against.AGENTS
        hidden = list(config.hidden) if pair.learner == "ppo" else [config.width] * config.depth
        assert hidden == theirs["hidden"]
        assert config.gamma == against.GAMMA
        assert pair.steps == theirs["frames"]
        assert theirs["frames"] % against.MARKETS == 0
        if pair.learner == "maddpg":
            assert config.batch_size == theirs["batch"]
            assert theirs["frames"] == theirs["updates"] * config.update_every
        else:
            # Transitions: of all agents where they share a network, of one where they do not.
            agents = against.AGENTS if theirs["shared"] else 1
            assert config.rollout_size == theirs["frames"] * agents
            assert config.n_epochs == theirs["epochs"]
            batch = config.batch_size if pair.learner == "ppo" else config.rollout_size // config.minibatches
            assert batch == theirs["batch"] * agents


class FakePeer:
    """A process of which an environment step takes a known time, longer if another one runs meanwhile."""

    running = 0

    def __init__(self, seconds, slower):
        self.about = {"env_steps": 10, "start [s]": 2.0}
        self._seconds, self._slower = seconds, slower

    def start(self, steps):
        FakePeer.running += 1
        self._steps = steps

    def finish(self):
        took = self._steps * 10 * self._seconds * (self._slower if FakePeer.running == 2 else 1.0)
        self._done = True
        return took

    def turn(self, steps):
        self.start(steps)
        took = self.finish()
        FakePeer.running = 0
        return took

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def test_gain_of_stacked_seeds_is_that_over_ten_processes(load, monkeypatch):
    seeds, measure = load("seeds"), load("measure")
    monkeypatch.setattr(seeds, "start", lambda learner, n: FakePeer(0.25 if n == 10 else 0.1, slower=1.5))
    row = seeds.seeds_of("sac", measure.Effort(rounds=1, seconds=0.1))
    assert row["one_core"]["median"] == pytest.approx(10 * 0.1 / 0.25)
    assert row["two_cores"]["median"] == pytest.approx(5 * 0.15 / 0.25)
    assert row["steps_per_second_single"] == pytest.approx(10.0)
    assert row["steps_per_second_stacked"] == pytest.approx(10 / 0.25)


def test_shares_add_up_and_pairings_that_cannot_be_are_told(load, monkeypatch):
    shares, measure = load("shares"), load("measure")
    row = shares.share("sac", "double_dutch", measure.QUICK)
    assert math.isclose(sum(row["parts"].values()), 1.0, rel_tol=0.05)
    assert 0 < row["steps_per_second"]["min"] <= row["steps_per_second"]["max"]
    monkeypatch.setattr(shares, "LEARNERS", ("diffusion_sac_ref",))
    monkeypatch.setattr(shares, "MARKETS", ("vcg_slicing",))
    rows, skipped = shares.measure_shares(measure.QUICK)
    assert rows == []
    assert "one agent" in skipped["diffusion_sac_ref on vcg_slicing"]


def test_groups_measured_apart_are_on_the_same_page(load, tmp_path):
    report, measure = load("report"), load("measure")
    conditions = report.conditions(measure.QUICK)
    figure = measure.Figure("h1", "stack against loop", "×", 2.5, [2.0, 3.0, 4.0], absolute={"stack [µs]": 1.0})
    span = {"min": 1.0, "median": 2.0, "max": 3.0}
    seeds = {
        "learner": "sac", "market": "vcg_slicing", "seeds": 10, "one_core": span, "two_cores": span,
        "steps_per_second_stacked": 1234.0, "steps_per_second_single": 200.0, "start_seconds": 2.5,
    }  # fmt: skip
    share = {
        "learner": "sac", "market": "double_dutch", "agents": 1, "steps_per_second": span,
        "parts": {"acting": 0.25, "market": 0.05, "remembering": 0.1, "learning": 0.6},
    }  # fmt: skip
    for group, rows, skipped in (
        ("l", [share], {"x on y": "cannot be"}), ("k", [seeds], {}), ("h", [report.figure_row(figure)], {}),
    ):  # fmt: skip
        report.write_learners({group: {**conditions, "rows": rows, "skipped": skipped}}, tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert list(json.loads((tmp_path / "learners.json").read_text())) == ["h", "k", "l"]
    assert "| h1 | stack against loop | ≥ 2.50× | 3.00× [2.00–4.00] | yes |" in page
    assert "| sac, vcg_slicing, 10 seeds | 2 [1–3] | 2 [1–3] | 1,230 | 200 | 2.5 |" in page
    assert "| double_dutch, 1 | sac | 2 [1–3] | 25.0 | 5.0 | 10.0 | 60.0 |" in page
    assert "- x on y: cannot be" in page
