"""Dynamical systems: the Kalman filters and their weights against joint Gaussians of the whole stream."""

import jax
import numpy as np
import pytest

import function_classes as fc
from tests.function_classes.twins import log_joint_normal
from tests.harness import Interventions

TASK = fc.get("linear-dynamical-system", points=7, dim=2, pool_size=3, noise_std=0.4, process_std=0.5, radius=0.8)


def stream_covariance(transition, readout, points, process, noise, state):
    """Cov(y_s, y_t) = c' A^{t-s} Sigma_s c + noise^2 [s = t], Sigma_{s+1} = A Sigma_s A' + process^2 I."""
    result, sigma = noise**2 * np.eye(points), state**2 * np.eye(len(readout))
    for s in range(points):
        moved = sigma
        for t in range(s, points):
            value = readout @ moved @ readout
            result[s, t] += value
            result[t, s] += value * (s != t)
            moved = transition @ moved
        sigma = transition @ sigma @ transition.T + process**2 * np.eye(len(readout))
    return result


def test_against_joint_gaussians():
    prompt = TASK.sample(jax.random.key(0))
    ys = np.asarray(prompt.ys, np.float64)
    pool = [np.asarray(a, np.float64) for a in TASK.pool()]
    covariances = [stream_covariance(a, c, 7, 0.5, 0.4, 1.0) for a, c in zip(*pool, strict=True)]
    bayes, logs, belief = jax.jit(lambda p: (TASK.bayes(p), TASK.log_predictive(p), TASK.component_posterior(p)))(
        prompt
    )
    evidence = []
    for t in range(8):
        joint = np.array([log_joint_normal(ys[:t], c[:t, :t]) if t else 0.0 for c in covariances])
        evidence.append(np.logaddexp.reduce(joint) - np.log(3))
        if t == 7:
            break
        weights = np.exp(joint - np.logaddexp.reduce(joint))
        solved = [np.linalg.solve(c[:t, :t], c[:t, t]) for c in covariances]
        means = np.array([s @ ys[:t] for s in solved])
        variances = np.array([c[t, t] - c[:t, t] @ s for c, s in zip(covariances, solved, strict=True)])
        mean = weights @ means
        np.testing.assert_allclose(belief[t], weights, atol=1e-4)
        np.testing.assert_allclose(bayes.mean[t], mean, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(bayes.variance[t], weights @ (variances + (means - mean) ** 2), rtol=1e-4)
    np.testing.assert_allclose(logs, np.diff(evidence), rtol=1e-3, atol=1e-4)


def test_streams_have_the_covariance_of_their_system():
    system = jax.tree.map(lambda a: a[1], TASK.pool())
    keys = jax.random.split(jax.random.key(1), 20_000)
    ys = np.asarray(jax.jit(jax.vmap(lambda k: TASK.sample_prompt(system, k).ys))(keys), np.float64)
    expected = stream_covariance(*(np.asarray(a, np.float64) for a in system), 7, 0.5, 0.4, 1.0)
    products = ys[:, :, None] * ys[:, None]
    assert np.all(np.abs(products.mean(0) - expected) < 5.5 * products.std(0) / np.sqrt(20_000))


def test_systems_turn_and_shrink():
    transition, readout = (np.asarray(a, np.float64) for a in TASK.pool())
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(transition)), 0.8, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(readout, axis=1), 1, rtol=1e-5)


def test_without_any_noise_two_observations_settle_a_known_system():
    """dim 2: the state is known after two observations, and the rest of the stream follows."""
    task = fc.get("linear-dynamical-system", points=6, dim=2, pool_size=1, noise_std=0.0, process_std=0.0)
    prompts = task.batch(jax.random.key(2), 4)
    bayes, logs = jax.jit(jax.vmap(lambda p: (task.bayes(p), task.log_predictive(p))))(prompts)
    np.testing.assert_allclose(bayes.mean[:, 2:], prompts.ys[:, 2:], atol=1e-3)
    assert np.all(np.isfinite(logs))
    assert Interventions(task.bayes, prompts).leaks() == {"other": [], "huge": [], "nan": []}


def test_fresh_systems_have_no_bayes():
    task = fc.get("linear-dynamical-system", pool_size=None)
    prompts = task.batch(jax.random.key(3), 2)
    assert not np.allclose(*np.asarray(prompts.latent.transition))
    with pytest.raises(fc.NotAvailable, match="no pool"):
        task.pool()
