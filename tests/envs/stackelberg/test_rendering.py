"""What the pictures of the Stackelberg market show."""

from __future__ import annotations

import numpy as np
import pytest

from ioa_marl.envs.stackelberg import render
from ioa_marl.envs.stackelberg.game import StackelbergGame
from ioa_marl.markets.stackelberg.equilibrium import answer_to, nash_conv


def make(rounds=3, preset="city", policy="cost_plus", **settings):
    game = StackelbergGame(StackelbergGame.make_config(preset, **settings), 1, autoreset=False)
    game.reset(np.array([5], np.uint64))
    play = {role: game.scripted(policy, role) for role in game.controlled_roles}
    for _ in range(rounds):
        game.step({role: act() for role, act in play.items()})
    return game


def test_text_says_prices_sales_profits_and_shares():
    game = make(preset="scarce", policy="posted_pair")
    market, config = game.market, game.config
    prices = market.price[0, 0, :3], market.price[0, 1, :3]
    outcome, regret = answer_to(config, market, *prices), nash_conv(config, market, *prices)
    text = game.render("ansi")
    assert "round 3 of 20" in text
    assert f"could gain {regret.total:,.2f}" in text
    for side, name in enumerate(("mobile", "fixed")):
        for leader in range(3):
            words = next(line for line in text.splitlines() if line.startswith(f"{name} {leader}")).split()
            sold, profit = getattr(outcome, f"{name}_sales")[leader], getattr(outcome, f"{name}_profits")[leader]
            expected = [prices[side][leader], market.cost[0, side, leader], sold, profit]
            np.testing.assert_allclose([float(word) for word in words[2:6]], expected, atol=0.051)
    for n in range(12):
        line = next(line for line in text.splitlines() if line.startswith(f"w{n} "))
        assert ("buys nothing" in line) == (not outcome.buys[n])
        if outcome.buys[n]:
            assert f"{outcome.shares[n]:.0%}" in line


def test_figure_marks_posted_prices_on_demand_curves_that_fall():
    game = make()
    mobile, fixed, shares, profits = render.figure(game).axes
    for side, axes in enumerate((mobile, fixed)):
        curves = [line for line in axes.lines if len(line.get_xdata()) > 2]
        assert len(curves) == 3
        for curve in curves:
            assert np.all(np.diff(curve.get_ydata()) <= 1e-9)
        dots = sorted(line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o")
        np.testing.assert_allclose(dots, np.sort(game.market.price[0, side, :3]))
    widths = [bar.get_width() for bar in shares.patches if bar.get_width() > 0]
    assert sum(widths) == pytest.approx(game.market.buys.sum())
    filled = [bar.get_width() for bar in profits.patches if bar.get_facecolor()[3] > 0]
    np.testing.assert_allclose(filled, game.market.profit[0, :, :3].ravel())


def test_with_handover_the_pictures_show_from_whom_a_wireless_agent_has_bought():
    """Its leader in the next round is another one already."""
    game = make(preset="dynamic", policy="posted_pair", mobile_radius=10.0, fixed_radius=10.0)
    market = game.market
    sold = np.zeros((2, 3))
    for line in game.render("ansi").splitlines():
        words = line.split()
        if not line.startswith("w") or "nothing" in line:
            continue
        # The workloads of the last round are gone, so only who sold at all can be compared.
        sold[0, int(words[2])] += float(words[3].rstrip("%"))
        sold[1, int(words[-2])] += float(words[-4].rstrip("%"))
    assert np.array_equal(sold > 0.0, market.sales[0] > 0.1)
    present = np.zeros((2, 3))
    for n in np.flatnonzero(market.buys[0]):
        present[0, market.reach[0, 0, n]] += market.share[0, n]
        present[1, market.reach[0, 1, n]] += 1.0 - market.share[0, n]
    assert not np.array_equal(present > 0.0, market.sales[0] > 0.1), "the links of the next round would be wrong"
