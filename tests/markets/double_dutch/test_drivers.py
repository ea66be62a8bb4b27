"""Batches of auctions: independent of each other, repeatable, resumable, and the same for every way of playing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.markets.double_dutch.auction import simulate

CONTROLLED = [
    ("auctioneer",),
    ("buyer",),
    ("seller",),
    ("buyer", "seller"),
    ("auctioneer", "buyer"),
    ("auctioneer", "seller"),
    ("auctioneer", "buyer", "seller"),
]
ALL = CONTROLLED[-1]
for_any_controlled_roles = pytest.mark.parametrize("controlled_roles", CONTROLLED, ids="+".join)
seeds = st.integers(0, 2**64 - 1)
few = settings(max_examples=25, deadline=None)


def new_game(num_envs, controlled_roles=("auctioneer",), *, autoreset=True, **changes):
    """Market sizes vary and clocks start close, so that episodes are short and some have no bidders on a side."""
    chosen = {
        "buyers": 7, "sellers": 5, "min_buyers": 1, "min_sellers": 1, "level": (20.0, 30.0),
        "width": (2.0, 15.0), "value_spread": (-1.0, 1.0), "cost_spread": (-1.0, 1.0), "buyer_clock": 45.0,
        "observation": "extended", **changes,
    }  # fmt: skip
    return DoubleDutchGame(DoubleDutchGame.make_config(None, **chosen), num_envs, controlled_roles, autoreset)


def start(game, seed, streams=None):
    return game.reset(np.full(game.num_envs, seed, np.uint64), streams)


def random_actions(game, rng):
    roles = {name: game.roles[name] for name in game.controlled_roles}
    return {name: rng.integers(0, r.action_space.n, (game.num_envs, r.count)) for name, r in roles.items()}


def record(game, actions):
    """Everything that a step gives, as arrays of its own; what is undefined without an end is left out."""
    step = game.step(actions)
    ended = step.terminated | step.truncated
    out = {"terminated": step.terminated.copy(), "truncated": step.truncated.copy(), "state": game.state()}
    for name in game.controlled_roles:
        out[f"observations {name}"] = step.observations[name].copy()
        out[f"rewards {name}"] = step.rewards[name].copy()
        out[f"active {name}"] = step.active[name].copy()
        final = step.final_observations[name]
        out[f"final {name}"] = np.where(ended[:, None, None], final, 0.0)
    for name, values in step.metrics.items():
        out[f"metric {name}"] = np.where(ended, values, 0.0)
    out["ledger"] = np.where(ended[:, None], game.ledger(), 0.0)
    return out


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].tobytes() == other[name].tobytes(), name


def finished(game, choose, steps=400):
    """Play every market's first episode; return its metrics, ledger and summed rewards."""
    ended = np.zeros(game.num_envs, bool)
    metrics, ledger, rewards = {}, None, dict.fromkeys(game.controlled_roles, 0.0)
    for _ in range(steps):
        step = game.step(choose(game))
        newly_ended = ~ended & (step.terminated | step.truncated)
        if ledger is None:
            ledger = np.zeros_like(game.ledger())
            metrics = {name: np.zeros(game.num_envs) for name in step.metrics}
        for name in game.controlled_roles:
            rewards[name] = rewards[name] + np.where(ended[:, None], 0.0, step.rewards[name])
        for name in metrics:
            metrics[name][newly_ended] = step.metrics[name][newly_ended]
        ledger[newly_ended] = game.ledger()[newly_ended]
        ended |= newly_ended
        if ended.all():
            return metrics, ledger, rewards
    raise AssertionError("an episode did not end")


def by_clocks(game):
    """An auctioneer whose step depends on the clocks alone, however its decisions are split into steps."""
    clock, side = game.market.clock.astype(np.int64), game.market.side
    chosen = (clock[:, 0] * 7 + clock[:, 1] * 3 + side) % len(game.config.steps)
    return {"auctioneer": chosen[:, None]}


def with_truthful_bidders(game):
    actions = by_clocks(game) if "auctioneer" in game.controlled_roles else {}
    return {**actions, **{r: game.scripted("truthful", r)() for r in ("buyer", "seller") if r in game.controlled_roles}}


@for_any_controlled_roles
def test_same_seed_gives_bit_identical_rollouts(controlled_roles):
    games = [new_game(4, controlled_roles) for _ in range(2)]
    for game in games:
        start(game, 11)
    rngs = [np.random.default_rng(5) for _ in games]
    for _ in range(150):
        one, other = (record(game, random_actions(game, rng)) for game, rng in zip(games, rngs, strict=True))
        assert_same(one, other)


@for_any_controlled_roles
@pytest.mark.parametrize("max_cycles", [None, 9])
def test_a_market_of_a_batch_is_the_same_market_alone_also_after_resets(controlled_roles, max_cycles):
    batch = new_game(4, controlled_roles, max_cycles=max_cycles)
    start(batch, 2**63 + 5)
    alone = [new_game(1, controlled_roles, max_cycles=max_cycles) for _ in range(4)]
    for i, game in enumerate(alone):
        start(game, 2**63 + 5, np.array([i], np.uint64))
    rng, ends = np.random.default_rng(6), 0
    for _ in range(150):
        actions = random_actions(batch, rng)
        together = record(batch, actions)
        ends += together["terminated"].sum() + together["truncated"].sum()
        for i, game in enumerate(alone):
            single = record(game, {role: array[i : i + 1] for role, array in actions.items()})
            assert_same(single, {name: array[i : i + 1] for name, array in together.items()})
    assert ends > 8


@for_any_controlled_roles
@pytest.mark.parametrize("max_cycles", [None, 9])
def test_a_step_in_one_call_plays_what_the_phases_play(controlled_roles, max_cycles):
    in_one_call, by_phases = (new_game(5, controlled_roles, max_cycles=max_cycles) for _ in range(2))
    by_phases.final_states = True  # The single call cannot return them.
    rng, ends = np.random.default_rng(21), 0
    for game in (in_one_call, by_phases):
        start(game, 8)
    for _ in range(200):
        actions = random_actions(in_one_call, rng)
        one, other = record(in_one_call, actions), record(by_phases, actions)
        assert_same(one, other)
        ends += one["terminated"].sum() + one["truncated"].sum()
    assert ends > 10
    for name, array in in_one_call.save().items():
        assert array.tobytes() == by_phases.save()[name].tobytes(), name


@for_any_controlled_roles
def test_a_restored_game_goes_on_bit_for_bit(controlled_roles):
    game, rng = new_game(5, controlled_roles), np.random.default_rng(7)
    start(game, 3)
    for _ in range(37):
        game.step(random_actions(game, rng))
    saved = game.save()
    plan = [random_actions(game, rng) for _ in range(120)]
    expected = [record(game, actions) for actions in plan]
    other = new_game(5, controlled_roles)
    start(other, 99)
    observations, active = other.restore(saved)
    assert all(array.shape[0] == 5 for array in saved.values())
    again = new_game(5, controlled_roles)
    observations_again, active_again = again.restore(saved)
    for name in controlled_roles:
        assert observations[name].tobytes() == observations_again[name].tobytes()
        assert active[name].tobytes() == active_again[name].tobytes()
    for actions, before in zip(plan, expected, strict=True):
        assert_same(record(other, actions), before)


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_every_way_of_splitting_the_roles_plays_the_same_truthful_auction(seed):
    by_role = {}
    for controlled_roles in CONTROLLED:
        game = new_game(6, controlled_roles)
        if "auctioneer" in controlled_roles:
            start(game, seed)
            by_role[controlled_roles] = finished(game, with_truthful_bidders)
    metrics, ledger, rewards = by_role[("auctioneer",)]
    for other_metrics, other_ledger, other_rewards in by_role.values():
        assert other_ledger.tobytes() == ledger.tobytes()
        for name in metrics:
            assert other_metrics[name] == pytest.approx(metrics[name], abs=1e-9, nan_ok=name == "price"), name
        assert other_rewards["auctioneer"] == pytest.approx(rewards["auctioneer"], abs=1e-3)


@pytest.mark.parametrize("step", [0.25, 2.0, 12.0])
def test_controlled_bidders_with_a_scripted_auctioneer_play_as_in_a_lone_auction(step):
    game = new_game(20, ("buyer", "seller"), scripted_step=step, autoreset=False)
    start(game, 21)
    auctions, tick = game.market, game.config.tick
    sides = [[_valuations(auctions, b, side) for b in range(20)] for side in range(2)]
    metrics, ledger, rewards = finished_in_turn(game)
    for b in range(20):
        bids, asks = sides[0][b], sides[1][b]
        if bids.size == 0 or asks.size == 0:
            assert metrics["trades"][b] == 0
            continue
        lone = simulate(bids, asks, step, tick=tick, buyer_clock=45.0, seller_clock=0.0)
        assert np.array_equal(metrics["price"][b], lone.price, equal_nan=True)
        assert metrics["trades"][b] == lone.trades
        assert (metrics["ticks"][b], metrics["messages"][b]) == (lone.ticks, lone.messages)
        assert metrics["welfare"][b] == pytest.approx(lone.welfare, abs=1e-9)
        assert sorted(ledger[b][ledger[b] < 0]) == [-lone.price] * lone.trades
        paid = np.sum(bids[lone.buyers] - lone.price), np.sum(lone.price - asks[lone.sellers])
        assert (rewards["buyer"][b].sum(), rewards["seller"][b].sum()) == pytest.approx(paid, abs=1e-3)


def _valuations(auctions, b, side):
    """Valuations of those who take part, in the order of their indices."""
    return auctions.valuation[b, side, np.sort(auctions.order[b, side, : auctions.size[b, side]])].copy()


def finished_in_turn(game):
    """As `finished` for a game without automatic resets: markets are played in batches of one."""
    saved, results = game.save(), []
    for b in range(game.num_envs):
        one = DoubleDutchGame(game.config, 1, game.controlled_roles, autoreset=False)
        one.restore({name: array[b : b + 1] for name, array in saved.items()})
        results.append(finished(one, with_truthful_bidders))
    metrics = {name: np.concatenate([r[0][name] for r in results]) for name in results[0][0]}
    rewards = {name: np.concatenate([r[2][name] for r in results]) for name in game.controlled_roles}
    return metrics, np.concatenate([r[1] for r in results]), rewards


@few
@given(seeds)
def test_welfare_paid_at_the_end_or_per_trade_is_the_same_return(seed):
    results = []
    for paid in ("per_trade", "at_end"):
        game = new_game(8, welfare_paid=paid, trade_weight=0.7, welfare_weight=1.3)
        start(game, seed)
        results.append(finished(game, by_clocks))
    (per_trade, one, by_trade), (at_end, other, lump) = results
    assert one.tobytes() == other.tobytes()
    for name in per_trade:
        assert per_trade[name] == pytest.approx(at_end[name], abs=1e-9, nan_ok=name == "price"), name
    assert by_trade["auctioneer"] == pytest.approx(lump["auctioneer"], abs=1e-3)


@few
@given(seeds, st.sampled_from(CONTROLLED))
def test_money_is_conserved_and_follows_the_trades(seed, controlled_roles):
    game = new_game(8, controlled_roles)
    start(game, seed)
    rng = np.random.default_rng(seed % 2**32)
    metrics, ledger, _ = finished(game, lambda g: random_actions(g, rng), steps=2000)
    assert np.abs(ledger.sum(axis=1)).max() <= 1e-9
    buyers, sellers, auctioneer = ledger[:, :7], ledger[:, 7:12], ledger[:, 12]
    assert np.all(auctioneer == 0)
    assert np.all(buyers <= 0)
    assert np.all(sellers >= 0)
    paid = np.where(metrics["trades"] > 0, metrics["price"] * metrics["trades"], 0.0)
    assert -buyers.sum(axis=1) == pytest.approx(paid, abs=1e-9)
    assert sellers.sum(axis=1) == pytest.approx(paid, abs=1e-9)
    assert np.all(np.sum(buyers < 0, axis=1) <= metrics["trades"])


@few
@given(seeds, st.sampled_from(CONTROLLED))
def test_clocks_are_monotone_and_each_bidder_accepts_at_most_once(seed, controlled_roles):
    game = new_game(6, controlled_roles, autoreset=False, max_cycles=None)
    start(game, seed)
    auctions, rng = game.market, np.random.default_rng(seed % 2**32)
    playing = np.ones(6, bool)
    for _ in range(2000):
        before = game.save()
        step = game.step(random_actions(game, rng))
        b = np.flatnonzero(playing)
        assert np.all(auctions.clock[b, 0] <= before["clock"][b, 0])
        assert np.all(auctions.clock[b, 1] >= before["clock"][b, 1])
        once = before["accepted_at"][b] >= 0
        assert np.array_equal(auctions.accepted_at[b][once], before["accepted_at"][b][once])
        accepted = np.sum(auctions.accepted_at[b] >= 0, axis=2)
        assert np.array_equal(accepted, auctions.winners[b])
        assert np.all(accepted <= auctions.size[b])
        crossed = auctions.clock[:, 0] < auctions.clock[:, 1]
        assert not np.any(crossed & playing & ~step.terminated)
        _assert_priced_between(game, step, playing & step.terminated, before)
        playing &= ~step.terminated
        if not playing.any():
            break
    assert not playing.any()
    distance = (game.config.buyer_clock - game.config.seller_clock) / min(game.config.steps)
    assert np.all(auctions.ticks <= distance + 2 + auctions.size.sum(axis=1))


def _assert_priced_between(game, step, ended, before):
    """No clock goes back, so the price lies between the clocks before the last step, whatever was in it."""
    tick = game.config.tick
    price, trades = step.metrics["price"][ended], step.metrics["trades"][ended]
    assert np.array_equal(np.isnan(price), trades == 0)
    assert np.all((trades == 0) | (price <= before["clock"][ended, 0] * tick + 1e-9))
    assert np.all((trades == 0) | (price >= before["clock"][ended, 1] * tick - 1e-9))
    assert np.array_equal(trades, game.market.winners[ended].min(axis=1))
    accepted = before["accepted_at"][ended] * tick
    waiting = before["accepted_at"][ended] < 0
    unpriced = (trades == 0)[:, None]
    assert np.all(waiting[:, 0] | unpriced | (accepted[:, 0] >= price[:, None] - 1e-9))
    assert np.all(waiting[:, 1] | unpriced | (accepted[:, 1] <= price[:, None] + 1e-9))


@for_any_controlled_roles
def test_only_waiting_bidders_of_the_active_side_are_active_or_else_the_auctioneer(controlled_roles):
    game, rng = new_game(6, controlled_roles), np.random.default_rng(9)
    _, active = start(game, 4)
    for _ in range(200):
        bidders = [active.get(role, np.zeros((6, 1), bool)) for role in ("buyer", "seller")]
        side_active = [array.any(axis=1) for array in bidders]
        assert not np.any(side_active[0] & side_active[1])
        if "auctioneer" in controlled_roles:
            assert np.array_equal(active["auctioneer"][:, 0], ~(side_active[0] | side_active[1]))
        for side, array in enumerate(bidders):
            accepted = game.market.accepted_at[:, side, : array.shape[1]] >= 0
            assert not np.any(array & accepted)
        active = game.step(random_actions(game, rng)).active


@for_any_controlled_roles
def test_actions_of_the_inactive_do_not_matter(controlled_roles):
    games, rng = [new_game(5, controlled_roles) for _ in range(2)], np.random.default_rng(13)
    _, active = start(games[0], 17)
    start(games[1], 17)
    for _ in range(150):
        actions, noise = random_actions(games[0], rng), random_actions(games[0], rng)
        mixed = {role: np.where(active[role], actions[role], noise[role]) for role in controlled_roles}
        active = {role: array.copy() for role, array in games[0].step(actions).active.items()}
        games[1].step(mixed)
        for name, array in games[0].save().items():
            assert array.tobytes() == games[1].save()[name].tobytes(), name


@pytest.mark.parametrize("controlled_roles", [roles for roles in CONTROLLED if "auctioneer" in roles], ids="+".join)
def test_a_controlled_auctioneer_uses_an_action_for_one_broadcast_and_one_move_at_most(controlled_roles):
    game, rng = new_game(80, controlled_roles, autoreset=False), np.random.default_rng(15)
    start(game, 19)
    ticks = [round(step / game.config.tick) for step in game.config.steps]
    playing = np.ones(80, bool)
    while playing.any():
        before, actions = game.save(), random_actions(game, rng)
        step = game.step(actions)
        after = game.save()
        assert np.all((after["ticks"] - before["ticks"])[playing] <= 1)
        moved = np.abs(after["clock"].astype(int) - before["clock"]).sum(axis=1)
        chosen = np.array(ticks)[actions["auctioneer"][:, 0]]
        assert np.all((moved == 0) | (moved == chosen) | ~playing)
        playing &= ~step.terminated
