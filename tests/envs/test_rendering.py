from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from ioa_marl.envs import rendering
from ioa_marl.envs.double_dutch import render
from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.foundations.parameters import ParameterError

PRESETS = tuple(DoubleDutchGame.presets)


def make(preset: str = "paper", *, num_envs: int = 1, seed: int = 3, **changes: Any) -> DoubleDutchGame:
    game = DoubleDutchGame(DoubleDutchGame.make_config(preset, **changes), num_envs, autoreset=False)
    game.reset(np.arange(seed, seed + num_envs, dtype=np.uint64))
    return game


def play(game: DoubleDutchGame, steps: int, action: int = 5) -> bool:
    """Play up to ``steps`` steps; True if every market was played to its end."""
    for _ in range(steps):
        step = game.step({"auctioneer": np.full((game.num_envs, 1), action)})
        if (step.terminated | step.truncated).all():
            return True
    return False


def start_over_given_bids(values: list[float], costs: list[float]) -> DoubleDutchGame:
    game = make()
    game.reset_to(np.array([values]), np.array([costs]))
    return game


def row(text: str, label: str) -> str:
    return next(line for line in text.splitlines() if line.lstrip("► ").startswith(label))


def near(frame: np.ndarray, colour: str) -> np.ndarray:
    """Return which pixels have exactly this colour."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return (frame == np.array(rgb, np.uint8)).all(axis=2)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("steps", [0, 30, 10_000])
def test_every_preset_renders_at_every_stage(preset: str, steps: int) -> None:
    game = make(preset)
    assert play(game, steps) == (steps == 10_000)
    frame = game.render("rgb_array")
    assert frame.dtype == np.uint8
    assert frame.shape == (720, 1080, 3)
    assert frame.flags.c_contiguous
    assert max(map(len, game.render("ansi").splitlines())) <= 100


def test_frames_follow_the_state_and_nothing_else() -> None:
    game = make()
    play(game, 20)
    saved = game.save()
    before, words = game.render("rgb_array"), game.render("ansi")
    np.testing.assert_array_equal(game.render("rgb_array"), before)
    play(game, 5)
    assert (game.render("rgb_array") != before).any()
    assert game.render("ansi") != words
    game.restore(saved)
    np.testing.assert_array_equal(game.render("rgb_array"), before)
    assert game.render("ansi") == words


def test_rendering_does_not_change_the_auction() -> None:
    game = make()
    play(game, 20)
    saved = game.save()
    game.render("rgb_array")
    game.render("ansi")
    for name, array in game.save().items():
        np.testing.assert_array_equal(array, saved[name], err_msg=name)


def test_index_chooses_the_market() -> None:
    game, alone = make(num_envs=3), make(seed=5)
    alone.reset(np.array([5], np.uint64), np.array([2], np.uint64))
    play(game, 20)
    play(alone, 20)
    assert game.render("ansi", 2) == alone.render("ansi")
    assert game.render("ansi", 1) != game.render("ansi", 2)
    np.testing.assert_array_equal(game.render("rgb_array", 2), alone.render("rgb_array"))


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(ParameterError, match="ansi or rgb_array"):
        make().render("svg")


def test_image_shows_the_clocks_closing_in() -> None:
    def rows_of_clocks(game: DoubleDutchGame) -> tuple[int, int]:
        # In this part of the axes the clocks are the highest blue and the lowest orange line.
        frame = game.render("rgb_array")[180:612, 700:900]
        buyer, seller = (near(frame, c).mean(axis=1) > 0.3 for c in (rendering.BLUE, rendering.ORANGE))
        return int(np.flatnonzero(buyer)[0]), int(np.flatnonzero(seller)[-1])

    game = make()
    game.reset_to(np.array([[50.0, *[35.0] * 9]]), np.array([[30.0, *[70.0] * 9]]))
    first_buyer, first_seller = rows_of_clocks(game)
    play(game, 10)
    assert game.market.winners[0, 0] == 0
    buyer, seller = rows_of_clocks(game)
    assert first_buyer < buyer
    assert seller == first_seller  # the seller clock stands while the buyer clock falls


def test_figure_is_in_the_units_of_the_auction() -> None:
    game = start_over_given_bids([60.0, 50.0, 20.0], [10.0, 30.0, 40.0])
    play(game, 14, action=game.config.steps.index(2.0))
    axes = render.figure(game).axes[0]
    assert axes.get_xlim() == (0.0, 3.0)
    curves = {tuple(line.get_ydata()) for line in axes.lines}
    assert (60.0, 60.0, 50.0, 50.0, 20.0, 20.0) in curves
    assert (10.0, 10.0, 30.0, 30.0, 40.0, 40.0) in curves
    state = game.market
    tick = game.config.tick
    points = [line for line in axes.lines if line.get_marker() == "o"]
    drawn = sorted((x, y) for line in points for x, y in line.get_xydata().tolist() if y == y)
    # Bidders were given in the order of eagerness, so bidder i is in place i.
    expected = sorted(
        (i + 0.5, float(clock * tick))
        for side in range(2)
        for i, clock in enumerate(state.accepted_at[0, side, :3])
        if clock >= 0
    )
    assert len(expected) > 0
    assert drawn == expected
    assert {float(clock * tick) for clock in state.clock[0]} <= {
        line.get_ydata()[0] for line in axes.lines if len(line.get_ydata()) == 2
    }


def test_dark_area_is_the_welfare_realised() -> None:
    game = make()
    play(game, 40)
    assert game.market.totals[0].welfare > 0.0
    buyers, sellers = render._view(game, 0).sides
    area = buyers.valuations[buyers.trades].sum() - sellers.valuations[sellers.trades].sum()
    assert area == pytest.approx(game.market.totals[0].welfare)


def test_text_says_how_the_auction_stands() -> None:
    game = make()
    while game.market.winners[0].min() < 2:
        play(game, 1)
    text, state = game.render("ansi"), game.market
    tick = game.config.tick
    for side, name in enumerate(("buyer", "seller")):
        assert f" {state.clock[0, side] * tick:.2f} " in row(text, f"{name} clock")
        winners, size = state.winners[0, side], state.size[0, side]
        last = f"{state.recent[0, side, 0] * tick:.2f}"
        cells = row(text, f"{name}s  ").split()
        assert cells[1:4] == [str(size), str(winners), str(size - winners)]
        assert cells[-1] == last
    assert f"tick {state.ticks[0]} " in text
    turn = ("buyer", "seller")[state.side[0]]
    assert f"{turn}s' turn" in text
    assert f"► {turn} clock" in text
    totals = dict(zip(game.metric_names, state.totals[0], strict=True))
    assert f"welfare {totals['welfare']:.2f} of {totals['optimal_welfare']:.2f}" in text
    assert f"{totals['welfare'] / totals['optimal_welfare']:.1%}" in text
    assert f"messages {totals['messages']:.0f}" in text


def test_closed_auction_says_its_price() -> None:
    game = make()
    assert play(game, 1000)
    text = game.render("ansi")
    price, trades = game.market.totals[0].price, int(game.market.totals[0].trades)
    assert "closed" in text
    assert "s' turn" not in text
    assert f"{trades} trades at the clearing price {price:.2f}" in text
    labels = [t.get_text() for t in render.figure(game).axes[0].texts]
    assert f"clearing price\n{price:.2f}" in labels


def test_prices_are_written_with_the_decimals_of_the_tick() -> None:
    game = make(tick=0.125, steps=(0.125, 2.0), max_ticks=1000)
    play(game, 1, action=0)
    assert "79.875" in row(game.render("ansi"), "buyer clock")


def test_market_before_its_reset_and_market_without_bidders_render() -> None:
    game = DoubleDutchGame(DoubleDutchGame.make_config("paper"), autoreset=False)
    assert game.render("rgb_array").shape == (720, 1080, 3)
    assert "asking 0 waiting buyers" in game.render("ansi")
    game.reset_to(np.array([[50.0]]), np.zeros((1, 0)))
    play(game, 1)
    assert game.render("rgb_array").shape == (720, 1080, 3)
    assert "closed" in game.render("ansi")


def test_environments_and_text_need_no_matplotlib() -> None:
    code = (
        "import sys, numpy as np\n"
        "from ioa_marl.envs.double_dutch.game import DoubleDutchGame as G\n"
        "game = G(G.make_config('paper')); game.reset(np.zeros(1, np.uint64)); game.render('ansi')\n"
        "assert not {'matplotlib', 'torch'} & set(sys.modules)\n"
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
    game = make()
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
