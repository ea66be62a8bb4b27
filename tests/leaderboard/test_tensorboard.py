import json
import math
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata

from ioa_marl.leaderboard import tensorboard
from ioa_marl.leaderboard.board import make_leaderboard

AddRun = Callable[..., Path]
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture
def log(runs: Path, add_run: AddRun, tmp_path: Path) -> Path:
    """Log directory of a store with three agents, one of them twice, and a failure."""
    add_run("sac", [0.5, 0.7], digest="d1", settings={"lr": 0.1, "deep": True}, steps=(500, 1000))
    add_run("sac", [0.2, 0.4], digest="d2", settings={"lr": 0.2, "deep": True}, steps=(500, 1000))
    add_run("random", [0.0, 0.1])
    add_run("ppo", [0.0], settings={"clip": 0.2}, status="failed", error="ValueError: no")
    make_leaderboard(runs, tmp_path / "board")
    return tmp_path / "board" / "tensorboard"


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def start_of(session: EventAccumulator) -> Any:
    content = session.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    return metadata.parse_session_start_info_plugin_data(content)


def sessions(log: Path) -> dict[str, EventAccumulator]:
    found = {path.parent.relative_to(log).as_posix(): events(path.parent) for path in log.rglob("events.*")}
    assert found.pop("leaderboard")
    return found


def test_each_seed_is_a_session_and_seeds_of_a_run_share_a_group(log: Path) -> None:
    groups = {name: start_of(session).group_name for name, session in sessions(log).items()}
    assert groups == {
        "double_dutch-paper/sac_lr=0.1/seed_0": "01 sac lr=0.1",
        "double_dutch-paper/sac_lr=0.1/seed_1": "01 sac lr=0.1",
        "double_dutch-paper/sac_lr=0.2/seed_0": "02 sac lr=0.2",
        "double_dutch-paper/sac_lr=0.2/seed_1": "02 sac lr=0.2",
        "double_dutch-paper/random/seed_0": "03 random",
        "double_dutch-paper/random/seed_1": "03 random",
        "double_dutch-paper/ppo/seed_0": "failed ppo",
    }


def test_all_sessions_have_the_same_flat_keys_and_each_key_values_of_one_type(log: Path) -> None:
    hparams = [dict(start_of(session).hparams) for session in sessions(log).values()]
    assert len({frozenset(keys) for keys in hparams}) == 1
    assert {"agent", "budget", "env", "setting.env.psi", "setting.agent.lr", "setting.agent.clip"} <= set(hparams[0])
    for key in hparams[0]:
        assert len({values[key].WhichOneof("kind") for values in hparams}) == 1
    assert {values["setting.agent.lr"].string_value for values in hparams} == {"0.1", "0.2", "-"}


def test_metrics_are_curves_that_end_with_the_result(log: Path) -> None:
    session = sessions(log)["double_dutch-paper/sac_lr=0.1/seed_1"]
    score, objective = session.Scalars("score"), session.Scalars("return")
    assert [event.step for event in score] == [500, 1000]
    # The store's episodes before the end return 4 less, a tenth of the scale from 50 to 90.
    assert [event.value for event in score] == pytest.approx([0.6, 0.7])
    assert [event.value for event in objective] == pytest.approx([74.0, 78.0])
    assert session.Scalars("messages")[-1].value == 121.0
    assert session.Scalars("steps_per_second")[0].value == 5000.0
    assert session.Scalars("train_minutes")[0].value == pytest.approx(2.0)


def test_a_failed_seed_is_a_failed_session_without_metrics(log: Path) -> None:
    session = sessions(log)["double_dutch-paper/ppo/seed_0"]
    content = session.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
    assert metadata.parse_session_end_info_plugin_data(content).status == api_pb2.STATUS_FAILURE
    assert session.Tags()["scalars"] == []
    assert start_of(session).hparams["outcome"].string_value == "failed"


def test_pictures_and_the_table_are_there(log: Path) -> None:
    shown = events(log / "leaderboard")
    assert shown.Tags()["images"] == [
        "double_dutch-paper/1 scores",
        "double_dutch-paper/2 learning curves",
        "double_dutch-paper/3 performance profile",
    ]
    (image,) = shown.Images("double_dutch-paper/1 scores")
    assert image.encoded_image_string.startswith(b"\x89PNG")
    (text,) = shown.Tensors("leaderboard")
    table = text.tensor_proto.string_val[0].decode()
    assert "| 1 | sac lr=0.1 | 0.600 " in table
    assert "ValueError: no" in table


def test_of_too_many_boards_the_first_have_pictures_and_the_table_says_so(
    runs: Path, add_run: AddRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard, "MOST_DRAWN", 1)
    for psi in (0.1, 0.2):
        add_run("sac", [0.5], digest=f"d{psi}", env_settings={"psi": psi})
    make_leaderboard(runs, tmp_path / "board")
    shown = events(tmp_path / "board" / "tensorboard" / "leaderboard")
    assert {tag.partition("/")[0] for tag in shown.Tags()["images"]} == {"double_dutch-paper-psi=0.1"}
    (text,) = shown.Tensors("leaderboard")
    assert "Pictures are of the first 1 of 2 boards." in text.tensor_proto.string_val[0].decode()


def test_a_setting_that_is_no_number_does_not_break_the_table(runs: Path, add_run: AddRun, tmp_path: Path) -> None:
    add_run("sac", [0.5], settings={"limit": math.inf})
    make_leaderboard(runs, tmp_path / "board")
    (session,) = sessions(tmp_path / "board" / "tensorboard").values()
    assert start_of(session).hparams["setting.agent.limit"].string_value == "inf"


def test_ranks_sort_as_text_at_any_count(runs: Path, add_run: AddRun, tmp_path: Path) -> None:
    for i in range(130):
        add_run(f"agent_{i}", [i / 130])
    make_leaderboard(runs, tmp_path / "board")
    names = [start_of(session).group_name for session in sessions(tmp_path / "board" / "tensorboard").values()]
    assert sorted(names) == [f"{rank:03d} agent_{130 - rank}" for rank in range(1, 131)]


def test_seeds_of_two_stores_are_told_apart_by_their_numbers(runs: Path, add_run: AddRun, tmp_path: Path) -> None:
    folder = add_run("sac", [0.1])
    other = runs / "copy" / folder.relative_to(runs) / "seed_0"
    shutil.copytree(folder / "seed_0", other)
    result = json.loads((other / "result.json").read_text())
    (other / "result.json").write_text(json.dumps(result | {"seed": 1}))
    make_leaderboard(runs, tmp_path / "board")
    assert sorted(sessions(tmp_path / "board" / "tensorboard")) == [
        "double_dutch-paper/sac/seed_0", "double_dutch-paper/sac/seed_1",
    ]  # fmt: skip


def test_damaged_rows_are_failed_sessions_and_marks_are_a_column(runs: Path, add_run: AddRun, tmp_path: Path) -> None:
    add_run("sac", [0.1], sealed=True, checkpoint=True)
    (add_run("ppo", [0.1], sealed=True) / "seed_0" / "config.yaml").write_text("a: &a [*a]")
    make_leaderboard(runs, tmp_path / "board")
    found = sessions(tmp_path / "board" / "tensorboard")
    marks = {start_of(session).hparams["agent"].string_value: session for session in found.values()}
    assert start_of(marks["sac"]).hparams["row_checked"].string_value == "intact"
    assert start_of(marks["ppo"]).group_name == "damaged ppo"
    content = marks["ppo"].SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
    assert metadata.parse_session_end_info_plugin_data(content).status == api_pb2.STATUS_FAILURE
    assert marks["ppo"].Tags()["scalars"] == []


@contextmanager
def served(log: Path) -> Iterator[str]:
    """Run TensorBoard on a free port and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(log), "--host", "127.0.0.1"]
    server = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=10)


def session_groups(address: str, expected: int) -> list[dict[str, Any]]:
    """Ask for the rows of the HParams table until all files have been read."""
    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    asked = {"allowedStatuses": statuses, "colParams": [], "startIndex": 0, "sliceSize": 1000}
    request = urllib.request.Request(
        f"{address}/data/plugin/hparams/session_groups",
        json.dumps(asked).encode(),
        {"Content-Type": "application/json"},
    )
    for _ in range(100):
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                groups: list[dict[str, Any]] = json.load(answer).get("sessionGroups", [])
            if len(groups) == expected:
                return groups
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.2)
    raise AssertionError("TensorBoard did not show the runs in time")


def test_a_browser_shows_one_row_per_run_with_its_score(log: Path, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not os.access(CHROMIUM, os.X_OK):
        pytest.skip(f"{CHROMIUM} is not there")
    with served(log) as address, playwright.sync_playwright() as driver:
        groups = session_groups(address, 4)
        browser = driver.chromium.launch_persistent_context(
            str(tmp_path / "profile"),
            executable_path=CHROMIUM,
            headless=True,
            args=FLAGS,
            viewport={"width": 2600, "height": 1000},
        )
        page = browser.new_page()
        page.goto(f"{address}/#hparams")
        cells = page.locator("tf-hparams-table-view vaadin-grid-cell-content")
        cells.filter(has_text="failed ppo").first.wait_for(timeout=30_000)
        texts = [text.strip() for text in cells.all_inner_texts()]
        browser.close()
    scores = {
        group["hparams"]["agent"]: metric["value"]
        for group in groups
        for metric in group.get("metricValues", [])
        if metric["name"]["tag"] == "score"
    }
    assert scores == pytest.approx({"sac lr=0.1": 0.6, "sac lr=0.2": 0.3, "random": 0.05})
    assert {"agent", "score", "return", "efficiency"} <= set(texts)
    # One row per run, best first: each begins with its trial, which the next row's ends.
    trials = ["01 sac lr=0.1", "02 sac lr=0.2", "03 random", "failed ppo"]
    starts = [texts.index(trial) for trial in trials]
    assert starts == sorted(starts)
    for trial, shown, after in zip(trials, ("0.60000", "0.30000", "0.050000"), starts[1:], strict=False):
        assert shown in texts[texts.index(trial) : after]
