"""Pictures of the two-tier market show the market's own numbers at every stage."""

import numpy as np
import pytest

from ioa_marl.envs.two_tier import render
from ioa_marl.envs.two_tier.game import TwoTierGame
from ioa_marl.markets.double_dutch.kernels import BUYERS


def played(steps, preset="paper", num_envs=1, **changes):
    game = TwoTierGame(TwoTierGame.make_config(preset, **changes), num_envs, autoreset=False)
    game.reset(np.full(num_envs, 2, np.uint64))
    policies = {role: game.scripted(game.roles[role].scripted, role) for role in game.controlled_roles}
    for _ in range(steps):
        game.step({role: policy() for role, policy in policies.items()})
    return game


def test_bars_of_a_fixed_agent_are_its_load_and_stop_where_they_should():
    game = played(6)
    axes = render.figure(game).axes
    loads = next(x for x in axes if x.get_ylabel().startswith("load"))
    tier, tops = game.whole.tier, np.zeros(10)
    heights = {"own": loads.containers[0], "bought": loads.containers[1]}
    for bar in (bar for container in loads.containers for bar in container):
        j = round(bar.get_x() + bar.get_width() / 2)
        tops[j] = max(tops[j], bar.get_y() + bar.get_height())
    np.testing.assert_allclose(tops, tier.load[0], atol=1e-12)
    own = [bar.get_height() for bar in heights["own"]]
    np.testing.assert_allclose(own, np.minimum(tier.load[0], tier.capacity[0]))
    bought = [bar.get_height() > 0.0 for bar in heights["bought"]]
    np.testing.assert_array_equal(bought, tier.partner[0] >= 0)
    assert any(bought)


def test_the_auction_is_drawn_in_its_own_units_with_the_clearing_price():
    game = played(6)
    auction = game.whole.auction
    axes = next(x for x in render.figure(game).axes if x.get_ylabel() == "price per lot")
    curves = [tuple(line.get_ydata()) for line in axes.lines]
    for side in range(2):
        bidders = auction.order[0, side, : auction.size[0, side]]
        valuations = np.sort(auction.valuation[0, side, bidders])[:: -1 if side == BUYERS else 1]
        assert tuple(np.repeat(valuations, 2)) in curves
    price = auction.totals[0].price
    assert (price, price) in [curve for curve in curves if len(curve) == 2]
    assert f"clearing\nprice\n{price:,.2f}" in [text.get_text() for text in axes.texts]


def test_text_says_what_was_posted_and_what_came_of_it():
    game = played(6)
    text, market, tier = game.render("ansi"), game.market, game.whole.tier
    assert "round 3 of 20" in text
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.startswith("  ")}
    cells = [float(cell) for cell in rows["4"][1:]]  # the last table is that of the fixed agents
    expected = [market.price[0, 1, 4], market.cost[0, 1, 4], market.sales[0, 1, 4], market.profit[0, 1, 4]]
    assert cells[:6] == pytest.approx([*expected, tier.load[0, 4], tier.capacity[0, 4]], abs=0.006)
    assert f"trades {int(game.whole.auction.totals[0].trades)} " in text
    assert "wait for the auctioneer" in played(5).render("ansi")
