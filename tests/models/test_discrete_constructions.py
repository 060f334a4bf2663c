"""Hand-set learners of conjunctions and of Markov chains of any order, against counts made in plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import Prompt
from function_classes.base import NotAvailable
from icl import taps
from icl.models.constructions import Construction, Needs
from icl.models.constructions.disguise import rotated
from icl.programs import predict

D, C, P, ALPHA = 3, 3, 12, 0.3
SITE = "blocks.1.residual"


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


def counts(stream: np.ndarray, order: int) -> np.ndarray:
    """(P, C): how often c followed the last `order` of the first k symbols, among these; 0 where there are fewer."""
    table = np.zeros((len(stream), C))
    for k in range(order, len(stream)):
        for j in range(order, k):
            if tuple(stream[j - order : j]) == tuple(stream[k - order : k]):
                table[k, stream[j]] += 1
    return table


@pytest.mark.parametrize("order", [2, 3])
def test_all_of_the_last_symbols_are_matched_and_counted_exactly(order):
    """Counts in the stream are whole numbers to the bit; predictions are add-alpha, and Bayes for a chain of this
    order; neighbouring orders are others."""
    task = fc.get("markov", points=P, symbols=C, order=order, alpha=ALPHA)
    made = Construction.registry.get("k-gram", order=order, alpha=ALPHA)
    assert made.needs(task) == Needs(2, order, (order + 3) * C + 2 * C**order + P)
    prompts, learner = task.batch(jax.random.key(0), 64), made.make(task)

    @jax.jit
    def see(ys):
        prediction, seen = jax.vmap(lambda y: taps.capture(learner, Prompt(jnp.zeros((P, 0)), y), at=(SITE,)))(ys)
        return prediction.log_probs, seen[SITE][..., made.channels(task).slices["found"]]

    log_probs, found = see(prompts.ys)
    table = np.stack([counts(np.asarray(ys), order) for ys in prompts.ys])
    np.testing.assert_array_equal(found, table)
    assert table.max() > 2
    probabilities = (table + ALPHA) / np.sum(table + ALPHA, -1, keepdims=True)
    np.testing.assert_allclose(np.exp(log_probs), probabilities, rtol=1e-5)
    np.testing.assert_allclose(np.exp(log_probs), predict(task.bayes, prompts).as_mean(task.y_space), rtol=1e-5)
    assert np.any(table != np.stack([counts(np.asarray(ys), order + 1) for ys in prompts.ys]))


def test_a_stream_of_one_symbol_is_uniform():
    task = fc.get("markov", points=1, symbols=C, order=2)
    prompts = task.batch(jax.random.key(2), 8)
    said = predict(Construction.registry.get("k-gram").make(task), prompts)
    np.testing.assert_allclose(said.as_mean(task.y_space), 1 / C, rtol=1e-6)


@pytest.mark.parametrize("name", ["k-gram", "surviving-literals"])
def test_disguised_learners_predict_the_same(name):
    made = Construction.registry.get(name)
    task, learner = made.example(), made.make(made.example())
    prompts = task.batch(jax.random.key(3), 20)
    plain, turned = (predict(m, prompts).as_mean(task.y_space) for m in (learner, rotated(learner, jax.random.key(4))))
    np.testing.assert_allclose(turned, plain, atol=1e-4)


def test_refusals():
    with pytest.raises(NotAvailable, match="needs vectors of signs"):
        Construction.registry.get("surviving-literals").make(fc.get("linear-regression"))
    with pytest.raises(NotAvailable, match="codes each of 625 contexts by a channel of its own, at most 256"):
        Construction.registry.get("k-gram", order=4).make(fc.get("markov", symbols=5))
    with pytest.raises(NotAvailable, match="predicts the next symbol of a stream"):
        Construction.registry.get("k-gram").make(fc.get("linear-regression"))
