"""What the auction's parameters refuse, and that the draws have the distribution that they document."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from ioa_marl.envs.double_dutch.game import DoubleDutchConfig, DoubleDutchGame
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.double_dutch.params import PRESETS, DoubleDutchParams, preset
from ioa_marl.markets.double_dutch.references import fixed_step_frontier

ALL_ROLES = ("auctioneer", "buyer", "seller")
INF, NAN = float("inf"), float("nan")


def drawn(config, markets=4000, seed=3):
    """Auctions of episode 0 of the streams 0, 1, 2, … of one seed."""
    game = DoubleDutchGame(config, markets)
    game.reset(np.full(markets, seed, np.uint64))
    return game.market


def make(**changes):
    return DoubleDutchGame.make_config(None, **changes)


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("buyers", {"buyers": 0}),
        ("buyers", {"buyers": 2.5}),
        ("sellers", {"sellers": 100_001}),
        ("min_buyers", {"min_buyers": 11}),
        ("min_sellers", {"min_sellers": 0}),
        ("level", {"level": (55.0, 25.0)}),
        ("level", {"level": (25.0, INF)}),
        ("level", {"level": (25.0,)}),
        ("level", {"level": (5.0, 55.0)}),
        ("level", {"level": (0.1, 0.1), "width": (0.1, 100.0), "cost_spread": (-1.0, -1.0)}),
        ("width", {"width": (0.0, 22.0)}),
        ("value_spread", {"value_spread": (NAN, 1.0)}),
        ("cost_spread", {"cost_spread": (1.0, -0.5)}),
        ("tick", {"tick": 0.0}),
        ("tick", {"tick": INF}),
        ("buyer_clock", {"buyer_clock": 80.1}),
        ("buyer_clock", {"buyer_clock": NAN}),
        ("buyer_clock", {"buyer_clock": 76.75}),
        ("seller_clock", {"seller_clock": 80.0}),
        ("seller_clock", {"seller_clock": -1.0}),
        ("seller_clock", {"seller_clock": 3.25}),
        ("steps", {"steps": ()}),
        ("steps", {"steps": (1.0, 1.0)}),
        ("steps", {"steps": (0.0, 1.0)}),
        ("steps", {"steps": (0.3,)}),
        ("scripted_step", {"scripted_step": 0.0}),
        ("max_ticks", {"max_ticks": 340}),
        ("ending", {"ending": "crossed"}),
        ("psi", {"psi": 1.01}),
        ("psi", {"psi": NAN}),
        ("regret_weight", {"regret_weight": -0.1}),
        ("message_weight", {"message_weight": INF}),
        ("welfare_paid", {"welfare_paid": "never"}),
        ("lot", {"lot": 0.0}),
        ("relay_time", {"relay_time": -1.0}),
        ("observation", {"observation": "all"}),
        ("max_cycles", {"max_cycles": 0}),
    ],
)
def test_an_error_names_the_key_its_value_and_what_is_allowed(key, changes):
    with pytest.raises(ParameterError) as error:
        make(**changes)
    assert error.value.name == key
    message = str(error.value)
    assert message.startswith(f"{key}={error.value.value} is not allowed: use ")
    assert str(error.value.value) in str(changes[key])
    assert "\n" not in message


def test_unknown_keys_and_presets_are_named():
    with pytest.raises(ParameterError, match=r"bidders=3 is not allowed: use one of the settings .*buyers"):
        make(bidders=3)
    with pytest.raises(ParameterError, match="preset=papers is not allowed: use paper, calm"):
        preset("papers")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_give_every_auction_the_ticks_that_it_can_need(name):
    params = preset(name)
    assert params.ticks_needed() <= params.max_ticks
    with pytest.raises(ParameterError, match="max_ticks"):
        preset(name, max_ticks=params.ticks_needed() - 1)


def test_calm_values_and_costs_are_uniform_as_documented():
    auctions = drawn(make(**PRESETS["calm"]))
    values, costs = auctions.valuation[:, 0].ravel(), auctions.valuation[:, 1].ravel()
    assert kstest(values, "uniform", args=(15, 35)).pvalue > 1e-3
    assert kstest(costs, "uniform", args=(5, 30)).pvalue > 1e-3
    assert abs(np.corrcoef(auctions.valuation[:, 0, 0], auctions.valuation[:, 0, 1])[0, 1]) < 0.05
    assert abs(np.corrcoef(auctions.valuation[:, 0, 0], auctions.valuation[:, 1, 0])[0, 1]) < 0.05


def test_level_is_uniform_and_shared_by_the_market():
    # Without spread a value and a cost are the market's level itself.
    auctions = drawn(make(value_spread=(0.0, 0.0), cost_spread=(0.0, 0.0)))
    levels = auctions.valuation[:, 0, 0]
    assert np.ptp(auctions.valuation, axis=(1, 2)).max() < 1e-9
    assert kstest(levels, "uniform", args=(25, 30)).pvalue > 1e-3


def test_width_is_log_uniform_and_independent_of_the_level():
    auctions = drawn(make(value_spread=(1.0, 1.0), cost_spread=(0.0, 0.0)))
    levels = auctions.valuation[:, 1, 0]
    widths = auctions.valuation[:, 0, 0] - levels
    low, high = math.log(6), math.log(22)
    assert kstest(np.log(widths), "uniform", args=(low, high - low)).pvalue > 1e-3
    assert abs(np.corrcoef(levels, widths)[0, 1]) < 0.05


def test_paper_valuations_stay_within_the_bounds_of_level_and_width():
    valuation = drawn(make()).valuation
    assert np.all((valuation[:, 0] >= 25 - 11 - 1e-9) & (valuation[:, 0] <= 55 + 22 + 1e-9))
    assert np.all((valuation[:, 1] >= 25 - 22 - 1e-9) & (valuation[:, 1] <= 55 + 11 + 1e-9))


def test_market_sizes_are_uniform_between_their_bounds():
    auctions = drawn(make(**PRESETS["mixed"], cost_spread=(0.0, 1.0)))
    for side in range(2):
        sizes, counts = np.unique(auctions.size[:, side], return_counts=True)
        assert sizes.tolist() == list(range(4, 17))
        assert chisquare(counts).pvalue > 1e-3


def test_streams_seeds_and_episodes_are_different_markets():
    config = make()
    first = drawn(config, 50, seed=1).valuation
    assert len(np.unique(first[:, 0, 0])) == 50
    assert not np.any(first == drawn(config, 50, seed=2).valuation)
    game = DoubleDutchGame(config, 50, autoreset=False)
    game.reset(np.full(50, 1, np.uint64))
    game.step({"auctioneer": np.zeros((50, 1), np.int64)})
    game.next_episode()
    assert not np.any(first == game.market.valuation)


def test_a_seller_who_costs_more_than_any_buyer_earns_stays_away():
    # Values are 40 - s·U and costs 40 + s·U: a seller takes part only within the buyers' delay penalty of them.
    auctions = drawn(make(level=(40.0, 40.0), value_spread=(-1.0, 0.0), cost_spread=(-1.0, 0.0)))
    penalty = 20.0 * math.log1p(1e5 / 6e6)
    income = auctions.valuation[:, 0].max(axis=1) + penalty
    assert np.array_equal(auctions.size[:, 1], np.sum(auctions.valuation[:, 1] <= income[:, None], axis=1))
    assert auctions.size[:, 1].min() == 0


reals = st.one_of(st.floats(0, 1e3), st.floats(0, 1e8), st.sampled_from([0.0, 1e-9, 1.0, 1e6]))
signed = st.one_of(st.floats(-3, 3), st.floats(-1e4, 1e4))
positive = reals.map(lambda x: x + 1e-9)


@st.composite
def configurations(draw):
    """Settings of any size that construction may accept: errors of the constructor pass through."""
    pairs = {name: tuple(sorted(draw(st.tuples(signed, signed)))) for name in ("value_spread", "cost_spread")}
    steps = draw(st.sets(st.integers(1, 60), min_size=1, max_size=5))
    width = tuple(sorted(draw(st.tuples(positive, positive))))
    # The lowest cost has to cover the overhead, so the level goes up with the width.
    level = sorted(draw(st.tuples(reals, reals)))
    lift = max(abs(x) for x in pairs["cost_spread"]) * width[1] + 40.0
    buyers, sellers = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    assume(level[1] + lift <= 1e9)
    # The buyer clock starts at the highest bid or up to a tick above it, the seller clock at or below the lowest ask.
    highest = level[1] + lift + max(w * spread for w in width for spread in pairs["value_spread"])
    assume(1e-9 < highest <= 1e11)
    clock = draw(st.integers(2, 120))
    tick = highest / (clock - draw(st.floats(1e-6, 1)))
    return make(
        buyers=buyers, sellers=sellers,
        min_buyers=draw(st.integers(1, buyers)), min_sellers=draw(st.integers(1, sellers)),
        level=(level[0] + lift, level[1] + lift), width=width, **pairs,
        tick=tick, buyer_clock=clock * tick, seller_clock=draw(st.integers(0, 1)) * tick if tick < 40.0 else 0.0,
        steps=tuple(sorted(n * tick for n in steps)), scripted_step=max(steps) * tick,
        psi=draw(st.floats(0, 1)), regret_weight=draw(reals), welfare_weight=draw(reals),
        message_weight=draw(reals), trade_weight=draw(reals),
        welfare_paid=draw(st.sampled_from(["per_trade", "at_end"])),
        observation=draw(st.sampled_from(["paper", "extended"])),
        max_cycles=draw(st.sampled_from([None, 1, 7])),
        lot=draw(st.floats(0.1, 100)), buyer_delay_weight=draw(reals), hover_energy_price=draw(positive),
        relay_time=draw(positive),
    )  # fmt: skip


def first_bad_array(config, controlled_roles, seed, steps=25):
    """Play at random; return the name of an array with a NaN, an infinity or an observation outside [0, 1]."""
    game = DoubleDutchGame(config, 2, controlled_roles)
    observations, _ = game.reset(np.full(2, seed, np.uint64))
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        for role, array in observations.items():
            if not np.all((array >= 0) & (array <= 1)):
                return f"observations of {role}"
        step = game.step(
            {
                name: rng.integers(0, game.roles[name].action_space.n, (2, game.roles[name].count))
                for name in game.controlled_roles
            }
        )
        observations, ended = step.observations, step.terminated | step.truncated
        named = {
            **{f"rewards of {role}": array for role, array in step.rewards.items()},
            **{f"final observations of {role}": array[ended] for role, array in step.final_observations.items()},
            **{f"metric {name}": array[ended] for name, array in step.metrics.items() if name != "price"},
            "metric price": step.metrics["price"][ended & (step.metrics["trades"] > 0)],
            "ledger": game.ledger()[ended],
            "state": game.state(),
        }
        for name, array in named.items():
            if not np.all(np.isfinite(array)):
                return name
    return None


@settings(max_examples=100, deadline=None)
@given(configurations(), st.sampled_from([("auctioneer",), ("buyer",), ("seller",), ALL_ROLES]), st.integers(0, 9))
def test_no_setting_that_construction_accepts_leads_to_nan_or_infinity(config, controlled_roles, seed):
    assert first_bad_array(config, controlled_roles, seed) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"welfare_weight": 1e300},
        {"regret_weight": 1e308},
        {"trade_weight": 1e39},
        {"level": (1e3, 1.7e308), "width": (1.0, 2.0), "value_spread": (-1e308, 1e308)},
        {"level": (1e308, 1e308), "width": (1e308, 1e308), "value_spread": (1.0, 1.0)},
        {"relay_time": 1e308, "hover_energy_price": 1e308},
        {"lot": 1e300},
        {"fixed_speed": 1e-200},
        {"aerial_speed": 1e200},
        {"tick": 1e-300, "buyer_clock": 1e-298, "steps": (1e-299,), "scripted_step": 1e-299},
    ],
    ids=lambda changes: ",".join(changes),
)
def test_settings_too_large_to_compute_with_are_refused_or_harmless(changes):
    try:
        config = make(**changes)
    except ParameterError:
        return
    assert first_bad_array(config, ALL_ROLES, 0) is None


def test_clocks_start_outside_all_bids_in_every_preset_and_at_the_extreme_bids_at_the_closest():
    for name in PRESETS:
        lowest, highest = preset(name).bid_bounds()
        auctions = drawn(make(**PRESETS[name]), 200 if name != "exchange" else 3)
        size, values = auctions.size, auctions.valuation
        buyers, sellers = (np.arange(values.shape[2]) < size[:, side, None] for side in range(2))
        assert values[:, 0][buyers].max() <= highest + 1e-9 <= preset(name).buyer_clock + 1e-9
        assert values[:, 1][sellers].min() >= lowest - 1e-9 >= preset(name).seller_clock - 1e-9
    assert make(buyer_clock=77.0, seller_clock=3.0).bid_bounds() == (3.0, 77.0)


def test_preset_whose_bids_can_exceed_the_clock_is_refused_in_one_line():
    with pytest.raises(ParameterError, match=r"^buyer_clock=70.0 is not allowed: use at least 77, the highest bid"):
        preset("paper", buyer_clock=70.0)
    with pytest.raises(ParameterError, match=r"^seller_clock=5.0 is not allowed: use at most 3, the lowest ask"):
        preset("paper", seller_clock=5.0)
    with pytest.raises(ParameterError, match="buyer_clock"):
        fixed_step_frontier(DoubleDutchParams(buyer_clock=70.0), markets=1)


def test_frozen_parameters_compare_and_hash_by_value():
    assert make(level=[25, 55]) == make() == DoubleDutchConfig()
    assert len({preset("paper"), DoubleDutchParams(), preset("calm")}) == 2
