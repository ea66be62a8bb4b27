"""The scripted policy ``qvcg``: it steers to the quantised optimum of the reports."""

from __future__ import annotations

import numpy as np
import pytest

from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.vcg_slicing.quantised.auction import quantised_optimum


def opened(num_envs, controlled_roles=("slice",), instances=None, **settings):
    game = VCGSlicingGame(VCGSlicingGame.make_config("paper", **settings), num_envs, controlled_roles, autoreset=False)
    given = np.arange(num_envs) if instances is None else np.asarray(instances)
    game.reset(np.full(num_envs, 3, np.uint64), instances=given.astype(np.uint64))
    return game


@pytest.mark.parametrize("quanta", [5, 20])
def test_it_ends_at_the_quantised_optimum_of_each_market(quanta):
    game = opened(4, instances=[0, 1, 0, 2], providers=5)
    policy = game.scripted("qvcg", "slice", quanta=quanta)
    step = game.step({"slice": policy()})
    while not (step.terminated | step.truncated).all():
        step = game.step({"slice": policy()})
    for b in range(4):
        target = quantised_optimum(game.market.worth[b], game.market.rate[b], quanta)
        assert np.abs(game.market.share[b] - target.shares)[target.shares > 0].max() < 0.2
        reached = step.metrics["final_ratio"][b] * step.metrics["optimal_welfare"][b]
        assert reached == pytest.approx(target.welfare, rel=0.01)


def test_it_follows_what_is_reported_as_it_changes_and_solves_each_market_by_its_own_reports():
    game = opened(3, ("slice", "vsp"), instances=[0, 0, 1], providers=4, rounds=3)
    policy, rng = game.scripted("qvcg", "slice", quanta=6), np.random.default_rng(0)
    changed = 0
    for _ in range(6):
        actions, market = policy(), game.market
        wanted = np.stack(
            [quantised_optimum(market.worth[b] * market.multiplier[b], market.rate[b], 6).shares for b in range(3)]
        )
        steps = np.log1p(game.config.changes)
        ratio = np.log(np.maximum(wanted, 1e-300) / market.share)
        nearest = np.abs(ratio[..., None] - steps).argmin(axis=-1)
        np.testing.assert_array_equal(actions, nearest)
        before = market.multiplier.copy()
        game.step({"slice": actions, "vsp": rng.integers(0, len(game.config.multipliers), (3, 4))})
        changed += np.any(before != game.market.multiplier)
    assert changed >= 3


@pytest.mark.parametrize("quanta", [0, 2.5, 10_000])
def test_numbers_of_units_that_mean_nothing_are_refused_by_name(quanta):
    with pytest.raises(ParameterError, match="quanta"):
        opened(1).scripted("qvcg", "slice", quanta=quanta)
