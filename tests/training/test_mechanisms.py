"""The command that compares mechanisms: what it prints and writes, and that nothing is written on a mistake."""

from __future__ import annotations

import csv
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from ioa_marl.cli import app
from ioa_marl.training import mechanisms as command

RUN = ["train", "env=double_dutch", "agent=greedy", "seeds=1", "budget=24", "num_envs=4", "evaluation.episodes=2"]


@pytest.fixture
def ask(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, ["mechanisms", *map(str, arguments)])


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return {row["mechanism"]: row for row in csv.DictReader(file)}


def test_a_comparison_is_printed_and_written(ask, tmp_path):
    done = ask("double_auction", "--markets", 5, "--grid", 3, "--out", "table.csv", "--picture", "deep/picture.png")
    assert done.exit_code == 0, done.output
    assert "double_auction: preset paper, seed 0, 5 markets; base: fixed_step" in done.output
    assert "written: table.csv  deep/picture.png" in done.output
    found = rows(tmp_path / "table.csv")
    assert next(iter(found)) == "fixed_step"
    assert "learnt" not in found
    assert float(found["mcafee"]["regret_lower_bound"]) == 0.0 < float(found["k_double"]["regret_lower_bound"])
    assert (tmp_path / "deep/picture.png").read_bytes().startswith(b"\x89PNG")


def test_own_bids_and_chosen_mechanisms(ask, tmp_path):
    sides = {"buyer": (10, 8, 6, 3), "seller": (1, 2, 5, 7)}
    lines = [f"a,{side},{value}" for side, values in sides.items() for value in values]
    (tmp_path / "mine.csv").write_text("\n".join(["market,side,value", *lines]))
    chosen = "--mechanism", "vcg", "--mechanism", "k_double"
    done = ask("double_auction", "--bids", "mine.csv", *chosen, "--k", 1, "--out", "t.csv")
    assert done.exit_code == 0, done.output
    found = rows(tmp_path / "t.csv")
    assert list(found) == ["vcg", "k_double"]
    assert (float(found["vcg"]["budget_surplus"]), float(found["k_double"]["revenue"])) == (-3.0, 18.0)
    assert found["vcg"]["source"] == "bids of mine.csv"


def test_options_reach_the_other_families(ask, tmp_path):
    done = ask("single_item", "--markets", 3, "--mechanism", "msb", "--rho", 1.25, "--grid", 3)
    assert "msb: ρ 1.25" in done.output, done.output
    done = ask("shares", "--markets", 1, "--mechanism", "qvcg", "--quanta", 2, "--grid", 2, "--preset", "paper")
    assert "qvcg: 2 units" in done.output, done.output


def test_a_trained_auctioneer_is_compared(ask, tmp_path):
    assert CliRunner().invoke(app, RUN).exit_code == 0
    seed = next((tmp_path / "runs").glob("*/*/*/seed_0"))
    done = ask("double_auction", "--checkpoint", seed, "--markets", 3, "--grid", 3, "--out", "t.csv")
    assert done.exit_code == 0, done.output
    found = rows(tmp_path / "t.csv")
    assert "greedy, trained on double_dutch-paper, seed 0" in found["learnt"]["setting"]
    assert 0.0 < float(found["learnt"]["efficiency"]) <= 1.0
    assert float(found["learnt"]["messages"]) > 20.0
    refused = ask("double_auction", "--checkpoint", seed, "--mechanism", "mcafee")
    assert "--checkpoint is not allowed without learnt" in refused.output
    refused = ask("double_auction", "--checkpoint", seed, "--preset", "thick", "--mechanism", "learnt", "--markets", 2)
    assert "buyers=50 is not allowed: use at most 10 with this checkpoint" in refused.output
    refused = ask("double_auction", "--checkpoint", tmp_path / "runs")
    assert refused.exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["auction"], "unknown family 'auction': did you mean double_auction?"),
        (["double_auction", "--rho", "2"], "--rho is not allowed with double_auction: it is an option of single_item"),
        (["shares", "--k", "1"], "--k is not allowed with shares: it is an option of double_auction"),
        (["double_auction", "--psi", "2"], "psi=2.0 is not allowed: use 0 to 1"),
        (["double_auction", "--mechanism", "vgc"], "unknown mechanism 'vgc'"),
        (["double_auction", "--preset", "papre"], "preset=papre is not allowed: use paper"),
        (["double_auction", "--markets", "0"], "markets=0 is not allowed: use 1 to 100000"),
        (["double_auction", "--bids", "none.csv"], "none.csv cannot be read: No such file"),
        (["double_auction", "--bids", "bad.csv"], "bad.csv, line 2: value=x is not allowed: use a number from 0 to"),
        (["double_auction", "--bids", "bad.csv", "--markets", "3"], "--markets is not allowed with --bids"),
        (["double_auction", "--out", "table.txt"], "table.txt is not allowed: use a name that ends with .csv"),
        (["double_auction", "--picture", "p.jpg"], "p.jpg is not allowed: use a name that ends with .png"),
        (["double_auction", "--checkpoint", "nowhere"], "nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(ask, tmp_path, arguments, message):
    (tmp_path / "bad.csv").write_text("market,side,value\n1,buyer,x\n")
    before = sorted(path.name for path in tmp_path.iterdir())
    done = ask(*arguments, *([] if "--out" in arguments else ["--out", "out.csv"]))
    assert done.exit_code == 2, done.output
    said = done.stderr.strip().splitlines()
    assert said[-1].startswith("ioa-marl: ")
    assert message in said[-1]
    assert len(said) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_failed_comparison_leaves_former_files(ask, tmp_path, monkeypatch):
    (tmp_path / "out.csv").write_text("former")

    def fail(comparison):
        raise OSError("no picture")

    monkeypatch.setattr(command, "_png", fail)
    done = ask("double_auction", "--markets", 1, "--mechanism", "vcg", "--out", "out.csv", "--picture", "p.png")
    assert done.exit_code != 0
    assert (tmp_path / "out.csv").read_text() == "former"


def test_help_loads_neither_numba_nor_torch(tmp_path):
    script = (
        "import sys\nfrom typer.testing import CliRunner\nfrom ioa_marl.cli import app\n"
        "done = CliRunner().invoke(app, ['mechanisms', '--help'])\n"
        "assert done.exit_code == 0 and 'market,side,value' in done.output, done.output\n"
        "assert not {'numba', 'torch', 'matplotlib', 'scipy'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
