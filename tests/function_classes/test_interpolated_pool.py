"""Tasks between those of a pool (Raventos et al. 2023): where they lie, and how often each is drawn."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

import function_classes as fc


def test_interpolated_tasks_lie_between_two_of_the_pool():
    """At the ends a direction of the pool, in between the mean of the two norms; every pair is drawn alike, and is the
    one that its index names."""
    task = fc.get("interpolated-pool", dim=3, points=4, pool_size=4, share=0.25)
    pool, pairs = np.asarray(task.pool(), np.float64), np.asarray(task.candidates(), np.float64)
    expected = []
    for i, j in itertools.permutations(range(4), 2):
        between = 0.75 * pool[i] + 0.25 * pool[j]
        norms = np.linalg.norm(pool[[i, j]], axis=1)
        expected.append(norms.mean() * between / np.linalg.norm(between))
    np.testing.assert_allclose(pairs, expected, rtol=1e-5)
    drawn = jax.vmap(task.sample_latent)(jax.random.split(jax.random.key(0), 6000))
    np.testing.assert_allclose(drawn.weights, pairs[np.asarray(drawn.index)], rtol=1e-5)
    share = np.bincount(np.asarray(drawn.index), minlength=12) / 6000
    np.testing.assert_allclose(share, 1 / 12, atol=5 * np.sqrt(1 / 12 / 6000))
    ends = dataclasses.replace(task, share=0.0).candidates()
    cosines = np.einsum("pd,pd->p", ends, np.repeat(pool, 3, 0)) / np.linalg.norm(ends, axis=1)
    np.testing.assert_allclose(cosines / np.linalg.norm(np.repeat(pool, 3, 0), axis=1), 1, rtol=1e-5)


def test_large_pools_are_interpolated_without_a_list_of_pairs():
    task = fc.get("interpolated-pool", dim=2, points=3, pool_size=2**15)
    assert task.bayes_kind.kind == "none"
    assert task.sample(jax.random.key(0)).ys.shape == (3,)
    with pytest.raises(fc.NotAvailable, match=r"about 10\^9 pairs of tasks"):
        task.candidates()
