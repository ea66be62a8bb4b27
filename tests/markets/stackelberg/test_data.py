"""A table of one's own agents: the market of the named arrays, in plain functions and in the environment."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ioa_marl.envs.stackelberg.game import StackelbergConfig, StackelbergGame
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.stackelberg import draw_markets, follower_utilities, link_energy, market_from, nash_conv, preset

HEAD = (
    "agent,mobile_of,fixed_of,workload,upload_time,mobile_gain,fixed_gain,noise_power,energy_price,mobile_cost,"
    "fixed_cost"
)
ROWS = [
    "mobile,,,,,,,,,0.5,",
    "wireless,1,0,8,0.4,9e-12,1.5e-11,1e-13,800,,",
    "wireless,0,0,10,0.5,1e-11,1.6e-11,1e-13,900,,",
    "fixed,,,,,,,,,,1.9",
    "wireless,1,0,12,0.6,8e-12,1.4e-11,1e-13,800,,",
    "mobile,,,,,,,,,0.7,",
]
TABLE = "\n".join([HEAD, *ROWS, ""])
STATIC = preset("paper", data=TABLE)
ENERGY = {
    side: link_energy(gain, [0.4, 0.5, 0.6], 1e-13, [800, 900, 800])
    for side, gain in (("mobile", [9e-12, 1e-11, 8e-12]), ("fixed", [1.5e-11, 1.6e-11, 1.4e-11]))
}


def from_arrays(**more):
    return market_from(
        preset("paper", wireless=3, mobile=2), mobile_of=[1, 0, 1], fixed_of=[0, 0, 0], workload=[8, 10, 12],
        upload_time=[0.4, 0.5, 0.6], mobile_energy=ENERGY["mobile"], fixed_energy=ENERGY["fixed"],
        mobile_cost=[0.5, 0.7], fixed_cost=1.9, **more,
    )  # fmt: skip


def test_a_table_is_the_market_of_the_same_arrays():
    assert (STATIC.wireless, STATIC.mobile, STATIC.fixed) == (3, 2, 1)
    market, expected = draw_markets(STATIC, [4, 5]), from_arrays()
    for row in range(2):
        for share in (0.0, 0.3, 1.0):
            found = follower_utilities(STATIC, market, [2.0, 3.0], 4.0, share, row)
            assert found == pytest.approx(follower_utilities(STATIC, expected, [2.0, 3.0], 4.0, share), rel=1e-14)
    assert nash_conv(STATIC, market, 2.0, 3.0).total == pytest.approx(nash_conv(STATIC, expected, 2.0, 3.0).total)


def test_every_episode_of_the_environment_has_the_agents_of_the_table():
    game = StackelbergGame(StackelbergConfig(data=TABLE, rounds=2), 3)
    observations, _ = game.reset(np.arange(3, dtype=np.uint64))
    for _ in range(2):
        assert observations["mobile"][:, :, 0].tolist() == [pytest.approx([0.05, 0.07])] * 3
        assert game.market.nominal["load"].tolist() == [[8.0, 10.0, 12.0]] * 3
        assert game.market.reach[:, 0].tolist() == [[1, 0, 1]] * 3
        for _ in range(2):
            step = game.step({role: np.full((3, count), 10) for role, count in (("mobile", 2), ("fixed", 1))})
        observations = step.observations
    # The reward is the profit over the mean load in a leader's reach.
    assert game._scale == [10.0 * 3 / 2, 10.0 * 3]


def test_conditions_of_a_round_vary_around_the_table_and_all_that_is_seen_stays_in_bounds():
    config = StackelbergConfig(
        data=TABLE, dynamics=True, observation="customers", relay_time=(0.2, 0.2), mobility_weight=0.4,
        mobility_offset=0.9, fading_limit=1.5, qoe_weight=600.0,
    )  # fmt: skip
    game = StackelbergGame(config, 8, ("mobile", "fixed", "wireless"))
    # Two wireless agents have the second mobile agent in reach, all three the fixed one.
    assert game.roles["mobile"].observation_space.shape == (6 + 6 * 2,)
    assert game.roles["fixed"].observation_space.shape == (6 + 6 * 3,)
    observations, _ = game.reset(np.arange(8, dtype=np.uint64))
    loads, energies = set(), []
    for _ in range(20):
        for role, values in observations.items():
            assert np.all((values >= 0) & (values <= 1)), role
        loads |= set((game.market.traits["load"] / game.market.nominal["load"]).ravel().round(9))
        with np.errstate(invalid="ignore"):
            tasks = game.market.traits["load"] / game.market.nominal["load"]
            energies.append(game.market.traits["mobile_energy"] / game.market.nominal["mobile_energy"] / tasks)
        observations = game.step({role: np.full((8, r.count), 5) for role, r in game.roles.items()}).observations
    assert loads == {0.0, 1.0, 2.0, 3.0}
    assert np.nanmin(energies) >= 1 / 1.5 - 1e-12
    assert np.nanmax(energies) <= 1.5 + 1e-12
    assert np.nanstd(energies) > 0.1
    assert game.market.nominal["load"].tolist() == [[8.0, 10.0, 12.0]] * 8


def test_every_episode_of_a_market_with_handover_begins_with_the_links_of_the_table():
    config = StackelbergConfig(
        data=TABLE, dynamics=True, mobile_radius=20.0, fading="independent", relay_time=(0.2, 0.2), fading_limit=1.5,
        observation="customers", rounds=6,
    )  # fmt: skip
    game = StackelbergGame(config, 16)
    game.reset(np.arange(16, dtype=np.uint64))
    moved = 0
    for _ in range(3):
        assert game.market.reach[:, 0].tolist() == [[1, 0, 1]] * 16
        for _ in range(6):
            moved += int((game.market.reach[:, 0] != [1, 0, 1]).sum())
            game.step({role: np.full((16, count), 10) for role, count in (("mobile", 2), ("fixed", 1))})
    assert moved > 50


def test_a_configuration_with_a_table_is_copied_and_replaced():
    config = StackelbergConfig(data=TABLE)
    assert dataclasses.replace(config, rounds=5).data == config.data
    assert hash(config) == hash(StackelbergConfig(data="\n".join([HEAD, *ROWS])))
    assert config != StackelbergConfig(data=TABLE.replace("900", "901"))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (TABLE.replace("fixed,,", "drone,,"), "data.agent=drone (row 4)"),
        (TABLE.replace("wireless,1,0,8,", "wireless,1.5,0,8,"), "mobile_of"),
        (TABLE.replace("wireless,1,0,8,", "wireless,2,0,8,"), "whole numbers from 0 to 1"),
        (TABLE.replace(",8,0.4", ",,0.4"), "data.workload=empty (row 2)"),
        (TABLE.replace("mobile,,,,", "mobile,,,7,"), "data.workload=7 (row 1)"),
        (TABLE.replace("800,,", "800,1,"), "data.mobile_cost=1 (row 2)"),
        (TABLE.replace("noise_power", "noise"), "the column noise"),
        (TABLE.replace("workload", "aerial_share"), "data.aerial_share=8 (row 2)"),
        (TABLE.replace(",8,0.4", ",8e4,0.4"), "bandwidth"),
        ("\n".join([HEAD, ROWS[1], ROWS[0], ""]), "without a row of a fixed agent"),
    ],
)  # fmt: skip
def test_wrong_tables_are_refused_in_a_line(changed, told):
    with pytest.raises(ParameterError) as caught:
        preset("paper", data=changed)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_that_contradict_the_table_are_refused():
    for changes, told in (
        ({"mobile": 3}, "mobile=3"), ({"redraw": "episode"}, "redraw=episode"), ({"instance": 1}, "instance=1"),
    ):  # fmt: skip
        with pytest.raises(ParameterError, match=told):
            StackelbergConfig(data=TABLE, **{"observation": "extended", **changes})
    with pytest.raises(ParameterError, match="fixed_gain as well"):
        preset("paper", data="agent,mobile_of,fixed_of,mobile_gain\nwireless,0,0,1e-11\nmobile,,,\nfixed,,,\n")
    both = "agent,mobile_of,fixed_of,mobile_gain,fixed_gain,noise_power,energy_price,mobile_energy\n"
    with pytest.raises(ParameterError, match="one of the two"):
        preset("paper", data=both + "wireless,0,0,1e-11,2e-11,1e-13,800,4\nmobile,,,,,,,\nfixed,,,,,,,\n")
    with pytest.raises(ParameterError, match="idle_share while dynamics=false"):
        preset("paper", data="agent,mobile_of,fixed_of,idle_share\nwireless,0,0,\nmobile,,,0.5\nfixed,,,\n")


def test_a_table_goes_with_any_preset_and_not_with_a_setting_that_it_has_as_a_column():
    config = StackelbergGame.make_config("dynamic", data=TABLE, relay_time=(0.2, 0.2))
    assert (config.wireless, config.mobile, config.fixed) == (3, 2, 1)
    assert config.qoe_weight == 600.0
    # What the preset says of a column of the table makes no difference, nor another market.
    changed = StackelbergGame.make_config("city", data=TABLE)
    assert changed.mobile_cost == StackelbergConfig().mobile_cost
    with pytest.raises(ParameterError, match=r"workload=20.0 .* data has a column workload"):
        StackelbergGame.make_config("paper", data=TABLE, workload=20.0)
    with pytest.raises(ParameterError, match="mobile=5"):
        StackelbergGame.make_config("city", data=TABLE, mobile=5)


def test_all_leaders_that_a_wireless_agent_may_get_must_be_fast_enough():
    two = "agent,mobile_of,fixed_of,mobile_speed\nwireless,0,0,\nmobile,,,1e6\nmobile,,,1e3\nfixed,,,\nfixed,,,\n"
    moving = {"dynamics": True, "mobile_radius": 10.0, "fixed_radius": 10.0, "max_tasks": 1}
    # Of the slow mobile agent nobody has to buy, as long as a fixed one computes everything in time.
    StackelbergConfig(data=two, **moving)
    slow = two.replace("fixed,,,\n", "fixed,,,,1e3\n", 1).replace("fixed,,,\n", "fixed,,,,4e6\n")
    slow = slow.replace("mobile_speed\n", "mobile_speed,fixed_speed\n").replace("wireless,0,0,\n", "wireless,0,1,,\n")
    slow = slow.replace("1e6\n", "1e6,\n").replace("mobile,,,1e3\n", "mobile,,,1e3,\n")
    StackelbergConfig(data=slow, dynamics=True, max_tasks=1)
    with pytest.raises(ParameterError, match="1 \\+ ε − t > 0"):
        StackelbergConfig(data=slow, **moving)
