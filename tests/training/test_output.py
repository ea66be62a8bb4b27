"""The output of a command may be lost or altered; its work is done nevertheless."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ioa_marl.training import job
from ioa_marl.training.config import resolve

TRAIN = ["train", "env=double_dutch", "agent=greedy", "seeds=1", "budget=24", "num_envs=4", "evaluation.episodes=2"]
ASCII = {"PYTHONIOENCODING": "ascii"}
C_LOCALE = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
SAY = """
import sys
from ioa_marl.foundations import output

output.prepare()
for _ in range(10_000):
    print("psi is \\u03c8")
    print("progress \\u2588", file=sys.stderr)
open("done", "w").write("the work")
sys.exit(output.status(0))
"""


def python(script, folder, environment=None, **streams):
    process = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    found = {**os.environ, **(environment or {})}
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, env=found, text=True, check=False, **process)
    assert (folder / "done").read_text() == "the work", done.stderr
    return done


@pytest.mark.parametrize("environment", [ASCII, C_LOCALE], ids=["ascii", "C locale"])
def test_a_character_that_the_output_lacks_is_replaced(environment, tmp_path):
    done = python(SAY, tmp_path, environment)
    assert done.returncode == 0
    assert set(done.stdout.splitlines()) == {"psi is ?"}
    assert set(done.stderr.splitlines()) == {r"progress \u2588"}


def test_an_output_that_is_full_is_told_in_one_line_when_the_work_is_done(tmp_path):
    with Path("/dev/full").open("w") as full:
        done = python(SAY.replace("progress", ""), tmp_path, stdout=full)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == "ioa-marl: the output cannot be written: No space left on device"
        assert python(SAY, tmp_path, stdout=full, stderr=full).returncode == 1
        assert python(SAY, tmp_path, stderr=full).returncode == 0, "what is printed has arrived"


def test_a_reader_who_has_seen_enough_is_told_nothing_more(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = python(SAY.replace('print("progress', 'str("').replace(", file=sys.stderr", ""), tmp_path, stdout=writer)
        assert done.stderr == ""
        assert done.returncode == 1
        assert python(SAY, tmp_path, stderr=writer).returncode == 0
    finally:
        os.close(writer)


def test_what_is_printed_goes_to_no_file_where_the_output_is_closed(tmp_path):
    script = "import os; os.close(1); os.close(2)\n" + SAY.replace(
        "output.prepare()", "output.prepare(); f = open('f', 'w')"
    )
    python(script, tmp_path)
    assert (tmp_path / "f").read_text() == ""


def test_a_line_with_a_long_path_stays_one_line_and_keeps_its_brackets(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "[bold] runs" / ("long" * 50)
    told = []
    monkeypatch.setattr(job, "train_seeds", lambda spec, seeds, report: told.append(seeds))
    monkeypatch.setattr(job.SeedFolder, "result", lambda self: {"status": "done", "scores": {}})
    job.run(
        resolve(
            {
                "env": {"name": "double_dutch", "preset": "paper"}, "agent": {"name": "greedy"}, "device": "cpu",
                "budget": 24, "num_envs": 4, "evaluation": {"episodes": 2}, "seeds": 1, "runs": str(folder),
            }
        )
    )  # fmt: skip
    said = capsys.readouterr().err
    assert str(folder) in said
    assert said.count("\n") == 1
    assert told == []


@pytest.mark.slow
def test_every_command_does_its_work_whatever_becomes_of_what_it_says(tmp_path):
    def run(*arguments, environment=None, **streams):
        command = [sys.executable, "-P", "-m", "ioa_marl", *map(str, arguments)]
        process = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        found = {**os.environ, **(environment or {})}
        return subprocess.run(command, cwd=tmp_path, env=found, text=True, check=False, **process)

    assert run(*TRAIN).returncode == 0
    seed = next((tmp_path / "runs").glob("*/*/*/seed_0"))
    written = {"watch": "out.gif", "leaderboard": "board/leaderboard.csv", "train": "fresh", "mechanisms": "table.csv"}
    for arguments in (
        ["list"],
        ["evaluate", seed],
        ["watch", seed, "--out", "out.gif"],
        ["leaderboard", "runs", "--out", "board"],
        ["mechanisms", "double_auction", "--markets", "2", "--mechanism", "mcafee", "--out", "table.csv"],
        [*TRAIN, "runs=fresh"],
    ):
        for environment in (ASCII,) if arguments[0] in ("watch", "evaluate") else (ASCII, C_LOCALE):
            done = run(*arguments, environment=environment)
            assert done.returncode == 0, (arguments, done.stderr)
            assert (done.stdout + done.stderr).isascii()
        on_stderr = arguments[0] == "train"
        with Path("/dev/full").open("w") as full:
            for streams in ({"stdout": full},) if not on_stderr else ({"stdout": full, "stderr": full},):
                for path in written.values():
                    subprocess.run(["rm", "-rf", path], cwd=tmp_path, check=True)
                done = run(*arguments, **streams)
                assert done.returncode == int(not on_stderr), (arguments, done.stderr)
                assert on_stderr or done.stderr in (
                    None,
                    "ioa-marl: the output cannot be written: No space left on device\n",
                )
                assert arguments[0] not in written or (tmp_path / written[arguments[0]]).exists()


def test_what_a_library_in_c_prints_is_dropped_and_what_python_prints_afterwards_is_not(tmp_path):
    script = """
import ctypes
from ioa_marl.foundations import output

output.prepare()
libc = ctypes.CDLL(None)
libc.puts(b"before")
with output.without_library_output():
    libc.puts(b"remark")
libc.puts(b"after")
libc.fflush(None)
print("table")
open("done", "w").write("the work")
"""
    done = python(script, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split()) == ["after", "before", "table"]
