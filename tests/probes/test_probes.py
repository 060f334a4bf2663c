"""Probes on predictors whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
import probes
from function_classes import NotAvailable, Prediction
from icl import references

TASK = fc.get("linear-regression", dim=3, points=6, noise_std=0.3)


def test_implicit_weights_of_bayes_are_the_posterior_mean():
    result = probes.implicit_weights(TASK.bayes, task=TASK, key=jax.random.key(0), prompts=16)
    rows = result.table().where(metric="linearity_r2")
    assert np.all(rows.value > 0.999)
    assert "ridge" in result.answer
    assert result.decision == "linear, ridge (best penalty)"
    gap = result.table().where(metric="weight_distance", predictor="ridge (best penalty)")
    assert np.all(gap.value < 1e-3)


def test_implicit_weights_of_a_reference_are_its_weights():
    ridge = references.get("ridge", penalty=0.7)
    result = probes.implicit_weights(ridge, task=TASK, key=jax.random.key(1), prompts=8)
    prompts = TASK.batch(jax.random.split(jax.random.key(1), 3)[0], 8)
    np.testing.assert_allclose(result.arrays["weights"], jax.vmap(ridge.weights)(prompts), atol=1e-4)


def test_a_predictor_that_is_not_linear_is_called_so():
    def cubic(prompt):
        return Prediction(mean=jnp.sum(prompt.xs**2, -1) * (1 + 0 * prompt.ys))

    result = probes.implicit_weights(cubic, task=TASK, key=jax.random.key(2), prompts=16)
    assert np.all(result.table().where(metric="linearity_r2").value < 0.5)
    assert result.decision == "not linear"


def test_distance_finds_the_reference_itself():
    result = probes.distance(references.get("averaging"), task=TASK, key=jax.random.key(3), prompts=32)
    assert result.answer.startswith("nearest: averaging (0)")
    assert result.decision == "averaging"


def test_distance_on_symbols_is_a_divergence():
    task = fc.get("markov", points=8)
    result = probes.distance(task.bayes, task=task, key=jax.random.key(4), prompts=16)
    assert set(result.table()["normalization"]) == {"nats"}
    assert np.all(result.table().where(predictor="bayes").value == 0)


def test_results_survive_the_disk_and_draw(tmp_path):
    result = probes.distance(TASK.bayes, task=TASK, key=jax.random.key(5), prompts=16)
    again = probes.load(result.save(tmp_path / "p"))
    assert again.answer == result.answer
    assert again.decision == result.decision == "bayes or ridge (best penalty)"
    assert again.axes == result.axes
    for name, array in result.arrays.items():
        np.testing.assert_array_equal(array, again.arrays[name])
    assert (tmp_path / "p" / "distance.png").stat().st_size > 5000


def test_refusals_say_why():
    with pytest.raises(NotAvailable, match="markov"):
        probes.implicit_weights(references.get("null"), task=fc.get("markov"), key=jax.random.key(6))
    with pytest.raises(NotAvailable, match="at least 8"):
        probes.distance(TASK.bayes, task=TASK, key=jax.random.key(7), prompts=2)
    with pytest.raises(NotAvailable, match="task="):
        probes.distance(TASK.bayes, key=jax.random.key(8))
    with pytest.raises(fc.ConfigError, match="implicit-weights"):
        probes.get("implicit-weight")
