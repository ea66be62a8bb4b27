"""The last evaluation has as many episodes as the board says, and is part of what a run is."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ioa_marl import registry
from ioa_marl.cli import app
from ioa_marl.evaluation.protocol import FINAL_EPISODES, references
from ioa_marl.foundations.errors import UserError
from ioa_marl.leaderboard.query import read_store
from ioa_marl.leaderboard.rows import arrange
from ioa_marl.leaderboard.seeds import on_scale
from ioa_marl.leaderboard.tensorboard import score_curves
from ioa_marl.training.check import evaluate_checkpoint
from ioa_marl.training.compose import specification
from ioa_marl.training.store import SeedFolder


def spec(*overrides, env="double_dutch"):
    return specification([f"env={env}", "agent=two_phase" if env.startswith("double") else "agent=random", *overrides])


def train(runs: Path, *arguments: str) -> None:
    done = CliRunner().invoke(app, ["train", *arguments, f"runs={runs}", "--quiet"])
    assert done.exit_code == 0, done.stderr


def test_it_is_a_constant_of_the_board_unless_the_user_sets_another_number():
    assert spec().last_episodes == FINAL_EPISODES == 1000
    assert spec().episodes_on_the_way == 100
    assert spec(env="double_dutch/exchange").last_episodes == 250
    assert spec("env.psi=0.4", env="double_dutch/exchange").last_episodes == 250
    assert spec("evaluation.final_episodes=7").last_episodes == 7
    assert spec("evaluation.final_episodes=7").episodes_on_the_way == 7
    assert spec("evaluation.episodes=5").last_episodes == 5
    both = spec("evaluation.episodes=5", "evaluation.final_episodes=9")
    assert (both.episodes_on_the_way, both.last_episodes) == (5, 9)
    with pytest.raises(UserError, match=r"evaluation.final_episodes=0 is not allowed: use 1 to 100000"):
        spec("evaluation.final_episodes=0")


def test_every_constant_is_of_a_preset_and_smaller_than_the_usual_one():
    for name in registry.env_names():
        game = registry.load_env(name)
        assert set(game.final_episodes) <= set(game.presets)
        assert all(1 <= count < FINAL_EPISODES for count in game.final_episodes.values())


def test_it_is_part_of_the_digest():
    assert spec().digest == spec("evaluation.final_episodes=1000").digest
    assert spec().digest != spec("evaluation.final_episodes=999").digest
    assert spec().resolved()["evaluation"]["final_episodes"] == 1000


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    size = ("env=double_dutch", "seeds=2", "budget=640", "num_envs=16", "evaluation.points=3")
    train(
        folder, *size, "agent=sac", "agent.learning_starts=64", "evaluation.episodes=5", "evaluation.final_episodes=40"
    )
    train(folder, *size, "agent=two_phase", "evaluation.episodes=3", "evaluation.final_episodes=40")
    return folder


def seed_folder(runs: Path, agent: str, seed: int = 0) -> SeedFolder:
    (path,) = runs.glob(f"*/{agent}/*/seed_{seed}")
    return SeedFolder(path)


def test_the_last_table_has_more_rows_and_the_sampled_figures(runs):
    tables = seed_folder(runs, "sac").episodes()
    assert [len(table) for table in tables.values()] == [5, 5, 40]
    first, *_, last = tables.values()
    assert {name for name in last.column_names if name not in first.column_names} == {
        "sampled_return", "sampled_reward_auctioneer",
    }  # fmt: skip
    # The first episodes are the same markets at every evaluation.
    assert first["optimal_welfare"].to_pylist() == last["optimal_welfare"].to_pylist()[:5]


def test_the_result_has_the_score_of_the_last_episodes_and_that_of_the_sampled_policy(runs):
    result = seed_folder(runs, "sac").result()
    config = registry.load_env("double_dutch").make_config()
    anchors = references(registry.load_env("double_dutch"), config, 40)
    assert result["references"] == anchors.as_dict()
    last = list(seed_folder(runs, "sac").episodes().values())[-1]
    for key, column in (("scores", "return"), ("sampled_scores", "sampled_return")):
        expected = anchors.score("auctioneer", last[column].to_numpy().mean())
        assert result[key]["auctioneer"] == pytest.approx(float(expected), rel=1e-12)
    assert result["references_on_the_way"] == references(registry.load_env("double_dutch"), config, 5).as_dict()
    scripted = seed_folder(runs, "two_phase").result()
    assert "sampled_scores" not in scripted
    assert "references_on_the_way" not in scripted


@pytest.mark.parametrize("agent", ["sac", "two_phase"])
def test_a_checkpoint_confirms_the_row_to_the_bit(runs, agent):
    folder = seed_folder(runs, agent)
    found = evaluate_checkpoint(folder.path)
    assert found.differences == ()
    assert found.confirmed is True
    assert found.sampled_scores == folder.result().get("sampled_scores", {})


def test_a_forged_sampled_score_is_not_confirmed(runs):
    folder = seed_folder(runs, "sac", 1)
    path = folder.path / "result.json"
    text = path.read_text()
    result = json.loads(text)
    result["sampled_scores"]["auctioneer"] += 1e-9
    path.write_text(json.dumps(result))
    found = evaluate_checkpoint(folder.path)
    path.write_text(text)
    assert any(line.startswith("sampled_scores") for line in found.differences)


def test_best_checkpoint_is_scored_on_episodes_that_no_evaluation_had(runs):
    folder = seed_folder(runs, "sac")
    best = evaluate_checkpoint(folder.best)
    last = list(folder.episodes().values())[-1]
    assert best.metrics["optimal_welfare"] != np.mean(last["optimal_welfare"].to_numpy())


def test_runs_with_as_many_last_episodes_share_a_board_whatever_came_before(runs):
    (board,) = arrange(read_store(runs)).boards
    assert {row.run.agent for row in board.rows} == {"sac", "two_phase"}


def test_the_board_shows_both_scores_and_the_curve_has_the_scale_of_its_episodes(runs):
    (board,) = arrange(read_store(runs)).boards
    (row,) = (row for row in board.rows if row.run.agent == "sac")
    drawn = [seed.sampled_scores["auctioneer"] for seed in row.run.done]
    assert row.sampled == pytest.approx(np.mean(drawn))  # of two seeds the middle half is both
    assert board.shows_sampled
    curve = score_curves(board)[row.run.label].scores
    for i, seed in enumerate(row.run.done):
        early = on_scale(seed, "auctioneer", seed.curve.metrics["return"][0], last=False)
        assert early != on_scale(seed, "auctioneer", seed.curve.metrics["return"][0])
        np.testing.assert_allclose(curve[i, [0, -1]], [early, seed.scores["auctioneer"]], rtol=1e-12)


def test_a_run_goes_on_to_the_same_last_evaluation_when_its_result_is_lost(runs):
    folder = seed_folder(runs, "sac", 1)
    path = folder.path / "result.json"
    before, tables = folder.result(), folder.episodes()
    path.unlink()
    folder.tables.unlink()
    size = ("env=double_dutch", "seeds=2", "budget=640", "num_envs=16", "evaluation.points=3")
    train(runs, *size, "agent=sac", "agent.learning_starts=64", "evaluation.episodes=5", "evaluation.final_episodes=40")
    after = folder.result()
    assert {key: after[key] for key in ("scores", "sampled_scores", "metrics")} == {
        key: before[key] for key in ("scores", "sampled_scores", "metrics")
    }
    last = list(folder.episodes().values())[-1]
    assert last.equals(list(tables.values())[-1])
