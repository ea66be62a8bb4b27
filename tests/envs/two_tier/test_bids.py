"""Bids of fixed and aerial agents as decisions: truth by default, and what other bids change."""

import numpy as np
import pytest

from ioa_marl.envs.two_tier.game import TwoTierGame
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.double_dutch.auction import simulate

ROLES = TwoTierGame.default_controlled_roles
BIDDERS = ("buyer", "seller")
SMALL = {"wireless": 12, "mobile": 6, "fixed": 6, "aerial": 6, "capacity": (0.1, 2.0), "rounds": 4}


def started(num_envs=4, roles=ROLES, **settings):
    game = TwoTierGame(TwoTierGame.make_config(**{**SMALL, **settings}), num_envs, roles, autoreset=False)
    game.reset(np.arange(num_envs, dtype=np.uint64))
    return game


def to_the_auction(game, factors, pair):
    """Play to the end of a round with the multipliers of all bidders; return its valuations and the step."""
    config, n = game.config, game.num_envs
    actions = {role: game.scripted("scripted_margin", role)() for role in ("mobile", "fixed")}
    choices = np.searchsorted(config.multipliers, factors)
    actions |= {role: choices[:, side] for side, role in enumerate(BIDDERS)}
    actions["auctioneer"] = np.full((n, 1, 2), pair)
    for _ in range(3):
        step = game.step(actions)
    return game.whole.tier.bids[np.arange(n), game.market.round - 1], step


@pytest.mark.parametrize("dynamics", [False, True])
def test_truthful_choices_leave_every_number_as_it_is(dynamics):
    kept, chosen = started(dynamics=dynamics), started(dynamics=dynamics, bids="chosen")
    assert set(chosen.roles) - set(kept.roles) == set(BIDDERS)
    while True:
        steps = []
        for game in (kept, chosen):
            actions = {role: game.scripted(game.roles[role].scripted, role)() for role in ROLES}
            steps.append(game.step(actions))
        for role in ROLES:
            np.testing.assert_array_equal(steps[0].rewards[role], steps[1].rewards[role])
            np.testing.assert_array_equal(steps[0].observations[role], steps[1].observations[role])
        if steps[0].truncated.all():
            break
    for name, values in steps[0].metrics.items():
        np.testing.assert_array_equal(values, steps[1].metrics[name])


def test_the_auction_of_a_round_is_that_of_the_bids_and_gains_are_those_of_the_valuations():
    game, rng, trades = started(12, (*ROLES, *BIDDERS), bids="chosen"), np.random.default_rng(3), 0
    config = game.config
    for pair in (2, 5):
        factors = rng.choice(config.multipliers, (12, 2, 6))
        valuations, step = to_the_auction(game, factors, pair)
        for b in range(12):
            present = [np.flatnonzero(valuations[b, side] >= 0.0) for side in range(2)]
            if not all(len(side) for side in present):
                continue
            bids = [(valuations[b, side] * factors[b, side])[present[side]] for side in range(2)]
            result = simulate(*bids, config.steps[pair], tick=config.tick, buyer_clock=20.0, seller_clock=0.0)
            gains = np.zeros((2, 6))
            buyers, sellers = (present[0][list(result.buyers)], present[1][list(result.sellers)])
            gains[0, buyers] = valuations[b, 0, buyers] - result.price
            gains[1, sellers] = result.price - valuations[b, 1, sellers]
            for side, role in enumerate(BIDDERS):
                np.testing.assert_allclose(step.rewards[role][b], gains[side], atol=1e-5)
            welfare = valuations[b, 0, buyers].sum() - valuations[b, 1, sellers].sum()
            assert game.whole.auction.totals["welfare"][b] == pytest.approx(welfare)
            trades += result.trades
    assert trades > 10


def test_the_auctioneers_regret_is_that_against_the_bids_that_were_made():
    game = started(6, (*ROLES, *BIDDERS), bids="chosen")
    chosen = {"mobile": ("scripted_margin", {}), "fixed": ("scripted_margin", {}), "auctioneer": ("oracle", {})}
    chosen |= {"buyer": ("multiplied", {"factor": 0.7}), "seller": ("multiplied", {"factor": 1.4})}
    policies = {role: game.scripted(name, role, **settings) for role, (name, settings) in chosen.items()}
    while not (step := game.step({role: policy() for role, policy in policies.items()})).truncated.all():
        pass
    assert step.metrics["auctions"].min() > 0.0
    np.testing.assert_allclose(step.metrics["auction_regret"], 0.0, atol=1e-9)
    assert (game.whole.tier.factors[:, :, 0].min(axis=(1, 2)) == 0.7).all()


def test_only_bidders_that_take_part_are_active_and_only_in_their_phase():
    game = started(6, (*ROLES, *BIDDERS), bids="chosen", capacity=(0.1, 40.0))
    actions = {role: game.scripted(game.roles[role].scripted, role)() for role in game.controlled_roles}
    step = game.step(actions)
    valuations = game.whole.auction.valuation
    for side, role in enumerate(BIDDERS):
        np.testing.assert_array_equal(step.active[role], step.observations[role][..., 8] == 1.0)
        np.testing.assert_allclose(step.observations[role][..., 7], valuations[:, side] / 20.0, rtol=1e-5)
    assert 0 < step.active["buyer"].sum() < step.active["buyer"].size
    assert not step.active["mobile"].any()
    step = game.step(actions)
    assert not step.active["buyer"].any()
    assert step.active["auctioneer"].all()


def test_bidders_need_the_setting_and_bids_are_among_the_multipliers():
    with pytest.raises(ParameterError, match="controlled_roles"):
        started(roles=("buyer",))
    with pytest.raises(ParameterError, match=r"^factor=0.75 is not allowed: use one of 0.5, 0.6"):
        started(bids="chosen").scripted("multiplied", "seller", factor=0.75)
    for changes in ({"bids": "free"}, {"multipliers": (0.5, 0.9)}, {"multipliers": (1.0, 0.5)}):
        with pytest.raises(ParameterError, match=f"^{next(iter(changes))}="):
            TwoTierGame.make_config(**changes)
