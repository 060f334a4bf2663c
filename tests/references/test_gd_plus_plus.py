"""GD++ against its definition on tokens, its form in eigenvalues, and gradient descent, which it contains and beats."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from icl import references
from icl.programs import predict
from icl.references.calibration import fold
from icl.references.gd_plus_plus import _losses
from icl.references.gradient_descent import calibration

TASK = fc.get("linear-regression", dim=3, points=8, noise_std=0.3)
PROMPTS = TASK.batch(jax.random.key(0), 4)


def plus_plus(**fields):
    return references.get("gradient-descent-plus-plus", **fields)


def twin(xs, ys, rate, gamma, steps):
    """Tokens that change: inputs, residuals and the answer of the query, in float64."""
    found = []
    for k in range(len(ys)):
        rows, query, residuals, answer = xs[:k], xs[k], ys[:k], 0.0
        size = max(k, 1)
        for _ in range(steps):
            move = rate / size * rows.T @ residuals
            answer, residuals = answer + move @ query, residuals - rows @ move
            turn = np.eye(len(query)) - gamma / size * rows.T @ rows
            rows, query = rows @ turn, turn @ query
        found.append(answer)
    return np.array(found)


@pytest.mark.parametrize(("rate", "gamma", "steps"), [(0.4, 0.2, 1), (0.5, 0.1, 2), (0.3, 0.05, 5)])
def test_weights_do_what_tokens_do(rate, gamma, steps):
    xs, ys = np.asarray(PROMPTS.xs, float), np.asarray(PROMPTS.ys, float)
    wanted = [twin(*prompt, rate, gamma, steps) for prompt in zip(xs, ys, strict=True)]
    found = predict(plus_plus(rate=rate, gamma=gamma, steps=steps), PROMPTS).mean
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
    other = predict(references.get("gradient-descent", rate=rate, steps=steps), PROMPTS).mean
    assert np.allclose(found, other, rtol=1e-2) == (steps == 1)


def test_without_gamma_it_is_gradient_descent():
    found = predict(plus_plus(rate=0.3, gamma=0.0, steps=4), PROMPTS).mean
    wanted = predict(references.get("gradient-descent", rate=0.3, steps=4), PROMPTS).mean
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_the_search_sees_the_errors_of_the_predictor():
    key = jax.random.key(3)
    own, prompts = calibration(TASK, key, 64), fold(TASK, key, 64).prompts
    pairs = np.array([[0.1, 0.0], [0.2, 0.05]], np.float32)
    found = _losses(own, jnp.asarray(pairs[:, 0]), jnp.asarray(pairs[:, 1]), 3)
    for (rate, gamma), value in zip(pairs, found, strict=True):
        said = predict(plus_plus(rate=float(rate), gamma=float(gamma), steps=3), prompts).mean
        np.testing.assert_allclose(np.mean((said - own.target) ** 2), value, rtol=1e-3)


def test_two_calibrated_steps_beat_those_of_gradient_descent():
    """On fresh prompts, by more than a tenth of the distance to Bayes; numbers that are given stay."""
    key, fresh = jax.random.key(9), TASK.batch(jax.random.key(10), 2000)
    bayes = predict(TASK.bayes, fresh).mean
    best = plus_plus().calibrate(TASK, key)
    descent = references.get("gradient-descent", steps=2, rate="class").calibrate(TASK, key)
    better, worse = (float(jnp.mean((predict(p, fresh).mean - bayes) ** 2)) for p in (best, descent))
    assert best.found["gamma"] > 0
    assert better < 0.9 * worse
    given = plus_plus(gamma=0.0).calibrate(TASK, key).found
    np.testing.assert_allclose(given["rate"], descent.found["rates"][0], rtol=0.05)
    assert given["gamma"] == 0


def test_it_says_what_is_not_known():
    with pytest.raises(fc.NotAvailable, match="rate='class' needs data"):
        plus_plus()(TASK.sample(jax.random.key(0)))
