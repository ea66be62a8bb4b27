"""A damaged file affects only its own seed: the others train, and one line names the file."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from ioa_marl.cli import app
from ioa_marl.foundations import checkpoint
from ioa_marl.foundations.errors import UserError
from ioa_marl.training import job
from ioa_marl.training.check import evaluate_checkpoint
from ioa_marl.training.config import resolve
from ioa_marl.training.integrity import checksum, seal
from ioa_marl.training.seeds import train_seeds
from ioa_marl.training.store import SeedFolder

SIZE = {"budget": 32, "num_envs": 4, "evaluation": {"points": 4, "episodes": 3}}
CLOCK = ("train_seconds", "steps_per_second", "seeds_together", "files", "checksum", "lost_evaluations")
FILES = ("config.yaml", "provenance.json", "result.json", "evaluation.parquet", "checkpoint/latest.safetensors",
         "checkpoint/best.safetensors", ".lock")  # fmt: skip


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    if data:
        data[len(data) * 3 // 4] ^= 4
    path.write_bytes(data)


def folder_instead(path):
    path.unlink()
    path.mkdir()


def pipe_instead(path):
    path.unlink()
    os.mkfifo(path)


def endless_instead(path):
    path.unlink()
    path.symlink_to("/dev/zero")


DAMAGES = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": cut,
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "flipped": flip,
    "nonsense": lambda path: path.write_bytes(b"\xff\xfe[[[{{{: *a &a"),
    "folder": folder_instead,
    "pipe": pipe_instead,
    "endless": endless_instead,
}


class Killed(BaseException):
    """Raised in place of the end of the process."""


def described(runs, agent="greedy", seeds=2):
    env = {"name": "double_dutch", "preset": "paper"}
    return resolve({"env": env, "device": "cpu", **SIZE, "agent": {"name": agent}, "seeds": seeds, "runs": str(runs)})


def train(runs, agent="greedy"):
    """Train both seeds, and return the messages."""
    said = []
    spec = described(runs, agent)
    train_seeds(spec, spec.seeds, notify=said.append)
    return said


def attempt(runs):
    """Train both seeds, and return the messages and the error, if there is one."""
    said = []
    spec = described(runs)
    try:
        train_seeds(spec, spec.seeds, notify=said.append)
    except UserError as error:
        return said, str(error)
    return said, ""


def killed(runs, evaluations):
    """Create a run that was killed after some of its four evaluations, and return the folders of its seeds."""
    spec, counter, save = described(runs), itertools.count(1), checkpoint.save

    def dying(path, tree):
        save(path, tree)
        if path.name == "latest.safetensors" and next(counter) == 2 * evaluations:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", dying)
        with pytest.raises(Killed):
            train_seeds(spec, spec.seeds)
    return [spec.seed_folder(seed) for seed in spec.seeds]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folders of the two seeds of an undamaged run."""
    runs = tmp_path_factory.mktemp("whole")
    train(runs)
    return [described(runs).seed_folder(seed) for seed in (0, 1)]


def outcome(folder):
    """Return the results of a seed without quantities that depend on the clock."""
    result = {k: v for k, v in json.loads((folder / "result.json").read_text()).items() if k not in CLOCK}
    latest = checkpoint.load(folder / "checkpoint" / "latest.safetensors")
    latest.pop("train_seconds")
    latest.pop("evaluations")
    return result, checkpoint.digest(latest)


def ioa_marl(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_damage_in_the_middle_of_a_run_stops_no_other_seed(name, damage, whole, tmp_path):
    healthy, damaged = killed(tmp_path, 2)
    path = damaged / name
    if name != ".lock" or damage != "cut":
        path.touch()
        DAMAGES[damage](path)
    said, error = attempt(tmp_path)
    if error:
        assert len(error.splitlines()) == 1
        assert str(path) in error
        assert damage == "folder" or name == "checkpoint/latest.safetensors"
        assert outcome(healthy) == outcome(whole[0])
        path.rmdir() if damage == "folder" else path.unlink()
        said += train(tmp_path)
    else:
        assert damage != "folder"
        assert name != "checkpoint/latest.safetensors" or damage == "missing"
    assert outcome(healthy) == outcome(whole[0])
    assert outcome(damaged) == outcome(whole[1])
    for told in said:
        assert len(told.splitlines()) == 1
        assert str(damaged) in told
    table, wanted = (pq.read_table(folder / "evaluation.parquet") for folder in (damaged, whole[1]))
    lost = json.loads((damaged / "result.json").read_text()).get("lost_evaluations", [])
    assert set(lost) | set(table["step"].to_pylist()) == set(wanted["step"].to_pylist())
    if lost:
        assert name == "evaluation.parquet"
        assert any("lacks the evaluations at 8 steps" in told for told in said)


@pytest.mark.parametrize(
    "wrong",
    [{"train_seconds": "long"}, {"best": None}, {"best_step": [1]}, {"evaluations": 5}, {"evaluations": [[1, 2, 3]]},
     {"libraries": 3}],
    ids=str,
)  # fmt: skip
def test_a_checkpoint_that_holds_something_else_stops_no_other_seed(wrong, whole, tmp_path):
    healthy, damaged = killed(tmp_path, 2)
    latest = damaged / "checkpoint" / "latest.safetensors"
    checkpoint.save(latest, {**checkpoint.load(latest), **wrong})
    _, error = attempt(tmp_path)
    assert error.startswith(f"{latest} is no checkpoint of a run")
    assert len(error.splitlines()) == 1
    assert outcome(healthy) == outcome(whole[0])


def test_a_best_checkpoint_that_cannot_be_played_stops_no_seed(whole, tmp_path):
    healthy, damaged = killed(tmp_path, 3)
    best = damaged / "checkpoint" / "best.safetensors"
    checkpoint.save(best, {**checkpoint.load(best), "steps": 8, "policies": [{"weights": "none"}]})
    (damaged / "evaluation.parquet").unlink()
    said, error = attempt(tmp_path)
    assert not error
    assert any(told.startswith(f"{best} cannot be played: ") for told in said)
    assert outcome(healthy) == outcome(whole[0])
    assert json.loads((damaged / "result.json").read_text())["status"] == "done"


def test_what_is_wrong_with_a_seed_is_said_beside_an_error_of_others(tmp_path, monkeypatch):
    _, damaged = killed(tmp_path, 2)
    cut(damaged / "checkpoint" / "latest.safetensors")
    said = []
    spec = described(tmp_path)

    def crash(self, report):
        raise RuntimeError("of the learner")

    monkeypatch.setattr("ioa_marl.training.runner.Trainer.run", crash)
    with pytest.raises(RuntimeError, match="of the learner"):
        train_seeds(spec, spec.seeds, notify=said.append)
    assert any(str(damaged / "checkpoint" / "latest.safetensors") in told for told in said)


def test_a_folder_in_the_place_of_a_lock_is_named(tmp_path):
    spec = described(tmp_path, seeds=1)
    (spec.seed_folder(0) / ".lock").mkdir(parents=True)
    _, error = attempt(tmp_path)
    assert f"{spec.seed_folder(0) / '.lock'} is a folder where a file belongs" in error
    assert SeedFolder(spec.seed_folder(1)).finished()


def test_rows_without_checksums_may_have_anything_under_files_and_no_score(whole, tmp_path):
    for folder in whole:
        shutil.copytree(folder, tmp_path / folder.relative_to(folder.parents[3]))
    path = described(tmp_path).seed_folder(1) / "result.json"
    result = json.loads(path.read_text()) | {"files": [1], "scores": {}}
    del result["checksum"]
    path.write_text(json.dumps(result))
    size = ("budget=32", "num_envs=4", "evaluation.points=4", "evaluation.episodes=3", "seeds=3")
    done = ioa_marl("train", "env=double_dutch", "agent=greedy", *size, f"runs={tmp_path}")
    assert done.exit_code == 0, done.output
    assert described(tmp_path).digest == path.parents[1].name
    assert SeedFolder(path.parents[1] / "seed_2").finished()
    assert "no scored role" in done.stderr


def test_what_of_the_curve_can_be_played_again_is_played_again_and_the_rest_is_said(whole, tmp_path):
    _, folder = killed(tmp_path, 3)
    best = int(checkpoint.load(folder / "checkpoint" / "best.safetensors")["steps"])
    (folder / "evaluation.parquet").unlink()
    for path in folder.glob("events.out.tfevents.*"):
        path.unlink()
    said = train(tmp_path)
    gone = [step for step in (8, 16) if step != best]
    assert json.loads((folder / "result.json").read_text())["lost_evaluations"] == gone
    assert said == [
        f"{folder / 'evaluation.parquet'} lacks the evaluations at {', '.join(map(str, gone))} steps, and there is no "
        "checkpoint of them: the run goes on, and its result says so"
    ]
    wanted = pq.read_table(whole[1] / "evaluation.parquet")
    left = [step not in gone for step in wanted["step"].to_pylist()]
    assert pq.read_table(folder / "evaluation.parquet").equals(wanted.filter(left))
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    assert evaluate_checkpoint(folder).confirmed


def test_a_changed_figure_of_an_earlier_evaluation_is_not_taken_over(tmp_path):
    _, folder = killed(tmp_path, 3)
    table = pq.read_table(folder / "evaluation.parquet")
    place = table.column_names.index("welfare")
    doubled = np.where(np.array(table["step"]) == 8, 2.0, 1.0) * np.array(table["welfare"])
    pq.write_table(table.set_column(place, "welfare", [doubled]), folder / "evaluation.parquet")
    train(tmp_path)
    steps = set(pq.read_table(folder / "evaluation.parquet")["step"].to_pylist())
    lost = json.loads((folder / "result.json").read_text()).get("lost_evaluations", [])
    best = int(checkpoint.load(folder / "checkpoint" / "best.safetensors")["steps"])
    assert lost == ([] if best == 8 else [8])
    assert steps == {8, 16, 24, 32} - set(lost)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["result.json", "config.yaml", "evaluation.parquet"])
def test_a_damaged_row_that_was_done_is_made_again_from_what_is_left(name, damage, whole, tmp_path):
    train(tmp_path)
    folder = described(tmp_path).seed_folder(1)
    DAMAGES[damage](folder / name)
    said, error = attempt(tmp_path)
    if error:
        assert str(folder / name) in error
        assert damage == "folder"
        return
    assert len(said) >= (name != "result.json" or damage != "missing")
    assert all(str(folder) in told for told in said)
    assert outcome(folder) == outcome(whole[1])
    assert SeedFolder(folder).finished()
    assert evaluate_checkpoint(folder).confirmed is True


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_row_stays_when_its_weights_are_damaged_and_that_is_said(damage, tmp_path, capsys):
    spec = described(tmp_path)
    train(tmp_path)
    folder = spec.seed_folder(1)
    row = (folder / "result.json").read_bytes()
    path = folder / "checkpoint" / "latest.safetensors"
    DAMAGES[damage](path)
    job.run(spec)
    said = capsys.readouterr().err
    assert "2 seeds already done" in said
    # A sweep looks at the size of weights only; who plays the row again reads them.
    assert (str(path) in said) == (damage not in ("flipped", "zeroed"))
    assert (folder / "result.json").read_bytes() == row
    refused = ioa_marl("evaluate", folder)
    assert refused.exit_code == 2
    assert str(path) in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def leaves(value, path=()):
    """Return the paths to all values of nested mappings and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        return [path]
    return [leaf for key, inner in items for leaf in leaves(inner, (*path, key))]


def change(tree, path):
    """Change the value at a path a little."""
    *parents, last = path
    for key in parents:
        tree = tree[key]
    old = tree[last]
    tree[last] = old + 1 if isinstance(old, (int, float)) and not isinstance(old, bool) else f"{old}x"


def test_no_value_of_a_finished_row_can_change_unnoticed(whole, tmp_path):
    path = whole[1] / "result.json"
    written = path.read_text()
    paths = leaves(json.loads(written))
    assert {"scores", "references", "metrics", "seed", "digest", "env_steps", "parameters", "code"} <= {
        p[0] for p in paths
    }
    try:
        for place in paths:
            result = json.loads(written)
            change(result, place)
            path.write_text(json.dumps(result))
            assert not SeedFolder(whole[1]).finished(), place
    finally:
        path.write_text(written)
    assert SeedFolder(whole[1]).finished()


FORGED = (
    "scores", "references", "metrics", "env", "preset", "agent", "digest", "seed", "budget", "env_steps", "parameters",
)  # fmt: skip


@pytest.mark.parametrize("key", FORGED)
def test_a_forged_row_with_a_new_checksum_is_caught_by_playing_it_again(key, whole):
    path = whole[1] / "result.json"
    written = path.read_text()
    result = json.loads(written)
    change(result, next(place for place in leaves(result) if place[0] == key))
    result["checksum"] = checksum(result)
    path.write_text(json.dumps(result))
    try:
        assert SeedFolder(whole[1]).finished(), "a checksum does not tell"
        done = ioa_marl("evaluate", whole[1])
    finally:
        path.write_text(written)
    assert done.exit_code == 1
    assert "recorded row: NOT CONFIRMED" in done.stdout
    assert re.search(rf"^    {key}.* recorded, .* (played|in the checkpoint)$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("named", [".", "checkpoint/latest.safetensors", "checkpoint/../checkpoint/latest.safetensors"])
def test_a_row_is_confirmed_by_whatever_path_it_is_named(named, whole, monkeypatch):
    monkeypatch.chdir(whole[1])
    found = evaluate_checkpoint(Path(named))
    assert found.confirmed, found.differences
    monkeypatch.chdir(whole[1] / "checkpoint")
    assert evaluate_checkpoint(Path("latest.safetensors")).confirmed


def test_checkpoints_on_another_disk_behind_a_link_are_those_of_the_row(whole, tmp_path):
    folder = tmp_path / whole[1].parent.name / "seed_1"
    shutil.copytree(whole[1], folder)
    (folder / "checkpoint").rename(tmp_path / "elsewhere")
    (folder / "checkpoint").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "short").symlink_to(folder)
    for named in (folder, tmp_path / "short"):
        found = evaluate_checkpoint(named)
        assert found.confirmed, found.differences


def test_a_row_that_was_trained_on_another_device_is_confirmed_on_this_one(whole, tmp_path):
    spec = dataclasses.replace(described(tmp_path, seeds=2), device="cuda")
    folder = spec.seed_folder(1)
    shutil.copytree(whole[1], folder)
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text().replace("device: cpu", "device: cuda"))
    latest = folder / "checkpoint" / "latest.safetensors"
    tree = checkpoint.load(latest)
    checkpoint.save(latest, {**tree, "spec": {**tree["spec"], "device": "cuda"}})
    result = json.loads((folder / "result.json").read_text()) | {"digest": spec.digest}
    (folder / "result.json").write_text(json.dumps(seal(folder, result)))
    found = evaluate_checkpoint(folder)
    assert found.confirmed, found.differences


def test_a_result_that_cannot_be_read_is_said_when_its_row_is_played_again(whole, tmp_path):
    folder = tmp_path / whole[1].parent.name / "seed_1"
    shutil.copytree(whole[1], folder)
    cut(folder / "result.json")
    found = evaluate_checkpoint(folder)
    assert found.confirmed is False
    assert found.differences[0].startswith(f"{folder / 'result.json'} is damaged")


def test_forged_episodes_and_settings_are_caught_by_playing_again(whole):
    folder = whole[0]
    table = pq.read_table(folder / "evaluation.parquet")
    place = table.column_names.index("welfare")
    kept = {name: (folder / name).read_bytes() for name in ("evaluation.parquet", "config.yaml", "result.json")}
    try:
        changed = table.set_column(place, "welfare", [np.array(table["welfare"]) + 1e-9])
        pq.write_table(changed, folder / "evaluation.parquet")
        found = evaluate_checkpoint(folder)
        assert "does not match its checksum" in found.differences[0]
        assert any("are not those that were played" in line for line in found.differences)
        (folder / "evaluation.parquet").write_bytes(kept["evaluation.parquet"])
        text = kept["config.yaml"].decode()
        (folder / "config.yaml").write_text(text.replace("epsilon: 0.1", "epsilon: 0.2"))
        found = evaluate_checkpoint(folder)
        assert any(line.startswith("config.yaml: agents.") and "0.2, 0.1 in the" in line for line in found.differences)
    finally:
        for name, data in kept.items():
            (folder / name).write_bytes(data)
    found = evaluate_checkpoint(folder)
    assert found.confirmed
    assert len(found.checked) == 3


@pytest.mark.parametrize("pattern", ["events.out.tfevents.*", "checkpoint/best.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_the_remedy_for_files_that_a_sweep_does_not_read_is_one(pattern, damage, tmp_path):
    train(tmp_path)
    folder = described(tmp_path).seed_folder(1)
    path = next(folder.glob(pattern))
    DAMAGES[damage](path)
    found = evaluate_checkpoint(folder)
    assert found.confirmed is False
    assert found.differences[0].startswith(str(path))
    assert "remove result.json, and the same train command" in found.differences[0]
    (folder / "result.json").unlink()
    _, error = attempt(tmp_path)
    assert not error
    assert evaluate_checkpoint(folder).confirmed


def test_a_flipped_bit_in_finished_weights_is_noticed(whole):
    path = whole[1] / "checkpoint" / "latest.safetensors"
    data = path.read_bytes()
    try:
        flip(path)
        done = ioa_marl("evaluate", whole[1])
    finally:
        path.write_bytes(data)
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1
    assert str(path) in done.stderr


def test_a_row_without_checksums_is_played_again_and_says_what_is_not_checked(whole):
    path = whole[1] / "result.json"
    written = path.read_text()
    result = json.loads(written)
    del result["checksum"], result["files"]
    path.write_text(json.dumps(result))
    try:
        found = evaluate_checkpoint(whole[1])
    finally:
        path.write_text(written)
    assert found.confirmed
    assert any("an earlier version wrote no checksums" in line for line in found.checked)
