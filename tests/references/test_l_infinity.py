"""The least largest weight against linear programming, and where theory says what it finds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from function_classes import Prompt
from icl import references
from icl.references.l_infinity import cut

DIM, POINTS = 6, 10
REFERENCE = references.get("l-infinity")


def least(x, y):
    """Least |w|_inf with xw = y."""
    k, dim = x.shape
    eye, ones = np.eye(dim), np.ones((dim, 1))
    bounds = [(None, None)] * dim + [(0, None)]
    found = linprog(
        np.r_[np.zeros(dim), 1.0],
        A_ub=np.block([[eye, -ones], [-eye, -ones]]),
        b_ub=np.zeros(2 * dim),
        A_eq=np.c_[x, np.zeros(k)],
        b_eq=y,
        bounds=bounds,
    )
    return found.fun


def batch():
    """Generic noiseless labels, labels of a sign vector, duplicated examples, zero rows, inputs of signs."""
    rng = np.random.default_rng(1)
    xs = rng.normal(size=(5, POINTS, DIM))
    xs[2, 1::2] = xs[2, ::2]
    xs[3, :2] = 0.0
    xs[4] = np.sign(xs[4])
    ws = rng.normal(size=(5, DIM))
    ws[1] = np.sign(ws[1])
    return xs.astype(np.float32).astype(float), np.einsum("npd,nd->np", xs, ws)


XS, YS = batch()
WEIGHTS = np.asarray(
    jax.jit(jax.vmap(REFERENCE.weights))(Prompt(jnp.asarray(XS, jnp.float32), jnp.asarray(YS, jnp.float32))), float
)


@pytest.mark.parametrize("n", range(5))
def test_it_interpolates_with_a_largest_weight_within_its_stated_error(n):
    for k in range(1, POINTS):
        assert np.abs(XS[n, :k] @ WEIGHTS[n, k] - YS[n, :k]).max() < 1e-4 * np.abs(YS[n]).max()
        rank = np.linalg.matrix_rank(XS[n, :k])
        rows = np.linalg.svd(XS[n, :k], full_matrices=False)[2][:rank]
        wanted = least(rows, rows @ np.linalg.lstsq(XS[n, :k], YS[n, :k], rcond=1e-6)[0])
        assert np.abs(WEIGHTS[n, k]).max() == pytest.approx(wanted, rel=2e-3, abs=1e-5), k


def test_beyond_full_rank_it_is_least_squares_and_nothing_before_the_first():
    np.testing.assert_allclose(WEIGHTS[0, DIM:], np.linalg.lstsq(XS[0], YS[0])[0][None].repeat(4, 0), rtol=1e-3)
    np.testing.assert_array_equal(WEIGHTS[:, 0], 0)


def test_contradicting_labels_are_fitted_as_least_squares():
    prompt = Prompt(jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), jnp.array([1.0, 3.0, 0.0]))
    np.testing.assert_allclose(REFERENCE.weights(prompt)[2], [2.0, 0.0], atol=1e-4)


def test_sign_vectors_are_found_from_half_the_dimension_on():
    """Mangasarian and Recht: with k rows in general position w is the minimum with probability
    P(Binomial(dim - 1, 1/2) < k), which at dim 20 is .18 at k = 8, .68 at 11 and .97 at 14."""
    rng = np.random.default_rng(3)
    xs = rng.normal(size=(400, 15, 20))
    ws = np.sign(rng.normal(size=(400, 20)))
    prompts = Prompt(jnp.asarray(xs, jnp.float32), jnp.asarray(np.einsum("npd,nd->np", xs, ws), jnp.float32))
    found = np.asarray(jax.jit(jax.vmap(REFERENCE.weights))(prompts))
    recovered = np.abs(found - ws[:, None]).max(2).__lt__(0.03).mean(0)
    for k, share in ((8, 0.1796), (11, 0.6762), (14, 0.9682)):
        assert recovered[k] == pytest.approx(share, abs=4 * (share * (1 - share) / 400) ** 0.5 + 0.01)


def test_the_proximal_map_is_the_rest_of_a_projection_on_the_cross_polytope():
    rng = np.random.default_rng(2)
    for step in (0.1, 1.0, 30.0):
        v = rng.normal(size=7)
        near = np.asarray(cut(jnp.asarray(v, jnp.float32), jnp.float32(step)))
        if np.abs(v).sum() <= step:
            np.testing.assert_array_equal(near, 0)
            continue
        assert np.abs(v - near).sum() == pytest.approx(step, rel=1e-5)
        level = np.abs(near).max()
        np.testing.assert_allclose(near, np.clip(v, -level, level), rtol=1e-6)
