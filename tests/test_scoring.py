"""Scores of a prediction against their definition, and what they may not depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl.scoring import gaussian_nll


@pytest.mark.parametrize("shape", [(6,), (6, 2), (3, 2, 2)])
def test_gaussian_nll_of_a_position_reads_no_later_label(shape):
    """Where the variance is 0 the floor counts: 1e-6 of the mean square of the labels so far."""
    steps = shape[1] if len(shape) == 3 else 1
    ys = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    score = jax.jit(lambda y: gaussian_nll(y, jnp.zeros(shape), jnp.zeros(shape), steps))
    rows, found = ys.reshape(shape[0] * steps, -1), np.asarray(score(jnp.asarray(ys))).reshape(shape[0] * steps, -1)
    for k in range(len(rows)):
        floor = 1e-6 * np.mean(rows[: k + 1].astype(float) ** 2)
        np.testing.assert_allclose(found[k], 0.5 * (np.log(2 * np.pi * floor) + rows[k] ** 2 / floor), rtol=1e-5)
        for later in (np.nan, 1e9):
            changed = np.where(np.arange(len(rows))[:, None] > k, later, rows).astype(np.float32).reshape(shape)
            other = np.asarray(score(jnp.asarray(changed))).reshape(rows.shape)
            np.testing.assert_array_equal(other[: k + 1], found[: k + 1])


def test_gaussian_nll_where_nothing_varies_is_that_of_variance_one():
    found = gaussian_nll(jnp.array([0.0, 2.0]), jnp.zeros(2), jnp.zeros(2))
    np.testing.assert_allclose(found[0], 0.5 * np.log(2 * np.pi), rtol=1e-6)
    assert np.all(np.isfinite(found))
