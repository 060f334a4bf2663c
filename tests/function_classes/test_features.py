"""Functions linear in fixed features: their float64 twin from features written out, second moments, and structure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from icl.config import Config
from tests.function_classes.twins import mixture_bayes

TASKS = {
    "quadratic": fc.get("quadratic", dim=3, points=7, weight_std=0.8, noise_std=0.3),
    "monomials": fc.get("monomials", dim=3, points=8, size=2, sets=4, noise_std=0.3, weight_std=1.5),
    "fourier": fc.get("fourier", points=12, frequencies=3, half_period=2.0, noise_std=0.2),
    "fourier-mixture": fc.get("fourier-mixture", points=12, frequencies=3, noise_std=0.2, weight_std=1.2),
    "haar": fc.get("haar", points=10, levels=2, noise_std=0.2, weight_std=1.3),
    "sinusoid": fc.get("sinusoid", points=6, rates=(1.0, 0.4), noise_std=0.2),
    "feature-regression": fc.get("feature-regression", dim=3, points=9, size=4, slope=0.2, noise_std=0.3),
}


def waves(xs, rates):
    return np.stack([f(rate * x) for x in xs[:, 0] for rate in rates for f in (np.cos, np.sin)]).reshape(len(xs), -1)


def haar(x, level, place):
    low, middle, high = ((place + part) / 2**level for part in (0, 0.5, 1))
    return 2 ** (level / 2) * (float(low <= x < middle) - float(middle <= x < high))


# name: features of the rows of xs in float64, from the definition.
FEATURES = {
    "quadratic": lambda xs: xs**2 / np.sqrt(3),
    "monomials": lambda xs: np.stack([xs[:, i] * xs[:, j] for i in range(3) for j in range(i, 3)], 1),
    "fourier": lambda xs: np.concatenate([np.ones((len(xs), 1)), waves(xs, np.pi / 2 * np.arange(1, 4))], 1),
    "fourier-mixture": lambda xs: waves(xs, np.pi / 5 * np.arange(1, 4)),
    "haar": lambda xs: np.array([[1, haar(x, 0, 0), haar(x, 1, 0), haar(x, 1, 1)] for x in xs[:, 0]]),
    "sinusoid": lambda xs: waves(xs, np.array([1.0, 0.4])),
}


@pytest.mark.parametrize("name", TASKS)
def test_everything_equals_the_float64_twin(name):
    task = TASKS[name]
    program = jax.jit(lambda p: (task.component_posterior(p), task.bayes(p), task.log_predictive(p)))
    for seed in range(3):
        prompt = task.sample(jax.random.key(seed))
        xs = np.asarray(prompt.xs, np.float64)
        features = FEATURES[name](xs) if name in FEATURES else np.asarray(task.feature_map(prompt.xs))
        np.testing.assert_allclose(task.feature_map(prompt.xs), features, atol=2e-5)
        truth = features @ np.asarray(prompt.latent.weights, np.float64)
        np.testing.assert_allclose(task.evaluate(prompt.latent, prompt.xs), truth, atol=1e-4)
        weights, mean, variance, logs = mixture_bayes(*task.prior(), features, prompt.ys, task.noise_std)
        found = program(prompt)
        np.testing.assert_allclose(found[0], weights, atol=5e-4)
        np.testing.assert_allclose(found[1].mean, mean, rtol=2e-3, atol=1e-3)
        np.testing.assert_allclose(found[1].variance, variance, rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(found[2], logs, rtol=2e-3, atol=2e-3)


MOMENTS = {
    "quadratic": ({"dim": 3, "weight_std": 0.8, "inputs": {"name": "uniform", "low": -0.5}}, None),
    "monomials": ({"dim": 3, "size": 2, "sets": 4, "inputs": {"name": "uniform", "low": -0.5}}, None),
    "fourier": ({"frequencies": 10}, 1.1),
    "fourier-mixture": ({"frequencies": 10}, 1.0),
    "haar": ({"levels": 2, "inputs": {"name": "uniform", "low": -0.5, "high": 1.5}}, 0.5 + 0.5 / 4),
    "sinusoid": ({"rates": (1.0, 0.4), "weight_std": 1.5}, 2.25),
    "relu-network": ({"dim": 3, "hidden": 2}, 3.0),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_second_moments(name):
    """E f^2 in closed form and of samples, by 5 standard errors."""
    fields, expected = MOMENTS[name]
    task = fc.get(name, points=1, **fields)
    prompts = jax.jit(lambda key: task.batch(key, 20_000))(jax.random.key(0))
    square = np.asarray(jax.vmap(task.evaluate)(prompts.latent, prompts.xs), np.float64)[:, 0] ** 2
    assert abs(square.mean() - task.mean_square) < 5 * square.std() / np.sqrt(len(square))
    assert expected is None or abs(float(task.mean_square) - expected) < 1e-6


def test_second_moments_of_the_papers():
    """Quadratic and ReLU at dim 20: 20. Monomials: (3 squares + products) / |S|, not 1."""
    assert abs(float(fc.get("quadratic", dim=20).mean_square) - 20) < 1e-4
    assert float(fc.get("relu-network", dim=20).mean_square) == 20
    task = fc.get("monomials", dim=20, size=20, set_seed=5)
    i, j = task.pairs()[np.asarray(task.members()[0])].T
    squares = int(np.sum(i == j))
    assert abs(float(task.mean_square) - (3 * squares + 20 - squares) / 20) < 1e-5


@pytest.mark.parametrize("name", ["quadratic", "haar"])
def test_moments_of_other_laws_are_refused(name):
    law = {"quadratic": "unlisted", "haar": "gaussian"}[name]
    inputs = fc.get("haar").inputs if law == "unlisted" else law
    task = fc.get(name, inputs=inputs)
    if name == "quadratic":
        assert task.mean_square > 0
    else:
        with pytest.raises(fc.NotAvailable, match="not for 'gaussian'"):
            _ = task.mean_square
    with pytest.raises(fc.NotAvailable, match="no closed form"):
        _ = fc.get("feature-regression").mean_square


def test_sets_of_monomials_are_sets_drawn_by_the_seed():
    task = fc.get("monomials", dim=10, size=10, sets=100)
    members = np.asarray(task.members())
    assert members.shape == (100, 10)
    assert all(len(set(row)) == 10 for row in members)
    assert members.min() >= 0
    assert members.max() < 55
    # Every one of the 55 monomials is in a set with probability 10 / 55.
    share = np.bincount(members.reshape(-1), minlength=55) / 100
    assert np.all(np.abs(share - 10 / 55) < 5 * np.sqrt(10 / 55 * 45 / 55 / 100))
    other = np.asarray(fc.get("monomials", dim=10, size=10, sets=100, set_seed=1).members())
    assert np.any(other != members)


def test_pieces_of_haar_are_independent():
    """Features at the middles of the pieces are orthogonal with square 2^levels: f has independent values there."""
    task = fc.get("haar", levels=4)
    features = np.asarray(task.feature_map((jnp.arange(16, dtype=jnp.float32)[:, None] + 0.5) / 16))
    np.testing.assert_allclose(features @ features.T, 16 * np.eye(16), atol=1e-4)


def test_haar_learns_one_piece_at_a_time():
    """Excess error of Bayes after k examples without noise: P(a piece was not seen) = (1 - 1 / 8)^k."""
    task = fc.get("haar", points=12, noise_std=1e-3)

    @jax.jit
    def program(key):
        prompts = task.batch(key, 4000)
        return (jax.vmap(task.bayes)(prompts).mean - prompts.ys) ** 2

    errors = np.asarray(program(jax.random.key(0)), np.float64)
    expected = (7 / 8) ** np.arange(12)
    assert np.all(np.abs(errors.mean(0) - expected) < 5 * errors.std(0) / np.sqrt(4000) + 1e-4)


def test_the_number_of_frequencies_is_found():
    """Equally likely at no examples; 40 examples at little noise name it."""
    task = fc.get("fourier-mixture", points=41, frequencies=5, noise_std=0.05)

    @jax.jit
    def program(key):
        prompts = task.batch(key, 200)
        belief = jax.vmap(task.component_posterior)(prompts)
        return belief, jnp.take_along_axis(belief[:, 40], prompts.latent.index[:, None], 1)

    belief, true = program(jax.random.key(0))
    np.testing.assert_allclose(belief[:, 0], 0.2, rtol=1e-5)
    assert np.mean(true) > 0.99


def test_sinusoids_have_rayleigh_amplitudes_and_uniform_phases():
    task = fc.get("sinusoid", weight_std=2.0)
    weights = jax.vmap(task.sample_latent)(jax.random.split(jax.random.key(0), 20_000)).weights
    a, b = np.asarray(weights, np.float64).T
    square = a**2 + b**2
    # E A^2 = 2 s^2 with standard deviation 2 s^2; the mean of cos(phase) and sin(phase) is 0.
    assert abs(square.mean() - 8) < 5 * 8 / np.sqrt(20_000)
    assert np.all(np.abs(np.mean([a, b] / np.sqrt(square), 1)) < 5 * np.sqrt(0.5 / 20_000))


def test_a_network_is_a_linear_plus_an_even_function():
    """f(x) - f(-x) is linear in x, and has half of the second moment."""
    task = fc.get("relu-network", dim=3, hidden=5)
    network = task.sample_latent(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (10, 3))
    odd = (task.evaluate(network, xs) - task.evaluate(network, -xs)) / 2
    weights = np.linalg.lstsq(np.asarray(xs, np.float64), np.asarray(odd, np.float64), rcond=None)[0]
    np.testing.assert_allclose(odd, xs @ weights, atol=1e-5)

    @jax.jit
    @jax.vmap
    def halves(key):
        latent, inputs = jax.random.split(key)
        network, x = task.sample_latent(latent), jax.random.normal(inputs, (1, 3))
        plus, minus = task.evaluate(network, x)[0], task.evaluate(network, -x)[0]
        return ((plus - minus) / 2) ** 2, ((plus + minus) / 2) ** 2

    for half in halves(jax.random.split(jax.random.key(2), 20_000)):
        half = np.asarray(half, np.float64)
        assert abs(half.mean() - 1.5) < 5 * half.std() / np.sqrt(20_000)


def test_feature_networks_keep_the_scale_on_average_over_seeds():
    """E phi_f(x)^2 = |x|^2 / dim over the matrices, at any x and depth."""
    x = jnp.array([[1.0, -2.0, 0.5]])
    squares = []
    for seed in range(300):
        task = fc.get("feature-regression", dim=3, size=20, layers=2, slope=0.3, network_seed=seed)
        squares.append(float(jnp.mean(task.feature_map(x) ** 2)))
    assert abs(np.mean(squares) - 5.25 / 3) < 5 * np.std(squares) / np.sqrt(300)


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("monomials", {"dim": 2, "size": 4}, r"at most dim \(dim \+ 1\) / 2 = 3"),
        ("sinusoid", {"rates": ()}, "at least one"),
        ("quadratic", {"dim": 2, "inputs": "diagonal"}, "5 eigenvalues, and dim is 2"),
    ],
)
def test_what_does_not_fit_is_refused(name, fields, words):
    with pytest.raises(fc.ConfigError, match=words):
        fc.get(name, **fields)


def test_features_of_networks_are_less_collinear_than_they_were():
    """The numbers of the docstring, and that the old slope is still the same run."""
    now = {layers: fc.get("feature-regression", layers=layers).condition() for layers in (1, 2)}
    old = {layers: fc.get("feature-regression", layers=layers, slope=0.01).condition() for layers in (1, 2)}
    assert now[1] == pytest.approx(146, rel=0.1)
    assert now[2] == pytest.approx(1400, rel=0.1)
    assert old[1] == pytest.approx(134, rel=0.1)
    assert old[2] == pytest.approx(114_000, rel=0.1)
    assert Config.create("feature-regression", slope=0.01).identity == "2a99354cb39526cf"
    assert Config.create("feature-regression").identity != "2a99354cb39526cf"
