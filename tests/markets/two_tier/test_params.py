"""What the parameters of the two-tier market refuse, and how its quantities are drawn."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.foundations.records import plain_view
from ioa_marl.markets.two_tier import drivers
from ioa_marl.markets.two_tier.params import PRESETS, SHARED, TwoTierParams, draw_markets, preset

INF, NAN = float("inf"), float("nan")
PAPER = TwoTierParams()


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("wireless", {"wireless": 0}),
        ("mobile", {"mobile": 2.5}),
        ("fixed", {"fixed": True}),
        ("aerial", {"aerial": 0}),
        ("aerial", {"aerial": None}),
        ("rounds", {"rounds": 0}),
        ("capacity", {"capacity": (0.0, 4.0)}),
        ("capacity", {"capacity": (4.0, 1.0)}),
        ("capacity", {"capacity": (4.0,)}),
        ("capacity", {"capacity": 4.0}),
        ("aerial_cost", {"aerial_cost": (0.1, INF)}),
        ("hover_power", {"hover_power": (NAN, 1.0)}),
        ("wind", {"wind": (-1.0, 1.0)}),
        ("lot", {"lot": 0.0}),
        ("lot", {"lot": NAN}),
        ("relay_cost", {"relay_cost": -1.0}),
        ("fixed_delay_weight", {"fixed_delay_weight": INF}),
        ("message_weight", {"message_weight": "0.1"}),
        ("psi", {"psi": 1.5}),
        ("tick", {"tick": 0.0}),
        ("tick", {"tick": 0.06, "steps": (0.06,), "scripted_buyer_step": 0.06, "scripted_seller_step": 0.06}),
        ("scripted_buyer_step", {"scripted_buyer_step": 0.3}),
        ("scripted_seller_step", {"scripted_seller_step": 4.0}),
        ("steps", {"tick": 0.06}),
        ("steps", {"steps": ()}),
        ("steps", {"steps": (0.5, 0.25)}),
        ("steps", {"steps": (0.1,)}),
        ("steps", {"steps": 0.5}),
        ("price_cap", {"price_cap": -10.0}),
        ("spread", {"spread": 1.0}),
        ("mobile_speed", {"mobile_speed": 3e4}),
        ("fixed_speed", {"fixed_speed": 3e4}),
        ("aerial_speed", {"aerial_speed": 3e4}),
        ("aerial_speed", {"relay_time": (0.1, 4.0)}),
        ("preset", {"name": "nowhere"}),
        ("colour", {"colour": "red"}),
    ],
    ids=str,
)
def test_what_no_market_can_be_made_of_is_refused_in_one_line_that_names_it(key, changes):
    with pytest.raises(ParameterError) as error:
        preset(**{"name": "paper", **changes})
    assert str(error.value).startswith(f"{key}=")
    assert "\n" not in str(error.value)


def test_every_preset_can_be_made_and_the_first_one_changes_nothing():
    assert next(iter(PRESETS)) == "paper"
    assert preset("paper") == PAPER
    for name in PRESETS:
        assert preset(name).rounds == 20


def test_both_tiers_get_the_settings_they_share():
    params = dataclasses.replace(PAPER, price_cap=8.0, psi=0.25, wireless=7, lot=1.0)
    pricing, auction = params.pricing(), params.auction()
    assert {name: getattr(pricing, name) for name in SHARED} == {name: getattr(params, name) for name in SHARED}
    assert (auction.buyers, auction.sellers, auction.psi) == (params.fixed, params.aerial, 0.25)
    assert auction.buyer_clock == 8.0  # the highest possible bid, p̄ w
    assert auction.seller_clock == 0.0


def test_capacities_are_log_uniform_and_spread_evenly_within_every_instance():
    market = draw_markets(PAPER, np.arange(300))
    low, high = np.log(PAPER.capacity)
    quantiles = (np.log(market.tier.capacity) - low) / (high - low)
    np.testing.assert_array_equal(np.sort((quantiles * 10).astype(int), axis=1), np.tile(np.arange(10), (300, 1)))
    for j in (0, 9):
        assert kstest(quantiles[:, j], "uniform").pvalue > 1e-3


def test_costs_of_aerial_agents_have_the_documented_ranges():
    market = draw_markets(PAPER, np.arange(2000))
    t = market.tier
    assert kstest(t.unit_cost[:, 0], "uniform", (0.2, 0.6)).pvalue > 1e-3
    assert t.hover_power.min() >= 50.0
    assert t.hover_power.max() <= 450.0
    # Wind is common to all aerial agents of an episode.
    assert np.corrcoef(t.hover_power[:, 0], t.hover_power[:, 1])[0, 1] > 0.3
    pace = PAPER.cycles_per_mbit / PAPER.aerial_speed
    assert ((t.time_per_mbit >= pace / 1.1 - 1e-12) & (t.time_per_mbit <= pace / 0.9 + 1e-12)).all()


@settings(max_examples=40, deadline=None)
@given(
    wireless=st.integers(1, 12), mobile=st.integers(1, 5), fixed=st.integers(1, 5), aerial=st.integers(1, 5),
    spread=st.floats(0.0, 0.6), low=st.floats(1e-6, 1e3), lot=st.sampled_from([0.125, 1.0, 64.0]),
    weights=st.floats(0.0, 1e6), qoe=st.floats(1e-6, 1e6), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_no_nan_or_infinity_for_any_parameters_that_are_accepted(
    wireless, mobile, fixed, aerial, spread, low, lot, weights, qoe, seed
):
    params = TwoTierParams(
        wireless=wireless, mobile=mobile, fixed=fixed, aerial=aerial, spread=spread, capacity=(low, 2.0 * low), lot=lot,
        tick=0.125, steps=(0.125, 1.0), scripted_buyer_step=1.0, scripted_seller_step=1.0,
        relay_cost=weights, fixed_delay_weight=weights, aerial_delay_weight=weights,
        message_weight=weights, qoe_weight=qoe, rounds=2,
    )  # fmt: skip
    market = draw_markets(params, [seed])
    rng, everywhere, terminated = np.random.default_rng(seed), np.ones(1, np.bool_), np.zeros(1, np.bool_)
    for _ in range(2):
        prices = [rng.integers(51, size=(1, count)) for count in (mobile, fixed)]
        drivers.post_prices(market, params.settings(), everywhere, 51, *prices)
        drivers.hold_auctions(market, params.settings(), everywhere, rng.integers(2, size=(1, 1, 2)), terminated)
    assert terminated[0]
    infinite = (id(market.pricing.curve), id(market.pricing.segments))  # a segment may be empty
    arrays = [plain_view(x) for part in market for x in part if id(x) not in infinite]
    assert all(np.isfinite(x).all() for x in arrays)
    total = market.pricing.accounts[0].sum() + market.tier.accounts[0].sum()
    assert math.isclose(total, 0.0, abs_tol=1e-9)
