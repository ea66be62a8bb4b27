import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ioa_marl.leaderboard.labels import labels_of, shown_agent, variants_of
from ioa_marl.leaderboard.text import file_name, first_line, in_csv, shortened, unique, visible

AddRun = Callable[..., Path]


def test_what_acts_or_hides_becomes_an_escape_and_the_rest_stays() -> None:
    assert visible("a\x1b[0m\x9b\u202e\u2028\ufeff\U000e0001") == r"a\x1b[0m\x9b\u202e\u2028\ufeff\U000e0001"
    assert visible("ünï 日本 é {}[]|") == "ünï 日本 é {}[]|"


def test_bytes_of_file_names_read_the_same_in_every_locale() -> None:
    name = "β\udcff".encode("utf-8", "surrogateescape")
    for encoding in ("utf-8", "ascii"):  # what os.fsdecode does in a locale of UTF-8, and in the C locale
        assert visible(name.decode(encoding, "surrogateescape")) == "β\\xff"


def test_long_text_has_an_ellipsis_and_many_lines_are_one() -> None:
    assert shortened("abcdef", 4) == "abc…"
    assert shortened("abcd", 4) == "abcd"
    assert first_line("\n one\ntwo") == "one"
    assert len(first_line("x" * 10_000)) == 300


@pytest.mark.parametrize(
    "word",
    ["5", "-5", "+5", "=a", "@a", ".5", ",5", "5%", "$5", "(5)", "１２", "²", "NA", "n/a", "nan", "NULL", "None", "inf",
     "Infinity", "TRUE", "no", "1e5", "12345e67890", "0x10", "12:30", "2020-01-01", "Jan 5", "SEP2", "oct-4", "#N/A",
     " 7", "text-", "text-a"],
)  # fmt: skip
def test_words_that_mean_something_else_are_marked(word: str) -> None:
    assert in_csv(word) == f"text-{word}"


@pytest.mark.parametrize(
    "word", ["", "ppo", "sac lr=0.1", "best constant", "runs/x", "march_hare", "nano", "/a", "β", "_"]
)
def test_other_words_are_not_marked(word: str) -> None:
    assert in_csv(word) == word


def test_file_names_are_plain_and_names_become_unique_whatever_there_is() -> None:
    assert [file_name(text) for text in ("../..", "β", "a/b:c", "x" * 300)] == ["_", "_", "a_b_c", "x" * 100]
    names = ["a", "a", "A", "a-1", "b", "a-2"]
    assert unique(names)[3:] == ["a-1", "b", "a-2"]
    assert len({name.lower() for name in unique(names)}) == len(names)


def test_many_names_become_unique_at_once() -> None:
    assert len(set(unique(["same"] * 50_000))) == 50_000


def test_an_agent_that_is_called_what_another_is_labelled_has_its_digest() -> None:
    labels = labels_of(
        [("board", "sac"), ("board", "sac"), ("board", "sac lr=1")],
        ["d1", "d2", "d3"],
        [{"agent.lr": 1}, {"agent.lr": 2}, {}],
    )
    assert labels == ["sac lr=1 (d1)", "sac lr=2", "sac lr=1 (d3)"]


def test_titles_hold_long_settings_in_short() -> None:
    first, second = variants_of([("market", {"env.level": "a" * 500}), ("market", {"env.level": "b" * 500})])
    assert first == "level=" + "a" * 33 + "…"
    assert second == "level=" + "b" * 33 + "…"


def test_a_board_is_the_same_in_every_locale(runs: Path, add_run: AddRun, tmp_path: Path) -> None:
    add_run("sac", [0.1], digest="d1", settings={"β": 1.0}, steps=(500, 1000))
    add_run("sac", [0.2], digest="d2", settings={"β": "größer"}, steps=(500, 1000))
    odd = runs / "double_dutch-paper" / "ψ" / "d" / "seed_0"
    odd.mkdir(parents=True)
    (odd / ".lock").touch()
    command = [sys.executable, "-c", "from ioa_marl.cli import main; main()", "leaderboard", str(runs), "--out"]
    made = {}
    for name, setting in (("utf8", {"PYTHONUTF8": "1"}), ("c", {"PYTHONUTF8": "0"})):
        locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "utf-8"}
        done = subprocess.run(
            [*command, str(tmp_path / name)], env=os.environ | locale | setting, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        made[name] = {
            path.relative_to(tmp_path / name).as_posix(): path.read_bytes()
            for path in (tmp_path / name).rglob("*.*")
            if path.is_file() and not path.name.startswith("events")
        } | {"printed": done.stdout.replace(os.fsencode(tmp_path / name), b"")}
    assert made["c"] == made["utf8"]
    assert "β=größer" in made["c"]["leaderboard.md"].decode()
    assert "| ψ |" in made["c"]["leaderboard.md"].decode()


@pytest.mark.parametrize(
    ("agent", "settings", "shown"),
    [
        ("loaded", {"agent.shown_as": "sac of thin, 5 steps"}, "sac of thin, 5 steps"),
        ("loaded", {}, "loaded"),
        ("loaded", {"agent.shown_as": "null"}, "loaded"),
        ("station=loaded", {"agent.shown_as": "old"}, "station=old"),
        ("sac,station=loaded", {"roles.auctioneer.agent.name": "sac", "roles.station.agent.name": "loaded",
                                "roles.station.agent.shown_as": "old"}, "sac,station=old"),
        ("loaded,station=sac", {"roles.auctioneer.agent.name": "loaded", "roles.station.agent.name": "sac",
                                "roles.auctioneer.agent.shown_as": "old"}, "old,station=sac"),
    ],
)  # fmt: skip
def test_a_loaded_policy_is_shown_as_what_it_is(agent: str, settings: dict[str, str], shown: str) -> None:
    assert shown_agent(agent, settings) == shown


def test_a_board_of_ones_own_table_always_says_so_and_no_two_boards_have_one_title():
    own = {"env.data": "table of 3 rows (abc)", "env.coalitions": "[]", "env.level": 1}
    assert variants_of([("market", own)]) == ["data=table of 3 rows (abc)"]
    assert variants_of([("market", {"env.data": "null", "env.level": 1})]) == [""]
    boards = [
        {**own, "env.coalitions": "[[0,1]]", "env.mechanism": "bank"}, {**own, "env.mechanism": "bank"},
        {**own, "env.coalitions": "[[0,1]]", "env.mechanism": "vcg"},
    ]  # fmt: skip
    titles = variants_of([("market", settings) for settings in boards])
    assert len(set(titles)) == 3
    assert all("data=table of 3 rows (abc)" in title for title in titles)
    assert ["coalitions=[[0,1]]" in title for title in titles] == [True, False, True]
    # The value that most boards share distinguishes nothing, except where two titles would be the same.
    common = [{"env.a": 1, "env.b": 1}, {"env.a": 1, "env.b": 2}, {"env.a": 1, "env.b": 2, "env.c": 0}]
    titles = variants_of([("market", settings) for settings in common])
    assert len(set(titles)) == 3
