"""Linear classification: quadrature against finer integrals, arcs against counted directions, calibration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import function_classes as fc

LINKS = {"logistic": scipy.special.expit, "probit": scipy.stats.norm.cdf}


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize(("dim", "nodes"), [(1, 4000), (2, 500), (3, 90)])
def test_quadrature_is_within_its_stated_error(link, dim, nodes):
    """P(+) by a dense grid over w in +-6 standard deviations, in float64, at 16 examples."""
    task = fc.get("linear-classification", dim=dim, link=link)
    prompts = task.batch(jax.random.key(0), 4)
    found = np.exp(np.asarray(jax.jit(jax.vmap(task.bayes))(prompts).log_probs, np.float64))
    axis = np.linspace(-6, 6, nodes)
    grid = np.stack(np.meshgrid(*[axis] * dim, indexing="ij"), -1).reshape(-1, dim)
    for i in range(4):
        logs = -0.5 * (grid**2).sum(1)
        scores = 2.0 * grid @ np.asarray(prompts.xs[i], np.float64).T
        for k in range(16):
            plus = np.exp(logs - logs.max()) @ LINKS[link](scores[:, k]) / np.exp(logs - logs.max()).sum()
            assert abs(found[i, k, 1] - plus) < task.bayes_kind.error, (i, k)
            logs = logs + np.log(np.maximum(LINKS[link](float(prompts.ys[i, k]) * scores[:, k]), 1e-300))


@pytest.mark.parametrize(
    ("dim", "points", "nodes", "link", "most"),
    [(1, 65, 5001, "logistic", 30.6), (1, 65, 5001, "probit", 19.4), (2, 33, 300, "logistic", 3.7)],
)
def test_the_lattice_holds_up_to_the_largest_weights_it_promises(dim, points, nodes, link, most):
    """As above, at more examples; inputs of twice the size halve what is promised, and beyond nothing is."""
    task = fc.get("linear-classification", dim=dim, link=link, points=points, weight_std=most)
    assert task.bayes_kind.error == 1e-2
    wide = fc.get("linear-classification", dim=dim, link=link, weight_std=most, inputs={"name": "gaussian", "std": 2.0})
    assert wide.bayes_kind.error == 1
    assert "too coarse for weight_std above" in wide.bayes_kind.detail
    prompts = task.batch(jax.random.key(1), 3)
    found = np.exp(np.asarray(jax.jit(jax.vmap(task.bayes))(prompts).log_probs, np.float64))
    axis = np.linspace(-6, 6, nodes)
    grid = most * np.stack(np.meshgrid(*[axis] * dim, indexing="ij"), -1).reshape(-1, dim)
    log_link = scipy.special.log_expit if link == "logistic" else scipy.special.log_ndtr
    for i in range(3):
        logs = -0.5 * ((grid / most) ** 2).sum(1)
        for k in range(points):
            scores = grid @ np.asarray(prompts.xs[i, k], np.float64)
            weights = np.exp(logs - logs.max())
            assert abs(found[i, k, 1] - weights @ LINKS[link](scores) / weights.sum()) < 1e-2, (i, k)
            logs = logs + log_link(float(prompts.ys[i, k]) * scores)


def test_arcs_against_counted_directions():
    """threshold: the share of 200,000 equally spaced directions that fit the labels before."""
    task = fc.get("linear-classification", dim=2, link="threshold", points=9)
    angles = (np.arange(200_000) + 0.5) / 200_000 * 2 * np.pi
    directions = np.stack([np.cos(angles), np.sin(angles)], 1)
    for seed in range(6):
        prompt = task.sample(jax.random.key(seed))
        found = np.exp(np.asarray(jax.jit(task.bayes)(prompt).log_probs, np.float64))[:, 1]
        alive = np.ones(200_000, bool)
        for k in range(9):
            side = directions @ np.asarray(prompt.xs[k], np.float64) >= 0
            # Ends of the arc fall between directions: one over the number left, twice.
            assert abs(found[k] - side[alive].mean()) < 2 / alive.sum() + 1e-5, (seed, k)
            alive &= side == (prompt.ys[k] > 0)


def test_one_dimension_is_settled_by_one_label():
    task = fc.get("linear-classification", dim=1, link="threshold", points=5)
    prompts = task.batch(jax.random.key(1), 20)
    right = np.exp(np.asarray(jax.vmap(task.log_predictive)(prompts)))
    np.testing.assert_allclose(right[:, 0], 0.5, rtol=1e-5)
    np.testing.assert_allclose(right[:, 1:], 1, rtol=1e-5)


@pytest.mark.parametrize("link", LINKS)
def test_labels_follow_the_link(link):
    task = fc.get("linear-classification", dim=2, link=link, points=1)
    prompts = jax.jit(lambda key: task.batch(key, 20_000))(jax.random.key(2))
    scores = np.asarray(jnp.sum(prompts.xs[:, 0] * prompts.latent, -1), np.float64)
    residual = (np.asarray(prompts.ys)[:, 0] > 0) - LINKS[link](scores)
    for weight in (np.ones_like(scores), np.tanh(scores), np.abs(scores)):
        product = residual * weight
        assert abs(product.mean()) < 5 * product.std() / np.sqrt(20_000)
    np.testing.assert_allclose(
        np.exp(jax.vmap(task.oracle)(prompts).log_probs)[:, 0, 1], LINKS[link](scores), rtol=1e-4, atol=1e-6
    )


def test_beyond_three_dimensions_there_is_no_bayes():
    task = fc.get("linear-classification", dim=4)
    with pytest.raises(fc.NotAvailable, match="at most 3"):
        task.bayes(task.sample(jax.random.key(3)))
