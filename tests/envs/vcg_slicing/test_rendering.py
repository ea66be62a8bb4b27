"""What the pictures of the slicing market show."""

from __future__ import annotations

import numpy as np
import pytest

from ioa_marl.envs import rendering
from ioa_marl.envs.vcg_slicing import render as vcg_slicing_render
from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame
from ioa_marl.markets.vcg_slicing.optimum import clarke_payments


def make(rounds=5, num_envs=1, policy="greedy", preset="paper", **settings):
    game = VCGSlicingGame(VCGSlicingGame.make_config(preset, **settings), num_envs, autoreset=False)
    game.reset(np.full(num_envs, 3, np.uint64))
    play = game.scripted(policy, "slice")
    for _ in range(rounds):
        game.step({"slice": play()})
    return game


@pytest.mark.parametrize("worth", [(1e-6, 1e9), (1e9, 1e9), (1e-6, 1e-6)])
@pytest.mark.parametrize("rounds", [0, 1])
def test_text_fits_whatever_the_unit_of_money(worth, rounds):
    for providers in (2, 100):
        lines = make(rounds, providers=providers, worth=worth).render("ansi").splitlines()
        assert max(map(len, lines)) <= rendering.COLUMNS


def test_payments_shown_are_those_of_the_last_round_not_of_reports_whose_round_is_not_played():
    game = VCGSlicingGame(VCGSlicingGame.make_config(rounds=4), 1, ("slice", "vsp"), autoreset=False)
    game.reset(np.full(1, 3, np.uint64))
    rng = np.random.default_rng(1)

    def step():
        game.step({"slice": rng.integers(0, 7, (1, 10, 3)), "vsp": rng.integers(0, 11, (1, 10))})

    assert "pay" not in game.render("ansi")
    step()  # reports
    assert "pay" not in game.render("ansi")
    assert game.render("rgb_array").shape == (720, 1080, 3)
    step()  # slices
    played, paid = game.render("ansi"), game.market.payment[0].copy()
    for i in range(10):
        row = next(line for line in played.splitlines() if line.startswith(f"vsp {i} "))
        assert float(row.split()[-1]) == pytest.approx(paid[i], abs=0.051)
    step()  # reports of the second round
    assert game.render("ansi") == played


def test_text_says_welfare_shares_and_payments():
    game = make(6)
    market = game.market
    outcome = clarke_payments(market.worth[0], market.rate[0])
    text = game.render("ansi")
    assert "round 6 of 50" in text
    assert f"welfare {market.utility[0].sum():,.2f} of {outcome.optimum.welfare:,.2f}" in text
    for i in range(10):
        row = next(line for line in text.splitlines() if line.startswith(f"vsp {i} "))
        cells = [x for pair in zip(market.share[0, i], outcome.optimum.shares[i], strict=True) for x in pair]
        pays = outcome.welfare_without[i] - (market.utility[0].sum() - market.utility[0, i])
        found = [float(word) for word in row.translate(str.maketrans("▕▏()█▉▊▋▌▍▎", " " * 11)).split()[2:]]
        np.testing.assert_allclose(found, [*cells, market.utility[0, i], pays], atol=0.06)


def test_figure_shows_bars_of_shares_marks_of_the_optimum_and_the_welfare_so_far():
    game = make(8)
    market = game.market
    best = clarke_payments(market.worth[0], market.rate[0]).optimum
    axes = vcg_slicing_render.figure(game).axes
    assert [a.get_title(loc="left") for a in axes[:3]] == ["bandwidth", "computing", "cache"]
    for resource in range(3):
        bars = sorted(bar.get_width() for bar in axes[resource].patches)
        np.testing.assert_allclose(bars, np.sort(market.share[0, :, resource]))
        marks = sorted(segment[0][0] for segment in axes[resource].collections[0].get_segments())
        np.testing.assert_allclose(marks, np.sort(best.shares[best.shares[:, resource] > 1e-6, resource]))
    curve = max((line.get_ydata() for line in axes[3].lines), key=len)
    np.testing.assert_allclose(curve, market.history[0, :9])


def test_sentence_counts_those_who_pay_too_much():
    game = make(0)
    assert "10 pay more than the slice is worth" in game.render("ansi")
    game = make(30, policy="oracle")
    assert "nobody pays more than the slice is worth" in game.render("ansi")


def test_large_markets_leave_payments_out():
    text = make(1, providers=2001, slice_reward="increment").render("ansi")
    assert "pay" not in text.splitlines()[1]
    assert "1985 more" in text


def test_market_before_its_reset_renders():
    game = VCGSlicingGame(VCGSlicingGame.make_config("paper"))
    assert game.render("rgb_array").shape == (720, 1080, 3)
    assert "round 0 of 50" in game.render("ansi")


def test_with_a_bank_pictures_show_what_was_bid_and_charged_and_only_who_is_there():
    config = VCGSlicingGame.make_config(mechanism="dual_currency", fewest_providers=4, profit_deviation=0.0)
    game = VCGSlicingGame(config, 3, ("slice", "vsp"), autoreset=False)
    game.reset(np.zeros(3, np.uint64))
    steer = game.scripted("greedy", "slice")
    assert "bids" not in game.render("ansi", 1)  # nothing is bid yet
    for _ in range(4):
        game.step({"slice": steer(), "vsp": np.full((3, 10), config.multipliers.index(1.5))})
    bank, count = game.bank.bank, int(game.market.present[1])
    assert count < 10
    lines = game.render("ansi", 1).splitlines()
    assert max(map(len, lines)) <= 100
    ratio = bank.total_bid[1] / game.market.optimum[1]
    assert lines[2] == f"bids are {ratio:.1%} of the largest welfare, which moves shares by {game.market.spread[1]:.1g}"
    rows = [line for line in lines if line.startswith("vsp ")]
    assert len(rows) == count
    charged = bank.tax[1, :count] / bank.profit_rate[1, :count]  # without fluctuation the bank's rates are exact
    assert sorted(float(row.split()[-1]) for row in rows) == pytest.approx(sorted(charged), abs=0.06)
    assert game.render("rgb_array", 1).shape[2] == 3
