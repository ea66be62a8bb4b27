"""Pictures of the second-bid market show the last task, and change nothing."""

import numpy as np
import pytest

from ioa_marl.envs import rendering
from ioa_marl.envs.second_bid.game import SecondBidGame
from ioa_marl.foundations.parameters import ParameterError

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


@pytest.mark.parametrize("preset", SecondBidGame.presets)
@pytest.mark.parametrize("tasks", [0, 1, 50])
def test_every_preset_renders_at_every_stage(preset, tasks):
    game = make(preset)
    play(game, tasks)
    frame = game.render("rgb_array")
    assert frame.dtype == np.uint8
    assert frame.shape == (720, 1080, 3)
    assert max(map(len, game.render("ansi").splitlines())) <= 100


@pytest.mark.parametrize("settings", [{"stations": 2}, {"stations": 40}, {"tasks": 200}, {"latency_factor": 1e6}])
def test_markets_of_other_sizes_fit(settings):
    game = make(**settings)
    play(game, game.config.tasks)
    assert game.render("rgb_array").shape == (720, 1080, 3)
    assert max(map(len, game.render("ansi").splitlines())) <= 100


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


def test_rendering_changes_nothing_and_follows_the_state():
    game = make()
    play(game, 20)
    saved = game.save()
    before, words = game.render("rgb_array"), game.render("ansi")
    for name, array in game.save().items():
        np.testing.assert_array_equal(array, saved[name], err_msg=name)
    play(game, 1)
    assert (game.render("rgb_array") != before).any()
    game.restore(saved)
    np.testing.assert_array_equal(game.render("rgb_array"), before)
    assert game.render("ansi") == words


def test_index_chooses_the_market():
    game, alone = make(num_envs=3), make(seed=5)
    alone.reset(np.array([5], np.uint64), np.array([2], np.uint64))
    play(game, 4)
    play(alone, 4)
    assert game.render("ansi", 2) == alone.render("ansi")
    assert game.render("ansi", 1) != game.render("ansi", 2)


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


def test_unknown_mode_is_refused():
    with pytest.raises(ParameterError, match="ansi or rgb_array"):
        make().render("svg")
