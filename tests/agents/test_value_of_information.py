"""The networks that value information: each market and provider for itself, and fitting what bills say."""

import numpy as np
import pytest

from ioa_marl.agents.networks.value_of_information import ValueNetworks

rng = np.random.default_rng(0)
HELD, CHANGE = rng.uniform(0.3, 2.0, (3, 40, 4, 3)), rng.choice([-0.3, 0.0, 0.3], (3, 40, 4, 3))
UTILITY = 1 - np.exp(-(HELD * (1 + CHANGE) * [0.5, 0.1, 0.3]).sum(axis=-1))
KNOWN = np.ones((3, 40), np.bool_)
KEYS = np.array([[1, 0, 0], [1, 1, 0], [2, 0, 5]], np.uint64)


def trained(rows, steps=1, keys=KEYS):
    networks = ValueNetworks(len(rows), 4)
    every = np.arange(len(rows))
    networks.open(every, keys[rows])
    networks.learn(every, HELD[rows], CHANGE[rows], UTILITY[rows], KNOWN[rows], steps)
    return networks


def test_they_fit_utilities_of_changes_they_have_not_seen():
    """Trained on 30 bills for 800 steps, mean error on the other 10 below 0.04; the spread is above 0.1."""
    networks = ValueNetworks(3, 4)
    networks.open(np.arange(3), KEYS)
    networks.learn(np.arange(3), HELD[:, :30], CHANGE[:, :30], UTILITY[:, :30], KNOWN[:, :30], 800)
    new = [networks.estimate(np.arange(3), HELD[:, j], CHANGE[:, j]) for j in range(30, 40)]
    error = np.abs(np.stack(new, axis=1) - UTILITY[:, 30:]).mean()
    assert error < 0.04
    assert UTILITY.std() > 0.1


def test_a_market_is_the_same_whatever_markets_are_beside_it():
    together, alone = trained(np.arange(3), 20), trained(np.array([1]), 20)
    for name, array in together.arrays().items():
        assert np.array_equal(array[1], alone.arrays()[name][0]), name


def test_one_step_is_adams_first_step_along_the_gradient_of_the_mean_squared_error():
    """Adam's first step moves every weight by the learning rate, against the sign of its gradient."""
    before, after = trained(np.arange(3), 0).arrays(), trained(np.arange(3), 1).arrays()
    moved = after["weight_b2"][..., 0, 0] - before["weight_b2"][..., 0, 0]
    assert np.abs(moved) == pytest.approx(0.01, rel=1e-3)
    hidden = ValueNetworks(3, 4)
    for name, array in hidden.arrays().items():
        array[...] = before[name]
    found = np.stack([hidden.estimate(np.arange(3), HELD[:, j], CHANGE[:, j]) for j in range(40)], axis=1)
    assert np.array_equal(np.sign(moved), -np.sign((found - UTILITY).mean(axis=1)))


def test_bills_that_are_not_there_do_not_count():
    known = np.arange(40) < np.array([[10], [20], [40]])
    spoilt = np.where(known[..., None], UTILITY, 1e3)
    one, other = trained(np.arange(3), 0), trained(np.arange(3), 0)
    one.learn(np.arange(3), HELD, CHANGE, spoilt, known, 5)
    for b, count in enumerate((10, 20, 40)):
        other.learn(np.array([b]), HELD[b : b + 1, :count], CHANGE[b : b + 1, :count], UTILITY[b : b + 1, :count],
                    np.ones((1, count), np.bool_), 5)  # fmt: skip
    for name, array in one.arrays().items():
        assert array == pytest.approx(other.arrays()[name], rel=1e-4, abs=1e-6), name


def test_markets_that_open_anew_leave_the_others_alone():
    networks = trained(np.arange(3), 5)
    before = {name: array.copy() for name, array in networks.arrays().items()}
    networks.open(np.array([1]), KEYS[1:2])
    fresh = trained(np.arange(3), 0).arrays()
    for name, array in networks.arrays().items():
        assert np.array_equal(array[[0, 2]], before[name][[0, 2]]), name
        assert np.array_equal(array[1], fresh[name][1]), name
