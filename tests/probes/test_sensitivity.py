"""Sensitivities of predictors that are linear in the query are their weights; those of tokens show what is copied."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
import probes
from function_classes import NotAvailable, Prediction
from icl import references
from icl.models.constructions import Construction
from probes.sensitivity import dominance, sensitivities, token_sensitivities

TASK = fc.get("linear-regression", dim=3, points=5, noise_std=0.3)


@pytest.mark.parametrize("name", ["ridge", "gradient-descent"])
def test_they_are_the_weights_of_a_linear_predictor(name):
    reference = references.get(name, **({"steps": 3, "rate": 0.2} if name == "gradient-descent" else {}))
    batch = TASK.batch(jax.random.key(0), 8)
    np.testing.assert_allclose(sensitivities(reference, batch), jax.vmap(reference.weights)(batch), atol=1e-5)


def test_bayes_depends_on_its_query_as_ridge_does():
    result = probes.get("sensitivity")(TASK.bayes, task=TASK, key=jax.random.key(1), prompts=16)
    assert result.answer.startswith("the same dependence; nearest: ridge")
    assert result.decision == ""
    ruled = probes.get("sensitivity").measure(TASK.bayes, TASK, jax.random.key(1), 16)
    assert ruled.decision == "same, ridge (best penalty)"
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


def test_token_sensitivities_of_a_copy():
    """After it y tokens hold themselves, |I| = sqrt(D + 1), and the x of the token before, sqrt(D), nothing else."""
    task = fc.get("linear-regression", dim=3, points=5)
    learner = Construction.registry.get("copy-then-step").make(task)
    norms = token_sensitivities(learner, task.batch(jax.random.key(0), 2), "blocks.0.residual")
    assert norms.shape == (2, 9, 9)
    ys = np.arange(1, 8, 2)
    wanted = np.zeros((4, 9))
    wanted[np.arange(4), ys], wanted[np.arange(4), ys - 1] = 2.0, 3**0.5
    np.testing.assert_allclose(norms[:, ys], np.broadcast_to(wanted, (2, 4, 9)), atol=1e-5)
    assert dominance(norms, ys, ys - 1) > 1e3
    assert dominance(norms, ys, ys + 1) < 1e-3


def test_dominance_is_over_the_largest_other_token():
    norms = np.ones((3, 6, 6))
    tokens, sources = np.array([1, 3]), np.array([0, 2])
    assert dominance(norms, tokens, sources) == 1
    norms[:, tokens, tokens] = 50.0
    norms[:, tokens, sources] = 6.0
    assert dominance(norms, tokens, sources) == 6
    norms[:, tokens, 5] = 4.0
    assert dominance(norms, tokens, sources) == 1.5
