"""Bids and asks of one's own: each episode plays a market of the table, by any way through the environment."""

from __future__ import annotations

import numpy as np
import pytest

from ioa_marl.envs.double_dutch.game import DoubleDutchConfig, DoubleDutchGame
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.double_dutch import fixed_step_frontier, preset, simulate, sorted_matching

MARKETS = {
    "monday": ([10.0, 8.0, 6.0, 3.0], [1.0, 2.0, 5.0, 7.0]),
    "tuesday": ([12.0, 4.0], [3.0, 9.0, 9.5]),
    "sunday": ([5.0], [6.0]),
}
ROWS = [
    f"{day},{side},{bid:g}"
    for day, market in MARKETS.items()
    for side, bids in zip(("buyer", "seller"), market, strict=True)
    for bid in bids
]
TABLE = "\n".join(["market,side,value", *ROWS, ""])
CLOCKS = {"buyer_clock": 20.0, "seller_clock": 0.0}


def rows_of(game):
    """Return the bids of each market of the batch as two lists."""
    size, values = game.market.size, game.market.valuation
    return [tuple(values[b, side, : size[b, side]].tolist() for side in range(2)) for b in range(len(size))]


def test_every_market_of_the_table_is_played_and_no_other():
    game = DoubleDutchGame(DoubleDutchConfig(data=TABLE, **CLOCKS), 64)
    assert (game.config.buyers, game.config.sellers) == (4, 4)
    assert (game.config.min_buyers, game.config.min_sellers) == (1, 1)
    observations, _ = game.reset(np.full(64, 5, np.uint64))
    known, played = list(MARKETS.values()), []
    for _ in range(60):
        assert np.all((observations["auctioneer"] >= 0) & (observations["auctioneer"] <= 1))
        before = rows_of(game)
        assert all(row in known for row in before)
        step = game.step({"auctioneer": np.full((64, 1), 7)})
        ended = step.terminated | step.truncated
        for b in np.flatnonzero(ended):
            played.append(known.index(before[b]))
            best = sorted_matching(*before[b]).welfare
            assert step.metrics["optimal_welfare"][b] == pytest.approx(best, abs=1e-12)
        observations = step.observations
    # A third of the episodes each, within five standard deviations.
    shares = np.bincount(played, minlength=3) / len(played)
    assert np.all(np.abs(shares - 1 / 3) < 5 * np.sqrt(2 / 9 / len(played)))


def test_an_episode_is_the_auction_of_the_plain_function():
    single = "side,value\n" + "".join(row.removeprefix("monday,") + "\n" for row in ROWS if row.startswith("monday"))
    game = DoubleDutchGame(DoubleDutchConfig(data=single, **CLOCKS), 1, ("auctioneer",))
    game.reset(np.zeros(1, np.uint64))
    index = game.config.steps.index(2.0)
    for _ in range(200):
        step = game.step({"auctioneer": np.full((1, 1), index)})
        if step.terminated[0]:
            break
    expected = simulate(*MARKETS["monday"], 2.0, tick=0.25, buyer_clock=20.0, seller_clock=0.0)
    found = {name: float(values[0]) for name, values in step.metrics.items()}
    assert (found["trades"], found["welfare"]) == (expected.trades, pytest.approx(expected.welfare))
    assert (found["price"], found["messages"]) == (pytest.approx(expected.price), expected.messages)


def test_references_and_the_constant_steps_play_the_table():
    config = DoubleDutchConfig(data=TABLE, **CLOCKS)
    keys = np.arange(30, dtype=np.uint64)
    bounds = DoubleDutchGame.reference(config, keys, keys)["auctioneer"]
    assert 1 < len(set(bounds.round(9))) <= 3
    best = [sorted_matching(*market).welfare for market in MARKETS.values()]
    frontier = fixed_step_frontier(preset("paper", data=TABLE, **CLOCKS), markets=3000)
    # All days are equally likely: five standard errors of the mean.
    assert frontier.metrics["optimal_welfare"][0] == pytest.approx(np.mean(best), abs=5 * np.std(best) / np.sqrt(3000))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"data": TABLE.replace("buyer,12", "buyer,-1")}, "data.value=-1"),
        ({"data": TABLE.replace("buyer,12", "bidder,12")}, "data.side=bidder"),
        ({"data": TABLE.replace("value\n", "ask\n")}, "the column ask"),
        ({"data": TABLE.replace("sunday,buyer", "sunday,seller")}, "market sunday without a buyer"),
        ({"data": TABLE, "buyers": 5}, "buyers=5"), ({"data": TABLE, "min_sellers": 2}, "min_sellers=2"),
        ({"data": TABLE, "buyer_clock": 10.0}, "at least 12, the highest bid in data"),
        ({"data": TABLE, "seller_clock": 2.0}, "at most 1, the lowest ask in data"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_line(settings, told):
    with pytest.raises(ParameterError) as caught:
        DoubleDutchConfig(**{**CLOCKS, **settings})
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
