"""What leaders see of their customers, and what they must not see of others'."""

import numpy as np
import pytest

from ioa_marl.envs.stackelberg.game import LEADERS, StackelbergGame

FIRST = 6
"""Index of the first feature of the first customer."""


def make(preset="dynamic", n=3, **settings):
    game = StackelbergGame(StackelbergGame.make_config(preset, **settings), n, LEADERS, autoreset=False)
    game.full_metrics = False
    seeds, streams = np.full(n, 5, np.uint64), np.arange(n, dtype=np.uint64)
    return game, game.reset(seeds, streams, np.full(n, 2, np.uint64))


def after(game, rounds):
    """Return the observations after some rounds at arbitrary prices."""
    step = None
    for _ in range(rounds):
        step = game.step({role: np.full((game.num_envs, game.roles[role].count), 9) for role in LEADERS})
    return {role: step.observations[role].copy() for role in LEADERS}


def seen(game):
    out = {
        role: np.full((game.num_envs, game.roles[role].count, *game.roles[role].observation_space.shape), 7, np.float32)
        for role in LEADERS
    }
    game.write_observations(out)
    return out


def test_customers_are_described_as_the_market_has_them():
    game, _ = make()
    observations, market, config = after(game, 4), game.market, game.config
    assert observations["mobile"].shape == observations["fixed"].shape == (3, 3, 30)
    for b in range(3):
        for n in range(config.wireless):
            tasks = market.traits[b, n].load / market.nominal[b, n].load
            for side, role in enumerate(LEADERS):
                leader = market.reach[b, side, n]
                place = FIRST + 6 * int((market.reach[b, side, :n] == leader).sum())
                one, two, three, load, energy, mobility = observations[role][b, leader, place : place + 6]
                assert (one, two, three) == tuple(round(tasks) == k for k in (1, 2, 3))
                # The largest load is three tasks of 12 Mbit.
                assert load == pytest.approx(market.traits[b, n].load / 36.0)
                mean = (4.26, 2.68)[side]
                coefficient = market.traits[b, n][("mobile_energy", "fixed_energy")[side]]
                if tasks > 0:
                    # Within 20% of the mean, and within a factor of 1.5 of that.
                    low, high = mean * 0.8 / 1.5, mean * 1.2 * 1.5
                    assert energy == pytest.approx((coefficient / tasks - low) / (high - low), abs=1e-6)
                else:
                    assert energy == 0.0
                assert mobility == pytest.approx((market.traits[b, n].mobility_factor - 0.9) / 0.4, abs=1e-6)
    for side, role in enumerate(LEADERS):
        low, high = ((0.4, 0.6), (1.5, 2.2))[side]
        expected = (market.cost[:, side] - low) / (high - low)
        assert observations[role][:, :, 5] == pytest.approx(expected, abs=1e-6)


def test_the_first_features_are_those_of_the_paper():
    customers, paper = (after(make(observation=name)[0], 3) for name in ("customers", "paper"))
    for role in LEADERS:
        assert np.array_equal(customers[role][:, :, :5], paper[role])


@pytest.mark.parametrize("side", [0, 1])
def test_a_leader_sees_neither_the_costs_nor_the_other_customers_of_anybody_else(side):
    game, _ = make(n=1)
    after(game, 2)
    market, role = game.market, LEADERS[side]
    before = seen(game)[role][0, 1].copy()
    others = market.reach[0, side] != 1
    for name in ("load", "mobile_energy", "fixed_energy", "qoe_weight", "mobility_factor"):
        market.traits[name][0, others] *= 1.07
    market.cost[0, 1 - side] *= 1.05
    market.cost[0, side, [0, 2]] *= 1.05
    assert np.array_equal(seen(game)[role][0, 1], before)
    market.traits["load"][0, ~others] += market.nominal["load"][0, ~others]
    market.cost[0, side, 1] *= 1.05
    changed = np.flatnonzero(seen(game)[role][0, 1] != before)
    assert 5 in changed
    assert (changed >= FIRST).any()


def test_places_without_a_customer_are_empty_and_all_features_stay_in_their_bounds():
    # Two mobile agents have 3 and 2 customers, and of seven fixed agents two have none.
    game, _ = make(wireless=5, mobile=2, fixed=7)
    observations = after(game, 5)
    assert observations["mobile"].shape == (3, 2, FIRST + 6 * 3)
    assert observations["fixed"].shape == (3, 7, FIRST + 6)
    assert (observations["mobile"][:, 1, FIRST + 12 :] == 0.0).all()
    assert (observations["mobile"][:, 0, FIRST + 17] > 0.0).all()
    idle = [j for j in range(7) if j not in game.market.reach[0, 1]]
    assert len(idle) == 2
    assert (observations["fixed"][:, idle, FIRST:] == 0.0).all()
    for values in observations.values():
        assert values.min() >= 0.0
        assert values.max() <= 1.0


def test_more_than_three_tasks_are_three_or_more_and_differ_in_load():
    game, _ = make(n=40, max_tasks=6, arrivals=3.0, tolerable_delay=20.0)
    observations = after(game, 2)["mobile"]
    tasks = np.rint(game.market.traits["load"] / game.market.nominal["load"])
    assert tasks.max() > 4
    mine = game.market.member[0, 0, : game.market.start[0, 0, 1]]
    three = observations[:, 0, FIRST + 2 :: 6][:, : len(mine)]
    assert np.array_equal(three, tasks[:, mine] >= 3)
    load = observations[:, 0, FIRST + 3 :: 6][:, : len(mine)]
    assert load == pytest.approx(game.market.traits["load"][:, mine] / 72.0, abs=1e-6)


def test_a_market_in_which_nothing_varies_has_customers_with_one_task():
    game, _ = make("paper", observation="customers")
    for role, values in seen(game).items():
        # Costs, energies and mobility factors have no range: they are 0 on it.
        assert values.shape == (3, 1, 12)
        assert (values[:, 0, FIRST:] == [1, 0, 0, 1, 0, 0]).all(), role


def test_the_dynamic_preset_shows_customers_and_the_others_what_the_paper_has():
    assert StackelbergGame.make_config("dynamic").observation == "customers"
    for name in set(StackelbergGame.presets) - {"dynamic", "literal"}:
        assert StackelbergGame.make_config(name).observation == "paper", name
