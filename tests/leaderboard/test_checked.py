import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from ioa_marl import registry
from ioa_marl.evaluation.protocol import PROTOCOL_VERSION
from ioa_marl.foundations.parameters import added_setting
from ioa_marl.leaderboard.query import read_store
from ioa_marl.leaderboard.rows import Leaderboard, arrange
from ioa_marl.leaderboard.seeds import DAMAGED, DONE, SeedRow
from ioa_marl.leaderboard.spreadsheet import csv_text
from ioa_marl.leaderboard.table import markdown, print_leaderboard
from ioa_marl.training.integrity import WEIGHTS, seal
from ioa_marl.training.sources import source_fingerprint

AddRun = Callable[..., Path]


def by_seed(runs: Path) -> dict[int, SeedRow]:
    return {row.seed: row for row in read_store(runs)}


def terminal(leaderboard: Leaderboard) -> str:
    console = Console(width=160, force_terminal=False, legacy_windows=False)
    with console.capture() as captured:
        print_leaderboard(leaderboard, console)
    return captured.get()


def test_names_of_checkpoints_are_those_that_the_trainer_writes() -> None:
    from ioa_marl.foundations.checkpoint import LATEST

    assert WEIGHTS[0] == LATEST.as_posix()


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        (file, damage)
        for file in ("result.json", "config.yaml", "provenance.json", "evaluation.parquet")
        for damage in ("flipped", "cut", "longer", "missing")
        if (file, damage) != ("result.json", "missing")  # such a seed has not ended
    ],
)
def test_a_seed_of_which_one_byte_differs_is_no_number_and_the_others_count_on(
    runs: Path, add_run: AddRun, file: str, damage: str
) -> None:
    path = add_run("sac", [0.1, 0.9, 0.3], sealed=True, checkpoint=True) / "seed_1" / file
    content = path.read_bytes()
    if file == "result.json" and damage == "flipped":
        damaged = content.replace(b'"auctioneer": 0.9}', b'"auctioneer": 0.8}')
        assert damaged != content
    else:
        middle = len(content) // 2
        damaged = {
            "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "cut": content[:middle],
            "longer": content + b" x",
            "missing": b"",
        }[damage]
    path.write_bytes(damaged)
    if damage == "missing":
        path.unlink()
    found = arrange(read_store(runs))
    (row,) = found.boards[0].rows
    assert row.scores == (0.1, 0.3)
    (problem,) = found.problems
    assert (problem.status, problem.seeds) == (DAMAGED, (1,))
    assert str(path) in problem.reason
    assert problem.reason.endswith("the same train command makes the row again")


def test_rows_are_marked_by_what_is_known_of_them(runs: Path, add_run: AddRun) -> None:
    add_run("intact", [0.1], sealed=True, checkpoint=True)
    add_run("earlier", [0.2], checkpoint=True)
    add_run("elsewhere", [0.3], sealed=True, external=True)
    add_run("copied", [0.4], sealed=True)
    add_run("bare", [0.5])
    found = arrange(read_store(runs))
    marks = {row.run.agent: row.run.checked for row in found.boards[0].rows}
    assert marks == {
        "intact": "intact",
        "earlier": "unchecked",
        "elsewhere": "cannot be replayed",
        "copied": "cannot be replayed",
        "bare": "unchecked, cannot be replayed",
    }
    printed = terminal(found)
    assert "unchecked: earlier" in printed
    assert "cannot be replayed: copied, elsewhere" in printed
    assert "intact:" not in printed
    assert "- unchecked: earlier" in markdown(found)
    assert next(line for line in markdown(found).splitlines() if "| earlier |" in line).endswith("| unchecked |")
    assert ",cannot be replayed," in next(line for line in csv_text(found).splitlines() if ",elsewhere," in line)


def test_a_run_of_seeds_that_differ_says_how_many_are_what(runs: Path, add_run: AddRun) -> None:
    folder = add_run("sac", [0.1, 0.2, 0.3], checkpoint=True)
    held = json.loads((folder / "seed_2" / "result.json").read_text())
    (folder / "seed_2" / "result.json").write_text(json.dumps(seal(folder / "seed_2", held)))
    found = arrange(read_store(runs))
    (row,) = found.boards[0].rows
    assert row.run.checked == "intact 1; unchecked 2"
    assert "unchecked: sac (seeds 0, 1)" in terminal(found)


def test_lost_evaluations_are_a_note(runs: Path, add_run: AddRun) -> None:
    add_run("sac", [0.1], sealed=True, checkpoint=True, lost_evaluations=[500, 1000])
    found = arrange(read_store(runs))
    assert "lost evaluations: after 500, 1000 steps: sac" in terminal(found)
    assert "lost evaluations: after 500, 1000 steps (seeds 0)" in csv_text(found)


def test_rows_of_older_versions_say_so_and_stand_on_a_board_of_their_own(runs: Path, add_run: AddRun) -> None:
    installed = registry.load_env("double_dutch").version
    now = {"env": installed, "agents": {"sac": registry.load_agent("sac").version}, "protocol": PROTOCOL_VERSION}
    add_run("sac", [0.1], digest="d1", versions=now, sealed=True, checkpoint=True)
    for digest, older in (("d2", {"agents": {"sac": 0}}), ("d3", {"protocol": 1}), ("d4", {"env": installed + 1})):
        add_run("sac", [0.2], digest=digest, versions=now | older, sealed=True, checkpoint=True)
    rows = {row.digest: row for row in read_store(runs)}
    assert rows["d1"].notes == ()
    assert rows["d2"].notes == (f"older version: sac 0, now {now['agents']['sac']}",)
    assert rows["d3"].notes == (f"older version: protocol 1, now {PROTOCOL_VERSION}",)
    assert rows["d4"].notes == (f"other version: double_dutch {installed + 1}, now {installed}",)
    assert len(arrange(list(rows.values())).boards) == 3  # an agent's version does not change the scale


def test_code_that_changed_under_the_same_version_is_said(runs: Path, add_run: AddRun) -> None:
    game = registry.load_env("double_dutch")
    code = {"market double_dutch": source_fingerprint(game), "agent sac": "0" * 16, "agent of_nobody": "0" * 16}
    add_run("sac", [0.1], code=code, sealed=True, checkpoint=True)
    assert by_seed(runs)[0].notes == ("code of sac changed since",)


def test_scores_that_the_rows_own_numbers_contradict_are_no_number(runs: Path, add_run: AddRun) -> None:
    versions = {"env": registry.load_env("double_dutch").version, "protocol": PROTOCOL_VERSION}
    add_run("sac", [0.25], versions=versions)
    add_run("liar", [0.25], versions=versions, scores={"auctioneer": 0.99})
    rows = {row.agent: row for row in read_store(runs)}
    assert rows["sac"].status == DONE
    assert rows["liar"].status == DAMAGED
    assert rows["liar"].reason == "its score of auctioneer is 0.99, but its metrics and references give 0.25"


def test_a_setting_that_was_added_later_and_changes_nothing_leaves_boards_as_they_were(
    runs: Path, add_run: AddRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Settings:
        psi: float = 0.5
        shading: tuple[float, ...] = added_setting((0.0, 1.0))
        other: int = field(default=3)

    monkeypatch.setattr(registry.load_env("double_dutch"), "config_class", Settings)
    add_run("before", [0.1])
    add_run("after", [0.2], env_settings={"shading": [0.0, 1.0]})
    add_run("shaded", [0.3], env_settings={"shading": [0.0, 0.5]})
    boards = arrange(read_store(runs)).boards
    assert sorted([row.run.agent for row in board.rows] for board in boards) == [["after", "before"], ["shaded"]]


def test_no_mean_is_taken_over_seeds_with_other_settings(runs: Path, add_run: AddRun) -> None:
    folder = add_run("sac", [0.1, 0.9])
    path = folder / "seed_1" / "config.yaml"
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    config["env"]["psi"] = 0.7
    path.write_text(yaml.safe_dump(config))
    assert sorted(board.rows[0].scores for board in arrange(read_store(runs)).boards) == [(0.1,), (0.9,)]


def test_two_copies_of_a_seed_with_other_numbers_are_told(runs: Path, add_run: AddRun, tmp_path: Path) -> None:
    folder = add_run("sac", [0.1])
    copy = tmp_path / "runs" / "copy" / folder.relative_to(runs) / "seed_0"
    copy.mkdir(parents=True)
    for file in (folder / "seed_0").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert by_seed(runs)[0].notes == ()
    held = json.loads((copy / "result.json").read_text())
    (copy / "result.json").write_text(json.dumps(held | {"scores": {"auctioneer": 0.9}}))
    (row,) = read_store(runs)
    assert row.notes[0].startswith("other numbers of the same seed in ")
