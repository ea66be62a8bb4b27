"""What the slicing market's parameters refuse, what it draws, and how an allocation changes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.vcg_slicing.baselines import utilities
from ioa_marl.markets.vcg_slicing.kernels import open_markets, play_slices
from ioa_marl.markets.vcg_slicing.params import PRESETS, SLICE_REWARDS, SlicingParams, allocate_market, preset

INF, NAN = math.inf, math.nan


def opened(params, markets, seed=3, instance=None, episode=0):
    """Markets of the streams 0, 1, 2, … of one seed; instances 0, 1, 2, … unless one is given."""
    state = allocate_market(markets, params)
    state.seed[:], state.stream[:], state.episode[:] = seed, np.arange(markets), episode
    state.instance[:] = np.arange(markets) if instance is None else instance
    open_markets(state, params.record(), np.ones(markets, np.bool_))
    return state


def play(params, state, actions, vsps=False):
    """Play one round; returns the slices' rewards, the providers' rewards and who terminated."""
    markets, n = state.worth.shape
    rewards = np.zeros((markets, n), np.float32), np.zeros((markets if vsps else 0, n), np.float32)
    terminated = np.zeros(markets, np.bool_)
    record = params.record(("slice", "vsp") if vsps else ("slice",))
    play_slices(
        state, record, np.array(params.changes), np.ones(markets, np.bool_), actions,
        np.zeros((0, n, 3)), *rewards, terminated,
    )  # fmt: skip
    return (*rewards, terminated)


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("providers", {"providers": 0}),
        ("providers", {"providers": 2.5}),
        ("rounds", {"rounds": 0}),
        ("worth", {"worth": (200.0, 100.0)}),
        ("worth", {"worth": (0.0, 100.0)}),
        ("worth", {"worth": (1.0, INF)}),
        ("worth", {"worth": (1.0,)}),
        ("rate", {"rate": (-1.0, 1.0)}),
        ("rate", {"rate": (0.0, NAN)}),
        ("rate", {"rate": (0.0, 0.0)}),
        ("rate", {"rate": (0.0, 5e-5)}),
        ("start_spread", {"start_spread": (0.0, 1.0)}),
        ("changes", {"changes": (-0.3, 0.3)}),
        ("changes", {"changes": (-1.0, 0.0)}),
        ("changes", {"changes": (0.1, 0.0)}),
        ("changes", {"changes": ()}),
        ("multipliers", {"multipliers": (0.0, 1.0)}),
        ("multipliers", {"multipliers": (0.5, 1.5)}),
        ("floor", {"floor": 0.0}),
        ("floor", {"floor": 1.5}),
        ("reward_scale", {"reward_scale": NAN}),
        ("slice_reward", {"slice_reward": "welfare"}),
        ("slice_reward", {"providers": 10_000}),
        ("redraw", {"redraw": "always"}),
    ],
)
def test_an_error_names_the_key_its_value_and_what_is_allowed(key, changes):
    with pytest.raises(ParameterError) as error:
        preset("paper", **changes)
    assert error.value.name == key
    message = str(error.value)
    assert message.startswith(f"{key}={error.value.value} is not allowed: use ")
    assert "\n" not in message


def test_unknown_keys_and_presets_are_named():
    with pytest.raises(ParameterError, match=r"agents=3 is not allowed: use one of the settings .*providers"):
        preset("paper", agents=3)
    with pytest.raises(ParameterError, match="preset=papers is not allowed: use paper, n20"):
        preset("papers")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_made(name):
    params = preset(name)
    assert params.changes[params.hold] == 0.0
    assert params.multipliers[params.truth] == 1.0


def test_types_and_starting_shares_are_uniform_as_documented():
    state = opened(SlicingParams(), 500)
    assert kstest(state.worth.ravel(), "uniform", args=(100, 100)).pvalue > 1e-3
    assert kstest(state.rate.ravel(), "uniform", args=(0, 10)).pvalue > 1e-3
    many = opened(SlicingParams(providers=2000), 1)
    # With many providers rescaling a column divides by nearly 1.
    assert kstest(many.share.ravel() * 2000, "uniform", args=(0.5, 1.0)).pvalue > 1e-3
    np.testing.assert_allclose(state.share.sum(axis=1), 1.0, atol=1e-12)
    columns = np.column_stack([state.worth.ravel(), state.rate.reshape(-1, 3), state.share.reshape(-1, 3)])
    assert np.abs(np.corrcoef(columns.T) - np.eye(7)).max() < 0.06


def test_types_belong_to_the_instance_and_starting_shares_to_seed_stream_and_episode():
    params = SlicingParams()
    first, again = opened(params, 4, seed=1, instance=7), opened(params, 4, seed=2, instance=7, episode=3)
    np.testing.assert_array_equal(first.worth, again.worth)
    np.testing.assert_array_equal(first.rate, again.rate)
    assert np.all(first.worth == first.worth[0])
    assert not np.any(first.share == again.share)
    assert not np.any(first.share[0] == first.share[1])
    assert not np.any(first.worth == opened(params, 4, seed=1, instance=8).worth)


def test_redraw_gives_every_episode_and_stream_types_of_its_own():
    params = SlicingParams(redraw="episode")
    first, later = opened(params, 3), opened(params, 3, episode=1)
    assert len(np.unique(np.concatenate([first.worth, later.worth]))) == 60
    np.testing.assert_array_equal(first.worth, opened(params, 3, instance=5).worth)


def test_a_change_is_relative_has_a_floor_and_columns_are_rescaled():
    params = SlicingParams(providers=3, floor=0.3)
    state = opened(params, 1)
    state.share[0] = [[0.1, 0.5, 0.2], [0.3, 0.3, 0.2], [0.6, 0.2, 0.6]]
    actions = np.full((1, 3, 3), params.hold)
    actions[0, 0, 0] = params.changes.index(-0.3)  # 0.07 is below the floor 0.3 / 3
    actions[0, 1, 1] = params.changes.index(0.3)
    play(params, state, actions)
    expected = np.array([[0.1, 0.5, 0.2], [0.3, 0.39, 0.2], [0.6, 0.2, 0.6]])
    np.testing.assert_allclose(state.share[0], expected / expected.sum(axis=0))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10**6), st.integers(1, 8))
def test_resources_are_conserved_whatever_is_done(providers, seed, rounds):
    params = SlicingParams(providers=providers)
    state = opened(params, 2, seed=seed)
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        play(params, state, rng.integers(0, 7, (2, providers, 3)))
        assert np.all(state.share > 0)
        np.testing.assert_allclose(state.share.sum(axis=1), 1.0, atol=1e-12)
        np.testing.assert_allclose(state.utility, utilities(state.worth, state.rate, state.share), rtol=1e-12)


@pytest.mark.parametrize("kind", SLICE_REWARDS)
def test_slice_rewards_are_what_they_are_called(kind):
    params = SlicingParams(slice_reward=kind, reward_scale=4.0, providers=5, floor=0.5)
    state = opened(params, 1, seed=9)
    state.multiplier[0] = [0.5, 1.0, 1.5, 1.0, 0.7]
    before, actions = state.share[0].copy(), np.random.default_rng(1).integers(0, 7, (1, 5, 3))
    worth, rate = state.worth[0], state.rate[0]
    rewards, _, _ = play(params, state, actions)

    def welfare_of(chosen):
        raw = np.maximum(before * (1 + np.array(params.changes)[chosen]), 0.5 / 5)
        return utilities(worth, rate, raw / raw.sum(axis=0)).sum()

    after = utilities(worth, rate, state.share[0])
    if kind == "difference":
        expected = []
        for i in range(5):
            other = actions[0].copy()
            other[i] = params.hold
            expected.append(4 * (welfare_of(actions[0]) - welfare_of(other)))
    else:
        expected = {
            "increment": 4 * (after.sum() - utilities(worth, rate, before).sum()),
            "utility": after.sum(),
            "bids": (state.multiplier[0] * after).sum(),
            "own": 5 * after,
        }[kind]
    np.testing.assert_allclose(rewards[0], np.broadcast_to(np.array(expected) / worth.sum(), 5), rtol=1e-5, atol=1e-7)


def test_episodes_end_after_their_rounds():
    params = SlicingParams(rounds=3)
    state = opened(params, 1)
    hold = np.full((1, 10, 3), params.hold)
    assert [bool(play(params, state, hold)[2][0]) for _ in range(3)] == [False, False, True]


def test_frozen_parameters_compare_and_hash_by_value():
    assert SlicingParams(worth=[100, 200]) == SlicingParams() == preset("paper")
    assert len({preset("paper"), SlicingParams(), preset("n20")}) == 2
