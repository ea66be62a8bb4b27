import csv
import errno
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import stats
from typer.testing import CliRunner

from ioa_marl.cli import app
from ioa_marl.foundations.errors import UserError
from ioa_marl.leaderboard import board, tensorboard
from ioa_marl.leaderboard.board import make_leaderboard
from ioa_marl.leaderboard.marks import Reference
from ioa_marl.leaderboard.query import read_store
from ioa_marl.leaderboard.rows import Board, Leaderboard, arrange
from ioa_marl.leaderboard.spreadsheet import csv_text
from ioa_marl.leaderboard.table import count, markdown, number, print_leaderboard
from ioa_marl.training.audited import sealed

AddRun = Callable[..., Path]


def boards(runs: Path) -> tuple[Board, ...]:
    return arrange(read_store(runs)).boards


def only(runs: Path) -> Board:
    (board,) = boards(runs)
    return board


def labels(board: Board) -> list[str]:
    return [line.name if isinstance(line, Reference) else line.run.label for line in board.mixed()]


def terminal(leaderboard: Leaderboard, width: int) -> list[str]:
    console = Console(width=width, force_terminal=False, legacy_windows=False)
    with console.capture() as captured:
        print_leaderboard(leaderboard, console)
    return captured.get().splitlines()


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_score_is_the_mean_of_the_middle_half_of_the_seeds(runs: Path, add_run: AddRun) -> None:
    add_run("sac", [-9.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 7.0])
    (row,) = only(runs).rows
    assert row.score.value == pytest.approx((0.2 + 0.3 + 0.4 + 0.5) / 4)
    # The market's metrics are treated alike: 120 + seed, of which the middle half are seeds 2 to 5.
    assert row.metrics["messages"] == pytest.approx(123.5)
    assert row.objective == pytest.approx(50.0 + 40.0 * 0.35)


def test_interval_agrees_with_scipys_percentile_bootstrap(runs: Path, add_run: AddRun) -> None:
    scores = [0.31, 0.42, 0.44, 0.47, 0.58, 0.66, 0.71, 0.83, 0.12, 0.5]
    add_run("sac", scores)
    (row,) = only(runs).rows
    peer = stats.bootstrap(
        (scores,), lambda x, axis: stats.trim_mean(x, 0.25, axis=axis), n_resamples=20_000,
        method="percentile", rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert row.score.low == pytest.approx(peer.low, abs=0.015)
    assert row.score.high == pytest.approx(peer.high, abs=0.015)


def test_probability_of_improvement_counts_pairs_of_seeds_with_the_next_row(runs: Path, add_run: AddRun) -> None:
    add_run("sac", [0.1, 0.5, 0.9])
    add_run("ppo", [0.5, 0.2])
    first, second = only(runs).rows
    # Of the six pairs 0.5 > 0.2, 0.9 > 0.5 and 0.9 > 0.2 are won, and 0.5 = 0.5 is half.
    assert first.improvement == pytest.approx(3.5 / 6)
    assert np.isnan(second.improvement)


def test_rows_are_sorted_by_score_among_references_that_have_no_rank(runs: Path, add_run: AddRun) -> None:
    add_run("poor", [-0.2])
    add_run("good", [0.8])
    add_run("fair", [0.3])
    add_run("oracle", [1.0])
    board = only(runs)
    assert labels(board) == [
        "optimum", "oracle", "good", "best constant", "fair", "random play", "poor",
    ]  # fmt: skip
    assert [row.rank for row in board.rows] == [1, 2, 3, 4]
    assert [(mark.score, mark.objective) for mark in board.references] == [(1.0, 90.0), (0.5, 70.0), (0.0, 50.0)]


def test_minutes_are_each_seeds_share_and_nothing_is_told_of_what_does_not_learn(runs: Path, add_run: AddRun) -> None:
    add_run("sac", [0.1, 0.2], steps=(1000,))  # 360 s of three seeds together
    add_run("oracle", [1.0])
    oracle, sac = only(runs).rows
    assert sac.train_minutes == pytest.approx(2.0)
    assert np.isnan(oracle.train_minutes)


def test_a_failed_seed_leaves_the_others_on_the_board_and_is_shown_with_its_reason(runs: Path, add_run: AddRun) -> None:
    add_run("sac", [0.1, 0.2, 0.3])
    (runs / "double_dutch-paper/sac/d0/seed_2/result.json").write_text('{"status": "failed", "error": "E: a|b [c]"}')
    add_run("ppo", [0.0, 0.0], status="running")
    found = arrange(read_store(runs))
    (row,) = found.boards[0].rows
    assert row.scores == (0.1, 0.2)
    assert [(p.run.agent, p.status, p.seeds) for p in found.problems] == [
        ("ppo", "unfinished", (0, 1)),
        ("sac", "failed", (2,)),
    ]
    text = "\n".join(terminal(found, 120))
    assert "E: a|b [c]" in text
    assert "2/3" in text
    assert "E: a\\|b \\[c\\]" in markdown(found)


def test_runs_of_one_agent_are_told_apart_by_the_settings_that_differ(runs: Path, add_run: AddRun) -> None:
    for digest, settings in (
        ("aaaaaaaa1", {"lr": 0.1, "width": 64, "deep": True}),
        ("bbbbbbbb1", {"lr": 0.2, "width": 64, "deep": True}),
        ("cccccccc1", {"lr": 0.3, "width": 64, "deep": True}),
    ):
        add_run("sac", [0.1], digest=digest, settings=settings)
    add_run("sac", [0.0], digest="dddddddd1", settings={f"a_long_setting_{i}": i for i in range(9)})
    add_run("random", [0.2])
    assert {row.run.label for row in only(runs).rows} == {
        "random", "sac lr=0.1", "sac lr=0.2", "sac lr=0.3", "sac dddddd",
    }  # fmt: skip


def test_runs_of_different_budgets_share_a_board(runs: Path, add_run: AddRun) -> None:
    add_run("sac", [0.1], digest="d1")
    add_run("sac", [0.2], digest="d2", budget=50_000)
    assert [row.run.budget for row in only(runs).rows] == [50_000, 1000]


def test_a_market_with_other_settings_gets_a_board_of_its_own(runs: Path, add_run: AddRun) -> None:
    add_run("sac", [0.1], digest="d1")
    add_run("sac", [0.2], digest="d2", env_settings={"psi": 0.7})
    assert [board.title for board in boards(runs)] == [
        "double_dutch paper · auctioneer · psi=0.5",
        "double_dutch paper · auctioneer · psi=0.7",
    ]


def test_titles_of_boards_stay_short_and_their_folders_apart(runs: Path, add_run: AddRun) -> None:
    for i in range(3):
        add_run("sac", [0.1], digest=f"d{i}", env_settings={f"knob_{k}": i + k for k in range(9)})
    damaged = add_run("sac", [0.2], digest="d9")
    (damaged / "seed_0" / "config.yaml").unlink()
    found = boards(runs)
    assert sorted(board.variant for board in found) == [
        "knob_0=0, knob_1=1, knob_2=2, …",
        "knob_0=1, knob_1=2, knob_2=3, …",
        "knob_0=2, knob_1=3, knob_2=4, …",
        "settings unknown",
    ]
    assert len({board.slug for board in found}) == 4


def test_the_training_limit_of_cycles_does_not_part_boards(runs: Path, add_run: AddRun) -> None:
    add_run("sac", [0.1], digest="d1")
    add_run("sac", [0.2], digest="d2", env_settings={"max_cycles": 20})
    assert len(only(runs).rows) == 2


def test_a_market_that_is_not_installed_is_shown_with_the_metrics_there_are(runs: Path, add_run: AddRun) -> None:
    add_run("sac", [0.1, 0.4], env="market_of_elsewhere")
    board = only(runs)
    assert board.objective == "return"
    assert board.metrics == ("efficiency", "messages")
    assert board.rows[0].score.value == pytest.approx(0.25)


def test_a_run_without_a_scored_role_has_a_row_without_a_score(runs: Path, add_run: AddRun) -> None:
    add_run("sac", [0.1], scores={})
    found = arrange(read_store(runs))
    (board,) = found.boards
    assert (board.role, len(board.rows), board.references) == (None, 1, ())
    assert any("n/a" in line for line in terminal(found, 120))


def test_what_audits_of_all_seeds_found_is_beside_the_score(runs: Path, add_run: AddRun) -> None:
    audited, other = add_run("ppo", [0.5, 0.7], sealed=True), add_run("sac", [0.4, 0.6], sealed=True)
    for folder, seeds in ((audited, (0, 1)), (other, (0,))):
        for seed in seeds:
            at = folder / f"seed_{seed}"
            finding = {"name": "regret", "value": 1.25 + seed, "column": "regret"}
            nothing = {"name": "pair", "value": None, "column": "collusion_gain"}
            found = sealed({"findings": [finding, nothing]}, json.loads((at / "result.json").read_text()))
            (at / "audit.json").write_text(json.dumps(found))
    lines = terminal(arrange(read_store(runs)), 160)
    assert any("audit: regret" in line for line in lines)
    assert not any("collusion_gain" in line for line in lines)
    assert "1.750" in next(line for line in lines if "ppo" in line)
    assert "1.250" not in next(line for line in lines if "sac" in line)  # its other seed has no audit


def test_audits_that_searched_differently_have_no_common_figure(runs: Path, add_run: AddRun) -> None:
    folder = add_run("ppo", [0.5, 0.7], sealed=True)
    for markets in (200, 2):
        for seed in (0, 1):
            at = folder / f"seed_{seed}"
            searched = {"settings": {"markets": 200 if seed == 0 else markets}}
            finding = {"name": "regret", "value": 1.25 + seed, "column": "regret"}
            row = json.loads((at / "result.json").read_text())
            (at / "audit.json").write_text(json.dumps(sealed({**searched, "findings": [finding]}, row)))
        (board,) = arrange(read_store(runs)).boards
        assert board.audited == (("regret",) if markets == 200 else ())


@pytest.mark.parametrize("harm", ["of another row", "changed"])
def test_an_audit_that_is_not_of_its_row_is_a_note_and_no_figure(harm, runs: Path, add_run: AddRun) -> None:
    at = add_run("ppo", [0.5], sealed=True) / "seed_0"
    row = json.loads((at / "result.json").read_text())
    found = sealed({"findings": [{"value": 1.0, "column": "regret"}]}, row if harm == "changed" else {"checksum": "x"})
    if harm == "changed":
        found["findings"][0]["value"] = 0.0
    (at / "audit.json").write_text(json.dumps(found))
    (seed,) = read_store(runs)
    assert seed.status == "done"
    assert seed.audit == {}
    assert any("audit.json" in note and "ioa-marl audit" in note for note in seed.notes)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_the_table_fits_the_terminal(runs: Path, add_run: AddRun, width: int) -> None:
    add_run("sac", [-10.31, 0.25, 0.4], settings={"learning_rate": 0.0003}, digest="d1")
    add_run("sac", [0.3, 0.2], settings={"learning_rate": 0.001}, digest="d2")
    add_run("ppo", [0.7], status="failed", error="ValueError: " + "a long story " * 9)
    text = terminal(arrange(read_store(runs)), width)
    assert max(map(len, text)) <= width
    header = next(line for line in text if "agent" in line)
    for column in ("#", "agent", "score") if width < 80 else ("#", "agent", "score", "return", "seeds"):
        assert column in header
    row = next(line for line in text if "sac" in line)
    assert "0.250 [0.200, 0.300]" in row or "-3.220" in row


def test_one_hundred_and_twenty_columns_hold_all_but_the_third_metric(runs: Path, add_run: AddRun) -> None:
    add_run("sac", [-0.1, 0.1], metrics={"return": 57.9, "efficiency": 0.98, "messages": 261.7, "ticks": 31.5})
    text = terminal(arrange(read_store(runs)), 120)
    assert next(line for line in text if "agent" in line).split() == [
        "#", "agent", "score", "[95%", "interval]", "efficiency", "messages", "return", "P(>next)", "steps/s",
        "minutes", "params", "seeds", "budget", "commit",
    ]  # fmt: skip
    assert any("too narrow for ticks" in line for line in text)


def test_one_seed_has_a_dash_for_its_interval(runs: Path, add_run: AddRun) -> None:
    add_run("sac", [0.25])
    assert any("0.250 –" in line for line in terminal(arrange(read_store(runs)), 120))


def test_csv_gives_back_every_number_exactly_and_every_failure(runs: Path, add_run: AddRun, tmp_path: Path) -> None:
    scores = [0.1, 1 / 3, 0.7000000000000001]
    add_run("sac", scores)
    add_run("ppo", [0.0], status="failed", error='E: "quoted", with a comma')
    path = tmp_path / "board.csv"
    path.write_text(csv_text(arrange(read_store(runs))), encoding="utf-8")
    lines = {line["label"]: line for line in lines_of(path)}
    assert [line["kind"] for line in lines.values()] == ["reference", "reference", "agent", "reference", "failed"]
    sac = lines["sac"]
    assert [float(score) for score in sac["seed_scores"].split()] == scores
    assert float(sac["score"]) == pytest.approx(sum(scores) / 3, rel=1e-15)
    assert (sac["rank"], sac["seeds"], sac["budget"], sac["commit"]) == ("1", "0 1 2", "1000", "git-0123456789abcdef")
    assert sac["digest"] == "run-d0"
    assert float(sac["metric.efficiency"]) == 0.9
    assert sac["probability_of_improvement"] == ""
    assert lines["ppo"]["reason"] == 'E: "quoted", with a comma'
    assert float(lines["best constant"]["score"]) == 0.5


def test_the_command_writes_all_files_and_says_how_to_open_them(
    runs: Path, add_run: AddRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_run("sac", [0.1, 0.2], steps=(500, 1000))
    out = tmp_path / "a board"
    make_leaderboard(runs, out)
    said = capsys.readouterr().out.splitlines()
    assert sorted(path.name for path in out.iterdir()) == ["leaderboard.csv", "leaderboard.md", "tensorboard"]
    assert [line for line in said if f"tensorboard --logdir '{out}/tensorboard'" in line and "HPARAMS" in line]
    assert "| *ref* | *optimum* | *1.000* |" in (out / "leaderboard.md").read_text()


def test_a_second_leaderboard_replaces_the_first_and_nothing_else(runs: Path, add_run: AddRun, tmp_path: Path) -> None:
    out = tmp_path / "board"
    add_run("sac", [0.1])
    make_leaderboard(runs, out)
    (out / "notes.txt").write_text("mine")
    add_run("ppo", [0.3])
    make_leaderboard(runs, out)
    assert {line["agent"] for line in lines_of(out / "leaderboard.csv")} == {"", "ppo", "sac"}
    assert {path.name for path in (out / "tensorboard" / "double_dutch-paper").iterdir()} == {"ppo", "sac"}
    assert (out / "notes.txt").read_text() == "mine"


def test_the_default_place_inside_the_store_is_not_taken_for_a_run(runs: Path, add_run: AddRun) -> None:
    add_run("sac", [0.1])
    make_leaderboard(runs, runs / "leaderboard")
    assert len(read_store(runs)) == 1


def test_a_full_disk_is_one_line_and_leaves_the_former_leaderboard(
    runs: Path, add_run: AddRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "board"
    add_run("sac", [0.1])
    make_leaderboard(runs, out)
    before = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tensorboard, "write_log", full)
    add_run("ppo", [0.3])
    with pytest.raises(UserError) as told:
        make_leaderboard(runs, out)
    assert str(told.value) == f"cannot write the leaderboard to {out}: No space left on device"
    assert {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()} == before


def test_everything_is_written_before_anything_is_printed(
    runs: Path, add_run: AddRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(board, "print_leaderboard", closed)
    add_run("sac", [0.1])
    with pytest.raises(BrokenPipeError):
        make_leaderboard(runs, tmp_path / "board")
    assert sorted(path.name for path in (tmp_path / "board").iterdir()) == [
        "leaderboard.csv", "leaderboard.md", "tensorboard",
    ]  # fmt: skip


def test_a_file_in_the_way_is_told_in_one_line(runs: Path, add_run: AddRun, tmp_path: Path) -> None:
    add_run("sac", [0.1])
    (tmp_path / "board").write_text("mine")
    with pytest.raises(UserError, match="cannot write the leaderboard to"):
        make_leaderboard(runs, tmp_path / "board")
    assert (tmp_path / "board").read_text() == "mine"


def test_somebody_elses_log_directory_is_not_replaced(runs: Path, add_run: AddRun, tmp_path: Path) -> None:
    add_run("sac", [0.1])
    mine = tmp_path / "board" / "tensorboard" / "events"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(UserError, match="choose another folder with --out"):
        make_leaderboard(runs, tmp_path / "board")
    assert mine.read_text() == "mine"


def test_a_store_where_nothing_is_done_still_tells_why(runs: Path, add_run: AddRun, tmp_path: Path) -> None:
    add_run("sac", [0.1], status="failed", error="ValueError: no")
    make_leaderboard(runs, tmp_path / "board")
    (line,) = lines_of(tmp_path / "board" / "leaderboard.csv")
    assert (line["kind"], line["agent"], line["reason"]) == ("failed", "sac", "ValueError: no")


def test_the_command_tells_of_a_missing_store_in_one_line_with_status_two(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["leaderboard", str(tmp_path / "nowhere")])
    assert done.exit_code == 2
    assert done.output.splitlines() == [f"ioa-marl: there is no run store {tmp_path / 'nowhere'}"]


def test_numbers_are_short_and_keep_their_size() -> None:
    assert [number(x) for x in (0.98765432, 0.0, 57.126, 1234.5, 2.5e-7, None)] == [
        "0.9877", "0", "57.13", "1,234", "2.5e-07", "–",
    ]  # fmt: skip
    assert [count(x) for x in (950.0, 2000, 10_000, 123_456, 999_950, 1_500_000, 10**12, float("nan"))] == [
        "950", "2000", "10k", "123k", "1M", "1.5M", "1T", "–",
    ]  # fmt: skip


def test_markup_in_settings_is_shown_as_it_is(runs: Path, add_run: AddRun) -> None:
    add_run("sac", [0.1], digest="d1", env_settings={"psi": "[bold]x[/bold]"})
    add_run("sac", [0.1], digest="d2", env_settings={"psi": "[/nothing]"})
    text = "\n".join(terminal(arrange(read_store(runs)), 120))
    assert "psi=[bold]x[/bold]" in text
    assert "psi=[/nothing]" in text


def test_scores_of_any_size_make_a_board(runs: Path, add_run: AddRun, tmp_path: Path) -> None:
    add_run("high", [9e37, -9e37, 5e-324], steps=(500, 1000))
    add_run("low", [-9e37], steps=(500, 1000))
    add_run("same", [0.0, 0.0], steps=(500, 1000))
    make_leaderboard(runs, tmp_path / "board")
    lines = {line["agent"]: line for line in lines_of(tmp_path / "board" / "leaderboard.csv")}
    assert [float(score) for score in lines["high"]["seed_scores"].split()] == [9e37, -9e37, 5e-324]
