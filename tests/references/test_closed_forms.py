"""Known values of the references on linear regression: closed forms where there are any, else float64 Monte Carlo."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from function_classes import Prompt, get
from function_classes.inputs import Uniform
from icl import references
from icl.programs import draw, predict
from icl.references.kgram import CountedKGram, transitions


def excess(reference, task, prompts, seed=0):
    """Mean of (prediction - w'x)^2 / dim at every position, and the same per prompt."""
    batch = draw(task, jax.random.key(seed), 0, prompts)
    truth = np.einsum("npd,nd->np", batch.xs, batch.latent)
    return ((np.asarray(predict(reference, batch).mean) - truth) ** 2 / task.dim).astype(float)


WIDE = get("linear-regression", dim=20, points=41, noise_std=0.0)


def test_least_squares_is_one_minus_k_over_dim():
    errors = excess(references.get("least-squares"), WIDE, 1500)
    curve = errors.mean(0)
    np.testing.assert_allclose(curve[:19], 1 - np.arange(19) / 20, atol=4.5 * errors.std(0)[:19].max() / 1500**0.5)
    assert np.all(np.median(errors[:, 24:], 0) < 1e-8)


def test_noisy_least_squares():
    task = get("linear-regression", dim=20, points=41, noise_std=1.0)
    curve = excess(references.get("least-squares"), task, 2000).mean(0)

    def exact(k):
        return 1 - k / 20 + k / (20 - k - 1) / 20 if k < 19 else 1 / (k - 21)

    for k in (10, 15, 30, 40):
        assert curve[k] == pytest.approx(exact(k), rel=0.1)


def test_averaging_is_dim_plus_one_over_k():
    curve = excess(references.get("averaging"), WIDE, 1500).mean(0)
    for k in (5, 10, 20, 40):
        assert curve[k] == pytest.approx(21 / k, rel=0.12)


def test_three_neighbors():
    curve = excess(references.get("nearest-neighbors"), WIDE, 1500).mean(0)
    for k, value in ((1, 2.0), (5, 1.09), (10, 0.90), (20, 0.78), (40, 0.685)):
        assert curve[k] == pytest.approx(value, rel=0.1)


def test_ridge_at_the_bayes_penalty():
    task = get("linear-regression", dim=8, points=16, noise_std=0.5)
    curve = excess(references.get("ridge", penalty=0.25), task, 6000).mean(0)
    for k, value, within in ((0, 1.0, 0.04), (4, 0.534, 0.025), (8, 0.182, 0.012), (15, 0.038, 0.004)):
        assert curve[k] == pytest.approx(value, abs=within)
    batch = draw(task, jax.random.key(0), 0, 6000)
    trace = np.linalg.inv(np.einsum("npd,npe->nde", batch.xs[:, :8], batch.xs[:, :8]) + 0.25 * np.eye(8))
    assert curve[8] == pytest.approx(0.25 * np.trace(trace, axis1=1, axis2=2).mean() / 8, rel=0.05)


FIVE = get("linear-regression", dim=5, points=16, noise_std=0.5)


def test_best_rate_of_one_step_per_position():
    found = references.get("gradient-descent").calibrate(FIVE, jax.random.key(1), 2048)
    k = np.arange(1, 16)
    # A position's estimate has a standard error near 4 %; their mean ratio one near 1 %.
    ratio = np.asarray(found.rates)[1:] / (k / (k + 5 + 1 + 0.25))
    assert np.all(np.abs(ratio - 1) < 0.15)
    assert ratio.mean() == pytest.approx(1, abs=0.03)


def test_best_rate_of_one_step_on_uniform_inputs():
    task = get("linear-regression", dim=10, points=11, noise_std=0.0, inputs=Uniform(-0.5, 0.5))
    found = references.get("gradient-descent").calibrate(task, jax.random.key(1), 2048)
    assert float(found.rates[10]) == pytest.approx(6.0606, rel=0.08)
    half = excess(found, task, 8192, seed=3)[:, 10].mean() * 10 / 2
    assert half == pytest.approx(0.2062, rel=0.05)


def test_best_rate_of_the_class_is_between_those_of_its_positions():
    shared = references.get("gradient-descent", rate="class").calibrate(FIVE, jax.random.key(1), 2048)
    each = references.get("gradient-descent").calibrate(FIVE, jax.random.key(1), 2048)
    assert np.ptp(shared.rates) == 0
    assert float(each.rates[1]) < float(shared.rates[0]) < float(each.rates[15])
    assert excess(each, FIVE, 2000).mean() < excess(shared, FIVE, 2000).mean()


def test_distance_of_gradient_descent_from_bayes_by_steps():
    batch = draw(FIVE, jax.random.key(7), 0, 4096)
    bayes = np.asarray(predict(FIVE.bayes, batch).mean)
    # The least distances found on 60,000 prompts; the mean at 16 steps is heavy-tailed.
    for steps, low, high in ((1, 0.24, 0.28), (4, 0.08, 0.105), (16, 0.013, 0.04), (64, 0.0022, 0.0029)):
        member = references.get("gradient-descent", steps=steps).calibrate(FIVE, jax.random.key(8), 2048)
        distance = ((np.asarray(predict(member, batch).mean) - bayes) ** 2 / 5).mean()
        assert low < distance < high, steps


def test_rates_found_on_some_prompts_are_safe_on_others():
    batch = draw(FIVE, jax.random.key(9), 0, 8192)
    for seed in range(3):
        member = references.get("gradient-descent", steps=16).calibrate(FIVE, jax.random.key(seed), 2048)
        distance = (np.asarray(predict(member, batch).mean) - np.asarray(predict(FIVE.bayes, batch).mean)) ** 2
        assert distance.mean() / 5 < 0.08


def test_calibration_finds_the_bayes_penalty_and_a_rate_between_bounds():
    task = get("linear-regression", dim=4, points=10, noise_std=0.8, weight_std=2.0)
    ridge = references.get("ridge", penalty="class").calibrate(task, jax.random.key(0))
    assert ridge.found["penalty"] == pytest.approx(0.16, rel=0.02)
    sgd = references.get("stochastic-gradient").calibrate(task, jax.random.key(0))
    losses = {
        scale: excess(references.get("stochastic-gradient", rate=scale * float(sgd.rate)), task, 2000, 5).mean()
        for scale in (0.5, 1.0, 1.6)
    }
    assert losses[1.0] == min(losses.values())


def test_calibration_uses_its_own_prompts_and_the_key():
    task = get("linear-regression", dim=2, points=5)
    ridge = references.get("ridge", penalty="class")
    one, same, other = (float(ridge.calibrate(task, jax.random.key(s), 64).penalty) for s in (1, 1, 2))
    assert one == same != other


def test_kgram_counts_and_smoothing():
    rng = np.random.default_rng(0)
    ys = rng.integers(0, 3, size=12)
    batch = Prompt(jnp.zeros((1, 12, 0)), jnp.asarray(ys)[None])
    for order, alpha in ((0, 1.0), (1, 0.5), (2, 0.0)):
        wanted = np.full((12, 3), 1 / 3)
        for k in range(order, 12):
            counts = np.array([alpha] * 3)
            for i in range(order, k):
                if list(ys[i - order : i]) == list(ys[k - order : k]):
                    counts[ys[i]] += 1
            if counts.sum():
                wanted[k] = counts / counts.sum()

        log_probs = predict(CountedKGram(jnp.float32(alpha), order, 3), batch).log_probs[0]
        np.testing.assert_allclose(np.exp(log_probs), wanted, atol=1e-6)
        assert float(transitions(jnp.asarray(ys), order, 3)[0].sum()) == 0


def test_prior_mean_is_the_mean_of_the_class():
    task = get("linear-regression", dim=2, points=3)
    member = references.get("prior-mean").calibrate(task, jax.random.key(0), 4096)
    np.testing.assert_allclose(member.mean, 0, atol=4 * (2.25 / 4096) ** 0.5)
