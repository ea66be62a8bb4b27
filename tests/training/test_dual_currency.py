"""Agents and the bank of the slicing market: who bids, who tells it what the others could have."""

import dataclasses

import numpy as np
import pytest

from ioa_marl import registry
from ioa_marl.errors import UserError
from ioa_marl.markets.parameters import ParameterError
from ioa_marl.training.check import evaluate_checkpoint
from ioa_marl.training.config import resolve
from ioa_marl.training.runner import Trainer
from ioa_marl.training.seeds import train_seeds
from ioa_marl.training.store import SeedFolder

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
        trainer._step()
        counts |= set(trainer.game.game.market.present.tolist())
    assert counts == {1, 2, 3}
    assert trainer.figures
    assert all(np.isfinite(value).all() for value in trainer.figures.values())


CRITIC = {"externality": "critic", "slice_reward": "utility"}
MEAN_FIELD = {"name": "mean_field_ac", **small("mean_field_ac")}


@pytest.mark.parametrize("name", ["maddpg", "independent_ac", "mean_field_ac", "sac", "mappo"])
def test_bidders_are_learners_as_in_the_paper(name, tmp_path):
    """The paper's bidders are actor–critics of their own profit beside mean-field slices; any learner can be one."""
    spec = described(tmp_path, {"slice": MEAN_FIELD, "vsp": {"name": name, **small(name)}})
    trainer = Trainer(spec, spec.seeds, [SeedFolder(tmp_path)])
    for _ in range(STEPS):
        trainer._step()
    assert all(np.isfinite(value).all() for value in trainer.figures.values())
    assert np.ptp(trainer.game.game.market.bid / trainer.game.game.bank.bank.belief) > 0.1


def test_the_bank_asks_the_critic_of_the_slices_agent(tmp_path):
    """What taxes use is the agent's own estimate of Eqs. 30–33 for the round, within the welfare that is on bills."""
    spec = described(tmp_path, {"slice": MEAN_FIELD}, seeds=2, **CRITIC)
    trainer = Trainer(spec, spec.seeds, [SeedFolder(tmp_path / str(i)) for i in range(2)])
    (agent,) = trainer.agents
    game = trainer.game.game
    agent.attach(game)
    asked = []
    estimate = game.bank.critic

    def watched(before, after, largest, largest_of_others):
        asked.append(({k: v.copy() for k, v in before.items()}, {k: v.copy() for k, v in after.items()}))
        asked[-1] += (largest.copy(), largest_of_others.copy(), estimate(before, after, largest, largest_of_others))
        return asked[-1][-1]

    game.bank.critic = watched
    for _ in range(STEPS):
        before = trainer.game.observations["slice"].reshape(8, 3, -1).copy()
        trainer._step()
        assert np.array_equal(asked[-1][0]["slice"], before)
    assert len(asked) == STEPS
    for before, after, largest, largest_of_others, found in asked[-3:]:
        split = [{"slice": x["slice"].reshape(2, MARKETS, 3, -1)} for x in (before, after)]
        own = agent.externality(
            "slice", (split[0], {}), (split[1], {}), hold=np.full(3, 3), largest=largest.reshape(2, MARKETS),
            largest_of_others=largest_of_others.reshape(2, MARKETS, 3),
        )  # fmt: skip
        assert found.shape == (8, 3)
        assert own.shape == (2, MARKETS, 3)
        assert np.all(found <= largest[:, None] + 1e-12)
        assert np.all(found >= np.minimum(largest_of_others, largest[:, None]) - 1e-12)
    assert found == pytest.approx(own.reshape(8, 3))  # no update since the last one
    unit = game.market.worth.sum(axis=1, keepdims=True)
    playing = game.market.rounds > 0
    assert game.bank.bank.without[playing] == pytest.approx((found * unit)[playing])


def test_a_run_whose_bank_asks_a_critic_trains_and_can_be_checked_again(tmp_path):
    spec = described(tmp_path, {"slice": MEAN_FIELD}, **CRITIC)
    train_seeds(spec, spec.seeds)
    folder = SeedFolder(spec.seed_folder(0))
    result = folder.result()
    assert result["status"] == "done"
    assert np.isfinite(result["scores"]["slice"])
    assert np.isfinite(result["metrics"]["payments"])
    assert evaluate_checkpoint(folder.path).confirmed


@pytest.mark.parametrize("name", ["ppo", "maddpg", "random"])
def test_agents_whose_critics_cannot_tell_are_refused_before_anything_is_written(name, tmp_path):
    with pytest.raises((ParameterError, UserError), match=r"externality=critic is not allowed: use exact or estimated"):
        described(tmp_path / "runs", {"slice": {"name": name}}, **CRITIC)
    assert not (tmp_path / "runs").exists()


def test_bidders_alone_cannot_be_taxed_by_a_critic(tmp_path):
    with pytest.raises((ParameterError, UserError), match=r"externality=critic is not allowed"):
        described(tmp_path, {"vsp": MEAN_FIELD}, **CRITIC)
