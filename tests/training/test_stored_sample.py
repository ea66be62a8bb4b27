"""Stores that earlier versions wrote stay readable: small ones are kept here for good.

As long as nothing that changes a number was raised, they also stay playable and done. ``with_last_episodes`` is of
the versions of today; whoever raises one of them writes it again, with `COMMON` in place of the dots. The others
stay as they are. ``with_checksums`` was written with the first version whose rows carry checksums,
``without_checksums`` with the one before. All were written by::

    ioa-marl train -m env=double_dutch agent=greedy,two_phase budget=24 runs=RUNS seeds=2 evaluation.points=2 \
        evaluation.episodes=3 num_envs=4
    ioa-marl train env=double_dutch agent=sac agent.learning_starts=8 agent.batch_size=4 agent.width=4 \
        agent.update_every=4 agent.buffer_size=32 budget=32 runs=RUNS seeds=2 ...
    ioa-marl train env=second_bid agent=threshold roles.station.agent=random budget=24 runs=RUNS seeds=2 ...
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ioa_marl.cli import app
from ioa_marl.foundations.errors import UserError
from ioa_marl.leaderboard.query import read_store
from ioa_marl.leaderboard.rows import arrange
from ioa_marl.training.check import evaluate_checkpoint
from ioa_marl.training.compose import planned

DATA = Path(__file__).parents[1] / "data"
STORES = {"with_last_episodes": "intact", "with_checksums": "intact", "without_checksums": "unchecked"}
OLDER = ("with_checksums", "without_checksums")
"""Stores of the second version of the protocol."""
COMMON = ("seeds=2", "evaluation.points=2", "evaluation.episodes=3", "evaluation.final_episodes=5", "num_envs=4")
COMMANDS = (
    ("-m", "env=double_dutch", "agent=greedy,two_phase", "budget=24"),
    ("env=double_dutch", "agent=sac", "agent.learning_starts=8", "agent.batch_size=4", "agent.width=4",
     "agent.update_every=4", "agent.buffer_size=32", "budget=32"),
    ("env=second_bid", "agent=threshold", "roles.station.agent=random", "budget=24"),
)  # fmt: skip


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    """Return the name of a store, and a copy of it that may be written to."""
    return request.param, Path(shutil.copytree(DATA / request.param, tmp_path / "runs"))


def test_every_row_of_a_stored_sample_is_on_its_board(store):
    name, runs = store
    seeds = read_store(runs)
    assert len(seeds) == 8
    assert {seed.status for seed in seeds} == {"done"}
    assert {seed.checked for seed in seeds} == {STORES[name]}
    boards = arrange(seeds).boards
    assert [(board.env, len(board.rows)) for board in boards] == [("double_dutch", 3), ("second_bid", 1)]
    older = [any(note.startswith("older version: protocol 2, now ") for note in seed.notes) for seed in seeds]
    assert older == [name in OLDER] * 8


@pytest.fixture
def today(tmp_path):
    """Return a copy of the store of the versions of today."""
    return Path(shutil.copytree(DATA / "with_last_episodes", tmp_path / "runs"))


def test_a_stored_sample_has_the_digests_of_today_and_is_done(today):
    runs = today
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file() and path.name != ".lock"}
    for command in COMMANDS:
        for spec in planned([*command, *COMMON, f"runs={runs}"]).specs:
            assert spec.seed_folder(0).is_dir(), f"{spec.agent_label} would be trained again"
        done = CliRunner().invoke(app, ["train", *command, *COMMON, f"runs={runs}"])
        assert done.exit_code == 0, done.stderr
        assert "2 seeds already done" in " ".join(done.stderr.split())
    after = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file() and path.name != ".lock"}
    assert after == before


@pytest.mark.parametrize("agent", ["greedy", "two_phase", "sac", "threshold,station=random"])
def test_a_stored_policy_plays_what_was_recorded(today, agent):
    for folder in sorted(today.glob(f"*/{agent}/*/seed_*")):
        found = evaluate_checkpoint(folder)
        recorded = json.loads((folder / "result.json").read_text())
        # Networks may round differently on another processor; what has none is the same everywhere.
        assert found.metrics == pytest.approx(recorded["metrics"], rel=1e-4, abs=1e-4)
        assert found.scores == pytest.approx(recorded["scores"], rel=1e-4, abs=1e-4)
        if agent != "sac":
            assert found.confirmed, found.differences


@pytest.mark.parametrize("name", OLDER)
def test_a_row_of_an_older_protocol_is_not_played_but_made_anew_beside_it(name, tmp_path):
    runs = Path(shutil.copytree(DATA / name, tmp_path / "runs"))
    for folder in runs.glob("*/*/*/seed_*"):
        with pytest.raises(UserError, match="other versions than those installed"):
            evaluate_checkpoint(folder)
    for command in COMMANDS:
        for spec in planned([*command, *COMMON, f"runs={runs}"]).specs:
            assert not spec.folder.exists()
            assert spec.folder.parent.is_dir()
