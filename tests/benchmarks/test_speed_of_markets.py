"""Every market is measured at every size, and what is written is what was measured. No real timing."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from ioa_marl import registry

SPEED = Path(__file__).parents[2] / "benchmarks" / "speed"
MARKETS = [name for name in registry.env_names() if registry.entry("environment", name).source == "ioa_marl"]

pytestmark = pytest.mark.skipif(not SPEED.is_dir(), reason="the benchmarks are not beside the tests")


@pytest.fixture
def load(monkeypatch):
    """Import modules of the benchmark's folder, which is no package, and forget them afterwards."""
    monkeypatch.syspath_prepend(SPEED)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == SPEED:
            del sys.modules[name]


def waste(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@pytest.mark.parametrize("market", MARKETS)
def test_every_market_can_be_made_at_every_size(load, market):
    game_class = registry.load_env(market)
    found = load("markets").sizes(market)
    counts = [participants for participants, _, _ in found]
    assert counts == sorted(set(counts))
    assert len(found) >= 4
    assert counts[-1] >= 100 * counts[0]
    for participants, preset, settings in found:
        config = game_class.make_config(preset, **settings)
        # Wireless agents of the two-tier market are participants, but no role.
        counted = {role.count for role in game_class.make_roles(config).values()} | {getattr(config, "wireless", 0)}
        assert participants in counted


@pytest.mark.parametrize("market", MARKETS)
def test_smallest_size_and_every_batch_are_measured(load, market, monkeypatch):
    markets, quick = load("markets"), load("measure").Effort(rounds=2, seconds=0.001)
    monkeypatch.setattr(markets, "BATCHES", (1, 3))
    monkeypatch.setattr(markets, "sizes", lambda name: [markets.GROWTH[name].sizes[0]])
    found = markets.measure_markets(quick, [market])
    assert [(row["interface"], row["batch"]) for row in found["speed"]] == [
        ("PettingZoo", 1), ("Game.step", 1), ("Game.step", 3),
    ]  # fmt: skip
    (growth,) = found["growth"]
    assert growth["participants"] == markets.GROWTH[market].sizes[0][0]
    assert growth["settings"] == markets.GROWTH[market].sizes[0][2]
    assert growth["counted"] == markets.GROWTH[market].participants
    assert found["skipped"] == {}
    for row in (*found["speed"], growth):
        assert row["market"] == market
        assert len(row["values"]) == 2
        assert 0 < row["min"] <= row["median"] <= row["max"]


def test_speed_is_that_of_the_loop(load):
    markets, measure = load("markets"), load("measure")
    # Four steps an episode of 0.5 ms each, 64 markets a step; and twice as slow.
    contestants = [
        markets.Contestant(lambda episodes, ms=ms: waste(episodes * 4 * ms / 1000), 64, 4, 1) for ms in (0.5, 1.0)
    ]
    fast, slow = markets.market_steps_per_second(contestants, measure.Effort(rounds=5, seconds=0.02))
    assert np.median(fast) == pytest.approx(64 / 0.0005, rel=0.2)
    assert np.median(slow) == pytest.approx(64 / 0.001, rel=0.2)
    assert len(fast) == len(slow) == 5


def test_turns_are_whole_episodes(load):
    markets = load("markets")
    game_class = registry.load_env("double_dutch")
    config = game_class.make_config("calm")
    contestant = markets.game_contestant(game_class, config, 2)
    play, _ = markets.game_loop(game_class, config, 2)
    ended = play(contestant.episode * 200)
    assert contestant.agents == 1
    assert ended == pytest.approx(200, rel=0.5)


def test_an_episode_that_takes_too_long_is_left_out_with_the_reason(load):
    markets, measure = load("markets"), load("measure")
    game_class = registry.load_env("double_dutch")
    size = markets.sizes("double_dutch")[:2]
    found, skipped = markets.growth_speeds("double_dutch", game_class, size, measure.QUICK, longest=0.0)
    assert found == []
    assert skipped == {"double_dutch, 10 participants": "an episode takes 0 s"}


def test_a_market_that_is_not_registered_is_skipped_and_said_to_be(load, tmp_path, capsys):
    markets, measure, report = load("markets"), load("measure"), load("report")
    found = markets.measure_markets(measure.QUICK, ["nowhere"])
    assert found == {"speed": [], "growth": [], "skipped": {"nowhere": "no market of this name is registered"}}
    assert "nowhere: skipped" in capsys.readouterr().out
    report.write_markets({**report.conditions(measure.QUICK), **found}, tmp_path)
    assert "- nowhere: no market of this name is registered" in (tmp_path / "README.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "markets.json"]


def test_page_has_figures_and_markets_whichever_is_written_last(load, tmp_path):
    report, measure, markets = load("report"), load("measure"), load("markets")
    rows = [
        markets.Speed("second_bid", "paper", interface, batch, None, {}, 1, [v, 2.0 * v, 3.0 * v]).as_dict()
        for interface, batch, v in (("PettingZoo", 1, 500.0), ("Game.step", 1, 1000.0), ("Game.step", 64, 50_000.0))
    ]
    growth = [
        {
            **markets.Speed("second_bid", "paper", "Game.step", 1, n, {}, 1, [2e6 / n] * 2).as_dict(),
            "counted": "stations",
        }
        for n in (10, 1000)
    ]
    measured = {**report.conditions(measure.QUICK), "speed": rows, "growth": growth, "skipped": {}}
    figures = report.as_json([measure.Figure("x1", "ratio", "×", 2.0, [3.0])], {}, measure.QUICK)
    pages = []
    for order in ("figures first", "markets first"):
        folder = tmp_path / order
        if order == "figures first":
            report.write(figures, folder)
        report.write_markets(measured, folder)
        if order == "markets first":
            report.write(figures, folder)
        pages.append((folder / "README.md").read_text())
        assert json.loads((folder / "markets.json").read_text())["growth"] == growth
        for name in load("markets_report").PLOTS.values():
            assert (folder / name).read_bytes().startswith(b"\x89PNG")
            assert f"]({name})" in pages[-1]
    assert pages[0] == pages[1]
    assert pages[0].count("# Speed, as measured\n") == 1
    assert "| x1 | ratio |" in pages[0]
    assert (
        "| second_bid, paper | 1 | 1,000 [500–1,500] | 2,000 [1,000–3,000] | 100,000 [50,000–150,000] | 50× |"
        in pages[0]
    )
    assert "| second_bid, paper | 1,000 stations | 1 | 2,000 [2,000–2,000] | 500 | 0.5 |" in pages[0]


@pytest.mark.parametrize(
    ("space", "shape", "kind"),
    [
        (spaces.Discrete(3, start=-1), (), "i"),
        (spaces.MultiDiscrete([2, 5]), (2,), "i"),
        (spaces.Box(-1.0, np.array([0.0, 4.0], np.float32), (2,)), (2,), "f"),
    ],
    ids=str,
)
def test_random_actions_are_legal_and_all_of_them_occur(load, space, shape, kind):
    drawn = load("actions").random_actions(space, (7, 50), np.random.default_rng(0))
    assert drawn.shape == (7, 50, *shape)
    assert drawn.dtype.kind == kind
    flat = drawn.reshape(350, *shape)
    assert all(space.contains(action if shape else int(action)) for action in flat)
    if kind == "i":
        outcomes = space.nvec if shape else [space.n]
        columns = flat.reshape(350, -1).T
        assert [len(set(column)) for column in columns] == list(outcomes)


def test_numbers_keep_three_digits(load):
    short = load("markets_report").short
    assert [short(value) for value in (0.012345, 9.876, 123.4, 1234.5, 7_654_321.0)] == [
        "0.0123", "9.88", "123", "1,230", "7,650,000",
    ]  # fmt: skip


def test_runner_measures_the_markets_only_when_asked(load, tmp_path, monkeypatch):
    run, markets = load("run"), load("markets")
    monkeypatch.setattr(markets, "measure_markets", lambda effort: {"speed": [], "growth": [], "skipped": {"x": "y"}})
    assert run.main(["--quick", "--only", "markets", "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "markets.json"}
    assert run.chosen_groups("a,markets") == ["a", "markets"]
