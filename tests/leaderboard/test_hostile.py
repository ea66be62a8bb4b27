import contextlib
import csv
import html
import io
import json
import re
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import duckdb
import markdown as tensorboards_markdown
import pyarrow as pa
import pytest
from markdown_it import MarkdownIt
from pyarrow import csv as pyarrow_csv
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from ioa_marl.leaderboard.board import make_leaderboard
from ioa_marl.leaderboard.query import read_store
from ioa_marl.leaderboard.seeds import DAMAGED, DONE, FAILED, SeedRow
from ioa_marl.leaderboard.text import visible
from tests.leaderboard.conftest import run_writer
from tests.leaderboard.hostile import CHANGES, CONFIGS, FAILURES, LABELS, RESULTS, SPECIAL, TABLES, build
from tests.leaderboard.test_tensorboard import served, session_groups

TAKEN_FOR_MISSING = {
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
}  # fmt: skip
"""Words that pandas takes for missing values by default."""


@dataclass(frozen=True)
class Made:
    """A leaderboard of a hostile store."""

    runs: Path
    out: Path
    bad: set[str]
    rows: list[SeedRow]
    printed: str

    def lines(self) -> list[dict[str, str]]:
        with (self.out / "leaderboard.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Make the store and its leaderboard."""
    home = tmp_path_factory.mktemp("hostile")
    runs = home / "runs"
    bad = build(runs, run_writer(runs))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        make_leaderboard(runs, home / "out")
    return Made(runs, home / "out", bad, read_store(runs), printed.getvalue())


def test_no_number_of_a_damaged_row_is_shown_and_each_has_its_reason(made: Made) -> None:
    assert len(made.bad) >= len(RESULTS) + len(CHANGES) + len(FAILURES) + len(CONFIGS) + 2 * len(SPECIAL)
    by_agent = {row.agent: row for row in made.rows}
    for agent in made.bad:
        assert by_agent[agent].status in (DAMAGED, FAILED), agent
        assert by_agent[agent].reason, agent
    assert not made.bad & {line["agent"] for line in made.lines() if line["kind"] == "agent"}
    assert made.bad <= {line["agent"] for line in made.lines() if line["kind"] in (DAMAGED, FAILED)}


@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        ("refers_to_itself", "config.yaml is nested more than 64 levels deep"),
        ("expands", "config.yaml holds more than 200000 values"),
        ("endless_for_result.json", "result.json is not a regular file"),
        ("gigabytes_for_result.json", "result.json has 5368709120 bytes; at most 16777216 are read"),
        ("scores_as_text", "scores={'auctioneer': '0.9'} is not a number for each role"),
        ("score_of_nobody", "it has a score of the_moon, which double_dutch does not score"),
        ("seed_as_text", "seed='0' is not a whole number"),
        ("score_infinite", "the score of auctioneer is not a number"),
    ],
)
def test_the_reason_names_what_is_wrong(made: Made, agent: str, reason: str) -> None:
    (row,) = [row for row in made.rows if row.agent == agent]
    assert reason in row.reason


def test_good_rows_are_as_they_are_without_the_bad_ones(made: Made) -> None:
    (good,) = [line for line in made.lines() if line["agent"] == "good"]
    assert (good["kind"], good["rank"], good["seed_scores"]) == ("agent", "1", "0.5 0.7")
    shown = {row.agent for row in made.rows if row.status == DONE}
    assert {f"{name}_for_evaluation.parquet" for name in SPECIAL} <= shown
    assert {f"table_{name}" for name in TABLES} <= shown
    assert {visible(label) for label in LABELS} <= shown


def test_a_metric_that_cannot_be_shown_takes_no_other_along(made: Made) -> None:
    (row,) = [row for row in made.rows if row.agent == "metrics_of_all_kinds"]
    assert dict(row.metrics) == {"return": 54.0, "=1+1": 2.0}
    assert row.notes[0].startswith("result.json has no usable budget, references, metrics., metrics._hparams_/session")


def test_tables_of_odd_kinds_are_curves_or_a_note(made: Made) -> None:
    rows = {row.agent.removeprefix("table_"): row for row in made.rows if row.agent.startswith("table_")}
    with_curve = {name for name, row in rows.items() if row.curve is not None}
    assert with_curve == {"text_returns", "nested_returns", "infinite_returns", "no_rows"}
    for name in set(TABLES) - with_curve:
        assert rows[name].notes[0].startswith("no learning curve: evaluation.parquet"), name
    assert "209715200 rows of 2 columns, more than are read" in rows["many_rows"].notes[0]


def test_reading_changes_nothing_in_the_store_and_runs_nothing(made: Made) -> None:
    assert (made.runs / "precious").read_text() == "mine"
    assert not Path("ran").exists()


def test_reading_takes_no_more_than_half_a_gigabyte(made: Made) -> None:
    program = r"""
import re, sys
from pathlib import Path
from ioa_marl.leaderboard.query import read_store
rows = len(read_store(Path(sys.argv[1])))
# Of this program only; what getrusage says was that of its parent at first.
print(rows, re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(made.runs)], capture_output=True, text=True, check=True, timeout=120
    )
    rows, kibibytes = map(int, done.stdout.split())
    assert rows == len(made.rows)
    assert kibibytes < 2**19


def test_nothing_that_is_printed_or_written_acts_or_hides(made: Made) -> None:
    texts = [made.printed, *((made.out / name).read_text("utf-8") for name in ("leaderboard.md", "leaderboard.csv"))]
    for text in texts:
        assert [c for c in text if not c.isprintable() and c != "\n"] == []
        assert r"\x1b[31mred" in text.replace("\\\\", "\\").replace("\\[", "[")
    assert "[bold]markup[/bold]" in made.printed


def words(line: dict[str, str]) -> list[str]:
    columns = ("env", "preset", "role", "variant", "agent", "label", "digest", "objective", "commit", "reason")
    return [line[name] for name in columns if line[name]]


def test_no_word_in_csv_is_a_number_a_missing_value_or_a_formula(made: Made) -> None:
    lines = made.lines()
    assert len(lines) == len({(line["kind"], line["agent"], line["label"], line["env"], line["variant"], line["digest"])
                              for line in lines})  # fmt: skip
    for word in (word for line in lines for word in words(line)):
        assert word not in TAKEN_FOR_MISSING
        assert word.strip().lower() not in ("true", "false", "infinity", "inf", "-inf", "nan")
        assert not re.match(r"[=+\-@\t\r\d]", word.strip()), word
        assert not re.search(r";\s*[=+\-@]", word), word
        with pytest.raises(ValueError, match="could not convert"):
            float(word)


def test_what_is_marked_in_csv_can_be_taken_back(made: Made) -> None:
    agents = {line["agent"] for line in made.lines() if line["kind"] == "agent"}
    expected = {visible(label) for label in LABELS} - {"a;=1+1"}
    assert expected <= {agent.removeprefix("text-") for agent in agents}
    assert {"text-NA", "text-1e3", "text-=1+1", "text-text-NA", "text-MARCH1"} <= agents


def test_duckdb_and_pyarrow_read_words_as_words(made: Made) -> None:
    path = made.out / "leaderboard.csv"
    expected = made.lines()
    arrow = pyarrow_csv.read_csv(path)
    duck = duckdb.sql(f"SELECT * FROM read_csv('{path}', strict_mode = true)").to_arrow_table()
    for table in (arrow, duck):
        assert table.num_rows == len(expected)
        for name in ("agent", "label", "digest", "commit", "kind", "reason"):
            assert pa.types.is_string(table.schema.field(name).type), name
            assert [value or "" for value in table[name].to_pylist()] == [line[name] for line in expected]
        assert pa.types.is_floating(table.schema.field("score").type)


def test_both_dialects_of_markdown_show_labels_as_they_are(made: Made) -> None:
    text = (made.out / "leaderboard.md").read_text("utf-8")
    github = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)
    tensorboard = tensorboards_markdown.markdown(text, extensions=["tables"])
    for page in (github, tensorboard):
        found = re.findall(r"<td[^>]*>(.*?)</td>", page, re.DOTALL)
        shown = {html.unescape(cell) for cell in found}
        for label in LABELS:
            # White space at the ends is no part of a cell; the longest label has its digest behind it.
            expected = visible(label).strip()
            assert expected in shown or any(cell.startswith(f"{expected} 1") for cell in shown)
        assert set(re.findall(r"<(\w+)", page)) <= {
            "h1", "h2", "table", "thead", "tbody", "tr", "th", "td", "p", "ul", "li", "em",
        }  # fmt: skip


def test_tensorboard_gets_every_row_under_a_name_of_its_own(made: Made) -> None:
    log = made.out / "tensorboard"
    files = list(log.rglob("events.*"))
    shown = {row.folder for row in made.rows}
    assert len(files) == len(shown) + 1
    names = set()
    for file in files:
        inside = file.relative_to(log).as_posix()
        assert re.fullmatch(r"[A-Za-z0-9_.=+,/-]+", inside)
        assert ".." not in file.relative_to(log).parts
        events = EventAccumulator(str(file)).Reload()
        if file.parent.name != "leaderboard":
            start = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
            names.add(metadata.parse_session_start_info_plugin_data(start).group_name)
    assert len(names) == len({(row.env, row.preset, row.agent, row.digest) for row in made.rows})
    assert all(name.isprintable() for name in names)


def test_tensorboard_serves_every_row_and_a_table_in_which_nothing_acts(made: Made) -> None:
    expected = len({(row.env, row.preset, row.agent, row.digest) for row in made.rows})
    with served(made.out / "tensorboard") as address:
        groups = session_groups(address, expected)
        page = f"{address}/data/plugin/text/text?run=leaderboard&tag=leaderboard"
        with urllib.request.urlopen(page, timeout=30) as answer:
            (text,) = json.load(answer)
    names = sorted(str(group["name"]) for group in groups)
    assert [name for name in names if name.split()[-1] == "good"] == ["double_dutch-paper-psi=0.5,_episodes=2 01 good"]
    assert "alert(1)" in text["text"]
    assert not re.search(r"<(script|a|img)\b", text["text"])
