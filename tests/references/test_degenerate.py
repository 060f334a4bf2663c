"""Prompts that say little or the same again: every reference answers them, and those with a pool or GD++ as their twins
in float64 do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from function_classes import Prompt, Signs
from icl import references
from icl.programs import predict
from icl.references.em_mixture import SoftWeights
from icl.references.pool import HardChoice, Pool, SoftChoice
from tests.conftest import rotate
from tests.references.test_contract import PAIRS, POINTS, TASKS, settled


def pytest_generate_tests(metafunc):
    if "kind" in metafunc.fixturenames:
        names = rotate(metafunc.config, tuple(references.names()))
        metafunc.parametrize(("name", "kind"), [pair for pair in PAIRS if pair[0] in names])


def degenerate(task):
    """Prompts 0 to 4: one input again and again, inputs of rank 1, inputs that are 0 (all alike where inputs are
    signs), labels without noise, one label. Prompts 5 and 6 have x_0..x_3 and y_0..y_2 in common."""
    batch = task.batch(jax.random.key(8), 7)
    xs, ys = np.array(batch.xs), np.array(batch.ys)
    if xs.shape[-1]:
        xs[0] = xs[0, :1]
        xs[1] = xs[1, :, :1]
        xs[2] = 1.0 if isinstance(task.x_space, Signs) else 0.0
        ys[3] = jax.vmap(task.evaluate)(batch.latent, batch.xs)[3]
    ys[4] = ys[4, 0]
    xs[6, :4], ys[6, :3] = xs[5, :4], ys[5, :3]
    return Prompt(jnp.asarray(xs), jnp.asarray(ys))


def test_degenerate_prompts_are_answered_and_equal_pasts_alike(name, kind):
    prediction = predict(settled(name, kind), degenerate(TASKS[kind]))
    assert jax.tree.leaves(prediction)
    for leaf in map(np.asarray, jax.tree.leaves(prediction)):
        assert leaf.shape[:2] == (7, POINTS)
        np.testing.assert_array_equal(leaf[5, :4], leaf[6, :4])
    for numbers in (prediction.mean, prediction.variance):
        assert numbers is None or np.all(np.isfinite(numbers))
    if prediction.log_probs is not None:
        # The log of what cannot be is -inf.
        np.testing.assert_allclose(np.exp(prediction.log_probs).sum(-1), 1, atol=1e-5)


PROMPTS = degenerate(TASKS["vectors"])
XS, YS = (np.asarray(a, np.float64) for a in (PROMPTS.xs, PROMPTS.ys))
CANDIDATES = np.array([[1.0, -1.0, 0.5], [0.3, 0.8, -1.2], [-1.5, 0.1, 0.4], [0.2, -0.6, 1.1]])
PRIOR, NOISE, WIDTH = np.array([0.4, 0.3, 0.2, 0.1]), 0.3, 0.5
POOL = Pool(jnp.asarray(CANDIDATES, jnp.float32), jnp.log(jnp.asarray(PRIOR, jnp.float32)), jnp.float32(NOISE))


def shares(logs):
    weights = np.exp(logs - logs.max())
    return weights / weights.sum()


def soft(x, y):
    return shares(np.log(PRIOR) - np.square(y[:, None] - x @ CANDIDATES.T).sum(0) / (2 * NOISE**2)) @ CANDIDATES


def hard(x, y):
    errors = np.square(y[:, None] - x @ CANDIDATES.T).sum(0)
    # Rounding of sums parts no ties here: what ties says the same of every input.
    best = np.isclose(errors, errors.min(), rtol=1e-9)
    return (PRIOR * best) @ CANDIDATES / (PRIOR * best).sum()


def smoothed(x, y):
    covariance = WIDTH**2 * x @ x.T + NOISE**2 * np.eye(len(y))
    gaps = y[:, None] - x @ CANDIDATES.T
    solved = np.linalg.solve(covariance, gaps)
    own = CANDIDATES + WIDTH**2 * (x.T @ solved).T
    return shares(np.log(PRIOR) - 0.5 * (gaps * solved).sum(0)) @ own


def plus_plus(x, y, rate=0.2, gamma=0.05, steps=3):
    """Inputs and residuals that change; the weights are what the turned inputs have answered."""
    w, turn, size, rows, residuals = np.zeros(3), np.eye(3), max(len(y), 1), x, y
    for _ in range(steps):
        move = rate / size * rows.T @ residuals
        w, residuals = w + turn @ move, residuals - rows @ move
        next_turn = np.eye(3) - gamma / size * rows.T @ rows
        rows, turn = rows @ next_turn, turn @ next_turn
    return w


TWINS = {
    "em-mixture": (SoftWeights(POOL), soft),
    "pool-argmin": (HardChoice(POOL), hard),
    "smoothed-pool": (SoftChoice(POOL, jnp.float32(WIDTH)), smoothed),
    "gradient-descent-plus-plus": (
        references.get("gradient-descent-plus-plus", rate=0.2, gamma=0.05, steps=3),
        plus_plus,
    ),
}


@pytest.mark.parametrize("family", TWINS)
def test_degenerate_prompts_as_in_float64(family):
    predictor, twin = TWINS[family]
    weights = np.asarray(jax.jit(jax.vmap(predictor.weights))(PROMPTS))
    for n in range(7):
        for k in range(POINTS):
            np.testing.assert_allclose(weights[n, k], twin(XS[n, :k], YS[n, :k]), rtol=2e-4, atol=2e-5)


def test_the_prior_mean_sees_nothing():
    mean = np.asarray(predict(settled("prior-mean", "vectors"), PROMPTS).mean)
    np.testing.assert_array_equal(mean, np.broadcast_to(mean[:1], mean.shape))
