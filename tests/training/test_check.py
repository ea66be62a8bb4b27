"""A row can be checked: its checkpoint reproduces the recorded numbers to the bit."""

import json

import pytest
from typer.testing import CliRunner

from ioa_marl.cli import app
from ioa_marl.foundations.errors import UserError
from ioa_marl.training.check import evaluate_checkpoint

AGENTS = ("random", "greedy", "two_phase", "oracle", "ppo", "sac")


def ioa_marl(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    done = ioa_marl(
        "train", "-m", "env=double_dutch", f"agent={','.join(AGENTS)}", "seeds=[3,4]", "budget=2560", f"runs={folder}",
        "evaluation.points=2", "evaluation.episodes=5",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    return folder


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("seed", [3, 4])
def test_checkpoint_confirms_its_row(runs, agent, seed):
    (folder,) = runs.glob(f"*/{agent}/*/seed_{seed}")
    found = evaluate_checkpoint(folder)
    assert found.confirmed is True
    assert found.scores == pytest.approx(json.loads((folder / "result.json").read_text())["scores"], abs=1e-12)


def test_a_row_that_was_tampered_with_is_not_confirmed(runs):
    (folder,) = runs.glob("*/two_phase/*/seed_3")
    result = json.loads((folder / "result.json").read_text())
    changed = {**result, "metrics": {**result["metrics"], "return": result["metrics"]["return"] + 1e-9}}
    (folder / "result.json").write_text(json.dumps(changed))
    done = ioa_marl("evaluate", folder)
    (folder / "result.json").write_text(json.dumps(result))
    assert done.exit_code == 1
    assert "NOT CONFIRMED" in done.stdout


def test_best_checkpoint_is_scored_on_other_episodes(runs):
    (folder,) = runs.glob("*/two_phase/*/seed_3")
    best = evaluate_checkpoint(folder / "checkpoint" / "best.safetensors")
    assert best.confirmed is None
    assert best.metrics["optimal_welfare"] != evaluate_checkpoint(folder).metrics["optimal_welfare"]


def test_a_checkpoint_of_another_version_is_refused(runs, monkeypatch):
    (folder,) = runs.glob("*/two_phase/*/seed_3")
    monkeypatch.setattr("ioa_marl.envs.double_dutch.game.DoubleDutchGame.version", 99)
    with pytest.raises(UserError, match="other versions"):
        evaluate_checkpoint(folder)
