"""Unknown noise levels: Student-t and grids against float64 twins, the table of variances, coverage and NLL."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

import function_classes as fc
from function_classes.mixtures import mixed_log_predictive, mixed_moments
from tests.function_classes.twins import linear_bayes, linear_evidence

TASK = fc.get("heteroscedastic-linear", dim=3, points=7, weight_std=1.4, noise={"name": "inverse-gamma", "shape": 3.0})


def everything(task, prompt):
    program = jax.jit(lambda t, p: (t.bayes(p).mean, t.bayes(p).variance, t.log_predictive(p)))
    return [np.asarray(a, np.float64) for a in program(task, prompt)]


def test_the_conjugate_posterior_equals_the_textbook():
    """L = X'X + l0 I, m = L^-1 X'y, b = b0 + (y'y - m'Lm) / 2, and scipy's Student-t."""
    prompt = TASK.sample(jax.random.key(0))
    xs, ys = np.asarray(prompt.xs, np.float64), np.asarray(prompt.ys, np.float64)
    mean, variance, logs = everything(TASK, prompt)
    for k in range(7):
        seen, shown = xs[:k], ys[:k]
        precision = seen.T @ seen + np.eye(3) / 1.4**2
        m = np.linalg.solve(precision, seen.T @ shown)
        a, b = 3.0 + k / 2, 1.0 + 0.5 * (shown @ shown - m @ precision @ m)
        square = b / a * (1 + xs[k] @ np.linalg.solve(precision, xs[k]))
        law = scipy.stats.t(2 * a, xs[k] @ m, np.sqrt(square))
        np.testing.assert_allclose([mean[k], variance[k]], [law.mean(), law.var()], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(logs[k], law.logpdf(ys[k]), rtol=1e-4, atol=1e-5)


def density(name, fields):
    if name == "uniform-noise":
        return scipy.stats.uniform(fields["low"], fields["high"] - fields["low"]).pdf, (fields["low"], fields["high"])
    law = scipy.stats.invgamma(fields["shape"], scale=fields["rate"])
    return lambda s: law.pdf(s**2) * 2 * s, (0.02, 12.0)


@pytest.mark.parametrize("weights", ["independent", "proportional"])
@pytest.mark.parametrize(
    ("name", "fields"),
    [("inverse-gamma", {"shape": 3.0, "rate": 0.8}), ("uniform-noise", {"low": 0.2, "high": 1.5})],
)
def test_quadrature_is_within_its_stated_error(name, fields, weights):
    """Evidence and moments by adaptive integration over s in float64."""
    task = fc.get("heteroscedastic-linear", dim=2, points=5, weights=weights, noise={"name": name, **fields})
    prompt = task.sample(jax.random.key(1))
    mean, variance, logs = everything(task, prompt)
    pdf, (low, high) = density(name, fields)

    def integral(value):
        return scipy.integrate.quad_vec(lambda s: pdf(s) * value(s), low, high, epsrel=1e-10, limit=2000)[0]

    def regression(s, k):
        prior = s if weights == "proportional" else 1.0
        m, v = linear_bayes(prompt.xs[: k + 1], prompt.ys[: k + 1], prior, s)
        evidence = np.exp(linear_evidence(prompt.xs[:k], prompt.ys[:k], prior, s)) if k else 1.0
        likelihood = scipy.stats.norm(m[k], np.sqrt(v[k])).pdf(float(prompt.ys[k]))
        return evidence * np.array([1.0, m[k], v[k] + m[k] ** 2, likelihood])

    error = task.bayes_kind.error or 1e-4
    for k in (0, 2, 4):
        total, first, second, likelihood = integral(lambda s, k=k: regression(s, k))
        assert abs(mean[k] - first / total) < error * np.sqrt(second / total)
        assert abs(variance[k] - (second / total - (first / total) ** 2)) < error * second / total
        assert abs(logs[k] - np.log(likelihood / total)) < 2 * error


def test_student_and_grid_agree():
    """The conjugate case, once as Student-t and once over the grid of s."""
    prompt = TASK.sample(jax.random.key(2))
    mean, variance, logs = everything(TASK, prompt)

    @jax.jit
    def grid(p):
        log_weights, found = TASK.levels(p)
        moments = mixed_moments(log_weights, found.mean, found.variance)
        return moments.mean, moments.variance, mixed_log_predictive(log_weights, found.log_predictive)

    for found, expected in zip(grid(prompt), (mean, variance, logs), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)


UNIFORM = fc.get(
    "heteroscedastic-linear",
    dim=4,
    points=31,
    weights="independent",
    noise={"name": "levels", "low": 0.1, "high": 2.0, "count": 40},
)


@pytest.fixture(scope="module")
def forty_levels():
    @jax.jit
    def program(key):
        prompts = UNIFORM.batch(key, 4000)
        found = jax.lax.map(lambda p: (UNIFORM.bayes(p), UNIFORM.log_predictive(p)), prompts, batch_size=100)
        return prompts.xs, prompts.ys, found[0].mean, found[0].variance, found[1]

    return [np.asarray(a, np.float64) for a in program(jax.random.key(3))]


def test_variances_of_forty_levels(forty_levels):
    """d = 4, tau = 1, s uniform on .1 .. 2 [mc]: mean variance and Gaussian NLL (less log(2 pi) / 2) at k = 0, 4, 10,
    30; E z^2 = 1, coverage; and the exact NLL is below the Gaussian one."""
    xs, ys, mean, variance, logs = forty_levels
    places = [0, 4, 10, 30]
    # |x|^2 + E s^2 at k = 0, exactly.
    square = np.mean(np.linspace(0.1, 2, 40) ** 2)
    np.testing.assert_allclose(variance[:, 0], (xs[:, 0] ** 2).sum(1) + square, rtol=1e-5)
    spread = variance[:, places].std(0) / np.sqrt(4000)
    # The table gives two decimals and does not say how many prompts; its own error is taken to be as large as ours.
    assert np.all(np.abs(variance[:, places].mean(0) - [5.42, 3.17, 2.10, 1.65]) < 6 * spread + 0.005)
    gauss = 0.5 * np.log(variance) + (ys - mean) ** 2 / (2 * variance)
    spread = gauss[:, places].std(0) / np.sqrt(4000)
    assert np.all(np.abs(gauss[:, places].mean(0) - [1.27, 1.01, 0.62, 0.44]) < 6 * spread + 0.005)
    z = (ys - mean) / np.sqrt(variance)
    assert np.all(np.abs((z[:, places] ** 2).mean(0) - 1) < 5 * (z[:, places] ** 2).std(0) / np.sqrt(4000))
    inside = (np.abs(z[:, places]) < 1.96).mean(0)
    assert np.all((inside > 0.93) & (inside < 0.965))
    gain = gauss + 0.5 * np.log(2 * np.pi) + logs
    assert gain.mean() > 5 * gain.mean(1).std() / np.sqrt(4000)


def test_noise_laws_have_their_second_moment():
    for name, fields in (
        ("inverse-gamma", {"shape": 6.0, "rate": 2.0}),
        ("levels", {"count": 7}),
        ("uniform-noise", {"low": 0.5}),
    ):
        for weights in ("independent", "proportional"):
            task = fc.get("heteroscedastic-linear", dim=2, points=2, weights=weights, noise={"name": name, **fields})
            prompts = jax.jit(lambda key, task=task: task.batch(key, 20_000))(jax.random.key(4))
            for found, expected in (
                (prompts.latent.noise_std**2, task.noise.mean_variance),
                (jax.vmap(task.evaluate)(prompts.latent, prompts.xs)[:, 0] ** 2, task.mean_square),
            ):
                values = np.asarray(found, np.float64)
                assert abs(values.mean() - expected) < 5 * values.std() / np.sqrt(20_000)
            log_weights, levels = task.noise.grid()
            np.testing.assert_allclose(jnp.sum(jnp.exp(log_weights)), 1, rtol=1e-4)
            np.testing.assert_allclose(jnp.sum(jnp.exp(log_weights) * levels**2), task.noise.mean_variance, rtol=1e-3)


def test_hard_prefixes_stay_finite():
    """No example seen, duplicates, zero rows."""
    for task in (TASK, fc.get("heteroscedastic-linear", dim=3, points=7, noise="levels")):
        prompt = task.sample(jax.random.key(5))
        xs = prompt.xs.at[1].set(prompt.xs[0]).at[3].set(0.0)
        assert np.all(np.isfinite(everything(task, fc.Prompt(xs, prompt.ys))))


def test_levels_must_be_ordered():
    with pytest.raises(fc.ConfigError, match="must be above low"):
        fc.get("heteroscedastic-linear", noise={"name": "levels", "low": 2.0, "high": 1.0})
