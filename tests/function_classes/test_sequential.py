"""Sliding windows and autoregressive streams: ridge on lags, what the window-blind keep, and labels made random."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import Prompt
from function_classes.posteriors import linear_filter
from tests.function_classes.twins import linear_bayes, linear_evidence

WINDOW = fc.get("sliding-window", dim=2, window=3, points=14, noise_std=0.3, weight_std=0.8)


def stacked(xs, window):
    """Lags one position at a time, zeros before the first."""
    xs = np.asarray(xs, np.float64)
    rows = [[xs[i - j] if i >= j else np.zeros(xs.shape[1]) for j in range(window)] for i in range(len(xs))]
    return np.array(rows)


@pytest.mark.parametrize("function", ["separate", "shared"])
def test_bayes_is_ridge_on_lags(function):
    task = dataclasses.replace(WINDOW, function=function)
    prompt = task.sample(jax.random.key(0))
    lags = stacked(prompt.xs, 3)
    rows = lags.reshape(14, -1) if function == "separate" else lags.sum(1)
    mean, variance = linear_bayes(rows, prompt.ys, 0.8, 0.3)
    found = task.bayes(prompt)
    np.testing.assert_allclose(found.mean, mean, atol=1e-4)
    np.testing.assert_allclose(found.variance, variance, rtol=1e-4)
    np.testing.assert_allclose(task.log_evidence(prompt), linear_evidence(rows, prompt.ys, 0.8, 0.3), rtol=1e-5)
    clean = rows @ np.asarray(prompt.latent, np.float64).reshape(-1)
    np.testing.assert_allclose(task.evaluate(prompt.latent, prompt.xs), clean, atol=1e-5)


@pytest.mark.parametrize("function", ["separate", "shared", "relu"])
def test_second_moment_of_full_windows(function):
    """E f^2 = weight_std^2 E|window|^2: n dim for separate and shared weights, and for relu."""
    task = fc.get("sliding-window", function=function, dim=3, window=2, points=2, noise_std=0.0, weight_std=0.5)
    last = np.asarray(task.batch(jax.random.key(1), 6000).ys[:, -1], np.float64) ** 2
    assert abs(last.mean() - 0.25 * 6) < 5 * last.std() / np.sqrt(len(last))


def test_the_window_blind_keep_their_share_of_the_variance():
    """Ridge on x_i alone has error dim (n - 1) plus what dim weights cost in that noise, below 2 dim / k."""
    task = fc.get("sliding-window", dim=2, window=3, points=80, noise_std=0.0)
    prompts = task.batch(jax.random.key(2), 1500)
    noise = np.sqrt(2 * 2.0)
    blind = jax.jit(jax.vmap(lambda p: linear_filter(p.xs, p.ys, 1.0, noise).mean))(prompts)
    error = np.mean((np.asarray(blind - prompts.ys, np.float64)[:, -20:]) ** 2, 1)
    low, margin = 2 * 2.0, 5 * error.std() / np.sqrt(len(error))
    assert low - margin < error.mean() < low * (1 + 2 * 2 / 60) + margin
    found = jax.jit(jax.vmap(task.bayes))(prompts).mean
    assert np.mean(np.asarray(found - prompts.ys)[:, -20:] ** 2) < 1e-4


def test_permuted_examples_break_the_sequence():
    """Ridge on lags reads other inputs than the labels did: its error rises to that of the window-blind or above."""
    task = dataclasses.replace(WINDOW, points=40)
    prompts = task.batch(jax.random.key(3), 400)
    order = np.random.default_rng(0).permutation(40)
    broken = Prompt(prompts.xs[:, order], prompts.ys[:, order])
    losses = [
        np.mean(np.asarray(jax.jit(jax.vmap(task.bayes))(p).mean - p.ys, np.float64)[:, -10:] ** 2, 1)
        for p in (prompts, broken)
    ]
    gap = losses[1] - losses[0]
    # Weights of x_i itself can still be learned; those of the other two lags cannot: 2 of 3 parts of 0.64 * 6.
    assert gap.mean() > 0.64 * 4 - 0.09 - 5 * gap.std() / np.sqrt(len(gap)) - 0.3


@pytest.mark.parametrize(("features", "order"), [("linear", 3), ("random", 2)])
def test_autoregressive_bayes_is_regression_on_features(features, order):
    task = fc.get("autoregressive", features=features, order=order, points=16, feature_count=5, weight_std=0.5)
    prompt = task.sample(jax.random.key(4))
    ys = np.asarray(prompt.ys, np.float64)
    lags = np.array([[ys[t - j] if t >= j else 0.0 for j in range(1, order + 1)] for t in range(16)])
    if features == "random":
        np.testing.assert_allclose(task.features_of(prompt.ys), task._phi(jnp.asarray(lags, jnp.float32)), atol=1e-5)
        lags = np.asarray(task.features_of(prompt.ys), np.float64)
    std = 0.5 / np.sqrt(lags.shape[1])
    mean, variance = linear_bayes(lags, ys, std, 0.5)
    found = task.bayes(prompt)
    np.testing.assert_allclose(found.mean, mean, atol=1e-4)
    np.testing.assert_allclose(found.variance, variance, rtol=1e-4)
    np.testing.assert_allclose(task.log_evidence(prompt), linear_evidence(lags, ys, std, 0.5), rtol=1e-4)


def test_streams_follow_their_weights():
    """What is left after the oracle's mean is the noise: variance noise_std^2, no correlation in time."""
    task = fc.get("autoregressive", features="linear", weight_std=0.5, points=20, noise_std=0.7)
    prompts = task.batch(jax.random.key(5), 1000)
    left = np.asarray(prompts.ys - jax.vmap(task.oracle)(prompts).mean, np.float64)
    count = left.size
    assert abs((left**2).mean() - 0.49) < 5 * 0.49 * np.sqrt(2 / count) + 1e-3
    assert abs((left[:, 1:] * left[:, :-1]).mean()) < 5 * 0.49 / np.sqrt(count) + 1e-3


def test_random_features_are_fixed_and_bounded():
    task = fc.get("autoregressive", features="random", feature_count=400, order=1, points=200, weight_std=0.5)
    prompts = task.batch(jax.random.key(6), 200)
    values = np.asarray(task._phi(jnp.linspace(-3, 3, 9)[:, None]), np.float64)
    # sum_i phi_i(z)^2 / F is the mean of 2 cos^2 of uniform phases: 1 with deviation 1 / sqrt(2 F).
    np.testing.assert_allclose((values**2).mean(1), 1, atol=5 * np.sqrt(0.5 / 400))
    # A bounded function plus noise: no stream leaves 0.5 * sqrt(2) * |w| / E|w| + noise by far.
    assert np.abs(np.asarray(prompts.ys)).max() < 0.5 * np.sqrt(2 * 400) * 1.5


RANDOM = fc.get("randomized-labels", base={"name": "linear-regression", "dim": 2, "noise_std": 0.0}, points=10)


@pytest.mark.parametrize("by", ["marginal", "permutation"])
def test_labels_are_replaced_at_the_stated_rate_and_targets_stay(by):
    task = dataclasses.replace(RANDOM, by=by, rate=0.4)
    prompts = task.batch(jax.random.key(7), 1000)
    clean = jax.vmap(task.base.evaluate)(prompts.latent, prompts.xs)
    np.testing.assert_allclose(prompts.targets, clean, atol=1e-5)
    replaced = np.asarray(prompts.ys != prompts.targets).mean(1)
    if by == "marginal":
        assert abs(replaced.mean() - 0.4) < 5 * replaced.std() / np.sqrt(len(replaced))
        spread = np.asarray(prompts.ys, np.float64) ** 2
        per_prompt = spread.mean(1)
        assert abs(per_prompt.mean() - 2.0) < 5 * per_prompt.std() / np.sqrt(len(per_prompt))
    else:
        np.testing.assert_allclose(np.sort(prompts.ys, 1), np.sort(prompts.targets, 1))
        # A random permutation of m > 0 labels has one fixed point on average, of 10 positions chosen at rate 0.4.
        expected = 0.4 - (1 - 0.6**10) / 10
        assert abs(replaced.mean() - expected) < 5 * replaced.std() / np.sqrt(len(replaced))


def test_all_labels_random_leave_nothing_to_learn():
    task = dataclasses.replace(RANDOM, rate=1.0)
    prompts = task.batch(jax.random.key(8), 3000)
    products = np.asarray(prompts.ys * prompts.targets, np.float64).mean(1)
    assert abs(products.mean()) < 5 * products.std() / np.sqrt(len(products))


@pytest.mark.parametrize("base", ["markov", {"name": "chain-of-thought", "layers": 2}])
def test_bases_without_one_label_are_refused(base):
    with pytest.raises(fc.ConfigError, match=r"stream|2 targets"):
        fc.get("randomized-labels", base=base)
