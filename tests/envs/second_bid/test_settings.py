"""What stations see of themselves, the ratio rule with a weighted UAV, and settings of the wrong kind."""

import numpy as np
import pytest

from ioa_marl.envs.second_bid.game import SecondBidGame
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.second_bid.params import preset
from ioa_marl.markets.second_bid.references import calibration, pareto_optimum


@pytest.mark.parametrize("name", ["paper", "nine", "persistent"])
def test_hardly_any_station_is_off_the_scale_of_its_own_valuation(name):
    game = SecondBidGame(SecondBidGame.make_config(name), 2000, ["station"])
    observations, _ = game.reset(np.arange(2000, dtype=np.uint64))
    own = observations["station"][..., 0]
    assert np.mean(own == 0.0) < 0.01
    assert np.mean(own == 1.0) < 0.01


@pytest.mark.parametrize("weight", [0.5, 1.0, 3.0])
def test_ratio_rule_is_the_optimum_of_the_pareto_market_whatever_the_uav_weighs(weight):
    params = preset("pareto", uav_weight=weight)
    assert calibration(params).ratio == pytest.approx(pareto_optimum(params).rho, rel=0.03)


@pytest.mark.parametrize(
    ("role", "policy", "settings"),
    [
        ("auctioneer", "threshold", {"threshold": "abc"}),
        ("auctioneer", "threshold", {"threshold": True}),
        ("auctioneer", "constant_rho", {"level": 1.5}),
        ("station", "multiplied", {"factor": "abc"}),
    ],
)
def test_a_setting_of_the_wrong_kind_is_refused_in_one_line(role, policy, settings):
    game = SecondBidGame(SecondBidGame.make_config())
    with pytest.raises(ParameterError, match=next(iter(settings))):
        game.scripted(policy, role, **settings)
