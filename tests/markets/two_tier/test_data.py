"""A table of one's own agents in both tiers: what is drawn otherwise, and the auction's asks, follow from the table."""

from __future__ import annotations

import numpy as np
import pytest

from ioa_marl.envs.two_tier.game import TwoTierConfig, TwoTierGame
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.stackelberg import follower_utilities, market_from
from ioa_marl.markets.stackelberg import preset as pricing_preset
from ioa_marl.markets.two_tier import draw_markets, preset

HEAD = "agent,mobile_of,fixed_of,workload,mobile_cost,fixed_cost,capacity,aerial_speed,aerial_cost,hover_power"
ROWS = [
    "aerial,,,,,,,5e6,0.3,200", "wireless,1,0,8,,,,,,", "mobile,,,,0.8,,,,,", "wireless,0,0,10,,,,,,",
    "fixed,,,,,1.6,0.5,,,", "wireless,1,1,12,,,,,,", "mobile,,,,0.9,,,,,", "fixed,,,,,2,30,,,",
    "aerial,,,,,,,8e6,0.5,120", "aerial,,,,,,,6e6,0.4,300",
]  # fmt: skip
TABLE = "\n".join([HEAD, *ROWS, ""])


def test_the_pricing_tier_is_the_price_market_of_the_same_rows():
    params = preset("paper", data=TABLE)
    assert (params.wireless, params.mobile, params.fixed, params.aerial) == (3, 2, 2, 3)
    market = draw_markets(params, [3, 4])
    alone = market_from(
        pricing_preset("paper", wireless=3, mobile=2, fixed=2, qoe_weight=600.0, aerial_share=0.0),
        mobile_of=[1, 0, 1], fixed_of=[0, 0, 1], workload=[8, 10, 12], mobile_cost=[0.8, 0.9], fixed_cost=[1.6, 2.0],
    )  # fmt: skip
    pricing = params.pricing()
    for share in (0.0, 0.4, 1.0):
        found = follower_utilities(pricing, market.pricing, [2.0, 3.0], 4.0, share, 1)
        assert found == pytest.approx(follower_utilities(pricing, alone, [2.0, 3.0], 4.0, share), rel=1e-12)
    assert market.pricing.cost[0].tolist() == [[0.8, 0.9], [1.6, 2.0]]


def test_asks_are_eq_34_of_the_table_with_the_wind_of_the_episode():
    params = preset("paper", data=TABLE, wind=(1.0, 1.0))
    tier = draw_markets(params, [3]).tier
    time, lot = 1e4 / np.array([5e6, 8e6, 6e6]), params.lot
    cost = np.array([0.3, 0.5, 0.4]) * lot
    cost = cost + params.hover_energy_price * (0.1 + time * lot) * np.array([200.0, 120.0, 300.0])
    delay = params.aerial_delay_weight * (1e4 / 4e6 * lot) ** 2
    assert tier.cost[0] == pytest.approx(cost, rel=1e-12)
    assert tier.ask[0] == pytest.approx(cost + delay, rel=1e-12)
    assert tier.capacity[0].tolist() == [0.5, 30.0]
    windy = draw_markets(preset("paper", data=TABLE), range(50)).tier
    wind = windy.hover_power / [200.0, 120.0, 300.0]
    assert np.ptp(wind, axis=1).max() < 1e-12  # one wind for all
    assert 0.5 <= wind.min() < 0.7 < 1.3 < wind.max() <= 1.5
    assert windy.unit_cost[0].tolist() == windy.unit_cost[1].tolist() == [0.3, 0.5, 0.4]


@pytest.mark.parametrize("dynamics", [False, True])
def test_the_environment_plays_the_table_in_every_episode_within_its_bounds(dynamics):
    changes = {"dynamics": True, "observation": "customers", "mobility_weight": 0.4} if dynamics else {}
    config = TwoTierConfig(data=TABLE, rounds=4, **changes)
    game = TwoTierGame(config, 4)
    observations, _ = game.reset(np.arange(4, dtype=np.uint64))
    sold = 0.0
    for _ in range(12):
        assert all(np.all((seen >= 0) & (seen <= 1)) for seen in observations.values())
        assert game.market.nominal["load"].tolist() == [[8.0, 10.0, 12.0]] * 4
        actions = {role: np.full((4, 2), 15) for role in ("mobile", "fixed")}
        step = game.step({**actions, "auctioneer": np.full((4, 1, 2), 5)})
        sold += game.market.sales.sum()
        observations = step.observations
    assert sold > 0.0
    assert np.isfinite(step.metrics["mobile_price"]).all()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"data": "\n".join([HEAD, *ROWS[1:8], ""])}, "without a row of an aerial agent"),
        ({"data": TABLE.replace("capacity", "aerial_share")}, "the column aerial_share"),
        ({"data": TABLE.replace("0.5,,,", ",,,")}, "data.capacity=empty (row 5)"),
        ({"data": TABLE.replace("aerial,,,,,,,5e6", "aerial,,,,,,3,5e6")}, "data.capacity=3 (row 1)"),
        ({"data": TABLE.replace("5e6", "1e4")}, "data.aerial_speed"), ({"data": TABLE, "aerial": 4}, "aerial=4"),
        ({"data": TABLE.replace("wireless,1,1", "wireless,1,2")}, "fixed_of"),
        ({"data": TABLE, "instance": 2}, "instance=2"),
        ({"data": TABLE.replace("wireless,1,0,8", "drone,1,0,8")}, "data.agent=drone"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_line(settings, told):
    with pytest.raises(ParameterError) as caught:
        TwoTierConfig(**settings)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
