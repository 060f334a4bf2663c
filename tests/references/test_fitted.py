"""Learners fitted anew for every prefix: trees against scikit-learn, the network against a twin, and their schedule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.tree import DecisionTreeRegressor

import function_classes as fc
import icl
from function_classes import ConfigError, NotAvailable, Prompt
from icl import references
from icl.programs import predict

POINTS, DIM = 12, 3


def prompts():
    """Generic, duplicated inputs with other outputs, constant outputs, large outputs with an offset."""
    rng = np.random.default_rng(0)
    xs, ys = rng.normal(size=(4, POINTS, DIM)), rng.normal(size=(4, POINTS))
    xs[1, 1::2] = xs[1, ::2]
    ys[2] = 2.0
    ys[3] = 300 + 40 * ys[3]
    return xs.astype(np.float32).astype(float), ys.astype(np.float32).astype(float)


XS, YS = prompts()
BATCH = Prompt(jnp.asarray(XS, jnp.float32), jnp.asarray(YS, jnp.float32))


def tree(depth, leaf):
    return lambda: DecisionTreeRegressor(max_depth=depth, min_samples_leaf=leaf, random_state=0)


def boosted(trees, depth, rate):
    return lambda: GradientBoostingRegressor(n_estimators=trees, max_depth=depth, learning_rate=rate, random_state=0)


MEMBERS = [
    ("greedy-tree", {"depth": 1}, tree(1, 1)),
    ("greedy-tree", {"depth": 3}, tree(3, 1)),
    ("greedy-tree", {"depth": 6, "leaf": 2}, tree(6, 2)),
    ("gradient-boosted-trees", {"trees": 8, "depth": 2, "rate": 0.3}, boosted(8, 2, 0.3)),
]


@pytest.mark.parametrize(("name", "fields", "twin"), MEMBERS)
def test_trees_are_those_of_scikit_learn(name, fields, twin):
    """In one dimension, where two coordinates cannot part examples alike: among those scikit-learn draws."""
    batch = Prompt(BATCH.xs[:, :, :1], BATCH.ys)
    means = np.asarray(predict(references.get(name, **fields), batch).mean)
    assert np.all(means[:, 0] == 0)
    for n in range(4):
        x = XS[n, :, :1]
        wanted = [twin().fit(x[:k], YS[n, :k]).predict(x[k : k + 1])[0] for k in range(1, POINTS)]
        np.testing.assert_allclose(means[n, 1:], wanted, rtol=1e-4, atol=1e-4)


def test_trees_of_many_examples_in_several_dimensions():
    """Leaves of five among forty: no two coordinates part them alike."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(60, DIM)).astype(np.float32), rng.normal(size=60).astype(np.float32)
    prompt = Prompt(jnp.asarray(x), jnp.asarray(y))
    found = references.get("greedy-tree", depth=3, leaf=5, refit=(40,))(prompt).mean[40:]
    np.testing.assert_allclose(found, tree(3, 5)().fit(x[:40], y[:40]).predict(x[40:]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_boosted_trees_are_those_of_scikit_learn_where_it_agrees_with_itself(seed):
    """In three dimensions: at the examples; elsewhere no farther from its fits than these are from each other."""
    rng, k = np.random.default_rng(seed), 24
    x, y = rng.normal(size=(40, DIM)).astype(np.float32), rng.normal(size=40).astype(np.float32)
    fits = [
        GradientBoostingRegressor(n_estimators=12, max_depth=3, learning_rate=0.3, random_state=s) for s in range(8)
    ]
    said = np.array([fit.fit(x[:k], y[:k]).predict(x) for fit in fits])
    member = references.get("gradient-boosted-trees", trees=12, depth=3, rate=0.3, refit=(k,))
    prompt = Prompt(jnp.asarray(np.r_[x[:k], x]), jnp.asarray(np.r_[y[:k], np.zeros(40, np.float32)]))
    found = np.asarray(jax.jit(member)(prompt).mean)[k:]
    np.testing.assert_allclose(found[:k], said[0, :k], rtol=1e-4, atol=1e-5)
    among = max(np.linalg.norm(a[k:] - b[k:]) for i, a in enumerate(said) for b in said[:i])
    assert min(np.linalg.norm(found[k:] - a[k:]) for a in said) < among


def best_stump(x, y):
    """The least sum of squares that one split can reach, by trying all."""
    costs = [np.square(y - y.mean()).sum()]
    for j in range(x.shape[1]):
        for cut in np.unique(x[:, j])[:-1]:
            left = x[:, j] <= cut
            costs.append(sum(np.square(part - part.mean()).sum() for part in (y[left], y[~left])))
    return min(costs)


def test_every_split_is_the_best_there_is():
    """Read off the training rows: a schedule of one fit predicts only later rows, so examples are shown again."""
    for n in range(4):
        x, y = XS[n, :6], YS[n, :6]
        prompt = Prompt(jnp.asarray(np.r_[x, x], jnp.float32), jnp.asarray(np.r_[y, y], jnp.float32))
        fitted = np.asarray(references.get("greedy-tree", depth=1, refit=(6,))(prompt).mean, float)[6:]
        assert np.square(fitted - y).sum() == pytest.approx(best_stump(x, y), rel=1e-4, abs=1e-4 * np.square(y).max())


def test_a_deep_tree_remembers_what_it_saw():
    x, y = XS[0, :8], YS[0, :8]
    prompt = Prompt(jnp.asarray(np.r_[x, x], jnp.float32), jnp.asarray(np.r_[y, y], jnp.float32))
    np.testing.assert_allclose(references.get("greedy-tree", depth=7, refit=(8,))(prompt).mean[8:], y, rtol=1e-5)


def adam(network, x, y, steps, rate):
    """The network's training in float64, derivatives written out."""
    parts = [np.asarray(p, float) for p in network]
    first, second = ([np.zeros_like(p) for p in parts] for _ in range(2))
    for t in range(1, steps + 1):
        inner, biases, outer, constant = parts
        before = x @ inner + biases
        hidden = np.maximum(before, 0)
        wrong = 2 * (hidden @ outer + constant - y) / len(y)
        back = wrong[:, None] * outer * (before > 0)
        slopes = [x.T @ back, back.sum(0), hidden.T @ wrong, wrong.sum()]
        first = [0.9 * m + 0.1 * g for m, g in zip(first, slopes, strict=True)]
        second = [0.999 * v + 0.001 * g**2 for v, g in zip(second, slopes, strict=True)]
        parts = [
            p - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
            for p, m, v in zip(parts, first, second, strict=True)
        ]
    return parts


def test_the_network_is_trained_by_adam():
    reference = references.get("two-layer-network", width=7, steps=30, rate=0.02, init_seed=4)
    means = np.asarray(predict(reference, BATCH).mean)
    for n in range(2):
        for k in (1, 5, 11):
            inner, biases, outer, constant = adam(reference.start(DIM), XS[n, :k], YS[n, :k], 30, 0.02)
            wanted = np.maximum(XS[n, k] @ inner + biases, 0) @ outer + constant
            assert means[n, k] == pytest.approx(wanted, rel=2e-3, abs=2e-3)
    other = references.get("two-layer-network", width=7, steps=30, rate=0.02, init_seed=5)
    assert np.all(np.asarray(predict(other, BATCH).mean)[:, 3] != means[:, 3])


def test_longer_training_fits_what_it_was_shown():
    x, y = XS[0, :6], YS[0, :6]
    prompt = Prompt(jnp.asarray(np.r_[x, x], jnp.float32), jnp.asarray(np.r_[y, y], jnp.float32))
    reference = references.get("two-layer-network", steps=600, refit=(6,))
    assert np.abs(np.asarray(reference(prompt).mean)[6:] - y).max() < 0.05


@pytest.mark.parametrize("name", ["greedy-tree", "gradient-boosted-trees", "two-layer-network"])
def test_between_refits_the_last_fit_is_used(name):
    few = {"gradient-boosted-trees": {"trees": 3}, "two-layer-network": {"width": 5, "steps": 5}}.get(name, {})
    every = np.asarray(predict(references.get(name, **few), BATCH).mean)
    some = np.asarray(predict(references.get(name, refit=(2, 7), **few), BATCH).mean)
    assert np.all(some[:, :2] == 0)
    np.testing.assert_allclose(some[:, [2, 7]], every[:, [2, 7]], rtol=1e-5)
    moved = Prompt(BATCH.xs, BATCH.ys.at[:, 2:7].set(100.0))
    again = np.asarray(predict(references.get(name, refit=(2, 7), **few), moved).mean)
    np.testing.assert_array_equal(again[:, :7], some[:, :7])
    assert np.all(np.isfinite(some))
    assert "fitted at 2,7" in references.get(name, refit=(2, 7)).label


def test_a_schedule_beyond_the_prompt_or_out_of_order_is_refused():
    task = fc.get("linear-regression", dim=2, points=5)
    with pytest.raises(NotAvailable, match="5 positions"):
        icl.evaluate({"tree": references.get("greedy-tree", refit=(2, 5))}, task, key=jax.random.key(0), prompts=8)
    with pytest.raises(ConfigError, match="must rise"):
        references.get("greedy-tree", refit=(4, 2))


def test_slow_ones_stay_out_of_tables_until_they_are_asked_for():
    task = fc.get("linear-regression", dim=2, points=5)
    assert not [r for r in references.standard(task).values() if r.cost == "slow"]
    table = icl.evaluate({"tree": references.get("greedy-tree", depth=1)}, task, key=jax.random.key(0), prompts=8)
    assert len(table.rows) > 0
