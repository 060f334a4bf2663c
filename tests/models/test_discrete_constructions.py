"""Hand-set learners of conjunctions and of Markov chains of any order, against counts made in plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import Prompt
from function_classes.base import NotAvailable
from icl.models.constructions import Construction, Needs
from icl.programs import predict

D = 3


def broken_literals(xs: np.ndarray, ys: np.ndarray, side: int) -> np.ndarray:
    """How many literals that no earlier positive example refutes the input falsifies, at every position of a prompt."""
    xs, ys, found = side * xs, side * ys, []
    alive = {(i, sign) for i in range(xs.shape[1]) for sign in (-1, 1)}
    for x, y in zip(xs, ys, strict=True):
        broken = {(i, sign) for i, sign in alive if x[i] != sign}
        found.append(len(broken))
        alive -= broken if y > 0 else set()
    return np.array(found)


@pytest.mark.parametrize("form", ["conjunction", "disjunction"])
def test_log_odds_count_the_surviving_literals_that_are_broken(form):
    """On labels of conjunctions and on labels that no function explains; both answers are frequent."""
    task, side = fc.get(form, dim=D, points=9), 1 if form == "conjunction" else -1
    made = Construction.registry.get("surviving-literals", form=form, certainty=1.5)
    assert made.needs(task) == Needs(1, 1, 3 * D + 2)
    learner, drawn = made.make(task), task.batch(jax.random.key(0), 200)
    signs = jax.random.rademacher(jax.random.key(1), drawn.ys.shape, jnp.float32)
    for ys in (drawn.ys, signs):
        prompts = Prompt(drawn.xs, ys)
        log_probs = np.asarray(predict(learner, prompts).log_probs)
        pairs = zip(np.asarray(drawn.xs), np.asarray(ys), strict=True)
        broken = np.stack([broken_literals(x, y, side) for x, y in pairs])
        np.testing.assert_allclose(log_probs[..., 1] - log_probs[..., 0], side * 1.5 * (1 - 2 * broken), atol=1e-5)
        assert 0.2 < np.mean(broken == 0) < 0.8


def test_a_certain_learner_says_what_the_reference_says_to_the_bit():
    task = fc.get("conjunction", dim=D, points=9)
    made, prompts = Construction.registry.get("surviving-literals"), task.batch(jax.random.key(2), 200)
    found, wanted = (
        np.asarray(predict(f, prompts).as_mean(task.y_space)) for f in (made.make(task), made.algorithm(task))
    )
    np.testing.assert_array_equal(found, wanted)


def test_refusals():
    with pytest.raises(NotAvailable, match="needs vectors of signs"):
        Construction.registry.get("surviving-literals").make(fc.get("linear-regression"))
