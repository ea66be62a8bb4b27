import shutil
from collections.abc import Callable
from pathlib import Path

import filelock
import pytest

from ioa_marl.foundations.errors import UserError
from ioa_marl.leaderboard.query import read_store
from ioa_marl.leaderboard.seeds import DAMAGED, DONE, FAILED, UNFINISHED, SeedRow
from ioa_marl.leaderboard.settings import flatten


def one(runs: Path) -> SeedRow:
    (row,) = read_store(runs)
    return row


def test_a_missing_store_is_told_in_one_line(runs: Path) -> None:
    with pytest.raises(UserError) as told:
        read_store(runs)
    assert str(told.value) == f"there is no run store {runs}"


def test_an_empty_store_is_told_in_one_line(runs: Path) -> None:
    runs.mkdir()
    with pytest.raises(UserError, match="there is no run in the run store") as told:
        read_store(runs)
    assert "\n" not in str(told.value)


def test_a_seed_is_read_as_it_was_written(runs: Path, add_run: Callable[..., Path]) -> None:
    add_run("sac", [0.25], steps=(640, 1000))
    row = one(runs)
    assert (row.env, row.preset, row.agent, row.digest, row.seed) == ("double_dutch", "paper", "sac", "d0", 0)
    assert row.status == DONE
    assert row.scores == {"auctioneer": 0.25}
    assert row.references["constant"] == {"auctioneer": 70.0}
    assert row.metrics["return"] == 60.0
    assert (row.env_steps, row.parameters, row.commit) == (1000, 15774, "0123456789abcdef")
    assert row.settings["env.psi"] == 0.5


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"status": "do', b"\xff\xfe\x00", b"[]", b"3", b"null", b'{"scores": {"auctioneer": "much"}}'],
)
def test_a_damaged_result_is_a_failed_row_and_harms_no_other(
    runs: Path, add_run: Callable[..., Path], content: bytes
) -> None:
    add_run("random", [0.0])
    folder = add_run("sac", [0.1, 0.2])
    (folder / "seed_1" / "result.json").write_bytes(content)
    rows = {(row.agent, row.seed): row for row in read_store(runs)}
    broken = rows.pop(("sac", 1))
    assert broken.status == DAMAGED
    assert "result.json" in broken.reason
    assert broken.reason.endswith("the same train command makes the row again")
    assert (broken.env, broken.preset, broken.digest) == ("double_dutch", "paper", "d0")
    assert [row.status for row in rows.values()] == [DONE, DONE]


def test_other_damaged_files_only_lose_what_they_hold_and_a_note_says_so(
    runs: Path, add_run: Callable[..., Path]
) -> None:
    seed = add_run("sac", [0.1]) / "seed_0"
    for name in ("provenance.json", "evaluation.parquet"):
        (seed / name).write_bytes(b"{:\x00")
    row = one(runs)
    assert row.status == DONE
    assert row.scores == {"auctioneer": 0.1}
    assert row.commit is None
    assert row.curve is None
    assert [note.partition(":")[0] for note in row.notes] == ["no commit", "no learning curve"]


def test_a_score_that_is_no_number_is_a_failure(runs: Path, add_run: Callable[..., Path]) -> None:
    add_run("sac", [float("nan")])
    row = one(runs)
    assert (row.status, row.reason) == (FAILED, "the score of auctioneer is not a number")


def test_a_failure_keeps_the_first_line_of_its_reason(runs: Path, add_run: Callable[..., Path]) -> None:
    add_run("sac", [0.1], status="failed", error="ValueError: too large\nand more")
    assert one(runs).reason == "ValueError: too large"


def test_a_running_seed_is_unfinished_whether_its_process_lives_or_not(
    runs: Path, add_run: Callable[..., Path]
) -> None:
    seed = add_run("sac", [0.1], status="running") / "seed_0"
    assert one(runs).reason.startswith("stopped before its end")
    with filelock.FileLock(seed / ".lock"):
        row = one(runs)
    assert (row.status, row.reason) == (UNFINISHED, "still running")
    assert one(runs).reason.startswith("stopped before its end")


def test_a_seed_that_left_nothing_but_its_lock_is_unfinished(runs: Path) -> None:
    seed = runs / "double_dutch-thin" / "sac" / "d0" / "seed_4"
    seed.mkdir(parents=True)
    (seed / ".lock").touch()
    row = one(runs)
    assert (row.env, row.preset, row.agent, row.seed) == ("double_dutch", "thin", "sac", 4)
    assert row.status == UNFINISHED


def test_the_same_seed_in_two_copies_of_a_store_counts_once(
    runs: Path, add_run: Callable[..., Path], tmp_path: Path
) -> None:
    folder = add_run("sac", [0.1, 0.2])
    both = tmp_path / "both"
    shutil.copytree(runs, both / "one")
    shutil.copytree(runs, both / "two")
    (both / "one" / folder.relative_to(runs) / "seed_0" / "result.json").write_text("{}")
    rows = read_store(both)
    assert sorted((row.seed, row.status) for row in rows) == [(0, DONE), (1, DONE)]


@pytest.mark.parametrize("name", ["runs [1]", "a*b?", "year=2026", "it's", "ünï"])
def test_any_folder_name_will_do(tmp_path: Path, runs: Path, add_run: Callable[..., Path], name: str) -> None:
    add_run("auctioneer=sac", [0.1])
    other = tmp_path / name
    shutil.move(runs, other)
    row = one(other)
    curve = row.curve
    assert row.agent == "auctioneer=sac"
    assert row.commit == "0123456789abcdef"
    assert curve is not None
    assert set(curve.metrics) == {"return", "efficiency"}


def test_a_curve_is_the_mean_of_each_evaluation(runs: Path, add_run: Callable[..., Path]) -> None:
    add_run("sac", [0.5], steps=(100, 200, 300))
    curve = one(runs).curve
    assert curve is not None
    assert curve.steps.tolist() == [100, 200, 300]
    assert curve.metrics["return"].tolist() == [62.0, 66.0, 70.0]


def test_settings_are_named_as_the_overrides_that_set_them() -> None:
    env = {"name": "double_dutch", "level": [25.0, 55.0], "limit": None}
    one_agent = {"env": env, "agents": {"auctioneer": {"name": "sac", "lr": 0.1}}, "seed": 3}
    assert flatten(one_agent) == {
        "env.name": "double_dutch", "env.level": "[25.0,55.0]", "env.limit": "null",
        "agent.name": "sac", "agent.lr": 0.1,
    }  # fmt: skip
    two = {"agents": {"buyer": {"name": "sac"}, "seller": {"name": "ppo"}}}
    assert flatten(two) == {"roles.buyer.agent.name": "sac", "roles.seller.agent.name": "ppo"}


def test_values_of_a_wrong_type_count_as_missing(runs: Path, add_run: Callable[..., Path]) -> None:
    add_run("sac", [0.1], metrics=3, parameters="many", steps_per_second=None)
    row = one(runs)
    assert row.status == DONE
    assert (row.metrics, row.parameters, row.steps_per_second) == ({}, None, None)
