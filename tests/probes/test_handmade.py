"""The hand-set learners that are controls of probes compute what is said of them, disguised or not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl.programs import draw, predict
from icl.references.gradient_descent import GradientDescent
from icl.references.newton import Newton
from probes.handmade import Sequential
from probes.known import SUBJECTS, best_rate, penalty
from probes.truths import TINY
from probes.unseen import UNSEEN

PROMPTS = draw(TINY, jax.random.key(1), 0, 64)
EXACT = {
    "five Newton iterations": Newton(5, penalty(TINY), "frobenius"),
    "three layers of descent": GradientDescent(3, 0.3),
    "six small steps": GradientDescent(6, 0.2),
    "one step, merged": GradientDescent(1, best_rate(TINY)),
    "one step, two heads": GradientDescent(1, best_rate(TINY)),
    "one example after another": Sequential(jnp.float32(0.2)),
}


def said(predictor):
    return np.asarray(predict(predictor, PROMPTS).mean)


@pytest.mark.parametrize("name", EXACT)
def test_they_compute_their_algorithm(name):
    wanted = said(EXACT[name])
    np.testing.assert_allclose(
        said(UNSEEN[name].build(TINY, jax.random.key(0))), wanted, atol=1e-5 * np.abs(wanted).max()
    )


@pytest.mark.parametrize("name", ["five Newton iterations", "ridge and a constant", "one example after another"])
def test_a_disguise_keeps_their_predictions(name):
    """Else what is true of the plain one would not be true of it."""
    plain, other = (said(UNSEEN[name].make(TINY, variant, jax.random.key(2))) for variant in ("plain", "rotated"))
    assert np.max(np.abs(plain - other)) < 1e-3 * np.max(np.abs(plain))


@pytest.mark.parametrize("name", ["ridge, weights kept", "finite pool", "four steps"])
def test_a_disguise_keeps_the_predictions_of_a_subject_that_rules_were_tuned_on(name):
    plain, other = (said(SUBJECTS[name].make(TINY, variant, jax.random.key(2))) for variant in ("plain", "rotated"))
    assert np.max(np.abs(plain - other)) < 1e-3 * np.max(np.abs(plain))


def test_a_learner_that_moves_a_coordinate_a_layer_leaves_the_others_at_zero():
    learner = UNSEEN["one coordinate after another"].build(TINY, jax.random.key(0))
    assert len(learner.network.blocks) == TINY.dim
    alone = learner.network.blocks[0].mixer.key_query[0]
    np.testing.assert_array_equal(np.flatnonzero(alone), [0])
