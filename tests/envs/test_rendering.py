"""Pictures of every market, and the pieces that they are made of."""

import re
import subprocess
import sys

import numpy as np
import pytest
from every_market import EVERY, MARKETS, cases, play

from ioa_marl.envs import rendering
from ioa_marl.foundations.parameters import ParameterError


@pytest.mark.parametrize(("market", "case"), **cases(lambda market: market.pictures))
def test_every_preset_renders_at_every_stage(market, case):
    settings, steps = case
    game = market.started(**settings)
    play(game, steps)
    frame = game.render("rgb_array")
    assert frame.dtype == np.uint8
    assert frame.shape == (rendering.HEIGHT, rendering.WIDTH, 3) == (720, 1080, 3)
    assert frame.flags.c_contiguous
    assert 0.02 < np.mean(frame < 200) < 0.5
    assert max(map(len, game.render("ansi").splitlines())) <= 100


@pytest.mark.parametrize("market", **EVERY)
def test_frames_follow_the_state_and_nothing_else(market):
    game = market.started()
    play(game, 5)
    saved = game.save()
    before, words = game.render("rgb_array"), game.render("ansi")
    np.testing.assert_array_equal(game.render("rgb_array"), before)
    for name, array in game.save().items():
        np.testing.assert_array_equal(array, saved[name], err_msg=name)
    play(game, 5)
    assert (game.render("rgb_array") != before).any()
    assert game.render("ansi") != words
    game.restore(saved)
    np.testing.assert_array_equal(game.render("rgb_array"), before)
    assert game.render("ansi") == words


@pytest.mark.parametrize("market", **EVERY)
def test_index_chooses_the_market(market):
    game, alone = market.started(num_envs=3, **market.quick), market.started(seed=5, **market.quick)
    alone.reset(np.array([5], np.uint64), np.array([2], np.uint64))
    play(game, 2)
    play(alone, 2)
    assert game.render("ansi", 2) == alone.render("ansi")
    assert len({game.render("ansi", index) for index in range(3)}) == 3
    np.testing.assert_array_equal(game.render("rgb_array", 2), alone.render("rgb_array"))


@pytest.mark.parametrize("market", **EVERY)
def test_unknown_modes_and_markets_are_refused(market):
    game = market.started()
    with pytest.raises(ParameterError, match="ansi or rgb_array"):
        game.render("svg")
    with pytest.raises(ParameterError, match="index=1 is not allowed"):
        game.render("ansi", 1)


@pytest.mark.parametrize("market", **EVERY)
def test_a_market_before_its_reset_renders(market):
    game = market.game_class(market.config())
    assert game.render("rgb_array").shape == (720, 1080, 3)
    assert game.render("ansi")


def test_environments_and_text_need_no_matplotlib():
    code = (
        "import sys, numpy as np\n"
        "from ioa_marl import registry\n"
        "for name in registry.MARKETS:\n"
        "    G = registry.load_env(name)\n"
        "    game = G(G.make_config()); game.reset(np.zeros(1, np.uint64)); game.render('ansi')\n"
        "    assert not {'matplotlib', 'torch'} & set(sys.modules), name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_staircase_corners() -> None:
    x, y = rendering.staircase(np.array([5.0, 3.0]))
    assert x.tolist() == [0.0, 1.0, 1.0, 2.0]
    assert y.tolist() == [5.0, 5.0, 3.0, 3.0]
    assert rendering.staircase(np.zeros(0))[0].tolist() == []


def test_spread_moves_labels_only_as_far_as_needed() -> None:
    assert rendering.spread([10.0, 50.0], 8.0, 0.0, 100.0) == [10.0, 50.0]
    assert rendering.spread([50.0, 48.0], 8.0, 0.0, 100.0) == [53.0, 45.0]
    assert rendering.spread([20.0, 20.0, 20.0], 8.0, 0.0, 100.0) == [12.0, 20.0, 28.0]
    assert rendering.spread([0.0, 1.0], 8.0, 0.0, 100.0) == [0.0, 8.0]
    assert rendering.spread([99.0, 100.0], 8.0, 0.0, 100.0) == [92.0, 100.0]


def test_text_bars() -> None:
    assert rendering.text_bar(0.5, 4) == "██  "
    assert rendering.text_bar(0.3125, 4) == "█▎  "
    assert rendering.text_bar(0.375, 4, from_right=True) == "  ▐█"
    assert rendering.text_bar(-1.0, 3) == "   "
    assert rendering.text_bar(2.0, 3) == rendering.text_bar(2.0, 3, from_right=True) == "███"


def test_text_density_counts_values_by_place() -> None:
    assert rendering.text_density(np.array([0.0, 5.0, 5.1, 10.0]), 0.0, 10.0, 4) == "▁ ▂▁"
    assert rendering.text_density(np.full(100, 1.0), 0.0, 10.0, 2) == "█ "
    assert rendering.text_density(np.zeros(0), 0.0, 1.0, 3) == "   "


def test_text_table_aligns_columns() -> None:
    assert rendering.text_table([["", "a"], ["long", "12"]], gap=1) == ["      a", "long 12"]


def test_window_needs_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"):
        monkeypatch.delenv(name, raising=False)
    message = "render_mode='human' needs a display; use 'rgb_array' or 'ansi', or set MPLBACKEND"
    with pytest.raises(RuntimeError, match=f"^{re.escape(message)}$"):
        rendering.Window("double_dutch")


def test_window_does_not_fall_back_to_showing_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")  # what matplotlib itself picks where it can open none
    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(RuntimeError, match="can open no window"):
        rendering.Window("double_dutch")
    assert plt.get_fignums() == []


def test_window_obeys_mplbackend_and_updates_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib.pyplot as plt

    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("MPLBACKEND", "agg")
    game = MARKETS[0].started()
    window, other = rendering.Window("double_dutch"), rendering.Window("double_dutch")
    assert len(plt.get_fignums()) == 2
    for _ in range(3):
        frame = game.render("rgb_array")
        window.show(frame)
        play(game, 5)
        shown = np.asarray(window._figure.canvas.buffer_rgba())[..., :3]
        np.testing.assert_array_equal(shown, frame)
    assert len(window._figure.axes[0].images) == 1
    window.show(np.zeros((20, 30, 3), np.uint8))
    assert window.is_open
    window.close()
    assert not window.is_open
    window.show(frame)  # closed by hand: stays closed
    window.close()
    other.close()
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (0.0, "0.0"),
        (0.1, "0.1"),
        (1234.56, "1,234.6"),
        (9.99e6, "9,990,000.0"),
        (1e7, "1e+07"),
        (-2.5e11, "-2.5e+11"),
        (0.00123456, "0.00123"),
        (1e-300, "1e-300"),
    ],
)
def test_amounts_are_short(x, words):
    assert rendering.amount(x) == words
    assert len(rendering.amount(x, 2)) <= 13
