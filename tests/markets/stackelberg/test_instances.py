"""Markets from one's own figures: drawn markets rebuilt, the printed utility, brute force, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.stackelberg import (
    answer_to,
    best_response_price,
    draw_markets,
    follower_utilities,
    link_energy,
    market_from,
    nash_conv,
    preset,
    solve_equilibrium,
)

PARAMS = preset("paper", wireless=12, mobile=2, fixed=1)
_rng = np.random.default_rng(8)
TABLE = {
    "mobile_of": [0, 1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 1],
    "fixed_of": [0] * 12,
    "workload": _rng.uniform(6, 12, 12),
    "upload_time": _rng.uniform(0.4, 0.6, 12),
    "tolerable_delay": _rng.uniform(2, 4, 12),
    "qoe_weight": _rng.uniform(2000, 4000, 12),
    "actuator_ratio": _rng.uniform(0.05, 0.15, 12),
    "bandwidth": _rng.uniform(6, 8, 12),
    "mobile_energy": _rng.uniform(4, 5, 12),
    "fixed_energy": _rng.uniform(2, 3, 12),
    "relay_time": _rng.uniform(0.11, 0.15, 12),
    "mobility_factor": _rng.uniform(0.9, 1.2, 12),
    "mobile_speed": [0.9e6, 1.2e6],
    "fixed_speed": 3.5e6,
    "aerial_speed": [5e6],
    "aerial_share": 0.3,
    "mobile_cost": [0.5, 0.7],
    "fixed_cost": [1.9],
}


def printed_utility(table, share, mobile_prices, fixed_price):
    """Return U_n (Eq. 13) of every wireless agent of `TABLE` in NumPy, float64 (12,) or (shares, 12)."""
    t = {name: np.asarray(values) for name, values in table.items()}
    own = t["mobile_of"]
    work, up = t["workload"], t["upload_time"]
    latency = np.max(
        [
            share * work * 1e4 / t["mobile_speed"][own],
            (1 - share) * work * 0.7 * 1e4 / 3.5e6,
            t["relay_time"] + (1 - share) * work * 0.3 * 1e4 / 5e6,
        ],
        axis=0,
    )
    full = work / (t["bandwidth"] * up)
    energy = t["mobile_energy"] * (2 ** (share * full) - 1) + t["fixed_energy"] * (2**full - 2 ** (share * full))
    quality = t["qoe_weight"] * np.log(1 + t["tolerable_delay"] - up - latency) * np.log(1 + t["actuator_ratio"])
    paid = share * work * t["mobility_factor"] * np.asarray(mobile_prices)[own] + (1 - share) * work * fixed_price
    return quality - paid - energy


def test_utilities_of_the_table_are_those_of_the_printed_formula():
    market = market_from(PARAMS, **TABLE)
    for share in np.linspace(0, 1, 21):
        found = follower_utilities(PARAMS, market, [2.0, 3.0], 4.0, share)
        assert found == pytest.approx(printed_utility(TABLE, share, [2.0, 3.0], 4.0), rel=1e-12)


def test_equilibrium_of_the_table_is_one_by_brute_force():
    market = market_from(PARAMS, **TABLE)
    found = solve_equilibrium(PARAMS, market)
    assert found.converged
    assert nash_conv(PARAMS, market, found.mobile_prices, found.fixed_prices).total == pytest.approx(found.nash_conv)
    shares = np.linspace(0, 1, 1001)[:, None]
    cost, work = np.array([0.5, 0.7]), TABLE["workload"]
    own = np.array(TABLE["mobile_of"])

    def profits(mobile, fixed):
        utility = printed_utility(TABLE, shares, mobile, fixed)
        best, buys = shares[np.argmax(utility, axis=0), 0], utility.max(axis=0) >= 0
        margin = np.asarray(mobile)[own] * TABLE["mobility_factor"] - cost[own]
        sold = best * work * buys
        return [*(np.sum((sold * margin)[own == i]) for i in range(2)), np.sum((work * buys - sold) * (fixed - 1.9))]

    prices = [*found.mobile_prices, *found.fixed_prices]
    assert profits(prices[:2], prices[2]) == pytest.approx(
        [*found.outcome.mobile_profits, *found.outcome.fixed_profits], rel=0.01
    )
    for leader in range(3):
        tried = [*prices]
        gains = []
        for price in np.linspace(0, 10, 101):
            tried[leader] = price
            gains.append(profits(tried[:2], tried[2])[leader])
        assert max(gains) <= 1.005 * profits(prices[:2], prices[2])[leader]


@pytest.mark.parametrize("name", ["city", "scarce"])
@pytest.mark.parametrize("congestion", [False, True])
def test_a_drawn_market_is_rebuilt_from_its_figures(name, congestion):
    params = preset(name, mobility_weight=0.4, congestion=congestion, mobile_speed=4e6 if congestion else 1e6)
    drawn = draw_markets(params, [5])
    t = drawn.traits[0]
    ratio = params.actuator_ratio
    rebuilt = market_from(
        params, mobile_of=drawn.reach[0, 0], fixed_of=drawn.reach[0, 1], workload=t["load"], upload_time=0.5,
        tolerable_delay=t["slack"] - 0.5, qoe_weight=t["qoe_weight"] / np.log1p(ratio), actuator_ratio=ratio,
        bandwidth=t["load"] / (0.5 * t["exponent"] / np.log(2)), mobile_energy=t["mobile_energy"],
        fixed_energy=t["fixed_energy"], relay_time=drawn.relay_time[0], mobility_factor=t["mobility_factor"],
        mobile_speed=1e4 / drawn.time_per_mbit[0, 0], fixed_speed=1e4 / drawn.time_per_mbit[0, 1],
        aerial_speed=1e4 / drawn.aerial_time_per_mbit[0], aerial_share=drawn.offloading_ratio[0],
        mobile_cost=drawn.cost[0, 0], fixed_cost=drawn.cost[0, 1],
    )  # fmt: skip
    assert np.ptp(t["mobility_factor"]) > 0.01
    ours, theirs = (answer_to(params, market, 1.5, [2.5, 3.0, 3.5]) for market in (rebuilt, drawn))
    assert ours.shares == pytest.approx(theirs.shares, abs=1e-7)
    assert ours.utilities == pytest.approx(theirs.utilities, rel=1e-9)
    assert ours.mobile_profits == pytest.approx(theirs.mobile_profits, rel=1e-6)
    assert ours.fixed_profits == pytest.approx(theirs.fixed_profits, rel=1e-6)
    regrets = [nash_conv(params, market, 1.5, 3.0).total for market in (rebuilt, drawn)]
    assert regrets[0] == pytest.approx(regrets[1], rel=1e-5)


def test_what_is_not_given_is_the_parameter():
    paper = preset("paper")
    found = solve_equilibrium(paper, market_from(paper, mobile_of=[0], fixed_of=[0]))
    drawn = solve_equilibrium(paper, draw_markets(paper, [0]))
    assert (*found.mobile_prices, *found.fixed_prices) == (*drawn.mobile_prices, *drawn.fixed_prices)
    wide = preset("paper", fixed_cost=(1.0, 2.0))
    assert market_from(wide, mobile_of=[0], fixed_of=[0]).cost[0, 1, 0] == 1.5


def test_numbering_of_the_wireless_agents_does_not_matter():
    order = np.random.default_rng(2).permutation(12)
    shuffled = {
        name: np.asarray(values)[order] if np.shape(values) == (12,) else values for name, values in TABLE.items()
    }
    one = answer_to(PARAMS, market_from(PARAMS, **TABLE), [1.7, 1.9], 2.8)
    other = answer_to(PARAMS, market_from(PARAMS, **shuffled), [1.7, 1.9], 2.8)
    assert other.shares.tolist() == one.shares[order].tolist()
    assert other.mobile_profits == pytest.approx(one.mobile_profits, rel=1e-12)


def test_a_leader_in_nobodys_reach_earns_nothing():
    alone = {**TABLE, "mobile_of": [0] * 12}
    market = market_from(PARAMS, **alone)
    assert best_response_price(PARAMS, market, "mobile", 1, 2.0, 3.0).profit == 0.0
    found = solve_equilibrium(PARAMS, market)
    assert found.outcome.mobile_profits[1] == 0.0
    assert found.outcome.mobile_profits[0] > 0.0


def test_energy_of_a_link_falls_with_its_gain():
    assert link_energy([[1e-11], [4e-11]], [0.5, 1.0], 1e-13, 800.0) == pytest.approx(np.array([[4, 8], [1, 2]]))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("workload", [10.0] * 11, "array of shape (11,) is not allowed: use one number or 12"),
        ("workload", [10.0] * 11 + [-1.0], "from 1e-09 to 1e+09"),
        ("workload", [10.0] * 11 + [np.nan], "one for each wireless agent [Mbit], finite"),
        ("workload", "a lot", "one for each wireless agent [Mbit], finite"),
        ("workload", [[10.0] * 12], "array of shape (1, 12)"),
        (
            "workload",
            [10.0] * 11 + [2e4],
            "for wireless agent 11 is not allowed: use values with spectral efficiencies",
        ),
        ("workload", [[1.0], [1.0, 2.0]], "one for each wireless agent [Mbit], finite"),
        ("mobile_cost", [0.5, np.inf], "[units/Mbit], finite and from 0"),
        ("mobile_cost", [0.5] * 3, "one number or 2, one for each mobile agent"),
        ("aerial_share", 1.2, "from 0 to 1"),
        ("fixed_speed", 0.0, "[cycles/s]"),
        ("bandwidth", 0.01, "bit/s/Hz"),
        ("mobile_of", [0] * 11 + [2], "whole numbers from 0 to 1"),
        ("mobile_of", [0] * 11 + [0.5], "whole numbers from 0 to 1"),
        ("mobile_of", [0] * 11, "12 whole numbers"),
        ("fixed_of", [0] * 11 + [-1], "from 0 to 0"),
        ("gains", [1.0] * 12, "mobile_energy"),
    ],
)
def test_figures_that_make_no_market_get_one_line(key, value, says):
    table = {**TABLE, key: value}
    with pytest.raises(ParameterError) as error:
        market_from(PARAMS, **table)
    assert "\n" not in str(error.value)
    assert says in str(error.value)


def test_a_deadline_that_cannot_be_met_is_refused_with_the_agent():
    slow = {**TABLE, "mobile_speed": 1e4, "fixed_speed": 1e4}
    with pytest.raises(ParameterError, match=r"for wireless agent \d+ is not allowed: use values with 1 \+ ε − t > 0"):
        market_from(PARAMS, **slow)
    with pytest.raises(ParameterError, match=r"aerial_share=\[0.\] is not allowed: use positive shares"):
        market_from(preset("paper", latency_case="aa"), mobile_of=[0], fixed_of=[0], aerial_share=0.0)
    with pytest.raises(ParameterError, match="dynamics"):
        market_from(preset("dynamic"), mobile_of=[0] * 12, fixed_of=[0] * 12)
    with pytest.raises(ParameterError, match="gain"):
        link_energy([0.0], 0.5, 1e-13, 800.0)
    with pytest.raises(ParameterError, match="shapes that fit"):
        link_energy([1.0, 1.0], [0.5] * 3, 1e-13, 800.0)
