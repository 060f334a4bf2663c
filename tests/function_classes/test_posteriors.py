"""Ridge, Bayes and least squares in float32 against float64 wherever scale, penalty, repetition and noise may lead."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import Prompt
from function_classes.posteriors import least_squares_filter, linear_filter
from icl import references
from icl.programs import predict

PROMPTS, POINTS, DIM = 8, 30, 8


@functools.cache
def program(filter_):
    return jax.jit(jax.vmap(filter_, in_axes=(0, 0, None, None) if filter_ is linear_filter else 0))


def data(repeated, scale, noise, seed=1):
    """Inputs (N, P, D) with labels of linear functions and this noise; `repeated`: every input is shown twice."""
    rng = np.random.default_rng(seed)
    xs = rng.normal(size=(PROMPTS, POINTS, DIM))
    if repeated:
        xs[:, 1::2] = xs[:, ::2]
    xs = (scale * xs).astype(np.float32)
    ys = np.einsum("npd,nd->np", xs.astype(float), rng.normal(size=(PROMPTS, DIM)))
    return xs, (ys + noise * rng.normal(size=ys.shape)).astype(np.float32)


def merged(xs, ys, repeated):
    """Two equal rows say what one of sqrt(2) times their mean says, and float64 need not see that they are equal."""
    if not repeated:
        return xs, ys
    pairs = len(xs) // 2 * 2
    half = xs[:pairs:2] * np.sqrt(2), (ys[:pairs:2] + ys[1:pairs:2]) / np.sqrt(2)
    return np.r_[half[0], xs[pairs:]], np.r_[half[1], ys[pairs:]]


def twin(xs, ys, noise, repeated):
    """Means and variances (P,) for w ~ N(0, I) by singular values of [X; noise I]: the square is never formed."""
    xs, ys, found = xs.astype(float), ys.astype(float), []
    for k in range(len(xs)):
        x, y = merged(xs[:k], ys[:k], repeated)
        if noise == 0:
            w = np.linalg.lstsq(x, y, rcond=1e-9)[0] if k else np.zeros(DIM)
            found.append((w @ xs[k], np.nan))
            continue
        u, s, vt = np.linalg.svd(np.r_[x, noise * np.eye(DIM)], full_matrices=False)
        turned = vt @ xs[k] / s
        found.append((turned @ (u.T @ np.r_[y, np.zeros(DIM)]), noise**2 * turned @ turned))
    return np.array(found).T


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("labels", ["of the model", "as noisy as x is large"])
def test_the_range_that_linear_filter_states(repeated, scale, labels):
    """Penalties from 1 to 1e-16 of the square of the scale, and 0."""
    for share in (1.0, 0.3, 0.1, 0.03, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8, 0.0):
        noise = np.float32(share * scale)
        xs, ys = data(repeated, scale, noise if labels == "of the model" else scale)
        found = program(linear_filter)(xs, ys, 1.0, jnp.float32(noise))
        for n in range(PROMPTS):
            mean, variance = twin(xs[n], ys[n], float(noise), repeated)
            largest = np.maximum(np.abs(ys[n]).max(), np.abs(mean).max())
            np.testing.assert_allclose(found.mean[n], mean, rtol=0, atol=1e-7 * largest, err_msg=f"{share}")
            if share:
                np.testing.assert_allclose(found.variance[n], variance, rtol=1e-7, err_msg=f"{share}")


def test_weights_are_those_of_the_mean():
    xs, ys = data(True, 100.0, 1.0)
    for noise in (10.0, 1e-3, 0.0):
        found = program(linear_filter)(xs, ys, 2.0, jnp.float32(noise))
        products = np.einsum("npd,npd->np", np.asarray(found.weights, float), xs)
        np.testing.assert_allclose(found.mean, products, rtol=0, atol=1e-5 * np.abs(found.mean).max())


@pytest.mark.parametrize(("scale", "penalty"), [(1.0, 1e-8), (1e4, 1e-4)])
def test_ridge_at_little_penalty(scale, penalty):
    """Repeated inputs whose labels differ, and inputs times 1e4, are both far below what the labels can tell."""
    xs, ys = data(scale == 1.0, scale, scale)
    batch = Prompt(jnp.asarray(xs), jnp.asarray(ys))
    ridge = predict(references.get("ridge", penalty=penalty), batch).mean
    exact = np.array([twin(x, y, penalty**0.5, scale == 1.0)[0] for x, y in zip(xs, ys, strict=True)])
    np.testing.assert_allclose(ridge, exact, rtol=0, atol=1e-7 * np.abs(exact).max())


def test_bayes_where_the_signal_is_a_hundred_million_times_the_noise():
    """Its variance is right to 1e-6, its mean to the rounding of labels."""
    task = fc.get("linear-regression", dim=DIM, points=POINTS, noise_std=1e-8)
    batch = task.batch(jax.random.key(0), PROMPTS)
    found = predict(task.bayes, batch)
    for n in range(PROMPTS):
        mean, variance = twin(np.asarray(batch.xs[n]), np.asarray(batch.ys[n]), 1e-8, False)
        np.testing.assert_allclose(found.mean[n], mean, rtol=0, atol=2e-7 * np.abs(batch.ys[n]).max())
        np.testing.assert_allclose(found.variance[n], variance + 1e-16, rtol=1e-6)


@pytest.mark.parametrize("name", ["linear-regression", "quadratic"])
def test_least_squares_is_as_exact_as_numpy(name):
    """At every k the 99.9 % quantile of its error over 1,536 prompts is below that of NumPy, which factors every prefix
    anew, in double precision, and returns single."""
    task = fc.get(name, dim=20, points=41, **({"noise_std": 0.5} if name == "linear-regression" else {}))
    batch = task.batch(jax.random.key(0), 1536)
    found = np.asarray(program(least_squares_filter)(batch.xs, batch.ys).mean, float)
    xs, ys = np.asarray(batch.xs), np.asarray(batch.ys)
    for k in (8, 19, 20, 21, 23, 40):
        exact, single = np.zeros((2, 1536))
        for n, (x, y) in enumerate(zip(xs, ys, strict=True)):
            exact[n] = np.linalg.lstsq(x[:k].astype(float), y[:k].astype(float), rcond=None)[0] @ x[k]
            single[n] = np.linalg.lstsq(x[:k], y[:k], rcond=None)[0] @ x[k]
        ours, theirs = (np.quantile(np.abs(values - exact), 0.999) for values in (found[:, k], single))
        assert ours < theirs, k


def test_the_prompts_of_one_batch_do_not_meet():
    """What is computed for a neighbor, and what comes later, changes no bit; the gradient is the one of each alone."""
    xs, ys = data(False, 1.0, 0.1)
    wild = xs.copy()
    wild[1, 10:], wild[2, 5:] = 1e18, np.nan
    plain, other = (program(linear_filter)(x, ys, 1.0, jnp.float32(0.2)) for x in (xs, wild))
    for a, b in zip(plain, other, strict=True):
        np.testing.assert_array_equal(a[3:], b[3:])
        np.testing.assert_array_equal(a[1, :10], b[1, :10])
        np.testing.assert_array_equal(a[2, :5], b[2, :5])


@pytest.mark.parametrize("noise", [0.3, 0.0])
def test_derivatives_are_those_of_float64(noise):
    """Both directions of differentiation, by inputs and labels, against differences of the twin."""
    xs, ys = (array[0, :12] for array in data(False, 1.0, 0.1))
    rng = np.random.default_rng(2)
    dx, dy = (rng.normal(size=array.shape).astype(np.float32) for array in (xs, ys))

    def mean(t):
        return linear_filter(xs + t * dx, ys + t * dy, 1.0, noise).mean

    sides = [twin(xs.astype(float) + h * dx, ys.astype(float) + h * dy, noise, False)[0] for h in (1e-5, -1e-5)]
    exact = (sides[0] - sides[1]) / 2e-5
    for derive in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(jax.jit(derive(mean))(0.0), exact, rtol=0, atol=1e-5 * np.abs(exact).max())
    by_label = jax.jit(jax.jacrev(lambda y: linear_filter(xs, y, 1.0, noise).mean))(ys)
    assert np.all(np.triu(by_label) == 0)
