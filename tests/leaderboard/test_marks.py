"""A board of exactly the published preset shows the best policy that is known; no other board does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ioa_marl.foundations.errors import UserError
from ioa_marl.leaderboard.query import read_store
from ioa_marl.leaderboard.rows import arrange
from ioa_marl.registry import MARKETS, load_env
from ioa_marl.training.compose import specification
from ioa_marl.training.seeds import train_seeds

RESULTS = Path(__file__).parents[2] / "benchmarks" / "best_known" / "results"


def marks(runs, *settings, env="double_dutch"):
    spec = specification([f"env={env}", "agent=fixed_step", "seeds=1", f"runs={runs}", *settings])
    train_seeds(spec, spec.seeds)
    (board,) = arrange(read_store(runs)).boards
    return {mark.name: mark for mark in board.references}


def test_the_best_known_policy_is_a_mark_on_its_board(tmp_path):
    shown = marks(tmp_path)
    written = json.loads((RESULTS / "double_dutch-paper.json").read_text())
    assert shown["best known"].objective == written["return"]
    assert shown["best known"].score == pytest.approx(written["score"], abs=1e-9)
    assert shown["best constant"].score < shown["best known"].score < shown["optimum"].score


@pytest.mark.parametrize("setting", ["env.psi=0.25", "evaluation.final_episodes=999"])
def test_a_board_with_other_settings_has_no_such_mark(tmp_path, setting):
    assert "best known" not in marks(tmp_path, setting)


def test_another_preset_has_no_such_mark(tmp_path):
    assert "best known" not in marks(tmp_path, env="double_dutch/calm")


def test_every_mark_is_the_one_that_its_command_wrote():
    for name in MARKETS:
        game = load_env(name)
        for preset, by_key in game.best_known.items():
            written = json.loads((RESULTS / f"{name}-{preset}.json").read_text())
            for key, known in by_key.items():
                assert key in game.objectives
                assert (known.objective, known.episodes, known.version, known.command) == (
                    written["return"], written["episodes"], written["version"], written["command"],
                )  # fmt: skip


def test_evaluation_bidder_gain_names_the_command_that_replaced_it():
    with pytest.raises(UserError, match="ioa-marl audit"):
        specification(["env=double_dutch", "agent=fixed_step", "+evaluation.bidder_gain=true"])
