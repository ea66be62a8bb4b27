"""The game with resources that stay: instances, references, history, own providers, and checkpoints of before."""

import dataclasses

import numpy as np
import pytest

from ioa_marl.envs.second_bid import SecondBidGame
from ioa_marl.evaluation.protocol import references
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.foundations.seeds import EVALUATION_SEED
from ioa_marl.markets.second_bid import calibration, contract_price, draw_providers, draw_tasks, market_from
from ioa_marl.markets.second_bid.state import LATE, UAV

EPISODES = 60


def played(config, policy, instances, providers=None, episodes=EPISODES):
    """Play a policy on every instance; return the game at its end and its last step."""
    count = len(instances) * episodes
    game = SecondBidGame(config, count, autoreset=False)
    if providers is not None:
        game.set_providers(providers)
    streams = np.tile(np.arange(episodes, dtype=np.uint64), len(instances))
    key = np.full(count, EVALUATION_SEED, np.uint64), streams, np.repeat(np.array(instances, np.uint64), episodes)
    game.reset(*key)
    rng = np.random.default_rng(0)
    act = game.scripted(policy, "auctioneer") if policy != "random" else None
    while True:
        actions = rng.integers(config.levels, size=(count, 1)) if act is None else act()
        step = game.step({"auctioneer": actions})
        if (step.terminated | step.truncated).all():
            return game, step, key


def test_the_past_is_worth_something_by_itself():
    """Score of the last winner's rule and of the best constant of each instance; neither sees the current bids."""
    config, instances = SecondBidGame.make_config("resident"), range(8)
    assert config.information == "history"
    means = {}
    for policy in ("random", "constant_rho", "last_winner"):
        _, step, key = played(config, policy, instances)
        means[policy] = step.metrics["surplus"].reshape(len(instances), -1).mean(axis=1)
    best = SecondBidGame.reference(config, *key)["auctioneer"].reshape(len(instances), -1).mean(axis=1)
    scores = {name: (mean - means["random"]) / (best - means["random"]) for name, mean in means.items()}
    assert scores["constant_rho"].mean() == pytest.approx(0.74, abs=0.05)
    assert scores["last_winner"].mean() == pytest.approx(0.91, abs=0.03)
    assert (scores["last_winner"] > scores["constant_rho"] - 0.02).all()
    assert ((scores["last_winner"] > scores["constant_rho"] + 0.2).sum()) >= 4


def test_the_best_constant_is_that_of_the_instance():
    config, instances = SecondBidGame.make_config("resident"), [1, 7]
    game, step, key = played(config, "constant_rho", instances)
    chosen = step.metrics["surplus"].reshape(2, -1).mean(axis=1)
    levels = [calibration(config, draw_providers(config, i)).constant for i in instances]
    assert levels[0] != levels[1]
    np.testing.assert_array_equal(game.market.settled["rho"][::EPISODES, 0], config.rhos()[levels])
    every = []
    for level in range(config.levels):
        game.reset(*key)
        every.append(_constant(game, level).reshape(2, -1).mean(axis=1))
    assert np.max(every, axis=0) - chosen == pytest.approx(0.0, abs=0.02 * chosen.max())


def _constant(game, level):
    while True:
        step = game.step({"auctioneer": np.full((game.num_envs, 1), level)})
        if (step.terminated | step.truncated).all():
            return step.metrics["surplus"]


def test_the_oracle_has_a_score_of_one_on_every_instance():
    config = SecondBidGame.make_config("resident")
    _, step, key = played(config, "oracle", [0, 5], episodes=10)
    np.testing.assert_allclose(step.metrics["surplus"], SecondBidGame.reference(config, *key)["auctioneer"], rtol=1e-9)
    fixed = dataclasses.replace(config, instance=5)
    np.testing.assert_allclose(
        SecondBidGame.reference(fixed, *key)["auctioneer"][10:], step.metrics["surplus"][10:], rtol=1e-9
    )


def test_a_uav_pays_the_contract_price_of_its_instance():
    config = SecondBidGame.make_config("resident", tasks=10)
    game, _, _ = played(config, "myopic_msb", [2, 3], episodes=5)
    for row in range(10):
        of_uav = game.market.winners[row] == UAV
        price = contract_price(config, draw_providers(config, 2 + row // 5))
        assert of_uav.any()
        assert set(game.market.settled["payment"][row][of_uav]) == {price}


def test_references_are_those_of_an_instance_only_where_something_stays():
    assert SecondBidGame.uses_instances(SecondBidGame.make_config("resident"))
    config = SecondBidGame.make_config("paper", tasks=5)
    assert not SecondBidGame.uses_instances(config)
    assert references(SecondBidGame, config, 4, instance=3) is references(SecondBidGame, config, 4)
    resident = SecondBidGame.make_config("resident", tasks=5)
    assert references(SecondBidGame, resident, 4, instance=3) != references(SecondBidGame, resident, 4)


def test_an_instance_needs_something_that_stays():
    for preset in ("paper", "pareto"):
        with pytest.raises(ParameterError, match="instance=3 is not allowed: use none with redraw=task"):
            SecondBidGame.make_config(preset, instance=3)
    assert SecondBidGame.make_config("resident", instance=3).instance == 3


def test_checkpoints_of_before_have_all_that_a_market_without_lasting_resources_needs():
    plain = SecondBidGame(SecondBidGame.make_config("paper", tasks=5), 2)
    plain.reset(np.arange(2, dtype=np.uint64))
    assert not set(LATE) & set(plain.save())
    resident = SecondBidGame(SecondBidGame.make_config("resident", tasks=5), 2)
    resident.reset(np.arange(2, dtype=np.uint64))
    assert set(LATE) <= set(resident.save())


def test_own_providers_are_played_and_calibrated():
    config = SecondBidGame.make_config("paper", tasks=20, spread=0.1, window="sliding")
    own = market_from(config, accuracy=[0.5, 0.55, 0.6, 0.65, 0.7, 0.75], uplink_bandwidth=[30, 20, 30, 40, 50, 60])
    game, step, (seeds, streams, _) = played(config, "oracle", [0], own, episodes=6)
    tasks = draw_tasks(config, seeds, streams, providers=own)
    best = np.maximum(tasks.first, tasks.uav)
    reached = tasks.first <= config.rhos()[-1] * tasks.second
    assert step.metrics["surplus"] == pytest.approx(np.where(reached, best, tasks.first).mean(axis=1))
    rule = game.scripted("threshold", "auctioneer")
    game.reset(seeds, streams)
    limit = contract_price(config, own)
    np.testing.assert_array_equal(rule()[:, 0] == 0, game.market.bid.max(axis=1) > limit)
    fresh = SecondBidGame(config, 2, autoreset=False)
    fresh.reset(np.zeros(2, np.uint64))
    fresh.set_providers(own)  # in the middle of an episode they play from the next task on
    fresh.step({"auctioneer": np.full((2, 1), 9)})
    assert np.isfinite(fresh.market.value).all()
    assert (fresh.market.contract_price == limit).all()
    with pytest.raises(ParameterError, match="providers=4"):
        game.set_providers(market_from(SecondBidGame.make_config("three")))


def test_policies_differ_in_delay_where_the_uav_has_resources_of_its_own():
    slow = {"uav_gpu_speed": (0.5, 0.7), "uav_cpu_speed": (0.5, 0.7)}
    for delay_of in ("past", "task"):
        delays = {}
        for name, own in (("same", {}), ("slow", slow)):
            config = SecondBidGame.make_config("paper", tasks=25, delay_of=delay_of, **own)
            delays[name] = [
                played(config, policy, [0])[1].metrics["delay"].mean() for policy in ("second_price", "myopic_msb")
            ]
        assert np.ptp(delays["same"]) < 0.012
        assert delays["slow"][0] == pytest.approx(delays["same"][0], rel=1e-12)  # no task is the UAV's
        assert delays["slow"][1] > delays["slow"][0] + 0.3


def test_the_delay_of_the_served_task_is_one_of_a_single_period():
    """It has the mean of the averaged periods, and their variance times their number."""
    means = {}
    for delay_of in ("past", "task"):
        config = SecondBidGame.make_config("paper", tasks=1, delay_of=delay_of, valuations="physical", beta=0.0)
        means[delay_of] = played(config, "myopic_msb", [0], episodes=4000)[1].metrics["delay"]
    assert means["task"].mean() == pytest.approx(means["past"].mean(), abs=0.01)
    assert means["task"].var() / means["past"].var() == pytest.approx(10.0, rel=0.15)
