"""Valuations and providers of one's own in the second-bid auction: games, references and constants follow the table."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from ioa_marl.envs.second_bid.game import SecondBidConfig, SecondBidGame
from ioa_marl.evaluation.audits.running import run_audit
from ioa_marl.evaluation.audits.second_bid.counterfactuals import Replays, alone
from ioa_marl.evaluation.audits.subject import AuditSettings, scripted_subject
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.second_bid import auction_traces, calibration, draw_tasks, market_from, preset

UAV = [10.0, 4.0, 7.0, 5.0]
BIDS = [[8.0, 5.0, 1.0], [6.0, 3.0, 2.0], [2.0, 9.0, 4.0], [3.0, 3.5, 6.0]]
ROWS = [
    f"{task},s{i},{bid:g},{UAV[task] if i == 0 else ''}" for task, bids in enumerate(BIDS) for i, bid in enumerate(bids)
]
VALUES = "\n".join(["market,station,value,uav", *ROWS, ""])
PROVIDERS = (
    "provider,uplink_bandwidth,downlink_bandwidth,accuracy\nstation,20,20,0.7\nuav,40,30,0.6\nstation,60,55,0.8\n"
)


def test_episodes_follow_the_table_from_a_task_that_is_drawn():
    game = SecondBidGame(SecondBidConfig(data=VALUES, tasks=6), 40)
    assert game.config.stations == 3
    game.reset(np.arange(40, dtype=np.uint64))
    table = np.column_stack([UAV, BIDS])
    starts, rows = set(), []
    for _ in range(2):
        for _ in range(6):
            rows.append([int(np.flatnonzero((table == value).all(axis=1))[0]) for value in game.market.value])
            step = game.step({"auctioneer": np.zeros((40, 1), np.int64)})
        # Second price: the best station wins every task.
        expected = np.mean([[max(BIDS[t]) for t in of_market] for of_market in np.array(rows[-6:]).T], axis=1)
        np.testing.assert_allclose(step.metrics["surplus"], expected)
        assert np.isnan(step.metrics["delay"]).all()
        starts |= set(rows[-6])
    order = np.array(rows[:6])
    assert np.all((order[1:] - order[:-1]) % 4 == 1)
    assert starts == {0, 1, 2, 3}


def test_constants_and_references_are_those_of_the_table():
    config = SecondBidConfig(data=VALUES, tasks=4)
    found, traced = calibration(config), auction_traces(BIDS, UAV)
    assert found.contract_price == pytest.approx(np.mean(UAV))
    surplus = {index: auction_traces(BIDS, UAV, rules=["msb"], rho=rho)["msb"].total_surplus
               for index, rho in enumerate(config.rhos())}  # fmt: skip
    assert surplus[found.constant] == max(surplus.values())
    keys = np.arange(5, dtype=np.uint64)
    # Four tasks from any start are the whole table.
    best = SecondBidGame.reference(config, keys, keys)["auctioneer"]
    assert best == pytest.approx([traced["oracle"].total_surplus / 4] * 5)
    game = SecondBidGame(config, 5)
    game.reset(keys)
    for name, rule in (("oracle", "oracle"), ("threshold", "threshold"), ("second_price", "second_price")):
        game.reset(keys)
        policy = game.scripted(name, "auctioneer")
        for _ in range(4):
            step = game.step({"auctioneer": policy()})
        assert step.metrics["surplus"] == pytest.approx([traced[rule].total_surplus / 4] * 5), name


def test_a_table_of_providers_is_the_market_of_the_named_arrays():
    changes = {"spread": 0.0, "accuracy_noise": 0.0}
    params = preset("paper", data=PROVIDERS, **changes)
    assert params.stations == 2
    arrays = {"uplink_bandwidth": [40, 20, 60], "downlink_bandwidth": [30, 20, 55], "accuracy": [0.6, 0.7, 0.8]}
    drawn = preset("paper", stations=2, **changes)
    theirs = draw_tasks(drawn, [1, 2], [0, 1], providers=market_from(drawn, **arrays))
    ours = draw_tasks(params, [1, 2], [0, 1])
    np.testing.assert_array_equal(ours.uav, theirs.uav)
    np.testing.assert_array_equal(ours.first, theirs.first)
    config = SecondBidConfig(data=PROVIDERS, **changes)
    game = SecondBidGame(config, 2)
    game.reset(np.array([1, 2], np.uint64))
    np.testing.assert_array_equal(game.market.value[:, 0], ours.uav[:, 0])
    np.testing.assert_array_equal(game.market.value[:, 1:].max(axis=1), ours.first[:, 0])
    assert calibration(config).contract_price == pytest.approx(ours.uav.mean(), rel=0.1)
    assert game.market.contract_price[0] == calibration(config).contract_price
    step = game.step({"auctioneer": np.zeros((2, 1), np.int64)})
    assert all(np.all((seen >= 0) & (seen <= 1)) for seen in step.observations.values())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"data": VALUES.replace("s0,8,", "s0,-8,")}, "data.value=-8 (row 1)"),
        ({"data": VALUES.replace(",10.0", ",")}, "market 0 without a valuation of the UAV"),
        ({"data": VALUES.replace("0,s1,5,", "0,s0,5,")}, "data.station=s0 (row 2)"),
        ({"data": VALUES.replace("0,s1,5,", "0,s1,5,9")}, "data.uav=9 (row 2)"),
        ({"data": VALUES.replace("3,s2,6,\n", "")}, "market 3 without a value of each station"),
        ({"data": VALUES.replace("uav", "drone")}, "the column drone"),
        ({"data": VALUES, "stations": 4}, "stations=4"), ({"data": VALUES, "redraw": "instance"}, "redraw=instance"),
        ({"data": VALUES, "window": "sliding"}, "window=sliding"), ({"data": VALUES, "delay_of": "task"}, "delay_of"),
        ({"data": PROVIDERS.replace("uav", "station")}, "0 rows of a UAV"),
        ({"data": PROVIDERS.replace("0.7", "1.7")}, "accuracy="),
        ({"data": PROVIDERS.replace("0.7", "")}, "data.accuracy=empty (row 1)"),
        ({"data": PROVIDERS.replace("accuracy", "speed")}, "the column speed"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_line(settings, told):
    with pytest.raises(ParameterError) as caught:
        SecondBidConfig(**settings)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("table", [VALUES, PROVIDERS])
def test_the_audit_plays_the_tasks_of_the_table(table):
    config = SecondBidConfig(data=table, tasks=8)
    subject = scripted_subject(SecondBidGame, config, "second_price")
    replays = Replays(subject, 3)
    if table is VALUES:
        tasks = {(value, *bids) for value, bids in zip(UAV, BIDS, strict=True)}
        assert {tuple(row) for row in replays.draws.value.reshape(-1, 4).tolist()} == tasks
    # A station that bids 0 wins nothing, and truth is what the game paid.
    gains = replays.utilities(alone(config.stations, 1, [0.0, 1.0]), [(1,), (1,)], lambda share: None)
    assert gains[0].tolist() == [0.0] * 3
    assert gains[1] == pytest.approx(replays.truthful(1))
    assert gains[1].sum() > 0.0
    found = run_audit(subject, AuditSettings(markets=4, reports=3))
    assert found.value("episode_regret") == pytest.approx(0.0, abs=1e-9)  # second price


@pytest.mark.parametrize("started", [False, True])
def test_a_copy_plays_the_providers_that_were_given(started):
    params = {"spread": 0.0, "accuracy_noise": 0.0, "tasks": 3}
    game = SecondBidGame(SecondBidGame.make_config("paper", **params), 2)
    game.set_providers(market_from(game.config, accuracy=[0.8, 0.5, 0.5, 0.5, 0.5, 0.7]))
    keys = np.arange(2, dtype=np.uint64)
    if started:
        game.reset(keys)
    for twin in (copy.deepcopy(game), pickle.loads(pickle.dumps(game))):
        if not started:
            game.reset(keys)
            twin.reset(keys)
        for _ in range(4):
            step, other = (each.step({"auctioneer": np.zeros((2, 1), np.int64)}) for each in (game, twin))
            np.testing.assert_array_equal(step.rewards["auctioneer"], other.rewards["auctioneer"])
        np.testing.assert_array_equal(game.market.value, twin.market.value)
        game.reset(keys)
        if started:
            break
