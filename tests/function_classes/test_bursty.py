"""Bursty classes: Bayes against enumeration of all assignments of classes in float64, and numbers of the papers."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes.groupings import groupings

SMALL = {"points": 5, "dim": 2, "classes": 4, "labels": 2, "burstiness": 2, "spread": 0.8, "zipf": 0.7}
SMALL |= {"burst_probability": 0.6, "label_shift": 1, "class_seed": 3}


def arrangements(task, points):
    """Probabilities of every group pattern of the items, by drawing copies one after another."""
    context = points - 1
    count = -(-context // task.burstiness)
    found = {tuple(range(points)): 1 - float(task.burst_probability)}
    copies = [g for g in range(count) for _ in range(task.burstiness)]
    orders = list(itertools.permutations(range(len(copies)), context))
    for order in orders:
        for query in range(count):
            groups = (*(copies[i] for i in order), query)
            share = float(task.burst_probability) / len(orders) / count
            found[groups] = found.get(groups, 0.0) + share
    return found


def density(x, mean, variance):
    return np.exp(-0.5 * np.sum((x - mean) ** 2) / variance) / (2 * np.pi * variance) ** (len(x) / 2)


def trained_joint(task, xs, labels):
    """p(x_0..x_k, given labels): sum over groupings and over the class of every group; a label None is not given."""
    means = np.asarray(task.class_means(), np.float64) / np.sqrt(1 + task.spread**2)
    variance = task.spread**2 / (task.dim * (1 + task.spread**2))
    probs = np.arange(1, task.classes + 1) ** -float(task.zipf)
    probs /= probs.sum()
    said = np.array([[density(x, m, variance) for m in means] for x in xs])
    for row, label in zip(said, labels, strict=True):
        if label is not None:
            row[(np.arange(task.classes) + task.label_shift) % task.labels != label] = 0
    n = len(xs)
    if task.trial in ("in-weights", "in-weights-uniform"):
        asked = probs if task.trial == "in-weights" else np.full(task.classes, 1 / task.classes)
        total = 0.0
        for query in range(task.classes):
            others = np.where(np.arange(task.classes) == query, 0, probs)
            others /= others.sum()
            context = np.prod(said[: task.points - 1] @ others)
            total += asked[query] * context * (said[-1, query] if n == task.points else 1)
        return total
    return sum(
        weight * math.prod(probs @ np.prod(said[[i for i in range(n) if groups[i] == g]], 0) for g in set(groups[:n]))
        for groups, weight in arrangements(task, task.points).items()
    )


def new_joint(task, xs, labels):
    """The same with means integrated out by the joint Gaussian of a group, and one uniform label per group."""
    prior = 1 / (task.dim * (1 + task.spread**2))
    n, total = len(xs), 0.0
    for groups, weight in arrangements(task, task.points).items():
        for g in set(groups[:n]):
            members = [i for i in range(n) if groups[i] == g]
            size = len(members)
            covariance = prior * (np.ones((size, size)) + task.spread**2 * np.eye(size))
            square = np.einsum("id,ij,jd->", xs[members], np.linalg.inv(covariance), xs[members])
            weight *= np.exp(-0.5 * square) / ((2 * np.pi) ** size * np.linalg.det(covariance)) ** (task.dim / 2)
            given = {labels[i] for i in members} - {None}
            weight *= {0: 1, 1: 1 / task.labels}.get(len(given), 0)
        total += weight
    return total


@pytest.mark.parametrize(
    ("fields", "joint"),
    [
        ({}, trained_joint),
        ({"burstiness": 3, "points": 4}, trained_joint),
        ({"burstiness": 1, "points": 4}, trained_joint),
        ({"trial": "in-context"}, new_joint),
        ({"trial": "in-weights"}, trained_joint),
        ({"trial": "in-weights-uniform"}, trained_joint),
    ],
)
def test_bayes_sums_over_everything_unseen(fields, joint):
    """Label probabilities and densities of items are ratios of joint probabilities."""
    task = fc.get("bursty-classes", **{**SMALL, **fields})
    program = jax.jit(lambda p: (task.bayes(p).log_probs, task.log_input_density(p) + task.input_law.log_density(p.xs)))
    for seed in range(2):
        prompt = task.sample(jax.random.key(seed))
        xs, ys = np.asarray(prompt.xs, np.float64), [int(y) for y in prompt.ys]
        log_probs, log_density = program(prompt)
        before = 1.0
        for k in range(task.points):
            alone = joint(task, xs[: k + 1], [*ys[:k], None])
            both = [joint(task, xs[: k + 1], [*ys[:k], label]) for label in range(2)]
            np.testing.assert_allclose(np.exp(log_probs[k]), np.array(both) / alone, rtol=1e-3, atol=1e-5)
            np.testing.assert_allclose(log_density[k], np.log(alone / before), rtol=1e-3, atol=1e-3)
            before = both[ys[k]]


def test_groupings_are_counted():
    """8 items: 105 ways in pairs, 35 in fours; 12 in pairs 10,395. Fewer items are the first of more."""
    assert [len(groupings(*pair)) for pair in ((8, 2), (8, 4), (8, 1), (12, 2), (6, 2))] == [105, 35, 1, 10_395, 15]
    for row in groupings(8, 2):
        assert np.all(np.bincount(row) == 2)
    assert len({tuple(row) for row in groupings(8, 4)}) == 35
    np.testing.assert_array_equal(groupings(5, 2), groupings(6, 2)[:, :5])
    task = fc.get("bursty-classes", points=17)
    prompt = task.sample(jax.random.key(0))
    with pytest.raises(fc.NotAvailable, match="groupings of the context into copies are not enumerated"):
        task.bayes(prompt)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [(1024, (0.008, 0.170, 0.561)), (256, (0.031, 0.239, 0.579)), (64, (0.118, 0.358, 0.617))],
)
def test_contamination_of_the_in_weights_trial_of_reddy(classes, expected):
    """P(the query's class is in an independent context of 8) at alpha 0, 1, 1.5 [calc]; and none of it here."""
    for zipf, value in zip((0.0, 1.0, 1.5), expected, strict=True):
        task = fc.get("bursty-classes", classes=classes, zipf=zipf, points=9)
        assert abs(float(task.contamination()) - value) < 6e-4
    own = fc.get("bursty-classes", classes=16, labels=16, zipf=1.5, points=9).in_weights()
    ys = np.asarray(jax.jit(lambda key: own.batch(key, 2000))(jax.random.key(0)).ys)
    assert not np.any(ys[:, :-1] == ys[:, -1:])


def shown(task, n=4000, seed=0):
    return np.asarray(jax.jit(lambda key: task.batch(key, n))(jax.random.key(seed)).ys)


def test_bursts():
    """16 classes with 16 labels: every context has each of its classes B times or a multiple, the query is one of
    them; without bursts draws are independent and follow Zipf's law."""
    task = fc.get("bursty-classes", classes=16, labels=16, points=9, burstiness=4, burst_probability=1.0)
    for row in shown(task, 300):
        counts = np.bincount(row[:-1], minlength=16)
        assert set(counts[counts > 0]) <= {4, 8}
        assert counts[row[-1]] > 0
    plain = fc.get("bursty-classes", classes=16, labels=16, points=9, burst_probability=0.0, zipf=1.0)
    ys = shown(plain)
    law = 1 / np.arange(1, 17)
    law /= law.sum()
    for column in (ys[:, 0], ys[:, -1]):
        share = np.bincount(column, minlength=16) / len(ys)
        assert np.all(np.abs(share - law) < 5 * np.sqrt(law * (1 - law) / len(ys)))
    absent = np.mean(np.all(ys[:, :-1] != ys[:, -1:], 1))
    expected = 1 - float(plain.contamination())
    assert abs(absent - expected) < 5 * np.sqrt(expected * (1 - expected) / len(ys))


@pytest.mark.parametrize(("burstiness", "chance"), [(1, 0.125), (2, 0.25), (4, 0.5)])
def test_a_random_label_of_the_context(burstiness, chance):
    """Reddy: picking one of the N / B groups of new classes is right with probability B / N, plus equal labels."""
    task = fc.get("bursty-classes", labels=1024, classes=1024, burstiness=burstiness, points=9).in_context()
    ys = shown(task)
    right = np.mean(ys[:, :-1] == ys[:, -1:], 1)
    assert np.all(right > 0)
    expected = chance + (1 - chance) / 1024
    assert abs(right.mean() - expected) < 5 * max(right.std(), 1 / 1024) / np.sqrt(len(ys)) + 1e-3


def test_items_have_unit_norm_on_average_and_the_spread_of_their_class():
    """E|x|^2 = 1; two items of one class have inner product 1 / (1 + spread^2)."""
    task = fc.get("bursty-classes", burstiness=8, dim=16, points=9, spread=0.5).in_context()
    xs = np.asarray(jax.jit(lambda key: task.batch(key, 4000))(jax.random.key(1)).xs, np.float64)
    for products, expected in ((np.sum(xs[:, 0] ** 2, -1), 1), (np.sum(xs[:, 0] * xs[:, 1], -1), 1 / 1.25)):
        assert abs(products.mean() - expected) < 5 * products.std() / np.sqrt(4000)


def test_trials_tell_memory_from_copying():
    """A learner that knows the classes and ignores the context, and one that copies the label of the nearest item:
    little spread makes both nearly perfect in training; trials tell them apart."""
    base = fc.get("bursty-classes", dim=32, classes=32, labels=8, points=9, spread=0.05, burst_probability=1.0)
    means = base.class_means()

    def memory(p):
        return jnp.argmin(jnp.sum((p.xs[-1][None] - means) ** 2, 1)) % 8

    def copying(p):
        return p.ys[jnp.argmin(jnp.sum((p.xs[:-1] - p.xs[-1][None]) ** 2, 1))]

    def right(task, learner):
        prompts = jax.jit(lambda key: task.batch(key, 1000))(jax.random.key(2))
        return float(jnp.mean(jax.vmap(learner)(prompts) == prompts.ys[:, -1]))

    assert right(base, memory) > 0.99
    assert right(base, copying) > 0.99
    assert right(base.in_context(), copying) > 0.99
    assert abs(right(base.in_context(), memory) - 1 / 8) < 5 * np.sqrt(7 / 64 / 1000)
    assert right(base.relabeled(), copying) > 0.99
    assert right(base.relabeled(), memory) < 0.01
    for uniform in (False, True):
        assert right(base.in_weights(uniform), memory) > 0.99
        assert right(base.in_weights(uniform), copying) < 0.25


def test_zipf_weighted_and_class_uniform_queries():
    task = fc.get("bursty-classes", classes=16, labels=16, points=3, zipf=1.0)
    law = 1 / np.arange(1, 17)
    for uniform, expected in ((False, law / law.sum()), (True, np.full(16, 1 / 16))):
        share = np.bincount(shown(task.in_weights(uniform))[:, -1], minlength=16) / 4000
        assert np.all(np.abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / 4000))


def test_without_spread_bayes_is_finite_and_certain():
    task = fc.get("bursty-classes", points=5, dim=8, classes=8, labels=4, spread=0.0)
    prompts = jax.jit(lambda key: task.batch(key, 16))(jax.random.key(3))
    logs = np.asarray(jax.jit(jax.vmap(task.log_predictive))(prompts))
    np.testing.assert_allclose(logs, 0, atol=1e-5)


def test_only_multiples_of_labels():
    with pytest.raises(fc.ConfigError, match="multiple of labels = 8, got 30; try 32"):
        fc.get("bursty-classes", classes=30)
