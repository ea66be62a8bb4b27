"""The clairvoyant plan is the best of all action sequences, and no policy gets more."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.markets.double_dutch.clairvoyant import clairvoyant_bounds, clairvoyant_plan
from ioa_marl.markets.double_dutch.kernels import open_auction, play_tick, run_auction
from ioa_marl.markets.double_dutch.params import DoubleDutchParams
from ioa_marl.markets.double_dutch.references import best_fixed_step, fixed_step_frontier
from ioa_marl.markets.double_dutch.state import allocate_state


def tiny(clock=6, steps=(1.0, 2.0, 3.0), **weights):
    """A market whose clocks are few enough to try every sequence of steps."""
    return DoubleDutchParams(
        buyers=4,
        sellers=4,
        tick=1.0,
        buyer_clock=float(clock),
        steps=steps,
        scripted_step=steps[0],
        max_ticks=40,
        **weights,
    )


def holding(values, costs):
    state = allocate_state(1, max(len(values), len(costs)))
    for side, valuations in enumerate((values, costs)):
        state.size[0, side] = len(valuations)
        state.valuation[0, side, : len(valuations)] = valuations
        state.order[0, side, : len(valuations)] = np.arange(len(valuations))
    return state


def best_of_all_sequences(params, values, costs):
    """Play the auction with every sequence of steps that leads to another auction, and return the largest return."""
    record, state = params.record(), holding(values, costs)
    distance = int(record[0].buyer_start - record[0].seller_start)
    moves = distance // int(params.step_ticks()[0]) + 1
    best = -np.inf
    for plan in itertools.product(params.step_ticks(), repeat=moves):
        open_auction(0, state, record)
        run_auction(state, record, np.array(plan), state.order)
        best = max(best, state.totals[0].return_)
    return best


def replayed(params, values, costs):
    """Return of the plan when the auction is played by its actions."""
    state, record = holding(values, costs), params.record()
    plan = clairvoyant_plan(state, 0, params)
    open_auction(0, state, record)
    closed = False
    while not closed:
        step = params.step_ticks()[plan.action(state.side[0], *state.clock[0])]
        _, closed = play_tick(0, state, record, step, state.order)
    return plan, state.totals[0].return_


endings = st.sampled_from(["exhausted", "next_loser"])
# Few different valuations put several acceptances into one tick; some lie beyond the clocks.
valuations = st.lists(st.one_of(st.integers(0, 7).map(float), st.floats(0, 7.5)), min_size=1, max_size=4)
weights = st.fixed_dictionaries(
    {
        "regret_weight": st.sampled_from([0.0, 0.1, 1.0, 3.0]),
        "welfare_weight": st.sampled_from([0.0, 1.0, 2.5]),
        "message_weight": st.sampled_from([0.0, 0.03, 0.5]),
        "trade_weight": st.sampled_from([0.0, 0.3]),
    }
)


@settings(max_examples=80, deadline=None)
@given(valuations, valuations, weights, st.integers(2, 6), st.sampled_from(["per_trade", "at_end"]), endings)
def test_plan_is_the_best_of_all_action_sequences(values, costs, weights, clock, paid, ending):
    params = tiny(clock, welfare_paid=paid, ending=ending, **weights)
    plan, played = replayed(params, values, costs)
    best = best_of_all_sequences(params, values, costs)
    assert plan.exact
    assert plan.value == pytest.approx(best, abs=1e-9)
    assert plan.bound == pytest.approx(best, abs=1e-9)
    assert played == pytest.approx(best, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(3, 6.9), min_size=3, max_size=4), st.lists(st.floats(0.1, 3), min_size=1, max_size=3),
    st.sampled_from([(3.0,), (2.0, 3.0), (2.0, 4.0)]), endings,
)  # fmt: skip
def test_plan_is_best_where_groups_accept_at_once_and_sides_are_unequal(values, costs, steps, ending):
    # Coarse steps take several buyers at once; who of them trades is a matter of their indices.
    params = tiny(6, steps, ending=ending)
    plan, played = replayed(params, values, costs)
    best = best_of_all_sequences(params, values, costs)
    assert (plan.exact, plan.value, played) == (True, pytest.approx(best, abs=1e-9), pytest.approx(best, abs=1e-9))


def test_plan_knows_that_the_lower_index_trades_within_a_tick():
    # From 6 the step 3 takes both buyers at 3, and the worse one would trade; two steps tell them apart for the
    # price of one message to two buyers.
    params = tiny(6, (1.0, 3.0), regret_weight=0.0, message_weight=0.01)
    plan, played = replayed(params, [3.0, 5.0], [0.0])
    assert plan.value == played == pytest.approx(5.0 - 2 * 0.01)
    assert best_of_all_sequences(params, [3.0, 5.0], [0.0]) == pytest.approx(plan.value)


def test_plan_reckons_with_the_messages_and_the_regret_after_a_side_is_used_up():
    # The seller at 0 and the buyer at 6 accept at once. The clock then runs on to the loser: with steps of one tick the
    # buyer at 2 hears 6, 5, 4 and 3 in vain. Steps of 1 and 3 save two of these messages and hit its value; steps of 3
    # save as many, but have a regret of 2.
    params = tiny(6, (1.0,), ending="next_loser", message_weight=0.5)
    plan, played = replayed(params, [6.0, 2.0], [0.0])
    assert plan.value == played == pytest.approx(6.0 - 4 * 0.5)
    params = tiny(6, (1.0, 3.0), ending="next_loser", message_weight=0.5, regret_weight=0.1)
    plan, played = replayed(params, [6.0, 2.0], [0.0])
    assert plan.value == played == pytest.approx(6.0 - 2 * 0.5)


def test_nobody_to_trade_with_is_worth_nothing():
    for values, costs in (([], [1.0]), ([3.0], []), ([], [])):
        state = holding(values, costs)
        assert clairvoyant_plan(state, 0, tiny()).value == 0.0


def test_a_wide_choice_of_steps_is_no_obstacle():
    steps = tuple(float(n) for n in range(1, 161))
    params = DoubleDutchParams(
        buyers=2, sellers=2, tick=1.0, buyer_clock=200.0, steps=steps, scripted_step=1.0, max_ticks=300,
        message_weight=1.0,
    )  # fmt: skip
    plan, played = replayed(params, [60.0, 41.0], [0.0, 40.0])
    assert played == pytest.approx(plan.value)
    assert plan.exact


def random_policies(game, rng):
    """Policies of different kinds: constant steps, pure noise, a table over clocks, coarse first and then fine."""
    n = len(game.config.steps)
    shape = (game.num_envs, 1)
    for index in range(n):
        yield lambda index=index: np.full(shape, index)
    for _ in range(6):
        yield lambda: rng.integers(0, n, shape)
        table = rng.integers(0, n, (2, 5, 5))
        clock = game.market.clock
        yield lambda table=table, clock=clock: table[
            game.market.side, np.clip(clock[:, 0] // 65, 0, 4), np.clip(clock[:, 1] // 65, 0, 4)
        ][:, None]
    yield game.scripted("two_phase", "auctioneer")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"buyers": 8, "min_buyers": 1, "sellers": 6, "min_sellers": 1},
        {"welfare_paid": "at_end", "trade_weight": 2.0, "message_weight": 0.2},
        {"ending": "next_loser", "buyers": 8, "min_buyers": 1, "sellers": 3, "min_sellers": 1},
    ],
    ids=str,
)
def test_no_policy_beats_the_clairvoyant_reference(changes):
    markets = 40
    config = DoubleDutchGame.make_config(None, **changes)
    seeds, streams = np.full(markets, 2**63, np.uint64), np.arange(markets, dtype=np.uint64)
    bound = DoubleDutchGame.reference(config, seeds, streams)["auctioneer"]
    game = DoubleDutchGame(config, markets)
    for policy in random_policies(game, np.random.default_rng(1)):
        game.reset(seeds, streams)
        assert np.all(first_returns(game, policy) <= bound + 1e-9)


def first_returns(game, policy):
    returns = np.full(game.num_envs, np.nan)
    while np.isnan(returns).any():
        step = game.step({"auctioneer": policy()})
        newly_ended = np.isnan(returns) & (step.terminated | step.truncated)
        returns[newly_ended] = step.metrics["return"][newly_ended]
    return returns


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        *((name, "exhausted") for name in ("paper", "calm", "mixed", "thin")),
        ("mixed", "next_loser"),
        ("thin", "next_loser"),
    ],
)
def test_oracle_attains_the_reference(name, ending):
    markets = 25
    config = DoubleDutchGame.make_config(name, ending=ending)
    game = DoubleDutchGame(config, markets)
    game.reset(np.full(markets, 5, np.uint64))
    bound = clairvoyant_bounds(game.market, config)
    exact = [clairvoyant_plan(game.market, b, config).exact for b in range(markets)]
    assert all(exact)
    assert first_returns(game, game.scripted("oracle", "auctioneer")) == pytest.approx(bound, abs=1e-9)


def test_oracle_plans_anew_for_every_episode_and_every_given_market():
    config = DoubleDutchGame.make_config(None, buyers=2, sellers=2)
    game = DoubleDutchGame(config, 1)
    oracle = game.scripted("oracle", "auctioneer")
    for values, costs in (([50.0, 45.0], [10.0, 12.0]), ([70.0, 20.0], [5.0, 60.0]), ([30.0, 31.0], [29.0, 1.0])):
        game.reset(np.zeros(1, np.uint64))
        game.reset_to(np.array([values]), np.array([costs]))
        bound = clairvoyant_bounds(game.market, config)
        assert first_returns(game, oracle) == pytest.approx(bound, abs=1e-9)


def test_finer_steps_are_more_efficient_and_send_more_messages():
    frontier = fixed_step_frontier(DoubleDutchGame.make_config("calm"), steps=[0.5, 2.0, 5.0, 10.0], markets=500)
    assert np.all(np.diff(frontier.metrics["efficiency"]) < 0)
    assert np.all(np.diff(frontier.metrics["messages"]) < 0)
    assert np.all(np.diff(frontier.metrics["ticks"]) < 0)


def test_best_fixed_step_is_neither_the_finest_nor_the_coarsest():
    config = DoubleDutchGame.make_config("paper")
    assert 0 < best_fixed_step(config) < len(config.steps) - 1
