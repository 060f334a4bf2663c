"""Elimination over GF(2): the law of its rank, its accuracy, and the inputs that teach every parity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc

# Accuracy after t = n + shift free inputs; the same for n = 10 and n = 20 to 1e-3.
ACCURACY = {-4: 0.5303, -2: 0.610, -1: 0.695, 0: 0.8053, 1: 0.890, 2: 0.9413, 4: 0.9846}


def rank_chain(dim, points):
    """The law of the rank after 0..points-1 inputs: r -> r + 1 with probability 1 - 2^(r - dim)."""
    law, found = np.eye(dim + 1)[0], []
    for _ in range(points):
        found.append(law)
        grow = 1 - 2.0 ** (np.arange(dim + 1) - dim)
        law = law * (1 - grow) + np.concatenate([[0], (law * grow)[:-1]])
    return np.array(found)


@pytest.mark.parametrize("dim", [10, 20])
def test_rank_and_accuracy(dim):
    task = fc.get("parity", dim=dim, points=dim + 5)
    count = 6000
    prompts = task.batch(jax.random.key(0), count)
    found = jax.jit(jax.vmap(task.elimination))(prompts)
    law = rank_chain(dim, dim + 5)
    rank, best = np.asarray(found.rank), np.exp(np.asarray(found.log_probs)).max(-1)
    for t in range(dim + 5):
        frequency = np.bincount(rank[:, t], minlength=dim + 1) / count
        np.testing.assert_allclose(frequency, law[t], atol=5 * 0.5 / np.sqrt(count))
        exact = 0.5 + law[t] @ 2.0 ** (np.arange(dim + 1) - dim) / 2
        assert abs(best[:, t].mean() - exact) < 5 * 0.25 / np.sqrt(count)
        if t - dim in ACCURACY:
            assert abs(exact - ACCURACY[t - dim]) < 1.2e-3


def test_certain_labels_are_right():
    task = fc.get("parity", dim=6, points=12)
    prompts = task.batch(jax.random.key(1), 500)
    log_probs = np.asarray(jax.jit(jax.vmap(task.log_predictive))(prompts))
    known = np.asarray(jax.jit(jax.vmap(task.elimination))(prompts).log_probs).max(-1) == 0
    assert np.all(log_probs[known] == 0)
    np.testing.assert_allclose(log_probs[~known], np.log(0.5), rtol=1e-6)
    assert 0.2 < known.mean() < 0.8


def test_a_basis_teaches_every_parity():
    task = fc.get("parity", dim=5, points=12, teaching="first")
    prompts = task.batch(jax.random.key(2), 64)
    np.testing.assert_array_equal(prompts.xs[:, :5], np.broadcast_to(2 * np.eye(5) - 1, (64, 5, 5)))
    np.testing.assert_array_equal(prompts.ys[:, :5], np.where(np.asarray(prompts.latent.variables) > 0, 1, -1))
    log_probs = np.asarray(jax.jit(jax.vmap(task.bayes))(prompts).log_probs)
    np.testing.assert_allclose(log_probs[:, :5], np.log(0.5))
    assert np.all(log_probs[:, 5:].max(-1) == 0)
    assert np.all(np.asarray(prompts.scored) == (np.arange(12) >= 5))


def test_mixed_prompts_say_their_kind_in_the_density():
    """log p / p_free of a taught beginning is log((1 - q) + q 2^(dim k)) after k + 1 rows, for uniform inputs."""
    task = fc.get("parity", dim=3, points=6, teaching="mixed", taught=0.25)
    rows = jnp.concatenate([2 * jnp.eye(3) - 1, jnp.ones((3, 3))])
    found = np.cumsum(task.log_input_density(fc.Prompt(rows, jnp.ones(6))))
    expected = [np.log(0.75 + 0.25 * 2.0 ** (3 * min(k + 1, 3))) for k in range(6)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    other = np.cumsum(task.log_input_density(fc.Prompt(-rows, jnp.ones(6))))
    np.testing.assert_allclose(other, np.log(0.75), rtol=1e-5)
