"""Means of metrics that have no value in some episodes."""

import math

import numpy as np
import pytest

from ioa_marl.evaluation import score
from ioa_marl.evaluation.averages import mean_metrics, mean_of_episodes


def test_a_mean_is_over_the_episodes_with_a_value_and_says_how_many_they_are():
    episodes = {"price": np.array([3.0, np.nan, 5.0]), "welfare": np.array([1.0, 2.0, 6.0])}
    assert mean_metrics(episodes) == {"price": 4.0, "price_episodes": 2.0, "welfare": 3.0}


def test_a_metric_without_any_value_has_no_mean():
    assert math.isnan(mean_of_episodes([np.nan, np.nan]))
    means = mean_metrics({"price": [np.nan, np.nan]})
    assert math.isnan(means["price"])
    assert means["price_episodes"] == 0.0


def test_a_scored_metric_without_a_value_is_not_averaged_away():
    assert math.isnan(mean_metrics({"return": [1.0, np.nan]}, scored=["return"])["return"])


def test_without_gaps_the_mean_is_that_of_the_array_to_the_bit():
    values = np.random.default_rng(0).normal(size=1001)
    assert mean_of_episodes(values) == mean_metrics({"x": values})["x"] == float(values.mean())


def test_mean_price_of_an_auctioneer_is_over_the_episodes_with_a_trade():
    small = {"buyers": 1, "sellers": 1}
    result = score("ioa_marl/double_dutch-v0", lambda o: np.full(len(o), 9), episodes=40, **small)
    traded = result.episodes["trades"][0] > 0
    assert 0 < traded.sum() < 40
    assert np.array_equal(np.isnan(result.episodes["price"][0]), ~traded)
    assert result.metrics["price"] == pytest.approx(result.episodes["price"][0][traded].mean())
    assert result.metrics["price_episodes"] == traded.sum()
