"""Gaussian processes against full-matrix formulas in float64, the floors of the PFN setting, and drawn functions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes.gaussian_process import NUGGET, nugget
from tests.function_classes.twins import kernel_bayes, kernel_matrix, log_joint_normal

FIELDS = {
    "rbf": {"dim": 1, "lengthscale": 0.7, "scale": 1.3, "noise_std": 0.2},
    "matern-5/2": {"dim": 3, "lengthscale": 2.0, "scale": 0.8, "noise_std": 0.1},
    "matern-1/2": {"dim": 2, "lengthscale": 1.5, "scale": 1.2, "noise_std": 0.2},
    "matern-3/2": {"dim": 1, "lengthscale": 0.8, "scale": 0.9, "noise_std": 0.1},
    "periodic": {"dim": 2, "lengthscale": 0.9, "scale": 1.1, "period": 1.4, "noise_std": 0.3},
}
QUERIES = 4


def gram(task, a, b):
    return kernel_matrix(task.kernel, a, b, task.lengthscale, task.scale, task.period)


@pytest.fixture(scope="module", params=FIELDS)
def drawn(request):
    """A class, one prompt, its posterior and evidence, and queries after 5 examples."""
    task = fc.get("gaussian-process", kernel=request.param, points=12, **FIELDS[request.param])

    @jax.jit
    def program(key):
        prompt = task.sample(key)
        queries = task.inputs.sample(jax.random.fold_in(key, 1), QUERIES, task.dim)
        fast = [task.predict_at(prompt, k, queries) for k in (0, 5, 12)]
        return prompt, task.bayes(prompt), task.log_evidence(prompt), queries, fast

    return task, *program(jax.random.key(3))


def test_mean_variance_and_evidence_equal_the_full_matrix(drawn):
    task, prompt, bayes, evidence, _, _ = drawn
    noise = task.noise_std**2 + NUGGET * task.scale**2
    full = gram(task, prompt.xs, prompt.xs)
    for k in range(12):
        mean, variance = kernel_bayes(full[:k, :k], full[:k, k : k + 1], full[k, k], prompt.ys[:k], noise)
        np.testing.assert_allclose([bayes.mean[k], bayes.variance[k]], [mean[0], variance[0]], rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(evidence, log_joint_normal(prompt.ys, full + noise * np.eye(12)), rtol=1e-4)


def test_many_queries_after_k_examples(drawn):
    """One solve equals the formula, and equals Bayes on a prompt whose k-th input is the query."""
    task, prompt, _, _, queries, fast = drawn
    noise = task.noise_std**2 + NUGGET * task.scale**2
    full, cross = gram(task, prompt.xs, prompt.xs), gram(task, prompt.xs, queries)
    for k, found in zip((0, 5, 12), fast, strict=True):
        mean, variance = kernel_bayes(full[:k, :k], cross[:k], task.scale**2, prompt.ys[:k], noise)
        np.testing.assert_allclose(found.mean, mean, rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(found.variance, variance, rtol=2e-4, atol=2e-5)
    slow = jax.jit(jax.vmap(lambda x: task.bayes(fc.Prompt(prompt.xs.at[5].set(x), prompt.ys))))(queries)
    np.testing.assert_allclose(slow.mean[:, 5], fast[1].mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slow.variance[:, 5], fast[1].variance, rtol=1e-5, atol=1e-6)


def test_many_queries_do_not_see_later_examples():
    task = fc.get("gaussian-process", points=6)
    prompt = task.sample(jax.random.key(0))
    spoiled = fc.Prompt(prompt.xs.at[3:].set(jnp.nan), prompt.ys.at[3:].set(jnp.nan))
    query = jax.jit(lambda p, k: task.predict_at(p, k, jnp.linspace(-1, 1, 5)[:, None]))
    clean, other = query(prompt.hide(), 3), query(spoiled, 3)
    np.testing.assert_array_equal(clean.mean, other.mean)
    np.testing.assert_array_equal(clean.variance, other.variance)


def test_one_function_is_one_function():
    """Values at the prompt's inputs come back bit by bit, among new ones; new ones are close where inputs are close."""
    task = fc.get("gaussian-process", points=8, noise_std=0.0, lengthscale=1.0)
    prompt = task.sample(jax.random.key(1))
    near = prompt.xs + 1e-3
    values = task.evaluate(prompt.latent, jnp.concatenate([near, prompt.xs[::-1]]))
    np.testing.assert_array_equal(values[8:], prompt.ys[::-1])
    np.testing.assert_allclose(values[:8], prompt.ys, atol=0.03)
    unseen = task.sample_latent(jax.random.key(2))
    assert unseen.xs.shape == (0, 1)
    np.testing.assert_allclose(task.evaluate(unseen, prompt.xs)[:4], task.evaluate(unseen, prompt.xs[:4]), atol=1e-3)


def test_values_at_new_inputs_have_the_law_of_the_process():
    """Covariance of f over fresh functions at prompt inputs and new ones together is the kernel."""
    task = fc.get("gaussian-process", points=2, kernel="matern-5/2", scale=1.5)
    xs, new = jnp.array([[-1.0], [0.3]]), jnp.array([[0.0], [1.2]])

    @jax.jit
    @jax.vmap
    def draw(key):
        latent = task.show(task.sample_latent(key), xs, key).latent
        return jnp.concatenate([latent.values, task.evaluate(latent, new)])

    values = np.asarray(draw(jax.random.split(jax.random.key(4), 20000)), np.float64)
    everything = np.concatenate([xs, new])
    expected = gram(task, everything, everything)
    # Wick: the variance of f_i f_j is K_ii K_jj + K_ij^2.
    error = np.sqrt((expected**2 + 1.5**4) / len(values))
    assert np.all(np.abs(values.T @ values / len(values) - expected) < 5 * error)


# NLL in nats and squared error after t examples.
FLOORS = {
    "toy": ((0, 1.424, 1.01), (2, 0.907, 0.588), (4, 0.467, 0.306), (8, -0.066, 0.123), (16, -0.510, 0.032)),
    "pfn": ((0, 0.615, 0.200), (4, 0.541, 0.174), (16, 0.449, 0.144)),
    "quiet": ((0, 1.42, 1.0), (1, 0.355, None), (2, -0.763, 0.073), (4, -2.10, 0.007), (8, -2.72, 8e-4)),
}
SETTINGS = {
    "toy": {"lengthscale": 0.6, "noise_std": 0.1},
    "pfn": {"lengthscale": 0.1, "scale": 0.1**0.5, "noise_std": 0.1**0.5, "inputs": {"name": "uniform", "low": 0}},
    "quiet": {"lengthscale": 0.6, "noise_std": 0.01, "inputs": {"name": "uniform", "low": 0, "high": 1}},
}


@pytest.fixture(scope="module")
def floors():
    """The three settings share one program: their fields are data."""
    tasks = {name: fc.get("gaussian-process", points=17, **fields) for name, fields in SETTINGS.items()}

    @jax.jit
    def program(task, key):
        prompts = task.batch(key, 3000)
        return jax.vmap(lambda p: (-task.log_predictive(p), (task.bayes(p).mean - p.ys) ** 2))(prompts)

    return {name: program(task, jax.random.key(5)) for name, task in tasks.items()}


@pytest.mark.parametrize("name", FLOORS)
def test_floors(floors, name):
    """[calc] n = 3000 there and here: 5 standard errors of the difference, and the last digit."""
    nll, error = (np.asarray(a, np.float64) for a in floors[name])
    for t, *expected in FLOORS[name]:
        for found, value in zip((nll[:, t], error[:, t]), expected, strict=True):
            if value is not None:
                margin = 5 * found.std() * np.sqrt(2 / 3000) + 0.01 * abs(value)
                assert abs(found.mean() - value) < margin, (t, found.mean(), value)


def test_points_may_exceed_what_is_well_conditioned():
    """60 examples on a smooth function without noise: finite, and no worse than the nugget allows."""
    task = dataclasses.replace(fc.get("gaussian-process", noise_std=0.0, lengthscale=1.0), points=60)
    prompt = task.sample(jax.random.key(6))
    bayes = jax.jit(task.bayes)(prompt)
    assert np.all(np.isfinite(bayes.mean))
    assert np.abs(bayes.mean - prompt.ys)[30:].max() < 0.05


@jax.jit
def standardized(task, prompts):
    """(y - mean) / std of every prompt."""
    found = jax.vmap(task.bayes)(prompts)
    return (prompts.ys - found.mean) / jnp.sqrt(found.variance)


@pytest.mark.parametrize("fields", [{"noise_std": 0.0}, {"noise_std": 0.0, "lengthscale": 2.0}, {}])
def test_generator_and_bayes_are_one_law(fields):
    """E z^2 = 1 for Bayes' standardized residuals on its own prompts, also without noise; and against the full matrix
    in float64, for prompts of the generator and for labels drawn in float64."""
    task, prompts = fc.get("gaussian-process", points=33, **fields), 300
    batch = jax.jit(lambda task, key: task.batch(key, prompts))(task, jax.random.key(7))
    xs, ys = (np.asarray(a, np.float64) for a in (batch.xs, batch.ys))
    floor = (task.noise_std**2 + NUGGET * task.scale**2) * np.eye(33)
    factors = np.linalg.cholesky(np.stack([gram(task, x, x) for x in xs]) + floor)
    white = np.random.default_rng(0).normal(size=(prompts, 33))
    drawn = (factors @ white[..., None])[..., 0]
    own, other = (standardized(task, fc.Prompt(batch.xs, jnp.asarray(labels, jnp.float32))) for labels in (ys, drawn))
    exact = np.linalg.solve(factors, ys[..., None])[..., 0]
    for z in (own, exact, other):
        # z^2 has variance 2.
        assert np.all(np.abs((np.asarray(z, np.float64) ** 2).mean(0)[[8, 16, 32]] - 1) < 4 * np.sqrt(2 / prompts))
    # One by one, at the same white noise, only rounding is between them: a share of a standard deviation.
    assert np.abs(np.asarray(own, np.float64) - exact).std(0).max() < 0.1
    assert np.abs(np.asarray(other, np.float64) - white).std(0).max() < 0.1


@pytest.mark.parametrize("number", [40, 400])
def test_a_smooth_function_at_hundreds_of_points_keeps_its_law(number):
    """Ten points a lengthscale apart by .01: single precision sees a singular matrix, and values must not notice."""
    task, grid = fc.get("gaussian-process"), jnp.linspace(-2, 2, number)[:, None]
    drawn = jax.vmap(lambda key: task.evaluate(task.sample_latent(key), grid))(jax.random.split(jax.random.key(3), 400))
    found, wanted = np.cov(np.asarray(drawn, float).T), np.asarray(task._covariance(grid, grid), float)
    # A sample covariance of 400 draws has standard errors of at most sqrt(2 / 400).
    assert np.abs(found - wanted).max() < 6 * np.sqrt(2 / 400)
    steps = np.diff(np.asarray(drawn, float), axis=1).std(0)
    assert steps.max() < 1.5 * (4 / (number - 1)) / 0.6 + 2e-2


GRID = fc.get("gaussian-process", points=10, lengthscales=(0.2, 0.6, 2.0), noise_std=0.2, scale=1.3)


BOTH = fc.get("gaussian-process", points=10, lengthscales=(0.3, 1.2), scales=(0.5, 1.0, 2.0), noise_std=0.2)


@pytest.mark.parametrize(("task", "grids"), [(GRID, ((0.2, 0.6, 2.0), (1.3,))), (BOTH, ((0.3, 1.2), (0.5, 1.0, 2.0)))])
def test_a_grid_is_averaged_by_evidence(task, grids):
    """Weights from the joint evidence of the first k labels, moments and log predictives of the mixture in float64;
    queries after k examples likewise."""
    program = jax.jit(
        lambda p: (
            task.lengthscale_posterior(p),
            task.scale_posterior(p),
            task.bayes(p),
            task.log_predictive(p),
            task.predict_at(p, 4, p.xs),
        )
    )
    pairs = [(length, scale) for length in grids[0] for scale in grids[1]]
    noises = [task.noise_std**2 + NUGGET * scale**2 for _, scale in pairs]
    for seed in range(3):
        prompt = task.sample(jax.random.key(seed))
        lengths, scales, bayes, logs, queries = program(prompt)
        grams = [kernel_matrix("rbf", prompt.xs, prompt.xs, *pair, 1.0) for pair in pairs]
        both = list(zip(grams, noises, strict=True))
        evidence = []
        for k in range(11):
            joint = [log_joint_normal(prompt.ys[:k], g[:k, :k] + s * np.eye(k)) if k else 0.0 for g, s in both]
            evidence.append(np.logaddexp.reduce(joint) - np.log(len(pairs)))
            if k == 10:
                break
            own = np.exp(np.array(joint) - np.logaddexp.reduce(joint))
            table = own.reshape(len(grids[0]), len(grids[1]))
            np.testing.assert_allclose(lengths[k], table.sum(1), atol=1e-3)
            np.testing.assert_allclose(scales[k], table.sum(0), atol=1e-3)
            asked = range(10) if k == 4 else [k]
            for j in asked:
                parts = [kernel_bayes(g[:k, :k], g[:k, j : j + 1], g[j, j], prompt.ys[:k], s) for g, s in both]
                means, variances = (np.array([part[i][0] for part in parts]) for i in (0, 1))
                mean = own @ means
                variance = own @ (variances + (means - mean) ** 2)
                found = [(queries.mean[j], queries.variance[j])] if k == 4 else []
                found += [(bayes.mean[k], bayes.variance[k])] if j == k else []
                np.testing.assert_allclose(found, [(mean, variance)] * len(found), rtol=2e-3, atol=1e-3)
        np.testing.assert_allclose(logs, np.diff(evidence), rtol=1e-3, atol=1e-3)


def test_a_grid_of_one_is_the_process_and_draws_its_functions():
    one, plain = (fc.get("gaussian-process", points=6, **f) for f in ({"lengthscales": (0.6,), "scales": (1.0,)}, {}))
    a, b = one.sample(jax.random.key(0)), plain.sample(jax.random.key(0))
    np.testing.assert_array_equal(a.ys, b.ys)
    np.testing.assert_allclose(one.bayes(a).mean, plain.bayes(a).mean, atol=1e-5)


@pytest.mark.parametrize("task", [GRID, BOTH])
def test_hyper_parameters_are_drawn_uniformly(task):
    """Neighbors at distance d have covariance E k(d) over the grid, at fixed inputs, and squares E k(0)."""
    xs = jnp.array([[0.0], [0.5]])

    @jax.jit
    @jax.vmap
    def draw(key):
        return task.evaluate(task.sample_latent(key), xs)

    values = np.asarray(draw(jax.random.split(jax.random.key(1), 20_000)), np.float64)
    square = float(task.mean_square)
    assert square == pytest.approx(np.mean(np.square(task.scales or (task.scale,))), rel=1e-6)
    alike = np.mean([np.exp(-(0.5**2) / (2 * length**2)) for length in task.lengthscales])
    for products, expected in ((values[:, 0] * values[:, 1], square * alike), (values[:, 0] ** 2, square)):
        assert abs(products.mean() - expected) < 5 * products.std() / np.sqrt(20_000)


@pytest.mark.parametrize("kernel", ["rbf", "periodic"])
def test_hundreds_of_values_are_drawn_as_smooth_as_the_process(kernel):
    """A second difference of values h apart has variance 6 k(0) - 8 k(h) + 2 k(2h), and 6 nuggets."""
    task, count = fc.get("gaussian-process", kernel=kernel, points=12), 480
    grid = jnp.linspace(-2, 2, count)[:, None]
    prompts = task.batch(jax.random.key(0), 6)
    drawn = jax.jit(jax.vmap(lambda latent: task.evaluate(latent, grid)))(prompts.latent)
    row = np.asarray(task._covariance(grid[:1], grid[:3]), np.float64)[0]
    std = np.sqrt(max(6 * row[0] - 8 * row[1] + 2 * row[2], 0) + 6 * nugget(count + 12))
    second = np.diff(np.asarray(drawn), n=2, axis=1)
    assert 0.5 < np.sqrt(np.mean(second**2)) / std < 1.5
    assert np.max(np.abs(second)) < 6 * std


def test_long_prompts_are_drawn_and_their_bayes_is_calibrated():
    task = fc.get("gaussian-process", points=300, noise_std=0.0)
    prompts = task.batch(jax.random.key(1), 8)
    found = jax.jit(jax.vmap(task.bayes))(prompts)
    scores = (prompts.ys - found.mean) ** 2 / found.variance
    # The mean of 8 x 300 squares of standard normal numbers is within 4 standard errors of 1.
    assert abs(float(jnp.mean(scores)) - 1) < 4 * np.sqrt(2 / scores.size)
