"""Newton's iteration: its limit, its order of convergence, and the closed form that identification uses."""

import jax
import jax.numpy as jnp
import numpy as np

import function_classes as fc
from icl import references
from icl.programs import predict

TASK = fc.get("linear-regression", dim=4, points=9, noise_std=0.5, weight_std=2.0)
BATCH = TASK.batch(jax.random.key(0), 32).hide()


def means(**fields):
    return np.asarray(predict(references.get("newton", **fields), BATCH).mean, np.float64)


def test_the_family_with_the_penalty_of_bayes_ends_at_bayes():
    family = references.Reference.registry.find("newton").example(TASK)
    assert float(family.penalty) == 0.0625
    bayes = np.asarray(predict(TASK.bayes, BATCH).mean)
    np.testing.assert_allclose(means(iterations=20, penalty=0.0625), bayes, rtol=2e-3, atol=2e-3)


def test_every_iteration_squares_what_is_left():
    x, y = np.asarray(BATCH.xs[0, :6], np.float64), np.asarray(BATCH.ys[0, :6], np.float64)
    system = x.T @ x + 0.5 * np.eye(4)
    solution, (values, basis) = np.linalg.solve(system, x.T @ y), np.linalg.eigh(system)
    left = []
    for iterations in (1, 2, 3):
        w = jax.jit(references.get("newton", iterations=iterations, penalty=0.5).weights)(
            jax.tree.map(lambda a: a[0], BATCH)
        )[6]
        left.append((basis.T @ (solution - np.asarray(w, np.float64)) / (basis.T @ solution))[0])
    assert left[0] > 0.2
    np.testing.assert_allclose(np.square(left[:2]), left[1:], rtol=1e-3)
    np.testing.assert_allclose(left[0], (1 - (values[0] / values[-1]) ** 2) ** 2, rtol=1e-3)


def test_the_closed_form_is_the_iteration():
    for penalty, start in ((0.0, "spectral"), (0.4, "spectral"), (0.4, "frobenius")):
        member = references.get("newton", penalty=penalty, start=start)
        path = member.family_path(TASK, jax.random.key(1), BATCH)([1, 6, 12])
        for iterations, prediction in zip((1, 6, 12), path, strict=True):
            # Near k = dim least squares of a bad prompt is ill-conditioned in float32, whichever way it is computed.
            gap = np.abs(np.asarray(prediction.mean) - means(iterations=iterations, penalty=penalty, start=start))
            assert np.quantile(gap, 0.98) < 1e-3
            assert np.all(np.asarray(prediction.mean)[:, 0] == 0)


def test_singular_systems_stay_in_the_row_space():
    prompt = fc.Prompt(jnp.eye(3)[jnp.array([0, 1, 0, 1, 2])], jnp.array([1.0, 2.0, 1.0, 2.0, 0.0]))
    w = references.get("newton", iterations=24).weights(prompt)
    np.testing.assert_allclose(w[4], [1.0, 2.0, 0.0], atol=1e-5)
    np.testing.assert_array_equal(w[0], np.zeros(3))


def test_the_sensitivity_to_a_query_is_finite_where_eigenvalues_meet():
    prompt = jax.tree.map(lambda a: a[0], BATCH)
    reference = references.get("newton", iterations=3)
    slope = jax.grad(lambda x: reference(fc.Prompt(prompt.xs.at[3].set(x), prompt.ys)).mean[3])(prompt.xs[3])
    np.testing.assert_allclose(slope, reference.weights(prompt)[3], rtol=1e-4)
