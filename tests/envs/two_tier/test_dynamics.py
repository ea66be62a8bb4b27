"""A dynamic two-tier market as a game: its references follow the conditions of the round, and so do its figures."""

import numpy as np

from ioa_marl.envs.two_tier.game import TwoTierGame
from ioa_marl.markets.two_tier.equilibrium import solve_equilibrium

ROLES = TwoTierGame.default_controlled_roles
SMALL = {"wireless": 6, "mobile": 3, "fixed": 3, "aerial": 4, "capacity": (0.5, 12.0), "rounds": 5}
COURSE = ("price_change", "share_stability", "quality_of_experience")


def started(num_envs=3, **settings):
    game = TwoTierGame(TwoTierGame.make_config(**{**SMALL, "dynamics": True, **settings}), num_envs, autoreset=False)
    game.reset(np.arange(num_envs, dtype=np.uint64))
    return game


def test_leaders_at_the_reference_leave_the_nash_conv_of_each_rounds_own_solution():
    game, total, posted = started(), np.zeros(3), []
    policies = {role: game.scripted("oracle", role) for role in ROLES}
    for _ in range(5):
        solved = [solve_equilibrium(game.config, game.whole, 51, b) for b in range(3)]
        total += [solution.total for solution in solved]
        posted.append([solution.prices for solution in solved])
        for _ in range(2):
            step = game.step({role: policy() for role, policy in policies.items()})
    assert (np.ptp(posted, axis=0) > 0).any(), "conditions differ, and so do the references"
    found = step.metrics["mobile_regret"] + step.metrics["fixed_regret"]
    np.testing.assert_allclose(found, total / 5, atol=1e-9)


def test_only_a_dynamic_market_measures_what_changes_and_constant_prices_do_not():
    still = TwoTierGame(TwoTierGame.make_config(**SMALL))
    assert not set(COURSE) & set(still.metric_names)
    game = started(rounds=4)
    assert game.metric_names == (*still.metric_names, *COURSE)
    actions = {"mobile": np.full((3, 3), 10), "fixed": np.full((3, 3), 15), "auctioneer": np.full((3, 1, 2), 5)}
    while not (step := game.step(actions)).truncated.all():
        pass
    assert not step.metrics["price_change"].any()
    assert ((step.metrics["share_stability"] > 0.3) & (step.metrics["share_stability"] < 1.0)).all()
    assert (step.metrics["quality_of_experience"] > 30.0).all()
    assert (step.metrics["participation"] <= 1.0).all()


def test_leaders_can_see_the_tasks_of_their_customers_and_a_fixed_agent_its_capacity():
    game = started(observation="customers")
    seen, _ = game.next_episode() if game.market.cycles.any() else game.reset(np.arange(3, dtype=np.uint64))
    assert seen["mobile"].shape == (3, 3, 18)
    assert seen["fixed"].shape == (3, 3, 19)
    state = game.market
    tasks = np.rint(state.traits["load"] / state.nominal["load"]).astype(int)
    for b, i in np.ndindex(3, 3):
        members = state.member[b, 0, state.start[b, 0, i] : state.start[b, 0, i + 1]]
        flags = seen["mobile"][b, i, 6:].reshape(2, 6)[:, :3]
        for n, flag in zip(members, flags, strict=True):
            np.testing.assert_array_equal(flag, np.arange(1, 4) == tasks[b, n])
    np.testing.assert_allclose(seen["fixed"][..., 18], game.whole.tier.capacity / (2 * 33.0), rtol=1e-6)
