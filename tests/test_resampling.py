"""Intervals cover what they promise, and infinities stay where they belong."""

import numpy as np

from icl.resampling import apply, limits, mean_interval, mean_intervals, median_limits, resamples, weighted


def test_bootstrap_and_rank_intervals_cover():
    rng = np.random.default_rng(0)
    weights, inside, inside_median = resamples(60), 0, 0
    low, high = median_limits(60)
    for _ in range(400):
        sample = rng.exponential(size=60)
        ends = limits(weights @ sample.astype(np.float32))
        inside += ends[0] < 1 < ends[1]
        ordered = np.sort(sample)
        inside_median += ordered[low] < np.log(2) < ordered[high]
    assert 0.89 < inside / 400 < 0.97
    assert 0.93 < inside_median / 400 <= 1


def test_an_infinite_value_reaches_only_the_resamples_that_drew_it():
    weights = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]], np.float32)
    values = np.array([[1.0, np.inf], [3.0, 2.0], [5.0, 4.0]])
    np.testing.assert_array_equal(apply(weights, values), [[2.0, np.inf], [4.0, 3.0]])
    assert weighted(np.array([0.0, 2.0]), np.array([np.nan, 3.0])).tolist() == [0.0, 6.0]


def test_many_means_have_the_intervals_of_each():
    values, draws = np.random.default_rng(5).normal(size=(50, 3)), resamples(50)
    for column, interval in enumerate(mean_intervals(values, draws)):
        np.testing.assert_allclose(interval, mean_interval(values[:, column], draws), rtol=1e-5)


def test_errors_beyond_single_precision_keep_their_mean():
    values = np.array([1e45, 2e45, 3e45, 1.0])
    found = mean_interval(values, resamples(4))
    assert found.value == np.mean(values)
    assert 1e44 < found.low <= found.value <= found.high < 4e45
