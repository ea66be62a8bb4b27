"""ioa-marl audit: what it finds stays with the row, can be found again, and mistakes take one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ioa_marl.cli import app
from ioa_marl.leaderboard.query import read_store
from ioa_marl.leaderboard.rows import arrange
from ioa_marl.training.audited import columns_of, sealed
from ioa_marl.training.compose import specification
from ioa_marl.training.seeds import train_seeds

RUN = ("env=double_dutch", "agent=two_phase", "seeds=2", "evaluation.final_episodes=5")
QUICK = ("--markets", "3", "--reports", "3", "--quiet")


def audit(*arguments, status=0):
    done = CliRunner().invoke(app, ["audit", *map(str, arguments)])
    assert done.exit_code == status, done.output
    return done


@pytest.fixture
def store(tmp_path):
    spec = specification([*RUN, f"runs={tmp_path / 'runs'}"])
    train_seeds(spec, spec.seeds)
    return spec


def test_an_audit_of_a_run_is_on_its_board(store):
    done = audit(*RUN, f"runs={store.runs}", *QUICK)
    assert done.stdout.count("on the leaderboard: ") == 2
    for seed in store.seeds:
        folder = store.seed_folder(seed)
        written = json.loads((folder / "audit.json").read_text())
        assert written["row"] == json.loads((folder / "result.json").read_text())["checksum"]
        assert (folder / "audit.png").read_bytes().startswith(b"\x89PNG")
    (board,) = arrange(read_store(store.runs)).boards
    assert set(board.audited) == {"regret", "collusion_gain", "ir_violations", "budget_residual"}
    assert board.rows[0].audit["regret"] > 0


def test_the_same_audit_is_confirmed_and_a_forged_one_is_not(store):
    folder = store.seed_folder(0)
    assert "earlier audit" not in audit(folder, *QUICK).stdout
    assert "confirmed to the bit" in audit(folder / "checkpoint" / "latest.safetensors", *QUICK).stdout
    path = folder / "audit.json"
    forged = json.loads(path.read_text())
    forged["findings"][0]["value"] = 0.0
    del forged["checksum"]
    path.write_text(json.dumps(sealed(forged, json.loads((folder / "result.json").read_text()))))
    assert "NOT CONFIRMED" in audit(folder, *QUICK, status=1).stdout
    assert "confirmed to the bit" in audit(folder, *QUICK).stdout
    assert "earlier audit" not in audit(folder, "--markets", "4", "--quiet").stdout  # another search


def test_the_row_stays_confirmed_beside_an_audit(store):
    audit(store.folder, *QUICK)
    done = CliRunner().invoke(app, ["evaluate", str(store.seed_folder(1))])
    assert done.exit_code == 0
    assert "confirmed to the bit" in done.stdout


def test_scripted_policies_are_audited_without_a_row(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture = tmp_path / "a.png"
    done = audit("env=double_dutch/thin", "agent=two_phase", "--picture", picture, *QUICK)
    assert "not kept" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [picture]


def test_a_learnt_best_response_is_one_more_deviation(store):
    learnt = ("--best-response", "auctioneer", "--learner", "ppo", "--budget", "2048")
    assert "best_response_auctioneer" in audit(store.seed_folder(0), *learnt, *QUICK).stdout
    written = json.loads((store.seed_folder(0) / "audit.json").read_text())
    assert written["best_response"] == {"role": "auctioneer", "learner": "ppo", "budget": 2048}
    (finding,) = [f for f in written["findings"] if f["name"] == "best_response_auctioneer"]
    assert finding["kind"] == "lower bound"
    assert "earlier audit" not in audit(store.seed_folder(0), *QUICK).stdout  # another search


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("env=double_dutch", "agent=two_phase", "--best-response", "nobody"), "nobody"),
        (("env=double_dutch", "agent=two_phase", "--best-response", "buyer", "--learner", "random"), "random"),
        ((), "say what is audited"),
        (("nowhere",), "nowhere"),
        (("env=double_dutch", "agent=ppo"), "has to be trained before it can be audited"),
        (("env=double_dutch", "agent=two_phase", "runs"), "name folders, or settings"),
        (("env=double_dutch", "agent=two_phase,greedy"), "use one value"),
        (("env=double_duch", "agent=two_phase"), "double_dutch"),
        (("env=double_dutch", "agent=two_phase", "--markets", "1"), "markets=1"),
        (("env=double_dutch", "agent=two_phase", "--reports", "1"), "reports=1"),
        (("env=double_dutch", "agent=two_phase", "--markets", 10**9), "use 2 to 100000"),
        (("env=double_dutch", "agent=oracle", "--reports", 10**9), "use 2 to 1000"),
        (("a" * 5000,), "there is no checkpoint"),
        (("env=" + "a" * 5000,), "a value of 5000 characters"),
        (("env=double_dutch", "agent=two_phase", "--picture", "a.txt"), ".png"),
        (("env=double_dutch", "agent=two_phase", "--picture", "/proc/a.png"), "cannot write"),
        (("env=double_dutch", "agent=two_phase", "--picture", "a" * 251 + ".png"), "cannot write"),
    ],
)
def test_a_mistake_takes_one_line_and_writes_nothing(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = audit(*arguments, "--quiet", status=2)
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("name", ["audit.json", "audit.png"])
def test_a_folder_in_the_place_of_a_file_is_refused_before_anything_is_played(name, store, monkeypatch):
    folder = store.seed_folder(0)
    (folder / name).mkdir()
    before = sorted(folder.iterdir())
    monkeypatch.setattr("ioa_marl.training.audit.run_audit", lambda *_: pytest.fail("it was played"))
    done = audit(folder, *QUICK, status=2)
    assert f"{name}: it is a folder" in done.stderr
    assert sorted(folder.iterdir()) == before


def test_policies_of_another_seed_are_not_audited_as_those_of_a_row(store):
    one, other = (store.seed_folder(seed) / "checkpoint" / "latest.safetensors" for seed in (0, 1))
    one.write_bytes(other.read_bytes())
    assert "is not the checkpoint of the row" in audit(store.seed_folder(0), *QUICK, status=2).stderr
    assert not (store.seed_folder(0) / "audit.json").exists()


def test_an_audit_is_kept_with_its_row_if_the_checkpoints_are_in_another_place(store, tmp_path):
    folder = store.seed_folder(0)
    (folder / "checkpoint").rename(tmp_path / "elsewhere")
    (folder / "checkpoint").symlink_to(tmp_path / "elsewhere")
    audit(folder, *QUICK)
    assert (folder / "audit.json").is_file()


@pytest.mark.parametrize(
    "finding",
    [
        {"column": ["regret"], "value": 1.0},
        {"column": "regret", "value": 10**400},
        {"column": "regret"},
        "regret",
        None,
    ],
)
def test_a_malformed_figure_is_left_out(finding):
    good = {"column": "ir_violations", "value": 0.5}
    assert columns_of({"findings": [finding, good]}) == {"ir_violations": 0.5}
