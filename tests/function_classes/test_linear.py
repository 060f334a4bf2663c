"""Linear regression: the Bayes table, its float64 twin and evidence, accuracy at small penalties, input laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import ConfigError
from function_classes.inputs import InputLaw, Uniform
from function_classes.posteriors import linear_filter
from tests.function_classes.twins import linear_bayes, linear_evidence

# Excess risk of Bayes per dim after k = 0..15 examples at d = 8, noise variance 1/4 [mc, 40,000 prompts].
TABLE = (1.0, 0.880, 0.762, 0.646, 0.534, 0.428, 0.331, 0.248, 0.182, 0.134, 0.101, 0.078, 0.063, 0.052, 0.044, 0.038)
TASK = fc.get("linear-regression", dim=8, points=16, noise_std=0.5)


@pytest.fixture(scope="module")
def batch():
    @jax.jit
    def program(key):
        prompts = TASK.batch(key, 8192)
        posterior = jax.vmap(TASK.posterior)(prompts)
        truth = jax.vmap(TASK.evaluate)(prompts.latent, prompts.xs)
        return prompts, posterior, truth, jax.vmap(TASK.log_evidence)(prompts)

    return jax.tree.map(lambda a: np.asarray(a, np.float64), program(jax.random.key(0)))


def test_excess_of_bayes(batch):
    """Excess error per dim, by its mean and by the posterior variance x'Sx of E tr(S) / dim, which has less noise."""
    _, posterior, truth, _ = batch
    for excess in ((posterior.mean - truth) ** 2 / 8, posterior.variance / 8):
        margin = 4 * excess.std(0) / np.sqrt(8192) + np.linspace(0.006, 0.0015, 16)
        assert np.all(np.abs(excess.mean(0) - TABLE) < margin)
    assert abs(posterior.variance.mean() / 8 - 0.345) < 0.006


def test_largest_eigenvalue_of_uniform_inputs():
    """[mc] mean of that of X'X at dim 10 over the number of examples, which bounds the rate of gradient descent."""
    for half, means in ((0.5, {10: 2.54, 25: 4.54, 50: 7.5, 100: 12.9}), (1.0, {10: 10.2})):
        task = fc.get("linear-regression", dim=10, points=max(means), inputs=Uniform(-half, half))
        xs = np.asarray(task.batch(jax.random.key(6), 4000).xs, np.float64)
        for seen, mean in means.items():
            found = np.linalg.eigvalsh(xs[:, :seen].mT @ xs[:, :seen])[:, -1]
            assert found.mean() == pytest.approx(mean, rel=0.01), seen
            if (half, seen) == (0.5, 10):
                assert np.quantile(found, 0.99) == pytest.approx(3.5, rel=0.03)


def test_posterior_and_evidence_equal_the_float64_twin(batch):
    prompts, posterior, _, evidence = batch
    for i in range(8):
        mean, variance = linear_bayes(prompts.xs[i], prompts.ys[i], 1.0, 0.5)
        np.testing.assert_allclose(posterior.mean[i], mean, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(posterior.variance[i] + 0.25, variance, rtol=1e-3)
        np.testing.assert_allclose(evidence[i], linear_evidence(prompts.xs[i], prompts.ys[i], 1.0, 0.5), rtol=1e-4)


def test_second_moment(batch):
    """E y^2 = weight_std^2 E|x|^2 + noise_std^2."""
    square = batch[0].ys ** 2
    assert np.all(np.abs(square.mean(0) - 8.25) < 5 * square.std(0) / np.sqrt(8192))


def test_weights_around_a_mean():
    """w = m + u: the labels less m'x are those of u, whose mean is 0. With a spread near 0 Bayes knows w."""
    around, zero = (fc.get("linear-regression", dim=3, points=6, noise_std=0.3, weight_mean=m) for m in (2.0, 0.0))
    prompt = around.sample(jax.random.key(2))
    moved = fc.Prompt(prompt.xs, prompt.ys - 2 * jnp.sum(prompt.xs, -1))
    found, wanted = around.posterior(prompt), zero.posterior(moved)
    np.testing.assert_allclose(found.mean, wanted.mean + 2 * jnp.sum(prompt.xs, -1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.weights, wanted.weights + 2, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(around.log_predictive(prompt), zero.log_predictive(moved), rtol=1e-4, atol=1e-4)
    known = fc.get("linear-regression", dim=3, points=6, noise_std=0.3, weight_mean=1.0, weight_std=1e-3)
    sample = known.sample(jax.random.key(3))
    np.testing.assert_allclose(known.bayes(sample).mean, jnp.sum(sample.xs, -1), atol=0.02)


def test_filter_is_accurate_at_small_penalties():
    """dim 20, penalty 1e-3: within 1e-3 of float64 at every k."""
    key = jax.random.split(jax.random.key(1), 2)
    xs, noise = jax.random.normal(key[0], (40, 20)), jax.random.normal(key[1], (40,))
    ys = jnp.sum(xs, 1) + 1e-3**0.5 * noise
    found = jax.jit(linear_filter)(xs, ys, 1.0, 1e-3**0.5).mean
    mean, _ = linear_bayes(xs, ys, 1.0, 1e-3**0.5)
    assert np.abs(found - mean).max() < 1e-3 * np.abs(mean).max()


FIELDS = {"diagonal": {"eigenvalues": (2.0, 1.0, 0.5, 0.25)}}
SECOND_MOMENTS = {"diagonal": [2.0, 1.0, 0.5, 0.25]}
SECOND_MOMENTS |= {"gaussian": [1.0] * 4, "uniform": [1 / 3] * 4, "power-law": 4 * np.arange(1, 5) ** -2.0 / 1.4236111}


@pytest.mark.parametrize("name", InputLaw.registry.names())
def test_input_laws(name):
    """E x_i^2, where the law is listed; rows are uncorrelated for every law."""
    xs = np.asarray(InputLaw.registry.get(name, **FIELDS.get(name, {})).sample(jax.random.key(2), 20000, 4), np.float64)
    if name in SECOND_MOMENTS:
        assert np.all(np.abs((xs**2).mean(0) - SECOND_MOMENTS[name]) < 5 * (xs**2).std(0) / np.sqrt(20000))
    products = xs[1:] * xs[:-1]
    assert np.all(np.abs(products.mean(0) - xs.mean(0) ** 2) < 5 * products.std(0) / np.sqrt(20000))


def test_eigenvalues_are_one_for_every_coordinate():
    with pytest.raises(ConfigError, match="5 eigenvalues, and dim is 4"):
        fc.get("linear-regression", dim=4, inputs="diagonal")
    assert fc.get("linear-regression", dim=5, inputs="diagonal").sample(jax.random.key(0)).xs.shape == (16, 5)


def test_random_covariances_are_exponential_and_leave_bayes_alone():
    """E x_i^2 = 1, E x_i^4 = 3 E lambda^2 = 6; inputs of one prompt share their scale; Bayes is that of any inputs."""
    task = fc.get("random-covariance", dim=2, points=4, noise_std=0.3)
    prompts = jax.jit(lambda key: task.batch(key, 20_000))(jax.random.key(3))
    xs = np.asarray(prompts.xs, np.float64)
    assert abs(np.mean(xs**2) - 1) < 0.03
    assert abs(np.mean(xs**4) - 6) < 0.6
    assert abs(np.mean(xs[:, 0] ** 2 * xs[:, 1] ** 2) - 2) < 0.2
    one = jax.tree.map(lambda a: a[0], prompts)
    plain = fc.get("linear-regression", dim=2, points=4, noise_std=0.3)
    np.testing.assert_array_equal(task.bayes(one).mean, plain.bayes(one).mean)
