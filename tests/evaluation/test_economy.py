"""Unused quantities are not computed, and used ones are the same to the bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ioa_marl import registry
from ioa_marl.agents.baselines.random import RandomAgent, RandomConfig
from ioa_marl.envs.core import Game
from ioa_marl.envs.phased import PhasedGame
from ioa_marl.envs.vector import VectorGame
from ioa_marl.evaluation import playing
from ioa_marl.training import runner
from ioa_marl.training.config import resolve
from ioa_marl.training.seeds import train_seeds
from ioa_marl.training.store import SeedFolder

PHASED = [
    name for name in ("stackelberg", "two_tier", "vcg_slicing") if issubclass(registry.load_env(name), PhasedGame)
]


def described(runs, market, roles):
    return resolve(
        {
            "env": {"name": market, "preset": next(iter(registry.load_env(market).presets))},
            "roles": {role: {"agent": {"name": "random"}} for role in roles}, "device": "cpu", "budget": 64,
            "num_envs": 4, "evaluation": {"points": 1, "episodes": 3}, "seeds": 1, "runs": str(runs),
        }
    )  # fmt: skip


def test_a_run_without_a_score_computes_no_references(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "references", lambda *_, **__: pytest.fail("nobody asked for them"))
    spec = described(tmp_path, "double_dutch", ["auctioneer", "buyer"])
    train_seeds(spec, spec.seeds)
    found = SeedFolder(spec.seed_folder(0)).result()
    assert found["status"] == "done"
    assert found["scores"] == found["references"] == {}
    assert found["metrics"]["length"] > 0


def test_a_run_with_a_score_has_its_references(tmp_path):
    spec = described(tmp_path, "double_dutch", ["auctioneer"])
    train_seeds(spec, spec.seeds)
    found = SeedFolder(spec.seed_folder(0)).result()
    assert set(found["references"]) == {"zero", "optimum", "constant", "random"}
    assert set(found["scores"]) == {"auctioneer"}


@pytest.mark.parametrize("market", PHASED)
def test_an_evaluation_opens_no_episode_that_nobody_plays(market, monkeypatch):
    game_class = registry.load_env(market)
    config = game_class.make_config()
    controlled_roles = game_class.default_controlled_roles
    openings = []

    def played():
        probe = game_class(config, 1, controlled_roles)
        agent = playing.make_agent(RandomAgent, RandomConfig(), probe, controlled_roles, 2)
        figures = playing.play_episodes(game_class, config, [agent], controlled_roles, 2, 3)
        return {name: values.tobytes() for name, values in figures.items()}

    restart = PhasedGame._open_episode

    def counting(game, which):
        openings.append(int(which.sum()))
        restart(game, which)

    monkeypatch.setattr(PhasedGame, "_open_episode", counting)
    economical = played()
    assert sum(openings) < 12, "each market is opened once, and again only while others still play"
    openings.clear()
    monkeypatch.setattr(Game, "single_episode", property(lambda self: False, lambda self, value: None))
    assert played() == economical
    assert sum(openings) >= 12


def test_training_goes_on_after_the_first_episode():
    game_class = registry.load_env("stackelberg")
    game = VectorGame(game_class, dataclasses.replace(game_class.make_config(), max_cycles=2), (0,), 2)
    game.reset()
    for _ in range(5):
        actions = {
            name: np.zeros((1, 2, game.game.roles[name].count, *game.game.roles[name].action_space.shape), np.int64)
            for name in game.game.controlled_roles
        }
        game.step(actions)
    assert game.game.market.episode.min() >= 2
