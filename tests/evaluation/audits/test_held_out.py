"""The choice of deviations on other markets than those on which they are measured."""

from __future__ import annotations

import numpy as np
import pytest

from ioa_marl.evaluation.audits.held_out import held_out_gain, ratio_error, search_factors


def test_an_honest_choice_of_deviations_is_not_inflated_by_their_number():
    # 200 deviations without any effect: the best of them on the same markets seems to gain, on others it does not.
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((200, 400))
    assert noise.mean(axis=1).max() > 2.0 / np.sqrt(400)
    found = held_out_gain(noise, np.zeros(400))
    assert abs(found.mean) < 3.0 * found.standard_error
    assert held_out_gain(-np.abs(noise), np.zeros(400)).mean == 0.0


def test_a_deviation_that_gains_is_found_with_its_whole_gain():
    rng = np.random.default_rng(0)
    truth = rng.random(50)
    utilities = np.stack([truth - 0.1, truth + 0.5 + 0.1 * rng.standard_normal(50), truth])
    found = held_out_gain(utilities, truth)
    assert found.chosen == (1, 1)
    np.testing.assert_allclose(found.gains, utilities[1] - truth)
    assert found.how(["a", "b", "c"]) == "b"
    assert held_out_gain(utilities[[0, 2]], truth).how(["a", "c"]) == ""


def test_refinement_finds_a_factor_between_those_of_the_grid():
    def play(tried, what):
        # The utility of bidder i has its peak at 1.25 + i/10.
        return {i: np.array([[-((factor - 1.25 - i / 10) ** 2)] * 3 for factor in some]) for i, some in tried.items()}

    grid = [0.5, 1.2, 1.4, 2.0]
    tried, utilities = search_factors(play, [0, 1], grid, True)
    assert [tried[i][int(utilities[i].mean(axis=1).argmax())] for i in (0, 1)] == [1.25, 1.35]
    coarse, _ = search_factors(play, [0, 1], grid, False)
    assert coarse == {0: grid, 1: grid}


def test_the_standard_error_of_a_ratio_is_that_of_its_repetition():
    rng = np.random.default_rng(1)
    bottoms = 5.0 + rng.standard_normal((400, 100))
    tops = 0.3 * bottoms + rng.standard_normal((400, 100))
    found = [ratio_error(top, bottom) for top, bottom in zip(tops, bottoms, strict=True)]
    ratios, errors = np.array(found).T
    assert ratios.mean() == pytest.approx(0.3, abs=0.005)
    assert errors.mean() == pytest.approx(ratios.std(), rel=0.15)
    assert np.isnan(ratio_error([1.0, 2.0], [0.0, 0.0])).all()
