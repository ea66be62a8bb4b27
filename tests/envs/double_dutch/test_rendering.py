"""What the pictures of the Double-Dutch auction show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ioa_marl.envs import rendering
from ioa_marl.envs.double_dutch import render
from ioa_marl.envs.double_dutch.game import DoubleDutchGame


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


def test_auction_closed_without_a_trade_says_so_and_draws_no_price() -> None:
    game = make()
    game.reset_to(np.array([[10.0]]), np.array([[70.0]]))
    assert play(game, 1000)
    assert "no trade, and so no clearing price" in game.render("ansi")
    assert "nan" not in game.render("ansi")
    labels = [t.get_text() for t in render.figure(game).axes[0].texts]
    assert not any("clearing price" in label for label in labels)


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
