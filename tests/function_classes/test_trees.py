"""Decision trees: the recursion over boxes against the sum over every single tree, and numbers of Garg et al."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes.trees import boxes
from tests.function_classes.twins import mixture_bayes
from tests.harness import Interventions


def leaves(xs, coordinates, levels):
    """The leaf of every row, by walking down."""
    result = []
    for x in np.asarray(xs):
        node = 0
        for _ in range(levels):
            node = 2 * node + (2 if x[coordinates[node]] > 0 else 1)
        result.append(node - (2**levels - 1))
    return np.array(result)


def every_tree(task, xs):
    """All trees as one mixture: indicators of the leaves of tree m are features that only component m uses."""
    width = 2**task.levels
    trees = list(itertools.product(range(task.dim), repeat=width - 1))
    features = np.concatenate([np.eye(width)[leaves(xs, tree, task.levels)] for tree in trees], 1)
    stds = task.scale * np.kron(np.eye(len(trees)), np.ones((1, width)))
    return np.full(len(trees), -np.log(len(trees))), np.zeros_like(stds), stds, features


@pytest.mark.parametrize(
    "fields",
    [
        {"dim": 3, "levels": 2, "noise_std": 0.3},
        {"dim": 2, "levels": 3, "scale": 1.5, "noise_std": 0.6},
        {"dim": 1, "levels": 3, "noise_std": 0.2},
        {"dim": 4, "levels": 1, "noise_std": 0.2},
    ],
)
def test_bayes_is_the_sum_over_all_trees(fields):
    task = fc.get("decision-tree", points=9, **fields)
    program = jax.jit(lambda p: (task.bayes(p), task.log_predictive(p)))
    for seed in range(3):
        prompt = task.sample(jax.random.key(seed))
        *prior, features = every_tree(task, prompt.xs)
        _, mean, variance, logs = mixture_bayes(*prior, features, prompt.ys, task.noise_std)
        bayes, found = program(prompt)
        np.testing.assert_allclose(bayes.mean, mean, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(bayes.variance, variance, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found, logs, rtol=1e-3, atol=1e-3)


def test_trees_are_evaluated_as_they_are_walked():
    task = fc.get("decision-tree", dim=4, levels=3)
    for seed in range(5):
        prompt = task.sample(jax.random.key(seed))
        found = leaves(prompt.xs, np.asarray(prompt.latent.coordinates), 3)
        truth = np.asarray(prompt.latent.values)[found]
        np.testing.assert_allclose(task.evaluate(prompt.latent, prompt.xs), truth)


def test_coordinates_are_uniform_and_leaves_have_their_scale():
    """E f^2 = 1 at dim 20 and depth 4, as in the paper."""
    task = fc.get("decision-tree", dim=20, levels=4, points=1)
    prompts = jax.jit(lambda key: task.batch(key, 20_000))(jax.random.key(0))
    square = np.asarray(jax.vmap(task.evaluate)(prompts.latent, prompts.xs), np.float64)[:, 0] ** 2
    assert abs(square.mean() - 1) < 5 * square.std() / np.sqrt(20_000)
    share = np.bincount(np.asarray(prompts.latent.coordinates).reshape(-1), minlength=20) / 300_000
    assert np.all(np.abs(share - 0.05) < 5 * np.sqrt(0.05 * 0.95 / 300_000))


def test_boxes():
    """dim 20, depth 4: 87,441 boxes, of which one example is in 6,196; numbers of boxes are unlike."""
    found = boxes(20, 4)
    assert (found.count, len(found.sizes)) == (87_441, 6_196)
    small = boxes(3, 2)
    numbers = [o + bits for o, size in zip(small.offsets, small.sizes, strict=True) for bits in range(2**size)]
    assert sorted(numbers) == list(range(small.count))
    with pytest.raises(fc.NotAvailable, match="boxes are not enumerated, at most 200000"):
        fc.get("decision-tree", dim=40, levels=4).bayes(fc.Prompt(jnp.zeros((1, 40)), jnp.zeros(1)))


def test_the_order_of_examples_does_not_matter():
    task = fc.get("decision-tree", dim=3, points=8)
    prompt = task.sample(jax.random.key(3))
    order = jnp.array([6, 2, 5, 0, 1, 4, 3, 7])
    program = jax.jit(lambda p: (task.bayes(p).mean[-1], task.bayes(p).variance[-1], task.log_evidence(p)))
    found, again = program(prompt), program(fc.Prompt(prompt.xs[order], prompt.ys[order]))
    np.testing.assert_allclose(found, again, rtol=1e-3, atol=1e-4)


def test_without_noise_a_seen_box_is_known_and_nothing_leaks():
    """The paper has no noise: an input seen before is answered exactly, and evidence stays finite."""
    task = fc.get("decision-tree", dim=3, points=6, noise_std=0.0)
    prompts = jax.jit(lambda key: task.batch(key, 8))(jax.random.key(4))
    xs = prompts.xs.at[:, 4].set(prompts.xs[:, 0])
    prompts = fc.Prompt(xs, jax.vmap(task.evaluate)(prompts.latent, xs))
    bayes, logs = jax.jit(jax.vmap(lambda p: (task.bayes(p), task.log_predictive(p))))(prompts)
    assert np.all(np.isfinite(np.asarray([bayes.mean, bayes.variance, logs])))
    np.testing.assert_allclose(bayes.mean[:, 4], prompts.ys[:, 4], atol=1e-4)
    assert Interventions(task.bayes, prompts).leaks() == {"other": [], "huge": [], "nan": []}
