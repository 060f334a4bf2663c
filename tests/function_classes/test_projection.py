"""Permuted projections: Bayes from the joint Gaussian of every class in float64, chance at the first item, digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes.projection import digits

TASK = fc.get("permuted-projection", points=10, dim=2, classes=3, mean_std=1.5, noise_std=0.8)


def log_class(xs, task):
    """log density of all items of one class, their mean integrated out."""
    n = len(xs)
    covariance = task.mean_std**2 * np.ones((n, n)) + task.noise_std**2 * np.eye(n)
    square = np.einsum("id,ij,jd->", xs, np.linalg.inv(covariance), xs)
    return -0.5 * (square + task.dim * (np.linalg.slogdet(covariance)[1] + n * np.log(2 * np.pi)))


@pytest.mark.parametrize("seed", range(3))
def test_bayes_is_a_ratio_of_joint_densities(seed):
    prompt = TASK.sample(jax.random.key(seed))
    xs, ys = np.asarray(prompt.xs, np.float64), np.asarray(prompt.ys)
    log_probs, density = (
        TASK.bayes(prompt).log_probs,
        TASK.log_input_density(prompt) + TASK.input_law.log_density(prompt.xs),
    )
    for k in range(10):
        groups = [xs[:k][ys[:k] == label] for label in range(3)]
        logs = [log_class(np.concatenate([g, xs[k : k + 1]]), TASK) - log_class(g, TASK) for g in groups]
        total = np.logaddexp.reduce(logs)
        np.testing.assert_allclose(log_probs[k], np.array(logs) - total, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(density[k], total - np.log(3), rtol=1e-3, atol=1e-3)


def test_accuracy_starts_at_chance_and_rises():
    @jax.jit
    def program(key):
        prompts = TASK.batch(key, 4000)
        return jnp.argmax(jax.vmap(TASK.bayes)(prompts).log_probs, -1) == prompts.ys

    right = np.asarray(program(jax.random.key(0)), np.float64).mean(0)
    assert abs(right[0] - 1 / 3) < 5 * np.sqrt(2 / 9 / 4000)
    assert right[9] > right[0] + 0.2


@pytest.mark.parametrize("projection", ["none", "orthogonal", "gaussian"])
def test_matrices(projection):
    """E[A'A] = I for all, of orthogonal ones exactly; moments of the first entry, at dim 3."""
    task = fc.get("permuted-projection", dim=3, projection=projection)
    matrices = np.asarray(jax.vmap(task.sample_latent)(jax.random.split(jax.random.key(0), 4000)).matrix, np.float64)
    squares = np.einsum("nij,nik->njk", matrices, matrices)
    if projection != "gaussian":
        np.testing.assert_allclose(squares, np.broadcast_to(np.eye(3), squares.shape), atol=1e-5)
    if projection == "none":
        return
    entry = matrices[:, 0, 0]
    # On the sphere in three dimensions every coordinate is U(-1, 1): fourth moment 1/5; of N(0, 1/3) it is 1/3.
    for power, expected in ((1, 0), (2, 1 / 3), (4, 1 / 5 if projection == "orthogonal" else 1 / 3)):
        assert abs(np.mean(entry**power) - expected) < 5 * np.std(entry**power) / np.sqrt(4000)


def test_what_has_no_bayes_says_why():
    for fields, words in (
        ({"projection": "gaussian"}, r"after a Gaussian A the covariance is s\^2 AA' with A unknown"),
        ({"data": "digits", "dim": 64, "classes": 10}, "the law of the digits is not known"),
        ({"tasks": 5000}, "5000 tasks are not enumerated, at most 4096"),
    ):
        task = fc.get("permuted-projection", **fields)
        prompt = fc.Prompt(jnp.zeros((2, task.dim)), jnp.zeros(2, jnp.int32))
        with pytest.raises(fc.NotAvailable, match=words):
            task.bayes(prompt)
    with pytest.raises(fc.ConfigError, match="digits need dim = 64 and classes = 10, got 8 and 4"):
        fc.get("permuted-projection", data="digits")


def test_a_limited_number_of_tasks():
    task = fc.get("permuted-projection", dim=2, tasks=3)
    latents = jax.vmap(task.sample_latent)(jax.random.split(jax.random.key(0), 300))
    assert len(np.unique(np.asarray(latents.matrix)[:, 0, 0])) == 3
    other = fc.get("permuted-projection", dim=2, tasks=3, task_seed=1)
    assert not np.any(np.isin(np.asarray(other.sample_latent(jax.random.key(0)).matrix), np.asarray(latents.matrix)))


def test_digits_are_standardized_and_shown_under_the_task():
    """1,347 and 450 images of 64 pixels, 3 of them constant; labels are a permutation of the classes."""
    pytest.importorskip("sklearn")
    train, labels = digits("train")
    assert train.shape == (1347, 64)
    assert digits("test")[0].shape == (450, 64)
    spread = train.std(0)
    assert np.all((np.abs(spread - 1) < 1e-4) | (spread == 0))
    assert np.sum(spread == 0) == 3
    task = fc.get("permuted-projection", points=30, dim=64, classes=10, data="digits")
    prompt = task.sample(jax.random.key(0))
    projected = prompt.latent.task
    back = np.asarray(prompt.xs) @ np.asarray(projected.matrix)
    nearest = np.argmin(((back[:, None] - train[None]) ** 2).sum(-1), 1)
    np.testing.assert_allclose(back, train[nearest], atol=1e-3)
    np.testing.assert_array_equal(np.asarray(projected.labels)[labels[nearest]], prompt.ys)


def test_limited_tasks_are_averaged_by_what_they_say_of_items_and_labels():
    """Ratios of joint probabilities over the three tasks, in float64."""
    task = fc.get("permuted-projection", points=5, dim=2, classes=3, tasks=3, noise_std=1.2)
    prompt = task.sample(jax.random.key(1))
    xs, ys = np.asarray(prompt.xs, np.float64), np.asarray(prompt.ys)
    log_probs = task.bayes(prompt).log_probs
    density = task.log_input_density(prompt) + task.input_law.log_density(prompt.xs)
    root = jax.random.key(task.task_seed)
    unlimited = fc.get("permuted-projection", dim=2, classes=3)
    tasks = [unlimited.sample_latent(jax.random.fold_in(root, index)) for index in range(3)]
    said = np.zeros((3, 5, 3))
    for row, one in zip(said, tasks, strict=True):
        for c, label in enumerate(np.asarray(one.labels)):
            center = np.asarray(one.matrix, np.float64) @ np.asarray(one.means[c], np.float64)
            row[:, label] = np.exp(-((xs - center) ** 2).sum(1) / (2 * 1.2**2)) / (2 * np.pi * 1.2**2) / 3
    weights = np.full(3, 1 / 3)
    for k in range(5):
        joint = weights @ said[:, k]
        np.testing.assert_allclose(log_probs[k], np.log(joint / joint.sum()), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(density[k], np.log(joint.sum() / weights.sum()), rtol=1e-3, atol=1e-3)
        weights = weights * said[:, k, ys[k]]
