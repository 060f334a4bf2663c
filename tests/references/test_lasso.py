"""The lasso against scikit-learn in float64 and against its optimality conditions, also where examples are few."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Lasso

import function_classes as fc
from function_classes import Prompt
from icl import references
from icl.programs import predict
from icl.references.calibration import fold

DIM, POINTS = 5, 12


def prompts():
    """Generic noisy, noiseless and sparse, duplicated inputs, zero rows, a zero column, dependent columns."""
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(6, POINTS, DIM))
    ys = xs @ np.array([1.0, -2.0, 0.0, 0.0, 0.5]) + 0.3 * rng.normal(size=(6, POINTS))
    ys[1] = xs[1] @ np.array([0.0, 3.0, 0.0, 0.0, 0.0])
    xs[2, 1::2] = xs[2, ::2]
    xs[3, :3] = 0.0
    xs[4, :, 2] = 0.0
    xs[5, :, 2] = xs[5, :, 0] + xs[5, :, 1]
    return xs.astype(np.float32).astype(float), ys.astype(np.float32).astype(float)


XS, YS = prompts()
BATCH = Prompt(jnp.asarray(XS, jnp.float32), jnp.asarray(YS, jnp.float32))


def weights(**fields):
    return np.asarray(jax.jit(jax.vmap(references.get("lasso", **fields).weights))(BATCH), float)


@pytest.mark.parametrize("fields", [{"penalty": 0.4}, {"penalty": 0.05, "loss": "mean"}, {"penalty": 6.0}])
def test_twin(fields):
    found = weights(**fields)
    for n in range(5):
        for k in range(1, POINTS):
            alpha = fields["penalty"] / (k if fields.get("loss", "sum") == "sum" else 1)
            twin = Lasso(alpha, fit_intercept=False, max_iter=10**6, tol=1e-12).fit(XS[n, :k], YS[n, :k])
            np.testing.assert_allclose(found[n, k], twin.coef_, atol=2e-4, err_msg=f"prompt {n} at {k}")


@pytest.mark.parametrize("penalty", [0.01, 0.4, 6.0])
def test_optimality_holds_everywhere(penalty):
    """|X_j'(y - Xw)| <= penalty, with equality and the sign of w_j where w_j is not 0: also without uniqueness."""
    found = weights(penalty=penalty)
    for n in range(6):
        for k in range(POINTS):
            x, y, w = XS[n, :k], YS[n, :k], found[n, k]
            slope = x.T @ (y - x @ w)
            rounding = 2e-5 * (1 + np.abs(x).T @ np.abs(y))
            assert np.all(np.abs(slope) <= penalty + rounding), (n, k)
            assert np.all((np.abs(slope - penalty * np.sign(w)) <= rounding)[w != 0]), (n, k)


def test_orthonormal_columns_are_shrunk():
    prompt = Prompt(jnp.eye(3)[jnp.array([0, 1, 2, 0])], jnp.array([2.0, -0.3, -1.5, 0.0]))
    found = references.get("lasso", penalty=0.5).weights(prompt)
    np.testing.assert_allclose(found[3], [1.5, 0.0, -1.0], atol=1e-5)
    np.testing.assert_array_equal(found[0], np.zeros(3))


def test_little_penalty_and_enough_examples_are_least_squares():
    exact = predict(references.get("least-squares"), BATCH).mean[0, -4:]
    np.testing.assert_allclose(predict(references.get("lasso", penalty=1e-5), BATCH).mean[0, -4:], exact, atol=1e-3)


def test_one_input_and_one_point():
    prompt = Prompt(jnp.array([[2.0], [1.0]]), jnp.array([3.0, 0.0]))
    np.testing.assert_allclose(references.get("lasso", penalty=2.0)(prompt).mean, [0.0, (6.0 - 2.0) / 4.0], rtol=1e-6)


def test_the_best_penalty_is_better_than_its_neighbors():
    task = fc.get("linear-regression", dim=4, points=8, noise_std=0.7)
    best = references.get("lasso", penalty="class").calibrate(task, jax.random.key(0))
    data = fold(task, jax.random.key(0), 128)

    def loss(penalty):
        means = np.asarray(predict(references.get("lasso", penalty=penalty), data.prompts).mean)
        return np.mean((means - np.asarray(data.target)) ** 2)

    found = float(best.penalty)
    assert best.found["penalty"] == pytest.approx(found, rel=1e-4)
    assert loss(found) < min(loss(found / 2), loss(found * 2))


def test_standard_where_weights_are_sparse():
    class Sparse(type(fc.get("linear-regression"))):
        sparsity: int = 2

    labels = {m.label for m in references.Reference.registry.find("lasso").standard(Sparse())}
    assert labels == {"lasso (best penalty)", "lasso-0.01 per example"}
    assert not references.Reference.registry.find("lasso").families(fc.get("linear-regression"))


def test_little_penalty_and_few_examples():
    """At penalty 0.01 and dim 20 weights trade places for almost nothing. Their gap to the dual objective, which bounds
    what is missing to the minimum, is 5e-3 of the objective at the most in each of 512 prompts."""
    task = fc.get("linear-regression", dim=20, points=13)
    batch = task.batch(jax.random.key(0), 512)
    found = np.asarray(jax.jit(jax.vmap(references.get("lasso", penalty=0.01).weights))(batch), float)
    xs, ys = np.asarray(batch.xs, float), np.asarray(batch.ys, float)
    for k in range(1, 13):
        rest = ys[:, :k] - np.einsum("npd,nd->np", xs[:, :k], found[:, k])
        slopes = np.abs(np.einsum("npd,np->nd", xs[:, :k], rest)).max(1)
        dual = rest * np.minimum(1, 0.01 / slopes)[:, None]
        objective = np.sum(rest**2, 1) / 2 + 0.01 * np.abs(found[:, k]).sum(1)
        gap = objective - np.sum(dual * ys[:, :k] - dual**2 / 2, 1)
        assert np.max(gap / objective) < 5e-3, k
