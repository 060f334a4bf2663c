"""Queries that differ from their examples, and inputs in a subspace: geometry, what is scored, what is optimal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import shifts
from icl import references
from icl.evaluation import evaluate
from icl.programs import draw, predict

TASK = fc.get("linear-regression", dim=6, points=5, noise_std=0.0)


def prompts(text, task=TASK, count=256):
    return draw(shifts.parse(text).apply(task), jax.random.key(0), 0, count)


def test_a_query_orthogonal_to_the_examples_keeps_its_length_and_leaves_nothing_to_know():
    shifted, plain = prompts("orthogonal-query"), draw(TASK, jax.random.key(0), 0, 256)
    query, length = shifted.xs[:, -1], jnp.linalg.norm(shifted.xs[:, -1], axis=-1)
    inside = jnp.linalg.norm(jnp.einsum("bpd,bd->bp", shifted.xs[:, :-1], query), axis=-1)
    assert float(jnp.max(inside / length)) < 1e-4
    np.testing.assert_allclose(length, jnp.linalg.norm(plain.xs[:, -1], axis=-1), rtol=1e-5)
    np.testing.assert_array_equal(shifted.xs[:, :-1], plain.xs[:, :-1])
    said = predict(references.get("least-squares"), shifted).mean[:, -1]
    np.testing.assert_allclose(said, 0, atol=1e-4 * float(jnp.abs(shifted.ys).max()))


def test_a_repeated_query_is_one_of_the_examples_and_its_answer_known():
    shifted = prompts("repeated-query")
    same = np.all(np.asarray(shifted.xs[:, -1:]) == np.asarray(shifted.xs[:, :-1]), -1)
    assert (same.sum(1) == 1).all()
    counts = same.sum(0)
    # Each of four with probability 1/4: within five standard errors.
    assert np.abs(counts - 64).max() < 5 * np.sqrt(256 * 3 / 16)
    said = predict(TASK.bayes, shifted).mean[:, -1]
    np.testing.assert_allclose(said, shifted.ys[:, -1], atol=2e-3)


def test_examples_lie_in_one_orthant_and_the_query_anywhere():
    shifted = prompts("orthants")
    signs = np.sign(np.asarray(shifted.xs))
    assert (signs[:, :-1] == signs[:, :1]).all()
    assert len(np.unique(signs[:, 0], axis=0)) > 40  # of 64 orthants
    agree = (signs[:, -1] == signs[:, 0]).mean()
    assert abs(agree - 0.5) < 5 * 0.5 / np.sqrt(256 * 6)


def test_scaling_the_query_leaves_the_examples():
    shifted, plain = prompts("scale-query=3"), draw(TASK, jax.random.key(0), 0, 256)
    np.testing.assert_array_equal(shifted.xs[:, :-1], plain.xs[:, :-1])
    np.testing.assert_allclose(shifted.xs[:, -1], 3 * plain.xs[:, -1], rtol=1e-6)


def test_inputs_lie_in_a_subspace_of_their_own_with_their_norm_kept():
    task = fc.get("linear-regression", dim=6, points=12, noise_std=0.0)
    shifted = prompts("subspace=0.5", task, 512)
    ranks = np.linalg.matrix_rank(np.asarray(shifted.xs, float), tol=1e-4)
    assert (ranks == 3).all()
    squares = np.sum(np.asarray(shifted.xs, float) ** 2, -1).mean(1)
    assert abs(squares.mean() - 6) < 5 * squares.std() / np.sqrt(len(squares))
    both = np.concatenate([shifted.xs[0], shifted.xs[1]])
    assert np.linalg.matrix_rank(np.asarray(both, float), tol=1e-4) == 6
    said = predict(task.bayes, shifted).mean
    np.testing.assert_allclose(said[:, 4:], shifted.ys[:, 4:], atol=5e-3 * float(jnp.abs(shifted.ys).max()))


@pytest.mark.parametrize("name", ["orthants", "repeated-query", "orthogonal-query", "scale-query"])
def test_the_query_alone_is_scored(name):
    task = shifts.parse(name).apply(TASK)
    table = evaluate({"bayes": TASK.bayes}, task, key=jax.random.key(0), prompts=8)
    assert set(table["position"].tolist()) == {-1, 4}
    np.testing.assert_array_equal(task.sample(jax.random.key(1)).scored, [0, 0, 0, 0, 1])


def test_what_a_shift_draws_is_not_what_the_inputs_are_drawn_from():
    """One orthant for many keys would be a key used twice."""
    shifted, plain = prompts("orthants", count=1024), draw(TASK, jax.random.key(0), 0, 1024)
    signs = np.sign(np.asarray(shifted.xs[:, 0], float))
    values = np.asarray(plain.xs, float).reshape(1024, -1)
    correlation = signs.T @ (values / values.std(0)) / 1024
    assert np.abs(correlation).max() < (4 + np.sqrt(2 * np.log(correlation.size))) / np.sqrt(1024)


@pytest.mark.parametrize(
    ("text", "fields", "words"),
    [
        ("orthogonal-query", {"dim": 4, "points": 5}, "at most --points 4"),
        ("orthants", {"points": 1}, "needs examples before it"),
        ("subspace", {"dim": 1}, "try scale-inputs"),
    ],
)
def test_refusals_say_what_would_work(text, fields, words):
    with pytest.raises(fc.NotAvailable, match=words):
        shifts.parse(text).apply(fc.get("linear-regression", **fields))


def test_a_shift_without_a_number_takes_none():
    with pytest.raises(fc.ConfigError, match="value"):
        shifts.parse("orthants=3")


def test_streams_are_refused():
    with pytest.raises(fc.NotAvailable, match="stream"):
        shifts.parse("repeated-query").apply(fc.get("markov"))
