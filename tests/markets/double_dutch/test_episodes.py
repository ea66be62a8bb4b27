"""Beginnings and ends: given bids, empty sides, truncation, resets, and what can be read after an episode."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.double_dutch.auction import simulate

ROLES = ("auctioneer", "buyer", "seller")


def new_game(num_envs=1, controlled_roles=("auctioneer",), *, autoreset=True, **changes):
    return DoubleDutchGame(DoubleDutchGame.make_config(None, **changes), num_envs, controlled_roles, autoreset)


def start(game, seed=0):
    return game.reset(np.full(game.num_envs, seed, np.uint64))


def constant(game, index):
    return {"auctioneer": np.full((game.num_envs, 1), index)}


def until_end(game, actions, limit=500):
    for _ in range(limit):
        step = game.step(actions)
        if step.terminated[0] or step.truncated[0]:
            return step
    raise AssertionError("the episode did not end")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0, 80), min_size=1, max_size=6), st.lists(st.floats(0, 80), min_size=1, max_size=6),
    st.integers(0, 9),
)  # fmt: skip
def test_given_bids_are_played_as_in_a_lone_auction(values, costs, index):
    game = new_game(buyers=6, sellers=6, autoreset=False)
    start(game)
    game.reset_to(np.array([values]), np.array([costs]))
    step = until_end(game, constant(game, index))
    lone = simulate(values, costs, game.config.steps[index], tick=0.25, buyer_clock=80.0, seller_clock=0.0)
    got = {name: array[0] for name, array in step.metrics.items()}
    for name in ("price", "trades", "ticks", "messages", "efficiency", "clock_surplus", "regret", "welfare"):
        assert got[name] == pytest.approx(getattr(lone, name), abs=1e-9, nan_ok=name == "price"), name
    assert np.flatnonzero(game.market.accepted_at[0, 0] >= 0).size == lone.accepted[0]


def test_given_bids_leave_nothing_of_those_before_them():
    games = [new_game(1, ROLES, buyers=3, sellers=3) for _ in range(2)]
    for game in games:
        start(game)
    games[1].reset_to(np.array([[50.0, 40.0, 30.0]]), np.array([[1.0, 2.0, 3.0]]))
    observations = [game.reset_to(np.array([[50.0]]), np.array([[1.0]]))[0] for game in games]
    for role in ROLES:
        assert np.array_equal(observations[0][role], observations[1][role]), role
    assert np.array_equal(games[0].state(), games[1].state())


def test_given_bids_have_to_be_numbers_and_fit_the_market():
    game = new_game(buyers=2, sellers=2)
    start(game)
    with pytest.raises(ParameterError, match="bidders=3 is not allowed"):
        game.reset_to(np.ones((1, 3)), np.ones((1, 2)))
    for bad in (np.nan, np.inf, -1.0):
        with pytest.raises(ParameterError):
            game.reset_to(np.array([[bad]]), np.ones((1, 2)))

    with pytest.raises(ParameterError, match="size="):
        game.reset_to(np.ones((1, 2)), np.ones((1, 2)), np.array([[3, 1]]))


def test_markets_of_different_sizes_start_as_each_alone():
    rng = np.random.default_rng(0)
    values, costs = rng.uniform(0, 80, (6, 3)), rng.uniform(0, 80, (6, 3))
    size = np.array([[3, 3], [1, 2], [0, 3], [2, 0], [3, 1], [2, 2]])
    together = new_game(6, ROLES, buyers=3, sellers=3)
    start(together)
    observations, _ = together.reset_to(values, costs, size)
    for market, (n, m) in enumerate(size):
        alone = new_game(1, ROLES, buyers=3, sellers=3)
        start(alone)
        expected, _ = alone.reset_to(values[market : market + 1, :n], costs[market : market + 1, :m])
        assert np.array_equal(together.state()[market], alone.state()[0])
        for role in ROLES:
            assert np.array_equal(observations[role][market], expected[role][0]), (market, role)


@pytest.mark.parametrize("controlled_roles", [("auctioneer",), ("buyer",), ("seller",), ROLES], ids="+".join)
@pytest.mark.parametrize(("values", "costs"), [([], [1.0]), ([1.0], []), ([], [])])
def test_an_auction_without_one_side_ends_at_once_and_without_trade(controlled_roles, values, costs):
    game = new_game(1, controlled_roles, buyers=2, sellers=2, autoreset=False)
    start(game)
    game.reset_to(np.array([values]), np.array([costs]))
    step = game.step({role: np.zeros((1, game.roles[role].count), np.int64) for role in controlled_roles})
    assert step.terminated[0]
    for name, expected in (("trades", 0), ("messages", 0), ("return", 0), ("optimal_welfare", 0), ("efficiency", 1)):
        assert step.metrics[name][0] == expected, name
    assert not game.ledger().any()


def test_buyers_below_every_clock_and_sellers_above_them_never_accept():
    game = new_game(buyers=2, sellers=2, seller_clock=10.0, level=(40.0, 40.0), autoreset=False)
    start(game)
    game.reset_to(np.array([[5.0, 9.75]]), np.array([[90.0, 81.0]]))
    step = until_end(game, constant(game, 9))
    # From 80 by 12 to 8: the clock is below 10 after six moves; two buyers hear each broadcast.
    assert (step.metrics["ticks"][0], step.metrics["messages"][0], step.metrics["trades"][0]) == (6, 12, 0)
    assert np.isnan(step.metrics["price"][0])
    assert step.metrics["return"][0] == pytest.approx(-0.03 * 12)
    assert step.metrics["exchange_cost"][0] == pytest.approx(0.03 * 12)


def test_everybody_accepting_at_once_takes_two_ticks():
    prices = {"level": (15.0, 15.0), "width": (2.0, 2.0), "buyer_clock": 20.0, "seller_clock": 10.0}
    game = new_game(buyers=3, sellers=2, **prices, autoreset=False)
    start(game)
    game.reset_to(np.array([[30.0, 40.0, 20.0]]), np.array([[10.0, 3.0]]))
    step = until_end(game, constant(game, 0))
    got = {name: array[0] for name, array in step.metrics.items()}
    assert (got["ticks"], got["messages"], got["trades"], got["price"]) == (2, 5, 2, 15.0)
    # Within a tick the lower indices trade: values 30 and 40, costs 10 and 3.
    assert (got["welfare"], got["exchange_cost"]) == (57.0, 0.0)
    assert game.ledger()[0].tolist() == [-15.0, -15.0, 0.0, 15.0, 15.0, 0.0]
    assert got["return"] == pytest.approx(57.0 - 0.1 * (10 + 20 + 0 + 0 + 7))


@pytest.mark.parametrize("controlled_roles", [("auctioneer",), ROLES])
@pytest.mark.parametrize("paid", ["per_trade", "at_end"])
def test_return_is_welfare_and_trades_less_regret_and_exchange_cost(controlled_roles, paid):
    """Eqs. 38 and 39: nothing else enters the reward, whichever driver plays and whenever welfare is paid."""
    weights = {"regret_weight": 0.3, "welfare_weight": 1.7, "message_weight": 0.05, "trade_weight": 0.4}
    game = new_game(16, controlled_roles, welfare_paid=paid, min_buyers=1, min_sellers=1, **weights)
    start(game, 4)
    rng, count = np.random.default_rng(0), 0
    for _ in range(400):
        chosen = {r: rng.integers(0, game.roles[r].action_space.n, (16, game.roles[r].count)) for r in controlled_roles}
        step = game.step(chosen)
        m = {name: values[step.terminated] for name, values in step.metrics.items()}
        paid_out = 1.7 * m["welfare"] + 0.4 * m["trades"] - 0.3 * m["regret"] - m["exchange_cost"]
        assert m["return"] == pytest.approx(paid_out, abs=1e-9)
        assert np.all(m["exchange_cost"] <= 0.05 * m["messages"] + 1e-9)
        count += len(paid_out)
    assert count > 50


def test_ledger_is_that_of_the_last_finished_episode_until_the_next_one():
    game = new_game(3)
    start(game, 1)
    last = np.zeros_like(game.ledger())
    for _ in range(120):
        step = game.step(constant(game, 5))
        ended = step.terminated | step.truncated
        last[ended] = game.ledger()[ended]
        assert np.array_equal(game.ledger(), last)


def test_truncation_says_so_and_the_next_episode_is_the_one_that_would_have_come_anyway():
    short, full = new_game(4, max_cycles=5), new_game(4)
    start(short, 2)
    start(full, 2)
    for count in range(1, 21):
        step = short.step(constant(short, 0))
        assert np.all(step.truncated == (count % 5 == 0))
        assert not step.terminated.any()
    assert np.all(short.market.episode == 4)
    until = new_game(4, autoreset=False)
    start(until, 2)
    for _ in range(4):
        until.step(constant(until, 0))
        until.next_episode()
    assert np.array_equal(until.market.valuation, short.market.valuation)


def test_a_truncated_auction_settles_nothing():
    game = new_game(8, ROLES, max_cycles=30, buyer_clock=40.0, level=(20.0, 20.0), width=(6.0, 6.0))
    start(game, 6)
    for _ in range(30):
        step = game.step(
            {"auctioneer": np.zeros((8, 1), np.int64), "buyer": np.ones((8, 10), int), "seller": np.zeros((8, 10), int)}
        )
    assert step.truncated.all()
    assert np.abs(game.ledger()).sum() == 0
    game = new_game(8, ROLES, max_cycles=3)
    start(game, 6)
    # Bidders who all accept but one trade on paper; no utility is paid, so no money may have moved either.
    some = np.ones((8, 10), int)
    some[:, 0] = 0
    for _ in range(3):
        step = game.step({"auctioneer": np.zeros((8, 1), np.int64), "buyer": some, "seller": some})
    assert step.truncated.all()
    utilities = [step.rewards[role].sum() for role in ("buyer", "seller")]
    assert utilities == [0.0, 0.0]
    assert np.abs(game.ledger()).sum() == 0


def test_without_automatic_reset_the_last_state_stays_and_the_episodes_are_the_same():
    own, automatic = new_game(1, autoreset=False), new_game(1)
    start(own, 8)
    start(automatic, 8)
    for _ in range(3):
        one, other = until_end(own, constant(own, 6)), until_end(automatic, constant(automatic, 6))
        for name in one.metrics:
            assert one.metrics[name][0] == other.metrics[name][0]
        assert np.array_equal(one.final_observations["auctioneer"], one.observations["auctioneer"])
        observations, _ = own.next_episode()
        assert np.array_equal(observations["auctioneer"], other.observations["auctioneer"])
        assert np.array_equal(own.market.valuation, automatic.market.valuation)


def test_final_observation_is_the_true_successor():
    game = new_game(2, observation="extended")
    watched = new_game(2, observation="extended", autoreset=False)
    start(game, 12)
    start(watched, 12)
    for _ in range(500):
        one, other = game.step(constant(game, 7)), watched.step(constant(watched, 7))
        ended = one.terminated
        if ended.any():
            final = one.final_observations["auctioneer"][ended]
            assert np.array_equal(final, other.observations["auctioneer"][ended])
            assert not np.array_equal(final, one.observations["auctioneer"][ended])
            return
    raise AssertionError("no episode ended")


def test_scripted_auctioneer_plays_what_its_role_says_it_plays():
    # The role names the policy that plays it when it is scripted, and both must play the same auction.
    bidders = new_game(20, ("buyer", "seller"), autoreset=False)
    start(bidders, 14)
    policy = bidders.scripted(bidders.roles["auctioneer"].scripted, "auctioneer")
    alone = new_game(20, autoreset=False)
    start(alone, 14)
    for b in range(20):
        prices = []
        for game in (bidders, alone):
            one = DoubleDutchGame(game.config, 1, game.controlled_roles, autoreset=False)
            one.restore({name: array[b : b + 1] for name, array in game.save().items()})
            for _ in range(800):
                actions = {r: one.scripted("truthful", r)() for r in game.controlled_roles if r != "auctioneer"}
                step = one.step(actions or {"auctioneer": policy()[:1]})
                if step.terminated[0]:
                    break
            prices.append((step.metrics["price"][0], step.metrics["ticks"][0]))
        assert prices[0] == prices[1]


def test_bidders_who_are_not_there_have_no_valuation():
    game = new_game(60, ("buyer", "seller"), buyers=6, sellers=4, min_buyers=1, min_sellers=1)
    observations, _ = start(game, 5)
    absent = np.arange(6) >= game.market.size[:, :1]
    assert absent.any()
    assert not observations["buyer"][absent, 6].any()
    assert observations["buyer"][~absent, 6].all()


def test_observations_show_the_clocks_the_winners_and_what_the_clocks_have_found():
    game = new_game(1, ROLES, buyers=2, sellers=2, observation="extended", autoreset=False)
    start(game)
    game.reset_to(np.array([[70.0, 50.0]]), np.array([[20.0, 10.0]]))
    # Steps of 5, by hand: buyers 80 no, 75 no, 70 yes; sellers 0 no, 5 no, 10 yes; buyers 70 no, then 65. Each
    # broadcast is a step, and so is each decision after one that nobody accepted.
    for _ in range(3 + 2 + 3 + 2 + 2):
        truthful = {role: game.scripted("truthful", role)() for role in ("buyer", "seller")}
        step = game.step({"auctioneer": np.full((1, 1), 7), **truthful})
    expected = [
        0.0, 7 / 400, 65 / 80, 10 / 80, 1 / 2, 1 / 2,
        5 / 80, 0.0, 10 / 80, 10 / 80, 1.0, 1.0,
    ]  # fmt: skip
    observations = step.observations
    assert observations["auctioneer"][0, 0] == pytest.approx(expected, abs=1e-7)
    assert observations["buyer"][0, 0] == pytest.approx([*expected, 70 / 80, 1.0], abs=1e-7)
    assert observations["buyer"][0, 1] == pytest.approx([*expected, 50 / 80, 0.0], abs=1e-7)
    assert observations["seller"][0].T[-2:].tolist() == pytest.approx(np.array([[0.25, 0.125], [0.0, 1.0]]))
    assert step.active["buyer"][0].tolist() == [False, True]


@pytest.mark.parametrize("controlled", [("auctioneer",), ("auctioneer", "buyer", "seller")])
def test_an_episode_that_runs_on_to_the_next_loser_is_the_auction_over_the_same_bids(controlled):
    game = DoubleDutchGame(DoubleDutchGame.make_config("thin", ending="next_loser"), 40, controlled)
    game.reset(np.full(40, 7, np.uint64))
    market, config, index = game.market, game.config, 3
    bids = [
        [market.valuation[b, side, np.sort(market.order[b, side, : market.size[b, side]])] for side in range(2)]
        for b in range(40)
    ]
    actions = {"auctioneer": np.full((40, 1), index)}
    ended, figures = np.zeros(40, bool), np.zeros((40, 4))
    names = ("price", "trades", "messages", "regret")
    while not ended.all():
        for side, role in enumerate(("buyer", "seller")):
            clocks, limits = market.clock[:, side, None], market.threshold[:, side, : getattr(config, f"{role}s")]
            actions[role] = (clocks <= limits if side == 0 else clocks >= limits).astype(int)
        step = game.step({role: actions[role] for role in controlled})
        new = (step.terminated | step.truncated) & ~ended
        figures[new] = np.stack([step.metrics[name] for name in names], axis=1)[new]
        ended |= new
    clocks = {"tick": config.tick, "buyer_clock": config.buyer_clock, "seller_clock": config.seller_clock}
    for (values, costs), figure in zip(bids, figures, strict=True):
        if len(costs):
            result = simulate(values, costs, config.steps[index], ending="next_loser", **clocks)
            np.testing.assert_allclose([getattr(result, name) for name in names], figure, atol=1e-9)
