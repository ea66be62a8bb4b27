"""Every learner plays every role of every market, and several of them play one market together."""

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from ioa_marl import registry
from ioa_marl.evaluation.playing import make_agent
from ioa_marl.foundations.errors import UserError
from ioa_marl.leaderboard.query import read_store
from ioa_marl.leaderboard.rows import arrange
from ioa_marl.training.check import evaluate_checkpoint
from ioa_marl.training.config import resolve
from ioa_marl.training.runner import Trainer
from ioa_marl.training.seeds import train_seeds
from ioa_marl.training.store import SeedFolder

SMALL_MARKETS = {
    "double_dutch": {"buyers": 3, "sellers": 3, "min_buyers": 2, "min_sellers": 2},
    "second_bid": {"stations": 3, "tasks": 4},
    "stackelberg": {"wireless": 4, "mobile": 2, "fixed": 2, "rounds": 3},
    "two_tier": {"wireless": 6, "mobile": 3, "fixed": 3, "aerial": 4, "capacity": [0.5, 12.0], "rounds": 3},
    "vcg_slicing": {"providers": 3, "rounds": 4},
}
SMALL_AGENT = {
    "width": 8, "depth": 1, "hidden": [8], "batch_size": 8, "buffer_size": 256, "rollout_size": 64, "n_epochs": 1,
    "learning_starts": 16, "update_every": 8, "n_step": 2,
}  # fmt: skip
"""Settings that make learners small and fast; each learner uses those that it has."""
STEPS, MARKETS = 24, 4
OWN = [name for name in registry.agent_names() if registry.entry("agent", name).source == "ioa_marl"]
PLAYERS = [name for name in OWN if name == "random" or registry.load_agent(name).learns]
ROLES = [
    (env, role)
    for env in SMALL_MARKETS
    for role in registry.load_env(env).make_roles(registry.load_env(env).make_config())
]


def small(name):
    """Return an agent as a run constructs it."""
    known = {field.name for field in dataclasses.fields(registry.load_agent(name).config_class)}
    return {"name": name, **{key: value for key, value in SMALL_AGENT.items() if key in known}}


def described(runs, env, seeds=1, budget=STEPS * MARKETS, points=1, **roles):
    market = {"name": env, "preset": next(iter(registry.load_env(env).presets)), **SMALL_MARKETS[env]}
    return resolve(
        {
            "env": market, "budget": budget, "num_envs": MARKETS, "seeds": seeds, "runs": str(runs), "device": "cpu",
            "evaluation": {"points": points, "episodes": 3},
            "roles": {role: {"agent": choice} for role, choice in roles.items()},
        }
    )  # fmt: skip


def tensors(state):
    """Return all tensors and arrays of nested values."""
    if isinstance(state, dict):
        return [found for value in state.values() for found in tensors(value)]
    if isinstance(state, (list, tuple)):
        return [found for value in state for found in tensors(value)]
    return [torch.as_tensor(state)] if isinstance(state, (torch.Tensor, np.ndarray)) else []


def test_the_markets_are_all_that_there_are():
    assert set(SMALL_MARKETS) == {
        name for name in registry.env_names() if registry.entry("environment", name).source == "ioa_marl"
    }


@pytest.mark.parametrize("name", PLAYERS)
@pytest.mark.parametrize(("env", "role"), ROLES)
def test_an_agent_plays_a_role(env, role, name, tmp_path):
    """Training metrics are finite, the policy changes, and the stored policy alone reproduces the evaluation."""
    agent_class = registry.load_agent(name)
    count = registry.load_env(env).make_roles(registry.load_env(env).make_config(**SMALL_MARKETS[env]))[role].count
    if agent_class.single_agent and count > 1:
        with pytest.raises(UserError, match=f"cannot play {role}"):
            described(tmp_path, env, **{role: small(name)})
        return
    spec = described(tmp_path, env, **{role: small(name)})
    trainer = Trainer(spec, spec.seeds, [SeedFolder(tmp_path)])
    (agent,) = trainer.agents
    agent.attach(trainer.game.game)
    before = [x.clone() for x in tensors(agent.policy_state(0))]
    for _ in range(STEPS):
        trainer.step()
    after = tensors(agent.policy_state(0))
    if agent_class.learns_in(spec.game_class, [role]):
        assert any(not torch.equal(one, two) for one, two in zip(before, after, strict=True))
    assert all(np.isfinite(value).all() for value in trainer.training_metrics.values())
    assert all(torch.isfinite(x).all() for x in after if x.is_floating_point())

    probe = spec.game_class(spec.env_config, 1, spec.controlled_roles)
    alone = make_agent(agent_class, spec.agents[0].config, probe, [role], 1)
    alone.load_policy_state(0, agent.policy_state(0))
    done = []
    for player in (agent, alone):
        player.attach(trainer.game.game)
        done.append(player.act(trainer.game.observations, deterministic=True)[role])
    np.testing.assert_array_equal(*done)
    trainer.game.step({role: done[0]})  # which refuses what is outside the action space


MIXED = {
    "two_tier": {"mobile": "sac", "fixed": "ppo", "auctioneer": "sac"},
    "double_dutch": {"auctioneer": "ppo", "buyer": "sac", "seller": "random"},
    "vcg_slicing": {"slice": "equal_split", "vsp": "sac"},
    "stackelberg": {"mobile": "sac", "fixed": "best_response", "wireless": "ppo"},
}


def mixed(runs, env):
    scripted = {"equal_split", "best_response"}
    chosen = {
        role: {"name": name, "policy": name, "settings": {}} if name in scripted else small(name)
        for role, name in MIXED[env].items()
    }
    return described(runs, env, seeds=2, budget=2 * STEPS * MARKETS, points=2, **chosen)


@pytest.mark.parametrize("env", MIXED)
def test_several_agents_train_together_and_go_on_to_the_bit_after_a_kill(env, tmp_path, monkeypatch):
    whole, killed = mixed(tmp_path / "whole", env), mixed(tmp_path / "killed", env)
    train_seeds(whole, whole.seeds)
    save = Trainer._save

    def dying(self):
        save(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save", dying)
        with pytest.raises(KeyboardInterrupt):
            train_seeds(killed, killed.seeds)
    train_seeds(killed, killed.seeds)
    for seed in whole.seeds:
        one, two = whole.seed_folder(seed), killed.seed_folder(seed)
        results = [json.loads((folder / "result.json").read_text()) for folder in (one, two)]
        assert [result["status"] for result in results] == ["done", "done"]
        assert results[0]["metrics"] == results[1]["metrics"]
        assert pq.read_table(one / "evaluation.parquet").equals(pq.read_table(two / "evaluation.parquet"))
        assert evaluate_checkpoint(two).confirmed is True
    (row,) = [row for board in arrange(read_store(tmp_path / "whole")).boards[:1] for row in board.rows]
    usual = whole.game_class.default_controlled_roles
    parts = [name if (role,) == usual else f"{role}={name}" for role, name in MIXED[env].items()]
    assert row.run.agent == ",".join(parts)
    assert len(row.run.done) == 2
