"""Pictures of the second-bid market show the last task."""

import numpy as np
import pytest

from ioa_marl.envs import rendering
from ioa_marl.envs.second_bid.game import SecondBidGame

EVERYBODY = ("auctioneer", "station")


def make(preset="paper", controlled_roles=None, num_envs=1, seed=3, **settings):
    game = SecondBidGame(SecondBidGame.make_config(preset, **settings), num_envs, controlled_roles, autoreset=False)
    game.reset(np.arange(seed, seed + num_envs, dtype=np.uint64))
    return game


def play(game, tasks, level=4):
    for _ in range(tasks):
        game.step({"auctioneer": np.full((game.num_envs, 1), level)})


def near(frame, colour):
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return (frame == np.array(rgb, np.uint8)).all(axis=2)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("preset", ["paper", "pareto"])
def test_amounts_of_any_size_leave_lines_of_a_hundred_columns_that_say_something(preset, size):
    settings = {"common_value": (size, size)} if preset == "pareto" else {"latency_factor": size}
    game = make(preset, EVERYBODY, stations=40, accuracy_factor=10.0, **settings)
    for factor in (15, 0):
        for _ in range(2):
            game.step({"auctioneer": np.full((1, 1), 4), "station": np.full((1, 40), factor)})
        text = game.render("ansi")
        assert max(map(len, text.splitlines())) <= 100
        # The best bid and the value beside it, to three digits or to 0.05; a mark may come first.
        row = next(line for line in text.splitlines() if " value " in line).replace(",", "").replace("►", "")
        words, winner = row.split(), int(np.argmax(game.market.settled_bid[0]))
        near_enough = {"rel": 0.005, "abs": 0.05 if size == 1.0 else 0.0}
        assert int(words[1]) == winner
        assert float(words[2]) == pytest.approx(game.market.settled_bid[0, winner], **near_enough)
        assert float(words[-1]) == pytest.approx(game.market.settled_value[0, winner + 1], **near_enough)


def test_text_says_who_won_at_what_price():
    game = make()
    for _ in range(game.config.tasks):
        game.step({"auctioneer": np.zeros((1, 1), int)})
        lines = game.render("ansi").splitlines()
        winner, task = int(game.market.winners[0, game.market.task[0] - 1]), int(game.market.task[0])
        assert lines[0].endswith(f"task {task} of 50  ·  station {winner} serves")
        payment = game.market.settled[0, task - 1].payment
        assert lines[1].endswith(f"= {payment:,.1f}: this is what station {winner} pays")
        (served,) = (line for line in lines if line.startswith("►"))
        assert served.split()[1:3] == ["station", str(winner)]
    play_on = make()
    play(play_on, 1, level=9)
    assert "the UAV pays its contract price" in play_on.render("ansi")


def test_image_colours_the_winner():
    game = make()
    bars = slice(180, 520)
    colours = set()
    for level in (0, 9) * 5:
        play(game, 1, level)
        frame = game.render("rgb_array")[bars, 90:905]
        uav = game.market.winners[0, game.market.task[0] - 1] < 0
        mine, other = (rendering.ORANGE, rendering.BLUE) if uav else (rendering.BLUE, rendering.ORANGE)
        assert near(frame, mine).sum() > 100
        assert not near(frame, other).any()
        colours.add(mine)
    assert len(colours) == 2


def test_misreported_bids_are_shown_beside_the_values():
    game = make(controlled_roles=EVERYBODY)
    factors = np.full((1, 5), 15)
    for _ in range(2):
        game.step({"auctioneer": np.zeros((1, 1), int), "station": factors})
    text = game.render("ansi")
    assert text.count("▏ value ") == 5
    assert f"value {game.market.settled_value[0, 1]:,.1f}" in text
    assert f"{2 * game.market.settled_value[0, 1]:,.1f}" in text
    assert game.render("rgb_array").shape == (720, 1080, 3)
