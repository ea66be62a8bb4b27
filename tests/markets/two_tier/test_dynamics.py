"""Conditions that change from round to round: whose they are, what is measured of them, and equilibria of one round."""

import itertools

import numpy as np
import pytest

from ioa_marl.foundations.parameters import ParameterError, unchanged_settings
from ioa_marl.markets import stackelberg
from ioa_marl.markets.stackelberg.drivers import refresh_markets
from ioa_marl.markets.two_tier import drivers
from ioa_marl.markets.two_tier.equilibrium import solve_equilibrium
from ioa_marl.markets.two_tier.params import TwoTierParams, draw_markets, preset

LEVELS = 51
MOVING = {"dynamics": True, "mobility_weight": 0.4, "mobility_offset": 0.9}
SMALL = {"wireless": 6, "mobile": 3, "fixed": 3, "aerial": 4, "capacity": (0.5, 12.0), **MOVING}


def play(params, market, mobile, fixed, pair=(5, 5), levels=LEVELS):
    """Post prices and hold the auctions; the conditions of the round stay."""
    size, settings = len(market.pricing.seed), params.settings()
    everywhere = np.ones(size, np.bool_)
    prices = [np.ascontiguousarray(x, np.int64) for x in (mobile, fixed)]
    drivers.post_prices(market, settings, everywhere, levels, *prices)
    pairs = np.ascontiguousarray(np.broadcast_to(pair, (size, 2)), np.int64)[:, None]
    drivers.hold_auctions(market, settings, everywhere, pairs, np.zeros(size, np.bool_))


def change(params, market):
    drivers.change_conditions(market, params.settings(), np.ones(len(market.pricing.seed), np.bool_))


def constant(size, params, mobile=10, fixed=16):
    return np.full((size, params.mobile), mobile), np.full((size, params.fixed), fixed)


def test_tasks_gains_and_speeds_are_those_of_the_price_market_with_the_same_numbers():
    params = TwoTierParams(**SMALL)
    market, alone = draw_markets(params, [3, 8]), stackelberg.draw_markets(params.pricing(), [3, 8])
    loads = []
    for _ in range(4):
        for name in ("traits", "velocity", "slow_fading", "cost"):
            np.testing.assert_array_equal(getattr(market.pricing, name), getattr(alone, name))
        loads.append(alone.traits["load"].copy())
        play(params, market, *constant(2, params))
        alone.round[:] += 1
        change(params, market)
        refresh_markets(alone, params.pricing().record(), np.ones(2, np.bool_))
    assert (np.array(loads) == 0.0).any()
    assert np.ptp(loads, axis=0).max() > 10.0, "tasks differ from round to round"


def test_without_dynamics_conditions_stay_and_the_settings_have_no_part_in_digests():
    params = TwoTierParams(mobility_weight=0.4)
    market = draw_markets(params, [3, 8])
    before = market.pricing.traits.copy()
    play(params, market, *constant(2, params))
    change(params, market)
    np.testing.assert_array_equal(market.pricing.traits, before)
    assert {"dynamics", "velocity", "fading_limit", "arrivals", "max_tasks"} <= set(unchanged_settings(TwoTierParams))


def qoe_by_hand(market, b):
    """Return Eqs. 6 to 8 and the first term of Eq. 13 of all who buy, at the shares α of the round [units]."""
    state, tier, total = market.pricing, market.tier, 0.0
    for n in np.flatnonzero(state.buys[b]):
        i, j = state.reach[b, :, n]
        k, alpha, share, t = tier.partner[b, j], state.offloading_ratio[b, j], state.share[b, n], state.traits[b, n]
        latency = max(
            share * t.load * state.time_per_mbit[b, 0, i],
            (1 - share) * t.load * (1 - alpha) * state.time_per_mbit[b, 1, j],
            state.relay_time[b, n] + (1 - share) * t.load * alpha * tier.time_per_mbit[b, k] if k >= 0 else 0.0,
        )
        served = share + (1 - share) * tier.served_fraction[b, j]
        total += served * t.qoe_weight * np.log(t.slack - latency)
    return total


def test_changes_of_prices_and_shares_and_the_qoe_are_what_they_are_by_hand():
    params, rng = TwoTierParams(**SMALL), np.random.default_rng(0)
    market = draw_markets(params, [1, 2, 5])
    price, share, buys, quality = [], [], [], np.zeros(3)
    for _ in range(6):
        play(params, market, rng.integers(4, 16, (3, 3)), rng.integers(8, 24, (3, 3)), rng.integers(10, size=(3, 2)))
        price.append(market.pricing.price.copy())
        share.append(market.pricing.share.copy())
        buys.append(market.pricing.buys.copy())
        quality += [qoe_by_hand(market, b) for b in range(3)]
        change(params, market)
    course, both = market.tier.course, np.array(buys)[1:] & np.array(buys)[:-1]
    np.testing.assert_allclose(course["price_change"], np.abs(np.diff(price, axis=0)).mean(axis=(2, 3)).sum(axis=0))
    np.testing.assert_array_equal(course["changes"], 5)
    moved = np.where(both, np.abs(np.diff(share, axis=0)), 0.0)
    np.testing.assert_allclose(course["share_change"], moved.sum(axis=(0, 2)))
    np.testing.assert_array_equal(course["repeated"], both.sum(axis=(0, 2)))
    np.testing.assert_allclose(course["quality"], quality)
    assert (market.tier.partner >= 0).any()
    assert both.sum() > 10


def test_the_solution_of_a_round_has_the_lowest_nash_conv_of_all_prices_that_can_be_posted():
    levels, steps = 9, (0.25, 1.25)
    params = TwoTierParams(
        wireless=2, mobile=1, fixed=1, aerial=1, capacity=(0.5, 4.0), steps=steps, scripted_seller_step=1.25, **MOVING
    )
    pure = 0
    for seed in range(6):
        one = draw_markets(params, [seed])
        play(params, one, *constant(1, params, 2, 4), (0, 0), levels)  # so that some α is expected
        change(params, one)
        found = solve_equilibrium(params, one, levels)
        # Every profile of prices and steps is played in a copy of its own.
        profiles = np.array(list(itertools.product(range(levels), range(levels), range(2), range(2))))
        copies = type(one)(*(type(part)(*(np.repeat(x, len(profiles), axis=0) for x in part)) for part in one))
        play(params, copies, profiles[:, :1], profiles[:, 1:2], profiles[:, 2:], levels)
        shape = (levels, levels, 4)
        profit = copies.pricing.profit[:, :, 0].reshape(*shape, 2)
        answer = copies.auction.totals["return_"].reshape(shape).argmax(axis=2)
        conv = np.array([
            [
                profit[:, j, answer[i, j], 0].max() - profit[i, j, answer[i, j], 0]
                + profit[i, :, answer[i, j], 1].max() - profit[i, j, answer[i, j], 1]
                for j in range(levels)
            ]
            for i in range(levels)
        ])  # fmt: skip
        assert found.total == pytest.approx(conv[tuple(found.prices[:, 0])], abs=1e-9)
        assert found.converged == (conv.min() < 1e-7)
        assert found.total == pytest.approx(conv.min(), abs=1e-9)
        pure += found.converged
    assert pure > 0


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("dynamics", {"dynamics": 1}),
        ("memory", {"memory": 1.0}),
        ("max_tasks", {"max_tasks": 0}),
        ("fading_limit", {"fading_limit": 0.5}),
        ("mobile_speed", {"dynamics": True, "max_tasks": 40}),
    ],
)
def test_a_setting_of_the_dynamics_out_of_range_is_named(key, changes):
    with pytest.raises(ParameterError, match=f"^{key}="):
        preset("paper", **changes)
