"""Unknown noise levels: Student-t and grids against float64 twins, the table of variances, coverage and NLL."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

import function_classes as fc
from function_classes.mixtures import mixed_log_predictive, mixed_moments
from tests.function_classes.twins import linear_bayes, linear_evidence

TASK = fc.get("heteroscedastic-linear", dim=3, points=7, weight_std=1.4, noise={"name": "inverse-gamma", "shape": 3.0})


@jax.jit
def program(task, prompt):
    """Fields are data: laws that differ in numbers alone share it."""
    return task.bayes(prompt).mean, task.bayes(prompt).variance, task.log_predictive(prompt)


def everything(task, prompt):
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


def filtered(xs, ys, levels, log_weights, prior):
    """Mean, variance and log predictive of the mixture over levels, by Kalman's filter at all of them, in float64."""
    means = np.zeros((len(levels), xs.shape[1]))
    covariances = np.asarray(prior)[:, None, None] ** 2 * np.eye(xs.shape[1])
    logs, found = log_weights - np.logaddexp.reduce(log_weights), []
    for x, y in zip(xs, ys, strict=True):
        gains, means_y = covariances @ x, means @ x
        variances = gains @ x + levels**2
        mean = np.exp(logs) @ means_y
        said = scipy.stats.norm(means_y, np.sqrt(variances)).logpdf(y)
        total = np.logaddexp.reduce(logs + said)
        found.append((mean, np.exp(logs) @ (variances + (means_y - mean) ** 2), total))
        logs = logs + said - total
        means = means + gains * ((y - means_y) / variances)[:, None]
        covariances = covariances - gains[:, :, None] * gains[:, None, :] / variances[:, None, None]
    return np.array(found).T


def fine_levels(name, fields):
    """4,000 levels with log weights, and levels in both tails and the middle of the law."""
    if name == "uniform-noise":
        logs = np.linspace(np.log(fields["low"]), np.log(fields["high"]), 4001)
        logs = (logs[1:] + logs[:-1]) / 2
        return np.exp(logs), logs, np.exp(logs[[0, 1000, 2000, -1]])
    shape, rate = fields["shape"], fields["rate"]
    ends = scipy.special.gammaincinv(shape - 1, 1e-11), 3 * scipy.special.gammaincinv(shape, 1 - 1e-15)
    if shape > 100:
        ends = shape * np.exp(np.array([-12, 12]) / np.sqrt(shape))
    logs = np.linspace(-np.log(ends[1]), -np.log(ends[0]), 4000)
    law = scipy.stats.invgamma(shape, scale=rate)
    trues = np.sqrt(law.ppf([1e-4, 0.01, 0.5, 1 - 1e-4]))
    return np.sqrt(rate) * np.exp(logs / 2), -shape * logs - np.exp(-logs), trues


CORNERS = [
    ("inverse-gamma", {"shape": 1.5, "rate": 1.0}),
    ("inverse-gamma", {"shape": 1.5, "rate": 1e-2}),
    ("inverse-gamma", {"shape": 5.0, "rate": 100.0}),
    ("inverse-gamma", {"shape": 1e3, "rate": 1.0}),
    ("inverse-gamma", {"shape": 1e6, "rate": 1e6}),
    ("uniform-noise", {"low": 0.01, "high": 30.0}),
    ("uniform-noise", {"low": 1.0, "high": 1e4}),
    ("uniform-noise", {"low": 0.3, "high": 0.3003}),
]


@pytest.mark.parametrize(("name", "fields"), CORNERS)
def test_quadrature_holds_at_the_corners_of_the_fields(name, fields):
    """65 positions, the true level in the tails of the law and in its middle."""
    for weights in ("independent", "proportional") if name == "uniform-noise" else ("independent",):
        task = fc.get("heteroscedastic-linear", dim=2, points=65, weights=weights, noise={"name": name, **fields})
        grid, logs, trues = fine_levels(name, fields)
        for seed, true in enumerate(trues):
            rng = np.random.default_rng(seed)
            xs = rng.normal(size=(65, 2)).astype(np.float32)
            scale = true if weights == "proportional" else 1.0
            ys = (scale * xs @ rng.normal(size=2) + true * rng.normal(size=65)).astype(np.float32)
            prior = grid if weights == "proportional" else np.ones_like(grid)
            mean, variance, said = filtered(xs.astype(float), ys.astype(float), grid, logs, prior)
            found = everything(task, fc.Prompt(jnp.asarray(xs), jnp.asarray(ys)))
            error = task.bayes_kind.error
            np.testing.assert_array_less(np.abs(found[0] - mean) / np.sqrt(variance), error)
            np.testing.assert_array_less(np.abs(found[1] / variance - 1), error)
            np.testing.assert_array_less(np.abs(found[2] - said), error)


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


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        ({"name": "inverse-gamma", "shape": 1.2}, "averages over levels need 1.5 .*; weights=proportional"),
        ({"name": "inverse-gamma", "shape": 1e7}, "noise.shape"),
        ({"name": "uniform-noise", "low": 1e-4, "high": 2.0}, "noise.high: averages need at most 10000 low = 1"),
    ],
)
def test_laws_too_wide_for_the_grid_are_refused(noise, words):
    with pytest.raises(fc.ConfigError, match=words):
        fc.get("heteroscedastic-linear", weights="independent", noise=noise)
    if noise["name"] == "inverse-gamma":
        assert fc.get("heteroscedastic-linear", noise=noise).bayes_kind.exact
