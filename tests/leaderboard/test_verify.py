import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ioa_marl.cli import app
from ioa_marl.foundations.errors import UserError
from ioa_marl.leaderboard.query import read_store
from ioa_marl.leaderboard.rows import arrange
from ioa_marl.leaderboard.seeds import DAMAGED, DONE
from ioa_marl.leaderboard.verify import EVERY, played_again, sample_size, spread_sample
from ioa_marl.training import check
from ioa_marl.training.integrity import seal

AddRun = Callable[..., Path]


@dataclass
class Found:
    confirmed: bool | None
    differences: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Record the folders that are played; the outcome depends on the agent's name."""
    folders: list[Path] = []

    def evaluate(folder: Path) -> Found:
        folders.append(folder)
        agent = folder.parents[1].name
        if agent == "gone":
            raise UserError("unknown agent 'gone'")
        if agent == "crashing":
            raise ZeroDivisionError("division by zero")
        if agent == "forged":
            return Found(
                False,
                ("score of auctioneer: 0.99 recorded, 0.567 played", "metrics.return: 1 recorded, 2"),
                ("code of agent forged changed since",),
            )
        return Found(None if agent == "shorter" else True)

    monkeypatch.setattr(check, "evaluate_checkpoint", evaluate)
    return folders


def test_what_fails_is_no_number_and_what_passes_is_marked(runs: Path, add_run: AddRun, played: list[Path]) -> None:
    add_run("sac", [0.1, 0.2], sealed=True, checkpoint=True)
    add_run("forged", [0.99], sealed=True, checkpoint=True)
    seeds, told = played_again(read_store(runs), EVERY)
    assert len(played) == 3
    rows = {(seed.agent, seed.seed): seed for seed in seeds}
    assert rows["sac", 0].checked == rows["sac", 1].checked == "replayed"
    assert rows["forged", 0].status == DAMAGED
    assert rows["forged", 0].reason == (
        "replayed: score of auctioneer: 0.99 recorded, 0.567 played; metrics.return: 1 recorded, 2 "
        "(code of agent forged changed since)"
    )
    assert told.failed == 1
    assert [row.run.agent for row in arrange(seeds).boards[0].rows] == ["sac"]


@pytest.mark.parametrize(
    ("agent", "note"),
    [
        ("gone", "unknown agent 'gone'"),
        ("crashing", "ZeroDivisionError: division by zero"),
        ("shorter", "the checkpoint is not of the evaluation that was recorded"),
    ],
)
def test_what_cannot_be_played_is_told_and_stops_no_other(
    runs: Path, add_run: AddRun, played: list[Path], agent: str, note: str
) -> None:
    add_run(agent, [0.3], sealed=True, checkpoint=True)
    add_run("sac", [0.1], sealed=True, checkpoint=True)
    seeds, told = played_again(read_store(runs), EVERY)
    rows = {seed.agent: seed for seed in seeds}
    assert rows[agent].status == DONE
    assert rows[agent].checked == "intact"
    assert rows[agent].notes == (f"could not be played again: {note}",)
    assert rows["sac"].checked == "replayed"
    assert told.failed == 0
    assert len(played) == 2


def test_only_seeds_that_are_done_and_have_a_checkpoint_are_played(
    runs: Path, add_run: AddRun, played: list[Path]
) -> None:
    add_run("failed", [0.1], status="failed", checkpoint=True)
    add_run("elsewhere", [0.1], external=True, checkpoint=True)
    add_run("bare", [0.1])
    seeds, told = played_again(read_store(runs), EVERY)
    assert (played, list(told.lines())) == (
        [], ["played again: nothing, because no seed that is done has a checkpoint"],
    )  # fmt: skip
    assert len(seeds) == 3


def test_a_sample_is_spread_over_markets_and_runs_and_always_the_same(runs: Path, add_run: AddRun) -> None:
    for env in ("double_dutch", "market_of_elsewhere"):
        for agent in ("a", "b", "c"):
            add_run(agent, [0.1] * 5, env=env)
    seeds = read_store(runs)
    sample = spread_sample(seeds, 4)
    assert sorted(seed.env for seed in sample) == ["double_dutch"] * 2 + ["market_of_elsewhere"] * 2
    assert len({(seed.env, seed.agent) for seed in sample}) == 4
    assert {(seed.env, seed.agent) for seed in spread_sample(seeds, 6)} == {(seed.env, seed.agent) for seed in seeds}
    assert [seed.folder for seed in spread_sample(seeds[::-1], 4)] == [seed.folder for seed in sample]
    assert len(spread_sample(seeds, EVERY)) == len(seeds)


def test_a_size_is_a_number_or_all() -> None:
    assert [sample_size(asked) for asked in (None, "7", "all")] == [0, 7, EVERY]
    for asked in ("0", "-1", "many", "1.5", "", "٣"):
        with pytest.raises(UserError, match="use a number of seeds from 1, or all"):
            sample_size(asked)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["RUNS"], 0),
        (["RUNS", "--verify"], 5),
        (["--verify", "RUNS"], 5),
        (["--verify", "3", "RUNS"], 3),
        (["RUNS", "--verify=6"], 6),
        (["RUNS", "--verify", "all"], 8),
        (["RUNS", "--verify", "--out", "OUT"], 5),
    ],
)
def test_the_option_may_stand_without_its_value(
    runs: Path, add_run: AddRun, tmp_path: Path, played: list[Path], arguments: list[str], expected: int
) -> None:
    add_run("sac", [i / 10 for i in range(8)], sealed=True, checkpoint=True)
    places = {"RUNS": str(runs), "OUT": str(tmp_path / "out")}
    done = CliRunner().invoke(app, ["leaderboard", *(places.get(argument, argument) for argument in arguments)])
    assert (done.exit_code, len(played)) == (0, expected)
    assert ("played again: " in done.output) == (expected > 0)


def test_a_failure_is_status_one_after_everything_is_written(
    runs: Path, add_run: AddRun, tmp_path: Path, played: list[Path]
) -> None:
    folder = add_run("forged", [0.99], sealed=True, checkpoint=True)
    done = CliRunner().invoke(app, ["leaderboard", str(runs), "--verify", "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert f"  {folder / 'seed_0'}: replayed: score of auctioneer: 0.99 recorded" in done.output
    assert "\ndamaged,double_dutch,paper," in (tmp_path / "out" / "leaderboard.csv").read_text()
    assert len(played) == 1


def test_a_row_whose_checkpoint_is_not_the_one_that_was_written_is_damaged(runs: Path) -> None:
    overrides = ["env=double_dutch", "agent=random", "seeds=2", "evaluation.episodes=2", f"runs={runs}", "--quiet"]
    assert CliRunner().invoke(app, ["train", *overrides]).exit_code == 0
    (path,) = runs.rglob("seed_1/checkpoint/latest.safetensors")
    data = bytearray(path.read_bytes())
    data[len(data) * 3 // 4] ^= 4
    path.write_bytes(data)
    seeds, told = played_again(read_store(runs), EVERY)
    assert {seed.seed: seed.status for seed in seeds} == {0: DONE, 1: DAMAGED}
    assert next(seed.reason for seed in seeds if seed.seed == 1).startswith(f"{path} does not match its checksum")
    assert told.failed == 1


def test_a_forged_row_with_a_new_checksum_is_caught_by_playing_it(runs: Path) -> None:
    overrides = ["env=double_dutch", "agent=random", "seeds=2", "evaluation.episodes=2", f"runs={runs}", "--quiet"]
    assert CliRunner().invoke(app, ["train", *overrides]).exit_code == 0
    (path,) = runs.rglob("seed_1/result.json")
    held = json.loads(path.read_text())
    # A forgery that is consistent in itself: the objective, and with it the score.
    held["metrics"]["return"] = held["references"]["optimum"]["auctioneer"]
    held["scores"] = {"auctioneer": 1.0}
    path.write_text(json.dumps(seal(path.parent, {k: v for k, v in held.items() if k not in ("files", "checksum")})))
    rows = {row.seed: row for row in read_store(runs)}
    assert (rows[1].status, rows[1].scores) == (DONE, {"auctioneer": 1.0})
    seeds, told = played_again(list(rows.values()), EVERY)
    assert {seed.seed: (seed.status, seed.checked) for seed in seeds}[0] == (DONE, "replayed")
    assert {seed.seed: seed.status for seed in seeds}[1] == DAMAGED
    assert told.failed == 1
