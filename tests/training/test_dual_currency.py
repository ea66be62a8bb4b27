"""Agents and the bank of the slicing market: bidders, and the estimate of what the others could achieve."""

import dataclasses

import numpy as np
import pytest
import torch

from ioa_marl import registry
from ioa_marl.agents.common.externalities import ExternalityAgent
from ioa_marl.evaluation.audits.constant_actions import best_constant_gain
from ioa_marl.evaluation.audits.subject import AuditSettings
from ioa_marl.foundations import checkpoint
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.training.audit import subject_of
from ioa_marl.training.check import evaluate_checkpoint
from ioa_marl.training.config import resolve
from ioa_marl.training.play import evaluate, load_agents
from ioa_marl.training.runner import Trainer
from ioa_marl.training.seeds import train_seeds
from ioa_marl.training.store import SeedFolder
from ioa_marl.training.watch import from_checkpoint, watch

SMALL = {
    "width": 8, "depth": 1, "hidden": [8], "batch_size": 8, "buffer_size": 256, "learning_starts": 16,
    "update_every": 8, "rollout_size": 16, "n_epochs": 1,
}  # fmt: skip
MARKETS, STEPS = 4, 16


def small(name):
    """Return settings that make a learner small and quick."""
    known = {field.name for field in dataclasses.fields(registry.load_agent(name).config_class)}
    return {key: value for key, value in SMALL.items() if key in known}


def described(runs, roles, seeds=1, **market):
    env = {"name": "vcg_slicing", "preset": "dual_currency", "mechanism": "dual_currency", "providers": 3, "rounds": 4}
    return resolve(
        {
            "env": {**env, **market}, "budget": STEPS * MARKETS, "num_envs": MARKETS, "seeds": seeds,
            "runs": str(runs), "device": "cpu", "evaluation": {"points": 1, "episodes": 3},
            "roles": {role: {"agent": agent} for role, agent in roles.items()},
        }
    )  # fmt: skip


@pytest.mark.parametrize("name", ["sac", "ppo", "diffusion_sac", "maddpg", "mean_field_ac", "independent_ac", "mappo"])
def test_learners_train_where_agents_are_absent_for_whole_episodes(name, tmp_path):
    spec = described(tmp_path, {"slice": {"name": name, **small(name)}}, fewest_providers=1)
    trainer = Trainer(spec, spec.seeds, [SeedFolder(tmp_path)])
    counts = set()
    for _ in range(STEPS):
        trainer.step()
        counts |= set(trainer.game.game.market.present.tolist())
    assert counts == {1, 2, 3}
    assert trainer.training_metrics
    assert all(np.isfinite(value).all() for value in trainer.training_metrics.values())


CRITIC = {"externality": "critic", "slice_reward": "utility"}
MEAN_FIELD, CENTRALISED, INDEPENDENT = (
    {"name": name, **small(name)} for name in ("mean_field_ac", "maddpg", "independent_ac")
)
each_critic = pytest.mark.parametrize("player", [MEAN_FIELD, CENTRALISED, INDEPENDENT], ids=lambda x: x["name"])


@pytest.mark.parametrize("name", ["maddpg", "independent_ac", "mean_field_ac", "sac", "mappo"])
def test_bidders_are_learners_as_in_the_paper(name, tmp_path):
    """The paper's bidders are actor–critics that maximise their own profit; any other learner can bid as well."""
    spec = described(tmp_path, {"slice": MEAN_FIELD, "vsp": {"name": name, **small(name)}})
    trainer = Trainer(spec, spec.seeds, [SeedFolder(tmp_path)])
    for _ in range(STEPS):
        trainer.step()
    assert all(np.isfinite(value).all() for value in trainer.training_metrics.values())
    assert np.ptp(trainer.game.game.market.bid / trainer.game.game.bank.bank.belief) > 0.1


@each_critic
def test_the_bank_asks_the_critic_of_the_slices_agent(player, tmp_path):
    """Taxes use the agent's own estimate of Eqs. 30–33 for the round, within the welfare on the bills."""
    spec = described(tmp_path, {"slice": player}, seeds=2, **CRITIC)
    trainer = Trainer(spec, spec.seeds, [SeedFolder(tmp_path / str(i)) for i in range(2)])
    (agent,) = trainer.agents
    game = trainer.game.game
    agent.attach(game)
    asked = []
    estimate = game.bank.critic

    def watched(before, after, *, hold, largest, largest_of_others):
        found = estimate(before, after, hold=hold, largest=largest, largest_of_others=largest_of_others)
        split = [{"slice": x["slice"].reshape(2, MARKETS, 3, -1)} for x in (before, after)]
        own = agent.externality(
            "slice", (split[0], {}), (split[1], {}), hold=np.full(3, 3), largest=largest.reshape(2, MARKETS),
            largest_of_others=largest_of_others.reshape(2, MARKETS, 3),
        )  # fmt: skip
        assert own.shape == (2, MARKETS, 3)
        np.testing.assert_array_equal(found, own.reshape(8, 3))
        assert np.all(found <= largest[:, None] + 1e-12)
        assert np.all(found >= np.minimum(largest_of_others, largest[:, None]) - 1e-12)
        asked.append((before["slice"].copy(), found))
        return found

    game.bank.critic = watched
    for _ in range(STEPS):
        before = trainer.game.observations["slice"].reshape(8, 3, -1).copy()
        trainer.step()
        assert np.array_equal(asked[-1][0], before)
    assert len(asked) == STEPS
    found = asked[-1][1]
    unit = game.market.worth.sum(axis=1, keepdims=True)
    playing = game.market.rounds > 0
    assert game.bank.bank.without[playing] == pytest.approx((found * unit)[playing])


SCALE, MIDDLE = 0.2, 0.8
"""Scale of the target critics' last layer, with which estimates are spread around the middle of their bounds."""


@pytest.fixture
def estimates(monkeypatch):
    """Scale the critics of trained slices; return their lower bound, estimate and upper bound."""
    told = []
    plain, evaluated = ExternalityAgent.externality, Trainer._evaluate

    def watched(self, role, now, then, **bounds):
        found = plain(self, role, now, then, **bounds)
        told.append((bounds["largest_of_others"], found, np.broadcast_to(bounds["largest"][..., None], found.shape)))
        return found

    def evaluate(self, curves):
        agent = next(agent for agent in self.agents if isinstance(agent, ExternalityAgent))
        c, critics = agent.config, agent._learners["slice"].target_critics
        with torch.no_grad():
            critics.weights[-1].mul_(SCALE)
            critics.biases[-1].fill_(MIDDLE * c.reward_scale / (1.0 - c.gamma))
        told.clear()
        return evaluated(self, curves)

    monkeypatch.setattr(ExternalityAgent, "externality", watched)
    monkeypatch.setattr(Trainer, "_evaluate", evaluate)
    return told


def share_inside(told):
    return np.concatenate([((low < found) & (found < high)).ravel() for low, found, high in told]).mean()


def recorded(spec):
    folder = SeedFolder(spec.seed_folder(0))
    result = folder.result()
    assert result["status"] == "done"
    assert np.isfinite(result["scores"]["slice"])
    return folder, result


@each_critic
def test_a_run_whose_bank_asks_a_critic_trains_and_is_confirmed_with_that_critic(player, tmp_path, estimates):
    """The critics determine taxes in evaluation: they are part of the policy, and other critics give other payments."""
    spec = described(tmp_path, {"slice": player}, seeds=2, **CRITIC)
    train_seeds(spec, spec.seeds)
    assert share_inside(estimates) > 0.5
    folder, result = recorded(spec)
    found = evaluate_checkpoint(folder.path)
    assert found.confirmed
    assert found.metrics["payments"] == result["metrics"]["payments"]
    assert share_inside(estimates) > 0.5
    tree = checkpoint.load(folder.latest)
    critics = tree["policies"][0]["slice"]["targets"]["critics"]
    last = list(critics)[-1]
    critics[last] = critics[last] * 1.01
    checkpoint.save(folder.latest, tree)
    assert evaluate_checkpoint(folder.path).metrics["payments"] != pytest.approx(result["metrics"]["payments"])


def test_the_best_checkpoint_has_the_critics_as_well(tmp_path, estimates):
    spec = described(tmp_path, {"slice": MEAN_FIELD}, **CRITIC)
    train_seeds(spec, spec.seeds)
    folder, _ = recorded(spec)
    best, latest = (checkpoint.load(path)["policies"] for path in (folder.best, folder.latest))
    assert checkpoint.digest({"policies": best}) == checkpoint.digest({"policies": latest})
    assert "targets" in best[0]["slice"]


@pytest.mark.parametrize("player", [MEAN_FIELD, CENTRALISED], ids=lambda x: x["name"])
def test_bidders_gains_are_found_with_the_critics_of_the_run(player, tmp_path, estimates):
    players = {"slice": player, "vsp": INDEPENDENT}
    spec = described(tmp_path, players, **CRITIC)
    train_seeds(spec, spec.seeds)
    assert share_inside(estimates) > 0.3
    settings = AuditSettings(markets=2)
    subject = subject_of(spec.seed_folder(0))
    found, again = (best_constant_gain(
        subject.game_class, subject.config, subject.make_agents(), subject.controlled_roles, "vsp", settings.markets,
        instances=[subject.instance],
    ) for _ in range(2))  # fmt: skip
    assert np.array_equal(found.gains, again.gains)


def test_a_run_whose_bank_asks_a_critic_can_be_watched(tmp_path, estimates):
    spec = described(tmp_path, {"slice": MEAN_FIELD}, **CRITIC)
    train_seeds(spec, spec.seeds)
    folder, _ = recorded(spec)
    seen = watch(from_checkpoint(folder.path), tmp_path / "it.gif", every=4, window=False)
    assert seen.steps == 4
    assert np.isfinite(seen.metrics["payments"])


def test_a_checkpoint_without_the_critics_is_refused_where_they_are_asked(tmp_path):
    spec = described(tmp_path, {"slice": MEAN_FIELD}, **CRITIC)
    train_seeds(spec, spec.seeds)
    folder, _ = recorded(spec)
    tree = checkpoint.load(folder.latest)
    del tree["policies"][0]["slice"]["targets"]
    checkpoint.save(folder.latest, tree)
    with pytest.raises(UserError, match="saved without the critics that tell them here: train it again"):
        evaluate_checkpoint(folder.path)


def test_policies_have_no_critics_where_no_bank_asks_for_them(tmp_path):
    spec = described(tmp_path, {"slice": MEAN_FIELD})
    train_seeds(spec, spec.seeds)
    folder, _ = recorded(spec)
    assert not any("targets" in name for name in checkpoint.load(folder.latest)["policies"][0]["slice"])
    assert evaluate_checkpoint(folder.path).confirmed


def test_a_policy_that_was_saved_with_its_critics_can_be_loaded_elsewhere(tmp_path):
    first = described(tmp_path, {"slice": MEAN_FIELD}, **CRITIC)
    train_seeds(first, first.seeds)
    folder, _ = recorded(first)
    spec = described(tmp_path, {"slice": {"name": "loaded", "path": str(folder.path)}})
    train_seeds(spec, spec.seeds)
    again, result = recorded(spec)
    assert evaluate_checkpoint(again.path).confirmed
    own = load_agents(first, checkpoint.load(folder.latest))
    played = evaluate(spec, own, (0,))  # the same actors, in a market that asks nobody
    assert result["metrics"]["welfare"] == played["welfare"].mean()


@pytest.mark.parametrize("name", ["ppo", "sac", "random"])
def test_agents_whose_critics_cannot_tell_are_refused_before_anything_is_written(name, tmp_path):
    with pytest.raises((ParameterError, UserError), match=r"externality=critic is not allowed: use exact or estimated"):
        described(tmp_path / "runs", {"slice": {"name": name}}, **CRITIC)
    assert not (tmp_path / "runs").exists()


def test_bidders_alone_cannot_be_taxed_by_a_critic(tmp_path):
    with pytest.raises((ParameterError, UserError), match=r"externality=critic is not allowed"):
        described(tmp_path, {"vsp": MEAN_FIELD}, **CRITIC)
