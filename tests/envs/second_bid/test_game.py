"""What the agents of the second-bid market see, are paid and are scored by."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioa_marl.envs.second_bid.game import SecondBidGame
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.foundations.records import plain_view
from ioa_marl.foundations.seeds import EVALUATION_SEED
from ioa_marl.markets.second_bid.auction import UAV, allocate
from ioa_marl.markets.second_bid.drivers import MULTIPLIERS, TRUTH
from ioa_marl.markets.second_bid.references import calibration, highest_bid_ratio

EVERYBODY = ("auctioneer", "station")


def started(preset="paper", roles=None, num_envs=4, seed=9, **settings):
    game = SecondBidGame(SecondBidGame.make_config(preset, **settings), num_envs, roles, autoreset=False)
    game.reset(np.full(num_envs, seed, np.uint64))
    return game


def episode(game, act):
    """Play an episode and return its last step; ``act`` returns the auctioneer's actions."""
    while True:
        step = game.step({"auctioneer": act()})
        if (step.terminated | step.truncated).all():
            return step


def mean_surplus(preset, policy, markets=300, **settings):
    config = SecondBidGame.make_config(preset, **settings)
    game = SecondBidGame(config, markets, autoreset=False)
    seeds = np.arange(markets, dtype=np.uint64) + np.uint64(EVALUATION_SEED)
    streams = np.zeros(markets, np.uint64)
    game.reset(seeds, streams)
    if policy == "random":
        rng = np.random.default_rng(0)
        step = episode(game, lambda: rng.integers(config.levels, size=(markets, 1)))
    else:
        step = episode(game, game.scripted(policy, "auctioneer"))
    return step.metrics["surplus"].mean(), SecondBidGame.reference(config, seeds, streams)["auctioneer"].mean()


@pytest.mark.parametrize(
    ("preset", "policy", "expected"),
    [
        ("paper", "second_price", -0.28), ("paper", "constant_rho", 0.11), ("paper", "ratio_rule", 0.10),
        ("paper", "threshold", 0.46), ("paper", "oracle", 1.0), ("persistent", "constant_rho", 0.11),
        ("persistent", "last_winner", 0.735), ("pareto", "ratio_rule", 0.77),
    ],
)  # fmt: skip
def test_baselines_score_as_measured_on_evaluation_episodes(preset, policy, expected):
    (surplus, optimum), (random, _) = mean_surplus(preset, policy), mean_surplus(preset, "random")
    assert (surplus - random) / (optimum - random) == pytest.approx(expected, abs=0.03)


def test_a_task_is_settled_as_the_plain_auction_says():
    game = started("paper", EVERYBODY, num_envs=6)
    rng = np.random.default_rng(1)
    contract = calibration(game.config).contract_price
    for _ in range(game.config.tasks):
        values = game.market.value.copy()
        factors, levels = rng.integers(len(MULTIPLIERS), size=(6, 5)), rng.integers(10, size=(6, 1))
        game.step({"station": factors, "auctioneer": levels})
        step = game.step({"station": factors, "auctioneer": levels})
        bids = values[:, 1:] * np.array(MULTIPLIERS)[factors]
        for b in range(6):
            result = allocate(bids[b], float(game.rhos[levels[b, 0]]), contract)
            task = game.market.task[b] - 1
            assert game.market.winners[b, task] == result.winner
            assert game.market.settled[b, task].payment == result.payment
            np.testing.assert_allclose(step.rewards["station"][b], result.utilities(values[b, 1:]), rtol=1e-6)
            surplus = values[b, 0] if result.winner == UAV else values[b, 1 + result.winner]
            assert step.rewards["auctioneer"][b, 0] == np.float32(surplus)
    assert (step.terminated | step.truncated).all()


@pytest.mark.parametrize("roles", [("auctioneer",), EVERYBODY], ids="+".join)
def test_what_is_paid_is_received(roles):
    game = started("paper", roles, num_envs=5)
    rng, paid = np.random.default_rng(2), np.zeros(5)
    for _ in range(game.config.tasks * len(roles)):
        levels, factors = rng.integers(10, size=(5, 1)), rng.integers(16, size=(5, 5))
        step = game.step({"auctioneer": levels, "station": factors})
    for b in range(5):
        paid[b] = game.market.settled["payment"][b].sum()
    ledger = game.ledger()
    np.testing.assert_allclose(ledger.sum(axis=1), 0.0, atol=1e-9)
    np.testing.assert_allclose(ledger[:, -1], paid, rtol=1e-12)
    np.testing.assert_allclose(step.metrics["revenue"] * game.config.tasks, paid, rtol=1e-12)
    served = (game.market.winners == UAV).sum(axis=1)
    np.testing.assert_allclose(ledger[:, -2], -served * calibration(game.config).contract_price, rtol=1e-9)
    assert (ledger[:, :-2] <= 0.0).all()


@pytest.mark.parametrize("settings", [{}, {"latency_factor": 1e6, "accuracy_factor": 10.0}, {"latency_factor": 1e-6}])
def test_receipts_sum_to_zero_exactly_however_large_they_are(settings):
    game = started(num_envs=200, **settings)
    rng = np.random.default_rng(6)
    step = episode(game, lambda: rng.integers(10, size=(200, 1)))
    ledger = game.ledger()
    assert not ledger.sum(axis=1).any()
    assert not ledger[:, rng.permutation(ledger.shape[1])].sum(axis=1).any()
    np.testing.assert_allclose(ledger, game.market.receipts, rtol=1e-12)
    np.testing.assert_allclose(ledger[:, -1], step.metrics["revenue"] * game.config.tasks, rtol=1e-12)


def test_truthful_stations_never_lose():
    game = started("paper", EVERYBODY, num_envs=30)
    rng = np.random.default_rng(3)
    truth = np.full((30, 5), TRUTH)
    for _ in range(2 * game.config.tasks):
        step = game.step({"auctioneer": rng.integers(10, size=(30, 1)), "station": truth})
        assert (step.rewards["station"] >= 0.0).all()
        assert ((step.rewards["station"] > 0.0).sum(axis=1) <= 1).all()


def test_metrics_are_means_over_the_tasks():
    game = started(num_envs=7, uav_weight=1.5)
    total = np.zeros(7)
    while True:
        step = game.step({"auctioneer": np.full((7, 1), 3)})
        total += step.rewards["auctioneer"][:, 0]
        if (step.terminated | step.truncated).all():
            break
    metrics = step.metrics
    np.testing.assert_allclose(metrics["surplus"], total / 50, rtol=1e-6)
    np.testing.assert_allclose(metrics["station_surplus"] + metrics["uav_surplus"], metrics["surplus"], rtol=1e-12)
    np.testing.assert_allclose(metrics["efficiency"], metrics["surplus"] / metrics["optimal_surplus"], rtol=1e-12)
    np.testing.assert_allclose(metrics["rho"], 10**0.3, rtol=1e-12)
    np.testing.assert_array_equal(metrics["uav_share"], (game.market.winners == UAV).mean(axis=1))
    # The reward counts the UAV's value ζ times, the bidders' utility once.
    utility = metrics["station_surplus"] + metrics["uav_surplus"] / 1.5 - metrics["revenue"]
    np.testing.assert_allclose(metrics["bidder_utility"], utility, rtol=1e-9)
    assert ((metrics["delay"] > 0.4) & (metrics["delay"] < 0.9)).all()


def test_an_episode_that_is_cut_off_before_its_first_auction_has_finite_figures():
    game = started("paper", EVERYBODY, max_cycles=1)
    step = game.step({"auctioneer": np.zeros((4, 1), int), "station": np.zeros((4, 5), int)})
    assert step.truncated.all()
    assert not step.metrics["surplus"].any()
    assert (step.metrics["efficiency"] == 1.0).all()


def test_the_past_is_shown_after_the_first_task():
    game = started(information="history")
    observations, _ = game.reset(np.arange(4, dtype=np.uint64))
    assert not observations["auctioneer"].any()
    values = game.market.value.copy()
    step = game.step({"auctioneer": np.full((4, 1), 4)})
    constants = calibration(game.config)
    ranked = np.sort(values[:, 1:], axis=1)
    logs = np.log(np.stack([values[:, 0], ranked[:, -1], ranked[:, -2]], axis=1))
    scaled = np.clip((logs - constants.log_low) / (constants.log_high - constants.log_low), 0.0, 1.0)
    features = step.observations["auctioneer"][:, 0]
    np.testing.assert_allclose(features[:, :3], scaled, atol=1e-6)
    np.testing.assert_allclose(features[:, 6:9], scaled, atol=1e-6)
    np.testing.assert_allclose(
        features[:, 3], np.clip((logs[:, 1] - logs[:, 2]) / constants.log_ratio, 0, 1), atol=1e-6
    )
    station_won = ranked[:, -1] > 10**0.4 * ranked[:, -2]
    np.testing.assert_array_equal(features[:, 4], np.where(station_won, 1.0, 0.5))
    np.testing.assert_allclose(features[:, 5], 4 / 9, rtol=1e-6)
    game.step({"auctioneer": np.full((4, 1), 9)})
    last = plain_view(game.market.last)[:, :3]
    np.testing.assert_allclose(plain_view(game.market.averages), 0.8 * logs + 0.2 * last, rtol=1e-12)


def test_present_bids_are_shown_from_the_highest_down_and_the_uav_where_it_is_visible():
    plain, open_ = started(), started(uav_bid_visible=True)
    constants = calibration(plain.config)
    logs = np.log(np.sort(plain.market.value[:, 1:], axis=1)[:, ::-1])
    scaled = np.clip((logs - constants.log_low) / (constants.log_high - constants.log_low), 0.0, 1.0)
    observations, _ = plain.reset(np.full(4, 9, np.uint64))
    np.testing.assert_allclose(observations["auctioneer"][:, 0, 9:], scaled, atol=1e-6)
    observations, _ = open_.reset(np.full(4, 9, np.uint64))
    assert observations["auctioneer"].shape == (4, 1, 15)
    uav = (np.log(open_.market.value[:, 0]) - constants.log_low) / (constants.log_high - constants.log_low)
    np.testing.assert_allclose(observations["auctioneer"][:, 0, 14], np.clip(uav, 0, 1), atol=1e-6)


def test_history_does_not_tell_this_tasks_bids():
    game = started(information="history")
    before = game.step({"auctioneer": np.zeros((4, 1), int)}).observations["auctioneer"].copy()
    saved = game.save()
    for name in ("value", "bid"):
        saved[name] = saved[name] * 3.0
    observations, _ = game.restore(saved)
    np.testing.assert_array_equal(observations["auctioneer"], before)


def test_bids_are_not_seen_before_they_are_made():
    game = started("paper", EVERYBODY)
    observations, active = game.reset(np.full(4, 9, np.uint64))
    assert active["station"].all()
    assert not active["auctioneer"].any()
    assert not observations["auctioneer"].any()
    assert observations["station"][:, :, 0].any()
    step = game.step({"auctioneer": np.zeros((4, 1), int), "station": np.full((4, 5), TRUTH)})
    assert step.active["auctioneer"].all()
    assert step.observations["auctioneer"][:, 0, 9:].any()


def test_stations_see_their_own_value_the_last_rho_and_whether_they_won():
    game = started("paper", ("station",), num_envs=8)
    level = calibration(game.config).constant
    step = game.step({"station": np.full((8, 5), TRUTH)})
    features = step.observations["station"]
    np.testing.assert_allclose(features[:, :, 1], level / 9, rtol=1e-6)
    won = game.market.winners[:, 0]
    np.testing.assert_array_equal(features[:, :, 2], won[:, None] == np.arange(5))
    assert (won >= 0).any()
    assert (won == UAV).any()


def test_tasks_do_not_depend_on_what_anybody_does():
    one, other = started("persistent", EVERYBODY), started("persistent", EVERYBODY)
    rng = np.random.default_rng(4)
    for _ in range(20):
        one.step({"auctioneer": np.zeros((4, 1), int), "station": np.full((4, 5), TRUTH)})
        other.step({"auctioneer": rng.integers(10, size=(4, 1)), "station": rng.integers(16, size=(4, 5))})
        np.testing.assert_array_equal(one.market.value, other.market.value)


def test_controlled_stations_that_tell_the_truth_change_nothing():
    alone, both = started(num_envs=5), started("paper", EVERYBODY, num_envs=5)
    for level in (0, 4, 9, 2):
        single = alone.step({"auctioneer": np.full((5, 1), level)})
        actions = {"auctioneer": np.full((5, 1), level), "station": np.full((5, 5), TRUTH)}
        both.step(actions)
        double = both.step(actions)
        np.testing.assert_array_equal(single.rewards["auctioneer"], double.rewards["auctioneer"])


def test_misreports_are_multiples_of_the_value_and_the_surplus_counts_the_true_one():
    game = started("paper", EVERYBODY, num_envs=3)
    value = game.market.value.copy()
    factors = np.full((3, 5), 0)  # all bid half
    factors[:, 2] = len(MULTIPLIERS) - 1  # but one twice its value
    actions = {"auctioneer": np.zeros((3, 1), int), "station": factors}
    game.step(actions)
    np.testing.assert_array_equal(game.market.bid[:, 2], 2.0 * value[:, 3])
    np.testing.assert_array_equal(game.market.bid[:, 0], 0.5 * value[:, 1])
    step = game.step(actions)
    winners = game.market.winners[:, 0]
    np.testing.assert_allclose(step.rewards["auctioneer"][:, 0], value[np.arange(3), winners + 1], rtol=1e-6)


def test_the_oracle_makes_the_best_of_misreported_bids():
    game = started("paper", EVERYBODY, num_envs=40)
    oracle, rng = game.scripted("oracle", "auctioneer"), np.random.default_rng(5)
    for _ in range(game.config.tasks):
        actions = {"auctioneer": np.zeros((40, 1), int), "station": rng.integers(16, size=(40, 5))}
        game.step(actions)
        bids, values = game.market.bid.copy(), game.market.value.copy()
        chosen = oracle().copy()
        step = game.step({**actions, "auctioneer": chosen})
        for b in range(0, 40, 8):
            gains = []
            for rho in game.rhos:
                winner = allocate(bids[b], float(rho)).winner
                gains.append(values[b, winner + 1])
            assert step.rewards["auctioneer"][b, 0] == np.float32(max(gains))
            assert chosen[b, 0] == int(np.argmax(gains))
    np.testing.assert_allclose(step.metrics["efficiency"], 1.0, rtol=1e-12)


def test_the_myopic_rule_gives_the_uav_every_task_that_the_grid_can_give_it():
    game = started(num_envs=50)
    myopic = game.scripted("myopic_msb", "auctioneer")
    within = 0
    for _ in range(game.config.tasks):
        ranked = np.sort(game.market.bid, axis=1)
        reachable = ranked[:, -1] <= game.rhos[-1] * ranked[:, -2]
        game.step({"auctioneer": myopic()})
        task = int(game.market.task[0]) - 1
        np.testing.assert_array_equal(game.market.winners[:, task] == UAV, reachable)
        within += reachable.sum()
    assert within > 0.95 * 50 * game.config.tasks


def test_the_ratio_rule_is_the_factor_of_the_grid_that_is_nearest_to_the_ratio():
    game = started("nine")
    (level,) = set(game.scripted("ratio_rule", "auctioneer")().ravel().tolist())
    ratio = calibration(game.config).ratio
    assert abs(np.log10(ratio) - level / 10) <= 0.05


def test_with_the_uav_as_u0_the_myopic_rule_gives_it_the_tasks_that_it_values_most():
    game = started(num_envs=50, uav_weight=1.2)
    myopic = game.scripted("myopic_msb", "auctioneer", u0="uav")
    rhos, given = game.config.rhos(), []
    for _ in range(game.config.tasks):
        ranked = np.sort(game.market.bid, axis=1)
        first, second, uav = ranked[:, -1], ranked[:, -2], 1.2 * game.market.value[:, 0]
        chosen = rhos[myopic()[:, 0]]
        in_reach = uav <= rhos[-1] * second
        # The smallest factor of the grid from max(1, ζ v₀/b₍₂₎) on; where none is left, the largest.
        assert np.all(chosen[in_reach] * second[in_reach] >= uav[in_reach])
        assert np.all((chosen[in_reach] == 1.0) | (chosen[in_reach] * second[in_reach] < uav[in_reach] * rhos[1]))
        assert np.all(chosen[~in_reach] == rhos[-1])
        game.step({"auctioneer": myopic()})
        won = game.market.winners[:, int(game.market.task[0]) - 1] == UAV
        assert won[in_reach & (uav >= first)].all()
        given.append(won)
    assert 0.1 < np.mean(given) < 0.9


@pytest.mark.parametrize("preset", ["paper", "nine", "pareto", "visible"])
def test_with_the_highest_bid_as_u0_the_ratio_rule_is_nearest_to_the_ratio_of_the_mean_bids(preset):
    game = started(preset, num_envs=200)
    (level,) = set(game.scripted("ratio_rule", "auctioneer", u0="highest_bid")().ravel().tolist())
    bids = []
    for _ in range(game.config.tasks):
        ranked = np.sort(game.market.bid, axis=1)
        second = ranked[:, -2]
        if game.config.rivals == "providers":
            second = np.maximum(second, game.market.value[:, 0])
        bids.append([ranked[:, -1], second])
        game.step({"auctioneer": np.zeros((200, 1), int)})
    first, second = np.mean(bids, axis=(0, 2))
    ratio = max(1.0, first / second)
    assert highest_bid_ratio(game.config) == pytest.approx(ratio, rel=0.04)
    assert abs(np.log10(ratio) - level / 10) <= 0.05 + 0.02


def test_each_policy_reads_u0_as_before_unless_it_is_told_otherwise():
    for preset in ("paper", "pareto"):
        game = started(preset, num_envs=20)
        for policy, reading in (("ratio_rule", "uav"), ("myopic_msb", "highest_bid")):
            plain, read = (game.scripted(policy, "auctioneer", **chosen)() for chosen in ({}, {"u0": reading}))
            np.testing.assert_array_equal(plain, read)


def test_settings_of_policies_are_checked():
    game = started()
    assert (game.scripted("constant_rho", "auctioneer", level=7)() == 7).all()
    assert (game.scripted("threshold", "auctioneer", threshold=0.0)() == 0).all()
    assert (game.scripted("multiplied", "station", factor=0.5)() == 0).all()
    for policy, chosen in (
        ("constant_rho", {"level": 10}),
        ("threshold", {"threshold": -1.0}),
        ("ratio_rule", {"u0": "mean"}),
        ("myopic_msb", {"u0": "mean"}),
    ):
        with pytest.raises(ParameterError, match=next(iter(chosen))):
            game.scripted(policy, "auctioneer", **chosen)
    with pytest.raises(ParameterError, match=r"factor=0\.55"):
        game.scripted("multiplied", "station", factor=0.55)


def test_a_uav_that_is_seen_must_be_seen_in_the_present():
    with pytest.raises(ParameterError, match="uav_bid_visible=True is not allowed: use false with information=history"):
        SecondBidGame.make_config("persistent", uav_bid_visible=True)
    with pytest.raises(ParameterError, match="information=all"):
        SecondBidGame.make_config(information="all")


def test_the_reference_counts_only_the_tasks_that_max_cycles_leaves():
    config = SecondBidGame.make_config(max_cycles=3)
    seeds, streams = np.array([5, 6], np.uint64), np.zeros(2, np.uint64)
    game = SecondBidGame(config, 2, autoreset=False)
    game.reset(seeds, streams)
    step = episode(game, game.scripted("oracle", "auctioneer"))
    bound = SecondBidGame.reference(config, seeds, streams)["auctioneer"]
    np.testing.assert_allclose(step.metrics["surplus"], bound, rtol=1e-12)


def power_range(low, high):
    """Ranges whose ends are anywhere between powers of ten."""
    return st.tuples(st.floats(low, high), st.floats(low, high)).map(lambda ends: tuple(10.0**e for e in sorted(ends)))


@settings(deadline=None, max_examples=20)
@given(
    channel_gain=st.floats(-200.0, 100.0).map(lambda gain: (gain, min(gain + 30.0, 100.0))),
    task_size=power_range(-3.0, 6.0),
    uplink_bandwidth=power_range(-3.0, 6.0),
    cpu_speed=power_range(-3.0, 6.0),
    accuracy=st.sampled_from([(0.0, 1.0), (1.0, 1.0), (0.0, 0.0), (0.9, 0.95)]),
    accuracy_noise=st.sampled_from([0.0, 0.5, 1.0]),
    accuracy_cap=st.sampled_from([0.0, 0.5, 0.9999]),
    beta=st.floats(0.0, 10.0),
    latency_factor=power_range(-6.0, 6.0).map(lambda ends: ends[0]),
    common_value=power_range(-6.0, 6.0),
    pareto_shape=st.floats(1.001, 100.0),
    valuations=st.sampled_from(["physical", "pareto"]),
    stations=st.integers(2, 4),
    levels=st.sampled_from([1, 10]),
)
def test_whatever_construction_accepts_gives_finite_numbers(**changes):
    try:
        config = SecondBidGame.make_config(tasks=2, periods=2, **changes)
    except ParameterError:
        return
    game = SecondBidGame(config, 3, EVERYBODY, autoreset=False)
    observations, _ = game.reset(np.arange(3, dtype=np.uint64))
    rng = np.random.default_rng(0)
    for _ in range(4):
        levels, factors = rng.integers(config.levels, size=(3, 1)), rng.integers(16, size=(3, config.stations))
        step = game.step({"auctioneer": levels, "station": factors})
        for features in (observations, step.observations):
            assert all(((array >= 0.0) & (array <= 1.0)).all() for array in features.values())
        assert all(np.isfinite(array).all() for array in step.rewards.values())
    assert (step.terminated | step.truncated).all()
    assert all(np.isfinite(values).all() for values in step.metrics.values())
    assert np.isfinite(game.ledger()).all()
    assert ((game.state() >= 0.0) & (game.state() <= 1.0)).all()
