"""Chains of thought against a joint Gaussian evidence per layer, quadrature of the activation, and second moments."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

import function_classes as fc
from tests.function_classes.twins import chain_evidence, linear_bayes

TASK = fc.get("chain-of-thought", dim=3, points=9, layers=3, noise_std=0.3, slope=0.25)


@pytest.fixture(scope="module")
def batch():
    @jax.jit
    def program(key):
        prompts = TASK.batch(key, 4000)
        few = jax.tree.map(lambda a: a[:6], prompts)
        each = jax.vmap(lambda p: (TASK.posterior(p), TASK.bayes(p), TASK.log_evidence(p)))(few)
        return prompts, *each

    return program(jax.random.key(0))


def test_log_predictive_sums_to_the_joint_evidence(batch):
    prompts, _, _, evidence = batch
    for i, found in enumerate(evidence):
        expected = chain_evidence(prompts.xs[i], prompts.ys[i], float(TASK.weight_std), 0.3, 0.25)
        np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_every_layer_is_a_ridge_regression_of_pre_activations(batch):
    prompts, posterior, _, _ = batch
    xs, ys = np.asarray(prompts.xs[0]), np.asarray(prompts.ys[0])
    pre = np.where(ys < 0, ys / 0.25, ys)
    for s in range(3):
        for d in range(3):
            mean, variance = linear_bayes(xs if s == 0 else ys[:, s - 1], pre[:, s, d], float(TASK.weight_std), 0.3)
            np.testing.assert_allclose(posterior.mean[0, :, s, d], mean, rtol=2e-3, atol=2e-4)
            np.testing.assert_allclose(posterior.variance[0, :, s] + 0.09, variance, rtol=2e-3)


def test_moments_of_the_activation_by_quadrature(batch):
    _, posterior, bayes, _ = batch
    for k, s, d in ((0, 0, 0), (2, 1, 2), (5, 2, 1), (8, 0, 2)):
        mean, std = float(posterior.mean[0, k, s, d]), float(np.sqrt(posterior.variance[0, k, s] + 0.09))

        def expect(power, mean=mean, std=std):
            ends = sorted({mean - 12 * std, 0.0, mean + 12 * std})
            parts = itertools.pairwise(ends)
            leaky = lambda z: np.where(z < 0, 0.25 * z, z)  # noqa: E731
            return sum(quad(lambda z: leaky(z) ** power * norm.pdf(z, mean, std), *part)[0] for part in parts)

        first = expect(1)
        np.testing.assert_allclose(bayes.mean[0, k, s, d], first, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(bayes.variance[0, k, s, d], expect(2) - first**2, rtol=1e-3)


def test_layers_keep_their_second_moment(batch):
    """E|s^l|^2 = dim at every layer."""
    square = np.sum(np.asarray(batch[0].ys, np.float64) ** 2, -1).mean(1)
    assert np.all(np.abs(square.mean(0) - 3) < 5 * square.std(0) / np.sqrt(4000))


def test_far_from_zero_the_activation_is_linear():
    """No cancellation: at |mean| / std = 1e4 the variance is that of the linear branch to float32."""
    task = fc.get("chain-of-thought", dim=1, layers=1, noise_std=0.01, slope=0.5)
    latent = jnp.array([[[100.0]]])
    prompt = fc.Prompt(jnp.array([[1.0], [-1.0]]), jnp.zeros((2, 1)), latent)
    oracle = task.oracle(prompt)
    np.testing.assert_allclose(oracle.mean[:, 0], [100.0, -50.0], rtol=1e-6)
    np.testing.assert_allclose(oracle.variance[:, 0], [1e-4, 0.25e-4], rtol=1e-5)


def test_without_noise_the_network_is_known_after_dim_examples():
    task = fc.get("chain-of-thought", dim=3, points=8, layers=2, noise_std=0.0)

    @jax.jit
    def program(key):
        prompt = task.sample(key)
        return prompt.ys, task.evaluate(prompt.latent, prompt.xs), task.bayes(prompt).mean, task.log_predictive(prompt)

    ys, noiseless, mean, log_predictive = program(jax.random.key(2))
    np.testing.assert_allclose(noiseless, ys, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mean[5:], ys[5:], atol=2e-3)
    assert np.all(np.isfinite(log_predictive))


def test_hidden_layers_say_why_there_is_no_posterior():
    task = fc.get("chain-of-thought", intermediates="hidden", noise_std=0.0)
    prompt = jax.jit(task.sample)(jax.random.key(3))
    assert (task.steps, prompt.ys.shape) == (1, (20, 5))
    for call in (task.bayes, task.log_predictive):
        with pytest.raises(fc.NotAvailable, match="hidden layers"):
            call(prompt)
    np.testing.assert_allclose(jax.jit(task.oracle)(prompt).mean, prompt.ys, rtol=1e-5, atol=1e-6)
