"""Sensitivities of predictors that are linear in the query are their weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
import probes
from function_classes import NotAvailable, Prediction
from icl import references
from probes.sensitivity import sensitivities

TASK = fc.get("linear-regression", dim=3, points=5, noise_std=0.3)


@pytest.mark.parametrize("name", ["ridge", "gradient-descent"])
def test_they_are_the_weights_of_a_linear_predictor(name):
    reference = references.get(name, **({"steps": 3, "rate": 0.2} if name == "gradient-descent" else {}))
    batch = TASK.batch(jax.random.key(0), 8)
    np.testing.assert_allclose(sensitivities(reference, batch), jax.vmap(reference.weights)(batch), atol=1e-5)


def test_bayes_depends_on_its_query_as_ridge_does():
    result = probes.get("sensitivity")(TASK.bayes, task=TASK, key=jax.random.key(1), prompts=16)
    assert result.answer.startswith("the same dependence; nearest: ridge")
    assert result.decision == "same, ridge (best penalty)"
    rows = result.table().where(predictor="ridge (best penalty)")
    assert np.all(rows.where(metric="cosine").value > 0.999)
    assert np.all(rows.where(metric="prediction_difference").value < 0.05)


def test_a_nonlinear_predictor_has_its_own_derivative():
    def cubic(prompt):
        return Prediction(mean=jnp.sum(prompt.xs**3, -1))

    batch = TASK.batch(jax.random.key(2), 4)
    np.testing.assert_allclose(sensitivities(cubic, batch), 3 * batch.xs**2, rtol=1e-5)
    assert probes.get("sensitivity")(cubic, task=TASK, key=jax.random.key(3), prompts=8).answer.startswith(
        "not the same"
    )


def test_refusals():
    with pytest.raises(NotAvailable, match="derivative by a query"):
        probes.get("sensitivity")(references.get("null"), task=fc.get("markov"), key=jax.random.key(4))
